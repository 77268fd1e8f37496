package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRefreshBeforeUse(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.works()
	first := w.token()
	w.clock.pass(59 * time.Minute)
	w.works()
	if w.token() != first {
		t.Error("the token was renewed too early")
	}
	w.clock.pass(time.Minute)
	w.works()
	if w.token() == first || w.as.seen("refresh_token") != 1 {
		t.Error("the token was not renewed")
	}
	if f := w.as.form(-1); f.Get("resource") != w.rs.URL+"/mcp" || f.Get("refresh_token") != "refresh-1" {
		t.Errorf("renewed with %v", f)
	}
	w.again() // what is kept is the rotated one
	w.clock.pass(2 * time.Hour)
	w.works()
	if f := w.as.form(-1); f.Get("refresh_token") != "refresh-2" {
		t.Errorf("renewed with %v, want the rotated token", f)
	}
}

// TestRotatedTokenIsKeptFirst: nobody uses a token whose successor would be lost with the program.
func TestRotatedTokenIsKeptFirst(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	first := w.token()
	saved := make(chan string, 8)
	w.store.seen = func(_, doc string) {
		if w.a.document().Token.Access != first {
			t.Error("the new token was in use before it was kept")
		}
		saved <- doc
	}
	w.clock.pass(time.Hour)
	w.works()
	if doc := <-saved; !strings.Contains(doc, "refresh-2") || strings.Contains(doc, "refresh-1") {
		t.Errorf("kept: %s", doc)
	}
	w.store.seen = nil
	w.store.mu.Lock()
	w.store.fail = errors.New("keyring locked") // then it lasts until the program ends
	w.store.mu.Unlock()
	w.clock.pass(time.Hour)
	w.works()
	if len(w.notes) == 0 || !strings.Contains(w.notes[len(w.notes)-1], "could not be kept") {
		t.Errorf("notes = %q", w.notes)
	}
}

func TestOneRefreshForAll(t *testing.T) {
	for _, refused := range []bool{false, true} { // the token is due, or the server refuses it
		w := newWorld(t, Login{})
		w.signIn()
		first := w.token()
		if refused {
			w.clock.pass(10 * time.Minute)
			w.rs.revoke(first)
		} else {
			w.clock.pass(time.Hour)
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if status, err := w.try(); status != http.StatusOK || err != nil {
					t.Errorf("request = %d, %v", status, err)
				}
			})
		}
		all.Wait()
		if n := w.as.seen("refresh_token"); n != 1 {
			t.Errorf("refused %t: %d refreshes, want 1", refused, n)
		}
	}
}

// TestRefreshOutlivesItsCaller: the answer to a refresh is not lost with the request that was cancelled.
func TestRefreshOutlivesItsCaller(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.clock.pass(time.Hour)
	inside, release := make(chan struct{}), make(chan struct{})
	w.as.raw = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			inside <- struct{}{}
			<-release
		}
		return false
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.rs.URL+"/mcp", nil)
		if err == nil {
			err = w.a.Apply(ctx, r)
		}
		done <- err
	}()
	<-inside
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Apply = %v, want that it was cancelled", err)
	}
	close(release)
	w.works()
	if n := w.as.seen("refresh_token"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
}

func TestRefusedRefresh(t *testing.T) {
	for _, code := range []string{"invalid_grant", "invalid_client"} {
		w := newWorld(t, Login{})
		w.rs.challenge = `, scope="read"`
		w.needs()
		w.signIn()
		w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/token" || r.FormValue("grant_type") != "refresh_token" {
				return false
			}
			reply(rw, http.StatusBadRequest, map[string]any{"error": code, "error_description": r.FormValue("refresh_token") + " is bad"})
			return true
		}
		w.clock.pass(time.Hour)
		need := w.needs()
		if !strings.Contains(need.Why, code) || strings.Contains(need.Error(), "refresh-1") || strings.Join(need.Scopes, " ") != "read" {
			t.Errorf("needed = %+v", need)
		}
		if w.a.Status().SignedIn || strings.Contains(w.store.all(), "refresh-1") {
			t.Errorf("after %s it still counts as signed in", code)
		}
		w.needs()
		if n := w.as.seen("/token"); n != 2 {
			t.Errorf("asked for tokens %d times, want twice", n)
		}
		w.as.raw = nil
		w.signIn()
		w.works()
	}
}

func TestRefreshThatFailsForNow(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	first := w.token()
	w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	w.clock.pass(time.Hour - 10*time.Second) // due, and still good
	w.works()
	if w.token() != first {
		t.Error("the token changed")
	}
	w.clock.pass(time.Minute)
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("request = %v, want 503", err)
	}
	if !w.a.Status().SignedIn {
		t.Error("a failure for now ended the sign-in")
	}
	w.as.raw = nil
	w.works()
}

