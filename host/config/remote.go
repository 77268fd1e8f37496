package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Login is how Cordon identifies itself to a remote server that asks for it. The zero value: a person signs in, in the browser.
type Login struct {
	Kind      string   `json:"kind,omitempty"`      // one of the Login constants
	ClientID  string   `json:"clientId,omitempty"`  // with which Cordon is registered there; "" registers it
	Issuer    string   `json:"issuer,omitempty"`    // the only authorization server that is used; "" takes the one that the server names
	Scopes    []string `json:"scopes,omitempty"`    // besides those that the server names
	Algorithm string   `json:"algorithm,omitempty"` // of LoginPrivateKey; "" goes by the key

	IdPIssuer        string `json:"idpIssuer,omitempty"` // of LoginEnterprise: the company's identity provider
	IdPTokenEndpoint string `json:"idpTokenEndpoint,omitempty"`
	IdPClientID      string `json:"idpClientId,omitempty"`
}

// Ways to identify oneself.
const (
	LoginBrowser      = ""                   // a person signs in
	LoginClientSecret = "client-credentials" // with LoginSecret
	LoginPrivateKey   = "private-key-jwt"    // with a key in PEM as LoginSecret
	LoginEnterprise   = "enterprise"         // the company's identity provider vouches: LoginSecret is the secret at the server, LoginToken the ID token
	LoginWorkload     = "workload"           // with a signed assertion as LoginSecret
)

// Names in Server.Secrets of a remote server that are no headers.
const (
	LoginSecret = "login:secret"
	LoginToken  = "login:token"
)

// IsZero reports whether nothing is set.
func (l Login) IsZero() bool { return len(l.Scopes) == 0 && reflect.ValueOf(l).IsZero() }

// Remote reports whether the server runs elsewhere.
func (s Server) Remote() bool { return s.URL != "" }

// CheckURL reports why Cordon does not speak to a server at u: only https, or http with this computer if local is set.
func CheckURL(u *url.URL, local bool) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "" || u.Hostname() == "":
		return errors.New("it has to be an address that begins with https://")
	case u.User != nil:
		return errors.New("a name or password has no place in an address; keep it as a secret")
	case u.Fragment != "" || u.RawFragment != "":
		return errors.New("it must not have a part after #")
	case u.Scheme == "http" && !(local && IsLocal(u)):
		return errors.New("http is not encrypted: only https is spoken with other computers")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("its port is not between 1 and 65535")
		}
	}
	return nil
}

// IsLocal reports whether u names this computer's loopback: localhost or an address of it.
func IsLocal(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// headers that a definition does not set: they belong to the connection or to the protocol.
var ownHeaders = []string{"Accept", "Connection", "Content-Length", "Content-Type", "Cookie", "Dpop", "Host", "Keep-Alive", "Last-Event-Id", "Origin", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent"}

const maxHeaderBytes = 8 << 10

// validateRemote reports the first thing that is wrong with a remote server.
func (s Server) validateRemote() (field, why string) {
	u, err := url.Parse(s.URL)
	if err != nil || len(s.URL) > 2048 || !plain(s.URL) {
		return "url", "is not an address"
	}
	if err := CheckURL(u, true); err != nil {
		return "url", err.Error()
	}
	if u.String() != s.URL {
		return "url", fmt.Sprintf("has to be written %q", u)
	}
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"command", len(s.Command) > 0}, {"dir", s.Dir != ""}, {"read", len(s.Read) > 0}, {"write", len(s.Write) > 0}, {"hosts", len(s.Hosts) > 0}, {"reach", len(s.Reach) > 0},
		{"serve", len(s.Serve) > 0}, {"memory", s.Memory != 0}, {"pids", s.Pids != 0}, {"cpu", s.CPU != 0}, {"env", len(s.Env) > 0}, {"idle", s.Idle != 0}, {"demand", len(s.Demand) > 0},
		{"observe", s.Observe}, {"never", len(s.Never) > 0}, {"preset", s.Preset != ""}, {"roots", s.Roots}, {"net", s.Net != NetNone},
	} {
		if f.set {
			return f.field, "is for programs on this computer; a server with a url has none"
		}
	}
	for _, name := range sortedKeys(s.Headers) {
		if why := badHeader(name); why != "" {
			return "headers." + name, why
		}
		if v := s.Headers[name]; len(v) > maxHeaderBytes || !visible(v) {
			return "headers." + name, fmt.Sprintf("must be visible ASCII text, at most %d bytes", maxHeaderBytes)
		}
	}
	if field, err := s.badHost(); err != nil {
		return field, err.Error()
	}
	for _, name := range sortedKeys(s.Secrets) {
		if !nameRE.MatchString(s.Secrets[name]) {
			return "secrets." + name, fmt.Sprintf("%q is not a name: %s", s.Secrets[name], nameRule)
		}
		if why := badSecretKey(name); why != "" {
			return "secrets." + name, why
		}
		for other := range s.Headers {
			if strings.EqualFold(other, name) {
				return "secrets." + name, "is also set in headers"
			}
		}
	}
	if field, why := s.Login.bad(); why != "" {
		return field, why
	}
	if s.Secrets[LoginSecret] != "" && s.Login.Kind != LoginPrivateKey && s.Login.Issuer == "" { // a signed assertion is for one issuer
		return "login.issuer", "is missing: without it the server would choose who gets the secret"
	}
	return "", ""
}

