package server

import (
	"context"
	"fmt"
	"time"

	"cordon/host/tool"
)

// A server that nobody calls falls asleep: its process is stopped, what it listed stays. The next call wakes it. Falling asleep is
// decided under u.mu, where every call that is being looked at is known, so it never meets one.

// hold looks a tool up for the call of that id, which keeps the server from falling asleep until letGo. It wakes a server that
// sleeps, and waits for one that is starting or being reloaded. Errors are as of Supervisor.Tool.
func (u *unit) hold(ctx context.Context, kind tool.Kind, id tool.ID, call string) (tool.Tool, error) {
	u.waiting.Add(1)
	defer u.waiting.Add(-1)
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.reloading || u.view.State == Starting || u.view.State == Idle {
		if u.view.State == Idle && u.cancel == nil && !u.reloading {
			u.begin().waiters++ // it goes on when this call is given up; whoever calls next is glad of it
		}
		moved := u.moved
		u.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
		}
		u.mu.Lock()
		if ctx.Err() != nil {
			return tool.Tool{}, context.Cause(ctx)
		}
	}
	switch {
	case u.view.State != Running && u.view.Err != nil:
		return tool.Tool{}, fmt.Errorf("%w: %s is %s: %w", ErrNotRunning, u.name, u.view.State, u.view.Err)
	case u.view.State != Running:
		return tool.Tool{}, fmt.Errorf("%w: %s is %s", ErrNotRunning, u.name, u.view.State)
	}
	offered := u.view.Tools
	switch kind {
	case tool.GetPrompt:
		offered = u.view.Prompts
	case tool.ReadResource:
		s := u.session
		u.holds[call] = s
		u.mu.Unlock()
		err := s.offers(ctx, id.Name)
		u.mu.Lock()
		if err != nil {
			delete(u.holds, call)
			return tool.Tool{}, fmt.Errorf("%s: %q cannot be read: %w", u.name, id.Name, err)
		}
		return readable(id), nil
	}
	for _, t := range offered {
		if t.ID == id {
			u.holds[call] = u.session
			if kind == tool.FetchTask {
				t = taskTool(t)
			}
			return t, nil
		}
	}
	return tool.Tool{}, fmt.Errorf("%s has no %s %q", u.name, kind, id.Name)
}

// readable is the reading of a resource as a tool, whose one argument is the address.
func readable(id tool.ID) tool.Tool {
	return tool.Tool{ID: id, Title: "Read " + id.Name, InputSchema: []byte(`{"additionalProperties":false,"properties":{"uri":{"type":"string"}},"required":["uri"],"type":"object"}`),
		Definition: []byte("{}"), Effect: tool.ResourceEffect(id.Name), EffectBy: "Cordon"}
}

// letGo ends a hold. Without one it does nothing.
func (u *unit) letGo(call string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, held := u.holds[call]; held {
		delete(u.holds, call)
		u.used = time.Now()
		u.stir()
	}
}

// busy reports whether a call is running, being looked at, or waiting for the server. The caller holds u.mu.
func (u *unit) busy() bool { return len(u.running)+len(u.holds) > 0 || u.waiting.Load() > 0 }

// fallAsleep takes the session away if nobody has used it for idle, so that no call begins any more. Otherwise it returns after
// how long it should be asked again.
func (u *unit) fallAsleep(s *session, idle time.Duration) (again time.Duration, asleep bool) {
	u.mu.Lock()
	used := u.used
	if p := s.guard.Progress(); p.After(used) {
		used = p
	}
	left := idle - time.Since(used)
	switch {
	case u.ending || u.reloading || u.busy():
		left = idle
	case left <= 0:
		u.session, u.ending = nil, true // whoever starts it waits until this process is gone
		u.become(Idle)
		u.stir()
	}
	u.mu.Unlock()
	if left > 0 {
		return left, false
	}
	u.s.o.Changed()
	return 0, true
}

// reload lets the running calls finish, at most for Options.Drain, and starts the server again.
func (u *unit) reload(ctx context.Context) error {
	select {
	case u.reloads <- struct{}{}: // one after the other
		defer func() { <-u.reloads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	u.mu.Lock()
	if u.cancel == nil || u.ending { // it takes its new definition when it is started
		u.mu.Unlock()
		return nil
	}
	u.reloading = true
	u.stir()
	stops := u.stops
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.reloading = false
		u.stir()
		u.mu.Unlock()
	}()
	if err := u.drain(ctx, stops); err != nil {
		return err
	}
	u.carry(stops)
	u.end(ctx)
	u.mu.Lock()
	u.carries = false // if it was between two runs
	u.mu.Unlock()
	if u.stoppedSince(stops) {
		return fmt.Errorf("%w: %s was stopped meanwhile", ErrNotRunning, u.name)
	}
	return u.start(ctx)
}

func (u *unit) stoppedSince(stops int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stops != stops
}

// drain waits until no call is running or being looked at, the server ends, or patience does. The error is ctx's.
func (u *unit) drain(ctx context.Context, stops int) error {
	patience := time.NewTimer(u.s.o.Drain)
	defer patience.Stop()
	for {
		u.mu.Lock()
		calm := u.view.State != Running || u.stops != stops || len(u.running)+len(u.holds) == 0
		moved := u.moved
		u.mu.Unlock()
		if calm {
			return nil
		}
		select {
		case <-moved:
		case <-patience.C:
			u.note("calls are still running after %v; it is %s again all the same", u.s.o.Drain, u.begun())
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// carry lets the next run have what was lent to this one, which a reload ends, unless it ends by itself, or somebody has stopped it since
// there were so many stops.
func (u *unit) carry(stops int) {
	u.mu.Lock()
	with, lent := u.with, !u.lent.Empty()
	u.mu.Unlock()
	if !lent || with == nil || with.ended(endPatience) {
		return
	}
	u.mu.Lock()
	u.carries, u.carriesAt = true, stops
	u.mu.Unlock()
}