// TestServerThatRefusesEveryToken: a renewed token that is refused at once is not renewed again and again.
func TestServerThatRefusesEveryToken(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.works()
	w.clock.pass(10 * time.Minute)
	w.rs.revoke(w.token(), strings.Replace(w.token(), "access-1-", "access-2-", 1))
	need := w.needs()
	if !strings.Contains(need.Why, "just renewed") || w.as.seen("refresh_token") != 1 {
		t.Errorf("needed = %+v after %d refreshes", need, w.as.seen("refresh_token"))
	}
	w.needs()
	if n := w.as.seen("refresh_token"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
}

// TestSignInWhileRefreshing: what a person did counts more than a refresh that began before.
func TestSignInWhileRefreshing(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.clock.pass(time.Hour)
	inside, release := make(chan struct{}), make(chan struct{})
	w.as.raw = func(_ http.ResponseWriter, r *http.Request) bool {
		if _ = r.ParseForm(); r.URL.Path == "/token" && r.PostForm.Get("grant_type") == "refresh_token" {
			close(inside)
			<-release
		}
		return false
	}
	done := make(chan error, 1)
	go func() { _, err := w.try(); done <- err }()
	<-inside
	w.signIn()
	want := w.token()
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if w.token() != want || !strings.Contains(w.store.all(), want) {
		t.Error("the refresh took the place of the sign-in")
	}
}

func TestOtherOriginsGetNothing(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	other := newRS(t, w.as)
	same, err := url.Parse(w.rs.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ to, host string }{
		{other.URL + "/mcp", ""}, {"https://" + same.Host + "/mcp", ""}, {"http://localhost:" + same.Port() + "/mcp", ""}, {"http://a@" + same.Host + "/mcp", ""},
		{w.rs.URL + "/mcp", "evil.example"}, {"http://127.0.0.1/mcp", ""}, {"/mcp", ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		if err := w.a.Apply(t.Context(), r); !errors.Is(err, ErrOrigin) || r.Header.Get("Authorization") != "" {
			t.Errorf("Apply to %s (%s) = %v, %v; want ErrOrigin and nothing set", c.to, c.host, err, r.Header)
		}
		if _, err := w.a.Challenged(t.Context(), &http.Response{StatusCode: http.StatusUnauthorized, Request: r, Header: http.Header{}}); !errors.Is(err, ErrOrigin) {
			t.Errorf("Challenged by %s = %v, want ErrOrigin", c.to, err)
		}
	}
}

// TestEditedConfiguration: a token does not go with the server's name to another address.
func TestEditedConfiguration(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	evil := newRS(t, w.as)
	to, err := url.Parse(evil.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	w.o.Endpoint = to
	w.again()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.a.Apply(t.Context(), r); err != nil || r.Header.Get("Authorization") != "" {
		t.Errorf("Apply = %v, %v; want nothing set", err, r.Header)
	}
	w.rs = evil
	w.needs()
	w.signIn()
	w.works()
	if n := w.as.seen("/register"); n != 2 {
		t.Errorf("registered %d times, want twice", n)
	}
}

func TestKeptDocumentsThatAreNone(t *testing.T) {
	for name, spoil := range map[string]func(doc string) string{
		"half":            func(d string) string { return d[:len(d)/2] },
		"another version": func(d string) string { return strings.Replace(d, `"version":1`, `"version":2`, 1) },
		"more":            func(d string) string { return strings.Replace(d, `"version":1`, `"version":1,"x":1`, 1) },
		"a newline":       func(d string) string { return strings.Replace(d, `"access":"`, `"access":"x\n`, 1) },
		"another issuer":  func(d string) string { return strings.Replace(d, `"issuer":"http`, `"issuer":"https`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Login{})
			w.signIn()
			for k, v := range w.store.docs {
				w.store.docs[k] = spoil(v)
			}
			w.again()
			w.needs()
			w.signIn()
			w.works()
		})
	}
}

func TestStoreThatCannotBeRead(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	w.again()
	w.store.fail = errors.New("keyring locked")
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "keyring locked") {
		t.Errorf("request = %v, want that the keyring is locked", err)
	}
	w.store.fail = nil
	w.works()
}

// TestTokenAnswers: what a token endpoint may say, and what it may not.
func TestTokenAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(doc map[string]any) int
		words  string // "" if it is fine
	}{
		"as it should be":           {func(map[string]any) int { return 0 }, ""},
		"the type in capitals":      {func(d map[string]any) int { d["token_type"] = "BEARER"; return 0 }, ""},
		"no type":                   {func(d map[string]any) int { delete(d, "token_type"); return 0 }, "unknown type"},
		"another type":              {func(d map[string]any) int { d["token_type"] = "mac"; return 0 }, "unknown type"},
		"bound to a key of nobody":  {func(d map[string]any) int { d["token_type"] = "DPoP"; return 0 }, "unknown type"},
		"no token":                  {func(d map[string]any) int { delete(d, "access_token"); return 0 }, "empty"},
		"a newline":                 {func(d map[string]any) int { d["access_token"] = "a\r\nX-Evil: 1"; return 0 }, "no header can"},
		"a space":                   {func(d map[string]any) int { d["access_token"] = "a b"; return 0 }, "no header can"},
		"a token too long":          {func(d map[string]any) int { d["access_token"] = strings.Repeat("x", maxToken+1); return 0 }, "too long"},
		"a refresh token too long":  {func(d map[string]any) int { d["refresh_token"] = strings.Repeat("x", maxToken+1); return 0 }, "too long"},
		"an answer too long":        {func(d map[string]any) int { d["x"] = strings.Repeat("x", maxAnswer); return 0 }, "64 KiB"},
		"a token that is a list":    {func(d map[string]any) int { d["access_token"] = []string{"a"}; return 0 }, "malformed"},
		"never":                     {func(d map[string]any) int { d["expires_in"] = -1; return 0 }, "no time"},
		"a time that is text":       {func(d map[string]any) int { d["expires_in"] = "3600"; return 0 }, "no time"},
		"a time without end":        {func(d map[string]any) int { d["expires_in"] = 1 << 62; return 0 }, ""},
		"a time beyond all numbers": {func(d map[string]any) int { d["expires_in"] = 1e300; return 0 }, "no time"},
		"no time":                   {func(d map[string]any) int { delete(d, "expires_in"); return 0 }, ""},
		"scopes with quotes":        {func(d map[string]any) int { d["scope"] = `a"b`; return 0 }, "scope"},
		"an error without a code":   {func(map[string]any) int { return http.StatusBadRequest }, "answers 400"},
		"a redirect":                {func(map[string]any) int { return http.StatusTemporaryRedirect }, "answers 307"},
		"a server error":            {func(map[string]any) int { return http.StatusInternalServerError }, "answers 500"},
		"an error of its own": {func(d map[string]any) int {
			d["error"], d["error_description"] = "a_code", "text\x1b[31m"
			return http.StatusBadRequest
		}, "a_code (text·[31m)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Login{})
			w.as.answer = func(_ url.Values, doc map[string]any) int { return c.change(doc) }
			if c.words != "" {
				w.refuses(c.words)
				return
			}
			w.signIn()
			w.works()
			if until := w.a.Status().Expires; !until.IsZero() && until.After(w.clock.Now().Add(maxLifetime)) {
				t.Errorf("it expires at %v", until)
			}
		})
	}
}

