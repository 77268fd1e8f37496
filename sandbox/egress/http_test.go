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
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// one is a proxy with one allowed host, and that host's name with port.
func one(t testing.TB, port uint16) (*world, string) {
	t.Helper()
	return start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}}), fmt.Sprintf("api.test:%d", port)
}

// verbatim serves one answer, whatever is asked, and keeps what was asked.
func verbatim(t testing.TB, answer string) (port uint16, asked func() string) {
	got := make(chan string, 16)
	return listen(t, func(c *net.TCPConn) {
			in := bufio.NewReader(c)
			var raw bytes.Buffer
			req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(in, &raw)))
			if err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			_, _ = io.WriteString(c, answer)
			_ = c.CloseWrite()
			_, _ = io.Copy(&raw, in)
			got <- raw.String()
		}), func() string {
			select {
			case s := <-got:
				return s
			case <-time.After(10 * time.Second):
				t.Fatal("nobody asked")
				return ""
			}
		}
}

func TestForwardHeaders(t *testing.T) {
	port, asked := verbatim(t, "HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\nX-Kept: a\r\nX-Kept: b\r\n\r\nhi")
	w, host := one(t, port)
	got := w.ask("POST http://" + strings.ToUpper(host) + "/a%2Fb/../c?q=%20&r HTTP/1.1\r\nHost: " + host + "\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nProxy-Authorization: Basic c2VjcmV0\r\n" +
		"Proxy-Connection: keep-alive\r\nKeep-Alive: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nCookie: a=b\r\nX-Kept: a\r\nX-Kept: b\r\nContent-Length: 4\r\n\r\nbody")
	if want := "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 2\r\nLocation: http://evil.test/\r\nX-Kept: a\r\nX-Kept: b\r\n\r\nhi"; got != want {
		t.Errorf("the program got %q, want %q", got, want)
	}
	if got, want := asked(), "POST /a%2Fb/../c?q=%20&r HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\nContent-Length: 4\r\nCookie: a=b\r\nX-Kept: a\r\nX-Kept: b\r\n\r\nbody"; got != want {
		t.Errorf("the host got %q, want %q", got, want)
	}
	if r := w.next(); r.Method != "POST" || r.Refused != "" || r.Reason != "" {
		t.Errorf("reported %+v", r)
	}
}

// TestForwardAnswers: every way to end an answer arrives as an end that the program can tell from a break.
func TestForwardAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		method, version, answer, want string // want "" means a reset
	}{
		"length":               {"GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"},
		"chunks and trailers":  {"GET", "1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"},
		"chunks to HTTP/1.0":   {"GET", "1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhi"},
		"until the end":        {"GET", "1.1", "HTTP/1.0 200 OK\r\n\r\nhi", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi"},
		"HEAD":                 {"HEAD", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"},
		"no content":           {"GET", "1.1", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
		"empty":                {"GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
		"early hints":          {"GET", "1.1", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
		"hints to HTTP/1.0":    {"GET", "1.0", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
		"a broken length":      {"GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", ""},
		"broken chunks":        {"GET", "1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", ""},
		"not HTTP":             {"GET", "1.1", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 502 Bad Gateway"},
		"nothing":              {"GET", "1.1", "", "HTTP/1.1 502 Bad Gateway"},
		"two lengths":          {"GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", "HTTP/1.1 502 Bad Gateway"},
		"a head without end":   {"GET", "1.1", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHead) + "\r\n\r\n", "HTTP/1.1 502 Bad Gateway"},
		"hints without end":    {"GET", "1.0", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), "HTTP/1.1 502 Bad Gateway"},
		"a switch unasked for": {"GET", "1.1", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 502 Bad Gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			port, _ := verbatim(t, tt.answer)
			w, host := one(t, port)
			c := w.dial()
			fmt.Fprintf(c, "%s http://%s/ HTTP/%s\r\nHost: %s\r\n\r\n", tt.method, host, tt.version, host)
			b, err := io.ReadAll(c)
			got := string(b)
			if strings.HasPrefix(tt.want, "HTTP/1.1 502") {
				got = status(got)
			}
			if tt.want == "" && err == nil || tt.want != "" && (err != nil || got != tt.want) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if r := w.next(); (r.Refused == Unreachable) != strings.HasPrefix(tt.want, "HTTP/1.1 502") {
				t.Errorf("reported %+v", r)
			}
		})
	}
}

// client is a program's HTTP client that follows no redirect.
func (w *world) client() *http.Client {
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: w.addr}), ExpectContinueTimeout: 5 * time.Second}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// TestForwardStreams: each word of an answer arrives before the next is sent, and each word of a request likewise.
func TestForwardStreams(t *testing.T) {
	heard := make(chan string)
	port := web(t, func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).EnableFullDuplex()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			fmt.Fprintf(rw, "heard %s", line)
			rw.(http.Flusher).Flush()
			heard <- line
		}
		rw.Header().Set(http.TrailerPrefix+"X-Undeclared", "dropped")
		fmt.Fprintf(rw, "trailer %s", r.Trailer.Get("X-Sum"))
	})
	w, host := one(t, port)
	for name, length := range map[string]int64{"chunked": -1, "with a length": 8} {
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "http://"+host+"/", pr)
		req.ContentLength = length
		if length < 0 {
			req.Trailer = http.Header{"X-Sum": {"7"}}
		}
		go func() { _, _ = io.WriteString(pw, "one\n") }()
		go func() { <-heard; _, _ = io.WriteString(pw, "two\n"); <-heard; pw.Close() }()
		resp, err := w.client().Do(req)
		if err != nil {
			t.Fatal(name, err)
		}
		b, err := io.ReadAll(resp.Body)
		want := "heard one\nheard two\ntrailer "
		if length < 0 {
			want += "7"
		}
		if string(b) != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, b, err, want)
		}
		resp.Body.Close()
		w.next()
	}
}

