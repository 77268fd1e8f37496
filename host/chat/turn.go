package chat

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/tool"
)

// turn is one that is under way.
type turn struct {
	e      *Engine
	id     string // of the conversation
	cancel context.CancelCauseFunc
	began  time.Time
	limits Limits

	mu   sync.Mutex
	live Live  // guarded by mu
	head int64 // guarded by mu

	// What follows belongs to the turn's own goroutine, but while calls run side by side.
	requests, calls, tokens int
	dollars                 float64
	seen                    map[string]*repeat // guarded by mu
	circles                 int                // guarded by mu
	offered                 map[string]offer
	held, barred            []offer
	found                   map[string]bool
	hide                    *hider // of the last request
}

type repeat struct {
	digest [sha256.Size]byte
	times  int
}

// maxTold bounds the entries of which a request is made: more fit into no model.
const maxTold = 4000

// errStopped is why a turn ends that a person stops.
var (
	errStopped    = errors.New("stopped")
	errStoppedAll = errors.New("everything was stopped")
)

// turn runs one.
func (e *Engine) turn(ctx context.Context, id string, begin func(context.Context, *turn, Conversation) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &turn{e: e, id: id, cancel: cancel, began: time.Now(), seen: map[string]*repeat{}, found: map[string]bool{}}
	t.live = Live{Phase: Asking, Since: t.began, Rev: uint64(t.began.UnixMicro())} // so that it grows from turn to turn
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		return ErrClosing
	case e.turns[id] != nil:
		e.mu.Unlock()
		return ErrBusy
	}
	if e.turns == nil {
		e.turns, e.recalled = map[string]*turn{}, map[string]int64{}
	}
	e.turns[id] = t
	e.running.Add(1)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.turns, id)
		e.mu.Unlock()
		t.mu.Lock()
		rev := t.live.Rev + 1
		t.mu.Unlock()
		e.Changed(Update{ID: id, Rev: rev, Idle: true})
		e.running.Done()
	}()
	keep := context.WithoutCancel(ctx) // what a person has asked is kept, whatever happens
	c, err := e.Store.Conversation(keep, id)
	if err == nil {
		err = begin(keep, t, c)
	}
	if err == nil {
		err = e.Remember(keep, id)
	}
	if err != nil {
		return err
	}
	of, err := e.Store.Case(keep, c.Case)
	if err != nil {
		return err
	}
	t.limits = of.Limits.filled()
	timed, stop := context.WithTimeoutCause(ctx, time.Duration(t.limits.Time), errTime)
	defer stop()
	ended, err := t.loop(timed)
	if err != nil {
		return err
	}
	return t.add(keep, Entry{Kind: End, Ended: &ended})
}

var errTime = errors.New("the time is up")

// filled has the defaults in place of zeros.
func (l Limits) filled() Limits {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&l.Requests, DefaultRequests)
	set(&l.Calls, DefaultCalls)
	set(&l.Tokens, DefaultTokens)
	if l.Time == 0 {
		l.Time = config.Duration(DefaultTime)
	}
	return l
}

// at is the entry that it has come to.
func (t *turn) at() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

// add keeps an entry after the head.
func (t *turn) add(ctx context.Context, en Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	en, err := t.e.Store.Append(ctx, t.id, t.head, en)
	if err != nil {
		return err
	}
	t.head = en.Seq
	if en.Kind != Question { // the gate has told the labels
		t.e.told(t.id, en.Seq)
	}
	if en.Outcome != nil {
		t.live.Running = slices.DeleteFunc(slices.Clone(t.live.Running), func(r Running) bool { return r.ID == en.Outcome.ID })
	}
	if en.Kind == Answer {
		t.live.Parts = nil
	}
	t.tell(Update{Entry: &en})
	return nil
}

// copy must be called with mu held.
func (t *turn) copy() *Live {
	l := t.live
	l.Parts, l.Running = slices.Clone(l.Parts), slices.Clone(l.Running)
	if slices.ContainsFunc(l.Running, func(r Running) bool { return r.State == Waiting }) {
		l.Phase = Waiting
	}
	return &l
}

