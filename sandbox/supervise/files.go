package supervise

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Files: Landlock guards their content, not their modes and times, nor who watches them. Each is opened here (O_PATH), and
// where it really lies decides.

// file opens what a call names by directory and path. flags is AT_SYMLINK_NOFOLLOW or AT_EMPTY_PATH. The caller of this
// closes it.
func (c *caller) file(dirfd uint64, at uint64, flags int) (int, error) {
	name := ""
	if at != 0 {
		var err error
		if name, err = c.path(at); err != nil {
			return -1, err
		}
	}
	if name == "" {
		if flags&unix.AT_EMPTY_PATH == 0 {
			return -1, unix.ENOENT
		}
		return c.descriptor(dirfd)
	}
	dir := unix.AT_FDCWD
	switch {
	case strings.HasPrefix(name, "/"):
	case int32(dirfd) == unix.AT_FDCWD:
		d, err := unix.Open(fmt.Sprintf("/proc/%d/cwd", c.tid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil || !c.s.alive(c.notification) {
			return -1, unix.EPERM
		}
		defer unix.Close(d)
		dir = d
	default:
		d, err := c.descriptor(dirfd)
		if err != nil {
			return -1, err
		}
		defer unix.Close(d)
		dir = d
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS} // /proc/self would be ours
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		how.Flags |= unix.O_NOFOLLOW
	}
	return unix.Openat2(dir, name, &how)
}

// self is the path by which this process reaches an open descriptor again.
func self(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// below reports whether an open file lies below one of dirs.
func below(fd int, dirs ...string) bool {
	path, err := os.Readlink(self(fd))
	if err != nil || !filepath.IsAbs(path) {
		return false
	}
	for _, d := range dirs {
		if path == d || strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}

// watch adds an inotify watch on a file that the program may read.
func (s *Supervisor) watch(c *caller) (int64, error) {
	queue, err := c.descriptor(c.args[0])
	if err != nil {
		return 0, err
	}
	defer unix.Close(queue)
	flags := 0
	if c.args[2]&unix.IN_DONT_FOLLOW != 0 {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	fd, err := c.file(atCwd, c.args[1], flags)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if !below(fd, s.rules.Write...) && !below(fd, s.rules.Watch...) {
		return 0, unix.EACCES
	}
	wd, err := unix.InotifyAddWatch(queue, self(fd), uint32(c.args[2])&^unix.IN_DONT_FOLLOW)
	return int64(wd), err
}

// atCwd is AT_FDCWD as an argument of a call that has none.
const atCwd = uint64(0xffffffffffffff9c)

// change carries out the calls that change a file's mode or times.
func (s *Supervisor) change(c *caller) error {
	var fd int
	var err error
	var set func(fd int) error
	switch uintptr(c.nr) {
	case unix.SYS_FCHMOD:
		fd, err = c.descriptor(c.args[0])
		set = chmod(c.args[1])
	case unix.SYS_FCHMODAT:
		fd, err = c.file(c.args[0], c.args[1], 0)
		set = chmod(c.args[2])
	case unix.SYS_FCHMODAT2:
		fd, err = c.file(c.args[0], c.args[1], int(c.args[3]))
		set = chmod(c.args[2])
	case unix.SYS_UTIMENSAT:
		if set, err = c.times(c.args[2], 1); err != nil {
			return err
		}
		flags := int(c.args[3])
		if c.args[1] == 0 { // the descriptor itself
			flags = unix.AT_EMPTY_PATH
		}
		fd, err = c.file(c.args[0], c.args[1], flags)
	default:
		fd, set, err = c.changeOld()
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if !below(fd, s.rules.Write...) || int(st.Uid) != os.Geteuid() { // this process may have rights that the program lacks
		return unix.EPERM
	}
	return set(fd)
}

func chmod(mode uint64) func(fd int) error {
	return func(fd int) error {
		if mode&(unix.S_ISUID|unix.S_ISGID) != 0 { // the filter has refused it already
			return unix.EPERM
		}
		return unix.Chmod(self(fd), uint32(mode)&0o7777)
	}
}

// times reads two times: seconds and, in units of so many nanoseconds, the rest. A null pointer means now.
func (c *caller) times(at uint64, unit int64) (func(fd int) error, error) {
	both := [2]unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	if at != 0 {
		b, err := c.memory(at, 32)
		if err != nil {
			return nil, err
		}
		for i := range both {
			both[i] = unix.Timespec{Sec: int64(binary.NativeEndian.Uint64(b[16*i:])), Nsec: int64(binary.NativeEndian.Uint64(b[16*i+8:]))}
			if unit != 1 {
				if n := both[i].Nsec; n < 0 || n >= 1e9/unit {
					return nil, unix.EINVAL
				}
				both[i].Nsec *= unit
			}
		}
	}
	return func(fd int) error { return setTimes(fd, &both) }, nil
}

func setTimes(fd int, both *[2]unix.Timespec) error {
	empty := [1]byte{}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)), uintptr(unsafe.Pointer(both)), unix.AT_EMPTY_PATH, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
