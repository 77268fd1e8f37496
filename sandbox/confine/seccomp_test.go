package confine

import (
	"fmt"
	"slices"
	"testing"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

// interpret runs a filter as the kernel does and returns its action and how many steps it took.
func interpret(t testing.TB, f []unix.SockFilter, d data) (action uint32, steps int) {
	t.Helper()
	var a uint32
	for pc := 0; pc >= 0 && pc < len(f); pc++ {
		steps++
		jump := func(yes bool) {
			if yes {
				pc += int(f[pc].Jt)
			} else {
				pc += int(f[pc].Jf)
			}
		}
		switch i := f[pc]; i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch {
			case i.K == offNr:
				a = d.nr
			case i.K == offArch:
				a = d.arch
			case i.K >= offArgs && (i.K-offArgs)%8 == 0 && (i.K-offArgs)/8 < 6:
				a = uint32(d.args[(i.K-offArgs)/8])
			default:
				t.Fatalf("instruction %d loads offset %d", pc, i.K)
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(a >= i.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(a&i.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return i.K, steps
		default:
			t.Fatalf("instruction %d has code %#x", pc, i.Code)
		}
	}
	t.Fatal("the filter ends without an action")
	return 0, 0
}

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// expected is the filter in plain words, one number after the other.
func expected(r rules, d data) uint32 {
	if d.arch != auditArch {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	if foreign > 0 && d.nr >= foreign {
		return errno(unix.ENOSYS)
	}
	for _, nr := range nosys {
		if d.nr == nr {
			return errno(unix.ENOSYS)
		}
	}
	for _, list := range [][]uint32{denied, archDenied} {
		for _, nr := range list {
			if d.nr == nr {
				return errno(unix.EPERM)
			}
		}
	}
	if r.shared && slices.Contains(slices.Concat(deniedShared, archDeniedShared), d.nr) || r.signals && d.nr == unix.SYS_PIDFD_SEND_SIGNAL {
		return errno(unix.EPERM)
	}
	if r.shared && slices.Contains(slices.Concat(supervised, archSupervised), d.nr) || r.signals && slices.Contains(signalling, d.nr) {
		return unix.SECCOMP_RET_USER_NOTIF
	}
	if r.shared && slices.Contains(attributes, d.nr) {
		return errno(unix.EOPNOTSUPP)
	}
	low := func(i int) uint32 { return uint32(d.args[i]) }
	fails := func(bad bool, e unix.Errno) uint32 {
		if bad {
			return errno(e)
		}
		return unix.SECCOMP_RET_ALLOW
	}
	const making = 0x40 | 0x400000 // O_CREAT, O_TMPFILE without O_DIRECTORY
	if r.shared && low(changesMode(d.nr))&0o6000 == 0 && changesMode(d.nr) > 0 {
		return unix.SECCOMP_RET_USER_NOTIF
	}
	if mode, flags, ok := setsModes(d.nr); ok {
		return fails((flags == 0 || low(flags)&making != 0) && low(mode)&0o6000 != 0, unix.EPERM)
	}
	switch d.nr {
	case unix.SYS_FCHMOD:
		return fails(low(1)&0o6000 != 0, unix.EPERM)
	case unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_MKNODAT:
		return fails(low(2)&0o6000 != 0, unix.EPERM)
	case unix.SYS_OPENAT:
		return fails(low(2)&making != 0 && low(3)&0o6000 != 0, unix.EPERM)
	case unix.SYS_CLONE:
		return fails(low(0)&(0x00020000|0x02000000|0x04000000|0x08000000|0x10000000|0x20000000|0x40000000) != 0, unix.EPERM)
	case unix.SYS_IOCTL:
		fine := []uint32{0x40049409, 0x4020940d, 0x80086601, 0x801c581f, 0xc020660b, 0x8905}
		types := low(1) == 0x5412 || low(1) == 0x541c
		if r.shared && !types && low(1)>>8 != 0x54 && !slices.Contains(fine, low(1)) {
			return errno(unix.ENOTTY)
		}
		return fails(types, unix.EPERM)
	case unix.SYS_FCNTL:
		return fails(low(1) == 1024 || low(1) == 1026 || r.shared && (low(1) == 8 || low(1) == 10 || low(1) == 15), unix.EPERM)
	case unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR:
		return fails(r.shared && low(0) != 0, unix.EPERM)
	case unix.SYS_SETPRIORITY:
		return fails(r.shared && (low(0) != 0 || low(1) != 0), unix.EPERM)
	case unix.SYS_IOPRIO_SET:
		return fails(r.shared && (low(0) != 1 || low(1) != 0), unix.EPERM)
	case unix.SYS_PRCTL:
		return fails(r.shared && low(0) == 1, unix.EPERM)
	case unix.SYS_SETSOCKOPT:
		switch {
		case r.shared && low(1) == 1 && low(2) == 15:
			return errno(0)
		case r.shared && low(1) == 0:
			return fails(!slices.Contains([]uint32{1, 2, 10, 11, 24}, low(2)), unix.EPERM)
		case r.shared && low(1) == 41:
			return fails(!slices.Contains([]uint32{16, 23, 25, 26, 67}, low(2)), unix.EPERM)
		}
		return unix.SECCOMP_RET_ALLOW
	case unix.SYS_SENDTO, unix.SYS_SENDMMSG:
		return fails(low(3)&0x20000000 != 0, unix.EOPNOTSUPP)
	case unix.SYS_SENDMSG:
		return fails(low(2)&0x20000000 != 0, unix.EOPNOTSUPP)
	case unix.SYS_SOCKETPAIR:
		if kind := low(1) & 0xf; low(0) == unix.AF_UNIX && kind != unix.SOCK_STREAM && kind != unix.SOCK_SEQPACKET {
			return errno(unix.EPROTONOSUPPORT)
		}
		return fails(low(0) != unix.AF_UNIX, unix.EAFNOSUPPORT)
	case unix.SYS_SOCKET:
		family, kind, protocol := low(0), low(1)&0xf, low(2)
		netlink := family == unix.AF_NETLINK && protocol == unix.NETLINK_ROUTE
		if r.shared {
			return fails(r.net == spec.NetNone || family != unix.AF_INET && family != unix.AF_INET6 || kind != unix.SOCK_STREAM || protocol != 0 && protocol != unix.IPPROTO_TCP, unix.EACCES)
		}
		inet := r.net != spec.NetNone && (family == unix.AF_INET || family == unix.AF_INET6) && (kind == unix.SOCK_STREAM || kind == unix.SOCK_DGRAM) &&
			(protocol == 0 || protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_UDP)
		return fails(!netlink && !inet, unix.EACCES)
	}
	return unix.SECCOMP_RET_ALLOW
}

// changesMode returns which argument is the mode that a call gives a file that is there, 0 for others.
func changesMode(nr uint32) int {
	switch nr {
	case unix.SYS_FCHMOD:
		return 1
	case unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2:
		return 2
	}
	for _, m := range archModes {
		if m.change && slices.Contains(m.nrs, nr) {
			return int(m.mode)
		}
	}
	return 0
}

// TestFilterIsItsTable runs the filter for every system call number, foreign ones and the arguments it looks at.
func TestFilterIsItsTable(t *testing.T) {
	interesting := []uint64{0, 1, 2, 3, 5, 6, 7, 8, 10, 15, 0x8902, 0x8912, 0x40086602, 0x401c5820, 16, 17, 18, 132, 262, 0x40, 0x400000, 0x410000, 0o755, 0o2755, 0o4755, 0x80001, 0x80002, 0x80003, 1023, 1024, 1025, 1026, 1027, 0x5411, 0x5412, 0x5413, 0x541b, 0x541c, 0x541d,
		0x11, 0x10000, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80000000, 0x3d0f00, 1 << 32, 1<<32 | 0x5412, 0xffffffff}
	options := []uint64{0x40049409, 0x4020940d, 0x80086601, 0x801c581f, 0xc020660b, 0x8905, 0x8933, 0x5401, 0x15401, 11, 23, 24, 25, 26, 41, 57, 67}
	numbers := []uint32{1000, 0x3fffffff, 0x40000000, 0x40000029, 0x40000065, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}
	for nr := range uint32(601) {
		numbers = append(numbers, nr, 0x40000000|nr)
	}
	for _, r := range []rules{{spec.NetNone, false, false, false}, {spec.NetLoopback, false, false, false}, {spec.NetHosts, false, false, false}, {spec.NetNone, true, false, false},
		{spec.NetLoopback, true, true, false}, {spec.NetHosts, true, false, false}} {
		t.Run(fmt.Sprint(r), func(t *testing.T) {
			f, err := filter(r)
			if err != nil {
				t.Fatal(err)
			}
			check := func(d data) {
				got, steps := interpret(t, f, d)
				if want := expected(r, d); got != want {
					t.Fatalf("%+v: got %#x, want %#x", d, got, want)
				}
				if steps > 28 {
					t.Errorf("%+v takes %d steps", d, steps)
				}
			}
			for _, nr := range numbers {
				for _, arch := range []uint32{auditArch, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_AARCH64, 0} {
					check(data{nr: nr, arch: arch})
				}
			}
			for _, nr := range []uint32{unix.SYS_IOCTL, unix.SYS_SETSOCKOPT} {
				for _, a := range slices.Concat(interesting, options) {
					for _, b := range slices.Concat(interesting, options) {
						check(data{nr, auditArch, [6]uint64{a, a, b}})
					}
				}
			}
			for _, nr := range []uint32{unix.SYS_CLONE, unix.SYS_IOCTL, unix.SYS_FCNTL, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_READ, unix.SYS_PRLIMIT64,
				unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET, unix.SYS_PRCTL, unix.SYS_SCHED_SETAFFINITY, unix.SYS_FCHMODAT, unix.SYS_FCHMOD, unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
				for _, a := range interesting {
					for _, b := range interesting {
						check(data{nr, auditArch, [6]uint64{a, b, b, a}})
						check(data{nr, auditArch, [6]uint64{a, 0, b, a}})
						if nr != unix.SYS_SOCKET && nr != unix.SYS_SOCKETPAIR { // these have three that count
							continue
						}
						for _, c := range interesting {
							check(data{nr, auditArch, [6]uint64{a, b, c}})
						}
					}
				}
			}
		})
	}
}

// TestFilterRefusesWhatItMust guards the lists themselves, which expected shares with the filter.
func TestFilterRefusesWhatItMust(t *testing.T) {
	f, err := filter(rules{net: spec.NetLoopback})
	if err != nil {
		t.Fatal(err)
	}
	for _, nr := range []uint32{unix.SYS_PTRACE, unix.SYS_MOUNT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_BPF, unix.SYS_KEYCTL, unix.SYS_IO_URING_SETUP, unix.SYS_CLONE3,
		unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_INIT_MODULE, unix.SYS_PIVOT_ROOT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PIDFD_GETFD} {
		if got, _ := interpret(t, f, data{nr: nr, arch: auditArch}); got == unix.SECCOMP_RET_ALLOW {
			t.Errorf("system call %d is allowed", nr)
		}
	}
	for _, nr := range []uint32{unix.SYS_READ, unix.SYS_WRITE, unix.SYS_OPENAT, unix.SYS_EXECVE, unix.SYS_EXIT_GROUP, unix.SYS_MMAP, unix.SYS_FUTEX} {
		if got, _ := interpret(t, f, data{nr: nr, arch: auditArch}); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("system call %d: got %#x, want it allowed", nr, got)
		}
	}
}
