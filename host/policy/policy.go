// Package policy decides about a call: allow, ask with a level of consent, or deny, and says by which rule. Rules are
// Cedar policies. Deciding is pure; everything it needs is in the Request.
package policy

import (
	"bytes"
	"cmp"
	_ "embed" // for the default set and the schema
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"cordon/host/label"
	"cordon/host/tool"
)

//go:embed default.cedar
var defaultText string

//go:embed schema.cedarschema
var schemaText string

// Bounds of a user's policy text.
const (
	maxPolicyBytes = 256 << 10
	maxPolicies    = 500
)

// Highest level of consent there is.
const maxLevel = 3

// Action says what happens to a call. The zero value is Deny.
type Action int

// The actions.
const (
	Deny Action = iota
	Ask
	Allow
)

// String returns deny, ask or allow.
func (a Action) String() string {
	switch a {
	case Ask:
		return "ask"
	case Allow:
		return "allow"
	}
	return "deny"
}

// Rule is one policy as the settings screen lists it.
type Rule struct {
	ID      string // "consent.write"
	Reason  string // one plain sentence
	Then    string // what it leads to, in words: "ask: click"
	Consent int    // level that lifts it; 0 if none does or it is a permit
	Permit  bool   // false: forbid
	BuiltIn bool   // part of the default set
}

// Request is all that a decision depends on. The zero Request is denied.
type Request struct {
	User     string
	Call     tool.Call
	Pinned   bool          // pin.Status is Pinned
	Values   []label.Value // of the arguments
	Session  label.Session
	Findings []tool.Finding // about the arguments
	Degraded []string       // inspections that failed
	Tier     string         // confinement as measured: strong, medium, weakened, refused, remote
	Consent  int            // level already given, by a grant or an answer; 0 to 3
}

// Decision is the outcome. The zero value denies.
type Decision struct {
	Action  Action
	Level   int    // consent to ask for: 1 click, 2 typed name, 3 second person; 0 unless Ask
	Rule    string // that decided
	Reason  string // one plain sentence
	Also    []Rule // other rules that object as things stand
	Version string // of the rules
}

// Engine holds compiled rules. It never changes and is safe for concurrent use.
type Engine struct {
	set     *cedar.PolicySet
	rules   []Rule                 // in order of the text, defaults first
	byID    map[cedar.PolicyID]int // index into rules
	version string
}

// Default returns the built-in rules as Cedar text.
func Default() []byte { return []byte(defaultText) }

// New compiles a user's policies on top of the default set, which always applies: nil, or the default text itself,
// adds nothing. Each policy needs an @id of its own and a @reason; @consent is 1 to 3. Every policy is checked
// against the schema of requests. An error names the policy and leaves no engine.
func New(policies []byte) (*Engine, error) {
	e := &Engine{set: cedar.NewPolicySet(), byID: map[cedar.PolicyID]int{}}
	check, err := checker()
	if err != nil {
		return nil, err
	}
	if err := e.add("default.cedar", []byte(defaultText), true, check); err != nil {
		return nil, err
	}
	if bytes.Equal(bytes.TrimSpace(policies), []byte(strings.TrimSpace(defaultText))) {
		policies = nil
	}
	if len(policies) > maxPolicyBytes {
		return nil, fmt.Errorf("policies are %d bytes long, at most %d are allowed", len(policies), maxPolicyBytes)
	}
	if err := e.add("policies", policies, false, check); err != nil {
		return nil, err
	}
	sum := tool.Sum([]byte(defaultText), policies)
	e.version = sum.String()[:12]
	return e, nil
}

func checker() (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(schemaText)); err != nil {
		return nil, fmt.Errorf("policy schema: %w", err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy schema: %w", err)
	}
	return validate.New(resolved), nil
}

func (e *Engine) add(file string, text []byte, builtIn bool, check *validate.Validator) error {
	list, err := cedar.NewPolicyListFromBytes(file, text)
	if err != nil {
		return fmt.Errorf("read policies: %w", err)
	}
	if len(list) > maxPolicies {
		return fmt.Errorf("%d policies, at most %d are allowed", len(list), maxPolicies)
	}
	for _, p := range list {
		r, err := ruleOf(p)
		if err != nil {
			return fmt.Errorf("policy in line %d: %w", p.Position().Line, err)
		}
		r.BuiltIn = builtIn
		id := cedar.PolicyID(r.ID)
		if at, taken := e.byID[id]; taken {
			if e.rules[at].BuiltIn && bytes.Equal(e.set.Get(id).MarshalCedar(), p.MarshalCedar()) {
				continue // a copy of the built-in rule
			}
			return fmt.Errorf("policy %s: another one has this id", r.ID)
		}
		if err := check.Policy(r.ID, (*ast.Policy)(p.AST())); err != nil {
			return fmt.Errorf("policy %s: %w", r.ID, err)
		}
		e.byID[id] = len(e.rules)
		e.rules = append(e.rules, r)
		e.set.Add(id, p)
	}
	return nil
}

