package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cordon/host/tool"
)

// fake is an engine that does what a test says.
type fake struct {
	name string
	do   func(ctx context.Context, s Subject) ([]tool.Finding, error)
}

func (f fake) Name() string { return f.name }
func (f fake) Inspect(ctx context.Context, s Subject) ([]tool.Finding, error) {
	return f.do(ctx, s)
}

func finds(n int, severity tool.Severity) fake {
	return fake{"finds", func(context.Context, Subject) ([]tool.Finding, error) {
		all := make([]tool.Finding, n)
		for i := range all {
			all[i] = tool.Finding{Rule: "finds.x", Severity: severity, Text: strings.Repeat("ä", 200)}
		}
		return all, nil
	}}
}

func TestAFailingEngineIsDegradedAndTheOthersStillRun(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(ctx context.Context, s Subject) ([]tool.Finding, error)
		want string
	}{
		"error": {func(context.Context, Subject) ([]tool.Finding, error) { return nil, errors.New("no rules") }, "bad: no rules"},
		"panic": {func(context.Context, Subject) ([]tool.Finding, error) { panic("hunter2") }, "bad: crashed"},
		"too slow": {func(ctx context.Context, _ Subject) ([]tool.Finding, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "bad: took longer than 250ms"},
		"too slow and silent": {func(ctx context.Context, _ Subject) ([]tool.Finding, error) {
			<-ctx.Done()
			return nil, nil
		}, "bad: took longer than 250ms"},
		"deaf to its context": {func(context.Context, Subject) ([]tool.Finding, error) {
			time.Sleep(time.Hour)
			return nil, nil
		}, "bad: took longer than 250ms"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(fake{"bad", c.do}, finds(1, tool.Warn))
				got := p.Inspect(t.Context(), Subject{})
				if !slices.Equal(got.Degraded, []string{c.want}) || len(got.Findings) != 1 || got.Findings[0].Engine != "finds" {
					t.Errorf("got %+v; want %q degraded and one finding", got, c.want)
				}
				p.Wait()
			})
		})
	}
}

func TestAWorkingEngineIsNotDegraded(t *testing.T) {
	got := New(finds(0, tool.Info), Hidden{}).Inspect(t.Context(), Subject{Texts: []Text{{"", "plain"}}})
	if len(got.Findings) != 0 || len(got.Degraded) != 0 || got.Blocked() {
		t.Errorf("got %+v, want a clean verdict", got)
	}
}

func TestFindingsOfAFailingEngineAreKept(t *testing.T) {
	e := fake{"half", func(context.Context, Subject) ([]tool.Finding, error) {
		return []tool.Finding{{Rule: "half.x", Severity: tool.Block}}, errors.New("stopped early")
	}}
	if got := New(e).Inspect(t.Context(), Subject{}); !got.Blocked() || len(got.Degraded) != 1 {
		t.Errorf("got %+v; want blocked and degraded", got)
	}
}

func TestNoEnginesIsDegraded(t *testing.T) {
	for name, p := range map[string]*Pipeline{"zero": {}, "empty": New()} {
		if got := p.Inspect(t.Context(), Subject{}); len(got.Degraded) == 0 {
			t.Errorf("%s: got %+v, want degraded", name, got)
		}
	}
}

func TestAHugeSubjectIsDegraded(t *testing.T) {
	p := New(Hidden{})
	if got := p.Inspect(t.Context(), Subject{Texts: []Text{{"", strings.Repeat("a", maxSubject+1)}}}); len(got.Degraded) != 1 {
		t.Errorf("got %+v, want degraded", got)
	}
	if got := p.Inspect(t.Context(), Subject{Texts: []Text{{"", strings.Repeat("a", maxSubject)}}}); len(got.Degraded) != 0 {
		t.Errorf("at the limit: got %+v, want clean", got)
	}
}

func TestACancelledInspectionIsDegraded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got := New(Hidden{}).Inspect(ctx, Subject{Texts: []Text{{"", "a"}}}); len(got.Degraded) != 1 {
		t.Errorf("got %+v, want degraded", got)
	}
}

func TestAnEngineThatHangsIsNotStartedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var started atomic.Int32
		p := New(fake{"hung", func(context.Context, Subject) ([]tool.Finding, error) {
			started.Add(1)
			<-release
			return nil, nil
		}})
		for range 5 {
			if got := p.Inspect(t.Context(), Subject{}); len(got.Degraded) != 1 {
				t.Errorf("got %+v, want degraded", got)
			}
		}
		if got := started.Load(); got != maxOverdue {
			t.Errorf("started %d times, want %d", got, maxOverdue)
		}
		close(release)
		p.Wait()
		if got := p.Inspect(t.Context(), Subject{}); len(got.Degraded) != 0 {
			t.Errorf("after it ended: got %+v, want clean", got)
		}
	})
}

func TestFindingsAreBounded(t *testing.T) {
	got := New(finds(5000, tool.Block)).Inspect(t.Context(), Subject{}).Findings
	if len(got) != maxFindings || got[maxFindings-1].Text != "4901 more findings are not listed." || got[maxFindings-1].Severity != tool.Block {
		t.Errorf("got %d findings, the last %+v", len(got), got[len(got)-1])
	}
	if len(got[0].Text) > maxTextBytes {
		t.Errorf("got a text of %d bytes, want at most %d", len(got[0].Text), maxTextBytes)
	}
}

func TestLeaves(t *testing.T) {
	got, err := Leaves([]byte(`{"a":"x","b":[1,true,null,{"c/d":"y"}],"e":{}}`))
	want := []Text{{"/a", "x"}, {"/b/0", "1"}, {"/b/1", "true"}, {"/b/3/c~1d", "y"}, {"/a", "a"}, {"/b", "b"}, {"/b/3/c~1d", "c/d"}, {"/e", "e"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "{", `{"a"`, "x"} {
		if got, err := Leaves([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func ExamplePipeline() {
	p := New(Hidden{})
	v := p.Inspect(context.Background(), Subject{Kind: Arguments, Texts: []Text{{"/path", "invoice\u202efdp.exe"}}})
	fmt.Println(v.Findings[0].Rule, v.Findings[0].Text)
	// Output: hidden.bidi 1 bidirectional control: U+202E at byte 7.
}
