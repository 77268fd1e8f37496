package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Requests of Cordon's own, and what becomes of a call: of a tool, a resource or a prompt. The library does the handshake and lists tools; it
// sees neither calls nor their results.

// asks counts the requests of Cordon's own, for their ids.
var asks atomic.Uint64

// exact writes what is JSON already as it is.
var exact = json.JoinOptions(json.Deterministic(true), jsontext.PreserveRawStrings(true))

// ServerError is an error that a server answered with. Its text is untrusted.
type ServerError struct {
	Code int            `json:"code"`
	Text string         `json:"message"`
	Data jsontext.Value `json:"data"`
}

func (e *ServerError) Error() string { return e.Text }

// Answered reports whether an error is an answer, or one that is still to come: its server works.
func Answered(err error) bool {
	_, says := errors.AsType[*ServerError](err)
	_, works := errors.AsType[*errTaskLeft](err)
	return says || works
}

// methodNotFound is JSON-RPC's code for what a server does not do.
const methodNotFound = -32601

var (
	errUnreadable = errors.New("its answer cannot be read")                 // what becomes of a call whose answer is none
	errStopped    = errors.New("it was stopped during the call")            // whose server is stopped
	errNotOffered = errors.New("the server offers nothing of that address") // of a resource
)

// meta is what a request carries about the connection and the call.
func (s *session) meta(of map[string]any) map[string]any {
	if s.era != Modern {
		return of
	}
	all := map[string]any{
		"io.modelcontextprotocol/protocolVersion":    Modern,
		"io.modelcontextprotocol/clientInfo":         map[string]string{"name": "cordon", "version": s.version},
		"io.modelcontextprotocol/clientCapabilities": s.capabilities(),
	}
	for k, v := range of {
		all[k] = v
	}
	return all
}

// request sends a request and returns its result. meta, if not nil, is what it says of the call. Cancelling ctx tells the server and returns at once.
// Errors: ctx's, errStopped, ErrNotRunning, *ServerError, or how the session ended.
func (s *session) request(ctx context.Context, method string, params map[string]any, meta map[string]any) (jsontext.Value, error) {
	id := fmt.Sprintf("cordon-%d", asks.Add(1))
	if meta["progressToken"] != nil {
		meta["progressToken"] = id
	}
	all := map[string]any{}
	for k, v := range params {
		all[k] = v
	}
	if m := s.meta(meta); len(m) > 0 {
		all["_meta"] = m
	}
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": all}, exact)
	if err != nil {
		return nil, err
	}
	key := `"` + id + `"`
	answer, wrote, sent := s.guard.Ask(key), make(chan error, 1), make(chan struct{})
	if !s.do(func() { // a server that reads nothing holds it up
		defer close(sent)
		_, err := s.to.Write(append(text, '\n'))
		wrote <- err
	}) {
		s.guard.Forget(key)
		return nil, fmt.Errorf("%w: its session has ended", ErrNotRunning)
	}
	defer s.guard.Forget(key)
	if meta["progressToken"] != nil {
		defer s.follow(id, ctx)()
	}
	for {
		select {
		case a := <-answer:
			return resultOf(a)
		case err := <-wrote:
			if err != nil {
				return nil, s.ended(err)
			}
			wrote = nil
		case <-s.over:
			select {
			case a := <-answer: // it was the last that it said
				return resultOf(a)
			default:
			}
			return nil, s.ended(cmp.Or(*s.broken, io.EOF))
		case <-ctx.Done():
			select {
			case a := <-answer: // it came in the same moment
				return resultOf(a)
			default:
			}
			s.do(func() {
				<-sent // what is cancelled has to be known first
				s.cancel(id, context.Cause(ctx))
			})
			return nil, context.Cause(ctx)
		case <-s.ending.Done():
			return nil, errStopped
		}
	}
}

// ended is err, unless the session was ended from here.
func (s *session) ended(err error) error {
	if s.ending.Err() != nil {
		return errStopped
	}
	return err
}

// do runs f in a goroutine that close waits for, and reports whether it does: not after close.
func (s *session) do(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.calls.Go(f)
	}
	return !s.closed
}

// cancel tells the server that nobody waits for a request any more.
func (s *session) cancel(id string, why error) {
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": map[string]string{"requestId": id, "reason": why.Error()}}, exact)
	if err == nil {
		_, _ = s.to.Write(append(text, '\n'))
	}
}

func resultOf(a wire.Answer) (jsontext.Value, error) {
	if a.Result != nil {
		return a.Result, nil
	}
	e := new(ServerError)
	if json.Unmarshal(a.Error, e) != nil {
		return nil, errUnreadable
	}
	return nil, e
}

// follow takes the server's notes of how a request goes for the call of ctx, until the function returned is called.
func (s *session) follow(id string, ctx context.Context) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followed == nil {
		s.followed = map[string]context.Context{}
	}
	s.followed[id] = ctx
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.followed, id)
	}
}

type callKey struct{}

