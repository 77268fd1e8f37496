package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cordon/sandbox/attempt"

	"golang.org/x/sys/unix"
)

// bench and tests share what TestMain builds: the launcher and the program that tries.
var (
	binaries string // directory with cordon-launch and attempt
	machine  = Probe()
)

func TestMain(m *testing.M) {
	dir := ""                                // helpers, which some tests kill, make none
	binaries = os.Getenv("SANDBOX_BINARIES") // built before by whoever runs this as another user
	if binaries == "" {
		dir = must(os.MkdirTemp("", "sandbox-test-"))
		binaries = dir
		for name, pkg := range map[string]string{"cordon-launch": "./launcher", "attempt": "./testdata/attempt", "escape": "./testdata/escape",
			"landlocked": "./testdata/landlocked"} {
			c := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("build %s: %v\n%s", pkg, err, out))
			}
		}
		_ = os.Chmod(dir, 0o755)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// need skips on a machine that cannot enforce, unless the run insists.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("REQUIRE_SANDBOX") == "1" {
		t.Fatalf("this machine lacks %s and REQUIRE_SANDBOX=1", what)
	}
	t.Skipf("this machine lacks %s", what)
}

func box(t testing.TB) *Sandbox {
	t.Helper()
	need(t, machine.Landlock > 0, "Landlock")
	need(t, machine.Namespaces == "", "user namespaces")
	return &Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
}

// eachTier runs a test in every tier that this machine can give: strong; medium, as on a machine without user namespaces; and
// medium where Landlock says nothing about signals.
func eachTier(t *testing.T, f func(t *testing.T, s *Sandbox)) {
	t.Helper()
	for _, tier := range []string{"strong", "medium", "medium, ABI 4"} {
		t.Run(tier, func(t *testing.T) { f(t, inTier(t, tier)) })
	}
}

func inTier(t testing.TB, tier string) *Sandbox {
	t.Helper()
	if tier == "strong" {
		return box(t)
	}
	if why := machine.Supervisable(); why != "" { // as older kernels may
		t.Skipf("no medium tier on this machine: %s", why)
	}
	s := &Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
	s.Kernel.Namespaces = "switched off for this test"
	if tier == "medium, ABI 4" {
		s.Kernel.Landlock = min(4, machine.Landlock)
	}
	return s
}

// try runs acts confined and returns their results and the finished process.
func try(t testing.TB, s *Sandbox, p Profile, c Command, acts ...string) ([]attempt.Result, *Process, Exit) {
	t.Helper()
	program := filepath.Join(binaries, "attempt")
	p.Read = append(slices.Clone(p.Read), program)
	c.Argv = append([]string{program}, acts...)
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	proc, err := s.Start(t.Context(), p, c, Files{Out: out, Err: os.Stderr})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	exit := proc.Wait()
	if exit.Left != nil {
		t.Errorf("left behind: %v", exit.Left)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return results(t, b), proc, exit
}

func results(t testing.TB, b []byte) []attempt.Result {
	t.Helper()
	var rs []attempt.Result
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var r attempt.Result
		if err := dec.Decode(&r); err == io.EOF {
			return rs
		} else if err != nil {
			t.Fatalf("attempt printed %q: %v", b, err)
		}
		rs = append(rs, r)
	}
}

// bare runs the same acts without a sandbox.
func bare(t testing.TB, env []string, acts ...string) []attempt.Result {
	t.Helper()
	c := exec.Command(filepath.Join(binaries, "attempt"), acts...)
	c.Env, c.Stderr = env, os.Stderr
	b, err := c.Output()
	if err != nil {
		t.Fatalf("bare: %v", err)
	}
	return results(t, b)
}

// TestGit: what a folder's history is read with works in each tier, whatever the system's own settings are.
func TestGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	dir, err := Resolve(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "the first one"}} {
		if out, err := exec.Command(git, append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	eachTier(t, func(t *testing.T, s *Sandbox) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p, err := s.Start(t.Context(), Profile{Write: []string{dir}}, Command{Argv: []string{"git", "-C", dir, "log"}}, Files{Out: w, Err: w})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(r)
		if exit := p.Wait(); exit.Code() != 0 || !strings.Contains(string(out), "the first one") {
			t.Errorf("%s: %s", exit, out)
		}
	})
}

