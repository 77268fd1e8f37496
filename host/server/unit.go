package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/secret"
	"cordon/host/tool"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// unit is one server: its definition and, while it is wanted, the goroutine that keeps it running.
type unit struct {
	s     *Supervisor
	name  string
	lines ring

	mu      sync.Mutex
	def     config.Server      // guarded by mu
	view    View               // guarded by mu
	cancel  context.CancelFunc // guarded by mu; nil when not wanted
	ending  bool               // guarded by mu; wanted no more, and not gone yet
	first   *attempt           // guarded by mu; the first one since it was wanted
	done    chan struct{}      // guarded by mu; closed when the goroutine has ended
	session *session           // guarded by mu; nil unless running
	proc    *sandbox.Process   // guarded by mu; nil unless there is a process
	files   files              // guarded by mu
	running []string           // guarded by mu; ids of the calls that it works on, the latest last
}

func (u *unit) snapshot() View {
	u.mu.Lock()
	v, proc := u.view, u.proc
	v.Def = u.def
	u.mu.Unlock()
	v.StderrLines = u.lines.count()
	if proc != nil {
		v.Usage = proc.Usage()
	}
	return v
}

// update changes the view and tells the others.
func (u *unit) update(f func(v *View)) {
	u.mu.Lock()
	before := u.view.State
	f(&u.view)
	if u.view.State != before {
		u.view.Since = time.Now().UTC()
	}
	u.mu.Unlock()
	u.s.o.Changed()
}

func (u *unit) note(format string, args ...any) {
	u.lines.add(cordonPrefix + fmt.Sprintf(format, args...))
}

// attempt is a start that several callers may wait for.
type attempt struct {
	told chan struct{}
	err  error // written before told is closed
}

func (a *attempt) tell(err error) {
	select {
	case <-a.told:
	default:
		a.err = err
		close(a.told)
	}
}

// start makes the unit wanted and waits for the first attempt.
func (u *unit) start(ctx context.Context) error {
	u.mu.Lock()
	for u.ending { // what is being stopped is not what we want
		done := u.done
		u.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		u.mu.Lock()
	}
	first, ours := u.first, u.cancel == nil
	if ours {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		first = &attempt{told: make(chan struct{})}
		u.cancel, u.done, u.first = cancel, done, first
		u.s.wg.Go(func() {
			defer close(done)
			defer cancel()
			err := u.keepRunning(run, func() { first.tell(nil) })
			u.mu.Lock()
			u.cancel, u.ending = nil, false
			u.mu.Unlock()
			first.tell(err) // who waits may start again at once
		})
	}
	u.mu.Unlock()
	select {
	case <-first.told:
		return first.err
	case <-ctx.Done():
		if ours {
			u.stop(context.Background())
		}
		return context.Cause(ctx)
	}
}

// stop makes the unit unwanted and waits until nothing is left.
func (u *unit) stop(ctx context.Context) {
	u.mu.Lock()
	cancel, done := u.cancel, u.done
	u.ending = cancel != nil
	u.mu.Unlock()
	if cancel == nil {
		if done != nil {
			<-done
		}
		return
	}
	cancel()
	hurry := context.AfterFunc(ctx, func() {
		u.mu.Lock()
		proc := u.proc
		u.mu.Unlock()
		if proc != nil {
			proc.Kill()
		}
	})
	defer hurry()
	<-done
}

// keepRunning runs the server again and again until ctx ends, it cannot start, or it crashes too often. It calls
// ready each time the server lists its tools, and returns why the last attempt ended.
func (u *unit) keepRunning(ctx context.Context, ready func()) error {
	worked := false
	for restarts := 0; ; restarts++ {
		began := time.Now()
		u.update(func(v *View) { v.State, v.Err, v.Restarts = Starting, nil, restarts })
		err := u.runOnce(ctx, func() { worked = true; ready() })
		if ctx.Err() != nil {
			u.update(func(v *View) { v.State, v.Err, v.Pid, v.Tools = Stopped, nil, 0, nil })
			return context.Canceled
		}
		state := Crashed
		var refusal *sandbox.Refusal
		if errors.As(err, &refusal) {
			state = Refused
		}
		u.note("%v", err)
		u.update(func(v *View) { v.State, v.Err, v.Pid, v.Tools = state, err, 0, nil })
		if time.Since(began) > steady {
			restarts = 0
		}
		var early *startError
		// Before it ever worked a person is waiting for the reason: say it, do not repeat the attempt.
		if !worked || state == Refused || errors.As(err, &early) || restarts+1 >= maxRestarts {
			return err
		}
		select {
		case <-ctx.Done():
			u.update(func(v *View) { v.State, v.Err = Stopped, nil })
			return context.Canceled
		case <-time.After(u.s.o.Backoff << restarts):
		}
	}
}

