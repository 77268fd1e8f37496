package policy

import (
	"strings"
	"testing"

	"cordon/host/label"
	"cordon/host/tool"
)

func engine(t testing.TB, policies string) *Engine {
	t.Helper()
	e, err := New([]byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// quiet is a request that nothing objects to, with the given effect.
func quiet(effect tool.Effect) Request {
	return Request{
		User: "anna",
		Call: tool.Call{Kind: tool.CallTool, Tool: tool.Tool{ID: tool.ID{Server: "detections", Name: "search"}, Effect: effect},
			Args: []byte(`{"q":"lsass"}`), By: tool.Asker{Kind: "chat", Conversation: "c"}, Wrote: tool.OriginModel},
		Pinned: true,
		Values: []label.Value{{Pointer: "/q", Kind: "string", Text: "lsass", Origin: tool.OriginModel}},
		Tier:   "strong",
	}
}

func with(r Request, edit func(*Request)) Request {
	edit(&r)
	return r
}

func outside(pointer string) func(*Request) {
	return func(r *Request) {
		r.Values = []label.Value{{Pointer: pointer, Kind: "string", Text: "x", Origin: tool.OriginOutside}}
	}
}

func scoped(s tool.Scope) func(*Request) { return func(r *Request) { r.Call.Scope = s } }

func finding(rule string, s tool.Severity) func(*Request) {
	return func(r *Request) { r.Findings = []tool.Finding{{Rule: rule, Severity: s}} }
}

func ids(rules []Rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.ID)
	}
	return strings.Join(all, " ")
}

func TestEffectsDecide(t *testing.T) {
	e := engine(t, "")
	for effect, want := range map[tool.Effect]Decision{
		tool.Read:         {Action: Allow, Rule: "read.reviewed"},
		tool.Costly:       {Action: Ask, Level: 1, Rule: "consent.costly"},
		tool.Disclose:     {Action: Ask, Level: 1, Rule: "consent.disclose"},
		tool.Write:        {Action: Ask, Level: 1, Rule: "consent.write"},
		tool.Unknown:      {Action: Ask, Level: 1, Rule: "consent.unknown"},
		tool.High:         {Action: Ask, Level: 2, Rule: "consent.high"},
		tool.Irreversible: {Action: Ask, Level: 2, Rule: "consent.irreversible"},
		tool.Effect(99):   {Action: Ask, Level: 1, Rule: "consent.unknown"},
	} {
		got := e.Decide(quiet(effect))
		if got.Action != want.Action || got.Level != want.Level || got.Rule != want.Rule || got.Reason == "" || got.Version != e.Version() {
			t.Errorf("%v: got %+v, want %+v", effect, got, want)
		}
	}
}

