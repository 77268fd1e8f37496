package server

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
)

// A server finds the named port of this computer on its own loopback, each connection is recorded, and no other port leads
// anywhere. Nor does this one as long as nobody has approved it.
func TestReachedPort(t *testing.T) {
	t.Parallel()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	defer service.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	port := func(s *httptest.Server) uint16 { return uint16(s.Listener.Addr().(*net.TCPAddr).Port) }
	var trusted atomic.Bool
	r := newRig(t, "web", func(o *Options) { o.Trusted = func(string, pin.Fingerprint) bool { return trusted.Load() } })
	r.Set(config.Server{Name: "one", Command: []string{filepath.Join(binaries, "fake"), "web", r.mark}, Net: config.NetLoopback, Reach: []uint16{port(service)}, Memory: 256 << 20, Pids: 64})
	get := func(s *httptest.Server) string {
		t.Helper()
		got, err := r.call("read_web", fmt.Sprintf(`{"path":"http://127.0.0.1:%d/"}`, port(s)))
		if err != nil {
			return err.Error()
		}
		return got
	}
	for _, yes := range []bool{false, true} {
		trusted.Store(yes)
		if err := r.Restart(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if got := get(service); strings.HasSuffix(got, "served") != yes {
			t.Errorf("approved %v: the named port says %q", yes, got)
		}
		if got := get(other); !strings.Contains(got, "refused") {
			t.Errorf("approved %v: another port says %q", yes, got)
		}
	}
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	events := r.journal.of(audit.NetConnection)
	if len(events) != 1 || events[0].Facts["host"] != "localhost" || events[0].Facts["port"] != fmt.Sprint(port(service)) || events[0].CallID != "0123456789abcdef" || events[0].Decision != audit.Allowed {
		t.Errorf("recorded: %+v", events)
	}
}
