package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHostDeathEndsFloodedSandbox kills the process that started a program which floods its init with signals.
func TestHostDeathEndsFloodedSandbox(t *testing.T) {
	const self = "^TestHostDeathEndsFloodedSandbox$"
	mark := os.Getenv("SANDBOX_TEST_FLOOD")
	switch os.Getenv("SANDBOX_TEST_ROLE") {
	case "program":
		flood()
	case "host":
		s := &Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
		program, err := Resolve(os.Args[0])
		if err == nil {
			_, err = s.Start(context.Background(), Profile{Read: []string{program}}, Command{Argv: []string{program, "-test.run", self, mark},
				Env: []string{"SANDBOX_TEST_ROLE=program", "SANDBOX_BINARIES=/tmp"}}, Files{Out: os.Stdout, Err: os.Stderr})
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		time.Sleep(time.Minute)
		return
	}
	box(t)
	mark = strconv.Itoa(600000 + os.Getpid()%100000)
	c := exec.Command(os.Args[0], "-test.run", self)
	c.Env = append(os.Environ(), "SANDBOX_TEST_ROLE=host", "SANDBOX_TEST_FLOOD="+mark, "SANDBOX_BINARIES="+binaries)
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
	time.Sleep(300 * time.Millisecond) // for the queue to fill
	if len(processesWith(mark)) == 0 {
		t.Error("the program is not running, so the test proves nothing")
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for len(processesWith(mark)) > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	left := processesWith(mark)
	if len(left) > 0 {
		t.Errorf("still running after the host died: %v", left)
	}
	for _, pid := range left {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// flood never returns. Real-time signals queue up, so that two senders keep init's queue full.
func flood() {
	if name, err := os.Hostname(); os.Getppid() != 1 || err != nil || name != "sandbox" {
		panic("not in a sandbox")
	}
	signal.Ignore()
	fmt.Println("ready")
	for range 2 {
		go func() {
			for {
				for s := unix.Signal(36); s < 64; s++ {
					_ = unix.Kill(1, s)
				}
			}
		}()
	}
	select {}
}

// TestSocketpairReachesNobody sends from a connected pair to a socket of the host that lies in a granted directory.
func TestSocketpairReachesNobody(t *testing.T) {
	if path := os.Getenv("SANDBOX_TEST_SOCKET"); path != "" {
		sendFromPair(path)
	}
	s := box(t)
	program, err := Resolve(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "s") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	argv := []string{program, "-test.run", "^TestSocketpairReachesNobody$"}
	got := func() bool {
		_ = l.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, _, err := l.ReadFrom(make([]byte, 16))
		return err == nil && n > 0
	}
	p, err := s.Start(t.Context(), Profile{Read: []string{dir, program}}, Command{Argv: argv, Env: []string{"SANDBOX_TEST_SOCKET=" + path, "SANDBOX_BINARIES=/tmp"}}, Files{Err: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Wait(); e.Code() != 0 {
		t.Errorf("confined: %v: a connected stream could not be made", e)
	}
	if got() {
		t.Error("confined: the host's socket got a message")
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "SANDBOX_TEST_SOCKET="+path, "SANDBOX_BINARIES="+binaries)
	if out, err := c.CombinedOutput(); err != nil || !got() {
		t.Errorf("bare: %v %s: nothing arrived, so the test proves nothing", err, out)
	}
}

// sendFromPair sends from pairs of every type, to path by name and after connecting to it. It ends with status 1 if the
// types that programs need could not be made.
func sendFromPair(path string) {
	code := 0
	to := &unix.SockaddrUnix{Name: path}
	for kind, needed := range map[int]bool{unix.SOCK_DGRAM: false, unix.SOCK_RAW: false, unix.SOCK_SEQPACKET: true, unix.SOCK_STREAM: true} {
		pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			if needed {
				code = 1
			}
			continue
		}
		_ = unix.Sendto(pair[0], []byte("hello"), 0, to)
		if unix.Connect(pair[1], to) == nil {
			_ = unix.Send(pair[1], []byte("hello"), 0)
		}
	}
	os.Exit(code)
}

// TestReadInsideWriteStaysInPlace tries to put something else in the place of a directory that is granted for reading
// below one that is granted for writing.
func TestReadInsideWriteStaysInPlace(t *testing.T) {
	s := box(t)
	dir := t.TempDir()
	inner := filepath.Join(dir, "a", "b", "c")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	script := `cd "$0" || exit 9; mv a/b/c a/b/x && exit 1; mv a/b a/x && exit 2; mv a x && exit 3; echo x > a/b/c/f && exit 4
echo x > f && echo x > a/f && echo x > a/b/f && mv a/b/f a/b/g && exit 0; exit 5`
	for _, p := range []Profile{
		{Write: []string{dir}, Read: []string{inner}},
		{Write: []string{dir, filepath.Join(dir, "a", "b")}, Read: []string{inner}},
	} {
		for _, name := range []string{"f", "a/f", "a/b/g"} {
			_ = os.Remove(filepath.Join(dir, name))
		}
		proc, err := s.Start(t.Context(), p, Command{Argv: []string{"/bin/sh", "-c", script, dir}}, Files{})
		if err != nil {
			t.Fatal(err)
		}
		if e := proc.Wait(); e.Code() != 0 {
			t.Errorf("%v: %v", p, e)
		}
	}
	// A directory between a reading grant and one inside it stays readable only.
	script = `cd "$0" || exit 9; echo x > a/b/no && exit 1; echo x > a/no && exit 2; echo x > yes && exit 0; exit 3`
	p := Profile{Write: []string{dir}, Read: []string{filepath.Join(dir, "a"), inner}}
	proc, err := s.Start(t.Context(), p, Command{Argv: []string{"/bin/sh", "-c", script, dir}}, Files{})
	if err != nil {
		t.Fatal(err)
	}
	if e := proc.Wait(); e.Code() != 0 {
		t.Errorf("%v: %v", p, e)
	}
}

// TestPrivateKeysOfTheMachine looks for what only root could read, so it means most when root runs it.
func TestPrivateKeysOfTheMachine(t *testing.T) {
	s := box(t)
	for _, path := range []string{"/etc/ssl/private", "/etc/pki/tls/private", "/etc/pki/CA/private", "/etc/pki/nssdb"} {
		if InSystem(path) {
			t.Errorf("%s is part of System", path)
		}
		got, _, _ := try(t, s, Profile{}, Command{}, "stat="+path)
		if got[0].Worked {
			t.Errorf("%s can be seen: %s", path, got[0].Detail)
		}
	}
}

// TestSignalQueueIsItsOwn: queued signals count against the user outside too.
func TestSignalQueueIsItsOwn(t *testing.T) {
	s := box(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start(t.Context(), Profile{}, Command{Argv: []string{"/bin/sh", "-c", "grep 'pending signals' /proc/self/limits"}}, Files{Out: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	p.Wait()
	if err != nil || !strings.Contains(string(b), " 1024 ") {
		t.Errorf("limit of queued signals %q, %v; want 1024", b, err)
	}
}

func TestResolveTakesNoEmptyPath(t *testing.T) {
	if got, err := Resolve(""); err == nil {
		t.Errorf("got %q, want an error", got)
	}
	if got, err := Resolve("."); err != nil || !filepath.IsAbs(got) {
		t.Errorf("the working directory: %q, %v", got, err)
	}
}

func TestStandardStreamsAreNoDirectories(t *testing.T) {
	s := box(t)
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, f := range []Files{{In: root}, {Out: root}, {Err: root}} {
		if p, err := s.Start(t.Context(), Profile{}, Command{Argv: []string{"/bin/true"}}, f); err == nil {
			p.Wait()
			t.Error("a program was started with a directory of the host open")
		}
	}
}
