package egress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is a proxy that serves on loopback and may, in tests alone, dial loopback.
type world struct {
	t    testing.TB
	p    *Proxy
	addr string
	stop func() // ends Serve and waits for it

	mu   sync.Mutex
	seen []Connection // guarded by mu
	more chan struct{}
}

// start serves p, with names below .test leading to 127.0.0.1. At the end of the test no goroutine of the package is left.
func start(t testing.TB, p *Proxy) *world {
	t.Helper()
	w := &world{t: t, p: p, more: make(chan struct{}, 1<<16)}
	p.loopback = true
	if p.Resolve == nil {
		p.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if strings.HasSuffix(host, ".test") {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
			return nil, errors.New("no such host")
		}
	}
	p.Observe = func(c Connection) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, c)
		w.more <- struct{}{}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("Serve did not return\n%s", stacks())
		}
		if n := p.open.Load(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
		noGoroutineLeft(t)
	})
	t.Cleanup(w.stop)
	return w
}

// noGoroutineLeft fails when one of the package's own functions still runs. The last instructions of a goroutine that has
// been waited for may still be under way, hence the loop.
func noGoroutineLeft(t testing.TB) {
	t.Helper()
	var left []string
	for range 200 {
		left = nil
		for g := range strings.SplitSeq(stacks(), "\n\n") {
			for _, f := range []string{"egress.(*Proxy)", "egress.(*session)", "egress.tunnel", "egress.cutWhenDone"} {
				if strings.Contains(g, f) {
					left = append(left, g)
					break
				}
			}
		}
		if len(left) == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// next waits for one report.
func (w *world) next() Connection {
	w.t.Helper()
	select {
	case <-w.more:
	case <-time.After(10 * time.Second):
		w.t.Fatalf("nothing was reported\n%s", stacks())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.seen[0]
	w.seen = w.seen[1:]
	return c
}

// settle waits until n connections are counted: a place is free a moment after its connection's end is seen.
func (w *world) settle(n int32) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); w.p.open.Load() != n; runtime.Gosched() {
		if time.Now().After(end) {
			w.t.Fatalf("%d connections are counted, want %d", w.p.open.Load(), n)
		}
	}
}

func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn)
}

// ask sends raw and returns everything that comes back.
func (w *world) ask(raw string) string {
	w.t.Helper()
	c := w.dial()
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		w.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// connect opens a tunnel to a host.
func (w *world) connect(to string) (*net.TCPConn, *bufio.Reader) {
	w.t.Helper()
	c := w.dial()
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"})
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("CONNECT %s: %s %s", to, resp.Status, b)
	}
	return c, in
}

