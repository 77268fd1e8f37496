package escape

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const mptcp = 262 // IPPROTO_MPTCP

// network are acts on sockets. Addresses are of loopback, or the machine's own to bind to.
var network = map[string]Act{
	"tcp":         func(a []string) (string, error) { return open(a[0], unix.SOCK_STREAM, 0, unix.Connect) },
	"udp":         func(a []string) (string, error) { return open(a[0], unix.SOCK_DGRAM, 0, sendHello) },
	"udp-connect": func(a []string) (string, error) { return open(a[0], unix.SOCK_DGRAM, 0, unix.Connect) },
	"udplite":     func(a []string) (string, error) { return open(a[0], unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE, sendHello) },
	"mptcp":       func(a []string) (string, error) { return open(a[0], unix.SOCK_STREAM, mptcp, unix.Connect) },
	"sctp":        func(a []string) (string, error) { return open(a[0], unix.SOCK_STREAM, unix.IPPROTO_SCTP, unix.Connect) },
	"smc":         func([]string) (string, error) { return made(unix.AF_SMC, unix.SOCK_STREAM, 0) },
	"ping":        func(a []string) (string, error) { return open(a[0], unix.SOCK_DGRAM, unix.IPPROTO_ICMP, unix.Connect) },
	"raw":         func([]string) (string, error) { return made(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
	"packet":      func([]string) (string, error) { return made(unix.AF_PACKET, unix.SOCK_RAW, 0x300) },
	"vsock":       func([]string) (string, error) { return made(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
	"alg":         func([]string) (string, error) { return made(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
	"kcm":         func([]string) (string, error) { return made(unix.AF_KCM, unix.SOCK_DGRAM, 0) },
	"tipc":        func([]string) (string, error) { return made(unix.AF_TIPC, unix.SOCK_STREAM, 0) },
	"bluetooth":   func([]string) (string, error) { return made(unix.AF_BLUETOOTH, unix.SOCK_STREAM, 3) },
	"can":         func([]string) (string, error) { return made(unix.AF_CAN, unix.SOCK_DGRAM, 2) },
	"xdp":         func([]string) (string, error) { return made(unix.AF_XDP, unix.SOCK_RAW, 0) },
	"netlink":     func(a []string) (string, error) { return made(unix.AF_NETLINK, unix.SOCK_RAW, number(a[0])) },
	"bind-tcp":    func(a []string) (string, error) { return serve(a[0], unix.SOCK_STREAM, 0) },
	"bind-mptcp":  func(a []string) (string, error) { return serve(a[0], unix.SOCK_STREAM, mptcp) },
	"bind-udp":    func(a []string) (string, error) { return open(a[0], unix.SOCK_DGRAM, 0, unix.Bind) },
	"listen": func([]string) (string, error) { // without a name the kernel takes every address
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		return "listening", unix.Listen(fd, 1)
	},
	"fast-open": func(a []string) (string, error) {
		return open(a[0], unix.SOCK_STREAM, 0, func(fd int, sa unix.Sockaddr) error { return unix.Sendto(fd, []byte("hello"), unix.MSG_FASTOPEN, sa) })
	},
	"fast-open-option": func(a []string) (string, error) {
		return open(a[0], unix.SOCK_STREAM, 0, func(fd int, sa unix.Sockaddr) error {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
				return err
			}
			if err := unix.Connect(fd, sa); err != nil {
				return err
			}
			_, err := unix.Write(fd, []byte("hello"))
			return err
		})
	},
	"share-port": func(a []string) (string, error) { return sharePort(a[0], 1) },
	"share-port-race": func(a []string) (string, error) { // another thread asks for the sharing again and again
		return sharePort(a[0], 3000)
	},
	"flip-connect": flipConnect,
	"flip-bind":    flipBind,
	"takeover":     takeover,
	"source-route": func(a []string) (string, error) { // the packets would go to the second address first
		return open(a[0], unix.SOCK_STREAM, 0, func(fd int, _ unix.Sockaddr) error {
			via := netip.MustParseAddr(a[1]).As4()
			_, err := setOption(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, append([]byte{131, 7, 4}, append(via[:], 0)...))
			return err
		})
	},
	"segment-route": func(a []string) (string, error) {
		return open(a[0], unix.SOCK_STREAM, 0, func(fd int, _ unix.Sockaddr) error {
			via := netip.MustParseAddr(a[1]).As16()
			h := append([]byte{0, 4, 4, 1, 1, 0, 0, 0}, make([]byte, 16)...) // segment routing, two segments
			_, err := setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_RTHDR, append(h, via[:]...))
			return err
		})
	},
	"multicast": func([]string) (string, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return "", err
		}
		return "joined", unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: [4]byte{224, 0, 0, 251}, Interface: [4]byte{127, 0, 0, 1}})
	},
	"interfaces": func([]string) (string, error) {
		is, err := net.Interfaces()
		return fmt.Sprint(is), err
	},
	"address-ioctl":   func(a []string) (string, error) { return ofInterface(a[0], unix.SIOCGIFADDR) },
	"broadcast-ioctl": func(a []string) (string, error) { return ofInterface(a[0], unix.SIOCGIFBRDADDR) },
	"netmask-ioctl":   func(a []string) (string, error) { return ofInterface(a[0], unix.SIOCGIFNETMASK) },
	"mtu-ioctl":       func(a []string) (string, error) { return ofInterface(a[0], unix.SIOCGIFMTU) },
	"ring-connect":    ringConnect,
}

func sockaddr(a string) (unix.Sockaddr, int) {
	ap := netip.MustParseAddrPort(a)
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, unix.AF_INET6
}

// open makes a socket for an address and uses it. The socket stays.
func open(a string, kind, proto int, use func(fd int, sa unix.Sockaddr) error) (string, error) {
	sa, family := sockaddr(a)
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return "", err
	}
	return "done", use(fd, sa)
}

