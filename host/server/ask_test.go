package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/elicit"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// person answers questions as a test wants.
type person struct {
	mu     sync.Mutex
	asked  []elicit.Question // guarded by mu
	answer func(elicit.Question) elicit.Answer
}

func (p *person) ask(ctx context.Context, q elicit.Question) elicit.Answer {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	p.mu.Unlock()
	done := make(chan elicit.Answer, 1)
	go func() { done <- p.answer(q) }() // ends with the answer
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
		return elicit.Answer{Action: elicit.Cancel}
	}
}

func (p *person) questions() []elicit.Question {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]elicit.Question(nil), p.asked...)
}

const (
	askAge   = `{"message":"How old?","requestedSchema":{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]}}`
	askToken = `{"message":"Sign in","requestedSchema":{"type":"object","properties":{"token":{"type":"string"}}}}`
	askCycle = `{"message":"More?","requestedSchema":{"type":"object","properties":{"x":{"$ref":"#"}}}}`
	askPage  = `{"mode":"url","message":"Sign in","url":"https://login.example/start","elicitationId":"1"}`
)

// A server of either era asks in the middle of a call; what a person says reaches it, and nothing else does.
func TestQuestions(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"ok", "modern"} {
		for name, c := range map[string]struct {
			question, want string
			answer         elicit.Answer
			asked          int
		}{
			"accepted":     {askAge, `"content":{"age":7}`, elicit.Answer{Action: elicit.Accept, Values: map[string]jsontext.Value{"age": jsontext.Value(`7`)}}, 1},
			"declined":     {askAge, `"action":"decline"`, elicit.Answer{Action: elicit.Decline}, 1},
			"dismissed":    {askAge, `"action":"cancel"`, elicit.Answer{Action: elicit.Cancel}, 1},
			"a page":       {askPage, `"action":"accept"`, elicit.Answer{Action: elicit.Accept}, 1},
			"for a secret": {askToken, "password, a token", elicit.Answer{Action: elicit.Accept}, 0},
			"a cycle":      {askCycle, "simple value", elicit.Answer{Action: elicit.Accept}, 0},
		} {
			t.Run(mode+", "+name, func(t *testing.T) {
				t.Parallel()
				p := &person{answer: func(elicit.Question) elicit.Answer { return c.answer }}
				r := newRig(t, mode, func(o *Options) { o.Elicit = p.ask })
				r.start()
				got, err := r.call("ask_person", fmt.Sprintf(`{"text":%q}`, c.question))
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
				if mode == "modern" && c.asked > 0 && !strings.HasSuffix(got, `"s\u0000\u003c\u0026\u003e"`) {
					t.Errorf("its state came back as %q", got)
				}
				asked := p.questions()
				if len(asked) != c.asked || c.asked > 0 && (asked[0].Server != "one" || asked[0].Call != "0123456789abcdef") {
					t.Errorf("asked %+v", asked)
				}
				events, findings := r.journal.of(audit.ServerAsked), r.journal.of(audit.FindingMade)
				if len(events) != c.asked || (len(findings) == 1) != (c.asked == 0) {
					t.Errorf("recorded %+v and %+v", events, findings)
				}
				if c.asked > 0 && (events[0].CallID != "0123456789abcdef" || strings.Contains(fmt.Sprint(events[0]), "7")) && events[0].Facts["action"] == "" {
					t.Errorf("recorded %+v", events[0])
				}
				r.works()
			})
		}
	}
}

// Without anybody to ask, nothing is offered to servers; those that ask all the same get an error.
func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"ok", "modern"} {
		r := newRig(t, mode)
		r.start()
		if got, err := r.call("ask_person", fmt.Sprintf(`{"text":%q}`, askAge)); err == nil && !strings.Contains(got, "not-offered") {
			t.Errorf("%s: %q", mode, got)
		}
		r.works()
	}
}

// A modern server cannot keep a call going for ever, nor get what was not offered; one that is busy is asked again.
func TestRounds(t *testing.T) {
	t.Parallel()
	p := &person{answer: func(elicit.Question) elicit.Answer { return elicit.Answer{Action: elicit.Decline} }}
	r := newRig(t, "modern", func(o *Options) { o.Elicit = p.ask })
	r.start()
	if got, err := r.call("ask_person", fmt.Sprintf(`{"text":%q,"name":"endless"}`, askAge)); err == nil || !strings.Contains(err.Error(), "did not run") || len(p.questions()) != maxRounds {
		t.Errorf("%q, %v after %d questions", got, err, len(p.questions()))
	}
	if got, err := r.call("ask_person", `{"name":"sampling"}`); err == nil || !strings.Contains(err.Error(), "not offered") {
		t.Errorf("%q, %v", got, err)
	}
	r.works()
	legacy := newRig(t, "ok", func(o *Options) { o.Elicit = p.ask })
	legacy.start()
	for range 2 { // each call anew
		before := len(p.questions())
		got, err := legacy.call("ask_person", fmt.Sprintf(`{"text":%q,"name":"endless"}`, askAge))
		if asked := len(p.questions()) - before; err != nil || !strings.Contains(got, "more than 5 questions") || asked != maxRounds {
			t.Errorf("%q, %v after %d questions", got, err, asked)
		}
	}
	busy := newRig(t, "modern", func(o *Options) { o.Elicit = p.ask })
	busy.start()
	if got, err := busy.call("ask_person", `{"name":"busy"}`); err != nil || !strings.Contains(got, "null") && !strings.HasPrefix(got, " ") {
		t.Errorf("%q, %v", got, err)
	}
}