func TestForwardContinue(t *testing.T) {
	port := web(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body) // net/http says 100 here
		fmt.Fprint(w, n)
	})
	w, host := one(t, port)
	for path, want := range map[string]string{"/yes": "200 OK 3", "/no": "417 Expectation Failed "} {
		read := false
		body := readerFunc(func(b []byte) (int, error) {
			if read {
				return 0, io.EOF
			}
			read = true
			return copy(b, "abc"), nil
		})
		req, _ := http.NewRequest("PUT", "http://"+host+path, body)
		req.ContentLength = 3
		req.Header.Set("Expect", "100-continue")
		began := time.Now()
		resp, err := w.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := resp.Status + " " + string(b); got != want || read != (path == "/yes") || time.Since(began) > 4*time.Second {
			t.Errorf("%s: got %q after %s, body read=%v; want %q", path, got, time.Since(began), read, want)
		}
		w.next()
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestForwardEarlyAnswer: a host may answer before it has read the request, and the answer arrives.
func TestForwardEarlyAnswer(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 100))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		_ = c.CloseWrite()
		_, _ = io.CopyN(io.Discard, c, 1<<20)
	})
	w, host := one(t, port)
	c := w.dial()
	fmt.Fprintf(c, "POST http://%s/ HTTP/1.1\r\nHost: %s\r\nContent-Length: 10000000\r\n\r\n%s", host, host, strings.Repeat("x", 100000))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 {
		t.Errorf("got %v, %v", resp, err)
	}
	if r := w.next(); r.Refused != "" || r.Reason != "" {
		t.Errorf("reported %+v", r)
	}
}

// TestForwardBrokenBody: a request that breaks off must not look whole to the host.
func TestForwardBrokenBody(t *testing.T) {
	for name, body := range map[string]string{
		"length":        "Content-Length: 9\r\n\r\nabc",
		"chunks":        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"chunk size":    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
		"chunk size LF": "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
		"chunk too big": "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
		"chunk huge":    "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			port := listen(t, func(c *net.TCPConn) {
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					_, err = io.ReadAll(req.Body)
				}
				ended <- err
			})
			w, host := one(t, port)
			c := w.dial()
			fmt.Fprintf(c, "POST http://%s/ HTTP/1.1\r\nHost: %s\r\n%s", host, host, body)
			_ = c.CloseWrite()
			if b, err := io.ReadAll(c); len(b) > 0 || err == nil {
				t.Errorf("got %q, %v; want a reset", b, err)
			}
			if r := w.next(); !strings.Contains(r.Reason, "request's body") {
				t.Errorf("reported %+v", r)
			}
			if err := <-ended; err == nil {
				t.Error("the host took the request for whole")
			}
		})
	}
}

func TestForwardUpgrade(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "Upgrade" || req.Header.Get("Sec-WebSocket-Key") != "k" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\nfirst ")
		_, _ = io.Copy(c, in)
	})
	w, host := one(t, port)
	c := w.dial()
	fmt.Fprintf(c, "GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nframes", host, host)
	_ = c.CloseWrite()
	got, err := io.ReadAll(c)
	if want := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-Websocket-Accept: a\r\nUpgrade: websocket\r\n\r\nfirst frames"; string(got) != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if r := w.next(); r.Refused != "" {
		t.Errorf("reported %+v", r)
	}
}

