package sandbox

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ipcProbes talk to the user's other programs without a network.
var ipcProbes = []probe{
	{class: "ipc", name: "a socket in the home", act: "unix", setup: func(s *scene) []string { return []string{s.hears("unix", filepath.Join(s.home, "bus"))} }},
	{class: "ipc", name: "a socket in a readable folder", act: "unix", setup: func(s *scene) []string { return []string{s.hears("unix", filepath.Join(s.ro, "docker.sock"))} }},
	{class: "ipc", name: "a socket in a writable folder", act: "unix", setup: func(s *scene) []string { return []string{s.hears("unix", s.in("docker.sock"))} }},
	{class: "ipc", name: "an abstract socket", act: "unix", setup: func(s *scene) []string { return []string{s.hears("unix", "@"+mark())} }},
	{class: "ipc", name: "the X11 display's name", act: "unix", setup: func(s *scene) []string { return []string{s.hears("unix", "@/tmp/.X11-unix/X"+mark()[4:])} }},
	{class: "ipc", name: "the session bus", act: "unix", setup: func(s *scene) []string { return []string{s.hears("unix", "@/tmp/dbus-"+mark())} }},
	{class: "ipc", name: "a datagram", act: "unix-datagram", setup: func(s *scene) []string { return []string{s.receives("unixgram", s.in("s"))} }},
	{class: "ipc", name: "a datagram from a pair", act: "pair-send", setup: func(s *scene) []string { return []string{s.receives("unixgram", s.in("s"))} }},
	{class: "ipc", name: "connecting an end of a pair", act: "pair-connect", setup: func(s *scene) []string { return []string{s.receivesName(s.in("s"))} }},
	{class: "ipc", name: "connecting an end of a raw pair", act: "pair-raw", setup: func(s *scene) []string { return []string{s.receivesName(s.in("s"))} }},
	{class: "ipc", name: "naming an end of a pair, abstract", act: "pair-bind", setup: func(s *scene) []string { return s.named("@" + mark()) }},
	{class: "ipc", name: "naming an end of a pair, by path", act: "pair-bind", setup: func(s *scene) []string { return s.named(s.in("s")) }},
	{class: "ipc", name: "System V memory", act: "shm", setup: func(s *scene) []string { key, _ := s.segment(); return s.wants(key) }},
	{class: "ipc", name: "System V memory by its number", act: "shm-by-id", setup: func(s *scene) []string { _, id := s.segment(); return s.wants(id) }},
	{class: "ipc", name: "removing System V memory", act: "shm-remove", setup: func(s *scene) []string { _, id := s.segment(); return []string{id} }},
	{class: "ipc", name: "a System V semaphore", act: "semaphore", setup: func(s *scene) []string {
		key := sysvKey()
		id, _, errno := unix.Syscall(unix.SYS_SEMGET, key, 1, unix.IPC_CREAT|0o600)
		s.sysv(errno, func() { _, _, _ = unix.Syscall(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID) })
		return []string{fmt.Sprint(key)}
	}},
	{class: "ipc", name: "a System V message", act: "message", setup: func(s *scene) []string {
		key := sysvKey()
		id, _, errno := unix.Syscall(unix.SYS_MSGGET, key, unix.IPC_CREAT|0o600, 0)
		s.sysv(errno, func() { _, _, _ = unix.Syscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0) })
		m := append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, s.canary...)
		_, _, errno = unix.Syscall6(unix.SYS_MSGSND, id, uintptr(unsafe.Pointer(&m[0])), uintptr(len(s.canary)), 0, 0, 0)
		s.sysv(errno, func() {})
		return s.wants(fmt.Sprint(key))
	}},
	{class: "ipc", name: "a POSIX queue", act: "queue", setup: func(s *scene) []string { return s.wants(s.queue()) }},
	{class: "ipc", name: "removing a POSIX queue", act: "queue-remove", setup: func(s *scene) []string { return []string{s.queue()} }},
	{class: "ipc", name: "a key of the user's", act: "key-read", setup: func(s *scene) []string { return s.wants(s.key()) }},
	{class: "ipc", name: "what a key is called", act: "key-describe", setup: func(s *scene) []string { return s.wants(s.key()) }},
	{class: "ipc", name: "/proc/keys", act: "read", setup: func(s *scene) []string { s.key(); return s.wants("/proc/keys") }},
	{class: "ipc", name: "typing into a terminal", act: "terminal"},
}

