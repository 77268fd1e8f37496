// Package audit keeps the log that tells the whole story: one JSON line per event in OCSF 1.8, each line bound to the
// one before by SHA-256. Any changed, removed or inserted byte is noticed by Verify, with one exception that no chain
// can avoid: whole records cut off at the end leave a shorter, intact log. Only a head (Report.Head) kept elsewhere
// reveals that.
//
// The log never holds secrets: no field takes a secret.Value, and callers pass names and fingerprints only.
package audit

import (
	"time"

	"cordon/host/tool"
)

// Kind says what happened. Other kinds than these are written as OCSF base events.
type Kind string

// The kinds and the OCSF class each becomes.
const (
	CallIntent    Kind = "call.intent"    // API Activity
	CallOutcome   Kind = "call.outcome"   // API Activity
	ConsentAnswer Kind = "consent.answer" // Authorize Session
	ServerStart   Kind = "server.start"   // Process Activity
	ServerStop    Kind = "server.stop"    // Process Activity
	ServerRefused Kind = "server.refused" // Process Activity, failed
	ServerFound   Kind = "server.found"   // Application Lifecycle
	ServerAdd     Kind = "server.add"     // Application Lifecycle
	ServerInstall Kind = "server.install" // Application Lifecycle: facts package, scripts, hosts
	ServerGrant   Kind = "server.grant"   // Application Lifecycle
	ServerAsked   Kind = "server.asked"   // Application Lifecycle: a question to the person during a call; facts kind, fields or host, action; no answers
	ServerSignIn  Kind = "server.signin"  // Authentication: facts url, issuer, scopes
	ServerSignOut Kind = "server.signout" // Authentication
	ServerRemove  Kind = "server.remove"  // Application Lifecycle
	PinApprove    Kind = "pin.approve"    // Application Lifecycle
	PinDrift      Kind = "pin.drift"      // Detection Finding
	FindingMade   Kind = "finding"        // Detection Finding
	SecretSet     Kind = "secret.set"     // Entity Management
	SecretRemove  Kind = "secret.remove"  // Entity Management
	SecretUse     Kind = "secret.use"     // Entity Management
	ModelSet      Kind = "model.set"      // Application Lifecycle: facts model, url, called
	ModelRemove   Kind = "model.remove"   // Application Lifecycle
	ModelAsk      Kind = "model.ask"      // API Activity: a request leaves for a model; facts model, url, bytes, sha256, try
	LogOpen       Kind = "log.open"       // Application Lifecycle
	LogRecovered  Kind = "log.recovered"  // Application Lifecycle
	SandboxReport Kind = "sandbox.report" // Process Activity
	NetConnection Kind = "net.connection" // Network Activity: facts host, port, addr, method, sent, received
)

// Decision is how it went, in the words that screens use.
type Decision string

// The decisions. The zero value is for events that decide nothing.
const (
	Allowed    Decision = "allowed"
	YouAllowed Decision = "you allowed"
	YouDenied  Decision = "you denied"
	Denied     Decision = "denied"
	TimedOut   Decision = "timed out"
	Failed     Decision = "failed"
	Marked     Decision = "marked"
	Intent     Decision = "intent"
)

// refused reports whether d means that nothing was let through.
func (d Decision) refused() bool { return d == YouDenied || d == Denied || d == TimedOut }

// asked reports whether a person was asked.
func (d Decision) asked() bool { return d == YouAllowed || d == YouDenied || d == TimedOut }

// Event is one thing that happened. Empty fields are left out of the record. Text that is not UTF-8 is written with
// replacement characters; text too long for a record is cut with a note that gives its length and SHA-256.
type Event struct {
	Time         time.Time // zero means now
	Kind         Kind      // never empty
	CallID       string    // ties the events of one call together
	Trace        string    // W3C trace id
	Server       string
	Tool         string // as the server lists it; a URI or prompt name for the other primitives
	Effect       string // tool.Effect's word
	Decision     Decision
	Rule         string
	Reason       string // one sentence
	Asker        string
	Args         string // canonical JSON, or "" when withheld
	ArgsDigest   string // SHA-256, hex
	ResultDigest string // SHA-256, hex
	ResultBytes  int64
	Stages       []Stage
	Findings     []tool.Finding
	Took         time.Duration
	Facts        map[string]string // whatever else is known: pid, tier, digest, policy version, fingerprint
	Cut          []string          // set by the log: the fields that were shortened
}

// Stage is one step of a call's path.
type Stage struct {
	Name   string `json:"name"`
	State  string `json:"state"` // passed, stopped, asked, marked, not reached
	Detail string `json:"detail,omitzero"`
	Micros int64  `json:"micros,omitzero"`
}
