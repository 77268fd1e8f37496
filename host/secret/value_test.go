package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
)

func TestValueNeverPrints(t *testing.T) {
	const canary = "hunter2-canary"
	v := NewValue(canary)
	inner := struct {
		v Value
		P *Value
	}{v, &v}

	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s"} {
		out = append(out, fmt.Sprintf(verb, v), fmt.Sprintf(verb, &v), fmt.Sprintf(verb, inner), fmt.Sprintf(verb, []Value{v}))
	}
	out = append(out, fmt.Sprint(v), fmt.Errorf("x: %v", v).Error(), v.String(), v.GoString())
	for _, x := range []any{v, &v, inner, map[string]Value{"k": v}, []any{v}} {
		if b, err := json.Marshal(x); err == nil {
			out = append(out, string(b))
		}
		if b, err := jsonv2.Marshal(x); err == nil {
			out = append(out, string(b))
		}
	}
	if b, err := xml.Marshal(v); err == nil {
		out = append(out, string(b))
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v, "in", inner)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v, "in", inner)
	out = append(out, log.String())

	for _, s := range out {
		low := strings.ToLower(s)
		if strings.Contains(low, canary) || strings.Contains(low, fmt.Sprintf("%x", canary)) {
			t.Errorf("the secret was printed: %q", s)
		}
	}
	if got := v.Reveal(); got != canary {
		t.Errorf("Reveal() = %q, want the secret", got)
	}
	if b, err := json.Marshal(v); err != nil || string(b) != `"[secret]"` {
		t.Errorf("json.Marshal = %s, %v", b, err)
	}
}

func TestFingerprint(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	x, y := NewValue("x"), NewValue("y")
	if f := a.Fingerprint(x); len(f) != 8 || f != a.Fingerprint(NewValue(x.Reveal())) {
		t.Errorf("Fingerprint = %q, want eight stable digits", f)
	}
	if a.Fingerprint(x) == a.Fingerprint(y) {
		t.Error("two secrets share a fingerprint")
	}
	if a.Fingerprint(x) == b.Fingerprint(x) {
		t.Error("fingerprints must not be comparable between stores")
	}
	s := Options{Salt: []byte("same")}
	if c, d := New(s), New(s); c.Fingerprint(x) != d.Fingerprint(x) {
		t.Error("the same salt must give the same fingerprint")
	}
}

func TestValueCheck(t *testing.T) {
	for name, c := range map[string]struct {
		v  Value
		ok bool
	}{
		"plain token":    {NewValue("ghp_abc"), true},
		"longest":        {NewValue(strings.Repeat("a", MaxBytes)), true},
		"zero value":     {Value{}, false},
		"empty":          {NewValue(""), false},
		"too long":       {NewValue(strings.Repeat("a", MaxBytes+1)), false},
		"zero byte":      {NewValue("a\x00b"), false},
		"not UTF-8 text": {NewValue("a\xffb"), false},
	} {
		if err := c.v.check(); (err == nil) != c.ok {
			t.Errorf("%s: check() = %v, want ok=%v", name, err, c.ok)
		}
	}
}
