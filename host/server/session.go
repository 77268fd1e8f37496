package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"cordon/host/elicit"
	"cordon/host/icon"
	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sys/unix"
)

const (
	maxInstructions = 64 << 10 // bytes
	maxBrief        = 100      // characters of a server's title and version
	maxPlaces       = 5000     // in all lists of a session
)

// errEndless ends a session whose lists never look the same.
var errEndless = errors.New("its lists go on at ever new places")

// ErrLineTooLong ends a session: a line without end would fill the memory.
var ErrLineTooLong = wire.ErrLineTooLong

// session is one MCP connection to one running server. Close it.
type session struct {
	mcp   *mcp.ClientSession
	guard *wire.Guard
	pipe  *io.PipeReader
	in    channel
	to    *wire.Tap // where the library writes
	name  string

	elicit  func(context.Context, elicit.Question) elicit.Answer
	refused func(why error)

	era     Era
	known   bool               // the server said so
	late    <-chan wire.Answer // or says so later
	version string             // of Cordon
	pages   map[string]bool    // places where its lists went on
	lasts   time.Duration      // for how long the listing holds; 0 if the server says nothing
	over    <-chan struct{}    // closed when all that it said has been read
	broken  *error             // why it says nothing more; once over is closed

	ending context.Context // ended by close: the library would wait for every call that is still running
	end    context.CancelFunc

	mu     sync.Mutex
	closed bool                       // guarded by mu: no call begins any more
	asking int                        // guarded by mu: questions to the person that wait
	asked  int                        // guarded by mu: all of them since the first of the calls that run began
	busy   map[string]context.Context // guarded by mu: of the calls that run, by id
	calls  sync.WaitGroup             // what writes and asks; added to under mu

	progress func(tool.Progress) // nil if nobody wants to know
	tasks    Tasks
	roots    []string // folders that it may ask for; nil if it may not
	model    string   // that it may have asked; "" if none
	sample   func(context.Context, Sampling) (Sampled, error)
	mask     func(string) string
	place    func(model string) string
	changed  func() // tools or prompts

	watching sync.Mutex                 // held while what is watched changes
	watched  map[string]bool            // guarded by watching; of a legacy server
	unlisten func()                     // guarded by watching; of a modern one; nil if nothing is watched
	update   func(uri string)           // hears which resource has changed; nil if nobody wants to know
	visits   map[string]chan struct{}   // guarded by mu: pages that a person has open for a call, by the server's id; closed when it is done there
	followed map[string]context.Context // guarded by mu: the calls of requests whose progress is told, by the request's id
	drawing  sync.Mutex                 // held while an icon is drawn
	pictures map[icon.Source][]byte     // guarded by drawing; nil for what is none
	links    map[string]bool            // guarded by mu: resources that results named
	readable *catalogue                 // guarded by mu; nil if it has to be asked for
	changes  int                        // guarded by mu; how often it was told that readable has changed
}

// inlet is what the library writes to. A server that stops reading must not hold a writer for good, because the library
// writes under a lock that closing, cancelling and every other call wait for: such a session is ended.
type inlet struct {
	channel
	patience time.Duration
}

// Write implements io.Writer. After an error the pipe is closed.
func (w inlet) Write(b []byte) (int, error) {
	_ = w.SetWriteDeadline(time.Now().Add(w.patience))
	n, err := w.channel.Write(b)
	if err != nil {
		w.Close()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errDeaf
	}
	return n, err
}

// errDeaf ends a session whose server does not take what is sent.
var errDeaf = errors.New("the server reads nothing of what it is sent")

// opening is what a session is opened with.
type opening struct {
	name, version string      // of the server, of Cordon
	era           Era         // Unknown to ask the server
	guard         *wire.Guard // new
	with          *peer
	step          func(StepName, string)
	changed       func()              // its list of tools or prompts
	progress      func(tool.Progress) // nil if nobody wants to know
	tasks         Tasks
	roots         []string                                             // folders that it may ask for; nil if it may not
	model         string                                               // that it may have asked; "" if none
	sample        func(context.Context, Sampling) (Sampled, error)     // asks it
	mask          func(string) string                                  // takes own secrets out of text
	place         func(model string) string                            // where it is, for people
	update        func(uri string)                                     // hears which resource has changed; nil if nobody wants to know
	elicit        func(context.Context, elicit.Question) elicit.Answer // nil offers no questions
	refused       func(why error)                                      // a question that may not be asked
}

