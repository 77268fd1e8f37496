package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// refusedToken gets a token in place of the one that was sent, "" if none was. nil: there is another one now.
func (a *Authorizer) refusedToken(ctx context.Context, d demand, sent string) error {
	doc := a.document()
	var t *token
	if doc != nil {
		t = doc.Token
	}
	if t != nil && t.Access != sent {
		return nil
	}
	f, err := a.discover(ctx, d)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.found = &f
	a.mu.Unlock()
	if a.o.Login.Kind != Browser {
		if t != nil && a.now().Sub(t.Obtained) < recently {
			return refusedAgain(d)
		}
		return a.machine(ctx, f, a.scopes(f, d), sent)
	}
	if err := f.meta.interactive(); err != nil {
		return err
	}
	why := "nobody has signed in yet"
	switch {
	case t == nil && doc != nil && doc.Asked != nil:
		why = "the sign-in has ended"
	case t == nil:
	case doc.Issuer != f.meta.Issuer:
		why = "the server has moved to another authorization server"
	case t.Refresh == "":
		why = "the sign-in has expired and cannot be renewed"
	case t.Renewed && a.now().Sub(t.Obtained) < recently:
		why = "the server does not take the token that was just renewed"
	default:
		err := a.refresh(ctx, sent)
		ended, person := errors.AsType[*SignInNeeded](err)
		if !person {
			return err
		}
		why = ended.Why
	}
	if t != nil {
		if err := a.forget(ctx, sent); err != nil {
			return err
		}
	}
	return a.need(d, &SignInNeeded{Issuer: f.meta.Issuer, Scopes: a.scopes(f, d), Why: why})
}

func refusedAgain(d demand) error {
	if d.text == "" {
		return errors.New("the server does not take a token that was made for it a moment ago")
	}
	return fmt.Errorf("the server does not take a token that was made for it a moment ago: %s", d.text)
}

// need remembers that a person is waited for, and returns it.
func (a *Authorizer) need(d demand, needed *SignInNeeded) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.needed, a.neededBy = needed, d.key()
	return needed
}

