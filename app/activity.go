package app

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cordon/host/audit"
	"cordon/host/gate"
	"cordon/host/server"
	"cordon/host/tool"
)

// counter counts calls per tool and day.
type counter struct {
	day string
	by  map[tool.ID]int
}

// dates are when a secret was set and last given to its server, as far as the log's index reaches.
type dates struct{ added, used time.Time }

func (a *App) count(e audit.Entry) {
	switch e.Kind {
	case audit.SecretSet, audit.SecretUse:
		a.dateSecret(e)
		return
	case audit.CallOutcome:
	default:
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if day := e.Time.UTC().Format(time.DateOnly); day != a.today.day {
		a.today = counter{day, map[tool.ID]int{}}
	}
	a.today.by[tool.ID{Server: e.Server, Name: e.Tool}]++
}

func (a *App) dateSecret(e audit.Entry) {
	s, err := a.host.Log().Get(e.Seq)
	if err != nil {
		return // only a date is missing
	}
	key := secretKey{e.Server, s.Event.Facts["secret"]}
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.secrets[key]
	if e.Kind == audit.SecretSet {
		d.added = e.Time
	} else {
		d.used = e.Time
	}
	a.secrets[key] = d
}

func (a *App) callsToday(id tool.ID) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.today.day != time.Now().UTC().Format(time.DateOnly) {
		return 0
	}
	return a.today.by[id]
}

// noLog is what screens get while there is no usable log.
func (a *App) noLog() error {
	for _, err := range a.host.Problems() {
		f := FailureOf(err)
		if strings.HasPrefix(f.Code, "CRD-LOG") {
			return &f
		}
	}
	return &Failure{Code: "CRD-LOG-01", What: "the audit log could not be opened", Means: "Nothing runs, because nothing could be recorded."}
}

// Events returns a page of the log.
func (a *App) Events(q EventQuery) (EventPage, error) {
	log := a.host.Log()
	if log == nil {
		return EventPage{}, a.noLog()
	}
	p, err := log.Query(audit.Query{Text: q.Text, Server: q.Server, Decision: audit.Decision(q.Decision), Before: q.Before, Limit: q.Limit})
	if err != nil {
		return EventPage{}, err
	}
	page := EventPage{Events: []EventView{}, Total: p.Total, Matched: p.Matched, Asked: p.Asked, Denied: p.Denied}
	for _, e := range p.Entries {
		page.Events = append(page.Events, eventView(e))
	}
	return page, nil
}

// VerifyLog checks every byte of the log.
func (a *App) VerifyLog() (LogView, error) {
	log := a.host.Log()
	if log == nil {
		return LogView{}, a.noLog()
	}
	r, err := log.Verify(a.ctx)
	if err != nil {
		return LogView{}, err
	}
	v := LogView{Events: r.Events, Intact: r.Intact, CheckedAt: stamp(time.Now()), Head: r.Head, Problem: r.Problem}
	a.mu.Lock()
	a.logView = v
	a.mu.Unlock()
	a.changed()
	return v, nil
}

// Story returns everything about one event.
func (a *App) Story(seq uint64) (StoryView, error) {
	log := a.host.Log()
	if log == nil {
		return StoryView{}, a.noLog()
	}
	s, err := log.Get(seq)
	if err != nil {
		return StoryView{}, err
	}
	related, err := log.ByCall(s.Event.CallID)
	if err != nil {
		return StoryView{}, err
	}
	v := StoryView{Hash: s.Hash, Previous: s.Prev, Matches: s.Matches, Trace: s.Event.Trace, Record: s.Record, Stages: []StageView{}, Related: []EventView{}}
	v.Event = eventView(entry(s))
	outcome := s.Event
	for _, e := range related {
		if e.Seq != seq {
			v.Related = append(v.Related, eventView(e))
		}
		if e.Kind == audit.CallOutcome && e.Seq != seq {
			if o, err := log.Get(e.Seq); err == nil {
				outcome = o.Event
			}
		}
	}
	if outcome.Kind == audit.CallOutcome || outcome.Kind == audit.CallIntent {
		v.Stages = stageViews(outcome)
	}
	v.Summary = story(s.Event, outcome)
	v.Facts = facts(s.Event)
	return v, nil
}

