package app

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cordon/host/config"
	"cordon/host/gate"
	"cordon/host/oauth"
	"cordon/host/pin"
	"cordon/host/server"
	"cordon/host/tool"
)

// What a person is told leaves: a remote server is on no network of its own, and is sent everything all the same.
func TestWhatLeavesForARemoteServer(t *testing.T) {
	for address, want := range map[string]string{"https://cases.example:8443/mcp": "To cases.example:8443, over TLS.", "http://127.0.0.1:80/mcp": "To 127.0.0.1:80, not encrypted."} {
		answer, detail := leaves(config.Server{URL: address, Net: config.NetNone})
		if answer != "The arguments of this call" || !strings.HasPrefix(detail, want) {
			t.Errorf("%s: %q, %q; want %q", address, answer, detail, want)
		}
	}
	if answer, _ := leaves(config.Server{Net: config.NetNone}); answer != "Nothing" {
		t.Errorf("a server on this computer without network: %q", answer)
	}
}

func TestSignInFailuresHaveWords(t *testing.T) {
	for _, c := range []struct {
		err        error
		code, what string
	}{
		{fmt.Errorf("open the browser: %s", unopened), "CRD-NET-04", "The page was not opened."},
		{errors.New("the answer is malformed"), "CRD-NET-04", "the answer is malformed"},
		{fmt.Errorf("x: %w", oauth.ErrNoPerson), "CRD-NET-02", ""},
		{&oauth.SignInNeeded{}, "CRD-NET-01", ""},
	} {
		f := signInFailure(c.err)
		if f.Code != c.code || c.what != "" && f.What != c.what || f.Means == "" || f.Fix == "" || strings.Contains(f.Fix, "command") {
			t.Errorf("%v: %+v; want %s %q", c.err, f, c.code, c.what)
		}
	}
}

// A server that answers a call with an error is running, and nothing is wrong with its command.
func TestCallFailuresHaveWords(t *testing.T) {
	if f := callFailure(fmt.Errorf("edr: %w", &server.ServerError{Code: -32000, Text: "no such case"})); f.Code != "CRD-SRV-04" || strings.Contains(f.Means+f.Fix, "not running") {
		t.Errorf("an error of the server: %+v", f)
	}
	if f := callFailure(server.ErrNotRunning); f.Code != "CRD-SRV-03" {
		t.Errorf("a server that does not run: %+v", f)
	}
}

func TestChangesAreOfOneKind(t *testing.T) {
	changes := []pin.Change{{What: "tool echo", Kind: "changed"}, {What: "prompt echo", Kind: "added"}, {What: "instructions", Kind: "changed"}}
	if got := fmt.Sprint(changedOf(changes, "tool "), changedOf(changes, "prompt ")); got != "map[echo:changed] map[echo:new]" {
		t.Errorf("changed: %s", got)
	}
}

// TestFailedCallShowsWhatWasFound: a server's error is outside text like its results.
func TestFailedCallShowsWhatWasFound(t *testing.T) {
	err := &gate.Failed{Text: "‹U+202E›no", Number: 3, CallID: "c", Event: 7, Findings: []tool.Finding{{Engine: "hidden", Rule: "hidden.bidi", Severity: tool.Warn, Text: "1 bidirectional control."}}}
	v := callView("t", "edr", tool.Result{}, err)
	if v.Outcome != "failed" || v.Failure == nil || v.Failure.What != err.Text || v.Number != 3 || v.CallID != "c" || v.Event != 7 || len(v.Findings) != 1 {
		t.Errorf("got %+v", v)
	}
}