func made(family, kind, proto int) (string, error) {
	_, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	return "made", err
}

func sendHello(fd int, sa unix.Sockaddr) error { return unix.Sendto(fd, []byte("hello"), 0, sa) }

func serve(a string, kind, proto int) (string, error) {
	return open(a, kind, proto, func(fd int, sa unix.Sockaddr) error {
		if err := unix.Bind(fd, sa); err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	})
}

func setOption(fd, level, option int, value []byte) (uintptr, error) {
	return sys(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), addr(&value[0]), uintptr(len(value)))
}

// sharePort listens where somebody else does, whose socket allows sharing.
func sharePort(a string, rounds int) (string, error) {
	sa, family := sockaddr(a)
	err := error(unix.EADDRINUSE)
	for range rounds {
		fd, e := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if e != nil {
			return "", e
		}
		var over atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for rounds > 1 && !over.Load() {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		}()
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		if err = unix.Bind(fd, sa); err == nil {
			err = unix.Listen(fd, 1)
		}
		over.Store(true)
		<-ended
		if err == nil {
			return "listening", nil
		}
		unix.Close(fd)
	}
	return "", err
}

// inet4 is a struct sockaddr_in that a thread can change while a call reads it.
func inet4(a string) *[16]byte {
	ap := netip.MustParseAddrPort(a)
	var b [16]byte
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	ip := ap.Addr().As4()
	copy(b[4:], ip[:])
	return &b
}

// flip changes the last word of a socket address, port or host, between two values until stop.
func flip(shared, other *[16]byte) (stop func()) {
	var over atomic.Bool
	ended := make(chan struct{})
	// Port and host lie in one aligned word, so that a reader sees the one or the other.
	word, one := (*uint64)(unsafe.Pointer(shared)), *(*uint64)(unsafe.Pointer(shared))
	two := *(*uint64)(unsafe.Pointer(other))
	go func() {
		defer close(ended)
		for !over.Load() {
			atomic.StoreUint64(word, two)
			atomic.StoreUint64(word, one)
		}
	}()
	return func() {
		over.Store(true)
		<-ended
	}
}

// flipConnect connects to a listener of its own whose address turns into a[0] and back, thousands of times.
func flipConnect(a []string) (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	mine := l.Addr().(*net.TCPAddr).AddrPort()
	shared, aim := inet4(mine.String()), netip.MustParseAddrPort(a[0])
	stop := flip(shared, inet4(a[0]))
	defer stop()
	for range 4000 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_, err = sys(unix.SYS_CONNECT, uintptr(fd), addr(shared), 16)
		peer, perr := unix.Getpeername(fd)
		unix.Close(fd)
		if p, ok := peer.(*unix.SockaddrInet4); err == nil && perr == nil && ok && p.Port == int(aim.Port()) {
			return "connected", nil
		}
	}
	return "", errors.New("always the own listener, or refused")
}

// flipBind binds to an address that turns from loopback into a[0] and back.
func flipBind(a []string) (string, error) {
	shared := inet4("127.0.0.1:0")
	stop := flip(shared, inet4(a[0]))
	defer stop()
	for range 4000 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		_, err = sys(unix.SYS_BIND, uintptr(fd), addr(shared), 16)
		sa, _ := unix.Getsockname(fd)
		if p, ok := sa.(*unix.SockaddrInet4); err == nil && ok && p.Addr[0] != 127 {
			return "bound", unix.Listen(fd, 1)
		}
		unix.Close(fd)
	}
	return "", errors.New("always loopback, or refused")
}

// takeover listens on a[0], ends that, and connects there as soon as somebody else listens.
func takeover(a []string) (string, error) {
	l, err := net.Listen("tcp4", a[0])
	if err != nil {
		return "", err
	}
	l.Close()
	for range 100 {
		c, e := net.DialTimeout("tcp4", a[0], time.Second)
		if err = e; e == nil {
			_, _ = c.Write([]byte("hello"))
			return "connected", nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", err
}

// ofInterface asks for something of a network interface over a TCP socket.
func ofInterface(name string, request uintptr) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	var ifreq [40]byte
	copy(ifreq[:], name)
	_, err = sys(unix.SYS_IOCTL, uintptr(fd), request, addr(&ifreq))
	return fmt.Sprint(ifreq[16:32]), err
}

// ringConnect connects by io_uring: no connect(2) is called.
func ringConnect(a []string) (string, error) {
	sa := inet4(a[0])
	return open(a[0], unix.SOCK_STREAM, 0, func(fd int, _ unix.Sockaddr) error {
		var p [30]uint32 // struct io_uring_params
		r, err := sys(unix.SYS_IO_URING_SETUP, 4, addr(&p))
		if err != nil {
			return err
		}
		ring, err := unix.Mmap(int(r), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		entries, err := unix.Mmap(int(r), 0x10000000, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		entries[0] = 16 // IORING_OP_CONNECT
		binary.NativeEndian.PutUint32(entries[4:], uint32(fd))
		binary.NativeEndian.PutUint64(entries[8:], 16)
		binary.NativeEndian.PutUint64(entries[16:], uint64(addr(sa)))
		binary.NativeEndian.PutUint32(ring[p[16]:], 0)    // the first place is entry 0
		binary.NativeEndian.PutUint32(ring[p[11]:], 1)    // the tail
		_, err = sys(unix.SYS_IO_URING_ENTER, r, 1, 1, 1) // IORING_ENTER_GETEVENTS
		if res := int32(binary.NativeEndian.Uint32(ring[p[25]+8:])); err == nil && res < 0 {
			err = unix.Errno(-res)
		}
		return err
	})
}
