package escape

import (
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ipc are acts that talk to the user's other programs without a network.
var ipc = map[string]Act{
	"unix": func(a []string) (string, error) {
		c, err := net.DialTimeout("unix", a[0], time.Second)
		if err != nil {
			return "", err
		}
		_, err = c.Write([]byte("hello"))
		return "connected", err
	},
	"unix-datagram": func(a []string) (string, error) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return "", err
		}
		return "sent", unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrUnix{Name: a[0]})
	},
	"pair-send": func(a []string) (string, error) {
		return pair(unix.SOCK_DGRAM, func(fd int, sa unix.Sockaddr) error { return unix.Sendto(fd, []byte("hello"), 0, sa) }, a[0])
	},
	"pair-connect": func(a []string) (string, error) { return pair(unix.SOCK_DGRAM, unix.Connect, a[0]) },
	"pair-raw":     func(a []string) (string, error) { return pair(unix.SOCK_RAW, unix.Connect, a[0]) },
	"pair-bind":    func(a []string) (string, error) { return pair(unix.SOCK_STREAM, unix.Bind, a[0]) },
	"shm": func(a []string) (string, error) {
		id, err := unix.SysvShmGet(number(a[0]), 0, 0)
		if err != nil {
			return "", err
		}
		b, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
		if err != nil {
			return "", err
		}
		return string(b[:64]), nil
	},
	"shm-by-id": func(a []string) (string, error) {
		b, err := unix.SysvShmAttach(number(a[0]), 0, unix.SHM_RDONLY)
		if err != nil {
			return "", err
		}
		return string(b[:64]), nil
	},
	"shm-remove": func(a []string) (string, error) {
		_, err := unix.SysvShmCtl(number(a[0]), unix.IPC_RMID, nil)
		return "removed", err
	},
	"semaphore": func(a []string) (string, error) {
		id, err := sys(unix.SYS_SEMGET, uintptr(number(a[0])), 0, 0)
		if err != nil {
			return "", err
		}
		op := [3]int16{0, 1, 0} // struct sembuf
		_, err = sys(unix.SYS_SEMOP, id, addr(&op), 1)
		return "raised", err
	},
	"message": func(a []string) (string, error) {
		id, err := sys(unix.SYS_MSGGET, uintptr(number(a[0])), 0)
		if err != nil {
			return "", err
		}
		var m [128]byte
		n, err := sys(unix.SYS_MSGRCV, id, addr(&m), 100, 0, 0o4000) // IPC_NOWAIT
		if err != nil {
			return "", err
		}
		return string(m[8 : 8+n]), nil
	},
	"queue": func(a []string) (string, error) {
		fd, err := sys(unix.SYS_MQ_OPEN, addr(cstr(a[0])), unix.O_RDONLY|unix.O_NONBLOCK, 0, 0)
		if err != nil {
			return "", err
		}
		b := make([]byte, 8192)
		n, err := sys(unix.SYS_MQ_TIMEDRECEIVE, fd, addr(&b[0]), uintptr(len(b)), 0, 0)
		if err != nil {
			return "", err
		}
		return string(b[:n]), nil
	},
	"queue-remove": func(a []string) (string, error) {
		_, err := sys(unix.SYS_MQ_UNLINK, addr(cstr(a[0])))
		return "removed", err
	},
	"key-read": func(a []string) (string, error) {
		b := make([]byte, 128)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, number(a[0]), b, 0)
		return string(b[:min(max(n, 0), len(b))]), err
	},
	"key-describe": func(a []string) (string, error) { return unix.KeyctlString(unix.KEYCTL_DESCRIBE, number(a[0])) },
	"terminal": func([]string) (string, error) { // types into a terminal that it makes its own
		m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return "", err
		}
		if err := unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err != nil {
			return "", err
		}
		n, err := unix.IoctlGetInt(m, unix.TIOCGPTN)
		if err != nil {
			return "", err
		}
		_, _ = unix.Setsid()
		s, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		b := byte('x')
		_, err = sys(unix.SYS_IOCTL, uintptr(s), unix.TIOCSTI, uintptr(unsafe.Pointer(&b)))
		return "typed", err
	},
	"open-device": func(a []string) (string, error) {
		f, err := os.OpenFile(a[0], os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return "", err
		}
		return "opened", f.Close()
	},
}

// pair uses one end of a connected pair with a name.
func pair(kind int, use func(fd int, sa unix.Sockaddr) error, name string) (string, error) {
	p, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	if err != nil {
		return "", err
	}
	return "used", use(p[0], &unix.SockaddrUnix{Name: name})
}
