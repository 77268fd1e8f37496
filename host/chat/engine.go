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

// Engine holds conversations. All fields are mandatory and must not change after the first question. It is safe for concurrent use; Close it.
type Engine struct {
	Store *Store
	// Model returns a model to ask, and its definition.
	Model func(name string) (llm.Model, config.Model, error)
	// Tools returns the tools that may be called now, of servers that a person has approved and that are wanted.
	Tools func(ctx context.Context, wanted func(server string) bool) []tool.Tool
	// Call is the gate.
	Call func(ctx context.Context, p tool.Proposal) (tool.Result, error)
	// Recall tells the gate's labels what a conversation has read before this program was started.
	Recall func(conversation string, number int, of tool.ID, c Content)
	// Read tells them of outside text that it has in another way. what names it.
	Read func(conversation, what, text string)
	Mask func(string) string // takes the user's own secrets out
	// Changed hears of everything that a screen shows, in order, for each conversation from one goroutine at a time. It must not block.
	Changed func(Update)

	mu       sync.Mutex
	turns    map[string]*turn               // guarded by mu: what is under way, by conversation
	recalled map[string]int64               // guarded by mu
	drawn    map[[sha256.Size]byte]llm.Part // guarded by mu: images as models get them, by what they were
	closed   bool                           // guarded by mu
	running  sync.WaitGroup
}

// Update says what has changed in a conversation.
type Update struct {
	ID    string
	Rev   uint64 // grows
	Entry *Entry // was added
	Index int    // of the part in Live.Parts that Part continues, or begins
	Part  *Part
	Live  *Live // all that is under way
	Idle  bool  // nothing is any more
}

// Phase is what is under way.
type Phase string

// The phases.
const (
	Asking   Phase = "asking" // the model
	Retrying Phase = "retrying"
	Calling  Phase = "calling"
	Waiting  Phase = "waiting" // for a person
)

// Live is what is under way in a conversation. Whoever gets one must not change it.
type Live struct {
	Rev     uint64 // of the last update that is in it
	Phase   Phase
	Since   time.Time
	Model   string
	Parts   []Part
	Running []Running
	Retry   string // why the model is asked again
	Asked   *Asked // what the model is asked with; its answer is not in it. Nil before the first request
}

// Part is a piece of an answer that is coming.
type Part struct {
	Kind llm.Kind
	Text string
	Name string // of a call
}

// Running is a call that is under way.
type Running struct {
	ID     string
	Tool   tool.ID
	Effect tool.Effect
	State  Phase // "" before its turn, Calling, Waiting
}

// Errors of what cannot be begun.
var (
	ErrBusy    = errors.New("this conversation is busy: wait, or stop it first")
	ErrClosing = errors.New("everything is being closed")
	ErrEmpty   = errors.New("there is nothing to ask")
	ErrNoModel = errors.New("no model is chosen for this conversation: choose one")
)

// Bounds of a question.
const (
	maxQuestion = 1 << 20 // bytes
	maxAttached = 4 << 20
	maxFiles    = 20
	MaxPictures = 8 // of a question
)

// Ask is a question of a person's.
type Ask struct {
	Text     string
	Attached []Attachment
	Replaces int64 // the question that it is another version of, or 0; what is attached to that goes with this too
}

// Validate reports why it cannot be asked.
func (a Ask) Validate() error {
	size, pictures, drawn := 0, 0, 0
	for _, f := range a.Attached {
		size, drawn = size+len(f.Text), drawn+len(f.Data)
		if f.MIME != "" {
			pictures++
		}
	}
	switch {
	case strings.TrimSpace(a.Text) == "" && len(a.Attached) == 0:
		return ErrEmpty
	case len(a.Text) > maxQuestion:
		return fmt.Errorf("the question is longer than %d KiB: attach the text as a file", maxQuestion>>10)
	case size > maxAttached || len(a.Attached) > maxFiles:
		return fmt.Errorf("the attachments are more than %d files or %d MiB", maxFiles, maxAttached>>20)
	case pictures > MaxPictures || drawn > maxPictured:
		return fmt.Errorf("there are more than %d images, or together they are larger than %d MiB", MaxPictures, maxPictured>>20)
	}
	return nil
}

// Ask begins a turn with a question and returns when it has ended, whatever came of it: that is in its last entry. An error means that it was not
// begun, or could not be kept.
func (e *Engine) Ask(ctx context.Context, id string, a Ask) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return e.turn(ctx, id, func(ctx context.Context, t *turn, c Conversation) error {
		parent := c.Head
		if a.Replaces != 0 {
			old, err := e.Store.Entry(ctx, id, a.Replaces)
			if err != nil {
				return err
			}
			if old.Kind != Question {
				return errors.New("only a question can be asked in another way")
			}
			old.Attached = slices.DeleteFunc(old.Attached, func(a Attachment) bool { return a.Missing })
			parent, a.Attached = old.Parent, append(old.Attached, a.Attached...)
			if err := a.Validate(); err != nil { // together
				return err
			}
		}
		if len(a.Attached) > 0 {
			path, err := e.Store.Path(ctx, id, parent, maxTold)
			if err != nil {
				return err
			}
			a.Attached = distinct(a.Attached, path)
		}
		if c.Title == "" {
			title := titleOf(a)
			if err := e.Store.Change(ctx, id, func(c *Conversation) error { c.Title = title; return nil }); err != nil {
				return err
			}
		}
		t.head = parent
		return t.add(ctx, Entry{Kind: Question, Parts: []llm.Part{{Kind: llm.Text, Text: a.Text}}, Attached: a.Attached})
	})
}