// TestForbiddenActs tries each act bare, where it must work, and confined, where it must not.
func TestForbiddenActs(t *testing.T) {
	s := box(t)
	// Stands for a home directory; nothing of the real one is touched. Not below /tmp, which is private inside.
	home, err := os.MkdirTemp("/var/tmp", "sandbox-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	put := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, rc, other := put(".ssh/id_rsa", "key"), put(".bashrc", "alias"), put("servers/b/data.txt", "other server's")
	granted := filepath.Join(home, "case")
	put("case/notes.txt", "notes")

	bus := filepath.Join(t.TempDir(), "bus")
	listen(t, "unix", bus)
	x11 := "@/tmp/.X11-unix/X" + strconv.Itoa(40000+os.Getpid()%10000)
	listen(t, "unix", x11)
	tcp := listen(t, "tcp", "127.0.0.1:0")
	tcp6 := ""
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		t.Cleanup(func() { l.Close() })
		tcp6 = l.Addr().String()
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	segment := 0x434f0000 + os.Getpid()&0xffff
	id, _, errno := unix.RawSyscall(unix.SYS_SHMGET, uintptr(segment), 4096, unix.IPC_CREAT|0o600)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { unix.RawSyscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0) })
	name, _ := os.Hostname()

	acts := []string{
		"read=" + key, "read=" + rc, "read=" + other, "stat=" + key, "list=" + home, "append=" + rc, "chmod=" + key, "link=" + key,
		"truncate=" + rc, "remove=" + other, "write=" + filepath.Join(home, "new"),
		"stat=/sys/kernel", "read=/proc/" + strconv.Itoa(os.Getpid()) + "/environ", "read=/proc/" + strconv.Itoa(os.Getpid()) + "/status",
		"kill=" + strconv.Itoa(os.Getpid()), "unix=" + bus, "unix=" + x11, "tcp=" + tcp, "udp=" + udp.LocalAddr().String(),
		"bind-tcp=0.0.0.0:0", "bind-tcp=[::]:0", "bind-udp=0.0.0.0:0", "bind-udp=[::]:0", "bind-mptcp=0.0.0.0:0", "mptcp=" + tcp,
		"sysv=" + strconv.Itoa(segment), "hostname=" + name, "env=ATTEMPT_SECRET",
	}
	if tcp6 != "" {
		acts = append(acts, "tcp="+tcp6)
	}
	if os.Geteuid() == 0 {
		if _, err := os.Stat("/etc/shadow"); err == nil {
			acts = append(acts, "read=/etc/shadow")
		}
		acts = append(acts, "unshare", "capability", "setuid")
	}
	confined, proc, _ := try(t, s, Profile{Read: []string{granted}}, Command{}, acts...)
	free := bare(t, append(os.Environ(), "ATTEMPT_SECRET=sesame"), acts...)
	if len(confined) != len(acts) || len(free) != len(acts) {
		t.Fatalf("%d acts, %d confined results, %d bare", len(acts), len(confined), len(free))
	}
	for i := range acts {
		if confined[i].Worked {
			t.Errorf("confined: %s worked: %s", acts[i], confined[i].Detail)
		}
		if !free[i].Worked && !expectedBare(acts[i]) {
			t.Errorf("bare: %s failed (%s), so its refusal proves nothing", acts[i], free[i].Detail)
		}
	}
	if proc.Report.Tier != TierStrong {
		t.Errorf("tier %q, want strong", proc.Report.Tier)
	}
	for _, g := range Isolation(NetNone) {
		if h := proc.Report.Get(g); h == nil || h.State != Enforced {
			t.Errorf("guarantee %s: got %+v, want enforced", g, h)
		}
	}
}

