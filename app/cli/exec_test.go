package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cordon/sandbox/attempt"

	"golang.org/x/sys/unix"
)

// The small cordon confines a copy of itself instead of starting cordon-launch. What the sandbox package proves of the
// launcher is tried here of the copy.

// execIn returns `cordon sandbox exec` for the given flags and program, in a home of its own.
func execIn(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	needSandbox(t)
	c := exec.Command(filepath.Join(binaries, "cordon"), append([]string{"sandbox", "exec"}, args...)...)
	c.Env = environment(t.TempDir())
	return c
}

func TestExecForbidsWhatTheLauncherForbids(t *testing.T) {
	program := filepath.Join(binaries, "attempt")
	home, err := os.MkdirTemp("/var/tmp", "cli-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	secret, granted := filepath.Join(home, "secret"), filepath.Join(home, "granted")
	for _, path := range []string{secret, granted} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Descriptors first: later acts leave some of their own.
	acts := []string{"fd=3", "fd=4", "fd=5", "fd=64", "fd=65", "read=" + secret, "stat=" + secret, "write=" + secret, "remove=" + secret, "write=" + granted, "chmod=" + granted, "list=" + home, "list=/etc/ssl/private",
		"read=/proc/1/environ", "read=/proc/1/mem", "kill=" + strconv.Itoa(os.Getpid()), "tcp=127.0.0.1:9", "udp=127.0.0.1:9", "mptcp=127.0.0.1:9", "bind-tcp=0.0.0.0:0",
		"bind-tcp=[::]:0", "bind-udp=127.0.0.1:0", "bind-mptcp=127.0.0.1:0", "unix=/run/dbus/system_bus_socket", "unshare", "clone-ns", "mount=/tmp", "chroot=/tmp", "ptrace",
		"io_uring", "keyring", "bpf", "userfaultfd", "capability", "setuid", "env=SECRET_OF_MINE"}
	c := execIn(t, append([]string{"--read", granted, "--read", program, "--", program}, acts...)...)
	c.Env = append(c.Env, "SECRET_OF_MINE=visible")
	// A descriptor that stays open across exec must not stay open in the sandbox.
	leak, err := os.Open(secret)
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	c.ExtraFiles = []*os.File{leak, leak, leak}
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v", err)
	}
	tried := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; tried++ {
		var r attempt.Result
		if err := dec.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if r.Worked {
			t.Errorf("%s %s worked: %s", r.Act, r.Arg, r.Detail)
		}
	}
	if tried != len(acts) {
		t.Errorf("%d of %d acts were tried", tried, len(acts))
	}
	if out, err := execIn(t, "--read", granted, "--", "cat", granted).Output(); err != nil || string(out) != "x" {
		t.Errorf("reading what was granted: %q, %v", out, err)
	}
}

// The copy's command line could tell a program what else was typed, and its environment everything.
func TestExecWipesItsArguments(t *testing.T) {
	const word = "word-0x51-of-the-command-line"
	c := execIn(t, "--env", "PLAIN="+word, "--read", "/usr/share", "--", "sh", "-c", `tr '\0' ' ' </proc/1/cmdline; echo "[$PLAIN]"`)
	c.Env = append(c.Env, "SECRET_OF_MINE="+word)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := strings.TrimLeft(string(out), " "), "["+word+"]\n"; got != want {
		t.Errorf("the program sees %q in /proc/1/cmdline, and its variable; want nothing and the variable %q", got, want)
	}
}

// However cordon dies, what it confined dies too, with everything that has left its session.
func TestExecDiesWithItsHost(t *testing.T) {
	mark := fmt.Sprintf("%d.%09d", 86400, time.Now().UnixNano()%1e9) // seconds to sleep, found in /proc
	left := func() (pids []string) {
		all, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range all {
			if b, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && bytes.HasPrefix(b, []byte("sleep\x00"+mark)) {
				pids = append(pids, filepath.Base(dir))
			}
		}
		return pids
	}
	for _, limits := range [][]string{nil, {"--pids", "32"}} {
		c := execIn(t, append(limits, "--", "sh", "-c", `trap "" TERM HUP INT; setsid sh -c "trap '' TERM HUP INT; sleep `+mark+`" & sleep `+mark+` & echo up; wait`)...)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		deadline := time.Now().Add(5 * time.Second)
		for err == nil && len(left()) < 2 && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
		if n := len(left()); err != nil || line != "up\n" || n != 2 {
			t.Errorf("%v: %q, %v, %d processes; want 2", limits, line, err, n)
		}
		_ = c.Process.Kill()
		_ = c.Wait()
		for deadline = time.Now().Add(5 * time.Second); len(left()) > 0 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		if pids := left(); len(pids) > 0 {
			t.Errorf("%v: left behind: %v", limits, pids)
		}
	}
}

// A named port of this computer is found inside, and one that is served can be called from here, in both tiers.
func TestExecReachesAndServes(t *testing.T) {
	program := filepath.Join(binaries, "attempt")
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	called := make(chan struct{}, 8)
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			c.Close()
			called <- struct{}{}
		}
	}()
	for _, tier := range []string{"strong", "medium"} {
		free, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := free.Addr().(*net.TCPAddr).Port
		free.Close()
		_, reached, _ := net.SplitHostPort(service.Addr().String())
		args := []string{"--read", program, "--reach", reached, "--serve", strconv.Itoa(served)}
		if tier == "medium" {
			args = append(args, "--without-namespaces")
		}
		c := execIn(t, append(args, "--", program, "tcp=127.0.0.1:"+reached, fmt.Sprintf("serve=127.0.0.1:%d", served))...)
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		answered := false
		for deadline := time.Now().Add(10 * time.Second); !answered && time.Now().Before(deadline) && c.ProcessState == nil; time.Sleep(10 * time.Millisecond) {
			answered = answers(served)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v: %s", tier, err, errs.String())
		}
		if !answered {
			t.Errorf("%s: nothing answers at port %d", tier, served)
		}
		select {
		case <-called:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the service was not called: %s", tier, out.String())
		}
	}
}