// startError is a failure before the server was ready; repeating it would not help.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// runOnce starts the server, calls ready when it lists its tools, and returns when it has ended and everything is
// cleaned up. It returns nil only when ctx ended it.
func (u *unit) runOnce(ctx context.Context, ready func()) (err error) {
	u.mu.Lock()
	def := u.def
	u.mu.Unlock()
	profile, command, fs, err := u.prepare(ctx, def)
	if err != nil {
		u.record(audit.Event{Kind: audit.ServerRefused, Decision: startDecision(err), Reason: err.Error()})
		return &startError{err}
	}
	pipes, err := openPipes()
	if err != nil {
		return &startError{err}
	}
	defer pipes.close()
	proc, err := u.s.o.Sandbox.Start(ctx, profile, command, sandbox.Files{In: pipes.childIn, Out: pipes.childOut, Err: pipes.childErr})
	if err != nil {
		if ctx.Err() == nil {
			u.record(audit.Event{Kind: audit.ServerRefused, Decision: startDecision(err), Reason: err.Error()})
		}
		return &startError{err}
	}
	pipes.closeChild()
	began := time.Now()
	u.mu.Lock()
	u.proc, u.files = proc, fs
	u.mu.Unlock()
	var drained sync.WaitGroup
	drained.Go(func() { u.lines.drain(pipes.err) })
	u.update(func(v *View) { v.Pid, v.Report = proc.Pid, proc.Report })
	enforced, of := proc.Report.Count()
	_, auditErr := u.s.o.Audit.Append(audit.Event{Kind: audit.ServerStart, Server: u.name, Facts: map[string]string{
		"pid": strconv.Itoa(proc.Pid), "tier": string(proc.Report.Tier), "enforced": fmt.Sprintf("%d of %d", enforced, of),
		"landlock": strconv.Itoa(proc.Report.Landlock), "limits": proc.Report.Limits, "command": strings.Join(command.Argv, " ")}})
	reached := u.letOut(ctx, proc, def)
	var exit sandbox.Exit
	defer func() {
		drained.Wait()
		reached()
		u.mu.Lock()
		u.session, u.proc = nil, nil
		u.mu.Unlock()
		u.record(audit.Event{Kind: audit.ServerStop, Reason: exit.String(), Took: time.Since(began), Facts: map[string]string{"pid": strconv.Itoa(proc.Pid)}})
		if exit.Left != nil {
			u.s.o.Log.Error("sandbox left something behind", "server", u.name, "err", exit.Left)
		}
	}()
	if auditErr == nil {
		err = u.serve(ctx, proc, pipes, def, &drained, ready)
	} else {
		err = auditErr
	}
	pipes.in.Close() // the polite request to end
	grace := ctx
	if err != nil && ctx.Err() == nil {
		grace = cancelled() // it misbehaved: no courtesy
	} else {
		grace = context.WithoutCancel(ctx)
	}
	exit = proc.Stop(grace, u.s.o.Grace)
	if err != nil && !errors.Is(err, errEnded) {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	drained.Wait() // all of its words
	text := u.s.o.Mask(u.lines.last(3))
	if text != "" {
		return fmt.Errorf("%s %s; it said: %s", u.name, exit, text)
	}
	return fmt.Errorf("%s %s and said nothing", u.name, exit)
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// errEnded means that the program ended by itself.
var errEnded = errors.New("ended")

// serve does the handshake, lists the tools and waits for an end: of ctx, of the program, or of the session.
func (u *unit) serve(ctx context.Context, proc *sandbox.Process, p *pipes, def config.Server, drained *sync.WaitGroup, ready func()) error {
	handshake, cancel := context.WithTimeout(ctx, u.s.patience)
	defer cancel()
	ended := make(chan struct{})
	go func() { // ends with the process, which runOnce always waits for
		<-proc.Done() // what it wrote is still read to its end
		close(ended)
	}()
	var findings atomic.Int32
	var dropped atomic.Pointer[string] // the last finding about a message that was dropped
	found := func(rule, text string) {
		if strings.HasPrefix(rule, "wire.invalid-") {
			dropped.Store(&text)
		}
		u.note("%s: %s", rule, text)
		if findings.Add(1) <= maxFindings {
			u.record(audit.Event{Kind: audit.FindingMade, Rule: rule, Reason: text, Decision: audit.Marked})
		}
	}
	relist := make(chan struct{}, 1)
	changed := func() {
		select {
		case relist <- struct{}{}:
		default:
		}
	}
	var noisy atomic.Int32
	noise := func(line []byte) {
		if noisy.Add(1) == 1 {
			found("wire.noise", "the server prints lines on its standard output that are not protocol messages; they are skipped")
		}
		u.lines.add(noisePrefix + string(line))
	}
	s, err := connect(handshake, u.name, p.out, p.in, u.s.o.Version, drained, noise, found, changed)
	if err != nil {
		return u.explain(ctx, handshake, err, noisy.Load() > 0, dropped.Load(), proc, drained.Wait)
	}
	defer s.close()
	_, _, instructions := s.info()
	if len(instructions) > maxInstructions {
		s.close()
		return &startError{fmt.Errorf("%s sends %d bytes of instructions, at most %d are taken", u.name, len(instructions), maxInstructions)}
	}
	tools, err := s.tools(handshake, def.Source)
	if err != nil {
		return u.explain(ctx, handshake, err, noisy.Load() > 0, dropped.Load(), proc, func() { s.close(); drained.Wait() })
	}
	u.publish(s, tools)
	ready()
	gone := make(chan struct{})
	go func() { _ = s.mcp.Wait(); close(gone) }() // ends when the pipe does
	var last time.Time
	var again <-chan time.Time // nil unless a listing is due
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return errEnded
		case <-gone:
			select {
			case <-ended:
				return errEnded
			case <-time.After(u.s.o.Grace):
				return fmt.Errorf("%s closed its connection", u.name)
			}
		case <-relist: // a server that announces changes without end is listed once in a while
			if again == nil {
				again = time.After(time.Until(last.Add(relistPause)))
			}
		case <-again:
			again, last = nil, time.Now()
			listing, cancel := context.WithTimeout(ctx, u.s.patience)
			tools, err := s.tools(listing, def.Source)
			cancel()
			if err != nil {
				found("wire.relist-failed", "its changed tool list could not be read")
				continue
			}
			u.publish(s, tools)
		}
	}
}

