// Package confine confines a process of its own and starts a program in it. Two programs use it: cordon-launch, which
// package sandbox starts and tells on fd 3 what to do (Main), and cordon itself for one short-lived command, which
// needs no second program (Spawn).
//
// A start has two lives. confine.go and prepare.go are ordinary Go: read the Spec, look at the file system, lay out
// every string and structure that will be needed. Then one raw clone(2) makes PID 1 of new namespaces, and
// init.go goes on there without the Go runtime: only system calls on memory that is already laid out. That
// saves a second process start, and it means that the process which confines itself has a single thread, so
// no thread can be forgotten.
package confine

import (
	"encoding/binary"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"unsafe"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

const (
	hostFD   = 3 // Spec in; stays open as the host's sign of life; wait status out
	reportFD = 4
	joinFD   = 5 // the first of Spec.Join
)

// Main is the whole of cordon-launch: the Spec comes on fd 3, reports go out on fd 4 (see package spec for the wire).
// It does not return.
func Main() {
	debug.SetGCPercent(-1) // nothing that is made here is ever garbage
	s, err := receive()
	if err != nil {
		fail(err)
	}
	if err := prepare(s); err != nil {
		fail(err)
	}
	// CLONE_PARENT makes the host the parent of init, so this process can end now.
	pid, errno := begin(unix.CLONE_PARENT)
	if errno != 0 {
		refuse(spec.StepClone, 0, errno)
		unix.Exit(1)
	}
	var rec [5]byte
	rec[0] = spec.KindPid
	binary.LittleEndian.PutUint32(rec[1:], uint32(pid))
	if _, err := unix.Write(reportFD, rec[:]); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		unix.Exit(1)
	}
	unix.Exit(0)
}

var spawned atomic.Bool

// Spawn does what cordon-launch does, but as a child of the calling process, and returns the pid of its init, which the
// caller waits for. files, all open, become its descriptors 0 to 2, the host's and the report's, and those of Spec.Join; the caller
// closes its own copies. The child is a copy of the caller's memory: call it from a small program that holds no secret,
// once. signals that reach the caller from now on go on to init, also before it is there; if Spawn fails they have their default effect
// again. args are the caller's own os.Args: they and its environment are wiped from the copy, where the program could
// read the first (/proc/1/cmdline). Errors: syscall.Errno when the kernel
// refuses the namespaces, or what is wrong with the Spec; then nothing runs.
func Spawn(s *spec.Spec, files []uintptr, args []string, signals ...syscall.Signal) (pid int, err error) {
	if spawned.Swap(true) {
		return 0, errors.New("confine: a process can spawn once")
	}
	if err := prepare(s); err != nil {
		return 0, err
	}
	// Copies far above the targets, so that no target overwrites a source. They close themselves in what else we start.
	plan.files = make([]uintptr, len(files))
	defer func() {
		for _, fd := range plan.files {
			if fd >= fileBase {
				_ = unix.Close(int(fd))
			}
		}
	}()
	for i, f := range files {
		fd, err := unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, fileBase)
		if err != nil {
			return 0, errors.New("copy a descriptor: " + err.Error())
		}
		plan.files[i] = uintptr(fd)
	}
	plan.wipe = inherited(args)
	listen(signals)
	defer func() {
		if err != nil {
			letGo(signals)
		}
	}()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	pid, errno := begin(0)
	if errno != 0 {
		return 0, errno
	}
	if err := leadTo(pid, signals); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return 0, err
	}
	return pid, nil
}

// inherited returns the memory that holds this process's arguments and environment: where the kernel left them on the
// first stack, strings one after the other and two NULs at the end (fs/binfmt_elf.c, create_elf_tables), to which os.Args
// points, and the runtime's copies of the environment.
func inherited(args []string) [][]byte {
	var areas [][]byte
	for _, s := range syscall.Environ() {
		if s != "" {
			areas = append(areas, unsafe.Slice(unsafe.StringData(s), len(s)))
		}
	}
	if len(args) == 0 || len(args[0]) == 0 {
		return areas
	}
	from := unsafe.StringData(args[0])
	last := args[len(args)-1]
	n := int(uintptr(unsafe.Pointer(unsafe.StringData(last)))-uintptr(unsafe.Pointer(from))) + len(last)
	if n < len(args[0]) || n > maxArea {
		return areas
	}
	at := func(i int) byte { return *(*byte)(unsafe.Add(unsafe.Pointer(from), i)) }
	for n < maxArea && (at(n) != 0 || at(n+1) != 0) {
		n++
	}
	return append(areas, unsafe.Slice(from, n))
}

// maxArea is more than the kernel accepts as arguments and environment together under the usual stack limit.
const maxArea = 8 << 20

// fileBase is above every descriptor that init uses.
const fileBase = 64

// begin clones, into a cgroup v2 where the Spec says so: a process that is moved there later has to wait for every
// processor to pass a grace period. In the child it does not return. Signals are blocked around it: init takes them from a
// signalfd, and the program starts with none blocked. Nothing between can grow the stack, so the goroutine stays on its thread;
// to lock it there would start another thread, which takes 0.1 ms.
//
//go:nosplit
//go:norace
func begin(flags uintptr) (pid int, errno syscall.Errno) {
	mem.mask = ^uint64(0)
	call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, addr(&mem.mask), addr(&mem.before), 8, 0)
	stamp(0)
	flags |= plan.clone
	nr, a, b := uintptr(unix.SYS_CLONE), flags|uintptr(unix.SIGCHLD), uintptr(0)
	if plan.into {
		mem.clone[cloneFlags], mem.clone[cloneCgroup] = uint64(flags)|unix.CLONE_INTO_CGROUP, joinFD
		if flags&unix.CLONE_PARENT == 0 { // else it is that of this process, SIGCHLD too
			mem.clone[cloneExitSignal] = uint64(unix.SIGCHLD)
		}
		if plan.files != nil {
			mem.clone[cloneCgroup] = uint64(plan.files[joinFD])
		}
		nr, a, b = unix.SYS_CLONE3, addr(&mem.clone), unsafe.Sizeof(mem.clone)
	}
	r, errno := call(nr, a, b, 0, 0, 0)
	if errno == 0 && r == 0 {
		settle()
		if plan.shared {
			sharedMain()
		}
		initMain()
	}
	call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, addr(&mem.before), 0, 8, 0)
	return int(r), errno
}

// receive reads the Spec, preceded by its length as four little-endian bytes.
func receive() (*spec.Spec, error) {
	var head [4]byte
	if err := readFull(head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > spec.MaxSpecBytes {
		return nil, spec.ErrLong
	}
	body := make([]byte, n)
	if err := readFull(body); err != nil {
		return nil, err
	}
	return spec.Decode(body)
}

func readFull(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(hostFD, b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return spec.ErrShort
		}
		b = b[n:]
	}
	return nil
}

// fail reports in words what went wrong before the clone.
func fail(err error) {
	text := err.Error()
	if len(text) > 4000 {
		text = text[:4000]
	}
	rec := binary.LittleEndian.AppendUint16([]byte{spec.KindText}, uint16(len(text)))
	_, _ = unix.Write(reportFD, append(rec, text...))
	unix.Exit(1)
}
