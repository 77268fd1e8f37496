package tool

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/google/jsonschema-go/jsonschema"
)

// maxCheckWork bounds schema nodes times argument values, so that a check takes about a second at the very worst.
const maxCheckWork = 5_000_000

// Validator checks arguments against one tool's input schema. It is safe for concurrent use.
type Validator struct {
	resolved *jsonschema.Resolved
	root     map[string]any // what was compiled; read only
	nodes    int
	skipped  []string
}

// NewValidator compiles an input schema that passes CheckSchema. It takes draft 2020-12 and draft-07; any other
// $schema is read as 2020-12. Patterns that need look-around or back-references are left out, see Skipped.
func NewValidator(schema []byte) (v *Validator, err error) {
	root, nodes, err := parseSchema(schema)
	if err != nil {
		return nil, err
	}
	v = &Validator{root: root, nodes: nodes}
	if s, _ := root["$schema"].(string); !supported(s) {
		delete(root, "$schema")
	}
	v.skipPatterns(root, "")
	slices.Sort(v.skipped)
	text, err := json.Marshal(root, json.Deterministic(true))
	if err != nil {
		return nil, errors.New("schema: cannot be encoded")
	}
	defer func() { // jsonschema-go panics on what it believes impossible
		if p := recover(); p != nil {
			v, err = nil, errors.New("schema: cannot be compiled")
		}
	}()
	var s jsonschema.Schema
	if err := s.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("schema: a keyword has the wrong type: %s", clip(err.Error()))
	}
	if v.resolved, err = s.Resolve(nil); err != nil {
		return nil, fmt.Errorf("schema: %s", clip(err.Error()))
	}
	return v, nil
}

func supported(uri string) bool {
	switch strings.TrimSuffix(uri, "#") {
	case "http://json-schema.org/draft-07/schema", "https://json-schema.org/draft-07/schema":
		return strings.HasSuffix(uri, "#")
	case "https://json-schema.org/draft/2020-12/schema":
		return !strings.HasSuffix(uri, "#")
	}
	return false
}

// skipPatterns removes every pattern that Go cannot compile, wherever it stands.
func (v *Validator) skipPatterns(node any, at string) {
	switch node := node.(type) {
	case map[string]any:
		if p, ok := node["pattern"].(string); ok {
			if _, err := regexp.Compile(p); err != nil {
				delete(node, "pattern")
				v.skipped = append(v.skipped, at+"/pattern")
			}
		}
		if m, ok := node["patternProperties"].(map[string]any); ok {
			for p := range m {
				if _, err := regexp.Compile(p); err != nil {
					delete(m, p)
					v.skipped = append(v.skipped, at+"/patternProperties")
				}
			}
		}
		for key, child := range node {
			v.skipPatterns(child, at+"/"+escapePointer(key))
		}
	case []any:
		for i, child := range node {
			v.skipPatterns(child, fmt.Sprintf("%s/%d", at, i))
		}
	}
}

// Skipped returns JSON pointers to the patterns that are not checked because Go's regular expressions lack
// look-around and back-references. The server still checks them. The caller must not change the slice.
func (v *Validator) Skipped() []string { return v.skipped }

// Check returns nil if args, a JSON object within DefaultLimits, satisfies the schema. Its error names the field and
// what the schema wants there, never the value.
func (v *Validator) Check(args []byte) (err error) {
	if args, err = CanonicalObject(args, DefaultLimits()); err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(args, &value); err != nil {
		return errors.New("arguments are not a JSON object")
	}
	if n := count(value); n*v.nodes > maxCheckWork {
		return fmt.Errorf("arguments with %d values are too many for a schema of %d nodes", n, v.nodes)
	}
	defer func() {
		if recover() != nil {
			err = errors.New("arguments could not be checked against the schema")
		}
	}()
	if v.resolved.Validate(value) == nil {
		return nil
	}
	// The library's error quotes values, so the field is looked for anew.
	e := explainer{root: v.root}
	if at, why := e.find(v.root, value, "", 0); why != "" {
		return fmt.Errorf("argument %s: %s", orRoot(at), why)
	}
	return errors.New("arguments do not match the tool's schema")
}

func count(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, c := range v {
			n += count(c)
		}
	case []any:
		for _, c := range v {
			n += count(c)
		}
	}
	return n
}

// explainer finds the first field that breaks a common keyword. It only words an error; it never accepts anything.
type explainer struct{ root map[string]any }

