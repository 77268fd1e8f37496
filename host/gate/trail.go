package gate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"cordon/host/audit"
	"cordon/host/inspect"
	"cordon/host/tool"
)

// trail notes how a proposal passes the stages; its outcome record is made from it. It belongs to one Do.
type trail struct {
	id, trace string
	by        tool.Asker
	kind      tool.Kind
	target    tool.ID
	effect    tool.Effect
	call      tool.Call // zero until it is frozen
	arguments inspect.Verdict
	stages    []audit.Stage
	began     time.Time
	last      time.Time
	rule      string
	reason    string
	decision  audit.Decision
	got       tool.Result // what came back, zero until then
	size      int
	digest    tool.Digest
	release   func()        // lets go of the server
	waited    time.Duration // for the server to start
}

func begin(p tool.Proposal) *trail {
	now := time.Now()
	return &trail{id: newID(8), trace: newID(16), by: p.By, kind: p.Kind, target: p.Target, began: now, last: now, decision: audit.Allowed, release: func() {}}
}

func (t *trail) sinceLast() time.Duration { return time.Since(t.last) }

// step notes one stage with the time since the one before.
func (t *trail) step(s Stage, state, detail string) {
	now := time.Now()
	t.stages = append(t.stages, audit.Stage{Name: string(s), State: state, Detail: detail, Micros: now.Sub(t.last).Microseconds()})
	t.last = now
}

func (t *trail) pass(s Stage, detail string) { t.step(s, "passed", detail) }
func (t *trail) mark(s Stage, detail string) { t.step(s, "marked", detail) }
func (t *trail) ask(s Stage, detail string)  { t.step(s, "asked", detail) }
func (t *trail) stop(s Stage, detail string) { t.step(s, "stopped", detail) }

// deny notes a refusal and returns it.
func (t *trail) deny(s Stage, rule, reason string) *Denied {
	t.step(s, "stopped", reason)
	t.rule, t.reason = rule, reason
	if t.decision == audit.Allowed || t.decision == audit.YouAllowed {
		t.decision = audit.Denied
	}
	return &Denied{Stage: s, Rule: rule, Reason: reason, CallID: t.id}
}

// result remembers what came back.
func (t *trail) result(r tool.Result, size int) {
	t.got, t.size = r, size
	var parts [][]byte
	for _, b := range r.Content {
		parts = append(parts, []byte(b.Type), []byte(b.Text), []byte(b.MIME), b.Data, []byte(b.URI))
	}
	t.digest = tool.Sum(append(parts, r.Structured)...)
}

// rescue turns a panic into a refusal at the stage that did not finish.
func (t *trail) rescue(err *error) {
	if p := recover(); p != nil {
		stage := Outcome
		if len(t.stages) < len(Stages) {
			stage = Stages[len(t.stages)]
		}
		*err = t.deny(stage, "gate.panic", fmt.Sprintf("an internal fault at stage %s stopped the call", stage))
	}
}

// event is what intent and outcome have in common. Arguments in which one of the user's secrets was found are
// withheld; their digest remains.
func (g *Gate) event(t *trail, kind audit.Kind) audit.Event {
	e := audit.Event{Kind: kind, CallID: t.id, Trace: t.trace, Server: t.target.Server, Tool: t.target.Name, Effect: t.effect.String(),
		Rule: t.rule, Reason: t.reason, Asker: t.by.Kind + ": " + t.by.Name, Findings: t.arguments.Findings, Stages: t.stages}
	if t.kind != tool.CallTool { // of a tool nothing is said
		e.Facts = map[string]string{"kind": string(t.kind)}
	}
	if t.call.Args != nil {
		e.ArgsDigest = t.call.Digest.String()
		masked, n, err := g.masked(string(t.call.Args))
		if err == nil && n == 0 && !secretFound(t.arguments) {
			e.Args = masked
		}
	}
	return e
}

