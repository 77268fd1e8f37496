package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"cordon/host/chat"
	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/tool"
)

// Bounds of what the page gets at once, in entries.
const (
	firstEntries = 200
	olderEntries = 200
)

// Chats lists or searches conversations.
func (a *App) Chats(q ChatQuery) ([]ChatRow, error) {
	e, err := a.host.Chats()
	if err != nil {
		return nil, chatFailure(err)
	}
	cases, _ := e.Store.Cases(a.ctx) // one that cannot be read has no name here, and says why where it is used
	names := map[string]string{}
	for _, c := range cases {
		names[c.ID] = c.Name
	}
	var hits []chat.Hit
	if strings.TrimSpace(q.Text) != "" {
		hits, err = e.Store.Search(a.ctx, q.CaseID, q.Text)
	} else {
		var all []chat.Conversation
		all, err = e.Store.Conversations(a.ctx, q.CaseID)
		for _, c := range all {
			hits = append(hits, chat.Hit{Conversation: c})
		}
	}
	if err != nil {
		return nil, chatFailure(err)
	}
	rows := []ChatRow{}
	for _, h := range hits {
		r := ChatRow{ID: h.ID, Title: titled(h.Conversation), CaseID: h.Case, CaseName: names[h.Case], Pinned: h.Pinned, Changed: stamp(h.Changed), Snippet: h.Snippet}
		if l := e.Live(h.ID, nil); l != nil {
			r.Phase = string(l.Phase)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// titled is what a conversation is called before it has a title.
func titled(c chat.Conversation) string {
	if c.Title == "" {
		return "New conversation"
	}
	return c.Title
}

// OpenChat returns a conversation with its newest entries.
func (a *App) OpenChat(id string) (ChatView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	c, err := e.Store.Conversation(a.ctx, id)
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	of, err := e.Store.Case(a.ctx, c.Case)
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	path, err := e.Store.Path(a.ctx, id, c.Head, firstEntries+1)
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	session := a.host.Gate.Labels.Session(chat.Asker(id))
	v := ChatView{ID: c.ID, Title: titled(c), CaseID: c.Case, Pinned: c.Pinned, Scope: string(c.Scope), Servers: []ChatServer{}, Entries: []EntryView{}, More: len(path) > firstEntries,
		Left: ChatLeft{c.Left.Requests, c.Left.Bytes, list(c.Left.Places)}, Results: session.Results, Outside: session.ReadOutside}
	if v.More {
		path = path[1:]
	}
	highest := 0
	for _, en := range path {
		v.Entries = append(v.Entries, a.entryView(en))
		v.Outside = v.Outside || len(en.Attached) > 0
		if en.Outcome != nil {
			highest = max(highest, en.Outcome.Number)
		}
		if en.Asked != nil {
			v.Budget.Used = en.Asked.Usage.Input
			if v.Budget.Used == 0 {
				v.Budget.Used = en.Asked.Tokens
			}
		}
	}
	v.Results = max(v.Results, highest)
	v.Outside = v.Outside || v.Results > 0
	if def, ok := a.host.Config().Model(c.Model); ok {
		v.Model, v.Local = def.Name, def.Local()
		v.Budget.Context, v.Budget.Priced = def.Context, def.Price != config.Price{}
	}
	v.Budget.Dollars = c.Left.Dollars
	for _, s := range a.host.Servers.Views() {
		if len(of.Servers) > 0 && !slices.Contains(of.Servers, s.Name) {
			continue // the case has it not
		}
		row := ChatServer{Name: s.Name, On: !slices.Contains(c.Without, s.Name), State: string(s.State), Pin: a.host.PinStatus(s).State.String()}
		for _, t := range s.Tools {
			if chat.May(chat.ScopeOf(c, of), t) {
				row.Tools++
				row.Tokens += chat.TokensOf(t)
			}
		}
		v.Servers = append(v.Servers, row)
	}
	v.Live = liveView(e.Live(id, a.pushes.seal))
	return v, nil
}

// OlderEntries returns those that led to an entry, oldest first.
func (a *App) OlderEntries(id string, before int64) ([]EntryView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return nil, chatFailure(err)
	}
	path, err := e.Store.Path(a.ctx, id, before, olderEntries+1)
	if err != nil {
		return nil, chatFailure(err)
	}
	views := []EntryView{}
	for _, en := range path[:max(0, len(path)-1)] {
		views = append(views, a.entryView(en))
	}
	return views, nil
}

// NewChat begins a conversation.
func (a *App) NewChat(n NewChat) (ChatView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	var like chat.Conversation
	if n.Like != "" {
		if like, err = e.Store.Conversation(a.ctx, n.Like); err != nil {
			return ChatView{}, chatFailure(err)
		}
	}
	like.Case, like.Model = n.CaseID, n.Model
	if n.Model == "" {
		if like.Model, err = a.host.UsualModel(a.ctx, n.CaseID); err != nil {
			return ChatView{}, chatFailure(err)
		}
	}
	c, err := e.Store.Begin(a.ctx, like)
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	a.changed()
	return a.OpenChat(c.ID)
}

// Ask asks, and returns when the turn has ended, however that is.
func (a *App) Ask(q Ask) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	ask := chat.Ask{Text: q.Text, Replaces: q.Replaces}
	if err := e.Remember(a.ctx, q.ID); err != nil { // before anything more is read
		return chatFailure(err)
	}
	for _, at := range q.Attach {
		switch {
		case at.Server != "":
			read, err := a.attach(q.ID, at)
			if err != nil {
				return chatFailure(err)
			}
			ask.Attached = append(ask.Attached, read...)
		case len(at.Image) > 0:
			picture, err := chat.NewPicture(nameOf(at.Name), "you", at.Image)
			if err != nil {
				return &Failure{"CRD-CHT-03", sentence(err.Error(), ""), "Nothing was sent.", "Attach a PNG or JPEG of at most 16 MiB."}
			}
			ask.Attached = append(ask.Attached, picture)
		default:
			file, err := chat.NewFile(nameOf(at.Name), "you", []byte(at.Text))
			if err != nil {
				return &Failure{"CRD-CHT-03", sentence(err.Error(), ""), "Nothing was sent.", "Attach a text file, or let a server read it."}
			}
			ask.Attached = append(ask.Attached, file)
		}
	}
	return chatFailure(e.Ask(a.ctx, q.ID, ask))
}

// attach reads a resource of a server, through the gate.
func (a *App) attach(id string, at Attachment) (all []chat.Attachment, err error) {
	r, err := a.host.Call(a.ctx, tool.Proposal{Kind: tool.ReadResource, Target: tool.ID{Server: at.Server, Name: at.URI},
		By: tool.Asker{Kind: "window", Name: "Attach a resource", Conversation: chat.Asker(id)}, Wrote: tool.OriginUser})
	if err != nil {
		return nil, err
	}
	c := chat.Content{Structured: string(r.Structured)}
	for _, b := range r.Content {
		switch picture, err := chat.NewPicture(nameOf(at.URI), at.Server, b.Data); {
		case err != nil:
			c.Blocks = append(c.Blocks, b)
		case len(all) == chat.MaxPictures:
			return nil, fmt.Errorf("%s has more than %d images: attach another resource", nameOf(at.URI), chat.MaxPictures)
		default:
			all = append(all, picture)
		}
	}
	if text := c.Text(); text != "" || len(all) == 0 {
		all = append(all, chat.Attachment{Name: nameOf(at.URI), From: at.Server, Text: text, Size: len(text)})
	}
	return all, nil
}

// nameOf is what a file is called, on one line.
func nameOf(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	if r := []rune(name); len(r) > 200 {
		name = string(r[:200])
	}
	if name == "" {
		return "file"
	}
	return name
}

// StopChat ends what is under way in a conversation.
func (a *App) StopChat(id string) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	e.Stop(id)
	return nil
}

