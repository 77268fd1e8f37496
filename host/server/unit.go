package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/tool"
	"cordon/sandbox"
)

// unit is one server: its definition and, while it is wanted, the goroutine that keeps it running.
type unit struct {
	s     *Supervisor
	name  string
	lines ring

	mu      sync.Mutex
	def     config.Server      // guarded by mu
	view    View               // guarded by mu
	cancel  context.CancelFunc // guarded by mu; nil when not wanted
	ending  bool               // guarded by mu; wanted no more, and not gone yet
	first   *attempt           // guarded by mu; the first one since it was wanted
	done    chan struct{}      // guarded by mu; closed when the goroutine has ended
	session *session           // guarded by mu; nil unless running
	proc    *sandbox.Process   // guarded by mu; nil unless there is a process
	files   files              // guarded by mu
	started pin.Fingerprint    // guarded by mu; the files as they were when the process was started
	running []string           // guarded by mu; ids of the calls that it works on, the latest last
}

func (u *unit) snapshot() View {
	u.mu.Lock()
	v, proc := u.view, u.proc
	v.Def = u.def
	u.mu.Unlock()
	v.StderrLines = u.lines.count()
	if proc != nil {
		v.Usage = proc.Usage()
	}
	return v
}

// update changes the view and tells the others.
func (u *unit) update(f func(v *View)) {
	u.mu.Lock()
	before := u.view.State
	f(&u.view)
	if u.view.State != before {
		u.view.Since = time.Now().UTC()
	}
	u.mu.Unlock()
	u.s.o.Changed()
}

func (u *unit) note(format string, args ...any) {
	u.lines.add(cordonPrefix + fmt.Sprintf(format, args...))
}

// attempt is a start that several callers may wait for.
type attempt struct {
	told chan struct{}
	err  error // written before told is closed
}

func (a *attempt) tell(err error) {
	select {
	case <-a.told:
	default:
		a.err = err
		close(a.told)
	}
}

// start makes the unit wanted and waits for the first attempt.
func (u *unit) start(ctx context.Context) error {
	u.mu.Lock()
	for u.ending { // what is being stopped is not what we want
		done := u.done
		u.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		u.mu.Lock()
	}
	first, ours := u.first, u.cancel == nil
	if ours {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		first = &attempt{told: make(chan struct{})}
		u.cancel, u.done, u.first = cancel, done, first
		u.s.wg.Go(func() {
			defer close(done)
			defer cancel()
			err := u.keepRunning(run, func() { first.tell(nil) })
			u.mu.Lock()
			u.cancel, u.ending = nil, false
			u.mu.Unlock()
			first.tell(err) // who waits may start again at once
		})
	}
	u.mu.Unlock()
	select {
	case <-first.told:
		return first.err
	case <-ctx.Done():
		if ours {
			u.stop(context.Background())
		}
		return context.Cause(ctx)
	}
}

// stop makes the unit unwanted and waits until nothing is left.
func (u *unit) stop(ctx context.Context) {
	u.mu.Lock()
	cancel, done := u.cancel, u.done
	u.ending = cancel != nil
	u.mu.Unlock()
	if cancel == nil {
		if done != nil {
			<-done
		}
		return
	}
	cancel()
	hurry := context.AfterFunc(ctx, func() {
		u.mu.Lock()
		proc := u.proc
		u.mu.Unlock()
		if proc != nil {
			proc.Kill()
		}
	})
	defer hurry()
	<-done
}

// keepRunning runs the server again and again until ctx ends, it cannot start, or it crashes too often. It calls
// ready each time the server lists its tools, and returns why the last attempt ended.
func (u *unit) keepRunning(ctx context.Context, ready func()) error {
	worked := false
	for restarts := 0; ; restarts++ {
		began := time.Now()
		u.update(func(v *View) { v.State, v.Err, v.Restarts, v.Refused = Starting, nil, restarts, nil })
		err := u.runOnce(ctx, func() { worked = true; ready() })
		if ctx.Err() != nil {
			u.update(func(v *View) { v.State, v.Err, v.Pid, v.Tools = Stopped, nil, 0, nil })
			return context.Canceled
		}
		state := Crashed
		var refusal *sandbox.Refusal
		if errors.As(err, &refusal) {
			state = Refused
		}
		if v := u.snapshot(); v.Limited {
			err = fmt.Errorf("%w (it was started without %s, because nobody has approved its program as it is)", err, strings.Join(Limits(v.Def), ", "))
		}
		u.note("%v", err)
		u.update(func(v *View) { v.State, v.Err, v.Pid, v.Tools = state, err, 0, nil })
		if time.Since(began) > steady {
			restarts = 0
		}
		var early *startError
		// Before it ever worked a person is waiting for the reason: say it, do not repeat the attempt.
		if !worked || state == Refused || errors.As(err, &early) || restarts+1 >= maxRestarts {
			return err
		}
		select {
		case <-ctx.Done():
			u.update(func(v *View) { v.State, v.Err = Stopped, nil })
			return context.Canceled
		case <-time.After(u.s.o.Backoff << restarts):
		}
	}
}

// record writes an event about this server; a log that cannot be written shows itself at the next call.
func (u *unit) record(e audit.Event) {
	e.Server = u.name
	if _, err := u.s.o.Audit.Append(e); err != nil {
		u.s.o.Log.Error("audit", "server", u.name, "err", err)
	}
}

// call runs c on the live session.
func (u *unit) call(ctx context.Context, c tool.Call) (tool.Result, error) {
	u.mu.Lock()
	s, proc := u.session, u.proc
	if s != nil && proc != nil {
		u.running = append(u.running, c.ID)
	}
	u.mu.Unlock()
	if s == nil || proc == nil {
		return tool.Result{}, fmt.Errorf("%w: %s", ErrNotRunning, u.name)
	}
	r, err := s.call(ctx, c)
	u.mu.Lock()
	u.running = slices.DeleteFunc(u.running, func(id string) bool { return id == c.ID })
	u.mu.Unlock()
	if err == nil || ctx.Err() != nil {
		return r, err
	}
	if ended(proc) {
		return tool.Result{}, fmt.Errorf("%s %s during the call", u.name, proc.Wait())
	}
	return tool.Result{}, fmt.Errorf("%s: %w", u.name, err)
}

// ended reports whether the process is gone. A crash shows on the pipe before it shows in the process table.
func ended(proc *sandbox.Process) bool {
	select {
	case <-proc.Done():
		return true
	case <-time.After(200 * time.Millisecond):
		return false
	}
}
