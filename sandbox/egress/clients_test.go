package egress

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestClients runs the programs that servers are written in, with nothing but Environment, against a plain and a TLS host.
// A program that this machine lacks is skipped.
func TestClients(t *testing.T) {
	if u := os.Getenv("EGRESS_TEST_URL"); u != "" {
		goClient(u)
		return
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "hello %s%s", r.Host, b)
	})
	plain, secure := httptest.NewServer(hello), httptest.NewUnstartedServer(hello)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	plainPort, securePort := portOf(plain), portOf(secure)
	w := start(t, &Proxy{Rules: []Rule{{Host: "web.test", Port: plainPort}, {Host: "web.test", Port: securePort}}})
	const (
		python = `import ssl, sys, urllib.request as u
print(u.urlopen(sys.argv[1], context=ssl._create_unverified_context()).read().decode())`
		fetch  = `fetch(process.argv[1]).then(r => { if (!r.ok) throw r.status; return r.text() }).then(console.log)`
		module = `require(process.argv[1].split(':')[0]).get(process.argv[1], r => { if (r.statusCode != 200) process.exit(1); r.pipe(process.stdout) })`
	)
	node := func(t *testing.T) {
		out, err := exec.Command("node", "-p", "const [a, b] = process.versions.node.split('.').map(Number); a > 24 || a == 24 && b >= 5 || a == 22 && b >= 21").Output()
		if err != nil || strings.TrimSpace(string(out)) != "true" {
			t.Skip("this node does not follow NODE_USE_ENV_PROXY; 22.21 and 24.5 do")
		}
	}
	for name, tt := range map[string]struct {
		need func(*testing.T)
		argv []string // the address is appended
	}{
		"curl":             {nil, []string{"curl", "-sSfk"}},
		"curl by SOCKS5":   {nil, []string{"curl", "-sSfk", "--proxy", "socks5h://" + w.addr}},
		"python urllib":    {nil, []string{"python3", "-c", python}},
		"Go":               {nil, []string{os.Args[0], "-test.run=^TestClients$"}},
		"node fetch":       {node, []string{"node", "-e", fetch}},
		"node http, https": {node, []string{"node", "-e", module}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.argv[0]); err != nil {
				t.Skipf("this machine lacks %s", tt.argv[0])
			}
			if tt.need != nil {
				tt.need(t)
			}
			w.t = t
			for address, want := range map[string]string{
				fmt.Sprintf("http://web.test:%d/", plainPort):   fmt.Sprintf("hello web.test:%d", plainPort),
				fmt.Sprintf("https://web.test:%d/", securePort): fmt.Sprintf("hello web.test:%d", securePort),
				"http://evil.test/":                             "",
				"https://evil.test/":                            "",
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				cmd := exec.CommandContext(ctx, tt.argv[0], append(tt.argv[1:len(tt.argv):len(tt.argv)], address)...)
				cmd.Env = append(Environment(w.addr), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "NODE_TLS_REJECT_UNAUTHORIZED=0", "EGRESS_TEST_URL="+address)
				out, err := cmd.CombinedOutput()
				r := w.next()
				if want == "" && (err == nil || r.Refused != NotAllowed) || want != "" && (err != nil || !strings.Contains(string(out), want) || r.Refused != "") {
					t.Errorf("%s: got %q, %v, reported %+v; want %q", address, out, err, r, want)
				}
			}
		})
	}
}

func portOf(s *httptest.Server) uint16 { return uint16(s.Listener.Addr().(*net.TCPAddr).Port) }

// goClient prints what lies at u, through the proxy that the environment names.
func goClient(u string) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := c.Get(u)
	if err != nil || resp.StatusCode != http.StatusOK {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(os.Stdout, resp.Body)
	os.Exit(0)
}

func TestEnvironmentKeepsLoopbackDirect(t *testing.T) {
	got := strings.Join(Environment("127.0.0.1:3128"), "\n")
	for _, want := range []string{"HTTP_PROXY=http://127.0.0.1:3128", "https_proxy=http://127.0.0.1:3128", "NO_PROXY=localhost,127.0.0.1,::1", "NODE_USE_ENV_PROXY=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if strings.Contains(got, "socks") {
		t.Error("httpx would not start with a SOCKS proxy in its environment")
	}
}