// withheld stands for text that may hold a secret.
const withheld = "withheld: it could not be searched for secrets"

// masked is Masker.Mask, whose fault is an error.
func (g *Gate) masked(text string) (masked string, n int, err error) {
	defer func() {
		if recover() != nil { // the value may quote the text
			masked, n, err = "", 0, errors.New("the search for secrets crashed")
		}
	}()
	return g.Secrets.Mask(text)
}

// clean masks text that goes into a record or an error.
func (g *Gate) clean(text string) string {
	if text == "" {
		return ""
	}
	masked, _, err := g.masked(text)
	if err != nil {
		return withheld
	}
	return masked
}

// append writes e without secrets. Names, reasons and places in arguments come from outside and can hold one.
func (g *Gate) append(e audit.Event) (uint64, error) {
	e.Server, e.Tool, e.Reason, e.Asker = g.clean(e.Server), g.clean(e.Tool), g.clean(e.Reason), g.clean(e.Asker)
	e.Facts = maps.Clone(e.Facts)
	for k, v := range e.Facts {
		e.Facts[k] = g.clean(v)
	}
	e.Stages, e.Findings = slices.Clone(e.Stages), slices.Clone(e.Findings)
	for i := range e.Stages {
		e.Stages[i].Detail = g.clean(e.Stages[i].Detail)
	}
	for i := range e.Findings {
		e.Findings[i].Where, e.Findings[i].Text = g.clean(e.Findings[i].Where), g.clean(e.Findings[i].Text)
	}
	return g.Audit.Append(e)
}

func secretFound(v inspect.Verdict) bool {
	for _, f := range v.Findings {
		if f.Engine == "secret" {
			return true
		}
	}
	return len(v.Degraded) > 0 // not known to be free of secrets
}

// outcome writes the one record every Do leaves behind, whatever happened.
func (g *Gate) outcome(t *trail, r tool.Result, err error) (res tool.Result, out error) {
	lost := func(why error) error {
		return fmt.Errorf("the outcome of %s could not be recorded, so its result is withheld: %w", g.clean(t.target.String()), why)
	}
	var denied *Denied
	if errors.As(err, &denied) {
		lost = func(error) error { return denied }
	}
	defer func() {
		if recover() != nil {
			res, out = tool.Result{}, lost(errors.New("an internal fault"))
		}
	}()
	if denied == nil && err != nil {
		t.decision, t.reason = audit.Failed, err.Error()
	}
	if reason := g.clean(t.reason); reason != t.reason {
		t.reason = reason
		if denied == nil && err != nil {
			err = errors.New(reason)
		}
	}
	if denied != nil {
		denied.Reason = t.reason
	}
	t.pass(Outcome, "")
	e := g.event(t, audit.CallOutcome)
	e.Decision, e.Took = t.decision, time.Since(t.began)
	e.Findings = append(append([]tool.Finding(nil), t.arguments.Findings...), t.got.Findings...)
	if e.Facts == nil {
		e.Facts = map[string]string{}
	}
	if t.got.Number > 0 {
		e.Facts["result"] = strconv.Itoa(t.got.Number)
	}
	if t.size > 0 || t.got.CallID != "" {
		e.ResultBytes, e.ResultDigest = int64(t.size), t.digest.String()
		e.Facts["tool reported"] = map[bool]string{true: "failure", false: "success"}[t.got.IsError]
	}
	failed, _ := errors.AsType[*Failed](err)
	seq, logErr := g.append(e)
	switch {
	case logErr != nil:
		return tool.Result{}, lost(logErr)
	case denied != nil:
		denied.Event, denied.Asked = seq, t.decision == audit.YouDenied || t.decision == audit.TimedOut
		return tool.Result{}, denied
	case failed != nil:
		failed.Event = seq
		return tool.Result{}, failed
	case err != nil:
		return tool.Result{}, err
	}
	r.Event, r.Asked = seq, t.decision == audit.YouAllowed
	return r, nil
}
