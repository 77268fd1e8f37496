package tool

import (
	"context"
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
}

type patienceKey struct{}

// WithPatience returns a context that ends with context.DeadlineExceeded as its cause after d, not counting what Pause leaves out. Cancel
// it.
func WithPatience(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{left: d, started: time.Now()}
	p.timer = time.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return context.WithValue(ctx, patienceKey{}, p), func() {
		p.timer.Stop()
		cancel(nil)
	}
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
	if p.paused++; p.paused == 1 && p.timer.Stop() {
		p.left -= time.Since(p.started)
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.paused--; p.paused == 0 && context.Cause(ctx) == nil {
			p.started = time.Now()
			p.timer.Reset(max(p.left, 0))
		}
	})
}
