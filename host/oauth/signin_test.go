package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSignInInTheBrowser(t *testing.T) {
	w := newWorld(t, Login{Scopes: []string{"extra"}})
	w.rs.challenge = `, scope="read"`
	need := w.needs()
	if need.Issuer != w.as.URL || !slices.Equal(need.Scopes, []string{"read", "extra"}) || need.StepUp {
		t.Errorf("needed = %+v", need)
	}
	if w.browsed() != 0 {
		t.Fatal("a browser was opened without a person's word")
	}
	w.signIn()
	w.works()
	q := w.as.last
	if q.Get("resource") != w.rs.URL+"/mcp" || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "read extra" || q.Get("response_type") != "code" {
		t.Errorf("the browser was sent %v", q)
	}
	if len(q.Get("state")) < 32 || !strings.HasPrefix(q.Get("redirect_uri"), "http://127.0.0.1:") {
		t.Errorf("state %q, redirect %q", q.Get("state"), q.Get("redirect_uri"))
	}
	s := w.a.Status()
	if !s.SignedIn || s.Issuer != w.as.URL || !slices.Equal(s.Scopes, []string{"read", "extra"}) || !s.Expires.Equal(w.clock.Now().Add(time.Hour)) || s.DPoP || s.Wanted != nil {
		t.Errorf("status = %+v", s)
	}
	if f := w.as.form(0); f.Get("resource") != w.rs.URL+"/mcp" || f.Get("code_verifier") == "" {
		t.Errorf("the token was asked for with %v", f)
	}

	w.again() // the program starts anew
	if s := w.a.Status(); s.SignedIn {
		t.Errorf("status = %+v before anything was loaded", s)
	}
	w.works()
	if s := w.a.Status(); !s.SignedIn || !slices.Equal(s.Scopes, []string{"read", "extra"}) {
		t.Errorf("status = %+v after a restart", s)
	}
	if n := w.as.seen("/register"); n != 1 {
		t.Errorf("registered %d times, want once", n)
	}
}

// TestWrongAnswers: what the browser brings back does not lead to a token.
func TestWrongAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		back  func(asked, back url.Values)
		words string
		not   string
	}{
		"another issuer":              {func(_, b url.Values) { b.Set("iss", "https://honest.example") }, "mix", "honest"},
		"the issuer with a slash":     {func(_, b url.Values) { b.Set("iss", b.Get("iss")+"/") }, "mix", ""},
		"the issuer in capitals":      {func(_, b url.Values) { b.Set("iss", strings.Replace(b.Get("iss"), "http", "HTTP", 1)) }, "mix", ""},
		"the issuer twice":            {func(_, b url.Values) { b.Add("iss", b.Get("iss")) }, "mix", ""},
		"no issuer, though promised":  {func(_, b url.Values) { b.Del("iss") }, "does not say who", ""},
		"an error from another":       {func(_, b url.Values) { b.Set("iss", "https://evil"); b.Set("error", "evil_text") }, "mix", "evil"},
		"a refusal":                   {func(_, b url.Values) { b.Del("code"); b.Set("error", "access_denied") }, "access_denied", ""},
		"a refusal that is markup":    {func(_, b url.Values) { b.Set("error", "<script>") }, "malformed", "script"},
		"a refusal with hidden words": {func(_, b url.Values) { b.Set("error", "access_denied"); b.Set("error_description", "a\u202eb\nc") }, "a·b·c", "\n"},
		"no code":                     {func(_, b url.Values) { b.Del("code") }, "no code", ""},
		"two codes":                   {func(_, b url.Values) { b.Add("code", "other") }, "twice", ""},
		"a code with a newline":       {func(_, b url.Values) { b.Set("code", "a\nb") }, "no code", ""},
		"somebody else's code":        {func(_, b url.Values) { b.Set("code", "code-of-another") }, "invalid_grant", "code-of-another"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Login{})
			w.as.back = c.back
			w.refuses(c.words)
			if name != "somebody else's code" && w.as.seen("/token") != 0 {
				t.Error("the code was sent to the token endpoint")
			}
			if err := w.a.SignIn(t.Context()); c.not != "" && strings.Contains(err.Error(), c.not) {
				t.Errorf("SignIn = %q, which repeats %q", err, c.not)
			}
		})
	}
}