// expectedBare names acts whose bare twin runs elsewhere: multipath TCP may be off, and acts before it in the list
// may have used up its object.
func expectedBare(act string) bool { return strings.Contains(act, "mptcp") }

// TestAllowedActs is the twin: what the profile grants works.
func TestAllowedActs(t *testing.T) {
	s := box(t)
	dir := t.TempDir()
	ro, rw := filepath.Join(dir, "ro"), filepath.Join(dir, "rw")
	for _, d := range []string{ro, rw} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(ro, "a"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Profile{Read: []string{ro}, Write: []string{rw}, Net: NetLoopback}
	want := []string{"read=" + ro + "/a", "list=" + ro, "write=" + rw + "/b", "append=" + rw + "/b", "remove=" + rw + "/b", "write=/tmp/x", "write=" + Home + "/x",
		"write=/dev/shm/x", "read=/dev/null", "read=/proc/self/status", "read=/proc/cpuinfo", "exec=/bin/true", "env=ALLOWED",
		"fd=0", "forks=3", "memory=8", "serve=127.0.0.1:0", "serve=0.0.0.0:0", "bind-udp=127.0.0.1:0", "hostname=sandbox"}
	got, _, _ := try(t, s, p, Command{Env: []string{"ALLOWED=1"}}, want...)
	for _, r := range got {
		if !r.Worked {
			t.Errorf("%s %s failed: %s", r.Act, r.Arg, r.Detail)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
	// Read-only stays read-only, and what was written is not a program.
	if err := os.WriteFile(filepath.Join(rw, "prog"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	truth, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rw, "true"), truth, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, r := range bare(t, os.Environ(), "setid="+rw+"/id0", "setid-new="+rw+"/id1") {
		if !r.Worked {
			t.Errorf("bare: %s failed (%s), so its refusal proves nothing", r.Act, r.Detail)
		}
	}
	denied, _, _ := try(t, s, p, Command{}, "setid="+rw+"/id2", "setid-new="+rw+"/id3", "load="+rw+"/true", "write="+ro+"/b", "append="+ro+"/a", "lease="+ro+"/a", "chmod="+ro+"/a", "remove="+ro+"/a", "exec="+rw+"/prog", "write=/etc/x", "write=/usr/x", "append=/etc/passwd")
	for _, r := range denied {
		if r.Worked {
			t.Errorf("%s %s worked: %s", r.Act, r.Arg, r.Detail)
		}
	}
}

// TestLoopbackStaysInside: with net loopback, the host's own listeners are out of reach and a wildcard listener inside
// cannot be reached from the host.
func TestLoopbackStaysInside(t *testing.T) {
	s := box(t)
	host := listen(t, "tcp", "127.0.0.1:0")
	got, _, _ := try(t, s, Profile{Net: NetLoopback}, Command{}, "tcp="+host, "tcp=192.0.2.1:80", "udp=192.0.2.1:53", "bind-tcp=192.0.2.1:0", "bind-udp=192.0.2.1:0",
		"mptcp="+host, "bind-mptcp=127.0.0.1:0", "unix=/run/dbus/system_bus_socket")
	for _, r := range got {
		if r.Worked {
			t.Errorf("%s %s worked: %s", r.Act, r.Arg, r.Detail)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	done := make(chan bool)
	go func() {
		reached := false
		for range 20 {
			if c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 50*time.Millisecond); err == nil {
				c.Close()
				reached = true
			}
			time.Sleep(50 * time.Millisecond)
		}
		done <- reached
	}()
	got, _, _ = try(t, s, Profile{Net: NetLoopback}, Command{}, fmt.Sprintf("serve=0.0.0.0:%d", port))
	if !got[0].Worked {
		t.Errorf("a listener inside failed: %s", got[0].Detail)
	}
	if <-done {
		t.Error("the host reached a wildcard listener inside")
	}
}

func TestSystemSurface(t *testing.T) {
	s := box(t)
	got, _, _ := try(t, s, Profile{}, Command{}, "unshare", "clone-ns", "mount=/tmp", "chroot=/tmp", "ptrace", "io_uring", "keyring", "bpf", "userfaultfd", "capability",
		"kill=1000000", "read=/proc/1/environ", "read=/proc/1/mem", "read=/proc/kcore", "write=/proc/sysrq-trigger", "write=/proc/self/oom_score_adj", "stat=/dev/mem", "stat=/dev/kmsg", "stat=/dev/tty", "stat=/run", "stat=/root", "stat=/boot")
	for _, r := range got {
		if r.Worked {
			t.Errorf("%s %s worked: %s", r.Act, r.Arg, r.Detail)
		}
	}
}

// TestInheritedDescriptors leaves a descriptor open across exec, as careless callers do.
func TestInheritedDescriptors(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(secret, unix.O_RDONLY, 0) // no O_CLOEXEC
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 900)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(high)
		acts := []string{"fd=3", "fd=4", "fd=" + strconv.Itoa(fd), "fd=" + strconv.Itoa(high)}
		got, _, _ := try(t, s, Profile{}, Command{}, acts...)
		for _, r := range got[2:] {
			if r.Worked {
				t.Errorf("descriptor %s is open inside", r.Arg)
			}
		}
		for _, r := range bare(t, nil, acts[2:]...) {
			if !r.Worked {
				t.Errorf("bare: descriptor %s is closed, so the test proves nothing", r.Arg)
			}
		}
	})
}

func TestMemoryLimit(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		if !machine.Groups.Memory {
			// Per-process limits only: the bomb must fail, the report must admit that the tree is not bounded.
			got, proc, _ := try(t, s, Profile{Memory: 128 << 20}, Command{}, "memory=512")
			if len(got) > 0 && got[0].Worked {
				t.Error("512 MiB in one process under a limit of 128 MiB")
			}
			if h := proc.Report.Get(LimitsMemory); h.State != Missing {
				t.Errorf("limits.memory: got %s, want missing", h.State)
			}
			return
		}
		got, _, exit := try(t, s, Profile{Memory: 128 << 20}, Command{}, "memory=512")
		if len(got) > 0 || exit.String() != "stopped: used more than 128 MiB" {
			t.Errorf("memory bomb: results %v, exit %q; want it stopped for its memory, with the limit", got, exit)
		}
		got, _, exit = try(t, s, Profile{Memory: 128 << 20}, Command{}, "memory=32")
		if len(got) != 1 || !got[0].Worked || exit.OOM {
			t.Errorf("32 MiB under a limit of 128: results %v, exit %v", got, exit)
		}
	})
}