func (e explainer) find(schema any, v any, at string, depth int) (where, why string) {
	s, ok := schema.(map[string]any)
	if schema == false {
		return at, "is not allowed"
	}
	if !ok || depth > maxSchemaDepth {
		return "", ""
	}
	if ref, ok := s["$ref"].(string); ok {
		c := schemaCheck{root: e.root}
		if target, err := c.resolve(ref, ""); err == nil {
			if where, why := e.find(target, v, at, depth+1); why != "" {
				return where, why
			}
		}
	}
	if why := wrongHere(s, v); why != "" {
		return at, why
	}
	switch v := v.(type) {
	case map[string]any:
		return e.inObject(s, v, at, depth)
	case []any:
		if items, ok := s["items"]; ok {
			for i, x := range v {
				if where, why := e.find(items, x, fmt.Sprintf("%s/%d", at, i), depth+1); why != "" {
					return where, why
				}
			}
		}
	}
	return e.inCombination(s, v, at, depth)
}

func (e explainer) inObject(s, v map[string]any, at string, depth int) (where, why string) {
	required, _ := s["required"].([]any)
	for _, r := range required {
		if name, ok := r.(string); ok {
			if _, has := v[name]; !has {
				return at + "/" + escapePointer(name), "is missing"
			}
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for _, name := range sortedKeys(v) {
		here := at + "/" + escapePointer(name)
		if sub, ok := properties[name]; ok {
			if where, why := e.find(sub, v[name], here, depth+1); why != "" {
				return where, why
			}
			continue
		}
		if _, more := s["patternProperties"]; !more && s["additionalProperties"] == false {
			return here, "is not a field of this tool"
		}
	}
	return e.inCombination(s, v, at, depth)
}

func (e explainer) inCombination(s map[string]any, v any, at string, depth int) (where, why string) {
	all, _ := s["allOf"].([]any)
	for _, sub := range all {
		if where, why := e.find(sub, v, at, depth+1); why != "" {
			return where, why
		}
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		list, _ := s[word].([]any)
		if len(list) == 0 {
			continue
		}
		matches := 0
		for _, sub := range list {
			if _, why := e.find(sub, v, at, depth+1); why == "" {
				matches++
			}
		}
		if matches == 0 {
			return at, "fits none of the forms the schema allows"
		}
	}
	return "", ""
}

// wrongHere says what v itself, without its children, breaks.
func wrongHere(s map[string]any, v any) string {
	if want := typeNames(s["type"]); len(want) > 0 && !slices.ContainsFunc(want, func(t string) bool { return isType(v, t) }) {
		return fmt.Sprintf("must be %s, is %s", clip(strings.Join(want, " or ")), typeOf(v))
	}
	if list, ok := s["enum"].([]any); ok && scalar(v) && !slices.Contains(list, v) {
		return fmt.Sprintf("must be one of the %d values the schema lists", len(list))
	}
	if c, ok := s["const"]; ok && scalar(c) && scalar(v) && c != v {
		return "must be the one value the schema allows"
	}
	switch v := v.(type) {
	case float64:
		for _, b := range []struct {
			word, text string
			ok         func(limit float64) bool
		}{
			{"minimum", "must be at least", func(l float64) bool { return v >= l }},
			{"maximum", "must be at most", func(l float64) bool { return v <= l }},
			{"exclusiveMinimum", "must be more than", func(l float64) bool { return v > l }},
			{"exclusiveMaximum", "must be less than", func(l float64) bool { return v < l }},
		} {
			if l, has := s[b.word].(float64); has && !b.ok(l) {
				return fmt.Sprintf("%s %g", b.text, l)
			}
		}
	case string:
		n := float64(utf8.RuneCountInString(v))
		if why := outside(s, "Length", n, "characters"); why != "" {
			return why
		}
		if p, ok := s["pattern"].(string); ok {
			if re, err := regexp.Compile(p); err == nil && !re.MatchString(v) {
				return "does not match the pattern of the schema"
			}
		}
	case []any:
		return outside(s, "Items", float64(len(v)), "items")
	case map[string]any:
		return outside(s, "Properties", float64(len(v)), "fields")
	}
	return ""
}

func outside(s map[string]any, word string, n float64, unit string) string {
	if l, ok := s["min"+word].(float64); ok && n < l {
		return fmt.Sprintf("must have at least %g %s", l, unit)
	}
	if l, ok := s["max"+word].(float64); ok && n > l {
		return fmt.Sprintf("must have at most %g %s", l, unit)
	}
	return ""
}

func typeNames(t any) (names []string) {
	switch t := t.(type) {
	case string:
		return []string{t}
	case []any:
		for _, x := range t {
			if s, ok := x.(string); ok {
				names = append(names, s)
			}
		}
	}
	return names
}

func isType(v any, name string) bool {
	got := typeOf(v)
	if f, ok := v.(float64); ok && name == "integer" {
		return f == math.Trunc(f)
	}
	return got == name
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func scalar(v any) bool {
	switch v.(type) {
	case nil, bool, float64, string:
		return true
	}
	return false
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
