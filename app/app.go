package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"cordon/host"
	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/sandbox"
)

// Options are what New needs from outside.
type Options struct {
	Paths      config.Paths
	Log        *slog.Logger
	WebSandbox string           // why WebKit's own processes are not confined, or ""
	Sandbox    *sandbox.Sandbox // nil: beside this executable
}

// App is bound to the window: every exported method can be called from the page, and nothing else can.
type App struct {
	o       Options
	host    *host.Host
	desk    *consent.Desk
	forms   elicit.Desk
	started time.Time
	dirty   chan struct{} // holds a token when a screen may have to change
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	window   Window                        // guarded by mu; nil until Attach
	checks   []host.Check                  // guarded by mu
	keyring  KeyringView                   // guarded by mu
	logView  LogView                       // guarded by mu; the last verification
	calls    map[string]context.CancelFunc // guarded by mu; by ticket
	progress map[string]context.CancelFunc // guarded by mu; by id
	secrets  map[secretKey]dates           // guarded by mu
	today    counter                       // guarded by mu
	stopping bool                          // guarded by mu
	asking   asksCache
	pushes   pushes      // has its own lock
	notices  notices     // the same
	cache    reviewCache // has its own lock
}

// New takes the state and starts nothing yet. *config.HeldError when another Cordon owns it. The caller calls Close.
func New(o Options) (*App, error) {
	if o.Sandbox == nil {
		sb, err := sandbox.New()
		if err != nil {
			return nil, err
		}
		o.Sandbox = sb
	}
	a := &App{o: o, desk: consent.NewDesk(), started: time.Now(), dirty: make(chan struct{}, 1), calls: map[string]context.CancelFunc{}, secrets: map[secretKey]dates{}, progress: map[string]context.CancelFunc{}, pushes: pushes{some: make(chan struct{}, 1)}, notices: notices{focused: true, news: make(chan string, 1)}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.forms.Changed = a.changed
	h, err := host.Open(a.ctx, host.Options{Paths: o.Paths, Sandbox: o.Sandbox, Prompter: a.desk, Log: o.Log, Version: Version, Changed: a.changed, Elicit: a.forms.Ask, Progress: a.progressed, Chat: a.chatChanged, Browse: a.showPage})
	if err != nil {
		a.cancel()
		return nil, err
	}
	a.host = h
	return a, nil
}

// changed asks for a fresh snapshot; it never blocks.
func (a *App) changed() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// Attach connects the window and begins to push to it.
func Attach(_ context.Context, a *App, w Window) {
	a.mu.Lock()
	a.window = w
	a.mu.Unlock()
	a.running.Go(a.push)
	a.running.Go(a.follow)
	a.running.Go(a.look)
	a.running.Go(func() { a.tell(a.ctx) })
	a.running.Go(func() { a.notices.deliver(a.ctx) })
}

// Close denies open questions, cancels calls, stops every server and closes the log. It returns when nothing is left.
func Close(ctx context.Context, a *App) error {
	a.desk.Close("Cordon is closing")
	a.cancelAll(true)
	a.cancel()
	err := a.host.Close(ctx)
	a.running.Wait()
	return err
}

// cancelAll abandons every call and all long work.
func (a *App) cancelAll(stopping bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = stopping
	for _, cancels := range []map[string]context.CancelFunc{a.calls, a.progress} {
		for _, cancel := range cancels {
			cancel()
		}
	}
}

// Pause between snapshots, and how often usage is read while a server runs.
const (
	pace    = 50 * time.Millisecond
	refresh = 2 * time.Second
)

// push sends a snapshot whenever something has changed, at most one in each pace.
func (a *App) push() {
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	var last string
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-a.dirty:
		case <-a.desk.Changed():
		case <-ticker.C:
		}
		s, err := a.Snapshot()
		if err != nil {
			continue
		}
		switch {
		case s.Prompt != nil:
			a.notices.asks(s.Prompt.ID)
		case s.Question != nil:
			a.notices.asks(s.Question.Ticket)
		}
		b, err := json.Marshal(s)
		if err != nil || string(b) == last {
			continue
		}
		last = string(b)
		a.emit(EventSnapshot, s)
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

// follow sends new events of the log.
func (a *App) follow() {
	log := a.host.Log()
	if log == nil {
		return
	}
	news, stop := log.Watch()
	defer stop()
	all, err := log.Since(0, audit.IndexSize)
	if err != nil {
		a.o.Log.Error("read log", "err", err)
		return
	}
	var seq uint64
	for _, e := range all {
		a.count(e)
		seq = e.Seq
	}
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-news:
		}
		fresh, err := log.Since(seq, 500)
		if err != nil || len(fresh) == 0 {
			continue
		}
		views := []EventView{}
		for _, e := range fresh {
			a.count(e)
			seq = e.Seq
			views = append(views, eventView(e))
		}
		a.emit(EventActivity, views)
		a.changed()
	}
}

