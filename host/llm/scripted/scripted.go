// Package scripted is a provider of models for tests: it speaks Anthropic's Messages and OpenAI's Chat Completions over HTTP on loopback, and
// says what it was told to say, in the ways in which providers go wrong too. Only tests import it.
package scripted

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// Turn is one answer. The zero value says nothing and ends.
type Turn struct {
	Think  string
	Text   string
	Calls  []Call
	Stop   string        // of the wire format; "" for the usual one
	Runes  int           // in a delta of text or arguments; 0 for all in one
	Bytes  int           // in a write to the connection, which tears characters and events apart; 0 for an event each
	Pause  time.Duration // before each event
	Drop   int           // ends the connection before that event, from 1; 0 for never
	Hang   bool          // says no more after its events, and does not end
	Status int           // of an error; 0 for none
	Header http.Header   // besides the usual
	Body   string        // of an error; or instead of all events, if Status is 200
	In     int           // tokens, as usage says
	Out    int
}

// Call is a call that the model proposes. Args may be anything.
type Call struct{ ID, Name, Args string }

// Request is one that came.
type Request struct {
	Path   string
	Header http.Header
	Body   string
}

// Server is a provider. Its methods are safe for concurrent use.
type Server struct {
	URL string // of both wire formats, with a slash at its end

	http *httptest.Server
	mu   sync.Mutex
	next func(Request) Turn // guarded by mu
	seen []Request          // guarded by mu
	gone chan struct{}
}

// New returns a provider that gives turns, one after the other, and after the last says that it has none. Close it.
func New(turns ...Turn) *Server {
	s := &Server{gone: make(chan struct{})}
	s.Say(turns...)
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.http.URL + "/v1/"
	return s
}

// Say sets the turns that come next.
func (s *Server) Say(turns ...Turn) {
	left := slices.Clone(turns)
	s.Decide(func(Request) Turn {
		if len(left) == 0 {
			return Turn{Status: http.StatusTeapot, Body: `{"error":{"message":"the script is over"}}`}
		}
		t := left[0]
		left = left[1:]
		return t
	})
}

