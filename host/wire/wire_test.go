package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// through sends text through a guard on which requests with the ids 1, 2 and "a" of a method are open, and returns what comes out, what
// was called noise and which codes were found.
func through(text, method string) (out string, noise, codes []string, g *Guard, err error) {
	g = New(func(b []byte) { noise = append(noise, string(b)) }, func(code Code, _ string) { codes = append(codes, string(code)) })
	for _, id := range []string{`1`, `2`, `"a"`} {
		g.Out([]byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `"}` + "\n"))
	}
	if method == "tools/list" {
		g.BeginListing()
	}
	b, err := io.ReadAll(NewLines(strings.NewReader(text), g))
	return string(b), noise, codes, g, err
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
		"a notification":        {in: `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":[1]}}` + "\n", out: `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}` + "\n"},
		"of no use":             {in: `{"jsonrpc":"2.0","method":"notifications/elicitation/complete"}` + "\n"},
		"a ping":                {in: `{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":1}}` + "\n", out: `{"jsonrpc":"2.0","id":"a","method":"ping"}` + "\n"},
		"a request":             {in: `{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{}}` + "\n", out: `{"jsonrpc":"2.0","id":7,"method":"cordon/not-offered"}` + "\n"},
		"a large request":       {in: `{"jsonrpc":"2.0","id":7,"method":"ping","params":"` + strings.Repeat("x", maxUnasked) + `"}` + "\n", rule: "wire.too-large"},
		"a long id":             {in: `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 200) + `","method":"ping"}` + "\n", rule: "wire.invalid-message"},
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
			out, noise, rules, _, err := through(c.in, "ping")
			if strings.TrimSpace(out) != strings.TrimSpace(c.out) || len(noise) != c.noise || err != nil {
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
	}{"just fits": {MaxMessage, true}, "one more": {MaxMessage + 1, false}} {
		t.Run(name, func(t *testing.T) {
			const frame = `{"jsonrpc":"2.0","id":1,"result":""}` + "\n"
			in := strings.Replace(frame, `""`, `"`+strings.Repeat("a", c.bytes-len(frame))+`"`, 1)
			out, _, rules, _, err := through(in, "ping")
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
			out, _, rules, g, err := through(page(good+","+tools), "tools/list")
			if err != nil || out != page(good) && !sameJSON(out, page(good)) {
				t.Errorf("out %q, %v; want only the good tool", out, err)
			}
			if len(rules) != 1 || rules[0] != "wire.tool-refused" {
				t.Errorf("rules %v", rules)
			}
			if l := g.EndListing(); len(l.Definitions) != 1 || len(l.Order) != 1 || string(l.Definitions["a"]) != good {
				t.Errorf("recorded %v", l.Order)
			}
		})
	}
	t.Run("while nobody lists, it is an error", func(t *testing.T) {
		g := New(func([]byte) {}, func(Code, string) {})
		g.Out([]byte(`{"id":1,"method":"tools/list"}`))
		if out, err := g.In([]byte(page(`{"name":"b","inputSchema":{"$ref":"#"}}`))); err != nil || !strings.Contains(string(out), `"error"`) || strings.Contains(string(out), "$ref") {
			t.Errorf("out %q, %v", out, err)
		}
	})
	t.Run("never more than the bound", func(t *testing.T) {
		var b strings.Builder
		for i := range MaxTools + 50 {
			fmt.Fprintf(&b, `,{"name":"t%d","inputSchema":{"type":"object"}}`, i)
		}
		_, _, rules, g, _ := through(page(b.String()[1:]), "tools/list")
		if l := g.EndListing(); len(l.Definitions) != MaxTools || len(rules) != 1 || len(l.Refused) != 1 {
			t.Errorf("%d tools, %d refused", len(l.Definitions), len(rules))
		}
	})
}

func sameJSON(a, b string) bool {
	x, y := jsontext.Value(a), jsontext.Value(b)
	return x.Canonicalize() == nil && y.Canonicalize() == nil && bytes.Equal(x, y)
}

