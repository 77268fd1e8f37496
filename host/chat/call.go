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
	"cordon/host/gate"
	"cordon/host/llm"
	"cordon/host/tool"
)

// The calls that a model wants.

// atOnce bounds the reads that run at the same time.
const atOnce = 8

// make makes the calls that a model wants: reads that stand together at the same time, all else one after the other, in its order.
func (t *turn) make(ctx context.Context, wanted []llm.Part) error {
	t.change(func(l *Live) {
		l.Phase, l.Since, l.Running = Calling, time.Now(), nil
		for _, p := range wanted {
			o, _ := t.known(p.Name)
			l.Running = append(l.Running, Running{ID: p.ID, Tool: o.id, Effect: o.effect})
		}
	})
	for len(wanted) > 0 {
		n := 0
		for n < len(wanted) {
			if o, ok := t.known(wanted[n].Name); !ok || o.effect != tool.Read {
				break
			}
			n++
		}
		n = max(n, 1)
		errs := make([]error, n)
		var all sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		for i, p := range wanted[:n] {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				outcome := t.one(ctx, p)
				errs[i] = t.add(context.WithoutCancel(ctx), Entry{Kind: Result, Outcome: &outcome})
			})
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		wanted = wanted[n:]
	}
	return nil
}

// known finds a tool by the name that models call it by, one that it was not told of too: the model may remember it.
func (t *turn) known(name string) (offer, bool) {
	if o, ok := t.offered[name]; ok {
		return o, true
	}
	for _, some := range [][]offer{t.held, t.barred} {
		if i := slices.IndexFunc(some, func(o offer) bool { return o.Name == name }); i >= 0 {
			return some[i], true
		}
	}
	return offer{}, false
}

// one makes a call, or says why it is not made.
func (t *turn) one(ctx context.Context, p llm.Part) (out Outcome) {
	out = Outcome{ID: p.ID, Name: clip(p.Name, 200), Args: string(p.Args), State: Refused}
	if p.Args == nil {
		out.Args = clip(p.Text, 64<<10)
	}
	offered, known := t.known(p.Name)
	out.Tool, out.Effect = offered.id, offered.effect
	t.mu.Lock()
	t.calls++
	over := t.calls > t.limits.Calls
	t.mu.Unlock()
	if over {
		out.Reason = "No more calls may be made for this question. Answer with what you have."
		return out
	}
	args, err := tool.CanonicalObject(p.Args, tool.DefaultLimits())
	switch {
	case ctx.Err() != nil:
		out.State, out.Reason = Cancelled, "you stopped it before it was made"
		return out
	case !known:
		out.Reason = fmt.Sprintf("There is no tool %q. There are: %s.", clip(p.Name, 80), t.names())
		return out
	case p.Args == nil || err != nil:
		out.Reason = "The arguments are not a JSON object. Call it again with arguments that fit its schema."
		return out
	}
	key := p.Name + string(args)
	if t.again(key) {
		out.Reason = "This very call was made before for this question, and had the same result each time. Use what you have, or do something else."
		return out
	}
	t.state(p.ID, Calling)
	began := time.Now()
	if out.Tool.Server == "" {
		t.ownCall(ctx, p.Name, args, &out)
	} else {
		t.serverCall(ctx, args, &out)
	}
	out.Took = config.Duration(time.Since(began))
	t.remember(key, out)
	return out
}

func (t *turn) ownCall(ctx context.Context, name string, args []byte, out *Outcome) {
	said, err := t.e.own(ctx, t, name, args)
	switch {
	case ctx.Err() != nil:
		out.State, out.Reason = Cancelled, "you stopped it"
	case err != nil:
		if _, ok := errors.AsType[errArguments](err); !ok { // it is not the model's fault
			out.State = Failed
		}
		out.Reason = t.hide.show(sentence(err.Error()))
	default:
		out.State = OK
		out.put(Content{Blocks: []tool.Content{{Type: "text", Text: t.hide.show(said)}}})
	}
}

var errOff = errors.New("this server is switched off for this conversation")