// listen runs handle for every connection to a new loopback port, which it returns.
func listen(t testing.TB, handle func(*net.TCPConn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

// web serves h on a new loopback port.
func web(t testing.TB, h http.HandlerFunc) uint16 {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return portOf(s)
}

func status(answer string) string {
	line, _, _ := strings.Cut(answer, "\r\n")
	return line
}

func TestProxyLetsNamedHostsThrough(t *testing.T) {
	port := web(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Method, r.Host) })
	w := start(t, &Proxy{
		Rules:  []Rule{{Host: "api.test", Port: port}, {Host: "*.below.test", Port: port}, {Host: "gone.example", Port: 80}, {Host: "127.0.0.1", Port: port}, {Host: "192.168.7.7", Port: 80}, {Host: "10.0.0.7", Port: 9, Private: true}},
		Active: func() string { return "call-7" },
		Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if !a.Addr().IsLoopback() {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", a.String())
		},
	})
	get := func(host string) string { return "GET http://" + host + "/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	at := func(host string) string { return fmt.Sprintf("%s:%d", host, port) }
	for name, tt := range map[string]struct {
		raw    string
		status string
		code   Code
		host   string
	}{
		"a host in the list":            {get(at("api.test")), "200 OK", "", "api.test"},
		"in capitals":                   {get(at("API.Test")), "200 OK", "", "api.test"},
		"another host":                  {get(at("evil.test")), "403 Forbidden", NotAllowed, "evil.test"},
		"another port":                  {get("api.test:1"), "403 Forbidden", NotAllowed, "api.test"},
		"no port means 80":              {get("api.test"), "403 Forbidden", NotAllowed, "api.test"},
		"below a wildcard":              {get(at("a.b.below.test")), "200 OK", "", "a.b.below.test"},
		"a wildcard's own name":         {get(at("below.test")), "403 Forbidden", NotAllowed, "below.test"},
		"a name that only ends alike":   {get(at("xbelow.test")), "403 Forbidden", NotAllowed, "xbelow.test"},
		"an address in the list":        {get(at("127.0.0.1")), "200 OK", "", "127.0.0.1"},
		"an address of another form":    {get(at("127.1")), "400 Bad Request", BadRequest, ""},
		"an address mapped":             {get(at("[::ffff:127.0.0.1]")), "400 Bad Request", BadRequest, ""},
		"loopback by name":              {get(at("localhost")), "403 Forbidden", NotAllowed, "localhost"},
		"a private address":             {get("192.168.7.7"), "403 Forbidden", ForbiddenAddress, "192.168.7.7"},
		"a private one that may be":     {get("10.0.0.7:9"), "502 Bad Gateway", Unreachable, "10.0.0.7"},
		"a name without address":        {get("gone.example"), "502 Bad Gateway", Unresolvable, "gone.example"},
		"CONNECT to another host":       {"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", "403 Forbidden", NotAllowed, "evil.test"},
		"CONNECT without Host":          {"CONNECT evil.test:443 HTTP/1.0\r\n\r\n", "403 Forbidden", NotAllowed, "evil.test"},
		"CONNECT without port":          {"CONNECT api.test HTTP/1.1\r\nHost: api.test\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"CONNECT with a body":           {"CONNECT " + at("api.test") + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "400 Bad Request", BadRequest, ""},
		"a trailing dot":                {get(at("api.test.")), "400 Bad Request", BadRequest, ""},
		"a user before the host":        {"GET http://u:p@" + at("api.test") + "/ HTTP/1.1\r\nHost: " + at("api.test") + "\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"Host of somebody else":         {"GET http://" + at("api.test") + "/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"https in a plain request":      {"GET https://" + at("api.test") + "/ HTTP/1.1\r\nHost: " + at("api.test") + "\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"ftp":                           {"GET ftp://" + at("api.test") + "/ HTTP/1.1\r\nHost: " + at("api.test") + "\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"not for a proxy":               {"GET / HTTP/1.1\r\nHost: " + at("api.test") + "\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"all of a server":               {"OPTIONS * HTTP/1.1\r\nHost: " + at("api.test") + "\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"TLS to the proxy":              {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 Bad Request", BadRequest, ""},
		"HTTP/2 to the proxy":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request", BadRequest, ""},
		"a percent sign in the host":    {get(at("ap%69.test")), "400 Bad Request", BadRequest, ""},
		"a percent sign of another way": {get(at("%C3%A4.test")), "400 Bad Request", BadRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			got := w.ask(tt.raw)
			if want := "HTTP/1.1 " + tt.status; status(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
			c := w.next()
			if c.Refused != tt.code || c.Host != tt.host || c.Call != "call-7" || c.Began.IsZero() || (c.Reason == "") != (tt.code == "") {
				t.Errorf("reported %+v; want %q of %q", c, tt.code, tt.host)
			}
			if tt.code != "" {
				// The program is told why, the log also what lies behind a name: no address of this network goes inside.
				_, told, _ := strings.Cut(got, "\r\n\r\nCordon: ")
				told = strings.TrimSuffix(told, ".\n")
				detail, ok := strings.CutPrefix(c.Reason, told)
				if told == "" || !ok || !strings.Contains(got, "X-Cordon-Refused: "+string(tt.code)+"\r\n") || detail != "" && !strings.HasPrefix(detail, ": ") {
					t.Errorf("answer %q does not say %s and %q", got, tt.code, c.Reason)
				}
				if needs := tt.code == ForbiddenAddress || tt.code == Unreachable; needs != (detail != "") && tt.code != Unresolvable {
					t.Errorf("the log says %q of %q", c.Reason, told)
				}
			}
			if tt.code == "" && (c.Addr != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port) || c.Sent == 0 || c.Received == 0) {
				t.Errorf("reported %+v", c)
			}
		})
	}
}

func TestTunnelCarriesBothWays(t *testing.T) {
	port := listen(t, echo)
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
	c, in := w.connect(fmt.Sprintf("api.test:%d", port))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(sent))
	}
	r := w.next()
	if r.Refused != "" || r.Reason != "" || r.Sent != int64(len(sent)) || r.Received != int64(len(sent)) || r.Method != "CONNECT" {
		t.Errorf("reported %+v", r)
	}
}

