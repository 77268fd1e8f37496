package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cordon/host/config"
	"cordon/host/elicit"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Sampling: a server may want a model to answer something in the middle of a call. That is deprecated in MCP since 2026-07-28; a server that needs it gets the
// one model that its definition names. A person sees all that would be sent before it is, and the answer before the server does.

// Sampling is what a model is to answer for a server. Own secrets are masked.
type Sampling struct {
	Model     string // its name in the configuration
	System    string
	Messages  []SamplingMessage
	MaxTokens int // that it may write, at least 1
}

// SamplingMessage is one turn of it.
type SamplingMessage struct {
	Role string // "user" or "assistant"
	Text string
}

// Sampled is what a model answered.
type Sampled struct {
	Text string // own secrets masked
	Stop string // as MCP calls it: endTurn or maxTokens
}

// samples asks a model, and notes why it did not answer.
func (u *unit) samples(ctx context.Context, r Sampling) (Sampled, error) {
	got, err := u.s.o.Sample(ctx, r)
	if err != nil {
		u.note("the model %s did not answer: %s", r.Model, u.s.o.Mask(err.Error()))
	}
	return got, err
}

// modelOf is the model that a server may have asked, "" if none.
func (u *unit) modelOf(def config.Server) string {
	if u.s.o.Sample == nil || u.s.o.Elicit == nil {
		return ""
	}
	return def.Sampling
}

const (
	maxSampling         = 16 << 10 // bytes of text: a person has to read it
	maxSamplingMessages = 50
	maxSampledTokens    = 1 << 16
)

// errNoAnswer is all that a server is told of a model that failed.
var errNoAnswer = errors.New("the model did not answer")

// errNotSampled means that a person did not agree.
var errNotSampled = errors.New("you did not let a model answer it")

// wantsModel reads sampling/createMessage.
func (s *session) wantsModel(params jsontext.Value) (appeal, error) {
	r, err := readSampling(params, s.mask)
	if err != nil {
		return appeal{}, err
	}
	r.Model = s.model
	var text strings.Builder
	if r.System != "" {
		quoted(&text, "system", r.System)
	}
	for _, m := range r.Messages {
		quoted(&text, m.Role, m.Text)
	}
	return appeal{elicit.Question{Server: s.name, Kind: elicit.Form, Message: text.String(), Yes: "Ask the model",
		Intro: fmt.Sprintf("It wants your model %s, %s, to answer what follows. If you say yes, all of that is sent there, and you see the answer before %s does.", r.Model, s.place(r.Model), s.name), For: "to let the model " + r.Model + " answer something"}, func(ctx context.Context, ask func(elicit.Question) elicit.Answer, q elicit.Question) (map[string]any, error) {
		if ask(q).Action != elicit.Accept {
			return nil, errNotSampled
		}
		got, err := s.sample(ctx, r)
		if err != nil {
			return nil, errNoAnswer // why is for the person: it may hold what is none of the server's business
		}
		var text strings.Builder
		quoted(&text, "assistant", got.Text)
		q.Message, q.For, q.Yes = text.String(), "to give it what the model "+r.Model+" answered", "Give it the answer"
		q.Intro = fmt.Sprintf("Your model %s answered what follows. If you say yes, %s gets it.", r.Model, s.name)
		if ask(q).Action != elicit.Accept {
			return nil, errNotSampled
		}
		return map[string]any{"role": "assistant", "content": map[string]any{"type": "text", "text": got.Text}, "model": r.Model, "stopReason": got.Stop}, nil
	}}, nil
}

// breaks are all that a screen may begin a new line at.
var breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// quoted writes text that others chose, each line marked, so that none of it looks like Cordon's words.
func quoted(b *strings.Builder, role, text string) {
	fmt.Fprintf(b, "\n%s:\n", role)
	for line := range strings.Lines(breaks.Replace(text)) {
		b.WriteString("> " + strings.TrimSuffix(line, "\n") + "\n")
	}
}

// readSampling reads what may be asked: text, of a bounded length, and no tools. Hints of which model to take, and how, change nothing.
func readSampling(params jsontext.Value, mask func(string) string) (Sampling, error) {
	var p struct {
		Messages []struct {
			Role    string         `json:"role"`
			Content jsontext.Value `json:"content"`
		} `json:"messages"`
		System    string         `json:"systemPrompt"`
		MaxTokens int            `json:"maxTokens"`
		Context   string         `json:"includeContext"`
		Tools     jsontext.Value `json:"tools"`
		Task      jsontext.Value `json:"task"`
	}
	if err := json.Unmarshal(params, &p); err != nil {
		return Sampling{}, errors.New("what it wants a model to answer is malformed")
	}
	switch {
	case len(p.Messages) == 0 || len(p.Messages) > maxSamplingMessages:
		return Sampling{}, fmt.Errorf("it wants a model to answer %d messages; at most %d can be", len(p.Messages), maxSamplingMessages)
	case p.MaxTokens < 1:
		return Sampling{}, errors.New("it does not say how long the answer of a model may be")
	case p.Context != "" && p.Context != "none":
		return Sampling{}, errors.New("it wants a model to be told what other servers said, which it is not")
	case p.Tools != nil:
		return Sampling{}, errors.New("it wants a model to use tools, which was not offered to it")
	case p.Task != nil:
		return Sampling{}, errors.New("it wants the answer of a model as a task")
	}
	r := Sampling{System: mask(p.System), MaxTokens: min(p.MaxTokens, maxSampledTokens)}
	size := len(r.System)
	for _, m := range p.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return Sampling{}, fmt.Errorf("a message to a model has the unknown role %.20q", m.Role)
		}
		text, err := samplingText(m.Content)
		if err != nil {
			return Sampling{}, err
		}
		text = mask(text)
		r.Messages = append(r.Messages, SamplingMessage{m.Role, text})
		if size += len(text); size > maxSampling {
			return Sampling{}, fmt.Errorf("it wants a model to answer more than %d bytes, which nobody would read before they are sent", maxSampling)
		}
	}
	return r, nil
}

// samplingText reads the content of a message: one part, or several.
func samplingText(content jsontext.Value) (string, error) {
	type part struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	var parts []part
	if content.Kind() == '[' {
		if err := json.Unmarshal(content, &parts); err != nil {
			return "", errors.New("a message to a model is malformed")
		}
	} else {
		parts = make([]part, 1)
		if err := json.Unmarshal(content, &parts[0]); err != nil {
			return "", errors.New("a message to a model is malformed")
		}
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		if p.Type != "text" {
			return "", fmt.Errorf("it wants a model to look at %.20q; only text is sent", p.Type)
		}
		texts[i] = p.Text
	}
	return strings.Join(texts, "\n"), nil
}
