package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/elicit"
	"cordon/host/tool"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// everything is a server of the library with one of each primitive.
func everything() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "everything", Title: "Everything", Version: "3"}, &mcp.ServerOptions{
		CompletionHandler: func(_ context.Context, r *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			p := r.Params
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{p.Argument.Value + "1", p.Ref.Name + p.Ref.URI, fmt.Sprint(p.Context)}}}, nil
		},
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	s.AddTool(&mcp.Tool{Name: "get_update", InputSchema: &jsonschema.Schema{Type: "object"}}, func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{}, s.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: "memo://one"})
	})
	s.AddTool(&mcp.Tool{Name: "read_echo", InputSchema: &jsonschema.Schema{Type: "object"}}, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(r.Params.Arguments)}}}, nil
	})
	s.AddTool(&mcp.Tool{Name: "get_link", InputSchema: &jsonschema.Schema{Type: "object"}}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ResourceLink{URI: "memo://linked", Name: "linked"}, &mcp.ImageContent{MIMEType: "image/png", Data: []byte{1, 2}}}}, nil
	})
	s.AddTool(&mcp.Tool{Name: "get_slowly", InputSchema: &jsonschema.Schema{Type: "object"}}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 8 {
			_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 8, Message: "step"})
			select {
			case <-time.After(300 * time.Millisecond):
			case <-ctx.Done():
				givenUp.Add(1)
				return nil, ctx.Err()
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil
	})
	s.AddTool(&mcp.Tool{Name: "get_more", InputSchema: &jsonschema.Schema{Type: "object"}}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.AddPrompt(&mcp.Prompt{Name: "later"}, nil)
		s.AddResource(&mcp.Resource{URI: "memo://later", Name: "later"}, memo)
		return &mcp.CallToolResult{}, nil
	})
	s.AddPrompt(&mcp.Prompt{Name: "triage", Description: "Triages a case.", Arguments: []*mcp.PromptArgument{{Name: "case", Required: true}, {Name: "tone"}}},
		func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Triage " + r.Params.Arguments["case"]}}, {Role: "assistant", Content: &mcp.TextContent{Text: "Yes."}}}}, nil
		})
	s.AddResource(&mcp.Resource{URI: "memo://one", Name: "one", MIMEType: "text/plain", Size: 4}, memo)
	s.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "case://{id}/notes", Name: "notes"}, memo)
	return s
}

var givenUp atomic.Int32

func memo(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, MIMEType: "text/plain", Text: "memo of " + r.Params.URI}, {URI: r.Params.URI, Blob: []byte{0, 1}}}}, nil
}

// front stands before a handler and sees every request.
type front struct {
	http.Handler
	mu   sync.Mutex
	seen []*http.Request // guarded by mu; without bodies
	deny func(r *http.Request) int
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Clone(context.Background()))
	deny := f.deny
	f.mu.Unlock()
	if deny != nil {
		if status := deny(r); status != 0 {
			http.Error(w, "no", status)
			return
		}
	}
	f.Handler.ServeHTTP(w, r)
}

func (f *front) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// newRemote is a rig whose server "one" is remote. era is what it speaks.
func newRemote(t testing.TB, era Era, set ...func(*Options)) (*rig, *front) {
	t.Helper()
	server := everything()
	f := &front{Handler: mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: era == Modern})}
	h := httptest.NewServer(f)
	t.Cleanup(func() { // it waits for streams, so it comes last
		h.Close()
		for s := range server.Sessions() {
			_ = s.Close()
		}
	})
	r := newRig(t, "ok", set...)
	r.Set(config.Server{Name: "one", URL: h.URL + "/mcp", Net: config.NetNone, Open: true})
	return r, f
}

func eachEra(t *testing.T, f func(t *testing.T, era Era)) {
	for _, era := range []Era{Legacy, Modern} {
		t.Run(string(era), func(t *testing.T) { t.Parallel(); f(t, era) })
	}
}

func TestRemoteServer(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era Era) {
		r, f := newRemote(t, era)
		r.start()
		v := r.view()
		if v.State != Running || v.Title != "Everything" || v.Version != "3" || v.Protocol != era || v.Report.Tier != TierRemote || v.Pid != 0 || !v.Reads || len(v.Prompts) != 1 || len(v.Tools) != 5 {
			t.Errorf("view = %+v", v)
		}
		r.works()
		if got := v.Fingerprint; len(got.Command) != 1 || got.Command[0] != v.Def.URL || got.Prompts["triage"] == nil {
			t.Errorf("fingerprint = %+v", got)
		}
		for _, q := range f.requests() {
			if q.Header.Get("Cookie") != "" || q.Header.Get("Authorization") != "" || q.Header.Get("Origin") != "" {
				t.Errorf("headers %v", q.Header)
			}
			if era == Modern && q.Header.Get("Mcp-Session-Id") != "" {
				t.Errorf("a session where there is none: %v", q.Header)
			}
		}
		if err := r.Stop(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		last := f.requests()[len(f.requests())-1]
		if era == Legacy && (last.Method != http.MethodDelete || last.Header.Get("Mcp-Session-Id") == "") {
			t.Errorf("the last request is %s %v; want the session's end", last.Method, last.Header)
		}
		r.start()
		r.works()
	})
}