// TestUnpromisedIssuer: one that is sent without being promised still has to be right, and none is fine.
func TestUnpromisedIssuer(t *testing.T) {
	w := newWorld(t, Login{})
	w.as.meta = func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") }
	w.as.back = func(_, b url.Values) { b.Set("iss", "https://evil.example") }
	w.refuses("mix")
	w.as.back = func(_, b url.Values) { b.Del("iss") }
	w.signIn()
	w.works()
}

// TestRedirectIsTakenOnce: strangers on this machine, wrong states and replays find nothing and stop nothing.
func TestRedirectIsTakenOnce(t *testing.T) {
	w := newWorld(t, Login{})
	get := func(method, to, host string) (int, string, http.Header) {
		r, err := http.NewRequestWithContext(t.Context(), method, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			r.Host = host
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b), resp.Header
	}
	var replayed string
	w.o.Browse = func(_ context.Context, to string) error {
		u, err := url.Parse(to)
		if err != nil {
			return err
		}
		back, state := u.Query().Get("redirect_uri"), u.Query().Get("state")
		for name, c := range map[string][3]string{
			"no state":         {"GET", back + "?code=evil", ""},
			"another state":    {"GET", back + "?code=evil&state=" + strings.Repeat("x", len(state)), ""},
			"half of a state":  {"GET", back + "?code=evil&state=" + state[:10], ""},
			"two states":       {"GET", back + "?code=evil&state=" + state + "&state=" + state, ""},
			"another path":     {"GET", back + "/x?code=evil&state=" + state, ""},
			"another method":   {"POST", back + "?code=evil&state=" + state, ""},
			"another host":     {"GET", back + "?code=evil&state=" + state, "evil.example"},
			"a query in parts": {"GET", back + "?code=evil&state=" + state + ";x", ""},
		} {
			if status, _, _ := get(c[0], c[1], c[2]); status != http.StatusNotFound {
				t.Errorf("%s = %d, want 404", name, status)
			}
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
		if err != nil {
			return err
		}
		resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		replayed = resp.Header.Get("Location")
		status, body, h := get("GET", replayed+"&x=%3Cscript%3E", "")
		if status != http.StatusOK || strings.Contains(body, "script") || strings.Contains(body, "code-") || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("the page = %d %q %v", status, body, h)
		}
		if status, _, _ := get("GET", replayed, ""); status != http.StatusNotFound {
			t.Errorf("the same redirect again = %d, want 404", status)
		}
		return nil
	}
	w.again()
	w.signIn()
	w.works()
	if n := w.as.seen("authorization_code"); n != 1 {
		t.Errorf("%d codes were exchanged, want 1", n)
	}
	u, err := url.Parse(replayed)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", u.Host); err == nil {
		_ = c.Close()
		t.Error("somebody still listens for the browser after the sign-in")
	}
}

