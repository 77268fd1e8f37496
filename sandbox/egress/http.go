package egress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const maxInformational = 16 // answers with status 1xx before the one that counts

// speakHTTP serves one request in HTTP.
func (s *session) speakHTTP(ctx context.Context) {
	s.answer = s.answerHTTP
	req, t, refused := s.request()
	if refused != nil {
		s.refuse(refused)
		return
	}
	o := s.open(ctx, t)
	if o == nil {
		return
	}
	s.carry(ctx, o, func() *refusal {
		if req.Method != http.MethodConnect {
			return s.forward(req, t, o)
		}
		if _, err := io.WriteString(s.client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			s.cutBoth(err)
			return nil
		}
		tunnel(s.client, s.in, o, o, s.cutBoth)
		return nil
	})
}

// request reads a head and says where it wants to go. The body is left in s.in.
func (s *session) request() (*http.Request, target, *refusal) {
	if first, _ := s.in.Peek(1); first[0] < 'A' || first[0] > 'Z' {
		return nil, target{}, refuse(BadRequest, "this proxy speaks HTTP/1.1 without TLS, and SOCKS5")
	}
	head, refused := peekHead(s.in)
	if refused != nil {
		return nil, target{}, refused
	}
	host, refused := checkHead(head)
	if refused != nil {
		return nil, target{}, refused
	}
	req, err := http.ReadRequest(s.in)
	if err != nil {
		return nil, target{}, refuse(BadRequest, "the request is not valid HTTP/1.1")
	}
	s.saw.Method = req.Method
	if req.Method == http.MethodConnect {
		t, err := parseTarget(req.RequestURI, 0)
		switch {
		case err != nil:
			return nil, target{}, refuse(BadRequest, "CONNECT target: %v", err)
		case req.ContentLength != 0:
			return nil, target{}, refuse(BadRequest, "CONNECT has no body")
		}
		return req, t, nil // Host is not passed on, so it can mislead nobody
	}
	switch u := req.URL; {
	case u.Scheme == "" || u.Host == "":
		return nil, target{}, refuse(BadRequest, "this is a proxy: ask for http://host/path, or CONNECT host:port")
	case u.Scheme != "http":
		return nil, target{}, refuse(BadRequest, "only http: for https use CONNECT host:port")
	case u.User != nil:
		return nil, target{}, refuse(BadRequest, "no user or password before the host")
	}
	t, err := parseTarget(req.URL.Host, 80)
	if err != nil {
		return nil, target{}, refuse(BadRequest, "request target: %v", err)
	}
	if req.ProtoAtLeast(1, 1) || host != "" {
		if same, err := parseTarget(host, 80); err != nil || same != t {
			return nil, target{}, refuse(BadRequest, "Host is another than in the request target")
		}
	}
	return req, t, nil
}

// forward sends a plain request to o and its answer to the program. Redirects are answers like others: following one is a
// new request.
func (s *session) forward(req *http.Request, t target, o *origin) *refusal {
	upgrade := prepare(req, t)
	var over atomic.Bool // the answer is complete, or there is none: what becomes of the request's body no longer matters
	w := held{bufio.NewWriter(o)}
	req.Body = flushing{req.Body, w, func(err error) {
		if !over.Load() {
			s.cutBoth(fmt.Errorf("the request's body: %w", err))
		}
	}}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if req.Write(w) == nil { // an error shows in the answer, or the lack of one: hosts may answer early and close
			_ = w.w.Flush()
		}
	}()
	bounded := &io.LimitedReader{R: o, N: maxHead}
	in := bufio.NewReader(bounded)
	resp, refused := s.response(req, bounded, in)
	if refused == nil && resp.StatusCode == http.StatusSwitchingProtocols && upgrade == "" {
		refused = refuse(Unreachable, "%s switches protocols unasked", t)
	}
	stop := func() {
		over.Store(true)
		o.Conn.Close()
		_ = s.client.SetReadDeadline(time.Now())
		<-sent
	}
	if refused != nil {
		cut(o)
		stop()
		return refused
	}
	bounded.N = math.MaxInt64
	dropHops(resp.Header)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		<-sent
		resp.Header["Connection"], resp.Header["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
		if err := writeHead(s.client, resp); err != nil {
			s.cutBoth(err)
			return nil
		}
		tunnel(s.client, s.in, o, in, s.cutBoth)
		return nil
	}
	resp.ProtoMajor, resp.ProtoMinor, resp.Close = req.ProtoMajor, req.ProtoMinor, true
	back := held{bufio.NewWriter(s.client)}
	resp.Body = flushing{resp.Body, back, func(error) {}}
	err := resp.Write(back)
	if err == nil {
		err = back.w.Flush()
	}
	if err != nil {
		s.cutBoth(fmt.Errorf("the answer broke off: %w", err))
		cut(o)
	}
	stop()
	return nil
}

