package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/oauth"
	"cordon/host/secret"
	"cordon/host/server"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What signing in to remote servers leaves behind lies in the keyring: an entry for each server and issuer, and one for each server that lists
// its issuers. Their names hold a colon, which no name that a person gives has.

const (
	loginEntry = "oauth:" // and the hash of the issuer
	loginIndex = "oauth::issuers"
	minToken   = 16 // bytes of what is taken for a token in other texts
)

// logins implements oauth.Store over the keyring.
type logins struct {
	s  *secret.Store
	mu sync.Mutex // held while the list of issuers is changed
}

func loginRef(server, issuer string) secret.Ref {
	sum := sha256.Sum256([]byte(issuer))
	return secret.Ref{Name: loginEntry + hex.EncodeToString(sum[:8]), Server: server}
}

// Load implements oauth.Store.
func (l *logins) Load(ctx context.Context, server, issuer string) ([]byte, error) {
	ref := loginRef(server, issuer)
	v, err := l.s.Get(ctx, ref)
	if errors.Is(err, secret.ErrNotFound) || errors.Is(err, secret.ErrAbsent) { // where there is no keyring, nothing can have been kept
		return nil, oauth.ErrNothing
	}
	if err != nil {
		return nil, err
	}
	doc := []byte(v.Reveal())
	l.s.Know(ref, tokens(doc)...)
	return doc, nil
}

// Save implements oauth.Store.
func (l *logins) Save(ctx context.Context, server, issuer string, doc []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	issuers, err := l.issuers(ctx, server)
	if err != nil {
		return err
	}
	if !slices.Contains(issuers, issuer) { // first: what is listed is found again
		if err := l.list(ctx, server, append(issuers, issuer)); err != nil {
			return err
		}
	}
	ref := loginRef(server, issuer)
	l.s.Know(ref, tokens(doc)...)
	return l.s.Set(ctx, ref, secret.NewValue(string(doc)))
}

// Remove implements oauth.Store.
func (l *logins) Remove(ctx context.Context, server, issuer string) error {
	err := l.s.Remove(ctx, loginRef(server, issuer))
	if errors.Is(err, secret.ErrNotFound) {
		return oauth.ErrNothing
	}
	return err
}

func (l *logins) issuers(ctx context.Context, server string) (all []string, err error) {
	ref := secret.Ref{Name: loginIndex, Server: server}
	l.s.Know(ref) // nothing of it
	v, err := l.s.Get(ctx, ref)
	if errors.Is(err, secret.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(v.Reveal()), &all)
	}
	return all, err
}

func (l *logins) list(ctx context.Context, server string, issuers []string) error {
	text, err := json.Marshal(issuers)
	if err != nil {
		return err
	}
	return l.s.Set(ctx, secret.Ref{Name: loginIndex, Server: server}, secret.NewValue(string(text)))
}

// known reads what is kept for a server, so that its tokens are recognised wherever they turn up.
func (l *logins) known(ctx context.Context, server string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	issuers, err := l.issuers(ctx, server)
	for _, issuer := range issuers {
		if _, e := l.Load(ctx, server, issuer); e != nil && !errors.Is(e, oauth.ErrNothing) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// forget removes all that is kept for a server.
func (l *logins) forget(ctx context.Context, server string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	issuers, err := l.issuers(ctx, server)
	if err != nil || len(issuers) == 0 {
		return err
	}
	for _, issuer := range issuers {
		if e := l.Remove(ctx, server, issuer); e != nil && !errors.Is(e, oauth.ErrNothing) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("how you are signed in stays in the keyring: %w", err)
	}
	err = l.s.Remove(ctx, secret.Ref{Name: loginIndex, Server: server})
	if errors.Is(err, secret.ErrNotFound) {
		err = nil
	}
	return err
}

// secretMembers are those of a document that hold tokens, secrets and keys.
var secretMembers = []string{"access", "refresh", "secret", "key"}

// ordinaryRE knows what stands in other texts too: names of hosts, paths, media types, words. An authorization server chooses its tokens, and must not
// choose what an analyst sees of what others say.
var ordinaryRE = regexp.MustCompile(`^([A-Za-z]+|[a-z0-9-]+(\.[a-z0-9-]+)+|[A-Za-z0-9.:\\_-]*[/\\][a-z0-9./\\_+-]*|[0-9:.TZ+-]+)$`)

// tokens finds in a document what must not turn up elsewhere.
func tokens(doc []byte) (all []string) {
	member := ""
	dec := jsontext.NewDecoder(strings.NewReader(string(doc)))
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return all
		}
		parent, n := dec.StackIndex(dec.StackDepth())
		if tok.Kind() != '"' || parent != '{' {
			continue
		}
		if n%2 != 0 {
			member = tok.String()
			continue
		}
		if text := tok.String(); slices.Contains(secretMembers, member) && len(text) >= minToken && !ordinaryRE.MatchString(text) {
			all = append(all, text)
		}
	}
}

// ChangeRemote replaces the definition of a remote server: how one signs in to it, what is sent with each request, whether it may serve
// whoever calls. Where it is stays as it is. It is recorded first, and what cannot be recorded is not done. A connection is made anew.
func (h *Host) ChangeRemote(ctx context.Context, def config.Server) error {
	err := h.edit(func(c *config.Config) error {
		i := slices.IndexFunc(c.Servers, func(s config.Server) bool { return s.Name == def.Name })
		if i < 0 {
			return fmt.Errorf("%w: %q", server.ErrUnknown, def.Name)
		}
		before := c.Servers[i]
		if !before.Remote() || before.URL != def.URL {
			return fmt.Errorf("%s stays where it is; add another server for another address", def.Name)
		}
		c.Servers[i] = def
		e := audit.Event{Kind: audit.ServerGrant, Server: def.Name, Decision: audit.YouAllowed, Reason: "another way to identify Cordon", Facts: map[string]string{"url": def.URL}}
		switch {
		case def.Open && !before.Open:
			e.Reason = "it may serve whoever calls"
		case before.Open && !def.Open:
			e.Reason = "it has to know who calls"
		}
		_, err := h.Append(e)
		return err
	})
	if err != nil {
		return err
	}
	h.Servers.Set(def)
	h.o.Changed()
	return h.Servers.Reload(ctx, def.Name)
}

// SetOpen records whether a person accepts that a remote server serves whoever calls. One that is connected is connected to anew: without that it is left if
// it does not want to know who calls.
func (h *Host) SetOpen(ctx context.Context, name string, open bool) error {
	def, ok := h.Config().Server(name)
	switch {
	case !ok:
		return fmt.Errorf("%w: %q", server.ErrUnknown, name)
	case !def.Remote():
		return fmt.Errorf("%s runs on this computer: nobody else calls it", name)
	case def.Open == open:
		return nil
	}
	def.Open = open
	err := h.ChangeRemote(ctx, def)
	if !open && errors.Is(err, server.ErrNameless) { // which is what was wanted
		return nil
	}
	return err
}
