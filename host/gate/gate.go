// Package gate is the one path of every call: Do takes a proposal that nobody has checked and either carries it out
// or says who refused it and why. There is no other way to a server's tools.
package gate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"cordon/host/audit"
	"cordon/host/consent"
	"cordon/host/inspect"
	"cordon/host/label"
	"cordon/host/pin"
	"cordon/host/policy"
	"cordon/host/server"
	"cordon/host/tool"

	"github.com/go-json-experiment/json"
)

// Servers finds tools and runs calls. *server.Supervisor implements it. Tool starts a server that sleeps and waits for it; until
// release, which is never nil, Call must run the call of that id on no other process than the one that was looked at. Its
// error wraps server.ErrNotRunning when the server does not run, which breaks a call and refuses nothing.
type Servers interface {
	Tool(ctx context.Context, kind tool.Kind, id tool.ID, call string) (t tool.Tool, release func(), err error)
	Fingerprint(ctx context.Context, server string) (pin.Fingerprint, error)
	Call(ctx context.Context, c tool.Call) (tool.Result, error)
}

// Pins remembers what was approved. *pin.Store implements it. A pin that cannot be read must not come back as
// approved.
type Pins interface {
	Status(server string, fp pin.Fingerprint) (pin.Status, error)
}

// Inspector looks at arguments and results. *inspect.Pipeline implements it. An engine that fails must show in
// Verdict.Degraded.
type Inspector interface {
	Inspect(ctx context.Context, s inspect.Subject) inspect.Verdict
}

// Masker replaces the user's own secrets in text. *inspect.Secret implements it.
type Masker interface {
	Mask(text string) (masked string, n int, err error)
}

// Decider judges. *policy.Engine implements it. It must be pure; the zero Decision denies.
type Decider interface {
	Decide(r policy.Request) policy.Decision
	Version() string
}

// Recorder writes the audit log. *audit.Log implements it. Append must return an error unless the record is in the
// file; Sync unless it would survive the machine.
type Recorder interface {
	Append(e audit.Event) (seq uint64, err error)
	Sync() error
}

// Gate holds the parts of the path. All fields but Limits are mandatory and must not change after the first call. Do is safe
// for concurrent use.
type Gate struct {
	User    string // who works here
	Servers Servers
	Pins    Pins
	Inspect Inspector
	Secrets Masker
	Labels  *label.Book
	Policy  Decider
	Consent consent.Prompter
	Audit   Recorder
	Tier    func(server string) string // how well a server is confined now
	Limits  func(server string) Limits // how often it may be called; nil is the defaults for all

	schemas  schemaCache
	limits   limiter
	pending  pending
	deadline time.Duration // for tests; 0 means DefaultDeadline
}

// Deadlines of execution.
const (
	DefaultDeadline = time.Minute
	MaxDeadline     = 10 * time.Minute
)

// Denied is a refusal: nothing was executed, or its result was withheld. Every other error of Do means that
// something broke.
type Denied struct {
	Stage   Stage
	Rule    string // stable, for people to look up
	Reason  string // one sentence
	CallID  string
	Event   uint64       // number of the outcome's audit record, 0 if it could not be written
	Changes []pin.Change // what changed since the pin, at stage Pin
	Asked   bool         // a person was, and did not allow it
}

// Error says who refused and why. It never contains arguments or results.
func (d *Denied) Error() string {
	return fmt.Sprintf("denied at %s by %s: %s", d.Stage, d.Rule, d.Reason)
}

// Stage names a step of the path, as the log and the screens show it.
type Stage string

// The ten stages in their order.
const (
	Resolve     Stage = "resolve"
	Pin         Stage = "pin"
	InspectArgs Stage = "inspect"
	Label       Stage = "label"
	Decide      Stage = "decide"
	Consent     Stage = "consent"
	Intent      Stage = "intent"
	Execute     Stage = "execute"
	InspectOut  Stage = "inspect result"
	Outcome     Stage = "outcome"
)

// Stages lists all stages in their order.
var Stages = []Stage{Resolve, Pin, InspectArgs, Label, Decide, Consent, Intent, Execute, InspectOut, Outcome}

// Do carries one proposal to its tool and back. It blocks while a person is asked and while the tool runs.
// Cancelling ctx denies an open question and abandons a running call. Errors: *Denied for refusals, anything else for
// breakage. Every return has left one outcome record in the audit log; if that cannot be written, the result is
// withheld.
func (g *Gate) Do(ctx context.Context, p tool.Proposal) (tool.Result, error) {
	t := begin(p)
	r, err := g.walk(ctx, p, t)
	return g.outcome(t, r, err) // 10
}

