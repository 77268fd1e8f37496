package elicit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"
)

// Bounds of a desk.
const (
	maxWaiting = 16              // questions; further ones are cancelled
	Patience   = 5 * time.Minute // from when a question is shown until it is cancelled
)

// Errors of answering.
var (
	ErrStale = errors.New("this question is no longer open")
)

// Desk holds one open question and a queue behind it, and takes answers from elsewhere. The zero value is empty. It is safe for
// concurrent use.
type Desk struct {
	Changed func() // called after the open question changed; must not block; nil is allowed

	mu    sync.Mutex
	queue []*asked // guarded by mu; the first is open
}

type asked struct {
	Open
	shown chan struct{} // closed when it becomes the first
	ended chan Answer   // one answer, buffered
	over  bool          // guarded by the desk's mu; nobody waits for it any more
}

// Open is a question that a person sees.
type Open struct {
	Question
	Ticket string    // names it in Answer
	Until  time.Time // when it is cancelled
}

// Ask shows a question and returns the answer. Without one in time, when ctx ends, or when too many wait, it is cancelled: nothing was said.
func (d *Desk) Ask(ctx context.Context, q Question) Answer {
	var ticket [12]byte
	rand.Read(ticket[:])
	a := &asked{Open: Open{Question: q, Ticket: hex.EncodeToString(ticket[:])}, shown: make(chan struct{}), ended: make(chan Answer, 1)}
	d.mu.Lock()
	if len(d.queue) >= maxWaiting {
		d.mu.Unlock()
		return Answer{Action: Cancel}
	}
	d.queue = append(d.queue, a)
	d.show()
	d.mu.Unlock()
	d.tell()
	defer d.leave(a)
	select {
	case <-a.shown:
	case <-ctx.Done():
		return Answer{Action: Cancel}
	}
	patience := time.NewTimer(Patience)
	defer patience.Stop()
	select {
	case answer := <-a.ended:
		return answer
	case <-patience.C:
	case <-ctx.Done():
	}
	d.mu.Lock() // no answer is taken any more: one that was taken counts
	defer d.mu.Unlock()
	a.over = true
	select {
	case answer := <-a.ended:
		return answer
	default:
		return Answer{Action: Cancel}
	}
}

// show opens the first question. The caller holds mu.
func (d *Desk) show() {
	if len(d.queue) == 0 {
		return
	}
	if a := d.queue[0]; a.Until.IsZero() {
		a.Until = time.Now().Add(Patience)
		close(a.shown)
	}
}

// leave takes a question away, answered or not.
func (d *Desk) leave(a *asked) {
	d.mu.Lock()
	for i, x := range d.queue {
		if x == a {
			d.queue = append(d.queue[:i:i], d.queue[i+1:]...)
			break
		}
	}
	d.show()
	d.mu.Unlock()
	d.tell()
}

func (d *Desk) tell() {
	if d.Changed != nil {
		d.Changed()
	}
}

// Current returns the open question, if there is one, and how many wait behind it.
func (d *Desk) Current() (open Open, waiting int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		return Open{}, 0, false
	}
	return d.queue[0].Open, len(d.queue) - 1, true
}

// Answer gives the answer to the open question. After an error it is still open: ErrStale, or what does not fit, a *FieldError if it is a field.
func (d *Desk) Answer(ticket string, answer Answer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 || d.queue[0].Ticket != ticket || d.queue[0].over {
		return ErrStale
	}
	a := d.queue[0]
	if err := a.Check(answer); err != nil {
		return err
	}
	select {
	case a.ended <- answer:
		return nil
	default:
		return ErrStale // answered a moment ago
	}
}