func entry(s audit.Stored) audit.Entry {
	e := s.Event
	return audit.Entry{Seq: s.Seq, Time: e.Time, Kind: e.Kind, CallID: e.CallID, Server: e.Server, Tool: e.Tool, Effect: e.Effect, Decision: e.Decision, Rule: e.Rule, Reason: e.Reason, Took: e.Took}
}

// stageViews shows all ten stages of a call, those not reached included. The last one was passed by every call that left a
// record; it says how the call ended.
func stageViews(e audit.Event) []StageView {
	out := []StageView{}
	seen := map[string]audit.Stage{}
	for _, s := range e.Stages {
		seen[s.Name] = s
	}
	for _, name := range gate.Stages {
		s, ok := seen[string(name)]
		if !ok {
			s = audit.Stage{State: "not reached"}
		} else if name == gate.Outcome {
			s.Detail = string(e.Decision)
			if e.Decision != audit.Allowed && e.Decision != audit.YouAllowed {
				s.State = "ended"
			}
		}
		out = append(out, StageView{string(name), s.State, s.Detail, s.Micros})
	}
	return out
}

// story is one sentence: who wanted what, and how it ended.
func story(e, outcome audit.Event) string {
	name := e.Server
	if e.Tool != "" {
		name += "." + e.Tool
	}
	switch e.Kind {
	case audit.CallIntent, audit.CallOutcome, audit.ConsentAnswer:
		text := fmt.Sprintf("%s asked for %s", asker(outcome.Asker), name)
		switch {
		case outcome.Decision == "":
			return text + "."
		case outcome.Reason == "" || outcome.Decision == audit.Allowed || outcome.Decision == audit.YouDenied && outcome.Reason == "you denied it":
			return text + ": " + string(outcome.Decision) + "."
		}
		return text + ": " + string(outcome.Decision) + ". " + sentence(outcome.Reason, e.Server)
	}
	return sentence(title(entry(audit.Stored{Event: e})), e.Server)
}

// asker names who asked: "Run a tool" of "window: Run a tool".
func asker(who string) string {
	if _, name, ok := strings.Cut(who, ": "); ok {
		return name
	}
	return who
}

