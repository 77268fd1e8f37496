package pin

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func show(ls []Line) string {
	var b strings.Builder
	for _, l := range ls {
		fmt.Fprintf(&b, "%c%d,%d %s\n", l.Sign, l.Old, l.New, l.Text)
	}
	return b.String()
}

func TestDiff(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"nothing":       {"", "", ""},
		"same":          {"a\nb", "a\nb", " 1,1 a\n 2,2 b\n"},
		"added":         {"", "a", "+0,1 a\n"},
		"removed":       {"a", "", "-1,0 a\n"},
		"changed":       {"a\nb\nc", "a\nx\nc", " 1,1 a\n-2,0 b\n+0,2 x\n 3,3 c\n"},
		"inserted":      {"a\nc", "a\nb\nc", " 1,1 a\n+0,2 b\n 2,3 c\n"},
		"two changes":   {"a\nb\nc\nd\ne", "a\nB\nc\nD\ne", " 1,1 a\n-2,0 b\n+0,2 B\n 3,3 c\n-4,0 d\n+0,4 D\n 5,5 e\n"},
		"line end only": {"a", "a\n", " 1,1 a\n+0,2 \n"},
		"repetition":    {"a\na", "a\na\na", " 1,1 a\n 2,2 a\n+0,3 a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := show(Diff(c.old, c.new)); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func sides(ls []Line) (old, new string) {
	var a, b []string
	for _, l := range ls {
		if l.Sign != '+' {
			a = append(a, l.Text)
		}
		if l.Sign != '-' {
			b = append(b, l.Text)
		}
	}
	return strings.Join(a, "\n"), strings.Join(b, "\n")
}

func TestDiffOfHugeTextsIsBounded(t *testing.T) {
	var a, b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&a, "old %d\n", i)
		fmt.Fprintf(&b, "new %d\n", i)
	}
	start := time.Now()
	old, new := sides(Diff(a.String(), b.String()))
	if old != a.String() || new != b.String() {
		t.Error("the sides are not the texts")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v, want less than 2 s", took)
	}
}

func FuzzDiff(f *testing.F) {
	f.Add("a\nb\nc", "a\nx\nc")
	f.Add("", "\n\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		old, new := sides(Diff(a, b))
		if old != a || new != b {
			t.Errorf("got %q and %q, want %q and %q", old, new, a, b)
		}
	})
}
