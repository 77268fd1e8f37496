package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
)

func impatient(o *Options) { o.PingAfter, o.PingPatience = 100*time.Millisecond, 200*time.Millisecond }

// A server that lives and answers nothing is started again with pauses, and in the end no more.
func TestMuteServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, "mute", impatient)
	r.start()
	v := r.waitFor("an end", func(v View) bool {
		return v.State == Mute && strings.Contains(fmt.Sprint(v.Err), "not started again by itself")
	})
	has(t, v.Err, "did not answer 2 pings", "start 5 in a row")
	if n := len(r.journal.of(audit.ServerStart)); n != maxRestarts || len(r.stops()) != maxRestarts {
		t.Errorf("%d starts, %d stops; want %d", n, len(r.stops()), maxRestarts)
	}
	if !strings.Contains(r.log(), "has not answered a ping") {
		t.Errorf("the log says %q", r.log())
	}
	r.gone(r.mark)
	r.start() // a person may try again
	if v := r.view(); v.Restarts != 0 {
		t.Errorf("a person's start is number %d", v.Restarts)
	}
}

// One that answers is left alone: to a ping, with an error, with other messages, and while a call runs that it works on.
func TestServersThatLive(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"ok", "no-ping", "progress", "no-pong"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode, impatient, func(o *Options) {
				switch mode { // longer than a busy machine keeps it from talking
				case "progress":
					o.PingPatience = time.Second
				case "ok", "no-ping":
					o.PingPatience = 10 * time.Second
				}
			})
			r.start()
			pid := r.view().Pid
			switch mode {
			case "ok", "no-ping":
				r.waitFor("pings", func(View) bool { return strings.Count(r.log(), "pinged") >= 3 })
			case "progress":
				time.Sleep(2500 * time.Millisecond) // more than two questions take, which it does not answer
			case "no-pong": // it never answers a ping; while it works on a call it is not asked
				if got, err := r.call("read_later", `{"ms":1500}`); err != nil || got != "slept" {
					t.Errorf("the call = %q, %v", got, err)
				}
			}
			if mode == "no-pong" {
				return // it is ended after its call
			}
			if v := r.view(); v.State != Running || v.Pid != pid {
				t.Errorf("it is %s, pid %d was %d", v.State, v.Pid, pid)
			}
			r.works()
		})
	}
}

func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		d := jitter(time.Second)
		if d < time.Second/2 || d > 3*time.Second/2 {
			t.Errorf("%v", d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different pauses of 100", len(seen))
	}
}

// The most urgent start comes next, the first of several; one that was given up takes no turn.
func TestTurns(t *testing.T) {
	all := turns{free: 1}
	release, err := all.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	queue := func(ctx context.Context, name string, u urgency) {
		wg.Go(func() {
			done, err := all.take(ctx, func() urgency { return u })
			if err != nil {
				name = "gave up"
			} else {
				defer done()
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		})
		for n := 0; n == 0 || !slices.ContainsFunc(all.queued(), func(w *turn) bool { return w.urgency() == u }); n++ {
			time.Sleep(time.Millisecond)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	queue(t.Context(), "restart", afterCrash)
	queue(t.Context(), "first", firstStart)
	queue(ctx, "call", callWaits)
	cancel()
	for len(all.queued()) != 2 {
		time.Sleep(time.Millisecond)
	}
	queue(t.Context(), "another call", callWaits)
	release()
	release() // a second time changes nothing
	wg.Wait()
	if want := []string{"gave up", "another call", "first", "restart"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	if all.free != 1 {
		t.Errorf("%d turns are free, want one", all.free)
	}
}

func (t *turns) queued() []*turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.waiting)
}

// A server that says nothing holds the others up for a moment only.
func TestSilentStartsLetOthersStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "silent", func(o *Options) { o.Starts = 1 })
	r.define("two", "ok")
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Start(t.Context(), "one") })
	r.waitFor("its start", func(v View) bool { return v.Pid != 0 })
	if err := r.Start(t.Context(), "two"); err != nil {
		t.Error(err)
	}
	if v := r.view(); v.State != Starting {
		t.Errorf("the silent one is %s; the other one waited for its end", v.State)
	}
	wg.Wait()
}

