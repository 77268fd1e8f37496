package escape

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are acts that change what was not granted, or was granted for reading only.
var changes = map[string]Act{
	"append": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_APPEND, 0)
		if err != nil {
			return "", err
		}
		_, err = unix.Write(fd, []byte("changed"))
		return "appended", err
	},
	"create":   func(a []string) (string, error) { return "created", os.WriteFile(a[0], []byte("new"), 0o600) },
	"truncate": func(a []string) (string, error) { return "emptied", os.Truncate(a[0], 0) },
	"open-truncate": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_TRUNC, 0)
		if err != nil {
			return "", err
		}
		return "emptied", unix.Close(fd)
	},
	"mmap-write": func(a []string) (string, error) {
		for _, mode := range []int{unix.O_RDONLY, unix.O_RDWR} {
			fd, err := unix.Open(a[0], mode, 0)
			if err != nil {
				return "", err
			}
			m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err == nil {
				copy(m, "changed")
				return "changed", nil
			}
		}
		return "", unix.EACCES
	},
	"reopen-write": func(a []string) (string, error) { // what was opened for reading
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_APPEND, 0)
		if err != nil {
			return "", err
		}
		_, err = unix.Write(fd, []byte("changed"))
		return "appended", err
	},
	"symlink-write": func(a []string) (string, error) {
		if err := os.Symlink(a[1], a[0]); err != nil {
			return "", err
		}
		return "written", os.WriteFile(a[0], []byte("changed"), 0o600)
	},
	"remove": func(a []string) (string, error) { return "removed", os.Remove(a[0]) },
	"rename": func(a []string) (string, error) { return "renamed", os.Rename(a[0], a[1]) },
	"exchange": func(a []string) (string, error) {
		return "exchanged", unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], unix.RENAME_EXCHANGE)
	},
	"rename-over": func(a []string) (string, error) { // a[0] lies in a folder for writing
		if err := os.WriteFile(a[0], []byte("changed"), 0o600); err != nil {
			return "", err
		}
		return "replaced", os.Rename(a[0], a[1])
	},
	"mkdir":   func(a []string) (string, error) { return "made", os.Mkdir(a[0], 0o700) },
	"symlink": func(a []string) (string, error) { return "made", os.Symlink("/nowhere", a[0]) },
	"link":    func(a []string) (string, error) { return "linked", os.Link(a[0], a[1]) },
	"mkfifo":  func(a []string) (string, error) { return "made", unix.Mkfifo(a[0], 0o600) },
	"fifo": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return "", err
		}
		_, err = unix.Write(fd, []byte("changed"))
		return "sent", err
	},
	"tmpfile": func(a []string) (string, error) { // a file without a name, given one elsewhere
		fd, err := unix.Open(filepath.Dir(a[0]), unix.O_TMPFILE|unix.O_RDWR, 0o600)
		if err != nil {
			return "", err
		}
		return "linked", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, a[1], unix.AT_SYMLINK_FOLLOW)
	},
	"chmod": func(a []string) (string, error) { return "changed", os.Chmod(a[0], 0o777) },
	"fchmod": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error { return unix.Fchmod(fd, 0o777) })
	},
	"fchmodat2": func(a []string) (string, error) {
		return "changed", unix.Fchmodat(unix.AT_FDCWD, a[0], 0o777, unix.AT_SYMLINK_NOFOLLOW)
	},
	"fchmodat2-empty": func(a []string) (string, error) { // by a descriptor without rights
		return onFile(a[0], unix.O_PATH, func(fd int) error {
			_, err := sys(unix.SYS_FCHMODAT2, uintptr(fd), addr(cstr("")), 0o777, unix.AT_EMPTY_PATH)
			return err
		})
	},
	"chmod-descriptor": func(a []string) (string, error) {
		return onFile(a[0], unix.O_PATH, func(fd int) error { return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o777) })
	},
	"chmod-symlink": func(a []string) (string, error) {
		if err := os.Symlink(a[1], a[0]); err != nil {
			return "", err
		}
		return "changed", os.Chmod(a[0], 0o777)
	},
	"chmod-race": func(a []string) (string, error) { return race(a[0], a[1], func(p string) { _ = os.Chmod(p, 0o777) }) },
	"utimes-race": func(a []string) (string, error) {
		return race(a[0], a[1], func(p string) { _ = os.Chtimes(p, past, past) })
	},
	"stderr-chmod": func([]string) (string, error) { return "changed", unix.Fchmod(2, 0o777) },
	"chown":        func(a []string) (string, error) { return "changed", unix.Chown(a[0], -1, os.Getgid()) },
	"fchown": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error { return unix.Fchown(fd, -1, os.Getgid()) })
	},
	"fchownat": func(a []string) (string, error) {
		return onFile(a[0], unix.O_PATH, func(fd int) error { return unix.Fchownat(fd, "", -1, os.Getgid(), unix.AT_EMPTY_PATH) })
	},
	"utimes": func(a []string) (string, error) { return "changed", os.Chtimes(a[0], past, past) },
	"futimens": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error {
			t := [2]unix.Timespec{{Sec: past.Unix()}, {Sec: past.Unix()}}
			_, err := sys(unix.SYS_UTIMENSAT, uintptr(fd), 0, addr(&t), 0)
			return err
		})
	},
	"setxattr":    func(a []string) (string, error) { return "changed", unix.Setxattr(a[0], a[1], []byte("changed"), 0) },
	"removexattr": func(a []string) (string, error) { return "removed", unix.Removexattr(a[0], a[1]) },
	"fsetxattr": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error { return unix.Fsetxattr(fd, a[1], []byte("changed"), 0) })
	},
	"setflags": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, noDump) })
	},
	"fssetxattr": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error {
			var x [7]uint32 // struct fsxattr
			if _, err := sys(unix.SYS_IOCTL, uintptr(fd), fsIocFsgetxattr, addr(&x)); err != nil {
				return err
			}
			x[0] |= fsXflagNodump
			_, err := sys(unix.SYS_IOCTL, uintptr(fd), fsIocFssetxattr, addr(&x))
			return err
		})
	},
	"file-setattr": func(a []string) (string, error) {
		attr := [3]uint64{fsXflagNodump} // struct file_attr
		_, err := sys(sysFileSetattr, cwd, addr(cstr(a[0])), addr(&attr), unsafe.Sizeof(attr), 0)
		return "changed", err
	},
	"setversion": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error { return unix.IoctlSetPointerInt(fd, fsIocSetversion, 7) })
	},
	"verity": func(a []string) (string, error) {
		return onFile(a[0], unix.O_RDONLY, func(fd int) error {
			arg := [16]uint64{0: 1 | 1<<32, 1: 4096} // struct fsverity_enable_arg: version, hash, block size
			_, err := sys(unix.SYS_IOCTL, uintptr(fd), fsIocEnableVerity, addr(&arg))
			return err
		})
	},
	"migrate-extents": func(a []string) (string, error) { // ext4 writes the file's map anew
		return onFile(a[0], unix.O_RDONLY, func(fd int) error {
			_, err := sys(unix.SYS_IOCTL, uintptr(fd), ext4IocMigrate, 0)
			return err
		})
	},
	"allocate-delayed": func(a []string) (string, error) { // ext4 writes what is still in memory
		return onFile(a[0], unix.O_RDONLY, func(fd int) error {
			_, err := sys(unix.SYS_IOCTL, uintptr(fd), ext4IocAllocDa, 0)
			return err
		})
	},
	"setid": func(a []string) (string, error) {
		if err := os.WriteFile(a[0], nil, 0o700); err != nil {
			return "", err
		}
		return "made", unix.Chmod(a[0], 0o4755)
	},
	"setid-new": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o4755)
		if err != nil {
			return "", err
		}
		return "made", unix.Close(fd)
	},
	"run": func(a []string) (string, error) { return "ran", exec.Command(a[0]).Run() },
	"run-loader": func(a []string) (string, error) {
		loader := map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}[runtime.GOARCH]
		return "ran", exec.Command(loader, a[0]).Run()
	},
	"run-memory": func(a []string) (string, error) {
		b, err := os.ReadFile("/bin/true")
		if err != nil {
			return "", err
		}
		fd, err := unix.MemfdCreate("", 0)
		if err != nil {
			return "", err
		}
		if _, err := unix.Write(fd, b); err != nil {
			return "", err
		}
		return "ran", exec.Command(fmt.Sprintf("/proc/self/fd/%d", fd)).Run()
	},
}

