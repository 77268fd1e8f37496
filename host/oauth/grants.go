package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Names that RFC 7523, RFC 8693 and the draft about identity assertions give.
const (
	bearerGrant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	idType        = "urn:ietf:params:oauth:token-type:id_token"
	jagType       = "urn:ietf:params:oauth:token-type:id-jag"
)

// grant gets a token without a person. It asks once: what one way of identifying oneself does not get, no other is tried for.
func (a *Authorizer) grant(ctx context.Context, f found, key []byte, scopes []string) (*token, error) {
	g := grant{endpoint: f.meta.Token, key: key, scopes: scopes, form: url.Values{"grant_type": {"client_credentials"}, "resource": {f.resource}}}
	if len(scopes) > 0 {
		g.form.Set("scope", strings.Join(scopes, " "))
	}
	login := a.o.Login
	switch login.Kind {
	case ClientSecret, Enterprise:
		var err error
		if g.client, g.secret, err = a.named(ctx, f.meta); err != nil {
			return nil, err
		}
		if login.Kind == Enterprise {
			assertion, err := a.jag(ctx, f, scopes)
			if err != nil {
				return nil, err
			}
			g.form.Set("grant_type", bearerGrant)
			g.form.Set("assertion", assertion)
		} else if g.secret == "" {
			return nil, errors.New("the client has no secret")
		}
	case PrivateKey:
		if f.meta.Methods != nil && !slices.Contains(f.meta.Methods, "private_key_jwt") {
			return nil, errors.New("the authorization server takes no signed assertions")
		}
		assertion, err := a.assertion(ctx, f.meta)
		if err != nil {
			return nil, err
		}
		g.client = client{ID: login.ClientID, Method: "private_key_jwt"}
		g.form.Set("client_assertion_type", assertionType)
		g.form.Set("client_assertion", assertion)
	case Workload:
		assertion, err := a.secret(ctx)
		if err != nil {
			return nil, err
		}
		if !visible(assertion, maxToken) {
			return nil, errors.New("the workload has no assertion, or none that a form can hold")
		}
		g.client = client{ID: login.ClientID, Method: "none"}
		g.form.Set("grant_type", bearerGrant)
		g.form.Set("assertion", assertion)
	}
	return a.exchange(ctx, g)
}

// assertion is a client's own, good for a minute and this authorization server (RFC 7523 §3, whose audience is the issuer).
func (a *Authorizer) assertion(ctx context.Context, m metadata) (string, error) {
	text, err := a.secret(ctx)
	if err != nil {
		return "", err
	}
	key, err := parseKey(text)
	if err != nil {
		return "", err
	}
	alg, err := pick(key, a.o.Login.Algorithm, m.Algorithms)
	if err != nil {
		return "", err
	}
	now, id := a.now(), a.o.Login.ClientID
	return sign(key, alg, map[string]any{"typ": "JWT"}, map[string]any{"iss": id, "sub": id, "aud": m.Issuer, "jti": random(18),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
}

// jag gets the identity provider's word for who one is, for this server and its authorization server alone (RFC 8693).
func (a *Authorizer) jag(ctx context.Context, f found, scopes []string) (string, error) {
	login := a.o.Login
	if login.IdPToken == nil {
		return "", errors.New("there is no ID token of the identity provider")
	}
	id, err := login.IdPToken(ctx)
	if err != nil {
		return "", fmt.Errorf("get the identity provider's ID token: %w", err)
	}
	if id = strings.TrimRight(id, "\r\n"); !visible(id, maxToken) {
		return "", errors.New("the identity provider's ID token is empty, too long or malformed")
	}
	at := login.IdPTokenEndpoint
	if at == "" {
		m, ok, err := a.metadata(ctx, login.IdPIssuer)
		if err != nil {
			return "", fmt.Errorf("ask the identity provider: %w", err)
		}
		if !ok {
			return "", errors.New("the identity provider does not say where it gives tokens")
		}
		at = m.Token
	}
	form := url.Values{"grant_type": {exchangeGrant}, "requested_token_type": {jagType}, "subject_token": {id}, "subject_token_type": {idType},
		"audience": {f.meta.Issuer}, "resource": {f.resource}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	t, err := a.exchange(ctx, grant{endpoint: at, client: client{ID: login.IdPClientID, Method: "none"}, form: form, foreign: true})
	if err != nil {
		return "", fmt.Errorf("ask the identity provider: %w", err)
	}
	return t.Access, nil
}