// A question ends with its call; so does one whose server is stopped.
func TestQuestionEndsWithItsCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"ok", "modern"} {
		stuck := make(chan struct{})
		defer close(stuck)
		p := &person{answer: func(elicit.Question) elicit.Answer { <-stuck; return elicit.Answer{} }}
		r := newRig(t, mode, func(o *Options) { o.Elicit = p.ask })
		r.start()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { // ends with the call
			res, err := r.Call(ctx, frozen("one", "ask_person", fmt.Sprintf(`{"text":%q}`, askAge)))
			if err == nil && len(res.Content) == 1 && strings.Contains(res.Content[0].Text, `"action":"cancel"`) {
				err = errors.New("the server heard of it and answered in the same moment")
			}
			ended <- err
		}()
		for range 500 {
			if len(p.questions()) > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: no error", mode)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: the call goes on", mode)
		}
		for range 500 { // the question is gone too
			if len(r.journal.of(audit.ServerAsked)) > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if e := r.journal.of(audit.ServerAsked); len(e) != 1 || e[0].Decision != audit.TimedOut {
			t.Errorf("%s: recorded %+v", mode, e)
		}
		r.works()
	}
}

// TestPageFirst: a legacy server that wants a page visited gets its call again once it says that this is done.
func TestPageFirst(t *testing.T) {
	t.Parallel()
	const page = `{"mode":"url","message":"Sign in there.","url":"https://example.org/in","elicitationId":"page-1"}`
	for name, c := range map[string]struct {
		page   string
		action elicit.Action
		want   string // or ! and what the error says
		asked  int
	}{
		"visited":  {page, elicit.Accept, "been there", 1},
		"declined": {page, elicit.Decline, "!you did not", 1},
		"a form":   {`{"mode":"form","message":"x","requestedSchema":{"type":"object","properties":{}}}`, elicit.Accept, "!may not", 0},
		"http":     {strings.Replace(page, "https", "http", 1), elicit.Accept, "!may not", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			r := newRig(t, "ok", func(o *Options) {
				o.Elicit = func(_ context.Context, q elicit.Question) elicit.Answer {
					asked++
					if q.Host != "example.org" || q.Call == "" {
						t.Errorf("asked %+v", q)
					}
					return elicit.Answer{Action: c.action}
				}
			})
			r.start()
			args, err := json.Marshal(map[string]string{"text": c.page})
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.call("needs_page", string(args))
			if words, fails := strings.CutPrefix(c.want, "!"); fails && (err == nil || !strings.Contains(err.Error(), words)) || !fails && (err != nil || got != c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
			if asked != c.asked {
				t.Errorf("asked %d times", asked)
			}
			r.works()
		})
	}
}

// TestRoots: a server learns its folders if its definition says that it may ask, and a person agrees.
func TestRoots(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		may    bool
		action elicit.Action
		want   string
		asked  int
	}{
		"agreed":      {true, elicit.Accept, `{"roots":[{"name":"a case","uri":"file://DIR/a%20case"}]}`, 1},
		"declined":    {true, elicit.Decline, "you did not tell it", 1},
		"not offered": {false, elicit.Accept, "not offered", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			dir := t.TempDir()
			granted := filepath.Join(dir, "a case")
			if err := os.Mkdir(granted, 0o700); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(c.want, "DIR", dir)
			r := newRig(t, "asks-for-roots", func(o *Options) {
				o.Elicit = func(_ context.Context, q elicit.Question) elicit.Answer {
					asked.Add(1)
					if !strings.Contains(q.Intro, granted) || q.Message != "" || len(q.Fields) > 0 {
						t.Errorf("asked %+v", q)
					}
					return elicit.Answer{Action: c.action}
				}
			})
			def := r.view().Def
			def.Roots, def.Read = c.may, []string{granted}
			r.Set(def)
			r.start()
			r.waitFor("the answer", func(View) bool { return strings.Contains(r.log(), want) })
			if int(asked.Load()) != c.asked {
				t.Errorf("asked %d times", asked.Load())
			}
			r.works()
		})
	}
}
