package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel are acts that reach for parts of the kernel that no tool server needs. Those ending in -inside are what own runs.
var kernel map[string]Act

func init() { // own looks into the table
	kernel = map[string]Act{
		"unshare": func([]string) (string, error) { return child(&syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWUSER}) },
		"clone":   func([]string) (string, error) { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}) },
		"clone3": func([]string) (string, error) {
			a := [11]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)} // struct clone_args
			r, _, errno := unix.RawSyscall(unix.SYS_CLONE3, addr(&a), unsafe.Sizeof(a), 0)
			if errno != 0 {
				return "", errno
			}
			if r == 0 {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
			return "made", nil
		},
		"mount":              outside("mount", unix.CLONE_NEWNS),
		"fsopen":             outside("fsopen", unix.CLONE_NEWNS),
		"fsmount":            outside("fsmount", unix.CLONE_NEWNS),
		"open-tree":          outside("open-tree", unix.CLONE_NEWNS),
		"open-tree-attr":     outside("open-tree-attr", unix.CLONE_NEWNS),
		"remount":            outside("remount", unix.CLONE_NEWNS),
		"setns":              outside("setns", unix.CLONE_NEWUTS),
		"chroot":             outside("chroot", unix.CLONE_NEWNS),
		"pivot":              outside("pivot", unix.CLONE_NEWNS),
		"sethostname":        outside("sethostname", unix.CLONE_NEWUTS),
		"raw-socket":         outside("raw-socket", unix.CLONE_NEWNET),
		"capability":         outside("capability", 0),
		"fsopen-inside":      func([]string) (string, error) { return answered(0, unix.SYS_FSOPEN, addr(cstr("tmpfs")), 0) },
		"raw-socket-inside":  func([]string) (string, error) { return made(unix.AF_PACKET, unix.SOCK_RAW, 0x300) },
		"sethostname-inside": func([]string) (string, error) { return "changed", unix.Sethostname([]byte("changed")) },
		"chroot-inside":      func(a []string) (string, error) { return "changed", unix.Chroot(a[0]) },
		"mount-inside":       func(a []string) (string, error) { return "mounted", unix.Mount("tmpfs", a[0], "tmpfs", 0, "") },
		"remount-inside": func(a []string) (string, error) { // makes what is granted for reading writable
			if err := unix.Mount(a[0], a[0], "", unix.MS_BIND, ""); err != nil {
				return "", err
			}
			return "mounted", unix.Mount("", a[0], "", unix.MS_BIND|unix.MS_REMOUNT, "")
		},
		"fsmount-inside": func([]string) (string, error) {
			fs, err := unix.Fsopen("tmpfs", 0)
			if err != nil {
				return "", err
			}
			if err := unix.FsconfigCreate(fs); err != nil {
				return "", err
			}
			_, err = unix.Fsmount(fs, 0, 0)
			return "mounted", err
		},
		"open-tree-inside": func(a []string) (string, error) {
			_, err := unix.OpenTree(unix.AT_FDCWD, a[0], unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
			return "copied", err
		},
		"open-tree-attr-inside": func(a []string) (string, error) {
			attr := [4]uint64{0, unix.MOUNT_ATTR_NODIRATIME}
			return answered(0, sysOpenTreeAttr, cwd, addr(cstr(a[0])), unix.OPEN_TREE_CLONE, addr(&attr), unsafe.Sizeof(attr))
		},
		"setns-inside": func([]string) (string, error) {
			fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY, 0)
			if err != nil {
				return "", err
			}
			return "entered", unix.Setns(fd, unix.CLONE_NEWUTS)
		},
		"pivot-inside": func(a []string) (string, error) {
			if err := unix.Mount("tmpfs", a[0], "tmpfs", 0, ""); err != nil {
				return "", err
			}
			if err := unix.Chdir(a[0]); err != nil {
				return "", err
			}
			return "changed", unix.PivotRoot(".", ".")
		},
		"capability-inside": func([]string) (string, error) {
			h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var d [2]unix.CapUserData
			if err := unix.Capget(&h, &d[0]); err != nil {
				return "", err
			}
			if d[0].Effective|d[1].Effective == 0 {
				return "", errors.New("none")
			}
			return "held", nil
		},
		"bpf": func([]string) (string, error) {
			attr := [16]uint32{2, 4, 4, 1} // BPF_MAP_TYPE_ARRAY of one
			return answered(0, unix.SYS_BPF, 0, addr(&attr), unsafe.Sizeof(attr))
		},
		"userfaultfd": func([]string) (string, error) { return answered(0, unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }, // UFFD_USER_MODE_ONLY
		"perf-self":   func([]string) (string, error) { return processes["perf"]([]string{"0"}) },
		"io-uring": func([]string) (string, error) {
			var p [30]uint32
			return answered(0, unix.SYS_IO_URING_SETUP, 1, addr(&p))
		},
		"aio": func([]string) (string, error) {
			var context uintptr
			return answered(0, unix.SYS_IO_SETUP, 1, addr(&context))
		},
		"add-key": func([]string) (string, error) {
			_, err := unix.AddKey("user", "cordon-escape", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return "added", err
		},
		"request-key": func([]string) (string, error) {
			return answered(unix.ENOKEY, unix.SYS_REQUEST_KEY, addr(cstr("user")), addr(cstr("cordon-none")), 0, 0)
		},
		"keyring": func([]string) (string, error) {
			id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, false)
			return fmt.Sprint(id), err
		},
		"personality": func([]string) (string, error) { return answered(0, unix.SYS_PERSONALITY, 0x0040000) }, // ADDR_NO_RANDOMIZE
		"move-own":    func([]string) (string, error) { return answered(0, unix.SYS_MOVE_PAGES, 0, 0, 0, 0, 0, 0) },
		"mempolicy":   func([]string) (string, error) { return answered(0, unix.SYS_SET_MEMPOLICY, 0, 0, 0) },
		"mbind":       func([]string) (string, error) { return mbind() },
		"kcmp-own": func([]string) (string, error) {
			p := uintptr(os.Getpid())
			return answered(0, unix.SYS_KCMP, p, p, 0, 0, 1)
		},
		"traceme":     func([]string) (string, error) { return answered(0, unix.SYS_PTRACE, unix.PTRACE_TRACEME) },
		"vm-read-own": func([]string) (string, error) { b := []byte("text"); return vmRead(os.Getpid(), int(addr(&b[0]))) },
		"clock-adjtime": func([]string) (string, error) {
			var t unix.Timex
			_, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &t)
			return "asked", err
		},
		"syslog": func([]string) (string, error) { return answered(0, unix.SYS_SYSLOG, 10) }, // SYSLOG_ACTION_SIZE_BUFFER
		"quotactl": func([]string) (string, error) {
			return answered(unix.ENOENT, unix.SYS_QUOTACTL, 0x80000100, addr(cstr("/dev/none")), 0, 0)
		},
		"handle-self": func([]string) (string, error) { return files["handle"]([]string{"/usr"}) },
		"int80":       func([]string) (string, error) { return compat() },
		"x32": func([]string) (string, error) {
			if foreign == 0 {
				return "", unix.ENOSYS
			}
			return answered(0, foreign|unix.SYS_GETPID)
		},
		"write-file": func(a []string) (string, error) { return "written", os.WriteFile(a[0], []byte(a[1]), 0) },
	}
}

// outside returns the act that runs another as root of a user namespace.
func outside(name string, flags uintptr) Act {
	return func(a []string) (string, error) { return own(flags, name, a) }
}

func child(how *syscall.SysProcAttr) (string, error) {
	c := exec.Command("/bin/true")
	c.SysProcAttr = how
	return "made", c.Run()
}

func mbind() (string, error) {
	m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", err
	}
	return answered(0, unix.SYS_MBIND, addr(&m[0]), 4096, 0, 0, 0, 0)
}