// A reload waits for the calls that run, and the calls that come meanwhile for the reload.
func TestReload(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	pid := r.view().Pid
	r.change("one", func(d *config.Server) { d.Env = map[string]string{"NEW": "value"} })
	var wg sync.WaitGroup
	began := make(chan struct{})
	wg.Go(func() {
		close(began)
		if got, err := r.do(t.Context(), "one", "read_later", `{"ms":700}`, 0); err != nil || got != "slept" {
			t.Errorf("the call that ran = %q, %v", got, err)
		}
	})
	<-began
	for r.active() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 2 { // two at once are two, one after the other
		wg.Go(func() {
			if err := r.Reload(t.Context(), "one"); err != nil {
				t.Errorf("reload: %v", err)
			}
		})
	}
	r.waitFor("the reload", func(View) bool { return r.reloading() })
	if got, err := r.do(t.Context(), "one", "get_env", `{"name":"NEW"}`, 0); err != nil || !strings.HasSuffix(got, "value") {
		t.Errorf("a call that came meanwhile = %q, %v; want the new definition", got, err)
	}
	wg.Wait()
	if v := r.view(); v.State != Running || v.Pid == pid {
		t.Errorf("it is %s, pid %d was %d", v.State, v.Pid, pid)
	}
}

func (r *rig) one() *unit {
	u, err := r.unit("one")
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

func (r *rig) active() int {
	u := r.one()
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.running)
}

func (r *rig) reloading() bool {
	u := r.one()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reloading
}

// Stopping does not wait for the calls that run, and they say so.
func TestStopDuringACall(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := r.do(t.Context(), "one", "read_later", `{"ms":60000}`, 0)
		if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "during the call") {
			t.Errorf("the call = %v; want that it was stopped", err)
		}
	})
	for r.active() == 0 {
		time.Sleep(time.Millisecond)
	}
	within(t, 20*time.Second, "stopping", func() { _ = r.Stop(t.Context(), "one") })
	wg.Wait()
}

// What may happen while a reload waits: its bound, the end of who wanted it, and a stop.
func TestReloadThatWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain time.Duration
		act   func(r *rig, cancel func())
		want  error
		state State
		again bool // another process runs afterwards
	}{
		"until its bound":      {50 * time.Millisecond, func(*rig, func()) {}, nil, Running, true},
		"until it is given up": {time.Hour, func(_ *rig, cancel func()) { cancel() }, context.Canceled, Running, false},
		"until a stop":         {time.Hour, func(r *rig, _ func()) { _ = r.Stop(r.t.Context(), "one") }, ErrNotRunning, Stopped, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "ok", func(o *Options) { o.Drain = c.drain })
			r.start()
			pid := r.view().Pid
			call, end := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = r.do(call, "one", "read_later", `{"ms":60000}`, 0) })
			for r.active() == 0 {
				time.Sleep(time.Millisecond)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			wg.Go(func() {
				r.waitFor("the reload", func(View) bool { return r.reloading() })
				c.act(r, cancel)
			})
			if err := r.Reload(ctx, "one"); !errors.Is(err, c.want) {
				t.Errorf("reload = %v, want %v", err, c.want)
			}
			if v := r.view(); v.State != c.state || v.Pid == pid == c.again || r.reloading() {
				t.Errorf("it is %s, pid %d was %d, reloading %v", v.State, v.Pid, pid, r.reloading())
			}
			end()
			wg.Wait()
		})
	}
}

// Nothing is started that did not run; a sleeping server wakes as what it is now.
func TestReloadOfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	if err := r.Reload(t.Context(), "one"); err != nil || r.view().State != Stopped {
		t.Errorf("a stopped one: %v, %s", err, r.view().State)
	}
	r.sleepy(50 * time.Millisecond)
	r.start()
	r.asleep()
	r.change("one", func(d *config.Server) { d.Env = map[string]string{"NEW": "value"} })
	if err := r.Reload(t.Context(), "one"); err != nil || r.view().State != Idle {
		t.Errorf("a sleeping one: %v, %s", err, r.view().State)
	}
	if got, err := r.do(t.Context(), "one", "get_env", `{"name":"NEW"}`, 0); err != nil || !strings.HasSuffix(got, "value") {
		t.Errorf("after waking = %q, %v", got, err)
	}
	if err := r.Reload(t.Context(), "two"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown one: %v", err)
	}
}
