// Package tool holds the vocabulary that every other host package shares: what a tool is, what a proposed call
// looks like before and after it is frozen, and what comes back. It has types and small pure functions only.
package tool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// ID names one tool of one server. Identity is always the pair: two servers may offer tools of the same name.
type ID struct {
	Server string // key in Cordon's configuration, [a-z0-9][a-z0-9._-]{0,63}
	Name   string // as the server lists it, byte for byte
}

// String returns "server.tool", as shown to people and written to the log.
func (id ID) String() string { return id.Server + "." + id.Name }

// ParseID splits "server.tool" at the first dot. Server keys hold no dot when they are created, so this is exact.
func ParseID(s string) (ID, error) {
	server, name, ok := strings.Cut(s, ".")
	if !ok || server == "" || name == "" {
		return ID{}, fmt.Errorf("tool name %q is not of the form server.tool", s)
	}
	return ID{server, name}, nil
}

// Effect says what a call can do to the world, from quiet to loud. The zero value is Unknown, which every rule
// treats as write plus disclose.
type Effect int

// The effects, ordered by harm. Unknown is first so that a forgotten value is never harmless.
const (
	Unknown      Effect = iota
	Read                // looks at local data
	Costly              // an expensive read
	Disclose            // a read that sends case data to a third party
	Write               // changes something that can be changed back
	High                // isolates, kills, disables, pays, escalates
	Irreversible        // deletes, publishes
)

var effectNames = [...]string{"unknown", "read", "costly", "disclose", "write", "high", "irreversible"}

// String returns the lower-case word that screens, policy and log use.
func (e Effect) String() string {
	if e < 0 || int(e) >= len(effectNames) {
		return effectNames[Unknown]
	}
	return effectNames[e]
}

// Worse returns the more harmful of two effects. Unknown ranks with Write.
func (e Effect) Worse(o Effect) Effect {
	if o.rank() > e.rank() {
		return o
	}
	return e
}

func (e Effect) rank() int {
	if e == Unknown {
		return int(Write)
	}
	return int(e)
}

// Tool is one tool as its server described it, after bounds and strict parsing. All strings are untrusted text.
type Tool struct {
	ID          ID
	Title       string
	Description string
	InputSchema []byte // JSON object, canonical (RFC 8785), at most 256 KiB
	Definition  []byte // the whole definition as listed, canonical JSON; what the pin covers
	Effect      Effect // Cordon's own classification, raised but never lowered by annotations
	EffectBy    string // who decided the effect, in words: "Cordon", "Cordon; server says read"
}

// Kind says which primitive of MCP a proposal wants.
type Kind string

// The primitives that pass the gate.
const (
	CallTool     Kind = "tool"
	ReadResource Kind = "resource"
	GetPrompt    Kind = "prompt"
	FetchTask    Kind = "task" // the result of a call that its server works on; its argument is taskId
)

// Origin says who chose a value. The zero value is OriginOutside: what nobody vouches for is untrusted.
type Origin int

// The origins, most suspicious first.
const (
	OriginOutside Origin = iota // a tool result, a file, a page: data, never instructions
	OriginModel
	OriginDefault // from the tool's own schema
	OriginUser
)

var originNames = [...]string{"outside", "model", "default", "you"}

// String returns the word that screens and log use: outside, model, default, you.
func (o Origin) String() string {
	if o < 0 || int(o) >= len(originNames) {
		return originNames[OriginOutside]
	}
	return originNames[o]
}

// Asker says on whose behalf a proposal is made.
type Asker struct {
	Kind         string // "window", "terminal", "chat", "client", "practice"
	Name         string // what a person calls it: "Run a tool", a conversation's title
	Conversation string // session whose labels apply; never empty
}

// Scope narrows what an asker's calls may do. The zero Scope leaves it to the rules.
type Scope struct {
	ReadOnly bool // nothing but reading, at whatever cost
	AskAll   bool // a person is asked about every call
}

// Proposal is an untrusted wish to use a primitive. Nothing in it has been checked.
type Proposal struct {
	Kind   Kind
	Target ID            // server and tool, resource URI or prompt name
	Args   []byte        // JSON object, UTF-8, at most 1 MiB; nil means {}
	By     Asker         //
	Wrote  Origin        // who wrote the arguments, before labels refine it per value
	Parent string        // id of the call this one continues, or ""
	Ticket string        // the asker's own name for it, for progress; or ""
	Within time.Duration // wanted deadline for execution; 0 means the server's default

	// Scope says what the asker's calls may do now. It is asked when the call is judged, and once more when a person has allowed it; its error
	// denies. Nil narrows nothing.
	Scope func(context.Context) (Scope, error)
}

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// String returns 64 lower-case hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first eight hex digits in two groups, for people to compare.
func (d Digest) Short() string { s := d.String(); return s[:4] + " " + s[4:8] }

// Sum returns the digest of the concatenated parts, each preceded by its length, so that no two different lists
// of parts share a digest.
func Sum(parts ...[]byte) Digest {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return Digest(h.Sum(nil))
}

// Call is a proposal after parsing: resolved, canonical and frozen. It is never changed; Digest covers every
// field that decides what will happen.
type Call struct {
	ID     string // unique, 16 hex digits; also the trace id's tail
	Trace  string // W3C trace id, 32 hex digits
	Kind   Kind
	Tool   Tool
	Args   []byte // canonical JSON (RFC 8785): exactly these bytes are shown, logged as a digest, and sent
	By     Asker
	Wrote  Origin
	Parent string
	Ticket string // the proposal's; it decides nothing
	Scope  Scope  // as it was when the call was judged
	Digest Digest
}

// DigestOf returns the digest that freezes c: kind, target, definition, canonical arguments and asker.
func DigestOf(c Call) Digest {
	return Sum([]byte(c.ID), []byte(c.Kind), []byte(c.Tool.ID.Server), []byte(c.Tool.ID.Name), c.Tool.Definition, c.Args,
		[]byte(c.By.Kind), []byte(c.By.Conversation), []byte(c.Parent))
}

// Content is one block of a result, or of a prompt: then Role says whose words it is to be. Text is set for text; Data and MIME for images and audio; URI for resources.
type Content struct {
	Type string `json:"type"` // text, image, audio, resource, resource_link
	Text string `json:"text,omitempty"`
	MIME string `json:"mime,omitempty"`
	Data []byte `json:"data,omitempty"`
	URI  string `json:"uri,omitempty"`
	Role string `json:"role,omitempty"` // user or assistant
}

// Result is what a call returned, after inspection. All of it is outside text.
type Result struct {
	CallID     string
	Content    []Content
	Structured []byte // JSON, or nil
	IsError    bool   // the tool itself reported failure
	Findings   []Finding
	Number     int           // n of "result #n" in its conversation, from 1
	Took       time.Duration // time spent executing
	Event      uint64        // sequence number of the outcome in the audit log
	Asked      bool          // a person was, and allowed it
}

// Severity ranks a finding.
type Severity int

// Severities. Block stops what was inspected.
const (
	Info Severity = iota
	Warn
	Block
)

// String returns info, warn or block.
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warn:
		return "warn"
	}
	return "block"
}

// Finding is one thing an inspection engine noticed. Text never contains a secret or more than 200 bytes of what
// was inspected.
type Finding struct {
	Engine   string // "hidden", "secret"
	Rule     string // stable: "hidden.bidi", "secret.own"
	Severity Severity
	Where    string // JSON pointer into what was inspected, "" for the whole
	Text     string // one sentence for an analyst
}
