package host_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cordon/host/audit"
	"cordon/host/gate"
	"cordon/host/pin"
	"cordon/host/server"
)

// copied puts a copy of the fake server where a test may change it, and returns its path and its bytes.
func (r *rig) copied() (path string, text []byte) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(binaries, "fake"))
	if err != nil {
		r.t.Fatal(err)
	}
	path = filepath.Join(r.dir, "fake")
	r.program(path, text)
	return path, text
}

// program replaces an executable file, which may be running.
func (r *rig) program(path string, text []byte) {
	r.t.Helper()
	if err := os.WriteFile(path+".new", text, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

// altered is the same program with other bytes.
func altered(text []byte) []byte { return append(slices.Clone(text), "\n"...) }

// starts returns what each start of a server was recorded to be without, oldest first.
func (r *rig) starts(name string) (without []string) {
	r.t.Helper()
	all, err := r.Log().Since(0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind != audit.ServerStart || e.Server != name {
			continue
		}
		stored, err := r.Log().Get(e.Seq)
		if err != nil {
			r.t.Fatal(err)
		}
		without = append(without, stored.Event.Facts["without"])
	}
	return without
}

// What nobody has approved runs without what it could do harm with, and gets it by the approval.
func TestLimitedUntilApproved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	path, text := r.copied()
	r.add("one", path, "ok", "mark-"+random())
	rev, err := r.Review(t.Context(), "one")
	if err != nil || !rev.First || !slices.Equal(rev.Without, []string{"writing"}) || rev.Unlisted != nil {
		t.Fatalf("review = %+v, %v", rev, err)
	}
	r.approve("one")
	note := filepath.Join(r.case_(), "note.txt")
	if _, err := r.call("one", "write_thing", object{"path": note, "content": "x"}); err != nil {
		t.Errorf("the approved server cannot write: %v", err)
	}
	r.restart("one") // the same again
	r.program(path, altered(text))
	r.restart("one")
	v, _ := r.Servers.View("one")
	if st := r.PinStatus(v); !v.Limited || st.State != pin.Changed {
		t.Errorf("the changed program: limited %v, pin %v", v.Limited, st.State)
	}
	r.approve("one")
	if v, _ = r.Servers.View("one"); v.Limited || r.PinStatus(v).State != pin.Pinned {
		t.Errorf("after approval: limited %v, pin %v", v.Limited, r.PinStatus(v).State)
	}
	if got, want := r.starts("one"), []string{"writing", "", "", "writing", ""}; !slices.Equal(got, want) {
		t.Errorf("starts without %q, want %q", got, want)
	}
}

// A program that was changed, started and put back is not the approved one, as long as it runs.
func TestPutBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	path, text := r.copied()
	r.add("one", path, "ok", "mark-"+random())
	r.approve("one")
	if err := r.Servers.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	r.program(path, altered(text))
	r.start("one")
	r.program(path, text)
	before, _ := r.Servers.View("one")
	for range 2 {
		_, err := r.call("one", "read_echo", object{})
		d := denied(t, err, gate.Pin, "pin.changed")
		if !slices.ContainsFunc(d.Changes, func(c pin.Change) bool { return c.What == "running program" }) {
			t.Errorf("changes: %+v", d.Changes)
		}
	}
	v, _ := r.Servers.View("one")
	if err := r.Pins.Approve("one", v.Fingerprint, v.Fingerprint.Digest()); err == nil {
		t.Error("what does not run was approved")
	}
	rev, err := r.Review(t.Context(), "one") // starts what lies on disk
	if err != nil || rev.First || len(rev.Changes) != 0 {
		t.Errorf("review = first %v, %v, %v; want nothing changed", rev.First, rev.Changes, err)
	}
	if v, _ := r.Servers.View("one"); v.Pid == before.Pid {
		t.Error("the changed program still runs")
	}
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Errorf("the approved program is back, and the call fails: %v", err)
	}
}

// What is approved is what runs: a change while it runs is started before it is shown.
func TestReviewStartsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	path, text := r.copied()
	r.add("one", path, "ok", "mark-"+random())
	r.approve("one")
	r.program(path, altered(text))
	_, err := r.call("one", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.changed")
	r.approve("one")
	if n := len(r.starts("one")); n != 4 { // before and after each approval
		t.Errorf("it was started %d times, want 4", n)
	}
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Error(err)
	}
}

