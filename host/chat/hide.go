package chat

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cordon/host/llm"

	"github.com/go-json-experiment/json/jsontext"
)

// hider replaces what no model is to get: the user's own secrets, for good, and a case's words by stand-ins, which are put back in what the model says.
type hider struct {
	mask  func(string) string
	words []string
	find  *regexp.Regexp // nil without words
	n     int            // how many texts had something in them
}

func newHider(mask func(string) string, list []string) *hider {
	h := &hider{mask: mask, words: slices.Clone(list)}
	if len(list) == 0 {
		return h
	}
	parts := make([]string, len(list))
	for i, w := range list {
		parts[i] = "(" + regexp.QuoteMeta(w) + ")"
	}
	// Longer words first, so that one that begins another does not leave its end; the groups keep the order of the list.
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(list[b]) - len(list[a]) })
	sorted := make([]string, len(list))
	for i, o := range order {
		sorted[i], h.words[i] = parts[o], list[o]
	}
	h.find = regexp.MustCompile("(?i)" + strings.Join(sorted, "|"))
	return h
}

// standIn is by its place in the list of longest words first.
func standIn(i int) string { return fmt.Sprintf("[redacted-%d]", i+1) }

func (h *hider) hide(s string) string {
	out := h.mask(s)
	if h.find != nil {
		out = h.find.ReplaceAllStringFunc(out, func(found string) string {
			for i, m := range h.find.FindStringSubmatch(found)[1:] {
				if m != "" {
					return standIn(i)
				}
			}
			return standIn(0)
		})
	}
	if out != s {
		h.n++
	}
	return out
}

// show puts a case's words back.
func (h *hider) show(s string) string {
	if h.find == nil || !strings.Contains(s, "[redacted-") {
		return s
	}
	for i := len(h.words) - 1; i >= 0; i-- {
		s = strings.ReplaceAll(s, standIn(i), h.words[i])
	}
	return s
}

// strings applies f to every text in JSON, names of members included; what is no JSON is one text.
func inJSON(v []byte, f func(string) string) []byte {
	var out strings.Builder
	from, to := jsontext.NewDecoder(strings.NewReader(string(v))), jsontext.NewEncoder(&out, jsontext.AllowDuplicateNames(true))
	for {
		t, err := from.ReadToken()
		if err != nil {
			break
		}
		if t.Kind() == '"' {
			t = jsontext.String(f(t.String()))
		}
		if err := to.WriteToken(t); err != nil {
			break
		}
	}
	if got := jsontext.Value(strings.TrimSpace(out.String())); got.IsValid() {
		return got
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
			p.Text = h.hide(p.Text)
			if p.Args != nil {
				p.Args = inJSON(p.Args, h.hide)
			}
		}
	}
	r.Tools = slices.Clone(r.Tools)
	for i := range r.Tools {
		r.Tools[i].Description = h.hide(r.Tools[i].Description)
		r.Tools[i].Schema = inJSON(r.Tools[i].Schema, h.hide)
	}
	return r
}

// shown puts words back in what a model said.
func (h *hider) shown(parts []llm.Part) []llm.Part {
	if h.find == nil {
		return parts
	}
	parts = slices.Clone(parts)
	for i := range parts {
		if parts[i].Kind == llm.Reasoning && parts[i].Seal != "" {
			continue
		}
		parts[i].Text = h.show(parts[i].Text)
		if parts[i].Args != nil {
			parts[i].Args = inJSON(parts[i].Args, h.show)
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
	if s.h.find == nil {
		return text
	}
	text = s.held[part] + text
	delete(s.held, part)
	if i := strings.LastIndexByte(text, '['); i >= 0 && begun.MatchString(text[i:]) {
		s.held[part], text = text[i:], text[:i]
	}
	return s.h.show(text)
}

// begun matches what may become a stand-in.
var begun = regexp.MustCompile(`^\[(r(e(d(a(c(t(e(d(-\d{0,4})?)?)?)?)?)?)?)?)?$`)
