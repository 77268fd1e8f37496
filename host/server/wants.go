package server

import (
	"strconv"

	"cordon/host/audit"
	"cordon/host/consent"
	"cordon/sandbox"
)

// maxWanted bounds the lines and audit events that the wishes of one run may cause. The rest is counted.
const maxWanted = 100

// maxWantedName is how much of a name they hold, in bytes.
const maxWantedName = 512

// wishes turns what a server asked for and is not granted into lines of its log and audit events. It is not safe for concurrent use.
type wishes struct {
	note   func(format string, args ...any)
	record func(audit.Event)
	told   int
}

// of is called for each.
func (l *wishes) of(w sandbox.Want) {
	if l.told++; l.told > maxWanted {
		return
	}
	name := w.Name
	if len(name) > maxWantedName {
		name = name[:maxWantedName] + "…"
	}
	name = consent.Escape(name)
	text := "wanted to " + wantsTo[w.Kind] + " " + name + ": not granted"
	l.note("%s", text)
	if w.Kind == sandbox.WantLook { // programs look at much that they do not need
		return
	}
	l.record(audit.Event{Kind: audit.FindingMade, Rule: "sandbox.wanted", Decision: audit.Marked, Reason: text, Facts: map[string]string{"kind": string(w.Kind), "name": name}})
}

var wantsTo = map[sandbox.WantKind]string{sandbox.WantLook: "look at", sandbox.WantRead: "read", sandbox.WantList: "list", sandbox.WantExecute: "run",
	sandbox.WantWrite: "change", sandbox.WantConnect: "call"}

// end is called when the server has ended.
func (l *wishes) end() {
	if n := l.told - maxWanted; n > 0 {
		l.note("wanted %d more things that are not granted", n)
		l.record(audit.Event{Kind: audit.FindingMade, Rule: "sandbox.wanted-more", Decision: audit.Marked, Reason: strconv.Itoa(n) + " more things were asked for than the log takes one by one"})
	}
}
