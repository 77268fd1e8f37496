package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
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