// receivesName is receives for acts that connect and send nothing.
func (s *scene) receivesName(path string) string {
	s.receives("unixgram", path)
	s.check = nil
	return path
}

// named says that the kernel has to know a socket of that name.
func (s *scene) named(name string) []string {
	s.check = func() bool {
		b, _ := os.ReadFile("/proc/net/unix")
		return strings.Contains(string(b), name)
	}
	return []string{name}
}

// sysvKey is a key for System V IPC that nobody has.
func sysvKey() uintptr {
	n, _ := strconv.Atoi(mark()[4:])
	return uintptr(0x43000000 | n&0xffffff)
}

func (s *scene) sysv(errno syscall.Errno, remove func()) {
	s.t.Helper()
	if errno != 0 {
		s.t.Fatal(errno)
	}
	s.undo = append(s.undo, remove)
}

// segment makes System V memory with the canary in it.
func (s *scene) segment() (key, number string) {
	k := sysvKey()
	id, err := unix.SysvShmGet(int(k), 4096, unix.IPC_CREAT|0o600)
	s.ok(err)
	s.undo = append(s.undo, func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	b, err := unix.SysvShmAttach(id, 0, 0)
	s.ok(err)
	copy(b, s.canary)
	s.ok(unix.SysvShmDetach(b))
	return fmt.Sprint(k), fmt.Sprint(id)
}

// queue makes a POSIX queue with the canary in it.
func (s *scene) queue() string {
	name := mark()
	c := append([]byte(name), 0)
	attr := [8]int64{0, 4, 128}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&c[0])), unix.O_CREAT|unix.O_RDWR, 0o600, uintptr(unsafe.Pointer(&attr)), 0, 0)
	s.sysv(errno, func() {
		_, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(&c[0])), 0, 0)
		unix.Close(int(fd))
	})
	m := []byte(s.canary)
	_, _, errno = unix.Syscall6(unix.SYS_MQ_TIMEDSEND, fd, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0)
	s.sysv(errno, func() {})
	return name
}

// key puts the canary, by which it is also called, among the user's keys.
func (s *scene) key() string {
	id, err := unix.AddKey("user", s.canary, []byte(s.canary), unix.KEY_SPEC_USER_KEYRING)
	s.ok(err)
	s.undo = append(s.undo, func() { _, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0) })
	s.ok(unix.KeyctlSetperm(id, 0x3f3f0000))
	return fmt.Sprint(id)
}

// loopback is a port of the own loopback.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// exposing is a setup of acts that bind to an address others could reach.
func exposing(host string) func(s *scene) []string {
	return func(s *scene) []string {
		port := s.free()
		s.exposes(port)
		return []string{net.JoinHostPort(host, fmt.Sprint(port))}
	}
}

// ownAddress is an IPv4 address of this machine that is not loopback, or 0.0.0.0.
func ownAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	return "0.0.0.0"
}

// hearing is a setup of acts that connect to a listener; as says how its port is called.
func hearing(network, address, as string) func(s *scene) []string {
	return func(s *scene) []string {
		_, port, _ := net.SplitHostPort(s.hears(network, address))
		return []string{net.JoinHostPort(as, port)}
	}
}

func receiving(s *scene) []string { return []string{s.receives("udp", "127.0.0.1:0")} }

func onInterface(*scene) []string { return []string{interfaceName()} }

// netlinkProbe is one protocol of netlink(7).
func netlinkProbe(name string, protocol int) probe {
	return probe{class: "network", name: "netlink " + name, act: "netlink", setup: func(*scene) []string { return []string{fmt.Sprint(protocol)} }}
}

