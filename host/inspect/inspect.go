// Package inspect looks at what goes to a server and what comes back: hidden text and the user's own secrets. Engines
// run one after another; one that fails makes the verdict degraded, which policy never takes for clean.
package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"cordon/host/tool"
)

// Kind says what is inspected; severities depend on it.
type Kind string

// The kinds of subject.
const (
	Arguments  Kind = "arguments"  // what is about to be sent
	Outcome    Kind = "result"     // what came back
	Definition Kind = "definition" // a tool, prompt or resource as its server describes it
)

// Text is one string of a subject and where it stands.
type Text struct {
	Pointer string // JSON pointer, "" for the whole
	Value   string
}

// Subject is what engines look at. Engines must not change it.
type Subject struct {
	Kind   Kind
	Server string // who gets it or who sent it
	Texts  []Text
}

// bytes is the size of all texts together.
func (s Subject) bytes() int {
	n := 0
	for _, t := range s.Texts {
		n += len(t.Value)
	}
	return n
}

// Engine looks for one sort of thing. Inspect must be safe for concurrent use and return soon after ctx ends. An
// engine that cannot look at everything must return an error: findings with a nil error claim that the rest is clean.
type Engine interface {
	Name() string
	Inspect(ctx context.Context, s Subject) ([]tool.Finding, error)
}

// Verdict is what all engines found. It is clean only if both fields are empty.
type Verdict struct {
	Findings []tool.Finding
	Degraded []string // engines that failed and why, in words
}

// Blocked reports whether a finding demands that the subject goes no further.
func (v Verdict) Blocked() bool {
	for _, f := range v.Findings {
		if f.Severity >= tool.Block {
			return true
		}
	}
	return false
}

// Bounds of one inspection.
const (
	maxSubject   = 16 << 20 // larger subjects are degraded
	maxBudget    = 5 * time.Second
	maxFindings  = 100 // of one engine
	maxOverdue   = 2   // runs of one engine that have not ended; more are not started
	maxTextBytes = 200
)

// Pipeline runs engines in order. It is safe for concurrent use. The zero Pipeline finds everything degraded.
type Pipeline struct {
	engines []Engine
	budget  time.Duration // per engine, for the first MiB
	overdue []atomic.Int32
	running sync.WaitGroup
}

// New returns a pipeline with a time budget of 250 ms per engine for each MiB begun, at most 5 s.
func New(engines ...Engine) *Pipeline {
	return &Pipeline{engines: engines, budget: 250 * time.Millisecond, overdue: make([]atomic.Int32, len(engines))}
}

// Wait blocks until no engine runs any more, also those whose time ran out. No Inspect may be called meanwhile.
func (p *Pipeline) Wait() { p.running.Wait() }

// Inspect asks every engine. One that returns an error, panics, exceeds its budget or is cut off by ctx is named in
// Degraded; the others still run.
func (p *Pipeline) Inspect(ctx context.Context, s Subject) Verdict {
	if len(p.engines) == 0 {
		return Verdict{Degraded: []string{"no engine is configured"}}
	}
	size := s.bytes()
	if size > maxSubject {
		return Verdict{Degraded: []string{fmt.Sprintf("%d bytes are more than the %d that can be inspected", size, maxSubject)}}
	}
	budget := min(p.budget*time.Duration(1+size>>20), maxBudget)
	var v Verdict
	for i, e := range p.engines {
		found, err := p.run(ctx, i, s, budget)
		if err != nil {
			v.Degraded = append(v.Degraded, e.Name()+": "+err.Error())
		}
		v.Findings = append(v.Findings, tidy(e.Name(), found)...)
	}
	return v
}

type outcome struct {
	found []tool.Finding
	err   error
}

func (p *Pipeline) run(ctx context.Context, i int, s Subject, budget time.Duration) ([]tool.Finding, error) {
	if p.overdue[i].Load() >= maxOverdue {
		return nil, errors.New("still busy with earlier inspections")
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	done := make(chan outcome, 1)
	p.running.Go(func() {
		var o outcome
		defer func() {
			if recover() != nil { // the value may quote what was inspected
				o = outcome{err: errors.New("crashed")}
			}
			done <- o
		}()
		o.found, o.err = p.engines[i].Inspect(ctx, s)
	})
	select {
	case o := <-done:
		if o.err != nil && ctx.Err() == nil {
			return o.found, o.err
		}
		if ctx.Err() != nil {
			return o.found, overran(ctx, budget)
		}
		return o.found, nil
	case <-ctx.Done():
		p.overdue[i].Add(1)
		p.running.Go(func() {
			<-done
			p.overdue[i].Add(-1)
		})
		return nil, overran(ctx, budget)
	}
}

func overran(ctx context.Context, budget time.Duration) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("took longer than %v", budget)
	}
	return errors.New("was cancelled")
}

// tidy bounds what an engine says.
func tidy(engine string, found []tool.Finding) []tool.Finding {
	if len(found) > maxFindings {
		worst := tool.Info
		for _, f := range found[maxFindings-1:] {
			worst = max(worst, f.Severity)
		}
		more := tool.Finding{Rule: engine + ".more", Severity: worst, Text: fmt.Sprintf("%d more findings are not listed.", len(found)-maxFindings+1)}
		found = append(found[:maxFindings-1:maxFindings-1], more)
	}
	for i := range found {
		found[i].Engine = engine
		if len(found[i].Text) > maxTextBytes {
			found[i].Text = strings.ToValidUTF8(found[i].Text[:maxTextBytes-3], "") + "…"
		}
	}
	return found
}

// Leaves returns the texts of a JSON value: first every string, number and boolean in order of appearance, then every
// object key, so that something spread over neighbouring values stays adjacent. raw must be valid JSON.
func Leaves(raw []byte) ([]Text, error) {
	var values, keys []Text
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, errors.New("inspect: not valid JSON")
		}
		switch tok.Kind() {
		case jsontext.KindString:
			t := Text{string(dec.StackPointer()), tok.String()}
			if isKey(dec) {
				keys = append(keys, t)
			} else {
				values = append(values, t)
			}
		case jsontext.KindNumber, jsontext.KindTrue, jsontext.KindFalse:
			values = append(values, Text{string(dec.StackPointer()), tok.String()})
		}
		if dec.StackDepth() == 0 {
			return append(values, keys...), nil
		}
	}
}

// isKey reports whether the token just read is an object key: then the object has seen an odd number of tokens.
func isKey(dec *jsontext.Decoder) bool {
	kind, n := dec.StackIndex(dec.StackDepth())
	return kind == jsontext.KindBeginObject && n%2 == 1
}
