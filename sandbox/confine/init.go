package confine

import (
	"syscall"
	"unsafe"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// This file runs after the raw clone, as PID 1 of the new namespaces, on a copy of the launcher's memory with one
// thread and no Go runtime behind it. Rules for everything below: go:nosplit (the linker proves that no stack has
// to grow and no preemption point exists), no allocation, no channel, map, interface or string conversion, no call
// but to functions of this file and RawSyscall6.

// record is the outcome as it goes over the wire: the memory is the message (little-endian machines only).
var record struct {
	_    [7]byte
	kind byte
	o    spec.Wire
}

// Memory for system calls; globals, so that no frame holds it.
var mem struct {
	ts      unix.Timespec
	how     unix.OpenHow
	rule    struct{ access, fd uint64 } // landlock_path_beneath_attr is packed: 12 bytes are read
	rl      unix.Rlimit
	capHead unix.CapUserHeader
	capData [2]unix.CapUserData
	ifreq   [40]byte
	inet    unix.RawSockaddrInet4
	stat    unix.Stat_t
	uring   [128]byte
	mask    uint64
	before  uint64    // what was blocked
	info    [128]byte // signalfd_siginfo
	polls   [2]unix.PollFd
	iov     unix.Iovec
	msg     unix.Msghdr
	rights  struct {
		head unix.Cmsghdr
		fds  [spec.MaxListen]int32 // an even number: messages are padded to eight bytes
	}
	action [4]uint64 // struct sigaction of the kernel
	was    [4]uint64
	clone  cloneArgs
	asked  byte
	status int32
	pid    uintptr
	proc   uintptr // fsmount fd
}

// cloneArgs is struct clone_args up to the cgroup (clone(2)), and which of its words are used.
type cloneArgs [11]uint64

const (
	cloneFlags      = 0
	cloneExitSignal = 4
	cloneCgroup     = 10
)

// Paths and names init uses; NUL-terminated.
var (
	pathSetgroups = cstr("/proc/self/setgroups")
	pathUIDMap    = cstr("/proc/self/uid_map")
	pathGIDMap    = cstr("/proc/self/gid_map")
	pathRoot      = cstr("/")
	pathBase      = cstr("/tmp")
	pathDot       = cstr(".")
	pathEmpty     = cstr("")
	pathZero      = cstr("0") // the writing task itself, see cgroups(7)
	pathProc      = cstr("/proc")
	pathKeys      = cstr("/proc/keys")
	pathChildren  = cstr("/proc/thread-self/children")
	pathDenied    = cstr(deniedFile)
	pathNew       = cstr("/.new")
	pathSys       = cstr("/sys")
	nameTmpfs     = cstr("tmpfs")
	nameProc      = cstr("proc")
	rulesetPtr    = &plan.ruleset
)

//go:nosplit
//go:norace
func call(nr, a, b, c, d, e uintptr) (uintptr, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(nr, a, b, c, d, e, 0)
	return r, errno
}

//go:nosplit
//go:norace
func stamp(s spec.Step) {
	call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, addr(&mem.ts), 0, 0, 0)
	record.o.At[s] = mem.ts.Sec*1e9 + mem.ts.Nsec
}

// report writes the outcome in one write, so that it never mixes with the launcher's record.
//
//go:nosplit
//go:norace
func report() {
	record.kind = spec.KindOutcome
	call(unix.SYS_WRITE, reportFD, addr(&record.kind), 1+unsafe.Sizeof(record.o), 0, 0)
}

// refuse reports a failed step.
//
//go:nosplit
//go:norace
func refuse(s spec.Step, index int32, errno syscall.Errno) {
	record.o.Failed, record.o.Index, record.o.Errno = int32(s), index, int32(errno)
	report()
}

// give up: nothing has been started, so ending is enough.
//
//go:nosplit
//go:norace
func abandon(s spec.Step, index int32, errno syscall.Errno) {
	refuse(s, index, errno)
	call(unix.SYS_EXIT_GROUP, 125, 0, 0, 0, 0)
}

//go:nosplit
//go:norace
func must(s spec.Step, index int32, errno syscall.Errno) {
	if errno != 0 {
		abandon(s, index, errno)
	}
}

