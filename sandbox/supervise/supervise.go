// Package supervise carries out, outside, what a confined program without namespaces of its own may not do unseen: binding,
// connecting and listening, changing a file's mode and times, watching files, and signals. The kernel holds each such call
// (seccomp_unotify(2)) until it is answered here.
//
// No call is let through on the strength of memory that its program can change meanwhile. What a call names is read once,
// judged, and carried out on this process's own copy of the descriptor; the program's call then returns that result. Only a
// signal to oneself goes on by itself: its registers cannot change. What cannot be read or judged fails.
//
// Calls that are only observed are no exception, because nothing is decided about them: what they name is taken note of, they go
// on whatever it is, and the kernel's own rules decide.
//
// Reading another process's memory and copying its descriptors needs PTRACE_MODE_ATTACH: the program has to be a descendant
// of this process, or Yama's ptrace_scope 0.
package supervise

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"cordon/sandbox/observe"

	"golang.org/x/sys/unix"
)

// Rules are what a program may do.
type Rules struct {
	Init  int      // pid of the process that all of the program's descend from
	Write []string // real paths below which modes and times may be changed
	Watch []string // and below which files may be watched, besides
	Bind  bool     // it may listen on loopback, and connect to what it listens on itself

	// Redirect are ports on 127.0.0.1 that lead to a listener of the host's.
	Redirect map[uint16]Redirect

	// Record takes note of what is asked for, where the filter tells of it. nil takes note of nothing.
	Record *observe.Record
	Lets   bool // nothing else is done, and every call goes on: the program has namespaces, and a filter besides
}

// Redirect is where a port leads. Expect is told from where the program calls, before it does: other programs of this
// computer can call the same listener.
type Redirect struct {
	To     netip.AddrPort
	Expect func(from netip.AddrPort)
}

// atOnce bounds the calls that are worked on. The others wait, as does the program that made them.
const atOnce = 32

// notification is struct seccomp_notif, response struct seccomp_notif_resp (seccomp_unotify(2)).
type notification struct {
	id    uint64
	tid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// The requests, from linux/seccomp.h.
const (
	ioctlReceive = 0xc0502100
	ioctlSend    = 0xc0182101
	ioctlValid   = 0x40082102
	goOn         = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// errGoOn lets a call go on in the program. It is for calls whose meaning lies in registers alone.
var errGoOn = errors.New("go on")

// Supervisor serves one program. It is safe for concurrent use.
type Supervisor struct {
	rules    Rules
	file     *os.File
	listener int // the same; open until Serve has returned
	stop     *os.File
	stopped  *os.File // the other end, which hangs up when stop is closed
	mu       sync.Mutex
	own      map[uint64]bool // cookies of sockets that the program listens on, guarded by mu

	noting noting
}

// New returns a supervisor that applies rules. listener is the filter's; Serve, which has to be called unless New fails, closes
// it.
func New(rules Rules, listener *os.File) (*Supervisor, error) {
	stopped, stop, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &Supervisor{rules: rules, file: listener, listener: int(listener.Fd()), stop: stop, stopped: stopped, own: map[uint64]bool{}}, nil
}

// Stop makes Serve return. The program's calls fail with ENOSYS afterwards.
func (s *Supervisor) Stop() { _ = s.stop.Close() }

// Serve answers until the last process that the filter applies to has ended, or Stop. It returns when every call that it
// works on is answered: nil then, or why the listener cannot be read. It is called once.
//
// It waits in poll(2) itself, with a thread of its own, and not with Go's scheduler. A signal, which the scheduler sends its
// threads all the time, makes the kernel report POLLERR for a listener that other threads are using, and lets a receive fail.
// Both mean: again. The scheduler would take the one for broken, and after the other wait for a call that it was told of already.
func (s *Supervisor) Serve() error {
	defer s.file.Close()
	defer s.stopped.Close()
	defer s.stop.Close()
	var working sync.WaitGroup
	defer working.Wait()
	slots := make(chan struct{}, atOnce)
	poll := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}, {Fd: int32(s.stopped.Fd())}}
	for {
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return os.NewSyscallError("poll", err)
		}
		switch calls := poll[0].Revents; {
		case poll[1].Revents != 0:
			return nil
		case calls&unix.POLLNVAL != 0:
			return os.NewSyscallError("poll", unix.EBADF)
		case calls&unix.POLLIN == 0 && calls&unix.POLLHUP != 0: // nobody is left
			return nil
		case calls&unix.POLLIN == 0:
			continue
		}
		var n notification
		switch errno := s.ioctl(ioctlReceive, unsafe.Pointer(&n)); errno {
		case 0:
		case unix.EINTR, unix.ENOENT: // ENOENT: the caller is gone
			continue
		default:
			return os.NewSyscallError("receive a call", errno)
		}
		if s.observed(&n) {
			continue
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			s.answer(&n)
		})
	}
}

