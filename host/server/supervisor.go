// Package server runs MCP servers: it starts each in its sandbox, speaks the protocol with it over pipes that the
// sandbox owns, keeps its standard error, restarts it when it crashes, and ends it with everything it started. It is
// the only MCP client code; package gate is its only caller for tool calls.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/elicit"
	"cordon/host/oauth"
	"cordon/host/pin"
	"cordon/host/secret"
	"cordon/host/tool"
	"cordon/host/wire"
	"cordon/sandbox"
)

// State of one server. The zero value is Stopped.
type State string

// The states.
const (
	Stopped  State = "stopped"
	Starting State = "starting"
	Running  State = "running"
	Refused  State = "refused"        // the sandbox cannot give what the profile demands
	Crashed  State = "crashed"        // ended by itself, or never spoke MCP
	Idle     State = "idle"           // stopped because nobody called it; the next call starts it, and what it listed stays
	SignIn   State = "sign-in needed" // a remote server that wants to know who calls
	Mute     State = "not answering"  // its process lived and said nothing more, so it was ended
)

// Sandbox starts confined programs. *sandbox.Sandbox implements it.
type Sandbox interface {
	Start(ctx context.Context, p sandbox.Profile, c sandbox.Command, f sandbox.Files) (*sandbox.Process, error)
}

// Secrets gives a server its own secrets. *secret.Store implements it. Get must give a secret only for the server
// that the Ref names.
type Secrets interface {
	Get(ctx context.Context, ref secret.Ref) (secret.Value, error)
}

// Recorder writes audit events. *audit.Log implements it. An error means that nothing may run.
type Recorder interface {
	Append(e audit.Event) (seq uint64, err error)
}

// Options are what a Supervisor needs. The fields up to Version are mandatory.
type Options struct {
	Sandbox  Sandbox
	Secrets  Secrets
	Audit    Recorder
	Trusted  func(server string, program pin.Fingerprint) bool // a person has approved this command and these files for it
	Log      *slog.Logger
	Version  string                                               // of Cordon, told to servers
	Changed  func()                                               // called after any state changed; must not block
	Mask     func(string) string                                  // replaces known secrets in text that is shown
	Grace    time.Duration                                        // between the steps of stopping; 0 means 2 s
	Backoff  time.Duration                                        // first pause before a restart, doubled each time, give or take a half; 0 means 1 s
	Starts   int                                                  // how many servers start at the same time; 0 means two for each processor, and at least 4
	Elicit   func(context.Context, elicit.Question) elicit.Answer // asks a person what a server wants to know; nil offers servers no questions
	Sample   func(context.Context, Sampling) (Sampled, error)     // has a model answer for a server; nil offers servers none
	Place    func(model string) string                            // where a model is, for people: "on this computer"; goes with Sample
	Guarded  func(string) bool                                    // no server is given that path; nil knows none
	Browse   func(ctx context.Context, server, page string) error // opens a page on which one signs in; nil: nobody can
	SignIns  oauth.Options                                        // Store, Redirect and MetadataURL of logins to remote servers
	Progress func(tool.Progress)                                  // hears how calls go; must not block; nil does not
	Tasks    Tasks                                                // nil remembers none
	Eras     Eras                                                 // nil remembers until the end
	Drain    time.Duration                                        // how long Reload waits for running calls; 0 means 30 s

	PingAfter    time.Duration // without a message from a server before it is asked whether it lives; 0 means 1 min
	PingPatience time.Duration // for the answer; the second that is missed ends the process; 0 means 30 s
}

const (
	connectTimeout = 20 * time.Second // from the program's start to its tool list
	maxRestarts    = 5                // in a row; one minute of running starts the count anew
	steady         = time.Minute
	relistPause    = time.Second      // between listings of one server
	listingHolds   = time.Minute      // at least, whatever the server says
	writePatience  = 10 * time.Second // for a server to take what it is sent
	maxFindings    = 20               // audit events a session may cause by misbehaving
)

// ErrUnknown means that no server has that name.
var ErrUnknown = errors.New("no such server")

// ErrNotRunning means that the server cannot take calls now.
var ErrNotRunning = errors.New("the server is not running")

// Supervisor owns all servers. It is safe for concurrent use. Close it.
type Supervisor struct {
	o  Options
	mu sync.Mutex
	by map[string]*unit // guarded by mu

	turns  turns
	held   heldFiles
	life   sync.Mutex     // taken last
	closed bool           // guarded by life; nothing starts any more
	wg     sync.WaitGroup // one per running unit; added to under life

	patience time.Duration // from the program's start to its tool list; for tests, else connectTimeout
}