// publish makes the tools callable.
func (u *unit) publish(s *session, tools []tool.Tool) {
	title, version, instructions := s.info()
	defs := map[string][]byte{}
	for _, t := range tools {
		defs[t.ID.Name] = t.Definition
	}
	u.update(func(v *View) {
		u.session = s
		fp := u.files.fingerprint // as looked at last: a change seen since the start stays seen
		fp.Instructions, fp.Tools = instructions, defs
		v.State, v.Err, v.Title, v.Version, v.Tools, v.Fingerprint, v.Instructions = Running, nil, title, version, tools, fp, instructions
	})
}

// explain says why a handshake failed, in words that help. What Cordon noticed comes before how the program ended,
// because the end of the session ends many programs. drain waits for the words of a program that has ended.
func (u *unit) explain(ctx, handshake context.Context, err error, noisy bool, dropped *string, proc *sandbox.Process, drain func()) error {
	silent := errors.Is(handshake.Err(), context.DeadlineExceeded)
	switch {
	case ctx.Err() != nil:
		return &startError{ctx.Err()}
	case silent && dropped != nil:
		return &startError{fmt.Errorf("%s gave no answer in %s that could be used: %s", u.name, u.s.patience, *dropped)}
	case silent && noisy:
		return &startError{fmt.Errorf("%s does not speak MCP: it printed text where messages are expected and gave no answer in %s", u.name, u.s.patience)}
	case silent:
		return &startError{fmt.Errorf("%s gave no answer in %s", u.name, u.s.patience)}
	case errors.Is(err, ErrLineTooLong) || strings.Contains(err.Error(), ErrLineTooLong.Error()):
		return &startError{fmt.Errorf("%s: %w", u.name, ErrLineTooLong)}
	case ended(proc):
		drain()
		text := u.s.o.Mask(u.lines.last(5))
		if text == "" {
			text = "nothing"
		}
		return &startError{fmt.Errorf("%s %s before it answered; it said: %s", u.name, proc.Wait(), text)}
	}
	return &startError{fmt.Errorf("%s did not complete the handshake: %w", u.name, err)}
}