// response reads the answer's head from in and passes those with status 1xx on.
func (s *session) response(req *http.Request, bounded *io.LimitedReader, in *bufio.Reader) (*http.Response, *refusal) {
	for range maxInformational {
		bounded.N = maxHead
		resp, err := http.ReadResponse(in, req)
		switch {
		case err != nil:
			return nil, refuse(Unreachable, "%s gave no answer in HTTP", s.saw.Host)
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil
		case req.ProtoAtLeast(1, 1):
			dropHops(resp.Header)
			if err := writeHead(s.client, resp); err != nil {
				return nil, refuse(Unreachable, "the program is gone")
			}
		}
	}
	return nil, refuse(Unreachable, "%s answers without end", s.saw.Host)
}

// prepare makes req one to the host itself and returns the protocol it wants to change to, if any.
func prepare(req *http.Request, t target) (upgrade string) {
	for _, v := range req.Header["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(name), "upgrade") && req.ProtoAtLeast(1, 1) {
				upgrade = req.Header.Get("Upgrade")
			}
		}
	}
	dropHops(req.Header)
	req.Host = t.host
	if strings.Contains(t.host, ":") {
		req.Host = "[" + t.host + "]"
	}
	if t.port != 80 {
		req.Host = t.String()
	}
	if req.Close = upgrade == ""; !req.Close {
		req.Header["Connection"], req.Header["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // or net/http would add its own
	}
	return upgrade
}

// dropHops takes out what is meant for the next hop only, RFC 9110 section 7.6.1. Announced trailers stay: net/http keeps
// them apart.
func dropHops(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
}

// writeHead writes an answer with status 1xx: Response.Write would give it a Content-Length.
func writeHead(w io.Writer, resp *http.Response) error {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	_ = resp.Header.Write(&b)
	b.WriteString("\r\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *session) answerHTTP(r *refusal) []byte {
	status := http.StatusForbidden
	switch r.code {
	case BadRequest:
		status = http.StatusBadRequest
	case Unresolvable, Unreachable:
		status = http.StatusBadGateway
	case Busy:
		status = http.StatusServiceUnavailable
	}
	body := "Cordon: " + r.reason + ".\n"
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nX-Cordon-Refused: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		status, http.StatusText(status), r.code, len(body))
	if s.saw.Method == http.MethodHead {
		body = ""
	}
	return []byte(head + body)
}

// held is a buffered writer that net/http takes for buffered enough. It has no ReadFrom on purpose: bufio's would be
// confused by a flush in the middle, which is what flushing does.
type held struct{ w *bufio.Writer }

func (h held) Write(b []byte) (int, error) { return h.w.Write(b) }
func (h held) WriteByte(c byte) error      { return h.w.WriteByte(c) }

// flushing is a body that sends on what was made of it before it waits for more, so that streams flow. Closing it does
// nothing: net/http would read the rest of the body, which may have no end.
type flushing struct {
	io.Reader
	to     held
	failed func(error)
}

func (f flushing) Read(b []byte) (int, error) {
	if err := f.to.w.Flush(); err != nil {
		return 0, err
	}
	n, err := f.Reader.Read(b)
	if err != nil && err != io.EOF {
		f.failed(err)
	}
	return n, err
}

func (f flushing) Close() error { return nil }
