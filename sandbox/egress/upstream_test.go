package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is a proxy like a company's. It connects every name to loopback and keeps what it was asked.
type upstream struct {
	mu     sync.Mutex
	asked  []string // guarded by mu
	answer string   // instead of connecting
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.asked = append(u.asked, r.Method+" "+r.RequestURI+" "+r.Header.Get("Proxy-Authorization"))
	u.mu.Unlock()
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	if u.answer != "" {
		_, _ = io.WriteString(c, u.answer)
		return
	}
	_, port, _ := net.SplitHostPort(r.RequestURI)
	o, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return
	}
	defer o.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Proxy: 1\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(o, rw)
		_ = closeWrite(o)
	}()
	_, _ = io.Copy(c, o)
	_ = closeWrite(c)
	<-done
}

func (u *upstream) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

func TestUpstream(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) { // speaks first, then echoes, then says goodbye
		_, _ = io.WriteString(c, "hello ")
		echo(c)
		_, _ = io.WriteString(c, " bye")
	})
	site := web(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Host, r.RequestURI) })
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			u := &upstream{}
			s := httptest.NewUnstartedServer(u)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			if scheme == "https" {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			_, proxyPort, _ := net.SplitHostPort(s.Listener.Addr().String())
			p := &Proxy{Rules: []Rule{{Host: "api.example", Port: port}, {Host: "inside.example", Port: port}, {Host: "web.example", Port: site}, {Host: "10.0.0.1", Port: 80}}}
			p.Upstream = &url.URL{Scheme: scheme, Host: "proxy.test:" + proxyPort, User: url.UserPassword("me", "hunter2")}
			if scheme == "https" {
				pool := x509.NewCertPool()
				pool.AddCert(s.Certificate())
				p.UpstreamTLS = &tls.Config{RootCAs: pool, ServerName: "example.com"}
			}
			p.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				switch host {
				case "proxy.test":
					return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
				case "inside.example":
					return []netip.Addr{netip.MustParseAddr("10.1.1.1")}, nil
				}
				return nil, errors.New("no resolver here")
			}
			w := start(t, p)
			to := fmt.Sprintf("api.example:%d", port)
			c, in := w.connect(to)
			_, _ = io.WriteString(c, "question")
			_ = c.CloseWrite()
			if b, err := io.ReadAll(in); string(b) != "hello question bye" || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
			if r := w.next(); r.Refused != "" || r.Reason != throughUpstream || r.Received != int64(len("hello question bye")) || r.Sent != 8 || fmt.Sprint(r.Addr) != "127.0.0.1:"+proxyPort {
				t.Errorf("reported %+v", r)
			}
			host := fmt.Sprintf("web.example:%d", site)
			if got := w.ask("GET http://" + host + "/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\n"+host+" /x") {
				t.Errorf("got %q", got)
			}
			w.next()
			const basic = " Basic bWU6aHVudGVyMg=="
			want := []string{"CONNECT " + to + basic, "CONNECT " + host + basic}
			if got := u.all(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("upstream was asked %q, want %q", got, want)
			}
			for raw, want := range map[string]Code{
				"CONNECT evil.example:443 HTTP/1.1\r\n\r\n":                     NotAllowed,
				"CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n":                          ForbiddenAddress,
				fmt.Sprintf("CONNECT inside.example:%d HTTP/1.1\r\n\r\n", port): ForbiddenAddress,
			} {
				got := w.ask(raw)
				if r := w.next(); r.Refused != want || status(got) != "HTTP/1.1 403 Forbidden" {
					t.Errorf("%q: got %q, reported %+v; want %q", raw, got, r, want)
				}
			}
			if got := u.all(); len(got) != 2 {
				t.Errorf("upstream heard of what is refused: %q", got)
			}
			for _, answer := range []string{"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead) + "\r\n\r\n"} {
				u.answer = answer
				got := w.ask("CONNECT " + to + " HTTP/1.1\r\n\r\n")
				if r := w.next(); r.Refused != Unreachable || status(got) != "HTTP/1.1 502 Bad Gateway" || strings.Contains(fmt.Sprint(r)+got, "hunter2") || strings.Contains(fmt.Sprint(r)+got, "bWU6") {
					t.Errorf("got %q, reported %+v", got, r)
				}
			}
		})
	}
}

