package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxLine       = 16 << 20 // bytes of one message
	maxTools      = 1000     // tools of one server
	maxPages      = 100      // pages of one listing
	maxDefinition = 64 << 10 // bytes of one tool's definition
	maxName       = 128      // bytes of a tool's name

	maxListing      = 4 << 20  // bytes of all definitions of a server
	maxInstructions = 64 << 10 // bytes
	maxBrief        = 100      // characters of a server's title and version

	requestsPerSecond      = 20   // of a server's own, each of which the library answers and keeps until then
	notificationsPerSecond = 1000 //
	maxDropped             = 100_000
)

// errFlood ends a session that consists of nothing but messages that nobody asked for.
var errFlood = errors.New("it sent messages without end that nobody asked for")

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

// ErrLineTooLong ends a session: a line without end would fill the memory.
var ErrLineTooLong = fmt.Errorf("it sent a line longer than %d MiB", maxLine>>20)

// guard stands between a server's standard output and the MCP library. It passes whole, valid JSON objects on, skips
// everything else, and keeps tool definitions to itself: a schema that refers to itself would end the process in the
// library (go-sdk v1.8.0). Read is for one reader.
type guard struct {
	lines   *bufio.Reader
	pending []byte
	noise   func(line []byte)         // a line that is no message; at most 4 KiB of it
	found   func(rule, text string)   // something a person should know
	listing sync.Mutex                // guards what follows
	defs    map[string]jsontext.Value // nil unless a listing is under way: definitions by name, as received
	order   []string
	refused []string // what is not offered and why
	bytes   int      // of the definitions

	requests, notifications budget // used by Read only, with dropped
	dropped                 int

	heard    atomic.Int64 // when the last message came, in nanoseconds since 1970
	progress atomic.Int64 // the same for one that tells how a call goes
}

func newGuard(src io.Reader, noise func([]byte), found func(rule, text string)) *guard {
	return &guard{lines: bufio.NewReaderSize(src, 64<<10), noise: noise, found: found, requests: newBudget(requestsPerSecond), notifications: newBudget(notificationsPerSecond)}
}

// Read implements io.Reader over the checked messages.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.pending) == 0 {
		line, err := g.line()
		if err != nil {
			return 0, err
		}
		g.pending = g.check(line)
		if g.dropped > maxDropped {
			g.found("wire.flood", "the server "+errFlood.Error()+"; the session was ended")
			return 0, errFlood
		}
	}
	n := copy(p, g.pending)
	g.pending = g.pending[n:]
	return n, nil
}

// line returns the next line with its newline. A last line without one is not a message.
func (g *guard) line() ([]byte, error) {
	var line []byte
	for {
		part, err := g.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			g.found("wire.line-too-long", "the server "+ErrLineTooLong.Error()+"; the session was ended")
			return nil, ErrLineTooLong
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if len(line) > 0 {
				g.noise(clip(line))
			}
			return nil, err
		}
	}
}

func clip(b []byte) []byte { return bytes.TrimRight(b[:min(len(b), 4096)], "\r\n") }

// check returns what the library may see of a line: all, a cleaned listing, or nothing.
func (g *guard) check(line []byte) []byte {
	text := bytes.TrimSpace(line)
	if len(text) == 0 {
		return nil
	}
	if text[0] != '{' {
		g.noise(clip(line))
		return nil
	}
	message, err := members(text)
	if err != nil {
		g.noise(clip(line))
		if bytes.Contains(text, []byte(`"jsonrpc"`)) {
			g.found("wire.invalid-json", "the server sent a message that is not strict JSON; it was dropped")
		}
		return nil
	}
	if string(message["jsonrpc"]) != `"2.0"` { // a log line that happens to be an object would end the session
		g.noise(clip(line))
		return nil
	}
	if !shaped(message) {
		g.noise(clip(line))
		g.found("wire.invalid-message", "the server sent a message that is neither a request nor an answer; it was dropped")
		return nil
	}
	now := time.Now().UnixNano()
	g.heard.Store(now)
	if string(message["method"]) == `"notifications/progress"` {
		g.progress.Store(now)
	}
	if message["method"] != nil && !g.affordable(message) {
		return nil
	}
	g.listing.Lock()
	defer g.listing.Unlock()
	if g.defs != nil && message["result"] != nil {
		return g.cleanListing(line, message)
	}
	return line
}

// affordable bounds what a server sends of its own accord. The library answers each request and queues the answers without
// bound while they cannot be written (go-sdk v1.8.0).
func (g *guard) affordable(message map[string]jsontext.Value) bool {
	b, what := &g.notifications, "notifications"
	if id := message["id"].Kind(); id != jsontext.KindInvalid && id != 'n' {
		b, what = &g.requests, "requests"
	}
	if b.take() {
		return true
	}
	if g.dropped++; g.dropped == 1 {
		g.found("wire.too-many", fmt.Sprintf("the server sends more than %v %s a second; the others were dropped", b.rate, what))
	}
	return false
}

