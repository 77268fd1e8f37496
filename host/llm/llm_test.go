package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/host/llm/scripted"
	"cordon/host/secret"

	"github.com/go-json-experiment/json/jsontext"
)

const aKey = "sk-test-0123456789abcdef"

// rig is a model and its provider.
type rig struct {
	Model
	*scripted.Server
	sent   []Sent
	local  atomic.Bool
	refuse error // of the record
}

func newRig(t *testing.T, kind string, set func(*config.Model), turns ...scripted.Turn) *rig {
	t.Helper()
	r := &rig{Server: scripted.New(turns...)}
	t.Cleanup(r.Close)
	def := config.Model{Name: "test", Kind: kind, URL: r.URL, Model: "scripted-1", Images: true}
	if set != nil {
		set(&def)
	}
	var err error
	r.Model, err = New(def, Options{Version: "1", Key: func(context.Context) (secret.Value, error) { return secret.NewValue(aKey), nil }, Local: r.local.Load,
		Record: func(s Sent) error { r.sent = append(r.sent, s); return r.refuse }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// told asks and gathers what was passed on.
func (r *rig) told(t *testing.T, q Request) (Answer, []Delta, error) {
	t.Helper()
	var all []Delta
	a, err := r.Ask(t.Context(), q, func(d Delta) { all = append(all, d) })
	return a, all, err
}

func eachKind(t *testing.T, f func(t *testing.T, kind string)) {
	for _, kind := range []string{config.ModelAnthropic, config.ModelOpenAI} {
		t.Run(kind, func(t *testing.T) { t.Parallel(); f(t, kind) })
	}
}

var question = Request{System: "You are careful.", Messages: []Message{{Role: User, Parts: []Part{{Kind: Text, Text: "Wer war es?"}}}},
	Tools: []Tool{{Name: "one__read", Description: "Reads.", Schema: jsontext.Value(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}`)}}}

func TestAnswers(t *testing.T) {
	t.Parallel()
	text := "Es war „müller“ — 🕵️ sure."
	calls := []scripted.Call{{ID: "a", Name: "one__read", Args: `{"path":"/tmp/ä"}`}, {ID: "b", Name: "one__read", Args: ``}, {ID: "c", Name: "nobody__knows", Args: `{"path":`}}
	for name, how := range map[string]scripted.Turn{
		"whole":      {},
		"in pieces":  {Runes: 1},
		"torn apart": {Runes: 3, Bytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string) {
				how := how
				how.Think, how.Text, how.Calls, how.In, how.Out = "Let me see …", text, calls, 12, 34
				r := newRig(t, kind, nil, how)
				a, deltas, err := r.told(t, question)
				if err != nil {
					t.Fatal(err)
				}
				seal := ""
				if kind == config.ModelAnthropic {
					seal = "c2VhbA=="
				}
				want := []Part{{Kind: Reasoning, Text: "Let me see …", Seal: seal}, {Kind: Text, Text: text}, {Kind: Call, ID: "a", Name: "one__read", Args: jsontext.Value(`{"path":"/tmp/ä"}`)},
					{Kind: Call, ID: "b", Name: "one__read", Args: jsontext.Value(`{}`)}, {Kind: Call, ID: "c", Name: "nobody__knows", Text: `{"path":`}}
				if got, want := fmt.Sprintf("%+v", a.Parts), fmt.Sprintf("%+v", want); got != want {
					t.Errorf("parts\n%s, want\n%s", got, want)
				}
				if a.Stop != StopCalls || a.Model != "scripted-1" || a.Usage.Input != 12 || a.Usage.Output != 34 {
					t.Errorf("stop %q, model %q, usage %+v", a.Stop, a.Model, a.Usage)
				}
				// What was passed on is what came of it.
				passed := make([]string, len(want))
				for _, d := range deltas {
					passed[d.Index] += d.Text
				}
				if passed[1] != text || passed[2] != `{"path":"/tmp/ä"}` || passed[4] != `{"path":` {
					t.Errorf("passed on %q", passed)
				}
			})
		})
	}
}

// TestRequests: what leaves, word for word.
func TestRequests(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		r := newRig(t, kind, nil, scripted.Turn{Text: "ok"})
		q := question
		q.Messages = []Message{
			{Role: User, Parts: []Part{{Kind: Text, Text: "Look."}, {Kind: Image, MIME: "image/png", Data: []byte{1, 2, 3}}}},
			{Role: Assistant, Parts: []Part{{Kind: Reasoning, Text: "hm", Seal: "s"}, {Kind: Reasoning, Seal: redactedSeal + "x"}, {Kind: Text, Text: "I read."}, {Kind: Call, ID: "a", Name: "one__read", Args: jsontext.Value(`{"path":"x"}`)}, {Kind: Call, ID: "b", Name: "one__read", Text: "{"}}},
			{Role: User, Parts: []Part{{Kind: Result, ID: "a", Text: "content", Images: []Part{{Kind: Image, MIME: "image/png", Data: []byte{4}}}}, {Kind: Result, ID: "b", Text: "no JSON", IsError: true}, {Kind: Text, Text: "Go on."}}},
		}
		if _, _, err := r.told(t, q); err != nil {
			t.Fatal(err)
		}
		got := r.Requests()[0]
		golden(t, "request-"+kind+".json", got.Body)
		want := map[string]string{config.ModelAnthropic: "X-Api-Key", config.ModelOpenAI: "Authorization"}[kind]
		for name, values := range got.Header {
			has := strings.Contains(strings.Join(values, " "), aKey)
			if has != (name == want) {
				t.Errorf("%s: %q", name, values)
			}
			if strings.HasPrefix(name, "X-Stainless") || name == "Cookie" {
				t.Errorf("%s left", name)
			}
		}
		if ua := got.Header.Get("User-Agent"); ua != "cordon/1" {
			t.Errorf("user agent %q", ua)
		}
		if len(r.sent) != 1 || string(r.sent[0].Body) != got.Body || r.sent[0].Model != "test" || r.sent[0].Try != 1 {
			t.Errorf("recorded %+v", r.sent)
		}
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(got), &v); err != nil {
		t.Fatal(err)
	}
	pretty, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := "testdata/" + name
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, append(pretty, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(pretty)+"\n" {
		t.Errorf("%s is\n%s\nwant\n%s", name, pretty, want)
	}
}

// TestFaults: each ends in an error that says what to do, and nothing that had come is lost.
func TestFaults(t *testing.T) {
	t.Parallel()
	busy := scripted.Turn{Status: 429, Body: `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`}
	for name, c := range map[string]struct {
		turns []scripted.Turn
		fault Fault  // "" for none
		text  string // that has come
		tries int
	}{
		"key":               {[]scripted.Turn{{Status: 401, Body: `{"error":{"message":"invalid x-api-key ` + "\u202e" + `"}}`}}, FaultKey, "", 1},
		"key repeated":      {[]scripted.Turn{{Status: 401, Body: `{"error":{"message":"` + strings.Repeat("x", 290) + ` Incorrect API key provided: ` + aKey + `"}}`}}, FaultKey, "", 1},
		"a long event":      {[]scripted.Turn{{Status: 200, Body: "data: {\"choices\":[" + strings.Repeat("{},", maxEvent/3) + "{}]}\n\n"}, {Text: "now"}}, "", "now", 2},
		"model":             {[]scripted.Turn{{Status: 404, Body: `{"error":{"message":"no such model"}}`}}, FaultModel, "", 1},
		"request":           {[]scripted.Turn{{Status: 400, Body: `{"error":{"message":"tools: bad"}}`}}, FaultRequest, "", 1},
		"no JSON":           {[]scripted.Turn{{Status: 400, Body: `<html>`}}, FaultRequest, "", 1},
		"long":              {[]scripted.Turn{{Status: 400, Body: `{"error":{"message":"prompt is too long: 300000 tokens"}}`}}, FaultLength, "", 1},
		"busy, then fine":   {[]scripted.Turn{busy, busy, {Text: "now"}}, "", "now", 3},
		"busy for ever":     {[]scripted.Turn{busy, busy, busy, busy}, FaultBusy, "", 4},
		"busy for an hour":  {[]scripted.Turn{{Status: 429, Header: http.Header{"Retry-After": {"3600"}}, Body: `{}`}}, FaultBusy, "", 1},
		"5xx, then fine":    {[]scripted.Turn{{Status: 502, Body: "bad gateway"}, {Text: "now"}}, "", "now", 2},
		"dropped at once":   {[]scripted.Turn{{Text: "hello", Drop: 1}, {Text: "now"}}, "", "now", 2},
		"dropped in text":   {[]scripted.Turn{{Text: "hello world", Runes: 1, Drop: 6}}, FaultBroken, "hel", 1},
		"redirect":          {[]scripted.Turn{{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}}, FaultReach, "", 1},
		"nonsense":          {[]scripted.Turn{{Status: 200, Body: "event: message_start\ndata: {nonsense\n\n"}, {Text: "now"}}, "", "now", 2},
		"ends early":        {[]scripted.Turn{{Status: 200, Body: ": nothing\n\n"}, {Text: "now"}}, "", "now", 2},
		"error in a stream": {[]scripted.Turn{{Status: 200, Body: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"}, {Text: "now"}}, "", "now", 2},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string) {
				drop := slices.Clone(c.turns)
				if kind == config.ModelOpenAI && name == "dropped in text" {
					drop[0].Drop = 5 // it has one event less before the text
				}
				r := newRig(t, kind, nil, drop...)
				a, deltas, err := r.told(t, question)
				e, _ := errors.AsType[*Error](err)
				if (err != nil) != (c.fault != "") || e != nil && e.Fault != c.fault {
					t.Fatalf("error %v; want fault %q", err, c.fault)
				}
				got := ""
				for _, p := range a.Parts {
					got += p.Text
				}
				if got != c.text {
					t.Errorf("text %q, want %q", got, c.text)
				}
				if err != nil && a.Stop != "" {
					t.Errorf("a broken answer has stop %q", a.Stop)
				}
				if n := len(r.Requests()); n != c.tries || len(r.sent) != n || r.sent[n-1].Try != n {
					t.Errorf("%d tries, %d recorded; want %d", n, len(r.sent), c.tries)
				}
				retries := 0
				for _, d := range deltas {
					if d.Retry != nil {
						retries++
					}
				}
				if retries != c.tries-1 {
					t.Errorf("%d further tries were told of, want %d", retries, c.tries-1)
				}
				if e != nil {
					t.Log(e)
					if strings.Contains(e.Error(), aKey[:12]) || strings.ContainsAny(e.Error(), "\u202e\n") {
						t.Errorf("error %q", e)
					}
				}
			})
		})
	}
}

// TestStop: a stop ends everything within 200 ms, in every state.
func TestStop(t *testing.T) {
	t.Parallel()
	for name, turn := range map[string]scripted.Turn{
		"before a word":      {Hang: true, Status: 200, Body: ": wait\n\n"},
		"in the middle":      {Text: "hello", Hang: true, Runes: 1, Pause: 20 * time.Millisecond},
		"waiting for a try":  {Status: 429, Header: http.Header{"Retry-After": {"30"}}, Body: `{}`},
		"an endless answer":  {Text: strings.Repeat("endless ", 5000), Runes: 1, Pause: time.Millisecond},
		"silence at the end": {Text: "hello", Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string) {
				r := newRig(t, kind, nil, turn)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var stopped atomic.Int64
				time.AfterFunc(150*time.Millisecond, func() { stopped.Store(time.Now().UnixNano()); cancel() })
				_, err := r.Ask(ctx, question, func(Delta) {})
				if name != "silence at the end" && !errors.Is(err, context.Canceled) {
					t.Fatalf("error %v", err)
				}
				if at := stopped.Load(); at != 0 && time.Since(time.Unix(0, at)) > 200*time.Millisecond {
					t.Errorf("stopping took %v", time.Since(time.Unix(0, at)))
				}
			})
		})
	}
}

// TestLocalOnly: nothing goes elsewhere, not in a further try either.
func TestLocalOnly(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		r := newRig(t, kind, nil, scripted.Turn{Text: "here"})
		r.local.Store(true)
		if _, _, err := r.told(t, question); err != nil {
			t.Errorf("on this computer: %v", err)
		}
		var sent int
		m, err := New(config.Model{Name: "far", Kind: kind, URL: "https://192.0.2.1/v1/", Model: "m"}, Options{Version: "1",
			Key:   func(context.Context) (secret.Value, error) { return secret.NewValue(aKey), nil },
			Local: func() bool { return true }, Record: func(Sent) error { sent++; return nil }})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Ask(t.Context(), question, func(Delta) {})
		if e, ok := errors.AsType[*Error](err); !ok || e.Fault != FaultLocal {
			t.Errorf("elsewhere: %v", err)
		}
		if sent != 0 {
			t.Errorf("%d requests were on their way", sent)
		}
	})
}

// TestUnrecorded: what cannot be recorded does not leave.
func TestUnrecorded(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		r := newRig(t, kind, nil, scripted.Turn{Text: "here"})
		r.refuse = errors.New("the disk is full")
		_, _, err := r.told(t, question)
		if e, ok := errors.AsType[*Error](err); !ok || e.Fault != FaultRecord {
			t.Errorf("error %v", err)
		}
		if n := len(r.Requests()); n != 0 {
			t.Errorf("%d requests came", n)
		}
	})
}

// TestNothingOfTheEnvironment: the libraries look for keys, addresses and headers there.
func TestNothingOfTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"ANTHROPIC_API_KEY": "from-environment", "ANTHROPIC_AUTH_TOKEN": "from-environment", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1/", "ANTHROPIC_CUSTOM_HEADERS": "X-Mine: from-environment",
		"OPENAI_API_KEY": "from-environment", "OPENAI_BASE_URL": "http://127.0.0.1:1/", "OPENAI_ORG_ID": "from-environment", "OPENAI_PROJECT_ID": "from-environment",
	} {
		t.Setenv(name, value)
	}
	for _, kind := range []string{config.ModelAnthropic, config.ModelOpenAI} {
		r := newRig(t, kind, nil, scripted.Turn{Text: "ok"})
		if _, _, err := r.told(t, question); err != nil {
			t.Fatal(err)
		}
		if s := scripted.Texts(r.Requests()); strings.Contains(s, "from-environment") {
			t.Errorf("%s: %s", kind, s)
		}
	}
}

// TestBounds: an answer that does not end is ended.
func TestBounds(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		many := make([]scripted.Call, maxParts+1)
		for i := range many {
			many[i] = scripted.Call{ID: fmt.Sprint(i), Name: "one__read", Args: "{}"}
		}
		for name, turn := range map[string]scripted.Turn{"long": {Text: strings.Repeat("x", maxText+1), Runes: 1 << 16}, "many": {Calls: many}} {
			r := newRig(t, kind, nil, turn)
			a, _, err := r.told(t, question)
			if e, ok := errors.AsType[*Error](err); !ok || e.Fault != FaultBroken || a.Stop != "" {
				t.Errorf("%s: %v, stop %q", name, err, a.Stop)
			}
		}
	})
}

func TestCallsOfOneIndex(t *testing.T) {
	t.Parallel()
	call := func(id, args string) string {
		return `data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"` + id + `","type":"function","function":{"name":"one__read","arguments":"` + args + `"}}]},"finish_reason":null}]}` + "\n\n"
	}
	r := newRig(t, config.ModelOpenAI, nil, scripted.Turn{Status: 200, Body: call("a", `{}`) + call("b", `{\"x\":1}`) + `data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"})
	a, _, err := r.told(t, question)
	if err != nil || len(a.Parts) != 2 || a.Stop != StopCalls || string(a.Parts[1].Args) != `{"x":1}` {
		t.Errorf("%+v, %v", a, err)
	}
}
