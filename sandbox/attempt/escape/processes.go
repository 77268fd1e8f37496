package escape

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const fatal = unix.SIGUSR1 // ends a process that does not expect it

// processes are acts on another process of the same user; a[0] is its number.
var processes = map[string]Act{
	"kill":       func(a []string) (string, error) { return "sent", unix.Kill(number(a[0]), fatal) },
	"kill-group": func(a []string) (string, error) { return "sent", unix.Kill(-number(a[0]), fatal) },
	"kill-all":   func([]string) (string, error) { return "sent", unix.Kill(-1, unix.SIGWINCH) }, // nobody minds
	"tkill": func(a []string) (string, error) {
		_, err := sys(unix.SYS_TKILL, uintptr(number(a[0])), uintptr(fatal))
		return "sent", err
	},
	"tgkill": func(a []string) (string, error) { return "sent", unix.Tgkill(number(a[0]), number(a[0]), fatal) },
	"sigqueue": func(a []string) (string, error) {
		info := queued()
		_, err := sys(unix.SYS_RT_SIGQUEUEINFO, uintptr(number(a[0])), uintptr(fatal), addr(info))
		return "sent", err
	},
	"tgsigqueue": func(a []string) (string, error) {
		info, pid := queued(), uintptr(number(a[0]))
		_, err := sys(unix.SYS_RT_TGSIGQUEUEINFO, pid, pid, uintptr(fatal), addr(info))
		return "sent", err
	},
	"pidfd-signal": func(a []string) (string, error) {
		return pidfd(a[0], func(fd int) error { return unix.PidfdSendSignal(fd, fatal, nil, 0) })
	},
	"async-owner": func(a []string) (string, error) { // the kernel sends SIGIO when something can be read
		return async(func(fd int) error {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_SETOWN, number(a[0]))
			return err
		})
	},
	"async-owner-ex": func(a []string) (string, error) {
		return async(func(fd int) error {
			owner := [2]int32{1, int32(number(a[0]))} // F_OWNER_PID
			_, err := sys(unix.SYS_FCNTL, uintptr(fd), unix.F_SETOWN_EX, addr(&owner))
			return err
		})
	},
	"async-ioctl": func(a []string) (string, error) {
		return async(func(fd int) error { return unix.IoctlSetPointerInt(fd, 0x8901, number(a[0])) }) // FIOSETOWN
	},
	"prlimit": func(a []string) (string, error) {
		return "set", unix.Prlimit(number(a[0]), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 16, Max: 16}, nil)
	},
	"prlimit-get": func(a []string) (string, error) {
		var l unix.Rlimit
		err := unix.Prlimit(number(a[0]), unix.RLIMIT_NOFILE, nil, &l)
		return fmt.Sprint(l), err
	},
	"setpriority":      func(a []string) (string, error) { return "set", unix.Setpriority(unix.PRIO_PROCESS, number(a[0]), 19) },
	"setpriority-user": func(a []string) (string, error) { return "set", unix.Setpriority(unix.PRIO_USER, os.Getuid(), 19) },
	"ioprio": func(a []string) (string, error) {
		_, err := sys(unix.SYS_IOPRIO_SET, 1, uintptr(number(a[0])), 3<<13)
		return "set", err
	},
	"ioprio-user": func([]string) (string, error) {
		_, err := sys(unix.SYS_IOPRIO_SET, 3, uintptr(os.Getuid()), 3<<13)
		return "set", err
	},
	"affinity": func(a []string) (string, error) {
		var set unix.CPUSet
		set.Set(0)
		return "set", unix.SchedSetaffinity(number(a[0]), &set)
	},
	"scheduler": func(a []string) (string, error) {
		var param int32
		_, err := sys(unix.SYS_SCHED_SETSCHEDULER, uintptr(number(a[0])), 3, addr(&param)) // SCHED_BATCH
		return "set", err
	},
	"schedattr": func(a []string) (string, error) {
		return "set", unix.SchedSetAttr(number(a[0]), &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: 3, Nice: 19}, 0)
	},
	"ptrace": func(a []string) (string, error) {
		_, err := sys(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(number(a[0])))
		return "attached", err
	},
	"vm-read": func(a []string) (string, error) { return vmRead(number(a[0]), number(a[1])) },
	"vm-write": func(a []string) (string, error) {
		b := []byte("changed")
		_, err := unix.ProcessVMWritev(number(a[0]), []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(number(a[1])), Len: len(b)}}, 0)
		return "written", err
	},
	"pidfd-getfd": func(a []string) (string, error) {
		p, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return "", err
		}
		fd, err := unix.PidfdGetfd(p, number(a[1]), 0)
		if err != nil {
			return "", err
		}
		_, _ = unix.Seek(fd, 0, 0)
		return drain(fd)
	},
	"kcmp": func(a []string) (string, error) {
		r, err := sys(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(number(a[0])), 1, 0, 0) // KCMP_VM
		return fmt.Sprint(r), err
	},
	"move-pages": func(a []string) (string, error) {
		var page, status [1]uint64
		page[0] = uint64(number(a[1])) &^ 4095
		_, err := sys(unix.SYS_MOVE_PAGES, uintptr(number(a[0])), 1, addr(&page), 0, addr(&status), 0)
		return "asked", err
	},
	"migrate-pages": func(a []string) (string, error) {
		nodes := [1]uint64{1}
		_, err := sys(unix.SYS_MIGRATE_PAGES, uintptr(number(a[0])), 64, addr(&nodes), addr(&nodes))
		return "moved", err
	},
	"robust-list": func(a []string) (string, error) {
		var head, length uintptr
		_, err := sys(unix.SYS_GET_ROBUST_LIST, uintptr(number(a[0])), addr(&head), addr(&length))
		return "asked", err
	},
	"perf": func(a []string) (string, error) {
		at := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
		_, err := unix.PerfEventOpen(&at, number(a[0]), -1, -1, 0)
		return "watched", err
	},
	"score": func(a []string) (string, error) {
		return "set", os.WriteFile("/proc/"+a[0]+"/oom_score_adj", []byte("999"), 0)
	},
	"proc-mem": func(a []string) (string, error) {
		fd, err := unix.Open("/proc/"+a[0]+"/mem", unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		b := make([]byte, 64)
		_, err = unix.Pread(fd, b, int64(number(a[1])))
		return string(b), err
	},
	"setns-process": func(a []string) (string, error) {
		return pidfd(a[0], func(fd int) error {
			_, err := answered(unix.EINVAL, unix.SYS_SETNS, uintptr(fd), unix.CLONE_NEWUSER) // it is in the same
			return err
		})
	},
}