// change changes what is under way and tells of all of it.
func (t *turn) change(f func(l *Live)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.live)
	t.tell(Update{Live: t.copy()})
}

// tell passes on what has changed, with mu held.
func (t *turn) tell(u Update) {
	t.live.Rev++
	u.ID, u.Rev = t.id, t.live.Rev
	if u.Live != nil {
		u.Live.Rev = u.Rev
	}
	t.e.Changed(u)
}

func (t *turn) state(call string, to Phase) {
	t.change(func(l *Live) {
		l.Running = slices.Clone(l.Running)
		for i := range l.Running {
			if l.Running[i].ID == call {
				l.Running[i].State = to
			}
		}
	})
}

// loop asks the model and makes its calls until it has nothing more to call.
func (t *turn) loop(ctx context.Context) (Ended, error) {
	for {
		if ended, over := t.spent(ctx); over {
			return ended, nil
		}
		answer, wanted, failure, err := t.ask(ctx)
		if err != nil {
			return Ended{}, err
		}
		switch {
		case ctx.Err() != nil:
			return t.stopped(ctx), nil
		case failure != nil:
			return *failure, nil
		case answer.Stop == llm.StopLength:
			return Ended{Why: Exhausted, Reason: "The model has written as much as it may in one answer, so the answer is not whole. Continue, or allow it more in Settings."}, nil
		case answer.Stop == llm.StopRefused:
			return Ended{Why: ModelRefuses, Reason: "The model, or its provider, does not want to answer this. Ask in another way, or choose another model."}, nil
		case len(wanted) == 0:
			return Ended{Why: Done}, nil
		}
		if err := t.make(ctx, wanted); err != nil {
			return Ended{}, err
		}
	}
}

// spent reports whether the turn may not go on.
func (t *turn) spent(ctx context.Context) (Ended, bool) {
	limit := func(format string, args ...any) (Ended, bool) {
		return Ended{Why: Exhausted, Reason: fmt.Sprintf(format, args...) + " Continue if it should go on."}, true
	}
	l := t.limits
	switch {
	case ctx.Err() != nil:
		return t.stopped(ctx), true
	case t.circles >= 3:
		return limit("The model goes in circles: it has proposed the same calls again and again.")
	case t.requests >= l.Requests:
		return limit("The model has been asked %d times for this question, which is the limit.", t.requests)
	case t.calls >= l.Calls:
		return limit("The model has had %d calls made for this question, which is the limit.", t.calls)
	case t.tokens >= l.Tokens:
		return limit("This question has used %d tokens; the limit is %d.", t.tokens, l.Tokens)
	case l.Dollars > 0 && t.dollars >= l.Dollars:
		return limit("This question has cost $%.2f; the limit is $%.2f.", t.dollars, l.Dollars)
	}
	return Ended{}, false
}

func (t *turn) stopped(ctx context.Context) Ended {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTime):
		return Ended{Why: Exhausted, Reason: fmt.Sprintf("This question has taken %v, which is the limit. Continue if it should go on.", t.limits.Time)}
	case errors.Is(cause, errStopped):
		return Ended{Why: Stopped, Reason: "You stopped it."}
	}
	return Ended{Why: Stopped, Reason: "Cordon was closed, or everything was stopped."}
}