// TestListensBeforeItAsks: what a legacy server asks while it works on a call may come on its own stream, so that is open before the first request.
// A server that does not answer for it is not waited for.
func TestListensBeforeItAsks(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]time.Duration{"slow": 300 * time.Millisecond, "never": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, f := newRemote(t, Legacy)
			var listening atomic.Bool
			var early atomic.Int32
			f.deny = func(q *http.Request) int {
				switch {
				case q.Method == http.MethodGet:
					select {
					case <-time.After(held):
					case <-q.Context().Done():
					}
					listening.Store(true)
				case q.Header.Get("Mcp-Session-Id") != "" && !listening.Load():
					early.Add(1)
				}
				return 0
			}
			r.start()
			r.works()
			if n := early.Load(); (n > 1) != (name == "never") { // one is notifications/initialized
				t.Errorf("%d requests before the stream was open", n)
			}
		})
	}
}

// TestRemotePrimitives: what is offered besides tools, by the same path as a call of the gate.
func TestPrimitives(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era Era) {
		r, _ := newRemote(t, era)
		r.start()
		of := func(kind tool.Kind, name, args string) (tool.Result, error) {
			t.Helper()
			id := tool.ID{Server: "one", Name: name}
			found, release, err := r.Supervisor.Tool(t.Context(), kind, id, "0123456789abcdef")
			defer release()
			if err != nil {
				return tool.Result{}, err
			}
			c := frozen("one", name, args)
			c.Kind, c.Tool = kind, found
			return r.Call(t.Context(), c)
		}
		res, err := of(tool.GetPrompt, "triage", `{"case":"A-1047"}`)
		if err != nil || len(res.Content) != 2 || res.Content[0].Text != "Triage A-1047" || res.Content[0].Role != "user" || res.Content[1].Role != "assistant" {
			t.Errorf("prompt = %+v, %v", res, err)
		}
		for _, uri := range []string{"memo://one", "case://A-1/notes"} {
			res, err := of(tool.ReadResource, uri, `{"uri":"`+uri+`"}`)
			if err != nil || len(res.Content) != 2 || res.Content[0].Text != "memo of "+uri || res.Content[0].URI != uri || string(res.Content[1].Data) != "\x00\x01" {
				t.Errorf("%s = %+v, %v", uri, res, err)
			}
		}
		for _, uri := range []string{"memo://other", "memo://linked", "case://A/B/notes", "case://../notes", "file:///etc/passwd", "memo://one\n", ""} {
			if res, err := of(tool.ReadResource, uri, `{}`); err == nil {
				t.Errorf("%q is read: %+v", uri, res)
			}
		}
		if res, err := of(tool.CallTool, "get_link", `{}`); err != nil || res.Content[0].URI != "memo://linked" || string(res.Content[1].Data) != "\x01\x02" {
			t.Errorf("link = %+v, %v", res, err)
		}
		if _, err := of(tool.ReadResource, "memo://linked", `{}`); err == nil || strings.Contains(err.Error(), "offers nothing") { // it may be asked for, and the server has no such thing
			t.Errorf("what a result named: %v", err)
		}
		all, err := r.Resources(t.Context(), "one")
		if err != nil || len(all) != 2 || all[0].URI != "memo://one" || all[0].Size != 4 || all[1].Template != "case://{id}/notes" {
			t.Errorf("resources = %+v, %v", all, err)
		}
		if got, err := r.Complete(t.Context(), "one", Ref{Prompt: "triage"}, "case", "A", nil); err != nil || len(got) != 3 || got[0] != "A1" || got[1] != "triage" {
			t.Errorf("completion = %q, %v", got, err)
		}
		if got, err := r.Complete(t.Context(), "one", Ref{Template: "case://{id}/notes"}, "id", "A", map[string]string{"x": "y"}); err != nil || len(got) != 3 || got[1] != "case://{id}/notes" || !strings.Contains(got[2], "y") {
			t.Errorf("completion = %q, %v", got, err)
		}
		if _, err := of(tool.CallTool, "get_more", `{}`); err != nil {
			t.Fatal(err)
		}
		if era == Legacy { // a stateless server of the library tells nobody
			r.waitFor("the new prompt", func(v View) bool { return len(v.Prompts) == 2 })
		}
	})
}

