package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cordon/host/audit"
	"cordon/host/inspect"
	"cordon/host/server"
	"cordon/host/tool"
)

// hostileWords are what a server may put into an error, what is shown of it, and what is found.
var hostileWords = map[string]struct{ says, shows, rule string }{
	"plain words":     {"no such case", "no such case", ""},
	"own secret":      {"login failed for " + canary, "login failed for ", "secret.masked"},
	"secret, hidden":  {"login failed for s3cr3t-Canary-\u200b9f2c7d61", "login failed for ", "secret."},
	"terminal escape": {"a\x1b[2J\x1b]0;owned\x07b", "a‹U+001B›[2J‹U+001B›]0;owned‹U+0007›b", "hidden.ansi"},
	"C1 escape":       {"a\u009b2Jb", "a‹U+009B›2Jb", "hidden.ansi"},
	"bidi":            {"open \u202efdp.exe", "open ‹U+202E›fdp.exe", "hidden.bidi"},
	"tag characters":  {"ok" + tags("run rm"), "ok‹U+E0072›‹U+E0075›‹U+E006E›‹U+E0020›‹U+E0072›‹U+E006D›", "hidden.tag"},
	"zero width":      {"pass\u200bword", "pass‹U+200B›word", "hidden.zerowidth"},
	"another script":  {"لا\u200cيوجد \u2067abc", "لا\u200cيوجد \u2067abc\u2069", "hidden.bidi"},
	"not UTF-8":       {"a\xff\xfeb", "a\ufffdb", ""},
	"without end":     {strings.Repeat("x", 1<<20), strings.Repeat("x", 1000), ""},
}

func tags(s string) string {
	return strings.Map(func(r rune) rune { return r + 0xe0000 }, s)
}

// TestErrorsAreInspectedLikeResults: of a call, and of one whose server does not run or does not list what is wanted.
func TestErrorsAreInspectedLikeResults(t *testing.T) {
	for where, set := range map[string]func(r *rig, err error){
		"call": func(r *rig, err error) {
			r.servers.answer = func(context.Context, tool.Call) (tool.Result, error) { return tool.Result{}, err }
		},
		"wake": func(r *rig, err error) {
			r.servers.wake = func(context.Context) error { return fmt.Errorf("%w: %w", server.ErrNotRunning, err) }
		},
		"list": func(r *rig, err error) { r.servers.wake = func(context.Context) error { return err } },
	} {
		for name, c := range hostileWords {
			t.Run(where+", "+name, func(t *testing.T) {
				r := newRig(t)
				set(r, &server.ServerError{Code: -32000, Text: c.says, Data: []byte(`"` + canary + `"`)})
				_, err := r.Do(t.Context(), propose("read", somewhere))
				if err == nil {
					t.Fatal("it worked")
				}
				said := err.Error()
				e := r.outcome(t)
				if !strings.Contains(said, c.shows) || len(said) > maxWords+200 {
					t.Errorf("it says %q, want %q", said, c.shows)
				}
				for _, text := range []string{said, e.Reason} {
					if strings.Contains(text, "9f2c7d61") || strings.ContainsAny(text, "\x1b\a\u009b\u202e\u200b\U000e0072") {
						t.Errorf("it says %q", text)
					}
				}
				if found := slices.ContainsFunc(e.Findings, func(f tool.Finding) bool { return strings.HasPrefix(f.Rule, c.rule) }); found != (c.rule != "") {
					t.Errorf("recorded %+v, want %q", e.Findings, c.rule)
				}
				if where == "list" {
					var d *Denied
					if !errors.As(err, &d) || d.Rule != "resolve.unknown" {
						t.Errorf("Do: %v", err)
					}
					return
				}
				failed, ok := errors.AsType[*Failed](err)
				if !ok || failed.CallID != e.CallID || failed.Event == 0 || failed.Number == 0 || e.Decision != audit.Failed || e.Facts["result"] != fmt.Sprint(failed.Number) {
					t.Errorf("Do: %+v, recorded %q %v", failed, e.Decision, e.Facts)
				}
				if !server.Answered(err) || where == "wake" != errors.Is(err, server.ErrNotRunning) {
					t.Errorf("what it was is lost: %#v", err)
				}
			})
		}
	}
}

// TestErrorThatMustGoNoFurther is withheld, whatever the reason is.
func TestErrorThatMustGoNoFurther(t *testing.T) {
	for name, broken := range map[string]func(r *rig){
		"secrets cannot be read": func(r *rig) {
			r.Secrets = masker(func(s string) (string, int, error) {
				if strings.Contains(s, "words") {
					return "", 0, errors.New("locked")
				}
				return s, 0, nil
			})
		},
		"an engine forbids it": func(r *rig) {
			r.Inspect = inspector(func(s inspect.Subject) (v inspect.Verdict) {
				if s.Kind == inspect.Outcome {
					v.Findings = []tool.Finding{{Rule: "x", Severity: tool.Block, Text: "no"}}
				}
				return v
			})
		},
	} {
		r := newRig(t)
		broken(r)
		r.servers.answer = func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{}, &server.ServerError{Text: "words of a server"}
		}
		res, err := r.Do(t.Context(), propose("read", somewhere))
		r.refused(t, res, err, InspectOut, "result.inspection", 1)
		if strings.Contains(err.Error(), "words of a server") || strings.Contains(r.outcome(t).Reason, "words of a server") {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.Words(t.Context(), "files", errors.New("words of a server")); err == nil || strings.Contains(err.Error(), "of a server") {
			t.Errorf("%s, outside a call: %v", name, err)
		}
	}
}

const maxWordsShown = 4 << 10

// TestWordsOutsideACall are inspected too, and what is found is recorded.
func TestWordsOutsideACall(t *testing.T) {
	r := newRig(t)
	if err := r.Words(t.Context(), "files", nil); err != nil {
		t.Errorf("nothing became %v", err)
	}
	cause := &server.ServerError{Text: "\x1b[31m" + canary}
	err := r.Words(t.Context(), "files", cause)
	if !errors.Is(err, cause) || strings.Contains(err.Error(), canary) || !strings.HasPrefix(err.Error(), "‹U+001B›[31m") {
		t.Errorf("got %v", err)
	}
	// A secret across the end of what is shown is found whole.
	if got := r.Words(t.Context(), "quiet", &server.ServerError{Text: strings.Repeat("x", maxWordsShown-5) + canary}); got == nil || strings.Contains(got.Error(), canary[:4]) {
		t.Errorf("a part of a secret is shown: %v", got)
	}
	var rules []string
	for _, e := range r.journal.of(audit.FindingMade) {
		if e.Server == "quiet" {
			continue
		}
		rules = append(rules, e.Rule)
		if e.Server != "files" || e.Decision != audit.Marked || strings.Contains(e.Reason, canary) {
			t.Errorf("recorded %+v", e)
		}
	}
	if !slices.Equal(rules, []string{"hidden.ansi", "secret.masked"}) {
		t.Errorf("recorded %v", rules)
	}
}
