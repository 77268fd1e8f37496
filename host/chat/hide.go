package chat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"

	"cordon/host/llm"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"
)

// hider replaces what no model is to get: the user's own secrets, for good, and a case's words by stand-ins. Stand-ins of this request, and no others, are put
// back in what the model answers to it; nobody who does not know the conversation's tag can write one. Whole texts are hidden, before anything is cut.
type hider struct {
	mask func(string) string
	tag  string         // of the conversation
	find *regexp.Regexp // nil without words

	mu   sync.Mutex        // calls run side by side
	made map[string]string // guarded by mu: what stand-ins of this request stand for
	n    int               // guarded by mu: how many texts had something in them
}

func newHider(mask func(string) string, tag string, words []string) *hider {
	h := &hider{mask: mask, tag: tag, made: map[string]string{}}
	if len(words) == 0 {
		return h
	}
	sorted := slices.Clone(words) // longer words first, so that one that begins another does not leave its end
	slices.SortStableFunc(sorted, func(a, b string) int { return len(b) - len(a) })
	for i, w := range sorted {
		sorted[i] = pattern(w)
	}
	h.find = regexp.MustCompile("(?i:" + strings.Join(sorted, "|") + ")")
	return h
}

// pattern matches a word as it is written, composed or decomposed, and as JSON, addresses and reports write it: with escapes, and any space for a space.
func pattern(word string) string {
	var b strings.Builder
	space := false
	for _, r := range norm.NFC.String(word) {
		if unicode.IsSpace(r) {
			if !space {
				b.WriteString(`(?:\s|%20|\+|_|\\u0020|\\[nrt]|&nbsp;)+`)
			}
			space = true
			continue
		}
		space = false
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsNumber(r)) {
			b.WriteRune(r)
			continue
		}
		ways := []string{regexp.QuoteMeta(string(r))}
		add := func(s string) {
			if !slices.Contains(ways, s) {
				ways = append(ways, s)
			}
		}
		for _, form := range []rune{unicode.ToLower(r), unicode.ToUpper(r)} { // an escape of the other case is another escape
			add(regexp.QuoteMeta(norm.NFD.String(string(form))))
			add(regexp.QuoteMeta(url.PathEscape(string(form))))
			add(regexp.QuoteMeta(url.QueryEscape(string(form))))
			escape := ""
			for _, u := range utf16.Encode([]rune{form}) {
				escape += fmt.Sprintf(`\\u%04x`, u)
			}
			add(escape)
		}
		switch r {
		case '\\', '/', '"':
			ways = append([]string{`\\+` + regexp.QuoteMeta(string(r))}, ways...)
		case '&':
			add("&amp;")
		}
		b.WriteString("(?:" + strings.Join(ways, "|") + ")")
	}
	return b.String()
}

func (h *hider) standIn(found string) string {
	sum := sha256.Sum256([]byte(h.tag + found))
	return "[hidden-" + h.tag[:4] + hex.EncodeToString(sum[:4]) + "]"
}

func (h *hider) hide(s string) string {
	out := h.mask(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.find != nil {
		var b strings.Builder
		rest := out
		replace := func(text string) {
			b.WriteString(h.find.ReplaceAllStringFunc(text, func(found string) string {
				stand := h.standIn(found)
				h.made[stand] = found
				return stand
			}))
		}
		for at := 0; ; { // what is hidden already stays as it is
			loc := standIns.FindStringIndex(rest[at:])
			if loc == nil {
				break
			}
			from, to := at+loc[0], at+loc[1]
			if at = to; h.made[rest[from:to]] == "" {
				continue
			}
			replace(rest[:from])
			b.WriteString(rest[from:to])
			rest, at = rest[to:], 0
		}
		replace(rest)
		out = b.String()
	}
	if out != s {
		h.n++
	}
	return out
}

// name is what a tool is called in a request: another name, if a word is in its own.
func (h *hider) name(s string) string { return h.instead(s, s) }

// instead is name, or what stands for it if one of its forms has something that no model gets.
func (h *hider) instead(s string, forms ...string) string {
	if !slices.ContainsFunc(append(forms, s), func(f string) bool { return h.mask(f) != f || h.find != nil && h.find.MatchString(f) }) {
		return s
	}
	sum := sha256.Sum256([]byte(h.tag + s))
	h.mu.Lock()
	h.n++
	h.mu.Unlock()
	return "tool_" + hex.EncodeToString(sum[:8])
}

// standIns matches what may be one.
var standIns = regexp.MustCompile(`\[hidden-[0-9a-f]{12}\]`)

// show puts words back.
func (h *hider) show(s string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.made) == 0 {
		return s
	}
	return standIns.ReplaceAllStringFunc(s, func(stand string) string {
		if word, ok := h.made[stand]; ok {
			return word
		}
		return stand
	})
}