// connect opens a session with a peer. The session closes its way in; the caller ends the peer. Until its end everything that it says is
// read, also what comes after the session. Errors: errOffended, errOtherEra, or why there is no session.
func connect(ctx context.Context, o opening) (*session, error) {
	g := o.guard
	var ready atomic.Pointer[session]
	if o.elicit != nil {
		g.Sampling = o.model != ""
		g.Question = func(id, method string, params jsontext.Value) {
			if s := ready.Load(); s != nil {
				s.question(id, method, params)
			}
		}
	}
	g.Told = func(method string, params jsontext.Value) {
		if s := ready.Load(); s != nil {
			s.told(method, params)
		}
	}
	pr, pw := io.Pipe()
	ended := make(chan struct{})
	var broken error // of the reading; written before ended is closed
	o.with.drain.Go(func() {
		_, err := io.Copy(pw, o.with.lines)
		broken = err
		close(ended)
		_ = pw.CloseWithError(err)
		if errors.Is(err, io.ErrClosedPipe) { // the session ended before the server
			_, _ = io.Copy(io.Discard, o.with.lines)
		}
	})
	ending, end := context.WithCancel(context.Background())
	s := &session{over: ended, broken: &broken, changed: o.changed, progress: o.progress, tasks: o.tasks, roots: o.roots, model: o.model, sample: o.sample, mask: o.mask, place: o.place, update: o.update, elicit: o.elicit, refused: o.refused, busy: map[string]context.Context{}, pages: map[string]bool{}, guard: g, pipe: pr, in: o.with.in, name: o.name, version: o.version, era: o.era, ending: ending, end: end,
		to: &wire.Tap{WriteCloser: inlet{o.with.in, writePatience}, Guard: g}}
	ready.Store(s)
	defer context.AfterFunc(ctx, func() { // also while the library closes what it could not open
		_ = o.with.in.SetWriteDeadline(time.Unix(1, 0))
		_ = pr.CloseWithError(context.Cause(ctx))
	})()
	err := s.open(ctx, o, ended)
	if err != nil {
		if errors.Is(err, errOffended) && (broken != nil || unread(o.with.in) > 0) { // it did not end because of the question
			err = cmp.Or(broken, io.EOF)
		}
		end()
		_ = pr.Close()
		return nil, err
	}
	return s, nil
}

// unread is how many bytes of a pipe nobody has read yet, 0 if that is not known. in is its end for writing.
func unread(in channel) (n int) {
	f, ok := in.(*os.File)
	if !ok {
		return 0
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

// open finds out the era and connects the library.
func (s *session) open(ctx context.Context, o opening, ended <-chan struct{}) (err error) {
	if o.era == Unknown {
		if s.era, s.late, err = findEra(ctx, s.guard, s.to, o.version, ended); err != nil {
			return err
		}
		s.known = s.era != Unknown
		if !s.known {
			s.era = Legacy
		}
		switch {
		case s.known:
			o.step(StepVersion, string(s.era)+", as it says")
		case s.late == nil:
			o.step(StepVersion, string(s.era)+" is assumed: it gave no answer to the question")
		default:
			o.step(StepVersion, fmt.Sprintf("%s is assumed: it did not say in %s", s.era, eraPatience))
		}
	} else {
		o.step(StepVersion, string(s.era)+", as it spoke before")
	}
	if s.era == Modern {
		s.guard.Modern()
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "cordon", Version: o.version}, &mcp.ClientOptions{
		Capabilities:           s.libraryCapabilities(), // nil would offer roots
		MultiRoundTrip:         &mcp.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { o.changed() },
		// These two make the library ask for them; what comes is heard by told.
		PromptListChangedHandler:   func(context.Context, *mcp.PromptListChangedRequest) {},
		ResourceListChangedHandler: func(context.Context, *mcp.ResourceListChangedRequest) {},
	})
	s.mcp, err = client.Connect(ctx, &mcp.IOTransport{Reader: s.pipe, Writer: kept{s.to}, MaxLineLength: wire.MaxMessage + 1}, &mcp.ClientSessionOptions{ProtocolVersion: string(s.era)})
	if err != nil {
		if _, answered := errors.AsType[*jsonrpc.Error](err); answered && (o.era != Unknown || s.lateEra(ctx) == Modern) {
			return fmt.Errorf("%w: %w", errOtherEra, err)
		}
		return err
	}
	if r := s.mcp.InitializeResult(); s.era == Modern && (r == nil || r.ProtocolVersion < string(Modern)) { // the library has tried the other one
		_ = s.pipe.Close()
		_ = s.mcp.Close()
		return errLegacyAfterAll
	}
	if r := s.mcp.InitializeResult(); s.era == Legacy && r != nil && r.ProtocolVersion >= string(Modern) { // that version has no handshake
		_ = s.pipe.Close()
		_ = s.mcp.Close()
		return fmt.Errorf("it answers the handshake with version %s, which has none", Modern)
	}
	title, version, _ := s.info()
	o.step(StepSession, strings.TrimSpace(title+" "+version))
	return nil
}

// kept is a writer that the library cannot close: it would end the server before that has said what it speaks.
type kept struct{ io.Writer }

// Close implements io.Closer.
func (kept) Close() error { return nil }

// lateEra is what a server that did not say its era in time says later. It waits for that as long as the server was given before. Unknown
// if it says nothing, or was asked nothing.
func (s *session) lateEra(ctx context.Context) Era {
	if s.late == nil {
		return Unknown
	}
	patience, cancel := context.WithTimeout(ctx, eraPatience)
	defer cancel()
	select {
	case a := <-s.late:
		return eraOf(a)
	case <-patience.Done():
	}
	select {
	case a := <-s.late: // it is there, and so is the end
		return eraOf(a)
	default:
		return Unknown
	}
}

// close ends the session, not the server, and its calls. The server's standard input is closed first: whatever the library still
// wants to write to it fails at once.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.in.Close()
	s.end()
	_ = s.pipe.Close() // first: the library waits for what it is doing
	_ = s.mcp.Close()
	s.calls.Wait()
}

