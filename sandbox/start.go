package sandbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// startTimeout bounds a start from the first byte to the program's exec. Measured starts take milliseconds.
const startTimeout = 20 * time.Second

// Sandbox starts programs. The zero value is not usable; see New. It is safe for concurrent use.
type Sandbox struct {
	Kernel   Kernel
	Launcher string // path of cordon-launch

	settling sync.Once
	settled  Groups // written by settling

	mu    sync.Mutex
	lacks string // guarded by mu; why the kernel refused namespaces, although nothing that Probe knows stood against them

	// Spawn replaces the launcher by a copy of this process: it starts sp's init with files as its descriptors and returns
	// its pid. nil starts Launcher. Only for small programs; see confine.Spawn.
	Spawn func(sp *spec.Spec, files []uintptr) (pid int, err error)
}

// New probes the kernel and finds the launcher beside this executable, or in ../libexec/cordon as packages install
// it. The environment is not asked: whoever may set it must not choose what confines.
func New() (*Sandbox, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find launcher: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return nil, fmt.Errorf("find launcher: %w", err)
	}
	for _, dir := range []string{filepath.Dir(exe), filepath.Join(filepath.Dir(exe), "../libexec/cordon")} {
		path := filepath.Join(dir, "cordon-launch")
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return &Sandbox{Kernel: Probe(), Launcher: path}, nil
		}
	}
	return nil, fmt.Errorf("find launcher: no cordon-launch beside %s", exe)
}

// settleTimeout bounds how long a service manager may take to make a cgroup.
const settleTimeout = 5 * time.Second

