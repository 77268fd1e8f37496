package sandbox

import (
	"context"
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

	init    *child
	host    *os.File     // our end of the pair: closing it ends the sandbox
	group   *group       // nil without limits
	beside  *supervision // nil with namespaces
	outcome *spec.Outcome
	done    chan struct{}
	once    sync.Once

	// Written before done is closed.
	exit Exit
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

func newProcess(m *monitor, host *os.File, g *group, egress net.Listener, v *supervision) *Process {
	p := &Process{Pid: m.pid, Egress: egress, init: &child{pid: m.pid}, host: host, group: g, beside: v, outcome: m.outcome, done: make(chan struct{})}
	go p.watch()
	return p
}

// watch collects the program's status and init, then cleans up. It ends when init has ended.
func (p *Process) watch() {
	status, known := waitStatus(p.host)
	p.init.wait()
	p.exit = Exit{Status: status, Known: known}
	if p.Egress != nil {
		_ = p.Egress.Close()
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
	p.exit.Left = errors.Join(p.exit.Left, p.beside.close())
	close(p.done)
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
		if raw, err := p.host.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
		}
	})
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
