package confine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"cordon/sandbox/spec"
)

// The rest of init's life: the program's start, the dead, signals, the host's end. The rules of init.go hold here too.

// serve reports, starts the program, reaps orphans, passes signals on, and dies with the host or the program. When
// PID 1 ends, the kernel kills everything else in its namespace.
//
//go:nosplit
//go:norace
func serve() {
	attend()
	report()
	var errno uintptr
	mem.pid, errno = bear(unsafe.Pointer(&childStack[len(childStack)-1]))
	must(spec.StepExec, -2, syscall.Errno(errno))
	watch()
}

// bear makes the program's process, which goes on in become, on a stack of its own that ends at stack. It shares this memory,
// and init waits, until it executes the program or ends: a copy, and the faults on its pages, would take 0.2 ms. In assembly,
// because no Go function can come back to two stacks.
func bear(stack unsafe.Pointer) (pid, errno uintptr)

// childStack is far more than functions that do not grow their stack may use, which is 800 bytes.
var childStack [1024][2]uint64

// attend opens a descriptor for signals and looks whether the host is there.
//
//go:nosplit
//go:norace
func attend() {
	mem.mask = ^uint64(0)
	sig, errno := call(unix.SYS_SIGNALFD4, ^uintptr(0), addr(&mem.mask), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK, 0)
	must(spec.StepExec, -1, errno)
	mem.polls[0] = unix.PollFd{Fd: int32(sig), Events: unix.POLLIN}
	mem.polls[1] = unix.PollFd{Fd: hostFD, Events: unix.POLLRDHUP | unix.POLLIN}
	mem.ts = unix.Timespec{}
	call(unix.SYS_PPOLL, addr(&mem.polls[1]), 1, addr(&mem.ts), 0, 0)
	if mem.polls[1].Revents&gone != 0 {
		call(unix.SYS_EXIT_GROUP, 137, 0, 0, 0, 0) // gone already: nothing is started
	}
}

// gone is what poll says of a host that has ended or let go.
const gone = unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR

// watch is the rest of init's life.
//
//go:nosplit
//go:norace
func watch() {
	call(unix.SYS_CLOSE, reportFD, 0, 0, 0, 0)
	call(unix.SYS_CLOSE, 0, 0, 0, 0, 0)
	call(unix.SYS_CLOSE, 1, 0, 0, 0, 0)
	call(unix.SYS_CLOSE, 2, 0, 0, 0, 0)
	sig := uintptr(mem.polls[0].Fd)
	for {
		call(unix.SYS_PPOLL, addr(&mem.polls), 2, 0, 0, 0)
		if mem.polls[1].Revents&gone != 0 {
			leave(137) // the host is gone
		}
		if mem.polls[1].Revents&unix.POLLIN != 0 {
			lendSocket()
		}
		// One signal each round, and a look for the dead in each: the program may send signals faster than they can be
		// read, and must not keep init from seeing that the host, or the program, has ended.
		n, errno := call(unix.SYS_READ, sig, addr(&mem.info), 128, 0, 0)
		if s := uintptr(mem.info[0]); errno == 0 && n == 128 && s != uintptr(unix.SIGCHLD) {
			call(unix.SYS_KILL, mem.pid, s, 0, 0, 0)
		}
		reap()
	}
}

// reap collects the dead. When the program is among them, everything it started is ended before the host is told, which then need not wait
// until the kernel has taken the namespaces apart, several grace periods.
//
//go:nosplit
//go:norace
func reap() {
	for {
		pid, errno := call(unix.SYS_WAIT4, ^uintptr(0), addr(&mem.status), unix.WNOHANG, 0, 0)
		if errno != 0 || pid == 0 {
			return
		}
		if pid == mem.pid {
			endAll()
			call(unix.SYS_WRITE, hostFD, addr(&mem.status), 4, 0, 0)
			if mem.status&0x7f != 0 {
				call(unix.SYS_EXIT_GROUP, 128+uintptr(mem.status&0x7f), 0, 0, 0, 0)
			}
			call(unix.SYS_EXIT_GROUP, uintptr(mem.status>>8&0xff), 0, 0, 0, 0)
		}
	}
}

// leave ends init and everything of the program's.
//
//go:nosplit
//go:norace
func leave(code uintptr) {
	endAll()
	call(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0)
}

// endAll ends everything of the program's: with one signal, as PID 1 of its namespace; or one by one. It returns when init has no child.
//
//go:nosplit
//go:norace
func endAll() {
	if plan.shared {
		endTree()
		return
	}
	call(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0, 0, 0)
	for {
		_, errno := call(unix.SYS_WAIT4, ^uintptr(0), 0, 0, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return
		}
	}
}

// become is the program's side of the last fork.
//
//go:nosplit
//go:norace
func become() {
	if !plan.shared { // there it has been done
		call(unix.SYS_SETSID, 0, 0, 0, 0, 0)
	}
	mem.mask = 0
	call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, addr(&mem.mask), 0, 8, 0)
	worst := unix.ENOENT
	for i := range plan.exec {
		_, errno := call(unix.SYS_EXECVE, addr(plan.exec[i]), addr(&plan.argv[0]), addr(&plan.envv[0]), 0, 0)
		if errno != unix.ENOENT && errno != unix.ENOTDIR {
			worst = errno
			if errno != unix.EACCES {
				break
			}
		}
	}
	refuse(spec.StepExec, 0, worst)
	call(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0)
}
