// Package label remembers what a conversation has read from outside and says, for each argument of a call, who
// chose its value: the user, the model, or a tool result that it repeats.
package label

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"cordon/host/inspect"
	"cordon/host/tool"
)

// Sizes of what counts as a copy, in bytes of normalized text.
const (
	minCopy  = 12 // a part of a value, on token boundaries
	minFree  = 24 // a part of a value, anywhere
	minToken = 4  // a whole value, or a host name, address or hash in it
	maxToken = 64 // longer ones are found as copies
)

// memory bounds the text that is kept, in bytes. Indexes take about four times as much.
type memory struct {
	segment      int // is dropped as a whole
	conversation int // at least this much of the last results is compared
	book         int // of all conversations
}

// Span marks a part of a value that repeats something.
type Span struct {
	Start  int // byte offset in Value.Text
	End    int // after the last byte
	Origin tool.Origin
	Detail string // "result #3, filesystem.read_text_file", untrusted text in part
}

// Value is one leaf of a call's arguments and who chose it.
type Value struct {
	Pointer string // JSON pointer, "" for the whole
	Kind    string // string, number, bool, null, and object or array when empty
	Text    string // a string without quotes and escapes, else the JSON
	Origin  tool.Origin
	Detail  string // where an outside value comes from
	Spans   []Span // in order, without overlap
}

// Session is what a conversation has been exposed to. The zero value has read nothing.
type Session struct {
	ReadOutside bool     // holds at least one result
	Results     int      // how many
	Servers     []string // that they came from, sorted
	Forgotten   bool     // results are no longer compared, so that unmatched values of the model count as outside
}

// Book keeps the results of all conversations, in memory only. It is safe for concurrent use.
type Book struct {
	limit memory

	mu    sync.Mutex
	open  map[string]*conversation // guarded by mu
	clock int                      // counts uses, guarded by mu
}

// NewBook returns an empty book. It compares at least the last 8 MiB of results of a conversation and keeps 32 MiB of
// text in all.
func NewBook() *Book {
	return &Book{limit: memory{segment: 4 << 20, conversation: 8 << 20, book: 32 << 20}, open: map[string]*conversation{}}
}

// conversation has a mutex of its own, so that a long comparison holds up no other.
type conversation struct {
	used  int // Book.clock at the last use, guarded by Book.mu
	bytes int // text held when last seen, guarded by Book.mu

	mu       sync.Mutex
	session  Session    // guarded by mu
	segments []*segment // oldest first, guarded by mu
}

func (b *Book) conversation(name string) *conversation {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.open[name]
	if c == nil {
		c = &conversation{}
		b.open[name] = c
	}
	b.clock++
	c.used = b.clock
	return c
}

// Saw records the texts of a result and returns its number in the conversation, counted from 1. What the texts
// hold in base64 or hex is recorded in the clear as well.
func (b *Book) Saw(conversation, server, toolName string, texts []string) int {
	return b.saw(conversation, 0, server, toolName, texts)
}

// Recall is Saw for a result that a conversation had under a number before this book was begun. Later results have higher numbers.
func (b *Book) Recall(conversation string, number int, server, toolName string, texts []string) {
	b.saw(conversation, number, server, toolName, texts)
}

// Read records outside text that a conversation has in another way than by a result, such as a file that somebody attached. what names it.
func (b *Book) Read(conversation, what string, texts []string) {
	c := b.conversation(conversation)
	c.mu.Lock()
	c.session.ReadOutside = true
	c.take(b.limit, texts, what)
	held := c.held()
	c.mu.Unlock()
	b.settle(c, held)
}

// take remembers texts, and what they hold in base64 or hex.
func (c *conversation) take(limit memory, texts []string, detail string) {
	for _, t := range texts {
		c.remember(limit, inspect.Normalize(t, inspect.Fold).Text, detail)
		for _, d := range decodings(t) {
			c.remember(limit, inspect.Normalize(d.text, inspect.Fold).Text, detail+", decoded from "+d.how)
		}
	}
}

// saw takes the next number for 0.
func (b *Book) saw(conversation string, n int, server, toolName string, texts []string) int {
	c := b.conversation(conversation)
	c.mu.Lock()
	c.session.ReadOutside = true
	if n == 0 {
		n = c.session.Results + 1
	}
	c.session.Results = max(c.session.Results, n)
	if i, has := slices.BinarySearch(c.session.Servers, server); !has {
		c.session.Servers = slices.Insert(c.session.Servers, i, server)
	}
	c.take(b.limit, texts, fmt.Sprintf("result #%d, %s.%s", n, server, toolName))
	held := c.held()
	c.mu.Unlock()
	b.settle(c, held)
	return n
}

// Session returns what a conversation has been exposed to. The caller may keep it.
func (b *Book) Session(conversation string) Session {
	c := b.conversation(conversation)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	s.Servers = slices.Clone(s.Servers)
	return s
}

// Forget drops a conversation that has ended. One that goes on would look as if it had read nothing.
func (b *Book) Forget(conversation string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, conversation)
}

// settle drops the text, but not the session, of the conversations unused for longest while all together hold too
// much.
func (b *Book) settle(c *conversation, held int) {
	b.mu.Lock()
	c.bytes = held
	var drop []*conversation
	for {
		total := 0
		var oldest *conversation
		for _, o := range b.open {
			total += o.bytes
			if o != c && o.bytes > 0 && (oldest == nil || o.used < oldest.used) {
				oldest = o
			}
		}
		if total <= b.limit.book || oldest == nil {
			break
		}
		oldest.bytes = 0
		drop = append(drop, oldest)
	}
	b.mu.Unlock()
	for _, o := range drop {
		o.mu.Lock()
		o.segments, o.session.Forgotten = nil, true
		o.mu.Unlock()
	}
}

