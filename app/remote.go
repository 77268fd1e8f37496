package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cordon/host/config"
	"cordon/host/elicit"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/host/tool"
)

// Remote servers: adding one, signing in, and what servers offer besides tools.

// AddRemote defines a remote server and connects to it.
func (a *App) AddRemote(n NewRemote) error {
	u, err := url.Parse(strings.TrimSpace(n.URL))
	if err != nil {
		return errors.New("that is no address")
	}
	def := config.Server{Name: n.Name, Source: "url", URL: u.String(), Net: config.NetNone, Private: n.Private,
		Login: config.Login{ClientID: n.ClientID, Issuer: n.Issuer, Scopes: n.Scopes, Kind: n.Login, IdPTokenEndpoint: n.IdPTokenEndpoint, IdPClientID: n.IdPClientID}}
	if err := a.host.AddServer(def); err != nil {
		return err
	}
	undo := func(err error) error { return errors.Join(err, a.host.RemoveServer(a.ctx, n.Name)) }
	for _, s := range []struct{ name, env, value string }{{"key", n.Header, n.Key}, {"login", config.LoginSecret, n.Secret}, {"id-token", config.LoginToken, n.IdPToken}} {
		if s.env == "" || s.value == "" {
			continue
		}
		if err := a.host.SetSecret(a.ctx, secret.Ref{Name: s.name, Server: n.Name, Env: s.env}, secret.NewValue(s.value)); err != nil {
			return undo(err)
		}
	}
	a.running.Go(func() { _ = a.host.Servers.Start(a.ctx, n.Name) })
	return nil
}

// SignIn lets the person sign in to a remote server: it shows the page that is going to be opened, waits for the browser, and connects. CancelProgress
// with the server's name ends it.
func (a *App) SignIn(name string) error {
	ctx, done, err := a.cancellable(a.progress, signInID(name))
	if err != nil {
		return err
	}
	defer done()
	if err := a.host.Servers.SignIn(ctx, name); err != nil {
		return signInFailure(err)
	}
	return nil
}

// signInFailure is FailureOf for a sign-in that came to nothing.
func signInFailure(err error) *Failure {
	f := FailureOf(err)
	switch {
	case strings.HasSuffix(err.Error(), unopened):
		f.Code, f.What, f.Means, f.Fix = "CRD-NET-04", "The page was not opened.", "Nobody has signed in; nothing else has changed.", "Press Sign in when you want to."
	case f.Code == "CRD-GEN-01":
		f.Code, f.Means, f.Fix = "CRD-NET-04", "Signing in came to nothing; what was there before still counts.", "Try again. If it happens again, look at the notes below."
	case f.Code == "CRD-NET-01": // it was just tried
		f.Fix = "Sign in again; if it keeps asking, ask its operator."
	}
	return &f
}

func signInID(name string) string { return "sign in " + name }

// SignOut forgets how one is signed in to a remote server.
func (a *App) SignOut(name string) error { return a.host.Servers.SignOut(a.ctx, name) }

// SetOpen lets a remote server serve without knowing who calls, and connects to it if it was left for that; or takes that back.
func (a *App) SetOpen(name string, open bool) error {
	v, err := a.host.Servers.View(name)
	if err != nil {
		return err
	}
	if err := a.host.SetOpen(a.ctx, name, open); err != nil || !open || !errors.Is(v.Err, server.ErrNameless) {
		return err
	}
	return a.StartServer(name)
}

// unopened is what a sign-in ends with whose page a person did not want.
const unopened = "the page was not opened"

// showPage asks the person to open the page on which one signs in, and returns when it is open.
func (a *App) showPage(ctx context.Context, name, address string) error {
	q, err := elicit.Page(name, fmt.Sprintf("You sign in to %s on the page of the host below. When you have, the page leads back to Cordon.", name), address)
	if err != nil {
		return err
	}
	if answer := a.forms.Ask(ctx, q); answer.Action != elicit.Accept {
		return errors.New(unopened)
	}
	return nil
}

func remoteView(v server.View) *RemoteView {
	if !v.Def.Remote() {
		return nil
	}
	r := &RemoteView{URL: v.Def.URL, Open: v.Def.Open, Login: v.Def.Login.Kind, Nameless: errors.Is(v.Err, server.ErrNameless), Scopes: []string{}, Wanted: []string{}, Private: list(v.Def.Private)}
	if st := v.Login; st != nil {
		r.SignedIn, r.Issuer, r.Scopes, r.Wanted, r.Expires, r.Bound = st.SignedIn, st.Issuer, list(st.Scopes), list(st.Wanted), stamp(st.Expires), st.DPoP
	}
	return r
}

// Resources lists what a running server lets be read.
func (a *App) Resources(name string) ([]ResourceView, error) {
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	all, err := a.host.Resources(ctx, name)
	if err != nil {
		return nil, err
	}
	out := make([]ResourceView, 0, len(all))
	for _, r := range all {
		v := ResourceView{URI: r.URI, Template: r.Template, Name: r.Name, Title: r.Title, Description: r.Description, MIME: r.MIME, Size: r.Size, Variables: []string{}}
		if r.Template != "" {
			v.Variables = list(server.Variables(r.Template))
		}
		out = append(out, v)
	}
	return out, nil
}

// Icons returns the icons of an approved server and of what it offers, of resources once they were listed.
func (a *App) Icons(name string) ([]IconView, error) {
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	all, err := a.host.Icons(ctx, name)
	a.changed() // what is no icon has become a finding
	if err != nil {
		return nil, err
	}
	png := func(b []byte) string {
		if b == nil {
			return ""
		}
		return "data:image/png;base64," + base64.StdEncoding.EncodeToString(b)
	}
	out := make([]IconView, 0, len(all))
	for _, i := range all {
		out = append(out, IconView{i.Of, i.Name, png(i.Light), png(i.Dark)})
	}
	return out, nil
}

const patience = 20 * time.Second // for a server to list something, or to complete a word

// ExpandTemplate fills a resource template in.
func (a *App) ExpandTemplate(template string, values map[string]string) (string, error) {
	uri, err := server.Expand(template, values)
	if err != nil {
		return "", fmt.Errorf("with these values it is no address: %w", err)
	}
	return uri, nil
}

// Complete asks an approved server to complete what is typed. Nothing that holds a secret is sent.
func (a *App) Complete(r CompleteRequest) ([]string, error) {
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	return a.host.Complete(ctx, r.Server, server.Ref{Prompt: r.Prompt, Template: r.Template}, r.Argument, r.Value, r.Others)
}

// AwaitChange returns when an approved server says that a resource has changed, or with an error: it does not tell, or CancelCall ended the ticket.
func (a *App) AwaitChange(ticket, name, uri string) error {
	ctx, done, err := a.ticket(ticket)
	if err != nil {
		return err
	}
	defer done()
	changed := make(chan struct{}, 1)
	err = a.host.Watch(ctx, name, uri, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CancelTask tells a server that nobody wants the result of a task any more.
func (a *App) CancelTask(name, id string) error { return a.host.CancelTask(a.ctx, name, id) }

// progressed tells the page how a call goes.
func (a *App) progressed(p tool.Progress) {
	if p.Ticket == "" {
		return
	}
	a.emit(EventCall, CallProgress{Ticket: p.Ticket, Server: p.Server, Done: p.Done, Total: p.Total, Text: p.Text})
}
