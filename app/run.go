package app

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"cordon/host/gate"
	"cordon/host/server"
	"cordon/host/tool"
)

// Call runs one tool, reads a resource or fetches a prompt. It returns when the call has ended, however that is; a refusal is a CallView, not an error.
func (a *App) Call(r CallRequest) (CallView, error) {
	ctx, done, err := a.ticket(r.Ticket)
	if err != nil {
		return CallView{}, err
	}
	defer done()
	res, err := a.host.Call(ctx, tool.Proposal{Kind: tool.Kind(r.Kind), Target: tool.ID{Server: r.Server, Name: r.Tool}, Args: []byte(r.Args), Ticket: r.Ticket,
		By: tool.Asker{Kind: "window", Name: "Run a tool", Conversation: "window"}, Wrote: tool.OriginUser})
	v := callView(r.Ticket, r.Server, res, err)
	if v.Failure != nil && a.needsMore(r.Server, err) {
		v.Failure.Code, v.Failure.Means, v.Failure.Fix = "CRD-NET-01", "It did not run: it needs more than you are signed in for.", "Open the server and sign in again; it says there what it wants."
	}
	return v, nil
}

// needsMore reports whether a call failed because the server wants to be allowed more. The connection answers for the server then, so that only its
// words are left of the error.
func (a *App) needsMore(name string, err error) bool {
	v, known := a.host.Servers.View(name)
	_, ok := errors.AsType[*server.ServerError](err)
	return known == nil && ok && v.Login != nil && len(v.Login.Wanted) > 0 && strings.Contains(err.Error(), "the server wants to be allowed more")
}

// CancelCall abandons a call: an open question is denied, a running tool is no longer waited for.
func (a *App) CancelCall(ticket string) error {
	a.mu.Lock()
	cancel := a.calls[ticket]
	a.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return nil
}

// ticket registers a cancellable call.
func (a *App) ticket(name string) (context.Context, func(), error) {
	if name == "" || len(name) > 100 {
		return nil, nil, errors.New("the ticket is missing")
	}
	return a.cancellable(a.calls, name)
}

// cancellable registers work in one of the maps of what can be cancelled, until the function returned is called.
func (a *App) cancellable(in map[string]context.CancelFunc, id string) (context.Context, func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return nil, nil, errors.New("everything is being stopped")
	}
	if in[id] != nil {
		return nil, nil, errors.New("that is under way already")
	}
	ctx, cancel := context.WithCancel(a.ctx)
	in[id] = cancel
	return ctx, func() {
		cancel()
		a.mu.Lock()
		delete(in, id)
		a.mu.Unlock()
	}, nil
}

// callFailure is serverFailure for a call: a server that answers with an error is running.
func callFailure(err error) *Failure {
	f := serverFailure(err)
	if _, ok := errors.AsType[*server.ServerError](err); ok && f.Code == "CRD-SRV-01" {
		f.Code, f.Means, f.Fix = "CRD-SRV-04", "The server answered with an error. What it had done by then is not known.", "Look at its log; correct what was sent, or run it again."
	}
	return f
}

func callView(ticket, name string, r tool.Result, err error) CallView {
	v := CallView{Ticket: ticket, CallID: r.CallID, Event: r.Event, Outcome: "ok", Content: []ContentView{}, Findings: findingViews(r.Findings), Number: r.Number,
		TookMillis: r.Took.Milliseconds(), At: stamp(time.Now()), Changes: []ChangeView{}, Structured: string(r.Structured)}
	var denied *gate.Denied
	if failed, ok := errors.AsType[*gate.Failed](err); ok {
		v.CallID, v.Event, v.Number, v.Findings = failed.CallID, failed.Event, failed.Number, findingViews(failed.Findings)
	}
	switch {
	case errors.As(err, &denied):
		v.Outcome, v.Stage, v.Rule, v.Reason = "denied", string(denied.Stage), denied.Rule, sentence(denied.Reason, name)
		v.CallID, v.Event, v.Changes = denied.CallID, denied.Event, changeViews(denied.Changes)
	case errors.Is(err, context.Canceled):
		v.Outcome, v.Reason = "cancelled", "You cancelled it."
	case err != nil:
		f := callFailure(err)
		v.Outcome, v.Failure, v.Reason = "failed", f, f.What
	case r.IsError:
		v.Outcome = "tool-error"
	}
	for _, c := range r.Content {
		v.Content = append(v.Content, contentView(c))
	}
	return v
}

// Kinds of image that the page may show; anything else is offered as bytes only. SVG is left out: it is a document.
var images = map[string]bool{"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true}

func contentView(c tool.Content) ContentView {
	v := ContentView{Type: c.Type, Text: c.Text, MIME: c.MIME, URI: c.URI, Bytes: len(c.Data), Role: c.Role}
	if c.Type == "text" {
		v.Bytes = len(c.Text)
	}
	if mime := strings.ToLower(c.MIME); images[mime] && len(c.Data) > 0 && len(c.Data) <= 4<<20 {
		v.DataURL = "data:" + mime + ";base64," + base64.StdEncoding.EncodeToString(c.Data)
	}
	return v
}