// shaped reports whether a message is a request, a notification or an answer to something, with a result or an error in
// exactly these letters: any other, even an error that answers nothing, would end the session.
func shaped(message map[string]jsontext.Value) bool {
	id := message["id"].Kind()
	if method, ok := message["method"]; ok {
		return method.Kind() == '"' && (id == jsontext.KindInvalid || id == 'n' || id == '"' || id == '0')
	}
	e := message["error"].Kind()
	answers := e == '{' || message["result"] != nil && (e == jsontext.KindInvalid || e == 'n')
	return answers && (id == '"' || id == '0')
}

// members reads an object strictly: UTF-8, no duplicate keys, nothing after it. The values are parts of text.
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
		if all[key], err = dec.ReadValue(); err != nil {
			return nil, err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return all, nil
}

// cleanListing records the definitions in a tools/list result. The library gets their names with an empty schema and
// nothing else: it needs no more, and what it does with a schema can end the process.
func (g *guard) cleanListing(line []byte, message map[string]jsontext.Value) []byte {
	result, err := members(message["result"])
	if err != nil || result["tools"] == nil {
		return line
	}
	var tools []jsontext.Value
	kept := []jsontext.Value{}
	if json.Unmarshal(result["tools"], &tools) != nil {
		g.refuse("the server's list of tools is no list")
	}
	for _, raw := range tools {
		if len(g.defs) >= maxTools {
			g.refuse("the server lists more than %d tools; the others are not offered", maxTools)
			break
		}
		name, err := g.admit(raw)
		if err != nil {
			g.refuse("tool %q is not offered: %v", name[:min(len(name), maxName)], err)
			continue
		}
		if g.bytes += len(raw); g.bytes > maxListing {
			g.refuse("the server lists more than %d MiB of tools; the others are not offered", maxListing>>20)
			break
		}
		g.defs[name] = raw.Clone()
		g.order = append(g.order, name)
		stub, err := json.Marshal(map[string]any{"name": name, "inputSchema": map[string]string{"type": "object"}})
		if err != nil {
			return nil
		}
		kept = append(kept, stub)
	}
	if result["tools"], err = json.Marshal(kept); err != nil {
		return nil
	}
	if message["result"], err = json.Marshal(result); err != nil {
		return nil
	}
	out, err := json.Marshal(message)
	if err != nil {
		return nil
	}
	return append(out, '\n')
}

// refuse notes that something listed is not offered, for whoever reviews the server.
func (g *guard) refuse(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	g.found("wire.tool-refused", text)
	if len(g.refused) < maxFindings {
		g.refused = append(g.refused, text)
	}
}

// admit reports why a listed tool cannot be offered. The name is untrusted and may be empty.
func (g *guard) admit(raw jsontext.Value) (name string, err error) {
	var def struct {
		Name   string         `json:"name"`
		Input  jsontext.Value `json:"inputSchema"`
		Output jsontext.Value `json:"outputSchema"`
	}
	if err := json.Unmarshal(raw, &def); err != nil {
		return "", errors.New("its definition is malformed")
	}
	switch {
	case def.Name == "" || len(def.Name) > maxName:
		return def.Name, fmt.Errorf("its name has %d bytes, 1 to %d are allowed", len(def.Name), maxName)
	case strings.ContainsFunc(def.Name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		return def.Name, errors.New("its name holds characters that cannot be seen")
	case len(raw) > maxDefinition:
		return def.Name, fmt.Errorf("its definition has %d bytes, at most %d are allowed", len(raw), maxDefinition)
	case g.defs[def.Name] != nil:
		return def.Name, errors.New("the server lists two tools of that name")
	case def.Input == nil:
		return def.Name, errors.New("it has no input schema")
	}
	if err := tool.CheckSchema(def.Input); err != nil {
		return def.Name, fmt.Errorf("its input schema is unsafe: %w", err)
	}
	if def.Output != nil {
		if err := tool.CheckSchema(def.Output); err != nil {
			return def.Name, fmt.Errorf("its output schema is unsafe: %w", err)
		}
	}
	return def.Name, nil
}

// beginListing starts recording definitions; endListing stops and returns them, in the order they were listed, and what
// is not offered.
func (g *guard) beginListing() {
	g.listing.Lock()
	defer g.listing.Unlock()
	g.defs, g.order, g.refused, g.bytes = map[string]jsontext.Value{}, nil, nil, 0
}

func (g *guard) endListing() (defs map[string]jsontext.Value, order, refused []string) {
	g.listing.Lock()
	defer g.listing.Unlock()
	defs, order, refused = g.defs, g.order, g.refused
	g.defs, g.order, g.refused = nil, nil, nil
	return defs, order, refused
}
