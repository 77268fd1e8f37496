package oauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func authorizer(t testing.TB, endpoint string, login Login, rt http.RoundTripper) *Authorizer {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Server: "s", Endpoint: u, HTTP: &http.Client{Transport: rt}, Store: newMemory(), Login: login, Version: "1",
		Browse: func(context.Context, string) error { return errors.New("no browser") }})
}

func TestAddress(t *testing.T) {
	const away, here, lan = "https://mcp.example.com/mcp", "http://127.0.0.1:8080/mcp", "https://10.0.0.5/mcp"
	for name, c := range map[string]struct {
		endpoint, address string
		ok                bool
	}{
		"https":                                {away, "https://as.example.com/token?x=1", true},
		"another port":                         {away, "https://as.example.com:8443", true},
		"http":                                 {away, "http://as.example.com/token", false},
		"this machine, from away":              {away, "http://127.0.0.1:9/token", false},
		"this machine by https, from away":     {away, "https://localhost:9/token", false},
		"this machine by another name":         {away, "https://x.localhost/token", false},
		"this machine with a dot":              {away, "https://localhost./token", false},
		"this machine by IPv6, from away":      {away, "https://[::1]/token", false},
		"this machine in IPv6 clothes":         {away, "https://[::ffff:127.0.0.1]/token", false},
		"a number as a host":                   {away, "https://2130706433/token", false},
		"a short address":                      {away, "https://127.1/token", false},
		"a hexadecimal address":                {away, "https://0x7f.0.0.1/token", false},
		"the network around, from away":        {away, "https://192.168.0.1/admin", false},
		"the cloud's own address":              {away, "https://169.254.169.254/latest", false},
		"an address in the internet":           {away, "https://93.184.216.34/token", true},
		"http on this machine, from there":     {here, "http://localhost:9/token", true},
		"https elsewhere, from this machine":   {here, "https://as.example.com/token", true},
		"http elsewhere, from this machine":    {here, "http://as.example.com/token", false},
		"the network around, from there":       {lan, "https://10.0.0.6/token", true},
		"http in the network around":           {lan, "http://10.0.0.6/token", false},
		"a name before the host":               {away, "https://as.example.com@evil.example/token", false},
		"a password":                           {away, "https://a:b@as.example.com/token", false},
		"a fragment":                           {away, "https://as.example.com/token#x", false},
		"an empty fragment":                    {away, "https://as.example.com/token#", false},
		"no host":                              {away, "https:///token", false},
		"no scheme":                            {away, "//as.example.com/token", false},
		"another scheme":                       {away, "javascript:alert(1)", false},
		"a file":                               {away, "file:///etc/passwd", false},
		"a space":                              {away, "https://as.example.com/to ken", false},
		"a newline":                            {away, "https://as.example.com/\ntoken", false},
		"letters that look like others":        {away, "https://аs.example.com/token", false},
		"an escape in the host":                {away, "https://as%2eexample.com/token", false},
		"a backslash":                          {away, `https://evil.example\@as.example.com/token`, false},
		"nothing":                              {away, "", false},
		"too long":                             {away, "https://as.example.com/" + strings.Repeat("x", maxURL), false},
		"an option for the program that opens": {away, "--help", false},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := authorizer(t, c.endpoint, Login{}, nil).address(c.address)
			if (err == nil) != c.ok {
				t.Errorf("address(%q) = %v, %v; want ok %t", c.address, u, err, c.ok)
			}
		})
	}
}

