package escape

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// torment are acts against who answers for a program without namespaces. They work when every call was answered, as it has
// to be. a[0] is a file in a folder for writing.
var torment = map[string]Act{
	"flood": func(a []string) (string, error) { // ten thousand calls, sixteen at once
		if err := os.WriteFile(a[0], nil, 0o600); err != nil {
			return "", err
		}
		var failed atomic.Int64
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 625 {
					if os.Chmod(a[0], 0o600) != nil {
						failed.Add(1)
					}
				}
			})
		}
		all.Wait()
		if n := failed.Load(); n > 0 {
			return "", fmt.Errorf("%d calls failed", n)
		}
		return "answered", nil
	},
	"killed": func(a []string) (string, error) { // processes that end in the middle of a call
		if err := os.WriteFile(a[0], nil, 0o600); err != nil {
			return "", err
		}
		if err := killedIn(unix.SYS_FCHMODAT, a[0], 0o600); err != nil {
			return "", err
		}
		return "answered", os.Chmod(a[0], 0o700)
	},
	"unreadable": func(a []string) (string, error) { // a caller whose memory cannot be read fails, and waits for nothing
		if err := os.WriteFile(a[0], nil, 0o600); err != nil {
			return "", err
		}
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return "", err
		}
		if os.Chmod(a[0], 0o700) == nil {
			return "", errors.New("it was changed")
		}
		if _, err := net.Listen("tcp4", "127.0.0.1:0"); err == nil {
			return "", errors.New("it listens")
		}
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return "", err
		}
		return "answered", os.Chmod(a[0], 0o700)
	},
	"bad-memory": func(a []string) (string, error) { // addresses of nothing, of the last byte, of everything
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return "", err
		}
		for i := range page {
			page[i] = 'a' // no end
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		for _, at := range []uintptr{0, 1, 0xfff, addr(&page[0]), addr(&page[4095]), ^uintptr(0), ^uintptr(4095), 1 << 47, 1 << 62} {
			for _, n := range []uintptr{0, 1, 2, 15, 16, 27, 28, 110, 128, 129, 1 << 31, ^uintptr(0)} {
				for _, nr := range []uintptr{unix.SYS_BIND, unix.SYS_CONNECT} {
					if _, err := sys(nr, uintptr(fd), at, n); err == nil {
						return "", fmt.Errorf("%d of %#x, %d worked", nr, at, n)
					}
				}
			}
			if _, err := sys(unix.SYS_FCHMODAT, cwd, at, 0o600, 0); err == nil {
				return "", fmt.Errorf("a path at %#x worked", at)
			}
			_, _ = sys(unix.SYS_UTIMENSAT, cwd, at, at, 0)
			_, _ = sys(unix.SYS_INOTIFY_ADD_WATCH, uintptr(fd), at, 1)
			_, _ = sys(unix.SYS_LISTEN, ^uintptr(0), at)
		}
		return "answered", os.WriteFile(a[0], nil, 0o600)
	},
	"other-descriptors": func(a []string) (string, error) { // a thread whose descriptors are not its process's
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		ended := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // and ends with the goroutine
			if err := unix.Unshare(unix.CLONE_FILES); err != nil {
				_ = unix.CloseRange(1<<20, 1<<20, unix.CLOSE_RANGE_UNSHARE)
			}
			file, err := unix.Open(a[0], unix.O_CREAT|unix.O_RDWR, 0o600)
			if err == nil {
				err = unix.Dup3(file, fd, 0) // its own fd is a file now, the process's a socket
			}
			if err == nil {
				_ = unix.Fchmod(fd, 0o777)
				if unix.Listen(fd, 1) != nil { // the process's socket: fine; or refused: fine
					_ = unix.Bind(fd, &unix.SockaddrInet4{})
				}
			}
			ended <- err
		}()
		return "answered", <-ended
	},
	"storm-at-full-speed": func([]string) (string, error) { // holds standard output until the last has ended
		for range 4 {
			c := exec.Command("/proc/self/exe", "storm-of-forks-inside")
			c.Stdout = os.Stdout
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := c.Start(); err != nil {
				return "", err
			}
		}
		return "raging", nil
	},
}

// killedIn ends processes in the middle of a call that names a file in a directory.
func killedIn(nr uintptr, name string, third uintptr) error {
	path := cstr(name)
	for i := range 400 {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			for {
				unix.RawSyscall6(nr, cwd, uintptr(unsafe.Pointer(path)), third, 0, 0, 0)
			}
		}
		time.Sleep(time.Duration(i%40) * 25 * time.Microsecond)
		_ = unix.Kill(int(pid), unix.SIGKILL)
		if _, err := unix.Wait4(int(pid), nil, 0, nil); err != nil {
			return err
		}
	}
	return nil
}
