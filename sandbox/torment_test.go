package sandbox

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cordon/sandbox/held"
)

// TestSupervisorIsTormented has a program do its worst to who answers for it outside: every call is answered, and nothing else
// happens.
func TestSupervisorIsTormented(t *testing.T) {
	needMedium(t)
	if os.Geteuid() == 0 {
		asOrdinaryUser(t, "^TestSupervisorIsTormented$") // root can read what cannot be read
		return
	}
	for _, c := range []column{mediumColumn(t), mediumOldColumn(t)} {
		for _, act := range []string{"flood", "killed", "unreadable", "bad-memory", "other-descriptors"} {
			p := probe{class: "torment", name: act, act: act, setup: func(s *scene) []string { return []string{s.in("own")} }}
			if o := p.run(t, c); !o.Through {
				t.Errorf("%s: %s: %s; want every call answered", c.name, act, o.Detail)
			}
		}
	}
}

// needMedium skips where one of the two tiers cannot be had. Each alone is enough for a machine to be fit.
func needMedium(t *testing.T) {
	t.Helper()
	box(t)
	if !mediumHere {
		t.Skip("the medium tier cannot be had here")
	}
}

// TestStormEnds stops a program whose processes make the next and end, as fast as they can. They hold its standard output.
func TestStormEnds(t *testing.T) {
	needMedium(t)
	if os.Geteuid() == 0 {
		asOrdinaryUser(t, "^TestStormEnds$") // the limit that ends storms does not hold for root
		return
	}
	program := filepath.Join(binaries, "escape")
	for name, k := range map[string]Kernel{"strong": machine, "medium": withoutNamespaces(machine.Landlock), "medium, Landlock 4": withoutNamespaces(4)} {
		for range 5 {
			out, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			s := &Sandbox{Kernel: k, Launcher: filepath.Join(binaries, "cordon-launch")}
			p, err := s.Start(t.Context(), Profile{Read: []string{program}}, Command{Argv: []string{program, "storm-at-full-speed"}}, Files{Out: w})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			line := make([]byte, len(`{"worked":true`))
			if _, err := io.ReadFull(out, line); err != nil || string(line) != `{"worked":true` {
				t.Fatalf("%s: %q, %v", name, line, err)
			}
			time.Sleep(50 * time.Millisecond)
			from := time.Now()
			p.Stop(t.Context(), 20*time.Millisecond)
			took := time.Since(from)
			_ = out.SetReadDeadline(time.Now().Add(2 * time.Second))
			if _, err := io.Copy(io.Discard, out); err != nil {
				t.Errorf("%s: the storm rages on: %v", name, err)
			}
			if took > 5*time.Second {
				t.Errorf("%s: stopping took %s", name, took)
			}
			out.Close()
		}
	}
}

// TestCyclesLeaveNothing starts and ends programs a thousand times, in every way there is.
func TestCyclesLeaveNothing(t *testing.T) {
	needMedium(t)
	for name, k := range map[string]Kernel{"strong": machine, "medium": withoutNamespaces(machine.Landlock)} {
		t.Run(name, func(t *testing.T) { cycles(t, k) })
	}
}

func cycles(t *testing.T, k Kernel) {
	base := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", base)
	s := &Sandbox{Kernel: k, Launcher: filepath.Join(binaries, "cordon-launch")}
	sleeper := mark()
	cycle := func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := Command{Argv: []string{"/bin/sh", "-c", "sleep " + sleeper + " & sleep " + sleeper}}
		net := NetLoopback
		switch i % 6 {
		case 0:
			c.Argv = []string{"/bin/true"}
		case 1:
			c.Argv = []string{"/nonexistent"}
		case 2:
			net = NetHosts
		case 3:
			time.AfterFunc(time.Duration(i%7)*time.Millisecond, cancel)
		}
		profile := Profile{Net: net}
		if i%2 == 0 {
			profile.Memory, profile.Pids = 256<<20, 64 // and a cgroup, where one can be had
		}
		p, err := s.Start(ctx, profile, c, Files{})
		if err != nil {
			return
		}
		switch i % 6 {
		case 0:
			p.Wait()
		case 4:
			p.Kill()
			<-p.Done()
		default:
			p.Stop(t.Context(), time.Millisecond)
		}
	}
	for i := range 12 {
		cycle(i)
	}
	before := held.Now()
	n := 1000
	if testing.Short() {
		n = 200
	}
	for i := range n {
		cycle(i)
	}
	if err := held.Settle(before); err != nil {
		t.Error(err)
	}
	t.Logf("%d times: before %+v, after %+v", n, before, held.Now())
	if left := processesWith(sleeper); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if es, err := os.ReadDir(base); err != nil || len(es) > 0 {
		t.Errorf("left in the folder of the user: %v, %v", es, err)
	}
}