// Decide sets what makes turns of requests. It is not called twice at the same time.
func (s *Server) Decide(next func(Request) Turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// Requests are those that came, the oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Close ends everything.
func (s *Server) Close() {
	close(s.gone)
	s.http.CloseClientConnections()
	s.http.Close()
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		return
	}
	q := Request{Path: r.URL.Path, Header: r.Header.Clone(), Body: string(body)}
	s.mu.Lock()
	s.seen = append(s.seen, q)
	var t Turn
	if r.Method == http.MethodPost {
		t = s.next(q)
	}
	s.mu.Unlock()
	switch {
	case r.URL.Path == "/v1/models":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"scripted-1","object":"model"},{"id":"scripted-2","object":"model"}]}`)
	case r.URL.Path == "/v1/v1/messages" || r.URL.Path == "/v1/messages":
		s.write(w, r, t, t.anthropic())
	case r.URL.Path == "/v1/chat/completions":
		s.write(w, r, t, t.openAI())
	default:
		http.NotFound(w, r)
	}
}

// write sends events.
func (s *Server) write(w http.ResponseWriter, r *http.Request, t Turn, events []string) {
	for name, values := range t.Header {
		w.Header()[name] = values
	}
	if t.Status != 0 && t.Status != http.StatusOK {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(t.Status)
		_, _ = io.WriteString(w, t.Body)
		return
	}
	if t.Body != "" {
		events = []string{t.Body}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := func() { _ = http.NewResponseController(w).Flush() }
	flush()
	for i, e := range events {
		if t.Drop == i+1 {
			panic(http.ErrAbortHandler)
		}
		if t.Pause > 0 {
			select {
			case <-time.After(t.Pause):
			case <-r.Context().Done():
				return
			case <-s.gone:
				return
			}
		}
		for text := []byte(e); len(text) > 0; {
			n := len(text)
			if t.Bytes > 0 {
				n = min(n, t.Bytes)
			}
			if _, err := w.Write(text[:n]); err != nil {
				return
			}
			flush()
			text = text[n:]
		}
	}
	if t.Hang {
		select {
		case <-r.Context().Done():
		case <-s.gone:
		}
	}
}

// pieces cuts text as Runes says.
func (t Turn) pieces(text string) []string {
	if t.Runes == 0 || text == "" {
		return []string{text}
	}
	var all []string
	for c := range slices.Chunk([]rune(text), t.Runes) {
		all = append(all, string(c))
	}
	return all
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type object = map[string]any

func (t Turn) anthropic() []string {
	var events []string
	say := func(kind string, v object) {
		v["type"] = kind
		events = append(events, fmt.Sprintf("event: %s\ndata: %s\n\n", kind, encode(v)))
	}
	say("message_start", object{"message": object{"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted-1", "content": []any{}, "stop_reason": nil,
		"usage": object{"input_tokens": t.In, "output_tokens": 1, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}}})
	n := 0
	block := func(start object, kind, field, text string) {
		say("content_block_start", object{"index": n, "content_block": start})
		for _, piece := range t.pieces(text) {
			say("content_block_delta", object{"index": n, "delta": object{"type": kind, field: piece}})
		}
		if start["type"] == "thinking" {
			say("content_block_delta", object{"index": n, "delta": object{"type": "signature_delta", "signature": "c2VhbA=="}})
		}
		say("content_block_stop", object{"index": n})
		n++
	}
	if t.Think != "" {
		block(object{"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking", t.Think)
	}
	if t.Text != "" {
		block(object{"type": "text", "text": ""}, "text_delta", "text", t.Text)
	}
	stop := "end_turn"
	for _, c := range t.Calls {
		block(object{"type": "tool_use", "id": c.ID, "name": c.Name, "input": object{}}, "input_json_delta", "partial_json", c.Args)
		stop = "tool_use"
	}
	if t.Stop != "" {
		stop = t.Stop
	}
	say("message_delta", object{"delta": object{"stop_reason": stop, "stop_sequence": nil}, "usage": object{"output_tokens": t.Out}})
	say("message_stop", object{})
	return events
}

func (t Turn) openAI() []string {
	var events []string
	say := func(delta object, finish any) {
		events = append(events, "data: "+encode(object{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "scripted-1",
			"choices": []any{object{"index": 0, "delta": delta, "finish_reason": finish}}})+"\n\n")
	}
	say(object{"role": "assistant", "content": ""}, nil)
	if t.Think != "" {
		for _, piece := range t.pieces(t.Think) {
			say(object{"reasoning_content": piece}, nil)
		}
	}
	if t.Text != "" {
		for _, piece := range t.pieces(t.Text) {
			say(object{"content": piece}, nil)
		}
	}
	stop := "stop"
	for i, c := range t.Calls {
		stop = "tool_calls"
		pieces := t.pieces(c.Args)
		say(object{"tool_calls": []any{object{"index": i, "id": c.ID, "type": "function", "function": object{"name": c.Name, "arguments": pieces[0]}}}}, nil)
		for _, piece := range pieces[1:] {
			say(object{"tool_calls": []any{object{"index": i, "function": object{"arguments": piece}}}}, nil)
		}
	}
	if t.Stop != "" {
		stop = t.Stop
	}
	say(object{}, stop)
	events = append(events, "data: "+encode(object{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "scripted-1", "choices": []any{},
		"usage": object{"prompt_tokens": t.In, "completion_tokens": t.Out, "total_tokens": t.In + t.Out}})+"\n\n", "data: [DONE]\n\n")
	return events
}

// Texts are what requests said, for looking for something in all of them.
func Texts(all []Request) string {
	var b strings.Builder
	for _, r := range all {
		b.WriteString(r.Path)
		for name, values := range r.Header {
			fmt.Fprintf(&b, "\n%s: %s", name, strings.Join(values, ", "))
		}
		b.WriteString("\n" + r.Body + "\n")
	}
	return b.String()
}