// Answers pass once, and only if they were asked for; what cannot be used ends the call that it belongs to.
func TestAnswers(t *testing.T) {
	answer := func(id, result string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}` + "\n"
	}
	deep := strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth)
	wide := "[" + strings.Repeat("1,", maxValues) + "1]"
	for name, c := range map[string]struct {
		in     string
		method string
		passes int // messages that come out
		fails  int // of them, errors in the place of what the server sent
		codes  string
	}{
		"in another order":     {in: answer("2", "{}") + answer(`"a"`, "{}") + answer("1", "{}"), passes: 3},
		"nobody asked":         {in: answer("3", "{}"), codes: "wire.unknown-id"},
		"another kind of id":   {in: answer(`"1"`, "{}"), codes: "wire.unknown-id"},
		"a number like it":     {in: answer(`1.0`, "{}"), codes: "wire.unknown-id"},
		"twice":                {in: answer("1", "{}") + answer("1", `{"content":[]}`), passes: 1, codes: "wire.duplicate-response"},
		"an error, then more":  {in: `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}` + "\n" + answer("1", "{}"), passes: 1, codes: "wire.duplicate-response"},
		"many of nothing":      {in: strings.Repeat(answer("7", "{}"), 250), codes: "wire.unknown-id wire.unknown-id wire.unknown-id"},
		"complete":             {in: answer("1", `{"resultType":"complete"}`), method: "tools/call", passes: 1},
		"input required":       {in: answer("1", `{"resultType":"input_required"}`), method: "tools/call", passes: 1},
		"a task":               {in: answer("1", `{"resultType":"task"}`), method: "tools/call", passes: 1},
		"a task of no call":    {in: answer("1", `{"resultType":"task"}`), method: "resources/read", passes: 1, fails: 1, codes: "wire.unknown-result"},
		"no type at all":       {in: answer("1", `{"resultType":null}`), method: "resources/read", passes: 1, fails: 1, codes: "wire.unknown-result"},
		"escaped":              {in: answer("1", `{"result\u0054ype":"task"}`), method: "prompts/get", passes: 1, fails: 1, codes: "wire.unknown-result"},
		"no questions":         {in: answer("1", `{"inputRequests":{"x":null}}`), method: "tools/call", passes: 1, fails: 1, codes: "wire.invalid-message"},
		"questions in a list":  {in: answer("1", `{"inputRequests":[]}`), method: "tools/call", passes: 1, fails: 1, codes: "wire.invalid-message"},
		"questions of nothing": {in: answer("1", `{"inputRequests":{"x":{"method":"elicitation/create"}}}`), method: "prompts/get", passes: 1, fails: 1, codes: "wire.invalid-message"},
		"a good question":      {in: answer("1", `{"inputRequests":{"x":{"method":"elicitation/create","params":{}}}}`), method: "tools/call", passes: 1},
		"an odd error":         {in: `{"jsonrpc":"2.0","id":1,"error":{"code":"ENOENT","message":"m"}}` + "\n", passes: 1, fails: 1},
		"an error in words":    {in: `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":{}}}` + "\n", passes: 1, fails: 1},
		"an error of half":     {in: `{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"m"}}` + "\n", passes: 1, fails: 1},
		"a far cursor":         {in: answer("1", `{"tools":[],"nextCursor":"`+strings.Repeat("c", maxCursor)+`"}`), method: "tools/list", passes: 1, fails: 1},
		"more than tools":      {in: answer("1", `{"tools":[],"_meta":`+deep+`}`), method: "tools/list", passes: 1},
		"of another method":    {in: answer("1", `{"resultType":"task"}`), method: "ping", passes: 1},
		"deep":                 {in: answer("1", deep), passes: 1, fails: 1, codes: "wire.too-complex"},
		"almost too deep":      {in: answer("1", deep[5:len(deep)-1]), passes: 1},
		"many values":          {in: answer("1", wide), passes: 1, fails: 1, codes: "wire.too-complex"},
		"commas in text":       {in: answer("1", `"`+strings.Repeat(`,\"[\\`, 400_000)+`"`), passes: 1},
		"tools of another one": {in: answer("1", `{"tools":[{"name":"b","inputSchema":{"$ref":"#"}}]}`), method: "prompts/list", passes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, codes, g, err := through(c.in, cmp.Or(c.method, "ping"))
			fails := strings.Count(out, "the server's answer cannot be used")
			if err != nil || strings.Count(out, "\n") != c.passes || fails != c.fails || strings.Join(codes, " ") != c.codes {
				t.Errorf("%.200q, %v, %q; want %d messages, %d of them errors, and %q", out, err, codes, c.passes, c.fails, c.codes)
			}
			if frames := g.Frames(); len(frames) < 3 || len(frames) < maxFrames && !frames[0].Out {
				t.Errorf("%d frames", len(frames))
			}
		})
	}
}