// scopes returns what a sign-in asks for: what the server demands, or else what it says it needs; what the definition and a step-up
// add, and what was asked for before at the same authorization server.
func (a *Authorizer) scopes(f found, d demand) []string {
	base := d.scopes
	if base == nil {
		base = f.scopes
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	all := union(base, a.o.Login.Scopes)
	if a.doc != nil && a.doc.Issuer == f.meta.Issuer {
		all = union(a.doc.Asked, all, a.wanted)
	}
	if a.o.Login.Kind == Browser && slices.Contains(f.meta.Scopes, "offline_access") {
		all = union(all, []string{"offline_access"})
	}
	return all
}

// stepUp deals with a token that may do too little.
func (a *Authorizer) stepUp(ctx context.Context, d demand, doc *document) (again bool, err error) {
	t := doc.Token
	switch {
	case len(d.scopes) == 0:
		return false, fmt.Errorf("%w: the server wants a token that may do more, and does not say what", ErrScope)
	case within(d.scopes, t.Asked):
		return false, fmt.Errorf("%w: the server wants %s, which was already asked for", ErrScope, printable(strings.Join(d.scopes, " ")))
	}
	a.mu.Lock()
	want := union(doc.Asked, t.Asked, t.Scopes, a.o.Login.Scopes, a.wanted, d.scopes)
	a.mu.Unlock()
	if len(want) > maxScopes {
		return false, fmt.Errorf("%w: the server has wanted more than %d scopes", ErrScope, maxScopes)
	}
	if a.o.Login.Kind != Browser {
		err := a.share(ctx, "more "+t.Access+" "+d.key(), func(ctx context.Context) error {
			f, err := a.known(ctx)
			if err != nil {
				return err
			}
			return a.machine(ctx, f, want, t.Access)
		})
		return err == nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.doc != doc {
		return true, nil // it came meanwhile
	}
	a.demand, a.wanted = d, want
	a.needed = &SignInNeeded{Issuer: doc.Issuer, Scopes: want, StepUp: true, Why: "the server wants to be allowed more: " + printable(strings.Join(d.scopes, " "))}
	return false, a.needed
}

// known returns what discovery found last.
func (a *Authorizer) known(ctx context.Context) (found, error) {
	a.mu.Lock()
	f, d := a.found, a.demand
	a.mu.Unlock()
	if f != nil {
		return *f, nil
	}
	return a.discover(ctx, d)
}

// renew replaces a token that is due. It does nothing if another has taken its place.
func (a *Authorizer) renew(ctx context.Context, spent string) error {
	if a.o.Login.Kind == Browser {
		return a.refresh(ctx, spent)
	}
	doc := a.document()
	if doc == nil || doc.Token == nil || doc.Token.Access != spent {
		return nil
	}
	f, err := a.known(ctx)
	if err != nil {
		return err
	}
	return a.machine(ctx, f, doc.Token.Asked, spent)
}

// machine gets a token without a person, in place of spent. A refusal is remembered for a while.
func (a *Authorizer) machine(ctx context.Context, f found, scopes []string, spent string) error {
	doc := a.document()
	if doc != nil && doc.Token != nil && doc.Token.Access != spent {
		return nil
	}
	a.mu.Lock()
	refused, at := a.refused, a.refusedAt
	a.mu.Unlock()
	if refused != nil && a.now().Sub(at) < recently {
		return refused
	}
	if err := a.claim(ctx, f.meta.Issuer); err != nil {
		return err
	}
	next := document{Version: version, Endpoint: a.canonical(), Issuer: f.meta.Issuer, Resource: f.resource, TokenAt: f.meta.Token, RevokeAt: f.meta.Revocation}
	var err error
	if f.meta.bound() {
		if doc != nil && doc.Issuer == f.meta.Issuer && doc.Key != nil {
			next.Key = doc.Key
		} else if next.Key, err = newKey(); err != nil {
			return err
		}
	}
	t, err := a.grant(ctx, f, next.Key, scopes)
	if _, ok := errors.AsType[*refusal](err); ok {
		a.mu.Lock()
		a.refused, a.refusedAt = err, a.now()
		a.mu.Unlock()
	}
	if err != nil {
		return err
	}
	t.Refresh = "" // it is had again in the same way
	next.Token = t
	return a.commit(ctx, func(*document) *document { return &next })
}

// refresh renews the token spent. nil: there is another one now. After a refusal both halves are forgotten: *SignInNeeded.
func (a *Authorizer) refresh(ctx context.Context, spent string) error {
	doc := a.document()
	if doc == nil || doc.Token == nil || doc.Token.Access != spent {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime) // what came before must not cut short what can be done once only
	defer cancel()
	old := doc.Token
	secret, err := a.secretOf(ctx, old.Client)
	if err != nil {
		return err
	}
	t, err := a.exchange(ctx, grant{endpoint: doc.TokenAt, client: old.Client, secret: secret, key: doc.Key, scopes: old.Scopes,
		form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}, "resource": {doc.Resource}}})
	if refused(err, "invalid_grant", "invalid_client", "unauthorized_client") {
		if refused(err, "invalid_client") {
			a.doubt(ctx, old.Client)
		}
		if err := a.forget(ctx, spent); err != nil {
			return err
		}
		return &SignInNeeded{Issuer: doc.Issuer, Scopes: doc.Asked, Why: "the sign-in has expired and cannot be renewed: " + err.Error()}
	}
	if err != nil {
		return fmt.Errorf("renew the token: %w", err)
	}
	if old.DPoP && !t.DPoP {
		return errors.New("renew the token: the new one would not be bound to our key any more")
	}
	t.Renewed, t.Asked = true, old.Asked
	if t.Refresh == "" {
		t.Refresh = old.Refresh
	}
	return a.commit(ctx, func(now *document) *document {
		if now == nil || now.Token != old {
			return nil // signed in anew, or out
		}
		next := *now
		next.Token = t
		return &next
	})
}

// forget lets go of the token spent.
func (a *Authorizer) forget(ctx context.Context, spent string) error {
	return a.commit(ctx, func(old *document) *document {
		if old == nil || old.Token == nil || old.Token.Access != spent {
			return nil
		}
		next := *old
		next.Token = nil
		return &next
	})
}

// doubt keeps a registration from being used again.
func (a *Authorizer) doubt(ctx context.Context, c client) {
	err := a.commit(context.WithoutCancel(ctx), func(old *document) *document {
		if old == nil || old.Registration == nil || old.Registration.Client.ID != c.ID {
			return nil
		}
		next, reg := *old, *old.Registration
		reg.Doubtful, next.Registration = true, &reg
		return &next
	})
	if err != nil {
		a.note("the registration is kept: %v", err)
	}
}
