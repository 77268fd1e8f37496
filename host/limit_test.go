package host_test

import (
	"errors"
	"strings"
	"testing"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/elicit"
	"cordon/host/gate"
	"cordon/host/secret"
	"cordon/host/server"

	"github.com/go-json-experiment/json/jsontext"
)

// TestLimit: a limit counts from the next call, is recorded in words, and what is no limit changes nothing.
func TestLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	said, err := r.Limit("one", gate.Limits{PerMinute: 500, Tools: map[string]int{"read_echo": 0}})
	if err != nil || said != "calls in a minute: the usual 120 → 500; calls of read_echo in a minute: no limit → none at all" {
		t.Errorf("%q, %v", said, err)
	}
	if _, err := r.call("one", "read_echo", object{}); err == nil || !strings.Contains(err.Error(), "limit.rate") {
		t.Errorf("a tool that is not to be called: %v", err)
	}
	for what, l := range map[string]gate.Limits{"less than nothing": {PerMinute: -1}, "too much": {PerDay: config.MaxRate + 1}, "of a tool without a name": {Tools: map[string]int{"": 1}}} {
		if said, err := r.Limit("one", l); err == nil {
			t.Errorf("%s: %q", what, said)
		}
	}
	if _, err := r.Limit("nobody", gate.Limits{}); !errors.Is(err, server.ErrUnknown) {
		t.Errorf("an unknown server: %v", err)
	}
	if def, _ := r.Config().Server("one"); def.Rate != 500 || def.Budget != 0 {
		t.Errorf("after what was refused: %+v", def)
	}
	if said, err := r.Limit("one", gate.Limits{}); err != nil || !strings.Contains(said, "500 → the usual 120") {
		t.Errorf("cleared: %q, %v", said, err)
	}
	if said, err := r.Limit("one", gate.Limits{}); err != nil || said != "" {
		t.Errorf("the same again: %q, %v", said, err)
	}
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Errorf("after it was cleared: %v", err)
	}
	entries, err := r.Log().Query(audit.Query{Text: "calls in a minute"})
	if err != nil || len(entries.Entries) != 2 {
		t.Errorf("%d records, %v; want 2", len(entries.Entries), err)
	}
}

// TestCheckAnswer: an answer that holds a secret is not sent, whatever field it is in.
func TestCheckAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.Secrets.UseSession()
	if err := r.Secrets.Set(t.Context(), secret.Ref{Name: "token", Server: "other", Env: "TOKEN"}, secret.NewValue("canary-4711-value")); err != nil {
		t.Fatal(err)
	}
	q, err := elicit.Parse("one", []byte(`{"message":"Who?","requestedSchema":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		action elicit.Action
		values map[string]jsontext.Value
		ok     bool
	}{
		"what fits":            {elicit.Accept, map[string]jsontext.Value{"a": jsontext.Value(`"x"`)}, true},
		"a refusal":            {elicit.Decline, nil, true},
		"a secret":             {elicit.Accept, map[string]jsontext.Value{"a": jsontext.Value(`"x"`), "b": jsontext.Value(`"is canary-4711-value."`)}, false},
		"a secret, encoded":    {elicit.Accept, map[string]jsontext.Value{"a": jsontext.Value(`"Y2FuYXJ5LTQ3MTEtdmFsdWU="`)}, false},
		"a secret, escaped":    {elicit.Accept, map[string]jsontext.Value{"a": jsontext.Value(`"canary\u002d4711\u002dvalue"`)}, false},
		"what is no JSON":      {elicit.Accept, map[string]jsontext.Value{"a": jsontext.Value(`"x`)}, false},
		"a field that is left": {elicit.Accept, map[string]jsontext.Value{"b": jsontext.Value(`"x"`)}, false},
	} {
		err := r.CheckAnswer(q, elicit.Answer{Action: c.action, Values: c.values})
		field, isField := errors.AsType[*elicit.FieldError](err)
		if (err == nil) != c.ok || !c.ok && (!isField || strings.Contains(field.Error(), "canary")) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