// TestProgress: a call that goes on is given time, and one that does not is ended, also at the server.
func TestProgress(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era Era) {
		var told []tool.Progress
		var mu sync.Mutex
		r, _ := newRemote(t, era, func(o *Options) {
			o.Progress = func(p tool.Progress) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, p)
			}
		})
		r.start()
		ctx, cancel := tool.WithPatience(t.Context(), 2*time.Second)
		defer cancel()
		res, err := r.Call(ctx, frozen("one", "get_slowly", `{}`))
		if err != nil || res.Content[0].Text != "done" {
			t.Errorf("a call that goes on: %+v, %v", res, err)
		}
		mu.Lock()
		if len(told) != 8 || told[7] != (tool.Progress{CallID: "0123456789abcdef", Server: "one", Done: 8, Total: 8, Text: "step"}) {
			t.Errorf("told %+v", told)
		}
		mu.Unlock()
		before := givenUp.Load()
		short, stop := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer stop()
		if _, err := r.Call(short, frozen("one", "get_slowly", `{}`)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that is given up: %v", err)
		}
		for range 1500 {
			if givenUp.Load() > before {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if givenUp.Load() == before {
			t.Error("the server goes on with what nobody waits for")
		}
		r.works()
	})
}

func TestRemoteIdentity(t *testing.T) {
	t.Parallel()
	t.Run("nobody", func(t *testing.T) {
		t.Parallel()
		r, _ := newRemote(t, Legacy)
		def := r.view().Def
		def.Open = false
		r.Set(def)
		err := r.Start(t.Context(), "one")
		if !errors.Is(err, ErrNameless) || r.view().State != Crashed {
			t.Errorf("a server that does not want to know who calls: %v, %s", err, r.view().State)
		}
	})
	t.Run("key", func(t *testing.T) {
		t.Parallel()
		r, f := newRemote(t, Modern, func(o *Options) { o.Secrets = vault{"one/key": "abc\n", "one/other": "v"} })
		def := r.view().Def
		def.Open, def.Secrets, def.Headers = false, map[string]string{"Authorization": "key", "X-Api-Key": "other"}, map[string]string{"X-Team": "soc"}
		r.Set(def)
		f.deny = func(r *http.Request) int {
			if r.Header.Get("Authorization") != "Bearer abc" || r.Header.Get("X-Api-Key") != "v" || r.Header.Get("X-Team") != "soc" {
				return http.StatusUnauthorized
			}
			return 0
		}
		r.start()
		r.works()
		if e := r.journal.of(audit.SecretUse); len(e) != 2 {
			t.Errorf("%d uses of secrets are recorded, want 2", len(e))
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		t.Parallel()
		r, f := newRemote(t, Modern, func(o *Options) { o.Secrets = vault{"one/key": "abc"} })
		def := r.view().Def
		def.Secrets = map[string]string{"X-Api-Key": "key"}
		r.Set(def)
		f.deny = func(*http.Request) int { return http.StatusUnauthorized }
		err := r.Start(t.Context(), "one")
		has(t, err)
		if strings.Contains(err.Error(), "abc") || r.view().State == Running {
			t.Errorf("error %v, state %s", err, r.view().State)
		}
	})
}

// TestRemoteComesBack: a network that fails ends no server for good.
func TestRemoteComesBack(t *testing.T) {
	t.Parallel()
	r, f := newRemote(t, Legacy)
	r.start()
	var down atomic.Bool
	f.mu.Lock()
	f.deny = func(*http.Request) int {
		if down.Load() {
			return http.StatusNotFound // the session is forgotten
		}
		return 0
	}
	f.mu.Unlock()
	down.Store(true)
	if _, err := r.call("read_echo", `{}`); err == nil || !strings.Contains(err.Error(), "ended the session") {
		t.Errorf("a call of a forgotten session: %v", err)
	}
	r.waitFor("a rest", func(v View) bool { return v.State == Idle })
	down.Store(false)
	if _, err := r.Tool(tool.ID{Server: "one", Name: "read_echo"}); err != nil { // as the next call does
		t.Fatal(err)
	}
	r.works()
}

func TestElicitationOverHTTP(t *testing.T) {
	t.Parallel()
	var asked []elicit.Question
	r, _ := newRemote(t, Legacy, func(o *Options) {
		o.Elicit = func(_ context.Context, q elicit.Question) elicit.Answer {
			asked = append(asked, q)
			return elicit.Answer{Action: elicit.Accept, Values: map[string]jsontext.Value{"name": jsontext.Value(`"Ada"`)}}
		}
	})
	server := everything()
	server.AddTool(&mcp.Tool{Name: "get_name", InputSchema: &jsonschema.Schema{Type: "object"}}, func(ctx context.Context, q *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		a, err := q.Session.Elicit(ctx, &mcp.ElicitParams{Message: "Who?", RequestedSchema: &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{"name": {Type: "string"}}}})
		if err != nil {
			return nil, err
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint(a.Content["name"])}}}, nil
	})
	h := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	defer h.Close()
	def := r.view().Def
	def.URL = h.URL
	r.Set(def)
	r.start()
	if got, err := r.call("get_name", `{}`); err != nil || got != "Ada" || len(asked) != 1 || asked[0].Message != "Who?" {
		t.Errorf("got %q, %v, asked %+v", got, err, asked)
	}
	if err := r.Stop(t.Context(), "one"); err != nil { // before the server is closed
		t.Error(err)
	}
}