// TestOneRequestPerConnection: what follows a request is not read as another.
func TestOneRequestPerConnection(t *testing.T) {
	port, asked := verbatim(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	w, host := one(t, port)
	for _, first := range []string{
		"GET http://" + host + "/1 HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"POST http://" + host + "/1 HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\n\r\nabc",
		"POST http://" + host + "/1 HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		got := w.ask(first + "GET http://evil.test/2 HTTP/1.1\r\nHost: evil.test\r\n\r\n" + first)
		if strings.Count(got, "HTTP/1.1") != 1 || !strings.Contains(got, "Connection: close") {
			t.Errorf("got %q", got)
		}
		if s := asked(); strings.Contains(s, "evil") || strings.Count(s, "HTTP/1.1") != 1 {
			t.Errorf("the host got %q", s)
		}
		w.next()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) != 0 {
		t.Errorf("also reported %+v", w.seen)
	}
}

// ambiguous are requests that two parsers could read differently; %[1]s is an allowed host.
var ambiguous = map[string]string{
	"two lengths":                  "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
	"the same length twice":        "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
	"two lengths in one line":      "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 3, 3\r\n\r\nabc",
	"a negative length":            "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: -3\r\n\r\nabc",
	"a signed length":              "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: +3\r\n\r\nabc",
	"a length in hex":              "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 0x3\r\n\r\nabc",
	"a length too long":            "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 9999999999999999999\r\n\r\nabc",
	"an empty length":              "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length:\r\n\r\nabc",
	"coding and length":            "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
	"length and coding":            "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
	"two codings":                  "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"two codings in one line":      "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"an unknown coding":            "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"a coding with a vertical tab": "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
	"a coding in HTTP/1.0":         "POST http://%[1]s/ HTTP/1.0\r\nHost: %[1]s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"a space before the colon":     "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"a space before the name":      "POST http://%[1]s/ HTTP/1.1\r\n Host: %[1]s\r\n\r\n",
	"a folded line":                "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX: a\r\n b\r\n\r\n",
	"a folded coding":              "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
	"bare line feeds":              "GET http://%[1]s/ HTTP/1.1\nHost: %[1]s\n\n",
	"one bare line feed":           "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n",
	"a bare line feed at the end":  "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\n",
	"a bare carriage return":       "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
	"two carriage returns":         "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\r\n\r\n",
	"a NUL":                        "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX: a\x00b\r\n\r\n",
	"a line without a colon":       "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX\r\n\r\n",
	"a line without a name":        "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n: x\r\n\r\n",
	"a name with a slash":          "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nA/b: x\r\n\r\n",
	"two hosts":                    "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nHost: %[1]s\r\n\r\n",
	"no host":                      "GET http://%[1]s/ HTTP/1.1\r\n\r\n",
	"an empty host":                "GET http://%[1]s/ HTTP/1.1\r\nHost:\r\n\r\n",
	"another host":                 "GET http://%[1]s/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	"another host in HTTP/1.0":     "GET http://%[1]s/ HTTP/1.0\r\nHost: evil.test\r\n\r\n",
	"host without the port":        "GET http://%[1]s/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
	"two spaces":                   "GET  http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a tab in the first line":      "GET\thttp://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a space in the target":        "GET http://%[1]s/a b HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a fragment":                   "GET http://%[1]s/#a HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"letters outside ASCII":        "GET http://%[1]s/\xc3\xa4 HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a backslash in the host":      "GET http://evil.test\\@%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a fragment that hides a host": "GET http://evil.test#@%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"HTTP/0.9":                     "GET http://%[1]s/\r\n\r\n",
	"HTTP/1.2":                     "GET http://%[1]s/ HTTP/1.2\r\nHost: %[1]s\r\n\r\n",
	"HTTP/2.0":                     "GET http://%[1]s/ HTTP/2.0\r\nHost: %[1]s\r\n\r\n",
	"HTTP/1.1 with a zero":         "GET http://%[1]s/ HTTP/01.1\r\nHost: %[1]s\r\n\r\n",
	"an empty line first":          "\r\nGET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a method with a colon":        "GE:T http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"CONNECT with a coding":        "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: chunked\r\n\r\n",
	"CONNECT with a path":          "CONNECT %[1]s/x HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"CONNECT with a scheme":        "CONNECT http://%[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"CONNECT with a user":          "CONNECT u@%[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"CONNECT with only a path":     "CONNECT /%[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"CONNECT to two":               "CONNECT %[1]s,evil.test:1 HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
}

var unambiguous = map[string]string{
	"plain":                   "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a length":                "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 3\r\n\r\nabc",
	"length zero":             "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: 0\r\n\r\n",
	"a coding":                "POST http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"spaces around a value":   "GET http://%[1]s/ HTTP/1.1\r\nHost:   %[1]s\t\r\nX: \ta b\t \r\n\r\n",
	"letters outside ASCII":   "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX: \xc3\xa4\r\n\r\n",
	"an empty value":          "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX:\r\n\r\n",
	"HTTP/1.0 without a host": "GET http://%[1]s/ HTTP/1.0\r\n\r\n",
	"no path":                 "GET http://%[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"only a query":            "GET http://%[1]s?a HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
	"a colon in a value":      "GET http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\nX: a:b\r\n\r\n",
	"an odd method":           "M-SEARCH http://%[1]s/ HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	dialled := 0
	port := web(t, func(http.ResponseWriter, *http.Request) {})
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}, Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		dialled++
		return new(net.Dialer).DialContext(ctx, "tcp", a.String())
	}})
	host := fmt.Sprintf("api.test:%d", port)
	for name, raw := range ambiguous {
		got := w.ask(strings.ReplaceAll(raw, "%[1]s", host))
		if r := w.next(); status(got) != "HTTP/1.1 400 Bad Request" || r.Refused != BadRequest || r.Reason == "" {
			t.Errorf("%s: got %q, reported %+v", name, got, r)
		}
	}
	if dialled != 0 {
		t.Errorf("%d of them were dialled for", dialled)
	}
	for name, raw := range unambiguous {
		got := w.ask(strings.ReplaceAll(raw, "%[1]s", host))
		if r := w.next(); !strings.HasSuffix(status(got), " 200 OK") || r.Refused != "" {
			t.Errorf("%s: got %q, reported %+v", name, got, r)
		}
	}
	long := "GET http://" + host + "/ HTTP/1.1\r\nHost: " + host + "\r\nX: "
	for size, want := range map[int]string{maxHead: "200 OK", maxHead + 1: "400 Bad Request"} {
		got := w.ask(long + strings.Repeat("x", size-len(long)-4) + "\r\n\r\n")
		if w.next(); status(got) != "HTTP/1.1 "+want {
			t.Errorf("a head of %d bytes: got %q, want %s", size, status(got), want)
		}
	}
}