func TestSignInEndsWithItsContext(t *testing.T) {
	w := newWorld(t, Login{})
	ctx, cancel := context.WithCancel(t.Context())
	var at string
	w.o.Browse = func(_ context.Context, to string) error {
		u, err := url.Parse(to)
		at = u.Query().Get("redirect_uri")
		cancel()
		return err
	}
	w.again()
	if err := w.a.SignIn(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("SignIn = %v, want that it was cancelled", err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", u.Host); err == nil {
		_ = c.Close()
		t.Error("somebody still listens for the browser")
	}
}

// TestWaitingAsksNothing: once a person is waited for, requests cost nothing but themselves, also after the person refused.
func TestWaitingAsksNothing(t *testing.T) {
	w := newWorld(t, Login{})
	w.needs()
	as, rs := w.as.seen("/.well-known/oauth-authorization-server"), w.rs.requests()
	quiet := func() {
		t.Helper()
		for range 3 {
			w.needs()
		}
		if a, r := w.as.seen("/.well-known/oauth-authorization-server"), w.rs.requests(); a != as || r != rs {
			t.Errorf("metadata was asked for %d and %d times more", a-as, r-rs)
		}
	}
	quiet()
	w.as.back = func(_, b url.Values) { b.Del("code"); b.Set("error", "access_denied") }
	w.refuses("access_denied")
	as, rs = w.as.seen("/.well-known/oauth-authorization-server"), w.rs.requests()
	quiet()
	if w.browsed() != 1 {
		t.Errorf("the browser was opened %d times, want once", w.browsed())
	}
	w.as.back = nil
	w.signIn()
	w.works()
}

func TestRegistrationIsRemembered(t *testing.T) {
	w := newWorld(t, Login{})
	for range 3 {
		w.signIn()
		w.works()
		w.again()
	}
	if n := w.as.seen("/register"); n != 1 {
		t.Errorf("registered %d times, want once", n)
	}
	if got, want := w.as.last.Get("redirect_uri"), w.as.redirect[0]; got != want {
		t.Errorf("redirect = %q, registered %q; some servers compare the port", got, want)
	}
	// Its port is taken: another is registered.
	u, err := url.Parse(w.as.redirect[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	w.signIn()
	w.works()
	if n := w.as.seen("/register"); n != 2 || w.as.redirect[0] == u.String() {
		t.Errorf("registered %d times, last for %q", n, w.as.redirect[0])
	}
}

// TestForgottenRegistration: an authorization server that does not know us any more is asked once more to.
func TestForgottenRegistration(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.as.unknown["client-1"] = true
	w.signIn()
	w.works()
	if n := w.as.seen("/register"); n != 2 {
		t.Errorf("registered %d times, want twice", n)
	}
	w.as.unknown["client-2"], w.as.unknown["client-3"] = true, true
	if err := w.a.SignIn(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("SignIn = %v, want invalid_client", err)
	}
	if n := w.as.seen("/register"); n != 3 {
		t.Errorf("registered %d times, want three times", n)
	}
	w.works() // the sign-in before still counts
}

// TestSilentRegistration: some authorization servers tell the person alone that they do not know the client.
func TestSilentRegistration(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	browse := w.o.Browse
	ctx, cancel := context.WithCancel(t.Context())
	w.o.Browse = func(context.Context, string) error { cancel(); return nil }
	w.again()
	if err := w.a.SignIn(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("SignIn = %v", err)
	}
	w.o.Browse = browse
	w.again()
	w.works() // the token is as good as before
	w.signIn()
	if n := w.as.seen("/register"); n != 2 {
		t.Errorf("registered %d times, want twice", n)
	}
}

func TestClientIDs(t *testing.T) {
	const document = "https://cordon.example/client.json"
	supported := func(m map[string]any) { m["client_id_metadata_document_supported"] = true }
	for name, c := range map[string]struct {
		login Login
		url   string
		meta  func(m map[string]any)
		id    string
		basic string
	}{
		"the definition's first":          {Login{ClientID: "mine"}, document, supported, "mine", ""},
		"then the document":               {Login{}, document, supported, document, ""},
		"not where nobody reads it":       {Login{}, document, nil, "client-1", ""},
		"not without one":                 {Login{}, "", supported, "client-1", ""},
		"the definition's with a secret":  {Login{ClientID: "my id", Secret: func(context.Context) (string, error) { return "a:b+c\n", nil }}, "", nil, "my id", "my+id:a%3Ab%2Bc"},
		"the definition's with a refusal": {Login{ClientID: "mine", Secret: func(context.Context) (string, error) { return "", errors.New("keyring locked") }}, "", nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.login)
			w.o.MetadataURL = c.url
			w.as.meta = c.meta
			w.as.answer = func(url.Values, map[string]any) int { return 0 }
			if c.basic != "" { // the client is in the header, where the fake does not look
				w.as.raw = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/token" {
						if user, pass, _ := r.BasicAuth(); user+":"+pass != c.basic {
							t.Errorf("basic = %q, want %q", user+":"+pass, c.basic)
						}
						_ = r.ParseForm()
						if r.PostForm.Has("client_secret") {
							t.Error("the secret is in the form, too")
						}
						r.PostForm.Set("client_id", c.id)
					}
					return false
				}
			}
			w.again()
			if c.id == "" {
				w.refuses("keyring locked")
				return
			}
			w.signIn()
			w.works()
			if got := w.as.last.Get("client_id"); got != c.id {
				t.Errorf("client id = %q, want %q", got, c.id)
			}
		})
	}
}