//go:nosplit
//go:norace
func writeFile(path *byte, data []byte, flags uintptr, mode uintptr) syscall.Errno {
	fd, errno := call(unix.SYS_OPENAT, atCwd, addr(path), unix.O_WRONLY|unix.O_CLOEXEC|flags, mode, 0)
	if errno != 0 {
		return errno
	}
	if len(data) > 0 {
		_, errno = call(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)), 0, 0)
	}
	call(unix.SYS_CLOSE, fd, 0, 0, 0, 0)
	return errno
}

// atCwd is AT_FDCWD as a register.
const atCwd = ^uintptr(99)

// settle makes the copy a process of its own.
//
//go:nosplit
//go:norace
func settle() {
	stamp(spec.StepClone)
	record.o.Pid = 1
	resetSignals()
	placeFiles()
	joinGroups()
}

// initMain confines this process, tests that it holds, starts the program and stays as its init. It never returns.
//
//go:nosplit
//go:norace
func initMain() {
	must(spec.StepUserMap, 0, writeFile(pathSetgroups, plan.setgroup, 0, 0))
	must(spec.StepUserMap, 1, writeFile(pathUIDMap, plan.uidMap, 0, 0))
	must(spec.StepUserMap, 2, writeFile(pathGIDMap, plan.gidMap, 0, 0))
	stamp(spec.StepUserMap)
	_, errno := call(unix.SYS_SETHOSTNAME, uintptr(unsafe.Pointer(unsafe.SliceData(plan.hostname))), uintptr(len(plan.hostname)), 0, 0, 0)
	must(spec.StepHostname, 0, errno)
	stamp(spec.StepHostname)
	if plan.loopback {
		raiseLoopback()
	}
	if len(plan.listen) > 0 {
		handListeners()
	}
	stamp(spec.StepLoopback)
	openTrees()
	openProc()
	enterRoot()
	makeNodes()
	placeTrees()
	sealRoot()
	dropCapabilities()
	setLimits()
	closeDescriptors()
	hideSelf()
	_, errno = call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	must(spec.StepNoNewPrivs, 0, errno)
	stamp(spec.StepNoNewPrivs)
	enforceLandlock()
	watched()
	_, errno = call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, addr(&plan.prog), 0, 0)
	must(spec.StepSeccomp, 0, errno)
	stamp(spec.StepSeccomp)
	testFiles()
	testSystem()
	testNetwork()
	stamp(spec.StepSelfTest)
	serve()
}

// resetSignals takes back the handlers that belong to the program this process is a copy of: one that ran between the end of
// the block and execve would swallow the signal. What is ignored stays so.
//
//go:nosplit
//go:norace
func resetSignals() {
	for sig := uintptr(1); sig <= 64; sig++ {
		mem.action = [4]uint64{}
		_, errno := call(unix.SYS_RT_SIGACTION, sig, addr(&mem.action), addr(&mem.was), 8, 0)
		if errno == 0 && mem.was[0] == sigIgnore {
			call(unix.SYS_RT_SIGACTION, sig, addr(&mem.was), 0, 8, 0)
		}
	}
}

// placeFiles wipes what a copy of another program should not have and gives the descriptors their numbers; cordon-launch
// was started without the one and with the other.
//
//go:nosplit
//go:norace
func placeFiles() {
	for i := range plan.wipe {
		for j := range plan.wipe[i] {
			plan.wipe[i][j] = 0
		}
	}
	for i := range plan.files {
		_, errno := call(unix.SYS_DUP3, plan.files[i], uintptr(i), 0, 0, 0)
		must(spec.StepDescriptors, int32(100+i), errno)
	}
}

// joinGroups moves this process, a single task, into its cgroups v1 before it does anything. A process that moves another
// has to write to cgroup.procs, where the kernel waits for every processor to pass a grace period: 5.5 ms here against
// 40 µs. The host's right to do this was checked when it opened the files.
//
//go:nosplit
//go:norace
func joinGroups() {
	for i := uintptr(0); i < plan.join && !plan.into; i++ {
		_, errno := call(unix.SYS_WRITE, joinFD+i, addr(pathZero), 1, 0, 0)
		must(spec.StepJoin, int32(i), errno)
		call(unix.SYS_CLOSE, joinFD+i, 0, 0, 0, 0)
	}
	stamp(spec.StepJoin)
}

//go:nosplit
//go:norace
func raiseLoopback() {
	s, errno := call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0, 0, 0)
	must(spec.StepLoopback, 0, errno)
	mem.ifreq[0], mem.ifreq[1] = 'l', 'o'
	mem.ifreq[16] = unix.IFF_UP | unix.IFF_RUNNING
	_, errno = call(unix.SYS_IOCTL, s, unix.SIOCSIFFLAGS, addr(&mem.ifreq), 0, 0)
	must(spec.StepLoopback, 1, errno)
	call(unix.SYS_CLOSE, s, 0, 0, 0, 0)
}