func (c *conversation) held() int {
	n := 0
	for _, s := range c.segments {
		n += len(s.text)
	}
	return n
}

// remember appends normalized text and lets go of the oldest segment when the others hold enough.
func (c *conversation) remember(limit memory, text []byte, detail string) {
	if len(text) > limit.conversation {
		text = text[len(text)-limit.conversation:]
		c.session.Forgotten = true
	}
	for len(text) > 0 {
		if len(c.segments) == 0 || len(c.segments[len(c.segments)-1].text) >= limit.segment {
			c.segments = append(c.segments, newSegment())
		}
		last := c.segments[len(c.segments)-1]
		n := min(len(text), max(limit.segment-len(last.text), minCopy))
		last.add(text[:n], detail)
		if n == len(text) {
			break
		}
		text = text[n-min(n-1, maxToken):] // overlap, so that a copy across the cut is still found
		if len(text) <= maxToken {
			break
		}
	}
	for len(c.segments) > 1 && c.held()-len(c.segments[0].text) >= limit.conversation {
		c.segments = slices.Delete(c.segments, 0, 1)
		c.session.Forgotten = true
	}
}

// Label returns one entry per leaf of args, in order of appearance. wrote says who wrote the arguments; it is the
// origin of every leaf that repeats nothing.
//
// A leaf counts as outside when it is, in normal form and ignoring case, a token of an earlier result (4 bytes or
// more), or when a part of it repeats one: 24 bytes or more anywhere, 12 or more between token boundaries, a host
// name, address or hash of 4 or more, or 12 or more once base64, hex or percent-encoding is undone. Spans mark those
// parts. A leaf of less than 12 bytes that the user typed stays the user's and only carries the spans: people retype
// names they have read. Once the conversation's memory is exceeded, leaves of the model that repeat nothing count as
// outside too.
//
// args that are not valid JSON give a single outside value without text.
func (b *Book) Label(conversation string, args []byte, wrote tool.Origin) []Value {
	values, err := leaves(args)
	if err != nil {
		return []Value{{Kind: "object", Origin: tool.OriginOutside, Detail: "not valid JSON"}}
	}
	c := b.conversation(conversation)
	c.mu.Lock()
	defer c.mu.Unlock()
	m := matcher{segments: c.segments, work: maxWork}
	for i := range values {
		v := &values[i]
		v.Origin = wrote
		if wrote == tool.OriginOutside {
			continue
		}
		if v.Kind == "string" || v.Kind == "number" {
			v.Spans = m.spans(v.Text)
		}
		switch {
		case len(v.Spans) > 0 && (wrote != tool.OriginUser || len(v.Text) >= minCopy):
			v.Origin = tool.OriginOutside
			v.Detail = longest(v.Spans).Detail
		case m.work <= 0 && wrote != tool.OriginUser:
			v.Origin, v.Detail = tool.OriginOutside, "too much alike to compare with what was read"
		case c.session.Forgotten && wrote != tool.OriginUser && len(v.Text) >= minToken:
			v.Origin, v.Detail = tool.OriginOutside, "beyond memory: may repeat an earlier result"
		}
	}
	return values
}

func longest(spans []Span) Span {
	return slices.MaxFunc(spans, func(a, b Span) int { return a.End - a.Start - (b.End - b.Start) })
}

func leaves(args []byte) ([]Value, error) {
	if len(bytes.TrimSpace(args)) == 0 {
		args = []byte("{}")
	}
	var all []Value
	dec := jsontext.NewDecoder(bytes.NewBuffer(args))
	opened := false // the last token opened an object or array
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, errors.New("label: not valid JSON")
		}
		kind, count := dec.StackIndex(dec.StackDepth())
		isKey := kind == jsontext.KindBeginObject && count%2 == 1
		v := Value{Pointer: string(dec.StackPointer())}
		switch tok.Kind() {
		case jsontext.KindString:
			v.Kind, v.Text = "string", tok.String()
		case jsontext.KindNumber:
			v.Kind, v.Text = "number", tok.String()
		case jsontext.KindTrue, jsontext.KindFalse:
			v.Kind, v.Text = "bool", tok.String()
		case jsontext.KindNull:
			v.Kind, v.Text = "null", tok.String()
		case jsontext.KindEndObject:
			v.Kind, v.Text = "object", "{}"
		case jsontext.KindEndArray:
			v.Kind, v.Text = "array", "[]"
		}
		opens := tok.Kind() == jsontext.KindBeginObject || tok.Kind() == jsontext.KindBeginArray
		closes := tok.Kind() == jsontext.KindEndObject || tok.Kind() == jsontext.KindEndArray
		if !opens && !(isKey && tok.Kind() == jsontext.KindString) && (!closes || opened) {
			all = append(all, v)
		}
		opened = opens
		if dec.StackDepth() == 0 {
			return all, nil
		}
	}
}

// Summary says in a few words where a value comes from, as the consent dialog shows it.
func (v Value) Summary() string {
	if v.Detail == "" {
		return v.Origin.String()
	}
	return strings.Join([]string{v.Origin.String(), v.Detail}, ", ")
}
