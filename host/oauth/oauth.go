// Package oauth is the client side of MCP's authorization (versions 2025-11-25 and 2026-07-28, with what 2025-03-26 falls back to): OAuth 2.1
// for one remote server, in the person's browser or without a person. Servers are hostile, and so is whatever they name: an
// authorization server says who it is in three places that have to agree, a token goes to the origin that it was made for and to no
// other, and the browser opens because a person said so. Every answer has a size and a time.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Kind is how one identifies oneself.
type Kind string

// The kinds. All but Browser need no person.
const (
	Browser      Kind = ""                   // authorization code, with PKCE
	ClientSecret Kind = "client-credentials" // a client id and its secret
	PrivateKey   Kind = "private-key-jwt"    // client credentials with a signed assertion (RFC 7523 §2.2)
	Enterprise   Kind = "enterprise"         // an identity provider's grant for this server (ID-JAG)
	Workload     Kind = "workload"           // an assertion of the platform that it runs on (RFC 7523 §2.1)
)

// Options of one server's Authorizer. What it points to must not change afterwards.
type Options struct {
	Server   string   // the server's name in the configuration, for the store and messages
	Endpoint *url.URL // the MCP endpoint, typed by the person: https, or http on this machine
	// HTTP refuses addresses that a server must not reach. Its cookies are not used, and redirects are not followed, whatever it says.
	HTTP  *http.Client
	Store Store
	// Browse opens the person's browser and returns once it was told to; ctx is SignIn's. nil: SignIn is not possible.
	Browse func(ctx context.Context, url string) error
	// Redirect is a fixed redirect URI: http, 127.0.0.1 or localhost, any path; without a port a free one is taken. "" is
	// http://127.0.0.1/callback.
	Redirect    string
	MetadataURL string // Cordon's client ID metadata document, "" if there is none
	Version     string // of Cordon
	Login       Login
	Now         func() time.Time                 // nil is time.Now
	Note        func(format string, args ...any) // a line for the server's log, which may quote the server; never holds a secret. nil: none
}

// Login is how the definition says one identifies oneself. The zero value: in the browser, with a client id by metadata document or
// registration.
type Login struct {
	Kind      Kind
	ClientID  string
	Issuer    string   // pins the authorization server; "" takes the one that the server names
	Scopes    []string // asked for besides those that the server names
	Algorithm string   // for PrivateKey: ES256, RS256, PS256 and so on, or EdDSA; "" is by the key
	// Secret gives the client's secret, its PEM key (PKCS #8), or the workload's assertion. nil if there is none. It also gives the
	// secret of a registered browser client.
	Secret func(ctx context.Context) (string, error)

	// Of Enterprise. Without a token endpoint it is looked up at the issuer.
	IdPClientID, IdPTokenEndpoint, IdPIssuer string
	IdPToken                                 func(ctx context.Context) (string, error) // the ID token
}

// Store keeps what belongs to a server and an issuer. The value is one JSON document of at most 128 KiB, a secret. Under the issuer "" is
// which issuer it was last, without tokens. Implementations must be safe for concurrent use, and what Save has taken must
// survive the end of the program, or Save fails.
type Store interface {
	Load(ctx context.Context, server, issuer string) ([]byte, error) // ErrNothing if there is none
	Save(ctx context.Context, server, issuer string, doc []byte) error
	Remove(ctx context.Context, server, issuer string) error // ErrNothing is as good as nil
}

var (
	// ErrNothing means that a store works and has no such document.
	ErrNothing = errors.New("nothing is kept for this server and issuer")
	// ErrOrigin means that a request leads elsewhere than to the server that the token is for.
	ErrOrigin = errors.New("the request leads to another origin than the server's; no token goes there")
	// ErrNoPerson means that a person cannot sign in, only a program.
	ErrNoPerson = errors.New("the authorization server signs in programs, not people; give the definition a client id and its secret or key, and say so")
	// ErrScope means that the server wants permissions that it was just given, or that asking for them again would not give.
	ErrScope = errors.New("signing in again would not help")
)

// SignInNeeded means that only a person can go on. No browser was opened.
type SignInNeeded struct {
	Issuer string
	Scopes []string // what SignIn would ask for
	StepUp bool     // there is a token; the server wants one that may do more
	Why    string   // for people
}

// Error says why.
func (e *SignInNeeded) Error() string { return fmt.Sprintf("sign in at %s: %s", e.Issuer, e.Why) }

// Status is what people see of it. It holds no secret.
type Status struct {
	Issuer   string
	Scopes   []string // that the token may do
	SignedIn bool     // there is a token
	Expires  time.Time
	Wanted   []string // of a step-up that waits for a person
	DPoP     bool     // the token works only together with a key that never leaves this machine
}

// Bounds of what an answer may be.
const (
	maxDocument  = 128 << 10 // bytes, of metadata and of what the store keeps
	maxAnswer    = 64 << 10  // bytes, of a token or registration
	maxToken     = 16 << 10  // bytes
	maxURL       = 2048      // bytes
	maxClientID  = 2048      // bytes
	maxScopes    = 128
	maxScope     = 256 // bytes
	maxServers   = 16
	maxText      = 200 // runes of what a server says and a person reads
	maxNonce     = 512 // bytes
	maxLifetime  = 366 * 24 * time.Hour
	requestTime  = 15 * time.Second // of one request, its answer included
	exchangeTime = time.Minute      // of all that renews a token
	patience     = 10 * time.Minute // with a person who signs in
	recently     = time.Minute      // a token this young that is refused is not renewed again
	nonceTime    = 5 * time.Second  // a nonce this young that is refused is not replaced again
)

// printable makes what a server says fit for a line: nothing that cannot be seen, at most maxText runes, none of the secrets.
func printable(text string, secrets ...string) string {
	for _, s := range secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "[secret]")
		}
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxText {
			b.WriteRune('…')
			break
		}
		if !seen(r) {
			r = '·'
		}
		b.WriteRune(r)
	}
	return b.String()
}
