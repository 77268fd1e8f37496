package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cordon/sandbox/attempt/escape"

	"golang.org/x/sys/unix"
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

// asked runs an act of package escape, observed, and returns how it ended.
func asked(t *testing.T, s *Sandbox, p Profile, act ...string) (escape.Result, *Process) {
	t.Helper()
	program := filepath.Join(binaries, "escape")
	p.Read, p.Observe = append(slices.Clone(p.Read), program), true
	in, keep, err := os.Pipe() // the act waits for its end
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	keep.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	proc, err := s.Start(t.Context(), p, Command{Argv: append([]string{program}, act...)}, Files{In: in, Out: w, Err: os.Stderr})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, proc.Kill)
	defer stuck.Stop()
	var result escape.Result
	if err := json.NewDecoder(r).Decode(&result); err != nil {
		t.Errorf("%s: no result: %v", act[0], err)
	}
	if exit := proc.Wait(); exit.Left != nil || !exit.Known {
		t.Errorf("%s: %+v", act[0], exit)
	}
	return result, proc
}

// What is looked at decides nothing: a program that changes the path while it is looked at gets what Landlock lets it have.
func TestObserverHasNoSay(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		home := observedHome(t, "granted/a", "hidden1/a")
		if err := os.WriteFile(filepath.Join(home, "granted/a"), []byte("open"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, _ := asked(t, s, Profile{Read: []string{home + "/granted"}}, "flip-open", home+"/granted/a", home+"/hidden1/a")
		if got.Worked || !strings.Contains(got.Detail, "times opened") || strings.HasPrefix(got.Detail, "0 ") {
			t.Errorf("%+v; want the granted file opened, and never the other", got)
		}
		free := exec.Command(filepath.Join(binaries, "escape"), "flip-open", home+"/granted/a", home+"/hidden1/a")
		if out, err := free.Output(); err != nil || !strings.Contains(string(out), "true") {
			t.Errorf("bare: %s, %v; so its refusal proves nothing", out, err)
		}
	})
}

// A program that asks without end gets its answers, and costs the host a bounded share of a processor and of its memory.
func TestObserverIsFlooded(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		home := observedHome(t, "hidden/a")
		var before, after unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
		began := time.Now()
		got, proc := asked(t, s, Profile{}, "asks-flood", home+"/hidden/a", "6000")
		took := time.Since(began)
		_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
		if !got.Worked {
			t.Errorf("flood: %+v", got)
		}
		cpu := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
		t.Logf("%s calls in %v; the host used %v", got.Detail, took, cpu)
		if cpu > took*3/4 { // a processor that is emulated too
			t.Errorf("the host used %v in %v", cpu, took)
		}
		if w := wanted(proc)["read "+home+"/hidden/a"]; w.Count < 100 { // an emulated processor gets as far as some hundred
			t.Errorf("counted %+v", w)
		}

		got, proc = asked(t, s, Profile{}, "asks-many", home+"/hidden", "6000")
		wants, rest := proc.Wanted()
		if !got.Worked || rest.Over < 1000 {
			t.Errorf("many names: %+v, %+v", got, rest)
		}
		for _, w := range wants { // none is there
			if strings.HasPrefix(w.Name, home) {
				t.Errorf("wanted %+v", w)
			}
		}
	})
}

// Signals to the host's threads, of which Go's scheduler sends many, end no observation and lose no call.
func TestObserverIsSignalled(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		home := observedHome(t, "hidden/a")
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				threads, err := os.ReadDir("/proc/self/task")
				if err != nil {
					t.Error(err)
				}
				for range 20 {
					for _, thread := range threads {
						tid, _ := strconv.Atoi(thread.Name())
						_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
					}
					select {
					case <-stop:
						return
					default: // without a pause: it needs many to meet the moment
					}
				}
			}
		}()
		got, _ := asked(t, s, Profile{}, "asks-flood", home+"/hidden/a", "3000")
		close(stop)
		<-ended
		if !got.Worked {
			t.Errorf("flood: %+v", got)
		}
		t.Logf("%s calls", got.Detail)
	})
}

