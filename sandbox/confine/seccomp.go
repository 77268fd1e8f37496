package confine

import (
	"errors"
	"slices"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// Classic BPF, as seccomp(2) takes it: the program sees struct seccomp_data {nr, arch, ip, args[6]} and returns an
// action. It is laid out as
//
//	load arch; another one: kill
//	load nr; a balanced tree of comparisons: from here on it is less, otherwise more
//	the ends of its branches: an action, or a few instructions that look at arguments and return one
//
// A tree, because the kernel runs the program for every number when it is loaded, to remember which are always allowed
// (kernel/seccomp.c, seccomp_cache_prepare): a list that compares one by one made that the longest step but two.

const (
	offNr   = 0
	offArch = 4
	offArgs = 16

	actAllow = unix.SECCOMP_RET_ALLOW
	actKill  = unix.SECCOMP_RET_KILL_PROCESS
)

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}
func arg(n uint32) unix.SockFilter { return load(offArgs + 8*n) } // low word; the flags tested here fit in it
func done(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
func fails(e unix.Errno) unix.SockFilter { return done(unix.SECCOMP_RET_ERRNO | uint32(e)) }
func mask(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k}
}

// when jumps over t instructions if A == k, over f if not.
func when(k uint32, t, f uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: t, Jf: f}
}

// has jumps over t instructions if A & k != 0, over f if not.
func has(k uint32, t, f uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: k, Jt: t, Jf: f}
}

// An end is where a branch of the tree leads: an index into filter's ends, the first three of which are plain actions.
const (
	endAllow = iota
	endPerm
	endNosys
	endArgs // the first that looks at arguments
)

// span is a range of numbers, up to the next span's, with the same end.
type span struct {
	from uint32
	end  int
}

// nosys are refused as if the kernel did not know them, so that callers fall back: libc to clone, runtimes to epoll.
// openat2 hides its mode in memory; io_setup takes from a pool that is the whole machine's.
var nosys = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_OPENAT2, unix.SYS_IO_SETUP}

// denied fail with EPERM, with those of archDenied.
var denied = []uint32{
	// other processes
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE,
	// namespaces and mounts
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE,
	unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	// kernel surface
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON,
	unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_PERSONALITY, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_SYSLOG,
	unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT, unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES, unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY,
	unix.SYS_NFSSERVCTL, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}

// rules are what a filter depends on.
type rules struct {
	net     spec.Net
	shared  bool // without namespaces: what they would decide, the filter refuses or the supervisor decides
	signals bool // the supervisor decides about signals too
	observe bool // the supervisor is told of paths; shared only
}

// filter returns the program for r. What is absent here is allowed: the namespaces and Landlock decide
// about files and addresses; this removes kernel surface that no tool server needs.
func filter(r rules) ([]unix.SockFilter, error) {
	ends := [][]unix.SockFilter{endAllow: {done(actAllow)}, endPerm: {fails(unix.EPERM)}, endNosys: {fails(unix.ENOSYS)}}
	points := make([]span, 0, 128) // single numbers
	deny := func(end int, nrs ...uint32) {
		for _, nr := range nrs {
			points = append(points, span{nr, end})
		}
	}
	look := func(nr uint32, block ...unix.SockFilter) {
		same := slices.IndexFunc(ends, func(e []unix.SockFilter) bool { return slices.Equal(e, block) })
		if same < 0 {
			same, ends = len(ends), append(ends, block)
		}
		deny(same, nr)
	}
	deny(endNosys, nosys...)
	deny(endPerm, denied...)
	deny(endPerm, archDenied...)
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	look(unix.SYS_CLONE, arg(0), has(namespaces, 0, 1), fails(unix.EPERM), done(actAllow))
	look(unix.SYS_IOCTL, r.ioctls()...)
	look(unix.SYS_FCNTL, append([]unix.SockFilter{arg(1)}, refuse1(r.fcntls())...)...)
	// TCP fast open carries data in the first packet, past a check of connect.
	for _, s := range []struct{ nr, flags uint32 }{{unix.SYS_SENDTO, 3}, {unix.SYS_SENDMSG, 2}, {unix.SYS_SENDMMSG, 3}} {
		look(s.nr, arg(s.flags), has(unix.MSG_FASTOPEN, 0, 1), fails(unix.EOPNOTSUPP), done(actAllow))
	}
	look(unix.SYS_SOCKET, sockets(r)...)
	// socketpair makes two connected ends and no name; only the local family exists for it. Of its types only those that
	// stay connected: a datagram end can still be sent from and connected to any socket whose path is granted. RAW is
	// another name for DGRAM there (net/unix/af_unix.c, unix_create).
	look(unix.SYS_SOCKETPAIR, arg(0), when(unix.AF_UNIX, 1, 0), fails(unix.EAFNOSUPPORT),
		arg(1), mask(0xf), when(unix.SOCK_STREAM, 2, 0), when(unix.SOCK_SEQPACKET, 1, 0), fails(unix.EPROTONOSUPPORT), done(actAllow))
	// A file that the program makes setuid in a folder granted for writing would lend its owner's rights to others outside.
	for _, m := range append(archModes, modes{mode: 2, nrs: []uint32{unix.SYS_MKNODAT}},
		modes{mode: 2, change: true, nrs: []uint32{unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2}}, modes{mode: 1, change: true, nrs: []uint32{unix.SYS_FCHMOD}},
		modes{flags: 2, mode: 3, nrs: []uint32{unix.SYS_OPENAT}}) {
		block := []unix.SockFilter{arg(m.mode), has(setID, 0, 1), fails(unix.EPERM), done(r.modeAction(m))}
		if m.flags > 0 {
			block = append([]unix.SockFilter{arg(m.flags), has(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY, 1, 0), done(r.modeAction(m))}, block...)
		}
		deny(len(ends), m.nrs...)
		ends = append(ends, block)
	}
	if r.shared {
		r.share(deny, look)
	}
	if r.observe {
		r.tell(look)
	}
	return assemble(spans(points), ends)
}

