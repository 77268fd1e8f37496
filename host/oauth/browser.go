package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// landing is where the browser comes back to: one page on this machine, for one sign-in. It answers one request, the first that has the
// state; to everything else there is nothing.
type landing struct {
	uri   *url.URL // as the authorization server hears it, with the port
	state string
	taken atomic.Bool
	got   chan url.Values // one, what came back

	server *http.Server
	served chan struct{} // closed when the server has ended
}

// page says nothing that came with the request.
const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Cordon</title>
<p>Cordon has the answer. You can close this page and go back to Cordon.</p></html>
`

// land listens for the browser. kept is a redirect URI that was registered before, "" if there is none; its port is taken again if it is free,
// because some authorization servers compare ports although RFC 8252 §7.3 forbids it. Close it.
func (a *Authorizer) land(ctx context.Context, kept string) (*landing, error) {
	base := a.o.Redirect
	if base == "" {
		base = "http://127.0.0.1/callback"
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.User != nil || strings.ContainsAny(base, "?#") || u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" {
		return nil, errors.New("the redirect URI is none on this machine: http, 127.0.0.1 or localhost, and a path")
	}
	port := u.Port()
	if before, err := url.Parse(kept); port == "" && kept != "" && err == nil && before.Hostname() == u.Hostname() && before.Path == u.Path {
		port = before.Port()
	}
	listen := func(port string) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
	}
	l, err := listen(port)
	if err != nil && u.Port() == "" && port != "" {
		l, err = listen("")
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the browser on %s: %w", u.Host, err)
	}
	u.Host = net.JoinHostPort(u.Hostname(), fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	if u.Path == "" {
		u.Path = "/"
	}
	there := &landing{uri: u, state: random(32), got: make(chan url.Values, 1), served: make(chan struct{})}
	there.server = &http.Server{Handler: there, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		IdleTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10}
	go func() {
		defer close(there.served)
		_ = there.server.Serve(l)
	}()
	return there, nil
}

// close ends it after what it is writing, and waits.
func (l *landing) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
	<-l.served
}

// ServeHTTP implements http.Handler.
func (l *landing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Connection", "close")
	if err != nil || r.Method != http.MethodGet || r.URL.Path != l.uri.Path || r.Host != l.uri.Host || len(q["state"]) != 1 ||
		subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(l.state)) != 1 || !l.taken.CompareAndSwap(false, true) {
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page))
	l.got <- q
}

// code reads what the browser came back with. Who answers is looked at first: what another than the issuer says is not even repeated
// (RFC 9207 §2.4).
func code(q url.Values, m metadata) (string, error) {
	switch iss := q["iss"]; {
	case len(iss) > 1 || len(iss) == 1 && iss[0] != m.Issuer:
		return "", errors.New("another than the authorization server answered; somebody may be trying to mix two of them up")
	case len(iss) == 0 && m.NamesItself:
		return "", errors.New("the answer does not say who it is from, which the authorization server promised")
	case len(q["code"]) > 1 || len(q["error"]) > 1 || len(q["error_description"]) > 1:
		return "", errors.New("the authorization server's answer says something twice")
	case q.Has("error"):
		if !isCode(q.Get("error")) {
			return "", errors.New("the authorization server's answer is malformed")
		}
		return "", &refusal{Code: q.Get("error"), Text: printable(q.Get("error_description"))}
	case !visible(q.Get("code"), maxToken):
		return "", errors.New("the authorization server's answer has no code that can be used")
	}
	return q.Get("code"), nil
}

// errUnanswered means that the browser did not come back.
var errUnanswered = errors.New("nobody finished signing in")

// ask lets the person sign in with the browser and returns the token. reg is the registration that was used, nil if none was needed; kept is the
// one that is there already. keep is called with a new registration before the browser opens.
func (a *Authorizer) ask(ctx context.Context, f found, kept *registration, key []byte, scopes []string,
	keep func(*registration) error) (t *token, reg *registration, err error) {
	before := ""
	if kept.usable(a.now()) {
		before = kept.Redirect
	}
	l, err := a.land(ctx, before)
	if err != nil {
		return nil, nil, err
	}
	defer l.close()
	c, reg, err := a.client(ctx, f, kept, l.uri.String())
	if err == nil && reg != nil && reg != kept {
		err = keep(reg)
	}
	if err != nil {
		return nil, nil, err
	}
	verifier := random(48)
	q := url.Values{"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {l.uri.String()}, "state": {l.state},
		"code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"}, "resource": {f.resource}}
	if len(scopes) > 0 {
		q.Set("scope", strings.Join(scopes, " "))
	}
	if slices.Contains(scopes, "offline_access") { // OpenID providers give none otherwise
		q.Set("prompt", "consent")
	}
	if key != nil { // the code is of use to the key alone (RFC 9449 §10)
		private, err := dpopKey(key)
		if err != nil {
			return nil, reg, err
		}
		_, thumbprint, err := jwk(private)
		if err != nil {
			return nil, reg, err
		}
		q.Set("dpop_jkt", thumbprint)
	}
	to, err := a.address(f.meta.Authorization)
	if err != nil {
		return nil, reg, err
	}
	own, err := url.ParseQuery(to.RawQuery)
	if err != nil {
		return nil, reg, errors.New("the authorization endpoint's query is malformed")
	}
	for k, v := range own {
		if q.Has(k) {
			return nil, reg, fmt.Errorf("the authorization endpoint brings a %.40q of its own", k)
		}
		q[k] = v
	}
	to.RawQuery = q.Encode()
	if err := a.o.Browse(ctx, to.String()); err != nil {
		if ctx.Err() != nil {
			return nil, reg, fmt.Errorf("%w: %w", errUnanswered, ctx.Err())
		}
		return nil, reg, errors.New("open the browser: " + printable(strings.ReplaceAll(err.Error(), to.String(), "the address"), l.state))
	}
	var back url.Values
	select {
	case back = <-l.got:
	case <-ctx.Done():
		return nil, reg, fmt.Errorf("%w: %w", errUnanswered, ctx.Err())
	}
	given, err := code(back, f.meta)
	if err != nil {
		return nil, reg, err
	}
	secret, err := a.secretOf(ctx, c)
	if err != nil {
		return nil, reg, err
	}
	t, err = a.exchange(ctx, grant{endpoint: f.meta.Token, client: c, secret: secret, key: key, scopes: scopes, form: url.Values{
		"grant_type": {"authorization_code"}, "code": {given}, "redirect_uri": {l.uri.String()}, "code_verifier": {verifier}, "resource": {f.resource}}})
	return t, reg, err
}