// told takes a notification. It does not block.
func (s *session) told(method string, params jsontext.Value) {
	switch method {
	case "notifications/progress":
		s.progressed(params)
	case "notifications/prompts/list_changed":
		s.changed()
	case "notifications/resources/list_changed":
		s.forgetResources()
	case "notifications/resources/updated":
		s.updated(params)
	case "notifications/elicitation/complete":
		var p struct {
			ID string `json:"elicitationId"`
		}
		if json.Unmarshal(params, &p) == nil {
			s.visited(p.ID)
		}
	}
}

// maxProgressText bounds what a server says of how a call goes, in bytes.
const maxProgressText = 200

// progressed gives a call that goes on more time, and tells whoever looks at it.
func (s *session) progressed(params jsontext.Value) {
	var p struct {
		Token   jsontext.Value `json:"progressToken"`
		Done    float64        `json:"progress"`
		Total   float64        `json:"total"`
		Message string         `json:"message"`
	}
	id := ""
	if json.Unmarshal(params, &p) != nil || p.Token.Kind() != '"' || json.Unmarshal(p.Token, &id) != nil {
		return
	}
	s.mu.Lock()
	ctx := s.followed[id]
	s.mu.Unlock()
	if ctx == nil || math.IsNaN(p.Done) || math.IsInf(p.Done, 0) {
		return
	}
	call, _ := ctx.Value(callKey{}).(tool.Call)
	if tool.GoesOn(ctx, p.Done) && s.progress != nil {
		s.progress(tool.Progress{CallID: call.ID, Ticket: call.Ticket, Server: s.name, Done: p.Done, Total: max(p.Total, 0), Text: brief(p.Message[:min(len(p.Message), maxProgressText)])})
	}
}

// call runs a frozen call. The canonical argument bytes go out as they are, each time. The deadline is ctx's. A server that asks for more before it
// runs the call is answered by the person, a few times at most.
func (s *session) call(ctx context.Context, c tool.Call) (tool.Result, error) {
	start := time.Now()
	ctx, over := context.WithCancel(context.WithValue(ctx, callKey{}, c))
	defer over() // a question does not outlive its call
	s.mu.Lock()
	if len(s.busy) == 0 {
		s.asked = 0
	}
	s.busy[c.ID] = ctx
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.busy, c.ID)
		s.mu.Unlock()
	}()
	if c.Kind == tool.FetchTask {
		raw, err := s.resumed(ctx, c)
		return s.finished(c, raw, err, start)
	}
	method, params := requestOf(c)
	if s.era != Modern && c.Kind == tool.CallTool && needsTask(c.Tool) {
		params["task"] = map[string]any{"ttl": legacyTTL.Milliseconds()}
	}
	for round := 0; ; round++ {
		raw, err := s.request(ctx, method, params, map[string]any{"traceparent": "00-" + c.Trace + "-" + c.ID + "-01", "progressToken": true})
		if pages := pagesOf(err); pages != nil && s.era != Modern && round < maxRounds {
			if err := s.visit(ctx, c.ID, pages); err != nil {
				return tool.Result{}, err
			}
			continue
		}
		if err != nil {
			return tool.Result{}, err
		}
		var r answered
		if err := json.Unmarshal(raw, &r); err != nil {
			return tool.Result{}, errUnreadable
		}
		switch {
		case r.Type == "task" && s.era == Modern && c.Kind == tool.CallTool:
			raw, err := s.began(ctx, c, raw)
			return s.finished(c, raw, err, start)
		case r.Task != nil && params["task"] != nil:
			raw, err := s.began(ctx, c, r.Task)
			return s.finished(c, raw, err, start)
		case r.Type != "input_required":
			return s.finished(c, raw, nil, start)
		case s.era != Modern:
			return tool.Result{}, errors.New("it asks for more in a way that its version of the protocol does not know")
		case round >= maxRounds:
			return tool.Result{}, fmt.Errorf("it asked for more %d times and did not run", round+1)
		case len(r.State) > maxState:
			return tool.Result{}, fmt.Errorf("it wants %d bytes kept between its questions, at most %d are", len(r.State), maxState)
		}
		given, err := s.answers(ctx, c.ID, r.Needs)
		if err != nil {
			return tool.Result{}, err
		}
		delete(params, "inputResponses")
		delete(params, "requestState")
		if given != nil {
			params["inputResponses"] = given
		}
		if r.State != nil {
			params["requestState"] = r.State
		}
	}
}

// finished reads the result of a call that began at start.
func (s *session) finished(c tool.Call, raw jsontext.Value, err error, start time.Time) (tool.Result, error) {
	if err != nil {
		return tool.Result{}, err
	}
	var r answered
	if json.Unmarshal(raw, &r) != nil {
		return tool.Result{}, errUnreadable
	}
	out, err := r.result(c)
	out.CallID, out.Took = c.ID, time.Since(start)
	if err == nil {
		s.linked(out)
	}
	return out, err
}

// requestOf is how a call is put to a server.
func requestOf(c tool.Call) (method string, params map[string]any) {
	switch c.Kind {
	case tool.ReadResource:
		return "resources/read", map[string]any{"uri": c.Tool.ID.Name}
	case tool.GetPrompt:
		return "prompts/get", map[string]any{"name": c.Tool.ID.Name, "arguments": jsontext.Value(c.Args)}
	}
	return "tools/call", map[string]any{"name": c.Tool.ID.Name, "arguments": jsontext.Value(c.Args)}
}

