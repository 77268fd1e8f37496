package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/tool"

	"golang.org/x/sys/unix"
)

// program writes a file that a server may consist of, where digests are shared: not in /tmp, which may be a tmpfs.
func program(t *testing.T, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "held-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// leased takes a lease as a start does.
func leased(t *testing.T, cs *heldFiles, path string) *lease {
	t.Helper()
	l, err := cs.lease([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.release)
	return l
}

// needLeases skips where files cannot be leased, and where a digest is not shared.
func needLeases(t *testing.T) {
	t.Helper()
	var cs heldFiles
	l := leased(t, &cs, program(t, "any"))
	need(t, len(cs.by) == 1, "leases on files in /var/tmp")
	l.release()
}

func digestOf(t *testing.T, l *lease, path string) tool.Digest {
	t.Helper()
	d, _, err := l.digest(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Starts at the same time share a digest, and the last one takes it with it.
func TestStartsShareADigest(t *testing.T) {
	t.Parallel()
	needLeases(t)
	var cs heldFiles
	path := program(t, "good")
	link := path + "-link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	one, two, three := leased(t, &cs, path), leased(t, &cs, path), leased(t, &cs, link)
	if one.held[path] != two.held[path] || one.held[path] != three.held[link] {
		t.Error("two starts hold the same file each for itself")
	}
	want := tool.Digest(sha256.Sum256([]byte("good")))
	one.release()
	one.release() // a second time changes nothing
	if digestOf(t, two, path) != want || digestOf(t, three, link) != want {
		t.Error("the digest is not that of the content")
	}
	two.release()
	if !three.whole() || len(cs.by) != 1 {
		t.Error("the end of two starts ends the third one's lease")
	}
	three.release()
	if len(cs.by) != 0 {
		t.Errorf("%d files are held by nobody", len(cs.by))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("writing afterwards: %v", err)
	}
	f.Close()
	if l, err := cs.lease([]string{filepath.Dir(path), "/dev/null", "/no/such"}); err != nil || len(l.held) != 0 {
		t.Errorf("what is no file is held: %v, %v", l, err)
	}
}

// tries opens a file for writing, as one who does not wait, and says whether that was let through.
func tries(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil // he is kept out as long as it is leased, and the lease is broken
	}
	defer f.Close()
	_, err = f.WriteAt([]byte("evil"), 0)
	return err
}

// What happens to a program while one start holds its digest must not reach the next one: that gets the digest of what is
// there then, or does not start. The first one sees it as it did when it was alone.
func TestAttacksBetweenStarts(t *testing.T) {
	t.Parallel()
	needLeases(t)
	for name, attack := range map[string]func(path string) error{
		"replaced": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("evil"), 0o700))
		},
		"renamed over": func(path string) error {
			return errors.Join(os.WriteFile(path+"2", []byte("evil"), 0o700), os.Rename(path+"2", path))
		},
		"renamed over, with the same times": func(path string) error {
			st, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path+"2", []byte("evil"), 0o700), os.Chtimes(path+"2", st.ModTime(), st.ModTime()), os.Rename(path+"2", path))
		},
		"exchanged": func(path string) error {
			err := os.WriteFile(path+"2", []byte("evil"), 0o700)
			return errors.Join(err, unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, path+"2", unix.RENAME_EXCHANGE))
		},
		"a link instead": func(path string) error {
			return errors.Join(os.WriteFile(path+"2", []byte("evil"), 0o700), os.Remove(path), os.Symlink(path+"2", path))
		},
		"rewritten in place": tries,
		"cut short": func(path string) error {
			go func() { _ = os.Truncate(path, 2) }() // it waits for the lease
			return nil
		},
		"hard-linked and rewritten there": func(path string) error {
			return errors.Join(os.Link(path, path+"2"), tries(path+"2"))
		},
		"hard-linked":  func(path string) error { return os.Link(path, path+"2") },
		"another mode": func(path string) error { return os.Chmod(path, 0o777) },
		"opened anew through a descriptor for reading": func(path string) error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			return tries("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cs heldFiles
			path := program(t, "good")
			def := config.Server{Name: "one", Command: []string{path}}
			first := leased(t, &cs, path)
			fs, err := lookAtFiles(t.Context(), def, first, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !first.whole() || fs.touched(true) {
				t.Fatal("the first start is disturbed by nothing")
			}
			if err := attack(path); err != nil {
				t.Fatal(err)
			}
			for i := 0; first.whole() && !fs.touched(true); i++ {
				if i == 1000 {
					t.Fatal("the first start does not notice it")
				}
				time.Sleep(10 * time.Millisecond)
			}
			covered, _ := Coverage(def)
			second, err := cs.lease(covered)
			if err != nil {
				if !strings.Contains(err.Error(), path+" is open for writing") {
					t.Error(err)
				}
				return // whoever writes is at it
			}
			defer second.release()
			if second.held[covered[0]] == first.held[path] {
				t.Error("the second start shares the digest")
			}
			again, err := lookAtFiles(t.Context(), def, second, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil || again.fingerprint.Binary != tool.Digest(sha256.Sum256(text)) {
				t.Errorf("the second start is not pinned as what lies there, which is %q, %v", text, err)
			}
			if !second.whole() || again.touched(true) {
				t.Error("the second start is disturbed by what was before")
			}
		})
	}
}

