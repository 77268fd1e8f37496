//go:build !small

package confine

import (
	"slices"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// Observation: the host is told of each call that names a path or an address, before it goes on. It is a filter of its own,
// below the one that confines, which refuses what it refuses all the same: of two answers the kernel takes the stricter one
// (seccomp(2)). A program without namespaces has a supervisor already, and a process can have one only; there it is
// the supervisor that is told, by the one filter.

// observing returns the filter that tells, nil where there is none. Addresses are told of where sockets exist.
func observing(s *spec.Spec) ([]unix.SockFilter, error) {
	if !s.Observe || s.Shared {
		return nil, nil
	}
	const endTell = endArgs
	ends := [][]unix.SockFilter{endAllow: {done(actAllow)}, endPerm: {fails(unix.EPERM)}, endNosys: {fails(unix.ENOSYS)}, endTell: {done(actNotify)}}
	var points []span
	each(func(n spec.Named) {
		end := endTell
		switch {
		case n.Asks == spec.AsksConnect || n.Asks == spec.AsksBind:
			if s.Net == spec.NetNone {
				return
			}
		case n.Flags >= 0 && n.Asks != spec.AsksOpen:
			end, ends = len(ends), append(ends, telling(n))
		}
		points = append(points, span{n.Nr, end})
	})
	return assemble(spans(points), ends)
}

// telling tells of a call unless its flags say that it names nothing, as fstat(2) of every libc does.
func telling(n spec.Named) []unix.SockFilter {
	if n.Flags < 0 || n.Asks == spec.AsksOpen {
		return []unix.SockFilter{done(actNotify)}
	}
	return []unix.SockFilter{arg(uint32(n.Flags)), has(unix.AT_EMPTY_PATH, 0, 1), done(actAllow), done(actNotify)}
}

// each calls f for every observed call once.
func each(f func(n spec.Named)) {
	var seen []uint32
	for _, n := range spec.AllNamed() {
		if !slices.Contains(seen, n.Nr) {
			seen = append(seen, n.Nr)
			f(n)
		}
	}
}

// tell adds what the supervisor is told of. Left out is what is decided there anyway, what gives a file its mode, which the
// caller has added, and looking, which nothing forbids there.
func (r rules) tell(look func(nr uint32, block ...unix.SockFilter)) {
	var has []uint32
	for _, m := range archModes {
		has = append(has, m.nrs...)
	}
	has = append(has, unix.SYS_OPENAT, unix.SYS_MKNODAT)
	each(func(n spec.Named) {
		if n.Asks != spec.AsksConnect && n.Asks != spec.AsksBind && n.Asks != spec.AsksLook && !slices.Contains(has, n.Nr) {
			look(n.Nr, telling(n)...)
		}
	})
}

// watched installs the filter that tells, and hands its listener to the host.
//
//go:nosplit
//go:norace
func watched() {
	if plan.telling.Len == 0 {
		return
	}
	listener, errno := call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|waitKillable, addr(&plan.telling), 0, 0)
	if errno == unix.EINVAL { // before Linux 5.19; then a signal makes a call ask again
		listener, errno = call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, addr(&plan.telling), 0, 0)
	}
	must(spec.StepSupervise, 20, errno)
	mem.rights.fds[0] = int32(listener)
	must(spec.StepSupervise, 21, send(1))
	call(unix.SYS_CLOSE, listener, 0, 0, 0, 0)
	stamp(spec.StepSupervise)
}
