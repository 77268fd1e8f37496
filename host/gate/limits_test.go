package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cordon/host/tool"
)

// TestLimits: calls beyond a limit are refused before a person is asked, are not executed, and count again when time has passed.
func TestLimits(t *testing.T) {
	r := newRig(t)
	now := time.Date(2026, 11, 27, 23, 59, 0, 0, time.UTC)
	r.limits.now = func() time.Time { return now }
	limits := Limits{PerMinute: 3, PerDay: 5, Tools: map[string]int{"any_read": 1}}
	r.Limits = func(string) Limits { return limits }
	try := func(name, rule, words string) {
		t.Helper()
		before := len(r.servers.ran)
		_, err := r.Do(t.Context(), propose(name, somewhere))
		var d *Denied
		switch errors.As(err, &d); {
		case rule == "" && err != nil:
			t.Errorf("%s: %v, want it to run", name, err)
		case rule != "" && (d == nil || d.Rule != rule || d.Stage != Decide || !strings.Contains(d.Reason, words)):
			t.Errorf("%s: %v, want a refusal by %s that says %q", name, err, rule, words)
		case rule != "" && len(r.servers.ran) != before:
			t.Errorf("%s ran", name)
		}
	}
	try("any_read", "", "")
	try("any_read", "limit.rate", "files.any_read was called 1 times in a minute")
	try("read", "", "")
	now = now.Add(10 * time.Second)
	try("read", "", "")
	try("read", "limit.rate", "files was called 3 times in a minute, which is its limit; the next call is let through in 50s")
	now = now.Add(49 * time.Second)
	try("read", "limit.rate", "in 1s")
	now = now.Add(time.Second) // the first two are a minute old, and it is another day
	for range 2 {
		try("read", "", "")
	}
	now = now.Add(time.Minute)
	for range 3 {
		try("read", "", "")
	}
	now = now.Add(time.Minute)
	try("read", "limit.budget", "called 5 times today")
	limits = Limits{PerMinute: -1}
	for range 200 {
		try("read", "", "")
	}
	limits = Limits{}
	now = now.Add(time.Minute)
	for range DefaultPerMinute {
		try("read", "", "")
	}
	try("read", "limit.rate", "120 times")
	limits = Limits{Tools: map[string]int{"read": 0}}
	now = now.Add(time.Minute)
	try("read", "limit.rate", "not to be called at all")
}

// TestBreaker: a server that breaks is left alone, tried once after a while, and trusted again when it answers.
func TestBreaker(t *testing.T) {
	r := newRig(t)
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	r.limits.now = func() time.Time { return now }
	broken := true
	var held chan struct{}
	r.servers.answer = func(ctx context.Context, _ tool.Call) (tool.Result, error) {
		if held != nil {
			<-held
		}
		if broken {
			return tool.Result{}, errors.New("it crashed")
		}
		return tool.Result{IsError: true}, nil // an answer
	}
	call := func() error {
		_, err := r.Do(t.Context(), propose("read", somewhere))
		return err
	}
	refused := func() bool {
		var d *Denied
		return errors.As(call(), &d) && d.Rule == "limit.broken"
	}
	for i := range maxFailures {
		if refused() {
			t.Fatalf("refused after %d", i)
		}
	}
	for range 2 {
		if refused() {
			continue
		}
		t.Error("a server that breaks is called on and on")
	}
	now = now.Add(breakerPause)
	held = make(chan struct{})
	first := make(chan error)
	go func() { first <- call() }()
	for { // until the one that is tried is there
		r.limits.mu.Lock()
		trying := r.limits.by["files"].trying
		r.limits.mu.Unlock()
		if trying {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !refused() {
		t.Error("more than one is tried")
	}
	close(held)
	if err := <-first; err == nil || strings.Contains(fmt.Sprint(err), "limit") {
		t.Errorf("the one that is tried: %v", err)
	}
	held = nil
	if !refused() {
		t.Error("it broke again and is called")
	}
	now = now.Add(breakerPause)
	broken = false
	for range 3 {
		if err := call(); err != nil {
			t.Errorf("it works again: %v", err)
		}
	}
	broken = true
	for range maxFailures {
		_ = call()
	}
	r.Mended("files")
	if refused() {
		t.Error("refused although somebody has restarted it")
	}
	ctx, cancel := context.WithCancel(t.Context()) // giving up is nobody's failure
	cancel()
	for range 2 * maxFailures {
		_, _ = r.Do(ctx, propose("read", somewhere))
	}
	broken = false
	if err := call(); err != nil {
		t.Error(err)
	}
}

// TestLimitsOfOneServer: what one server is asked for does not wipe the counts of another.
func TestLimitsOfOneServer(t *testing.T) {
	var l limiter
	call := func(server, name string) tool.Call {
		return tool.Call{Tool: tool.Tool{ID: tool.ID{Server: server, Name: name}}}
	}
	if rule, _ := l.admit(call("paid", "a"), Limits{PerDay: 1}); rule != "" {
		t.Fatal(rule)
	}
	for i := range 20_000 {
		l.admit(call("noisy", fmt.Sprintf("note://%d", i)), Limits{PerMinute: -1})
	}
	if rule, _ := l.admit(call("paid", "a"), Limits{PerDay: 1}); rule != "limit.budget" || len(l.by) != 2 {
		t.Errorf("the budget of another: %q, %d counts", rule, len(l.by))
	}
}

// TestStructured: a structured result is what its tool promised, or it is left out.
func TestStructured(t *testing.T) {
	const schema = `{"type":"object","properties":{"verdict":{"enum":["good","bad"]}},"required":["verdict"],"additionalProperties":false}`
	promised := define("read", tool.Read)
	promised.Definition = []byte(`{"name":"read","outputSchema":` + schema + `}`)
	g := &Gate{}
	for structured, kept := range map[string]bool{`{"verdict":"good"}`: true, `{"verdict":"obey me"}`: false, `["obey me"]`: false, `"obey me"`: false, `{"verdict":"good","x":9007199254740993}`: false, `{"verdict":"good","x":1}`: false, `{}`: false} {
		for _, kind := range []tool.Kind{tool.CallTool, tool.FetchTask} {
			for _, failed := range []bool{false, true} {
				r := tool.Result{Structured: []byte(structured), IsError: failed}
				findings := g.misfit(tool.Call{Kind: kind, Tool: promised}, &r)
				if (r.Structured != nil) != kept || (len(findings) > 0) == kept {
					t.Errorf("%s %s: kept %s, %d findings", kind, structured, r.Structured, len(findings))
				}
			}
		}
	}
	r := tool.Result{Structured: []byte(`["anything"]`)}
	if f := g.misfit(tool.Call{Kind: tool.CallTool, Tool: define("read", tool.Read)}, &r); r.Structured == nil || len(f) > 0 {
		t.Error("a tool that promises nothing loses its structured result")
	}
}

// TestKindIsRecorded: the record of what is not a tool's call says what it is.
func TestKindIsRecorded(t *testing.T) {
	for _, kind := range []tool.Kind{tool.CallTool, tool.ReadResource, tool.GetPrompt, tool.FetchTask} {
		r := newRig(t)
		p := propose("any_read", `{}`)
		if p.Kind = kind; kind == tool.ReadResource {
			p.Args = nil
		}
		_, _ = r.Do(t.Context(), p)
		want := string(kind)
		if kind == tool.CallTool {
			want = ""
		}
		if got := r.outcome(t).Facts["kind"]; got != want {
			t.Errorf("%s is recorded as %q", kind, got)
		}
	}
}