// sentence gives a reason a capital letter and a full stop. The name of the server keeps its spelling.
func sentence(s, server string) string {
	if s == "" {
		return ""
	}
	r, size := utf8.DecodeRuneInString(s)
	if server == "" || !strings.HasPrefix(s, server) {
		s = string(unicode.ToUpper(r)) + s[size:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// facts are the remaining fields of an event, in a stable order.
func facts(e audit.Event) []FactView {
	out := []FactView{}
	add := func(name, value string) {
		if value != "" {
			out = append(out, FactView{name, value})
		}
	}
	kind, _, _ := strings.Cut(e.Asker, ": ")
	add("asked by", asker(e.Asker)+map[string]string{"window": ", in the window", "terminal": ", in the terminal"}[kind])
	add("reason", sentence(e.Reason, e.Server))
	add("arguments", e.Args)
	if e.Args == "" && e.ArgsDigest != "" && (e.Kind == audit.CallIntent || e.Kind == audit.CallOutcome) {
		add("arguments", "withheld")
	}
	add("digest", e.ArgsDigest)
	if e.ResultDigest != "" {
		add("result", fmt.Sprintf("%d bytes, digest %s", e.ResultBytes, e.ResultDigest))
	}
	for _, f := range e.Findings {
		add(f.Rule, f.Text)
	}
	names := make([]string, 0, len(e.Facts))
	for n := range e.Facts {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		add(n, e.Facts[n])
	}
	if len(e.Cut) > 0 {
		b, _ := json.Marshal(e.Cut)
		add("shortened", string(b))
	}
	return out
}

// kinds maps the log's kinds to those of the screen.
var kinds = map[audit.Kind]string{audit.CallIntent: "call", audit.CallOutcome: "call", audit.ConsentAnswer: "consent", audit.ServerStart: "server", audit.ServerStop: "server",
	audit.ServerRefused: "server", audit.ServerFound: "server", audit.ServerAdd: "server", audit.ServerInstall: "server", audit.ServerGrant: "server", audit.ServerAsked: "consent", audit.ServerSignIn: "server", audit.ServerSignOut: "server", audit.ServerRemove: "server", audit.PinApprove: "pin", audit.PinDrift: "pin",
	audit.FindingMade: "result", audit.SecretSet: "secret", audit.SecretRemove: "secret", audit.SecretUse: "secret", audit.LogOpen: "log", audit.LogRecovered: "log", audit.ModelSet: "model", audit.ModelRemove: "model", audit.ModelAsk: "model", audit.SandboxReport: "sandbox", audit.NetConnection: "net"}

func eventView(e audit.Entry) EventView {
	return EventView{Seq: e.Seq, Time: stamp(e.Time), Kind: kinds[e.Kind], Title: title(e), Server: e.Server, Tool: e.Tool, Effect: effectOf(e), Decision: string(e.Decision),
		Rule: e.Rule, TookMillis: e.Took.Milliseconds(), CallID: e.CallID}
}

func effectOf(e audit.Entry) string {
	if e.Tool == "" {
		return ""
	}
	return e.Effect
}

// title is what an event is called in a list.
func title(e audit.Entry) string {
	name := e.Server
	if e.Tool != "" {
		name += "." + e.Tool
	}
	switch e.Kind {
	case audit.CallIntent:
		return name + ": about to run"
	case audit.ConsentAnswer:
		return name + ": you were asked"
	case audit.ServerStart:
		if e.Reason == server.Connecting {
			return "Connecting to " + e.Server
		}
		return e.Server + " started"
	case audit.ServerStop:
		return e.Server + " " + orElse(e.Reason, "stopped")
	case audit.ServerRefused:
		return e.Server + " did not start: " + strings.TrimPrefix(e.Reason, e.Server+": ")
	case audit.ServerInstall:
		if e.Decision == audit.Failed {
			return e.Server + " could not be installed: " + e.Reason
		}
		return e.Server + " was installed: " + e.Reason
	case audit.ServerAdd:
		return e.Server + " was added"
	case audit.ServerGrant:
		return e.Server + " is granted something else: " + e.Reason
	case audit.ServerAsked:
		return e.Server + " asked you " + e.Reason
	case audit.ServerSignIn:
		if e.Decision == audit.Failed {
			return "You did not sign in to " + e.Server + ": " + e.Reason
		}
		return "You signed in to " + e.Server
	case audit.ServerSignOut:
		return "You signed out of " + e.Server
	case audit.ServerRemove:
		return e.Server + " was removed"
	case audit.PinApprove:
		return e.Server + " was approved"
	case audit.PinDrift:
		return e.Server + " changed since it was approved"
	case audit.FindingMade:
		return e.Server + ": " + e.Reason
	case audit.NetConnection:
		if e.Decision == audit.Denied {
			return e.Server + " was refused a connection: " + e.Reason
		}
		return e.Server + " reached " + e.Reason
	case audit.SecretSet:
		return "Secret set for " + e.Server
	case audit.SecretRemove:
		return "Secret removed from " + e.Server
	case audit.SecretUse:
		return "Secret given to " + e.Server
	case audit.ModelSet:
		if strings.HasPrefix(e.Reason, "local only ") { // no name has a space
			return "Models: " + e.Reason
		}
		return "Model " + e.Reason + " was set"
	case audit.ModelRemove:
		return "Model " + e.Reason + " was removed"
	case audit.ModelAsk:
		return "Asked model " + e.Reason
	case audit.LogOpen:
		return "Cordon started"
	case audit.LogRecovered:
		return "An unfinished record was removed from the log"
	}
	return orElse(name, string(e.Kind))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
