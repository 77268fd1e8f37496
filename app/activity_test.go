package app

import (
	"strings"
	"testing"

	"cordon/host/audit"
	"cordon/host/gate"
	"cordon/host/server"
)

func TestNamesKeepTheirSpellingInSentences(t *testing.T) {
	for want, e := range map[string]audit.Event{
		"edr was added.": {Kind: audit.ServerAdd, Server: "edr"},
		"Run a tool asked for edr.echo: failed. edr ended with status 1 during the call.": {Kind: audit.CallOutcome, Server: "edr", Tool: "echo", Asker: "window: Run a tool",
			Decision: audit.Failed, Reason: "edr ended with status 1 during the call"},
		"Run a tool asked for edr.echo: denied. The address comes from result #2.": {Kind: audit.CallOutcome, Server: "edr", Tool: "echo", Asker: "window: Run a tool",
			Decision: audit.Denied, Reason: "the address comes from result #2"},
	} {
		if got := story(e, e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTheLastStageSaysHowACallEnded(t *testing.T) {
	for _, c := range []struct {
		decision audit.Decision
		state    string
	}{{audit.Allowed, "passed"}, {audit.YouAllowed, "passed"}, {audit.Denied, "ended"}, {audit.YouDenied, "ended"}, {audit.TimedOut, "ended"}, {audit.Failed, "ended"}} {
		got := stageViews(audit.Event{Decision: c.decision, Stages: []audit.Stage{{Name: string(gate.Resolve), State: "passed"}, {Name: string(gate.Outcome), State: "passed"}}})
		if last := got[len(got)-1]; len(got) != len(gate.Stages) || last.State != c.state || last.Detail != string(c.decision) {
			t.Errorf("a call that was %s ends with %+v of %d stages, want %s", c.decision, last, len(got), c.state)
		}
	}
	running := stageViews(audit.Event{Kind: audit.CallIntent, Decision: audit.Intent, Stages: []audit.Stage{{Name: string(gate.Resolve), State: "passed"}}})
	if last := running[len(running)-1]; !strings.Contains(last.State, "not reached") {
		t.Errorf("a call that still runs ends with %+v", last)
	}
}

// TestRemoteServersAreConnectedTo: nothing of them is started here.
func TestRemoteServersAreConnectedTo(t *testing.T) {
	for want, e := range map[string]audit.Event{
		"edr started":                     {Kind: audit.ServerStart, Server: "edr"},
		"Connecting to edr":               {Kind: audit.ServerStart, Server: "edr", Reason: server.Connecting},
		"edr was disconnected":            {Kind: audit.ServerStop, Server: "edr", Reason: "was disconnected"},
		"edr ended the connection: x y z": {Kind: audit.ServerStop, Server: "edr", Reason: "ended the connection: x y z"},
	} {
		if got := title(entry(audit.Stored{Event: e})); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
