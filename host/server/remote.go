package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/oauth"
	"cordon/host/pin"
	"cordon/host/remote"
	"cordon/host/secret"
	"cordon/host/tool"
	"cordon/sandbox"
)

// Remote servers: no program is started, nothing is confined. A connection stands for the process.

// byePatience is for a server to hear that a session is over.
const byePatience = 300 * time.Millisecond

// Connecting is the reason in the record of a remote server's start: it runs already.
const Connecting = "connecting"

// TierRemote is the tier of what runs on another computer.
const TierRemote sandbox.Tier = "remote"

// ErrNameless means that a remote server serves whoever calls, and nobody has accepted that.
var ErrNameless = errors.New("it does not want to know who calls, so everybody may call it and nobody vouches for it; allow that if it is meant to be so")

// login is how Cordon identifies itself to a remote server, and what that was made for.
type login struct {
	*oauth.Authorizer
	def      config.Server
	endpoint *url.URL
	client   *http.Client
}

// remoteFingerprint is what is known of a remote server before it says anything: where it is.
func remoteFingerprint(def config.Server) pin.Fingerprint {
	return pin.Fingerprint{Command: []string{def.URL}, BinaryPath: def.URL}
}

// loginOf returns the one of a definition. It is kept for as long as that stays as it is: it knows what was refused.
func (u *unit) loginOf(def config.Server) (*login, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l := u.login; l != nil && l.def.URL == def.URL && sameLogin(l.def, def) {
		return l, nil
	}
	endpoint, err := url.Parse(def.URL)
	if err != nil {
		return nil, err
	}
	client, err := remote.NewClient(endpoint, def.Rules())
	if err != nil {
		return nil, err
	}
	named := func(key string) func(context.Context) (string, error) {
		name := def.Secrets[key]
		if name == "" {
			return nil
		}
		return func(ctx context.Context) (string, error) { return u.secret(ctx, name, key) }
	}
	l, o := def.Login, u.s.o.SignIns
	o.Server, o.Endpoint, o.HTTP, o.Version, o.Note = u.name, endpoint, client, u.s.o.Version, u.note
	if browse := u.s.o.Browse; browse != nil {
		o.Browse = func(ctx context.Context, page string) error { return browse(ctx, u.name, page) }
	}
	o.Login = oauth.Login{Kind: oauth.Kind(l.Kind), ClientID: l.ClientID, Issuer: l.Issuer, Scopes: l.Scopes, Algorithm: l.Algorithm, Secret: named(config.LoginSecret),
		IdPClientID: l.IdPClientID, IdPTokenEndpoint: l.IdPTokenEndpoint, IdPIssuer: l.IdPIssuer, IdPToken: named(config.LoginToken)}
	u.login = &login{oauth.New(o), def, endpoint, client}
	return u.login, nil
}

func sameLogin(a, b config.Server) bool {
	return reflect.DeepEqual(a.Login, b.Login) && slices.Equal(a.Private, b.Private) && a.Secrets[config.LoginSecret] == b.Secrets[config.LoginSecret] && a.Secrets[config.LoginToken] == b.Secrets[config.LoginToken]
}

// secret returns one of this server's and records that it was used.
func (u *unit) secret(ctx context.Context, name, key string) (string, error) {
	v, err := u.s.o.Secrets.Get(ctx, secret.Ref{Name: name, Server: u.name, Env: key})
	if err != nil {
		return "", fmt.Errorf("secret %q for %s: %w", name, key, err)
	}
	u.record(audit.Event{Kind: audit.SecretUse, Facts: map[string]string{"secret": name, "env": key}})
	return v.Reveal(), nil
}

// headers are what goes with every request, keys among it.
func (u *unit) headers(ctx context.Context, def config.Server) (map[string]string, error) {
	all := map[string]string{}
	for name, value := range def.Headers {
		all[http.CanonicalHeaderKey(name)] = value
	}
	for key, name := range def.Secrets {
		if key == config.LoginSecret || key == config.LoginToken {
			continue
		}
		value, err := u.secret(ctx, name, key)
		if err != nil {
			return nil, err
		}
		value = strings.TrimSpace(value)
		if strings.EqualFold(key, "Authorization") && !strings.Contains(value, " ") {
			value = "Bearer " + value // which is how keys are meant, and rarely how they are written down
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			return nil, fmt.Errorf("secret %q cannot stand in the header %s: it holds more than visible ASCII", name, key)
		}
		all[http.CanonicalHeaderKey(key)] = value
	}
	return all, nil
}

