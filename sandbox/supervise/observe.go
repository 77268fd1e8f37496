package supervise

import (
	"fmt"
	"os"
	"time"

	"cordon/sandbox/observe"
	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// Observation: what calls name is taken note of, and they go on.

// noting is what Serve's goroutine observes with.
type noting struct {
	named  map[int32][]spec.Named
	path   [unix.PathMax]byte
	last   time.Time
	budget time.Duration // work that may be done without a pause
}

// A start, or the search of a tree, is many calls at once and then none. A program that does nothing but ask keeps its host busy for a
// part of the time only.
const (
	burst = time.Second // of work; some 30,000 calls on a desktop
	share = 5           // and then a fifth of the time
	pause = 50 * time.Millisecond
)

// observed reports whether n is a call that is only observed, and then has dealt with it.
func (s *Supervisor) observed(n *notification) bool {
	o, began := &s.noting, time.Now()
	if s.rules.Record == nil {
		return false
	}
	if o.named == nil {
		o.named = map[int32][]spec.Named{}
		for _, named := range spec.AllNamed() {
			if named.Asks != spec.AsksConnect && named.Asks != spec.AsksBind || s.rules.Lets {
				o.named[int32(named.Nr)] = append(o.named[int32(named.Nr)], named)
			}
		}
	}
	calls := o.named[n.nr]
	if calls == nil && !s.rules.Lets {
		return false
	}
	asked := make([]func(), 0, 2)
	for _, named := range calls {
		if note := s.read(n, named); note != nil {
			asked = append(asked, note)
		}
	}
	s.reply(n, 0, errGoOn)
	for _, note := range asked {
		note()
	}
	now := time.Now()
	if o.last.IsZero() {
		o.budget, o.last = burst, now
	}
	// Receiving a call costs about as much as working on it.
	o.budget = min(burst, o.budget+now.Sub(o.last)/share) - 2*now.Sub(began)
	if o.last = now; o.budget < 0 {
		time.Sleep(pause)
	}
	return true
}

// read returns what takes note of what a call names, nil when that cannot be read or is nothing.
func (s *Supervisor) read(n *notification, named spec.Named) func() {
	record := s.rules.Record
	if named.Asks == spec.AsksConnect || named.Asks == spec.AsksBind {
		b := s.noting.path[:min(n.args[named.Path+1], unix.SizeofSockaddrInet6)]
		if len(b) < 2 || s.memory(n, n.args[named.Path], b) != nil {
			return nil
		}
		to, err := parseAddress(b)
		switch {
		case err != nil:
			return nil
		case named.Asks == spec.AsksBind:
			return func() { record.Own(to.Port()) }
		}
		return func() { record.Address(to) }
	}
	path, err := s.path(n, n.args[named.Path], &s.noting.path)
	if err == unix.EPERM && s.alive(n) {
		return record.Unread
	}
	if err != nil || path == "" {
		return nil
	}
	if path[0] != '/' {
		dir := fmt.Sprintf("/proc/%d/cwd", n.tid)
		if fd := unix.AT_FDCWD; named.Dir >= 0 {
			if fd = int(int32(n.args[named.Dir])); fd != unix.AT_FDCWD {
				dir = fmt.Sprintf("/proc/%d/fd/%d", n.tid, fd)
			}
		}
		if dir, err = os.Readlink(dir); err != nil || !s.alive(n) {
			return nil
		}
		path = dir + "/" + path // of a socket it is none that is absolute
	}
	kind, entry := kindOf(n, named)
	return func() { record.Path(kind, entry, path) }
}

// kindOf returns what a call wants with a path, and whether the folder that it lies in would change. O_CREAT alone does not say so:
// the file may be there.
func kindOf(n *notification, named spec.Named) (kind observe.Kind, entry bool) {
	switch named.Asks {
	case spec.AsksOpen:
		switch flags := n.args[named.Flags]; {
		case flags&unix.O_PATH != 0:
			return observe.Look, false
		case flags&unix.O_TMPFILE == unix.O_TMPFILE:
			return observe.Write, false
		case flags&(unix.O_ACCMODE|unix.O_CREAT|unix.O_TRUNC) != 0:
			return observe.Write, false
		case flags&unix.O_DIRECTORY != 0:
			return observe.List, false
		}
		return observe.Read, false
	case spec.AsksExecute:
		return observe.Execute, false
	case spec.AsksEntry:
		return observe.Write, true
	case spec.AsksChange:
		return observe.Write, false
	}
	return observe.Look, false
}