// inJSON applies f to every text in JSON, and to names of members if names says so; what is no JSON is one text.
func inJSON(v []byte, names bool, f func(string) string) []byte {
	var out strings.Builder
	from, to := jsontext.NewDecoder(strings.NewReader(string(v))), jsontext.NewEncoder(&out, jsontext.AllowDuplicateNames(true))
	for {
		kind, n := from.StackIndex(from.StackDepth())
		name := kind == jsontext.KindBeginObject && n%2 == 0
		t, err := from.ReadToken()
		if err != nil {
			break
		}
		if t.Kind() == '"' && (names || !name) {
			t = jsontext.String(f(t.String()))
		}
		if err := to.WriteToken(t); err != nil {
			break
		}
	}
	if got := jsontext.Value(strings.TrimSpace(out.String())); got.IsValid() {
		return got
	}
	if !names {
		return v
	}
	return []byte(f(string(v)))
}

// hidden returns a request without what no model is to get.
func (h *hider) hidden(r llm.Request) llm.Request {
	r.System = h.hide(r.System)
	r.Messages = slices.Clone(r.Messages)
	for i := range r.Messages {
		r.Messages[i].Parts = slices.Clone(r.Messages[i].Parts)
		for j := range r.Messages[i].Parts {
			p := &r.Messages[i].Parts[j]
			if p.Kind == llm.Reasoning && p.Seal != "" {
				continue // it is what the provider itself said, and only whole
			}
			p.Text, p.Name = h.hide(p.Text), h.name(p.Name)
			if p.Args != nil {
				p.Args = inJSON(p.Args, true, h.hide)
			}
		}
	}
	r.Tools = slices.Clone(r.Tools)
	for i := range r.Tools {
		r.Tools[i].Name = h.name(r.Tools[i].Name)
		r.Tools[i].Description = h.hide(r.Tools[i].Description)
		r.Tools[i].Schema = inJSON(r.Tools[i].Schema, true, h.hide)
	}
	return r
}

// shown puts words back in what a model said. Names of members stay: two of them could become one.
func (h *hider) shown(parts []llm.Part) []llm.Part {
	parts = slices.Clone(parts)
	for i := range parts {
		if parts[i].Kind == llm.Reasoning && parts[i].Seal != "" {
			continue
		}
		parts[i].Text = h.show(parts[i].Text)
		if parts[i].Args != nil {
			parts[i].Args = inJSON(parts[i].Args, false, h.show)
		}
	}
	return parts
}

// showing puts words back in text that comes in pieces.
type showing struct {
	h    *hider
	held map[int]string // of each part, what may be the beginning of a stand-in
}

func (s *showing) add(part int, text string) string {
	text = s.held[part] + text
	delete(s.held, part)
	if i := strings.LastIndexByte(text, '['); i >= 0 && begun(text[i:]) {
		s.held[part], text = text[i:], text[:i]
	}
	return s.h.show(text)
}

// begun reports whether s may become a stand-in.
func begun(s string) bool {
	const begins = "[hidden-"
	if len(s) <= len(begins) {
		return strings.HasPrefix(begins, s)
	}
	rest, ok := strings.CutPrefix(s, begins)
	return ok && len(rest) <= 12 && strings.Trim(rest, "0123456789abcdef") == ""
}
