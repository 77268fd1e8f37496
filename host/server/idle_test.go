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
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/tool"
)

// sleepy gives the server "one" an idle time.
func (r *rig) sleepy(idle time.Duration) {
	r.change("one", func(d *config.Server) { d.Idle = config.Duration(idle) })
}

// change replaces a server's definition.
func (r *rig) change(name string, f func(d *config.Server)) {
	r.t.Helper()
	v, err := r.View(name)
	if err != nil {
		r.t.Fatal(err)
	}
	f(&v.Def)
	r.Set(v.Def)
}

// do looks a tool up and calls it, as the gate does. pause lies between the two.
func (r *rig) do(ctx context.Context, server, name, args string, pause time.Duration) (string, error) {
	c := frozen(server, name, args)
	c.ID = fmt.Sprintf("%016x", rand.Uint64())
	_, release, err := r.Supervisor.Tool(ctx, tool.CallTool, c.Tool.ID, c.ID)
	defer release()
	if err != nil {
		return "", err
	}
	time.Sleep(pause)
	if _, err := r.Fingerprint(ctx, server); err != nil {
		return "", err
	}
	res, err := r.Call(ctx, c)
	if err != nil || len(res.Content) != 1 {
		return "", err
	}
	return res.Content[0].Text, nil
}

func (r *rig) asleep() View {
	r.t.Helper()
	return r.waitFor("sleep", func(v View) bool { return v.State == Idle && v.Pid == 0 })
}

func (r *rig) stops() (reasons []string) {
	for _, e := range r.journal.of(audit.ServerStop) {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

func TestIdleServerSleepsUntilACall(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.sleepy(100 * time.Millisecond)
	r.start()
	before := r.view()
	v := r.asleep()
	r.gone(r.mark)
	if len(v.Tools) != len(before.Tools) || v.Err != nil || v.Fingerprint.Digest() != before.Fingerprint.Digest() || v.Instructions == "" {
		t.Errorf("asleep: %d tools, %v; want everything it listed still there", len(v.Tools), v.Err)
	}
	if got := r.stops(); !slices.Equal(got, []string{"idle"}) || r.journal.of(audit.ServerStop)[0].Facts["exit"] != "ended with status 0" {
		t.Errorf("recorded %+v", r.journal.of(audit.ServerStop))
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			args := fmt.Sprintf(`{"n":%d}`, i)
			if got, err := r.do(t.Context(), "one", "read_echo", args, 0); err != nil || got != args {
				t.Errorf("call %d = %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if n := len(r.journal.of(audit.ServerStart)); n != 2 {
		t.Errorf("%d starts, want two: the calls share one", n)
	}
	if v := r.view(); v.Restarts != 0 {
		t.Errorf("%d restarts; sleeping is no crash", v.Restarts)
	}
	r.asleep()
	if err := r.Start(t.Context(), "one"); err != nil || r.view().State != Running { // a person may wake it too
		t.Errorf("start = %v, %s", err, r.view().State)
	}
}

// TestCallsKeepAServerAwake: one that runs, one that is being looked at, progress that is told, and ports that it serves.
func TestCallsKeepAServerAwake(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode string
		busy func(r *rig)
	}{
		"a call that runs": {"ok", func(r *rig) {
			if got, err := r.do(r.t.Context(), "one", "read_later", `{"ms":500}`, 0); err != nil || got != "slept" {
				r.t.Errorf("the call = %q, %v", got, err)
			}
		}},
		"a call that is looked at": {"ok", func(r *rig) {
			if got, err := r.do(r.t.Context(), "one", "read_echo", `{}`, 500*time.Millisecond); err != nil || got != "{}" {
				r.t.Errorf("the call = %q, %v", got, err)
			}
		}},
		"progress": {"progress", func(*rig) { time.Sleep(4 * time.Second) }},
		"ports": {"ok", func(r *rig) {
			r.change("one", func(d *config.Server) { d.Net, d.Serve = config.NetLoopback, []uint16{48123} })
			if err := r.Restart(r.t.Context(), "one"); err != nil {
				r.t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.mode)
			r.sleepy(100 * time.Millisecond)
			if c.mode == "progress" {
				r.sleepy(2 * time.Second) // longer than a busy machine keeps it from talking
			}
			r.start()
			c.busy(r)
			if got := r.stops(); slices.Contains(got, "idle") {
				t.Errorf("it fell asleep: %q", got)
			}
			if c.mode == "ok" && name != "ports" {
				r.asleep()
			}
		})
	}
}

// TestCallsInTheMomentOfSleep: a server falls asleep as soon as it can, while calls come all the time. None meets a process that
// is being stopped.
func TestCallsInTheMomentOfSleep(t *testing.T) {
	t.Parallel()
	rounds := 200
	if testing.Short() {
		rounds = 50
	}
	r := newRig(t, "ok", func(o *Options) { o.Grace = 2 * time.Second })
	r.sleepy(time.Millisecond)
	r.start()
	var wg sync.WaitGroup
	const callers = 2 // more would leave it no moment to sleep
	for w := range callers {
		wg.Go(func() {
			for i := range rounds / callers {
				args := fmt.Sprintf(`{"n":"%d.%d"}`, w, i)
				if got, err := r.do(t.Context(), "one", "read_echo", args, rand.N(2*time.Millisecond)); err != nil || got != args {
					t.Errorf("call %s = %q, %v", args, got, err)
				}
				time.Sleep(rand.N(8 * time.Millisecond))
			}
		})
	}
	wg.Wait()
	r.asleep()
	starts, stops := r.journal.of(audit.ServerStart), r.stops()
	t.Logf("%d calls, %d starts", rounds, len(starts))
	if len(starts) < 2 || len(starts) != len(stops) || slices.ContainsFunc(stops, func(s string) bool { return s != "idle" }) {
		t.Errorf("%d starts, stops %q; want as many of each, all idle", len(starts), stops)
	}
}

// A server that does not end when it should sleep is ended, with all that it started, and a call that comes meanwhile waits for the
// next process.
func TestServersThatDoNotWantToSleep(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"stubborn", "ignores-eof", "stderr-flood", "orphan", "ping-flood"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode, func(o *Options) { o.Grace = 200 * time.Millisecond })
			r.sleepy(50 * time.Millisecond)
			r.start()
			pid := r.view().Pid
			r.waitFor("sleep", func(v View) bool { return v.State == Idle })
			if got, err := r.do(t.Context(), "one", "read_echo", `{}`, 0); err != nil || got != "{}" {
				t.Errorf("the call = %q, %v", got, err)
			}
			if now := r.view(); now.Pid == pid {
				t.Error("the call reached the process that was to sleep")
			}
			r.asleep()
			r.gone(r.mark)
		})
	}
}

