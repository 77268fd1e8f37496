package oauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

func literal(s string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return s, nil }
}

func pemOf(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// verify checks a JWT by itself and returns its claims.
func verify(t *testing.T, public crypto.PublicKey, jwt string) (alg string, claims map[string]any) {
	t.Helper()
	part := strings.Split(jwt, ".")
	var raw [3][]byte
	for i := range part {
		b, err := base64.RawURLEncoding.DecodeString(part[i])
		if err != nil || len(part) != 3 {
			t.Fatalf("no JWT: %v", err)
		}
		raw[i] = b
	}
	var header map[string]any
	if err := errors.Join(json.Unmarshal(raw[0], &header), json.Unmarshal(raw[1], &claims)); err != nil {
		t.Fatal(err)
	}
	alg, _ = header["alg"].(string)
	text, sig, good := []byte(part[0]+"."+part[1]), raw[2], false
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	digest := text
	if hash != 0 {
		w := hash.New()
		w.Write(text)
		digest = w.Sum(nil)
	}
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		n := len(sig) / 2
		good = n == (key.Curve.Params().BitSize+7)/8 && ecdsa.Verify(key, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case ed25519.PublicKey:
		good = alg == "EdDSA" && ed25519.Verify(key, text, sig)
	case *rsa.PublicKey:
		if alg[0] == 'P' {
			good = rsa.VerifyPSS(key, hash, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		} else {
			good = rsa.VerifyPKCS1v15(key, hash, digest, sig) == nil
		}
	}
	if !good {
		t.Errorf("the signature with %s is wrong", alg)
	}
	return alg, claims
}

func TestSignatures(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	big2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	for _, c := range []struct {
		key      crypto.Signer
		wanted   string
		accepted []string
		alg      string // "" is an error
	}{
		{p256, "", nil, "ES256"}, {p256, "ES256", []string{"RS256", "ES256"}, "ES256"}, {p256, "RS256", nil, ""}, {p256, "", []string{"RS256"}, ""},
		{p384, "", nil, "ES384"}, {p521, "", nil, "ES512"}, {ed, "", nil, "EdDSA"}, {big2048, "", nil, "RS256"}, {big2048, "PS256", nil, "PS256"},
		{big2048, "", []string{"ES256", "PS256"}, "PS256"}, {big2048, "RS512", nil, "RS512"}, {big2048, "none", nil, ""}, {p256, "", []string{}, ""},
	} {
		alg, err := pick(c.key, c.wanted, c.accepted)
		if alg != c.alg || (err == nil) != (c.alg != "") {
			t.Errorf("pick(%T, %q, %q) = %q, %v; want %q", c.key, c.wanted, c.accepted, alg, err, c.alg)
		}
		if c.alg == "" {
			continue
		}
		key, err := parseKey(pemOf(t, c.key))
		if err != nil {
			t.Fatal(err)
		}
		for range 8 { // numbers with zeros in front, too
			jwt, err := sign(key, alg, map[string]any{"typ": "JWT"}, map[string]any{"x": random(3)})
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := verify(t, key.Public(), jwt); got != alg {
				t.Errorf("signed with %s, want %s", got, alg)
			}
		}
	}
	if _, err := sign(p256, "none", map[string]any{}, nil); err == nil {
		t.Error("signed with none")
	}
}

func x25519(t *testing.T) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeysThatAreNone(t *testing.T) {
	small, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, text := range map[string]string{
		"nothing":           "",
		"no PEM":            "s3cret-key-material",
		"another type":      strings.ReplaceAll(pemOf(t, small), "PRIVATE KEY", "RSA PRIVATE KEY"),
		"something after":   pemOf(t, small) + "more",
		"a second key":      pemOf(t, small) + pemOf(t, small),
		"half of one":       "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n",
		"a key for sharing": pemOf(t, x25519(t)),
	} {
		if _, err := parseKey(text); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "czNjcmV0") {
			t.Errorf("%s: parseKey = %v, want an error without the key", name, err)
		}
	}
}

func TestClientSecret(t *testing.T) {
	w := newWorld(t, Login{Kind: ClientSecret, ClientID: "machine", Secret: literal("s3cret"), Scopes: []string{"run"}})
	w.rs.prm = func(m map[string]any) { m["scopes_supported"] = []string{"read"} }
	w.works()
	if w.browsed() != 0 || w.as.seen("/register") != 0 {
		t.Error("a machine registered or opened a browser")
	}
	f, h := w.as.form(0), w.as.headers[0]
	if h.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("machine:s3cret")) || f.Get("grant_type") != "client_credentials" ||
		f.Get("resource") != w.rs.URL+"/mcp" || f.Get("scope") != "read run" || f.Has("client_secret") {
		t.Errorf("asked with %v and %v", f, h)
	}
	if err := w.a.SignIn(t.Context()); err == nil {
		t.Error("SignIn succeeded")
	}
	w.clock.pass(time.Hour)
	w.works()
	if n := w.as.seen("/token"); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
	if strings.Contains(w.store.all(), "access-") {
		t.Error("a token that can be had again is kept")
	}
	w.rs.need = "write"
	w.works()
	if got := w.as.form(-1).Get("scope"); got != "read run write" {
		t.Errorf("step-up asked for %q", got)
	}
	w.as.answer = func(_ url.Values, doc map[string]any) int { doc["scope"] = "read"; return 0 }
	w.rs.need = "admin"
	w.as.mu.Lock()
	before := w.as.tokens
	w.as.mu.Unlock()
	w.rs.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/mcp" {
			return false
		}
		rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="admin"`)
		rw.WriteHeader(http.StatusForbidden)
		return true
	}
	if _, err := w.try(); !errors.Is(err, ErrScope) {
		t.Errorf("request = %v, want ErrScope", err)
	}
	if w.as.tokens != before+1 {
		t.Errorf("%d tokens for a step-up that does not help, want 1", w.as.tokens-before)
	}
}

func TestMachineIsRefused(t *testing.T) {
	w := newWorld(t, Login{Kind: Workload, ClientID: "job", Secret: literal("head.s3cret-assertion.tail")})
	w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_ = r.ParseForm()
			w.as.mu.Lock()
			w.as.forms = append(w.as.forms, r.PostForm)
			w.as.mu.Unlock()
			reply(rw, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "no " + r.PostForm.Get("assertion")})
			return true
		}
		return false
	}
	for range 4 {
		_, err := w.try()
		if err == nil || !strings.Contains(err.Error(), "invalid_grant") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("request = %v, want invalid_grant without the assertion", err)
		}
	}
	if n := w.as.seen("/token"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if f := w.as.form(0); f.Get("grant_type") != bearerGrant || f.Get("assertion") != "head.s3cret-assertion.tail" || f.Get("client_id") != "job" {
		t.Errorf("asked with %v", f)
	}
	w.as.raw = nil
	w.clock.pass(2 * recently)
	w.works()
}

func TestMachineWhoseTokenIsRefused(t *testing.T) {
	w := newWorld(t, Login{Kind: ClientSecret, ClientID: "machine", Secret: literal("s3cret")})
	w.rs.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/mcp" {
			rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="what is `+r.Header.Get("Authorization")+`?"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "a moment ago: what is Bearer [secret]?") {
		t.Errorf("request = %v", err)
	}
	if n := w.as.seen("/token"); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

func TestPrivateKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Login{Kind: PrivateKey, ClientID: "machine", Secret: literal(pemOf(t, key))})
	w.works()
	w.clock.pass(time.Hour)
	w.works()
	var before any
	for i := range 2 {
		f := w.as.form(i)
		_, claims := verify(t, &key.PublicKey, f.Get("client_assertion"))
		if claims["iss"] != "machine" || claims["sub"] != "machine" || claims["aud"] != w.as.URL || claims["exp"].(float64)-claims["iat"].(float64) > 60 || claims["jti"] == before {
			t.Errorf("claims = %v", claims)
		}
		before = claims["jti"]
		if f.Get("client_assertion_type") != assertionType || f.Get("grant_type") != "client_credentials" {
			t.Errorf("asked with %v", f)
		}
	}
}

func TestEnterprise(t *testing.T) {
	idp := newAS(t)
	w := newWorld(t, Login{Kind: Enterprise, ClientID: "cordon", Secret: literal("s3cret"), IdPClientID: "at-the-idp", IdPIssuer: idp.URL, IdPToken: literal("id.token.s3cret")})
	idp.answer = func(f url.Values, doc map[string]any) int {
		if f.Get("grant_type") != exchangeGrant || f.Get("requested_token_type") != jagType || f.Get("subject_token") != "id.token.s3cret" || f.Get("subject_token_type") != idType ||
			f.Get("audience") != w.as.URL || f.Get("resource") != w.rs.URL+"/mcp" || f.Get("client_id") != "at-the-idp" {
			t.Errorf("the identity provider was asked with %v", f)
		}
		doc["access_token"], doc["token_type"], doc["issued_token_type"] = "the-jag", "N_A", jagType
		return 0
	}
	w.works()
	if f := w.as.form(0); f.Get("grant_type") != bearerGrant || f.Get("assertion") != "the-jag" || strings.Contains(f.Encode(), "id.token") {
		t.Errorf("the authorization server was asked with %v", f)
	}
	if !strings.HasPrefix(w.as.headers[0].Get("Authorization"), "Basic ") || idp.headers[0].Get("Authorization") != "" {
		t.Error("the client's secret went to the wrong one")
	}
	idp.answer = func(_ url.Values, doc map[string]any) int { doc["issued_token_type"] = "access"; return 0 }
	w.clock.pass(2 * time.Hour)
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "no grant") {
		t.Errorf("request = %v, want that the answer is no grant", err)
	}
}

func TestBoundTokens(t *testing.T) {
	for _, nonce := range []string{"", "n-1"} {
		w := newWorld(t, Login{})
		w.as.meta = func(m map[string]any) { m["dpop_signing_alg_values_supported"] = []string{"RS256", "ES256"} }
		w.as.dpopNonce, w.rs.dpopNonce = nonce, nonce
		w.signIn()
		w.works()
		if !w.a.Status().DPoP || w.as.last.Get("dpop_jkt") == "" {
			t.Errorf("status = %+v", w.a.Status())
		}
		if w.as.keys[w.token()] != w.as.last.Get("dpop_jkt") {
			t.Error("the code was bound to another key than the token")
		}
		w.again() // the key is kept
		w.works()
		if nonce != "" {
			w.rs.dpopNonce = "n-2"
			w.clock.pass(2 * nonceTime)
			w.works()
		}
		w.clock.pass(time.Hour)
		w.works()
		if w.as.keys[w.token()] != w.as.last.Get("dpop_jkt") {
			t.Error("the renewed token is bound to another key")
		}
		if !w.a.Status().DPoP {
			t.Error("the renewed token is not bound")
		}
	}
}

// TestBindingIsNotTakenBack: an authorization server that stops binding tokens, or is made to, does not get away with it.
func TestBindingIsNotTakenBack(t *testing.T) {
	w := newWorld(t, Login{})
	w.as.meta = func(m map[string]any) { m["dpop_signing_alg_values_supported"] = []string{"ES256"} }
	w.signIn()
	w.as.answer = func(_ url.Values, doc map[string]any) int { doc["token_type"] = "Bearer"; return 0 }
	w.clock.pass(time.Hour)
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "bound") {
		t.Errorf("request = %v", err)
	}
}

func TestProofsAreFresh(t *testing.T) {
	w := newWorld(t, Login{})
	w.as.meta = func(m map[string]any) { m["dpop_signing_alg_values_supported"] = []string{"ES256"} }
	w.signIn()
	var ids []any
	for _, method := range []string{"GET", "POST", "POST"} {
		r, err := http.NewRequestWithContext(t.Context(), method, w.rs.URL+"/mcp?token=x#y", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.a.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		claims, _, err := checkProof(r.Header.Get("DPoP"))
		if err != nil || claims["htm"] != method || claims["htu"] != w.rs.URL+"/mcp" || claims["ath"] != s256(w.token()) || slices.Contains(ids, claims["jti"]) {
			t.Errorf("claims = %v, %v", claims, err)
		}
		ids = append(ids, claims["jti"])
	}
}

// TestEndlessNonces: a server that wants another nonce each time is asked twice.
func TestEndlessNonces(t *testing.T) {
	w := newWorld(t, Login{})
	w.as.meta = func(m map[string]any) { m["dpop_signing_alg_values_supported"] = []string{"ES256"} }
	w.signIn()
	n := 0
	w.rs.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/mcp" {
			return false
		}
		n++
		rw.Header().Set("DPoP-Nonce", fmt.Sprint("n-", n))
		rw.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	}
	if _, err := w.try(); err == nil || n != 2 {
		t.Errorf("request = %v after %d tries, want an error after 2", err, n)
	}
	// The same at the token endpoint.
	w.rs.raw = nil
	m := 0
	w.as.raw = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return false
		}
		m++
		rw.Header().Set("DPoP-Nonce", fmt.Sprint("n-", m))
		reply(rw, http.StatusBadRequest, map[string]any{"error": "use_dpop_nonce"})
		return true
	}
	w.clock.pass(2 * time.Hour)
	if _, err := w.try(); err == nil || m != 2 {
		t.Errorf("request = %v after %d tries, want an error after 2", err, m)
	}
}

// TestNonceThatComesAlong: a nonce that a success brings saves the next request a try, and is not taken from elsewhere.
func TestNonceThatComesAlong(t *testing.T) {
	w := newWorld(t, Login{})
	w.as.meta = func(m map[string]any) { m["dpop_signing_alg_values_supported"] = []string{"ES256"} }
	w.signIn()
	nonceSent := func() any {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.rs.URL+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.a.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		claims, _, err := checkProof(r.Header.Get("DPoP"))
		if err != nil {
			t.Fatal(err)
		}
		return claims["nonce"]
	}
	for _, c := range []struct {
		from string
		want any
	}{{"https://evil.example/mcp", nil}, {w.rs.URL + "/mcp", "n-1"}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.from, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.a.Heard(&http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{"Dpop-Nonce": {"n-1"}}})
		if got := nonceSent(); got != c.want {
			t.Errorf("after an answer of %s the nonce is %v, want %v", c.from, got, c.want)
		}
	}
}

func TestBadNonces(t *testing.T) {
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"a", "b"}, {`a"b`}, {strings.Repeat("x", maxNonce+1)}} {
		if got := nonceOf(http.Header{"Dpop-Nonce": bad}); got != "" {
			t.Errorf("nonce %q = %q, want none", bad, got)
		}
	}
}

