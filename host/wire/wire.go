// Package wire stands between a server and the MCP library. It reads what a server sends strictly and within bounds, passes on only
// what answers an open request or may come unasked, and keeps what passed for people to look at. Servers are hostile: whatever
// they send costs bounded memory and ends in a message that is well-formed, an error for the one call concerned, or nothing.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Code names one way of not keeping to the protocol. Codes are stable: the log, the policy and people use them.
type Code string

// The codes. After those marked (end) the connection is over.
const (
	Noise           Code = "wire.noise"              // lines that are no messages; they are skipped
	LineTooLong     Code = "wire.line-too-long"      // (end) a message is larger than MaxMessage
	InvalidJSON     Code = "wire.invalid-json"       // duplicate keys, bad UTF-8, broken syntax
	InvalidMessage  Code = "wire.invalid-message"    // neither a request nor an answer
	TooLarge        Code = "wire.too-large"          // what nobody asked for, and larger than such a thing is
	TooComplex      Code = "wire.too-complex"        // nested too deeply, or too many values
	UnknownID       Code = "wire.unknown-id"         // an answer to nothing that was asked
	Duplicate       Code = "wire.duplicate-response" // a second answer to the same request
	Unsolicited     Code = "wire.unsolicited"        // a request that this protocol version does not know
	UnknownResult   Code = "wire.unknown-result"     // a resultType that means nothing here
	TooMany         Code = "wire.too-many"           // more requests or notifications than a server may send
	Flood           Code = "wire.flood"              // (end) nothing but what is dropped
	ToolRefused     Code = "wire.tool-refused"       // a tool that cannot be offered
	QuestionRefused Code = "wire.question-refused"   // a question to the person that may not be asked
	EndlessList     Code = "wire.endless-list"       // a list that repeats itself or does not end
	IconRefused     Code = "wire.icon-refused"       // an icon that is not shown
	RelistingFailed Code = "wire.relist-failed"      // a changed list that could not be read
	StderrFlood     Code = "wire.stderr-flood"       // so much on its standard error that it is read slower than it is written
	WrongEra        Code = "wire.wrong-era"          // it says that it speaks a version, and refuses the first request of it
)

// Bounds of one connection.
const (
	MaxMessage = 16 << 20 // bytes

	maxDepth  = 500       // of objects and arrays in each other; the library takes 1,000
	maxValues = 1_000_000 // in one message

	requestsPerSecond      = 20 // of a server's own, each of which the library answers and keeps until then
	notificationsPerSecond = 1000
	noisePerSecond         = 1000 // lines that are no messages
	maxDropped             = 100_000
	maxAnswered            = 1024 // requests that are remembered after their answer

	maxUnasked = 256 << 10 // bytes of a request or notification
	maxID      = 128       // bytes of a request's id
	maxNeeds   = 16        // questions in a result
	maxCursor  = 4 << 10   // bytes
	maxWelcome = 256 << 10 // bytes of what a server says about itself, instructions not counted
	maxError   = 8 << 10   // bytes of an error; of a longer one the beginning of its words is kept
)

// ErrLineTooLong ends a connection: a message without end would fill the memory.
var ErrLineTooLong = fmt.Errorf("it sent a line longer than %d MiB", MaxMessage>>20)

// ErrFlood ends a connection that consists of nothing but what nobody asked for.
var ErrFlood = errors.New("it sent messages without end that nobody asked for")

// Guard checks what passes over one connection. In is for one goroutine at a time, Out for another; the rest is safe for
// concurrent use.
type Guard struct {
	found  func(code Code, text string) // something a person should know
	noise  func(line []byte)            // a line that is no message; at most 4 KiB of it
	frames ring

	// Question takes requests of elicitation/create and roots/list, and of sampling/createMessage if Sampling is set, in the library's place, if it is not nil: the id as JSON, the method and
	// the params, which are the callee's. It must not block. Set it before anything is read.
	Question func(id, method string, params jsontext.Value)
	Sampling bool // set before anything is read
	// Told gets the notifications of a session, if it is not nil, and their params, which are the callee's. It must not block. Set it
	// before anything is read.
	Told func(method string, params jsontext.Value)
	// Headers refuses tools whose arguments cannot be repeated in headers, as servers over HTTP may want. Set it before anything is read.
	Headers bool

	only                    *string // used by In only, with those below; the one request that may be answered, nil for any
	requests, notifications budget
	lines                   budget // that are no messages
	dropped                 int
	drops                   map[Code]int // the same by kind

	heard    atomic.Int64 // when the last message came, in nanoseconds since 1970
	progress atomic.Int64 // the same for one that tells how a call goes
	modern   atomic.Bool
	quiet    atomic.Bool

	mu       sync.Mutex
	open     map[string]string      // guarded by mu; methods of the requests without an answer, by id as JSON
	answered map[string]bool        // guarded by mu; ids of requests that have one; true if they were cancelled before
	order    []string               // guarded by mu; of answered, oldest first
	listing  *Listing               // guarded by mu; nil unless one is under way
	asked    map[string]chan Answer // guarded by mu; who waits for the answers to requests of Cordon's own, by id as JSON
}

