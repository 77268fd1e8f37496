// Package consent asks a person. A Prompt goes to a Prompter (the window's Desk, a Terminal); only an explicit,
// timely, exact answer allows, and it is turned into a Receipt that can be redeemed once, for the very bytes that
// were shown. Silence, doubt and every kind of failure deny.
package consent

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"cordon/host/tool"
)

const (
	// Patience is how long a prompt waits for its answer once it is shown.
	Patience = 2 * time.Minute
	// Arming is how long a prompt must have been shown before it can be allowed.
	Arming = 800 * time.Millisecond
)

// How a question ended without permission. Every error of Ask wraps exactly one of these.
var (
	ErrDenied    = errors.New("denied")
	ErrTimedOut  = errors.New("not answered in time")
	ErrCancelled = errors.New("cancelled before it was answered")
)

// Level is how much it takes to allow.
type Level int

// The levels. The zero value is no level and is always denied.
const (
	Click  Level = 1 // one deliberate click
	Type   Level = 2 // the target's name, typed
	Second Level = 3 // a second approver; one person's answer never suffices
)

// Prompt is one question. The caller fills it with New and does not change it afterwards; what else a screen shows
// about the call travels beside it, keyed by ID.
type Prompt struct {
	ID     string    // nonce: 128 random bits, 32 hex digits; never used twice
	Call   tool.Call // exactly what will run
	Level  Level
	Target string // at level Type: what must be typed, byte for byte
	Rule   string // id of the rule that asks
	Reason string // its words
	Policy string // version of the policy that decided

	// Set by the prompter when it shows the prompt.
	Opened   time.Time
	Armed    time.Time // from when on it can be allowed
	Deadline time.Time // when silence becomes a denial
}

// open returns p as shown from now on.
func (p Prompt) open(now time.Time, arming, patience time.Duration) Prompt {
	p.Opened, p.Armed, p.Deadline = now, now.Add(arming), now.Add(patience)
	return p
}

// New returns a prompt with a fresh nonce. It is not open yet: the prompter sets the times when it shows it.
func New(c tool.Call, level Level, target, rule, reason, policy string) Prompt {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the program instead
	return Prompt{ID: hex.EncodeToString(nonce[:]), Call: c, Level: level, Target: target, Rule: rule, Reason: reason, Policy: policy}
}

// check reports why p cannot be put to anyone.
func (p Prompt) check() error {
	switch {
	case len(p.ID) != 32:
		return fmt.Errorf("%w: the prompt has no nonce", ErrDenied)
	case p.Level < Click || p.Level > Second:
		return fmt.Errorf("%w: there is no consent level %d", ErrDenied, p.Level)
	case p.Level == Type && p.Target == "":
		return fmt.Errorf("%w: there is no target to type", ErrDenied)
	case p.Call.Digest != tool.DigestOf(p.Call):
		return fmt.Errorf("%w: the call was changed after it was frozen", ErrDenied)
	}
	return nil
}

// Answer is what came back for a prompt. It is untrusted until a prompter has compared it with what it showed.
type Answer struct {
	ID     string // the prompt's nonce
	Digest string // the call's digest, 64 hex digits, as shown
	Allow  bool
	Typed  string // at level Type: what the person typed
	By     string // "window", "terminal"
}

// judge compares a with p. It is the only place that turns an answer into permission. now is the time of the answer.
func (p Prompt) judge(a Answer, now time.Time) error {
	switch {
	case !same(a.ID, p.ID):
		return ErrStale
	case !same(a.Digest, p.Call.Digest.String()):
		return ErrMismatch
	case !a.Allow:
		return ErrDenied
	case p.Level == Second:
		return fmt.Errorf("%w: %w", ErrDenied, ErrSecond)
	case now.Before(p.Armed):
		return ErrEarly
	case !now.Before(p.Deadline):
		return ErrTimedOut
	case p.Level == Type && !same(a.Typed, p.Target):
		return ErrTyped
	}
	return nil
}

// Answers that are refused. The prompt they aimed at, if any, stays as it is, except with ErrSecond, which denies.
var (
	ErrStale    = errors.New("this question is not open")
	ErrMismatch = errors.New("the answer is for other bytes than those shown")
	ErrEarly    = errors.New("allowed before the question could have been read")
	ErrTyped    = errors.New("what was typed is not the target")
	ErrSecond   = errors.New("a second approver is needed")
)

func cancelled(ctx context.Context) error {
	return fmt.Errorf("%w: %w", ErrCancelled, context.Cause(ctx))
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Prompter puts one question to a person and waits.
//
// An implementation must return a nil error only for an explicit answer to this very prompt that allows it at its
// level, given between its Armed and Deadline times. Everything else (a denial, silence, a cancelled ctx, a closed
// window, an unknown level, its own failure, a panic it recovered) is an error that wraps ErrDenied, ErrTimedOut or
// ErrCancelled. A person's own no is ErrDenied itself; it is wrapped when something else decided, with words that say
// what. It must show everything the prompt says, untrusted text as text, show at most one prompt at a time,
// and be safe for concurrent use.
type Prompter interface {
	Ask(ctx context.Context, p Prompt) (Answer, error)
}

// Receipt is proof that a person allowed one call. It can be redeemed once. Safe for concurrent use; not to be copied.
type Receipt struct {
	call, definition tool.Digest
	policy           string
	nonce            string
	level            Level
	by               string
	at               time.Time

	mu   sync.Mutex // guards used
	used bool
}

// Issue turns an allowing answer to p into a receipt. An answer that does not fit p is ErrStale, ErrMismatch or
// ErrDenied.
func Issue(p Prompt, a Answer, at time.Time) (*Receipt, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	switch {
	case !same(a.ID, p.ID):
		return nil, ErrStale
	case !same(a.Digest, p.Call.Digest.String()):
		return nil, ErrMismatch
	case !a.Allow || p.Level == Second || p.Level == Type && !same(a.Typed, p.Target):
		return nil, ErrDenied
	}
	return &Receipt{
		call: p.Call.Digest, definition: tool.Sum(p.Call.Tool.Definition), policy: p.Policy,
		nonce: p.ID, level: p.Level, by: a.By, at: at,
	}, nil
}

// Level is what it took to allow.
func (r *Receipt) Level() Level { return r.level }

// By says where the answer was given.
func (r *Receipt) By() string { return r.by }

// At is when the answer was given.
func (r *Receipt) At() time.Time { return r.at }

// Nonce is the prompt's.
func (r *Receipt) Nonce() string { return r.nonce }

// Redeem spends the receipt for c under the policy version now in force. c is digested afresh, so a call that was
// changed after the question fails. Any failure spends the receipt too. All errors wrap ErrDenied.
func (r *Receipt) Redeem(c tool.Call, policy string) error {
	if r == nil {
		return fmt.Errorf("%w: there is no receipt", ErrDenied)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	used := r.used
	r.used = true
	call, def := tool.DigestOf(c), tool.Sum(c.Tool.Definition)
	switch {
	case r.nonce == "":
		return fmt.Errorf("%w: the receipt is empty", ErrDenied)
	case used:
		return fmt.Errorf("%w: the receipt was used before", ErrDenied)
	case subtle.ConstantTimeCompare(call[:], r.call[:]) != 1:
		return fmt.Errorf("%w: the call is not the one that was allowed", ErrDenied)
	case subtle.ConstantTimeCompare(def[:], r.definition[:]) != 1:
		return fmt.Errorf("%w: the tool's definition is not the one that was allowed", ErrDenied)
	case !same(policy, r.policy):
		return fmt.Errorf("%w: the policy changed since it was allowed", ErrDenied)
	}
	return nil
}