// TestDefinitionsClientStaysWhereItWas: a server cannot have the definition's secret sent to an authorization server of its choice later.
func TestDefinitionsClientStaysWhereItWas(t *testing.T) {
	secret := func(context.Context) (string, error) { return "s3cret-of-the-client", nil }
	for _, kind := range []Kind{Browser, ClientSecret} {
		w := newWorld(t, Login{Kind: kind, ClientID: "mine", Secret: secret})
		w.as.raw = func(_ http.ResponseWriter, r *http.Request) bool {
			if _ = r.ParseForm(); r.URL.Path == "/token" {
				r.PostForm.Set("client_id", "mine")
			}
			return false
		}
		if kind == Browser {
			w.signIn()
		}
		w.works()
		evil := newAS(t)
		w.rs.prm = func(m map[string]any) { m["authorization_servers"] = []string{evil.URL} }
		w.rs.revoke(w.token())
		w.again()
		w.clock.pass(2 * recently)
		var err error
		if kind == Browser {
			w.needs()
			err = w.a.SignIn(t.Context())
		} else {
			_, err = w.try()
		}
		if err == nil || !strings.Contains(err.Error(), "the client was made for "+w.as.URL) {
			t.Errorf("%q: %v, want that the client was made for another", kind, err)
		}
		if evil.seen("/token")+evil.seen("/authorize") != 0 {
			t.Errorf("%q: the client was shown to another authorization server", kind)
		}
	}
}

func TestMovedToAnotherAuthorizationServer(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.works()
	old := w.token()
	second := newAS(t)
	first := w.as
	first.mu.Lock()
	first.clients = 41 // so that its ids are its own
	first.mu.Unlock()
	w.as, w.rs.as = second, second
	if need := w.needs(); need.Issuer != second.URL || !strings.Contains(need.Why, "moved") {
		t.Errorf("needed = %+v, want the new issuer", need)
	}
	if n := first.seen("refresh_token"); n != 0 {
		t.Errorf("the old authorization server was asked %d times to renew what it may not", n)
	}
	w.signIn()
	w.works()
	if second.seen("/register") != 1 || w.token() == old {
		t.Error("the new authorization server did not register us, or the old token stayed")
	}
	for _, f := range second.forms {
		if strings.Contains(f.Encode(), "refresh-") || f.Get("client_id") != "client-1" {
			t.Errorf("the new authorization server was sent %v", f)
		}
	}
	if strings.Contains(w.store.all(), old) || strings.Contains(w.store.all(), first.URL) {
		t.Error("what the old authorization server gave is still kept")
	}
}

func TestStepUp(t *testing.T) {
	w := newWorld(t, Login{})
	w.rs.challenge = `, scope="read"`
	w.rs.prm = func(m map[string]any) { m["scopes_supported"] = []string{"everything"} }
	w.needs()
	w.signIn()
	w.works()
	w.rs.need = "write"
	need := w.needs()
	if !need.StepUp || !slices.Equal(need.Scopes, []string{"read", "write"}) {
		t.Errorf("needed = %+v, want read and write", need)
	}
	if s := w.a.Status(); !s.SignedIn || !slices.Equal(s.Wanted, []string{"read", "write"}) {
		t.Errorf("status = %+v", s)
	}
	w.signIn()
	w.works()
	if got := w.as.last.Get("scope"); got != "read write" {
		t.Errorf("asked for %q, want both", got)
	}
	if s := w.a.Status(); s.Wanted != nil {
		t.Errorf("%q is still wanted", s.Wanted)
	}
	// After a restart and a new sign-in the permissions are the same.
	w.rs.revoke(w.token())
	w.as.mu.Lock()
	clear(w.as.refresh)
	w.as.mu.Unlock()
	w.again()
	if need := w.needs(); !slices.Equal(need.Scopes, []string{"read", "write"}) {
		t.Errorf("needed = %+v, want read and write", need)
	}
}

