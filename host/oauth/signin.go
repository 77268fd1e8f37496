package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// SignIn runs the authorization code flow in the person's browser, for what the server demanded last. Call it only because a person said so.
// It returns when the person is signed in, refuses or ctx ends, and after ten minutes at most. One runs at a time. Errors: ctx's, what the
// authorization server refuses, or what is wrong; after any of them the sign-in before still counts, if there was one at the same
// authorization server.
func (a *Authorizer) SignIn(ctx context.Context) error {
	switch {
	case a.bad != nil:
		return a.bad
	case a.o.Login.Kind != Browser:
		return fmt.Errorf("nobody signs in by %s", a.o.Login.Kind)
	case a.o.Browse == nil:
		return errors.New("there is no browser to sign in with")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case a.signing <- struct{}{}:
		defer func() { <-a.signing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := a.Load(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	d := a.demand
	a.mu.Unlock()
	f, err := a.discover(ctx, d)
	if err == nil {
		err = f.meta.interactive()
	}
	if err == nil {
		err = a.claim(ctx, f.meta.Issuer)
	}
	if err != nil {
		return err
	}
	doc, err := a.enter(ctx, f)
	if err != nil {
		return err
	}
	if to, err := a.address(f.meta.Authorization); err == nil {
		if at, err := a.address(f.meta.Issuer); err == nil && !strings.EqualFold(at.Hostname(), to.Hostname()) {
			a.note("%s has people sign in at %s", f.meta.Issuer, to.Host)
		}
	}
	scopes := a.scopes(f, d)
	if len(scopes) > maxScopes {
		return fmt.Errorf("the server wants %d scopes, at most %d are asked for", len(scopes), maxScopes)
	}
	kept := doc.Registration
	t, reg, err := a.attempt(ctx, f, kept, doc.Key, scopes)
	if reg != nil && reg == kept && refused(err, "invalid_client", "unauthorized_client") { // it does not know us any more
		t, _, err = a.attempt(ctx, f, nil, doc.Key, scopes)
	}
	if err != nil {
		if refused(err, "invalid_scope") { // asking for the same again would end in the same way
			a.mu.Lock()
			a.wanted = nil
			a.mu.Unlock()
		}
		return err
	}
	return a.commit(context.WithoutCancel(ctx), func(now *document) *document { // the code is spent
		next := *doc
		if now != nil && now.Issuer == doc.Issuer {
			next = *now
		}
		next.Resource, next.TokenAt, next.RevokeAt, next.Token, next.Key = f.resource, f.meta.Token, f.meta.Revocation, t, doc.Key
		next.Asked = union(next.Asked, scopes)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.needed, a.wanted, a.found = nil, nil, &f
		return &next
	})
}

// enter makes the issuer that was found the one that counts, and returns its document. A token of another issuer does not count any more: the
// server does not name that one.
func (a *Authorizer) enter(ctx context.Context, f found) (*document, error) {
	doc := a.document()
	if doc == nil || doc.Issuer != f.meta.Issuer {
		var err error
		if doc, err = a.kept(ctx, f.meta.Issuer); err != nil {
			return nil, err
		}
		if doc == nil {
			doc = &document{Version: version, Endpoint: a.canonical(), Issuer: f.meta.Issuer, Resource: f.resource, TokenAt: f.meta.Token}
		}
	}
	if f.meta.bound() == (doc.Key != nil) && doc == a.document() {
		return doc, nil
	}
	next := *doc
	if next.Key == nil && f.meta.bound() {
		var err error
		if next.Key, err = newKey(); err != nil {
			return nil, err
		}
	}
	return &next, a.commit(ctx, func(now *document) *document {
		if now != nil && now.Issuer == next.Issuer { // it may have been renewed meanwhile
			with := *now
			with.Key = next.Key
			next = with
		}
		return &next
	})
}

// attempt lets the person sign in once, and keeps the registration that it needed, which it returns.
func (a *Authorizer) attempt(ctx context.Context, f found, kept *registration, key []byte, scopes []string) (*token, *registration, error) {
	if !f.meta.bound() {
		key = nil
	}
	t, reg, err := a.ask(ctx, f, kept, key, scopes, func(reg *registration) error {
		return a.commit(ctx, func(now *document) *document {
			if now == nil || now.Issuer != f.meta.Issuer {
				return nil
			}
			next := *now
			next.Registration = reg
			return &next
		})
	})
	if reg != nil && (errors.Is(err, errUnanswered) && reg == kept || refused(err, "invalid_client", "unauthorized_client")) {
		a.doubt(ctx, reg.Client)
	}
	return t, reg, err
}

// SignOut forgets the tokens and all else that is kept, and tells the authorization server if it wants to know. What is kept is gone before that;
// an authorization server that does not answer is noted. Errors: ctx's or the store's.
func (a *Authorizer) SignOut(ctx context.Context) error {
	if a.bad != nil {
		return nil
	}
	loaded := a.Load(ctx) // and if it cannot be read, it is still removed
	if err := a.lock(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	doc, issuer := a.doc, a.index.Issuer
	a.doc, a.index, a.needed, a.wanted, a.found, a.refused, a.nonce, a.demand = nil, index{}, nil, nil, nil, nil, nonce{}, demand{}
	a.mu.Unlock()
	errs := []error{loaded}
	for _, issuer := range slices.Compact([]string{issuer, ""}) {
		if err := a.o.Store.Remove(ctx, a.o.Server, issuer); err != nil && !errors.Is(err, ErrNothing) {
			errs = append(errs, fmt.Errorf("remove the sign-in of %q: %w", a.o.Server, err))
		}
	}
	a.unlock()
	if doc != nil && doc.Token != nil && doc.RevokeAt != "" {
		a.revoke(ctx, doc)
	}
	return errors.Join(errs...)
}

// revoke tells the authorization server that tokens are of no use any more (RFC 7009).
func (a *Authorizer) revoke(ctx context.Context, doc *document) {
	t := doc.Token
	secret, err := a.secretOf(ctx, t.Client)
	tokens := map[string]string{"access_token": t.Access}
	if t.Refresh != "" {
		tokens["refresh_token"] = t.Refresh
	}
	for _, hint := range slices.Backward(slices.Sorted(maps.Keys(tokens))) { // the refresh token first
		var got answer
		if err == nil {
			g := grant{endpoint: doc.RevokeAt, client: t.Client, secret: secret, form: url.Values{"token": {tokens[hint]}, "token_type_hint": {hint}}}
			if got, err = a.post(ctx, g); err == nil {
				err = refusalOf(got, g.secrets())
			}
		}
	}
	if err != nil {
		a.note("%s did not hear of the sign-out: %v", doc.Issuer, err)
	}
}
