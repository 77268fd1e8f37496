package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// observedHome stands for a home directory. Not below /tmp, which is private inside.
func observedHome(t *testing.T, files ...string) string {
	t.Helper()
	home, err := os.MkdirTemp("/var/tmp", "sandbox-observed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	for _, f := range files {
		path := filepath.Join(home, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// wanted returns the wants of a finished process, by kind and name.
func wanted(p *Process) map[string]Want {
	all := map[string]Want{}
	wants, _ := p.Wanted()
	for _, w := range wants {
		all[string(w.Kind)+" "+w.Name] = w
	}
	return all
}

func TestObserved(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		home := observedHome(t, "case/a", "case/b", "granted/c", ".ssh/id")
		granted := filepath.Join(home, "granted")
		acts := []string{"read=" + home + "/case/a", "list=" + home + "/case", "write=" + home + "/case/new", "append=" + home + "/case/b", "remove=" + home + "/case/b", "exec=" + home + "/case/a",
			"read=" + home + "/.ssh/id", "read=" + home + "/absent", "write=" + home + "/absent/new", "read=" + granted + "/c", "write=" + granted + "/d", "read=/etc/passwd", "read=/proc/self/status", "write=/tmp/x", "read=/tmp/y"}
		got, proc, _ := try(t, s, Profile{Read: []string{granted}, Observe: true}, Command{}, acts...)
		if len(got) != len(acts) {
			t.Fatalf("%d of %d acts", len(got), len(acts))
		}
		for _, r := range got {
			granted := r.Arg == granted+"/c" || r.Arg == "/etc/passwd" || r.Arg == "/proc/self/status"
			if r.Worked != granted && filepath.Dir(r.Arg) != "/tmp" {
				t.Errorf("%s %s: worked %v: %s", r.Act, r.Arg, r.Worked, r.Detail)
			}
		}
		have := wanted(proc)
		for _, want := range []string{"read " + home + "/case/a", "list " + home + "/case", "write " + home + "/case/new", "write " + home + "/case/b", "execute " + home + "/case/a",
			"read " + home + "/.ssh/id", "write " + granted + "/d"} {
			if have[want].Count == 0 {
				t.Errorf("not observed: %s", want)
			}
			delete(have, want)
		}
		for _, w := range have {
			if w.Kind != WantLook {
				t.Errorf("observed besides: %+v", w)
			}
		}
	})
}
