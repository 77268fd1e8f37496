package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cordon/host/config"
	"cordon/host/server"
	"cordon/host/tool"
)

// What is remembered of servers outlives the process; a broken file only makes them be asked again.
func TestEras(t *testing.T) {
	t.Parallel()
	p := config.Paths{Cache: t.TempDir()}
	a, b := tool.Sum([]byte("a")), tool.Sum([]byte("b"))
	e := newEras(p)
	e.Remember(a, server.Modern)
	e.Remember(b, server.Legacy)
	e.Remember(b, server.Unknown)
	e = newEras(p)
	if e.Era(a) != server.Modern || e.Era(b) != server.Unknown {
		t.Errorf("remembered %q and %q", e.Era(a), e.Era(b))
	}
	for i := range maxEras + 10 {
		e.Remember(tool.Sum([]byte(fmt.Sprint(i))), server.Legacy)
	}
	if len(e.by) > maxEras {
		t.Errorf("%d are kept", len(e.by))
	}
	for _, text := range []string{"", "[]", `{"x":"2026-07-28"}`, `{"` + strings.Repeat("ab", 32) + `":"1999"}`, "\x00"} {
		if err := os.WriteFile(e.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		broken := newEras(p)
		if broken.Era(a) != server.Unknown || len(broken.by) != 0 {
			t.Errorf("%q: %v", text, broken.by)
		}
		broken.Remember(a, server.Legacy)
		if newEras(p).Era(a) != server.Legacy {
			t.Errorf("%q is not replaced", text)
		}
	}
}

// What several servers say at once is remembered together, and all of it is in the file once they have said it.
func TestErasAtOnce(t *testing.T) {
	t.Parallel()
	e := newEras(config.Paths{Cache: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			key := tool.Sum([]byte(fmt.Sprint(i)))
			e.Remember(key, server.Modern)
			if got := newEras(config.Paths{Cache: filepath.Dir(e.file)}).Era(key); got != server.Modern {
				t.Errorf("server %d is remembered as %q", i, got)
			}
		})
	}
	wg.Wait()
}
