package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cordon/host/audit"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// What a server asks a person in the middle of a call. A legacy server asks by a request of its own, a modern one by a result that says what
// it needs; then the call is sent again with the answers. Both are read by package elicit and shown one at a time. The call's
// clock stands still meanwhile.

const (
	maxRounds    = 5         // questions to a call, one after the other
	maxQuestions = 4         // that a result may hold, or that may wait at the same time
	maxState     = 256 << 10 // bytes that a modern server has kept for it between two rounds
	busyPause    = time.Second
)

// libraryCapabilities are those that the library tells of, see capabilities.
func (s *session) libraryCapabilities() *mcp.ClientCapabilities {
	c := &mcp.ClientCapabilities{}
	if s.roots != nil {
		//lint:ignore SA1019 servers that need it say so by asking
		c.RootsV2 = &mcp.RootCapabilities{}
	}
	if s.model != "" {
		//lint:ignore SA1019 servers that need it say so by asking
		c.Sampling = &mcp.SamplingCapabilities{}
	}
	if s.elicit != nil {
		c.Elicitation = &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}, URL: &mcp.URLElicitationCapabilities{}}
	}
	return c
}

// elicit asks a person in the name of this server, and records that. nil if nobody can be asked.
func (u *unit) elicit() func(context.Context, elicit.Question) elicit.Answer {
	ask := u.s.o.Elicit
	if ask == nil {
		return nil
	}
	return func(ctx context.Context, q elicit.Question) elicit.Answer {
		a := ask(ctx, q)
		facts := map[string]string{"kind": string(q.Kind), "action": string(a.Action)}
		what := "to open a page of " + q.Host
		if q.Kind == elicit.Form {
			names := make([]string, len(q.Fields))
			for i, f := range q.Fields {
				names[i] = consent.Escape(f.Name)
			}
			facts["fields"] = strings.Join(names, " ")
			what = "for " + strings.Join(names, ", ")
			switch {
			case q.For != "":
				what = q.For
			case len(names) == 0:
				what = "to confirm something"
			}
		} else {
			facts["host"] = q.Host
		}
		decision := map[elicit.Action]audit.Decision{elicit.Accept: audit.YouAllowed, elicit.Decline: audit.YouDenied}[a.Action]
		if decision == "" {
			decision = audit.TimedOut
		}
		u.record(audit.Event{Kind: audit.ServerAsked, CallID: q.Call, Decision: decision, Reason: what, Facts: facts})
		return a
	}
}

// errNotOfferedTo means that a server asks for something that it was not told of.
type errNotOfferedTo string

func (e errNotOfferedTo) Error() string {
	return fmt.Sprintf("it needs something that was not offered to it (%s)", strings.TrimSpace(brief(string(e))))
}

// appeal is what a server wants in the middle of a call.
type appeal struct {
	elicit.Question // that begins it
	// grant asks a person that question, and what else there is to ask, and returns what the server is told.
	grant func(ctx context.Context, ask func(elicit.Question) elicit.Answer, q elicit.Question) (map[string]any, error)
}

// read makes an appeal of what a server asks.
func (s *session) read(method string, params jsontext.Value) (appeal, error) {
	switch {
	case method == "elicitation/create":
		q, err := elicit.Parse(s.name, params)
		return appeal{q, elicited}, err
	case method == "roots/list" && s.roots != nil:
		return s.wantsRoots(), nil
	case method == "sampling/createMessage" && s.model != "":
		return s.wantsModel(params)
	}
	return appeal{}, errNotOfferedTo(method)
}

// elicited is the answer to a question as the server expects it.
func elicited(_ context.Context, ask func(elicit.Question) elicit.Answer, q elicit.Question) (map[string]any, error) {
	a := ask(q)
	r := map[string]any{"action": a.Action}
	if a.Values != nil {
		r["content"] = a.Values
	}
	return r, nil
}

// question answers a legacy server's. It returns at once.
func (s *session) question(id, method string, params jsontext.Value) {
	w, err := s.read(method, params)
	s.mu.Lock()
	call, calls := "", slices.Collect(maps.Values(s.busy))
	if len(s.busy) == 1 {
		for call = range s.busy {
		}
	}
	switch {
	case err != nil:
	case len(calls) == 0 && method != "roots/list": // which is asked when a session begins
		err = errors.New("it asks although no call is running")
	case s.asking >= maxQuestions:
		err = fmt.Errorf("it asks more than %d questions at a time", maxQuestions)
	case s.asked >= maxRounds*max(1, len(calls)):
		err = fmt.Errorf("it asks more than %d questions in a call", maxRounds)
	}
	s.asked++
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.asking++
	s.calls.Go(func() {
		defer func() {
			s.mu.Lock()
			s.asking--
			s.mu.Unlock()
		}()
		if err != nil {
			code := -32602
			if _, foreign := errors.AsType[errNotOfferedTo](err); foreign {
				code = methodNotFound
			}
			s.refused(err)
			s.reply(id, map[string]any{"error": map[string]any{"code": code, "message": err.Error()}})
			return
		}
		w.Call = call
		r, err := s.grant(calls, w)
		if err != nil {
			s.reply(id, map[string]any{"error": map[string]any{"code": -32603, "message": err.Error()}})
			return
		}
		s.reply(id, map[string]any{"result": r})
	})
	s.mu.Unlock()
}

// grant asks a person for what a server wants, see pausing.
func (s *session) grant(calls []context.Context, w appeal) (r map[string]any, err error) {
	s.pausing(calls, func(ctx context.Context) {
		r, err = w.grant(ctx, func(q elicit.Question) elicit.Answer { return s.elicit(ctx, q) }, w.Question)
	})
	return r, err
}

// askPerson asks one question, see pausing.
func (s *session) askPerson(calls []context.Context, q elicit.Question) (a elicit.Answer) {
	s.pausing(calls, func(ctx context.Context) { a = s.elicit(ctx, q) })
	return a
}

// pausing runs f while the clocks of calls stand still, at most until all of them have ended.
func (s *session) pausing(calls []context.Context, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(s.ending)
	defer cancel()
	var left atomic.Int32
	left.Store(int32(len(calls)))
	for _, c := range calls {
		defer tool.Pause(c)()
		defer context.AfterFunc(c, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})()
	}
	f(ctx)
}

// reply answers a request of the server's. If it cannot be written, the session is over.
func (s *session) reply(id string, with map[string]any) {
	with["jsonrpc"], with["id"] = "2.0", jsontext.Value(id)
	if text, err := json.Marshal(with, json.Deterministic(true)); err == nil {
		_, _ = s.to.Write(append(text, '\n'))
	}
}

// answers are those to what a modern server needs before it runs a call, as they are sent; nil if it needs none and has only too much to do. An
// error ends the call: what it asks may not be asked, or ctx has ended.
func (s *session) answers(ctx context.Context, call string, needs map[string]inquiry) (map[string]any, error) {
	if len(needs) == 0 {
		select {
		case <-time.After(busyPause):
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	appeals, err := s.appeals(needs)
	if err != nil {
		s.refused(err)
		return nil, fmt.Errorf("%w; the call did not run", err)
	}
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(appeals)) {
		w := appeals[key]
		w.Call = call
		out[key], err = s.grant([]context.Context{ctx}, w)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%w; the call did not run", err)
		}
	}
	return out, nil
}
