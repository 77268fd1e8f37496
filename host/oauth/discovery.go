package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// resource is a server's metadata (RFC 9728 §2), as far as it is used.
type resource struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
}

// metadata is an authorization server's (RFC 8414 §2, OpenID Connect Discovery), as far as it is used.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint,omitempty"`
	Token         string   `json:"token_endpoint"`
	Registration  string   `json:"registration_endpoint,omitempty"`
	Revocation    string   `json:"revocation_endpoint,omitempty"`
	Scopes        []string `json:"scopes_supported,omitempty"`
	Grants        []string `json:"grant_types_supported,omitempty"`
	Methods       []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	Algorithms    []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	Challenges    []string `json:"code_challenge_methods_supported,omitempty"`
	DPoP          []string `json:"dpop_signing_alg_values_supported,omitempty"`
	Documents     bool     `json:"client_id_metadata_document_supported,omitempty"`
	NamesItself   bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
}

// found is what discovery ends with. It is not changed afterwards.
type found struct {
	resource string   // what tokens are asked for
	scopes   []string // that the server says it needs
	meta     metadata
}

// discover finds out where one signs in for what a server demands. It needs only the network and changes nothing.
func (a *Authorizer) discover(ctx context.Context, d demand) (found, error) {
	if a.bad != nil {
		return found{}, a.bad
	}
	of, ok, err := a.resource(ctx, d.metadata)
	if err != nil {
		return found{}, fmt.Errorf("ask the server who signs people in: %w", err)
	}
	f := found{resource: a.canonical()}
	issuer := a.o.Login.Issuer
	switch {
	case ok:
		if issuer, err = a.choose(of.Servers); err != nil {
			return found{}, err
		}
		f.resource, f.scopes = of.Resource, of.Scopes
	case issuer == "": // 2025-03-26: the server is its own authorization server
		issuer = root(a.o.Endpoint)
	}
	f.meta, ok, err = a.metadata(ctx, issuer)
	switch {
	case err != nil:
		return found{}, fmt.Errorf("ask the authorization server %s: %w", printable(issuer), err)
	case !ok && of.Servers == nil && a.o.Login.Issuer == "": // 2025-03-26 without metadata: its default endpoints
		f.meta = metadata{Issuer: issuer, Authorization: issuer + "/authorize", Token: issuer + "/token", Registration: issuer + "/register",
			Challenges: []string{"S256"}}
	case !ok:
		return found{}, fmt.Errorf("the authorization server %s publishes no metadata", printable(issuer))
	}
	return f, nil
}

// canonical is the endpoint as the name of a resource (RFC 8707 §2): without a fragment, and without a slash alone.
func (a *Authorizer) canonical() string {
	u := *a.o.Endpoint
	u.Scheme, u.Host, u.Fragment, u.RawFragment = strings.ToLower(u.Scheme), strings.ToLower(u.Host), "", ""
	if u.Path == "/" && u.RawQuery == "" {
		u.Path, u.RawPath = "", ""
	}
	return u.String()
}

// resource fetches the server's metadata from where it says, or from where it has to be: at its path, then at the root. ok is false if it has
// none. What is returned belongs to the endpoint.
func (a *Authorizer) resource(ctx context.Context, named string) (of resource, ok bool, err error) {
	const wellKnown = "/.well-known/oauth-protected-resource"
	var places []string
	switch path := strings.TrimSuffix(a.o.Endpoint.EscapedPath(), "/"); {
	case named != "":
		places = []string{named}
	case path != "":
		places = []string{root(a.o.Endpoint) + wellKnown + path, root(a.o.Endpoint) + wellKnown}
	default:
		places = []string{root(a.o.Endpoint) + wellKnown}
	}
	for _, place := range places {
		u, err := a.address(place)
		if err != nil {
			return resource{}, false, err
		}
		var of resource
		there, err := a.get(ctx, u, &of)
		if err != nil {
			return resource{}, false, err
		}
		if there {
			return of, true, a.belongs(of)
		}
	}
	if named != "" {
		return resource{}, false, errors.New("its metadata is not where it says")
	}
	return resource{}, false, nil
}

