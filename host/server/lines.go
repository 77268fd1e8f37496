package server

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// Line is one line of a server's standard error, or of what it printed beside the protocol. Untrusted text.
type Line struct {
	Time time.Time
	Text string
}

const (
	keptLines    = 2000
	maxLogLine   = 4 << 10
	noisePrefix  = "[stdout] "
	cordonPrefix = "[cordon] "
)

// ring keeps the last lines. Safe for concurrent use.
type ring struct {
	mu    sync.Mutex
	lines []Line // guarded by mu
	total int    // guarded by mu
}

func (r *ring) add(text string) {
	if len(text) > maxLogLine+len(noisePrefix) { // an error may quote a server
		text = text[:maxLogLine] + "…"
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	r.lines = append(r.lines, Line{time.Now().UTC(), text})
	if len(r.lines) >= 2*keptLines {
		r.lines = append(r.lines[:0:0], r.lines[len(r.lines)-keptLines:]...)
	}
}

func (r *ring) all() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Line(nil), r.lines[max(0, len(r.lines)-keptLines):]...)
}

func (r *ring) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// last returns the newest n lines that the server itself wrote, joined.
func (r *ring) last(n int) string {
	var out []string
	for _, l := range r.all() {
		if !strings.HasPrefix(l.Text, cordonPrefix) {
			out = append(out, l.Text)
		}
	}
	return strings.Join(out[max(0, len(out)-n):], "\n")
}

// drain reads src until its end. A line longer than maxLogLine is cut, not buffered.
func (r *ring) drain(src io.Reader) {
	br := bufio.NewReaderSize(src, maxLogLine)
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			text := string(bytes.TrimRight(line, "\r\n"))
			for err == bufio.ErrBufferFull { // skip the rest of the line
				_, err = br.ReadSlice('\n')
			}
			r.add(text)
		}
		if err != nil {
			return
		}
	}
}