// RetryTurn answers a question again.
func (a *App) RetryTurn(id string, question int64) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	return chatFailure(e.Retry(a.ctx, id, question))
}

// ContinueChat goes on where a turn broke off.
func (a *App) ContinueChat(id string) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	return chatFailure(e.Continue(a.ctx, id))
}

// SelectVersion shows another version of an entry.
func (a *App) SelectVersion(id string, seq int64) (ChatView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	if err := e.Select(a.ctx, id, seq); err != nil {
		return ChatView{}, chatFailure(err)
	}
	return a.OpenChat(id)
}

// ChangeChat changes what a conversation is.
func (a *App) ChangeChat(c ChatChange) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	err = e.Store.Change(a.ctx, c.ID, func(v *chat.Conversation) error {
		switch c.What {
		case "title":
			if strings.TrimSpace(c.Text) == "" {
				return errors.New("a conversation needs a title")
			}
			v.Title = nameOf(c.Text)
		case "pinned":
			v.Pinned = c.On
		case "model":
			if _, ok := a.host.Config().Model(c.Text); !ok {
				return fmt.Errorf("there is no model %q", c.Text)
			}
			v.Model = c.Text
		case "server":
			v.Without = slices.DeleteFunc(v.Without, func(s string) bool { return s == c.Text })
			if !c.On {
				v.Without = append(v.Without, c.Text)
			}
		case "case":
			v.Case = c.Text
		case "scope":
			v.Scope = chat.Scope(c.Text)
		default:
			return fmt.Errorf("a conversation has no %q", c.What)
		}
		return nil
	})
	a.changed()
	return chatFailure(err)
}