// answered is a result as a server sends it, of any kind of call.
type answered struct {
	Type  string             `json:"resultType"`
	Task  jsontext.Value     `json:"task"` // of a legacy server
	Needs map[string]inquiry `json:"inputRequests"`
	State jsontext.Value     `json:"requestState"`
	Error jsontext.Value     `json:"isError"`
	Data  jsontext.Value     `json:"structuredContent"`
	Of    jsontext.Value     `json:"content"`
	Parts []jsontext.Value   `json:"contents"` // of a resource
	Words []struct {
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
	} `json:"messages"` // of a prompt
}

// inquiry is a question that a result holds.
type inquiry struct {
	Method string         `json:"method"`
	Params jsontext.Value `json:"params"`
}

// result is what a call came to.
func (r *answered) result(c tool.Call) (out tool.Result, err error) {
	switch c.Kind {
	case tool.ReadResource:
		for _, raw := range r.Parts {
			b, err := resourceContent(raw)
			if err != nil {
				return out, err
			}
			out.Content = append(out.Content, b)
		}
		return out, nil
	case tool.GetPrompt:
		for _, m := range r.Words {
			if m.Role != "user" && m.Role != "assistant" {
				return out, fmt.Errorf("a message of it is by %q, which is nobody", brief(m.Role))
			}
			b, err := contentOf(m.Content)
			if err != nil {
				return out, err
			}
			b.Role = m.Role
			out.Content = append(out.Content, b)
		}
		return out, nil
	}
	var blocks []jsontext.Value
	if r.Of != nil && r.Of.Kind() != 'n' && json.Unmarshal(r.Of, &blocks) != nil {
		return out, errUnreadable
	}
	for _, raw := range blocks {
		b, err := contentOf(raw)
		if err != nil {
			return out, err
		}
		out.Content = append(out.Content, b)
	}
	if r.Error != nil && r.Error.Kind() != 'n' && json.Unmarshal(r.Error, &out.IsError) != nil {
		return out, errUnreadable
	}
	if k := r.Data.Kind(); k != jsontext.KindInvalid && k != 'n' {
		out.Structured = r.Data
	}
	return out, nil
}

// contentOf reads one block.
func contentOf(raw jsontext.Value) (tool.Content, error) {
	var b struct {
		Type     string         `json:"type"`
		Text     string         `json:"text"`
		MIME     string         `json:"mimeType"`
		Data     string         `json:"data"`
		URI      string         `json:"uri"`
		Name     string         `json:"name"`
		Resource jsontext.Value `json:"resource"`
	}
	if raw.Kind() != '{' || json.Unmarshal(raw, &b) != nil {
		return tool.Content{}, errUnreadable
	}
	switch b.Type {
	case "text":
		return tool.Content{Type: "text", Text: b.Text}, nil
	case "image", "audio":
		data, err := base64.StdEncoding.DecodeString(b.Data)
		if err != nil {
			return tool.Content{}, fmt.Errorf("the %s in it is not in Base64", b.Type)
		}
		return tool.Content{Type: b.Type, MIME: b.MIME, Data: data}, nil
	case "resource_link":
		return tool.Content{Type: "resource_link", Text: b.Name, MIME: b.MIME, URI: b.URI}, nil
	case "resource":
		if b.Resource.Kind() != '{' {
			return tool.Content{Type: "resource"}, nil
		}
		return resourceContent(b.Resource)
	}
	return tool.Content{Type: "text", Text: "content of a kind this version does not show: " + brief(b.Type)}, nil
}

// resourceContent reads what is in a resource.
func resourceContent(raw jsontext.Value) (tool.Content, error) {
	var b struct {
		URI  string  `json:"uri"`
		MIME string  `json:"mimeType"`
		Text string  `json:"text"`
		Blob *string `json:"blob"`
	}
	if raw.Kind() != '{' || json.Unmarshal(raw, &b) != nil {
		return tool.Content{}, errUnreadable
	}
	c := tool.Content{Type: "resource", URI: b.URI, MIME: b.MIME, Text: b.Text}
	if b.Blob != nil {
		data, err := base64.StdEncoding.DecodeString(*b.Blob)
		if err != nil {
			return tool.Content{}, errors.New("the resource in it is not in Base64")
		}
		c.Data = data
	}
	return c, nil
}

// appeals reads what a result needs, all of it before anybody is asked.
func (s *session) appeals(needs map[string]inquiry) (map[string]appeal, error) {
	if len(needs) > maxQuestions {
		return nil, fmt.Errorf("it asks %d questions at a time", len(needs))
	}
	all := map[string]appeal{}
	for key, n := range needs {
		if s.elicit == nil {
			return nil, errNotOfferedTo(n.Method)
		}
		w, err := s.read(n.Method, n.Params)
		if _, foreign := errors.AsType[errNotOfferedTo](err); foreign {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("it wants to ask you something that it may not: %w", err)
		}
		all[key] = w
	}
	return all, nil
}
