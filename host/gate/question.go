package gate

import (
	"errors"
	"sync"

	"cordon/host/label"
	"cordon/host/policy"
	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Question is what a screen shows beside a consent prompt. Its slices must not be changed.
type Question struct {
	Call     tool.Call
	Decision policy.Decision
	Findings []tool.Finding
	Degraded []string
	Values   []label.Value
	Target   string // what level 2 makes a person type
}

// Question returns what is asked under a prompt's ID, while it is open or waits.
func (g *Gate) Question(promptID string) (Question, bool) { return g.pending.get(promptID) }

// pending holds the open questions by prompt ID. Safe for concurrent use.
type pending struct {
	mu sync.Mutex
	by map[string]Question // guarded by mu
}

// add remembers q until the returned function is called.
func (p *pending) add(id string, q Question) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[string]Question{}
	}
	p.by[id] = q
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.by, id)
	}
}

func (p *pending) get(id string) (Question, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, ok := p.by[id]
	return q, ok
}

// targetKeys are the arguments that usually name what a call acts on, the most telling first.
var targetKeys = []string{"host", "hostname", "device", "device_id", "endpoint", "machine", "user", "username", "account", "mailbox", "email", "recipient",
	"path", "file", "destination", "url", "domain", "ip", "address", "index", "rule", "name", "id"}

// Target names what a call acts on, in words short enough to type: the first telling argument that the tool itself
// declares, or the tool. What a tool does not know it does not act on: an extra "host" must not stand for the path.
func Target(c tool.Call) string {
	var args map[string]any
	var schema struct {
		Properties map[string]any `json:"properties"`
	}
	if json.Unmarshal(c.Args, &args) == nil && json.Unmarshal(c.Tool.InputSchema, &schema) == nil {
		for _, k := range targetKeys {
			if _, declared := schema.Properties[k]; !declared {
				continue
			}
			if s, ok := args[k].(string); ok && s != "" && len(s) <= 80 && printable(s) {
				return s
			}
		}
	}
	return c.Tool.ID.Name
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x21 || r > 0x7e {
			return false
		}
	}
	return true
}

// schemaCache keeps compiled input schemas by definition. Safe for concurrent use.
type schemaCache struct {
	mu sync.Mutex
	by map[tool.Digest]*tool.Validator // guarded by mu
}

const maxSchemas = 2000

// check reports why args do not fit t's schema.
func (s *schemaCache) check(t tool.Tool, args []byte) error { return s.fits(t.InputSchema, args) }

// errUnchecked means that a structured result is more than is checked, or no object.
var errUnchecked = errors.New("it is too large, no object, or holds a number that cannot be kept exactly")

// checkOutput reports why a structured result does not fit the schema that t has for it. Without one it fits.
func (s *schemaCache) checkOutput(t tool.Tool, structured []byte) error {
	var def struct {
		Output jsontext.Value `json:"outputSchema"`
	}
	if err := json.Unmarshal(t.Definition, &def); err != nil || def.Output == nil {
		return nil
	}
	if _, err := tool.CanonicalObject(structured, tool.DefaultLimits()); err != nil {
		return errUnchecked
	}
	return s.fits(def.Output, structured)
}

// fits reports why an object does not fit a schema.
func (s *schemaCache) fits(schema, object []byte) error {
	key := tool.Sum(schema)
	s.mu.Lock()
	v := s.by[key]
	s.mu.Unlock()
	if v == nil {
		var err error
		if v, err = tool.NewValidator(schema); err != nil {
			return err
		}
		s.mu.Lock()
		if s.by == nil || len(s.by) >= maxSchemas {
			s.by = map[tool.Digest]*tool.Validator{}
		}
		s.by[key] = v
		s.mu.Unlock()
	}
	return v.Check(object)
}
