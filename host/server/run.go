package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/tool"
	"cordon/host/wire"
	"cordon/sandbox"
)

// One run of a server: from the start of its program to its end.

// startError is a failure before the server was ready; repeating it would not help.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// runOnce starts the server when it is its turn, calls ready when it lists its tools, and returns when it has ended and
// everything is cleaned up. It returns nil only when ctx ended it.
func (u *unit) runOnce(ctx context.Context, restart bool, ready func()) (err error) {
	u.begins()
	if def := u.definition(); def.Remote() {
		return u.connectOnce(ctx, def, ready)
	}
	release, err := u.s.turns.take(ctx, func() urgency {
		switch {
		case u.waiting.Load() > 0:
			return callWaits
		case restart:
			return afterCrash
		}
		return firstStart
	})
	if err != nil {
		return &startError{err}
	}
	defer release()
	def := u.borrow()
	defer u.giveBack()
	l, err := u.prepare(ctx, def)
	u.update(func(v *View) { v.Limited = l.limited })
	if err != nil {
		u.record(audit.Event{Kind: audit.ServerRefused, Decision: startDecision(err), Reason: err.Error()})
		return &startError{err}
	}
	defer l.release()
	u.step(StepFiles, many(l.files.fingerprint.Files+1, "file"))
	pipes, err := openPipes()
	if err != nil {
		return &startError{err}
	}
	defer pipes.close()
	proc, err := u.launch(ctx, l, sandbox.Files{In: pipes.childIn, Out: pipes.childOut, Err: pipes.childErr})
	if err != nil {
		if ctx.Err() == nil {
			u.record(audit.Event{Kind: audit.ServerRefused, Decision: startDecision(err), Reason: err.Error()})
		}
		return &startError{err}
	}
	pipes.closeChild()
	began := time.Now()
	var drained sync.WaitGroup
	guard := u.newGuard()
	with := u.process(proc, pipes, guard.Guard, &drained, l.lease)
	u.mu.Lock()
	u.proc, u.with, u.files, u.started = proc, with, l.files, l.files.fingerprint
	u.mu.Unlock()
	drained.Go(func() {
		u.lines.drain(&paced{src: pipes.err, over: proc.Done(), slow: func() {
			guard.found(wire.StderrFlood, "the server writes to its standard error without end; it is read at 1 MiB a second, and waits for that")
		}})
	})
	u.update(func(v *View) { v.Pid, v.Report = proc.Pid, proc.Report })
	enforced, of := proc.Report.Count()
	u.step(StepSandbox, fmt.Sprintf("%s, %d of %d guarantees, process %d", proc.Report.Tier, enforced, of, proc.Pid))
	facts := map[string]string{"pid": strconv.Itoa(proc.Pid), "tier": string(proc.Report.Tier), "enforced": fmt.Sprintf("%d of %d", enforced, of),
		"landlock": strconv.Itoa(proc.Report.Landlock), "limits": proc.Report.Limits, "command": strings.Join(l.command.Argv, " ")}
	if l.limited {
		facts["without"] = strings.Join(Limits(def), ", ")
	}
	_, auditErr := u.s.o.Audit.Append(audit.Event{Kind: audit.ServerStart, Server: u.name, Facts: facts})
	reached := u.letOut(ctx, proc, l.rules)
	wanted := &wishes{u: u}
	proc.EachWant(wanted.of)
	var exit sandbox.Exit
	defer func() {
		drained.Wait()
		reached()
		<-proc.Done() // no wish comes after it
		wanted.end()
		u.mu.Lock()
		u.session, u.proc, u.with = nil, nil, nil
		u.mu.Unlock()
		stop := audit.Event{Kind: audit.ServerStop, Reason: exit.String(), Took: time.Since(began), Facts: map[string]string{"pid": strconv.Itoa(proc.Pid)}}
		if errors.Is(err, errIdle) {
			stop.Reason, stop.Facts["exit"] = "idle", exit.String()
		}
		u.record(stop)
		if exit.Left != nil {
			u.s.o.Log.Error("sandbox left something behind", "server", u.name, "err", exit.Left)
		}
	}()
	if auditErr == nil {
		err = u.serve(ctx, with, guard, def, func() { release(); ready() })
	} else {
		err = auditErr
	}
	pipes.in.Close() // the polite request to end
	grace := context.WithoutCancel(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errIdle) {
		grace = cancelled() // it misbehaved: no courtesy
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

// errIdle means that nobody called the server for as long as its definition says.
var errIdle = errors.New("nobody called it")

// watchedGuard is asked what it noticed when a handshake fails.
type watchedGuard struct {
	*wire.Guard
	found   func(code wire.Code, text string)
	noisy   *atomic.Int32
	dropped *atomic.Pointer[string] // the last finding about a message that was dropped
}

// newGuard makes the guard of a session; what it finds is logged.
func (u *unit) newGuard() watchedGuard {
	var findings atomic.Int32
	g := watchedGuard{noisy: new(atomic.Int32), dropped: new(atomic.Pointer[string])}
	g.found = func(code wire.Code, text string) {
		if code == wire.InvalidJSON || code == wire.InvalidMessage || code == wire.TooComplex {
			g.dropped.Store(&text)
		}
		u.note("%s: %s", code, text)
		u.odd(code, text)
		if findings.Add(1) <= maxFindings {
			u.record(audit.Event{Kind: audit.FindingMade, Rule: string(code), Reason: text, Decision: audit.Marked})
		}
	}
	noise := "the server prints lines on its standard output that are not protocol messages; they are skipped"
	if u.definition().Remote() {
		noise = "the server sends what is no protocol message; it is skipped"
	}
	g.Guard = wire.New(func(line []byte) {
		if g.noisy.Add(1) == 1 {
			g.found(wire.Noise, noise)
		}
		u.lines.add(noisePrefix + string(line))
	}, g.found)
	u.mu.Lock()
	u.guard = g.Guard
	u.mu.Unlock()
	return g
}

// serve does the handshake, lists the tools and waits for an end: of ctx, of the peer, or of the session.
func (u *unit) serve(ctx context.Context, with *peer, guard watchedGuard, def config.Server, ready func()) error {
	handshake, cancel := context.WithTimeout(ctx, u.s.patience)
	defer cancel()
	found := guard.found
	touched := func() error { return nil }
	if with.files != nil {
		defer with.files.watch(cancel)()
		touched = func() error {
			if with.files.whole() && !u.touched() {
				return nil
			}
			return &startError{errTouched(u.name)}
		}
	}
	ended := with.gone
	relist := make(chan struct{}, 1)
	changed := func() {
		select {
		case relist <- struct{}{}:
		default:
		}
	}
	program := programKey(u.startedFrom())
	era := u.s.o.Eras.Era(program)
	if def.SSE { // there was no other
		era = Legacy
	}
	s, err := connect(handshake, opening{name: u.name, version: u.s.o.Version, era: era, guard: guard.Guard, with: with, step: u.step, changed: changed, progress: u.s.o.Progress, tasks: u.s.o.Tasks, roots: rootsOf(def), model: u.modelOf(def), sample: u.samples, mask: u.s.o.Mask, place: u.s.o.Place, update: u.watches.changed,
		elicit: u.elicit(), refused: func(why error) {
			found(wire.QuestionRefused, "the server wants to ask you something that it may not: "+why.Error())
		}})
	if err != nil {
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errOffended), errors.Is(err, errLegacyAfterAll):
			u.s.o.Eras.Remember(program, Legacy)
		case era != Unknown: // whatever is wrong, it may be that
			u.s.o.Eras.Remember(program, Unknown)
		case errors.Is(err, errOtherEra):
			u.s.o.Eras.Remember(program, Modern)
		}
		if why := touched(); why != nil && ctx.Err() == nil {
			return why
		}
		return u.explain(ctx, handshake, err, guard, with)
	}
	defer s.close()
	if s.known {
		u.s.o.Eras.Remember(program, s.era)
	} else {
		defer func() {
			if e := s.lateEra(cancelled()); e != Unknown {
				u.s.o.Eras.Remember(program, e)
			}
		}()
	}
	_, _, instructions := s.info()
	if len(instructions) > maxInstructions {
		s.close()
		return &startError{fmt.Errorf("%s sends %d bytes of instructions, at most %d are taken", u.name, len(instructions), maxInstructions)}
	}
	tools, prompts, refused, err := s.offer(handshake, def.Source)
	if why := touched(); why != nil && ctx.Err() == nil {
		return why
	}
	if with.files != nil {
		with.files.release()
	}
	if err != nil {
		if refusesEra(s.era, err) {
			err = fmt.Errorf("%w: %w", errLegacyAfterAll, err)
			u.s.o.Eras.Remember(program, Legacy)
			found(wire.WrongEra, fmt.Sprintf("the server says that it speaks %s, and refuses the first request of that version; it is asked for a handshake instead", Modern))
		}
		closing := *with
		closing.words = func() string { s.close(); return with.words() } // who reads its words must not wait for the library
		return u.explain(ctx, handshake, err, guard, &closing)
	}
	if err := with.offers(tools); err != nil {
		return err
	}
	offered := many(len(tools), "tool")
	if len(prompts) > 0 {
		offered += " and " + many(len(prompts), "prompt")
	}
	if len(refused) > 0 {
		offered += fmt.Sprintf("; %d are not offered", len(refused))
	}
	u.step(StepTools, offered)
	u.publish(s, tools, prompts, refused)
	if uris := u.watches.all(); len(uris) > 0 {
		s.do(func() { _ = s.watch(s.ending, uris) })
	}
	ready()
	stale := holdsFor(s.lasts)
	if def.Remote() { // nobody is to learn when Cordon runs
		stale = nil
	}
	gone := make(chan struct{})
	go func() { _ = s.mcp.Wait(); close(gone) }() // ends when the pipe does
	var last time.Time
	var again <-chan time.Time // nil unless a listing is due
	health := newHealth(u, s)
	defer health.stop()
	if def.Remote() { // a call shows soon enough that nobody answers, and nobody is to learn when Cordon runs
		health.stop()
	}
	sleep := time.NewTimer(time.Duration(def.Idle))
	defer sleep.Stop()
	if !def.Sleeps() {
		sleep.Stop()
	}
	for {
		select {
		case <-sleep.C:
			left, asleep := u.fallAsleep(s, time.Duration(def.Idle))
			if asleep {
				return errIdle
			}
			sleep.Reset(left)
		case <-health.due.C:
			health.ask(ctx)
		case err := <-health.answer:
			if health.missed(err) {
				return &muteError{u.name, health.heard()}
			}
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
		case <-stale:
			stale = nil
			changed()
		case <-relist: // a server that announces changes without end is listed once in a while
			if again == nil {
				again = time.After(time.Until(last.Add(relistPause)))
			}
		case <-again:
			again, last = nil, time.Now()
			listing, cancel := context.WithTimeout(ctx, u.s.patience)
			tools, prompts, refused, err := s.offer(listing, def.Source)
			cancel()
			if errors.Is(err, errEndless) {
				found(wire.EndlessList, "the server "+errEndless.Error()+"; the session was ended")
				return err
			}
			if err != nil {
				found(wire.RelistingFailed, "its changed tool list could not be read")
				continue
			}
			if err := with.offers(tools); err != nil {
				return err
			}
			u.publish(s, tools, prompts, refused)
			if stale = holdsFor(s.lasts); def.Remote() {
				stale = nil
			}
		}
	}
}