// networkProbes reach other programs of this machine over sockets, or listen where others can call.
var networkProbes = []probe{
	{class: "network", name: "TCP", act: "tcp", setup: hearing("tcp4", "127.0.0.1:0", "127.0.0.1")},
	{class: "network", name: "TCP over IPv6", act: "tcp", setup: hearing("tcp6", "[::1]:0", "::1")},
	{class: "network", name: "TCP to a mapped address", act: "tcp", setup: hearing("tcp4", "127.0.0.1:0", "::ffff:127.0.0.1")},
	{class: "network", name: "TCP to 0.0.0.0", act: "tcp", setup: hearing("tcp4", "127.0.0.1:0", "0.0.0.0")},
	{class: "network", name: "TCP to ::", act: "tcp", setup: hearing("tcp6", "[::1]:0", "::")},
	{class: "network", name: "TCP to 127.1.2.3", act: "tcp", setup: hearing("tcp4", ":0", "127.1.2.3")},
	{class: "network", name: "TCP to the machine's address", act: "tcp", setup: func(s *scene) []string { return []string{s.hears("tcp4", ownAddress()+":0")} }},
	{class: "network", name: "fast open", act: "fast-open", setup: hearing("tcp4", "127.0.0.1:0", "127.0.0.1")},
	{class: "network", name: "fast open by option", act: "fast-open-option", setup: hearing("tcp4", "127.0.0.1:0", "127.0.0.1")},
	{class: "network", name: "MPTCP", act: "mptcp", setup: hearing("tcp4", "127.0.0.1:0", "127.0.0.1")},
	{class: "network", name: "io_uring", act: "ring-connect", setup: hearing("tcp4", "127.0.0.1:0", "127.0.0.1")},
	{class: "network", name: "an address that changes while it is judged", act: "flip-connect", setup: hearing("tcp4", "127.0.0.1:0", "127.0.0.1")},
	{class: "network", name: "a port that somebody else took over", act: "takeover", setup: func(s *scene) []string {
		a := loopback(s.free())
		heard := make(chan struct{}, 1)
		s.meanwhile = func() {
			time.Sleep(300 * time.Millisecond) // for the act to have listened
			l, err := net.Listen("tcp4", a)
			if err != nil {
				return
			}
			s.undo = append(s.undo, func() { l.Close() })
			go func() {
				if c, err := l.Accept(); err == nil {
					c.Close()
					heard <- struct{}{}
				}
			}()
		}
		s.check = func() bool { return len(heard) > 0 }
		return []string{a}
	}},
	{class: "network", name: "UDP", act: "udp", setup: receiving},
	{class: "network", name: "UDP, connecting", act: "udp-connect", setup: func(s *scene) []string {
		a := receiving(s)
		s.check = nil
		return a
	}, strong: "in the strong tier the address is one of an empty network: nothing arrives (the probe before)"},
	{class: "network", name: "UDP-Lite", act: "udplite", setup: func(*scene) []string { return []string{loopback(9)} }},
	{class: "network", name: "SCTP", act: "sctp", setup: func(*scene) []string { return []string{loopback(9)} }},
	{class: "network", name: "ping", act: "ping", setup: func(*scene) []string { return []string{loopback(9)} }},
	{class: "network", name: "SMC", act: "smc"}, {class: "network", name: "a raw socket", act: "raw"}, {class: "network", name: "a packet socket", act: "packet"},
	{class: "network", name: "vsock", act: "vsock"}, {class: "network", name: "AF_ALG", act: "alg"}, {class: "network", name: "KCM", act: "kcm"},
	{class: "network", name: "TIPC", act: "tipc"}, {class: "network", name: "Bluetooth", act: "bluetooth"}, {class: "network", name: "CAN", act: "can"}, {class: "network", name: "XDP", act: "xdp"},
	netlinkProbe("sock_diag", unix.NETLINK_SOCK_DIAG), netlinkProbe("uevent", unix.NETLINK_KOBJECT_UEVENT), netlinkProbe("audit", unix.NETLINK_AUDIT),
	netlinkProbe("netfilter", unix.NETLINK_NETFILTER), netlinkProbe("generic", unix.NETLINK_GENERIC), netlinkProbe("xfrm", unix.NETLINK_XFRM), netlinkProbe("connector", unix.NETLINK_CONNECTOR),
	{class: "network", name: "bind to 0.0.0.0", act: "bind-tcp", setup: exposing("0.0.0.0")},
	{class: "network", name: "bind to ::", act: "bind-tcp", setup: exposing("::")},
	{class: "network", name: "bind to ::ffff:0.0.0.0", act: "bind-tcp", setup: exposing("::ffff:0.0.0.0")},
	{class: "network", name: "bind to the machine's address", act: "bind-tcp", setup: func(s *scene) []string { return exposing(ownAddress())(s) }},
	{class: "network", name: "bind an address that changes while it is judged", act: "flip-bind", setup: func(s *scene) []string { return exposing(ownAddress())(s) }},
	{class: "network", name: "bind UDP to 0.0.0.0", act: "bind-udp", setup: exposing("0.0.0.0")},
	{class: "network", name: "bind UDP to ::", act: "bind-udp", setup: exposing("::")},
	{class: "network", name: "bind MPTCP to 0.0.0.0", act: "bind-mptcp", setup: exposing("0.0.0.0")},
	{class: "network", name: "listen without a name", act: "listen", setup: func(s *scene) []string {
		before := wildcards()
		s.check = func() bool { return wildcards() > before }
		return nil
	}},
	{class: "network", name: "share another's port", act: "share-port", setup: func(s *scene) []string { return s.shared() }},
	{class: "network", name: "share another's port, asking again and again", act: "share-port-race", setup: func(s *scene) []string { return s.shared() }},
	{class: "network", name: "source routes", act: "source-route", setup: func(*scene) []string { return []string{loopback(9), "127.0.0.2"} }, strong: "in the strong tier nothing but an own loopback exists"},
	{class: "network", name: "segment routes", act: "segment-route", setup: func(*scene) []string { return []string{"[::1]:9", "::1"} }, strong: "in the strong tier nothing but an own loopback exists"},
	{class: "network", name: "multicast", act: "multicast", strong: "in the strong tier nothing but an own loopback exists"},
	{class: "network", name: "which interfaces there are", act: "interfaces", setup: func(s *scene) []string { s.want = interfaceName(); return nil }},
	{class: "network", name: "an interface's address", act: "address-ioctl", setup: onInterface},
	{class: "network", name: "an interface's broadcast address", act: "broadcast-ioctl", setup: onInterface},
	{class: "network", name: "an interface's mask", act: "netmask-ioctl", setup: onInterface},
	{class: "network", name: "an interface's size of packets", act: "mtu-ioctl", setup: onInterface},
	{class: "network", name: "connections of others in /proc", act: "read", setup: func(s *scene) []string {
		_, port, _ := net.SplitHostPort(s.hears("tcp4", "127.0.0.1:0"))
		s.check = nil
		n, _ := strconv.Atoi(port)
		s.want = fmt.Sprintf("0100007F:%04X", n)
		return []string{"/proc/self/net/tcp"}
	}},
	{class: "network", name: "connections of others in /proc, by thread", act: "read", setup: func(s *scene) []string {
		_, port, _ := net.SplitHostPort(s.hears("tcp4", "127.0.0.1:0"))
		s.check = nil
		n, _ := strconv.Atoi(port)
		s.want = fmt.Sprintf("0100007F:%04X", n)
		return []string{"/proc/thread-self/net/tcp"}
	}},
	{class: "network", name: "names of sockets in /proc", act: "read", setup: func(s *scene) []string {
		s.want = mark()
		s.hears("unix", "@"+s.want)
		s.check = nil
		return []string{"/proc/self/net/unix"}
	}},
}

// wildcards counts the TCP sockets that listen on every address.
func wildcards() int {
	b, _ := os.ReadFile("/proc/net/tcp")
	return strings.Count(string(b), ": 00000000:")
}

// shared makes a listener of another program's that allows others of the user to share its port, and says that one has to.
func (s *scene) shared() []string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	s.ok(err)
	s.undo = append(s.undo, func() { unix.Close(fd) })
	s.ok(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	s.ok(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	s.ok(unix.Listen(fd, 1))
	sa, err := unix.Getsockname(fd)
	s.ok(err)
	port := sa.(*unix.SockaddrInet4).Port
	s.check = func() bool {
		b, _ := os.ReadFile("/proc/net/tcp")
		return strings.Count(string(b), fmt.Sprintf(": 0100007F:%04X", port)) > 1
	}
	return []string{loopback(port)}
}
