// Package chat holds conversations with models: the loop of a turn, what a model is told, and the store that keeps all of it. It reaches tools only
// through a function that it is given, which is the gate, and models only through another.
package chat

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/tool"
)

// Marking is how far something may go, in the words of the Traffic Light Protocol 2.0; "" is none.
type Marking string

// Markings lists all there are.
var Markings = []Marking{"", "clear", "green", "amber", "amber+strict", "red"}

// Scope narrows what calls may do, in a conversation or in all of a case.
type Scope string

// The scopes, see tool.Scope. A conversation's and its case's hold together.
const (
	Usual    Scope = ""     // reads flow, all else is asked for
	ReadOnly Scope = "read" // nothing but reading
	AskAll   Scope = "ask"  // every call is asked for
)

// Scopes lists all there are.
var Scopes = []Scope{Usual, ReadOnly, AskAll}

// ScopeOf is what narrows the calls of a conversation in a case. One that is not known narrows all it can.
func ScopeOf(c Conversation, in Case) (s tool.Scope) {
	for _, one := range []Scope{c.Scope, in.Scope} {
		odd := !slices.Contains(Scopes, one)
		s.ReadOnly = s.ReadOnly || odd || one == ReadOnly
		s.AskAll = s.AskAll || odd || one == AskAll
	}
	return s
}

// May reports whether a model is told of a tool under a scope.
func May(s tool.Scope, t tool.Tool) bool { return !s.ReadOnly || reads(t.Effect) }

func reads(e tool.Effect) bool { return e == tool.Read || e == tool.Costly }

// Case groups conversations.
type Case struct {
	ID        string   `json:"id"` // 16 hex digits
	Name      string   `json:"name"`
	Marking   Marking  `json:"marking,omitzero"`
	Notes     string   `json:"notes,omitzero"`     // models are told them
	Folder    string   `json:"folder,omitzero"`    // where its files are; models are told that too
	Servers   []string `json:"servers,omitzero"`   // whose tools may be offered; empty means all
	Models    []string `json:"models,omitzero"`    // names in the configuration; empty means all may be asked
	LocalOnly bool     `json:"localOnly,omitzero"` // only those on this computer
	Redact    []string `json:"redact,omitzero"`    // words that no model gets
	Limits    Limits   `json:"limits,omitzero"`
	Scope     Scope    `json:"scope,omitzero"`
}

// Limits bound one turn. Zero fields mean the default.
type Limits struct {
	Requests int             `json:"requests,omitzero"` // to the model
	Calls    int             `json:"calls,omitzero"`
	Tokens   int             `json:"tokens,omitzero"`  // read and written
	Dollars  float64         `json:"dollars,omitzero"` // of models with a price; there is no default
	Time     config.Duration `json:"time,omitzero"`    // people's thinking included
}

// Defaults of a turn's limits.
const (
	DefaultRequests = 30
	DefaultCalls    = 100
	DefaultTokens   = 2_000_000
	DefaultTime     = 30 * time.Minute
)

// Conversation is one, without what was said.
type Conversation struct {
	ID      string // 16 hex digits
	Case    string // its id, "" for none
	Title   string
	Pinned  bool
	Model   string   // name in the configuration
	Without []string // servers whose tools are not offered
	Scope   Scope
	Changed time.Time
	Made    time.Time
	Head    int64 // seq of the entry that it has come to, 0 if it is empty
	Left    Left

	fence string // marks outside text for the model; nobody else knows it
}

// Left is what left this computer for models elsewhere, further tries included.
type Left struct {
	Requests int      `json:"requests"`
	Bytes    int64    `json:"bytes"`
	Places   []string `json:"places,omitzero"` // sorted host names
	Dollars  float64  `json:"dollars"`         // of all models with a price
}

// tag is what a conversation's stand-ins have in common. It does not tell the fence.
func (c Conversation) tag() string {
	sum := sha256.Sum256([]byte("stand-ins " + c.fence))
	return hex.EncodeToString(sum[:])
}

// Offers reports whether a conversation in a case offers its model a server's tools.
func Offers(c Conversation, in Case, server string) bool {
	return !slices.Contains(c.Without, server) && (len(in.Servers) == 0 || slices.Contains(in.Servers, server))
}

// Kind is what an entry is.
type Kind string

// The kinds.
const (
	Question Kind = "question" // Parts, Attached
	Answer   Kind = "answer"   // Parts, Asked: one answer of a model, which may want calls made
	Result   Kind = "outcome"  // Outcome of one of them
	End      Kind = "end"      // Ended: the turn has
)

