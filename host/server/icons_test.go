package server

import (
	"bytes"
	"image/png"
	"slices"
	"testing"

	"cordon/host/tool"
	"cordon/host/wire"
)

// TestIcons: what is drawn is PNG of Cordon's own making, what is none is an oddity once, and the pin covers a tool's icon as it was listed.
func TestIcons(t *testing.T) {
	t.Parallel()
	r := newRig(t, "icons")
	r.start()
	v := r.view()
	if v.Icons == 0 {
		t.Error("it has icons, and does not say so")
	}
	names := func() (all []string) {
		t.Helper()
		icons, err := r.Icons(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range icons {
			all = append(all, i.Of+" "+i.Name)
			for _, b := range [][]byte{i.Light, i.Dark} {
				if c, err := png.DecodeConfig(bytes.NewReader(b)); err != nil || c.Width != 1 {
					t.Errorf("%s: %+v, %v", i.Name, c, err)
				}
			}
		}
		return all
	}
	for range 2 {
		if got, want := names(), []string{"server one", "tool get_dot"}; !slices.Equal(got, want) {
			t.Errorf("icons of %q, want %q", got, want)
		}
	}
	odd := r.view().Oddities
	if len(odd) != 2 || odd[0].Code != wire.IconRefused || odd[0].Text != `the icon of tool "get_far" is not shown: it is elsewhere, where a server on this computer sends nobody` {
		t.Errorf("oddities %+v", odd)
	}
	if _, err := r.Resources(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Contains(got, "resource memo://one") || len(got) != 3 {
		t.Errorf("with resources: %q", got)
	}
	i := slices.IndexFunc(v.Tools, func(t tool.Tool) bool { return t.ID.Name == "get_dot" })
	if i < 0 || !bytes.Contains(v.Tools[i].Definition, []byte("image/svg")) || !bytes.Equal(v.Fingerprint.Tools["get_dot"], v.Tools[i].Definition) {
		t.Error("the definition that is pinned does not hold the icon")
	}
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Icons(t.Context(), "one"); err == nil {
		t.Error("icons of a server that is stopped")
	}
}

// TestNoIcons: a server without icons says so, and its window asks for none.
func TestNoIcons(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	if v := r.view(); v.Icons != 0 {
		t.Errorf("it has icons: %d", v.Icons)
	}
}