// connectOnce is runOnce for a remote server.
func (u *unit) connectOnce(ctx context.Context, def config.Server, ready func()) (err error) {
	auth, err := u.loginOf(def)
	if err != nil {
		return &startError{err}
	}
	headers, err := u.headers(ctx, def)
	if err != nil {
		return &startError{err}
	}
	if u.s.o.SignIns.Store != nil {
		if err := auth.Load(ctx); err != nil {
			return &startError{fmt.Errorf("%s: %w", u.name, err)}
		}
	}
	guard := u.newGuard()
	guard.Headers = true
	o := remote.Options{Endpoint: auth.endpoint, HTTP: auth.client, Guard: guard.Guard, Headers: headers, Version: u.s.o.Version, Final: needsPerson}
	if u.s.o.SignIns.Store != nil && headers["Authorization"] == "" { // a key takes the place of signing in
		o.Auth = auth
	}
	switch st := auth.Status(); {
	case st.SignedIn:
		u.step(StepIdentity, "signed in at "+st.Issuer)
	case len(headers) > 0:
		u.step(StepIdentity, many(len(headers), "header")+" with a key or the like")
	case def.Login.Kind != "":
		u.step(StepIdentity, "by "+def.Login.Kind)
	default:
		u.step(StepIdentity, "nobody is signed in")
	}
	o.SSE = def.SSE
	for key := range def.Secrets {
		o.Keys = o.Keys || key != config.LoginSecret && key != config.LoginToken
	}
	conn := remote.Open(o)
	with := u.elsewhere(conn, def)
	began := time.Now()
	u.mu.Lock()
	u.with, u.files, u.started = with, files{def: def, fingerprint: remoteFingerprint(def)}, remoteFingerprint(def)
	u.mu.Unlock()
	u.update(func(v *View) { v.Pid, v.Limited, v.Report = 0, false, sandbox.Report{Tier: TierRemote} })
	_, err = u.s.o.Audit.Append(audit.Event{Kind: audit.ServerStart, Server: u.name, Reason: Connecting, Facts: map[string]string{"url": def.URL, "tier": string(TierRemote)}})
	if err == nil {
		err = u.serve(ctx, with, guard, def, ready)
	}
	_ = conn.Close()
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byePatience) // whoever stops everything does not wait for it
	conn.Bye(bye)
	cancel()
	auth.client.CloseIdleConnections()
	with.drain.Wait()
	u.mu.Lock()
	u.session, u.with = nil, nil
	u.mu.Unlock()
	u.record(audit.Event{Kind: audit.ServerStop, Reason: with.how(), Took: time.Since(began), Facts: map[string]string{"url": def.URL}})
	cause := conn.Err()
	switch {
	case ctx.Err() != nil:
		return nil
	case needsPerson(cause):
		return &startError{fmt.Errorf("%s: %w", u.name, cause)}
	case errors.Is(err, errEnded):
		return fmt.Errorf("%s %s", u.name, with.how())
	}
	return err
}

// needsPerson reports whether an error means that nothing goes on before somebody signs in, or enters how it is done without.
func needsPerson(err error) bool {
	needed, ok := errors.AsType[*oauth.SignInNeeded](err)
	return ok && !needed.StepUp || errors.Is(err, oauth.ErrNoPerson)
}

// elsewhere is the peer of a connection.
func (u *unit) elsewhere(conn *remote.Conn, def config.Server) *peer {
	return &peer{lines: conn, in: conn, gone: conn.Done(), kill: func() { _ = conn.Close() }, drain: new(sync.WaitGroup), words: func() string { return "" },
		how: func() string {
			if err := conn.Err(); err != nil {
				return "ended the connection: " + err.Error()
			}
			return "was disconnected"
		},
		listed: func(tools []tool.Tool) error {
			if conn.Nameless() && !def.Open {
				return &startError{fmt.Errorf("%s: %w", u.name, ErrNameless)}
			}
			headers := map[string][]tool.Header{}
			for _, t := range tools {
				if hs, err := tool.Headers(t.InputSchema); err == nil && len(hs) > 0 {
					headers[t.ID.Name] = hs
				}
			}
			conn.Offer(headers)
			return nil
		}}
}

// SignIn lets the person sign in to a remote server, in the browser, and connects to it. It blocks until that is done, refused, or ctx ends.
func (s *Supervisor) SignIn(ctx context.Context, name string) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	def := u.def
	u.mu.Unlock()
	if !def.Remote() {
		return fmt.Errorf("%s runs on this computer: nobody signs in to it", name)
	}
	a, err := u.loginOf(def)
	if err != nil {
		return err
	}
	err = a.SignIn(ctx)
	st := a.Status()
	e := audit.Event{Kind: audit.ServerSignIn, Decision: audit.YouAllowed, Facts: map[string]string{"url": def.URL, "issuer": st.Issuer, "scopes": strings.Join(st.Scopes, " ")}}
	if err != nil {
		e.Decision, e.Reason = audit.Failed, err.Error()
	}
	u.record(e)
	s.o.Changed()
	if err != nil {
		return err
	}
	u.mu.Lock()
	running := u.view.State == Running
	u.mu.Unlock()
	if running { // it has got more access, and nothing else has changed
		return nil
	}
	return s.Start(ctx, name)
}

// SignOut forgets how Cordon was signed in to a remote server and ends the connection.
func (s *Supervisor) SignOut(ctx context.Context, name string) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	def := u.def
	u.mu.Unlock()
	if !def.Remote() {
		return nil
	}
	a, err := u.loginOf(def)
	if err != nil {
		return err
	}
	u.stop(ctx)
	st := a.Status()
	err = a.SignOut(ctx)
	e := audit.Event{Kind: audit.ServerSignOut, Decision: audit.YouAllowed, Facts: map[string]string{"url": def.URL, "issuer": st.Issuer}}
	if err != nil {
		e.Decision, e.Reason = audit.Failed, err.Error()
	}
	u.record(e)
	s.o.Changed()
	return err
}

// signedIn is how it stands with a remote server's login; nil for others, and before the first connection.
func (u *unit) signedIn() *oauth.Status {
	u.mu.Lock()
	l := u.login
	u.mu.Unlock()
	if l == nil {
		return nil
	}
	st := l.Status()
	return &st
}
