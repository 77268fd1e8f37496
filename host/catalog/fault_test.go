package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// TestFaults: why npm and uv fail is told by what is known of it, in one line.
func TestFaults(t *testing.T) {
	_, _, err := Node()
	need(t, err, "REQUIRE_REGISTRIES")
	_, err = UV()
	need(t, err, "REQUIRE_REGISTRIES")
	eachTier(t, func(t *testing.T, r *rig) {
		r.shop.npm("changed", "1.0.0", object{"bin": "a.js"}, map[string]string{"a.js": ""})
		r.shop.mu.Lock()
		r.shop.files["/tarballs/changed-1.0.0.tgz"] = append(slices.Clone(r.shop.files["/tarballs/changed-1.0.0.tgz"]), 0)
		r.shop.mu.Unlock()
		gone := openShop(t)
		nowhere := gone.URL
		gone.Close()
		for name, c := range map[string]struct {
			p        Package
			registry string
			want     FaultKind
		}{
			"no such package":         {Package{NPM, "absent", "1.0.0"}, r.shop.URL, FaultAbsent},
			"no such version":         {Package{NPM, "changed", "2.0.0"}, r.shop.URL, FaultAbsent},
			"changed":                 {Package{NPM, "changed", "1.0.0"}, r.shop.URL, FaultContent},
			"nobody there":            {Package{NPM, "absent", "1.0.0"}, nowhere, FaultUnreachable},
			"sign in":                 {Package{NPM, "leak", "1.0.0"}, r.shop.URL, FaultSignIn},
			"Python, no such package": {Package{PyPI, "absent", "1.0.0"}, r.shop.URL, FaultAbsent},
			"Python, nobody there":    {Package{PyPI, "absent", "1.0.0"}, nowhere, FaultUnreachable},
		} {
			t.Setenv("npm_config_registry", c.registry+"/")
			t.Setenv("UV_DEFAULT_INDEX", c.registry+"/simple")
			if slow := c.want == FaultContent || c.want == FaultUnreachable; slow && strings.HasSuffix(t.Name(), "medium") {
				continue // installers try again and again; once is enough
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err := r.Install(ctx, "faulty", c.p)
			cancel()
			f, ok := errors.AsType[*Fault](err)
			if !ok || f.Kind != c.want || strings.Contains(f.What(), "\n") || (f.Fix() == "") != (f.Kind == FaultOther) {
				t.Errorf("%s: %+v, %v; want %q", name, f, err, c.want)
			}
		}
	})
}

// A package that was altered is told as that, whatever else was wrong; and names do not pass for reasons.
func TestFaultKinds(t *testing.T) {
	t.Parallel()
	kept := []egress.Connection{{Host: "evil.example", Port: 443, Refused: egress.NotAllowed}}
	lost := []egress.Connection{{Host: "registry.example", Port: 443, Refused: "unreachable", Reason: "no route"}}
	for said, c := range map[string]struct {
		seen []egress.Connection
		want FaultKind
	}{
		"npm error code EINTEGRITY\nnpm error sha512": {kept, FaultContent},
		"npm error code E404":                         {kept, FaultAbsent},
		"npm error code 1\nE404-tool failed":          {nil, FaultOther},
		"npm error code EHOSTUNREACH":                 {nil, FaultUnreachable},
		"npm error code SELF_SIGNED_CERT_IN_CHAIN":    {nil, FaultUnreachable},
		"npm error code E503":                         {nil, FaultUnreachable},
		"something":                                   {kept, FaultKept},
		"something else":                              {lost, FaultUnreachable},
		"npm error code EINTEGRITY":                   {lost, FaultContent},
	} {
		f := fault("npm", sandbox.Exit{}, said, c.seen)
		if f.Kind != c.want || len(c.seen) > 0 && c.seen[0].Refused == egress.NotAllowed && !strings.Contains(f.How, "evil.example") {
			t.Errorf("%q: %+v; want %q", said, f, c.want)
		}
	}
	if f := fault("npm", sandbox.Exit{}, strings.Repeat("a b   c ", 1000)+"\nlast", nil); len(f.Said) > 1000 || strings.Contains(f.Said, "  ") {
		t.Errorf("said: %d bytes", len(f.Said))
	}
}
