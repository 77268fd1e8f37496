package supervise

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket carries out bind, connect and listen. Only TCP sockets exist in the program.
func (s *supervisor) socket(c *caller) error {
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
	if domain != unix.AF_INET && domain != unix.AF_INET6 || protocol != unix.IPPROTO_TCP || !s.Bind {
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
		return bind(fd, b, to)
	}
	return s.connect(fd, b, to)
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
	a := to.Addr().As16()
	copy(b[8:24], a[:])
}

// firstPort is the lowest that an ordinary user can bind by default. Root's programs get no lower one either.
const firstPort = 1024

// bind binds to loopback; "all addresses" becomes loopback. Sharing a port, with which one could take another program's
// connections, is switched off.
func bind(fd int, b []byte, to netip.AddrPort) error {
	switch {
	case to.Port() != 0 && to.Port() < firstPort:
		return unix.EACCES
	case to.Addr().IsUnspecified() && binary.NativeEndian.Uint16(b) == unix.AF_INET:
		putAddress(b, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()))
	case to.Addr().IsUnspecified():
		putAddress(b, netip.AddrPortFrom(netip.IPv6Loopback(), to.Port()))
	case !to.Addr().IsLoopback():
		return unix.EACCES
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0); err != nil {
		return err
	}
	return raw(unix.SYS_BIND, uintptr(fd), unsafe.Pointer(&b[0]), uintptr(len(b)))
}

// listen remembers the socket as the program's own. One that is not bound would listen on all addresses.
func (s *supervisor) listen(fd, backlog int) error {
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
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0); err != nil {
		return err
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

// connect goes to what the program listens on itself, or to the host's proxy. From where the latter is called is told
// before, so that the proxy can tell the program's connections from others'.
func (s *supervisor) connect(fd int, b []byte, to netip.AddrPort) error {
	if s.Via.IsValid() && to == s.Front {
		if local, err := localOf(fd); err != nil || local.Port() != 0 { // bound by the program: it could be bound again by others
			return unix.EACCES
		}
		if binary.NativeEndian.Uint16(b) != unix.AF_INET {
			return unix.EACCES
		}
		from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		if err := unix.Bind(fd, from); err != nil {
			return err
		}
		local, err := localOf(fd)
		if err != nil {
			return err
		}
		s.Dialed(local)
		putAddress(b, s.Via)
	} else if !to.Addr().IsLoopback() || !s.listens(to.Port()) {
		return unix.EACCES
	}
	return raw(unix.SYS_CONNECT, uintptr(fd), unsafe.Pointer(&b[0]), uintptr(len(b)))
}

// listens reports whether every socket that listens on a port, at whatever address, is the program's own: one closed by it
// may have made room for another program's.
func (s *supervisor) listens(port uint16) bool {
	own := 0
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		cookies, err := listeners(family, port)
		if err != nil {
			return false
		}
		s.mu.Lock()
		for _, cookie := range cookies {
			if !s.own[cookie] {
				s.mu.Unlock()
				return false
			}
			own++
		}
		s.mu.Unlock()
	}
	return own > 0
}

// The messages of sock_diag(7): linux/inet_diag.h.
const (
	diagByFamily = 20
	diagRequest  = 56 // bytes of struct inet_diag_req_v2
	diagMessage  = 72 // bytes of struct inet_diag_msg
	stateListen  = 10
)

// listeners returns the cookies of the TCP sockets of a family that listen on a port: numbers that, unlike those of inodes, no
// other socket ever gets (SO_COOKIE). Unlike /proc/net/tcp this looks at no
// other sockets, of which there may be many.
func listeners(family uint8, port uint16) ([]uint64, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	ask := make([]byte, unix.SizeofNlMsghdr+diagRequest)
	ne := binary.NativeEndian
	ne.PutUint32(ask, uint32(len(ask)))
	ne.PutUint16(ask[4:], diagByFamily)
	ne.PutUint16(ask[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := ask[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	ne.PutUint32(body[4:], 1<<stateListen)
	binary.BigEndian.PutUint16(body[8:], port)
	if err := unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var cookies []uint64
	answer := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return cookies, nil
			case m.Header.Type != diagByFamily || len(m.Data) < diagMessage:
				return nil, unix.EPROTO
			case binary.BigEndian.Uint16(m.Data[4:]) == port && m.Data[1] == stateListen:
				cookies = append(cookies, uint64(ne.Uint32(m.Data[44:]))|uint64(ne.Uint32(m.Data[48:]))<<32)
			}
		}
	}
}
