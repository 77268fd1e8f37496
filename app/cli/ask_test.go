package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cordon/host/consent"
	"cordon/host/elicit"
)

// typing is an asking whose person types lines, and what it shows.
func typing(q elicit.Question, after time.Duration, lines ...string) (*asking, *strings.Builder) {
	screen := new(strings.Builder)
	e := &env{check: func(q elicit.Question, a elicit.Answer) error { return q.Check(a) }}
	return &asking{e: e, q: q, line: func(ask string) (string, time.Duration, error) {
		screen.WriteString(ask)
		if len(lines) == 0 {
			return "", 0, errors.New("nothing more is typed")
		}
		line := lines[0]
		lines = lines[1:]
		return line, after, nil
	}}, screen
}

func parse(t *testing.T, schema string) elicit.Question {
	t.Helper()
	q, err := elicit.Parse("far", []byte(`{"message":"Who?","requestedSchema":{"type":"object","properties":`+schema+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		schema string
		lines  []string
		want   string // "" is an error, "decline" a refusal
	}{
		"text":                     {`{"a":{"type":"string"}}`, []string{"y", "one two", "y"}, `{"a":"one two"}`},
		"text with what is hidden": {`{"a":{"type":"string"}}`, []string{"y", "x\u202e\x1b", "y"}, "{\"a\":\"x\u202e\\u001b\"}"},
		"JSON text":                {`{"a":{"type":"string"}}`, []string{"y", `" - "`, "y"}, `{"a":" - "}`},
		"one quote":                {`{"a":{"type":"string"}}`, []string{"y", `"`, "y"}, `{"a":"\""}`},
		"an injected member":       {`{"a":{"type":"string"}}`, []string{"y", `x","b":"y`, "y"}, `{"a":"x\",\"b\":\"y"}`},
		"a proposal":               {`{"a":{"type":"integer","default":3}}`, []string{"y", "", "y"}, `{"a":3}`},
		"a proposal left out":      {`{"a":{"type":"integer","default":3}}`, []string{"y", "-", "y"}, `{}`},
		"a proposal not confirmed": {`{"a":{"type":"integer","default":3}}`, []string{"y", ""}, ""},
		"a proposal declined":      {`{"a":{"type":"integer","default":3}}`, []string{"y", "", "n"}, "decline"},
		"declined at once":         {`{"a":{"type":"string"}}`, []string{"n"}, "decline"},
		"an odd answer":            {`{"a":{"type":"string"}}`, []string{"y", "x", "send", "", "yes"}, `{"a":"x"}`},
		"numbers":                  {`{"a":{"type":"number"}}`, []string{"y", "1,5", "0x1", "Infinity", "1 2", "-1.5e2", "y"}, `{"a":-1.5e2}`},
		"a whole number":           {`{"a":{"type":"integer"}}`, []string{"y", "1.5", "2", "y"}, `{"a":2}`},
		"yes and no":               {`{"a":{"type":"boolean"},"b":{"type":"boolean"}}`, []string{"y", "maybe", "yes", "N", "y"}, `{"a":true,"b":false}`},
		"choices":                  {`{"a":{"type":"string","enum":["2","1"]}}`, []string{"y", "3", "0", "-1", "1 2", "2", "y"}, `{"a":"1"}`},
		"some of them":             {`{"a":{"type":"array","items":{"type":"string","enum":["x","y"]}}}`, []string{"y", "1 1", "x", "2,1", "y"}, `{"a":["y","x"]}`},
		"none of them":             {`{"a":{"type":"array","items":{"type":"string","enum":["x","y"]}}}`, []string{"y", "none", "y"}, `{"a":[]}`},
		"filled in again":          {`{"a":{"type":"string"}}`, []string{"y", "x", "e", "", "e", "z", "y"}, `{"a":"z"}`},
		"no fields":                {`{}`, []string{"y"}, `{}`},
	} {
		s, screen := typing(parse(t, c.schema), time.Minute, c.lines...)
		a, err := s.form()
		got := ""
		switch {
		case err == nil && a.Action == elicit.Decline:
			got = "decline"
		case err == nil:
			parts := []string{}
			for _, f := range s.q.Fields {
				if v, ok := a.Values[f.Name]; ok {
					parts = append(parts, `"`+f.Name+`":`+string(v))
				}
			}
			got = "{" + strings.Join(parts, ",") + "}"
		}
		if got != c.want {
			t.Errorf("%s: %s, %v, want %s\n%s", name, got, err, c.want, screen)
		}
		if strings.ContainsAny(screen.String(), "\x1b\u202e") {
			t.Errorf("%s: shown as it is: %q", name, screen)
		}
	}
}

// What was typed before a question could be read neither sends nor opens anything.
func TestTypedAhead(t *testing.T) {
	page, err := elicit.Parse("far", []byte(`{"mode":"url","message":"Pay","url":"https://pay.example/","elicitationId":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]elicit.Question{"form": parse(t, `{"a":{"type":"string"}}`), "agreement": parse(t, `{}`), "page": page} {
		s, screen := typing(q, consent.Arming-1, "y", "y", "y", "y")
		f := s.form
		if q.Kind == elicit.URL {
			f = s.page
		}
		if a, err := f(); err == nil || !strings.Contains(screen.String(), "it does not count") {
			t.Errorf("%s: %+v, %v\n%s", name, a, err, screen)
		}
	}
}

// FuzzForm: whatever a server asks and a person types, nothing is shown as it is, and nothing is sent that does not fit or was not shown.
func FuzzForm(f *testing.F) {
	f.Add(`{"message":"Who?","requestedSchema":{"type":"object","properties":{"a":{"type":"string","default":"x","description":"y\nz"}}}}`, "y\n\ny")
	f.Add(`{"message":"\u001b[2J","requestedSchema":{"type":"object","properties":{"a":{"type":"array","items":{"enum":["x"]}}}}}`, "y\n1\ny")
	f.Fuzz(func(t *testing.T, params, typed string) {
		q, err := elicit.Parse("far", []byte(params))
		if err != nil || q.Kind != elicit.Form {
			return
		}
		s, screen := typing(q, time.Minute, strings.Split(typed, "\n")...)
		a, err := s.form()
		if strings.ContainsFunc(screen.String(), func(r rune) bool { return r != '\n' && consent.EscapeJSON(string(r)) != string(r) }) {
			t.Fatalf("shown as it is: %q", screen)
		}
		if err != nil || a.Action != elicit.Accept {
			return
		}
		if err := q.Check(a); err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		for name, v := range a.Values {
			if want := consent.Escape(name) + " = " + consent.EscapeJSON(string(v)); !strings.Contains(screen.String(), want) {
				t.Fatalf("%s was not shown:\n%s", want, screen)
			}
		}
	})
}