// An answer that crosses a cancelling is nobody's fault; a second one is.
func TestLateAnswers(t *testing.T) {
	var codes []Code
	g := New(func([]byte) {}, func(code Code, _ string) { codes = append(codes, code) })
	g.Out([]byte(`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{}}`))
	g.Out([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`))
	g.Out([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}`)) // of nothing
	for i, want := range []int{0, 1} {
		if out, err := g.In([]byte(`{"jsonrpc":"2.0","id":5,"result":{}}`)); out != nil || err != nil || len(codes) != want {
			t.Errorf("answer %d: %q, %v, %q", i, out, err, codes)
		}
	}
}

// On a modern connection a server asks nothing by itself: it is told so, but for HTTP, where that cannot be said. It may still tell, within bounds.
func TestModern(t *testing.T) {
	var codes []Code
	g := New(func([]byte) {}, func(code Code, _ string) { codes = append(codes, code) })
	const asks = `{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}`
	if out, _ := g.In([]byte(asks)); out == nil {
		t.Error("an old server may not ask")
	}
	g.Modern()
	if out, _ := g.In([]byte(asks)); string(out) != `{"jsonrpc":"2.0","id":9,"method":"cordon/not-offered"}` || !slices.Equal(codes, []Code{Unsolicited}) {
		t.Errorf("%q, %q", out, codes)
	}
	g.Headers = true
	if out, _ := g.In([]byte(asks)); out != nil {
		t.Errorf("over HTTP: %q", out)
	}
	told := 0
	for range notificationsPerSecond * 3 {
		if out, _ := g.In([]byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}`)); out != nil {
			told++
		}
	}
	if told < notificationsPerSecond || told > notificationsPerSecond*2 || !slices.Contains(codes, TooMany) {
		t.Errorf("%d of them passed, %q", told, codes)
	}
}

// Whatever is sent without being asked for ends the connection before it costs anything that lasts.
func TestFlood(t *testing.T) {
	for name, line := range map[string]string{
		"answers":       `{"jsonrpc":"2.0","id":"x","result":{}}`,
		"notifications": `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}`,
		"requests":      `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			g := New(func([]byte) {}, func(Code, string) { found++ })
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var err error
			for i := 0; err == nil && i < 3*maxDropped; i++ {
				_, err = g.In([]byte(line))
			}
			if !errors.Is(err, ErrFlood) || found > 10 {
				t.Errorf("%v, %d findings", err, found)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
				t.Errorf("%d bytes are kept", grown)
			}
		})
	}
}

