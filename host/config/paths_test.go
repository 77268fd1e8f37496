package config

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFindPaths(t *testing.T) {
	env := map[string]string{"HOME": "/home/ana", "XDG_STATE_HOME": "/var/state", "XDG_CACHE_HOME": "relative"}
	p, err := FindPaths(func(k string) string { return env[k] })
	want := Paths{"/home/ana", "/home/ana/.config/cordon", "/var/state/cordon", "/home/ana/.local/share/cordon", "/home/ana/.cache/run/cordon", "/home/ana/.cache/cordon"}
	if err != nil || p != want {
		t.Errorf("FindPaths = %+v, %v; want %+v", p, err, want)
	}
	for _, home := range []string{"", "ana"} {
		if _, err := FindPaths(func(string) string { return home }); err == nil {
			t.Errorf("HOME=%q was taken", home)
		}
	}
}

func TestMakeRefusesSharedDirectories(t *testing.T) {
	p := testPaths(t) // made once: the good twin
	st, err := os.Stat(p.State)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("mode %v, %v; want 0700", st.Mode(), err)
	}
	if err := os.Chmod(p.State, 0o770); err != nil {
		t.Fatal(err)
	}
	if err := p.Make(); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("group-writable: %v, want a refusal with the command that mends it", err)
	}
	if err := os.Chmod(p.State, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.Make(); err != nil {
		t.Errorf("readable by others, as XDG directories often are: %v", err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(p.State, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if err := p.Make(); err == nil || !strings.Contains(err.Error(), "another user") {
			t.Errorf("owned by another: %v, want a refusal", err)
		}
	}
}

func TestWriteFileKeepsTheOldOneOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "f"), nil); err == nil {
		t.Error("writing into a missing directory succeeded")
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "d"), nil); err == nil {
		t.Error("replacing a directory succeeded")
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("file holds %q", b)
	}
	if all, _ := os.ReadDir(dir); len(all) != 2 {
		t.Errorf("left behind: %v", all)
	}
}

func TestLock(t *testing.T) {
	if dir := os.Getenv("HOLD_LOCK"); dir != "" {
		o, err := Lock(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		_, _ = os.Stdout.WriteString("held\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	dir := t.TempDir()
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := Lock(dir); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("second Lock = %v, want HeldError with this process", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(os.Args[0], "-test.run", "^TestLock$")
	cmd.Env = append(os.Environ(), "HOLD_LOCK="+dir)
	in, _ := cmd.StdinPipe()
	defer in.Close()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("child said %q", line)
	}
	if _, err := Lock(dir); !errors.As(err, &held) || held.PID != cmd.Process.Pid {
		t.Errorf("Lock against a child = %v, want its pid %d", err, cmd.Process.Pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("Lock after the owner was killed: %v", err)
	}
	_ = again.Close()
}

// A child between fork and exec shares the lock's open file, as a duplicate does: it must not hold the directory.
func TestLockEndsWithItsOwner(t *testing.T) {
	dir := t.TempDir()
	o, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.Dup(int(o.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	var held *HeldError
	if _, err := Lock(dir); !errors.As(err, &held) {
		t.Errorf("a second owner: %v, want the first to be named", err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("after the owner has ended: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