// Processor time is known also where nothing limits it.
func TestUsage(t *testing.T) {
	s := box(t)
	if !machine.Groups.Memory {
		t.Skip("this user has no memory cgroup")
	}
	p, err := s.Start(t.Context(), Profile{Memory: 128 << 20}, Command{Argv: []string{"sh", "-c", "while :; do :; done"}}, Files{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Wait()
	defer p.Kill()
	deadline := time.Now().Add(20 * time.Second)
	for u := p.Usage(); u.Memory == 0 || u.CPU == 0; u = p.Usage() {
		if time.Now().After(deadline) {
			t.Fatalf("usage: %+v; want memory and processor time", u)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestTaskLimit(t *testing.T) {
	s := box(t)
	need(t, machine.Groups.Pids || os.Geteuid() != 0, "a way to bound tasks")
	got, _, _ := try(t, s, Profile{Pids: 24}, Command{}, "forks=60")
	if len(got) != 1 || got[0].Worked {
		t.Errorf("60 children under a limit of 24: %v", got)
	}
	got, _, _ = try(t, s, Profile{Pids: 24}, Command{}, "forks=3")
	if len(got) != 1 || !got[0].Worked {
		t.Errorf("3 children under a limit of 24: %v", got)
	}
}

// TestNothingStaysBehind: whatever the program leaves running ends with it.
func TestNothingStaysBehind(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		mark := strconv.Itoa(700000 + os.Getpid()%100000)
		got, _, _ := try(t, s, Profile{Pids: 64}, Command{}, "daemon="+mark)
		if !got[0].Worked {
			t.Fatalf("the daemon did not start: %s", got[0].Detail)
		}
		if left := processesWith(mark); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
		// The twin: without the sandbox the daemon survives its parent.
		twin := "31" + mark[1:]
		bare(t, os.Environ(), "daemon="+twin)
		survived := false
		for range 200 { // its last process may still be on its way when the first are ended
			left := processesWith(twin)
			survived = survived || len(left) > 0
			for _, pid := range left {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			if survived && len(left) == 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !survived {
			t.Error("bare: no daemon is left, so the test proves nothing")
		}
	})
}

// TestStopEndsStubbornTree ends a program that ignores SIGTERM and has forked away.
func TestStopEndsStubbornTree(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		mark := strconv.Itoa(800000 + os.Getpid()%100000)
		script := `trap "" TERM; (setsid sh -c 'trap "" TERM; sleep ` + mark + `' &) ; sleep ` + mark
		p, err := s.Start(t.Context(), Profile{Pids: 64}, Command{Argv: []string{"/bin/sh", "-c", script}}, Files{})
		if err != nil {
			t.Fatal(err)
		}
		for len(processesWith(mark)) < 2 {
			time.Sleep(5 * time.Millisecond)
		}
		exit := p.Stop(t.Context(), 50*time.Millisecond)
		if exit.Known || exit.Left != nil {
			t.Errorf("exit %+v, want killed and nothing left", exit)
		}
		if left := processesWith(mark); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
	})
}

func TestExitStatusPassesThrough(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -SEGV $$": 128 + 11, "kill -TERM $$": 128 + 15} {
			p, err := s.Start(t.Context(), Profile{}, Command{Argv: []string{"/bin/sh", "-c", script}}, Files{})
			if err != nil {
				t.Fatal(err)
			}
			if e := p.Wait(); e.Code() != want || !e.Known {
				t.Errorf("%s: got %d (%v), want %d", script, e.Code(), e, want)
			}
		}
	})
}