func TestBelongs(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint, resource string
		ok                 bool
	}{
		"the endpoint":              {"https://a.example/mcp", "https://a.example/mcp", true},
		"its origin":                {"https://a.example/mcp", "https://a.example", true},
		"its origin with a slash":   {"https://a.example/mcp", "https://a.example/", true},
		"its origin with its port":  {"https://a.example/mcp", "https://A.example:443/mcp", true},
		"a part of its path":        {"https://a.example/x/mcp", "https://a.example/x", true},
		"a slash more":              {"https://a.example/mcp", "https://a.example/mcp/", true},
		"a slash less":              {"https://a.example/mcp/", "https://a.example/mcp", true},
		"another host":              {"https://a.example/mcp", "https://evil.example/mcp", false},
		"a host below":              {"https://a.example/mcp", "https://x.a.example/mcp", false},
		"another port":              {"https://a.example/mcp", "https://a.example:8443/mcp", false},
		"another path":              {"https://a.example/mcp", "https://a.example/other", false},
		"half of a segment":         {"https://a.example/mcp-two", "https://a.example/mcp", false},
		"more than the endpoint":    {"https://a.example/mcp", "https://a.example/mcp/x", false},
		"another query":             {"https://a.example/mcp", "https://a.example/mcp?x=1", false},
		"the endpoint's query":      {"https://a.example/mcp?x=1", "https://a.example/mcp?x=1", true},
		"a way up":                  {"https://a.example/x/mcp", "https://a.example/x/../y", false},
		"an escape for a separator": {"https://a.example/x/mcp", "https://a.example/x%2fmcp", false},
		"nothing":                   {"https://a.example/mcp", "", false},
		"no address":                {"https://a.example/mcp", "a.example/mcp", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := authorizer(t, c.endpoint, Login{}, nil).belongs(resource{Resource: c.resource, Servers: []string{"https://as.example"}})
			if (err == nil) != c.ok {
				t.Errorf("belongs = %v, want ok %t", err, c.ok)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://a.example":  {"https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"},
		"https://a.example/": {"https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"},
		"https://a.example/t/1": {"https://a.example/.well-known/oauth-authorization-server/t/1", "https://a.example/.well-known/openid-configuration/t/1",
			"https://a.example/t/1/.well-known/openid-configuration"},
	} {
		u, err := url.Parse(issuer)
		if err != nil {
			t.Fatal(err)
		}
		if got := places(u); !slices.Equal(got, want) {
			t.Errorf("places(%q) = %q, want %q", issuer, got, want)
		}
	}
}

// TestHostileMetadata: what servers say about themselves is refused before anybody signs in or registers.
func TestHostileMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		prm   func(w *world, m map[string]any)
		meta  func(w *world, m map[string]any)
		words string
	}{
		"the resource is another server":       {prm: func(_ *world, m map[string]any) { m["resource"] = "https://evil.example.com/mcp" }, words: "another server"},
		"the resource is missing":              {prm: func(_ *world, m map[string]any) { delete(m, "resource") }, words: "what its metadata is about"},
		"no authorization server":              {prm: func(_ *world, m map[string]any) { m["authorization_servers"] = []string{} }, words: "0 authorization servers"},
		"too many authorization servers":       {prm: func(_ *world, m map[string]any) { m["authorization_servers"] = make([]string, maxServers+1) }, words: "17"},
		"an authorization server over http":    {prm: func(_ *world, m map[string]any) { m["authorization_servers"] = []string{"http://as.example.com"} }, words: "not https"},
		"an authorization server with a query": {prm: func(w *world, m map[string]any) { m["authorization_servers"] = []string{w.as.URL + "?x"} }, words: "query"},
		"scopes with quotes":                   {prm: func(_ *world, m map[string]any) { m["scopes_supported"] = []string{`a"b`} }, words: "scope"},
		"a thousand scopes":                    {prm: func(_ *world, m map[string]any) { m["scopes_supported"] = make([]string, 1000) }, words: "1000"},
		"metadata of another type":             {prm: func(_ *world, m map[string]any) { m["authorization_servers"] = "x" }, words: "malformed"},
		"another issuer":                       {meta: func(_ *world, m map[string]any) { m["issuer"] = "https://honest.example" }, words: "another issuer"},
		"the issuer with a slash more":         {meta: func(w *world, m map[string]any) { m["issuer"] = w.as.URL + "/" }, words: "another issuer"},
		"no issuer":                            {meta: func(_ *world, m map[string]any) { delete(m, "issuer") }, words: "another issuer"},
		"the issuer in another key's case":     {meta: func(w *world, m map[string]any) { delete(m, "issuer"); m["Issuer"] = w.as.URL }, words: "another issuer"},
		"no PKCE":                              {meta: func(_ *world, m map[string]any) { delete(m, "code_challenge_methods_supported") }, words: "S256"},
		"PKCE in plain text":                   {meta: func(_ *world, m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} }, words: "S256"},
		"no token endpoint":                    {meta: func(_ *world, m map[string]any) { delete(m, "token_endpoint") }, words: "token endpoint"},
		"no authorization endpoint":            {meta: func(_ *world, m map[string]any) { delete(m, "authorization_endpoint") }, words: "signs in programs, not people"},
		"a token endpoint over http":           {meta: func(_ *world, m map[string]any) { m["token_endpoint"] = "http://as.example.com/token" }, words: "token endpoint"},
		"a browser's address that is code":     {meta: func(_ *world, m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" }, words: "authorization endpoint"},
		"a registration with a fragment":       {meta: func(w *world, m map[string]any) { m["registration_endpoint"] = w.as.URL + "/register#x" }, words: "registration endpoint"},
		"a revocation with a password":         {meta: func(_ *world, m map[string]any) { m["revocation_endpoint"] = "https://a:b@as.example.com/" }, words: "revocation endpoint"},
		"no registration, and no client id":    {meta: func(_ *world, m map[string]any) { delete(m, "registration_endpoint") }, words: "client id"},
		"a redirect of its own": {meta: func(w *world, m map[string]any) {
			m["authorization_endpoint"] = w.as.URL + "/authorize?redirect_uri=http://evil"
		}, words: "redirect_uri"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Login{})
			if c.prm != nil {
				w.rs.prm = func(m map[string]any) { c.prm(w, m) }
			}
			if c.meta != nil {
				w.as.meta = func(m map[string]any) { c.meta(w, m) }
			}
			w.refuses(c.words)
			if w.browsed() != 0 || w.as.seen("/authorize")+w.as.seen("/token") != 0 {
				t.Error("the browser was opened all the same, or a token asked for")
			}
		})
	}
}