// answers reports whether a connection stays open for a moment: a forwarder with nobody behind it cuts it.
func answers(port int) bool {
	c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// A file that is redirected to a program is read and written, and stays the person's own: without the sandbox its mode changes.
func TestExecKeepsRedirectedFiles(t *testing.T) {
	const script = `cat; for i in 1 2 3; do echo out $i; echo err $i >&2; done; for fd in 0 1 2; do chmod 666 /proc/self/fd/$fd; touch -d 2001-01-01 /proc/self/fd/$fd; done 2>/dev/null; exit 3`
	for _, flags := range [][]string{nil, {}, {"--without-namespaces"}} {
		c := exec.Command("sh", "-c", script)
		if flags != nil {
			c = execIn(t, append(flags, "--", "sh", "-c", script)...)
		}
		dir := t.TempDir()
		file := func(name, text string) *os.File {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		}
		in, out := file("in", "text\n"), file("out", "before\n")
		c.Stdin, c.Stdout, c.Stderr = in, out, out
		err := c.Run()
		if code := c.ProcessState.ExitCode(); code != 3 {
			t.Fatalf("%q: exit %d, %v", flags, code, err)
		}
		if got, err := os.ReadFile(out.Name()); err != nil || string(got) != "before\ntext\nout 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n" {
			t.Errorf("%q: wrote %q, %v", flags, got, err)
		}
		for _, f := range []*os.File{in, out} {
			st, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if changed := st.Mode().Perm() != 0o600 || st.ModTime().Year() == 2001; changed != (flags == nil) {
				t.Errorf("%q: %s has mode %v and time %v", flags, filepath.Base(f.Name()), st.Mode(), st.ModTime())
			}
		}
	}
}

// What a program leaves of a file that is redirected to it is for the next one, as without a sandbox: also if it never started.
func TestExecReadsNoFurther(t *testing.T) {
	needSandbox(t)
	list := "one\n" + strings.Repeat("more\n", 100_000)
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	exec_ := filepath.Join(binaries, "cordon") + " sandbox exec "
	for name, c := range map[string]struct{ script, want string }{
		"a loop":               {`printf 'a\nb\n' >"$1.2"; while read x; do ` + exec_ + `echo "did $x"; done <"$1.2"`, "did a\ndid b\n"},
		"nothing is read":      {exec_ + `true; head -n 1`, "one\n"},
		"one line is read":     {exec_ + `sh -c 'read x'; head -n 1`, "more\n"},
		"everything is read":   {exec_ + `cat | tail -n 1; head -n 1`, "more\n"},
		"it never started":     {exec_ + `no-such-program 2>/dev/null; head -n 1`, "one\n"},
		"it begins in between": {`read x; ` + exec_ + `sh -c 'read x; read x'; wc -l`, "99998\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := exec.Command("sh", "-c", c.script, "sh", path)
			c2.Env = append(environment(t.TempDir()), "PATH="+os.Getenv("PATH"))
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c2.Stdin = f
			c2.Stderr = os.Stderr
			if out, err := c2.Output(); err != nil || string(out) != c.want {
				t.Errorf("%q, %v; want %q", out, err, c.want)
			}
		})
	}
}

// A disk that is full is told by name, whatever the program makes of it.
func TestExecTellsOfFullDisks(t *testing.T) {
	for script, code := range map[string]int{"seq 1 100000; exit 7": 7, "exec seq 1 100000": 125, "trap '' PIPE; seq 1 100000; exit 0": 125} {
		c := execIn(t, "--", "sh", "-c", script)
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		var said strings.Builder
		c.Stdout, c.Stderr = out, &said
		limited := exec.Command("sh", append([]string{"-c", `ulimit -f 16; trap '' XFSZ; exec "$@"`, "sh"}, c.Args...)...)
		limited.Env, limited.Stdout, limited.Stderr = c.Env, out, &said
		if err := limited.Run(); limited.ProcessState.ExitCode() != code || !strings.Contains(said.String(), "cordon: standard output: file too large") {
			t.Errorf("%s: %v, %q; want exit %d", script, err, said.String(), code)
		}
	}
}

// TestExecEndsAfterEverything: when the command is back, no process that the program left behind runs any more. What it left holds a lock, as
// the program sees before it ends.
func TestExecEndsAfterEverything(t *testing.T) {
	for _, flags := range [][]string{{}, {"--pids", "64"}, {"--without-namespaces"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("/var/tmp", "cli-lock-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			lock, err := os.Create(filepath.Join(dir, "lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			for range 20 {
				c := execIn(t, append(flags, "--write", dir, "--", "sh", "-c", `cd "$0"; rm -f held
					for i in 1 2 3; do (setsid flock -s lock sh -c 'trap "" TERM HUP; : >>held; sleep 60' >/dev/null 2>&1 &); done
					until [ -e held ]; do sleep 0.01; done
					if flock -n lock true; then exit 9; fi`, dir)...)
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
					t.Fatal("something of the program still runs")
				}
				if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
