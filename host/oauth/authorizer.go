package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Authorizer signs the requests to one server. It is safe for concurrent use. Nothing has to be closed: what it has begun ends within a
// minute of its last call, SignIn when it returns.
type Authorizer struct {
	o             Options
	http          *http.Client
	bad           error // why there can be no sign-in at all, nil if there can
	local, inside bool  // where the endpoint is: on this machine, or in the network around it

	writing chan struct{} // held while what is kept changes
	signing chan struct{} // held by SignIn

	mu         sync.Mutex
	loaded     bool          // guarded by mu, as is all that follows
	index      index         // as it is kept
	doc        *document     // that counts, nil if there is none
	demand     demand        // the server's last
	found      *found        // what the last discovery ended with
	needed     *SignInNeeded // what waits for a person, nil if nothing does
	neededBy   string        // what the server demanded then
	wanted     []string      // scopes of a step-up that waits
	refused    error         // why a grant without a person was refused
	refusedAt  time.Time     // when
	nonce      nonce         // for proofs at the server
	nonceAt    string        // origin of an authorization server, and
	nonceThere string        // the nonce for proofs there
	flying     *flight       // what is under way for all who wait
}

// New returns an Authorizer that has talked to nobody yet. What is wrong with o is said when a sign-in is needed.
func New(o Options) *Authorizer {
	a := &Authorizer{o: o, writing: make(chan struct{}, 1), signing: make(chan struct{}, 1)}
	if o.HTTP != nil {
		c := *o.HTTP
		c.Jar, c.CheckRedirect = nil, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		a.http = &c
	}
	switch e := o.Endpoint; {
	case e == nil || o.HTTP == nil || o.Store == nil:
		a.bad = errors.New("there is no endpoint, no HTTP client or no store")
		a.o.Endpoint = &url.URL{}
	case e.Scheme != "https" && !(e.Scheme == "http" && loopback(e)) || e.Host == "":
		a.bad = errors.New("one signs in over https only, or over http on this machine")
	case !slices.Contains([]Kind{Browser, ClientSecret, PrivateKey, Enterprise, Workload}, o.Login.Kind):
		a.bad = fmt.Errorf("one cannot sign in by %.40q", o.Login.Kind)
	case o.Login.ClientID == "" && slices.Contains([]Kind{ClientSecret, PrivateKey, Enterprise}, o.Login.Kind):
		a.bad = fmt.Errorf("to sign in by %s, the definition needs a client id", o.Login.Kind)
	default:
		a.local, a.inside = loopback(e), inside(e)
		_, a.bad = checkScopes(o.Login.Scopes)
	}
	return a
}

// String names the server, and nothing else.
func (a *Authorizer) String() string { return fmt.Sprintf("sign-in of %q", a.o.Server) }

// Format does what String does, for every verb and flag.
func (a *Authorizer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(a.String())) }

func (a *Authorizer) now() time.Time {
	if a.o.Now != nil {
		return a.o.Now()
	}
	return time.Now()
}

func (a *Authorizer) note(format string, args ...any) {
	if a.o.Note != nil {
		a.o.Note(format, args...)
	}
}

// ours returns ErrOrigin unless a request leads to the endpoint's origin.
func (a *Authorizer) ours(r *http.Request) error {
	if r.URL == nil || origin(r.URL) != origin(a.o.Endpoint) || r.URL.User != nil || r.Host != "" && !strings.EqualFold(r.Host, r.URL.Host) {
		return ErrOrigin
	}
	return nil
}

// Apply sets Authorization, and DPoP if the token is bound to a key, on a request to Endpoint, after renewing a token that is due. Without a
// token it changes nothing. Each request needs its own Apply, also one that is sent again. Errors: ErrOrigin, *SignInNeeded, the
// store's, or why the token could not be renewed. ctx ends the waiting; a renewal goes on, because a refresh token may be spent
// once only.
func (a *Authorizer) Apply(ctx context.Context, r *http.Request) error {
	if err := a.ours(r); err != nil {
		return err
	}
	if a.bad != nil {
		return nil // there is no token, and Challenged says why
	}
	if err := a.Load(ctx); err != nil {
		return err
	}
	doc := a.document()
	if doc == nil || doc.Token == nil {
		return nil
	}
	if t := doc.Token; t.due(a.now()) && (t.Refresh != "" || a.o.Login.Kind != Browser) {
		if err := a.share(ctx, "due "+t.Access, func(ctx context.Context) error { return a.renew(ctx, t.Access) }); err != nil {
			if _, person := errors.AsType[*SignInNeeded](err); person || ctx.Err() != nil || !a.now().Before(t.Expires) {
				return err
			}
			a.note("the token could not be renewed yet: %v", err)
		}
		if doc = a.document(); doc == nil || doc.Token == nil {
			return nil
		}
	}
	if !doc.Token.DPoP {
		r.Header.Set("Authorization", "Bearer "+doc.Token.Access)
		r.Header.Del("DPoP")
		return nil
	}
	a.mu.Lock()
	nonce := a.nonce.value
	a.mu.Unlock()
	p, err := a.proof(doc.Key, r.Method, r.URL, doc.Token.Access, nonce)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "DPoP "+doc.Token.Access)
	r.Header.Set("DPoP", p)
	return nil
}