// record writes an event about this server; a log that cannot be written shows itself at the next call.
func (u *unit) record(e audit.Event) {
	e.Server = u.name
	if _, err := u.s.o.Audit.Append(e); err != nil {
		u.s.o.Log.Error("audit", "server", u.name, "err", err)
	}
}

// call runs c on the live session.
func (u *unit) call(ctx context.Context, c tool.Call) (tool.Result, error) {
	u.mu.Lock()
	s, proc := u.session, u.proc
	if s != nil && proc != nil {
		u.running = append(u.running, c.ID)
	}
	u.mu.Unlock()
	if s == nil || proc == nil {
		return tool.Result{}, fmt.Errorf("%w: %s", ErrNotRunning, u.name)
	}
	r, err := s.call(ctx, c)
	u.mu.Lock()
	u.running = slices.DeleteFunc(u.running, func(id string) bool { return id == c.ID })
	u.mu.Unlock()
	if err == nil || ctx.Err() != nil {
		return r, err
	}
	if ended(proc) {
		return tool.Result{}, fmt.Errorf("%s %s during the call", u.name, proc.Wait())
	}
	return tool.Result{}, fmt.Errorf("%s: %w", u.name, err)
}

// ended reports whether the process is gone. A crash shows on the pipe before it shows in the process table.
func ended(proc *sandbox.Process) bool {
	select {
	case <-proc.Done():
		return true
	case <-time.After(200 * time.Millisecond):
		return false
	}
}

// prepare turns a definition into what the sandbox takes, and takes the fingerprint of what will run.
func (u *unit) prepare(ctx context.Context, def config.Server) (sandbox.Profile, sandbox.Command, files, error) {
	p := sandbox.Profile{Memory: def.Memory, Pids: def.Pids, Net: sandbox.NetNone}
	switch def.Net {
	case config.NetLoopback:
		p.Net = sandbox.NetLoopback
	case config.NetHosts:
		p.Net = sandbox.NetHosts
	}
	p.Demand = sandbox.Isolation(p.Net)
	for _, grant := range []struct {
		from []string
		to   *[]string
	}{{def.Read, &p.Read}, {def.Write, &p.Write}} {
		for _, path := range grant.from {
			real, err := sandbox.Resolve(path)
			if err != nil {
				return p, sandbox.Command{}, files{}, fmt.Errorf("granted folder: %w", err)
			}
			if real != path {
				return p, sandbox.Command{}, files{}, fmt.Errorf("granted folder %s has become a link to %s; grant the new place if that is right", path, real)
			}
			*grant.to = append(*grant.to, path)
		}
	}
	program, err := lookUp(def.Command[0])
	if err != nil {
		return p, sandbox.Command{}, files{}, fmt.Errorf("%s: %w", u.name, err)
	}
	if !sandbox.InSystem(program) {
		p.Read = append(p.Read, program)
	}
	if def.Dir != "" {
		p.Read = append(p.Read, def.Dir)
	}
	fs, err := lookAtFiles(ctx, def, program)
	if err != nil {
		return p, sandbox.Command{}, files{}, err
	}
	c := sandbox.Command{Argv: append([]string{program}, def.Command[1:]...), Dir: def.Dir}
	if p.Net == sandbox.NetHosts {
		c.Env = egress.Environment(sandbox.EgressAddr)
	}
	for k, v := range def.Env {
		c.Env = append(c.Env, k+"="+v)
	}
	for env, name := range def.Secrets {
		v, err := u.s.o.Secrets.Get(ctx, secret.Ref{Name: name, Server: u.name, Env: env})
		if err != nil {
			return p, c, fs, fmt.Errorf("secret %q for %s: %w", name, env, err)
		}
		c.Env = append(c.Env, env+"="+v.Reveal())
		u.record(audit.Event{Kind: audit.SecretUse, Facts: map[string]string{"secret": name, "env": env}})
	}
	return p, c, fs, nil
}

