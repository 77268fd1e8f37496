package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"cordon/sandbox/spec"
	"cordon/sandbox/supervise"

	"golang.org/x/sys/unix"
)

// The host's side of a program without namespaces.

// supervision is what runs beside such a program.
type supervision struct {
	scratch scratch
	egress  *dialedOnly // with NetHosts
	rules   supervise.Rules
}

// newSupervision makes what the program needs outside and puts it into sp. Close it.
func newSupervision(sp *spec.Spec, p Profile) (*supervision, error) {
	sc, err := newScratch(sp)
	if err != nil {
		return nil, err
	}
	v := &supervision{scratch: sc, rules: supervise.Rules{Write: append(sc.folders(), p.Write...), Watch: slices.Concat(p.Read, System), Bind: sp.Net != NetNone}}
	if sp.Net != NetHosts {
		return v, nil
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, v.close())
	}
	v.egress = &dialedOnly{Listener: l, dialed: map[netip.AddrPort]time.Time{}}
	v.rules.Front, v.rules.Via, v.rules.Dialed = netip.MustParseAddrPort(EgressAddr), l.Addr().(*net.TCPAddr).AddrPort(), v.egress.expect
	return v, nil
}

// close removes what newSupervision made. A nil supervision has nothing.
func (v *supervision) close() error {
	if v == nil {
		return nil
	}
	if v.egress != nil {
		_ = v.egress.Close()
	}
	return v.scratch.remove()
}

// attend waits for the listener that init sends over ours, begins to serve it and lets init go on. pids tells init's pid. When
// it fails it ends the start by closing ours.
func (v *supervision) attend(ours *os.File, pids <-chan int) error {
	_ = ours.SetReadDeadline(time.Now().Add(startTimeout))
	listener, err := receiveFile(ours, "seccomp notifications")
	_ = ours.SetReadDeadline(time.Time{})
	if err == nil {
		var ok bool
		if v.rules.Init, ok = <-pids; ok {
			go func() { _ = supervise.Serve(listener, v.rules) }() // ends with the last of the program's processes
			_, err = ours.Write([]byte{1})
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

// receiveFile takes a descriptor that init sent with one byte.
func receiveFile(from *os.File, what string) (*os.File, error) {
	raw, err := from.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n, oobn int
	data, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	var failed error
	if err := raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, failed = unix.Recvmsg(int(fd), data, oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN && failed != unix.EINTR
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, fmt.Errorf("receive %s: %w", what, failed)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil && n == 1 && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			_ = unix.SetNonblock(fds[0], true) // so that waiting for it can be interrupted by Close
			return os.NewFile(uintptr(fds[0]), what), nil
		}
	}
	return nil, errors.New("receive " + what + ": the message is not one descriptor")
}