// now is the conversation, and what it and its case let a server's call do.
func (t *turn) now(ctx context.Context, server string) (c Conversation, s tool.Scope, err error) {
	ctx = context.WithoutCancel(ctx)
	if c, err = t.e.Store.Conversation(ctx, t.id); err != nil {
		return c, s, err
	}
	of, err := t.e.Store.Case(ctx, c.Case)
	if err == nil && !Offers(c, of, server) {
		err = errOff
	}
	return c, ScopeOf(c, of), err
}

func (t *turn) serverCall(ctx context.Context, args []byte, out *Outcome) {
	c, _, err := t.now(ctx, out.Tool.Server)
	switch {
	case errors.Is(err, errOff):
		out.Reason = sentence(err.Error())
		return
	case err != nil:
		out.State, out.Reason = Failed, err.Error()
		return
	}
	r, err := t.e.Call(ctx, tool.Proposal{Kind: tool.CallTool, Target: out.Tool, Args: args, Wrote: tool.OriginModel, Ticket: t.id + "/" + out.ID,
		By: tool.Asker{Kind: "chat", Name: c.Title, Conversation: Asker(t.id)},
		Scope: func(ctx context.Context) (tool.Scope, error) {
			_, s, err := t.now(ctx, out.Tool.Server)
			return s, err
		}})
	out.CallID, out.Event, out.Number, out.Findings, out.Asked = r.CallID, r.Event, r.Number, r.Findings, r.Asked
	denied, _ := errors.AsType[*gate.Denied](err)
	failed, _ := errors.AsType[*gate.Failed](err)
	switch {
	case denied != nil:
		out.State, out.Stage, out.Rule, out.Reason = Denied, string(denied.Stage), denied.Rule, denied.Reason
		out.CallID, out.Event, out.Asked = denied.CallID, denied.Event, denied.Asked
		if ctx.Err() != nil {
			out.State = Cancelled
		}
	case err != nil && ctx.Err() != nil:
		out.State, out.Reason = Cancelled, "you stopped it"
	case err != nil:
		out.State, out.Reason = Failed, err.Error()
		if failed != nil {
			out.CallID, out.Event, out.Number, out.Findings = failed.CallID, failed.Event, failed.Number, failed.Findings
		}
	default:
		out.State = OK
		if r.IsError {
			out.State = ToolError
		}
		out.put(Content{Blocks: r.Content, Structured: string(r.Structured)})
	}
}

// Asker is what the gate knows a conversation by.
func Asker(conversation string) string { return "chat-" + conversation }

// put keeps what came back.
func (o *Outcome) put(c Content) {
	text := c.Text()
	o.Content, o.Size, o.Beginning = &c, len(text), cutBytes(text, keptOfText)
	for _, b := range c.Blocks {
		if isImage(b) {
			o.Images++
		}
	}
}

// again reports whether a call has had the same result twice already in this turn, and counts it then.
func (t *turn) again(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.seen[key]
	if r == nil || r.times < 2 {
		return false
	}
	t.circles++
	return true
}

func (t *turn) remember(key string, o Outcome) {
	digest := sha256.Sum256([]byte(string(o.State) + o.Reason))
	if o.Content != nil {
		digest = sha256.Sum256([]byte(o.Content.Text() + o.Content.Structured))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.seen[key]
	switch {
	case r == nil:
		t.seen[key] = &repeat{digest, 1}
	case r.digest == digest:
		r.times++
	default:
		*r = repeat{digest, 1}
	}
}

func (t *turn) names() string {
	var all []string
	for name := range t.offered {
		all = append(all, name)
	}
	slices.Sort(all)
	return clip(strings.Join(all, ", "), 2000)
}

// find looks for tools that the model was not told of, and tells it of the best from its next request on.
func (t *turn) find(what string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	rank := relevance(t.held, what)
	order := make([]int, len(t.held))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case rank[a] > rank[b]:
			return -1
		case rank[a] < rank[b]:
			return 1
		}
		return 0
	})
	var b strings.Builder
	for _, i := range order[:min(len(order), 10)] {
		if rank[i] <= 0 {
			break
		}
		o := t.held[i]
		t.found[o.Name] = true
		fmt.Fprintf(&b, "%s: %s\n", o.Name, clip(strings.Join(strings.Fields(o.Description), " "), 200))
	}
	if b.Len() == 0 {
		return "There is no tool for that."
	}
	return "These can be called now:\n" + b.String()
}
