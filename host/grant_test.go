package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/server"
)

// TestGrant: what is granted counts at once, calls that run are not cut off, the approval stays, and what is taken away is gone.
func TestGrant(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	folder := filepath.Join(r.dir, "more")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "note.txt")
	put(t, file, "evidence")
	read := func() (string, error) { return r.call("one", "read_thing", object{"path": file}) }
	if got, err := read(); err == nil {
		t.Fatalf("before it is granted: %q", got)
	}
	slow := make(chan error, 1)
	go func() { // ends with the call
		_, err := r.call("one", "read_later", object{"ms": 300})
		slow <- err
	}()
	for range 200 { // until it runs
		if entries, _ := r.Log().Query(audit.Query{Text: "read_later"}); len(entries.Entries) > 0 {
			break
		}
	}
	changes, err := r.Grant(t.Context(), "one", config.Grants{Read: []string{folder}})
	if err != nil || len(changes) != 1 || changes[0].Key != "read" {
		t.Fatalf("%+v, %v", changes, err)
	}
	if err := <-slow; err != nil {
		t.Errorf("a call that ran meanwhile: %v", err)
	}
	if got, err := read(); err != nil || got != "evidence" {
		t.Errorf("after it is granted: %q, %v", got, err)
	}
	asked := len(r.prompts())
	if def, _ := r.Config().Server("one"); len(def.Read) != 1 || def.Read[0] != folder {
		t.Errorf("defined with %q", def.Read)
	}
	if changes, err := r.Grant(t.Context(), "one", config.Grants{Read: []string{folder}}); err != nil || changes != nil {
		t.Errorf("the same again: %+v, %v", changes, err)
	}
	for what, g := range map[string]config.Grants{"everything": {Read: []string{"/"}}, "own state": {Write: []string{r.paths.State}}, "a broken host": {Hosts: []string{"*"}}, "a relative path": {Read: []string{"x"}}} {
		if changes, err := r.Grant(t.Context(), "one", g); err == nil {
			t.Errorf("%s was granted: %+v", what, changes)
		}
	}
	if _, err := r.Grant(t.Context(), "two", config.Grants{Read: []string{folder}}); err == nil || !strings.Contains(err.Error(), server.ErrUnknown.Error()) {
		t.Errorf("an unknown server: %v", err)
	}
	if got, err := read(); err != nil || got != "evidence" || len(r.prompts()) != asked {
		t.Errorf("after what was refused: %q, %v", got, err)
	}
	if _, err := r.Revoke(t.Context(), "one", config.Grants{Read: []string{folder}}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(); err == nil {
		t.Errorf("after it is taken away: %q", got)
	}
	// A server that is only starting has what it was granted when it began.
	for range 5 {
		if err := r.Servers.Stop(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Grant(t.Context(), "one", config.Grants{Read: []string{folder}}); err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{})
		go func() { // ends with the start, which may be another's by then
			defer close(started)
			_ = r.Servers.Start(t.Context(), "one")
		}()
		for { // until its process is there
			if v, err := r.Servers.View("one"); err != nil || v.Pid != 0 {
				break
			}
		}
		if _, err := r.Revoke(t.Context(), "one", config.Grants{Read: []string{folder}}); err != nil {
			t.Fatal(err)
		}
		<-started
		if got, err := read(); err == nil {
			t.Errorf("taken away while it starts: %q", got)
		}
	}
}
