package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Authorizer signs the requests to one server. It is safe for concurrent use. Nothing has to be closed: a renewal that nobody waits for any
// more ends within two minutes, a sign-in when SignIn returns.
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
	case e.Scheme != "https" && !(e.Scheme == "http" && loopback(e)) || e.Host == "" || e.User != nil:
		a.bad = errors.New("one signs in over https only, or over http on this machine, without a name or password in the address")
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
// store's, or why the token could not be renewed. ctx ends the waiting; a renewal goes on, because a refresh token is spent by
// being sent.
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
// authorization. Errors: *SignInNeeded, ErrScope, ErrOrigin, or why it cannot be done, what the authorization server refuses included.
// It opens no browser, does not close the body, and asks the network nothing while a person is waited for.
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
