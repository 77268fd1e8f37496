//go:build !small

package sandbox

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"cordon/sandbox/observe"
	"cordon/sandbox/spec"
	"cordon/sandbox/supervise"
)

// Want is one thing that a program asked for and was not granted. See package observe for what that proves: nothing.
type Want = observe.Want

// WantKind is what it wanted to do.
type WantKind = observe.Kind

// The kinds of wants.
const (
	WantLook    = observe.Look
	WantRead    = observe.Read
	WantList    = observe.List
	WantExecute = observe.Execute
	WantWrite   = observe.Write
	WantConnect = observe.Connect
)

// Unwanted is what Wanted leaves out.
type Unwanted = observe.Rest

// ownCalls is more than init makes itself after it is observed. An ordinary user cannot read its memory.
const ownCalls = 16

// Wanted returns what the program has asked for so far and was not granted, at most 1,000 different things, and what is not among
// them: a program may keep its memory from being read, for one. After Wait it is complete. Without Profile.Observe there is nothing.
func (p *Process) Wanted() (all []Want, rest Unwanted) {
	if p.observed == nil {
		return nil, rest
	}
	all, rest = p.observed.record.Wants()
	rest.Unread = max(0, rest.Unread-ownCalls)
	return all, rest
}

// EachWant calls f with each of Wanted, those there are and those to come, one after the other, until Done. f must not wait for Done.
func (p *Process) EachWant(f func(Want)) {
	if p.observed != nil {
		p.observed.record.Tell(f)
	}
}

// observation takes note of what one program asks for.
type observation struct {
	record  *observe.Record
	listens []net.Listener
	serving // with namespaces; without, it is the supervisor that is told
}

// tested is the address that init tries itself.
var tested = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9)

// newObservation returns what p wants observed, or nil. Stop it.
func newObservation(sp *spec.Spec, p Profile, v *supervision) (*observation, error) {
	if !p.Observe {
		return nil, nil
	}
	g := observe.Granted{Read: slices.Concat(System, p.Read), Write: p.Write, Ports: append(listening(p), p.Serve...),
		Inside: []string{"/proc", "/sys", "/dev", "/tmp", Home, "/.ungranted", "/.new"}, Addresses: []netip.AddrPort{tested}}
	if sp.Dir != "" && sp.Dir != Home && (v == nil || !Below(sp.Dir, v.scratch.dir)) {
		g.Shown, g.Here = []string{sp.Dir}, sp.Dir
	}
	for _, f := range sp.Files {
		g.Inside = append(g.Inside, f.Path)
	}
	if v != nil {
		g.Looks, g.Read, g.Inside = true, append(g.Read, identity...), append(g.Inside, v.scratch.dir)
	}
	o := &observation{record: observe.New(g, supervise.Taken), serving: serving{ended: make(chan error, 1)}}
	if v != nil {
		v.rules.Record = o.record
	}
	return o, nil
}

// attend receives what init sends over ours before it confines itself: n listeners, and the one that tells of calls, which is
// answered from then on. When it fails it ends the start by closing ours.
func (o *observation) attend(ours *os.File, n int) error {
	_ = ours.SetReadDeadline(time.Now().Add(startTimeout))
	listeners, err := receiveListeners(ours, n)
	var files []*os.File
	if err == nil {
		o.listens = listeners
		files, err = receiveFiles(ours, 1)
	}
	_ = ours.SetReadDeadline(time.Time{})
	if err == nil {
		err = o.serve(supervise.Rules{Record: o.record, Lets: true}, files[0], ours)
	}
	if err != nil {
		ours.Close()
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}

// stop ends the observation and completes the record. A nil one has nothing. The program has ended by then, or its start.
func (o *observation) stop() error {
	if o == nil {
		return nil
	}
	err := o.finish()
	o.record.Close()
	return err
}
