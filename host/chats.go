package host

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cordon/host/chat"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/gate"
	"cordon/host/llm"
	"cordon/host/pin"
	"cordon/host/server"
	"cordon/host/tool"
)

// ChatFile is where conversations are kept.
func ChatFile(p config.Paths) string { return filepath.Join(p.State, "chats.db") }

// startPatience is how long a question waits for servers that are switched on for it and do not run.
const startPatience = 20 * time.Second

// chats is opened at the first use: most commands need none.
type chats struct {
	mu     sync.Mutex
	engine *chat.Engine // guarded by mu; nil before
	closed bool         // guarded by mu
}

// Chats returns what holds conversations. Without it everything else works.
func (h *Host) Chats() (*chat.Engine, error) {
	h.chats.mu.Lock()
	defer h.chats.mu.Unlock()
	switch {
	case h.chats.closed:
		return nil, chat.ErrClosing
	case h.chats.engine != nil:
		return h.chats.engine, nil
	}
	store, err := chat.Open(ChatFile(h.o.Paths))
	if err != nil {
		return nil, fmt.Errorf("conversations cannot be used: %w", err)
	}
	changed := h.o.Chat
	if changed == nil {
		changed = func(chat.Update) {}
	}
	h.chats.engine = &chat.Engine{Store: store, Model: h.chatModel, Tools: h.chatTools, Call: h.Call, Recall: h.recall, Read: h.read, Mask: h.Mask, Changed: changed}
	return h.chats.engine, nil
}

// opened is Chats if they have been used.
func (h *Host) opened() *chat.Engine {
	h.chats.mu.Lock()
	defer h.chats.mu.Unlock()
	return h.chats.engine
}

// UsualModel is what a new conversation in a case asks if nobody says: the model of the one that changed last, or else the first; of those that the case
// allows. It is "" if there is none.
func (h *Host) UsualModel(ctx context.Context, inCase string) (string, error) {
	e, err := h.Chats()
	if err != nil {
		return "", err
	}
	of, err := e.Store.Case(ctx, inCase)
	if err != nil {
		return "", err
	}
	all, err := e.Store.Conversations(ctx, "")
	if err != nil {
		return "", err
	}
	slices.SortFunc(all, func(a, b chat.Conversation) int { return b.Changed.Compare(a.Changed) })
	conf := h.Config()
	may := func(m config.Model) bool {
		return (m.Local() || !of.LocalOnly) && (len(of.Models) == 0 || slices.Contains(of.Models, m.Name))
	}
	for _, c := range all {
		if m, ok := conf.Model(c.Model); ok && may(m) {
			return c.Model, nil
		}
	}
	for _, m := range conf.Models {
		if may(m) && (m.Local() || !conf.LocalModels) {
			return m.Name, nil
		}
	}
	return "", nil
}

// closeChats ends conversations; what has come is kept.
func (h *Host) closeChats() error {
	h.chats.mu.Lock()
	h.chats.closed = true
	e := h.chats.engine
	h.chats.mu.Unlock()
	if e == nil {
		return nil
	}
	e.Close()
	return e.Store.Close()
}

func (h *Host) chatModel(name string) (llm.Model, config.Model, error) {
	def, ok := h.Config().Model(name)
	if !ok {
		return nil, def, fmt.Errorf("the model %s of this conversation is not defined any more: choose another", name)
	}
	m, err := h.Model(name)
	return m, def, err
}

// chatTools returns the tools of servers that a person has approved and that are wanted. Those that do not run are started first: they were switched on
// for the conversation.
func (h *Host) chatTools(ctx context.Context, wanted func(server string) bool) []tool.Tool {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	var starting sync.WaitGroup
	for _, v := range h.Servers.Views() {
		if v.State == server.Stopped && wanted(v.Name) && h.PinStatus(v).State == pin.Pinned {
			starting.Go(func() { _ = h.Servers.Start(ctx, v.Name) }) // why it does not start is shown with the server
		}
	}
	starting.Wait()
	var all []tool.Tool
	for _, v := range h.Servers.Views() {
		if wanted(v.Name) && h.Offered(v) {
			all = append(all, v.Tools...)
		}
	}
	return all
}

// Offered reports whether a model may be told of a server's tools: a person has approved them as they are, and calls can reach them.
func (h *Host) Offered(v server.View) bool {
	return (v.State == server.Running || v.State == server.Idle) && h.PinStatus(v).State == pin.Pinned
}

func (h *Host) recall(conversation string, number int, of tool.ID, c chat.Content) {
	r := tool.Result{Content: c.Blocks}
	if c.Structured != "" {
		r.Structured = []byte(c.Structured)
	}
	h.Gate.Labels.Recall(chat.Asker(conversation), number, of.Server, of.Name, gate.Texts(r))
}

func (h *Host) read(conversation, what, text string) {
	h.Gate.Labels.Read(chat.Asker(conversation), what, []string{text})
}

// told is a Prompter that tells conversations when a person is asked about one of their calls.
type told struct {
	consent.Prompter
	h *Host
}

// Ask implements consent.Prompter.
func (t told) Ask(ctx context.Context, p consent.Prompt) (consent.Answer, error) {
	if e := t.h.opened(); e != nil {
		e.Asked(p.Call.Ticket, true)
		defer e.Asked(p.Call.Ticket, false)
	}
	return t.Prompter.Ask(ctx, p)
}
