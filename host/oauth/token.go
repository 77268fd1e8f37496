package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// token is what signs requests. It is not changed once others may see it.
type token struct {
	Access   string    `json:"access"`
	Refresh  string    `json:"refresh,omitempty"`
	DPoP     bool      `json:"dpop,omitzero"` // bound to the document's key
	Obtained time.Time `json:"obtained"`
	Expires  time.Time `json:"expires,omitzero"` // zero if the server did not say
	Scopes   []string  `json:"scopes,omitempty"` // that were granted
	Asked    []string  `json:"asked,omitempty"`  // that were asked for
	Client   client    `json:"client"`
	Renewed  bool      `json:"renewed,omitzero"` // it came of a refresh, not of a person
}

// Format writes "[secret]" for every verb and flag.
func (token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// due reports whether the token should be renewed before its use: within the last tenth of its life, at most half a minute.
func (t *token) due(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires.Add(-min(30*time.Second, t.Expires.Sub(t.Obtained)/10)))
}

// refusal is an error of the authorization server's (RFC 6749 §5.2).
type refusal struct {
	Code string // such as invalid_grant
	Text string // printable, "" if there is none
}

// Error has the code, and what the server says about it.
func (e *refusal) Error() string {
	if e.Text == "" {
		return "the authorization server refuses: " + e.Code
	}
	return fmt.Sprintf("the authorization server refuses: %s (%s)", e.Code, e.Text)
}

// refused reports whether err is a refusal with one of the codes.
func refused(err error, codes ...string) bool {
	e, ok := errors.AsType[*refusal](err)
	return ok && slices.Contains(codes, e.Code)
}

// grant is one request to a token endpoint.
type grant struct {
	endpoint string
	client   client
	secret   string // of the client
	form     url.Values
	key      []byte   // for DPoP, nil if there is none
	scopes   []string // that are asked for, also those that form does not say
	foreign  bool     // of an identity provider: what comes back is a grant, no token
}

// authenticate says in r's header, or in form, who the client is (RFC 6749 §2.3, which has both halves form-encoded).
func (g grant) authenticate(header http.Header, form url.Values) error {
	switch g.client.Method {
	case "none", "private_key_jwt": // whose assertion is in the form
		if g.client.ID != "" {
			form.Set("client_id", g.client.ID)
		}
	case "client_secret_basic":
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(g.client.ID)+":"+url.QueryEscape(g.secret))))
	case "client_secret_post":
		form.Set("client_id", g.client.ID)
		form.Set("client_secret", g.secret)
	default:
		return fmt.Errorf("clients cannot identify themselves by %.40q here", g.client.Method)
	}
	return nil
}

// secrets are what an answer must not bring into a message.
func (g grant) secrets() (all []string) {
	for _, name := range []string{"refresh_token", "code", "code_verifier", "client_assertion", "assertion", "subject_token", "token"} {
		all = append(all, g.form.Get(name))
	}
	return append(all, g.secret)
}

// Format writes "[secret]" for every verb and flag.
func (grant) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// post sends a grant's request and returns the answer, once more if the server wants a nonce in the proof.
func (a *Authorizer) post(ctx context.Context, g grant) (answer, error) {
	to, err := a.address(g.endpoint)
	if err != nil {
		return answer{}, err
	}
	for again := true; ; again = false {
		form := url.Values{}
		for k, v := range g.form {
			form[k] = v
		}
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		if err := g.authenticate(header, form); err != nil {
			return answer{}, err
		}
		if g.key != nil {
			p, err := a.proof(g.key, http.MethodPost, to, "", a.tokenNonce(to, ""))
			if err != nil {
				return answer{}, err
			}
			header.Set("DPoP", p)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return answer{}, fmt.Errorf("ask %s: %w", to.Host, err)
		}
		r.Header = header
		got, err := a.do(ctx, r, maxAnswer)
		if err != nil {
			return answer{}, err
		}
		fresh := nonceOf(got.header)
		if g.key != nil && fresh != "" {
			a.tokenNonce(to, fresh)
		}
		if again && g.key != nil && fresh != "" && refused(refusalOf(got, g.secrets()), "use_dpop_nonce") {
			continue
		}
		return got, nil
	}
}

// tokenNonce returns the nonce for proofs at an authorization server, and replaces it unless fresh is "".
func (a *Authorizer) tokenNonce(at *url.URL, fresh string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if fresh != "" {
		a.nonceAt, a.nonceThere = origin(at), fresh
	}
	if a.nonceAt != origin(at) {
		return ""
	}
	return a.nonceThere
}

// refusalOf reads an answer that is not a success. secrets are kept out of what it says.
func refusalOf(got answer, secrets []string) error {
	if got.status == http.StatusOK || got.status == http.StatusCreated {
		return nil
	}
	var e struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}
	if got.status >= 400 && got.status < 500 && got.isJSON() && json.Unmarshal(got.body, &e) == nil && isCode(e.Code) {
		return &refusal{Code: e.Code, Text: printable(e.Text, secrets...)}
	}
	return fmt.Errorf("the authorization server answers %d", got.status)
}

// exchange sends a grant's request and reads the token that comes back (RFC 6749 §5.1). Errors: *refusal, or why there is none.
func (a *Authorizer) exchange(ctx context.Context, g grant) (*token, error) {
	got, err := a.post(ctx, g)
	if err != nil {
		return nil, err
	}
	if err := refusalOf(got, g.secrets()); err != nil {
		return nil, err
	}
	var t struct {
		Access  string         `json:"access_token"`
		Type    string         `json:"token_type"`
		Expires jsontext.Value `json:"expires_in"`
		Refresh string         `json:"refresh_token"`
		Scope   *string        `json:"scope"`
		Issued  string         `json:"issued_token_type"`
	}
	if !got.isJSON() || json.Unmarshal(got.body, &t) != nil {
		return nil, errors.New("the authorization server's token is malformed")
	}
	now := a.now()
	next := &token{Access: t.Access, Refresh: t.Refresh, Obtained: now, Scopes: g.scopes, Asked: g.scopes, Client: g.client}
	switch {
	case !visible(t.Access, maxToken):
		return nil, errors.New("the token is empty, too long or holds what no header can")
	case t.Refresh != "" && !visible(t.Refresh, maxToken):
		return nil, errors.New("the refresh token is too long or holds what no form should")
	case g.foreign:
		if t.Issued != jagType || !strings.EqualFold(t.Type, "N_A") {
			return nil, errors.New("the identity provider's answer is no grant for this server")
		}
	case strings.EqualFold(t.Type, "DPoP") && g.key != nil:
		next.DPoP = true
	case !strings.EqualFold(t.Type, "Bearer"):
		return nil, fmt.Errorf("the token is of the unknown type %q", printable(t.Type))
	}
	if t.Expires != nil && t.Expires.Kind() != 'n' {
		seconds, err := strconv.ParseInt(string(t.Expires), 10, 64)
		if err != nil || seconds < 0 {
			return nil, errors.New("the token expires at no time")
		}
		if seconds > 0 {
			next.Expires = now.Add(time.Duration(min(seconds, int64(maxLifetime/time.Second))) * time.Second)
		}
	}
	if t.Scope != nil {
		if next.Scopes, err = scopesOf(*t.Scope); err != nil {
			return nil, fmt.Errorf("what the token may do: %w", err)
		}
	}
	return next, nil
}