// ask has the model answer once. wanted are the calls that it proposes.
func (t *turn) ask(ctx context.Context) (answer llm.Answer, wanted []llm.Part, failure *Ended, err error) {
	broke := func(reason string, fault llm.Fault) (llm.Answer, []llm.Part, *Ended, error) {
		return answer, nil, &Ended{Why: Broke, Reason: reason, Fault: fault}, nil
	}
	keep := context.WithoutCancel(ctx) // what has come is kept
	c, err := t.e.Store.Conversation(keep, t.id)
	if err != nil {
		return answer, nil, nil, err
	}
	of, err := t.e.Store.Case(keep, c.Case) // again: its rules may have become stricter
	if err != nil {
		return answer, nil, nil, err
	}
	if c.Model == "" {
		return broke(sentence(ErrNoModel.Error()), "")
	}
	if len(of.Models) > 0 && !slices.Contains(of.Models, c.Model) {
		return broke(fmt.Sprintf("The case %q does not allow the model %s: nothing was sent. Choose one of %s.", of.Name, c.Model, strings.Join(of.Models, ", ")), "")
	}
	model, def, err := t.e.Model(c.Model)
	if err != nil {
		return broke(sentence(err.Error()), "")
	}
	path, err := t.e.Store.Path(keep, t.id, t.head, maxTold)
	if err != nil {
		return answer, nil, nil, err
	}
	if first := slices.IndexFunc(path, func(en Entry) bool { return en.Kind == Question }); len(path) == maxTold && first > 0 { // what is before it belongs to a turn whose beginning is too long ago
		path = path[first:]
	}
	hide := newHider(t.e.Mask, c.tag(), of.Redact)
	t.hide = hide
	req, err := t.e.compose(keep, c, of, def, path, t.e.Tools(ctx, func(server string) bool { return Offers(c, of, server) }), t.found, ratio(path, def.Name), hide)
	if err != nil {
		return answer, nil, nil, err
	}
	t.offered, t.held, t.barred = map[string]offer{}, req.held, req.barred
	for _, o := range req.offered {
		t.offered[o.Name] = o
	}
	asked := Asked{Model: def.Name, Place: place(def), Messages: len(req.Messages), Tools: len(req.Tools), Held: len(req.held), Barred: len(req.barred), Unseen: req.withheld, Why: req.why, Tokens: estimate(req.Request), Cut: req.cut, Dropped: req.dropped}
	hidden := hide.hidden(req.Request)
	asked.Hidden = hide.n
	hidden.May = func() error { return t.may(keep, c.Model, of) }
	hidden.Sent = func(s llm.Sent) error { // before anything leaves
		asked.Tries, asked.Bytes = s.Try, asked.Bytes+int64(len(s.Body))
		return t.left(keep, def, Left{Requests: 1, Bytes: int64(len(s.Body))})
	}

	t.change(func(l *Live) {
		l.Phase, l.Since, l.Model, l.Parts, l.Running, l.Retry = Asking, time.Now(), def.Name, nil, nil, ""
		told := asked
		l.Asked = &told
	})
	show := showing{hide, map[int]string{}}
	began := time.Now()
	t.requests++
	answer, failed := model.Ask(ctx, hidden, func(d llm.Delta) {
		if asked.First == 0 && d.Retry == nil {
			asked.First = config.Duration(time.Since(began))
		}
		if d.Retry == nil && d.Kind == llm.Text {
			d.Text = show.add(d.Index, d.Text)
		}
		t.delta(d)
	})
	for part, text := range show.held { // it was none
		t.delta(llm.Delta{Index: part, Kind: llm.Text, Text: text})
	}
	asked.Took, asked.Said, asked.Stop, asked.Usage = config.Duration(time.Since(began)), clip(answer.Model, 200), answer.Stop, answer.Usage
	asked.Dollars, _ = llm.Cost(answer.Usage, def.Price)
	t.tokens += answer.Usage.Input + answer.Usage.Output
	if answer.Usage.Input == 0 {
		t.tokens += asked.Tokens
	}
	t.dollars += asked.Dollars
	if err := t.left(keep, def, Left{Dollars: asked.Dollars}); err != nil {
		return answer, nil, nil, err
	}
	parts := named(hide.shown(answer.Parts), t.head)
	for _, p := range parts {
		if id, ok := t.known(p.Name); ok && p.Kind == llm.Call {
			if asked.Called == nil {
				asked.Called = map[string]tool.ID{}
			}
			asked.Called[p.Name] = id.id
		}
	}
	if len(parts) > 0 {
		if err := t.add(keep, Entry{Kind: Answer, Parts: parts, Asked: &asked}); err != nil {
			return answer, nil, nil, err
		}
	}
	if failed != nil {
		if ctx.Err() != nil {
			return answer, nil, nil, nil // the loop says why
		}
		e, _ := errors.AsType[*llm.Error](failed)
		if e == nil {
			return broke(sentence(failed.Error()), llm.FaultBroken)
		}
		return broke(sentence(e.Error()), e.Fault)
	}
	for _, p := range parts {
		if p.Kind == llm.Call {
			wanted = append(wanted, p)
		}
	}
	if answer.Stop == llm.StopRefused || answer.Stop == llm.StopLength { // nobody knows what the whole would have been
		for _, p := range wanted {
			o := Outcome{ID: p.ID, Name: clip(p.Name, 200), Args: string(p.Args), State: Refused, Reason: "The answer ended before its end, so its calls were not made."}
			if id, ok := t.known(p.Name); ok {
				o.Tool, o.Effect = id.id, id.effect
			}
			if err := t.add(keep, Entry{Kind: Result, Outcome: &o}); err != nil {
				return answer, nil, nil, err
			}
		}
		wanted = nil
	}
	return answer, wanted, nil, nil
}

