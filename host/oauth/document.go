package oauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// version of what is kept.
const version = 1

// document is what is kept of a server and an issuer. It is not changed once others may see it.
type document struct {
	Version      int           `json:"version"`
	Endpoint     string        `json:"endpoint"` // of the server; a document is for no other
	Issuer       string        `json:"issuer"`
	Resource     string        `json:"resource"`
	TokenAt      string        `json:"tokenAt"`
	RevokeAt     string        `json:"revokeAt,omitempty"`
	Registration *registration `json:"registration,omitempty"`
	Token        *token        `json:"token,omitempty"`
	Key          []byte        `json:"key,omitempty"`   // PKCS #8, that tokens are bound to
	Asked        []string      `json:"asked,omitempty"` // all scopes that were ever asked for with success
}

// Format writes "[secret]" for every verb and flag.
func (document) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// index is which document counts, and to whom the definition's own credentials went.
type index struct {
	Version  int    `json:"version"`
	Endpoint string `json:"endpoint"`
	Issuer   string `json:"issuer,omitempty"`
	Client   string `json:"client,omitempty"` // kind and id
	GoesTo   string `json:"goesTo,omitempty"` // the issuer that has seen the client; it is shown to no other
}

// lock waits for the right to change what is kept. The caller calls unlock.
func (a *Authorizer) lock(ctx context.Context) error {
	select {
	case a.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Authorizer) unlock() { <-a.writing }

// Load reads what is kept, once. Apply does it by itself; before it, Status knows nothing. Errors are the store's.
func (a *Authorizer) Load(ctx context.Context) error {
	if a.isLoaded() {
		return nil
	}
	if err := a.lock(ctx); err != nil {
		return err
	}
	defer a.unlock()
	if a.isLoaded() {
		return nil
	}
	var ix index
	if err := a.read(ctx, "", &ix); err != nil {
		return err
	}
	if ix.Version != version || ix.Endpoint != a.canonical() {
		ix = index{}
	}
	var doc *document
	if pin := a.o.Login.Issuer; ix.Issuer != "" && (pin == "" || pin == ix.Issuer) && a.o.Login.Kind == Browser {
		var err error
		if doc, err = a.kept(ctx, ix.Issuer); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.loaded, a.index, a.doc = true, ix, doc
	return nil
}

func (a *Authorizer) isLoaded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.loaded
}

// kept returns the document of an issuer, nil if there is none for this endpoint.
func (a *Authorizer) kept(ctx context.Context, issuer string) (*document, error) {
	var doc document
	if err := a.read(ctx, issuer, &doc); err != nil {
		return nil, err
	}
	if doc.Version != version || doc.Endpoint != a.canonical() || doc.Issuer != issuer {
		return nil, nil
	}
	if t := doc.Token; t != nil && !visible(t.Access, maxToken) {
		return nil, nil
	}
	return &doc, nil
}

// read reads into v what is kept for an issuer. What is not there, or cannot be understood, leaves it as it is.
func (a *Authorizer) read(ctx context.Context, issuer string, v any) error {
	b, err := a.o.Store.Load(ctx, a.o.Server, issuer)
	switch {
	case errors.Is(err, ErrNothing):
		return nil
	case err != nil:
		return fmt.Errorf("load the sign-in of %q: %w", a.o.Server, err)
	}
	if len(b) > maxDocument || json.Unmarshal(b, v, json.RejectUnknownMembers(true)) != nil {
		a.note("the sign-in that was kept cannot be read; it is not used")
		switch v := v.(type) { // nothing of the half that was read
		case *index:
			*v = index{}
		case *document:
			*v = document{}
		}
	}
	return nil
}

// save keeps v for an issuer. A failure is noted: what cannot be kept lasts until Cordon ends.
func (a *Authorizer) save(ctx context.Context, issuer string, v any) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err == nil {
		err = a.o.Store.Save(ctx, a.o.Server, issuer, b)
	}
	if err != nil {
		a.note("the sign-in could not be kept: %v", err)
	}
}

// commit changes what is known of the issuer that counts: change gets the document, which may be nil, and returns another, or nil to leave
// things as they are. What is kept is written before anybody sees it.
func (a *Authorizer) commit(ctx context.Context, change func(old *document) *document) error {
	if err := a.lock(ctx); err != nil {
		return err
	}
	defer a.unlock()
	old := a.document()
	next := change(old)
	if next == nil {
		return nil
	}
	a.mu.Lock()
	ix := a.index
	a.mu.Unlock()
	ix.Version, ix.Endpoint, ix.Issuer = version, a.canonical(), next.Issuer
	if a.o.Login.Kind == Browser { // other tokens can be had again at any time
		a.save(ctx, next.Issuer, next)
		if old == nil || old.Issuer != next.Issuer {
			a.save(ctx, "", ix)
		}
		if old != nil && old.Issuer != next.Issuer {
			if err := a.o.Store.Remove(ctx, a.o.Server, old.Issuer); err != nil && !errors.Is(err, ErrNothing) {
				a.note("what is kept of %s could not be removed: %v", old.Issuer, err)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doc, a.index = next, ix
	return nil
}

// document returns what counts now, nil if there is nothing.
func (a *Authorizer) document() *document {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.doc
}

// claim binds the definition's client to the first authorization server that sees it, unless the definition says which. A server that names
// another one later does not get its secret sent there.
func (a *Authorizer) claim(ctx context.Context, issuer string) error {
	login := a.o.Login
	if login.Issuer != "" || login.Kind == Browser && login.ClientID == "" {
		return nil // the issuer was compared already, or there is nothing to bind
	}
	if err := a.lock(ctx); err != nil {
		return err
	}
	defer a.unlock()
	a.mu.Lock()
	ix := a.index
	a.mu.Unlock()
	name := string(login.Kind) + " " + login.ClientID
	if ix.Client == name && ix.GoesTo == issuer {
		return nil
	}
	if ix.Client == name && ix.GoesTo != "" {
		return fmt.Errorf("the server names the authorization server %s now, and the client was made for %s; its definition has to say if that is right",
			issuer, ix.GoesTo)
	}
	ix.Version, ix.Endpoint, ix.Client, ix.GoesTo = version, a.canonical(), name, issuer
	a.save(ctx, "", ix)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index = ix
	return nil
}
