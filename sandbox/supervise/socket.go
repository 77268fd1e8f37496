package supervise

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket carries out bind, connect and listen. Only TCP sockets exist in the program.
func (s *Supervisor) socket(c *caller) error {
	fd, err := c.descriptor(c.args[0])
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return err
	}
	if domain != unix.AF_INET && domain != unix.AF_INET6 || protocol != unix.IPPROTO_TCP || !s.rules.Bind {
		return unix.EACCES // the ends of a socketpair have no business with names
	}
	if uintptr(c.nr) == unix.SYS_LISTEN {
		return s.listen(fd, int(int32(c.args[1])))
	}
	length := int(int32(c.args[2]))
	if length < 2 || length > unix.SizeofSockaddrAny {
		return unix.EINVAL
	}
	b, err := c.memory(c.args[1], length)
	if err != nil {
		return err
	}
	to, err := parseAddress(b)
	if err != nil {
		return err
	}
	if uintptr(c.nr) == unix.SYS_BIND {
		if _, taken := s.rules.Redirect[to.Port()]; taken {
			return unix.EADDRINUSE // somebody listens there, for all that the program knows
		}
		return bind(fd, b, to)
	}
	err = s.connect(fd, b, to)
	if err == unix.EACCES && s.rules.Record != nil {
		s.rules.Record.Address(to)
	}
	return err
}

// parseAddress reads a struct sockaddr. An IPv4 address in IPv6 form is the IPv4 address.
func parseAddress(b []byte) (netip.AddrPort, error) {
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), nil
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), binary.BigEndian.Uint16(b[2:])), nil
	case family == unix.AF_INET || family == unix.AF_INET6:
		return netip.AddrPort{}, unix.EINVAL
	case family == unix.AF_UNSPEC:
		return netip.AddrPort{}, unix.EACCES
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// putAddress replaces the address of a struct sockaddr, whose family stays, by a loopback one.
func putAddress(b []byte, to netip.AddrPort) {
	binary.BigEndian.PutUint16(b[2:], to.Port())
	if binary.NativeEndian.Uint16(b) == unix.AF_INET {
		a := to.Addr().As4()
		copy(b[4:8], a[:])
		return
	}
	a := to.Addr().As16() // an IPv4 address in IPv6 form
	copy(b[8:24], a[:])
}

// firstPort is the lowest that an ordinary user can bind by default. Root's programs get no lower one either.
const firstPort = 1024

// bind binds to loopback; "all addresses" becomes loopback. Sharing a port, with which one could take another program's
// connections, the filter has not let the program ask for.
func bind(fd int, b []byte, to netip.AddrPort) error {
	switch {
	case to.Port() != 0 && to.Port() < firstPort:
		return unix.EACCES
	case to.Addr().IsUnspecified() && binary.NativeEndian.Uint16(b) == unix.AF_INET:
		putAddress(b, netip.AddrPortFrom(loopback4, to.Port()))
	case to.Addr().IsUnspecified():
		putAddress(b, netip.AddrPortFrom(netip.IPv6Loopback(), to.Port()))
	case !to.Addr().IsLoopback():
		return unix.EACCES
	}
	return raw(unix.SYS_BIND, uintptr(fd), unsafe.Pointer(&b[0]), uintptr(len(b)))
}

// listen remembers the socket as the program's own. One that is not bound would listen on all addresses.
func (s *Supervisor) listen(fd, backlog int) error {
	local, err := localOf(fd)
	if err != nil {
		return err
	}
	if local.Addr().IsUnspecified() && local.Port() == 0 {
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			return err
		}
		b := make([]byte, unix.SizeofSockaddrInet6)
		binary.NativeEndian.PutUint16(b, uint16(domain))
		to, err := parseAddress(b)
		if err != nil {
			return err
		}
		if domain == unix.AF_INET {
			b = b[:unix.SizeofSockaddrInet4]
		}
		if err := bind(fd, b, to); err != nil {
			return err
		}
	} else if !local.Addr().IsLoopback() {
		return unix.EACCES
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.own) > maxOwn { // forgotten ones cannot be connected to, nothing worse
		clear(s.own)
	}
	s.own[cookie] = true
	s.mu.Unlock()
	return unix.Listen(fd, backlog)
}