func TestSignalsReachTheProgram(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Start(t.Context(), Profile{}, Command{Argv: []string{"/bin/sh", "-c", `trap 'exit 42' USR1; echo ready; while :; do sleep 0.02; done`}}, Files{Out: w})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		var line [6]byte
		if _, err := io.ReadFull(r, line[:]); err != nil {
			t.Fatal(err)
		}
		if err := p.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if e := p.Wait(); e.Code() != 42 {
			t.Errorf("got %v, want status 42", e)
		}
	})
}

// TestHostDeathEndsSandbox kills the process that started the sandbox.
func TestHostDeathEndsSandbox(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_HOST") != "" {
		_, err := inTier(t, os.Getenv("SANDBOX_TEST_TIER")).Start(context.Background(), Profile{}, Command{Argv: []string{"/bin/sh", "-c", "setsid sleep $0 & sleep $0", os.Getenv("SANDBOX_TEST_HOST")}}, Files{})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("ready")
		time.Sleep(time.Minute)
		return
	}
	for _, tier := range []string{"strong", "medium", "medium, ABI 4"} {
		t.Run(tier, func(t *testing.T) {
			inTier(t, tier)
			mark := strconv.Itoa(900000 + os.Getpid()%100000)
			c := exec.Command(os.Args[0], "-test.run", "^TestHostDeathEndsSandbox$")
			c.Env = append(os.Environ(), "SANDBOX_TEST_HOST="+mark, "SANDBOX_TEST_TIER="+tier, "TMPDIR="+t.TempDir(), "XDG_RUNTIME_DIR=", "SANDBOX_BINARIES="+binaries)
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			var line [6]byte
			if _, err := io.ReadFull(out, line[:]); err != nil || string(line[:]) != "ready\n" {
				t.Fatalf("host said %q: %v", line, err)
			}
			if len(processesWith(mark)) == 0 {
				t.Error("the program is not running, so the test proves nothing")
			}
			_ = c.Process.Kill()
			_ = c.Wait()
			deadline := time.Now().Add(5 * time.Second)
			for len(processesWith(mark)) > 0 && time.Now().Before(deadline) {
				time.Sleep(5 * time.Millisecond)
			}
			if left := processesWith(mark); len(left) > 0 {
				t.Errorf("still running after the host died: %v", left)
			}
		})
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		for _, argv := range []string{"/nonexistent/server", "no-such-program"} {
			_, err := s.Start(t.Context(), Profile{}, Command{Argv: []string{argv}}, Files{})
			var nf *NotFoundError
			if !errors.As(err, &nf) || nf.Program != argv || nf.Errno != syscall.ENOENT {
				t.Errorf("%s: got %v, want NotFoundError with ENOENT", argv, err)
			}
		}
	})
}

