package host_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/learn"
	"cordon/host/server"
)

// wish returns what could be granted to a server, once there is something of that kind.
func (r *rig) wish(name, does string) learn.Asked {
	r.t.Helper()
	for range 400 {
		p, err := r.Suggest(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if i := slices.IndexFunc(p.Asked, func(a learn.Asked) bool { return a.Does == does }); i >= 0 {
			return p.Asked[i]
		}
		time.Sleep(10 * time.Millisecond)
	}
	p, _ := r.Suggest(name)
	r.t.Fatalf("%s %s nothing; %+v", name, does, p)
	return learn.Asked{}
}

// A server that is watched is granted nothing by that; what it asked for can be lent for one run, granted, or refused for good.
func TestWanted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	folder, err := os.MkdirTemp("/var/tmp", "cordon-test-") // /tmp is private inside, so nobody is proposed anything there
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "note.txt")
	put(t, file, "evidence")
	read := func() bool {
		got, err := r.call("one", "read_thing", object{"path": file})
		return err == nil && got == "evidence"
	}
	if _, err := r.Observe(t.Context(), "one", true); err != nil {
		t.Fatal(err)
	}
	if read() {
		t.Error("watching granted it")
	}
	a := r.wish("one", "reads")
	if a.Grant != file {
		t.Fatalf("asked for %+v, not for %s", a, file)
	}
	g := config.Grants{Read: []string{a.Grant}}

	if _, err := r.Lend(t.Context(), "one", g); err != nil {
		t.Fatal(err)
	}
	if !read() {
		t.Error("what was lent cannot be read")
	}
	if p, _ := r.Suggest("one"); len(p.Asked) != 0 {
		t.Errorf("what is lent is still asked for: %+v", p.Asked)
	}
	if v, _ := r.Servers.View("one"); !slices.Equal(v.Lent.Read, g.Read) || slices.Contains(v.Def.Read, file) {
		t.Errorf("lent %+v, defined with %q", v.Lent, v.Def.Read)
	}
	// Started again for another reason, its run goes on for the person.
	if _, err := r.Observe(t.Context(), "one", false); err != nil || !read() {
		t.Errorf("after a reload it cannot be read: %v", err)
	}
	if err := r.Servers.Restart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if read() {
		t.Error("it can still be read in the next run")
	}
	if def, _ := r.Config().Server("one"); slices.Contains(def.Read, file) {
		t.Errorf("once was for good: %q", def.Read)
	}

	if err := r.Never("one", a.Grant, true); err != nil {
		t.Fatal(err)
	}
	if p, _ := r.Suggest("one"); len(p.Asked) != 0 {
		t.Errorf("asked again: %+v", p.Asked)
	}
	r.close()
	r.open() // that is kept
	if def, _ := r.Config().Server("one"); !slices.Equal(def.Never, []string{a.Grant}) {
		t.Errorf("never %q", def.Never)
	}
	if _, err := r.Grant(t.Context(), "one", g); err != nil {
		t.Fatal(err)
	}
	if def, _ := r.Config().Server("one"); len(def.Never) != 0 {
		t.Errorf("granted and refused at once: %q", def.Never)
	}
	r.start("one")
	if !read() {
		t.Error("what was granted cannot be read")
	}
	for what, g := range map[string]config.Grants{"everything": {Read: []string{"/"}}, "own state": {Write: []string{r.paths.State}}, "a broken host": {Hosts: []string{"*"}}, "what is not there": {Read: []string{file + "x"}}} {
		_, err := r.Lend(t.Context(), "one", g)
		if v, _ := r.Servers.View("one"); err == nil || !v.Lent.Empty() && v.State == server.Running {
			t.Errorf("%s was lent: %+v", what, v.Lent)
		}
	}
	entries, err := r.Log().Query(audit.Query{Text: "for one run"})
	if err != nil || len(entries.Entries) == 0 {
		t.Errorf("lending is not in the log: %v", err)
	}
}

// A program that nobody has approved gets no host by being watched, and one that has no network reaches nothing: both only tell what they
// would reach.
func TestWatchedReachesNothing(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("reached")) }))
	defer web.Close()
	host := strings.TrimPrefix(web.URL, "http://")
	if _, _, err := net.SplitHostPort(host); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.open()
	r.add("none", filepath.Join(binaries, "fake"), "web", "mark-"+random())
	r.approve("none")
	if _, err := r.Observe(t.Context(), "none", true); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://example.test:8080/", web.URL} {
		if got, err := r.call("none", "read_web", object{"path": url}); strings.Contains(got, "reached") {
			t.Errorf("a watched server reached %s: %q, %v", url, got, err)
		}
	}
	if a := r.wish("none", "talks to"); a.Grant != "example.test:8080" {
		t.Errorf("asked for %+v", a)
	}
	if v, _ := r.Servers.View("none"); v.Def.Net != config.NetNone {
		t.Errorf("its network has become %q", v.Def.Net)
	}
}

// What is lent to one run ends with it, also when somebody stops the server, or it crashes, while it is being started again for the lending.
func TestLentForOneRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	file := filepath.Join(r.dir, "note.txt")
	put(t, file, "evidence")
	g := config.Grants{Read: []string{file}}
	for _, end := range []string{"stop", "crash"} {
		if _, err := r.Lend(t.Context(), "one", g); err != nil {
			t.Fatal(err)
		}
		slow := make(chan error, 1)
		calls := func() int {
			entries, _ := r.Log().Query(audit.Query{Text: "read_later"})
			return len(entries.Entries)
		}
		before := calls()
		go func() { // ends with the call
			_, err := r.call("one", "read_later", object{"ms": 60_000})
			slow <- err
		}()
		for range 500 { // until it runs
			if calls() > before {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		reloaded := make(chan struct{})
		go func() { // ends with the reload
			defer close(reloaded)
			_ = r.Servers.Reload(t.Context(), "one")
		}()
		time.Sleep(100 * time.Millisecond) // it waits for the call
		if end == "stop" {
			if err := r.Servers.Stop(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
		} else {
			v, err := r.Servers.View("one")
			if err != nil || v.Pid == 0 {
				t.Fatalf("%+v, %v", v, err)
			}
			if err := syscall.Kill(v.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		<-slow
		<-reloaded
		r.start("one")
		if v, _ := r.Servers.View("one"); !v.Lent.Empty() {
			t.Errorf("after a %s it still has %+v", end, v.Lent)
		}
		if got, err := r.call("one", "read_thing", object{"path": file}); err == nil {
			t.Errorf("after a %s: %q", end, got)
		}
	}
	// What is not there is lent to nobody, and what cannot be recorded is not done.
	before, _ := r.Servers.View("one")
	for _, path := range []string{file + "x", filepath.Join(r.dir, "link")} {
		_ = os.Symlink(file, filepath.Join(r.dir, "link"))
		if _, err := r.Lend(t.Context(), "one", config.Grants{Read: []string{path}}); err == nil {
			t.Errorf("%s was lent", path)
		}
		if _, err := r.Grant(t.Context(), "one", config.Grants{Read: []string{path}}); err == nil {
			t.Errorf("%s was granted", path)
		}
	}
	if v, _ := r.Servers.View("one"); v.Pid != before.Pid || v.State != server.Running || !v.Lent.Empty() {
		t.Errorf("it is %s with %+v: %v", v.State, v.Lent, v.Err)
	}
}