// holdsFor tells when a listing has to be made again, at most once in a while. Never if nothing says so.
func holdsFor(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(max(d, listingHolds))
}

// startedFrom is what the process was started from.
func (u *unit) startedFrom() pin.Fingerprint {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.started
}

func (u *unit) touched() bool {
	u.mu.Lock()
	fs := u.files
	u.mu.Unlock()
	return fs.touched(true)
}

// publish makes the tools callable.
func (u *unit) publish(s *session, tools, prompts []tool.Tool, refused []string) {
	title, version, instructions := s.info()
	defs, worded := definitions(tools), definitions(prompts)
	u.update(func(v *View) {
		if u.session != s {
			u.session, u.used = s, time.Now()
		}
		v.State, v.Err, v.Title, v.Version, v.Tools, v.Prompts, v.Refused, v.Instructions = Running, nil, title, version, tools, prompts, refused, instructions
		v.Protocol = s.era
		v.Fingerprint.Tools, v.Fingerprint.Prompts, v.Fingerprint.Instructions = defs, worded, instructions
		v.Reads, v.Tells = s.reads(), s.tells()
		u.listings++
		if v.Icons = 0; s.pictured(tools, prompts) {
			v.Icons = u.listings
		}
		u.look() // a change of the files seen since the start stays seen
	})
}

