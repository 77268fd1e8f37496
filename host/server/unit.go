package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/inspect"
	"cordon/host/pin"
	"cordon/host/tool"
	"cordon/host/wire"
	"cordon/sandbox"
)

// unit is one server: its definition and, while it is wanted, the goroutine that keeps it running.
type unit struct {
	s       *Supervisor
	name    string
	lines   ring
	wanted  wanted
	watches watches

	mu        sync.Mutex
	def       config.Server      // guarded by mu
	guard     *wire.Guard        // guarded by mu; of the last session; nil before the first
	lent      config.Grants      // guarded by mu; for the run of now, besides def
	next      config.Grants      // guarded by mu; for the next one
	carries   bool               // guarded by mu; the run is ended by a reload, so the next one has what was lent
	carriesAt int                // guarded by mu; unless somebody stopped it since: what stops was then
	view      View               // guarded by mu
	cancel    context.CancelFunc // guarded by mu; nil when not wanted
	ending    bool               // guarded by mu; wanted no more, and not gone yet
	first     *attempt           // guarded by mu; the first one since it was wanted
	done      chan struct{}      // guarded by mu; closed when the goroutine has ended
	session   *session           // guarded by mu; nil unless running
	steps     []Step             // guarded by mu; of the last start
	stepped   time.Time          // guarded by mu; when the last of them was done
	oddities  []Oddity           // guarded by mu; of the last session
	listings  int                // guarded by mu; how often its tools were listed
	login     *login             // guarded by mu; of a remote server, once it was needed
	with      *peer              // guarded by mu; of this run; nil between runs
	proc      *sandbox.Process   // guarded by mu; nil unless there is a process
	files     files              // guarded by mu
	started   pin.Fingerprint    // guarded by mu; the files as they were when the process was started
	running   []string           // guarded by mu; ids of the calls that it works on, the latest last

	holds     map[string]*session // guarded by mu; calls that are being looked at, by id, and the session they were looked up in
	used      time.Time           // guarded by mu; when a call was here last, or it began to run
	pausing   bool                // guarded by mu; between a crash and the start after it
	reloading bool                // guarded by mu; calls wait for the new process
	stops     int                 // guarded by mu; how often somebody wanted it to stop
	moved     chan struct{}       // guarded by mu; closed and made anew with every change of what is above and of the view
	waiting   atomic.Int32        // calls that wait for it to run
	reloads   chan struct{}       // holds one value while it is reloaded
}

func newUnit(s *Supervisor, def config.Server) *unit {
	return &unit{s: s, name: def.Name, def: def, view: View{Name: def.Name, State: Stopped, Since: time.Now().UTC()},
		holds: map[string]*session{}, moved: make(chan struct{}), reloads: make(chan struct{}, 1)}
}

func (u *unit) definition() config.Server {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.def
}

// stir tells everybody who waits to look again. The caller holds u.mu.
func (u *unit) stir() {
	close(u.moved)
	u.moved = make(chan struct{})
}

// become sets the state. The caller holds u.mu.
func (u *unit) become(s State) {
	if u.view.State != s {
		u.view.State, u.view.Since = s, time.Now().UTC()
	}
}

func (u *unit) snapshot() View {
	u.mu.Lock()
	v, proc := u.view, u.proc
	v.Def, v.Lent = u.def, u.lent.And(u.next)
	v.Steps, v.Oddities = slices.Clone(u.steps), slices.Clone(u.oddities)
	if u.guard != nil {
		v.Frames = u.guard.Passed()
	}
	u.mu.Unlock()
	v.Wanted, v.Login = u.wanted.count(), u.signedIn()
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
	u.stir()
	u.mu.Unlock()
	u.s.o.Changed()
}

func (u *unit) note(format string, args ...any) {
	u.lines.add(cordonPrefix + fmt.Sprintf(format, args...))
}

// attempt is a start that several callers may wait for.
type attempt struct {
	told    chan struct{}
	err     error // written before told is closed
	waiters int   // guarded by the unit's mu; the last one to give up stops it
}

func (a *attempt) tell(err error) {
	if !a.done() {
		a.err = err
		close(a.told)
	}
}

func (a *attempt) done() bool {
	select {
	case <-a.told:
		return true
	default:
		return false
	}
}

// start makes the unit wanted and waits for the first attempt.
func (u *unit) start(ctx context.Context) error {
	u.mu.Lock()
	if u.pausing { // whoever wants it now does not wait, and the count begins anew
		u.ending = true
		u.cancel()
	}
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
	first := u.first
	if u.cancel == nil {
		first = u.begin()
	}
	first.waiters++
	u.mu.Unlock()
	select {
	case <-first.told:
		return first.err
	case <-ctx.Done():
	}
	u.mu.Lock()
	first.waiters--
	alone := first.waiters == 0 && u.first == first && u.cancel != nil && !first.done()
	u.ending = u.ending || alone
	u.mu.Unlock()
	if alone {
		u.end(context.Background())
	}
	return context.Cause(ctx)
}

// begin makes the unit wanted. The caller holds u.mu and has seen that it is not. After Close the attempt fails at once.
func (u *unit) begin() *attempt {
	run, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	first := &attempt{told: make(chan struct{})}
	work := func() {
		defer close(done)
		defer cancel()
		err := u.keepRunning(run, func() { first.tell(nil) })
		u.mu.Lock()
		u.cancel, u.ending = nil, false
		u.stir()
		u.mu.Unlock()
		first.tell(err) // who waits may start again at once
	}
	if !u.s.run(work) {
		cancel()
		first.tell(fmt.Errorf("%w: %s: everything is being closed", ErrNotRunning, u.name))
		return first
	}
	u.cancel, u.done, u.first = cancel, done, first
	return first
}

