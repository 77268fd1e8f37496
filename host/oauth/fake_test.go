package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// memory is a Store that counts and can fail.
type memory struct {
	mu   sync.Mutex
	docs map[string]string
	fail error
	seen func(issuer, doc string) // called by Save, without the lock
}

func newMemory() *memory { return &memory{docs: map[string]string{}} }

func (m *memory) Load(_ context.Context, server, issuer string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if d, ok := m.docs[server+" "+issuer]; ok {
		return []byte(d), nil
	}
	return nil, fmt.Errorf("memory: %w", ErrNothing)
}

func (m *memory) Save(_ context.Context, server, issuer string, doc []byte) error {
	if m.seen != nil {
		m.seen(issuer, string(doc))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.docs[server+" "+issuer] = string(doc)
	return nil
}

func (m *memory) Remove(_ context.Context, server, issuer string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.docs, server+" "+issuer)
	return m.fail
}

func (m *memory) all() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(append([]string{""}, mapValues(m.docs)...), "\n")
}

func mapValues(m map[string]string) (all []string) {
	for k, v := range m {
		all = append(all, k+"="+v)
	}
	return all
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeAS is an authorization server that can be hostile.
type fakeAS struct {
	*httptest.Server
	meta      func(m map[string]any)                                 // changes its metadata
	back      func(asked, back url.Values)                           // changes what the browser brings back
	answer    func(form url.Values, doc map[string]any) (status int) // changes a token's answer; 0 is as it would be
	raw       func(w http.ResponseWriter, r *http.Request) bool      // takes a request over
	unknown   map[string]bool                                        // client ids that it does not know any more
	dpopNonce string

	mu       sync.Mutex
	count    map[string]int // requests by path, token requests also by grant
	clients  int
	tokens   int
	codes    map[string]url.Values // what was asked for, by code
	refresh  map[string]string     // scopes by refresh token
	access   map[string]string     // scopes by access token
	keys     map[string]string     // thumbprint by access token
	last     url.Values            // last authorization request
	forms    []url.Values          // token requests
	headers  []http.Header         // of token requests
	redirect []string              // last registered
	revoked  []string
}

func newAS(t *testing.T) *fakeAS {
	t.Helper()
	s := &fakeAS{count: map[string]int{}, codes: map[string]url.Values{}, refresh: map[string]string{}, access: map[string]string{}, keys: map[string]string{},
		unknown: map[string]bool{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fakeAS) seen(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[what]
}

func (s *fakeAS) form(i int) url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 {
		i += len(s.forms)
	}
	return s.forms[i]
}

func reply(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	b, _ := json.Marshal(doc)
	_, _ = w.Write(b)
}

func (s *fakeAS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.count[r.URL.Path]++
	s.mu.Unlock()
	if s.raw != nil && s.raw(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		m := map[string]any{"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
			"registration_endpoint": s.URL + "/register", "revocation_endpoint": s.URL + "/revoke", "code_challenge_methods_supported": []string{"S256"},
			"token_endpoint_auth_methods_supported":          []string{"none", "client_secret_basic", "private_key_jwt"},
			"authorization_response_iss_parameter_supported": true}
		if s.meta != nil {
			s.meta(m)
		}
		reply(w, http.StatusOK, m)
	case "/register":
		var doc struct {
			Redirects []string `json:"redirect_uris"`
			Type      string   `json:"application_type"`
		}
		b, _ := io.ReadAll(r.Body)
		if json.Unmarshal(b, &doc) != nil || doc.Type != "native" {
			reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_client_metadata"})
			return
		}
		s.mu.Lock()
		s.clients++
		id := fmt.Sprintf("client-%d", s.clients)
		s.redirect = doc.Redirects
		s.mu.Unlock()
		reply(w, http.StatusCreated, map[string]any{"client_id": id, "token_endpoint_auth_method": "none"})
	case "/authorize":
		q := r.URL.Query()
		s.mu.Lock()
		s.last = q
		code := fmt.Sprintf("code-%d", len(s.codes)+1)
		s.codes[code] = q
		s.mu.Unlock()
		back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {s.URL}}
		if s.back != nil {
			s.back(q, back)
		}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	case "/token":
		_ = r.ParseForm()
		s.give(w, r)
	case "/revoke":
		_ = r.ParseForm()
		s.mu.Lock()
		s.revoked = append(s.revoked, r.PostForm.Get("token"))
		s.mu.Unlock()
		w.WriteHeader(http.StatusOK)
	default:
		http.NotFound(w, r)
	}
}

// give answers a token request.
func (s *fakeAS) give(w http.ResponseWriter, r *http.Request) {
	form := r.PostForm
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[form.Get("grant_type")]++
	s.forms, s.headers = append(s.forms, form), append(s.headers, r.Header.Clone())
	fail := func(code string) {
		reply(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": "said of " + form.Get("refresh_token") + form.Get("code") + form.Get("client_secret")})
	}
	jkt := ""
	if p := r.Header.Get("DPoP"); p != "" {
		claims, thumbprint, err := checkProof(p)
		if err != nil || claims["htm"] != "POST" || claims["htu"] != s.URL+"/token" {
			fail("invalid_dpop_proof")
			return
		}
		if s.dpopNonce != "" && claims["nonce"] != s.dpopNonce {
			w.Header().Set("DPoP-Nonce", s.dpopNonce)
			fail("use_dpop_nonce")
			return
		}
		jkt = thumbprint
	}
	if s.unknown[form.Get("client_id")] {
		fail("invalid_client")
		return
	}
	scopes, refresh := form.Get("scope"), true
	switch form.Get("grant_type") {
	case "authorization_code":
		asked, ok := s.codes[form.Get("code")]
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("redirect_uri") != form.Get("redirect_uri") ||
			asked.Get("resource") != form.Get("resource") || asked.Get("client_id") != form.Get("client_id") {
			fail("invalid_grant")
			return
		}
		delete(s.codes, form.Get("code"))
		s.codes["spent "+form.Get("code")] = asked
		scopes = asked.Get("scope")
	case "refresh_token":
		var ok bool
		if scopes, ok = s.refresh[form.Get("refresh_token")]; !ok || form.Get("resource") == "" {
			fail("invalid_grant")
			return
		}
		delete(s.refresh, form.Get("refresh_token"))
	default:
		refresh = false
	}
	s.tokens++
	access := fmt.Sprintf("access-%d-%s", s.tokens, strings.TrimPrefix(s.URL, "http://127.0.0.1:"))
	doc := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 3600}
	if jkt != "" {
		doc["token_type"] = "DPoP"
		s.keys[access] = jkt
	}
	if scopes != "" {
		doc["scope"] = scopes
	}
	if refresh {
		doc["refresh_token"] = fmt.Sprintf("refresh-%d", s.tokens)
		s.refresh[doc["refresh_token"].(string)] = scopes
	}
	status := 0
	if s.answer != nil {
		status = s.answer(form, doc)
	}
	s.access[access] = scopes
	if status == 0 {
		status = http.StatusOK
	}
	reply(w, status, doc)
}

// fakeRS is an MCP server, as far as its door goes.
type fakeRS struct {
	*httptest.Server
	as        *fakeAS
	prm       func(m map[string]any) // changes its metadata
	noPRM     bool
	challenge string // added to the challenge of a 401
	need      string // scope that requests need
	dpopNonce string
	raw       func(w http.ResponseWriter, r *http.Request) bool // takes a request over

	mu      sync.Mutex
	count   map[string]int
	revoked map[string]bool
}

func newRS(t *testing.T, as *fakeAS) *fakeRS {
	t.Helper()
	s := &fakeRS{as: as, count: map[string]int{}, revoked: map[string]bool{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fakeRS) revoke(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tokens {
		s.revoked[t] = true
	}
}

// requests is how many came that are not for /mcp.
func (s *fakeRS) requests() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, c := range s.count {
		if path != "/mcp" {
			n += c
		}
	}
	return n
}

func (s *fakeRS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.count[r.URL.Path]++
	s.mu.Unlock()
	if s.raw != nil && s.raw(w, r) {
		return
	}
	switch {
	case r.URL.Path == "/.well-known/oauth-protected-resource/mcp" && !s.noPRM:
		m := map[string]any{"resource": s.URL + "/mcp", "authorization_servers": []string{s.as.URL}}
		if s.prm != nil {
			s.prm(m)
		}
		reply(w, http.StatusOK, m)
		return
	case r.URL.Path != "/mcp":
		http.NotFound(w, r)
		return
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.as.mu.Lock()
	scopes, ok := s.as.access[token]
	jkt := s.as.keys[token]
	s.as.mu.Unlock()
	s.mu.Lock()
	ok = ok && !s.revoked[token]
	s.mu.Unlock()
	refuse := func(status int, params string) {
		if !s.noPRM {
			params += `, resource_metadata="` + s.URL + `/.well-known/oauth-protected-resource/mcp"`
		}
		w.Header().Add("WWW-Authenticate", `Basic realm="x, y"`)
		w.Header().Add("WWW-Authenticate", "Bearer "+strings.TrimPrefix(params, ", "))
		w.WriteHeader(status)
	}
	if ok && jkt != "" {
		claims, thumbprint, err := checkProof(r.Header.Get("DPoP"))
		ok = err == nil && scheme == "DPoP" && thumbprint == jkt && claims["htm"] == r.Method && claims["htu"] == s.URL+"/mcp" && claims["ath"] == s256(token)
		if ok && s.dpopNonce != "" && claims["nonce"] != s.dpopNonce {
			w.Header().Set("DPoP-Nonce", s.dpopNonce)
			refuse(http.StatusUnauthorized, `error="use_dpop_nonce"`)
			return
		}
	} else if ok {
		ok = scheme == "Bearer"
	}
	switch {
	case !ok && token != "":
		refuse(http.StatusUnauthorized, `error="invalid_token", error_description="not `+token+`"`+s.challenge)
	case !ok:
		refuse(http.StatusUnauthorized, strings.TrimPrefix(s.challenge, ", "))
	case s.need != "" && !within(strings.Fields(s.need), strings.Fields(scopes)):
		refuse(http.StatusForbidden, `error="insufficient_scope", scope="`+s.need+`"`)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

// checkProof verifies a DPoP proof by itself.
func checkProof(p string) (claims map[string]any, thumbprint string, err error) {
	part := strings.Split(p, ".")
	if len(part) != 3 {
		return nil, "", errors.New("no JWT")
	}
	var header struct {
		Alg string            `json:"alg"`
		Typ string            `json:"typ"`
		Key map[string]string `json:"jwk"`
	}
	decode := func(s string) []byte {
		b, e := base64.RawURLEncoding.DecodeString(s)
		err = errors.Join(err, e)
		return b
	}
	err = errors.Join(err, json.Unmarshal(decode(part[0]), &header), json.Unmarshal(decode(part[1]), &claims))
	x, y, sig := decode(header.Key["x"]), decode(header.Key["y"]), decode(part[2])
	if err != nil || header.Alg != "ES256" || header.Typ != "dpop+jwt" || len(sig) != 64 || len(header.Key) != 4 {
		return nil, "", fmt.Errorf("malformed proof: %w", err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return nil, "", errors.New("wrong signature")
	}
	canon, err := json.Marshal(header.Key, json.Deterministic(true))
	digest := sha256.Sum256(canon)
	return claims, base64.RawURLEncoding.EncodeToString(digest[:]), err
}

// world is one server, its authorization server, and an Authorizer between them.
type world struct {
	t     *testing.T
	as    *fakeAS
	rs    *fakeRS
	store *memory
	clock *clock
	o     Options
	a     *Authorizer

	mu     sync.Mutex
	opened []string // by the browser
	notes  []string
}

func newWorld(t *testing.T, login Login) *world {
	t.Helper()
	as := newAS(t)
	w := &world{t: t, as: as, rs: newRS(t, as), store: newMemory(), clock: &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}}
	endpoint, err := url.Parse(w.rs.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	w.o = Options{Server: "files", Endpoint: endpoint, HTTP: &http.Client{}, Store: w.store, Version: "1", Login: login, Now: w.clock.Now,
		Browse: w.browse, Note: func(f string, args ...any) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.notes = append(w.notes, fmt.Sprintf(f, args...))
		}}
	w.a = New(w.o)
	return w
}

// again starts the program anew, with what the store has.
func (w *world) again() { w.a = New(w.o) }

// browse is a person who agrees to everything at once.
func (w *world) browse(ctx context.Context, to string) error {
	w.mu.Lock()
	w.opened = append(w.opened, to)
	w.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	return nil
}

func (w *world) browsed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.opened)
}

// try makes one request, without signing in. err is Apply's or Challenged's.
func (w *world) try() (status int, err error) {
	w.t.Helper()
	for range 5 {
		r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.rs.URL+"/mcp?x=1", nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.a.Apply(w.t.Context(), r); err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			w.a.Heard(resp)
			return resp.StatusCode, nil
		}
		again, err := w.a.Challenged(w.t.Context(), resp)
		if !again || err != nil {
			return resp.StatusCode, err
		}
	}
	w.t.Fatal("the request was to be sent again more than five times")
	return 0, nil
}

// works fails the test unless a request succeeds.
func (w *world) works() {
	w.t.Helper()
	if status, err := w.try(); status != http.StatusOK || err != nil {
		w.t.Fatalf("request = %d, %v; want 200", status, err)
	}
}

// needs fails the test unless a request needs a person.
func (w *world) needs() *SignInNeeded {
	w.t.Helper()
	_, err := w.try()
	need, ok := errors.AsType[*SignInNeeded](err)
	if !ok {
		w.t.Fatalf("request = %v, want *SignInNeeded", err)
	}
	return need
}

func (w *world) signIn() {
	w.t.Helper()
	if err := w.a.SignIn(w.t.Context()); err != nil {
		w.t.Fatalf("SignIn: %v", err)
	}
}

// token returns the access token in use.
func (w *world) token() string {
	w.t.Helper()
	doc := w.a.document()
	if doc == nil || doc.Token == nil {
		w.t.Fatal("there is no token")
	}
	return doc.Token.Access
}

// refuses fails the test unless SignIn fails, without a token, with all of the words.
func (w *world) refuses(words ...string) {
	w.t.Helper()
	err := w.a.SignIn(w.t.Context())
	if err == nil {
		w.t.Fatalf("SignIn succeeded, want an error with %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			w.t.Errorf("SignIn = %v, want %q in it", err, word)
		}
	}
	if w.a.Status().SignedIn {
		w.t.Error("it counts as signed in")
	}
}