// walk is the straight path. Each stage can only tighten what the ones before it allowed.
func (g *Gate) walk(ctx context.Context, p tool.Proposal, t *trail) (r tool.Result, err error) {
	defer t.rescue(&err)
	defer func() { t.release() }()
	c, err := g.resolve(ctx, p, t) // 1
	if err != nil {
		return r, err
	}
	if err := g.pinned(ctx, c, t); err != nil { // 2
		return r, err
	}
	verdict := g.inspectArguments(ctx, c, t) // 3
	values, session := g.label(c, t)         // 4
	if c.Scope, err = g.scope(ctx, p, t); err != nil {
		return r, err
	}
	decision, err := g.decide(c, verdict, values, session, t) // 5
	if err != nil {
		return r, err
	}
	broke := false
	if err := g.admit(c, t); err != nil { // 5, before anybody is asked
		return r, err
	}
	defer func() { g.limits.done(c, broke) }()
	receipt, err := g.consent(ctx, c, decision, verdict, values, t) // 6
	if err != nil {
		return r, err
	}
	if receipt != nil {
		if _, err := g.comparePin(ctx, c, t); err != nil { // 2, after the wait
			return r, err
		}
		if err := g.decideAgain(ctx, p, c, decision, verdict, values, session, t); err != nil { // 5, after the wait
			return r, err
		}
	}
	if err := g.intent(c, t); err != nil { // 7
		return r, err
	}
	r, said, err := g.execute(ctx, p, c, decision, receipt, t) // 8
	switch {
	case err != nil:
		var denied *Denied
		broke = ctx.Err() == nil && !errors.As(err, &denied)
		return tool.Result{}, err
	case said != nil:
		broke = !server.Answered(said)
		return tool.Result{}, g.inspectError(ctx, c, said, t) // 9, of an error
	}
	return g.inspectResult(ctx, c, r, t) // 9
}

// resolve finds the tool, which wakes its server, parses the arguments strictly and freezes the call.
func (g *Gate) resolve(ctx context.Context, p tool.Proposal, t *trail) (tool.Call, error) {
	switch p.Kind {
	case tool.CallTool, tool.GetPrompt, tool.FetchTask:
	case tool.ReadResource:
		if len(p.Args) > 0 {
			return tool.Call{}, t.deny(Resolve, "resolve.arguments", "a resource is read by its address and takes no arguments")
		}
		uri, err := json.Marshal(map[string]string{"uri": p.Target.Name})
		if err != nil {
			return tool.Call{}, t.deny(Resolve, "resolve.arguments", "the address is not text")
		}
		p.Args = uri
	default:
		return tool.Call{}, t.deny(Resolve, "resolve.kind", fmt.Sprintf("there is nothing of the kind %q to call", p.Kind))
	}
	if p.By.Conversation == "" || p.By.Kind == "" {
		return tool.Call{}, t.deny(Resolve, "resolve.asker", "nobody is named who asks")
	}
	look, cancel := context.WithTimeout(ctx, g.limit(p))
	defer cancel()
	began := time.Now()
	found, release, err := g.Servers.Tool(look, p.Kind, p.Target, t.id)
	t.release, t.waited = release, time.Since(began)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		t.stop(Resolve, "cancelled")
		return tool.Call{}, context.Cause(ctx)
	case look.Err() != nil:
		t.stop(Resolve, "the server was not ready in "+g.limit(p).String())
		return tool.Call{}, fmt.Errorf("%s was not ready in %s", p.Target.Server, g.limit(p))
	case errors.Is(err, server.ErrNotRunning):
		t.stop(Resolve, "the server is not running")
		return tool.Call{}, g.quoted(ctx, p, err, t)
	default:
		return tool.Call{}, t.deny(Resolve, "resolve.unknown", g.quoted(ctx, p, err, t).Error())
	}
	t.effect = found.Effect
	raw := p.Args
	if raw == nil {
		raw = []byte("{}")
	}
	args, err := tool.CanonicalObject(raw, tool.DefaultLimits())
	if err != nil {
		return tool.Call{}, t.deny(Resolve, "resolve.arguments", "the arguments are not acceptable JSON: "+err.Error())
	}
	err = g.schemas.check(found, args)
	if err != nil {
		if fewer, left := tool.WithoutNulls(found.InputSchema, args); left {
			args, err = fewer, g.schemas.check(found, fewer)
		}
	}
	if err != nil {
		return tool.Call{}, t.deny(Resolve, "resolve.schema", "the arguments do not fit the tool's schema: "+err.Error())
	}
	c := tool.Call{ID: t.id, Trace: t.trace, Kind: p.Kind, Tool: found, Args: args, By: p.By, Wrote: p.Wrote, Parent: p.Parent, Ticket: p.Ticket}
	c.Digest = tool.DigestOf(c)
	t.call = c
	t.pass(Resolve, fmt.Sprintf("%d bytes, digest %s", len(args), c.Digest.Short()))
	return c, nil
}

