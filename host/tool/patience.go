package tool

import (
	"context"
	"math"
	"sync"
	"time"
)

// patience is the clock of one call. It stands still while a person is asked.
type patience struct {
	mu      sync.Mutex
	timer   *time.Timer
	left    time.Duration // guarded by mu; when it was started last
	started time.Time     // guarded by mu
	paused  int           // guarded by mu
	limit   time.Duration // what was given at first
	stopped time.Time     // guarded by mu; when it was paused
	ends    time.Time     // guarded by mu; when it ends however it goes
	done    float64       // guarded by mu; what GoesOn said last
}

type patienceKey struct{}

// WithPatience returns a context that ends with context.DeadlineExceeded as its cause after d, not counting what Pause leaves out. Cancel
// it.
func WithPatience(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	now := time.Now()
	p := &patience{left: d, started: now, limit: d, ends: now.Add(max(d, min(MaxPatience, maxTimes*d))), done: math.Inf(-1)}
	p.timer = time.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return context.WithValue(ctx, patienceKey{}, p), func() {
		p.timer.Stop()
		cancel(nil)
	}
}

// MaxPatience is how long a call may take that says how it goes, without the time in which a person was asked; and not more than some times what it
// was given.
const (
	MaxPatience = 10 * time.Minute
	maxTimes    = 10
)

// Progress is what a server says of how a call goes. Text is untrusted.
type Progress struct {
	CallID string
	Ticket string // the proposal's
	Server string
	Done   float64
	Total  float64 // 0 if it does not say
	Text   string
}

// GoesOn gives the clock of WithPatience what it had at first, within MaxPatience, because the call has got further: to done, which
// has to be more than before. It reports whether it is. Without a clock it does nothing.
func GoesOn(ctx context.Context, done float64) bool {
	p, ok := ctx.Value(patienceKey{}).(*patience)
	if !ok {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if done <= p.done {
		return false
	}
	p.done = done
	now := time.Now()
	left := min(p.limit, p.ends.Sub(now))
	switch {
	case p.paused > 0:
		p.left = max(p.left, left)
	case p.timer.Stop():
		p.left, p.started = left, now
		p.timer.Reset(max(left, 0))
	}
	return true
}

// Pause stops the clock of WithPatience until resume is called, which is never nil. Without a clock it does nothing. Several may be
// paused at once; resuming twice does nothing.
func Pause(ctx context.Context) (resume func()) {
	p, ok := ctx.Value(patienceKey{}).(*patience)
	if !ok {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused++; p.paused == 1 {
		p.stopped = time.Now()
		if p.timer.Stop() {
			p.left -= p.stopped.Sub(p.started)
		}
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.paused--; p.paused == 0 && context.Cause(ctx) == nil {
			p.ends = p.ends.Add(time.Since(p.stopped))
			p.started = time.Now()
			p.timer.Reset(max(p.left, 0))
		}
	})
}