// distinct gives attached files names of their own among all of a conversation: a model asks for them by name.
func distinct(files []Attachment, path []Entry) []Attachment {
	taken := map[string]bool{}
	for _, en := range path {
		for _, a := range en.Attached {
			taken[a.Name] = true
		}
	}
	files = slices.Clone(files)
	for i := range files {
		f := &files[i]
		name := f.Name
		for n := 2; taken[f.Name]; n++ {
			f.Name = fmt.Sprintf("%s (%d)", name, n)
		}
		taken[f.Name] = true
		if f.MIME == "" {
			f.Size = len(f.Text)
		}
	}
	return files
}

// titleOf makes a title of a question's first line. No model is asked for one.
func titleOf(a Ask) string {
	for l := range strings.Lines(a.Text) {
		if l = strings.Join(strings.Fields(strings.TrimLeft(l, "#>*- \t")), " "); l != "" {
			return clip(l, 60)
		}
	}
	if len(a.Attached) > 0 && a.Attached[0].From == "you" { // else it is a server's word
		return clip(a.Attached[0].Name, 60)
	}
	return "Untitled"
}

// Retry answers a question again; the answer that there is stays, as another version.
func (e *Engine) Retry(ctx context.Context, id string, question int64) error {
	return e.turn(ctx, id, func(ctx context.Context, t *turn, _ Conversation) error {
		q, err := e.Store.Entry(ctx, id, question)
		if err != nil {
			return err
		}
		if q.Kind != Question {
			return errors.New("only a question can be answered again")
		}
		t.head = question
		return e.Store.SetHead(ctx, id, question, true)
	})
}

// Continue goes on where a turn broke off.
func (e *Engine) Continue(ctx context.Context, id string) error {
	return e.turn(ctx, id, func(_ context.Context, t *turn, c Conversation) error {
		if c.Head == 0 {
			return ErrEmpty
		}
		t.head = c.Head
		return nil
	})
}

// Select makes another version of an entry what the conversation has come to, with all that followed it.
func (e *Engine) Select(ctx context.Context, id string, seq int64) error {
	return e.still(id, func() error { return e.Store.SetHead(ctx, id, seq, false) })
}

// Delete forgets a conversation. What is under way in it is stopped first.
func (e *Engine) Delete(ctx context.Context, id string) error {
	e.Stop(id)
	for e.Live(id, nil) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return e.still(id, func() error { return e.Store.Delete(ctx, id) })
}

// still runs f while nothing is under way in a conversation.
func (e *Engine) still(id string, f func() error) error {
	e.mu.Lock()
	if e.turns[id] != nil {
		e.mu.Unlock()
		return ErrBusy
	}
	if e.turns == nil {
		e.turns, e.recalled = map[string]*turn{}, map[string]int64{}
	}
	e.turns[id] = &turn{e: e, id: id, cancel: func(error) {}}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.turns, id)
		e.mu.Unlock()
	}()
	return f()
}

// StopAll ends what is under way in all conversations.
func (e *Engine) StopAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.turns {
		t.cancel(errStoppedAll)
	}
}

// Stop ends what is under way in a conversation, at once.
func (e *Engine) Stop(id string) {
	e.mu.Lock()
	t := e.turns[id]
	e.mu.Unlock()
	if t != nil {
		t.cancel(errStopped)
	}
}

// Close ends everything and returns when nothing is under way.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	for _, t := range e.turns {
		t.cancel(ErrClosing)
	}
	e.mu.Unlock()
	e.running.Wait()
}

// Live returns what is under way in a conversation, or nil. between, which may be nil, is called after all updates that are in it and before any later
// one; it must not block.
func (e *Engine) Live(id string, between func()) *Live {
	e.mu.Lock()
	t := e.turns[id]
	e.mu.Unlock()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if between != nil {
		between()
	}
	if t.live.Phase == "" { // it is only held, see still
		return nil
	}
	return t.copy()
}

// Asked is told when a person is asked about a call, and when that is over. ticket is the proposal's.
func (e *Engine) Asked(ticket string, asking bool) {
	id, call, ok := strings.Cut(ticket, "/")
	e.mu.Lock()
	t := e.turns[id]
	e.mu.Unlock()
	if ok && t != nil {
		state := Calling
		if asking {
			state = Waiting
		}
		t.state(call, state)
	}
}

// Remember tells the labels of the gate what a conversation has read that they were not told of: before this program was started, in the conversation that it is a
// branch of, in what is attached.
func (e *Engine) Remember(ctx context.Context, id string) error {
	e.mu.Lock()
	if e.recalled == nil {
		e.turns, e.recalled = map[string]*turn{}, map[string]int64{}
	}
	after := e.recalled[id]
	e.mu.Unlock()
	err := e.Store.Foreign(ctx, id, after, func(en Entry) error {
		for _, a := range en.Attached { // what an image says nobody can compare, but that there is one counts
			e.Read(id, "attached file "+a.Name, a.Name+"\n"+a.Text)
		}
		switch o := en.Outcome; {
		case o == nil || o.Number == 0:
		case o.Content != nil:
			e.Recall(id, o.Number, o.Tool, *o.Content)
		default:
			e.Recall(id, o.Number, o.Tool, Content{Blocks: []tool.Content{{Type: "text", Text: o.Reason}}})
		}
		after = max(after, en.Seq)
		return nil
	})
	if err == nil {
		e.told(id, after)
	}
	return err
}

// told notes that the labels know everything up to an entry.
func (e *Engine) told(id string, seq int64) {
	e.mu.Lock()
	e.recalled[id] = max(e.recalled[id], seq)
	e.mu.Unlock()
}