func (s *Supervisor) ioctl(request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), request, uintptr(arg))
	return errno
}

// alive reports whether the caller still waits for the answer: then its ids still mean the caller.
func (s *Supervisor) alive(n *notification) bool {
	return s.ioctl(ioctlValid, unsafe.Pointer(&n.id)) == 0
}

func (s *Supervisor) answer(n *notification) {
	val, err := s.handle(n)
	s.reply(n, val, err)
}

func (s *Supervisor) reply(n *notification, val int64, err error) {
	r := response{id: n.id, val: val}
	var errno syscall.Errno
	switch {
	case err == errGoOn:
		r.val, r.flags = 0, goOn
	case errors.As(err, &errno):
		r.val, r.errno = 0, -int32(errno)
	case err != nil:
		r.val, r.errno = 0, -int32(unix.EPERM)
	}
	_ = s.ioctl(ioctlSend, unsafe.Pointer(&r)) // ENOENT: the caller is gone
}

// handle carries a call out and returns what it returns.
func (s *Supervisor) handle(n *notification) (int64, error) {
	switch uintptr(n.nr) {
	case unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO:
		return 0, s.signal(n)
	}
	c, err := s.caller(n)
	if err != nil {
		return 0, err
	}
	defer c.close()
	switch uintptr(n.nr) {
	case unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_LISTEN:
		return 0, s.socket(c)
	case unix.SYS_INOTIFY_ADD_WATCH:
		return s.watch(c)
	}
	return 0, s.change(c)
}

// caller is the program's thread that waits for an answer.
type caller struct {
	s *Supervisor
	*notification
	process int // pidfd
}

// caller opens the process of the thread that called.
func (s *Supervisor) caller(n *notification) (*caller, error) {
	pidfd, err := unix.PidfdOpen(int(n.tid), pidfdThread)
	if err != nil { // before Linux 6.9
		pidfd, err = unix.PidfdOpen(int(n.tid), 0)
	}
	if err != nil { // not the first thread of its process
		leader, err := threadGroup(int(n.tid))
		if err != nil {
			return nil, unix.EPERM
		}
		if pidfd, err = unix.PidfdOpen(leader, 0); err != nil {
			return nil, unix.EPERM
		}
	}
	if !s.alive(n) { // and so was not when the pidfd was opened
		_ = unix.Close(pidfd)
		return nil, unix.EPERM
	}
	return &caller{s, n, pidfd}, nil
}

const pidfdThread = unix.O_EXCL // PIDFD_THREAD of linux/pidfd.h

func (c *caller) close() { _ = unix.Close(c.process) }

// descriptor copies the caller's descriptor fd. The caller of this closes it.
func (c *caller) descriptor(fd uint64) (int, error) {
	copied, err := unix.PidfdGetfd(c.process, int(int32(fd)), 0)
	if err != nil {
		return -1, unix.EBADF
	}
	return copied, nil
}

// memory reads n bytes of the caller's.
func (c *caller) memory(at uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, c.s.memory(c.notification, at, b)
}

// memory fills b from the memory of whoever called.
func (s *Supervisor) memory(n *notification, at uint64, b []byte) error {
	got, err := unix.ProcessVMReadv(int(n.tid), []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if err != nil && err != unix.EFAULT {
		return unix.EPERM
	}
	if err != nil || got != len(b) {
		return unix.EFAULT
	}
	if !s.alive(n) { // the id may have been another's by then
		return unix.EPERM
	}
	return nil
}

// path reads a path of the caller's, up to its NUL.
func (c *caller) path(at uint64) (string, error) {
	return c.s.path(c.notification, at, new([unix.PathMax]byte))
}

// path reads a path into b. A read never goes past the page that it is in, because the next may not be there; most paths are
// short.
func (s *Supervisor) path(n *notification, at uint64, b *[unix.PathMax]byte) (string, error) {
	const page, most = 4096, 256
	for have := 0; have < len(b); {
		part := b[have:min(len(b), have+page-int(at%page))]
		if have == 0 {
			part = part[:min(len(part), most)]
		}
		if err := s.memory(n, at, part); err != nil {
			return "", err
		}
		if i := bytes.IndexByte(part, 0); i >= 0 {
			return string(b[:have+i]), nil
		}
		have += len(part)
		at += uint64(len(part))
	}
	return "", unix.ENAMETOOLONG
}