// DeleteChat forgets a conversation.
func (a *App) DeleteChat(id string) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	err = e.Delete(a.ctx, id)
	a.changed()
	return chatFailure(err)
}

// BranchChat makes a new conversation of all that led to an entry.
func (a *App) BranchChat(id string, seq int64) (ChatView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	c, err := e.Store.Branch(a.ctx, id, seq)
	if err != nil {
		return ChatView{}, chatFailure(err)
	}
	a.changed()
	return a.OpenChat(c.ID)
}

// ExportChat writes a conversation to a file that the person chooses.
func (a *App) ExportChat(id, format string) (string, error) {
	e, err := a.host.Chats()
	if err != nil {
		return "", chatFailure(err)
	}
	x, err := e.Store.Export(a.ctx, id, Version)
	if err != nil {
		return "", chatFailure(err)
	}
	body, end, err := x.As(format)
	if err != nil {
		return "", chatFailure(err)
	}
	a.mu.Lock()
	w := a.window
	a.mu.Unlock()
	if w == nil {
		return "", errors.New("the window is not open yet")
	}
	path, err := w.ChooseFile("Export the conversation", x.FileName()+end)
	if err != nil || path == "" {
		return "", err
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is no place for a file", path)
	}
	return path, chatFailure(config.WriteFile(path, body))
}

// Evidence is the whole of a result.
func (a *App) Evidence(id string, seq int64) (OutcomeView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return OutcomeView{}, chatFailure(err)
	}
	en, err := e.Store.Entry(a.ctx, id, seq)
	if err == nil && en.Outcome == nil {
		err = chat.ErrNotFound
	}
	if err != nil {
		return OutcomeView{}, chatFailure(err)
	}
	v := outcomeView(en.Outcome)
	if c := en.Outcome.Content; c != nil {
		v.Content, v.Cut, v.Structured = []ContentView{}, false, c.Structured
		for _, b := range c.Blocks {
			v.Content = append(v.Content, contentView(b))
		}
	}
	return v, nil
}