const maxOwn = 10_000

// localOf returns what a socket is bound to.
func localOf(fd int) (netip.AddrPort, error) {
	at, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch a := at.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)), nil
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// connect goes to what the program listens on itself, or to a listener of the host's. From where the latter is called is
// told before, so that it can tell the program's connections from others'.
func (s *Supervisor) connect(fd int, b []byte, to netip.AddrPort) error {
	if r, ok := s.rules.Redirect[to.Port()]; ok && to.Addr() == loopback4 {
		local, err := localOf(fd)
		if err != nil || local.Port() != 0 { // bound by the program: it could be bound again by others
			return unix.EACCES
		}
		from := make([]byte, len(b))
		copy(from, b)
		putAddress(from, netip.AddrPortFrom(loopback4, 0))
		if err := raw(unix.SYS_BIND, uintptr(fd), unsafe.Pointer(&from[0]), uintptr(len(from))); err != nil {
			return err
		}
		if local, err = localOf(fd); err != nil {
			return err
		}
		r.Expect(local)
		putAddress(b, r.To)
	} else if !to.Addr().IsLoopback() || !s.Listens(to) {
		return unix.EACCES
	}
	return raw(unix.SYS_CONNECT, uintptr(fd), unsafe.Pointer(&b[0]), uintptr(len(b)))
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Taken reports whether something on this machine listens for connections to an address.
func Taken(at netip.AddrPort) bool {
	_, err := listener(at)
	return err == nil
}

// Listens reports whether the socket that would take a connection to an address is the program's own: one closed by it may
// have made room for another program's.
func (s *Supervisor) Listens(at netip.AddrPort) bool {
	cookie, err := listener(at)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own[cookie]
}

// The messages of sock_diag(7): linux/inet_diag.h.
const (
	diagByFamily = 20
	diagRequest  = 56 // bytes of struct inet_diag_req_v2
	diagMessage  = 72 // bytes of struct inet_diag_msg
	stateListen  = 10
)

// listener returns the cookie of the TCP socket that listens for connections to an address: a number that, unlike that of an
// inode, no other socket ever gets (SO_COOKIE). It asks for that one socket (inet_diag_find_one_icsk), not for a list.
func listener(at netip.AddrPort) (cookie uint64, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	ask := make([]byte, unix.SizeofNlMsghdr+diagRequest)
	ne := binary.NativeEndian
	ne.PutUint32(ask, uint32(len(ask)))
	ne.PutUint16(ask[4:], diagByFamily)
	ne.PutUint16(ask[6:], unix.NLM_F_REQUEST)
	body := ask[unix.SizeofNlMsghdr:]
	body[0], body[1] = unix.AF_INET, unix.IPPROTO_TCP
	if at.Addr().Is6() {
		body[0] = unix.AF_INET6
	}
	ne.PutUint32(body[4:], 1<<stateListen)
	binary.BigEndian.PutUint16(body[8:], at.Port())
	copy(body[12:], at.Addr().AsSlice())
	copy(body[48:], []byte{255, 255, 255, 255, 255, 255, 255, 255}) // no cookie
	if err := unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, err
	}
	messages, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil || len(messages) != 1 {
		return 0, unix.EPROTO
	}
	m := messages[0]
	if m.Header.Type != diagByFamily || len(m.Data) < diagMessage || m.Data[1] != stateListen {
		return 0, unix.ENOENT
	}
	return uint64(ne.Uint32(m.Data[44:])) | uint64(ne.Uint32(m.Data[48:]))<<32, nil
}