// Answer is what a server answers to a request of Cordon's own. One of the two is nil.
type Answer struct {
	Result jsontext.Value
	Error  jsontext.Value
}

// New returns a guard. Both functions are called while a message is looked at and must not block.
func New(noise func(line []byte), found func(code Code, text string)) *Guard {
	return &Guard{noise: noise, found: found, requests: newBudget(requestsPerSecond), notifications: newBudget(notificationsPerSecond), lines: newBudget(noisePerSecond),
		drops: map[Code]int{}, asked: map[string]chan Answer{}, open: map[string]string{}, answered: map[string]bool{}}
}

// Modern makes the connection one of version 2026-07-28 or later, on which a server asks nothing by itself.
func (g *Guard) Modern() { g.modern.Store(true) }

// Ask announces a request that the library knows nothing of: its answer comes on the channel, once, and does not reach the library. id is
// JSON. The request itself is the caller's to write, through a Tap.
func (g *Guard) Ask(id string) <-chan Answer {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := make(chan Answer, 1)
	g.asked[id] = answer
	return answer
}

// Forget ends the waiting for an answer to Ask. One that comes late is dropped.
func (g *Guard) Forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.asked, id)
	if _, open := g.open[id]; open {
		g.close(id, true)
	}
}

// Quiet keeps what a server sends by itself from the library, which does not listen yet.
func (g *Guard) Quiet(on bool) { g.quiet.Store(on) }

// Heard is when the last message came, Progress when the last one that tells how a call goes did. Zero times if none has.
func (g *Guard) Heard() time.Time    { return at(&g.heard) }
func (g *Guard) Progress() time.Time { return at(&g.progress) } // see Heard

func at(n *atomic.Int64) time.Time {
	if n := n.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Frames returns what passed last, oldest first.
func (g *Guard) Frames() []Frame { return g.frames.all() }

// Passed is how many messages passed, whether they are kept or not.
func (g *Guard) Passed() int { return g.frames.passed() }

// Out takes note of a message of the library's before it is sent.
func (g *Guard) Out(message []byte) {
	id, method, params := envelope(message)
	g.frames.add(Frame{Out: true, ID: id, Method: method, Answer: method == ""}, bytes.TrimSpace(message))
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case id != "" && method != "":
		g.open[id] = method
	case method == "notifications/cancelled":
		var p struct {
			ID jsontext.Value `json:"requestId"`
		}
		if json.Unmarshal(params, &p) == nil {
			if _, open := g.open[string(p.ID)]; open {
				g.close(string(p.ID), true)
			}
		}
	}
}

// close remembers that a request is answered, or needs no answer any more. The caller holds mu.
func (g *Guard) close(id string, cancelled bool) {
	delete(g.open, id)
	if len(g.order) >= maxAnswered {
		delete(g.answered, g.order[0])
		g.order = g.order[1:]
	}
	g.order = append(g.order, id)
	g.answered[id] = cancelled
}

// envelope reads the id, as JSON, and the method of a message that the library made, and its params if it has no id.
func envelope(message []byte) (id, method string, params jsontext.Value) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(message))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return "", "", nil
	}
	for dec.PeekKind() == '"' && (id == "" || method == "") {
		tok, err := dec.ReadToken()
		if err != nil {
			break
		}
		key := tok.String()
		v, err := dec.ReadValue()
		if err != nil {
			break
		}
		switch key {
		case "id":
			id = string(v)
		case "method":
			method, _ = jsontextString(v)
		case "params":
			params = v
		}
	}
	return id, method, params
}

func jsontextString(v jsontext.Value) (s string, err error) { return s, json.Unmarshal(v, &s) }

// In returns what the library may see of a message: all of it, something in its place, or nothing. The error ends the connection.
// The bytes returned may be text itself.
func (g *Guard) In(text []byte) ([]byte, error) {
	out := g.check(bytes.TrimSpace(text))
	if g.dropped > maxDropped {
		g.found(Flood, "the server "+ErrFlood.Error()+"; the session was ended")
		return nil, ErrFlood
	}
	return out, nil
}