// A program that is open for writing, or is memory of somebody, is not started, also while a start of before goes on.
func TestOpenForWritingBeforeStarts(t *testing.T) {
	t.Parallel()
	needLeases(t)
	var cs heldFiles
	path := program(t, "good")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cs.lease([]string{path}); err == nil {
		t.Error("a program that is open for writing is leased")
	}
	page, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cs.lease([]string{path}); err == nil {
		t.Error("a program that is mapped for writing is leased")
	}
	copy(page, "evil")
	if err := unix.Munmap(page); err != nil {
		t.Fatal(err)
	}
	l := leased(t, &cs, path)
	if digestOf(t, l, path) != tool.Digest(sha256.Sum256([]byte("evil"))) {
		t.Error("what was written through memory is not in the digest")
	}
	// Mapped for reading it cannot be made writable later.
	g, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	view, err := unix.Mmap(int(g.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(view) }()
	if unix.Mprotect(view, unix.PROT_READ|unix.PROT_WRITE) == nil {
		t.Error("memory of a file that is open for reading was made writable")
	}
	if !l.whole() {
		t.Error("a reader breaks the lease")
	}
}

// What lies under a path when it is hashed has to be what was leased.
func TestReplacedBetweenLeaseAndLook(t *testing.T) {
	t.Parallel()
	needLeases(t)
	var cs heldFiles
	path := program(t, "good")
	l := leased(t, &cs, path)
	if err := errors.Join(os.WriteFile(path+"2", []byte("evil"), 0o700), os.Rename(path+"2", path)); err != nil {
		t.Fatal(err)
	}
	_, err := lookAtFiles(t.Context(), config.Server{Name: "one", Command: []string{path}}, l, nil)
	has(t, err, "touched while it was starting")
	later := path + "-later"
	l = leased(t, &cs, later) // there is none
	if err := os.WriteFile(later, []byte("evil"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = lookAtFiles(t.Context(), config.Server{Name: "one", Command: []string{later}}, l, nil)
	has(t, err, "touched while it was starting")
}

// One who gives up waiting for a digest leaves it to the others; with the last one hashing ends.
func TestWaitingForADigest(t *testing.T) {
	t.Parallel()
	needLeases(t)
	var cs heldFiles
	path := program(t, "")
	if err := os.Truncate(path, 1<<40); err != nil { // a hole that takes minutes to read
		t.Fatal(err)
	}
	one, two := leased(t, &cs, path), leased(t, &cs, path)
	c := one.held[path]
	failed := make(chan error, 2)
	go func() { _, _, err := two.digest(t.Context(), path); failed <- err }()
	for begun := false; !begun; time.Sleep(time.Millisecond) {
		cs.mu.Lock()
		begun = c.hashed != nil
		cs.mu.Unlock()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _, err := one.digest(ctx, path); failed <- err }()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up gets %v", err)
	}
	one.release()
	if three := leased(t, &cs, path); three.held[path] != c {
		t.Error("what is being hashed is not shared")
	} else {
		three.release()
	}
	select {
	case err := <-failed:
		t.Errorf("the other one gets %v", err)
	default:
	}
	two.release()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("after the last release: %v", err)
	}
	select {
	case <-c.hashed:
	default:
		t.Error("it is still hashed")
	}
}

// What cannot be read is told, and tried anew by the next start.
func TestFailedDigestIsNotShared(t *testing.T) {
	t.Parallel()
	needLeases(t)
	var cs heldFiles
	path := program(t, "good")
	one := leased(t, &cs, path)
	c := one.held[path]
	c.hashed, c.err, c.cancel = make(chan struct{}), io.ErrUnexpectedEOF, func() {}
	close(c.hashed)
	if _, _, err := one.digest(t.Context(), path); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("digest = %v", err)
	}
	if two := leased(t, &cs, path); two.held[path] == c || digestOf(t, two, path) != tool.Digest(sha256.Sum256([]byte("good"))) {
		t.Error("a digest that failed is shared")
	}
}

