package tool

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestHeaders(t *testing.T) {
	property := func(p string) string { return `{"type":"object","properties":{` + p + `}}` }
	for schema, want := range map[string]string{ // names, or ! and what is wrong
		`{}`: "",
		property(`"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"integer","x-mcp-header":"B"}`): "A B",
		property(`"o":{"type":"object","properties":{"a":{"type":"boolean","x-mcp-header":"Deep"}}}`):  "Deep",
		property(`"x-mcp-header":{"type":"string"}`):                                                   "", // an argument of that name
		property(`"a":{"type":"string","default":"x-mcp-header","enum":["x-mcp-header"]}`):             "",
		property(`"a":{"type":"number","x-mcp-header":"A"}`):                                           "!neither",
		property(`"a":{"type":["string"],"x-mcp-header":"A"}`):                                         "!neither",
		property(`"a":{"type":"string","x-mcp-header":""}`):                                            "!is none",
		property(`"a":{"type":"string","x-mcp-header":7}`):                                             "!is none",
		property(`"a":{"type":"string","x-mcp-header":"A B"}`):                                         "!is none",
		property(`"a":{"type":"string","x-mcp-header":"A\r\nHost: evil"}`):                             "!is none",
		property(`"a":{"type":"string","x-mcp-header":"Ä"}`):                                           "!is none",
		property(`"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}`):  "!two of its arguments",
		property(`"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}`):                  "!for certain",
		`{"type":"object","anyOf":[` + property(`"a":{"type":"string","x-mcp-header":"A"}`) + `]}`:     "!for certain",
		`{"type":"object","$defs":{"d":{"type":"string","x-mcp-header":"A"}}}`:                         "!for certain",
		`{"type":"object","x-mcp-header":"A"}`:                                                         "!for certain",
		property(`"a":{"type":"string","x\u002dmcp-header":"A"}`):                                      "A",
		property(`"a":{"type":"string","x-mcp-header":"` + strings.Repeat("a", 65) + `"}`):             "!is none",
	} {
		hs, err := Headers(jsontext.Value(schema))
		var names []string
		for _, h := range hs {
			names = append(names, h.Name)
		}
		got := strings.Join(names, " ")
		if words, bad := strings.CutPrefix(want, "!"); bad && (err == nil || !strings.Contains(err.Error(), words)) || !bad && (err != nil || got != want) {
			t.Errorf("%s: %q, %v, want %q", schema, got, err, want)
		}
	}
}

func TestHeaderValues(t *testing.T) {
	args := jsontext.Value(`{"s":"us-west1","e":"","u":"Hello, 世界","p":" padded ","n":"a\nb","b64":"=?base64?literal?=","t":true,"i":42,"m":-7,"f":1.5,"big":9007199254740993,"z":null,"a":[],"o":{"d":"deep"},"tab":"a\tb"}`)
	for path, want := range map[string]string{"s": "us-west1", "e": "", "u": "=?base64?SGVsbG8sIOS4lueVjA==?=", "p": "=?base64?IHBhZGRlZCA=?=", "n": "=?base64?YQpi?=", "b64": "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		"t": "true", "i": "42", "m": "-7", "f": "!", "big": "!", "z": "!", "a": "!", "o": "!", "missing": "!", "o d": "deep", "s d": "!", "tab": "a\tb"} {
		got, ok := Header{Name: "X", Path: strings.Split(path, " ")}.Value(args)
		if ok != (want != "!") || ok && got != want {
			t.Errorf("%s: %q, %t, want %q", path, got, ok, want)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"}}}`, `{"a":"b"}`)
	f.Fuzz(func(t *testing.T, schema, args string) {
		hs, err := Headers(jsontext.Value(schema))
		if err != nil || !jsontext.Value(args).IsValid() {
			return
		}
		for _, h := range hs {
			v, ok := h.Value(jsontext.Value(args))
			if !ok {
				continue
			}
			r := http.Request{Method: "GET", Header: http.Header{"Mcp-Param-" + h.Name: {v}}}
			r.URL, _ = url.Parse("http://h/")
			var b strings.Builder
			if err := r.Write(&b); err != nil || strings.Count(b.String(), "\r\n") != strings.Count(b.String(), "\n") {
				t.Errorf("header %q: %q cannot be sent: %v", h.Name, v, err)
			}
		}
	})
}

func TestWithoutNulls(t *testing.T) {
	const schema = `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":["string","null"]},"c":{"type":"null"},"d":{"type":"string"},"e":{}},"required":["d"]}`
	got, left := WithoutNulls(jsontext.Value(schema), []byte(`{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":1}`))
	if string(got) != `{"b":null,"c":null,"d":null,"e":null,"f":null,"g":1}` || !left {
		t.Errorf("got %s, %t", got, left)
	}
	if got, left := WithoutNulls(jsontext.Value(schema), []byte(`{"a":"x"}`)); left || string(got) != `{"a":"x"}` {
		t.Errorf("got %s, %t", got, left)
	}
}

func TestCheckURI(t *testing.T) {
	for _, uri := range []string{"file:///case/notes.md", "memo://one", "case://a/b?c=d#e", "urn:isbn:1", "https://example.org/a%20b", "x:a..b", "file:///a..b/c"} {
		if err := CheckURI(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	for _, uri := range []string{"", "notes.md", "/etc/passwd", "file:///a/../b", "file:///a/%2e%2e/b", "file:///a/%252e%252e/../b", "file:///..", "case://../x", "https://u:p@example.org/", "a:\n", "a: b", "file:///a\\..\\b", "x:\u00e4", strings.Repeat("a", 5000)} {
		if CheckURI(uri) == nil {
			t.Errorf("%q is accepted", uri)
		}
	}
	for uri, want := range map[string]Effect{"file:///a": Read, "memo://x": Read, "https://example.org/": Disclose, "HTTP://example.org": Disclose} {
		if got := ResourceEffect(uri); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}