// stop is end for a person: a server that sleeps does not wake any more, and one that is being reloaded is not started again.
func (u *unit) stop(ctx context.Context) {
	u.mu.Lock()
	u.stops++
	asleep := u.view.State == Idle
	if asleep {
		u.become(Stopped)
		u.view.Tools, u.view.Prompts, u.view.Refused = nil, nil, nil
	}
	u.stir()
	u.mu.Unlock()
	if asleep {
		u.s.o.Changed()
	}
	u.end(ctx)
}

// end makes the unit unwanted and waits until nothing is left.
func (u *unit) end(ctx context.Context) {
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
		with := u.with
		u.mu.Unlock()
		if with != nil {
			with.kill()
		}
	})
	defer hurry()
	<-done
}

// keepRunning runs the server again and again until ctx ends, it falls asleep, it cannot start, or it crashes too often. It
// calls ready each time the server lists its tools, and returns why the last attempt ended.
func (u *unit) keepRunning(ctx context.Context, ready func()) error {
	worked := false
	run := func(restart bool) error { return u.worded(u.runOnce(ctx, restart, func() { worked = true; ready() })) }
	for restarts := 0; ; restarts++ {
		began := time.Now()
		u.update(func(v *View) {
			v.State, v.Err, v.Restarts, v.Refused = Starting, nil, restarts, nil
			u.pausing, u.oddities = false, nil
		})
		err := run(restarts > 0)
		if err != nil && ctx.Err() == nil {
			u.fails(err)
		}
		for again := 0; again < 2 && ctx.Err() == nil && anotherStart(err); again++ {
			u.note("%v; it is %s again", err, u.begun())
			before := err
			err = run(true)
			if errors.Is(before, errLegacyAfterAll) && anotherStart(err) { // it speaks neither; what it said first tells more
				err = before
				break
			}
		}
		if ctx.Err() != nil {
			u.update(func(v *View) { v.State, v.Err, v.Pid, v.Tools, v.Prompts = Stopped, nil, 0, nil, nil })
			return context.Canceled
		}
		if errors.Is(err, errIdle) {
			u.update(func(v *View) { v.Pid = 0 })
			return err
		}
		state, until := Crashed, time.Now()
		var refusal *sandbox.Refusal
		var mute *muteError
		switch {
		case errors.As(err, &refusal):
			state = Refused
		case needsPerson(err):
			state = SignIn
		case errors.As(err, &mute):
			state, until = Mute, mute.heard
		}
		if v := u.snapshot(); v.Limited {
			err = fmt.Errorf("%w (it was started without %s, because nobody has approved its program as it is)", err, strings.Join(Limits(v.Def), ", "))
		}
		if until.Sub(began) > steady {
			restarts = 0
		}
		var early *startError
		// Before it ever worked a person is waiting for the reason: say it, do not repeat the attempt.
		final := !worked || state == Refused || errors.As(err, &early)
		network := worked && state == Crashed && u.definition().Remote() && !errors.Is(err, ErrNameless)
		if network && (final || restarts+1 >= maxRestarts) { // whoever calls it next tries again
			u.note("%v", err)
			u.update(func(v *View) {
				v.State, v.Err = Idle, err
				u.session = nil
			})
			return err
		}
		if !final && restarts+1 >= maxRestarts {
			err, final = fmt.Errorf("%w; that was %s %d in a row, so it is not %s again by itself", err, u.attempted(), maxRestarts, u.begun()), true
		}
		u.note("%v", err)
		u.update(func(v *View) {
			v.State, v.Err, v.Pid, v.Tools, v.Prompts = state, err, 0, nil, nil
			u.pausing = !final
		})
		if final {
			return err
		}
		select {
		case <-ctx.Done():
			u.update(func(v *View) {
				v.State, v.Err = Stopped, nil
				u.pausing = false
			})
			return context.Canceled
		case <-time.After(jitter(u.s.o.Backoff << restarts)):
		}
	}
}

// wordedError is an error in which own secrets are masked and hidden characters are written out: the server chose some of its words.
type wordedError struct {
	text string
	err  error
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.err }

func (u *unit) worded(err error) error {
	if err == nil {
		return nil
	}
	if text := inspect.Reveal(u.s.o.Mask(err.Error())); text != err.Error() {
		return &wordedError{text, err}
	}
	return err
}

// begun and attempted are what becomes of a server when it is wanted: one elsewhere runs already.
func (u *unit) begun() string {
	if u.definition().Remote() {
		return "connected to"
	}
	return "started"
}

func (u *unit) attempted() string {
	if u.definition().Remote() {
		return "connection"
	}
	return "start"
}

// jitter returns something between a half and one and a half of d, so that what ended together does not start together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(max(d, 1)) }

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
	s, with := u.session, u.with
	held, looked := u.holds[c.ID]
	same := !looked || held == s
	if s != nil && with != nil && same {
		u.running = append(u.running, c.ID)
	}
	u.mu.Unlock()
	switch {
	case s == nil || with == nil:
		return tool.Result{}, fmt.Errorf("%w: %s", ErrNotRunning, u.name)
	case !same:
		return tool.Result{}, fmt.Errorf("%w: %s was %s again while this call was looked at; call again", ErrNotRunning, u.name, u.begun())
	}
	r, err := s.call(ctx, c)
	u.mu.Lock()
	u.running = slices.DeleteFunc(u.running, func(id string) bool { return id == c.ID })
	u.used = time.Now()
	u.stir()
	u.mu.Unlock()
	if err == nil || ctx.Err() != nil {
		return r, err
	}
	if with.ended(endPatience) {
		return tool.Result{}, fmt.Errorf("%s %s during the call", u.name, with.how())
	}
	return tool.Result{}, fmt.Errorf("%s: %w", u.name, err)
}
