package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"cordon/host/audit"
	"cordon/host/elicit"
)

// TestSampling: a server has the model asked that its definition names, after a person saw all of it, and gets the answer after that was seen too.
func TestSampling(t *testing.T) {
	t.Parallel()
	const (
		asks   = `{"messages":[{"role":"user","content":{"type":"text","text":"Who was it?\u2028\rSend gives it to nobody. hunter2"}}],"systemPrompt":"Be short.","maxTokens":100,"modelPreferences":{"hints":[{"name":"best"}]}}`
		tools  = `{"messages":[{"role":"user","content":{"type":"text","text":"x"}}],"maxTokens":100,"tools":[]}`
		images = `{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image","data":"AA==","mimeType":"image/png"}]}],"maxTokens":100}`
		spying = `{"messages":[{"role":"user","content":{"type":"text","text":"x"}}],"maxTokens":100,"includeContext":"allServers"}`
		system = `{"messages":[{"role":"system","content":{"type":"text","text":"x"}}],"maxTokens":100}`
		none   = `{"messages":[],"maxTokens":100}`
		short  = `{"messages":[{"role":"user","content":{"type":"text","text":"x"}}],"maxTokens":0}`
	)
	long := `{"messages":[{"role":"user","content":{"type":"text","text":"` + strings.Repeat("x", maxSampling+1) + `"}}],"maxTokens":100}`
	for _, mode := range []string{"ok", "modern"} {
		for name, c := range map[string]struct {
			asks   string
			model  string // of the definition
			agree  int    // to so many questions
			fails  bool   // the model
			want   string
			asked  int // questions
			models int // requests to the model
		}{
			"agreed":         {asks, "qwen", 2, false, `"text":"It was [masked]."`, 2, 1},
			"not sent":       {asks, "qwen", 0, false, "you did not let a model answer", 1, 0},
			"answer kept":    {asks, "qwen", 1, false, "you did not let a model answer", 2, 1},
			"model fails":    {asks, "qwen", 2, true, "the model did not answer", 1, 1},
			"not granted":    {asks, "", 2, false, "not", 0, 0},
			"with tools":     {tools, "qwen", 2, false, "use tools", 0, 0},
			"with images":    {images, "qwen", 2, false, "only text", 0, 0},
			"others' words":  {spying, "qwen", 2, false, "other servers", 0, 0},
			"unknown role":   {system, "qwen", 2, false, "unknown role", 0, 0},
			"no messages":    {none, "qwen", 2, false, "0 messages", 0, 0},
			"no length":      {short, "qwen", 2, false, "how long", 0, 0},
			"too much":       {long, "qwen", 2, false, "nobody would read", 0, 0},
			"malformed":      {`{"messages":7,"maxTokens":1}`, "qwen", 2, false, "malformed", 0, 0},
			"malformed part": {`{"messages":[{"role":"user","content":7}],"maxTokens":1}`, "qwen", 2, false, "malformed", 0, 0},
		} {
			t.Run(mode+", "+name, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				var questions []elicit.Question
				var sent []Sampling
				r := newRig(t, mode, func(o *Options) {
					o.Mask = func(s string) string { return strings.ReplaceAll(s, "hunter2", "[masked]") }
					o.Place = func(string) string { return "on this computer" }
					o.Elicit = func(_ context.Context, q elicit.Question) elicit.Answer {
						mu.Lock()
						defer mu.Unlock()
						questions = append(questions, q)
						if len(questions) > c.agree {
							return elicit.Answer{Action: elicit.Decline}
						}
						return elicit.Answer{Action: elicit.Accept}
					}
					o.Sample = func(_ context.Context, s Sampling) (Sampled, error) {
						mu.Lock()
						defer mu.Unlock()
						sent = append(sent, s)
						if c.fails {
							return Sampled{}, errors.New("it sleeps with hunter2")
						}
						return Sampled{Text: "It was [masked].", Stop: "endTurn"}, nil
					}
				})
				def := r.view().Def
				def.Sampling = c.model
				r.Set(def)
				r.start()
				got, err := r.call("ask_person", fmt.Sprintf(`{"text":%q,"name":"model"}`, c.asks))
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(questions) != c.asked || len(sent) != c.models {
					t.Fatalf("%d questions, %d requests; want %d and %d", len(questions), len(sent), c.asked, c.models)
				}
				if c.asked > 0 {
					q := questions[0]
					for _, want := range []string{"system:\n> Be short.", "user:\n> Who was it?\n> \n> Send gives it to nobody. [masked]"} {
						if !strings.Contains(q.Message, want) {
							t.Errorf("the question is %q, without %q", q.Message, want)
						}
					}
					if len(q.Fields) > 0 || q.Call != "0123456789abcdef" {
						t.Errorf("asked %+v", q)
					}
				}
				if c.asked > 0 && (!strings.Contains(questions[0].Intro, "your model qwen, on this computer,") || strings.Contains(questions[0].Message, "your model") || questions[0].Yes != "Ask the model") {
					t.Errorf("the question is %+v", questions[0])
				}
				if c.fails && (strings.Contains(got, "sleeps") || !strings.Contains(r.log(), "it sleeps with [masked]")) {
					t.Errorf("the server heard %q, the person %q", got, r.log())
				}
				if c.models > 0 && (sent[0].Model != "qwen" || sent[0].System != "Be short." || sent[0].MaxTokens != 100 || strings.Contains(fmt.Sprint(sent), "hunter2")) {
					t.Errorf("sent %+v", sent[0])
				}
				if c.asked > 1 && !strings.Contains(questions[1].Message, "> It was [masked].") {
					t.Errorf("the answer is shown as %q", questions[1].Message)
				}
				if events := r.journal.of(audit.ServerAsked); len(events) != c.asked || c.asked > 0 && !strings.Contains(events[0].Reason, "the model qwen") {
					t.Errorf("recorded %+v", events)
				}
				r.works()
			})
		}
	}
}
