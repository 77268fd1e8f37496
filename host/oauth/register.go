package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// client is who asks for tokens.
type client struct {
	ID     string `json:"id"`
	Method string `json:"method"`           // how it identifies itself, as in token_endpoint_auth_methods_supported
	Secret string `json:"secret,omitempty"` // that the authorization server made; the definition's is asked for each time
}

// Format writes "[secret]" for every verb and flag.
func (client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// registration is what an authorization server gave us to be known by (RFC 7591 §3.2.1). It is kept, and not repeated at each sign-in.
type registration struct {
	Client   client    `json:"client"`
	Expires  time.Time `json:"expires,omitzero"` // of the secret
	Redirect string    `json:"redirect"`         // exactly as registered
	// Doubtful: the last sign-in with it led to nothing. Servers that do not know a client say so to the person alone.
	Doubtful bool `json:"doubtful,omitzero"`
}

// usable reports whether one can sign in with it.
func (r *registration) usable(now time.Time) bool {
	return r != nil && !r.Doubtful && (r.Expires.IsZero() || now.Before(r.Expires))
}

// methodFor returns how a client with or without a secret identifies itself there. Servers that do not say take client_secret_basic
// (RFC 8414 §2).
func (m metadata) methodFor(secret bool) (string, error) {
	if !secret {
		return "none", nil
	}
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		if m.Methods == nil || slices.Contains(m.Methods, method) {
			return method, nil
		}
	}
	return "", errors.New("the authorization server takes no client's secret")
}

// register makes us known for one redirect URI (RFC 7591).
func (a *Authorizer) register(ctx context.Context, f found, redirect string) (*registration, error) {
	if f.meta.Registration == "" {
		return nil, errors.New("the authorization server does not know Cordon and lets nobody register; its definition needs a client id")
	}
	u, err := a.address(f.meta.Registration)
	if err != nil {
		return nil, err
	}
	wanted := "none" // a program that everybody has can keep no secret; servers that insist get their way
	if f.meta.Methods != nil && !slices.Contains(f.meta.Methods, wanted) {
		if wanted, err = f.meta.methodFor(true); err != nil {
			return nil, err
		}
	}
	doc := map[string]any{
		"client_name": "Cordon", "software_version": a.o.Version, "application_type": "native", "redirect_uris": []string{redirect},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": wanted,
	}
	if f.meta.bound() {
		doc["dpop_bound_access_tokens"] = true
	}
	body, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u.Host, err)
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := a.do(ctx, r, maxAnswer)
	if err == nil {
		err = refusalOf(got, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("register Cordon: %w", err)
	}
	var said struct {
		ID      string `json:"client_id"`
		Secret  string `json:"client_secret"`
		Expires int64  `json:"client_secret_expires_at"`
		Method  string `json:"token_endpoint_auth_method"`
	}
	switch {
	case !got.isJSON() || json.Unmarshal(got.body, &said) != nil:
		return nil, errors.New("register Cordon: the answer is malformed")
	case !visible(said.ID, maxClientID) || said.Secret != "" && !visible(said.Secret, maxClientID) || said.Expires < 0:
		return nil, errors.New("register Cordon: the client id or its secret is empty, too long or not plain ASCII")
	}
	reg := &registration{Client: client{said.ID, said.Method, said.Secret}, Redirect: redirect}
	if said.Expires > 0 && said.Secret != "" {
		reg.Expires = time.Unix(min(said.Expires, 1<<38), 0)
	}
	switch said.Method {
	case "none":
	case "client_secret_basic", "client_secret_post":
		if said.Secret == "" {
			return nil, errors.New("register Cordon: there should be a secret and is none")
		}
	case "": // the server does not say, so it took what was asked, or its own
		if reg.Client.Method = wanted; wanted == "none" && said.Secret != "" && !slices.Contains(f.meta.Methods, "none") {
			reg.Client.Method, err = f.meta.methodFor(true)
		} else if said.Secret == "" {
			reg.Client.Method = "none"
		}
	default:
		err = fmt.Errorf("register Cordon: clients should identify themselves by %q", printable(said.Method))
	}
	return reg, err
}

// client returns who asks for tokens in the browser: the definition's client, Cordon's metadata document, or a registration for the
// redirect URI, which is nil for the first two. kept is the registration that is there already, or nil.
func (a *Authorizer) client(ctx context.Context, f found, kept *registration, redirect string) (client, *registration, error) {
	switch {
	case a.o.Login.ClientID != "":
		c, _, err := a.named(ctx, f.meta)
		return c, nil, err
	case a.described(f.meta):
		return client{ID: a.o.MetadataURL, Method: "none"}, nil, nil
	case kept.usable(a.now()) && kept.Redirect == redirect:
		return kept.Client, kept, nil
	}
	reg, err := a.register(ctx, f, redirect)
	if err != nil {
		return client{}, nil, err
	}
	return reg.Client, reg, nil
}

// described reports whether Cordon's metadata document is its client id there.
func (a *Authorizer) described(m metadata) bool { return m.Documents && a.o.MetadataURL != "" }

// named returns the client that the definition names, and its secret.
func (a *Authorizer) named(ctx context.Context, m metadata) (c client, secret string, err error) {
	if secret, err = a.secret(ctx); err != nil {
		return c, "", err
	}
	method, err := m.methodFor(secret != "")
	return client{ID: a.o.Login.ClientID, Method: method}, secret, err
}

// secret asks for the definition's secret. It is "" if there is none.
func (a *Authorizer) secret(ctx context.Context) (string, error) {
	if a.o.Login.Secret == nil {
		return "", nil
	}
	s, err := a.o.Login.Secret(ctx)
	if err != nil {
		return "", fmt.Errorf("get the client's secret: %w", err)
	}
	return strings.TrimRight(s, "\r\n"), nil
}

// secretOf returns the secret of a client that tokens were or are made for.
func (a *Authorizer) secretOf(ctx context.Context, c client) (string, error) {
	if c.ID == a.o.Login.ClientID && c.Method != "none" {
		return a.secret(ctx)
	}
	return c.Secret, nil
}
