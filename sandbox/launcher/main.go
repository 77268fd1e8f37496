// Command cordon-launch confines itself and then becomes a program it was told to start. It is run by package
// sandbox only: the Spec comes on fd 3, reports go out on fd 4 (see package spec for the wire).
//
// It has two lives. This file and prepare.go are ordinary Go: read the Spec, look at the file system, lay out
// every string and structure that will be needed. Then one raw clone(2) makes PID 1 of new namespaces, and
// init.go goes on there without the Go runtime: only system calls on memory that is already laid out. That
// saves a second process start, and it means that the process which confines itself has a single thread, so
// no thread can be forgotten.
package main

import (
	"encoding/binary"
	"runtime"
	"runtime/debug"
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

func main() {
	debug.SetGCPercent(-1) // no collector may run while the clone shares nothing but memory with us
	runtime.LockOSThread()
	s, err := receive()
	if err != nil {
		fail(err)
	}
	if err := prepare(s); err != nil {
		fail(err)
	}
	// Every signal stays blocked from here on; init takes them from a signalfd, the program starts with none blocked.
	all := ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), 0, 8, 0, 0)
	stamp(0)
	// CLONE_PARENT makes the host the parent of init, so this process can end now.
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, plan.clone|unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		refuse(spec.StepClone, 0, errno)
		unix.Exit(1)
	}
	if pid == 0 {
		initMain()
	}
	var rec [5]byte
	rec[0] = spec.KindPid
	binary.LittleEndian.PutUint32(rec[1:], uint32(pid))
	if _, err := unix.Write(reportFD, rec[:]); err != nil {
		unix.Kill(int(pid), unix.SIGKILL)
		unix.Exit(1)
	}
	unix.Exit(0)
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
