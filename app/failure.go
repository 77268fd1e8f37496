package app

import (
	"context"
	"errors"
	"strings"

	"cordon/host/audit"
	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/host/gate"
	"cordon/host/oauth"
	"cordon/host/pin"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/sandbox"
)

// FailureOf describes err: its stable code, what it means and what to do. The text of err itself is what happened.
func FailureOf(err error) Failure {
	f := Failure{Code: "CRD-GEN-01", What: err.Error()}
	var known *Failure
	var conf *config.Error
	var denied *gate.Denied
	var refusal *sandbox.Refusal
	var missing *sandbox.NotFoundError
	var fault *catalog.Fault
	var field *elicit.FieldError
	var signIn *oauth.SignInNeeded
	switch {
	case errors.As(err, &known):
		return *known
	case errors.As(err, &denied):
		f.Code, f.What, f.Means = "CRD-GATE-01", denied.Reason, "The call was denied by "+denied.Rule+" and did not run."
	case errors.As(err, &refusal):
		f.Code, f.Means, f.Fix = "CRD-BOX-01", "This computer cannot give what the server's profile demands, so it was not started.", refusal.Fix
	case errors.As(err, &missing) && missing.Writable != "":
		f.Code, f.Means, f.Fix = "CRD-BOX-02", "Nothing in a folder that a server may write to can be executed.", "Keep the program out of the folders that are granted for writing."
	case errors.As(err, &missing):
		f.Code, f.Means, f.Fix = "CRD-BOX-02", "The program is not visible inside the sandbox.", "Check the command, or grant the folder the program lies in."
	case errors.As(err, &fault):
		f.Code, f.What, f.Means, f.Fix = "CRD-CAT-04", fault.What(), "Nothing was installed.", sentence(fault.Fix(), "")
		if fault.Said != "" {
			f.Means += " " + fault.Tool + " said: " + strings.Join(strings.Fields(fault.Said), " ")
		}
	case errors.As(err, &conf):
		f.Code, f.Means = "CRD-CFG-01", "Nothing was changed."
		if conf.File != "" {
			f.Means, f.Fix = "The file is left as it is, and nothing it defines is used until it is right.", "Correct the file and start Cordon again."
		}
	case errors.Is(err, secret.ErrAbsent):
		f.Code, f.Means, f.Fix = "CRD-KEY-01", "Secrets cannot be kept.", "Start a keyring, or choose under Settings to keep secrets for this session only."
	case errors.Is(err, secret.ErrLocked):
		f.Code, f.Means, f.Fix = "CRD-KEY-02", "Secrets cannot be read.", "Unlock the keyring and try again."
	case errors.Is(err, secret.ErrNotFound):
		f.Code, f.Means, f.Fix = "CRD-KEY-03", "The keyring holds no such secret.", "Set it again under Settings."
	case errors.Is(err, audit.ErrBroken):
		f.Code, f.Means, f.Fix = "CRD-LOG-01", "Nothing runs, because nothing could be recorded.", "Keep the file as evidence: move it away, then start Cordon again."
	case errors.Is(err, audit.ErrUnusable):
		f.Code, f.Means, f.Fix = "CRD-LOG-02", "Nothing runs, because nothing can be recorded.", "Make room on the disk, then start Cordon again."
	case errors.Is(err, pin.ErrNotShown):
		f.Code, f.Means, f.Fix = "CRD-PIN-01", "The server changed while you looked at it.", "Look at it again."
	case errors.As(err, &field):
		f.Code, f.Means, f.Fix = "CRD-ASK-07", "Nothing was sent. The question stays open.", "Correct the field, or decline."
	case errors.Is(err, elicit.ErrStale):
		f.Code, f.Means = "CRD-ASK-08", "Nothing was sent by this answer."
	case errors.Is(err, consent.ErrStale):
		f.Code, f.Means = "CRD-ASK-01", "Nothing was allowed by this answer."
	case errors.Is(err, consent.ErrMismatch):
		f.Code, f.Means = "CRD-ASK-02", "Nothing was allowed by this answer. The question stays open."
	case errors.Is(err, consent.ErrEarly):
		f.Code, f.Means = "CRD-ASK-03", "Nothing was allowed by this answer. The question stays open."
	case errors.Is(err, consent.ErrTyped):
		f.Code, f.Means = "CRD-ASK-04", "Nothing was allowed by this answer. The question stays open."
	case errors.Is(err, consent.ErrSecond):
		f.Code, f.Means = "CRD-ASK-05", "It was denied."
	case errors.Is(err, consent.ErrTimedOut):
		f.Code, f.Means = "CRD-ASK-06", "The answer came too late; it was denied."
	case errors.Is(err, catalog.ErrNoNode):
		f.Code, f.Fix = "CRD-CAT-01", "Install Node.js 20 or newer."
	case errors.Is(err, catalog.ErrNoUV):
		f.Code, f.Fix = "CRD-CAT-02", "Install uv, as docs.astral.sh/uv says."
	case errors.Is(err, catalog.ErrNoPython):
		f.Code, f.Fix = "CRD-CAT-03", "Install Python 3.10 or newer."
	case errors.Is(err, server.ErrLineTooLong):
		f.Code, f.Means, f.Fix = "CRD-SRV-02", "The server does not keep to the protocol. Its session was ended.", "Ask its maker; look at its log."
	case errors.As(err, &signIn):
		f.Code, f.Means, f.Fix = "CRD-NET-01", "The server wants to know who calls. Nothing was sent but the question.", "Press Sign in; the page that opens is shown first."
	case errors.Is(err, oauth.ErrNoPerson):
		f.Code, f.Means, f.Fix = "CRD-NET-02", "Only programs that are registered there are let in.", "Remove the server and add it again with a client id and its secret or key."
	case errors.Is(err, server.ErrNameless):
		f.Code, f.Means, f.Fix = "CRD-NET-03", "Cordon left it before anything was called.", "Allow it if you know this server and it is meant to be open."
	case errors.Is(err, server.ErrUnknown), errors.Is(err, server.ErrNotRunning):
		f.Code = "CRD-SRV-03"
	case errors.Is(err, context.Canceled):
		f.Code, f.What = "CRD-GEN-02", "It was cancelled."
	}
	return f
}

// failureOf is serverFailure for one server: a remote one is not started, and has neither command nor grants.
func (a *App) failureOf(name string, err error) *Failure {
	f := serverFailure(err)
	if def, ok := a.host.Config().Server(name); ok && def.Remote() && f != nil && f.Code == "CRD-SRV-01" {
		f.Code, f.Means, f.Fix = "CRD-NET-05", "Cordon is not connected to it; nothing of it can be called.", "Check the address and the network, then connect again."
	}
	return f
}

// serverFailure is FailureOf for what keeps a server from running.
func serverFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := FailureOf(err)
	if f.Code == "CRD-GEN-01" {
		f.Code, f.Means, f.Fix = "CRD-SRV-01", "The server is not running; its tools cannot be called.", "Look at its log below; correct its command or grants, then start it."
	}
	return &f
}