// As many things as are kept, and no more, when all of them are there.
func TestWantsAreBounded(t *testing.T) {
	var files []string
	for i := range 1500 {
		files = append(files, fmt.Sprintf("hidden/%d", i))
	}
	s, home := box(t), observedHome(t, files...)
	got, proc := asked(t, s, Profile{}, "asks-many", home+"/hidden", "1500")
	wants, rest := proc.Wanted()
	if !got.Worked || len(wants) != 1000 || rest.Over < 500 {
		t.Errorf("%+v: %d wants, %+v; want 1000 and at least 500 over", got, len(wants), rest)
	}
}

func TestObservedOddly(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		home := observedHome(t, "hidden/line\nbreak", "hidden/no text \xff\xfe", "hidden/dotted", "hidden/by-directory", "hidden/by-cwd", "hidden/by-thread", "hidden/program", "granted/a", "in/folder")
		for _, act := range []string{"asks-oddly", "asks-badly", "asks-killed"} {
			got, proc := asked(t, s, Profile{Read: []string{home + "/granted"}}, act, home+"/hidden")
			if !got.Worked {
				t.Errorf("%s: %+v", act, got)
			}
			have := wanted(proc)
			for _, name := range []string{"line\nbreak", "no text \xff\xfe", "dotted", "by-directory", "by-cwd", "by-thread"} {
				if w := have["read "+home+"/hidden/"+name]; act == "asks-oddly" && (w.Count != 1 || w.Real != w.Name) {
					t.Errorf("%q: %+v", name, w)
				}
			}
			if act == "asks-oddly" && have["execute "+home+"/hidden/program"].Count+have["look "+home+"/hidden/program"].Count == 0 { // a look may come first, and be enough
				t.Error("the program that is missing was not observed")
			}
		}
	})
}

// What lies behind links is told, and file systems that ask elsewhere are not.
func TestObservedLinks(t *testing.T) {
	s, home := box(t), observedHome(t, "hidden/a", "granted/b")
	for link, to := range map[string]string{"direct": home + "/hidden/a", "relative": "./hidden/../hidden/a", "folder": "hidden", "loop": home + "/loop", "inside": "granted/b", "proc": "/proc/self/environ"} {
		if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
			t.Fatal(err)
		}
	}
	acts := []string{"read=" + home + "/direct", "read=" + home + "/relative", "read=" + home + "/folder/a", "read=" + home + "/loop", "read=" + home + "/inside", "read=" + home + "/proc"}
	for link, to := range map[string]string{"granted/out": "../hidden/a", "granted/in": "b"} {
		if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
			t.Fatal(err)
		}
		acts = append(acts, "read="+home+"/"+link)
	}
	_, proc, _ := try(t, s, Profile{Read: []string{home + "/granted"}, Observe: true}, Command{}, acts...)
	have := wanted(proc)
	if w := have["read "+home+"/granted/out"]; w.Real != home+"/hidden/a" {
		t.Errorf("what leads out of a granted folder: %+v", w)
	}
	if w, ok := have["read "+home+"/granted/in"]; ok {
		t.Errorf("wanted %+v", w)
	}
	for name, real := range map[string]string{"direct": "hidden/a", "relative": "hidden/a", "folder/a": "hidden/a", "inside": "granted/b"} {
		if got := have["read "+home+"/"+name].Real; got != filepath.Join(home, real) {
			t.Errorf("%s leads to %q, want %s", name, got, real)
		}
	}
	for _, name := range []string{"loop", "proc"} {
		if w, ok := have["read "+home+"/"+name]; ok {
			t.Errorf("wanted %+v", w)
		}
	}
}

// Addresses: what something on this computer answers at, and what is called past the proxy; not what the program itself listens on.
func TestObservedAddresses(t *testing.T) {
	for _, tier := range []string{"strong", "medium"} {
		t.Run(tier, func(t *testing.T) {
			s := inTier(t, tier)
			host := listen(t, "tcp", "127.0.0.1:0")
			_, proc, _ := try(t, s, Profile{Net: NetLoopback, Observe: true}, Command{}, "tcp="+host, "tcp=127.0.0.1:1", "tcp=192.0.2.7:443", "serve=127.0.0.1:0")
			have := wanted(proc)
			for _, want := range []string{"connect " + host, "connect 192.0.2.7:443"} {
				if _, ok := have[want]; !ok {
					t.Errorf("not observed: %s", want)
				}
				delete(have, want)
			}
			for name, w := range have {
				if w.Kind == WantConnect {
					t.Errorf("observed besides: %s", name)
				}
			}
		})
	}
}