// pinned compares the server and the tool with what a person approved.
func (g *Gate) pinned(ctx context.Context, c tool.Call, t *trail) error {
	what, err := g.comparePin(ctx, c, t)
	if err == nil {
		t.pass(Pin, what)
	}
	return err
}

// comparePin is pinned without a note of success: the comparison is made again after a person was asked, because a
// server may change while it waits.
func (g *Gate) comparePin(ctx context.Context, c tool.Call, t *trail) (what string, err error) {
	fp, err := g.Servers.Fingerprint(ctx, c.Tool.ID.Server)
	if errors.Is(err, server.ErrNotRunning) {
		t.stop(Pin, "the server is not running")
		return "", err
	}
	if err != nil {
		return "", t.deny(Pin, "pin.unreadable", "what the server consists of cannot be read: "+err.Error())
	}
	st, err := g.Pins.Status(c.Tool.ID.Server, fp)
	if err != nil {
		return "", t.deny(Pin, "pin.unreadable", err.Error())
	}
	switch st.State {
	case pin.Pinned:
		// What was looked up must be what is pinned: a server may list something else in between.
		pinned := fp.Tools
		if c.Kind == tool.GetPrompt {
			pinned = fp.Prompts
		}
		if c.Kind != tool.ReadResource && !bytes.Equal(pinned[c.Tool.ID.Name], c.Tool.Definition) {
			return "", t.deny(Pin, "pin.changed", "the "+string(c.Kind)+"'s definition changed while the call was looked at")
		}
		return fmt.Sprintf("definition and %s match the pin of %s", files(fp.Files+1), st.At.Format(time.DateOnly)), nil
	case pin.Changed:
		g.drift(t, st.Changes)
		d := t.deny(Pin, "pin.changed", changed(st.Changes))
		d.Changes = st.Changes
		return "", d
	}
	return "", t.deny(Pin, "pin.review", "nobody has reviewed this server yet; review it, then call again")
}