// What is kept of messages is bounded, whatever they are.
func TestFrames(t *testing.T) {
	g := New(func([]byte) {}, func(Code, string) {})
	long := `{"jsonrpc":"2.0","method":"notifications/message","params":"` + strings.Repeat("x", 1<<20) + `"}`
	for range 300 {
		_, _ = g.In([]byte(long))
		g.Out([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	}
	_, _ = g.In([]byte(`{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 1<<20) + `","method":"` + strings.Repeat("m", 1<<20) + `"}`))
	if f := g.Frames(); len(f[len(f)-1].ID) > 200 || len(f[len(f)-1].Method) > 200 {
		t.Error("a long name is kept whole")
	}
	g.Out([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	_, _ = g.In([]byte(long))
	g.Out([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	frames, total := g.Frames(), 0
	for _, f := range frames {
		total += len(f.Text)
	}
	if len(frames) > maxFrames || total > maxFrameBytes || len(frames) < 50 {
		t.Errorf("%d frames, %d bytes", len(frames), total)
	}
	if f := frames[len(frames)-2]; f.Out || f.Method != "notifications/message" || f.Size != len(long) || len(f.Text) != maxFrameText || time.Since(f.At) > time.Minute {
		t.Errorf("%s, %d bytes", f.Method, f.Size)
	}
	if f := frames[len(frames)-1]; !f.Out || f.ID != "1" || f.Method != "ping" || f.Answer {
		t.Errorf("%+v", f)
	}
	_, _ = g.In([]byte(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`))
	_, _ = g.In([]byte(`{"jsonrpc":"2.0","id":"x","result":{}}`))
	frames = g.Frames()
	if f := frames[len(frames)-2]; f.Out || f.Method != "ping" || !f.Answer || !f.Failed {
		t.Errorf("%+v", f)
	}
	if f := frames[len(frames)-1]; f.Method != "" || !f.Answer || f.Failed || g.Passed() != 606 {
		t.Errorf("%+v, %d passed", f, g.Passed())
	}
}

// FuzzGuard: whatever a server prints, the library sees only whole lines of strict JSON objects that are requests, notifications, or
// answers to what is open, each once; and of a listing only tools that were admitted.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{"", "\n", "text\n", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}` + "\n",
		`{"jsonrpc":"2.0","result":{"tools":[{"name":"a","inputSchema":{"$ref":"#"}}]},"id":1}` + "\n{}\n", `{"tools":1}` + "\n", `{"jsonrpc":"2.0","id":1,"result":{"tools":null}}` + "\n",
		"{\"a\":\"\xff\"}\n", `{"a":1,"a":2}` + "\n", "{\r\n}\n", `{"jsonrpc":"2.0","id":2,"re\u0073ult":{"too\u006cs":[{"name":"a","inputSchema":{"$ref":"#"}}]}}` + "\n",
		`{"jsonrpc":"2.0","id":"a","result":{"resultType":"task"}}` + "\n", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m"}}` + "\n", `{"jsonrpc":"2.0","id":7,"method":"ping"}` + "\n"} {
		f.Add(s, "tools/list")
		f.Add(s, "tools/call")
	}
	f.Fuzz(func(t *testing.T, in, method string) {
		if !json.Valid([]byte(`"` + method + `"`)) {
			return
		}
		out, _, _, g, err := through(in, method)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		answered := map[string]bool{}
		for line := range strings.Lines(out) {
			v := jsontext.Value(line)
			if !strings.HasSuffix(line, "\n") || !v.IsValid() || v.Kind() != '{' {
				t.Fatalf("passed on %q", line)
			}
			m, err := members([]byte(line))
			if err != nil || !shaped(m) {
				t.Fatalf("passed on %q: %v", line, err)
			}
			if id := string(m["id"]); m["method"] == nil {
				if answered[id] || !slices.Contains([]string{`1`, `2`, `"a"`}, id) {
					t.Fatalf("an answer to %s passed", id)
				}
				answered[id] = true
			}
			if method == "tools/list" && m["method"] == nil && strings.Contains(decoded(v), `"$ref":"#"`) && strings.Contains(decoded(v), `"result":{"tools":[`) {
				t.Fatalf("a cyclic schema passed: %q", line)
			}
		}
		if l := g.EndListing(); len(l.Definitions) != len(l.Order) {
			t.Fatalf("%d definitions, %d names", len(l.Definitions), len(l.Order))
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