// TestNothingSecretIsSaid: no error, note or printed value holds a token, a code, a key or a secret, even if the servers repeat them.
func TestNothingSecretIsSaid(t *testing.T) {
	const secret = "s3cret-of-the-client"
	var said bytes.Buffer
	check := func(w *world) {
		t.Helper()
		fmt.Fprintf(&said, "%v %+v %#v %s %q %v %+v", w.a, w.a, w.a, w.a, w.a, *w.a.document(), w.a.Status())
		w.mu.Lock()
		fmt.Fprintln(&said, w.notes)
		w.mu.Unlock()
	}
	w := newWorld(t, Login{ClientID: "mine", Secret: literal(secret)})
	w.as.meta = func(m map[string]any) {
		m["dpop_signing_alg_values_supported"] = []string{"ES256"}
		m["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
	}
	w.rs.challenge = `, error_description="token"`
	w.as.back = func(_, b url.Values) { b.Set("code", "wrong-code") }
	fmt.Fprintln(&said, w.a.SignIn(t.Context()))
	w.as.back = nil
	w.signIn()
	w.works()
	check(w)
	w.rs.revoke(w.token())
	w.store.mu.Lock()
	w.store.fail = errors.New("keyring locked")
	w.store.mu.Unlock()
	w.as.mu.Lock()
	clear(w.as.refresh)
	w.as.mu.Unlock()
	_, err := w.try()
	fmt.Fprintln(&said, err)
	w.a.mu.Lock()
	w.a.doc = &document{Issuer: w.as.URL, Token: &token{Access: "access-x", Refresh: "refresh-x", Client: client{ID: "mine", Method: "client_secret_post"}}, RevokeAt: w.as.URL + "/gone"}
	w.a.mu.Unlock()
	fmt.Fprintln(&said, w.a.SignOut(t.Context()))
	w.mu.Lock()
	fmt.Fprintln(&said, w.notes)
	w.mu.Unlock()
	text := said.String()
	for _, s := range []string{secret, "wrong-code", "access-", "refresh-1", "refresh-x", "PRIVATE KEY"} {
		if strings.Contains(text, s) {
			t.Errorf("%q is said in %s", s, text)
		}
	}
	if !strings.Contains(text, "[secret]") {
		t.Error("the servers repeated nothing; the test tests nothing")
	}
}
