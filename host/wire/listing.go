package wire

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what a server lists.
const (
	MaxTools = 1000 // of one server
	MaxPages = 100  // of one listing

	maxDefinition = 64 << 10 // bytes of one tool's definition
	maxName       = 128      // bytes of a tool's name
	maxListing    = 4 << 20  // bytes of all definitions of a server
	maxRefused    = 20       // refused tools that are named
)

// Listing holds the tool definitions of a server as they were received. The library gets their names with an empty schema and
// nothing else: it needs no more, and a schema that refers to itself would end the process in it (go-sdk v1.8.0).
type Listing struct {
	Definitions map[string]jsontext.Value // by name
	Order       []string                  // names in the order in which they were listed
	Refused     []string                  // what is not offered and why; untrusted names in it
	Lasts       time.Duration             // for how long the server says that the list holds; 0 if it says nothing

	bytes int // of the definitions
}

// BeginListing starts recording definitions; EndListing stops and returns them. In between pages are listed.
func (g *Guard) BeginListing() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listing = &Listing{Definitions: map[string]jsontext.Value{}}
}

// EndListing is BeginListing's end.
func (g *Guard) EndListing() Listing {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.listing
	g.listing = nil
	if l == nil {
		return Listing{}
	}
	return *l
}

// clean records the definitions in the result of tools/list and returns the message with stubs in their place.
func (l *Listing) clean(g *Guard, message map[string]jsontext.Value) ([]byte, error) {
	if l == nil {
		return nil, errors.New("nobody is listing tools now")
	}
	result, err := members(message["result"])
	if err != nil && !errors.Is(err, errComplex) {
		return nil, errors.New("it is malformed")
	}
	var tools []jsontext.Value
	kept := []jsontext.Value{}
	if result["tools"] != nil && json.Unmarshal(result["tools"], &tools) != nil {
		l.refuse(g, "the server's list of tools is no list")
	}
	for _, raw := range tools {
		if len(l.Definitions) >= MaxTools {
			l.refuse(g, "the server lists more than %d tools; the others are not offered", MaxTools)
			break
		}
		name, err := l.admit(raw, g.Headers)
		if err != nil {
			l.refuse(g, "tool %q is not offered: %v", name[:min(len(name), maxName)], err)
			continue
		}
		if l.bytes += len(raw); l.bytes > maxListing {
			l.refuse(g, "the server lists more than %d MiB of tools; the others are not offered", maxListing>>20)
			break
		}
		l.Definitions[name] = raw.Clone()
		l.Order = append(l.Order, name)
		stub, err := json.Marshal(map[string]any{"name": name, "inputSchema": map[string]string{"type": "object"}})
		if err != nil {
			return nil, err
		}
		kept = append(kept, stub)
	}
	l.lasts(result["ttlMs"]) // the library does not get it: it would answer the next listing by itself
	page := map[string]any{"tools": kept}
	if cursor := result["nextCursor"]; cursor.Kind() == '"' {
		if len(cursor) > maxCursor {
			return nil, fmt.Errorf("the place where it goes on is %d bytes long", len(cursor))
		}
		page["nextCursor"] = cursor
	}
	if string(result["resultType"]) == `"complete"` {
		page["resultType"] = result["resultType"]
	}
	return json.Marshal(map[string]any{"jsonrpc": "2.0", "id": message["id"], "result": page}, json.Deterministic(true))
}

// lasts takes a page's time to live. The shortest counts.
func (l *Listing) lasts(ms jsontext.Value) {
	var n float64
	if ms.Kind() != '0' || json.Unmarshal(ms, &n) != nil || !(n > 0) {
		return
	}
	if d := time.Duration(min(n, 1e9)) * time.Millisecond; l.Lasts == 0 || d < l.Lasts {
		l.Lasts = d
	}
}

// refuse notes that something listed is not offered, for whoever reviews the server.
func (l *Listing) refuse(g *Guard, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	g.found(ToolRefused, text)
	if len(l.Refused) < maxRefused {
		l.Refused = append(l.Refused, text)
	}
}

// admit reports why a listed tool cannot be offered. The name is untrusted and may be empty.
func (l *Listing) admit(raw jsontext.Value, headers bool) (name string, err error) {
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
	case l.Definitions[def.Name] != nil:
		return def.Name, errors.New("the server lists two tools of that name")
	case def.Input == nil:
		return def.Name, errors.New("it has no input schema")
	}
	if err := tool.CheckSchema(def.Input); err != nil {
		return def.Name, fmt.Errorf("its input schema is unsafe: %w", err)
	}
	if headers {
		if _, err := tool.Headers(def.Input); err != nil {
			return def.Name, err
		}
	}
	if def.Output != nil {
		if err := tool.CheckSchema(def.Output); err != nil {
			return def.Name, fmt.Errorf("its output schema is unsafe: %w", err)
		}
	}
	return def.Name, nil
}
