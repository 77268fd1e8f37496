// Package confined is `cordon sandbox exec`: it turns grants into a profile, starts one program and passes signals and
// its end on. It imports little, because two commands use it: cordon, whose start would otherwise cost more than the
// sandbox, and cordon-cli, which does everything else.
package confined

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cordon/sandbox"
)

// Flags are the grants, as they stand on the command line.
type Flags struct {
	Read, Write []string            // files and directories
	Env         []string            // NAME to pass on, or NAME=VALUE
	Net         string              // "none", "loopback" or "hosts"
	Mem         string              // such as "512M", "" for no limit
	Pids        int                 // 0 for no limit
	CPU         float64             // cores, 0 for no limit
	Demand      []sandbox.Guarantee // besides sandbox.Isolation
	Shared      bool                // confine as on a machine without user namespaces

	Reach []uint16 // ports of this computer's loopback
	Serve []uint16 // ports that programs of this computer may call

	// Carry serves the connections of a program until it has ended: the proxy for Net "hosts", and ports. wait returns when all
	// have ended, with their errors, also after an error. nil in the small program, which has none of these.
	Carry func(ctx context.Context, p *sandbox.Process) (wait func() error, err error)

	Observe bool                   // see sandbox.Profile; the working directory is then there inside, empty if it is not granted
	Ended   func(*sandbox.Process) // if not nil, is told of the program when it has ended, before this process ends as it did
}

// Limited reports whether there is a limit that a cgroup keeps.
func (f Flags) Limited() bool { return f.Mem != "" || f.Pids != 0 || f.CPU != 0 }

// Signals are passed on to the program.
var Signals = []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGALRM, syscall.SIGCONT}

// Exit codes besides the program's own, as env(1) has them.
const (
	CodeUsage   = 2   // the flags are wrong
	CodeFailed  = 125 // the sandbox could not be made
	CodeNoExec  = 126 // the program cannot be executed
	CodeMissing = 127 // there is no such program
)

// Error ends the command with a code. A nil Err says nothing: the program ended so by itself.
type Error struct {
	Code int
	Err  error
}

// Error says why, or names the code.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Run starts a program and returns when it has ended: nil, or an *Error with its exit code. A signal that ended the
// program ends this process too. started, if not nil, is told of the running program and how long its start took; its
// error ends the program. ran reports whether the program was started.
func (f Flags) Run(ctx context.Context, sb *sandbox.Sandbox, args []string, started func(*sandbox.Process, time.Duration) error) (ran bool, end error) {
	profile, err := f.profile()
	if err != nil {
		return false, &Error{CodeUsage, err}
	}
	if f.Shared {
		sb.Kernel.Namespaces = "--without-namespaces was given"
	}
	command, err := f.command(&profile, args)
	var coded *Error
	switch {
	case errors.As(err, &coded):
		return false, err
	case err != nil:
		return false, &Error{CodeFailed, err}
	}
	// Signals that arrive between here and the start are kept and passed on. Spawn does that by itself.
	signals := make(chan os.Signal, 16)
	if sb.Spawn == nil {
		for _, sig := range Signals {
			if !signal.Ignored(sig) { // by whoever started this, for the program too
				signal.Notify(signals, sig)
			}
		}
	}
	began := time.Now()
	stream, err := openStreams()
	if err != nil {
		return false, &Error{CodeFailed, err}
	}
	p, err := sb.Start(ctx, profile, command, stream.Files)
	if err != nil {
		stream.close()
	} else {
		stream.begin()
	}
	var missing *sandbox.NotFoundError
	switch {
	case errors.As(err, &missing) && missing.Errno == syscall.ENOENT:
		return false, &Error{CodeMissing, err}
	case errors.As(err, &missing):
		return false, &Error{CodeNoExec, err}
	case err != nil:
		return false, &Error{CodeFailed, err}
	}
	if f.Carry != nil {
		carried, err := f.Carry(ctx, p)
		if err != nil {
			p.Kill()
			p.Wait()
			return true, &Error{CodeFailed, errors.Join(err, carried(), stream.wait())}
		}
		defer func() { // every listener is closed by then
			if failed := carried(); failed != nil && end == nil {
				end = &Error{CodeFailed, failed}
			}
		}()
	}
	if started != nil {
		if err := started(p, time.Since(began)); err != nil {
			p.Kill()
			p.Wait()
			return true, &Error{CodeFailed, errors.Join(err, stream.wait())}
		}
	}
	for {
		select {
		case s := <-signals:
			_ = p.Signal(s)
		case <-p.Ended():
			written := stream.wait()
			if f.Ended != nil {
				f.Ended(p)
			}
			return true, passOn(p.Exit(), written)
		}
	}
}

