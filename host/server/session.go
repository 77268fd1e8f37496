package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// protocol is the version that sessions open with. Servers that speak only 2026-07-28 come with the protocol work.
const protocol = "2025-11-25"

const (
	maxInstructions = 64 << 10 // bytes
	maxBrief        = 100      // characters of a server's title and version
)

// ErrLineTooLong ends a session: a line without end would fill the memory.
var ErrLineTooLong = wire.ErrLineTooLong

// session is one MCP connection to one running server. Close it.
type session struct {
	mcp   *mcp.ClientSession
	guard *wire.Guard
	pipe  *io.PipeReader
	in    io.Closer
	name  string

	ending context.Context // ended by close: the library would wait for every call that is still running
	end    context.CancelFunc

	mu     sync.Mutex
	closed bool           // guarded by mu: no call begins any more
	calls  sync.WaitGroup // of the library, each a goroutine of its own; added to under mu
}

// inlet is what the library writes to. A server that stops reading must not hold a writer for good, because the library
// writes under a lock that closing, cancelling and every other call wait for: such a session is ended.
type inlet struct {
	*os.File
	patience time.Duration
}

// Write implements io.Writer. After an error the pipe is closed.
func (w inlet) Write(b []byte) (int, error) {
	_ = w.SetWriteDeadline(time.Now().Add(w.patience))
	n, err := w.File.Write(b)
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

// connect does the handshake over a server's standard streams. The session closes in; the caller ends the process. Until
// the end of out everything is read, also what comes after the session: pump is the goroutine that does it.
func connect(ctx context.Context, name string, out io.Reader, in *os.File, version string, pump *sync.WaitGroup, noise func([]byte), found func(code wire.Code, text string), changed func()) (*session, error) {
	g := wire.New(noise, found)
	lines := wire.NewLines(out, g)
	pr, pw := io.Pipe()
	pump.Go(func() {
		_, err := io.Copy(pw, lines)
		_ = pw.CloseWithError(err)
		if errors.Is(err, io.ErrClosedPipe) { // the session ended before the server
			_, _ = io.Copy(io.Discard, lines)
		}
	})
	client := mcp.NewClient(&mcp.Implementation{Name: "cordon", Version: version}, &mcp.ClientOptions{
		Capabilities:           &mcp.ClientCapabilities{}, // nil would offer roots
		MultiRoundTrip:         &mcp.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed() },
	})
	to := wire.Tap{WriteCloser: inlet{in, writePatience}, Guard: g}
	defer context.AfterFunc(ctx, func() { _ = in.SetWriteDeadline(time.Unix(1, 0)) })()
	s, err := client.Connect(ctx, &mcp.IOTransport{Reader: pr, Writer: to, MaxLineLength: wire.MaxMessage + 1}, &mcp.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		_ = pr.Close()
		return nil, err
	}
	ending, end := context.WithCancel(context.Background())
	return &session{mcp: s, guard: g, pipe: pr, in: in, name: name, ending: ending, end: end}, nil
}

// close ends the session, not the server, and its calls. The server's standard input is closed first: whatever the library still
// wants to write to it fails at once.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.in.Close()
	s.end()
	_ = s.mcp.Close()
	_ = s.pipe.Close()
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

// brief makes one short line of what a server calls itself.
func brief(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s[:min(len(s), 8*maxBrief)], "")), " ")
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

// call runs a frozen call. The canonical argument bytes go out as they are. The deadline is ctx's.
func (s *session) call(ctx context.Context, c tool.Call) (tool.Result, error) {
	start := time.Now()
	type answer struct {
		r   *mcp.CallToolResult
		err error
	}
	answered := make(chan answer, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return tool.Result{}, fmt.Errorf("%w: its session has ended", ErrNotRunning)
	}
	s.calls.Go(func() { // while it waits to write, the library does not see that ctx has ended
		run, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
		r, err := s.mcp.CallTool(run, &mcp.CallToolParams{
			Meta:      mcp.Meta{"traceparent": "00-" + c.Trace + "-" + c.ID + "-01"},
			Name:      c.Tool.ID.Name,
			Arguments: rawArguments(c.Args),
		})
		answered <- answer{r, err}
	})
	s.mu.Unlock()
	var a answer
	var gone error
	select {
	case a = <-answered:
	case <-ctx.Done():
		gone = context.Cause(ctx)
	case <-s.ending.Done():
		gone = errStopped
	}
	if gone != nil {
		select {
		case a = <-answered: // it came in the same moment
		default:
			return tool.Result{}, gone
		}
	}
	r, err := a.r, a.err
	switch {
	case err != nil && ctx.Err() == nil && s.ending.Err() != nil:
		return tool.Result{}, errStopped
	case err != nil:
		return tool.Result{}, err
	}
	out := tool.Result{CallID: c.ID, IsError: r.IsError, Took: time.Since(start)}
	for _, block := range r.Content {
		out.Content = append(out.Content, content(block))
	}
	if r.StructuredContent != nil {
		if out.Structured, err = json.Marshal(r.StructuredContent); err != nil {
			return tool.Result{}, errors.New("its structured result cannot be encoded")
		}
	}
	return out, nil
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
		answered <- s.mcp.Ping(ctx, nil)
	})
	return answered
}

// errStopped is what becomes of a call whose server is stopped.
var errStopped = errors.New("it was stopped during the call")

// rawArguments is JSON that both encoders write through unchanged.
type rawArguments []byte

// MarshalJSON returns the bytes themselves.
func (r rawArguments) MarshalJSON() ([]byte, error) { return r, nil }

func content(block mcp.Content) tool.Content {
	switch b := block.(type) {
	case *mcp.TextContent:
		return tool.Content{Type: "text", Text: b.Text}
	case *mcp.ImageContent:
		return tool.Content{Type: "image", MIME: b.MIMEType, Data: b.Data}
	case *mcp.AudioContent:
		return tool.Content{Type: "audio", MIME: b.MIMEType, Data: b.Data}
	case *mcp.ResourceLink:
		return tool.Content{Type: "resource_link", Text: b.Name, MIME: b.MIMEType, URI: b.URI}
	case *mcp.EmbeddedResource:
		if b.Resource == nil {
			return tool.Content{Type: "resource"}
		}
		return tool.Content{Type: "resource", Text: b.Resource.Text, MIME: b.Resource.MIMEType, Data: b.Resource.Blob, URI: b.Resource.URI}
	}
	return tool.Content{Type: "text", Text: "content of a kind this version does not show: " + strings.TrimPrefix(fmt.Sprintf("%T", block), "*mcp.")}
}