// A server that cannot start without its grants is approved in two steps: first its program, then its tools.
func TestUnlistedServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	path, text := r.copied()
	def := definition("one", r.case_(), path, "writes", "mark-"+random(), r.case_(), "state", "x")
	if err := r.AddServer(def); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Review(t.Context(), "one"); err == nil {
		t.Error("a server that was never started can be reviewed")
	}
	start := func() {
		t.Helper()
		if err := r.Servers.Start(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "without writing") || !strings.Contains(err.Error(), "cannot write") {
			t.Errorf("start = %v; want what it said and that it may not write yet", err)
		}
	}
	both := func() {
		t.Helper()
		rev, err := r.Review(t.Context(), "one")
		if err != nil || rev.Unlisted == nil || len(rev.Tools) != 0 {
			t.Fatalf("review = %+v, %v; want its program alone", rev, err)
		}
		if err := r.Approve(t.Context(), "one", rev.Digest); err != nil {
			t.Fatal(err)
		}
	}
	start()
	both()
	_, err := r.call("one", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.changed")
	if rev, err := r.Review(t.Context(), "one"); err != nil || !rev.First || len(rev.Tools) != 9 || rev.Unlisted != nil || len(rev.Without) != 0 {
		t.Fatalf("second review = %+v, %v", rev, err)
	}
	r.approve("one")
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Error(err)
	}
	if err := r.Servers.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	r.program(path, altered(text))
	start()
	both() // its tools are those that were approved
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Error(err)
	}
}

// A database is its server's to change, as long as it is one. Any other file that its command names is not.
func TestDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	data := filepath.Join(r.case_(), "case.db")
	put(t, data, "")
	r.add("one", filepath.Join(binaries, "fake"), "ok", "mark-"+random(), "--db", data)
	r.approve("one")
	sqlite := "SQLite format 3\x00"
	for _, text := range []string{sqlite + "one", sqlite + "two", ""} {
		put(t, data, text)
		if _, err := r.call("one", "read_echo", object{}); err != nil {
			t.Errorf("the database holds %q: %v", text, err)
		}
	}
	put(t, data, "import os")
	_, err := r.call("one", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.changed")

	// The same file, given to an interpreter.
	put(t, data, sqlite+"\nexec good")
	r.add("shell", filepath.Join(binaries, "fake"), "ok", "mark-"+random(), data)
	r.approve("shell")
	put(t, data, sqlite+"\nexec evil")
	_, err = r.call("shell", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.changed")

	code := filepath.Join(r.case_(), "code.py")
	put(t, code, sqlite[:6]) // not one yet
	def := definition("two", r.case_(), filepath.Join(binaries, "fake"), "writes", "mark-"+random(), r.case_(), "code.py", "other", "--main="+code)
	if err := r.AddServer(def); err != nil {
		t.Fatal(err)
	}
	if err := r.Servers.Start(t.Context(), "two"); err == nil {
		t.Fatal("it may write already")
	}
	rev, err := r.Review(t.Context(), "two")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Approve(t.Context(), "two", rev.Digest); err == nil || !strings.Contains(err.Error(), "touched while it was starting") {
		t.Errorf("a server that rewrites its own code starts: %v", err)
	}
	if v, _ := r.Servers.View("two"); v.State != server.Crashed {
		t.Errorf("it is %s", v.State)
	}
}

// A file of an installed server, changed while it runs: found out at the next call.
func TestInstalledTreeIsWatched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	dir := filepath.Join(r.dir, "installed")
	text, err := os.ReadFile(filepath.Join(binaries, "fake"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "lib/deep.js"), "good")
	r.program(filepath.Join(dir, "fake"), text)
	def := definition("one", r.case_(), filepath.Join(dir, "fake"), "ok", "mark-"+random())
	def.Dir = dir
	if err := r.AddServer(def); err != nil {
		t.Fatal(err)
	}
	r.start("one")
	r.approve("one")
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "lib/deep.js"), "evil")
	_, err = r.call("one", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.changed")
}

// A program that has the script mapped for writing could change it between the look and the start, and leave no trace.
func TestScriptHeldOpenForWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	script := filepath.Join(r.case_(), "script.py")
	put(t, script, "print('good')\n")
	def := definition("one", r.case_(), filepath.Join(binaries, "fake"), "ok", "mark-"+random(), script)
	if err := r.AddServer(def); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(script, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, 5, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Servers.Start(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), script+" is open for writing") {
		t.Errorf("start = %v, want a refusal that names the script", err)
	}
	if err := unix.Munmap(page); err != nil {
		t.Fatal(err)
	}
	r.start("one")
	began := time.Now() // and who wants to write later need not wait
	put(t, script, "print('evil')\n")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("writing took %v while it runs", took)
	}
}