// TestWritableFoldersAreNamed: a program that lies in a folder for writing is not just denied; its twin in a folder for
// reading runs, and one that is no program at all is not blamed on a grant.
func TestWritableFoldersAreNamed(t *testing.T) {
	s := box(t)
	dir := t.TempDir()
	program, text := filepath.Join(dir, "true"), filepath.Join(t.TempDir(), "text")
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, b, 0o700), os.WriteFile(text, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		p        Profile
		program  string
		writable string
		runs     bool
	}{
		"by its path":             {Profile{Write: []string{dir}}, program, dir, false},
		"by its name":             {Profile{Write: []string{"/usr"}}, "ls", "/usr", false},
		"its loader":              {Profile{Read: []string{dir}, Write: []string{"/usr"}}, program, "/usr", false},
		"no program":              {Profile{Read: []string{text}, Write: []string{dir}}, text, "", false},
		"readable":                {Profile{Read: []string{dir}}, program, "", true},
		"readable, in a writable": {Profile{Read: []string{program}, Write: []string{dir}}, program, "", true},
	} {
		proc, err := s.Start(t.Context(), c.p, Command{Argv: []string{c.program}}, Files{})
		if err == nil {
			proc.Wait()
		}
		var nf *NotFoundError
		if errors.As(err, &nf); (err == nil) != c.runs || !c.runs && (nf == nil || nf.Errno != syscall.EACCES || nf.Writable != c.writable) {
			t.Errorf("%s: %v, %+v; want it to run: %v, or to name %q", name, err, nf, c.runs, c.writable)
		}
	}
}

func TestGrantMustExistAndBeReal(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		dir := t.TempDir()
		link := filepath.Join(dir, "link")
		if err := os.Symlink("/etc", link); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{filepath.Join(dir, "absent"), link} {
			_, err := s.Start(t.Context(), Profile{Read: []string{path}}, Command{Argv: []string{"/bin/true"}}, Files{})
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("grant %s: got %v, want an error that names it", path, err)
			}
		}
	})
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p, err := s.Start(ctx, Profile{}, Command{Argv: []string{"/bin/sleep", "600"}}, Files{}); err == nil {
			p.Kill()
			<-p.Done()
			t.Error("a cancelled start succeeded")
		}
	})
}

