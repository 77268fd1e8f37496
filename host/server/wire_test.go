package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// through sends text through a guard and returns what comes out, what was called noise and which rules fired.
func through(text string, listing bool) (out string, noise, rules []string, g *guard, err error) {
	g = newGuard(strings.NewReader(text), func(b []byte) { noise = append(noise, string(b)) }, func(rule, _ string) { rules = append(rules, rule) })
	if listing {
		g.beginListing()
	}
	b, err := io.ReadAll(g)
	return string(b), noise, rules, g, err
}

func TestGuard(t *testing.T) {
	long := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("a", 200_000) + `"}` + "\n"
	for name, c := range map[string]struct {
		in, out string
		noise   int
		rule    string
	}{
		"a log line":            {in: `{"level":30,"msg":"listening"}` + "\n", noise: 1},
		"another version":       {in: `{"jsonrpc":"1.0","id":1}` + "\n", noise: 1},
		"escaped version":       {in: `{"jsonrpc":"2\u002e0","id":1}` + "\n", noise: 1},
		"a notification":        {in: `{"jsonrpc":"2.0","method":"m"}` + "\n", out: `{"jsonrpc":"2.0","method":"m"}` + "\n"},
		"an answer to nothing":  {in: `{"jsonrpc":"2.0","id":null,"error":{}}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"an odd id":             {in: `{"jsonrpc":"2.0","id":{},"result":{}}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"an odd error":          {in: `{"jsonrpc":"2.0","id":1,"error":"x"}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"a result in capitals":  {in: `{"jsonrpc":"2.0","id":1,"Result":{}}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"an answer of nothing":  {in: `{"jsonrpc":"2.0","id":1,"error":null}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"an odd method":         {in: `{"jsonrpc":"2.0","id":1,"method":7}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"nothing but a version": {in: `{"jsonrpc":"2.0"}` + "\n", noise: 1, rule: "wire.invalid-message"},
		"a message":             {in: `{"jsonrpc":"2.0","id":1,"result":{}}` + "\n", out: `{"jsonrpc":"2.0","id":1,"result":{}}` + "\n"},
		"bytes are kept":        {in: " {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"a\":\"<&>\u2028\" , \"result\":1.0}\r\n", out: " {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"a\":\"<&>\u2028\" , \"result\":1.0}\r\n"},
		"a long message":        {in: long, out: long},
		"empty lines":           {in: "\n \r\n\t\n"},
		"text":                  {in: "Starting…\n", noise: 1},
		"another JSON value":    {in: "[1]\n\"x\"\n7\nnull\n", noise: 4},
		"a batch":               {in: `[{"jsonrpc":"2.0","id":1}]` + "\n", noise: 1},
		"JSON after JSON":       {in: `{"a":1}{"b":2}` + "\n", noise: 1},
		"duplicate keys":        {in: `{"jsonrpc":"2.0","id":1,"id":2}` + "\n", noise: 1, rule: "wire.invalid-json"},
		"duplicate keys within": {in: `{"jsonrpc":"2.0","params":{"a":1,"a":2}}` + "\n", noise: 1, rule: "wire.invalid-json"},
		"bad UTF-8":             {in: "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"a\":\"\xff\"}\n", noise: 1, rule: "wire.invalid-json"},
		"lone surrogate":        {in: `{"jsonrpc":"2.0","a":"\ud800"}` + "\n", noise: 1, rule: "wire.invalid-json"},
		"deep nesting":          {in: `{"jsonrpc":"2.0","a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}\n", noise: 1, rule: "wire.invalid-json"},
		"not closed":            {in: `{"jsonrpc":"2.0"` + "\n", noise: 1, rule: "wire.invalid-json"},
		"no newline at the end": {in: `{"jsonrpc":"2.0"}`, noise: 1},
		"log line in braces":    {in: "{not json}\n", noise: 1},
	} {
		t.Run(name, func(t *testing.T) {
			out, noise, rules, _, err := through(c.in, false)
			if out != c.out || len(noise) != c.noise || err != nil {
				t.Errorf("out %.100q, %d noise, %v; want %.100q, %d", out, len(noise), err, c.out, c.noise)
			}
			if strings.Join(rules, " ") != c.rule {
				t.Errorf("rules %q, want %q", rules, c.rule)
			}
			for _, n := range noise {
				if len(n) > 4096 {
					t.Errorf("noise of %d bytes is kept", len(n))
				}
			}
		})
	}
}

func TestGuardEndsOnALineWithoutEnd(t *testing.T) {
	for name, c := range map[string]struct {
		bytes int
		ok    bool
	}{"just fits": {maxLine, true}, "one more": {maxLine + 1, false}} {
		t.Run(name, func(t *testing.T) {
			const frame = `{"jsonrpc":"2.0","id":1,"result":""}` + "\n"
			in := strings.Replace(frame, `""`, `"`+strings.Repeat("a", c.bytes-len(frame))+`"`, 1)
			out, _, rules, _, err := through(in, false)
			if c.ok != (err == nil) || c.ok && out != in || !c.ok && (!errors.Is(err, ErrLineTooLong) || len(rules) != 1) {
				t.Errorf("%d bytes out, %v, rules %v", len(out), err, rules)
			}
		})
	}
}

func TestListingIsCleaned(t *testing.T) {
	page := func(tools string) string {
		return `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + tools + `],"nextCursor":"c"}}` + "\n"
	}
	const good = `{"name":"a","inputSchema":{"type":"object"}}`
	for name, tools := range map[string]string{
		"cyclic":                 `{"name":"b","inputSchema":{"$ref":"#"}}`,
		"cyclic in another case": `{"name":"b","inputSchema":{"$REF":"#"}}`,
		"cyclic output":          `{"name":"b","inputSchema":{"type":"object"},"outputSchema":{"$ref":"#"}}`,
		"no schema":              `{"name":"b"}`,
		"no name":                `{"inputSchema":{"type":"object"}}`,
		"long name":              `{"name":"` + strings.Repeat("b", maxName+1) + `","inputSchema":{"type":"object"}}`,
		"escape in its name":     `{"name":"b\u001b[1A\u001b[2K","inputSchema":{"type":"object"}}`,
		"hidden in its name":     `{"name":"b\u202ec","inputSchema":{"type":"object"}}`,
		"line in its name":       `{"name":"b\nc","inputSchema":{"type":"object"}}`,
		"second of a name":       good,
		"not an object":          `[]`,
		"wrong types":            `{"name":{},"inputSchema":{"type":"object"}}`,
		"too large":              `{"name":"b","description":"` + strings.Repeat("x", maxDefinition) + `","inputSchema":{"type":"object"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			out, _, rules, g, err := through(page(good+","+tools), true)
			if err != nil || out != page(good) && !sameJSON(out, page(good)) {
				t.Errorf("out %q, %v; want only the good tool", out, err)
			}
			if len(rules) != 1 || rules[0] != "wire.tool-refused" {
				t.Errorf("rules %v", rules)
			}
			defs, order, _ := g.endListing()
			if len(defs) != 1 || len(order) != 1 || string(defs["a"]) != good {
				t.Errorf("recorded %v", order)
			}
		})
	}
	t.Run("only while listing", func(t *testing.T) {
		in := page(`{"name":"b","inputSchema":{"$ref":"#"}}`)
		if out, _, rules, _, _ := through(in, false); out != in || len(rules) != 0 {
			t.Errorf("out %q, rules %v", out, rules)
		}
	})
	t.Run("never more than the bound", func(t *testing.T) {
		var b strings.Builder
		for i := range maxTools + 50 {
			fmt.Fprintf(&b, `,{"name":"t%d","inputSchema":{"type":"object"}}`, i)
		}
		_, _, rules, g, _ := through(page(b.String()[1:]), true)
		if defs, _, refused := g.endListing(); len(defs) != maxTools || len(rules) != 1 || len(refused) != 1 {
			t.Errorf("%d tools, %d refused", len(defs), len(rules))
		}
	})
}

func sameJSON(a, b string) bool {
	x, y := jsontext.Value(a), jsontext.Value(b)
	return x.Canonicalize() == nil && y.Canonicalize() == nil && bytes.Equal(x, y)
}

// FuzzGuard: whatever a server prints, the library sees only whole lines of strict JSON objects, and during a listing
// only tools that were admitted.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{"", "\n", "text\n", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}` + "\n",
		`{"result":{"tools":[{"name":"a","inputSchema":{"$ref":"#"}}]},"id":1}` + "\n{}\n", `{"tools":1}` + "\n", `{"result":{"tools":null}}` + "\n",
		"{\"a\":\"\xff\"}\n", `{"a":1,"a":2}` + "\n", "{\r\n}\n", `{"re\u0073ult":{"too\u006cs":[{"name":"a","inputSchema":{"$ref":"#"}}]}}` + "\n"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, in string, listing bool) {
		out, _, _, g, err := through(in, listing)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		for line := range strings.Lines(out) {
			v := jsontext.Value(line)
			if !strings.HasSuffix(line, "\n") || !v.IsValid() || v.Kind() != '{' {
				t.Fatalf("passed on %q", line)
			}
			if listing && strings.Contains(decoded(v), `"$ref":"#"`) && strings.Contains(decoded(v), `"result":{"tools":[`) {
				t.Fatalf("a cyclic schema passed: %q", line)
			}
		}
		defs, order, _ := g.endListing()
		if len(defs) != len(order) || !listing && defs != nil {
			t.Fatalf("%d definitions, %d names", len(defs), len(order))
		}
	})
}

// decoded writes v in one way whatever escapes it uses.
func decoded(v jsontext.Value) string {
	c := v.Clone()
	if c.Canonicalize() != nil {
		return ""
	}
	return string(c)
}
