package tool

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Bounds of a tool's input schema. A real server's largest are about 20 KiB and 8 levels.
const (
	maxSchemaBytes  = 256 << 10
	maxSchemaDepth  = 32
	maxSchemaNodes  = 10_000 // after every $ref is expanded
	maxPatternBytes = 1 << 10
	maxPatternCost  = 100_000 // regular expression instructions in the whole schema
)

// CheckSchema bounds an input schema before jsonschema-go or the MCP SDK sees it. Both die of stack overflow on a
// cyclic $ref and take seconds on nested $defs (go-sdk v1.8.0, jsonschema-go v0.4.3). It accepts at most 256 KiB and
// 32 levels; $ref only to "#/$defs/…" or "#/definitions/…", without cycles and with at most 10,000 nodes once
// expanded; no $id, $dynamicRef or $recursiveRef; patterns of at most 1 KiB that compile to little; and a top level
// that allows an object. Keywords in another case are refused, because encoding/json takes "$REF" for "$ref".
// Errors name the place as a JSON pointer.
func CheckSchema(raw []byte) error {
	_, _, err := parseSchema(raw)
	return err
}

// parseSchema returns the schema as maps and slices, with its size when expanded.
func parseSchema(raw []byte) (root map[string]any, nodes int, err error) {
	canonical, err := CanonicalObject(raw, Limits{Bytes: maxSchemaBytes, Depth: maxSchemaDepth, Values: 4 * maxSchemaNodes})
	if err != nil {
		return nil, 0, fmt.Errorf("schema: %w", err)
	}
	if err := json.Unmarshal(canonical, &root); err != nil {
		return nil, 0, errors.New("schema: not a JSON object")
	}
	c := schemaCheck{root: root, size: map[string]int{}}
	if err := c.allowsObject(); err != nil {
		return nil, 0, err
	}
	if err := c.keywords(root, ""); err != nil {
		return nil, 0, err
	}
	nodes, err = c.expand(root, "")
	return root, nodes, err
}

type schemaCheck struct {
	root    map[string]any
	size    map[string]int // expanded nodes below each pointer; -1 while being counted
	pattern int            // cost of all patterns so far
}

func (c *schemaCheck) allowsObject() error {
	switch t := c.root["type"].(type) {
	case nil:
		return nil
	case string:
		if t == "object" {
			return nil
		}
	case []any:
		if slices.Contains(t, any("object")) {
			return nil
		}
	}
	return errors.New(`schema at /type: must allow "object"`)
}

// Where the keywords of JSON Schema hold other schemas.
var (
	schemaIn     = []string{"items", "additionalItems", "contains", "unevaluatedItems", "additionalProperties", "propertyNames", "unevaluatedProperties", "not", "if", "then", "else", "contentSchema"}
	schemaListIn = []string{"prefixItems", "items", "allOf", "anyOf", "oneOf"}
	schemaMapIn  = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
	otherIn      = []string{"type", "$schema", "$comment", "$anchor", "title", "description", "default", "deprecated", "readOnly", "writeOnly",
		"examples", "enum", "const", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
		"uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties", "required", "dependentRequired", "contentEncoding", "contentMediaType", "format"}
	forbidden = []string{"$id", "$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"}
)

// keywords walks the schemas that stand in s and checks what each keyword says.
func (c *schemaCheck) keywords(s map[string]any, at string) error {
	for key, v := range s {
		here := at + "/" + escapePointer(key)
		word := keyword(key)
		switch {
		case slices.Contains(forbidden, word):
			return fmt.Errorf("schema at %s: %s is not allowed", clip(here), word)
		case word != "" && word != key:
			return fmt.Errorf("schema at %s: write %s in exactly this case", clip(here), word)
		case key == "pattern":
			p, ok := v.(string)
			if !ok {
				return fmt.Errorf("schema at %s: must be a string", clip(here))
			}
			if err := c.boundPattern(p, here); err != nil {
				return err
			}
		case key == "patternProperties":
			m, _ := v.(map[string]any)
			for p := range m {
				if err := c.boundPattern(p, here); err != nil {
					return err
				}
			}
		}
		if err := c.below(key, v, here); err != nil {
			return err
		}
	}
	return nil
}