// TestWatch: whoever looks at a resource hears of changes, also from the next connection, until it looks away.
func TestWatch(t *testing.T) {
	t.Parallel()
	r, _ := newRemote(t, Legacy)
	r.start()
	var changes atomic.Int32
	ctx, away := context.WithCancel(t.Context())
	if err := r.Watch(ctx, "one", "memo://one", func() { changes.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := r.Watch(ctx, "one", "memo://other", func() {}); err == nil {
		t.Error("what is not offered is watched")
	}
	update := func(want int32) {
		t.Helper()
		for range 300 { // it is told of the watching after it has started
			if _, err := r.call("get_update", `{}`); err != nil {
				t.Fatal(err)
			}
			if changes.Load() >= want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("heard of %d changes, want %d", changes.Load(), want)
	}
	update(1)
	if err := r.Restart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	update(changes.Load() + 1)
	away()
	for range 300 {
		before := changes.Load()
		if _, err := r.call("get_update", `{}`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		if changes.Load() == before {
			return
		}
	}
	t.Error("changes are told after looking away")
}

// TestWatchModern: one stream for all that is watched, replaced when that changes.
func TestWatchModern(t *testing.T) {
	t.Parallel()
	r := newRig(t, "modern")
	r.start()
	var one, two atomic.Int32
	ctx, away := context.WithCancel(t.Context())
	if err := r.Watch(ctx, "one", "memo://one", func() { one.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := r.Watch(t.Context(), "one", "memo://two", func() { two.Add(1) }); err != nil {
		t.Fatal(err)
	}
	wait := func(streams string, ok func() bool) {
		t.Helper()
		for range 300 {
			one.Store(0)
			two.Store(0)
			got, err := r.call("get_updates", `{}`)
			if err != nil {
				t.Fatal(err)
			}
			if got == streams && ok() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("one %d, two %d", one.Load(), two.Load())
	}
	wait("1", func() bool { return one.Load() == 1 && two.Load() == 1 })
	away()
	wait("1", func() bool { return one.Load() == 0 && two.Load() == 1 })
	if err := r.Restart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	wait("1", func() bool { return one.Load() == 0 && two.Load() == 1 })
}

// TestOldTransport: a server of 2024 works if its definition says that it is one, and posts go nowhere else.
func TestOldTransport(t *testing.T) {
	t.Parallel()
	server := everything()
	h := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return server }, nil))
	t.Cleanup(h.Close)
	r := newRig(t, "ok")
	def := config.Server{Name: "one", URL: h.URL + "/sse", Net: config.NetNone, Open: true}
	r.Set(def)
	if err := r.Start(t.Context(), "one"); err == nil {
		t.Error("it is spoken without being asked for")
	}
	def.SSE = true
	r.Set(def)
	r.start()
	r.works()
	if got, err := r.Resources(t.Context(), "one"); err != nil || len(got) != 2 {
		t.Errorf("resources %+v, %v", got, err)
	}
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string]string{"elsewhere": "event: endpoint\ndata: https://evil.example/post\n\n", "another port": "event: endpoint\ndata: http://127.0.0.1:1/post\n\n", "no address": "data: {}\n\n", "nothing": "", "a person in it": "event: endpoint\ndata: //u:p@" + "HOST/post\n\n"} {
		t.Run(name, func(t *testing.T) {
			posts := atomic.Int32{}
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Method == http.MethodPost {
					posts.Add(1)
				}
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, strings.ReplaceAll(first, "HOST", q.Host))
			}))
			defer h.Close()
			r := newRig(t, "ok")
			r.Set(config.Server{Name: "one", URL: h.URL, Net: config.NetNone, Open: true, SSE: true})
			if err := r.Start(t.Context(), "one"); err == nil || posts.Load() > 0 {
				t.Errorf("it starts: %v, %d posts", err, posts.Load())
			}
		})
	}
}