// setID are the mode bits that lend a file's owner and group to whoever runs it.
const setID = unix.S_ISUID | unix.S_ISGID

// modes are calls that give a file its mode, and which argument that is. With flags, the mode counts only when the
// call makes a file.
type modes struct {
	flags, mode uint32 // argument numbers; flags 0: none
	change      bool   // it changes a file that is there
	nrs         []uint32
}

// spans turns single numbers into ranges that cover every number; between them stands endAllow.
func spans(points []span) []span {
	slices.SortFunc(points, func(a, b span) int { return int(a.from) - int(b.from) })
	all := make([]span, 1, 2*len(points)+2)
	all[0] = span{0, endAllow}
	put := func(from uint32, end int) {
		switch last := &all[len(all)-1]; {
		case last.from == from:
			last.end = end
			if len(all) > 1 && all[len(all)-2].end == end {
				all = all[:len(all)-1]
			}
		case last.end != end:
			all = append(all, span{from, end})
		}
	}
	for _, p := range points {
		put(p.from, p.end)
		put(p.from+1, endAllow)
	}
	if foreign > 0 {
		put(foreign, endNosys)
	}
	return all
}

var errFilter = errors.New("the seccomp filter has branches longer than a jump")

// assemble writes the program. The tree has one comparison less than there are spans, so every place is known before.
func assemble(all []span, ends [][]unix.SockFilter) ([]unix.SockFilter, error) {
	f := make([]unix.SockFilter, 0, 256)
	f = append(f, load(offArch), when(auditArch, 1, 0), done(actKill), load(offNr))
	place := make([]int, len(ends))
	at := len(f) + len(all) - 1
	for i, e := range ends {
		place[i] = at
		at += len(e)
	}
	ok := true
	var branch func(all []span)
	branch = func(all []span) {
		if len(all) == 1 {
			return
		}
		left, right := all[:len(all)/2], all[len(all)/2:]
		here := len(f)
		distance := func(side []span, tree int) uint8 {
			to := tree
			if len(side) == 1 {
				to = place[side[0].end]
			}
			ok = ok && to-here-1 >= 0 && to-here-1 <= 255
			return uint8(to - here - 1)
		}
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: right[0].from,
			Jt: distance(right, here+len(left)), Jf: distance(left, here+1)})
		branch(left)
		branch(right)
	}
	branch(all)
	for _, e := range ends {
		f = append(f, e...)
	}
	if !ok {
		return nil, errFilter
	}
	return f, nil
}

const tiocLinux = 0x541c

// refuse1 refuses with EPERM when A is one of ks.
func refuse1(ks []uint32) []unix.SockFilter {
	block := make([]unix.SockFilter, 0, len(ks)+2)
	for i, k := range ks {
		if i < len(ks)-1 {
			block = append(block, when(k, uint8(len(ks)-1-i), 0))
		} else {
			block = append(block, when(k, 0, 1))
		}
	}
	return append(block, fails(unix.EPERM), done(actAllow))
}

// sockets allows route look-ups over netlink always (name resolution in every libc asks for addresses that way) and
// TCP and UDP where the mode has them. AF_UNIX is absent: the session bus, X11 and agents live there.
func sockets(r rules) []unix.SockFilter {
	if r.shared {
		return sharedSockets(r.net)
	}
	block := []unix.SockFilter{
		arg(0), when(unix.AF_NETLINK, 0, 3),
		arg(2), when(unix.NETLINK_ROUTE, 0, 1), done(actAllow),
	}
	// After a failed netlink check A may hold the protocol: load the family again.
	if r.net == spec.NetNone {
		block = append(block, fails(unix.EACCES))
	} else {
		block = append(block,
			arg(0), when(unix.AF_INET, 1, 0), when(unix.AF_INET6, 0, 8),
			arg(1), mask(0xf), when(unix.SOCK_STREAM, 1, 0), when(unix.SOCK_DGRAM, 0, 4),
			// the protocol must be the default, TCP or UDP: no MPTCP, SCTP, SMC
			arg(2), when(0, 3, 0), when(unix.IPPROTO_TCP, 2, 0), when(unix.IPPROTO_UDP, 1, 0),
			fails(unix.EACCES), done(actAllow))
	}
	return block
}