// TestRawMetadata: bodies and statuses that are no metadata.
func TestRawMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		words  string
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "publishes no metadata"},
		"a page":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "publishes no metadata"},
		"an error":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
		}, "malformed"},
		"a key twice": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"issuer":"a","issuer":"b"}`)
		}, "malformed"},
		"no UTF-8": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{\"x\":\"\xff\"}")
		}, "malformed"},
		"too much": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, strings.Repeat(" ", maxDocument+1))
		}, "more than 128 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Login{})
			w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/.well-known/") {
					c.answer(rw, r)
					return true
				}
				return false
			}
			w.refuses(c.words)
			if n := w.as.seen("/elsewhere"); n != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

// TestDownTheList: each place is asked only when those before it have nothing.
func TestDownTheList(t *testing.T) {
	w := newWorld(t, Login{})
	w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server":
			http.NotFound(rw, r)
		case "/.well-known/openid-configuration":
			r.URL.Path = "/.well-known/oauth-authorization-server"
			raw := w.as.raw
			w.as.raw = nil
			w.as.ServeHTTP(rw, r)
			w.as.raw = raw
		default:
			return false
		}
		return true
	}
	w.needs()
	w.signIn()
	w.works()
}

// TestOldServers: without metadata of its own, a server is its own authorization server (2025-03-26).
func TestOldServers(t *testing.T) {
	for _, withMetadata := range []bool{true, false} {
		w := newWorld(t, Login{})
		w.rs.noPRM = true
		w.rs.raw = func(rw http.ResponseWriter, r *http.Request) bool { // both in one
			if r.URL.Path == "/mcp" || strings.Contains(r.URL.Path, "protected-resource") || !withMetadata && strings.HasPrefix(r.URL.Path, "/.well-known/") {
				return false
			}
			w.as.ServeHTTP(rw, r)
			return true
		}
		w.as.URL = w.rs.URL // its name
		w.needs()
		w.signIn()
		w.works()
		if s := w.a.Status(); s.Issuer != w.rs.URL {
			t.Errorf("issuer = %q, want the server's origin", s.Issuer)
		}
	}
}

func TestNamedMetadataIsNotGuessed(t *testing.T) {
	w := newWorld(t, Login{})
	w.rs.challenge = ""
	w.rs.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/mcp" {
			return false
		}
		rw.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+w.rs.URL+`/nowhere"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	}
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "not where it says") {
		t.Errorf("request = %v, want that the metadata is not there", err)
	}
}

func TestPinnedIssuer(t *testing.T) {
	w := newWorld(t, Login{Issuer: "https://other.example"})
	w.refuses("does not name", "https://other.example")

	w = newWorld(t, Login{})
	other := newAS(t)
	w.rs.prm = func(m map[string]any) {
		m["authorization_servers"] = []string{"https://evil.example", w.as.URL, other.URL}
	}
	w.o.Login.Issuer = w.as.URL
	w.again()
	w.signIn()
	w.works()
}

// stuck answers nothing until the request is given up.
type stuck struct{ slow bool }

func (s stuck) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.slow { // a header, and a body that does not come
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: slowBody{r.Context()}, Request: r}, nil
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

type slowBody struct{ ctx context.Context }

func (b slowBody) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, b.ctx.Err() }
func (slowBody) Close() error               { return nil }

func TestSlowServersAreLeft(t *testing.T) {
	for _, slow := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := authorizer(t, "https://mcp.example.com/mcp", Login{}, stuck{slow})
			began := time.Now()
			if err := a.SignIn(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("SignIn = %v, want that the time is over", err)
			}
			if took := time.Since(began); took != requestTime {
				t.Errorf("it took %v, want %v", took, requestTime)
			}
		})
	}
}

func TestNoSignInOverPlainHTTP(t *testing.T) {
	for _, endpoint := range []string{"http://mcp.example.com/mcp", "ftp://mcp.example.com/", "https:///mcp"} {
		a := authorizer(t, endpoint, Login{}, stuck{})
		if err := a.SignIn(t.Context()); err == nil || !strings.Contains(err.Error(), "https") {
			t.Errorf("SignIn at %s = %v, want that it needs https", endpoint, err)
		}
	}
}

// one answers everything with the same body.
type one []byte

func (o one) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(o))), Request: r}, nil
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["a"],
		"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/a","token_endpoint":"https://as.example.com/t","code_challenge_methods_supported":["S256"]}`))
	f.Add([]byte(`{"resource":"https://mcp.example.com","authorization_servers":["https://as.example.com/x"],"issuer":"https://as.example.com/x","token_endpoint":"http://localhost/"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := authorizer(t, "https://mcp.example.com/mcp", Login{}, one(body))
		got, err := a.discover(t.Context(), demand{})
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return !seen(r) }) {
				t.Errorf("the error is %q", err)
			}
			return
		}
		if !strings.HasPrefix(got.resource, "https://") || !strings.Contains(strings.ToLower(got.resource), "mcp.example.com") {
			t.Errorf("the resource is %q", got.resource)
		}
		for _, s := range []string{got.meta.Issuer, got.meta.Token, got.meta.Authorization, got.meta.Registration, got.meta.Revocation} {
			if s != "" && !strings.HasPrefix(strings.ToLower(s), "https://") {
				t.Errorf("%q counts as an address", s)
			}
		}
	})
}