// chatFailure is FailureOf for what concerns conversations; nil for nil.
func chatFailure(err error) error {
	if err == nil {
		return nil
	}
	f := FailureOf(err)
	if f.Code == "CRD-GEN-01" {
		f.Code, f.What, f.Means = "CRD-CHT-01", sentence(err.Error(), ""), "Nothing was sent."
		switch {
		case errors.Is(err, chat.ErrBusy):
			f.Code, f.Fix = "CRD-CHT-02", "Wait until it has ended, or stop it."
		case errors.Is(err, chat.ErrNotEmpty):
			f.Means, f.Fix = "The case stays.", "Delete its conversations, or move them to another case, first."
		case errors.Is(err, chat.ErrNotFound):
			f.Fix = "Choose another conversation from the list."
		}
	}
	return &f
}

// AttachedImage is an image that goes with a question: the one at an index among what is attached.
func (a *App) AttachedImage(id string, seq int64, index int) (ContentView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return ContentView{}, chatFailure(err)
	}
	en, err := e.Store.Entry(a.ctx, id, seq)
	if err == nil && (index < 0 || index >= len(en.Attached) || en.Attached[index].Data == nil) {
		err = chat.ErrNotFound
	}
	if err != nil {
		return ContentView{}, chatFailure(err)
	}
	return contentView(tool.Content{Type: "image", MIME: en.Attached[index].MIME, Data: en.Attached[index].Data}), nil
}

// entryView is one entry for the page, without the whole of results.
func (a *App) entryView(en chat.Entry) EntryView {
	v := EntryView{Seq: en.Seq, Turn: en.Turn, Kind: string(en.Kind), At: stamp(en.At), Text: en.Text(), Attachments: []AttachmentView{}, Versions: list(en.Versions),
		Reasoning: en.Reasoning(), Calls: []ProposedView{}}
	for _, at := range en.Attached {
		v.Attachments = append(v.Attachments, AttachmentView{at.Name, at.From, at.Size, at.MIME != ""})
	}
	if s := en.Asked; s != nil {
		v.Model, v.Local, v.Stop = s.Model, s.Place == "", string(s.Stop)
		v.FirstMillis, v.TookMillis = time.Duration(s.First).Milliseconds(), time.Duration(s.Took).Milliseconds()
		v.Usage = UsedView{s.Usage.Input, s.Usage.Cached, s.Usage.Output, s.Dollars}
		v.Sent = sentView(s)
		for _, p := range en.Parts {
			if p.Kind == llm.Call {
				of := s.Called[p.Name]
				args := string(p.Args)
				if p.Args == nil {
					args = p.Text
				}
				name := of.Name
				if name == "" {
					name = p.Name
				}
				v.Calls = append(v.Calls, ProposedView{p.ID, of.Server, name, args})
			}
		}
	}
	if en.Outcome != nil {
		o := outcomeView(en.Outcome)
		v.Outcome = &o
	}
	if d := en.Ended; d != nil {
		v.End = &EndView{Why: string(d.Why), Reason: d.Reason}
		if d.Why == chat.Broke {
			v.End.Failure = brokeFailure(d)
		}
	}
	return v
}

// faults are the codes of what goes wrong with a model, and what it means.
var faults = map[llm.Fault][2]string{
	llm.FaultKey:     {"CRD-LLM-01", "The model did not answer. Nothing was called."},
	llm.FaultModel:   {"CRD-LLM-02", "The model did not answer. Nothing was called."},
	llm.FaultRequest: {"CRD-LLM-03", "The model did not answer. Nothing was called."},
	llm.FaultLength:  {"CRD-LLM-04", "The model did not answer. Nothing of the conversation is lost."},
	llm.FaultBusy:    {"CRD-LLM-05", "The model did not answer. Nothing was called."},
	llm.FaultReach:   {"CRD-LLM-06", "The model did not answer. Nothing was called."},
	llm.FaultBroken:  {"CRD-LLM-07", "What had come is kept. Calls that were in it were not made."},
	llm.FaultSilent:  {"CRD-LLM-08", "What had come is kept. Calls that were in it were not made."},
	llm.FaultLocal:   {"CRD-LLM-09", "Nothing left this computer."},
	llm.FaultRecord:  {"CRD-LLM-10", "Nothing left this computer."},
	llm.FaultRules:   {"CRD-LLM-12", "What had left before stays where it is."},
}

