package inspect

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"cordon/host/tool"
)

// ring is a keyring in memory: name to value.
type ring map[string]string

func (r ring) Each(f func(name, server string, value []byte)) error {
	for name, value := range r {
		f(name, "virustotal", []byte(value))
	}
	return nil
}

const key = "sk-Zq9+/x71_AbÜ c3=="

func std(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
func spaced(s, sep string, every int) string {
	var b strings.Builder
	for i, r := range []rune(s) {
		if i > 0 && i%every == 0 {
			b.WriteString(sep)
		}
		b.WriteRune(r)
	}
	return b.String()
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

func unicodeEscaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04X`, r)
	}
	return b.String()
}

func wide(s string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r + 0xfee0
		}
		return r
	}, s)
}

// evasions are the ways to write a secret that the engine must see through.
func evasions(s string) map[string]string {
	h := hex.EncodeToString([]byte(s))
	return map[string]string{
		"raw":                         s,
		"in a sentence":               "the key is " + s + ", use it",
		"reversed":                    string(reversed([]byte(s))),
		"base64":                      std(s),
		"base64, shifted by one":      std("x" + s + "yz"),
		"base64, shifted by two":      std("xy" + s + "z"),
		"base64, no padding":          strings.TrimRight(std(s), "="),
		"base64url":                   base64.URLEncoding.EncodeToString([]byte("ab" + s)),
		"base64 over lines":           spaced(std("Authorization: Bearer "+s), "\r\n", 20),
		"base64, reversed":            string(reversed([]byte(std(s)))),
		"hex":                         h,
		"hex, upper case":             strings.ToUpper(h),
		"hex with colons":             spaced(h, ":", 2),
		"hex with spaces":             spaced(h, " ", 2),
		"hex as a C array":            "0x" + spaced(h, ", 0x", 2),
		"hex as C escapes":            `\x` + spaced(h, `\x`, 2),
		"hex, odd start":              "f" + h,
		"query-escaped":               url.QueryEscape(s),
		"path-escaped":                url.PathEscape(s),
		"percent, every byte":         percent(s),
		"percent, twice":              url.QueryEscape(url.PathEscape(s)),
		"JSON escapes":                unicodeEscaped(s),
		"JSON in JSON":                strings.ReplaceAll(unicodeEscaped(s), `\`, `\\`),
		"XML entities":                "&#" + spaced(strings.Trim(strings.ReplaceAll(fmt.Sprint([]rune(s)), " ", ";&#"), "[]"), "", 1) + ";",
		"zero-width between":          spaced(s, "\u200b", 1),
		"tags between":                spaced(s, "\U000e0041", 3),
		"soft hyphens between":        spaced(s, "\u00ad", 2),
		"NUL between":                 spaced(s, "\x00", 2),
		"colours between":             spaced(s, "\x1b[31m", 4),
		"C1 colours between":          spaced(s, "\u009b31m", 4),
		"spaces between":              spaced(s, " ", 1),
		"line ends between":           spaced(s, "\n", 5),
		"no-break spaces between":     spaced(s, "\u00a0", 3),
		"in a terminal title":         "\x1b]0;" + s + "\x07",
		"full width":                  wide(s),
		"decomposed":                  strings.ReplaceAll(s, "Ü", "U\u0308"),
		"percent-coded zero width":    spaced(s, "%E2%80%8B", 2),
		"escaped zero width":          strings.ReplaceAll(strings.ReplaceAll(spaced(s, "\x00", 2), `\`, `\\`), "\x00", `\u200b`),
		"base64 of base64":            std(std(s)),
		"base64 of shifted base64":    std("q" + std("x"+s)),
		"base64 of hex":               std(h),
		"base64 of upper-case hex":    std("k=" + strings.ToUpper(h)),
		"base64 of percent":           std(url.QueryEscape(s)),
		"base64 of reversed":          std(string(reversed([]byte(s)))),
		"hex of base64":               hex.EncodeToString([]byte(std(s))),
		"hex of hex":                  hex.EncodeToString([]byte(h)),
		"percent of base64":           url.QueryEscape(std(s)),
		"base64 in a URL":             "https://x.example/?q=" + base64.RawURLEncoding.EncodeToString([]byte("u:"+s)),
		"base64 with zero-width":      spaced(std(s), "\u200d", 3),
		"full-width hex":              wide(h),
		"backslash before each quote": strings.ReplaceAll(s, "/", `\/`),
	}
}

func TestSecretIsFoundHoweverItIsWritten(t *testing.T) {
	for _, secret := range []string{key, "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "p@ss \"wörd\" & \\ 42%", "Ab3$x9Qz"} {
		e := NewSecret(ring{"vt-lookup": secret, "other": "another-secret-value"})
		for how, text := range evasions(secret) {
			found, err := e.Inspect(t.Context(), Subject{Kind: Arguments, Texts: []Text{{"/q", "before. " + text + " .after"}}})
			if err != nil || len(found) != 1 || found[0].Severity != tool.Block || found[0].Rule != "secret.own" || found[0].Where != "/q" || !strings.Contains(found[0].Text, "vt-lookup") {
				t.Errorf("%q, %s: got %+v, %v; want one block naming vt-lookup", secret, how, found, err)
			}
			for _, f := range found {
				if strings.Contains(f.Text, secret) {
					t.Errorf("%s: the finding shows the secret", how)
				}
			}
		}
	}
}

func TestMaskRemovesEveryForm(t *testing.T) {
	for _, secret := range []string{key, "ghp_16C7e42F292c6912E7710c838347Ae178B4a"} {
		e := NewSecret(ring{"vt-lookup": secret})
		for how, text := range evasions(secret) {
			got, n, err := e.Mask("before. " + text + " .after")
			if err != nil || n < 1 || !strings.Contains(got, "[secret vt-lookup]") || !strings.HasPrefix(got, "before. ") || !strings.HasSuffix(got, " .after") {
				t.Errorf("%s: got %q, %d, %v; want it masked and the rest kept", how, got, n, err)
			}
			if found, _ := e.Inspect(t.Context(), Subject{Kind: Arguments, Texts: []Text{{"", got}}}); len(found) > 0 {
				t.Errorf("%s: %q still holds the secret", how, got)
			}
		}
	}
}

func TestMaskLeavesOtherTextAlone(t *testing.T) {
	e := NewSecret(ring{"a": "hunter2hunter2", "b": "correct horse"})
	for _, text := range []string{"", "nothing here\u200b", "hunter 2", strings.Repeat("deadbeef ", 100)} {
		if got, n, err := e.Mask(text); got != text || n != 0 || err != nil {
			t.Errorf("got %q, %d, %v; want %q unchanged", got, n, err, text)
		}
	}
	got, n, err := e.Mask("x hunter2hunter2 y hunter2hunter2 z correct horse")
	if want := "x [secret a] y [secret a] z [secret b]"; got != want || n != 3 || err != nil {
		t.Errorf("got %q, %d, %v; want %q, 3", got, n, err, want)
	}
}

func TestSecretSpreadOverValuesIsFound(t *testing.T) {
	e := NewSecret(ring{"k": "ghp_16C7e42F292c6912"})
	for name, args := range map[string]string{
		"two values":       `{"a":"ghp_16C7e42","b":"F292c6912"}`,
		"array elements":   `["x","ghp_","16C7","e42F","292c","6912"]`,
		"keys":             `{"ghp_16C7":1,"e42F292c6912":2}`,
		"a key":            `{"ghp_16C7e42F292c6912":1}`,
		"characters":       `["g","h","p","_","1","6","C","7","e","4","2","F","2","9","2","c","6","9","1","2"]`,
		"hex over numbers": `["67","68","70","5f","31","36","43","37","65","34","32","46","32","39","32","63","36","39","31","32"]`,
	} {
		texts, err := Leaves([]byte(args))
		if err != nil {
			t.Fatal(err)
		}
		if found, err := e.Inspect(t.Context(), Subject{Kind: Arguments, Texts: texts}); err != nil || len(found) != 1 {
			t.Errorf("%s: got %v, %v; want one finding", name, found, err)
		}
	}
}

func TestShortSecretsAreMatchedWithCare(t *testing.T) {
	for _, c := range []struct {
		secret, text string
		want         int
	}{
		{"abc", "abc", 0},
		{"abcd", "x abcd y", 1},
		{"abcd", std("abcd"), 0},
		{"abcd", "ab cd", 0},
		{"abcd", "dcba", 0},
		{"abcdef", "abc def", 0},
		{"abcdef", hex.EncodeToString([]byte("abcdef")), 1},
		{"abcdef", spaced(hex.EncodeToString([]byte("abcdef")), " ", 2), 1},
		{"abcdefgh", "abcd efgh", 1},
		{"", "anything", 0},
		{"    \n", "anything     \n", 0},
		{"abcdefgh\n", "abcdefgh", 1},
		{"Abcdefgh", "abcdefgh", 0},
	} {
		found, err := NewSecret(ring{"k": c.secret}).Inspect(t.Context(), Subject{Kind: Arguments, Texts: []Text{{"", c.text}}})
		if err != nil || len(found) != c.want {
			t.Errorf("%q in %q: got %v, %v; want %d findings", c.secret, c.text, found, err, c.want)
		}
	}
}

func TestSecretInAResultIsAWarning(t *testing.T) {
	e := NewSecret(ring{"k": "ghp_16C7e42F292c6912"})
	for kind, want := range map[Kind]tool.Severity{Arguments: tool.Block, Definition: tool.Block, Outcome: tool.Warn} {
		found, err := e.Inspect(t.Context(), Subject{Kind: kind, Texts: []Text{{"", "ghp_16C7e42F292c6912"}}})
		if err != nil || len(found) != 1 || found[0].Severity != want {
			t.Errorf("%s: got %v, %v; want %v", kind, found, err, want)
		}
	}
}

func TestSecretsThatChangeAreNoticed(t *testing.T) {
	r := ring{"k": "first-secret-value"}
	e := NewSecret(r)
	see := func(text string) int {
		found, err := e.Inspect(t.Context(), Subject{Kind: Arguments, Texts: []Text{{"", text}}})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if got := see("first-secret-value"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	r["k"] = "second-secret-value"
	if a, b := see("first-secret-value"), see("second-secret-value"); a != 0 || b != 1 {
		t.Errorf("after the change: got %d and %d, want 0 and 1", a, b)
	}
}

// locked is a keyring that cannot be read.
type locked struct{}

func (locked) Each(func(name, server string, value []byte)) error { return errors.New("hunter2") }

func TestAnUnreadableKeyringIsDegraded(t *testing.T) {
	e := NewSecret(locked{})
	if got := New(e).Inspect(t.Context(), Subject{Texts: []Text{{"", "a"}}}); len(got.Degraded) != 1 || strings.Contains(got.Degraded[0], "hunter2") {
		t.Errorf("got %+v, want degraded without the cause's text", got)
	}
	if got, _, err := e.Mask("text"); err == nil || got != "" {
		t.Errorf("got %q, %v; want an error and no text", got, err)
	}
}

func FuzzMask(f *testing.F) {
	for _, text := range evasions(key) {
		f.Add(text, key)
	}
	f.Fuzz(func(t *testing.T, text, secret string) {
		e := NewSecret(ring{"k": secret, "fixed": "ghp_16C7e42F292c6912"})
		got, _, err := e.Mask(text)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) >= 16 && strings.Contains("[secret k][secret fixed]", secret) {
			return
		}
		if found, _ := e.Inspect(context.Background(), Subject{Kind: Arguments, Texts: []Text{{"", got}}}); len(found) > 0 && got != "[secret]" {
			t.Errorf("%q masked to %q still holds %q: %v", text, got, secret, found)
		}
	})
}

func FuzzNormalize(f *testing.F) {
	f.Add("a\u0301\u200b\x1b[31m\xffÜ\u009b3m\ufb01 x")
	f.Fuzz(func(t *testing.T, s string) {
		for _, form := range []Form{0, Fold, Squeeze, Fold | Squeeze, keepANSI} {
			p, q := Normalize(s, form|Places), Normalize(s, form)
			if string(p.Text) != string(q.Text) || len(p.Start) != len(p.Text) || len(p.End) != len(p.Text) {
				t.Fatalf("%q: places change the text or miss some of it", s)
			}
			for i := range p.Start {
				if p.Start[i] < 0 || p.Start[i] >= p.End[i] || int(p.End[i]) > len(s) || i > 0 && p.Start[i] < p.Start[i-1] {
					t.Fatalf("%q: byte %d comes from %d to %d", s, i, p.Start[i], p.End[i])
				}
			}
		}
	})
}

func twenty() ring {
	r := ring{}
	for i := range 20 {
		r[fmt.Sprintf("secret-%d", i)] = fmt.Sprintf("tok_%d_%s", i, hex.EncodeToString([]byte{byte(i), 7, 9, byte(i * 3), 1, 2, 3, 4, 5, 6}))
	}
	return r
}

func tenKiB() Subject {
	line := `The quick brown fox: {"ip":"10.1.2.3","hash":"d41d8cd98f00b204e9800998ecf8427e","n":4656}` + "\n"
	return Subject{Kind: Arguments, Texts: []Text{{"/a", strings.Repeat(line, 10<<10/len(line))}, {"/b", "short"}}}
}

func BenchmarkSecret10K(b *testing.B) {
	e, s := NewSecret(twenty()), tenKiB()
	b.ReportAllocs()
	for b.Loop() {
		if found, err := e.Inspect(b.Context(), s); err != nil || len(found) > 0 {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkSecretBuild20(b *testing.B) {
	r := twenty()
	for b.Loop() {
		if _, err := NewSecret(r).needles(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHidden10K(b *testing.B) {
	s := tenKiB()
	s.Texts[0].Value += "\u202e"
	for b.Loop() {
		if found, err := (Hidden{}).Inspect(b.Context(), s); err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
	}
}

// some lists one secret and fails.
type some struct{ err error }

func (s some) Each(f func(name, server string, value []byte)) error {
	f("token", "one", []byte("s3cr3t-Canary-9f2c7d61"))
	return s.err
}

// TestUnreadSecretsDegrade: those that can be read are found and masked, and nothing counts as clean. Any other fault is
// a fault, also of masking.
func TestUnreadSecretsDegrade(t *testing.T) {
	const held, text = "key s3cr3t-Canary-9f2c7d61.", "nothing here"
	for _, c := range []struct {
		err    error
		usable bool
	}{{nil, true}, {fmt.Errorf("%w: 1", ErrUnread), true}, {errors.New("broken"), false}} {
		e := NewSecret(some{c.err})
		found, err := e.Inspect(t.Context(), Subject{Kind: Arguments, Texts: []Text{{Value: held}}})
		if (err != nil) != (c.err != nil) || (len(found) == 1) != c.usable {
			t.Errorf("%v: found %v, %v", c.err, found, err)
		}
		if _, err := e.Inspect(t.Context(), Subject{Kind: Arguments, Texts: []Text{{Value: text}}}); (err != nil) != (c.err != nil) {
			t.Errorf("%v: a clean text gave %v", c.err, err)
		}
		masked, n, err := e.Mask(held)
		if (err == nil) != c.usable || c.usable && (n != 1 || masked != "key [secret token].") {
			t.Errorf("%v: masked %q, %d, %v", c.err, masked, n, err)
		}
	}
}
