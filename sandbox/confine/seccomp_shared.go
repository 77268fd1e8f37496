package confine

import (
	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// Without namespaces the program shares the host's processes, IPC objects, network and mounts. What namespaces would keep
// apart is refused here, or handed to the supervisor outside (SECCOMP_RET_USER_NOTIF), which knows which address, file or
// process is meant.

const actNotify = unix.SECCOMP_RET_USER_NOTIF

// deniedShared fail with EPERM, with those of archDeniedShared.
var deniedShared = []uint32{
	// owners and attributes of files that can be reached but are not granted
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR,
	unix.SYS_FREMOVEXATTR, sysSetxattrat, sysRemovexattrat, sysFileSetattr,
	// System V IPC and POSIX queues of the user's other programs
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMCTL, unix.SYS_SEMTIMEDOP, unix.SYS_MSGGET,
	unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
	// other processes
	unix.SYS_PROCESS_MRELEASE,
}

// attributes of files that are not granted can be read by path; what is open has been granted. Callers know file systems without.
var attributes = []uint32{unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, sysGetxattrat, sysListxattrat}

// Numbers that package unix does not have yet; the same on every architecture.
const (
	sysSetxattrat    = 463
	sysGetxattrat    = 464
	sysListxattrat   = 465
	sysRemovexattrat = 466
	sysFileSetattr   = 469
)

// supervised are answered from outside, with those of archSupervised and the calls that change a file's mode.
var supervised = []uint32{unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_LISTEN, unix.SYS_UTIMENSAT, unix.SYS_INOTIFY_ADD_WATCH}

// signalling are answered from outside where Landlock does not decide.
var signalling = []uint32{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO}

// onItself are calls whose first argument is a process: 0, the caller, is the only one.
var onItself = []uint32{unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR}

// share adds the rules of a program without namespaces.
func (r rules) share(deny func(end int, nrs ...uint32), look func(nr uint32, block ...unix.SockFilter)) {
	deny(endPerm, deniedShared...)
	deny(endPerm, archDeniedShared...)
	for _, nr := range attributes {
		look(nr, fails(unix.EOPNOTSUPP))
	}
	notify := supervised
	if r.signals {
		notify = append(notify[:len(notify):len(notify)], signalling...)
		deny(endPerm, unix.SYS_PIDFD_SEND_SIGNAL)
	}
	for _, nr := range append(notify[:len(notify):len(notify)], archSupervised...) {
		look(nr, done(actNotify))
	}
	for _, nr := range onItself {
		look(nr, arg(0), when(0, 0, 1), done(actAllow), fails(unix.EPERM))
	}
	// "which" as a user means all of the user's processes.
	look(unix.SYS_SETPRIORITY, arg(0), when(unix.PRIO_PROCESS, 0, 2), arg(1), when(0, 1, 0), fails(unix.EPERM), done(actAllow))
	look(unix.SYS_IOPRIO_SET, arg(0), when(ioprioProcess, 0, 2), arg(1), when(0, 1, 0), fails(unix.EPERM), done(actAllow))
	look(unix.SYS_SETSOCKOPT, options()...)
	// The program ends with its init.
	look(unix.SYS_PRCTL, arg(0), when(unix.PR_SET_PDEATHSIG, 0, 1), fails(unix.EPERM), done(actAllow))
}

const ioprioProcess = 1 // IOPRIO_WHO_PROCESS

// modeAction is what becomes of a call that gives a file a harmless mode.
func (r rules) modeAction(m modes) uint32 {
	if r.shared && m.change || r.observe { // those that change nothing name a path
		return actNotify
	}
	return actAllow
}

// ioctls refuses what types into a terminal. Without namespaces all are refused that are not known to be harmless: there are
// some by which a descriptor for reading changes its file, names a process that signals are sent to, or
// asks for the host's interfaces, and each file system and each kernel has its own.
func (r rules) ioctls() []unix.SockFilter {
	if !r.shared {
		return append([]unix.SockFilter{arg(1)}, refuse1([]uint32{unix.TIOCSTI, tiocLinux})...)
	}
	block := []unix.SockFilter{arg(1)}
	for i, k := range harmless {
		block = append(block, when(k, uint8(len(harmless)-i+5), 0))
	}
	return append(block, when(unix.TIOCSTI, 3, 0), when(tiocLinux, 2, 0), mask(0xffffff00), when(terminals, 2, 1),
		fails(unix.EPERM), fails(unix.ENOTTY), done(actAllow))
}

// options refuses those of IP that are not known to be harmless: routes of the sender's choice (IPV6_RTHDR) lead past an
// address that was judged. To share a port (SO_REUSEPORT) is answered as done and is not: a thread could ask for it again between
// the supervisor's look and the call that it carries out.
func options() []unix.SockFilter {
	block := []unix.SockFilter{arg(1), when(unix.SOL_SOCKET, 0, 3), arg(2), when(unix.SO_REUSEPORT, 0, 1), done(unix.SECCOMP_RET_ERRNO), arg(1)}
	block = append(block, optionsOf(unix.IPPROTO_IP, unix.IP_TOS, unix.IP_TTL, unix.IP_MTU_DISCOVER, unix.IP_RECVERR, unix.IP_BIND_ADDRESS_NO_PORT)...)
	block = append(block, optionsOf(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, unix.IPV6_UNICAST_HOPS, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVERR, unix.IPV6_TCLASS)...)
	return append(block, done(actAllow))
}

// optionsOf refuses those of a level, which is in A, except some.
func optionsOf(level uint32, fine ...uint32) []unix.SockFilter {
	block := []unix.SockFilter{when(level, 0, uint8(len(fine)+3)), arg(2)}
	for i, k := range fine {
		block = append(block, when(k, uint8(len(fine)-i), 0))
	}
	return append(block, fails(unix.EPERM), done(actAllow))
}

// terminals are the numbers of requests to terminals, among them those that every descriptor knows: FIONBIO, FIONREAD, FIOCLEX.
const terminals = 0x5400

// harmless are requests that copy between files open for it, or tell of an open file.
var harmless = []uint32{unix.FICLONE, unix.FICLONERANGE, unix.FS_IOC_GETFLAGS, fsIocFsgetxattr, fsIocFiemap, siocatmark}

const (
	fsIocFsgetxattr = 0x801c581f
	fsIocFiemap     = 0xc020660b
	siocatmark      = 0x8905
)

// fcntls are refused. A lease holds up whoever opens the file outside for as long as the kernel allows; reading is enough to
// take one.
func (r rules) fcntls() []uint32 {
	if !r.shared {
		return []uint32{unix.F_SETLEASE, unix.F_NOTIFY}
	}
	return []uint32{unix.F_SETLEASE, unix.F_NOTIFY, unix.F_SETOWN, unix.F_SETOWN_EX, unix.F_SETSIG}
}

// sharedSockets allows TCP where the mode has a network. UDP would need every message's address to be judged; netlink shows
// the host's interfaces.
func sharedSockets(net spec.Net) []unix.SockFilter {
	if net == spec.NetNone {
		return []unix.SockFilter{fails(unix.EACCES)}
	}
	return []unix.SockFilter{
		arg(0), when(unix.AF_INET, 1, 0), when(unix.AF_INET6, 0, 6),
		arg(1), mask(0xf), when(unix.SOCK_STREAM, 0, 3),
		arg(2), when(0, 2, 0), when(unix.IPPROTO_TCP, 1, 0), fails(unix.EACCES), done(actAllow),
	}
}
