package consent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// MaxWaiting is how many questions may queue behind the open one; more are denied.
const MaxWaiting = 64

// Desk is the window's Prompter: it holds one open question, a queue behind it, and takes answers from elsewhere.
// Make one with NewDesk. Safe for concurrent use.
type Desk struct {
	changed chan struct{}

	mu     sync.Mutex  // guards what follows; never held while waiting
	queue  []*question // the first is open
	closed error       // why every further question is denied
}

type question struct {
	prompt Prompt
	opened chan struct{} // closed when it becomes the first
	ended  chan verdict  // one verdict, buffered
}

type verdict struct {
	answer Answer
	err    error
}

// NewDesk returns an empty desk.
func NewDesk() *Desk {
	return &Desk{changed: make(chan struct{}, 1)}
}

// Changed carries a token after the open question or the number of waiting ones changed. Several changes may share
// one token; one reader is meant.
func (d *Desk) Changed() <-chan struct{} { return d.changed }

// Ask implements Prompter. It blocks until the question is answered through Answer, two minutes after it was shown,
// or ctx is cancelled; then the question is gone and can be neither answered nor brought back.
func (d *Desk) Ask(ctx context.Context, p Prompt) (Answer, error) {
	if err := p.check(); err != nil {
		return Answer{}, err
	}
	if ctx.Err() != nil {
		return Answer{}, cancelled(ctx)
	}
	p.Opened, p.Armed, p.Deadline = time.Time{}, time.Time{}, time.Time{} // ours to set
	q := &question{prompt: p, opened: make(chan struct{}), ended: make(chan verdict, 1)}
	if err := d.enter(q); err != nil {
		return Answer{}, err
	}

	select { // wait for the turn
	case <-q.opened:
	case v := <-q.ended:
		return v.answer, v.err
	case <-ctx.Done():
		return d.leave(q, cancelled(ctx))
	}
	timer := time.NewTimer(time.Until(q.prompt.Deadline)) // written before opened was closed
	defer timer.Stop()
	select { // wait for the answer
	case v := <-q.ended:
		return v.answer, v.err
	case <-timer.C:
		return d.leave(q, ErrTimedOut)
	case <-ctx.Done():
		return d.leave(q, cancelled(ctx))
	}
}

// Answer delivers a person's answer to the open question. A nil error means that it was taken, be it yes or no.
// ErrStale, ErrMismatch, ErrEarly and ErrTyped mean that it was refused and the question, if any, is still open.
// ErrSecond means that the question asked for a second approver and has now been denied; ErrTimedOut that it came too late.
func (d *Desk) Answer(a Answer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		return ErrStale
	}
	q := d.queue[0]
	err := q.prompt.judge(a, time.Now())
	switch {
	case err == nil:
		d.end(q, verdict{a, nil})
	case errors.Is(err, ErrSecond):
		d.end(q, verdict{a, err})
		return ErrSecond
	case errors.Is(err, ErrDenied):
		d.end(q, verdict{a, ErrDenied})
	case errors.Is(err, ErrTimedOut):
		d.end(q, verdict{Answer{}, ErrTimedOut})
		return ErrTimedOut
	default:
		return err
	}
	return nil
}

// Current returns the open question, if there is one.
func (d *Desk) Current() (Prompt, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		return Prompt{}, false
	}
	return d.queue[0].prompt, true
}

// Waiting returns how many questions queue behind the open one.
func (d *Desk) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(len(d.queue)-1, 0)
}

// DenyAll denies the open question and every waiting one, with reason in the error. Later questions are asked again.
func (d *Desk) DenyAll(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.denyAll(fmt.Errorf("%w: %s", ErrDenied, reason))
}

// Close denies all questions, now and from now on.
func (d *Desk) Close(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = fmt.Errorf("%w: %s", ErrDenied, reason)
	d.denyAll(d.closed)
}

func (d *Desk) enter(q *question) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed != nil {
		return d.closed
	}
	if len(d.queue) > MaxWaiting {
		return fmt.Errorf("%w: %d questions are waiting already", ErrDenied, MaxWaiting)
	}
	for _, other := range d.queue {
		if other.prompt.ID == q.prompt.ID {
			return fmt.Errorf("%w: this question is being asked already", ErrDenied)
		}
	}
	d.queue = append(d.queue, q)
	d.show()
	return nil
}

// leave takes q off the desk unless it was answered meanwhile: then that answer counts.
func (d *Desk) leave(q *question, why error) (Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case v := <-q.ended:
		return v.answer, v.err
	default:
	}
	d.end(q, verdict{Answer{}, why})
	return Answer{}, why
}

// end gives q its verdict and opens the next. The lock is held.
func (d *Desk) end(q *question, v verdict) {
	for i, other := range d.queue {
		if other == q {
			d.queue = append(d.queue[:i:i], d.queue[i+1:]...)
			q.ended <- v
			break
		}
	}
	d.show()
}

func (d *Desk) denyAll(err error) {
	for _, q := range d.queue {
		q.ended <- verdict{Answer{}, err}
	}
	d.queue = nil
	d.show()
}

// show opens the first question if it is not open yet, and tells of the change. The lock is held.
func (d *Desk) show() {
	if len(d.queue) > 0 && d.queue[0].prompt.Opened.IsZero() {
		q := d.queue[0]
		q.prompt = q.prompt.open(time.Now(), Arming, Patience)
		close(q.opened)
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}