// TestOtherAnswers: a 403 or 400 that is not about authorization is the caller's.
func TestOtherAnswers(t *testing.T) {
	w := newWorld(t, Login{})
	w.signIn()
	for _, c := range []struct {
		status int
		field  string
	}{{403, ""}, {403, `Bearer error="access_denied"`}, {403, `Basic realm="x"`}, {400, ""}, {400, `Bearer error="invalid_request"`}, {404, `Bearer error="invalid_token"`}, {500, ""}, {403, `Bearer error="`}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.rs.URL+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.a.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		again, err := w.a.Challenged(t.Context(), &http.Response{StatusCode: c.status, Request: r, Header: http.Header{"Www-Authenticate": {c.field}}})
		if again || err != nil {
			t.Errorf("Challenged by %d %s = %t, %v; want nothing", c.status, c.field, again, err)
		}
	}
	w.works()
}

// TestWaitingForAnothersWork: who waits with others for a new token is not cancelled with the one who came first.
func TestWaitingForAnothersWork(t *testing.T) {
	w := newWorld(t, Login{})
	inside, release := make(chan struct{}), make(chan struct{})
	w.rs.raw = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/mcp" {
			inside <- struct{}{}
			<-release
		}
		return false
	}
	ask := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.rs.URL+"/mcp", nil)
			if err == nil {
				_, err = w.a.Challenged(ctx, &http.Response{StatusCode: http.StatusUnauthorized, Request: r, Header: http.Header{}})
			}
			done <- err
		}()
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := ask(ctx)
	<-inside
	second := ask(t.Context())
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first = %v, want that it was cancelled", err)
	}
	close(release)
	err := <-second
	if _, person := errors.AsType[*SignInNeeded](err); !person {
		t.Errorf("the second = %v, want *SignInNeeded", err)
	}
	if n := w.rs.requests(); n != 1 {
		t.Errorf("metadata was asked for %d times, want once", n)
	}
}