func (c *schemaCheck) below(key string, v any, at string) error {
	switch v := v.(type) {
	case map[string]any:
		if slices.Contains(schemaIn, key) {
			return c.keywords(v, at)
		}
		if slices.Contains(schemaMapIn, key) {
			for name, sub := range v {
				if m, ok := sub.(map[string]any); ok {
					if err := c.keywords(m, at+"/"+escapePointer(name)); err != nil {
						return err
					}
				}
			}
		}
	case []any:
		if slices.Contains(schemaListIn, key) {
			for i, sub := range v {
				if m, ok := sub.(map[string]any); ok {
					if err := c.keywords(m, fmt.Sprintf("%s/%d", at, i)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// keyword returns the JSON Schema keyword that a case-insensitive parser would take key for, or "".
func keyword(key string) string {
	for _, list := range [][]string{schemaIn, schemaListIn, schemaMapIn, otherIn, forbidden, {"$ref", "pattern"}} {
		for _, k := range list {
			if strings.EqualFold(k, key) {
				return k
			}
		}
	}
	return ""
}

// boundPattern estimates what compiling p costs: repetition multiplies, and character classes have a length.
// A pattern that RE2 cannot parse is left to NewValidator, which skips it.
func (c *schemaCheck) boundPattern(p, at string) error {
	if len(p) > maxPatternBytes {
		return fmt.Errorf("schema at %s: pattern is longer than %d bytes", clip(at), maxPatternBytes)
	}
	re, err := syntax.Parse(p, syntax.Perl)
	if err != nil {
		return nil
	}
	c.pattern += patternCost(re)
	if c.pattern > maxPatternCost {
		return fmt.Errorf("schema at %s: patterns are too complex", clip(at))
	}
	return nil
}

func patternCost(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += patternCost(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxPatternCost+1)
}

// expand counts the nodes below v as if every $ref were replaced by its target. It follows any "$ref" wherever it
// stands, also in places that are data: nothing after us can then find a reference that was not counted.
func (c *schemaCheck) expand(v any, at string) (int, error) {
	if n, seen := c.size[at]; seen {
		if n < 0 {
			return 0, fmt.Errorf("schema at %s: $ref leads back to itself", orRoot(at))
		}
		return n, nil
	}
	c.size[at] = -1
	n := 1
	add := func(child any, key string) error {
		k, err := c.expand(child, at+"/"+escapePointer(key))
		n += k
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			if ref, ok := child.(string); ok && strings.EqualFold(key, "$ref") {
				target, err := c.resolve(ref, at)
				if err != nil {
					return 0, err
				}
				k, err := c.expand(target, strings.TrimPrefix(ref, "#"))
				if err != nil {
					return 0, err
				}
				n += k
				continue
			}
			if err := add(child, key); err != nil {
				return 0, err
			}
		}
	case []any:
		for i, child := range v {
			if err := add(child, fmt.Sprint(i)); err != nil {
				return 0, err
			}
		}
	}
	if n > maxSchemaNodes {
		return 0, fmt.Errorf("schema at %s: more than %d nodes once every $ref is expanded", orRoot(at), maxSchemaNodes)
	}
	c.size[at] = n
	return n, nil
}

// resolve finds what a local $ref points to. Escapes in the pointer are refused: two spellings of one place would
// hide a cycle.
func (c *schemaCheck) resolve(ref, at string) (any, error) {
	fail := func(what string) (any, error) {
		return nil, fmt.Errorf("schema at %s: $ref %q %s", orRoot(at), clip(ref), what)
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok || !strings.HasPrefix(path, "$defs/") && !strings.HasPrefix(path, "definitions/") {
		return fail("is not allowed; only #/$defs/… and #/definitions/… are")
	}
	if strings.ContainsAny(path, "%~") {
		return fail("may not hold escapes")
	}
	var v any = c.root
	for step := range strings.SplitSeq(path, "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return fail("must lead through objects only")
		}
		if v, ok = m[step]; !ok {
			return fail("points nowhere")
		}
	}
	return v, nil
}

// escapePointer writes a key as a part of a JSON pointer (RFC 6901, 3).
func escapePointer(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func orRoot(pointer string) string {
	if pointer == "" {
		return "the top level"
	}
	return clip(pointer)
}

// clip keeps foreign names in error texts short.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