// TestTunnelPassesEarlyData: what comes in one packet with the head reaches the host, as do words of a host that speaks first.
func TestTunnelPassesEarlyData(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello ")
		echo(c)
	})
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
	c := w.dial()
	fmt.Fprintf(c, "CONNECT api.test:%d HTTP/1.1\r\nHost: x\r\n\r\nearly", port)
	_ = c.CloseWrite()
	b, err := io.ReadAll(c)
	if want := "HTTP/1.1 200 Connection established\r\n\r\nhello early"; string(b) != want || err != nil {
		t.Errorf("got %q, %v; want %q", b, err, want)
	}
	w.next()
}

func TestTunnelPassesHalfClose(t *testing.T) {
	t.Run("of the program", func(t *testing.T) {
		port := listen(t, func(c *net.TCPConn) { // answers only after the end
			b, _ := io.ReadAll(c)
			_, _ = c.Write(bytes.ToUpper(b))
		})
		w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
		c, in := w.connect(fmt.Sprintf("api.test:%d", port))
		_, _ = io.WriteString(c, "question")
		_ = c.CloseWrite()
		if b, err := io.ReadAll(in); string(b) != "QUESTION" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	})
	t.Run("of the host", func(t *testing.T) {
		got := make(chan string, 1)
		port := listen(t, func(c *net.TCPConn) {
			_ = c.CloseWrite()
			b, _ := io.ReadAll(c)
			got <- string(b)
		})
		w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
		c, in := w.connect(fmt.Sprintf("api.test:%d", port))
		if b, err := io.ReadAll(in); len(b) != 0 || err != nil {
			t.Fatalf("got %q, %v", b, err)
		}
		_, _ = io.WriteString(c, "still open")
		_ = c.CloseWrite()
		if s := <-got; s != "still open" {
			t.Errorf("got %q", s)
		}
	})
}

// TestTunnelPassesReset: an end that is no end must not look like one.
func TestTunnelPassesReset(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) {
		_, _ = io.ReadFull(c, make([]byte, 1))
		_ = c.SetLinger(0)
	})
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
	c, in := w.connect(fmt.Sprintf("api.test:%d", port))
	_, _ = c.Write([]byte("x"))
	if b, err := io.ReadAll(in); err == nil {
		t.Errorf("got a clean end after %q, want a reset", b)
	}
	if r := w.next(); r.Refused != "" || !strings.Contains(r.Reason, "reset") {
		t.Errorf("reported %+v", r)
	}
}

