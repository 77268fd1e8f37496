package escape

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// files are acts that read or look at what was not granted.
var files = map[string]Act{
	"read": func(a []string) (string, error) { return content(a[0]) },
	"list": func(a []string) (string, error) {
		es, err := os.ReadDir(a[0])
		return fmt.Sprint(es), err
	},
	"stat": func(a []string) (string, error) {
		st, err := os.Lstat(a[0])
		if err != nil {
			return "", err
		}
		return st.Mode().String(), nil
	},
	"statx": func(a []string) (string, error) {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, a[0], 0, unix.STATX_ALL, &st)
		return fmt.Sprint(st.Size), err
	},
	"access":   func(a []string) (string, error) { return "exists", unix.Access(a[0], unix.R_OK) },
	"readlink": func(a []string) (string, error) { return os.Readlink(a[0]) },
	"chdir":    func(a []string) (string, error) { return "entered", unix.Chdir(a[0]) },
	"statfs": func(a []string) (string, error) {
		var st unix.Statfs_t
		return "looked at", unix.Statfs(a[0], &st)
	},
	"opath": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_PATH, 0)
		if err != nil {
			return "", err
		}
		return "held", unix.Close(fd)
	},
	"chdir-read": func(a []string) (string, error) {
		if err := unix.Chdir(filepath.Dir(a[0])); err != nil {
			return "", err
		}
		return content(filepath.Base(a[0]))
	},
	"symlink-read": func(a []string) (string, error) { // a[0] lies in a folder for writing
		if err := os.Symlink(a[1], a[0]); err != nil {
			return "", err
		}
		return content(a[0])
	},
	"link-read": func(a []string) (string, error) {
		if err := os.Link(a[1], a[0]); err != nil {
			return "", err
		}
		return content(a[0])
	},
	"rename-read": func(a []string) (string, error) {
		if err := os.Rename(a[1], a[0]); err != nil {
			return "", err
		}
		return content(a[0])
	},
	"exchange-read": func(a []string) (string, error) {
		if err := os.WriteFile(a[0], nil, 0o600); err != nil {
			return "", err
		}
		if err := unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], unix.RENAME_EXCHANGE); err != nil {
			return "", err
		}
		return content(a[0])
	},
	"reopen-read": func(a []string) (string, error) { // from a descriptor without rights
		fd, err := unix.Open(a[0], unix.O_PATH, 0)
		if err != nil {
			return "", err
		}
		return content(fmt.Sprintf("/proc/self/fd/%d", fd))
	},
	"up-read": func(a []string) (string, error) { // from a granted folder's descriptor upwards
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		file, err := unix.Openat(fd, a[1], unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		return drain(file)
	},
	"openat2-read": func(a []string) (string, error) {
		fd, err := unix.Openat2(unix.AT_FDCWD, a[0], &unix.OpenHow{Flags: unix.O_RDONLY})
		if err != nil {
			return "", err
		}
		return drain(fd)
	},
	"mmap-read": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(m), "\x00"), nil
	},
	"handle": func(a []string) (string, error) {
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, a[0], 0)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(h.Size(), " bytes"), nil
	},
	"handle-read": func(a []string) (string, error) {
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, a[0], 0)
		if err != nil {
			return "", err
		}
		at, err := unix.Open(filepath.Dir(a[0]), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		fd, err := unix.OpenByHandleAt(at, h, unix.O_RDONLY)
		if err != nil {
			return "", err
		}
		return drain(fd)
	},
	"getxattr": func(a []string) (string, error) {
		b := make([]byte, 256)
		n, err := unix.Getxattr(a[0], a[1], b)
		return string(b[:max(n, 0)]), err
	},
	"getxattrat": func(a []string) (string, error) {
		path, name, value := cstr(a[0]), cstr(a[1]), make([]byte, 256)
		args := struct {
			value       uint64
			size, flags uint32
		}{uint64(uintptr(unsafe.Pointer(&value[0]))), uint32(len(value)), 0}
		n, err := sys(sysGetxattrat, cwd, addr(path), 0, addr(name), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
		if err != nil {
			return "", err
		}
		return string(value[:n]), nil
	},
	"listxattr": func(a []string) (string, error) {
		b := make([]byte, 256)
		n, err := unix.Listxattr(a[0], b)
		return string(b[:max(n, 0)]), err
	},
	"inotify": func(a []string) (string, error) {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return "", err
		}
		_, err = unix.InotifyAddWatch(fd, a[0], unix.IN_ALL_EVENTS)
		return "watched", err
	},
	"inotify-link": func(a []string) (string, error) {
		if err := os.Symlink(a[1], a[0]); err != nil {
			return "", err
		}
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return "", err
		}
		_, err = unix.InotifyAddWatch(fd, a[0], unix.IN_ALL_EVENTS)
		return "watched", err
	},
	"dnotify": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_NOTIFY, dnModify)
		return "watched", err
	},
	"fanotify": func(a []string) (string, error) {
		fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID, 0)
		if err != nil {
			return "", err
		}
		return "watched", unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN|unix.FAN_ONDIR, unix.AT_FDCWD, a[0])
	},
	"flock": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		return "locked", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	},
	"lease": func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
		return "taken", err
	},
	"descriptor-read": func(a []string) (string, error) { // one that a careless parent left open
		if _, err := unix.Seek(number(a[0]), 0, 0); err != nil {
			return "", err
		}
		return drain(number(a[0]))
	},
	"stderr-read": func([]string) (string, error) { return content("/proc/self/fd/2") }, // handed over for writing only
	"environment": func(a []string) (string, error) {
		if v, ok := os.LookupEnv(a[0]); ok {
			return v, nil
		}
		return "", errors.New("not set")
	},
	"hostname": func([]string) (string, error) { return os.Hostname() },
}

const cwd = ^uintptr(99) // AT_FDCWD

// Numbers that package unix does not have; the same on every architecture.
const (
	sysGetxattrat   = 464
	sysOpenTreeAttr = 467
	sysFileSetattr  = 469

	dnModify = 2 // F_NOTIFY: something in the folder is written
)

// content reads the beginning of a file.
func content(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	return drain(fd)
}

func drain(fd int) (string, error) {
	b := make([]byte, 64<<10)
	got := 0
	for got < len(b) {
		n, err := unix.Read(fd, b[got:])
		if err != nil && got == 0 {
			return "", err
		}
		if n <= 0 {
			break
		}
		got += n
	}
	return string(b[:got]), nil
}

func cstr(s string) *byte { return &append([]byte(s), 0)[0] }

func addr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
