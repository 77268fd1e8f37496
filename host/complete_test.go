package host_test

import (
	"errors"
	"path/filepath"
	"testing"

	"cordon/host/server"
)

// TestOnlyTheApprovedIsAsked: icons, completion and watching are no calls; nothing of them reaches a server that nobody has approved as it is.
func TestOnlyTheApprovedIsAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one", filepath.Join(binaries, "fake"), "icons", "mark-"+random())
	ask := map[string]func() error{
		"icons": func() error {
			all, err := r.Icons(t.Context(), "one")
			if err == nil && len(all) == 0 {
				t.Error("an approved server has no icons")
			}
			return err
		},
		"completion": func() error {
			_, err := r.Complete(t.Context(), "one", server.Ref{Prompt: "p"}, "a", "b", nil)
			return err
		},
		"watching": func() error { return r.Watch(t.Context(), "one", "memo://one", func() {}) },
	}
	for what, f := range ask {
		if err := f(); !errors.Is(err, server.ErrNotRunning) {
			t.Errorf("%s before it is approved: %v", what, err)
		}
	}
	r.approve("one")
	for what, f := range ask {
		if err := f(); errors.Is(err, server.ErrNotRunning) || err != nil && what != "watching" { // it does not tell of changes
			t.Errorf("%s once it is approved: %v", what, err)
		}
	}
}
