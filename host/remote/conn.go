// Package remote carries MCP over HTTP to servers on other computers (Streamable HTTP, 2025-03-26 to 2026-07-28). To the rest of Cordon a
// connection looks like the standard streams of a local server: messages are written one by one, and what the guard lets through is read
// as lines. What a server answers with is bounded in every direction, and a request that fails fails alone.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxRequests   = 128              // that wait for their answers at the same time
	maxTries      = 3                // of one request, when the first are answered with a challenge
	maxResumes    = 5                // of a stream that brings nothing new
	maxErrorBody  = 64 << 10         // bytes
	noticeTimeout = 15 * time.Second // for the server to take what needs no answer
	listenTimeout = time.Second      // for it to open its own stream before it is asked anything
	byeTimeout    = 2 * time.Second

	modern = "2026-07-28" // the first version without sessions
)

// ErrSessionLost ends a connection whose session the server has forgotten.
var ErrSessionLost = errors.New("the server has ended the session")

// errBusy ends a connection whose server answers nothing.
var errBusy = fmt.Errorf("more than %d requests wait for its answers", maxRequests)

// Auth identifies Cordon to a server. *oauth.Authorizer implements it.
type Auth interface {
	// Apply adds to a request what identifies its sender, if there is such a thing.
	Apply(ctx context.Context, r *http.Request) error
	// Challenged takes the answer to a request that was not let through, and reports whether it should be made again.
	Challenged(ctx context.Context, resp *http.Response) (again bool, err error)
}

// Options are what a Conn needs. All but Auth, Headers, SSE and Final are mandatory.
type Options struct {
	Endpoint *url.URL
	HTTP     *http.Client
	Guard    *wire.Guard       // new
	Auth     Auth              // nil sends no token
	Headers  map[string]string // sent with every request; secrets in them
	Version  string            // of Cordon
	Keys     bool              // Headers say who sends
	SSE      bool              // it speaks HTTP+SSE, as servers of 2024 did
	Final    func(error) bool  // reports whether an error of Auth ends the connection; the others fail their request
}

// Conn is a connection. Write, Close and Read may be used at the same time; Read by one reader.
type Conn struct {
	o      Options
	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc
	all    sync.WaitGroup // of everything that talks to the server

	in       sync.Mutex // held while the guard looks at a message and the reader takes it
	out      *io.PipeReader
	to       *io.PipeWriter
	known    atomic.Bool // a request with something that identifies Cordon was let through
	nameless atomic.Bool // one without was

	mu      sync.Mutex
	closed  bool                          // guarded by mu: nothing begins any more; all is added to under mu
	session string                        // guarded by mu; "" if the server keeps none
	version string                        // guarded by mu; of the protocol, "" before a handshake
	waits   map[string]context.CancelFunc // guarded by mu; of the requests without an answer, by id as JSON
	barrier chan struct{}                 // guarded by mu; what follows is sent when it is closed
	headers map[string][]tool.Header      // guarded by mu; by tool
	failed  error                         // guarded by mu; why it ended
	sse     chan struct{}                 // guarded by mu; of HTTP+SSE: closed when posts is known; nil before the first message
	posts   *url.URL                      // guarded by mu; of HTTP+SSE: where messages go
}

// Open returns a connection; nothing is sent yet. Close it.
func Open(o Options) *Conn {
	if o.Final == nil {
		o.Final = func(error) bool { return false }
	}
	c := &Conn{o: o, waits: map[string]context.CancelFunc{}, barrier: make(chan struct{})}
	close(c.barrier)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out, c.to = io.Pipe()
	return c
}

// Read returns what the guard lets through, a line a message. It ends with why the connection did.
func (c *Conn) Read(p []byte) (int, error) { return c.out.Read(p) }

