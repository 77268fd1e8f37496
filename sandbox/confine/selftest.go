package confine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"cordon/sandbox/spec"
)

// What a process that has confined itself tries before it starts the program. The rules of init.go hold here too.

// tried records how a forbidden act ended. One that worked ends the start.
//
//go:nosplit
//go:norace
func tried(t spec.Try, errno syscall.Errno) {
	record.o.Tried[t] = int32(errno)
	if errno == 0 {
		record.o.Tried[t] = -1
		abandon(spec.StepSelfTest, int32(t), 0)
	}
}

//go:nosplit
//go:norace
func testFiles() {
	_, errno := call(unix.SYS_OPENAT, atCwd, addr(plan.denied), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0)
	tried(spec.TryOpenUngranted, errno)
	_, errno = call(unix.SYS_OPENAT, atCwd, addr(plan.outside), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600, 0)
	tried(spec.TryWriteRoot, errno)
	if plan.shared {
		return
	}
	_, errno = call(unix.SYS_NEWFSTATAT, atCwd, addr(pathSys), addr(&mem.stat), 0, 0)
	tried(spec.TryStatHost, errno)
}

//go:nosplit
//go:norace
func testSystem() {
	_, errno := call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0, 0, 0)
	tried(spec.TryUnshare, errno)
	_, errno = call(unix.SYS_MOUNT, addr(nameTmpfs), addr(pathProc), addr(nameTmpfs), 0, 0)
	tried(spec.TryMount, errno)
	_, errno = call(unix.SYS_IO_URING_SETUP, 1, addr(&mem.uring), 0, 0, 0)
	tried(spec.TryIOUring, errno)
	_, errno = call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0, 0, 0)
	tried(spec.TryKeyring, errno)
}

// testNetwork sends nothing: a UDP connect only looks for a route. 192.0.2.1 is reserved for documentation (RFC 5737).
//
//go:nosplit
//go:norace
func testNetwork() {
	_, errno := call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0, 0, 0)
	tried(spec.TryUnixSocket, errno)
	_, errno = call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 262, 0, 0)
	tried(spec.TryMultipathSocket, errno)
	kind := uintptr(unix.SOCK_DGRAM)
	if plan.shared { // the supervisor refuses before anything is sent
		kind = unix.SOCK_STREAM
	}
	s, errno := call(unix.SYS_SOCKET, unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0, 0, 0)
	if !plan.inet {
		tried(spec.TryInetSocket, errno)
		return
	}
	must(spec.StepSelfTest, -1, errno)
	if plan.loopback {
		mem.inet.Family, mem.inet.Port = unix.AF_INET, 0x0900
		mem.inet.Addr[0], mem.inet.Addr[2], mem.inet.Addr[3] = 192, 2, 1
		_, errno = call(unix.SYS_CONNECT, s, addr(&mem.inet), unsafe.Sizeof(mem.inet), 0, 0)
		tried(spec.TryConnectOutside, errno)
		_, errno = call(unix.SYS_BIND, s, addr(&mem.inet), unsafe.Sizeof(mem.inet), 0, 0)
		tried(spec.TryBindOutside, errno)
	}
	call(unix.SYS_CLOSE, s, 0, 0, 0, 0)
}