func TestEndlessStepUp(t *testing.T) {
	w := newWorld(t, Login{})
	w.rs.challenge = `, scope="admin"`
	w.as.answer = func(_ url.Values, doc map[string]any) int { delete(doc, "scope"); return 0 }
	w.needs()
	w.signIn()
	w.as.mu.Lock()
	for token := range w.as.access {
		w.as.access[token] = "" // it never is enough
	}
	w.as.mu.Unlock()
	w.rs.need = "admin"
	if _, err := w.try(); !errors.Is(err, ErrScope) {
		t.Errorf("request = %v, want ErrScope", err)
	}
	for i := range 2 * maxScopes { // another each time
		w.rs.need = fmt.Sprintf("scope-%d", i)
		_, err := w.try()
		if errors.Is(err, ErrScope) {
			break
		}
		if _, person := errors.AsType[*SignInNeeded](err); !person || i > maxScopes {
			t.Fatalf("request %d = %v", i, err)
		}
		w.signIn()
		w.as.mu.Lock()
		for token := range w.as.access {
			w.as.access[token] = ""
		}
		w.as.mu.Unlock()
	}
	w.rs.need = "admin"
	if _, err := w.try(); !errors.Is(err, ErrScope) {
		t.Errorf("request = %v, want ErrScope", err)
	}
}

func TestOfflineAccess(t *testing.T) {
	for _, offered := range []bool{true, false} {
		w := newWorld(t, Login{})
		if offered {
			w.as.meta = func(m map[string]any) { m["scopes_supported"] = []string{"read", "offline_access"} }
		}
		w.signIn()
		if got := w.as.last.Get("scope"); (got == "offline_access") != offered {
			t.Errorf("scope = %q, offered %t", got, offered)
		}
	}
}

func TestFixedRedirect(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	w := newWorld(t, Login{})
	_, port, _ := net.SplitHostPort(at)
	w.o.Redirect = "http://localhost:" + port + "/back"
	w.again()
	w.refuses("listen for the browser") // taken
	_ = l.Close()
	w.signIn()
	if got := w.as.last.Get("redirect_uri"); got != w.o.Redirect {
		t.Errorf("redirect = %q, want %q", got, w.o.Redirect)
	}
	for _, bad := range []string{"https://cordon.example/back", "http://0.0.0.0:1/", "http://[::1]:1/", "http://127.0.0.1:1/?x", "http://a@127.0.0.1:1/", "cordon://back"} {
		w.o.Redirect = bad
		w.again()
		if err := w.a.SignIn(t.Context()); err == nil || !strings.Contains(err.Error(), "none on this machine") {
			t.Errorf("SignIn with the redirect %q = %v", bad, err)
		}
	}
}

func TestSignOut(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.works()
	access := w.token()
	if err := w.a.SignOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.store.all(); got != "" {
		t.Errorf("kept: %q", got)
	}
	if !slices.Equal(w.as.revoked, []string{"refresh-1", access}) {
		t.Errorf("revoked = %q", w.as.revoked)
	}
	if s := w.a.Status(); s.SignedIn || s.Issuer != "" {
		t.Errorf("status = %+v", s)
	}
	w.needs()
	if err := w.a.SignOut(t.Context()); err != nil {
		t.Errorf("a second SignOut = %v", err)
	}
	w.store.fail = errors.New("keyring locked")
	if err := w.a.SignOut(t.Context()); err == nil {
		t.Error("SignOut succeeded with a locked store")
	}
}

func TestNobodySignsInTwiceAtOnce(t *testing.T) {
	w := newWorld(t, Login{})
	inside, release := make(chan struct{}), make(chan struct{})
	browse := w.o.Browse
	w.o.Browse = func(ctx context.Context, to string) error { close(inside); <-release; return browse(ctx, to) }
	w.again()
	done := make(chan error, 1)
	go func() { done <- w.a.SignIn(t.Context()) }()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.a.SignIn(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a second SignIn = %v, want that it waited", err)
	}
	w.needs() // and requests go on
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.works()
}