// TestEverybodyWantsSomethingElse: calls, stops, starts, reloads and sleep at the same time. What a call gets back is its own answer
// or an error, and nothing is left.
func TestEverybodyWantsSomethingElse(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok", func(o *Options) { o.Grace, o.Drain = 100*time.Millisecond, 50*time.Millisecond })
	r.sleepy(2 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var answers, refusals atomic.Int32
	var wg sync.WaitGroup
	for i, f := range []func(){
		func() { _ = r.Start(ctx, "one") },
		func() { _ = r.Stop(ctx, "one") },
		func() { _ = r.Reload(ctx, "one") },
		func() { _ = r.Restart(ctx, "one") },
		func() {
			short, cancel := context.WithTimeout(ctx, rand.N(20*time.Millisecond))
			defer cancel()
			_, _ = r.do(short, "one", "read_echo", "{}", 0)
		},
		func() { r.sleepy(time.Duration(rand.IntN(3)) * time.Millisecond); r.Views() },
	} {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
				time.Sleep(rand.N(time.Duration(i+1) * 40 * time.Millisecond))
			}
		})
	}
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				args := fmt.Sprintf(`{"n":"%d.%d"}`, w, n)
				switch got, err := r.do(ctx, "one", "read_echo", args, rand.N(3*time.Millisecond)); {
				case err != nil:
					refusals.Add(1)
					time.Sleep(time.Millisecond)
				case got != args:
					t.Errorf("call %s = %q", args, got)
				default:
					answers.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d answers, %d errors, %d starts", answers.Load(), refusals.Load(), len(r.journal.of(audit.ServerStart)))
	if u := r.one(); len(u.holds) != 0 || len(u.running) != 0 || u.waiting.Load() != 0 {
		t.Errorf("left: holds %v, running %v, %d waiting", u.holds, u.running, u.waiting.Load())
	}
	r.sleepy(time.Minute) // a busy machine may have answered nothing so far
	if err := r.Restart(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if got, err := r.do(t.Context(), "one", "read_echo", "{}", 0); err != nil || got != "{}" {
		t.Errorf("a call after all this = %q, %v", got, err)
	}
	r.Close(context.Background())
	r.gone(r.mark)
	if a, b := len(r.journal.of(audit.ServerStart)), len(r.journal.of(audit.ServerStop)); a != b {
		t.Errorf("%d starts and %d stops are recorded", a, b)
	}
	if free := r.turns.free; free != r.o.Starts {
		t.Errorf("%d turns are free of %d", free, r.o.Starts)
	}
}

func TestStopWhileAsleep(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.sleepy(50 * time.Millisecond)
	r.start()
	r.asleep()
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if v := r.view(); v.State != Stopped || len(v.Tools) != 0 {
		t.Errorf("it is %s with %d tools", v.State, len(v.Tools))
	}
	if _, err := r.do(t.Context(), "one", "read_echo", `{}`, 0); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a call = %v, want ErrNotRunning: a person stopped it", err)
	}
	r.sleepy(time.Minute)
	r.start()
	r.works()
}