// TestRebinding: the name is resolved once for each request, and what is dialled is what was judged.
func TestRebinding(t *testing.T) {
	port := listen(t, echo)
	answers := [][]string{{"93.184.216.34"}, {"10.0.0.1"}, {"169.254.169.254", "93.184.216.34"}, {"127.0.0.2", "::1"}, {"198.51.100.1", "192.168.0.1"}}
	var asked, dialled []string
	p := &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}}
	p.Resolve = func(_ context.Context, host string) (addrs []netip.Addr, _ error) {
		for _, s := range answers[len(asked)] {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		asked = append(asked, host)
		return addrs, nil
	}
	p.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		dialled = append(dialled, a.Addr().String())
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", a.Port()))
	}
	w := start(t, p)
	p.loopback = false // before the first connection
	request := fmt.Sprintf("CONNECT api.test:%d HTTP/1.1\r\nHost: x\r\n\r\n", port)
	for i, want := range []Code{"", ForbiddenAddress, "", ForbiddenAddress, ForbiddenAddress} {
		c := w.dial()
		_, _ = io.WriteString(c, request)
		_ = c.CloseWrite()
		answer, err := io.ReadAll(c)
		if r := w.next(); r.Refused != want || err != nil || strings.HasPrefix(string(answer), "HTTP/1.1 200 ") != (want == "") {
			t.Errorf("answer %d: %q, %v, reported %+v; want %q", i, answer, err, r, want)
		}
	}
	if !slices.Equal(dialled, []string{"93.184.216.34", "93.184.216.34"}) {
		t.Errorf("dialled %q", dialled)
	}
	if len(asked) != len(answers) {
		t.Errorf("asked %d times, want once for each request", len(asked))
	}
}

func TestOwnAddressIsRefusedEvenWhenPrivate(t *testing.T) {
	port := listen(t, echo)
	for _, tt := range []struct {
		own  string
		err  error
		want Code
	}{{"192.168.1.5", nil, ForbiddenAddress}, {"192.168.1.6", nil, ""}, {"", errors.New("no netlink"), ForbiddenAddress}} {
		p := &Proxy{Rules: []Rule{{Host: "nas.test", Port: port, Private: true}}}
		p.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.168.1.5")}, nil
		}
		p.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", a.Port()))
		}
		p.own = func() ([]netip.Addr, error) {
			if tt.err != nil {
				return nil, tt.err
			}
			return []netip.Addr{netip.MustParseAddr(tt.own)}, nil
		}
		w := start(t, p)
		c := w.dial()
		fmt.Fprintf(c, "CONNECT nas.test:%d HTTP/1.1\r\nHost: x\r\n\r\n", port)
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		if r := w.next(); r.Refused != tt.want {
			t.Errorf("own %q, %v: reported %+v, want %q", tt.own, tt.err, r, tt.want)
		}
		w.stop()
	}
}

// TestDialTriesInOrder: the first address that answers is used, and the next one only when it does not.
func TestDialTriesInOrder(t *testing.T) {
	port := listen(t, echo)
	var dialled []string
	p := &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}}
	p.Resolve = func(context.Context, string) (addrs []netip.Addr, _ error) {
		for _, s := range []string{"2606:4700::1", "10.1.1.1", "93.184.216.34", "93.184.216.35"} {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		return addrs, nil
	}
	p.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		if dialled = append(dialled, a.Addr().String()); a.Addr().Is6() {
			return nil, errors.New("network is unreachable")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", a.Port()))
	}
	w := start(t, p)
	c, _ := w.connect(fmt.Sprintf("api.test:%d", port))
	c.Close()
	if r := w.next(); r.Addr.Addr().String() != "93.184.216.34" || !slices.Equal(dialled, []string{"2606:4700::1", "93.184.216.34"}) {
		t.Errorf("dialled %q, reported %+v", dialled, r)
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	port := listen(t, echo)
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}, HeadTimeout: 200 * time.Millisecond})
	for name, first := range map[string]string{"HTTP": "GET http://api.test/", "SOCKS5": "\x05\x01\x00\x05\x01\x00\x03\xff"} {
		c := w.dial()
		began := time.Now()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		_, _ = io.WriteString(c, first)
		go func() {
			for range 200 { // more than is waited for
				<-tick.C
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		ok, _ := w.connect(fmt.Sprintf("api.test:%d", port)) // others are served meanwhile
		ok.Close()
		if r := w.next(); r.Refused != "" {
			t.Errorf("reported %+v", r)
		}
		_, _ = io.ReadAll(c)
		if r := w.next(); r.Refused != BadRequest || time.Since(began) > 3*time.Second || !strings.Contains(r.Reason, "in time") {
			t.Errorf("%s: after %s reported %+v", name, time.Since(began), r)
		}
	}
}

func TestIdleTunnelIsCut(t *testing.T) {
	port := listen(t, echo)
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}, Idle: 200 * time.Millisecond})
	c, in := w.connect(fmt.Sprintf("api.test:%d", port))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 10 { // 500 ms: not idle
		<-tick.C
		_, _ = c.Write([]byte("x"))
		if _, err := in.ReadByte(); err != nil {
			t.Fatalf("a busy tunnel was cut: %v", err)
		}
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("an idle tunnel was not cut")
	}
	if r := w.next(); r.Refused != "" || !strings.Contains(r.Reason, "nothing was sent") || r.Sent != 10 {
		t.Errorf("reported %+v", r)
	}
}