// belongs reports what is wrong with a server's metadata. A token for a resource is asked for only if the endpoint is part of it.
func (a *Authorizer) belongs(of resource) error {
	u, err := a.address(of.Resource)
	if err != nil {
		return fmt.Errorf("what its metadata is about: %w", err)
	}
	path, end := strings.TrimSuffix(u.EscapedPath(), "/"), a.o.Endpoint.EscapedPath()
	switch {
	case origin(u) != origin(a.o.Endpoint) || u.RawQuery != "" && u.RawQuery != a.o.Endpoint.RawQuery,
		path != strings.TrimSuffix(end, "/") && !strings.HasPrefix(end, path+"/"):
		return fmt.Errorf("its metadata is about another server, at %s", u.Host)
	case len(of.Servers) == 0 || len(of.Servers) > maxServers:
		return fmt.Errorf("its metadata names %d authorization servers, 1 to %d are allowed", len(of.Servers), maxServers)
	}
	_, err = checkScopes(of.Scopes)
	return err
}

// choose picks an authorization server: the pinned one, which has to be there, else the one that knows the person already, else the first.
func (a *Authorizer) choose(servers []string) (string, error) {
	if pin := a.o.Login.Issuer; pin != "" {
		if !slices.Contains(servers, pin) {
			return "", fmt.Errorf("the server does not name the authorization server %s, which its definition demands", pin)
		}
		return pin, nil
	}
	if doc := a.document(); doc != nil && slices.Contains(servers, doc.Issuer) {
		return doc.Issuer, nil
	}
	return servers[0], nil
}

// places are where an issuer's metadata may be, in the order of the specification.
func places(issuer *url.URL) []string {
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	at, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	if path == "" {
		return []string{at + oauth, at + openid}
	}
	return []string{at + oauth + path, at + openid + path, at + path + openid}
}

// metadata fetches an issuer's metadata. ok is false if it has none. What is returned was checked.
func (a *Authorizer) metadata(ctx context.Context, issuer string) (m metadata, ok bool, err error) {
	u, err := a.address(issuer)
	if err != nil {
		return m, false, err
	}
	if strings.Contains(issuer, "?") {
		return m, false, errors.New("its name holds a query")
	}
	for _, place := range places(u) {
		at, err := url.Parse(place)
		if err != nil {
			return m, false, errors.New("its metadata cannot be looked for")
		}
		var m metadata
		there, err := a.get(ctx, at, &m)
		if err != nil {
			return m, false, err
		}
		if there {
			return m, true, a.trust(m, issuer)
		}
	}
	return m, false, nil
}

// trust reports what is wrong with metadata from where the issuer's has to be. A name that differs is another's (RFC 8414 §3.3).
func (a *Authorizer) trust(m metadata, issuer string) error {
	if m.Issuer != issuer {
		return errors.New("its metadata is another issuer's")
	}
	for name, text := range map[string]string{"authorization": m.Authorization, "token": m.Token, "registration": m.Registration, "revocation": m.Revocation} {
		if text == "" && name != "token" {
			continue
		}
		if _, err := a.address(text); err != nil {
			return fmt.Errorf("its %s endpoint: %w", name, err)
		}
	}
	return nil
}

// interactive reports why no person can sign in there. A server that does not say that it takes S256 might not compare at all.
func (m metadata) interactive() error {
	switch {
	case m.Authorization == "" || len(m.Grants) > 0 && !slices.Contains(m.Grants, "authorization_code"):
		return ErrNoPerson
	case !slices.Contains(m.Challenges, "S256"):
		return errors.New("the authorization server does not protect what it sends back (it does not offer PKCE with S256)")
	}
	return nil
}