// handListeners opens listeners in this network namespace and for good, and sends them to the host, which accepts on them
// from outside. The program can connect to them and to nothing else that leads out.
//
//go:nosplit
//go:norace
func handListeners() {
	for i := range plan.listen {
		l, errno := call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0, 0, 0)
		must(spec.StepLoopback, 2, errno)
		mem.inet.Family, mem.inet.Port = unix.AF_INET, plan.listen[i]>>8|plan.listen[i]&0xff<<8
		mem.inet.Addr[0], mem.inet.Addr[3] = 127, 1
		_, errno = call(unix.SYS_BIND, l, addr(&mem.inet), unsafe.Sizeof(mem.inet), 0, 0)
		must(spec.StepLoopback, 3, errno)
		_, errno = call(unix.SYS_LISTEN, l, 128, 0, 0, 0)
		must(spec.StepLoopback, 4, errno)
		mem.rights.fds[i] = int32(l)
	}
	must(spec.StepLoopback, 5, send(uintptr(len(plan.listen))))
	for i := range plan.listen {
		call(unix.SYS_CLOSE, uintptr(mem.rights.fds[i]), 0, 0, 0, 0)
	}
}

// send sends the host one byte and the first n descriptors of mem.rights. It does not wait: a host that takes nothing must
// not keep init from its work.
//
//go:nosplit
//go:norace
func send(n uintptr) syscall.Errno {
	mem.rights.head.Len = uint64(unsafe.Sizeof(mem.rights.head) + 4*n)
	mem.msg.Controllen = uint64(unsafe.Sizeof(mem.rights.head) + (4*n+7)&^7)
	_, errno := call(unix.SYS_SENDMSG, hostFD, addr(&mem.msg), unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// lendSocket sends the host a TCP socket of this network namespace, with which it can call what the program listens on. It
// is asked for by a byte.
//
//go:nosplit
//go:norace
func lendSocket() {
	n, errno := call(unix.SYS_READ, hostFD, addr(&mem.asked), 1, 0, 0)
	if errno != 0 || n != 1 || !plan.loopback || plan.shared {
		return
	}
	s, errno := call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return
	}
	mem.rights.fds[0] = int32(s)
	_ = send(1)
	call(unix.SYS_CLOSE, s, 0, 0, 0, 0)
}

// openTrees takes a detached copy of every granted tree while the host's root is still in place. No symbolic link
// is followed: the path that was granted is the path that is shown.
//
//go:nosplit
//go:norace
func openTrees() {
	_, errno := call(unix.SYS_MOUNT, 0, addr(pathRoot), 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	must(spec.StepRoot, 0, errno)
	mem.how.Flags = unix.O_PATH | unix.O_CLOEXEC
	mem.how.Resolve = unix.RESOLVE_NO_SYMLINKS
	for i := range plan.mounts {
		m := &plan.mounts[i]
		fd, errno := call(unix.SYS_OPENAT2, atCwd, addr(m.source), addr(&mem.how), unsafe.Sizeof(mem.how), 0)
		must(spec.StepMount, m.index, errno)
		m.tree, errno = call(unix.SYS_OPEN_TREE, fd, addr(pathEmpty), unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, 0, 0)
		must(spec.StepMount, m.index, errno)
		call(unix.SYS_CLOSE, fd, 0, 0, 0, 0)
		_, errno = call(unix.SYS_MOUNT_SETATTR, m.tree, addr(pathEmpty), unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, addr(&m.attr), unsafe.Sizeof(m.attr))
		must(spec.StepMount, m.index, errno)
	}
}

// enterRoot makes an empty tmpfs the root and lets go of the old one.
//
//go:nosplit
//go:norace
func enterRoot() {
	_, errno := call(unix.SYS_MOUNT, addr(nameTmpfs), addr(pathBase), addr(nameTmpfs), unix.MS_NOSUID|unix.MS_NODEV, addr(plan.tmpfs))
	must(spec.StepRoot, 1, errno)
	_, errno = call(unix.SYS_CHDIR, addr(pathBase), 0, 0, 0, 0)
	must(spec.StepRoot, 2, errno)
	_, errno = call(unix.SYS_PIVOT_ROOT, addr(pathDot), addr(pathDot), 0, 0, 0)
	must(spec.StepRoot, 3, errno)
	_, errno = call(unix.SYS_UMOUNT2, addr(pathDot), unix.MNT_DETACH, 0, 0, 0)
	must(spec.StepRoot, 4, errno)
	_, errno = call(unix.SYS_CHDIR, addr(pathRoot), 0, 0, 0, 0)
	must(spec.StepRoot, 5, errno)
}

//go:nosplit
//go:norace
func makeNodes() {
	call(unix.SYS_UMASK, 0, 0, 0, 0, 0)
	for i := range plan.nodes {
		n := &plan.nodes[i]
		var errno syscall.Errno
		switch n.kind {
		case 'd', 't':
			_, errno = call(unix.SYS_MKDIRAT, atCwd, addr(n.path), 0o755, 0, 0)
			if errno == 0 && n.kind == 't' {
				// Bound onto itself, so that it stays writable when the mount of the root becomes read-only.
				_, errno = call(unix.SYS_MOUNT, addr(n.path), addr(n.path), 0, unix.MS_BIND, 0)
			}
		case 'f':
			errno = writeFile(n.path, unsafe.Slice(n.data, n.size), unix.O_CREAT|unix.O_EXCL, 0o444)
		case 'l':
			_, errno = call(unix.SYS_SYMLINKAT, addr(n.data), atCwd, addr(n.path), 0, 0)
		}
		must(spec.StepRoot, int32(100+i), errno)
	}
	call(unix.SYS_UMASK, 0o077, 0, 0, 0, 0)
	stamp(spec.StepRoot)
}

//go:nosplit
//go:norace
func placeTrees() {
	for i := range plan.mounts {
		m := &plan.mounts[i]
		_, errno := call(unix.SYS_MOVE_MOUNT, m.tree, addr(pathEmpty), atCwd, addr(m.target), unix.MOVE_MOUNT_F_EMPTY_PATH)
		must(spec.StepMount, m.index, errno)
		call(unix.SYS_CLOSE, m.tree, 0, 0, 0, 0)
	}
	stamp(spec.StepMount)
}

// openProc makes a /proc of the new pid namespace. The kernel allows that only while another, whole /proc can be seen
// in this mount namespace (fs/namespace.c, mount_too_revealing), so it comes before the old root goes.
//
//go:nosplit
//go:norace
func openProc() {
	fs, errno := call(unix.SYS_FSOPEN, addr(nameProc), unix.FSOPEN_CLOEXEC, 0, 0, 0)
	must(spec.StepProc, 0, errno)
	_, errno = call(unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	must(spec.StepProc, 0, errno)
	mem.proc, errno = call(unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY, 0, 0)
	must(spec.StepProc, 0, errno)
	call(unix.SYS_CLOSE, fs, 0, 0, 0, 0)
}

// sealRoot places /proc, covers what it tells of the user's keys, makes the root read-only and enters the working directory.
//
//go:nosplit
//go:norace
func sealRoot() {
	_, errno := call(unix.SYS_MOVE_MOUNT, mem.proc, addr(pathEmpty), atCwd, addr(pathProc), unix.MOVE_MOUNT_F_EMPTY_PATH)
	must(spec.StepProc, 1, errno)
	call(unix.SYS_CLOSE, mem.proc, 0, 0, 0, 0)
	// The user's keys are the same inside, and the file tells their names: an empty one lies over it.
	if _, errno = call(unix.SYS_MOUNT, addr(pathDenied), addr(pathKeys), 0, unix.MS_BIND, 0); errno != unix.ENOENT {
		must(spec.StepProc, 3, errno)
	}
	_, errno = call(unix.SYS_MOUNT_SETATTR, atCwd, addr(pathRoot), 0, addr(&rootAttr), unsafe.Sizeof(rootAttr))
	must(spec.StepProc, 2, errno)
	if _, errno = call(unix.SYS_CHDIR, addr(plan.dir), 0, 0, 0, 0); errno != 0 {
		call(unix.SYS_CHDIR, addr(pathRoot), 0, 0, 0, 0)
	}
	stamp(spec.StepProc)
}

var rootAttr = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}

// dropCapabilities empties every set and locks the ways back. 0xef: noroot, no setuid fix-up, no ambient raise,
// each with its lock, and the lock of keep-caps (capabilities(7)).
//
//go:nosplit
//go:norace
func dropCapabilities() {
	call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for c := uintptr(0); c < 64; c++ {
		_, errno := call(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errno == unix.EINVAL || errno == unix.EPERM && plan.shared {
			break // past the kernel's last capability; or nothing to drop, and no way to gain: no_new_privs
		}
		must(spec.StepCapabilities, int32(c), errno)
	}
	_, errno := call(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0xef, 0, 0, 0)
	if errno != unix.EPERM || !plan.shared {
		must(spec.StepCapabilities, 100, errno)
	}
	mem.capHead.Version = unix.LINUX_CAPABILITY_VERSION_3
	_, errno = call(unix.SYS_CAPSET, addr(&mem.capHead), addr(&mem.capData), 0, 0, 0)
	must(spec.StepCapabilities, 101, errno)
	_, errno = call(unix.SYS_CAPGET, addr(&mem.capHead), addr(&mem.capData), 0, 0, 0)
	must(spec.StepCapabilities, 102, errno)
	record.o.Caps = uint64(mem.capData[0].Effective|mem.capData[0].Permitted) | uint64(mem.capData[1].Effective|mem.capData[1].Permitted)<<32
	if record.o.Caps != 0 {
		abandon(spec.StepCapabilities, 103, unix.EPERM)
	}
	stamp(spec.StepCapabilities)
}

// hideSelf gives /proc/PID of init to root: the program can neither trace init nor read its memory.
//
//go:nosplit
//go:norace
func hideSelf() {
	_, errno := call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	must(spec.StepCapabilities, 104, errno)
}

//go:nosplit
//go:norace
func setLimits() {
	for i := range plan.limits {
		l := &plan.limits[i]
		mem.rl.Cur, mem.rl.Max = l.Max, l.Max
		_, errno := call(unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), addr(&mem.rl), 0, 0)
		must(spec.StepLimits, int32(l.Resource), errno)
	}
	stamp(spec.StepLimits)
}

// closeDescriptors leaves 0, 1, 2 and our own two, which close themselves when the program starts.
//
//go:nosplit
//go:norace
func closeDescriptors() {
	_, errno := call(unix.SYS_CLOSE_RANGE, reportFD+1, uintptr(^uint32(0)), 0, 0, 0)
	must(spec.StepDescriptors, 0, errno)
	_, errno = call(unix.SYS_FCNTL, hostFD, unix.F_SETFD, unix.FD_CLOEXEC, 0, 0)
	must(spec.StepDescriptors, 1, errno)
	_, errno = call(unix.SYS_FCNTL, reportFD, unix.F_SETFD, unix.FD_CLOEXEC, 0, 0)
	must(spec.StepDescriptors, 2, errno)
	stamp(spec.StepDescriptors)
}

// enforceLandlock asks for exactly the rights the host planned; a kernel that knows fewer refuses.
//
//go:nosplit
//go:norace
func enforceLandlock() {
	rules, errno := call(unix.SYS_LANDLOCK_CREATE_RULESET, addr(rulesetPtr), plan.rulesize, 0, 0, 0)
	must(spec.StepLandlock, -1, errno)
	for i := range plan.mounts {
		if m := &plan.mounts[i]; m.access != 0 {
			grant(rules, m.target, m.access, m.index)
		}
	}
	for i := range plan.nodes {
		if n := &plan.nodes[i]; n.access != 0 {
			grant(rules, n.path, n.access, int32(1000+i))
		}
	}
	if plan.shared {
		grant(rules, pathSelf, plan.proc&unix.LANDLOCK_ACCESS_FS_READ_DIR, -2)
		grantSelf(rules)
	} else {
		grant(rules, pathProc, plan.proc, -2)
	}
	_, errno = call(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0, 0, 0)
	must(spec.StepLandlock, -3, errno)
	call(unix.SYS_CLOSE, rules, 0, 0, 0, 0)
	stamp(spec.StepLandlock)
}

//go:nosplit
//go:norace
func grant(rules uintptr, path *byte, access uint64, index int32) {
	fd, errno := call(unix.SYS_OPENAT, atCwd, addr(path), unix.O_PATH|unix.O_CLOEXEC, 0, 0)
	must(spec.StepLandlock, index, errno)
	mem.rule.access, mem.rule.fd = access, uint64(fd)
	_, errno = call(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, addr(&mem.rule), 0, 0)
	must(spec.StepLandlock, index, errno)
	call(unix.SYS_CLOSE, fd, 0, 0, 0, 0)
}
