//go:build !small

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cordon/sandbox/spec"
	"cordon/sandbox/supervise"

	"golang.org/x/sys/unix"
)

// The host's side of a program without namespaces.

// supervision is what runs beside such a program.
type supervision struct {
	scratch *scratch
	listens []net.Listener // by the order of listening(profile)
	rules   supervise.Rules
	serving
}

// serving is a supervisor at work.
type serving struct {
	by    atomic.Pointer[supervise.Supervisor] // nil until it serves
	ended chan error                           // how serving ended
}

// serve begins to answer what listener tells of. When that ends before the program, it must not go on without: init is told over
// ours that it is on its own, and ends it.
func (v *serving) serve(rules supervise.Rules, listener, ours *os.File) error {
	by, err := supervise.New(rules, listener)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	v.by.Store(by)
	go func() { // finish waits for it
		err := by.Serve()
		if err != nil || rules.Lets { // then init is among those that it ends with
			letGo(ours)
		}
		v.ended <- err
	}()
	return nil
}

// finish ends the serving, if it has begun, and waits for it. The program's processes have ended by then.
func (v *serving) finish() error {
	if v.by.Load() == nil {
		return nil
	}
	v.by.Load().Stop()
	return <-v.ended
}

// listeners are in the order of listening(profile). A nil supervision has none.
func (v *supervision) listeners() []net.Listener {
	if v == nil {
		return nil
	}
	return v.listens
}

// newSupervision makes what the program needs outside and puts it into sp. Close it.
func newSupervision(sp *spec.Spec, p Profile) (*supervision, error) {
	sc, err := newScratch(sp)
	if err != nil {
		return nil, err
	}
	v := &supervision{scratch: sc, serving: serving{ended: make(chan error, 1)}, rules: supervise.Rules{Write: append(sc.folders(), p.Write...), Watch: slices.Concat(p.Read, System),
		Bind: sp.Net != NetNone, Redirect: map[uint16]supervise.Redirect{}}}
	for _, port := range listening(p) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
		d := &dialedOnly{Listener: l, dialed: map[netip.AddrPort]time.Time{}}
		v.listens = append(v.listens, d)
		v.rules.Redirect[port] = supervise.Redirect{To: l.Addr().(*net.TCPAddr).AddrPort(), Expect: d.expect}
	}
	return v, nil
}

// close removes what newSupervision made. A nil supervision has nothing.
func (v *supervision) close() error {
	if v == nil {
		return nil
	}
	for _, l := range v.listens {
		_ = l.Close()
	}
	return v.scratch.remove()
}

// stop ends the serving. A nil supervision has none.
func (v *supervision) stop() error {
	if v == nil {
		return nil
	}
	return v.finish()
}

// attend waits for the listener that init sends over ours, begins to serve it and lets init go on. pids tells init's pid. When
// it fails it ends the start by closing ours.
func (v *supervision) attend(ours *os.File, pids <-chan int) error {
	_ = ours.SetReadDeadline(time.Now().Add(startTimeout))
	files, err := receiveFiles(ours, 1)
	_ = ours.SetReadDeadline(time.Time{})
	if err == nil {
		listener := files[0]
		var ok bool
		if v.rules.Init, ok = <-pids; ok {
			if err = v.serve(v.rules, listener, ours); err == nil {
				_, err = ours.Write([]byte{1})
			}
		} else {
			err = errors.Join(errors.New("the launcher has ended"), listener.Close())
		}
	}
	if err != nil {
		ours.Close()
		return fmt.Errorf("supervise: %w", err)
	}
	return nil
}

// dial calls what the program listens on, on the loopback that it shares with everybody.
func (v *supervision) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if by := v.by.Load(); by == nil || !by.Listens(to) {
		return nil, fmt.Errorf("port %d: %w", to.Port(), unix.ECONNREFUSED)
	}
	return (&net.Dialer{Timeout: lendTimeout}).DialContext(ctx, "tcp4", to.String())
}

// dialedOnly is a listener on the host's loopback that takes only the connections that were announced: any other program of
// this computer could call it.
type dialedOnly struct {
	net.Listener
	mu     sync.Mutex
	dialed map[netip.AddrPort]time.Time // guarded by mu
}

// announced bounds how long a call may take to come, and how many are remembered.
const (
	announcedFor = 10 * time.Second
	announcedMax = 4096
)

func (l *dialedOnly) expect(from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dialed) >= announcedMax {
		clear(l.dialed)
	}
	l.dialed[from] = time.Now()
}

// Accept implements net.Listener.
func (l *dialedOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		l.mu.Lock()
		at, ok := l.dialed[from]
		delete(l.dialed, from)
		l.mu.Unlock()
		if ok && time.Since(at) < announcedFor {
			return c, nil
		}
		c.Close()
	}
}
