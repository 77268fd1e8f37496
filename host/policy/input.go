package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"cordon/host/tool"
)

// problem says why a request cannot be decided at all, or "".
func (r Request) problem() string {
	switch {
	case r.Call.Tool.ID.Server == "" || r.Call.Tool.ID.Name == "":
		return "The call names no tool."
	case !slices.Contains([]tool.Kind{tool.CallTool, tool.ReadResource, tool.GetPrompt, tool.FetchTask}, r.Call.Kind):
		return "The call is of no kind that Cordon knows."
	case r.User == "":
		return "Nobody is named on whose behalf the call is made."
	case r.Consent < 0 || r.Consent > maxLevel:
		return "The level of consent is out of range."
	case len(r.Values) == 0 && !emptyArgs(r.Call.Args):
		return "The origin of the arguments is not known."
	}
	return ""
}

func emptyArgs(args []byte) bool { return len(args) == 0 || string(args) == "{}" }

// input turns a request into what Cedar evaluates. Facts are derived here, so that rules never see argument values.
func input(r Request) (types.EntityMap, cedar.Request, types.RecordMap) {
	id := r.Call.Tool.ID
	user := types.NewEntityUID("User", types.String(r.User))
	server := types.NewEntityUID("Server", types.String(id.Server))
	target := types.NewEntityUID("Tool", types.String(id.String()))
	entities := types.EntityMap{
		user:   {UID: user},
		server: {UID: server},
		target: {UID: target, Parents: types.NewEntityUIDSet(server), Attributes: types.NewRecord(types.RecordMap{
			"server": types.String(id.Server), "name": types.String(id.Name), "effect": types.String(r.Call.Tool.Effect.String()),
		})},
	}
	f := factsOf(r)
	facts := types.RecordMap{
		"pinned": types.Boolean(r.Pinned), "tier": types.String(r.Tier), "asker": types.String(r.Call.By.Kind),
		"scope": types.NewRecord(types.RecordMap{"readOnly": types.Boolean(r.Call.Scope.ReadOnly), "askAll": types.Boolean(r.Call.Scope.AskAll)}),
		"wrote": types.String(r.Call.Wrote.String()),
		"session": types.NewRecord(types.RecordMap{"outside": types.Boolean(r.Session.ReadOutside), "forgotten": types.Boolean(r.Session.Forgotten),
			"results": types.Long(r.Session.Results), "servers": set(r.Session.Servers)}),
		"quoted": types.Boolean(f.quoted), "destination": types.Boolean(len(f.destinations) > 0), "destinations": set(f.destinations),
		"findings": set(f.findings), "secret": types.Boolean(f.secret), "blocked": types.Boolean(f.blocked), "hidden": types.Boolean(f.hidden),
		"degraded": types.Boolean(len(r.Degraded) > 0),
	}
	req := cedar.Request{Principal: user, Action: types.NewEntityUID("Action", types.String(r.Call.Kind)), Resource: target}
	return entities, req, facts
}

func set(words []string) types.Set {
	values := make([]types.Value, len(words))
	for i, w := range words {
		values[i] = types.String(w)
	}
	return types.NewSet(values...)
}

// facts are what rules may know about values and findings.
type facts struct {
	quoted, secret, blocked, hidden bool
	destinations, findings          []string
}

// factsOf derives what the rules look at. Outside text chooses a destination only when somebody else than the user put it
// there: a person who types or pastes what a result named has chosen it, and the dialog shows where it is from.
func factsOf(r Request) facts {
	var f facts
	for _, v := range r.Values {
		if v.Origin != tool.OriginOutside {
			continue
		}
		f.quoted = true
		if r.Call.Wrote != tool.OriginUser && Destination(v.Pointer) {
			f.destinations = append(f.destinations, v.Pointer)
		}
	}
	for _, x := range r.Findings {
		f.findings = append(f.findings, x.Rule)
		f.secret = f.secret || x.Rule == "secret.own"
		f.blocked = f.blocked || x.Severity >= tool.Block
		f.hidden = f.hidden || strings.HasPrefix(x.Rule, "hidden.") && x.Severity >= tool.Warn
	}
	return f
}

// Destination reports whether an argument says where data goes or what is acted on, judged by the names in its JSON
// pointer: url, to, recipient, host, path, command and their like, also as part of a name such as targetUrl, at any
// level, because {"to": {"address": …}} and {"to": ["…"]} mean the same. The whole arguments ("") are one. Plain record numbers such as alert_id are not: they always come from
// an earlier result, and the consent shows them.
func Destination(pointer string) bool {
	if pointer == "" {
		return true
	}
	for segment := range strings.SplitSeq(pointer[1:], "/") {
		if slices.ContainsFunc(words(segment), destinationWord) {
			return true
		}
	}
	return false
}

func destinationWord(w string) bool {
	switch strings.TrimSuffix(w, "s") {
	case "url", "uri", "href", "link", "endpoint", "webhook", "callback", "to", "cc", "bcc", "recipient", "receiver", "email", "mail", "mailbox", "addres", "addresse", "host", "hostname", "domain", "fqdn", "ip", "ipv4", "ipv6", "cidr", "server",
		"device", "machine", "agent", "target", "destination",
		"dest", "dst", "path", "file", "filename", "filepath", "dir", "directory", "folder", "source", "command", "cmd", "script", "shell", "exec",
		"executable", "program", "argv", "code", "sql", "statement", "channel", "room", "user", "username", "account", "principal", "bucket",
		"repo", "repository", "branch", "database", "tenant", "proxy", "proces", "processe", "pid", "registry":
		return true
	}
	return false
}

// words splits snake_case, kebab-case and camelCase into lower-case words.
func words(name string) []string {
	var b strings.Builder
	before := ' '
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			b.WriteByte(' ')
		case unicode.IsUpper(r) && unicode.IsLower(before):
			b.WriteByte(' ')
			fallthrough
		default:
			b.WriteRune(unicode.ToLower(r))
		}
		before = r
	}
	return strings.Fields(b.String())
}

// Fact is one thing a decision rested on, in words.
type Fact struct{ Name, Value string }

// Explanation is a decision with all that led to it, for "try a call against the rules".
type Explanation struct {
	Decision Decision
	Facts    []Fact
	Objects  [][]Rule // rules that object, by level of consent from the one already given; ends where none does
}

// Explain decides like Decide and shows the work. It quotes no argument values.
func (e *Engine) Explain(r Request) Explanation {
	d, passes := e.decide(r)
	f := factsOf(r)
	return Explanation{Decision: d, Objects: passes, Facts: []Fact{
		{"tool", r.Call.Tool.ID.String()},
		{"effect", r.Call.Tool.Effect.String()},
		{"reviewed and unchanged", yes(r.Pinned)},
		{"confinement", r.Tier},
		{"arguments written by", r.Call.Wrote.String()},
		{"may only read", yes(r.Call.Scope.ReadOnly)},
		{"asks before every call", yes(r.Call.Scope.AskAll)},
		{"outside text in arguments", yes(f.quoted)},
		{"outside text decides", strings.Join(f.destinations, ", ")},
		{"findings", strings.Join(f.findings, ", ")},
		{"inspections that failed", strings.Join(r.Degraded, ", ")},
		{"session has read outside text", yes(r.Session.ReadOutside)},
		{"consent already given", fmt.Sprint(r.Consent)},
	}}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
