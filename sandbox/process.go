package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// Process is a confined program with everything it starts. Its methods are safe for concurrent use.
type Process struct {
	Report Report // what was enforced; set before Start returns
	Pid    int    // of its init, on the host

	// Egress is the listener of the proxy, with NetHosts: it lies in the sandbox's network namespace, at EgressAddr, and
	// its connections come from the program. The caller accepts on it; it is closed when the program has ended. nil
	// otherwise.
	Egress net.Listener

	// Reached are the same for each port of Profile.Reach. The caller accepts, and calls the port outside.
	Reached map[uint16]net.Listener

	// Forwarded are the ports of Profile.Serve at which only Dial leads to the program: none where it listens on this
	// computer's loopback itself.
	Forwarded []uint16

	serves   []uint16
	init     *child
	host     *os.File     // our end of the pair: closing it ends the sandbox
	group    *group       // nil without limits
	beside   *supervision // nil with namespaces
	observed *observation // nil without Profile.Observe
	outcome  *spec.Outcome
	ended    chan struct{}
	done     chan struct{}
	once     sync.Once
	dialing  sync.Mutex
	lent     chan *os.File // sockets that init sent; one is on its way at most

	exit Exit // written before ended is closed
}

// Exit is how a program ended.
type Exit struct {
	Status syscall.WaitStatus // the program's own, when Known
	Known  bool               // false when the whole sandbox was killed
	OOM    bool               // it used more memory than its limit
	Memory int64              // that limit in bytes, 0 when there was none for the whole tree
	Usage  Usage              // the last reading
	Left   error              // what could not be cleaned up, or nil
}

// Code returns the exit status a shell would show: the program's own, or 128 and the signal.
func (e Exit) Code() int {
	switch {
	case !e.Known:
		return 128 + int(syscall.SIGKILL)
	case e.Status.Signaled():
		return 128 + int(e.Status.Signal())
	}
	return e.Status.ExitStatus()
}

// String says it in words: "ended with status 1", "killed by SIGSEGV", "used more than 512 MiB".
func (e Exit) String() string {
	switch {
	case e.OOM:
		return "stopped: used more than " + Bytes(e.Memory)
	case !e.Known:
		return "was killed"
	case e.Status.Signaled():
		return "was ended by signal: " + e.Status.Signal().String()
	}
	return fmt.Sprintf("ended with status %d", e.Status.ExitStatus())
}

// newProcess takes listeners in the order of listening(profile).
func newProcess(m *monitor, host *os.File, g *group, profile Profile, listeners []net.Listener, v *supervision, o *observation) *Process {
	p := &Process{Pid: m.pid, Reached: map[uint16]net.Listener{}, init: &child{pid: m.pid}, host: host, group: g, beside: v, observed: o, outcome: m.outcome,
		ended: make(chan struct{}), done: make(chan struct{}), serves: profile.Serve, lent: make(chan *os.File, 1)}
	for i, port := range listening(profile) {
		if port == spec.EgressPort && profile.Net == NetHosts {
			p.Egress = listeners[i]
		} else {
			p.Reached[port] = listeners[i]
		}
	}
	if v == nil {
		p.Forwarded = profile.Serve
	}
	go p.watch(listeners)
	return p
}

// attend reads what init sends until its end: sockets that were asked for, and the program's own wait status, which comes
// last. known is false when init was killed.
func (p *Process) attend() (ws syscall.WaitStatus, known bool) {
	var status []byte
	for len(status) < 4 {
		var b [4]byte
		n, fds, err := receive(p.host, b[:4-len(status)])
		for _, fd := range fds {
			select {
			case p.lent <- os.NewFile(uintptr(fd), "socket in the sandbox"):
			default:
				_ = unix.Close(fd)
			}
		}
		if err != nil || n == 0 {
			return 0, false
		}
		if len(fds) == 0 {
			status = append(status, b[:n]...)
		}
	}
	return syscall.WaitStatus(binary.LittleEndian.Uint32(status)), true
}

// watch collects the program's status and init, then cleans up. It ends when init has ended.
func (p *Process) watch(listeners []net.Listener) {
	status, known := p.attend()
	p.exit = Exit{Status: status, Known: known}
	early := known && p.group == nil && p.beside == nil && p.observed == nil
	if early {
		close(p.ended)
	}
	p.init.wait()
	for _, l := range listeners {
		_ = l.Close()
	}
	if p.group != nil {
		p.exit.Usage = p.group.usage()
		p.exit.OOM, p.exit.Memory = p.exit.Usage.OOM, p.group.memory
		// The pid namespace has taken every process with it, so the cgroup is empty within moments. If it is not, what is
		// in it is killed by its place in the cgroup.
		if p.group.remove(100*time.Millisecond) != nil {
			p.exit.Left = errors.Join(p.group.kill(), p.group.remove(time.Second))
		}
	}
	p.host.Close()
	select {
	case f := <-p.lent:
		f.Close()
	default:
	}
	if !early {
		p.exit.Left = errors.Join(p.exit.Left, p.beside.stop(), p.observed.stop(), p.beside.close())
		close(p.ended)
	}
	close(p.done)
}

// Ended is closed when the program and all it started have ended and this process has nothing to clean up; at the latest with Done. Init may be
// there for another moment, while the kernel takes the namespaces apart.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Exit blocks until Ended and returns how the program ended.
func (p *Process) Exit() Exit {
	<-p.ended
	return p.exit
}

// Done is closed when every process of the sandbox is gone and its cgroup is removed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait blocks until Done and returns how the program ended.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// Signal passes sig to the program through its init. SIGKILL ends the whole tree.
func (p *Process) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if s == syscall.SIGKILL {
		p.Kill()
		return nil
	}
	if !ok {
		return fmt.Errorf("signal %v is not one of this system", sig)
	}
	return p.init.signal(s)
}

// Kill ends the whole tree at once. It does not wait; see Done.
func (p *Process) Kill() {
	p.once.Do(func() {
		if p.beside == nil {
			_ = p.init.signal(syscall.SIGKILL)
			return
		}
		// Without a namespace that ends with it, init has to end the others, and does when the host is gone.
		letGo(p.host)
	})
}

// letGo tells init, over our end of the pair, that the host is gone.
func letGo(ours *os.File) {
	if raw, err := ours.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}

// Stop ends the program in order: grace for it to notice its closed standard input (which the caller has closed),
// SIGTERM, grace, then the end of the whole tree. It returns when everything is gone. Cancelling ctx skips the graces.
func (p *Process) Stop(ctx context.Context, grace time.Duration) Exit {
	for _, step := range []func(){func() { _ = p.Signal(syscall.SIGTERM) }, p.Kill} {
		select {
		case <-p.done:
			return p.exit
		case <-ctx.Done():
		case <-time.After(grace):
		}
		step()
	}
	return p.Wait()
}

// Usage reads what the tree uses now. Without a cgroup only Source "" and zeros come back.
func (p *Process) Usage() Usage {
	select {
	case <-p.done:
		return p.exit.Usage
	default:
	}
	if p.group == nil {
		return Usage{}
	}
	return p.group.usage()
}