// Without a lease only root's files that nobody else can change are shared, and not just after a change.
func TestUnchangeable(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	roots := identity{mode: unix.S_IFREG | 0o755, ctime: unix.Timespec{Sec: now.Unix() - 60}}
	for name, c := range map[string]struct {
		change func(*identity)
		euid   int
		want   bool
	}{
		"root's":                      {func(*identity) {}, 1000, true},
		"root's, for root":            {func(*identity) {}, 0, false},
		"one's own":                   {func(i *identity) { i.uid = 1000 }, 1000, false},
		"of another user":             {func(i *identity) { i.uid = 1001 }, 1000, false},
		"of nobody, as unmapped":      {func(i *identity) { i.uid = 65534 }, 1000, false},
		"writable for a group":        {func(i *identity) { i.mode |= 0o020 }, 1000, false},
		"writable for all":            {func(i *identity) { i.mode |= 0o002 }, 1000, false},
		"changed just now":            {func(i *identity) { i.ctime.Sec = now.Unix() - 1 }, 1000, false},
		"changed in the future":       {func(i *identity) { i.ctime.Sec = now.Unix() + 60 }, 1000, false},
		"with old times, changed now": {func(i *identity) { i.mtime.Sec, i.ctime.Sec = 0, now.Unix() }, 1000, false},
	} {
		is := roots
		c.change(&is)
		if got := unchangeable(is, c.euid, now); got != c.want {
			t.Errorf("%s: unchangeable = %t, want %t", name, got, c.want)
		}
	}
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if seesWrites(f) {
		t.Error("what the kernel makes up is shared")
	}
}

// The system's programs are shared, by root with a lease and by others without.
func TestSystemProgramsAreShared(t *testing.T) {
	t.Parallel()
	needLeases(t)
	path, err := filepath.EvalSymlinks("/usr/bin/env")
	if err != nil {
		t.Fatal(err)
	}
	var cs heldFiles
	one, two := leased(t, &cs, path), leased(t, &cs, path)
	c := one.held[path]
	if c != two.held[path] || c.leased != (os.Geteuid() == 0) {
		t.Errorf("shared %t, leased %t as user %d", c == two.held[path], c.leased, os.Geteuid())
	}
	text, err := os.ReadFile(path)
	if err != nil || digestOf(t, two, path) != tool.Digest(sha256.Sum256(text)) {
		t.Errorf("the digest is another one, %v", err)
	}
}

// The same in whole: one server is starting when the script that it and the next one run is changed.
func TestAttacksBetweenServers(t *testing.T) {
	t.Parallel()
	needLeases(t)
	for name, c := range map[string]struct {
		attack func(path string) error
		breaks bool // the start of before at once; else it notices at its end
	}{
		"renamed over": {func(path string) error {
			return errors.Join(os.WriteFile(path+"2", []byte("evil"), 0o600), os.Rename(path+"2", path))
		}, false},
		"rewritten":                {func(path string) error { return os.WriteFile(path, []byte("evil"), 0o600) }, true},
		"rewritten without a wait": {func(path string) error { return tries(path) }, true},
		"through a hard link": {func(path string) error {
			return errors.Join(os.Link(path, path+"2"), os.WriteFile(path+"2", []byte("evil"), 0o600))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := program(t, "good")
			r := newRig(t, "silent")
			for name, mode := range map[string]string{"one": "silent", "two": "ok", "three": "ok"} {
				r.Set(config.Server{Name: name, Command: []string{filepath.Join(binaries, "fake"), mode, r.mark, script}, Read: []string{filepath.Dir(script)}, Net: config.NetNone, Memory: 256 << 20, Pids: 64})
			}
			starting, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			first := make(chan error, 1)
			go func() { first <- r.Start(starting, "one") }()
			for len(r.journal.of(audit.ServerStart)) == 0 {
				time.Sleep(time.Millisecond)
			}
			if err := r.Start(t.Context(), "two"); err != nil { // it shares all with the first
				t.Fatal(err)
			}
			old, err := r.View("two")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.attack(script); err != nil { // one that waits is let in once the first start is off
				t.Fatal(err)
			}
			if c.breaks {
				has(t, <-first, "touched while it was starting")
			}
			if err := r.Start(t.Context(), "three"); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(text)
			v, err := r.View("three")
			if want := tool.Sum([]byte(script), sum[:]); err != nil || v.Fingerprint.Tree != want {
				t.Errorf("what was started after it is pinned as something else than %q: %v", text, err)
			}
			if now, err := r.Fingerprint(t.Context(), "two"); err != nil || now.Stale != (string(text) != "good") || now.Stale == (now.Tree == old.Fingerprint.Tree) {
				t.Errorf("the one of before: stale %t, %v", now.Stale, err)
			}
			giveUp()
			if !c.breaks {
				<-first
			}
			if slices.ContainsFunc(r.Views(), func(v View) bool { return v.Name == "one" && v.State == Running }) {
				t.Error("the first one runs")
			}
		})
	}
}
