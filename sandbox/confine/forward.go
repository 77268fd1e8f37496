package confine

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals that reach a process that spawned go on to its init, from a handler of our own. os/signal would hand each over
// between two threads more, and take 0.4 to 1 ms of a start that takes 4 to begin to listen.

// forward is where signals go, and which have come before it was known.
var forward struct {
	to      atomic.Int32 // a pidfd, below 0 while there is none
	waiting atomic.Uint64
}

// onSignal is the handler, and restore what it returns to; in assembly, because the kernel calls them. handlers returns
// their addresses, restore's being 0 where the kernel has its own.
func handlers() (onSignal, restore uintptr)

// relay runs in the handler, on its thread's signal stack, whatever that thread was doing: the rules of init.go hold here too.
//
//lint:ignore U1000 the handler calls it
//go:nosplit
//go:norace
func relay(sig uintptr) {
	bit := uint64(1) << (sig & 63)
	forward.waiting.Or(bit) // first, so that Spawn or this handler sees both
	if to := forward.to.Load(); to >= 0 && forward.waiting.And(^bit)&bit != 0 {
		syscall.RawSyscall6(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(to), sig, 0, 0, 0, 0)
	}
}

// listen installs the handler for sigs. What is ignored stays so, here and in the program.
func listen(sigs []syscall.Signal) {
	forward.to.Store(-1)
	handler, restore := handlers()
	for _, sig := range sigs {
		var old [4]uint64
		sigaction(sig, nil, &old)
		if old[0] == sigIgnore {
			continue
		}
		action := [4]uint64{uint64(handler), saOnStack | saRestart, uint64(restore), ^uint64(0)}
		if restore != 0 {
			action[1] |= saRestorer
		}
		sigaction(sig, &action, nil)
	}
}

// leadTo sends signals on to pid, those that have come already too.
func leadTo(pid int, sigs []syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	forward.to.Store(int32(fd))
	for _, sig := range sigs {
		if bit := uint64(1) << sig; forward.waiting.And(^bit)&bit != 0 {
			_ = unix.PidfdSendSignal(fd, sig, nil, 0)
		}
	}
	return nil
}

// letGo undoes listen: signals have their default effect, those that have come too.
func letGo(sigs []syscall.Signal) {
	for _, sig := range sigs {
		var action [4]uint64
		sigaction(sig, nil, &action)
		if action[0] == sigIgnore {
			continue
		}
		action = [4]uint64{}
		sigaction(sig, &action, nil)
		if forward.waiting.Load()&(1<<sig) != 0 {
			_ = unix.Kill(unix.Getpid(), sig)
		}
	}
}

// SIG_IGN, and flags of rt_sigaction(2).
const (
	sigIgnore  = 1
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
)

// sigaction is rt_sigaction(2) on the kernel's struct: handler, flags, restorer, mask.
func sigaction(sig syscall.Signal, action, old *[4]uint64) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}