// SetWriteDeadline does nothing: a Write never waits.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Done is closed when the connection has ended. Err is why, nil before and after Close.
func (c *Conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err is Done's.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Nameless reports whether the server has let a request through that said nothing of who sends it, and none that did.
func (c *Conn) Nameless() bool { return c.nameless.Load() && !c.known.Load() }

// Offer tells which headers calls of which tools have.
func (c *Conn) Offer(headers map[string][]tool.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = headers
}

// Close ends the connection and everything that waits for it, at once. The server is told by Bye.
func (c *Conn) Close() error {
	c.end(nil)
	return nil
}

func (c *Conn) end(why error) {
	c.mu.Lock()
	first := !c.closed
	if c.closed = true; first {
		c.failed = why
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.cancel(why)
	if why == nil {
		why = io.EOF
	}
	_ = c.to.CloseWithError(why)
}

// Bye waits until nothing of a closed connection is left, and tells the server that its session is over, if ctx and a short time allow.
func (c *Conn) Bye(ctx context.Context) {
	c.end(nil)
	c.all.Wait()
	c.mu.Lock()
	session, lost := c.session, errors.Is(c.failed, ErrSessionLost)
	c.mu.Unlock()
	if session == "" || lost {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, byeTimeout)
	defer cancel()
	r, err := c.request(ctx, http.MethodDelete, nil, message{})
	if err == nil && c.o.Auth != nil {
		err = c.o.Auth.Apply(ctx, r)
	}
	if err != nil {
		return
	}
	if resp, err := c.o.HTTP.Do(r); err == nil {
		_ = resp.Body.Close()
	}
}

// message is what is sent: a request if it has an id and a method, a notification if it has no id, else an answer.
type message struct {
	ID     jsontext.Value `json:"id"`
	Method string         `json:"method"`
	Params jsontext.Value `json:"params"`
	text   []byte
}

// id is that of a request, as JSON; "" if nothing answers the message.
func (m message) id() string {
	if m.Method == "" {
		return ""
	}
	return string(m.ID)
}

// Write sends one message. It does not wait for the server; what comes of it is read. An error ends the session.
func (c *Conn) Write(b []byte) (int, error) {
	m := message{text: bytes.Clone(bytes.TrimSpace(b))}
	if err := json.Unmarshal(m.text, &m); err != nil {
		return 0, fmt.Errorf("a message that is none: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, io.ErrClosedPipe
	}
	if m.Method == "notifications/cancelled" && c.cancelled(m) {
		return len(b), nil
	}
	if len(c.waits) >= maxRequests {
		return 0, errBusy
	}
	ctx, cancel := context.WithCancel(c.ctx)
	if id := m.id(); id != "" {
		c.waits[id] = cancel
	}
	first := c.barrier
	opened := (<-chan struct{})(first)
	if c.o.SSE {
		opened = c.opened()
	}
	var done chan struct{}
	if m.Method == "notifications/initialized" { // servers refuse what comes before it
		done = make(chan struct{})
		c.barrier = done
	}
	c.all.Go(func() {
		defer cancel()
		if done != nil {
			defer close(done)
		}
		for _, ready := range []<-chan struct{}{opened, first} {
			select {
			case <-ready:
			case <-ctx.Done():
			}
		}
		c.send(ctx, m)
	})
	return len(b), nil
}

// cancelled ends a request, and reports whether that is all: from 2026-07-28 on the end of its stream is what a server understands. The caller
// holds mu.
func (c *Conn) cancelled(m message) bool {
	var p struct {
		ID jsontext.Value `json:"requestId"`
	}
	if json.Unmarshal(m.Params, &p) != nil {
		return false
	}
	if cancel := c.waits[string(p.ID)]; cancel != nil {
		delete(c.waits, string(p.ID))
		cancel()
	}
	return c.version == "" && !c.o.SSE
}

// done forgets a request, and reports whether it was still waited for.
func (c *Conn) done(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waits := c.waits[id]
	delete(c.waits, id)
	return waits
}

// send posts a message and reads what it is answered with.
func (c *Conn) send(ctx context.Context, m message) {
	id := m.id()
	if id == "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, noticeTimeout)
		defer cancel()
	}
	resp, err := c.post(ctx, m)
	if err == nil {
		defer resp.Body.Close()
		if c.o.SSE && resp.StatusCode/100 == 2 { // the answer comes on the stream
			if id != "" && !c.o.Guard.Open(id) { // or has come
				c.done(id)
			}
			return
		}
		if id == "" {
			if m.Method == "notifications/initialized" && resp.StatusCode/100 == 2 {
				c.listen(ctx)
			}
			return
		}
		err = c.answered(ctx, m, resp)
	}
	if id == "" || !c.done(id) || ctx.Err() != nil || !c.o.Guard.Open(id) {
		return
	}
	if err == nil {
		err = errors.New("the server ended its answer before it was complete")
	}
	c.deliver(id, failure(id, CodeLost, err.Error()))
}

// CodeLost is the code of an error that Cordon answers a request with because the server gave no answer to it.
const CodeLost = -32099

// codeRefused is that of one in the place of an answer of HTTP that says no.
const codeRefused = -32000

// failure is an error that answers a request, in Cordon's words.
func failure(id string, code int, text string) []byte {
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": jsontext.Value(id), "error": map[string]any{"code": code, "message": text}}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil
	}
	return b
}

// post makes the request, again if that helps against a challenge. The caller closes the body.
func (c *Conn) post(ctx context.Context, m message) (*http.Response, error) {
	for try := 1; ; try++ {
		r, err := c.request(ctx, http.MethodPost, m.text, m)
		if err != nil {
			return nil, err
		}
		resp, again, err := c.do(ctx, r)
		if err != nil {
			return nil, err
		}
		if !again {
			return resp, nil
		}
		_ = resp.Body.Close()
		if try >= maxTries {
			return nil, fmt.Errorf("the server does not let this through, although it was given what it asked for (HTTP %d)", resp.StatusCode)
		}
	}
}

// do makes a request that identifies its sender, and tells whether to make it again. What the server does not let through for good is an
// error.
func (c *Conn) do(ctx context.Context, r *http.Request) (resp *http.Response, again bool, err error) {
	if c.o.Auth != nil {
		if err := c.o.Auth.Apply(ctx, r); err != nil {
			return nil, false, c.judge(err)
		}
	}
	resp, err = c.o.HTTP.Do(r)
	if err != nil {
		return nil, false, fmt.Errorf("the server cannot be reached: %w", plain(err))
	}
	named := r.Header.Get("Authorization") != "" || c.o.Keys
	switch s := resp.StatusCode; {
	case s/100 == 2:
		if h, ok := c.o.Auth.(interface{ Heard(*http.Response) }); ok {
			h.Heard(resp)
		}
		if named {
			c.known.Store(true)
		} else {
			c.nameless.Store(true)
		}
	case s != http.StatusUnauthorized && (s != http.StatusForbidden && s != http.StatusBadRequest || len(resp.Header.Values("WWW-Authenticate")) == 0):
	case c.o.Auth != nil:
		if again, err = c.o.Auth.Challenged(ctx, resp); err != nil {
			_ = resp.Body.Close()
			return nil, false, c.judge(err)
		}
		return resp, again, nil
	case s == http.StatusUnauthorized:
		_ = resp.Body.Close()
		return nil, false, errors.New("the server does not accept the key that it was sent (HTTP 401)")
	}
	return resp, false, nil
}

// judge ends the connection if err says that nothing goes on without a person.
func (c *Conn) judge(err error) error {
	if c.o.Final(err) {
		c.end(err)
	}
	return err
}

// plain is an error of the HTTP client without the address, which the caller names.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// request builds one. body is nil for none.
func (c *Conn) request(ctx context.Context, method string, body []byte, m message) (*http.Request, error) {
	to := c.o.Endpoint
	c.mu.Lock()
	if c.posts != nil && method == http.MethodPost {
		to = c.posts
	}
	c.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == nil {
		r.Body, r.ContentLength = nil, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodGet {
		r.Header.Set("Accept", "text/event-stream")
	}
	r.Header.Set("User-Agent", "cordon/"+c.o.Version)
	c.mu.Lock()
	version, session, headers := c.version, c.session, c.headers
	c.mu.Unlock()
	if v := m.version(); v != "" {
		version = v
	}
	if version != "" {
		r.Header.Set("Mcp-Protocol-Version", version)
	}
	if session != "" {
		r.Header.Set("Mcp-Session-Id", session)
	}
	if version >= modern {
		m.mirror(r.Header, headers)
	}
	for name, value := range c.o.Headers {
		r.Header.Set(name, value)
	}
	return r, nil
}

// version is that of the protocol that a message names, "" if it names none.
func (m message) version() string {
	var p struct {
		Meta struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(m.Params, &p)
	return p.Meta.Version
}

// mirror repeats in headers what the message says.
func (m message) mirror(h http.Header, headers map[string][]tool.Header) {
	h.Set("Mcp-Method", m.Method)
	var p struct {
		Name string         `json:"name"`
		URI  string         `json:"uri"`
		Task string         `json:"taskId"`
		Args jsontext.Value `json:"arguments"`
	}
	_ = json.Unmarshal(m.Params, &p)
	switch m.Method {
	case "tools/call", "prompts/get":
		h.Set("Mcp-Name", tool.HeaderText(p.Name))
	case "resources/read":
		h.Set("Mcp-Name", tool.HeaderText(p.URI))
	case "tasks/get", "tasks/update", "tasks/cancel":
		h.Set("Mcp-Name", tool.HeaderText(p.Task))
	}
	if m.Method == "tools/call" {
		for _, wanted := range headers[p.Name] {
			if v, ok := wanted.Value(p.Args); ok {
				h.Set("Mcp-Param-"+wanted.Name, v)
			}
		}
	}
}

// answered reads the answer to a request. nil means that nothing is wrong with it, even if it was not complete.
func (c *Conn) answered(ctx context.Context, m message, resp *http.Response) error {
	id := m.id()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode/100 != 2 {
		return c.refused(id, kind, resp)
	}
	if m.Method == "initialize" {
		if err := c.begin(resp.Header.Get("Mcp-Session-Id")); err != nil {
			return err
		}
	}
	switch kind {
	case "application/json":
		text, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxMessage+1))
		if err != nil {
			return fmt.Errorf("its answer broke off: %w", err)
		}
		if len(text) > wire.MaxMessage {
			return fmt.Errorf("its answer is longer than %d MiB", wire.MaxMessage>>20)
		}
		c.take(m, text)
		return nil
	case "text/event-stream":
		return c.stream(ctx, m, resp)
	}
	return fmt.Errorf("it answered with %q where JSON or events are expected; is this the address of an MCP server?", short(kind))
}

// begin keeps the id of the session.
func (c *Conn) begin(session string) error {
	if len(session) > maxEventLine || !printable(session) || strings.Contains(session, " ") {
		return errors.New("the id of its session cannot be sent back")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session
	return nil
}

// take passes a message on that came where m is to be answered.
func (c *Conn) take(m message, text []byte) {
	if m.Method == "initialize" {
		var answer struct {
			Result struct {
				Version string `json:"protocolVersion"`
			} `json:"result"`
		}
		if json.Unmarshal(text, &answer) == nil && len(answer.Result.Version) <= 32 && printable(answer.Result.Version) {
			c.mu.Lock()
			c.version = answer.Result.Version
			c.mu.Unlock()
		}
	}
	c.deliver(m.id(), text)
}

// deliver lets the guard look at a message and waits until what it lets through is read. only is the one request that it may answer, "" for none.
func (c *Conn) deliver(only string, text []byte) {
	c.receive(text, func(text []byte) ([]byte, error) { return c.o.Guard.InFor(only, text) })
}

// receive is deliver by a check of the guard's.
func (c *Conn) receive(text []byte, check func([]byte) ([]byte, error)) {
	for i, b := range text { // a message is a line; within a string neither is JSON, nor is what takes its place
		if b == '\n' || b == '\r' {
			text[i] = '\t'
		}
	}
	c.in.Lock()
	defer c.in.Unlock()
	out, err := check(text)
	if err != nil {
		c.end(err)
		return
	}
	if len(out) > 0 {
		_, _ = c.to.Write(append(out, '\n'))
	}
}

// refused reads an answer that is none: an error of the protocol, or of HTTP.
func (c *Conn) refused(id, kind string, resp *http.Response) error {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if resp.StatusCode == http.StatusNotFound && session != "" {
		c.end(ErrSessionLost)
		return ErrSessionLost
	}
	if kind == "application/json" {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		var answer struct {
			Version string         `json:"jsonrpc"`
			ID      jsontext.Value `json:"id"`
			Error   jsontext.Value `json:"error"`
		}
		if err == nil && json.Unmarshal(text, &answer) == nil && answer.Version == "2.0" && answer.Error.Kind() == '{' {
			if k := answer.ID.Kind(); k == 'n' || k == jsontext.KindInvalid { // such an error may leave it out
				if text, err = json.Marshal(map[string]any{"jsonrpc": "2.0", "id": jsontext.Value(id), "error": answer.Error}); err != nil {
					return err
				}
			}
			c.deliver(id, text)
			return nil
		}
	}
	switch s := resp.StatusCode; {
	case s/100 == 3:
		return fmt.Errorf("it redirects to %q (HTTP %d); redirects are not followed: enter that address if it is the right one", short(resp.Header.Get("Location")), s)
	case s == http.StatusTooManyRequests || s == http.StatusServiceUnavailable:
		if after := resp.Header.Get("Retry-After"); after != "" {
			return fmt.Errorf("it has too much to do (HTTP %d), and says to wait: %s", s, short(after))
		}
		return fmt.Errorf("it has too much to do (HTTP %d)", s)
	case s/100 == 4:
		c.deliver(id, failure(id, codeRefused, fmt.Sprintf("it answered HTTP %d %s", s, http.StatusText(s))))
		return nil
	default:
		return fmt.Errorf("it answered HTTP %d %s", s, http.StatusText(s))
	}
}

func short(s string) string {
	const most = 200
	s = strings.ToValidUTF8(s, "")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// stream reads events until m is answered. A stream that breaks off before is resumed if the server has said how.
func (c *Conn) stream(ctx context.Context, m message, resp *http.Response) error {
	id, last, idle := m.id(), "", 0
	for {
		pause, err := c.events(ctx, m, resp, &last)
		_ = resp.Body.Close()
		if !c.waiting(id) || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errEventTooLong) || errors.Is(err, errNothing) {
			return err
		}
		c.mu.Lock()
		legacy := c.version != ""
		c.mu.Unlock()
		if last == "" || !legacy {
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("its answer broke off: %w", err)
			}
			return nil
		}
		if idle++; idle > maxResumes {
			return fmt.Errorf("its answer broke off %d times and did not go on", idle)
		}
		before := last
		if resp, err = c.resume(ctx, last, pause); err != nil {
			return err
		}
		if before != last {
			idle = 0
		}
	}
}

func (c *Conn) waiting(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waits := c.waits[id]
	return waits
}

// events passes on what a stream brings, until it ends or m is answered. m is the zero message on a stream that answers nothing. last becomes the id to
// resume after.
func (c *Conn) events(ctx context.Context, m message, resp *http.Response, last *string) (pause time.Duration, err error) {
	s := newEvents(resp.Body)
	s.last = *last
	for {
		e, err := s.next()
		if s.last != "" {
			*last = s.last
		}
		if err != nil {
			return s.pause(), err
		}
		if len(bytes.TrimSpace(e.data)) == 0 || e.name != "" && e.name != "message" {
			s.spent += len(e.data)
			continue
		}
		s.spent = 0
		c.take(m, e.data)
		if id := m.id(); id != "" && !c.o.Guard.Open(id) {
			c.done(id)
			return 0, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// resume opens a stream again after the event of that id, "" to open one that answers nothing.
func (c *Conn) resume(ctx context.Context, last string, pause time.Duration) (*http.Response, error) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for try := 1; ; try++ {
		r, err := c.request(ctx, http.MethodGet, nil, message{})
		if err != nil {
			return nil, err
		}
		if last != "" {
			r.Header.Set("Last-Event-Id", last)
		}
		resp, again, err := c.do(ctx, r)
		if err != nil {
			return nil, err
		}
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode == http.StatusOK && kind == "text/event-stream" {
			return resp, nil
		}
		_ = resp.Body.Close()
		if !again || try >= maxTries {
			return nil, &noStreamError{resp.StatusCode}
		}
	}
}

// noStreamError means that the server does not offer a stream.
type noStreamError struct{ status int }

func (e *noStreamError) Error() string {
	return fmt.Sprintf("its answer broke off, and asking for the rest was answered with HTTP %d", e.status)
}

// listen keeps a stream open for what a legacy server says by itself, if it offers one, for as long as the connection lasts. It returns when the
// server has answered, or after a short time: what a server asks before the stream is open, while it works on a call, is lost.
func (c *Conn) listen(ctx context.Context) {
	answered := make(chan struct{})
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.all.Go(func() {
		once := sync.OnceFunc(func() { close(answered) })
		defer once()
		last, idle := "", 0
		for pause := time.Duration(0); idle <= maxResumes; idle++ {
			resp, err := c.resume(c.ctx, last, pause)
			once()
			if err != nil {
				if none, ok := errors.AsType[*noStreamError](err); ok && none.status == http.StatusNotFound && idle > 0 {
					c.end(ErrSessionLost)
				}
				if c.ctx.Err() != nil || idle == 0 {
					return
				}
				pause = min(firstRetry<<idle, maxRetry)
				continue
			}
			before := last
			began := time.Now()
			pause, err = c.events(c.ctx, message{}, resp, &last)
			_ = resp.Body.Close()
			if c.ctx.Err() != nil {
				return
			}
			if errors.Is(err, errEventTooLong) || errors.Is(err, errNothing) {
				c.end(err)
				return
			}
			pause = max(pause, firstRetry<<idle) // a server that keeps on ending it is not asked all the time
			if time.Since(began) > maxRetry {
				idle = 0
			} else if last != before {
				idle = min(idle, 4)
			}
		}
	})
	c.mu.Unlock()
	select {
	case <-answered:
	case <-time.After(listenTimeout):
	case <-ctx.Done():
	}
}