// many counts in words.
func many(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

func definitions(offered []tool.Tool) map[string][]byte {
	defs := map[string][]byte{}
	for _, t := range offered {
		defs[t.ID.Name] = t.Definition
	}
	return defs
}

// explain says why a handshake failed, in words that help. What Cordon noticed comes before how the program ended,
// because the end of the session ends many programs. drain waits for the words of a program that has ended.
func (u *unit) explain(ctx, handshake context.Context, err error, guard watchedGuard, with *peer) error {
	silent, noisy, dropped := errors.Is(handshake.Err(), context.DeadlineExceeded), guard.noisy.Load() > 0, guard.dropped.Load()
	patience := endPatience
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) { // it is about to end
		patience = u.s.o.Grace
	}
	switch {
	case ctx.Err() != nil:
		return &startError{ctx.Err()}
	case anotherStart(err):
		return &startError{err}
	case silent && dropped != nil:
		return &startError{fmt.Errorf("%s gave no answer in %s that could be used: %s", u.name, u.s.patience, *dropped)}
	case silent && noisy:
		return &startError{fmt.Errorf("%s does not speak MCP: it printed text where messages are expected and gave no answer in %s", u.name, u.s.patience)}
	case silent:
		return &startError{fmt.Errorf("%s gave no answer in %s", u.name, u.s.patience)}
	case errors.Is(err, ErrLineTooLong) || strings.Contains(err.Error(), ErrLineTooLong.Error()):
		return &startError{fmt.Errorf("%s: %w", u.name, ErrLineTooLong)}
	case with.ended(patience):
		text := with.words()
		if text == "" {
			text = "nothing"
		}
		return &startError{fmt.Errorf("%s %s before it answered; it said: %s", u.name, with.how(), text)}
	}
	return &startError{&wordedError{u.name + " did not complete the handshake: " + ownCalls.ReplaceAllString(err.Error(), ""), err}}
}

// ownCalls are what the library puts before each error, and says nothing to people.
var ownCalls = regexp.MustCompile(`calling "[a-z/]{1,40}": `)

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