func (l Login) bad() (field, why string) {
	switch {
	case !slices.Contains([]string{LoginBrowser, LoginClientSecret, LoginPrivateKey, LoginEnterprise, LoginWorkload}, l.Kind):
		return "login.kind", fmt.Sprintf("%q is none of %q, %q, %q and %q", l.Kind, LoginClientSecret, LoginPrivateKey, LoginEnterprise, LoginWorkload)
	case l.Kind != LoginBrowser && l.ClientID == "":
		return "login.clientId", "is missing: without a person Cordon has to be registered"
	case l.Kind != LoginPrivateKey && l.Algorithm != "":
		return "login.algorithm", fmt.Sprintf("is for %q only", LoginPrivateKey)
	case (l.Kind == LoginEnterprise) != (l.IdPTokenEndpoint != ""):
		return "login.idpTokenEndpoint", fmt.Sprintf("belongs to %q, which needs it", LoginEnterprise)
	case l.Kind != LoginEnterprise && (l.IdPIssuer != "" || l.IdPClientID != ""):
		return "login.idpIssuer", fmt.Sprintf("is for %q only", LoginEnterprise)
	case len(l.Scopes) > 64:
		return "login.scopes", "has more than 64 entries"
	}
	for _, f := range []struct{ field, text string }{{"clientId", l.ClientID}, {"algorithm", l.Algorithm}, {"idpClientId", l.IdPClientID}} {
		if len(f.text) > 1024 || !visible(f.text) {
			return "login." + f.field, "must be visible ASCII text"
		}
	}
	for i, scope := range l.Scopes {
		if scope == "" || len(scope) > 256 || !visible(scope) || strings.ContainsAny(scope, ` "\`) {
			return fmt.Sprintf("login.scopes[%d]", i), fmt.Sprintf("%q is no scope", scope)
		}
	}
	for _, f := range []struct{ field, text string }{{"issuer", l.Issuer}, {"idpIssuer", l.IdPIssuer}, {"idpTokenEndpoint", l.IdPTokenEndpoint}} {
		if f.text == "" {
			continue
		}
		u, err := url.Parse(f.text)
		if err == nil {
			err = CheckURL(u, true)
		}
		if err != nil {
			return "login." + f.field, err.Error()
		}
	}
	return "", ""
}

// badSecretKey reports why a remote server is not given a secret under this key: it is a header, or one of the Login keys.
func badSecretKey(key string) string {
	if key == LoginSecret || key == LoginToken {
		return ""
	}
	return badHeader(key)
}

// badHeader reports why a header is not set for a server.
func badHeader(name string) string {
	if name == "" || len(name) > 128 || strings.ContainsFunc(name, func(r rune) bool {
		return r >= utf8.RuneSelf || !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}) {
		return fmt.Sprintf("%q is not the name of a header", name)
	}
	if slices.ContainsFunc(ownHeaders, func(own string) bool { return strings.EqualFold(own, name) }) || strings.HasPrefix(strings.ToLower(name), "mcp-") {
		return fmt.Sprintf("%s is set by Cordon itself", name)
	}
	return ""
}

// visible reports whether s is ASCII that can stand in a header.
func visible(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}
