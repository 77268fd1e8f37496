// Package llm speaks to language models: Anthropic's Messages and OpenAI's Chat Completions, which most other services and local servers
// understand, through the official libraries. It knows nothing of servers, tools or policy. What a model says is untrusted text; what is said
// to it leaves the computer, unless it runs here.
package llm

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Model answers.
type Model interface {
	// Ask sends a request and passes on, in order and from one goroutine, what comes of the answer. With an error, Answer holds what had come by
	// then. A failed try that nothing had come of is made again where that can help. The error is an *Error, or ctx's.
	Ask(ctx context.Context, r Request, on func(Delta)) (Answer, error)
}

// Request is all that a model is told.
type Request struct {
	System   string
	Messages []Message // by turns, the user's first
	Tools    []Tool
	Most     int // tokens of the answer, if that is less than the model may write; 0 for no such bound

	May  func() error     // is asked before every try; its error keeps the request here. ErrElsewhere: only a model on this computer may have it. nil is allowed
	Sent func(Sent) error // hears of every try that is about to leave, after it was recorded; its error keeps it here; nil is allowed
}

// ErrElsewhere is what Request.May returns for what only a model on this computer may be asked.
var ErrElsewhere = errors.New("only for models on this computer")

// bound is the lower of Most and what a model may write; 0 is none.
func (r Request) bound(model int) int {
	if r.Most > 0 && (model == 0 || r.Most < model) {
		return r.Most
	}
	return model
}

// Role is who says something.
type Role string

// The roles. What tools return is said by the user.
const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one turn.
type Message struct {
	Role  Role   `json:"role"`
	Parts []Part `json:"parts"`
}

// Kind is what a part is.
type Kind string

// The kinds.
const (
	Text      Kind = "text"      // Text
	Reasoning Kind = "reasoning" // Text, Seal
	Image     Kind = "image"     // MIME, Data
	Call      Kind = "call"      // ID, Name, Args, or Text if that is not JSON
	Result    Kind = "result"    // ID, Text, IsError, Images
)

// Part is a piece of a message. Kind says which fields count.
type Part struct {
	Kind    Kind           `json:"kind"`
	Text    string         `json:"text,omitzero"`
	Seal    string         `json:"seal,omitzero"` // the provider's proof of a reasoning, sent back as it was
	MIME    string         `json:"mime,omitzero"` // image/png, image/jpeg, image/gif or image/webp
	Data    []byte         `json:"data,omitzero"`
	ID      string         `json:"id,omitzero"`   // pairs a call with its result
	Name    string         `json:"name,omitzero"` // of the tool, as in Request.Tools
	Args    jsontext.Value `json:"args,omitzero"` // an object
	IsError bool           `json:"isError,omitzero"`
	Images  []Part         `json:"images,omitzero"` // of a result
}

// Tool is one that a model may propose to call.
type Tool struct {
	Name        string // letters, digits, _ and -, at most 64
	Description string
	Schema      jsontext.Value // JSON Schema of an object
}

// Delta is a piece of an answer as it comes.
type Delta struct {
	Index int    // of the part that it continues, from 0
	Kind  Kind   // of that part
	Text  string // added to it; of a call, to its arguments
	Name  string // of a call that begins
	Retry *Retry // instead of all else: a try failed
}

// Retry says that a request is sent again.
type Retry struct {
	Try   int           // that comes next, from 2
	After time.Duration // until then
	Why   string
}

// Stop is why an answer ended.
type Stop string

// The reasons.
const (
	StopEnd     Stop = "end"
	StopCalls   Stop = "calls"   // it waits for results
	StopLength  Stop = "length"  // it used all the tokens it may
	StopRefused Stop = "refused" // the provider or the model refuses
)

// Answer is what a model said.
type Answer struct {
	Parts []Part `json:"parts"`
	Stop  Stop   `json:"stop,omitzero"` // "" if it broke off
	Usage Usage  `json:"usage"`
	Model string `json:"model,omitzero"` // as the provider calls the one that answered
}

// Usage is what an answer took, in tokens. All are 0 where the provider does not say.
type Usage struct {
	Input   int `json:"input"`   // read, those of the cache included
	Cached  int `json:"cached"`  // of Input, read from the provider's cache
	Stored  int `json:"stored"`  // of Input, written to it
	Output  int `json:"output"`  // written, Thought included
	Thought int `json:"thought"` // of Output, reasoning
}