// New returns a supervisor without servers.
func New(o Options) *Supervisor {
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Mask == nil {
		o.Mask = func(s string) string { return s }
	}
	if o.Guarded == nil {
		o.Guarded = func(string) bool { return false }
	}
	if o.Tasks == nil {
		o.Tasks = noTasks{}
	}
	if o.Eras == nil {
		o.Eras = new(erasInMemory)
	}
	if o.Grace == 0 {
		o.Grace = 2 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
	if o.Starts == 0 {
		o.Starts = defaultStarts()
	}
	if o.Drain == 0 {
		o.Drain = 30 * time.Second
	}
	if o.PingAfter == 0 {
		o.PingAfter = time.Minute
	}
	if o.PingPatience == 0 {
		o.PingPatience = 30 * time.Second
	}
	return &Supervisor{o: o, by: map[string]*unit{}, patience: connectTimeout, turns: turns{free: o.Starts}}
}

// run runs f in a goroutine that Close waits for, and reports whether it does: not after Close.
func (s *Supervisor) run(f func()) bool {
	s.life.Lock()
	defer s.life.Unlock()
	if !s.closed {
		s.wg.Go(f)
	}
	return !s.closed
}

// Set adds a server or replaces its definition; a running one keeps its old definition until it is started again, see Reload.
func (s *Supervisor) Set(def config.Server) {
	s.mu.Lock()
	if u := s.by[def.Name]; u != nil {
		u.mu.Lock()
		u.def = def
		u.mu.Unlock()
	} else {
		s.by[def.Name] = newUnit(s, def)
	}
	s.mu.Unlock()
	s.o.Changed()
}

// Remove stops a server and forgets it.
func (s *Supervisor) Remove(ctx context.Context, name string) error {
	if err := s.Stop(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.by, name)
	s.mu.Unlock()
	s.o.Changed()
	return nil
}

func (s *Supervisor) unit(name string) (*unit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.by[name]
	if u == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return u, nil
}

// Start starts a server and returns when it lists its tools, or with the reason why it does not. Starting a running
// server does nothing; starting one that starts already waits with whoever started it; one that waits to be started again is
// started at once. Cancelling ctx stops the start, unless
// somebody else waits for it too. Not more than Options.Starts servers start at the same time; the others wait.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	return u.start(ctx)
}

// Stop ends a server and returns when nothing of it is left. Stopping a stopped server does nothing. Cancelling ctx
// skips the graces, not the stop.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	u.stop(ctx)
	return nil
}

// Restart stops a server and starts it.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	if err := s.Stop(ctx, name); err != nil {
		return err
	}
	return s.Start(ctx, name)
}

// Reload starts a running server again with the definition that it has now. Running calls finish first, for at most
// Options.Drain; calls that come meanwhile wait for the new process. A server that sleeps or is stopped takes its definition when
// it is started next, and Reload does nothing. Cancelling ctx before the calls have finished leaves it running as it was; after
// that the graces of the stop are skipped, and the start is stopped. The error is why it does not run, or ctx's.
func (s *Supervisor) Reload(ctx context.Context, name string) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	return u.reload(ctx)
}