// drift records what changed. The call is denied whether or not this can be written.
func (g *Gate) drift(t *trail, cs []pin.Change) {
	e := audit.Event{Kind: audit.PinDrift, CallID: t.id, Trace: t.trace, Server: t.target.Server, Decision: audit.Denied, Rule: "pin.changed", Reason: changed(cs), Facts: map[string]string{}}
	for i, c := range cs {
		e.Facts[fmt.Sprintf("change %d", i+1)] = c.Kind + ": " + c.What
	}
	_, _ = g.append(e)
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

func changed(cs []pin.Change) string {
	switch len(cs) {
	case 0:
		return "it is not what was approved"
	case 1:
		return fmt.Sprintf("%s was %s since it was approved", cs[0].What, cs[0].Kind)
	}
	return fmt.Sprintf("%d parts changed since they were approved, the first is %s", len(cs), cs[0].What)
}

// inspectArguments runs the engines. It decides nothing: findings and failures go to the policy.
func (g *Gate) inspectArguments(ctx context.Context, c tool.Call, t *trail) inspect.Verdict {
	texts, err := inspect.Leaves(c.Args)
	if err != nil {
		v := inspect.Verdict{Degraded: []string{"arguments could not be taken apart"}}
		t.mark(InspectArgs, v.Degraded[0])
		return v
	}
	v := g.Inspect.Inspect(ctx, inspect.Subject{Kind: inspect.Arguments, Server: c.Tool.ID.Server, Texts: texts})
	t.arguments = v
	switch {
	case len(v.Degraded) > 0:
		t.mark(InspectArgs, "degraded: "+v.Degraded[0])
	case len(v.Findings) > 0:
		t.mark(InspectArgs, many(len(v.Findings), "finding")+", the first: "+v.Findings[0].Text)
	default:
		t.pass(InspectArgs, "nothing found")
	}
	return v
}

// label says who chose each value.
func (g *Gate) label(c tool.Call, t *trail) ([]label.Value, label.Session) {
	values := g.Labels.Label(c.By.Conversation, c.Args, c.Wrote)
	session := g.Labels.Session(c.By.Conversation)
	outside := 0
	for _, v := range values {
		if v.Origin == tool.OriginOutside || len(v.Spans) > 0 {
			outside++
		}
	}
	detail := many(len(values), "value") + " by " + c.Wrote.String()
	if outside > 0 {
		detail = fmt.Sprintf("%d of %d values come from tool results", outside, len(values))
		t.mark(Label, detail)
	} else {
		t.pass(Label, detail)
	}
	return values, session
}

// decide asks the policy.
func (g *Gate) decide(c tool.Call, v inspect.Verdict, values []label.Value, s label.Session, t *trail) (policy.Decision, error) {
	d := g.Policy.Decide(g.request(c, v, values, s))
	t.rule, t.reason = d.Rule, d.Reason
	switch d.Action {
	case policy.Allow:
		t.pass(Decide, "allowed by "+d.Rule)
	case policy.Ask:
		t.ask(Decide, fmt.Sprintf("ask at level %d: %s", d.Level, d.Rule))
	default:
		if d.Reason == "" {
			d.Reason = "no rule allows this call"
		}
		return d, t.deny(Decide, d.Rule, d.Reason)
	}
	return d, nil
}

// request is what a decision depends on, without a consent.
func (g *Gate) request(c tool.Call, v inspect.Verdict, values []label.Value, s label.Session) policy.Request {
	return policy.Request{User: g.User, Call: c, Pinned: true, Values: values, Session: s, Findings: v.Findings, Degraded: v.Degraded, Tier: g.Tier(c.Tool.ID.Server)}
}

// scope asks what the call may do now.
func (g *Gate) scope(ctx context.Context, p tool.Proposal, t *trail) (tool.Scope, error) {
	if p.Scope == nil {
		return tool.Scope{}, nil
	}
	s, err := p.Scope(ctx)
	if err != nil {
		return s, t.deny(Decide, "scope.withdrawn", err.Error())
	}
	return s, nil
}

// decideAgain asks the policy whether the consent that a person gave still lifts all that objects: meanwhile the call may do less.
func (g *Gate) decideAgain(ctx context.Context, p tool.Proposal, c tool.Call, given policy.Decision, v inspect.Verdict, values []label.Value, s label.Session, t *trail) error {
	now, err := g.scope(ctx, p, t)
	if err != nil || now == c.Scope {
		return err
	}
	c.Scope = now
	r := g.request(c, v, values, s)
	r.Consent = given.Level
	d := g.Policy.Decide(r)
	if d.Action != policy.Allow {
		return t.deny(Decide, d.Rule, d.Reason)
	}
	return nil
}

// admit counts the call against its server's limits.
func (g *Gate) admit(c tool.Call, t *trail) error {
	var limits Limits
	if g.Limits != nil {
		limits = g.Limits(c.Tool.ID.Server)
	}
	if rule, why := g.limits.admit(c, limits); rule != "" {
		return t.deny(Decide, rule, why)
	}
	return nil
}

// Mended forgets that calls of a server broke.
func (g *Gate) Mended(server string) { g.limits.reset(server) }

// consent puts the call to a person if the policy wants that. The receipt is nil when nobody had to be asked.
func (g *Gate) consent(ctx context.Context, c tool.Call, d policy.Decision, v inspect.Verdict, values []label.Value, t *trail) (*consent.Receipt, error) {
	if d.Action == policy.Allow {
		t.pass(Consent, "not needed")
		return nil, nil
	}
	target := Target(c)
	p := consent.New(c, consent.Level(d.Level), target, d.Rule, d.Reason, d.Version)
	defer g.pending.add(p.ID, Question{Call: c, Decision: d, Findings: v.Findings, Degraded: v.Degraded, Values: values, Target: target})()
	answer, err := g.Consent.Ask(ctx, p)
	var receipt *consent.Receipt
	if err == nil && ctx.Err() != nil { // whoever wanted it has gone meanwhile
		err = fmt.Errorf("%w: %w", consent.ErrCancelled, context.Cause(ctx))
	}
	if err == nil {
		receipt, err = consent.Issue(p, answer, time.Now())
	}
	took := t.sinceLast().Round(100 * time.Millisecond)
	e := audit.Event{Kind: audit.ConsentAnswer, CallID: c.ID, Trace: c.Trace, Server: c.Tool.ID.Server, Tool: c.Tool.ID.Name, Effect: c.Tool.Effect.String(),
		Rule: d.Rule, Asker: c.By.Name, ArgsDigest: c.Digest.String(), Decision: audit.YouAllowed, Took: t.sinceLast(),
		Facts: map[string]string{"nonce": p.ID, "level": fmt.Sprint(d.Level), "policy": d.Version}}
	if err != nil {
		e.Decision, e.Reason = refusal(err)
		t.decision = e.Decision
	}
	if _, logErr := g.append(e); logErr != nil {
		return nil, t.deny(Consent, "audit.unwritable", logErr.Error())
	}
	if err != nil {
		return nil, t.deny(Consent, d.Rule, e.Reason)
	}
	t.decision = audit.YouAllowed
	t.ask(Consent, fmt.Sprintf("you allowed it once, after %s", took))
	return receipt, nil
}

// refusal puts the end of a question into the log's and a person's words. Only a person's own no is ErrDenied itself;
// what kept the question from a person, or an answer from counting, wraps it.
func refusal(err error) (audit.Decision, string) {
	switch {
	case err == consent.ErrDenied:
		return audit.YouDenied, "you denied it"
	case errors.Is(err, consent.ErrTimedOut):
		return audit.TimedOut, "nobody answered in two minutes"
	case errors.Is(err, consent.ErrCancelled):
		return audit.Denied, "the question was withdrawn before it was answered"
	case errors.Is(err, consent.ErrStale), errors.Is(err, consent.ErrMismatch):
		return audit.Denied, "the answer was for another question: " + err.Error()
	}
	return audit.Denied, "nobody could be asked: " + strings.TrimPrefix(err.Error(), consent.ErrDenied.Error()+": ")
}

// intent records what is about to happen. What cannot be recorded does not happen; what changes something is on the
// disk before it is executed.
func (g *Gate) intent(c tool.Call, t *trail) error {
	e := g.event(t, audit.CallIntent)
	e.Decision = audit.Intent
	if _, err := g.append(e); err != nil {
		return t.deny(Intent, "audit.unwritable", err.Error())
	}
	detail := "written"
	if c.Tool.Effect != tool.Read {
		if err := g.Audit.Sync(); err != nil {
			return t.deny(Intent, "audit.unwritable", err.Error())
		}
		detail = "written and on disk"
	}
	t.pass(Intent, detail)
	return nil
}

// limit is how long a proposal may wait for its server and its answer together.
func (g *Gate) limit(p tool.Proposal) time.Duration {
	switch {
	case p.Within > 0:
		return min(p.Within, MaxDeadline)
	case g.deadline > 0:
		return g.deadline
	}
	return DefaultDeadline
}

// execute spends the receipt and runs the call under its deadline. said is an error that the server may have worded, for inspectError; err one of Cordon's.
func (g *Gate) execute(ctx context.Context, p tool.Proposal, c tool.Call, d policy.Decision, receipt *consent.Receipt, t *trail) (r tool.Result, said, err error) {
	if d.Action != policy.Allow {
		if receipt == nil {
			return r, nil, t.deny(Execute, "consent.missing", "there is no consent for this call")
		}
		if err := receipt.Redeem(c, g.Policy.Version()); err != nil {
			return r, nil, t.deny(Execute, "consent.void", "the consent does not cover this call: "+err.Error())
		}
	} else if tool.DigestOf(c) != c.Digest {
		return r, nil, t.deny(Execute, "call.changed", "the call was changed after it was judged")
	}
	limit := g.limit(p)
	run, cancel := tool.WithPatience(ctx, limit-t.waited)
	defer cancel()
	r, said = g.Servers.Call(run, c)
	switch {
	case said == nil:
	case ctx.Err() != nil:
		t.stop(Execute, "cancelled")
		return r, nil, context.Cause(ctx)
	case run.Err() != nil:
		t.stop(Execute, "no answer in "+limit.String())
		return r, nil, fmt.Errorf("%s gave no answer in %s", c.Tool.ID, limit)
	default:
		t.stop(Execute, "failed")
		return r, said, nil
	}
	r.CallID = c.ID
	t.pass(Execute, many(len(r.Content), "content block"))
	return r, nil, nil
}

// newID returns n random bytes in hex.
func newID(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// many counts in words: "1 value", "2 values".
func many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