// info is what the handshake told: name, version and instructions, untrusted.
func (s *session) info() (title, version, instructions string) {
	r := s.mcp.InitializeResult()
	if r == nil {
		return "", "", ""
	}
	if r.ServerInfo != nil {
		title, version = r.ServerInfo.Title, r.ServerInfo.Version
		if title == "" {
			title = r.ServerInfo.Name
		}
	}
	return brief(title), brief(version), r.Instructions
}

// brief makes one short line of what a server calls itself, in which everything can be seen.
func brief(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s[:min(len(s), 8*maxBrief)], "")), " ")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxBrief {
		s = string(r[:maxBrief]) + "…"
	}
	return s
}

// tools lists all tools, within bounds, and says what is not offered. source names the package the server came from, for
// effects known to Cordon.
func (s *session) tools(ctx context.Context, source string) (tools []tool.Tool, refused []string, err error) {
	if r := s.mcp.InitializeResult(); r == nil || r.Capabilities == nil || r.Capabilities.Tools == nil {
		return nil, nil, nil
	}
	s.guard.BeginListing()
	err = s.listPages(ctx)
	listed := s.guard.EndListing()
	if err != nil {
		return nil, nil, err
	}
	s.lasts = listed.Lasts
	tools = make([]tool.Tool, 0, len(listed.Order))
	for _, name := range listed.Order {
		t, err := describe(tool.ID{Server: s.name, Name: name}, listed.Definitions[name], source)
		if err != nil {
			return nil, nil, fmt.Errorf("tool %q: %w", name, err)
		}
		tools = append(tools, t)
	}
	return tools, listed.Refused, nil
}

func (s *session) listPages(ctx context.Context) error {
	seen := map[string]bool{}
	params := &mcp.ListToolsParams{}
	for range wire.MaxPages {
		r, err := s.mcp.ListTools(ctx, params)
		if err != nil {
			return err
		}
		if r.NextCursor == "" {
			return nil
		}
		if seen[r.NextCursor] {
			return errors.New("its tool list repeats itself")
		}
		seen[r.NextCursor] = true
		if s.pages[r.NextCursor] = true; len(s.pages) > maxPlaces { // the library keeps each
			return errEndless
		}
		params.Cursor = r.NextCursor
	}
	return fmt.Errorf("its tool list has more than %d pages", wire.MaxPages)
}

// describe turns a listed definition into a Tool with Cordon's own classification.
func describe(id tool.ID, raw jsontext.Value, source string) (tool.Tool, error) {
	canonical, err := tool.CanonicalObject(raw, tool.DefaultLimits())
	if err != nil {
		return tool.Tool{}, err
	}
	var def struct {
		Title       string         `json:"title"`
		Description string         `json:"description"`
		InputSchema jsontext.Value `json:"inputSchema"`
		Annotations struct {
			Title       string `json:"title"`
			ReadOnly    *bool  `json:"readOnlyHint"`
			Destructive *bool  `json:"destructiveHint"`
			OpenWorld   *bool  `json:"openWorldHint"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(canonical, &def); err != nil {
		return tool.Tool{}, errors.New("its definition is malformed")
	}
	t := tool.Tool{ID: id, Title: def.Title, Description: def.Description, InputSchema: def.InputSchema, Definition: canonical}
	if t.Title == "" {
		t.Title = def.Annotations.Title
	}
	hints := tool.Hints{ReadOnly: def.Annotations.ReadOnly, Destructive: def.Annotations.Destructive, OpenWorld: def.Annotations.OpenWorld}
	t.Effect, t.EffectBy = tool.Classify(id.Name, def.Description, def.InputSchema, hints, tool.Known(source, id.Name))
	return t, nil
}

// ping asks the server whether it lives. The channel gets the answer once: nil, the server's own error, or ctx's after patience.
func (s *session) ping(ctx context.Context, patience time.Duration) <-chan error {
	answered := make(chan error, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.calls.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
		if s.era == Modern { // it has no ping
			answered <- s.ask(ctx)
			return
		}
		answered <- s.mcp.Ping(ctx, nil)
	})
	return answered
}
