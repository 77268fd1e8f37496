package server

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/sandbox/held"
)

const (
	crowd    = 50 // servers at once
	crashing = 10 // of them, which end soon after each start
)

// startHeld is what this process holds once it has run a server.
func startHeld(t *testing.T) held.Count {
	warm := newRig(t, "ok")
	warm.start()
	warm.Close(context.Background())
	return held.Now()
}

// leavesNothing fails if more is held than before.
func leavesNothing(t *testing.T, before held.Count) {
	t.Helper()
	if err := held.Settle(before); err != nil {
		t.Error(err)
	}
}

// crowdOf defines servers named s00 to s49, of which the last crash, and returns their marks.
func (r *rig) crowdOf(mode, last string) (names, marks []string) {
	for i := range crowd {
		m := mode
		if i >= crowd-crashing {
			m = last
		}
		name := fmt.Sprintf("s%02d", i)
		names, marks = append(names, name), append(marks, r.define(name, m))
	}
	return names, marks
}

// TestFiftyServers starts fifty confined servers at once, ten of which crash again and again, calls all others while they do, and
// finds nothing of them afterwards. Alone, because it counts what this process holds.
func TestFiftyServers(t *testing.T) {
	before := startHeld(t)
	r := newRig(t, "ok", func(o *Options) { o.Backoff = 20 * time.Millisecond })
	names, marks := r.crowdOf("ok", "crash-after-list")
	var wg sync.WaitGroup
	began := time.Now()
	var mu sync.Mutex
	var took []time.Duration
	for _, name := range names {
		wg.Go(func() {
			if err := r.Start(t.Context(), name); err != nil {
				t.Errorf("start %s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(began))
		})
	}
	wg.Wait()
	slices.Sort(took)
	t.Logf("listed: the first after %v, half after %v, all after %v", took[0], took[len(took)/2], took[len(took)-1])
	for round := range 5 {
		for i, name := range names[:crowd-crashing] {
			wg.Go(func() {
				args := fmt.Sprintf(`{"n":"%d.%d"}`, i, round)
				if got, err := r.do(t.Context(), name, "read_echo", args, 0); err != nil || got != args {
					t.Errorf("call of %s = %q, %v", name, got, err)
				}
			})
		}
		wg.Wait()
	}
	for _, name := range names[crowd-crashing:] {
		for v := (View{}); v.State != Crashed || !strings.Contains(fmt.Sprint(v.Err), "not started again"); {
			var err error
			if v, err = r.View(name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, v := range r.Views() {
		if strings.HasPrefix(v.Name, "s") && v.State != Crashed && (v.State != Running || v.Restarts != 0) {
			t.Errorf("%s is %s after %d restarts", v.Name, v.State, v.Restarts)
		}
	}
	if starts := len(r.journal.of(audit.ServerStart)); starts != crowd-crashing+crashing*maxRestarts {
		t.Errorf("%d starts are recorded", starts)
	}
	r.Close(context.Background())
	for _, mark := range marks {
		r.gone(mark)
	}
	if a, b := len(r.journal.of(audit.ServerStart)), len(r.journal.of(audit.ServerStop)); a != b {
		t.Errorf("%d starts and %d stops are recorded", a, b)
	}
	leavesNothing(t, before)
}

// TestCloseDuringFiftyStarts: some run, some start, most wait for their turn; calls come and wake what sleeps.
func TestCloseDuringFiftyStarts(t *testing.T) {
	before := startHeld(t)
	for _, pause := range []time.Duration{0, 20 * time.Millisecond, 150 * time.Millisecond} {
		r := newRig(t, "ok", func(o *Options) { o.Grace = 100 * time.Millisecond })
		names, marks := r.crowdOf("ok", "stubborn")
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() { _ = r.Start(t.Context(), name) })
			wg.Go(func() { _, _ = r.do(t.Context(), name, "read_echo", "{}", 0) })
		}
		time.Sleep(pause)
		closed := make(chan struct{})
		go func() { defer close(closed); r.Close(context.Background()) }()
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatal("Close does not return")
		}
		wg.Wait()
		if err := r.Start(t.Context(), names[0]); err == nil {
			t.Error("a server was started after Close")
		}
		for _, v := range r.Views() {
			if v.State != Stopped || v.Pid != 0 {
				t.Errorf("%s is %s, pid %d", v.Name, v.State, v.Pid)
			}
		}
		for _, mark := range marks {
			r.gone(mark)
		}
	}
	leavesNothing(t, before)
}

// TestStartStopCycles starts and stops a server, wakes it and lets it sleep, and finds as much held as before.
func TestStartStopCycles(t *testing.T) {
	cycles := 50
	if n, err := strconv.Atoi(os.Getenv("SERVER_CYCLES")); err == nil {
		cycles = n
	}
	r := newRig(t, "ok")
	cycle := func(i int) {
		if i%2 == 0 {
			r.sleepy(0)
			r.start()
			r.works()
			if err := r.Stop(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			return
		}
		r.sleepy(time.Millisecond)
		r.start()
		for r.view().State != Idle {
			time.Sleep(time.Millisecond)
		}
		if _, err := r.do(t.Context(), "one", "read_echo", "{}", 0); err != nil {
			t.Fatal(err)
		}
		if err := r.Stop(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		cycle(i)
	}
	before := held.Now()
	for i := range cycles {
		cycle(i)
	}
	leavesNothing(t, before)
	t.Logf("%d cycles: before %+v, after %+v", cycles, before, held.Now())
}
