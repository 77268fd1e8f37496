package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What /proc says of processes.

// status is the part of /proc/PID/stat that matters here.
type status struct{ parent, group, session int }

// statOf reads /proc/PID/stat. The name in it is the program's own choice, so everything is counted from its last bracket.
func statOf(pid int) (status, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 4 {
		return status{}, errors.New("/proc has another form")
	}
	var s status
	for i, to := range []*int{&s.parent, &s.group, &s.session} {
		if *to, err = strconv.Atoi(string(fields[1+i])); err != nil {
			return status{}, err
		}
	}
	return s, nil
}

// threadGroup returns the process that a thread belongs to.
func threadGroup(tid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(b, []byte("\nTgid:\t"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return 0, errors.New("/proc has another form")
	}
	return strconv.Atoi(string(line))
}

// maxDepth bounds a line of ancestors.
const maxDepth = 10_000

// ours reports whether a process descends from the program's init. Init adopts what its own have left behind, so every
// process of the program's does.
func (s *Supervisor) ours(pid int) bool {
	for range maxDepth {
		st, err := statOf(pid)
		if err != nil || st.parent <= 1 {
			return false
		}
		if st.parent == s.rules.Init {
			return true
		}
		pid = st.parent
	}
	return false
}

// signal sends a signal within the program.
func (s *Supervisor) signal(n *notification) error {
	leader, err := threadGroup(int(n.tid))
	if err != nil || !s.alive(n) {
		return unix.EPERM
	}
	target, tid, sig := int(int32(n.args[0])), 0, syscall.Signal(n.args[1])
	switch uintptr(n.nr) {
	case unix.SYS_TGKILL, unix.SYS_RT_TGSIGQUEUEINFO:
		tid, sig = int(int32(n.args[1])), syscall.Signal(n.args[2])
	case unix.SYS_TKILL:
		tid = target
		if target, err = threadGroup(tid); err != nil {
			return unix.ESRCH
		}
	}
	if target == leader && (tid == 0 || uintptr(n.nr) != unix.SYS_TKILL) {
		return errGoOn // it lives, as it waits for this, so the number means itself
	}
	switch {
	case uintptr(n.nr) == unix.SYS_RT_SIGQUEUEINFO || uintptr(n.nr) == unix.SYS_RT_TGSIGQUEUEINFO:
		return unix.EPERM // what is sent along lies in memory
	case target == -1:
		return unix.EPERM // everything the user has
	case target <= 0:
		return s.signalGroup(-target, leader, sig)
	}
	pidfd, err := unix.PidfdOpen(target, 0)
	if err != nil {
		return unix.ESRCH
	}
	defer unix.Close(pidfd)
	if !s.ours(target) || unix.PidfdSendSignal(pidfd, 0, nil, 0) != nil { // dead by now: the number may have been another's
		return unix.EPERM
	}
	if tid != 0 {
		return unix.Tgkill(target, tid, sig)
	}
	return unix.PidfdSendSignal(pidfd, sig, nil, 0)
}

// signalGroup sends a signal to a process group of the program's; 0 is the caller's own. A group lies in one session, and
// the program's sessions hold nobody else: its first process begins one.
func (s *Supervisor) signalGroup(group, leader int, sig syscall.Signal) error {
	if group == 0 {
		st, err := statOf(leader)
		if err != nil {
			return unix.EPERM
		}
		group = st.group
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return unix.EPERM
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if st, err := statOf(pid); err == nil && st.group == group {
			if !s.ours(pid) {
				return unix.EPERM
			}
			return unix.Kill(-group, sig)
		}
	}
	return unix.ESRCH
}

// raw makes a system call that package unix has no function for.
func raw(nr uintptr, a uintptr, b unsafe.Pointer, c uintptr) error {
	if _, _, errno := unix.Syscall(nr, a, uintptr(b), c); errno != 0 {
		return errno
	}
	return nil
}