// looks are acts that find out about another process.
var looks = map[string]Act{
	"proc-read":    func(a []string) (string, error) { return content("/proc/" + a[0] + "/" + a[1]) },
	"proc-list":    func(a []string) (string, error) { return files["list"]([]string{"/proc/" + a[0] + "/" + a[1]}) },
	"proc-link":    func(a []string) (string, error) { return os.Readlink("/proc/" + a[0] + "/" + a[1]) },
	"proc-stat":    func(a []string) (string, error) { return files["stat"]([]string{"/proc/" + a[0]}) },
	"pidfd-open":   func(a []string) (string, error) { return pidfd(a[0], func(int) error { return nil }) },
	"getpgid":      func(a []string) (string, error) { return got(unix.SYS_GETPGID, a[0]) },
	"getscheduler": func(a []string) (string, error) { return got(unix.SYS_SCHED_GETSCHEDULER, a[0]) },
	"getpriority": func(a []string) (string, error) {
		return "asked", second(unix.Getpriority(unix.PRIO_PROCESS, number(a[0])))
	},
	"kill-nothing":  func(a []string) (string, error) { return "exists", unix.Kill(number(a[0]), 0) },
	"parent-secret": func(a []string) (string, error) { return content(fmt.Sprintf("/proc/%s/environ", a[0])) },
	"all-processes": func([]string) (string, error) {
		es, err := os.ReadDir("/proc")
		var all []string
		for _, e := range es {
			all = append(all, e.Name())
		}
		return " " + strings.Join(all, " ") + " ", err
	},
}

func got(nr uintptr, pid string) (string, error) {
	r, err := sys(nr, uintptr(number(pid)))
	return fmt.Sprint(r), err
}

func second[T any](_ T, err error) error { return err }

// queued is a siginfo that a process may send to another.
func queued() *[128]byte {
	var info [128]byte
	*(*int32)(unsafe.Pointer(&info[0])), *(*int32)(unsafe.Pointer(&info[8])) = int32(fatal), -1 // SI_QUEUE
	return &info
}

func pidfd(pid string, do func(fd int) error) (string, error) {
	fd, err := unix.PidfdOpen(number(pid), 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return "done", do(fd)
}

// async gives a socket an owner and lets something arrive at it.
func async(own func(fd int) error) (string, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	if err := own(pair[0]); err != nil {
		return "", err
	}
	if _, err := unix.FcntlInt(uintptr(pair[0]), unix.F_SETFL, unix.O_ASYNC); err != nil {
		return "", err
	}
	_, err = unix.Write(pair[1], []byte{1})
	return "sent", err
}

func vmRead(pid, at int) (string, error) {
	b := make([]byte, 64)
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	return string(b), err
}