// TestRegisteredClients: how one identifies oneself is what the authorization server says at registration, else what it says of itself.
func TestRegisteredClients(t *testing.T) {
	for name, c := range map[string]struct {
		methods []string // of the server's metadata; nil: it does not say
		answer  map[string]any
		how     string // basic, post, none, or "" for an error
	}{
		"as it says":                         {[]string{"none"}, map[string]any{"client_id": "c", "client_secret": "s3cret", "token_endpoint_auth_method": "client_secret_post"}, "post"},
		"no method, and a secret for nobody": {[]string{"none"}, map[string]any{"client_id": "c", "client_secret": "s3cret"}, "none"},
		"no method, and a secret":            {[]string{"client_secret_post"}, map[string]any{"client_id": "c", "client_secret": "s3cret"}, "post"},
		"nothing said at all":                {nil, map[string]any{"client_id": "c", "client_secret": "s3cret"}, "basic"},
		"no method and no secret":            {nil, map[string]any{"client_id": "c"}, "none"},
		"a secret that ends":                 {nil, map[string]any{"client_id": "c", "client_secret": "s3cret", "client_secret_expires_at": 1}, "basic"},
		"a method without a secret":          {nil, map[string]any{"client_id": "c", "token_endpoint_auth_method": "client_secret_basic"}, ""},
		"a method that is unknown":           {nil, map[string]any{"client_id": "c", "token_endpoint_auth_method": "tls_client_auth"}, ""},
		"a server that takes neither":        {[]string{"tls_client_auth"}, map[string]any{"client_id": "c"}, ""},
		"no client id":                       {nil, map[string]any{}, ""},
		"a client id with a newline":         {nil, map[string]any{"client_id": "c\nd"}, ""},
		"a client id without end":            {nil, map[string]any{"client_id": strings.Repeat("c", maxClientID+1)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Login{})
			w.as.meta = func(m map[string]any) {
				if m["token_endpoint_auth_methods_supported"] = c.methods; c.methods == nil {
					delete(m, "token_endpoint_auth_methods_supported")
				}
			}
			registered, how := 0, ""
			w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
				switch r.URL.Path {
				case "/register":
					registered++
					reply(rw, http.StatusCreated, c.answer)
					return true
				case "/token":
					_ = r.ParseForm()
					switch user, pass, basic := r.BasicAuth(); {
					case basic && user == "c" && pass == "s3cret" && !r.PostForm.Has("client_secret"):
						how = "basic"
					case !basic && r.PostForm.Get("client_secret") == "s3cret":
						how = "post"
					case !basic && !r.PostForm.Has("client_secret"):
						how = "none"
					}
					r.PostForm.Set("client_id", "c")
				}
				return false
			}
			if c.how == "" {
				w.refuses()
				return
			}
			w.signIn()
			w.works()
			if how != c.how {
				t.Errorf("identified by %q, want %q", how, c.how)
			}
			w.clock.pass(time.Hour)
			how = ""
			w.works()
			if how != c.how {
				t.Errorf("renewed by %q, want %q", how, c.how)
			}
			w.signIn()
			if want := map[bool]int{true: 2, false: 1}[c.answer["client_secret_expires_at"] != nil]; registered != want {
				t.Errorf("registered %d times, want %d", registered, want)
			}
		})
	}
}

// TestWantsWithoutEnd: a server that wants something else each time, and never gets it, fills no memory.
func TestWantsWithoutEnd(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	for i := range maxScopes + 10 {
		w.rs.need = fmt.Sprintf("scope-%d", i)
		_, err := w.try()
		if _, person := errors.AsType[*SignInNeeded](err); !person && !errors.Is(err, ErrScope) {
			t.Fatalf("request %d = %v", i, err)
		}
	}
	if n := len(w.a.Status().Wanted); n > maxScopes {
		t.Errorf("%d scopes are wanted, at most %d may be", n, maxScopes)
	}
}