// EachWant tells what came before and what comes, each once.
func TestEachWant(t *testing.T) {
	s, home := box(t), observedHome(t, "hidden/a", "hidden/b")
	p, err := s.Start(t.Context(), Profile{Observe: true}, Command{Argv: []string{"sh", "-c", "cat " + home + "/hidden/a; read x; cat " + home + "/hidden/b"}}, Files{})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	p.EachWant(func(w Want) { told = append(told, w.Name) })
	p.Wait()
	if !slices.Contains(told, home+"/hidden/a") || !slices.Contains(told, home+"/hidden/b") || slices.Contains(told[1:], told[0]) {
		t.Errorf("told %q", told)
	}
}

// A program does not outlive its observer: neither one that ends, nor the process that it is part of.
func TestObserverEnds(t *testing.T) {
	script := "while :; do cat /var/tmp/none; sleep 0.01; done # "
	if mark := os.Getenv("OBSERVED_HOST"); mark != "" {
		p, err := inTier(t, os.Getenv("OBSERVED_TIER")).Start(t.Context(), Profile{Observe: true}, Command{Argv: []string{"sh", "-c", script + mark}}, Files{})
		if err != nil {
			t.Fatal(err)
		}
		p.Wait()
		return
	}
	s := box(t)
	p, err := s.Start(t.Context(), Profile{Observe: true}, Command{Argv: []string{"sh", "-c", script}}, Files{})
	if err != nil {
		t.Fatal(err)
	}
	p.observed.by.Load().Stop()
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the program runs on without its observer")
	}
	for i, tier := range []string{"strong", "medium"} {
		inTier(t, tier)
		mark := strconv.Itoa(910000 + 20000*i + os.Getpid()%10000)
		host := exec.Command("/proc/self/exe", "-test.run", "^TestObserverEnds$")
		host.Env = append(os.Environ(), "OBSERVED_HOST="+mark, "OBSERVED_TIER="+tier, "SANDBOX_BINARIES="+binaries)
		if err := host.Start(); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(20 * time.Second)
		for len(processesWith(mark)) == 0 && time.Now().Before(until) {
			time.Sleep(5 * time.Millisecond)
		}
		_ = host.Process.Kill()
		_ = host.Wait()
		for len(processesWith(mark)) > 0 {
			if time.Now().After(until) {
				t.Fatalf("%s: still running: %v", tier, processesWith(mark))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// What root proves an ordinary user proves too: there, reading a program's memory needs the rights that come with its namespace.
func TestObservedAsAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is one")
	}
	asOrdinaryUser(t, "^Test(Observed|ObservedOddly|ObservedLinks|ObservedAddresses|ObserverHasNoSay|EachWant)$")
}

// A program that is not there is told as ever.
func TestObservedMissingProgram(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		_, err := s.Start(t.Context(), Profile{Observe: true}, Command{Argv: []string{"/usr/bin/none-such"}}, Files{})
		var missing *NotFoundError
		if !errors.As(err, &missing) {
			t.Errorf("%v, want it missing", err)
		}
	})
}

// A program that keeps its memory from being read is answered, and it is told how often it could not be.
func TestObservedUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		asOrdinaryUser(t, "^TestObservedUnreadable$") // root can read it
		return
	}
	eachTier(t, func(t *testing.T, s *Sandbox) {
		got, proc := asked(t, s, Profile{}, "asks-hidden", observedHome(t, "hidden/a")+"/hidden/a")
		wants, rest := proc.Wanted()
		hidden := proc.Report.Tier == TierMedium // whoever made its namespace can read it all the same
		if !got.Worked || hidden != (rest.Unread >= 100) || hidden == slices.ContainsFunc(wants, func(w Want) bool { return strings.HasSuffix(w.Name, "/hidden/a") }) {
			t.Errorf("%+v: %+v, %+v", got, wants, rest)
		}
	})
}