// Each factor alone changes the decision.
func TestEveryFactorCounts(t *testing.T) {
	e := engine(t, "")
	for name, c := range map[string]struct {
		effect tool.Effect
		edit   func(*Request)
		action Action
		level  int
		rule   string
	}{
		"not pinned":                             {tool.Read, func(r *Request) { r.Pinned = false }, Deny, 0, "pin.required"},
		"secret in a read":                       {tool.Read, finding("secret.own", tool.Block), Deny, 0, "secret.argument"},
		"secret in a write":                      {tool.Write, finding("secret.own", tool.Block), Deny, 0, "secret.argument"},
		"blocking finding":                       {tool.Read, finding("hidden.tag", tool.Block), Deny, 0, "inspect.blocked"},
		"degraded read":                          {tool.Read, func(r *Request) { r.Degraded = []string{"secret: crashed"} }, Ask, 1, "inspect.degraded"},
		"hidden characters in a read":            {tool.Read, finding("hidden.bidi", tool.Warn), Allow, 0, "read.reviewed"},
		"hidden characters in a costly read":     {tool.Costly, finding("hidden.bidi", tool.Warn), Ask, 1, "consent.costly"},
		"outside text picks what to read":        {tool.Read, outside("/path"), Allow, 0, "read.reviewed"},
		"outside text picks what to write":       {tool.Write, outside("/path"), Ask, 2, "flow.destination"},
		"outside text picks whom to send to":     {tool.Disclose, outside("/to/0"), Ask, 2, "flow.destination"},
		"outside text picks the host":            {tool.High, outside("/hostName"), Ask, 2, "flow.destination"},
		"outside text picks for an unknown tool": {tool.Unknown, outside("/url"), Ask, 2, "flow.destination"},
		"outside text in the content":            {tool.Write, outside("/content"), Ask, 1, "consent.write"},
		"weak confinement, read":                 {tool.Read, func(r *Request) { r.Tier = "weakened" }, Allow, 0, "read.reviewed"},
		"weak confinement, costly":               {tool.Costly, func(r *Request) { r.Tier = "weakened" }, Ask, 1, "consent.costly"},
		"may only read, read":                    {tool.Read, scoped(tool.Scope{ReadOnly: true}), Allow, 0, "read.reviewed"},
		"may only read, costly":                  {tool.Costly, scoped(tool.Scope{ReadOnly: true}), Ask, 1, "consent.costly"},
		"may only read, disclose":                {tool.Disclose, scoped(tool.Scope{ReadOnly: true}), Deny, 0, "scope.read"},
		"may only read, write":                   {tool.Write, scoped(tool.Scope{ReadOnly: true}), Deny, 0, "scope.read"},
		"may only read, unknown":                 {tool.Unknown, scoped(tool.Scope{ReadOnly: true}), Deny, 0, "scope.read"},
		"consent 3 lifts no scope":               {tool.Write, func(r *Request) { scoped(tool.Scope{ReadOnly: true})(r); r.Consent = 3 }, Deny, 0, "scope.read"},
		"asks before every call, read":           {tool.Read, scoped(tool.Scope{AskAll: true}), Ask, 1, "scope.ask"},
		"asks before every call, write":          {tool.Write, scoped(tool.Scope{AskAll: true}), Ask, 1, "consent.write"},
		"asks before every call, high":           {tool.High, scoped(tool.Scope{AskAll: true}), Ask, 2, "consent.high"},
		"both scopes, read":                      {tool.Read, scoped(tool.Scope{ReadOnly: true, AskAll: true}), Ask, 1, "scope.ask"},
		"both scopes, write":                     {tool.Write, scoped(tool.Scope{ReadOnly: true, AskAll: true}), Deny, 0, "scope.read"},
		"consent 1 given, write":                 {tool.Write, func(r *Request) { r.Consent = 1 }, Allow, 0, "call.reviewed"},
		"consent 1 given, high":                  {tool.High, func(r *Request) { r.Consent = 1 }, Ask, 2, "consent.high"},
		"consent 2 given, high":                  {tool.High, func(r *Request) { r.Consent = 2 }, Allow, 0, "call.reviewed"},
		"consent 1 given, outside destination":   {tool.Write, func(r *Request) { outside("/url")(r); r.Consent = 1 }, Ask, 2, "flow.destination"},
		"consent 3 lifts no secret":              {tool.Write, func(r *Request) { finding("secret.own", tool.Block)(r); r.Consent = 3 }, Deny, 0, "secret.argument"},
		"consent 3 lifts no pin":                 {tool.Read, func(r *Request) { r.Pinned, r.Consent = false, 3 }, Deny, 0, "pin.required"},
		"consent out of range":                   {tool.Read, func(r *Request) { r.Consent = 4 }, Deny, 0, "policy.request"},
		"negative consent":                       {tool.Read, func(r *Request) { r.Consent = -1 }, Deny, 0, "policy.request"},
		"no tool":                                {tool.Read, func(r *Request) { r.Call.Tool.ID = tool.ID{} }, Deny, 0, "policy.request"},
		"no user":                                {tool.Read, func(r *Request) { r.User = "" }, Deny, 0, "policy.request"},
		"no labels":                              {tool.Read, func(r *Request) { r.Values = nil }, Deny, 0, "policy.request"},
		"odd kind":                               {tool.Read, func(r *Request) { r.Call.Kind = "sampling" }, Deny, 0, "policy.request"},
		"resource":                               {tool.Read, func(r *Request) { r.Call.Kind = tool.ReadResource }, Allow, 0, "read.reviewed"},
		"prompt":                                 {tool.Read, func(r *Request) { r.Call.Kind = tool.GetPrompt }, Allow, 0, "read.reviewed"},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.Decide(with(quiet(c.effect), c.edit))
			if got.Action != c.action || got.Level != c.level || got.Rule != c.rule {
				t.Errorf("got %v %d %s, want %v %d %s", got.Action, got.Level, got.Rule, c.action, c.level, c.rule)
			}
		})
	}
}

