package elicit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func form(properties, more string) string {
	return `{"mode":"form","message":"More?","requestedSchema":{"type":"object","properties":{` + properties + `}` + more + `}}`
}

func TestParse(t *testing.T) {
	t.Parallel()
	q, err := Parse("s", jsontext.Value(form(`"name":{"type":"string","title":"Your name","minLength":2,"maxLength":10,"default":"Ana"},"age":{"type":"integer","minimum":0,"maximum":150},
		"rate":{"type":"number","default":0.5},"mail":{"type":"string","format":"email"},"sure":{"type":"boolean","default":true},"colour":{"type":"string","enum":["r","g"],"enumNames":["Red","Green"]},
		"level":{"type":"string","oneOf":[{"const":"1","title":"Low"},{"const":"2","title":"High"}]},"tags":{"type":"array","minItems":1,"maxItems":2,"items":{"type":"string","enum":["a","b","c"]}}`, `,"required":["name"]`)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range q.Fields {
		names = append(names, fmt.Sprintf("%s %s %v %d", f.Name, f.Type, f.Required, len(f.Options)))
	}
	if got := strings.Join(names, ", "); q.Kind != Form || q.Server != "s" || got != "name text true 0, age integer false 0, colour choice false 2, level choice false 2, mail text false 0, rate number false 0, sure boolean false 0, tags choices false 3" {
		t.Errorf("%+v: %s", q, got)
	}
	q, err = Parse("s", jsontext.Value(`{"mode":"url","message":"Sign in","url":"https://xn--exmple-cua.example:8443/a?b=c","elicitationId":"1"}`))
	if err != nil || q.Kind != URL || q.Host != "xn--exmple-cua.example" {
		t.Errorf("%+v, %v", q, err)
	}
	if _, err := Parse("s", jsontext.Value(`{"message":"More?","requestedSchema":{"type":"object","properties":{}}}`)); err != nil {
		t.Errorf("without a mode: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	property := func(p string) string { return form(`"x":`+p, "") }
	for name, c := range map[string]struct{ in, want string }{
		"no object":           {`[]`, "malformed"},
		"no text":             {`{"requestedSchema":{"type":"object","properties":{}}}`, "no text"},
		"blank text":          {`{"message":" \n","requestedSchema":{"type":"object","properties":{}}}`, "no text"},
		"long text":           {`{"message":"` + strings.Repeat("x", maxMessage+1) + `","requestedSchema":{"type":"object","properties":{}}}`, "no text"},
		"unknown member":      {`{"message":"m","requestedSchema":{"type":"object","properties":{}},"then":"call"}`, "malformed"},
		"another case":        {`{"Message":"m","message":"n","requestedSchema":{"type":"object","properties":{}}}`, "malformed"},
		"twice":               {`{"message":"m","message":"n","requestedSchema":{"type":"object","properties":{}}}`, "malformed"},
		"a task":              {`{"message":"m","task":{},"requestedSchema":{"type":"object","properties":{}}}`, "task"},
		"unknown mode":        {`{"mode":"voice","message":"m"}`, "unknown mode"},
		"form with address":   {`{"message":"m","url":"https://a","requestedSchema":{"type":"object","properties":{}}}`, "address besides"},
		"a cycle":             {form(`"x":{"$ref":"#"}`, ""), "simple value"},
		"a reference":         {form(``, `,"$ref":"#"`), "flat"},
		"definitions":         {form(``, `,"$defs":{}`), "flat"},
		"nested":              {property(`{"type":"object","properties":{}}`), "simple"},
		"a list of numbers":   {property(`{"type":"array","items":{"type":"number"}}`), "other than"},
		"a list of lists":     {property(`{"type":"array","items":{"type":"array"}}`), "other than"},
		"a pattern":           {property(`{"type":"string","pattern":"(a+)+$"}`), "simple value"},
		"no type":             {property(`{}`), "no simple type"},
		"several types":       {property(`{"type":["string","null"]}`), "simple value"},
		"unknown format":      {property(`{"type":"string","format":"hostname"}`), "format"},
		"wrong default":       {property(`{"type":"string","default":7}`), "filled in"},
		"default not there":   {property(`{"type":"string","enum":["a"],"default":"b"}`), "filled in"},
		"bounds":              {property(`{"type":"string","minLength":9,"maxLength":2}`), "bounds"},
		"number bounds":       {property(`{"type":"number","minimum":2,"maximum":1}`), "bounds"},
		"choice twice":        {property(`{"type":"string","enum":["a","a"]}`), "twice"},
		"names in part":       {property(`{"type":"string","enum":["a","b"],"enumNames":["A"]}`), "in part"},
		"choice of nothing":   {property(`{"type":"string","oneOf":[{"title":"A"}]}`), "no value"},
		"many choices":        {property(`{"type":"string","enum":[` + strings.TrimSuffix(numbered(maxOptions+1), ",") + `]}`), "choices"},
		"many fields":         {form(strings.TrimSuffix(fieldsOf(maxFields+1), ","), ""), "fields"},
		"demands another":     {form(`"x":{"type":"boolean"}`, `,"required":["y"]`), "does not have"},
		"a long name":         {form(`"`+strings.Repeat("n", maxName+1)+`":{"type":"boolean"}`, ""), "name"},
		"a hidden name":       {form(`"a\u202eb":{"type":"boolean"}`, ""), "name"},
		"a page by http":      {`{"mode":"url","message":"m","url":"http://a.example/","elicitationId":"1"}`, "https"},
		"a script":            {`{"mode":"url","message":"m","url":"javascript:alert(1)","elicitationId":"1"}`, "https"},
		"a file":              {`{"mode":"url","message":"m","url":"file:///etc/passwd","elicitationId":"1"}`, "https"},
		"a name before":       {`{"mode":"url","message":"m","url":"https://bank.example@evil.example/","elicitationId":"1"}`, "before the host"},
		"a look-alike":        {`{"mode":"url","message":"m","url":"https://bаnk.example/","elicitationId":"1"}`, "plain letters"},
		"an escaped one":      {`{"mode":"url","message":"m","url":"https://%D0%B0pple.com/login","elicitationId":"1"}`, "plain letters"},
		"another path":        {`{"mode":"url","message":"m","url":"https://a.example/\u0430","elicitationId":"1"}`, "ASCII"},
		"a zone":              {`{"mode":"url","message":"m","url":"https://[fe80::1%25en0]/","elicitationId":"1"}`, "plain letters"},
		"the window's own":    {form(`"__proto__":{"type":"boolean"}`, ""), "name"},
		"a hidden title":      {property(`{"type":"boolean","title":"pass\u200bword"}`), "cannot be seen"},
		"a hidden choice":     {property(`{"type":"string","enum":["a\u202eb"]}`), "cannot be seen"},
		"a hidden default":    {property(`{"type":"string","default":"a\nb"}`), "cannot be seen"},
		"a line break":        {`{"mode":"url","message":"m","url":"https://a.example/\n","elicitationId":"1"}`, "https"},
		"a page of a long id": {`{"mode":"url","message":"m","url":"https://a.example/","elicitationId":"` + strings.Repeat("a", 200) + `"}`, "long id"},
		"page with fields":    {`{"mode":"url","message":"m","url":"https://a.example/","elicitationId":"1","requestedSchema":{"type":"object","properties":{}}}`, "has fields"},
	} {
		if q, err := Parse("s", jsontext.Value(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, q, err, c.want)
		}
	}
	for _, f := range []string{`"password":{"type":"string"}`, `"x":{"type":"string","title":"Your PASSPHRASE"}`, `"apiKey":{"type":"string"}`, `"api_key":{"type":"string"}`, `"accessToken":{"type":"string"}`,
		`"x":{"type":"string","description":"paste your private key"}`, `"otp":{"type":"string"}`, `"pin":{"type":"integer"}`, `"one_time_code":{"type":"string"}`, `"x":{"type":"string","title":"Recovery code"}`, `"x":{"type":"string","description":"Never mind. Your pin, please"}`, `"pin":{"type":"string","description":"do not give us your pin"}`, `"x":{"type":"string","format":"password"}`} {
		if _, err := Parse("s", jsontext.Value(form(f, ""))); !errors.Is(err, ErrSecret) {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := Parse("s", jsontext.Value(`{"message":"Type your GitHub password below","requestedSchema":{"type":"object","properties":{"note":{"type":"string"}}}}`)); !errors.Is(err, ErrSecret) {
		t.Errorf("in the message: %v", err)
	}
	if _, err := Parse("s", jsontext.Value(`{"message":"Reset the password of ana?","requestedSchema":{"type":"object","properties":{"sure":{"type":"boolean"}}}}`)); err != nil {
		t.Errorf("nothing to type it in: %v", err)
	}
	for _, f := range []string{`"shipping":{"type":"string"}`, `"opinion":{"type":"string"}`, `"keyword":{"type":"string"}`, `"spinner":{"type":"string"}`, `"n":{"type":"integer","description":"Your favorite integer (do not give us your phone number, pin, or other sensitive info)"}`} {
		if _, err := Parse("s", jsontext.Value(form(f, ""))); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d",`, i)
	}
	return b.String()
}

func fieldsOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"f%d":{"type":"boolean"},`, i)
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	q, err := Parse("s", jsontext.Value(form(`"name":{"type":"string","minLength":2,"maxLength":4},"age":{"type":"integer","minimum":0,"maximum":150},"mail":{"type":"string","format":"email"},
		"sure":{"type":"boolean"},"colour":{"type":"string","enum":["r","g"]},"tags":{"type":"array","minItems":1,"maxItems":2,"items":{"enum":["a","b","c"]}},"day":{"type":"string","format":"date"}`, `,"required":["name"]`)))
	if err != nil {
		t.Fatal(err)
	}
	for values, want := range map[string]string{
		`name "Ana"`: "", `name "Ana" age 7 sure false colour "g" tags ["a","c"] mail "a@b" day "2026-11-27"`: "", `name "界界"`: "",
		``: "name: it has to", `name 7`: "not text", `name "A"`: "at least 2", `name "Anana"`: "at most 4", `name "Ana" age 1.5`: "whole", `name "Ana" age "7"`: "not a number", `name "Ana" age -1`: "less",
		`name "Ana" age 151`: "more", `name "Ana" age 1e300`: "not a number", `name "Ana" sure "true"`: "neither", `name "Ana" sure null`: "neither", `name "Ana" colour "b"`: "none of", `name "Ana" tags []`: "at least 1",
		`name "Ana" tags ["a","b","c"]`: "at most 2", `name "Ana" tags ["a","a"]`: "twice", `name "Ana" tags "a"`: "no list", `name "Ana" mail "a"`: "form email", `name "Ana" day "tomorrow"`: "form date",
		`name "Ana" other 1`: "no such field",
	} {
		a := Answer{Action: Accept, Values: map[string]jsontext.Value{}}
		words := strings.Fields(values)
		for i := 0; i+1 < len(words); i += 2 {
			a.Values[words[i]] = jsontext.Value(words[i+1])
		}
		err := q.Check(a)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", values, err, want)
		}
	}
	for a, ok := range map[*Answer]bool{{Action: Decline}: true, {Action: Cancel}: true, {Action: "yes"}: false, {}: false, {Action: Decline, Values: map[string]jsontext.Value{"name": jsontext.Value(`"Ana"`)}}: false} {
		if err := q.Check(*a); (err == nil) != ok {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Desk
		q, err := Parse("s", jsontext.Value(form(`"n":{"type":"integer"}`, `,"required":["n"]`)))
		if err != nil {
			t.Fatal(err)
		}
		answers := make(chan Answer, 100)
		ask := func(ctx context.Context) { go func() { answers <- d.Ask(ctx, q) }() }
		ask(t.Context())
		synctest.Wait()
		first, waiting, ok := d.Current()
		if !ok || waiting != 0 || first.Ticket == "" {
			t.Fatalf("%+v, %d, %v", first, waiting, ok)
		}
		yes := Answer{Action: Accept, Values: map[string]jsontext.Value{"n": jsontext.Value(`1`)}}
		var fe *FieldError
		if err := d.Answer(first.Ticket, Answer{Action: Accept}); !errors.As(err, &fe) || fe.Field != "n" {
			t.Errorf("an answer that does not fit: %v", err)
		}
		if err := d.Answer("other", yes); !errors.Is(err, ErrStale) {
			t.Errorf("another question: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		ask(gone)
		ask(t.Context())
		synctest.Wait()
		cancel() // while it waits behind the first
		if a := <-answers; a.Action != Cancel {
			t.Errorf("cancelled: %+v", a)
		}
		if err := d.Answer(first.Ticket, yes); err != nil {
			t.Fatal(err)
		}
		if a := <-answers; a.Action != Accept || string(a.Values["n"]) != "1" {
			t.Errorf("%+v", a)
		}
		synctest.Wait()
		second, _, ok := d.Current()
		if !ok || second.Ticket == first.Ticket {
			t.Fatalf("%+v, %v", second, ok)
		}
		if err := d.Answer(first.Ticket, yes); !errors.Is(err, ErrStale) {
			t.Errorf("the one before: %v", err)
		}
		time.Sleep(Patience + time.Second) // nobody is there
		if a := <-answers; a.Action != Cancel {
			t.Errorf("%+v", a)
		}
		var wg sync.WaitGroup
		many, stop := context.WithCancel(t.Context())
		for range 3 * maxWaiting {
			wg.Go(func() { d.Ask(many, q) })
		}
		synctest.Wait()
		if _, waiting, _ := d.Current(); waiting != maxWaiting-1 {
			t.Errorf("%d wait", waiting)
		}
		stop()
		wg.Wait()
		if _, _, ok := d.Current(); ok {
			t.Error("something is left")
		}
	})
}

// FuzzParse: whatever a server asks, what a person sees is within bounds, fits itself, and asks for no secret.
func FuzzParse(f *testing.F) {
	f.Add(form(`"name":{"type":"string","default":"Ana"},"n":{"type":"integer","default":1},"c":{"type":"array","items":{"enum":["a"]},"default":["a"]}`, ""))
	f.Add(`{"mode":"url","message":"Sign in","url":"https://a.example/","elicitationId":"1"}`)
	f.Fuzz(func(t *testing.T, in string) {
		q, err := Parse("s", jsontext.Value(in))
		if err != nil {
			return
		}
		if len(q.Fields) > maxFields || len(q.Message) > maxMessage || q.Kind == URL && !strings.HasPrefix(strings.ToLower(q.URL), "https://") {
			t.Fatalf("%+v", q)
		}
		a := Answer{Action: Accept, Values: map[string]jsontext.Value{}}
		for _, f := range q.Fields {
			if asksForSecret(f.Name, f.Title, f.Description) {
				t.Fatalf("%+v", f)
			}
			if f.Default != nil {
				a.Values[f.Name] = f.Default
			} else if f.Required {
				return
			}
		}
		if err := q.Check(a); err != nil {
			t.Fatalf("what it is filled in with does not fit: %v", err)
		}
	})
}