// Entry is one thing in a conversation. Entries form a tree: what is shown is the way from the head to the root. None is ever changed.
type Entry struct {
	Seq    int64     `json:"-"` // unique in the store, growing
	Parent int64     `json:"-"` // 0 for a first one
	Turn   int64     `json:"-"` // seq of the question that it belongs to
	Kind   Kind      `json:"-"`
	At     time.Time `json:"-"`

	Parts    []llm.Part   `json:"parts,omitzero"`
	Attached []Attachment `json:"attached,omitzero"`
	Asked    *Asked       `json:"asked,omitzero"`
	Outcome  *Outcome     `json:"outcome,omitzero"`
	Ended    *Ended       `json:"ended,omitzero"`

	Versions []int64 `json:"-"` // questions in this place, or whatever else came after the same entry, when there are several: all of them, growing
}

// Attachment goes with a question. It is text, or an image, see NewPicture.
type Attachment struct {
	Name string `json:"name"`
	From string `json:"from"`          // "you", or the server that it is a resource of
	Text string `json:"text,omitzero"` // a long one is kept apart, and "" where it is not asked for
	MIME string `json:"mime,omitzero"` // of an image, "" for text
	Size int    `json:"size"`          // bytes

	Data    []byte `json:"-"` // of an image; kept apart, nil where it is not asked for
	Missing bool   `json:"-"` // what is kept apart is not there any more
}

// apart reports whether what a says is kept apart.
func (a Attachment) apart() bool { return a.MIME != "" || a.Size > keptOfText }

// Asked is what an answer came of.
type Asked struct {
	Model    string             `json:"model"`          // name in the configuration
	Said     string             `json:"said,omitzero"`  // what the provider calls it
	Place    string             `json:"place,omitzero"` // host name, "" for this computer
	Messages int                `json:"messages"`
	Tools    int                `json:"tools"`
	Held     int                `json:"held,omitzero"`    // tools that it was not told of, because the question did not need them
	Barred   int                `json:"barred,omitzero"`  // tools that it was not told of, because it may only read
	Tokens   int                `json:"tokens"`           // about, of the request
	Cut      int                `json:"cut,omitzero"`     // results given in short, to save room
	Dropped  int                `json:"dropped,omitzero"` // old turns left out
	Unseen   int                `json:"unseen,omitzero"`  // images that it was not given, counting those of a result as one
	Why      string             `json:"why,omitzero"`     // it was not, for people
	Hidden   int                `json:"hidden,omitzero"`  // places where something was replaced before it left
	Bytes    int64              `json:"bytes,omitzero"`   // that left, all tries together
	Tries    int                `json:"tries,omitzero"`
	Called   map[string]tool.ID `json:"called,omitzero"` // which tools the names mean that it calls
	Usage    llm.Usage          `json:"usage"`
	Dollars  float64            `json:"dollars,omitzero"`
	Stop     llm.Stop           `json:"stop,omitzero"`
	First    config.Duration    `json:"first,omitzero"` // until something came
	Took     config.Duration    `json:"took,omitzero"`
}

// State is how a call ended.
type State string

// The states.
const (
	OK        State = "ok"
	ToolError State = "tool-error" // the tool itself says that it failed
	Denied    State = "denied"     // by the gate
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Refused   State = "refused" // it did not get as far as the gate
)

// Outcome is how a call ended that a model wanted.
type Outcome struct {
	ID        string          `json:"id"`            // the model's
	Name      string          `json:"name"`          // as the model called it
	Tool      tool.ID         `json:"tool,omitzero"` // zero if there is no such tool; Server is "" for one of Cordon's own
	Effect    tool.Effect     `json:"effect,omitzero"`
	Args      string          `json:"args"` // JSON, or what the model wrote
	State     State           `json:"state"`
	Asked     bool            `json:"asked,omitzero"` // a person was
	Stage     string          `json:"stage,omitzero"` // of the gate
	Rule      string          `json:"rule,omitzero"`
	Reason    string          `json:"reason,omitzero"` // one sentence
	CallID    string          `json:"callId,omitzero"`
	Event     uint64          `json:"event,omitzero"`  // in the log
	Number    int             `json:"number,omitzero"` // by which it is cited; 0 if there is nothing to cite
	Took      config.Duration `json:"took,omitzero"`
	Findings  []tool.Finding  `json:"findings,omitzero"`
	Size      int             `json:"size,omitzero"`      // bytes of its text
	Beginning string          `json:"beginning,omitzero"` // of its text
	Images    int             `json:"images,omitzero"`    // in it

	Content *Content `json:"-"` // kept apart; nil where it is not asked for
}

// Content is all of a result.
type Content struct {
	Blocks     []tool.Content `json:"blocks,omitzero"`
	Structured string         `json:"structured,omitzero"` // JSON
}

// Why is why a turn ended.
type Why string

// The reasons.
const (
	Done         Why = "done"
	Stopped      Why = "stopped" // by a person
	Broke        Why = "failed"
	Exhausted    Why = "limit"
	ModelRefuses Why = "refused"
)

// Ended is how a turn ended.
type Ended struct {
	Why    Why       `json:"why"`
	Reason string    `json:"reason,omitzero"` // sentences for people
	Fault  llm.Fault `json:"fault,omitzero"`  // of a model
}
