package sandbox

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scene is what a probe finds: a home that is not granted, a folder for reading, one for writing, and what its setup adds.
type scene struct {
	t             testing.TB
	home, ro, rw  string
	secret, notes string // files in home and ro
	canary        string // what the secret says; nobody could guess it
	read, write   []string
	stderr        *os.File
	want          string      // an act got through if what it got contains this
	meanwhile     func()      // runs while the act does
	check         func() bool // or if this holds, while it waits
	survives      string      // or if a process with this mark is left after the end
	undo          []func()
}

// userAttribute is the attribute that files of a scene have.
const userAttribute = "user.cordon"

func newScene(t testing.TB) *scene {
	t.Helper()
	// Not below /tmp, which is private inside.
	dir, err := os.MkdirTemp("/var/tmp", "sandbox-escape-")
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, home: filepath.Join(dir, "home"), ro: filepath.Join(dir, "ro"), rw: filepath.Join(dir, "rw"), canary: "canary" + rand.Text()}
	s.undo = append(s.undo, func() {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { return os.Chmod(path, 0o700) })
		_ = os.RemoveAll(dir)
	})
	s.secret, s.notes = filepath.Join(s.home, "secret"), filepath.Join(s.ro, "notes")
	for _, d := range []string{s.home, s.ro, s.rw} {
		s.ok(os.Mkdir(d, 0o700))
	}
	for _, f := range []string{s.secret, s.notes} {
		s.ok(os.WriteFile(f, []byte(s.canary), 0o600))
		_ = unix.Setxattr(f, userAttribute, []byte(s.canary), 0)
	}
	s.read, s.write = []string{s.ro}, []string{s.rw}
	return s
}

func (s *scene) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
}

// in returns a path in the folder for writing.
func (s *scene) in(name string) string { return filepath.Join(s.rw, name) }

// wants says that the act has to get the canary.
func (s *scene) wants(args ...string) []string {
	s.want = s.canary
	return args
}

// changes says that the file has to differ afterwards: content, mode, times or flags, or be gone.
func (s *scene) changes(path string, args ...string) []string {
	before := state(path)
	s.check = func() bool { return state(path) != before }
	return args
}

// appears says that a file has to be there afterwards.
func (s *scene) appears(path string, args ...string) []string {
	s.check = func() bool { _, err := os.Lstat(path); return err == nil }
	return args
}

// state is what can be told of a file: content, mode, times, attributes, flags, names.
func state(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	b, _ := os.ReadFile(path)
	x := make([]byte, 64)
	n, _ := unix.Getxattr(path, userAttribute, x)
	flags, version := -1, -1
	if f, err := os.Open(path); err == nil {
		flags, _ = unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		version, _ = unix.IoctlGetInt(int(f.Fd()), 0x80087601) // FS_IOC_GETVERSION
		f.Close()
	}
	return fmt.Sprint(string(b), st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Mtim, st.Ctim, string(x[:max(n, 0)]), flags, version)
}

// victim is another process of the user's, with a secret in its environment, its working directory and a descriptor.
type victim struct {
	pid     string
	process *os.Process
	ended   chan struct{}
	mark    string
}

// secretFD is the descriptor by which the victim has its secret open.
const secretFD = "3"

func (s *scene) victim() *victim { return s.victimOf("/bin/sleep") }

// victimOf starts a victim; the mark is its last argument.
func (s *scene) victimOf(argv ...string) *victim {
	s.t.Helper()
	f, err := os.Open(s.secret)
	s.ok(err)
	defer f.Close()
	v := &victim{mark: mark(), ended: make(chan struct{})}
	c := exec.Command(argv[0], append(argv[1:], v.mark)...)
	c.Dir, c.Env, c.ExtraFiles = s.home, []string{"SECRET=" + s.canary}, []*os.File{f}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.ok(c.Start())
	v.process, v.pid = c.Process, strconv.Itoa(c.Process.Pid)
	go func() {
		_ = c.Wait()
		close(v.ended)
	}()
	s.undo = append(s.undo, func() {
		_ = c.Process.Kill()
		<-v.ended
	})
	for range 400 { // until it is what it will be
		if b, _ := os.ReadFile("/proc/" + v.pid + "/cmdline"); bytes.Contains(b, []byte(v.mark)) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return v
}

// dies says that the victim has to end.
func (s *scene) dies(v *victim, args ...string) []string {
	s.check = func() bool {
		select {
		case <-v.ended:
			return true
		default:
			return false
		}
	}
	return append([]string{v.pid}, args...)
}

// differs says that what the kernel tells of the victim has to change.
func (s *scene) differs(v *victim, tell func(pid int) string) []string {
	pid := v.process.Pid
	before := tell(pid)
	s.check = func() bool { return tell(pid) != before }
	return []string{v.pid}
}

// environment is where the victim's environment lies in its memory: field 50 of /proc/PID/stat, proc(5).
func (v *victim) environment() string {
	b, _ := os.ReadFile("/proc/" + v.pid + "/stat")
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fields[50-3]
}

var marks struct {
	sync.Mutex
	n int
}

// mark is a time to sleep that no other process has.
func mark() string {
	marks.Lock()
	defer marks.Unlock()
	marks.n++
	return fmt.Sprintf("300.%d%05d", os.Getpid(), marks.n)
}

// outlives says that something with a mark has to be left after the end.
func outlives(s *scene) []string {
	s.survives = mark()
	return []string{s.survives}
}

// hears makes a listener that has to get a connection with something in it, and returns its address.
func (s *scene) hears(network, address string) string {
	s.t.Helper()
	l, err := net.Listen(network, address)
	s.ok(err)
	s.undo = append(s.undo, func() { l.Close() })
	heard := make(chan struct{}, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}()
	s.check = func() bool {
		select {
		case <-heard:
			return true
		default:
			return false
		}
	}
	return l.Addr().String()
}

// receives does the same with datagrams.
func (s *scene) receives(network, address string) string {
	s.t.Helper()
	l, err := net.ListenPacket(network, address)
	s.ok(err)
	s.undo = append(s.undo, func() { l.Close() })
	s.check = func() bool {
		_ = l.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		n, _, err := l.ReadFrom(make([]byte, 16))
		return err == nil && n > 0
	}
	return l.LocalAddr().String()
}

// free is a port that nobody has.
func (s *scene) free() int {
	l, err := net.Listen("tcp", ":0")
	s.ok(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// exposes says that the port has to be bound, in this network, to an address that others could reach.
func (s *scene) exposes(port int) {
	want := fmt.Sprintf(":%04X", port)
	s.check = func() bool {
		for _, f := range []string{"tcp", "tcp6", "udp", "udp6"} {
			b, _ := os.ReadFile("/proc/net/" + f)
			for _, line := range strings.Split(string(b), "\n") {
				if fs := strings.Fields(line); len(fs) > 1 && strings.HasSuffix(fs[1], want) && !strings.HasSuffix(fs[1], "7F"+want) && !strings.HasPrefix(fs[1], "00000000000000000000000001000000") {
					return true
				}
			}
		}
		return false
	}
}