// look does what takes a moment after the start: secrets, checks of this computer, verification of the log.
func (a *App) look() {
	if err := a.host.LoadSecrets(a.ctx); err != nil && a.ctx.Err() == nil {
		a.o.Log.Warn("secrets", "err", err)
	}
	a.recheck()
	_, _ = a.VerifyLog() // its outcome is in the snapshot
}

func (a *App) recheck() {
	checks := host.Doctor(a.ctx, a.o.Sandbox, a.host.Secrets)
	if why := a.o.WebSandbox; why != "" {
		checks = append(checks, host.Check{Name: "window sandbox", State: host.CheckDegraded, Detail: "the window's own processes are not confined: " + why, Fix: "install bubblewrap and xdg-dbus-proxy"})
	}
	st := a.host.Secrets.State(a.ctx)
	a.mu.Lock()
	a.checks = checks
	a.keyring = KeyringView{State: string(st.State), Provider: st.Provider, Detail: st.Detail, Fix: st.Fix}
	a.mu.Unlock()
	a.changed()
}

func (a *App) emit(event string, payload any) {
	a.mu.Lock()
	w := a.window
	a.mu.Unlock()
	if w != nil {
		w.Emit(event, payload)
	}
}

// Snapshot returns the state of everything.
func (a *App) Snapshot() (Snapshot, error) {
	conf := a.host.Config()
	s := Snapshot{Version: Version, Started: stamp(a.started), FirstRun: !conf.FirstRunDone, Waiting: a.desk.Waiting(), Servers: []ServerView{}, Secrets: []SecretView{},
		Rules: ruleViews(a.host.Policy.Rules()), Problems: []Failure{}, Checks: []Check{},
		Defaults: DefaultsView{config.DefaultMemory, config.DefaultPids}}
	for _, v := range a.host.Servers.Views() {
		s.Servers = append(s.Servers, a.serverView(v))
	}
	for _, ref := range conf.Secrets {
		s.Secrets = append(s.Secrets, a.secretView(ref))
	}
	for _, err := range a.host.Problems() {
		s.Problems = append(s.Problems, FailureOf(err))
	}
	if q, waiting, open := a.forms.Current(); open {
		s.Question = questionView(q, waiting)
	}
	if p, open := a.desk.Current(); open {
		s.Prompt = a.promptView(p)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.checks {
		if c.Name == "keyring" { // has a field of its own
			continue
		}
		s.Checks = append(s.Checks, Check{c.Name, string(c.State), c.Detail, c.Fix})
	}
	s.Keyring, s.Stopping, s.Log = a.keyring, a.stopping, a.logView
	if log := a.host.Log(); log != nil {
		s.Log.Events, s.Log.Head = log.Head()
		if err := log.Err(); err != nil {
			s.Log.Intact, s.Log.Problem = false, err.Error()
		}
	}
	return s, nil
}

// StopEverything denies open questions, cancels calls and ends every server.
func (a *App) StopEverything() error {
	a.desk.DenyAll("everything was stopped")
	a.cancelAll(true)
	a.changed()
	a.host.StopEverything(a.ctx)
	a.mu.Lock()
	a.stopping = false
	a.mu.Unlock()
	a.changed()
	return nil
}

// Recheck looks at this computer again.
func (a *App) Recheck() error {
	a.recheck()
	return nil
}

// FinishFirstRun notes that the welcome was seen.
func (a *App) FinishFirstRun() error { return a.host.FinishFirstRun() }

// Titles of the native dialog: fixed texts, whatever the page says.
const (
	titleRead  = "Choose a folder the server may read"
	titleWrite = "Choose a folder the server may change"
	titleCase  = "Choose the folder of the case"
)

// ChooseFolder asks for a directory; "" when the person cancelled.
func (a *App) ChooseFolder(title string) (string, error) {
	a.mu.Lock()
	w := a.window
	a.mu.Unlock()
	if w == nil {
		return "", errors.New("the window is not open yet")
	}
	if title != titleWrite && title != titleCase {
		title = titleRead
	}
	return w.ChooseFolder(title)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// list turns nil into an empty list, which is what pages can walk.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
