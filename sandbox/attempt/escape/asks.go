package escape

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asks are acts against who takes note of what a program asks for. All but the first work when every call was answered as if nobody
// did.
var asks = map[string]Act{
	"flip-open":   flipOpen,
	"asks-flood":  asksFlood,
	"asks-many":   asksMany,
	"asks-oddly":  asksOddly,
	"asks-badly":  asksBadly,
	"asks-killed": asksKilled,
	"asks-hidden": asksHidden,
}

// flipOpen opens a path that turns from a[0], which is granted, into a[1], which is not, and back: what is looked at is not always
// what is opened. Both are equally long. It works when it reads what is in the second.
func flipOpen(a []string) (string, error) {
	one, other := []byte(a[0]), []byte(a[1])
	if len(one) != len(other) {
		return "", errors.New("paths of different lengths")
	}
	path := append(bytes.Clone(one), 0)
	var stop atomic.Bool
	defer stop.Store(true)
	go func() {
		for !stop.Load() {
			copy(path, other)
			copy(path, one)
		}
	}()
	secret, buf, opened := []byte("secret"), make([]byte, 64), 0
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); {
		fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, cwd, uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno != 0 {
			continue
		}
		opened++
		n, err := unix.Read(int(fd), buf)
		_ = unix.Close(int(fd))
		if err == nil && bytes.HasPrefix(buf[:n], secret) {
			return "read " + a[1], nil
		}
	}
	return "", fmt.Errorf("%d times opened, and never the other file", opened)
}

// refused says that a path that is not granted cannot be opened.
func refused(path string) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
		return fmt.Errorf("%q was opened", path)
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
		return err
	}
	return nil
}

// asksFlood asks for a[0] in a loop, from four threads, a[1] milliseconds long.
func asksFlood(a []string) (string, error) {
	until := time.Now().Add(time.Duration(number(a[1])) * time.Millisecond)
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	var times atomic.Int64
	for range 4 {
		all.Go(func() {
			for time.Now().Before(until) {
				if err := refused(a[0]); err != nil {
					failed.Store(&err)
					return
				}
				times.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return "", *err
	}
	return fmt.Sprint(times.Load()), nil
}

// asksMany asks for a[1] different names below a[0].
func asksMany(a []string) (string, error) {
	for i := range number(a[1]) {
		if err := refused(filepath.Join(a[0], strconv.Itoa(i))); err != nil {
			return "", err
		}
	}
	return "answered", nil
}

// asksOddly asks for a file below a[0] in every way there is: with bytes that are no text, with a directory, from a thread, as a
// program.
func asksOddly(a []string) (string, error) {
	for _, name := range []string{"line\nbreak", "no text \xff\xfe", "./x/../dotted", "in/../in/folder"} {
		if err := refused(a[0] + "/" + name); err != nil {
			return "", err
		}
	}
	fd, err := unix.Open(filepath.Dir(a[0]), unix.O_PATH|unix.O_DIRECTORY, 0) // there, because something in it is granted
	if err != nil {
		return "", err
	}
	if _, err := unix.Openat(fd, filepath.Base(a[0])+"/by-directory", unix.O_RDONLY, 0); err == nil {
		return "", errors.New("opened by its directory")
	}
	if err := os.Chdir(filepath.Dir(a[0])); err != nil {
		return "", err
	}
	if err := refused(filepath.Base(a[0]) + "/by-cwd"); err != nil {
		return "", err
	}
	if err := exec.Command(a[0] + "/program").Run(); err == nil {
		return "", errors.New("it ran")
	}
	var inThread error
	done := make(chan struct{})
	go func() {
		defer close(done)
		inThread = refused(a[0] + "/by-thread")
	}()
	<-done
	return "answered", inThread
}

// asksBadly names paths that cannot be read, and none at all.
func asksBadly([]string) (string, error) {
	page, err := unix.Mmap(-1, 0, 2*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return "", err
	}
	for i := range page {
		page[i] = 'a'
	}
	if err := unix.Mprotect(page[4096:], unix.PROT_NONE); err != nil {
		return "", err
	}
	empty := []byte{0}
	for i, c := range []struct {
		at   uintptr
		want unix.Errno
	}{{0, unix.EFAULT}, {1, unix.EFAULT}, {^uintptr(0), unix.EFAULT}, {uintptr(unsafe.Pointer(&page[4000])), unix.EFAULT}, {uintptr(unsafe.Pointer(&page[0])), unix.ENAMETOOLONG}, {uintptr(unsafe.Pointer(&empty[0])), unix.ENOENT}} {
		for _, nr := range []uintptr{unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_UNLINKAT} {
			var st unix.Stat_t
			third := uintptr(unsafe.Pointer(&st))
			if nr != unix.SYS_NEWFSTATAT {
				third = 0
			}
			if _, err := sys(nr, cwd, c.at, third); err != c.want && (err != unix.EFAULT || c.want == unix.ENOENT) {
				return "", fmt.Errorf("%d by %d: %v, want %v", i, nr, err, c.want)
			}
		}
	}
	return "answered", nil
}

// asksKilled has processes end in the middle of asking.
func asksKilled(a []string) (string, error) {
	return "answered", killedIn(unix.SYS_OPENAT, a[0], unix.O_RDONLY)
}

// asksHidden asks from memory that others may not read.
func asksHidden(a []string) (string, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return "", err
	}
	for range 200 {
		if err := refused(a[0]); err != nil {
			return "", err
		}
	}
	return "answered", nil
}