// memory is a connection that reads from a buffer and keeps what is written.
type memory struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (m *memory) Read(b []byte) (int, error)       { return m.in.Read(b) }
func (m *memory) Write(b []byte) (int, error)      { return m.out.Write(b) }
func (m *memory) Close() error                     { return nil }
func (m *memory) CloseWrite() error                { return nil }
func (m *memory) LocalAddr() net.Addr              { return nil }
func (m *memory) RemoteAddr() net.Addr             { return nil }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession sends anything to a proxy that allows one host. At most that host is dialled, once; the request that
// reaches it is one request, of that host, with nothing behind it; exactly one Connection is reported.
func FuzzSession(f *testing.F) {
	for _, list := range []map[string]string{ambiguous, unambiguous} {
		for _, raw := range list {
			f.Add([]byte(strings.ReplaceAll(raw, "%[1]s", "api.test:80")))
		}
	}
	f.Add([]byte("CONNECT api.test:80 HTTP/1.1\r\n\r\nx"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x08api.test\x00\x50x"))
	f.Add([]byte("\x05\x02\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50x"))
	f.Add([]byte("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx"))
	f.Add([]byte("POST http://api.test/ HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\nGET http://x/ HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var reports []Connection
		var origins []*memory
		p := &Proxy{Rules: []Rule{{Host: "api.test", Port: 80}}, own: func() ([]netip.Addr, error) { return nil, nil }}
		p.Observe = func(c Connection) { reports = append(reports, c) }
		p.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "api.test" {
				t.Errorf("resolved %q", host)
			}
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		}
		p.Dial = func(_ context.Context, a netip.AddrPort) (net.Conn, error) {
			if a.String() != "93.184.216.34:80" {
				return nil, errors.New("dialled " + a.String())
			}
			o := &memory{in: bytes.NewReader([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))}
			origins = append(origins, o)
			return o, nil
		}
		client := &memory{in: bytes.NewReader(b)}
		p.serve(context.Background(), client, false)
		if len(b) > 0 && len(reports) != 1 || len(origins) > 1 {
			t.Fatalf("%d reports, %d dials", len(reports), len(origins))
		}
		if len(origins) == 0 {
			if len(b) > 0 && reports[0].Refused == "" {
				t.Fatalf("nothing was dialled or refused: %+v", reports[0])
			}
			return
		}
		r := reports[0]
		if strings.Contains(r.Reason, "internal error") || r.Host != "api.test" || r.Port != 80 || r.Sent != int64(origins[0].out.Len()) {
			t.Fatalf("reported %+v", r)
		}
		if r.Method == "CONNECT" || r.Method == "SOCKS5" || r.Reason != "" {
			return
		}
		in := bufio.NewReader(&origins[0].out)
		req, err := http.ReadRequest(in)
		if err != nil || req.Host != "api.test" || req.Method != r.Method {
			t.Fatalf("the host got %+v, %v", req, err)
		}
		// The host answers at once here, so a body may be cut short; a whole one has nothing behind it.
		if _, err := io.Copy(io.Discard, req.Body); err == nil {
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Fatalf("behind the request the host got %q", rest)
			}
		}
	})
}
