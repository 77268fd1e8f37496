package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// Lines is a Guard over messages that are one line each, as servers on standard streams write them. Read is for one reader.
type Lines struct {
	*Guard
	src     *bufio.Reader
	pending []byte
}

// NewLines returns the messages of src that pass g.
func NewLines(src io.Reader, g *Guard) *Lines {
	return &Lines{Guard: g, src: bufio.NewReaderSize(src, 64<<10)}
}

// Read implements io.Reader over what the library may see.
func (l *Lines) Read(p []byte) (int, error) {
	for len(l.pending) == 0 {
		line, err := l.line()
		if err != nil {
			return 0, err
		}
		message, err := l.In(line)
		if err != nil {
			return 0, err
		}
		if len(message) > 0 {
			l.pending = append(message, '\n')
		}
	}
	n := copy(p, l.pending)
	l.pending = l.pending[n:]
	return n, nil
}

// line returns the next line. A last one without a newline is not a message. The bytes are the caller's.
func (l *Lines) line() ([]byte, error) {
	var line []byte
	for {
		part, err := l.src.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxMessage:
			l.found(LineTooLong, "the server "+ErrLineTooLong.Error()+"; the session was ended")
			return nil, ErrLineTooLong
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if len(line) > 0 {
				l.skip(bytes.TrimRight(line, "\r\n"))
			}
			return nil, err
		}
	}
}

// Tap is the way out: it tells a Guard of each message that is written to it. Each Write has to be one message, as the library writes
// them. It is safe for concurrent use.
type Tap struct {
	io.WriteCloser
	Guard *Guard
	mu    sync.Mutex // held while a message is written
}

// Write implements io.Writer.
func (t *Tap) Write(b []byte) (int, error) {
	t.Guard.Out(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.WriteCloser.Write(b)
}