func brokeFailure(d *chat.Ended) *Failure {
	f := &Failure{Code: "CRD-LLM-11", What: d.Reason, Means: "The model was not asked.", Fix: "Mend it, then continue."}
	if known, ok := faults[d.Fault]; ok {
		f.Code, f.Means, f.Fix = known[0], known[1], "Continue to try again, or choose another model."
	}
	return f
}

// outcomeView has the beginning of the result.
func outcomeView(o *chat.Outcome) OutcomeView {
	v := OutcomeView{ID: o.ID, Server: o.Tool.Server, Tool: o.Tool.Name, Effect: o.Effect.String(), State: string(o.State), Asked: o.Asked, Stage: o.Stage, Rule: o.Rule, Reason: sentence(o.Reason, o.Tool.Server),
		CallID: o.CallID, Event: o.Event, Number: o.Number, TookMillis: time.Duration(o.Took).Milliseconds(), Args: o.Args, Content: []ContentView{}, Findings: findingViews(o.Findings),
		Bytes: o.Size, Cut: o.Size > len(o.Beginning) || o.Images > 0}
	if v.Tool == "" {
		v.Tool = o.Name
	}
	if o.Beginning != "" {
		v.Content = append(v.Content, contentView(tool.Content{Type: "text", Text: o.Beginning}))
	}
	v.Summary = brief(o)
	return v
}

// brief is an outcome in a few words.
func brief(o *chat.Outcome) string {
	if o.State != chat.OK && o.State != chat.ToolError {
		return sentence(o.Reason, o.Tool.Server)
	}
	first, rest, more := strings.Cut(strings.TrimSpace(o.Beginning), "\n")
	first = strings.Join(strings.Fields(first), " ")
	if r := []rune(first); len(r) > 120 {
		first = string(r[:119]) + "…"
	}
	if more && strings.TrimSpace(rest) != "" {
		if o.Size <= len(o.Beginning) {
			return fmt.Sprintf("%d lines: %s", strings.Count(strings.TrimSpace(o.Beginning), "\n")+1, first)
		}
		return fmt.Sprintf("%s: %s", size(o.Size), first)
	}
	if first == "" {
		return "Nothing came back."
	}
	return first
}

func size(n int) string {
	if n < 10<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// sentView is nil for nil.
func sentView(s *chat.Asked) *SentView {
	if s == nil {
		return nil
	}
	v := &SentView{Place: s.Place, Messages: s.Messages, Tools: s.Tools, Held: s.Held, Barred: s.Barred, Tokens: s.Tokens, Cut: s.Cut, Unseen: s.Unseen, Why: s.Why}
	if v.Place == "" {
		v.Place = "this computer"
	}
	return v
}

func liveView(l *chat.Live) *LiveView {
	if l == nil {
		return nil
	}
	v := &LiveView{Rev: l.Rev, Phase: string(l.Phase), Since: stamp(l.Since), Model: l.Model, Parts: []LivePart{}, Running: []RunningView{}, Retry: l.Retry, Sent: sentView(l.Asked)}
	for _, p := range l.Parts {
		v.Parts = append(v.Parts, LivePart{string(p.Kind), p.Text, p.Name})
	}
	for _, r := range l.Running {
		state := map[chat.Phase]string{"": "next", chat.Calling: "running", chat.Waiting: "waiting"}[r.State]
		v.Running = append(v.Running, RunningView{r.ID, r.Tool.Server, r.Tool.Name, r.Effect.String(), state})
	}
	return v
}
