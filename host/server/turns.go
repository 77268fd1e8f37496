package server

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// turns bounds how many servers start at the same time: fifty at once on two processors would time each other out. It is safe
// for concurrent use.
type turns struct {
	mu      sync.Mutex
	free    int     // guarded by mu
	waiting []*turn // guarded by mu; in the order they came
}

// turn is one start that waits.
type turn struct {
	given   chan struct{}
	urgency func() urgency
}

// urgency orders the starts that wait; it may change while they do.
type urgency int

const (
	afterCrash urgency = iota // after a crash
	firstStart                // the first start
	callWaits                 // somebody's call waits for it
)

// turnPatience bounds how long one start keeps others back: a server that says nothing needs no processor.
const turnPatience = 3 * time.Second

func defaultStarts() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// take waits for a turn: the most urgent start comes next, of several the first that asked. release gives the turn back and
// may be called twice; turnPatience after the turn was given it comes back by itself. The error is ctx's.
func (t *turns) take(ctx context.Context, u func() urgency) (release func(), err error) {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return t.started(), nil
	}
	mine := &turn{given: make(chan struct{}), urgency: u}
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()
	select {
	case <-mine.given:
		return t.started(), nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, mine)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it was given in the same moment
		t.next()
	}
	return nil, context.Cause(ctx)
}

func (t *turns) started() (release func()) {
	once := sync.OnceFunc(t.next)
	timer := time.AfterFunc(turnPatience, once)
	return func() {
		timer.Stop()
		once()
	}
}

// next passes a turn on.
func (t *turns) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	first := 0
	for i, w := range t.waiting {
		if w.urgency() > t.waiting[first].urgency() {
			first = i
		}
	}
	close(t.waiting[first].given)
	t.waiting = slices.Delete(t.waiting, first, first+1)
}