// lookUp finds a program on the host where the sandbox will find it, with symbolic links followed.
func lookUp(name string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, d := range sandbox.Path {
			candidates = append(candidates, filepath.Join(d, name))
		}
	}
	for _, c := range candidates {
		if st, err := os.Stat(c); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return sandbox.Resolve(c)
		}
	}
	return "", fmt.Errorf("program %q does not exist or cannot be executed", name)
}

// files is what a server consists of on disk, and how to notice that one of them was touched.
type files struct {
	def         config.Server
	program     string
	fingerprint pin.Fingerprint
	marks       []string // what stat says of each watched file
}

// lookAtFiles hashes the program, the files its command names and, for an installed server, its whole tree.
func lookAtFiles(ctx context.Context, def config.Server, program string) (files, error) {
	f := files{def: def, program: program, marks: marks(def, program)}
	f.fingerprint = pin.Fingerprint{Command: def.Command, BinaryPath: program}
	var err error
	if f.fingerprint.Binary, err = pin.HashFile(ctx, program); err != nil {
		return f, err
	}
	var parts [][]byte
	for _, path := range named(def) {
		d, err := pin.HashFile(ctx, path)
		if err != nil {
			return f, err
		}
		parts = append(parts, []byte(path), d[:])
		f.fingerprint.Files++
	}
	if def.Dir != "" {
		tree, err := pin.HashTree(ctx, def.Dir)
		if err != nil {
			return f, err
		}
		parts = append(parts, tree.Digest[:])
		f.fingerprint.Files += tree.Files
	}
	if len(parts) > 0 {
		f.fingerprint.Tree = tool.Sum(parts...)
	}
	return f, nil
}

// named lists the regular files outside Dir that the command's arguments name: scripts, jars, configurations.
func named(def config.Server) []string {
	var paths []string
	for _, arg := range def.Command[1:] {
		if !filepath.IsAbs(arg) || def.Dir != "" && strings.HasPrefix(arg, def.Dir+"/") {
			continue
		}
		if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() {
			paths = append(paths, arg)
		}
	}
	return paths
}

// marks is a cheap look: identity, size and change time cannot be faked together without root.
func marks(def config.Server, program string) []string {
	watched := append([]string{program}, named(def)...)
	for _, arg := range def.Command[1:] {
		if def.Dir != "" && strings.HasPrefix(arg, def.Dir+"/") {
			watched = append(watched, arg)
		}
	}
	out := make([]string, 0, len(watched))
	for _, path := range watched {
		out = append(out, path+" "+mark(path))
	}
	return out
}

// fingerprint looks at the watched files and hashes again if one was touched.
func (u *unit) fingerprint(ctx context.Context) (pin.Fingerprint, error) {
	u.mu.Lock()
	fs, fp, state := u.files, u.view.Fingerprint, u.view.State
	u.mu.Unlock()
	if state != Running {
		return pin.Fingerprint{}, fmt.Errorf("%w: %s", ErrNotRunning, u.name)
	}
	now := marks(fs.def, fs.program)
	if slices.Equal(now, fs.marks) {
		return fp, nil
	}
	again, err := lookAtFiles(ctx, fs.def, fs.program)
	if err != nil {
		return pin.Fingerprint{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files = again
	fp = again.fingerprint
	fp.Tools, fp.Instructions = u.view.Fingerprint.Tools, u.view.Fingerprint.Instructions // may be newer than those above
	u.view.Fingerprint = fp
	return fp, nil
}

// pipes are a server's standard streams: our ends and the child's.
type pipes struct {
	in                          *os.File // we write
	out, err                    *os.File // we read
	childIn, childOut, childErr *os.File
}

func openPipes() (*pipes, error) {
	p := new(pipes)
	for _, ends := range []struct{ r, w **os.File }{{&p.childIn, &p.in}, {&p.out, &p.childOut}, {&p.err, &p.childErr}} {
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, err
		}
		*ends.r, *ends.w = r, w
	}
	return p, nil
}

func (p *pipes) closeChild() {
	for _, f := range []io.Closer{p.childIn, p.childOut, p.childErr} {
		_ = f.Close()
	}
}

// close closes every end; closing twice is harmless.
func (p *pipes) close() {
	for _, f := range []*os.File{p.in, p.out, p.err, p.childIn, p.childOut, p.childErr} {
		if f != nil {
			_ = f.Close()
		}
	}
}
