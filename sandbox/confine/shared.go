package confine

import (
	"unsafe"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// The start of a program without namespaces of its own. Init stays outside of what confines the program, and adopts what the
// program's processes leave behind; the program's first process confines itself:
//
//	init                                   the program's first process
//	  forks, sharing its descriptors  ───▶   drops capabilities, Landlock, seccomp with a listener
//	  sends the listener to the host  ◀───   its number
//	  waits for the host's byte       ───▶   tests itself, takes descriptors of its own
//	  lets go of its descriptors      ◀───   a byte; reports, starts the program
//
// The rules of init.go hold here too.

// shares are the pipes between the two and what goes over them.
var shares struct {
	up, down [2]int32 // ends to read and to write
	number   int32
	polls    [3]unix.PollFd
	init     uintptr
	children [4096]byte
}

//go:nosplit
//go:norace
func sharedMain() {
	_, errno := call(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	must(spec.StepSupervise, 0, errno)
	closeDescriptors()
	hideSelf()
	attend()
	_, errno = call(unix.SYS_PIPE2, addr(&shares.up), unix.O_CLOEXEC, 0, 0, 0)
	must(spec.StepSupervise, 1, errno)
	_, errno = call(unix.SYS_PIPE2, addr(&shares.down), unix.O_CLOEXEC, 0, 0, 0)
	must(spec.StepSupervise, 2, errno)
	shares.init, _ = call(unix.SYS_GETPID, 0, 0, 0, 0, 0)
	mem.pid, errno = call(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|unix.CLONE_FILES, 0, 0, 0, 0)
	must(spec.StepExec, -2, errno)
	if mem.pid == 0 {
		sharedChild()
	}
	await(shares.up[0]) // the number of the listener
	mem.rights.fds[0] = shares.number
	errno = send(1)
	call(unix.SYS_CLOSE, uintptr(shares.number), 0, 0, 0, 0)
	if errno != 0 {
		call(unix.SYS_KILL, mem.pid, uintptr(unix.SIGKILL), 0, 0, 0)
		abandon(spec.StepSupervise, 3, errno)
	}
	await(hostFD) // it is supervised
	call(unix.SYS_WRITE, uintptr(shares.down[1]), addr(&shares.number), 4, 0, 0)
	await(shares.up[0]) // it has its own descriptors
	for i := range shares.up {
		call(unix.SYS_CLOSE, uintptr(shares.up[i]), 0, 0, 0, 0)
		call(unix.SYS_CLOSE, uintptr(shares.down[i]), 0, 0, 0, 0)
	}
	watch()
}

// await reads what comes on fd, up to four bytes. If the program's process ends before, it has said why; if the host does,
// nothing is started.
//
//go:nosplit
//go:norace
func await(fd int32) {
	shares.polls[0] = unix.PollFd{Fd: fd, Events: unix.POLLIN}
	shares.polls[1], shares.polls[2] = mem.polls[0], mem.polls[1]
	for {
		call(unix.SYS_PPOLL, addr(&shares.polls), 3, 0, 0, 0)
		if shares.polls[0].Revents&unix.POLLIN != 0 {
			n, _ := call(unix.SYS_READ, uintptr(fd), addr(&shares.number), 4, 0, 0)
			if n == 4 || n == 1 && fd == hostFD {
				return
			}
		}
		if shares.polls[2].Revents&unix.POLLRDHUP != 0 || shares.polls[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			break
		}
		if shares.polls[1].Revents != 0 {
			call(unix.SYS_READ, uintptr(shares.polls[1].Fd), addr(&mem.info), 128, 0, 0)
			if pid, errno := call(unix.SYS_WAIT4, mem.pid, addr(&mem.status), unix.WNOHANG, 0, 0); errno == 0 && pid == mem.pid {
				leave(125)
			}
		}
	}
	leave(137) // it may have begun meanwhile, and have children
}

//go:nosplit
//go:norace
func sharedChild() {
	_, errno := call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	must(spec.StepSupervise, 4, errno)
	if parent, _ := call(unix.SYS_GETPPID, 0, 0, 0, 0, 0); parent != shares.init {
		call(unix.SYS_EXIT_GROUP, 137, 0, 0, 0, 0)
	}
	call(unix.SYS_SETSID, 0, 0, 0, 0, 0)
	dropCapabilities()
	_, errno = call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // the supervisor has to read what it asks for
	must(spec.StepSupervise, 5, errno)
	call(unix.SYS_UMASK, 0o077, 0, 0, 0, 0)
	_, errno = call(unix.SYS_CHDIR, addr(plan.dir), 0, 0, 0, 0)
	must(spec.StepRoot, 5, errno)
	setLimits()
	_, errno = call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	must(spec.StepNoNewPrivs, 0, errno)
	stamp(spec.StepNoNewPrivs)
	enforceLandlock()
	listener, errno := call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|waitKillable, addr(&plan.prog), 0, 0)
	must(spec.StepSeccomp, 0, errno)
	stamp(spec.StepSeccomp)
	shares.number = int32(listener)
	_, errno = call(unix.SYS_WRITE, uintptr(shares.up[1]), addr(&shares.number), 4, 0, 0)
	must(spec.StepSupervise, 6, errno)
	n, errno := call(unix.SYS_READ, uintptr(shares.down[0]), addr(&shares.number), 4, 0, 0)
	must(spec.StepSupervise, 7, errno)
	if n != 4 {
		call(unix.SYS_EXIT_GROUP, 137, 0, 0, 0, 0)
	}
	stamp(spec.StepSupervise)
	testFiles()
	testSystem()
	testNetwork()
	testShared()
	stamp(spec.StepSelfTest)
	_, errno = call(unix.SYS_CLOSE_RANGE, noFD, noFD, unix.CLOSE_RANGE_UNSHARE, 0, 0)
	must(spec.StepDescriptors, 3, errno)
	_, errno = call(unix.SYS_WRITE, uintptr(shares.up[1]), addr(&shares.number), 4, 0, 0)
	must(spec.StepSupervise, 8, errno)
	report()
	become()
}

// selfFiles are what the program's first process may read of itself in /proc. Not among them is net, the host's connections
// and sockets, which is there for each thread too; names can be listed.
var (
	pathSelf  = cstr("/proc/self")
	selfFiles = selfPaths("auxv", "cgroup", "cmdline", "comm", "environ", "fdinfo", "gid_map", "io", "limits", "maps", "mountinfo", "mounts",
		"oom_score", "oom_score_adj", "setgroups", "smaps", "smaps_rollup", "stat", "statm", "status", "uid_map")
)

func selfPaths(names ...string) (all []*byte) {
	for _, n := range names {
		all = append(all, cstr("/proc/self/"+n))
	}
	return all
}

// grantSelf lets the process read files about itself. Not every kernel has every one.
//
//go:nosplit
//go:norace
func grantSelf(rules uintptr) {
	for i := range selfFiles {
		fd, errno := call(unix.SYS_OPENAT, atCwd, addr(selfFiles[i]), unix.O_PATH|unix.O_CLOEXEC, 0, 0)
		if errno == unix.ENOENT {
			continue
		}
		must(spec.StepLandlock, -2, errno)
		mem.rule.access, mem.rule.fd = plan.proc&unix.LANDLOCK_ACCESS_FS_READ_FILE, uint64(fd)
		_, errno = call(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, addr(&mem.rule), 0, 0)
		must(spec.StepLandlock, -2, errno)
		call(unix.SYS_CLOSE, fd, 0, 0, 0, 0)
	}
}

const (
	waitKillable = 1 << 5           // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19: no signal takes a call back that is worked on
	noFD         = uintptr(1 << 30) // nobody's
)

//go:nosplit
//go:norace
func testShared() {
	_, errno := call(unix.SYS_FCHMODAT, atCwd, addr(plan.denied), 0o700, 0, 0)
	tried(spec.TryChmodOutside, errno)
	_, errno = call(unix.SYS_KILL, shares.init, 0, 0, 0, 0)
	tried(spec.TryKillOutside, errno)
}

// endTree kills what is left of the program, until init has no child. What is killed leaves its own children to init. A
// process that is being killed may make no new one meanwhile (RLIMIT_NPROC).
//
//go:nosplit
//go:norace
func endTree() {
	for {
		for { // the dead keep their numbers until here, so a number below means a child
			pid, errno := call(unix.SYS_WAIT4, ^uintptr(0), 0, unix.WNOHANG, 0, 0)
			if errno == unix.ECHILD {
				return
			}
			if errno != 0 || pid == 0 {
				break
			}
		}
		fd, errno := call(unix.SYS_OPENAT, atCwd, addr(pathChildren), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0)
		if errno != 0 {
			call(unix.SYS_KILL, mem.pid, uintptr(unix.SIGKILL), 0, 0, 0)
			return
		}
		n, _ := call(unix.SYS_READ, fd, addr(&shares.children), unsafe.Sizeof(shares.children), 0, 0)
		call(unix.SYS_CLOSE, fd, 0, 0, 0, 0)
		pid := uintptr(0)
		for i := uintptr(0); i < n && i < uintptr(len(shares.children)); i++ {
			if c := shares.children[i]; c >= '0' && c <= '9' {
				pid = 10*pid + uintptr(c-'0')
				continue
			}
			if pid > 0 {
				mem.rl.Cur, mem.rl.Max = 0, 0
				call(unix.SYS_PRLIMIT64, pid, unix.RLIMIT_NPROC, addr(&mem.rl), 0, 0)
				call(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0, 0, 0)
			}
			pid = 0
		}
		mem.ts = unix.Timespec{Nsec: 1e6}
		call(unix.SYS_NANOSLEEP, addr(&mem.ts), 0, 0, 0, 0)
	}
}