func TestTooManyConnections(t *testing.T) {
	port := listen(t, echo)
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}, Connections: 2})
	to := fmt.Sprintf("api.test:%d", port)
	first, _ := w.connect(to)
	w.connect(to)
	began := time.Now()
	got := w.ask("CONNECT " + to + " HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := w.next(); status(got) != "HTTP/1.1 503 Service Unavailable" || r.Refused != Busy || r.Host != "api.test" || time.Since(began) > 2*time.Second {
		t.Errorf("got %q, reported %+v", got, r)
	}
	if got := w.ask("\x05\x01\x00" + "\x05\x01\x00\x03\x08api.test\x00\x50"); got != "\x05\x00\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00" {
		t.Errorf("got %q", got)
	}
	w.next()
	w.settle(2)
	// Silent ones count too: they fill the places for polite refusals, and the rest is closed.
	silent := []*net.TCPConn{w.dial(), w.dial(), w.dial(), w.dial()}
	for _, c := range silent {
		_, _ = io.ReadAll(c)
	}
	if r := w.next(); r.Refused != Busy || r.Host != "" {
		t.Errorf("reported %+v", r)
	}
	w.next()
	w.settle(2)
	first.Close()
	if r := w.next(); r.Refused != "" {
		t.Errorf("reported %+v", r)
	}
	w.settle(1)
	w.connect(to)
}

func TestThousandConnectionsLeaveNothingBehind(t *testing.T) {
	port := web(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
	files := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		return len(d)
	}
	ask := func(i int) {
		host := fmt.Sprintf("api.test:%d", port)
		raw := "GET http://" + host + "/ HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		want := "200 OK"
		switch i % 4 {
		case 1:
			raw, want = "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "403 Forbidden"
		case 2:
			raw, want = "CONNECT "+host+" HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n", "200 Connection established"
		case 3:
			raw, want = "CONNECT "+host+" HTTP/1.1\nHost: x\n\n", "400 Bad Request"
		}
		if got := w.ask(raw); status(got) != "HTTP/1.1 "+want {
			t.Fatalf("connection %d: %q", i, got)
		}
		w.next()
	}
	for i := range 20 {
		ask(i)
	}
	before, goroutines := files(), runtime.NumGoroutine()
	for i := range 1000 {
		ask(i)
	}
	if after := files(); after > before+4 { // the last few may still be closing
		t.Errorf("%d open files before, %d after", before, after)
	}
	if after := runtime.NumGoroutine(); after > goroutines+8 {
		t.Errorf("%d goroutines before, %d after", goroutines, after)
	}
}