func listen(t testing.TB, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// processesWith returns the pids whose command line contains mark, this one aside.
func processesWith(mark string) []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		b, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if bytes.Contains(b, []byte(mark)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestEgressListener: the program reaches what the host serves on the listener that it was handed, and nothing past it.
func TestEgressListener(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		outside, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		inside := EgressAddr
		profile := Profile{Net: NetHosts, Demand: Isolation(NetHosts)}
		got, proc, exit := try(t, s, profile, Command{}, "tcp="+inside, "tcp="+outside.Addr().String(), "tcp=192.0.2.1:443", "udp=192.0.2.1:53", "bind-tcp="+inside, "bind-tcp=192.0.2.1:0", "mptcp="+inside)
		for i, r := range got {
			if want := i == 0; r.Worked != want {
				t.Errorf("%s %s: worked %v, want %v (%s)", r.Act, r.Arg, r.Worked, want, r.Detail)
			}
		}
		if len(got) != 7 || exit.Code() != 0 || proc.Report.Get(NetHostsG).State != Enforced {
			t.Errorf("%d results, exit %v, report %+v", len(got), exit, proc.Report.Get(NetHostsG))
		}
		if _, err := proc.Egress.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end, accepting on the listener: %v, want it closed", err)
		}

		// What goes in comes out, by the host's hand.
		out := must(os.CreateTemp(t.TempDir(), "out"))
		defer out.Close()
		p, err := s.Start(t.Context(), profile, Command{Argv: []string{"bash", "-c", "exec 3<>/dev/tcp/" + strings.Replace(EgressAddr, ":", "/", 1) + "; echo question >&3; cat <&3"}}, Files{Out: out})
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Egress.Accept()
		if err != nil {
			t.Fatal(err)
		}
		question := make([]byte, len("question\n"))
		if _, err := io.ReadFull(c, question); err != nil || string(question) != "question\n" {
			t.Errorf("the host reads %q, %v", question, err)
		}
		_, _ = io.WriteString(c, "answer")
		c.Close()
		p.Wait()
		if b, err := os.ReadFile(out.Name()); err != nil || string(b) != "answer" {
			t.Errorf("the program reads %q, %v", b, err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestReachAndServe: the program finds the named ports of this computer's loopback on its own, the host can call the ports
// it serves, and neither others.
func TestReachAndServe(t *testing.T) {
	eachTier(t, func(t *testing.T, s *Sandbox) {
		service, other := must(net.Listen("tcp4", "127.0.0.1:0")), must(net.Listen("tcp4", "127.0.0.1:0"))
		defer service.Close()
		defer other.Close()
		port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }
		free := must(net.Listen("tcp4", "127.0.0.1:0"))
		served := port(free)
		free.Close()
		profile := Profile{Net: NetLoopback, Reach: []uint16{port(service)}, Serve: []uint16{served}, Demand: Isolation(NetLoopback)}
		program := filepath.Join(binaries, "attempt")
		profile.Read = []string{program}
		out := must(os.CreateTemp(t.TempDir(), "out"))
		defer out.Close()
		p, err := s.Start(t.Context(), profile, Command{Argv: []string{program, fmt.Sprintf("tcp=127.0.0.1:%d", port(service)), fmt.Sprintf("tcp=127.0.0.1:%d", port(other)),
			fmt.Sprintf("bind-tcp=127.0.0.1:%d", port(service)), fmt.Sprintf("serve=127.0.0.1:%d", served)}}, Files{Out: out, Err: os.Stderr})
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Reached[port(service)].Accept() // it has been called, or is being
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := p.Dial(t.Context(), served+1); !errors.Is(err, ErrNotServed) {
			t.Errorf("a port that is not served: %v", err)
		}
		deadline := time.Now().Add(5 * time.Second)
		c, err = p.Dial(t.Context(), served)
		for err != nil && time.Now().Before(deadline) { // it does not listen yet
			time.Sleep(5 * time.Millisecond)
			c, err = p.Dial(t.Context(), served)
		}
		if err != nil {
			t.Fatalf("calling it: %v", err)
		}
		if got := c.RemoteAddr().String(); got != fmt.Sprintf("127.0.0.1:%d", served) {
			t.Errorf("called %s", got)
		}
		c.Close()
		exit := p.Wait()
		b := must(os.ReadFile(out.Name()))
		got := results(t, b)
		for i, want := range []bool{true, false, false, true} {
			if i >= len(got) || got[i].Worked != want {
				t.Errorf("%d: worked, want %v: %+v", i, want, got)
			}
		}
		if exit.Code() != 0 || exit.Left != nil {
			t.Errorf("exit %v, left %v", exit, exit.Left)
		}
		if _, err := p.Dial(t.Context(), served); err == nil {
			t.Error("called after the end")
		}
		if _, err := p.Reached[port(service)].Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end, accepting: %v, want it closed", err)
		}
	})
}
