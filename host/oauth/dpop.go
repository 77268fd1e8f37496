package oauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// newKey returns a fresh P-256 key as PKCS #8.
func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// dpopKey reads what newKey made.
func dpopKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key that the token is bound to cannot be read")
	}
	return key, nil
}

// jwk is the public half of a key, and its thumbprint (RFC 7638).
func jwk(key *ecdsa.PrivateKey) (public map[string]any, thumbprint string, err error) {
	point, err := key.PublicKey.Bytes() // 0x04, x, y
	if err != nil {
		return nil, "", err
	}
	x, y := base64url(point[1:33]), base64url(point[33:])
	return map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y}, s256(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`), nil
}

// proof returns a fresh DPoP proof for one request (RFC 9449 §4.2). token is "" at the authorization server.
func (a *Authorizer) proof(der []byte, method string, to *url.URL, token, nonce string) (string, error) {
	key, err := dpopKey(der)
	if err != nil {
		return "", err
	}
	public, _, err := jwk(key)
	if err != nil {
		return "", err
	}
	if method == "" {
		method = http.MethodGet
	}
	plain := url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path, RawPath: to.RawPath}
	claims := map[string]any{"jti": random(18), "htm": method, "htu": plain.String(), "iat": a.now().Unix()}
	if token != "" {
		claims["ath"] = s256(token)
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return sign(key, "ES256", map[string]any{"typ": "dpop+jwt", "jwk": public}, claims)
}

// bound reports whether tokens from there can be bound to a key of ours.
func (m metadata) bound() bool { return slices.Contains(m.DPoP, "ES256") }

// nonce is what a server wants to see in the next proof.
type nonce struct {
	value string
	since time.Time // when the server refused a proof for want of it, zero if it only sent it along
}

// nonceOf returns the nonce that an answer gives, "" if it gives none that can be used.
func nonceOf(h http.Header) string {
	if all := h.Values("DPoP-Nonce"); len(all) == 1 && visible(all[0], maxNonce) && !strings.ContainsAny(all[0], `"\`) {
		return all[0]
	}
	return ""
}

// Heard takes from any answer of the server the nonce for the next proof. Without it that request takes one try more.
func (a *Authorizer) Heard(resp *http.Response) {
	if n := nonceOf(resp.Header); n != "" && resp.Request != nil && a.ours(resp.Request) == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.nonce.value != n {
			a.nonce = nonce{value: n}
		}
	}
}

// renonce takes the nonce that the server demands. It wants the request again unless that held a nonce that was demanded a moment ago.
func (a *Authorizer) renonce(resp *http.Response) (again bool, err error) {
	fresh := nonceOf(resp.Header)
	if fresh == "" {
		return false, errors.New("the server demands a nonce and gives none")
	}
	var sent struct {
		Nonce string `json:"nonce"`
	}
	if err := claimsOf(resp.Request.Header.Get("DPoP"), &sent); err != nil {
		return false, fmt.Errorf("the server demands a nonce of a request without a proof")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := a.nonce; sent.Nonce != "" && sent.Nonce == last.value && !last.since.IsZero() && a.now().Sub(last.since) < nonceTime {
		return false, errors.New("the server demands another nonce each time")
	}
	a.nonce = nonce{fresh, a.now()}
	return true, nil
}
