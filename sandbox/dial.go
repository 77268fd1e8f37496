package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotServed means that the profile does not name the port in Serve.
var ErrNotServed = errors.New("the program's profile does not let the host call this port")

// lendTimeout bounds how long init takes to lend a socket.
const lendTimeout = 5 * time.Second

// Dial calls what the program listens on, at a port of Profile.Serve on its loopback. Errors: ErrNotServed, os.ErrProcessDone,
// ctx's, or what the kernel says, such as ECONNREFUSED while nothing listens there.
func (p *Process) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	if !slices.Contains(p.serves, port) {
		return nil, fmt.Errorf("port %d: %w", port, ErrNotServed)
	}
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	if p.beside != nil { // the loopback is the host's, where somebody else may have taken the port
		return p.beside.dial(ctx, to)
	}
	socket, err := p.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	if err := connect(ctx, socket, to); err != nil {
		return nil, fmt.Errorf("port %d: %w", port, err)
	}
	return net.FileConn(socket)
}

// borrow asks init for a socket of the sandbox's network.
func (p *Process) borrow(ctx context.Context) (*os.File, error) {
	p.dialing.Lock()
	defer p.dialing.Unlock()
	select {
	case old := <-p.lent: // of a call that gave up: as good as a new one
		return old, nil
	default:
	}
	if _, err := p.host.Write([]byte{1}); err != nil {
		return nil, os.ErrProcessDone
	}
	ctx, cancel := context.WithTimeout(ctx, lendTimeout)
	defer cancel()
	select {
	case f := <-p.lent:
		return f, nil
	case <-p.done:
		return nil, os.ErrProcessDone
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connect connects a non-blocking socket.
func connect(ctx context.Context, socket *os.File, to netip.AddrPort) error {
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })()
	var failed error
	begun := false
	if err := conn.Write(func(fd uintptr) bool {
		if !begun {
			begun = true
			failed = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
			return failed != unix.EINPROGRESS
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			failed = err
		case code != 0:
			failed = unix.Errno(code)
		default:
			failed = nil
		}
		return true
	}); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return failed
}