// InFor is In for a message that came as the answer to one request: it answers that one, whose id is given as JSON, and no other. With ""
// it answers none.
func (g *Guard) InFor(id string, text []byte) ([]byte, error) {
	g.only = &id
	defer func() { g.only = nil }()
	return g.In(text)
}

// Open reports whether a request waits for its answer.
func (g *Guard) Open(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, open := g.open[id]
	return open
}

func (g *Guard) check(text []byte) []byte {
	if len(text) == 0 {
		return nil
	}
	if text[0] != '{' {
		g.skip(text)
		return nil
	}
	message, err := members(text)
	if err != nil && !errors.Is(err, errComplex) {
		g.skip(text)
		if bytes.Contains(text, []byte(`"jsonrpc"`)) {
			g.found(InvalidJSON, "the server sent a message that is not strict JSON; it was dropped")
		}
		return nil
	}
	if string(message["jsonrpc"]) != `"2.0"` { // a log line that happens to be an object would end the session
		g.skip(text)
		return nil
	}
	if !shaped(message) {
		g.skip(text)
		g.found(InvalidMessage, "the server sent a message that is neither a request nor an answer; it was dropped")
		return nil
	}
	id, method := string(message["id"]), ""
	if m := message["method"]; m != nil {
		method, _ = jsontextString(m)
	}
	frame := Frame{ID: id, Method: method}
	if message["method"] == nil {
		g.mu.Lock()
		frame.Method, frame.Answer, frame.Failed = g.open[id], true, message["error"].Kind() == '{'
		g.mu.Unlock()
	}
	g.frames.add(frame, text)
	now := time.Now().UnixNano()
	g.heard.Store(now)
	if message["method"] == nil {
		return g.answer(text, id, message, err)
	}
	if method == "notifications/progress" {
		g.progress.Store(now)
	}
	if !g.affordable(message) {
		return nil
	}
	switch {
	case g.quiet.Load():
		return nil
	case err != nil:
		g.drop(TooComplex, fmt.Sprintf("the server sent a message with %v; it was dropped", err))
		return nil
	case len(text) > maxUnasked:
		g.drop(TooLarge, fmt.Sprintf("the server sent a message of %d KiB that nobody asked for; it was dropped", len(text)>>10))
		return nil
	case len(id) > maxID:
		g.drop(InvalidMessage, "the server sent a request with a very long id; it was dropped")
		return nil
	}
	if k := message["id"].Kind(); k == jsontext.KindInvalid || k == 'n' {
		if g.Told != nil {
			g.Told(method, message["params"].Clone())
		}
		return notified(method)
	}
	if g.modern.Load() {
		g.drop(Unsolicited, "the server asked for "+strconv.Quote(clip(method))+" by itself, which this version of the protocol does not know; it was refused")
		if g.Headers { // over HTTP there is no way to say so
			return nil
		}
		return refusal(id) // or the call that it belongs to would wait for an answer
	}
	return g.requested(id, method, message)
}

// notified is what the library gets of a notification: that tools have changed, and nothing else. Of the others it has no use, and
// go-sdk v1.8.0 panics on one without params.
func notified(method string) []byte {
	if method != "notifications/tools/list_changed" {
		return nil
	}
	return []byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}`)
}

// requested is what the library gets of a request: a ping, or something in the place of what nobody offers, which it refuses as unknown. It
// would answer more than was offered: completion/complete by asking the server the same, and waiting for ever.
func (g *Guard) requested(id, method string, message map[string]jsontext.Value) []byte {
	switch {
	case (method == "elicitation/create" || method == "roots/list" || method == "sampling/createMessage" && g.Sampling) && g.Question != nil:
		g.Question(id, method, message["params"].Clone())
		return nil
	case method == "ping":
		return []byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}`)
	}
	return refusal(id)
}