// PortList is a flag that may stand several times, each a port or several with commas.
type PortList []uint16

// Set implements pflag.Value.
func (l *PortList) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port: a number from 1 to 65535", word)
		}
		*l = append(*l, uint16(n))
	}
	return nil
}

// String implements pflag.Value.
func (l *PortList) String() string { return sandbox.Ports(*l) }

// Type implements pflag.Value.
func (*PortList) Type() string { return "PORT" }

// passOn ends this process the way the program ended. failed is why not all that it wrote could be written: it comes with the program's own
// exit code, if it noticed.
func passOn(exit sandbox.Exit, failed error) error {
	if exit.OOM {
		return &Error{137, errors.New("the program used more memory than --mem allows and was ended")}
	}
	if failed != nil {
		if code := exit.Code(); code != 0 && !(exit.Known && exit.Status.Signaled()) {
			return &Error{code, failed}
		}
		return &Error{CodeFailed, failed}
	}
	if exit.Known && exit.Status.Signaled() {
		sandbox.DieBy(exit.Status.Signal())
	}
	if code := exit.Code(); code != 0 {
		return &Error{code, nil}
	}
	return nil
}

func (f Flags) profile() (sandbox.Profile, error) {
	p := sandbox.Profile{Pids: f.Pids, CPU: f.CPU, Reach: f.Reach, Serve: f.Serve, Observe: f.Observe}
	var err error
	if p.Net, err = network(f.Net); err != nil {
		return p, err
	}
	if p.Net == sandbox.NetHosts && f.Carry == nil {
		return p, errors.New("--net hosts: name each with --host")
	}
	if p.Memory, err = sandbox.ParseBytes(f.Mem); err != nil {
		return p, err
	}
	for _, list := range []struct {
		from []string
		to   *[]string
	}{{f.Read, &p.Read}, {f.Write, &p.Write}} {
		for _, path := range list.from {
			real, err := sandbox.Resolve(path)
			if err != nil {
				return p, fmt.Errorf("grant %w", err)
			}
			*list.to = append(*list.to, real)
		}
	}
	p.Demand = sandbox.Isolation(p.Net, f.Demand...)
	return p, p.Validate()
}

func network(s string) (sandbox.Net, error) {
	switch s {
	case "none":
		return sandbox.NetNone, nil
	case "loopback":
		return sandbox.NetLoopback, nil
	case "hosts":
		return sandbox.NetHosts, nil
	}
	return 0, fmt.Errorf("--net %q: it is none or loopback, or is left out with --host", s)
}

// command builds what to run: a named file is granted by naming it, the working directory is kept where it is
// visible inside.
func (f Flags) command(p *sandbox.Profile, args []string) (sandbox.Command, error) {
	c := sandbox.Command{Argv: args}
	if strings.Contains(args[0], "/") {
		real, err := sandbox.Resolve(args[0])
		if err != nil {
			return c, &Error{CodeMissing, fmt.Errorf("program %w", err)}
		}
		switch st, err := os.Stat(real); {
		case err != nil:
			return c, &Error{CodeNoExec, fmt.Errorf("program %w", err)}
		case st.IsDir():
			return c, &Error{CodeNoExec, fmt.Errorf("program %s is a folder and cannot be executed", args[0])}
		case !st.Mode().IsRegular():
			return c, &Error{CodeNoExec, fmt.Errorf("program %s is not a plain file and cannot be executed", args[0])}
		}
		c.Argv = append([]string{real}, args[1:]...)
		if !covered(real, *p) {
			p.Read = append(p.Read, real)
		}
	}
	if dir, err := os.Getwd(); err == nil {
		if real, err := sandbox.Resolve(dir); err == nil && (covered(real, *p) || f.Observe) {
			c.Dir = real
		}
	}
	for _, v := range f.Env {
		name, _, set := strings.Cut(v, "=")
		if name == "" {
			return c, fmt.Errorf("--env %q has no name", v)
		}
		if !set {
			value, ok := os.LookupEnv(name)
			if !ok {
				return c, fmt.Errorf("--env %s: it is not set here", name)
			}
			v = name + "=" + value
		}
		c.Env = append(c.Env, v)
	}
	return c, nil
}

// covered reports whether path is visible inside under p.
func covered(path string, p sandbox.Profile) bool {
	return sandbox.InSystem(path) || sandbox.Below(path, p.Read...) || sandbox.Below(path, p.Write...)
}
