package sandbox

import (
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
	scratch   *scratch
	listeners []net.Listener // by the order of listening(profile)
	rules     supervise.Rules
	by        atomic.Pointer[supervise.Supervisor] // nil until it serves
}

// newSupervision makes what the program needs outside and puts it into sp. Close it.
func newSupervision(sp *spec.Spec, p Profile) (*supervision, error) {
	sc, err := newScratch(sp)
	if err != nil {
		return nil, err
	}
	v := &supervision{scratch: sc, rules: supervise.Rules{Write: append(sc.folders(), p.Write...), Watch: slices.Concat(p.Read, System),
		Bind: sp.Net != NetNone, Redirect: map[uint16]supervise.Redirect{}}}
	for _, port := range listening(p) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
		d := &dialedOnly{Listener: l, dialed: map[netip.AddrPort]time.Time{}}
		v.listeners = append(v.listeners, d)
		v.rules.Redirect[port] = supervise.Redirect{To: l.Addr().(*net.TCPAddr).AddrPort(), Expect: d.expect}
	}
	return v, nil
}

// close removes what newSupervision made. A nil supervision has nothing.
func (v *supervision) close() error {
	if v == nil {
		return nil
	}
	for _, l := range v.listeners {
		_ = l.Close()
	}
	return v.scratch.remove()
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
			by := supervise.New(v.rules)
			v.by.Store(by)
			go func() { _ = by.Serve(listener) }() // ends with the last of the program's processes
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

// receiveFiles takes n descriptors that init sent with one byte. They are set to non-blocking, so that waiting for them can be
// interrupted by Close.
func receiveFiles(from *os.File, n int) ([]*os.File, error) {
	var body [4]byte
	k, fds, err := receive(from, body[:])
	if err == nil && (k != 1 || len(fds) != n) {
		err = errors.New("the message is not one of descriptors")
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "from the sandbox")
	}
	if err != nil {
		closeAll(files)
		return nil, fmt.Errorf("receive from the sandbox: %w", err)
	}
	return files, nil
}

// receive reads one message: its bytes, and descriptors, which the caller closes.
func receive(from *os.File, body []byte) (n int, fds []int, err error) {
	conn, err := from.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var oobn int
	oob := make([]byte, unix.CmsgSpace(4*spec.MaxListen))
	var failed error
	if err := conn.Read(func(fd uintptr) bool {
		n, oobn, _, _, failed = unix.Recvmsg(int(fd), body, oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN && failed != unix.EINTR
	}); err != nil {
		return 0, nil, err
	}
	if failed != nil {
		return 0, nil, failed
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, err
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return n, fds, err
		}
		for _, fd := range got {
			_ = unix.SetNonblock(fd, true)
		}
		fds = append(fds, got...)
	}
	return n, fds, nil
}