// named gives the calls of an answer ids of our own: a model's may be none, twice the same, or such that no provider takes them back.
func named(parts []llm.Part, after int64) []llm.Part {
	parts = slices.Clone(parts)
	for i := range parts {
		if parts[i].Kind == llm.Call {
			parts[i].ID = fmt.Sprintf("call_%d_%d", after, i)
		}
	}
	return parts
}

// errStricter ends the tries of a request that was made under other rules.
var errStricter = errors.New("the case's rules have changed meanwhile: continue, and it is asked anew")

// may reports why a request that is about to leave may not any more: its case has become stricter since it was made.
func (t *turn) may(ctx context.Context, model string, was Case) error {
	c, err := t.e.Store.Conversation(ctx, t.id)
	if err != nil {
		return err
	}
	now, err := t.e.Store.Case(ctx, c.Case)
	switch {
	case err != nil:
		return err
	case now.ID != was.ID || !slices.Equal(now.Redact, was.Redact) || !slices.Equal(now.Models, was.Models) || c.Model != model:
		return errStricter
	case now.LocalOnly:
		return llm.ErrElsewhere
	}
	return nil
}

// delta passes on a piece of an answer.
func (t *turn) delta(d llm.Delta) {
	if d.Retry != nil {
		t.change(func(l *Live) { l.Phase, l.Retry = Retrying, d.Retry.Why })
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live.Phase == Retrying {
		t.live.Phase, t.live.Retry = Asking, ""
		t.tell(Update{Live: t.copy()})
	}
	for len(t.live.Parts) <= d.Index {
		t.live.Parts = append(t.live.Parts, Part{Kind: d.Kind})
	}
	p := &t.live.Parts[d.Index]
	p.Kind, p.Text = d.Kind, p.Text+d.Text
	if d.Name != "" {
		p.Name = d.Name
	}
	t.tell(Update{Index: d.Index, Part: &Part{d.Kind, d.Text, d.Name}})
}

// left notes what has left this computer.
func (t *turn) left(ctx context.Context, def config.Model, l Left) error {
	return t.e.Store.Change(ctx, t.id, func(c *Conversation) error {
		c.Left.Dollars += l.Dollars
		at := place(def)
		if at == "" || l.Requests == 0 {
			return nil
		}
		c.Left.Requests += l.Requests
		c.Left.Bytes += l.Bytes
		if i, has := slices.BinarySearch(c.Left.Places, at); !has {
			c.Left.Places = slices.Insert(c.Left.Places, i, at)
		}
		return nil
	})
}

// ratio is by how much the provider counted more tokens than was estimated, at the last answer of a model.
func ratio(path []Entry, model string) float64 {
	for _, en := range slices.Backward(path) {
		if a := en.Asked; a != nil && a.Model == model && a.Usage.Input > 0 && a.Tokens > 0 {
			return min(max(float64(a.Usage.Input)/float64(a.Tokens), 0.5), 2)
		}
	}
	return 1
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + map[bool]string{true: "", false: "."}[strings.ContainsAny(s[len(s)-1:], ".!?…")]
}

// place is the host name of a model's service, "" for this computer.
func place(def config.Model) string {
	if def.Local() {
		return ""
	}
	return def.Host()
}