// TestUpstreamThatIsSilent: neither its TLS nor its answer is waited for without end, and cancelling does not wait at all.
func TestUpstreamThatIsSilent(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	for _, scheme := range []string{"http", "https"} {
		p := &Proxy{Rules: []Rule{{Host: "api.example", Port: 443}}, Upstream: &url.URL{Scheme: scheme, Host: fmt.Sprintf("127.0.0.1:%d", port)}, DialTimeout: 200 * time.Millisecond}
		w := start(t, p)
		got := w.ask("CONNECT api.example:443 HTTP/1.1\r\n\r\n")
		if r := w.next(); r.Refused != Unreachable || status(got) != "HTTP/1.1 502 Bad Gateway" {
			t.Errorf("%s: got %q, reported %+v", scheme, got, r)
		}
		w.stop()

		asked := make(chan struct{}, 1)
		w = start(t, &Proxy{Rules: p.Rules, Upstream: p.Upstream, Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			defer func() { asked <- struct{}{} }()
			return new(net.Dialer).DialContext(ctx, "tcp", a.String())
		}})
		_, _ = io.WriteString(w.dial(), "CONNECT api.example:443 HTTP/1.1\r\n\r\n")
		<-asked
		began := time.Now()
		if w.stop(); time.Since(began) > 2*time.Second {
			t.Errorf("%s: cancelling took %s", scheme, time.Since(began))
		}
	}
}

func TestUpstreamWithAWrongCertificate(t *testing.T) {
	u := &upstream{}
	s := httptest.NewUnstartedServer(u)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.example", Port: 443}}, Upstream: mustURL(s.URL)})
	got := w.ask("CONNECT api.example:443 HTTP/1.1\r\n\r\n")
	if r := w.next(); r.Refused != Unreachable || status(got) != "HTTP/1.1 502 Bad Gateway" || !strings.Contains(r.Reason, "certificate") || len(u.all()) != 0 {
		t.Errorf("got %q, reported %+v", got, r)
	}
}

// TestThroughEnvironment: what the environment names is used, and not for what it leaves out; what is no proxy ends all.
func TestThroughEnvironment(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	p := new(Proxy)
	if err := p.ThroughEnvironment(); err != nil || p.Upstream != nil {
		t.Errorf("without variables: %v, %v", p.Upstream, err)
	}
	for _, bad := range []string{"socks5://h:1", "http://", "://", "http://user:hunter2@h:1/path", "file:///etc/passwd", "h:99999"} {
		t.Setenv("HTTPS_PROXY", bad)
		if err := p.ThroughEnvironment(); err == nil || p.Upstream != nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", bad, p.Upstream, err)
		}
	}
	u := &upstream{}
	s := httptest.NewServer(u)
	defer s.Close()
	port := listen(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "reached") })
	t.Setenv("HTTPS_PROXY", strings.TrimPrefix(s.URL, "http://"))
	t.Setenv("NO_PROXY", ".direct.example")
	p = &Proxy{Rules: []Rule{{Host: "api.example", Port: port}, {Host: "near.direct.example", Port: port}}, loopback: true,
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}
	if err := p.ThroughEnvironment(); err != nil {
		t.Fatal(err)
	}
	for host, through := range map[string]bool{"api.example": true, "near.direct.example": false} {
		before := len(u.all())
		o, err := p.reach(t.Context(), target{host, port})
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		b, _ := io.ReadAll(o.from)
		o.Close()
		if string(b) != "reached" || (len(u.all()) > before) != through {
			t.Errorf("%s: read %q, through the proxy: %v, want %v", host, b, len(u.all()) > before, through)
		}
	}
}
