package wire

import (
	"strings"
	"sync"
	"time"
)

// Frame is one message that passed.
type Frame struct {
	At     time.Time
	Out    bool   // from Cordon to the server
	ID     string // as JSON, "" if it has none
	Method string // of an answer the one that it answers, "" if that is not known
	Answer bool
	Failed bool   // it is an answer with an error
	Size   int    // bytes, of which Text may hold only the first
	Text   string // untrusted; may hold secrets
}

// Bounds of what is kept of one connection.
const (
	maxFrames     = 200
	maxFrameText  = 8 << 10
	maxFrameBytes = 512 << 10
)

// ring keeps the last messages. The zero value is empty. It is safe for concurrent use.
type ring struct {
	mu    sync.Mutex
	kept  []Frame // guarded by mu; oldest first
	bytes int     // guarded by mu
	count int     // guarded by mu; of all that passed
}

func (r *ring) add(f Frame, text []byte) {
	f.ID, f.Method = brief(f.ID), brief(f.Method)
	f.At, f.Size, f.Text = time.Now(), len(text), string(text[:min(len(text), maxFrameText)])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept, r.bytes, r.count = append(r.kept, f), r.bytes+len(f.Text), r.count+1
	for len(r.kept) > maxFrames || r.bytes > maxFrameBytes {
		r.bytes -= len(r.kept[0].Text)
		r.kept[0] = Frame{}
		r.kept = r.kept[1:]
	}
}

func (r *ring) passed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *ring) all() []Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Frame(nil), r.kept...)
}

// brief keeps of what a server chose as much as a line shows.
func brief(s string) string {
	if len(s) > maxID {
		s = strings.Clone(strings.ToValidUTF8(s[:maxID], "")) + "…"
	}
	return s
}