func TestOtherRulesAreNamed(t *testing.T) {
	e := engine(t, "")
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"quoted in a write":      {with(quiet(tool.Write), outside("/content")), "flow.quoted"},
		"destination of a write": {with(quiet(tool.Write), outside("/url")), "consent.write flow.quoted"},
		"hidden in a write":      {with(quiet(tool.Write), finding("hidden.zerowidth", tool.Warn)), "inspect.hidden"},
		"space in a write":       {with(quiet(tool.Write), finding("hidden.space", tool.Info)), ""},
		"weak and degraded":      {with(quiet(tool.Write), func(r *Request) { r.Tier = ""; r.Degraded = []string{"x"} }), "inspect.degraded tier.weak"},
		"refused tier":           {with(quiet(tool.Disclose), func(r *Request) { r.Tier = "refused" }), "tier.weak"},
		"remote":                 {with(quiet(tool.Write), func(r *Request) { r.Tier = "remote" }), ""},
		"secret":                 {with(quiet(tool.Write), finding("secret.own", tool.Block)), "inspect.blocked consent.write"},
	} {
		if got := ids(e.Decide(c.r).Also); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestZeroValuesDeny(t *testing.T) {
	if got := engine(t, "").Decide(Request{}); got.Action != Deny || got.Rule == "" {
		t.Errorf("zero request: got %+v, want deny", got)
	}
	if (Decision{}).Action != Deny {
		t.Error("zero decision does not deny")
	}
}

func TestUserPoliciesAddToTheDefault(t *testing.T) {
	e := engine(t, `
		@id("mine.no-detections") @reason("Not today.")
		forbid (principal, action, resource in Server::"detections") when { resource.effect == "write" };
		@id("mine.two") @consent("3") @reason("A second person approves.")
		forbid (principal, action, resource) when { resource.effect == "high" } unless { context.consent >= 3 };
		@id("mine.open") @reason("Everything.")
		permit (principal, action, resource);`)
	for effect, want := range map[tool.Effect]Decision{
		tool.Read:  {Action: Allow, Rule: "read.reviewed"},
		tool.Write: {Action: Deny, Rule: "mine.no-detections"},
		tool.High:  {Action: Ask, Level: 3, Rule: "mine.two"},
	} {
		if got := e.Decide(quiet(effect)); got.Action != want.Action || got.Level != want.Level || got.Rule != want.Rule {
			t.Errorf("%v: got %+v, want %+v", effect, got, want)
		}
	}
}

func TestPermitAllLiftsNothing(t *testing.T) {
	e := engine(t, `@id("mine.open") @reason("Everything.") permit (principal, action, resource);`)
	for name, r := range map[string]Request{
		"secret":     with(quiet(tool.Read), finding("secret.own", tool.Block)),
		"not pinned": with(quiet(tool.Read), func(r *Request) { r.Pinned = false }),
		"write":      quiet(tool.Write),
	} {
		if got := e.Decide(r); got.Action == Allow {
			t.Errorf("%s: got %+v, want it refused or asked", name, got)
		}
	}
	if got := e.Decide(quiet(tool.Read)); got.Action != Allow {
		t.Errorf("read: got %+v, want it allowed", got)
	}
}

// Cedar skips a forbid that fails to evaluate. We deny.
func TestAnErroringRuleDenies(t *testing.T) {
	for name, text := range map[string]string{
		"forbid": `@id("mine.bad") @reason("x") forbid (principal, action, resource) when { context.session.results + 9223372036854775807 < 0 };`,
		"permit": `@id("mine.bad") @reason("x") permit (principal, action, resource) when { context.session.results + 9223372036854775807 < 0 };`,
		"later":  `@id("mine.bad") @reason("x") forbid (principal, action, resource) when { resource.effect == "write" && context.consent * 9223372036854775807 < 0 - 5 };`,
	} {
		e := engine(t, text)
		r := with(quiet(tool.Write), func(r *Request) { r.Session.Results = 1; r.Consent = 0 })
		if name == "later" {
			r.Consent = 2
		}
		got := e.Decide(r)
		if got.Action != Deny || got.Rule != "policy.error" || !strings.Contains(got.Reason, "mine.bad") {
			t.Errorf("%s: got %+v, want deny by policy.error", name, got)
		}
	}
	e := engine(t, `@id("mine.good") @reason("x") forbid (principal, action, resource) when { context.session.results + 1 < 0 };`)
	if got := e.Decide(quiet(tool.Read)); got.Action != Allow {
		t.Errorf("a rule that evaluates: got %+v, want allow", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nonsense":           {`permit everything`, "read policies"},
		"no id":              {`@reason("x") permit (principal, action, resource);`, "needs @id"},
		"no reason":          {`@id("a") permit (principal, action, resource);`, "needs @reason"},
		"odd id":             {`@id("A b") @reason("x") permit (principal, action, resource);`, "needs @id"},
		"reserved id":        {`@id("policy.error") @reason("x") permit (principal, action, resource);`, "reserved"},
		"id of a default":    {`@id("secret.argument") @reason("x") permit (principal, action, resource);`, "another one has this id"},
		"same id twice":      {strings.Repeat(`@id("a") @reason("x") permit (principal, action, resource);`, 2), "another one has this id"},
		"consent 4":          {`@id("a") @consent("4") @reason("x") forbid (principal, action, resource);`, "@consent must be"},
		"consent 0":          {`@id("a") @consent("0") @reason("x") forbid (principal, action, resource);`, "@consent must be"},
		"unknown attribute":  {`@id("a") @reason("x") forbid (principal, action, resource) when { context.nothere };`, "policy a"},
		"unknown entity":     {`@id("a") @reason("x") forbid (principal == Admin::"x", action, resource);`, "policy a"},
		"unknown action":     {`@id("a") @reason("x") forbid (principal, action == Action::"call", resource);`, "policy a"},
		"wrong type":         {`@id("a") @reason("x") forbid (principal, action, resource) when { context.consent == "1" };`, "policy a"},
		"condition no bool":  {`@id("a") @reason("x") forbid (principal, action, resource) when { context.consent };`, "policy a"},
		"missing principals": {`@id("a") @reason("x") forbid (principal, action, resource) when { principal.name == "x" };`, "policy a"},
		"too long":           {strings.Repeat("// padding\n", 30_000), "at most"},
		"too many":           {many(501), "at most 500"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New([]byte(c.text))
			if err == nil || e != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`@id("gen.` + strings.Repeat("x", i%5) + string(rune('a'+i%26)) + "-" + strings.Repeat("y", i/130) + `") @reason("x") forbid (principal, action, resource) when { resource.name == "drop" };` + "\n")
	}
	return b.String()
}

func TestTheDefaultTextAddsNothing(t *testing.T) {
	plain, again := engine(t, ""), engine(t, string(Default()))
	if plain.Version() != again.Version() || len(plain.Rules()) != len(again.Rules()) {
		t.Errorf("got versions %s and %s, want the same", plain.Version(), again.Version())
	}
	other := engine(t, `@id("a") @reason("x") permit (principal, action, resource);`)
	if other.Version() == plain.Version() || len(other.Version()) != 12 {
		t.Errorf("got version %s for other rules", other.Version())
	}
	copied := engine(t, string(Default())+`@id("a") @reason("x") permit (principal, action, resource);`)
	if len(copied.Rules()) != len(other.Rules()) {
		t.Errorf("got %d rules, want %d", len(copied.Rules()), len(other.Rules()))
	}
}

// What @consent claims is what the rule does.
func TestRulesSayWhatTheyDo(t *testing.T) {
	e := engine(t, "")
	seen := map[string]bool{}
	for _, effect := range []tool.Effect{tool.Unknown, tool.Read, tool.Costly, tool.Disclose, tool.Write, tool.High, tool.Irreversible} {
		for _, edit := range []func(*Request){func(*Request) {}, outside("/url"), finding("hidden.bidi", tool.Warn), finding("secret.own", tool.Block),
			func(r *Request) { r.Degraded = []string{"x"} }, func(r *Request) { r.Tier = "weakened" }, func(r *Request) { r.Pinned = false },
			scoped(tool.Scope{ReadOnly: true}), scoped(tool.Scope{AskAll: true})} {
			x := e.Explain(with(quiet(effect), edit))
			for level, rules := range x.Objects {
				for _, r := range rules {
					seen[r.ID] = true
					if r.Consent > 0 && level >= r.Consent {
						t.Errorf("%s objects at consent %d, but says %d lifts it", r.ID, level, r.Consent)
					}
					if r.Consent == 0 && len(x.Objects) != 4 {
						t.Errorf("%s says nothing lifts it, but the call was allowed at %d", r.ID, len(x.Objects))
					}
				}
			}
		}
	}
	for _, r := range e.Rules() {
		if !r.BuiltIn || r.Reason == "" || r.Then == "" {
			t.Errorf("got %+v, want a built-in rule in plain words", r)
		}
		if !r.Permit && !seen[r.ID] {
			t.Errorf("%s never objected", r.ID)
		}
	}
}

func TestDestination(t *testing.T) {
	for pointer, want := range map[string]bool{
		"/url": true, "/targetUrl": true, "/to/0": true, "/to/0/address": true, "/recipients/3": true, "/webhook_url": true, "/hostname": true, "/path": true,
		"/command": true, "/Path": true, "/host-name": true, "/paths/0": true, "/body/destination/value": true, "": true, "/device_id": true, "/addresses/1": true, "/address": true, "/process": true, "/processes/0": true, "/user_id": true,
		"/content": false, "/q": false, "/query": false, "/title": false, "/tomorrow": false, "/description": false, "/reason": false, "/pathology": false, "/limit": false, "/alert_id": false,
	} {
		if got := Destination(pointer); got != want {
			t.Errorf("%q: got %v, want %v", pointer, got, want)
		}
	}
}

func TestExplainQuotesNoValues(t *testing.T) {
	r := with(quiet(tool.Write), func(r *Request) {
		outside("/url")(r)
		r.Values[0].Text = "hunter2"
	})
	x := engine(t, "").Explain(r)
	if x.Decision.Rule != "flow.destination" || len(x.Objects) != 2 || len(x.Facts) == 0 {
		t.Errorf("got %+v", x)
	}
	for _, f := range x.Facts {
		if strings.Contains(f.Value, "hunter2") {
			t.Errorf("got fact %+v with a value in it", f)
		}
	}
}

func benchmark(b *testing.B, policies string, effect tool.Effect) {
	e, r := engine(b, policies), with(quiet(effect), outside("/url"))
	b.ReportAllocs()
	for b.Loop() {
		e.Decide(r)
	}
}

func BenchmarkAllow(b *testing.B)    { benchmark(b, "", tool.Read) }
func BenchmarkAsk1(b *testing.B)     { benchmark(b, "", tool.Costly) }
func BenchmarkAsk2(b *testing.B)     { benchmark(b, "", tool.High) }
func BenchmarkAsk2Of50(b *testing.B) { benchmark(b, many(50), tool.High) }

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		engine(b, "")
	}
}