// StopAll ends every server at once and returns when all are gone.
func (s *Supervisor) StopAll(ctx context.Context) {
	s.mu.Lock()
	units := make([]*unit, 0, len(s.by))
	for _, u := range s.by {
		units = append(units, u)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, u := range units {
		wg.Go(func() { u.stop(ctx) })
	}
	wg.Wait()
}

// Close ends every server and waits for everything that was started. Nothing starts any more.
func (s *Supervisor) Close(ctx context.Context) {
	s.life.Lock()
	s.closed = true
	s.life.Unlock()
	s.StopAll(ctx)
	s.wg.Wait()
}

// View is what is known of a server now.
type View struct {
	Name         string
	Def          config.Server
	State        State
	Since        time.Time
	Err          error // why it is not running, or nil
	Pid          int
	Limited      bool   // the last start was without secrets, hosts and writing, see Limits
	Title        string // from the handshake, untrusted
	Version      string // from the handshake, untrusted
	Protocol     Era    // that it speaks; Unknown before the first session
	Report       sandbox.Report
	Steps        []Step        // of the last start
	Oddities     []Oddity      // what the server did against the protocol since
	Login        *oauth.Status // to a remote server; nil for others, and before the first connection
	Usage        sandbox.Usage
	Tools        []tool.Tool
	Prompts      []tool.Tool     // each as a tool whose arguments are texts
	Reads        bool            // it has resources, see Supervisor.Resources
	Tells        bool            // it says when one of them has changed, see Supervisor.Watch
	Icons        int             // 0 without icons, see Supervisor.Icons; another number for each listing
	Refused      []string        // what it lists and Cordon does not offer, and why; untrusted names in it
	Fingerprint  pin.Fingerprint // as looked at last while it ran; zero before the first start
	StderrLines  int
	Frames       int           // how many messages passed in this session or the last one, see Supervisor.Frames
	Lent         config.Grants // for this run or, if none, the next one
	Wanted       int           // how many things it asked for and was not granted, see Supervisor.Wanted
	Restarts     int
	Instructions string
}

// Views returns all servers, sorted by name. The slices are shared and must not be changed.
func (s *Supervisor) Views() []View {
	s.mu.Lock()
	units := make([]*unit, 0, len(s.by))
	for _, u := range s.by {
		units = append(units, u)
	}
	s.mu.Unlock()
	views := make([]View, 0, len(units))
	for _, u := range units {
		views = append(views, u.snapshot())
	}
	slices.SortFunc(views, func(a, b View) int { return strings.Compare(a.Name, b.Name) })
	return views
}

// View returns one server.
func (s *Supervisor) View(name string) (View, error) {
	u, err := s.unit(name)
	if err != nil {
		return View{}, err
	}
	return u.snapshot(), nil
}

// State returns a server's state and how well it is confined. Unlike View it does not ask the kernel what the server
// uses, which takes longer than a call.
func (s *Supervisor) State(name string) (State, sandbox.Tier, error) {
	u, err := s.unit(name)
	if err != nil {
		return Stopped, sandbox.TierRefused, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.view.State, u.view.Report.Tier, nil
}

// Log returns the kept lines of a server's standard error, oldest first, with known secrets masked.
func (s *Supervisor) Log(name string) ([]Line, error) {
	u, err := s.unit(name)
	if err != nil {
		return nil, err
	}
	lines := u.lines.all()
	for i := range lines {
		lines[i].Text = s.o.Mask(lines[i].Text)
	}
	return lines, nil
}

// maxHidden is how many bytes at the end of what is kept of a message are not shown if that is not all of it: a secret that begins there
// is not known as one.
const maxHidden = 4 << 10

// Frames returns the last messages of a server's session, or of its last one, oldest first, with known secrets masked.
func (s *Supervisor) Frames(name string) ([]wire.Frame, error) {
	u, err := s.unit(name)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	guard := u.guard
	u.mu.Unlock()
	if guard == nil {
		return nil, nil
	}
	frames := guard.Frames()
	for i, f := range frames {
		text := s.o.Mask(f.Text)
		if len(f.Text) < f.Size { // the end of what is kept may be the beginning of a secret
			text = strings.ToValidUTF8(text[:max(0, len(text)-maxHidden)], "")
		}
		frames[i].Text, frames[i].Method, frames[i].ID = text, s.o.Mask(f.Method), s.o.Mask(f.ID)
	}
	return frames, nil
}

// Program returns the path of the program that the first word of a definition's command names, with symbolic links
// followed: an absolute path, or a name that is looked for in sandbox.Path. The error names a program that is not there or
// cannot be executed.
func Program(name string) (string, error) { return lookUp(name) }

// startDecision is how a start that did not happen stands in the log: denied when the sandbox cannot give what the profile
// demands, failed when something is missing or broken.
func startDecision(err error) audit.Decision {
	var refusal *sandbox.Refusal
	if errors.As(err, &refusal) {
		return audit.Denied
	}
	return audit.Failed
}

// Tool looks a tool, a resource or a prompt up for the call of that id. A server that sleeps is started first, one that is starting is waited for: what
// the tool is compared with afterwards is what runs then. From then on the server does not fall asleep, and Call runs that call
// on no other process, until release, which is never nil. Cancelling ctx ends the wait, not the start, which other calls may
// wait for. Errors wrap ErrUnknown, or ErrNotRunning and why it does not run, are ctx's, or name the missing tool.
func (s *Supervisor) Tool(ctx context.Context, kind tool.Kind, id tool.ID, call string) (t tool.Tool, release func(), err error) {
	u, err := s.unit(id.Server)
	if err != nil {
		return tool.Tool{}, func() {}, err
	}
	t, err = u.hold(ctx, kind, id, call)
	return t, func() { u.letGo(call) }, err
}

// Fingerprint returns what a running server is now: what was started. If its files have become others since, they are
// what is returned, marked as stale, because nobody knows any more what runs.
func (s *Supervisor) Fingerprint(ctx context.Context, name string) (pin.Fingerprint, error) {
	u, err := s.unit(name)
	if err != nil {
		return pin.Fingerprint{}, err
	}
	return u.fingerprint(ctx)
}

// OnDisk returns what a server would be started from now: a fingerprint without tools and instructions.
func (s *Supervisor) OnDisk(ctx context.Context, name string) (pin.Fingerprint, error) {
	u, err := s.unit(name)
	if err != nil {
		return pin.Fingerprint{}, err
	}
	u.mu.Lock()
	def := u.def
	u.mu.Unlock()
	fs, err := lookAtFiles(ctx, def, nil, nil)
	return fs.fingerprint, err
}

// Gone returns a channel that is closed once the process that runs a server now, or the connection to it, has ended, or closed already if none
// runs. A restart does not open it again.
func (s *Supervisor) Gone(name string) <-chan struct{} {
	if u, err := s.unit(name); err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.with != nil {
			return u.with.gone
		}
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// Call runs a frozen call on its server. The gate is the only caller. It never starts a server: nobody would have compared what
// is started with its pin. Errors: ErrNotRunning (wrapped), ctx's, or what broke, naming the server.
func (s *Supervisor) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	u, err := s.unit(c.Tool.ID.Server)
	if err != nil {
		return tool.Result{}, err
	}
	return u.call(ctx, c)
}