// refusal is a request that the library refuses as unknown.
func refusal(id string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"cordon/not-offered"}`)
}

// answer passes the answer to an open request on, once, or fails it because of bad.
func (g *Guard) answer(text []byte, id string, message map[string]jsontext.Value, bad error) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	method, open := g.open[id]
	if g.only != nil && *g.only != id {
		g.drop(UnknownID, "the server answered "+clip(id)+" where another request is answered; it was dropped")
		return nil
	}
	if !open {
		cancelled, was := g.answered[id]
		switch {
		case was && cancelled: // it crossed the cancelling
			g.answered[id] = false // but only once
		case was:
			g.drop(Duplicate, "the server answered request "+clip(id)+" twice; the second answer was dropped")
		default:
			g.drop(UnknownID, "the server answered "+clip(id)+", which nobody asked; it was dropped")
		}
		return nil
	}
	g.close(id, false)
	asked := g.asked[id]
	delete(g.asked, id)
	out, problem, err := text, message["error"], error(nil)
	switch {
	case bad != nil && method != "tools/list": // of that little is passed on
		g.found(TooComplex, fmt.Sprintf("the server's answer to %s has %v; the call failed", method, bad))
		err = bad
	case message["result"] == nil, message["result"].Kind() == 'n' && problem.Kind() == '{': // as JSON-RPC 1.0 writes it
		delete(message, "result")
		if problem, err = shortened(problem); len(problem) < len(message["error"]) {
			out = answerOf(id, "error", problem)
		}
	case problem.Kind() == '{':
		err = errors.New("it is a result and an error")
	case asked != nil && message["result"].Kind() != '{' && message["result"].Kind() != 'n':
		err = errors.New("its result cannot be read")
	default:
		out, err = g.result(text, method, message)
	}
	if asked != nil {
		a := Answer{Result: message["result"].Clone(), Error: problem.Clone()}
		if err != nil {
			a = Answer{Error: unusable(err)}
		} else if a.Result != nil {
			a.Error = nil
		}
		asked <- a
		return nil
	}
	if err != nil {
		return answerOf(id, "error", unusable(err))
	}
	return out
}

// shortened is an error of a server's without what would go into every log: its data is kept if it is small, of its words the first ones.
func shortened(e jsontext.Value) (jsontext.Value, error) {
	var is struct {
		Code    *int64  `json:"code"`
		Message *string `json:"message"`
	}
	if json.Unmarshal(e, &is) != nil || is.Code == nil || is.Message == nil { // in the library it would end the session
		return nil, errors.New("it is an error without a number or words")
	}
	if len(e) <= maxError {
		return e, nil
	}
	words := *is.Message
	if len(words) > maxError/2 {
		words = strings.ToValidUTF8(words[:maxError/2], "") + "…"
	}
	return json.Marshal(map[string]any{"code": *is.Code, "message": words})
}

// answerOf is an answer that Cordon writes in the server's place.
func answerOf(id, member string, value jsontext.Value) []byte {
	text, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": jsontext.Value(id), member: value})
	return text
}

// unusable is the error in the place of an answer that cannot be used.
func unusable(why error) jsontext.Value {
	text, _ := json.Marshal(map[string]any{"code": -32603, "message": "the server's answer cannot be used: " + why.Error()})
	return text
}

// result checks the result of a method. The caller holds mu.
func (g *Guard) result(text []byte, method string, message map[string]jsontext.Value) ([]byte, error) {
	switch message["result"].Kind() {
	case '{':
	case 'n':
		return nil, errors.New("it is null") // which the library takes for an empty one
	default:
		return text, nil // the library says what is wrong
	}
	switch method {
	case "tools/call", "prompts/get", "resources/read":
		if kind := field(message["result"], "resultType"); kind != nil && string(kind) != `"complete"` && string(kind) != `"input_required"` && !(method == "tools/call" && string(kind) == `"task"`) {
			g.found(UnknownResult, "the server answered "+method+" with a result of type "+clip(string(kind))+", which means nothing here; the call failed")
			return nil, errors.New("its type " + clip(string(kind)) + " means nothing here")
		}
		if err := askable(field(message["result"], "inputRequests")); err != nil {
			g.found(InvalidMessage, "the server answered "+method+" with what it needs in a form that cannot be used; the call failed")
			return nil, err
		}
	case "initialize", "server/discover": // which is kept for as long as the session
		if n := len(message["result"]) - len(field(message["result"], "instructions")); n > maxWelcome {
			return nil, fmt.Errorf("it has %d KiB beside its instructions", n>>10)
		}
	case "tools/list":
		return g.listing.clean(g, message)
	}
	return text, nil
}

// askable reports what is wrong with the questions of a result. The library panics on some (go-sdk v1.8.0).
func askable(needs jsontext.Value) error {
	if needs == nil {
		return nil
	}
	all, err := members(needs)
	if err != nil || len(all) > maxNeeds || len(needs) > maxUnasked {
		return errors.New("what it needs is no list, or a very long one")
	}
	for _, v := range all {
		if v.Kind() != '{' || field(v, "method").Kind() != '"' || field(v, "params").Kind() != '{' {
			return errors.New("what it needs is malformed")
		}
	}
	return nil
}

// field returns one member of an object that is strict JSON, or nil. It stops there.
func field(object jsontext.Value, name string) jsontext.Value {
	dec := jsontext.NewDecoder(bytes.NewBuffer(object))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return nil
	}
	for dec.PeekKind() == '"' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil
		}
		found := tok.String() == name
		v, err := dec.ReadValue()
		if err != nil {
			return nil
		}
		if found {
			return v
		}
	}
	return nil
}

// skip keeps a line that is no message, if there are not too many.
func (g *Guard) skip(text []byte) {
	const most = 4 << 10
	if g.lines.take() {
		g.noise(text[:min(len(text), most)])
		return
	}
	g.dropped += len(text) / most
	g.drop(Noise, fmt.Sprintf("the server sends more than %v lines a second that are no messages; the others were dropped", g.lines.rate))
}

// drop counts something that came for nothing, and tells of the first of a kind, of the tenth, of the hundredth and so on.
func (g *Guard) drop(code Code, text string) {
	g.dropped++
	g.drops[code]++
	n := g.drops[code]
	for n%10 == 0 {
		n /= 10
	}
	if n == 1 {
		g.found(code, text)
	}
}

// clip shortens what a server chose, for a sentence.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// affordable bounds what a server sends of its own accord. The library answers each request and queues the answers without
// bound while they cannot be written (go-sdk v1.8.0).
func (g *Guard) affordable(message map[string]jsontext.Value) bool {
	b, what := &g.notifications, "notifications"
	if id := message["id"].Kind(); id != jsontext.KindInvalid && id != 'n' {
		b, what = &g.requests, "requests"
	}
	if b.take() {
		return true
	}
	g.drop(TooMany, fmt.Sprintf("the server sends more than %v %s a second; the others were dropped", b.rate, what))
	return false
}

// budget lets through so many messages a second, with a second's worth at once. Not safe for concurrent use.
type budget struct {
	rate float64 // a second
	left float64
	last time.Time
}

func newBudget(rate float64) budget { return budget{rate: rate, left: rate} }

func (b *budget) take() bool {
	now := time.Now()
	if !b.last.IsZero() {
		b.left = min(b.rate, b.left+b.rate*now.Sub(b.last).Seconds())
	}
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// shaped reports whether a message is a request, a notification or an answer to something, with a result or an error in
// exactly these letters: any other, even an error that answers nothing, would end the session.
func shaped(message map[string]jsontext.Value) bool {
	id := message["id"].Kind()
	if method, ok := message["method"]; ok {
		return method.Kind() == '"' && (id == jsontext.KindInvalid || id == 'n' || id == '"' || id == '0' && whole(message["id"]))
	}
	e := message["error"].Kind()
	answers := e == '{' || message["result"] != nil && (e == jsontext.KindInvalid || e == 'n')
	return answers && (id == '"' || id == '0')
}

// whole reports whether a number is an integer that is written as one. The library reads others as some integer, and ends the session over
// 1e400.
func whole(n jsontext.Value) bool {
	_, err := strconv.ParseInt(string(n), 10, 64)
	return err == nil
}

// errComplex means that a message is valid, and costs more to read than any message is worth.
var errComplex = errors.New("more than can be read")

// members reads an object strictly: UTF-8, no duplicate keys, bounded depth and number of values, nothing after it. The values
// are parts of text.
func members(text []byte) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return nil, errors.New("not an object")
	}
	all := map[string]jsontext.Value{}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := tok.String()
		v, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		all[key] = v
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return all, complexity(text)
}

// complexity bounds valid JSON. What lies in strings does not count.
func complexity(text []byte) error {
	depth, values := 0, 1
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for escaped := true; escaped; { // a large message is mostly strings
				end := bytes.IndexByte(text[i+1:], '"')
				if end < 0 {
					return nil // not valid
				}
				i += 1 + end
				before := bytes.TrimRight(text[:i], `\`)
				escaped = (i-len(before))%2 == 1
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("%w: it is nested more than %d deep", errComplex, maxDepth)
			}
			if values++; values > maxValues { // in each other they need no comma
				return fmt.Errorf("%w: it has more than %d values", errComplex, maxValues)
			}
		case '}', ']':
			depth--
		case ',':
			if values++; values > maxValues {
				return fmt.Errorf("%w: it has more than %d values", errComplex, maxValues)
			}
		}
	}
	return nil
}