// TestCancelCutsEverything measures the best of three: other work shares the machine.
func TestCancelCutsEverything(t *testing.T) {
	best := time.Hour
	for range 3 {
		port := listen(t, echo)
		waiting := make(chan struct{}, 2)
		p := &Proxy{Rules: []Rule{{Host: "api.test", Port: port}, {Host: "resolves.never", Port: 80}, {Host: "192.0.1.1", Port: 80}}}
		p.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			if host == "resolves.never" {
				waiting <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		p.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if !a.Addr().IsLoopback() {
				waiting <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", a.String())
		}
		w := start(t, p)
		tunnels := []*bufio.Reader{}
		for range 10 {
			_, in := w.connect(fmt.Sprintf("api.test:%d", port))
			tunnels = append(tunnels, in)
		}
		full, _ := w.connect(fmt.Sprintf("api.test:%d", port)) // nobody reads, so both buffers are full
		_ = full.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = full.Write(make([]byte, 64<<20))
		half := w.dial()
		_, _ = io.WriteString(half, "GET http://api.test/ HT")
		_, _ = io.WriteString(w.dial(), "CONNECT resolves.never:80 HTTP/1.1\r\n\r\n")
		_, _ = io.WriteString(w.dial(), "CONNECT 192.0.1.1:80 HTTP/1.1\r\n\r\n")
		<-waiting
		<-waiting
		began := time.Now()
		w.stop()
		best = min(best, time.Since(began))
		for _, in := range tunnels {
			if _, err := in.ReadByte(); err == nil {
				t.Error("a tunnel is still open")
			}
		}
	}
	if best > 100*time.Millisecond {
		t.Errorf("cancelling took %s, want at most 100ms", best)
	}
	t.Logf("cancelling took %s", best)
}

func TestServeEndsWithItsListener(t *testing.T) {
	port := listen(t, echo)
	p := &Proxy{Rules: []Rule{{Host: "127.0.0.1", Port: port}}, loopback: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(t.Context(), l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n", port)
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := <-served; err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a tunnel outlived Serve")
	}
	noGoroutineLeft(t)
}

func TestServeRefusesWrongFields(t *testing.T) {
	for name, tt := range map[string]struct {
		p    *Proxy
		want string // part of the error
	}{
		"a rule for everything":    {&Proxy{Rules: []Rule{{Host: "*", Port: 443}}}, "rule"},
		"a rule for a top level":   {&Proxy{Rules: []Rule{{Host: "*.org", Port: 443}}}, "two labels"},
		"a rule in capitals":       {&Proxy{Rules: []Rule{{Host: "Api.test", Port: 443}}}, "as ParseRule returns it"},
		"a rule without port":      {&Proxy{Rules: []Rule{{Host: "api.test"}}}, "port"},
		"a negative limit":         {&Proxy{Connections: -1}, "limit"},
		"an upstream of SOCKS":     {&Proxy{Upstream: mustURL("socks5://user:hunter2@127.0.0.1:1")}, "upstream"},
		"an upstream with a path":  {&Proxy{Upstream: mustURL("http://user:hunter2@127.0.0.1:1/x")}, "upstream"},
		"an upstream without host": {&Proxy{Upstream: mustURL("http:///")}, "upstream"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		err = tt.p.Serve(t.Context(), l)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the listener is still open: %v", name, err)
		}
	}
}

// TestPanicRefusesOneConnection: a bug in an engine must not end the host.
func TestPanicRefusesOneConnection(t *testing.T) {
	port := listen(t, echo)
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}, {Host: "bad.test", Port: port}}, Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "bad.test" {
			panic("a bug")
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	c := w.dial()
	fmt.Fprintf(c, "CONNECT bad.test:%d HTTP/1.1\r\n\r\n", port)
	if b, err := io.ReadAll(c); len(b) != 0 || err == nil {
		t.Errorf("got %q, %v; want a reset", b, err)
	}
	if r := w.next(); r.Refused != BadRequest || !strings.Contains(r.Reason, "internal error") {
		t.Errorf("reported %+v", r)
	}
	w.connect(fmt.Sprintf("api.test:%d", port))
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// TestSystemResolver asks the machine's own for a name that lies in /etc/hosts, without a network.
func TestSystemResolver(t *testing.T) {
	found, err := new(Proxy).resolve(t.Context(), "localhost")
	if err != nil || len(found) == 0 || !found[0].Unmap().IsLoopback() {
		t.Fatalf("got %v, %v; want loopback", found, err)
	}
	if got, err := new(Proxy).addresses(t.Context(), target{"localhost", 80}, true); err == nil || err.code != ForbiddenAddress {
		t.Errorf("got %v, %v; want a refusal", got, err)
	}
}