// Requests that package unix does not have.
const (
	fsIocFsgetxattr   = 0x801c581f
	fsIocFssetxattr   = 0x401c5820
	fsIocSetversion   = 0x40087602
	fsIocEnableVerity = 0x40806685
	ext4IocMigrate    = 0x6609
	ext4IocAllocDa    = 0x660c
	fsXflagNodump     = 0x80
	noDump            = 0x40 // FS_NODUMP_FL
)

// past is a time that no file of the tests has.
var past = time.Unix(1e9, 0)

func onFile(path string, flags int, do func(fd int) error) (string, error) {
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return "changed", do(fd)
}

// race has a name, in a folder for writing, lead now to a file of its own and now to target, while act uses it.
func race(name, target string, act func(path string)) (string, error) {
	mine := name + "-mine"
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		return "", err
	}
	if err := os.Symlink(mine, name); err != nil {
		return "", err
	}
	var over atomic.Bool
	go func() {
		time.Sleep(400 * time.Millisecond)
		over.Store(true)
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !over.Load() {
			for _, to := range []string{target, mine} {
				if os.Symlink(to, name+"-next") == nil {
					_ = os.Rename(name+"-next", name)
				}
			}
		}
	}()
	for !over.Load() {
		act(name)
	}
	<-ended
	return "raced", nil
}