// Challenged takes an answer with the status 401, 403 or 400 to a request that Apply was called for. again: apply and send the request once
// more; there is a newer token, or a nonce. The caller does so a few times at most. False and nil: the answer is not about
// authorization. Errors: *SignInNeeded, ErrScope, ErrOrigin, *refusal's text, or why it cannot be done. It opens no browser, does
// not close the body, and asks the network nothing while a person is waited for.
func (a *Authorizer) Challenged(ctx context.Context, resp *http.Response) (again bool, err error) {
	if resp.Request == nil {
		return false, errors.New("the answer belongs to no request")
	}
	if err := a.ours(resp.Request); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusBadRequest {
		return false, nil
	}
	_, sent, _ := strings.Cut(resp.Request.Header.Get("Authorization"), " ")
	d, err := demanded(resp.Header, sent)
	if err != nil {
		a.note("what the server demands is not used: %v", err)
	}
	if a.bad != nil {
		if resp.StatusCode == http.StatusUnauthorized {
			return false, a.bad
		}
		return false, nil
	}
	if err := a.Load(ctx); err != nil {
		return false, err
	}
	doc := a.document()
	var t *token
	if doc != nil {
		t = doc.Token
	}
	scoped := d.code == "insufficient_scope" && sent != ""
	switch {
	case d.code == "use_dpop_nonce":
		return a.renonce(resp)
	case resp.StatusCode == http.StatusForbidden && d.code != "insufficient_scope" && d.code != "invalid_token",
		resp.StatusCode == http.StatusBadRequest && d.code != "invalid_token" && !scoped:
		return false, nil
	case t != nil && t.Access != sent:
		return true, nil // it came meanwhile
	case scoped && t != nil:
		return a.stepUp(ctx, d, doc)
	}
	a.mu.Lock()
	a.demand = d
	needed := a.needed
	if needed != nil && (t != nil || needed.StepUp || a.neededBy != d.key()) {
		needed = nil
	}
	a.mu.Unlock()
	if needed != nil {
		return false, needed
	}
	if err := a.share(ctx, "refused "+sent+" "+d.key(), func(ctx context.Context) error { return a.refusedToken(ctx, d, sent) }); err != nil {
		return false, err
	}
	return true, nil
}

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
		return a.machine(ctx, f, union(d.scopes, a.o.Login.Scopes), sent)
	}
	if err := f.meta.interactive(); err != nil {
		return err
	}
	why := "nobody has signed in yet"
	switch {
	case t == nil && doc != nil:
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
		if _, person := errors.AsType[*SignInNeeded](err); !person {
			return err
		}
		why = err.(*SignInNeeded).Why //nolint:errorlint // it is not wrapped
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
	if slices.Contains(f.meta.Scopes, "offline_access") {
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
		return false, fmt.Errorf("%w: the server wants %s, which was already asked for", ErrScope, strings.Join(d.scopes, " "))
	}
	want := union(doc.Asked, t.Asked, t.Scopes, a.o.Login.Scopes, d.scopes)
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
	a.demand, a.wanted = d, union(a.wanted, want)
	a.needed = &SignInNeeded{Issuer: doc.Issuer, Scopes: a.wanted, StepUp: true, Why: "the server wants to be allowed more: " + strings.Join(d.scopes, " ")}
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
	if scopes == nil {
		scopes = f.scopes
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

// flight is what one goroutine does for all who wait for it.
type flight struct {
	key  string
	done chan struct{}
	err  error // read it after done
}

// share runs fn, or waits for the same that runs already. One runs at a time. ctx ends the waiting only; fn has its own minute.
func (a *Authorizer) share(ctx context.Context, key string, fn func(ctx context.Context) error) error {
	for {
		a.mu.Lock()
		f := a.flying
		if f == nil {
			f = &flight{key: key, done: make(chan struct{})}
			a.flying = f
			go func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime)
				defer cancel()
				f.err = fn(ctx)
				a.mu.Lock()
				a.flying = nil
				a.mu.Unlock()
				close(f.done)
			}()
		}
		a.mu.Unlock()
		select {
		case <-f.done:
			if f.key == key {
				return f.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SignIn runs the authorization code flow in the person's browser, for what the server demanded last. Call it only because a person said so.
// It returns when the person is signed in, refuses or ctx ends, and after ten minutes at most. One runs at a time. Errors: ctx's,
// *refusal's text, or what is wrong; after any of them the sign-in before, if there was one, still counts.
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
	t, err := a.attempt(ctx, f, kept, doc.Key, scopes)
	if kept.usable(a.now()) && refused(err, "invalid_client", "unauthorized_client") { // it does not know us any more
		t, err = a.attempt(ctx, f, nil, doc.Key, scopes)
	}
	if err != nil {
		if refused(err, "invalid_scope") { // asking for the same again would end in the same way
			a.mu.Lock()
			a.wanted = nil
			a.mu.Unlock()
		}
		return err
	}
	return a.commit(ctx, func(now *document) *document {
		next := *doc
		if now != nil && now.Issuer == doc.Issuer {
			next = *now
		}
		next.Resource, next.TokenAt, next.RevokeAt, next.Token, next.Key = f.resource, f.meta.Token, f.meta.Revocation, t, doc.Key
		next.Asked = scopes
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

// attempt lets the person sign in once, and keeps the registration that it needed.
func (a *Authorizer) attempt(ctx context.Context, f found, kept *registration, key []byte, scopes []string) (*token, error) {
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
	return t, err
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

// Status returns how things stand, as far as they are loaded.
func (a *Authorizer) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Status{Wanted: slices.Clone(a.wanted)}
	if a.doc == nil {
		return s
	}
	s.Issuer = a.doc.Issuer
	if t := a.doc.Token; t != nil {
		s.SignedIn, s.Scopes, s.Expires, s.DPoP = true, slices.Clone(t.Scopes), t.Expires, t.DPoP
	}
	return s
}
