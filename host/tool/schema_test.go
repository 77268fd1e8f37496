package tool

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// served is what the official npm servers of 2026-08-31 list, without descriptions.
type served struct {
	Name        string
	Annotations struct {
		ReadOnlyHint, DestructiveHint, OpenWorldHint *bool
	}
	InputSchema json.RawMessage
}

func realTools(t testing.TB) map[string][]served {
	t.Helper()
	raw, err := os.ReadFile("testdata/servers.json")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string][]served
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRealSchemasPass(t *testing.T) {
	n := 0
	for server, tools := range realTools(t) {
		for _, tl := range tools {
			n++
			if _, err := NewValidator(tl.InputSchema); err != nil {
				t.Errorf("%s %s: got %v; want it accepted", server, tl.Name, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("got %d schemas; want at least 30", n)
	}
}

func TestCheckSchemaAccepts(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                       `{}`,
		"object":                      `{"type":"object","properties":{"a":{"type":"string"}}}`,
		"object or null":              `{"type":["object","null"]}`,
		"local reference":             `{"$defs":{"a":{"type":"string"}},"properties":{"x":{"$ref":"#/$defs/a"},"y":{"$ref":"#/$defs/a"}}}`,
		"old local reference":         `{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{}},"properties":{"x":{"$ref":"#/definitions/a"}}}`,
		"deep local reference":        `{"$defs":{"a":{"properties":{"b":{"type":"string"}}}},"properties":{"x":{"$ref":"#/$defs/a/properties/b"}}}`,
		"property named $ref":         `{"properties":{"$ref":{"type":"string"},"$id":{"type":"string"}}}`,
		"property named like keyword": `{"properties":{"Type":{"type":"string"},"Items":{"type":"array"}}}`,
		"unknown keyword":             `{"x-order":1,"format":"y"}`,
		"pattern":                     `{"properties":{"a":{"pattern":"^[a-z]{1,63}$"}}}`,
		"pattern with look-ahead":     `{"properties":{"a":{"pattern":"^(?!x)"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckSchema([]byte(in)); err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if _, err := NewValidator([]byte(in)); err != nil {
				t.Errorf("NewValidator: got %v; want it accepted", err)
			}
		})
	}
}

func TestCheckSchemaRefuses(t *testing.T) {
	deep := strings.Repeat(`{"properties":{"a":`, 17) + `{}` + strings.Repeat(`}}`, 17)
	for name, c := range map[string]struct{ in, want string }{
		"reference to the root":        {`{"properties":{"a":{"$ref":"#"}}}`, `$ref "#" is not allowed`},
		"root that is a reference":     {`{"$ref":"#"}`, `$ref "#" is not allowed`},
		"reference in another case":    {`{"properties":{"a":{"$REF":"#"}}}`, "$ref"},
		"reference with a long s":      {`{"propertieſ":{}}`, "exactly this case"},
		"remote reference":             {`{"properties":{"a":{"$ref":"https://evil.example/s.json"}}}`, "is not allowed"},
		"file reference":               {`{"properties":{"a":{"$ref":"file:///etc/passwd"}}}`, "is not allowed"},
		"anchor":                       {`{"properties":{"a":{"$ref":"#x"}}}`, "is not allowed"},
		"reference into properties":    {`{"properties":{"a":{"$ref":"#/properties/a"}}}`, "is not allowed"},
		"escaped reference":            {`{"$defs":{"a":{"$ref":"#/%24defs/a"}}}`, "is not allowed"},
		"escape below $defs":           {`{"$defs":{"a":{"$ref":"#/$defs/%61"}}}`, "escapes"},
		"reference to itself":          {`{"$defs":{"a":{"$ref":"#/$defs/a"}},"properties":{"x":{"$ref":"#/$defs/a"}}}`, "leads back"},
		"cycle of two":                 {`{"$defs":{"a":{"items":{"$ref":"#/$defs/b"}},"b":{"items":{"$ref":"#/$defs/a"}}}}`, "leads back"},
		"reference to its parent":      {`{"$defs":{"a":{"properties":{"b":{"$ref":"#/$defs/a"}}}}}`, "leads back"},
		"cycle in a default":           {`{"$defs":{"a":{"default":{"$ref":"#/$defs/a"}}}}`, "leads back"},
		"reference to nowhere":         {`{"properties":{"a":{"$ref":"#/$defs/b"}}}`, "points nowhere"},
		"reference through an array":   {`{"$defs":{"a":{"anyOf":[{}]}},"properties":{"x":{"$ref":"#/$defs/a/anyOf/0"}}}`, "objects only"},
		"remote id":                    {`{"$id":"https://evil.example/"}`, "$id is not allowed"},
		"nested id":                    {`{"properties":{"a":{"$id":"b"}}}`, "$id is not allowed"},
		"id in another case":           {`{"$ID":"https://evil.example/"}`, "$id is not allowed"},
		"dynamic reference":            {`{"properties":{"a":{"$dynamicRef":"#a"}}}`, "$dynamicRef is not allowed"},
		"recursive reference":          {`{"items":{"$recursiveRef":"#"}}`, "$recursiveRef is not allowed"},
		"dynamic reference in allOf":   {`{"allOf":[{"not":{"$dynamicRef":"#a"}}]}`, "$dynamicRef is not allowed"},
		"huge pattern":                 {`{"properties":{"a":{"pattern":"` + strings.Repeat("a", 1025) + `"}}}`, "longer than 1024"},
		"huge property pattern":        {`{"patternProperties":{"` + strings.Repeat("a", 1025) + `":{}}}`, "longer than 1024"},
		"pattern that explodes":        {`{"properties":{"a":{"pattern":"` + strings.Repeat(`\\pL{999}`, 20) + `"}}}`, "too complex"},
		"string at the top":            {`{"type":"string"}`, `must allow "object"`},
		"no object among types":        {`{"type":["string","null"]}`, `must allow "object"`},
		"type of the wrong kind":       {`{"type":1}`, `must allow "object"`},
		"array":                        {`[]`, "must be an object"},
		"boolean":                      {`true`, "must be an object"},
		"too deep":                     {deep, "deeper than 32"},
		"too long":                     {`{"description":"` + strings.Repeat("a", 256<<10) + `"}`, "at most 262144"},
		"duplicate key":                {`{"type":"object","type":"string"}`, "duplicate key"},
		"bomb of definitions":          {bomb(20), "more than 10000 nodes"},
		"bomb with 14 doublings":       {bomb(14), "more than 10000 nodes"},
		"keyword in capitals at depth": {`{"properties":{"a":{"items":{"AnyOf":[]}}}}`, "exactly this case"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			err := CheckSchema([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want an error with %q", err, c.want)
			}
			if _, err := NewValidator([]byte(c.in)); err == nil {
				t.Errorf("NewValidator: got no error")
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v; want less than a second", took)
			}
		})
	}
}

// bomb doubles n times: each definition refers to the next one twice.
func bomb(n int) string {
	var b strings.Builder
	b.WriteString(`{"properties":{"x":{"$ref":"#/$defs/d0"}},"$defs":{`)
	for i := range n {
		fmt.Fprintf(&b, `"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	fmt.Fprintf(&b, `"d%d":{"type":"string"}}}`, n)
	return b.String()
}

func TestCheckTakesLittleTimeAtTheBounds(t *testing.T) {
	v, err := NewValidator([]byte(bomb(8)))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := v.Check([]byte(`{"x":12345}`)); err == nil {
		t.Error("got no error")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v; want less than 2 s", took)
	}
}

func TestValidatorCheck(t *testing.T) {
	const schema = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["path"],"additionalProperties":false,
		"definitions":{"line":{"type":"integer","minimum":1,"maximum":100}},
		"properties":{
			"path":{"type":"string","minLength":2,"maxLength":20},
			"head":{"$ref":"#/definitions/line"},
			"mode":{"enum":["fast","slow"]},
			"tags":{"type":"array","items":{"type":"string"},"maxItems":2},
			"who":{"anyOf":[{"type":"string"},{"type":"null"}]},
			"id":{"type":"string","pattern":"^[a-f]+$"}}}`
	v, err := NewValidator([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ args, want string }{
		"least":              {`{"path":"/a"}`, ""},
		"everything":         {`{"path":"/a","head":3,"mode":"slow","tags":["x"],"who":null,"id":"abc"}`, ""},
		"missing field":      {`{}`, "argument /path: is missing"},
		"unknown field":      {`{"path":"/a","Path":"/b"}`, "argument /Path: is not a field"},
		"wrong type":         {`{"path":5}`, "argument /path: must be string, is number"},
		"fraction":           {`{"path":"/a","head":1.5}`, "argument /head: must be integer, is number"},
		"too small":          {`{"path":"/a","head":0}`, "argument /head: must be at least 1"},
		"too big":            {`{"path":"/a","head":101}`, "argument /head: must be at most 100"},
		"not in the list":    {`{"path":"/a","mode":"hunter2"}`, "argument /mode: must be one of the 2 values"},
		"too short":          {`{"path":"h"}`, "argument /path: must have at least 2 characters"},
		"wrong item":         {`{"path":"/a","tags":["x",1]}`, "argument /tags/1: must be string"},
		"too many items":     {`{"path":"/a","tags":["x","y","z"]}`, "argument /tags: must have at most 2 items"},
		"no alternative":     {`{"path":"/a","who":7}`, "argument /who: fits none"},
		"pattern":            {`{"path":"/a","id":"hunter2"}`, "argument /id: does not match the pattern"},
		"not an object":      {`[]`, "must be an object"},
		"duplicate argument": {`{"path":"/a","path":"/b"}`, "duplicate key"},
	} {
		t.Run(name, func(t *testing.T) {
			err := v.Check([]byte(c.args))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v; want it accepted", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v; want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("got %v; want the value left out", err)
			}
		})
	}
}

func TestValidatorToleratesWhatServersWrite(t *testing.T) {
	for name, schema := range map[string]string{
		"draft-04":             `{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","required":["a"]}`,
		"draft 2019-09":        `{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"object","required":["a"]}`,
		"draft-07 without #":   `{"$schema":"http://json-schema.org/draft-07/schema","type":"object","required":["a"]}`,
		"an invented dialect":  `{"$schema":"urn:x","type":"object","required":["a"]}`,
		"no dialect":           `{"type":"object","required":["a"]}`,
		"look-ahead somewhere": `{"type":"object","required":["a"],"properties":{"a":{"pattern":"^(?!\\.)x"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			v, err := NewValidator([]byte(schema))
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Check([]byte(`{"a":"."}`)); err != nil {
				t.Errorf("allowed arguments: got %v", err)
			}
			if err := v.Check([]byte(`{}`)); err == nil {
				t.Error("missing field: got no error")
			}
			if got, want := len(v.Skipped()), strings.Count(schema, "(?!"); got != want {
				t.Errorf("got %d skipped patterns, want %d", got, want)
			}
		})
	}
}

func FuzzCheckSchema(f *testing.F) {
	f.Add([]byte(bomb(3)), []byte(`{"x":"y"}`))
	f.Add([]byte(`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`), []byte(`{}`))
	f.Add([]byte(`{"properties":{"a":{"pattern":"(?=x)"}},"items":null}`), []byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, schema, args []byte) {
		v, err := NewValidator(schema)
		if err != nil {
			return
		}
		_ = v.Check(args)
	})
}
