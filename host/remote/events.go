package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"

	"cordon/host/wire"
)

// event is one of a stream of server-sent events (WHATWG HTML, 9.2).
type event struct {
	name string // "" is "message"
	id   string // that the stream goes on after, "" if it has none
	data []byte // its lines joined by newlines
}

const (
	maxEventLine = 1 << 10 // bytes of a line that is not data
	maxEventID   = 512     // bytes

	firstRetry = time.Second // pause before a stream is opened again, unless the server says another
	minRetry   = 100 * time.Millisecond
	maxRetry   = time.Minute
)

// errNothing ends a stream that is nothing but comments and the like.
var errNothing = errors.New("what it streams is no message")

// errEventTooLong ends a stream whose event would fill the memory.
var errEventTooLong = errors.New("an event of it is longer than a message may be")

// events reads a stream.
type events struct {
	r     *bufio.Reader
	last  string        // id of the last event that had one
	retry time.Duration // what the server wants; 0 if it said nothing
	begun bool
	spent int // bytes of other lines than data since the last message, and some for each line: many short ones cost more than a long one
}

func newEvents(r io.Reader) *events { return &events{r: bufio.NewReaderSize(&newlines{r: r}, 64<<10)} }

// next returns the next event with data. An event that the stream ends in is none.
func (s *events) next() (event, error) {
	var e event
	hasData := false
	for {
		line, err := s.line(len(e.data))
		if err != nil {
			return event{}, err
		}
		if !bytes.HasPrefix(line, []byte("data")) { // of which no event can have too much
			if s.spent += len(line) + 8; s.spent > 2*wire.MaxMessage {
				return event{}, errNothing
			}
		}
		if !s.begun {
			s.begun = true
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(line) == 0 {
			if hasData {
				e.id = s.last
				return e, nil
			}
			e = event{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
			if hasData {
				e.data = append(e.data, '\n')
			}
			e.data, hasData = append(e.data, value...), true
		case "event":
			e.name = string(value)
		case "id":
			if len(value) <= maxEventID && printable(string(value)) {
				s.last = string(value)
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 32); err == nil {
				s.retry = min(max(time.Duration(ms)*time.Millisecond, minRetry), maxRetry)
			}
		}
	}
}

// pause is how long to wait before the stream is opened again.
func (s *events) pause() time.Duration {
	if s.retry > 0 {
		return s.retry
	}
	return firstRetry
}

// line returns the next line without its end. Only data may be long, and with what is there already not longer than a message.
func (s *events) line(have int) ([]byte, error) {
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxEventLine && !bytes.HasPrefix(line, []byte("data")) || len(line)+have > wire.MaxMessage+64 {
			return nil, errEventTooLong
		}
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// newlines turns the three ends of a line, CR, LF and both, into LF.
type newlines struct {
	r  io.Reader
	cr bool // the last byte was CR, so an LF that follows belongs to it
}

// Read implements io.Reader.
func (l *newlines) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if !l.cr && bytes.IndexByte(p[:n], '\r') < 0 {
		return n, err
	}
	kept := 0
	for _, b := range p[:n] {
		belongs := l.cr && b == '\n'
		if l.cr = b == '\r'; l.cr {
			b = '\n'
		}
		if !belongs {
			p[kept] = b
			kept++
		}
	}
	return kept, err
}

// printable reports whether s can stand in a header as it is.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