func ruleOf(p *cedar.Policy) (Rule, error) {
	notes := p.Annotations()
	r := Rule{ID: string(notes["id"]), Reason: string(notes["reason"]), Then: string(notes["then"]), Permit: p.Effect() == cedar.Permit}
	if ok, _ := regexp.MatchString(`\A[a-z][a-z0-9._-]{0,63}\z`, r.ID); !ok {
		return r, errors.New(`needs @id("…") of letters, digits, dots and dashes`)
	}
	if r.ID == ruleNone || r.ID == ruleError || r.ID == ruleRequest {
		return r, fmt.Errorf("the id %s is reserved", r.ID)
	}
	if strings.TrimSpace(r.Reason) == "" || len(r.Reason) > 500 {
		return r, fmt.Errorf("%s needs @reason with a sentence of at most 500 bytes", r.ID)
	}
	if level, has := notes["consent"]; has {
		n, err := strconv.Atoi(string(level))
		if err != nil || n < 1 || n > maxLevel {
			return r, fmt.Errorf("%s: @consent must be 1, 2 or 3", r.ID)
		}
		r.Consent = n
	}
	if r.Then == "" {
		r.Then = [...]string{"deny", "ask: click", "ask: type the target's name", "ask: a second person"}[r.Consent]
		if r.Permit {
			r.Then = "allow, unless another rule objects"
		}
	}
	return r, nil
}

// Rules returns all rules in the order of their text, the built-in ones first. The caller may keep it.
func (e *Engine) Rules() []Rule { return slices.Clone(e.rules) }

// Version identifies the rules: 12 hex digits that change with any byte of them.
func (e *Engine) Version() string { return e.version }

// Decisions that no policy makes.
const (
	ruleNone    = "policy.default"
	ruleError   = "policy.error"
	ruleRequest = "policy.request"
)

// Decide evaluates the rules with the consent already given, then with each higher level: the lowest level that
// allows is what to ask for, and if none does the call is denied. A rule that cannot be evaluated denies, because
// Cedar itself would skip it.
func (e *Engine) Decide(r Request) Decision {
	d, _ := e.decide(r)
	return d
}

// decide also returns which rules object at each level, from r.Consent on.
func (e *Engine) decide(r Request) (Decision, [][]Rule) {
	d := Decision{Version: e.version}
	if problem := r.problem(); problem != "" {
		d.Rule, d.Reason = ruleRequest, problem
		return d, nil
	}
	entities, req, facts := input(r)
	var passes [][]Rule
	for level := r.Consent; level <= maxLevel; level++ {
		facts["consent"] = types.Long(level)
		req.Context = types.NewRecord(facts)
		answer, diag := cedar.Authorize(e.set, entities, req)
		if len(diag.Errors) > 0 {
			d.Rule, d.Reason = ruleError, fmt.Sprintf("Rule %s cannot be evaluated, so nothing is allowed.", e.name(diag.Errors[0].PolicyID))
			return d, passes
		}
		reasons := e.reasons(diag)
		if answer == cedar.Allow {
			return e.allowed(d, level, r.Consent, reasons, passes), passes
		}
		passes = append(passes, reasons)
	}
	d.decideBy(last(passes))
	d.Also = others(passes[0], d.Rule)
	return d, passes
}

func (e *Engine) allowed(d Decision, level, given int, permits []Rule, passes [][]Rule) Decision {
	if level == given {
		d.Action = Allow
		d.decideBy(permits)
		return d
	}
	d.Action, d.Level = Ask, level
	d.decideBy(last(passes)) // what still objects just below the level
	d.Also = others(passes[0], d.Rule)
	return d
}

func (d *Decision) decideBy(rules []Rule) {
	if len(rules) == 0 {
		d.Rule, d.Reason = ruleNone, "No rule permits this call."
		return
	}
	d.Rule, d.Reason = rules[0].ID, rules[0].Reason
}

func last(passes [][]Rule) []Rule { return passes[len(passes)-1] }

func others(rules []Rule, but string) []Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return r.ID == but })
}

// reasons returns the rules of a diagnostic in the order of the text.
func (e *Engine) reasons(diag cedar.Diagnostic) []Rule {
	at := make([]int, 0, len(diag.Reasons))
	for _, r := range diag.Reasons {
		at = append(at, e.byID[r.PolicyID])
	}
	slices.SortFunc(at, cmp.Compare[int])
	rules := make([]Rule, len(at))
	for i, k := range at {
		rules[i] = e.rules[k]
	}
	return rules
}

func (e *Engine) name(id cedar.PolicyID) string { return e.rules[e.byID[id]].ID }
