package server

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A process that lives may answer no more. A server from which nothing has come for a while, and that no call waits for, is asked
// (MCP 2025-11-25, basic/utilities/ping). Any message is an answer, also an error: it need not know ping. The second question
// in a row that gets none ends the process.

// maxMissed is how many questions in a row may stay without an answer.
const maxMissed = 2

// muteError ends a run whose server no longer answers.
type muteError struct {
	name  string
	heard time.Time
}

func (e *muteError) Error() string {
	return fmt.Sprintf("%s is running, but has said nothing since %s and did not answer %d pings", e.name, e.heard.UTC().Format("15:04:05"), maxMissed)
}

// health asks one session. It belongs to serve and is not safe for concurrent use.
type health struct {
	u       *unit
	s       *session
	due     *time.Timer // when to think of asking
	answer  <-chan error
	asked   time.Time
	misses  int
	called  time.Time     // u.used when it was asked: a call since then says more than a ping
	after   time.Duration // Options.PingAfter
	patient time.Duration // Options.PingPatience
}

func newHealth(u *unit, s *session) *health {
	h := &health{u: u, s: s, after: u.s.o.PingAfter, patient: u.s.o.PingPatience}
	h.due = time.NewTimer(h.after)
	return h
}

func (h *health) stop() { h.due.Stop() }

// heard is when the server's last message came.
func (h *health) heard() time.Time { return h.s.guard.Heard() }

// calls tells whether a call is running, and when one was here last.
func (h *health) calls() (running bool, used time.Time) {
	h.u.mu.Lock()
	defer h.u.mu.Unlock()
	return len(h.u.running) > 0, h.u.used
}

// ask sends a ping if it was quiet for long enough.
func (h *health) ask(ctx context.Context) {
	running, used := h.calls()
	last := used
	if heard := h.heard(); heard.After(last) {
		last = heard
	}
	left := h.after - time.Since(last)
	if running {
		left = h.after
	}
	if left > 0 {
		h.misses = 0
		h.due.Reset(left)
		return
	}
	h.called, h.asked = used, time.Now()
	h.answer = h.s.ping(ctx, h.patient)
}

// missed takes the answer to a ping and reports whether too many in a row had none.
func (h *health) missed(err error) bool {
	h.answer = nil
	running, used := h.calls()
	if !errors.Is(err, context.DeadlineExceeded) || h.heard().After(h.asked) || running || used.After(h.called) {
		h.misses = 0
		h.due.Reset(h.after)
		return false
	}
	h.misses++
	h.u.note("it has not answered a ping in %v", h.patient)
	if h.misses >= maxMissed {
		return true
	}
	h.due.Reset(0) // once more
	return false
}
