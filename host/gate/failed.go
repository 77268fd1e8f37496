package gate

import (
	"context"
	"errors"
	"strings"

	"cordon/host/audit"
	"cordon/host/inspect"
	"cordon/host/server"
	"cordon/host/tool"
)

// maxWords bounds what is passed on of an error, in bytes.
const maxWords = 4 << 10

// maxSearched bounds what is looked at of it. It is far more: a secret that lies across the end of what is shown must be found whole.
const maxSearched = 64 << 10

func cut(text string, most int) string {
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// Failed is what broke at a server. A server chooses most of its words, so they were inspected like a result.
type Failed struct {
	Text     string         // own secrets masked, hidden characters written out, at most 4 KiB of the server's
	Findings []tool.Finding // about Text
	Number   int            // as of a result; 0 outside a call
	CallID   string         // "" outside a call
	Event    uint64         // number of the outcome's audit record
	cause    error
}

// Error returns Text.
func (f *Failed) Error() string { return f.Text }

// Unwrap returns what it was, for errors.Is and errors.As. Nobody looked at the words of that: they are not to be shown.
func (f *Failed) Unwrap() error { return f.cause }

// errUnseen means that words are withheld.
var errUnseen = errors.New("the words of an error are withheld")

// words is inspectResult for what an error says: masked, searched, and with everything written out that cannot be seen. Errors: errUnseen if it must go no
// further, or could not be searched for secrets.
func (g *Gate) words(ctx context.Context, from string, cause error) (*Failed, error) {
	text := cut(strings.ToValidUTF8(cause.Error(), "\ufffd"), maxSearched)
	r := tool.Result{IsError: true, Content: []tool.Content{{Type: "text", Text: text}}}
	_, blocked, err := g.search(ctx, from, &r)
	if blocked || err != nil {
		return nil, errUnseen
	}
	for i := range r.Findings {
		r.Findings[i].Where = "/error/message"
	}
	return &Failed{Text: inspect.Reveal(cut(r.Content[0].Text, maxWords)), Findings: r.Findings, cause: cause}, nil
}

// inspectError takes an error where inspectResult takes a result. It is remembered as outside text like one.
func (g *Gate) inspectError(ctx context.Context, c tool.Call, cause error, t *trail) error {
	failed, err := g.words(ctx, c.Tool.ID.Server, cause)
	if err != nil {
		return t.deny(InspectOut, "result.inspection", "the server's error could not be inspected, or must go no further, so its words are withheld")
	}
	g.keep(c.By.Conversation, c.Tool.ID, failed, t)
	if len(failed.Findings) > 0 {
		t.mark(InspectOut, many(len(failed.Findings), "finding")+" in its error, the first: "+failed.Findings[0].Text)
	} else {
		t.pass(InspectOut, "nothing found in its error, labelled outside")
	}
	return failed
}

// quoted is inspectError for one that comes before there is a call, when a server that does not run, or does not list, may be quoted.
func (g *Gate) quoted(ctx context.Context, p tool.Proposal, cause error, t *trail) error {
	failed, err := g.words(ctx, p.Target.Server, cause)
	if err != nil {
		return &Failed{Text: err.Error(), cause: cause}
	}
	if server.Answered(cause) || errors.Is(cause, server.ErrNotRunning) { // all else is said by Cordon, with the caller's own words in it
		g.keep(p.By.Conversation, p.Target, failed, t)
	}
	return failed
}

// keep remembers what a server said in an error.
func (g *Gate) keep(conversation string, of tool.ID, failed *Failed, t *trail) {
	failed.CallID, failed.Number = t.id, g.Labels.Saw(conversation, of.Server, of.Name, []string{failed.Text})
	t.got.Findings, t.got.Number = failed.Findings, failed.Number
}

// Words inspects an error that a server may have worded outside of a call, as when it lists or completes something, and records what is found. It returns nil
// for nil, else an error that wraps err and whose own words may be shown.
func (g *Gate) Words(ctx context.Context, from string, err error) error {
	if err == nil {
		return nil
	}
	failed, hidden := g.words(context.WithoutCancel(ctx), from, err)
	if hidden != nil {
		return &Failed{Text: hidden.Error(), cause: err}
	}
	for _, f := range failed.Findings {
		_, _ = g.append(audit.Event{Kind: audit.FindingMade, Server: from, Rule: f.Rule, Reason: f.Text, Decision: audit.Marked})
	}
	return failed
}
