package egress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cordon/sandbox"
)

// TestConfinedProgram: a real program in a real sandbox reaches a named host and no other, and everything is reported. The
// host has a public address, which the dialler of this test leads to loopback.
func TestConfinedProgram(t *testing.T) {
	kernel := sandbox.Probe()
	if kernel.Landlock == 0 || kernel.Namespaces != "" {
		if os.Getenv("REQUIRE_SANDBOX") == "1" {
			t.Fatal("this machine has no sandbox and REQUIRE_SANDBOX=1")
		}
		t.Skip("this machine has no sandbox")
	}
	launcher := filepath.Join(t.TempDir(), "cordon-launch")
	build := exec.Command("go", "build", "-o", launcher, "cordon/sandbox/launcher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the launcher: %v\n%s", err, out)
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello from %s%s", r.Host, r.URL.Path) }))
	defer origin.Close()
	public := netip.MustParseAddr("93.184.216.34")
	var mu sync.Mutex
	var seen []Connection
	proxy := &Proxy{
		Rules:   []Rule{{Host: "api.example.com", Port: 80}},
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{public}, nil },
		Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if a != netip.AddrPortFrom(public, 80) {
				return nil, fmt.Errorf("dialled %s", a)
			}
			return new(net.Dialer).DialContext(ctx, "tcp", origin.Listener.Addr().String())
		},
		Observe: func(c Connection) { mu.Lock(); seen = append(seen, c); mu.Unlock() },
		Active:  func() string { return "call-1" },
	}
	ask := func(url, host string) string {
		return fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET %s HTTP/1.1\r\nHost: %s\r\n\r\n' >&3; cat <&3; echo; exec 3>&-; `, url, host)
	}
	script := ask("http://api.example.com/v1", "api.example.com") + ask("http://evil.example.com/", "evil.example.com")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := &sandbox.Sandbox{Kernel: kernel, Launcher: launcher}
	p, err := s.Start(t.Context(), sandbox.Profile{Net: sandbox.NetHosts, Demand: sandbox.Isolation(sandbox.NetHosts)}, sandbox.Command{Argv: []string{"bash", "-c", script}}, sandbox.Files{Out: w, Err: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(t.Context(), p.Egress) }()
	out, err := io.ReadAll(r)
	if exit := p.Wait(); err != nil || exit.Code() != 0 {
		t.Fatalf("%v, %v: %s", exit, err, out)
	}
	if err := <-served; err != nil { // ends with the program
		t.Errorf("serve: %v", err)
	}
	for _, want := range []string{"200 OK", "hello from api.example.com/v1", "403 Forbidden", "evil.example.com:80 is not among"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the program does not see %q:\n%s", want, out)
		}
	}
	if len(seen) != 2 || seen[0].Refused != "" || seen[0].Host != "api.example.com" || seen[0].Call != "call-1" || seen[0].Received == 0 || seen[1].Refused != NotAllowed {
		t.Errorf("reported: %+v", seen)
	}
}