// A call that is given up while its server wakes takes nothing from the others.
func TestWakingOutlivesACaller(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.sleepy(100 * time.Millisecond)
	r.start()
	r.asleep()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.do(ctx, "one", "read_echo", `{}`, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call = %v", err)
	}
	if got, err := r.do(t.Context(), "one", "read_echo", `{}`, 0); err != nil || got != "{}" {
		t.Errorf("the other call = %q, %v", got, err)
	}
	if n := len(r.journal.of(audit.ServerStart)); n != 2 {
		t.Errorf("%d starts, want two", n)
	}
}

// What changed on the disk while it slept shows before the call, and a call that was looked up before runs on no other process.
func TestChangedWhileAsleep(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	path := r.copyFake()
	r.sleepy(100 * time.Millisecond)
	r.start()
	before := r.asleep().Fingerprint
	replace(t, path, "x")
	if _, err := r.Call(t.Context(), frozen("one", "read_echo", "{}")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a call that nobody compared = %v, want ErrNotRunning", err)
	}
	c := frozen("one", "read_echo", "{}")
	_, release, err := r.Supervisor.Tool(t.Context(), tool.CallTool, c.Tool.ID, c.ID)
	defer release()
	if err != nil {
		t.Fatal(err)
	}
	after, err := r.Fingerprint(t.Context(), "one")
	if err != nil || after.Binary == before.Binary || after.Stale {
		t.Errorf("the changed program does not show: %v", err)
	}
	if err := r.Restart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Call(t.Context(), c); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "started again") {
		t.Errorf("a call on another process than was looked at = %v", err)
	}
}

// What a sleeping server becomes that does not start any more.
func TestBrokenWhileAsleep(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.sleepy(50 * time.Millisecond)
	r.start()
	r.asleep()
	r.change("one", func(d *config.Server) { d.Command = append([]string{d.Command[0], "exit-at-once"}, d.Command[2:]...) })
	_, err := r.do(t.Context(), "one", "read_echo", `{}`, 0)
	has(t, err, "ended with status 4")
	if v := r.view(); !errors.Is(err, ErrNotRunning) || v.State != Crashed {
		t.Errorf("a call = %v, it is %s", err, v.State)
	}
}

// A call that arrives while a server starts waits for it.
func TestCallWaitsForAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Start(t.Context(), "one") })
	r.waitFor("a start", func(v View) bool { return v.State != Stopped })
	if _, err := r.Tool(tool.ID{Server: "one", Name: "read_echo"}); err != nil {
		t.Errorf("Tool = %v", err)
	}
	wg.Wait()
}