// kernelFor returns the facts that a plan for p rests on: before the first limit, the place for cgroups is made ready.
func (s *Sandbox) kernelFor(p Profile) Kernel {
	k := s.Kernel
	if wantsGroup(p) {
		s.settling.Do(func() { s.settled = k.Groups.settle(settleTimeout) })
		k.Groups = s.settled
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lacks != "" {
		k.Namespaces, k.Fix = s.lacks, lackFix
	}
	return k
}

const lackFix = "allow unprivileged user namespaces (a container runtime or security module forbids them)"

// refusedNamespaces reports whether a start failed because the machine gives no namespaces, and remembers it for the starts to
// come. What passes does not count, such as too many processes at the moment: a program could bring it about, and weaken
// its neighbours.
func (s *Sandbox) refusedNamespaces(err error) bool {
	var f *FailedStep
	if !errors.As(err, &f) {
		return false
	}
	denied := f.Errno == unix.EPERM || f.Errno == unix.EACCES
	lacks := ""
	switch {
	case f.Failed == spec.StepClone && (denied || f.Errno == unix.EINVAL || f.Errno == unix.ENOSYS):
		lacks = "the kernel refused user namespaces: " + f.Errno.Error()
	case denied && (f.Failed == spec.StepUserMap || f.Failed == spec.StepHostname || f.Failed == spec.StepLoopback || f.Failed == spec.StepRoot):
		lacks = fmt.Sprintf("the kernel gives user namespaces without rights in them (could not %s: %s)", f.Failed, f.Errno.Error())
	case denied && f.Failed == spec.StepProc && f.Index == 0:
		lacks = "the kernel refused a private /proc: " + f.Errno.Error()
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lacks = lacks
	return true
}

// Files are the program's standard streams. A nil file becomes /dev/null.
type Files struct{ In, Out, Err *os.File }

// Start confines and starts a program. The Report of the returned Process holds what was measured on it. Errors:
// *Refusal when something demanded cannot be had, *FailedStep (wrapped) when a step of the confinement failed,
// *NotFoundError when the program does not exist inside; in each case nothing runs. Cancelling ctx before Start
// returns ends the start; afterwards it has no effect.
func (s *Sandbox) Start(ctx context.Context, p Profile, c Command, f Files) (*Process, error) {
	for _, stream := range []*os.File{f.In, f.Out, f.Err} {
		// From an open directory of the host a program can look at and chmod everything around it: Landlock guards neither.
		if dir, err := isDir(stream); err != nil || dir {
			return nil, fmt.Errorf("start %s: a standard stream is a directory or cannot be looked at", name(c))
		}
	}
	k := s.kernelFor(p)
	proc, report, err := s.try(ctx, p, c, f, k)
	if k.Namespaces == "" && s.refusedNamespaces(err) { // a machine that says nothing of it before
		k = s.kernelFor(p)
		proc, report, err = s.try(ctx, p, c, f, k)
	}
	if err != nil {
		return nil, explain(err, p, c)
	}
	report.measure(proc.outcome, p)
	report.TriedAt = time.Now().UTC()
	if lost := report.missing(p.Demand); len(lost) > 0 { // measured less than planned
		proc.Kill()
		<-proc.Done()
		return nil, &Refusal{Missing: lost, Fix: k.Fix}
	}
	proc.Report = report
	return proc, nil
}

// name is what errors call a command.
func name(c Command) string {
	if len(c.Argv) == 0 {
		return "nothing"
	}
	return c.Argv[0]
}

// try plans for kernel k and starts.
func (s *Sandbox) try(ctx context.Context, p Profile, c Command, f Files, k Kernel) (proc *Process, report Report, err error) {
	sp, report, err := Plan(p, c, k, CurrentIdentity())
	if err != nil {
		return nil, report, err
	}
	var v *supervision
	if sp.Shared {
		if v, err = newSupervision(sp, p); err != nil {
			return nil, report, err
		}
		report.countEnv(sp) // with what it has added
	}
	o, err := newObservation(sp, p, v)
	if err != nil {
		return nil, report, errors.Join(err, v.close())
	}
	g, err := newGroup(k.Groups, p)
	if err == nil {
		proc, err = s.launch(ctx, p, sp, g, f, v, o)
	}
	if err != nil {
		if g != nil {
			_ = g.kill()
			_ = g.remove(time.Second)
		}
		return nil, report, errors.Join(err, o.stop(), v.close())
	}
	return proc, report, nil
}

// isDir reports whether f is a directory. No file is none.
func isDir(f *os.File) (dir bool, err error) {
	if f == nil {
		return false, nil
	}
	st, err := f.Stat()
	return err == nil && st.IsDir(), err
}

// NotFoundError says that the program to start does not exist inside the sandbox, or cannot be executed there.
type NotFoundError struct {
	Program  string
	Errno    syscall.Errno
	Writable string // the folder granted for writing because of which it cannot be executed, or ""
}

// Error says which program and why.
func (e *NotFoundError) Error() string {
	if e.Writable != "" {
		return fmt.Sprintf("program %q cannot be started inside the sandbox: it, or what runs it, lies in %s, which is granted for writing, and nothing in a writable folder can be executed; grant for writing only folders without programs",
			e.Program, e.Writable)
	}
	return fmt.Sprintf("program %q cannot be started inside the sandbox: %s", e.Program, e.Errno.Error())
}

// explain turns a failure into words that name the missing thing. A refusal says enough by itself.
func explain(err error, p Profile, c Command) error {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return err
	}
	var f *FailedStep
	switch {
	case !errors.As(err, &f):
	case f.Failed == spec.StepExec && f.Index == 0:
		e := &NotFoundError{Program: c.Argv[0], Errno: f.Errno}
		if f.Errno == unix.EACCES {
			e.Writable = writable(p, c.Argv[0])
		}
		return e
	case f.Failed == spec.StepMount:
		return fmt.Errorf("start %s: a granted path cannot be shown inside (%s); was it replaced by a link?: %w", name(c), f.Errno.Error(), err)
	}
	return fmt.Errorf("start %s: %w", name(c), err)
}

// writable returns the grant for writing that keeps program, an Argv[0], from being executed: one around it with no grant
// for reading in between, or one around the system's programs and libraries, where interpreters and loaders lie. Else "".
func writable(p Profile, program string) string {
	candidates := []string{program}
	if !filepath.IsAbs(program) {
		candidates = nil
		for _, dir := range Path {
			candidates = append(candidates, filepath.Join(dir, program))
		}
	}
	for _, w := range p.Write {
		for _, c := range slices.Concat(candidates, []string{"/usr", "/bin", "/lib", "/lib64"}) {
			if real, err := filepath.EvalSymlinks(c); err == nil && Below(real, w) &&
				!slices.ContainsFunc(p.Read, func(r string) bool { return Below(r, w) && Below(real, r) }) {
				return w
			}
		}
	}
	return ""
}

// launch starts init, through the launcher or as a copy of this process, and reads what comes back until end of file.
func (s *Sandbox) launch(ctx context.Context, p Profile, sp *spec.Spec, g *group, f Files, v *supervision, o *observation) (*Process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(pair[0], true) // so that reads of it can be interrupted by Close
	ours, theirs := os.NewFile(uintptr(pair[0]), "sandbox"), os.NewFile(uintptr(pair[1]), "launcher")
	m := newMonitor()
	attended := make(chan error, 1)
	switch {
	case v != nil:
		go func() { attended <- v.attend(ours, m.pids) }()
	case o != nil:
		go func() { attended <- o.attend(ours, len(sp.Listen)) }()
	default:
		attended <- nil
	}
	err = s.begin(ctx, sp, g, f, ours, theirs, m)
	close(m.pids)
	if err != nil {
		ours.Close() // the launcher ends by itself, or because of this; init and attend likewise
	}
	why := <-attended
	var step *FailedStep
	if why != nil && !errors.As(err, &step) && ctx.Err() == nil {
		err = errors.Join(why, err)
	}
	listeners := v.listeners()
	switch {
	case v != nil:
	case o != nil:
		listeners = o.listens
	case err == nil:
		listeners, err = receiveListeners(ours, len(sp.Listen))
	}
	if err != nil {
		ours.Close()
		if m.pid > 0 {
			reapInit(m.pid, v != nil)
		}
		for _, l := range listeners {
			_ = l.Close()
		}
		return nil, errors.Join(err, v.stop())
	}
	return newProcess(m, ours, g, p, listeners, v, o), nil
}

// receiveListeners takes the n listeners that init sent before its report.
func receiveListeners(from *os.File, n int) ([]net.Listener, error) {
	if n == 0 {
		return nil, nil
	}
	files, err := receiveFiles(from, n)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	var all []net.Listener
	for _, f := range files {
		l, err := net.FileListener(f)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// begin returns when the program runs, or with an error; then m.pid, if it is not 0, is that of an init that is left.
func (s *Sandbox) begin(ctx context.Context, sp *spec.Spec, g *group, f Files, ours, theirs *os.File, m *monitor) error {
	defer theirs.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reportR.Close()
	defer reportW.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	orNull := func(f *os.File) *os.File {
		if f == nil {
			return null
		}
		return f
	}
	files := []*os.File{orNull(f.In), orNull(f.Out), orNull(f.Err), theirs, reportW}
	if g != nil {
		joined, into, err := g.join()
		if err != nil {
			return fmt.Errorf("open cgroup: %w", err)
		}
		defer closeAll(joined)
		sp.Join, sp.Into = len(joined), into
		files = append(files, joined...)
	}
	stop := context.AfterFunc(ctx, func() { _ = reportR.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = reportR.SetReadDeadline(time.Now().Add(startTimeout))
	report := bufio.NewReader(reportR) // records come in one write each, so a deadline never cuts one
	read := func() error {
		err := readRecords(report, m)
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err = context.Cause(ctx); err == nil {
				err = fmt.Errorf("the launcher did not answer in %s", startTimeout)
			}
		}
		return err
	}
	if s.Spawn != nil {
		pid, err := s.spawn(sp, files)
		if err != nil {
			return err
		}
		m.found(pid)
		theirs.Close()
		reportW.Close()
		return read()
	}
	launcher, err := os.StartProcess(s.Launcher, []string{"cordon-launch"}, &os.ProcAttr{Dir: "/", Env: []string{"GOMAXPROCS=1"}, Files: files})
	if err != nil {
		return fmt.Errorf("start launcher: %w", err)
	}
	theirs.Close()
	reportW.Close()
	_ = ours.SetWriteDeadline(time.Now().Add(startTimeout))
	err = sendSpec(ours, sp)
	if err == nil {
		err = read()
	}
	if err == nil {
		_, err = launcher.Wait()
		return err
	}
	// The launcher ends by itself, and has told by then which init it has started; killed before, it could not.
	ours.Close()
	end := time.AfterFunc(lastWords, func() { _ = launcher.Kill() })
	_, _ = launcher.Wait()
	end.Stop()
	if m.pid == 0 {
		_ = reportR.SetReadDeadline(time.Now().Add(lastWords))
		_ = readRecords(report, m)
	}
	return err
}

// lastWords bounds the wait for a launcher whose start has failed. Measured ones take milliseconds.
const lastWords = 2 * time.Second

// spawn calls Spawn and puts a refusal of the kernel into the form that explain knows.
func (s *Sandbox) spawn(sp *spec.Spec, files []*os.File) (int, error) {
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	pid, err := s.Spawn(sp, fds)
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = &FailedStep{spec.Outcome{Failed: spec.StepClone, Errno: errno}}
	}
	return pid, err
}

// sendSpec writes sp, preceded by its length.
func sendSpec(w io.Writer, sp *spec.Spec) error {
	b := sp.Encode()
	if b == nil {
		return fmt.Errorf("the profile is too large: at most %d bytes when encoded", spec.MaxSpecBytes)
	}
	_, err := w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// reapInit ends and collects an init whose start has failed. The program may have begun all the same. Without a namespace that
// ends with it, init has to end what is there, and does because the host's end of the pair is closed; it is killed only if it
// does not.
func reapInit(pid int, shared bool) {
	c := child{pid: pid}
	kill := func() { _ = c.signal(unix.SIGKILL) }
	if shared {
		defer time.AfterFunc(startTimeout, kill).Stop()
	} else {
		kill()
	}
	c.wait()
}

// child is our child process pid. It does what os.Process does, without the file descriptor that would need a process of
// its own to find out whether the kernel has such descriptors. Safe for concurrent use; wait is called once.
type child struct {
	pid  int
	mu   sync.Mutex
	gone bool // guarded by mu: collected, so the number may mean another process
}

func (c *child) signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return os.ErrProcessDone
	}
	return unix.Kill(c.pid, sig)
}

// wait returns when the process has ended and is collected.
func (c *child) wait() {
	for unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if _, err := unix.Wait4(c.pid, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	c.gone = true
}
