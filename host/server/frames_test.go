package server

import (
	"errors"
	"strings"
	"testing"
)

// What passed can be looked at, during a session and after it, and shows no known secret: not even the beginning of one that is cut off.
func TestFrames(t *testing.T) {
	t.Parallel()
	const token = "tok-5b1f77c0"
	r := newRig(t, "ok", func(o *Options) { o.Mask = func(s string) string { return strings.ReplaceAll(s, token, "[masked]") } })
	if frames, err := r.Frames("one"); err != nil || len(frames) != 0 {
		t.Errorf("before the first session: %+v, %v", frames, err)
	}
	r.start()
	for before := range 40 { // at the end of what is kept, at each offset
		if _, err := r.call("read_echo", `{"text":"`+strings.Repeat("x", 8000+before*5)+token+strings.Repeat("y", 9000)+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	frames, err := r.Frames("one")
	if err != nil || len(frames) < 60 || r.view().Frames < len(frames) {
		t.Fatalf("%d frames of %d, %v", len(frames), r.view().Frames, err)
	}
	calls := 0
	for _, f := range frames {
		if i := strings.Index(f.Text, "tok-"); i >= 0 {
			t.Errorf("%q is shown of the secret", f.Text[i:])
		}
		if f.Method == "tools/call" {
			calls++
			if len(f.Text) > 5<<10 || f.Size < 17_000 {
				t.Errorf("%d bytes of %d are shown", len(f.Text), f.Size)
			}
		}
	}
	if calls < 60 {
		t.Errorf("%d of the frames are calls and their answers", calls)
	}
	if _, err := r.Frames("nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("of nobody: %v", err)
	}
}
