package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
)

// Fault is what kind of failure it was.
type Fault string

// The faults.
const (
	FaultKey     Fault = "key"     // missing, wrong, or not allowed to
	FaultModel   Fault = "model"   // the provider does not know it
	FaultRequest Fault = "request" // the provider does not take the request
	FaultLength  Fault = "length"  // the conversation is longer than the model can read
	FaultBusy    Fault = "busy"    // too many requests, or an overloaded provider
	FaultReach   Fault = "reach"   // nobody answers at the address, or not what should
	FaultBroken  Fault = "broken"  // the answer broke off or made no sense
	FaultSilent  Fault = "silent"  // nothing came for too long
	FaultLocal   Fault = "local"   // only models on this computer may be asked
	FaultRules   Fault = "rules"   // whoever asks has other rules by now, so nothing was sent
	FaultRecord  Fault = "record"  // what would leave could not be recorded, so nothing left
)

// Error is a request that failed. What Ask returns holds no key.
type Error struct {
	Fault  Fault
	Status int           // of HTTP, 0 without an answer
	Said   string        // by the provider: untrusted, bounded, one line
	After  time.Duration // that it asks to wait, 0 if it does not say
	err    error
	final  bool // another try cannot help
}

// Error says what happened and what to do.
func (e *Error) Error() string {
	var what string
	switch e.Fault {
	case FaultKey:
		what = "the provider does not accept the key: enter one that is valid for this model (cordon models key)"
	case FaultModel:
		what = "the provider does not know this model, or offers nothing at this address: look at its name and address (cordon models list)"
	case FaultRequest:
		what = "the provider does not take the request"
	case FaultLength:
		what = "the conversation is longer than this model can read: go on in a new one, or choose another model"
	case FaultBusy:
		what = "the provider has too much to do, or you have used what you may for now: try again later"
		if e.After > 0 {
			what = fmt.Sprintf("the provider has too much to do, or you have used what you may for now: try again in %v", e.After.Round(time.Second))
		}
	case FaultReach:
		what = "the model cannot be reached: look whether its program runs or its address is right, and try again"
	case FaultBroken:
		what = "the answer broke off before its end; try again"
	case FaultSilent:
		what = "the model said nothing for too long: try again, or choose another"
	case FaultLocal:
		what = "only models on this computer may be asked here, and this one is elsewhere: nothing was sent"
	case FaultRules:
		what = "nothing more was sent"
	case FaultRecord:
		what = "what would be sent could not be recorded, so nothing was sent"
	}
	if e.Status != 0 {
		what += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if e.Said != "" {
		what += ". It says: " + e.Said
	} else if e.err != nil {
		what += ": " + e.err.Error()
	}
	return what
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// again reports whether another try may help.
func (e *Error) again() bool {
	return !e.final && (e.Fault == FaultBusy || e.Fault == FaultReach && (e.Status == 0 || e.Status >= 500) || e.Fault == FaultBroken)
}

// explain makes an *Error of what a library or the transport returned.
func explain(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*anthropic.Error](err); ok {
		return said(e.StatusCode, e.Response, string(e.Type()), e.RawJSON())
	}
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return said(e.StatusCode, e.Response, e.Type+" "+e.Code, e.RawJSON())
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Fault: FaultSilent}
	}
	return &Error{Fault: FaultBroken, err: err}
}

// said sorts an answer that is an error. A status of 200 is that of an error in the middle of a stream.
func said(status int, resp *http.Response, kind, body string) *Error {
	e := &Error{Status: status, Said: sentence(body), Fault: FaultRequest}
	if status == http.StatusOK {
		e.Status = 0 // it says nothing of the error
	}
	if resp != nil {
		e.After = after(resp.Header)
	}
	kind = strings.ToLower(kind)
	long := strings.ToLower(e.Said)
	switch {
	case status == 413, strings.Contains(kind, "context_length"), strings.Contains(long, "prompt is too long"), strings.Contains(long, "context length"), strings.Contains(long, "context size"):
		e.Fault = FaultLength
	case status == 401, status == 403, strings.Contains(kind, "authentication"), strings.Contains(kind, "permission"):
		e.Fault = FaultKey
	case status == 402, strings.Contains(kind, "insufficient_quota"), strings.Contains(kind, "billing"):
		e.Fault = FaultRequest // waiting does not help
	case status == 404:
		e.Fault = FaultModel
	case status == 408, status == 409, status == 429, status == 503, status == 529, strings.Contains(kind, "overloaded"), strings.Contains(kind, "rate_limit"):
		e.Fault = FaultBusy
	case status >= 500, status/100 == 3:
		e.Fault = FaultReach
	case status == 200:
		e.Fault = FaultBroken
	}
	return e
}

// after is how long an answer asks to wait.
func after(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseFloat(v, 64); err == nil && n > 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// sentence is what the body of an error says to people, as it is.
func sentence(body string) string {
	var b struct {
		Message string          `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	if json.Unmarshal([]byte(body), &b) != nil {
		return body
	}
	var inner struct {
		Message string `json:"message"`
	}
	var text string
	if json.Unmarshal(b.Error, &inner) == nil && inner.Message != "" {
		text = inner.Message
	} else if json.Unmarshal(b.Error, &text) != nil || text == "" {
		text = b.Message
	}
	return text
}

// line is s on one line, without what does not print, at most 300 characters.
func line(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}
