package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cordon/host/tool"
)

// Hidden finds characters that a person does not see or that make text read differently from what is sent. Emoji
// sequences, joiners in scripts that need them, and right-to-left text with its ordinary marks are left alone.
type Hidden struct{}

// Name returns "hidden".
func (Hidden) Name() string { return "hidden" }

// Inspect reports at most one finding per rule and text: hidden.bidi, hidden.tag, hidden.zerowidth, hidden.variation,
// hidden.ignorable, hidden.control, hidden.ansi, hidden.space, hidden.private, hidden.invalid. Bidi controls and tag
// characters in a definition are severity Block; spaces are Info, and so is what results often hold without malice.
func (Hidden) Inspect(ctx context.Context, s Subject) ([]tool.Finding, error) {
	var found []tool.Finding
	for i, t := range s.Texts {
		if i%64 == 0 && ctx.Err() != nil {
			return found, ctx.Err()
		}
		if !suspicious(t.Value) {
			continue
		}
		for _, h := range hiddenIn(t.Value) {
			found = append(found, tool.Finding{Rule: "hidden." + h.rule, Severity: hiddenSeverity(h.rule, s.Kind), Where: t.Pointer, Text: h.sentence()})
		}
	}
	return found, nil
}

func hiddenSeverity(rule string, kind Kind) tool.Severity {
	switch {
	case rule == "space":
		return tool.Info
	case kind == Definition && (rule == "bidi" || rule == "tag"):
		return tool.Block
	case kind == Outcome && (rule == "private" || rule == "ignorable" || rule == "invalid"):
		return tool.Info
	}
	return tool.Warn
}

// suspicious reports whether s holds anything that could be a finding. Most texts do not.
func suspicious(s string) bool {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
				return true
			}
			i++
			continue
		}
		r, w := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 || r < 0xa1 || ignorable(r) || r == 0x1f3f4 || r == 0x2800 || unicode.In(r, unicode.Z, unicode.Co) {
			return true
		}
		i += w
	}
	return false
}

// hit is what one rule found in one text.
type hit struct {
	rule  string
	count int
	first []string // "U+202E at byte 5"
	spelt []byte   // what tag characters say
}

func (h hit) sentence() string {
	const nouns = "bidi=bidirectional control;tag=invisible tag character;zerowidth=zero-width character;variation=unusual variation selector;" +
		"ignorable=invisible character;control=control character;ansi=terminal escape;space=unusual space;private=private-use character;invalid=byte that is not UTF-8"
	_, rest, _ := strings.Cut(nouns, h.rule+"=")
	noun, _, _ := strings.Cut(rest, ";")
	plural := ""
	if h.count > 1 {
		plural = "s"
	}
	text := fmt.Sprintf("%d %s%s: %s", h.count, noun, plural, strings.Join(h.first, ", "))
	if h.count > len(h.first) {
		text += ", …"
	}
	if len(h.spelt) > 0 {
		text += fmt.Sprintf("; they spell %q", h.spelt)
	}
	return text + "."
}

// Reveal returns text with everything that Hidden finds in it written out, as in "‹U+202E›", but for unusual spaces, which do no harm in a sentence.
func Reveal(text string) string {
	if !suspicious(text) {
		return text
	}
	var b strings.Builder
	w := walkThrough(text)
	for i := 0; i < len(w.runes); {
		rule, n := w.classify(i)
		for _, c := range w.runes[i : i+n] {
			if rule == "" || rule == "space" {
				b.WriteRune(c.r)
			} else {
				b.WriteString("‹" + codePoint(c.r) + "›")
			}
		}
		i += n
	}
	b.WriteString(strings.Repeat("\u2069", w.isolates)) // what is open would reach beyond the text
	return b.String()
}

// hiddenIn returns the hits in order of first appearance.
func hiddenIn(s string) []hit {
	w := walkThrough(s)
	for i := 0; i < len(w.runes); {
		rule, n := w.classify(i)
		if rule != "" {
			w.note(rule, i, n)
		}
		i += n
	}
	if w.isolates > 0 {
		w.note("bidi", len(w.runes)-1, 1)
	}
	return w.hits
}

type at struct {
	r   rune
	pos int32
}

// decode keeps invalid bytes as -1.
func decode(s string) []at {
	runes := make([]at, 0, len(s))
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 {
			r = -1
		}
		runes = append(runes, at{r, int32(i)})
		i += w
	}
	return runes
}

type walk struct {
	runes    []at
	rtl      bool // holds right-to-left letters
	isolates int  // isolates that are open
	hits     []hit
}

func walkThrough(s string) walk {
	w := walk{runes: decode(s)}
	for i := range w.runes {
		if w.runes[i].r >= 0x590 && unicode.In(w.runes[i].r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko) {
			w.rtl = true
		}
	}
	return w
}

func (w *walk) note(rule string, i, n int) {
	k := slices.IndexFunc(w.hits, func(h hit) bool { return h.rule == rule })
	if k < 0 {
		k = len(w.hits)
		w.hits = append(w.hits, hit{rule: rule})
	}
	h := &w.hits[k]
	h.count++
	if len(h.first) < 4 {
		h.first = append(h.first, fmt.Sprintf("%s at byte %d", codePoint(w.runes[i].r), w.runes[i].pos))
	}
	for _, c := range w.runes[i : i+n] {
		if rule == "tag" && 0xe0020 <= c.r && c.r < 0xe007f && len(h.spelt) < 60 {
			h.spelt = append(h.spelt, byte(c.r-0xe0000))
		}
	}
}

func codePoint(r rune) string {
	if r < 0 {
		return "byte"
	}
	return fmt.Sprintf("U+%04X", r)
}

func (w *walk) rune(i int) rune {
	if i < 0 || i >= len(w.runes) {
		return 0
	}
	return w.runes[i].r
}

// classify says which rule the character at i breaks, if any, and how many characters that covers.
func (w *walk) classify(i int) (rule string, n int) {
	r := w.rune(i)
	switch {
	case r < 0:
		return "invalid", 1
	case r >= ' ' && r < 0x7f, r == '\t', r == '\n', r == '\r':
		return "", 1
	case r == 0x1b, r == 0x9b:
		return "ansi", 1
	case r < ' ', r >= 0x7f && r < 0xa0:
		return "control", 1
	case 0x202a <= r && r <= 0x202e:
		return "bidi", 1
	case 0x2066 <= r && r <= 0x2069:
		return w.isolate(r), 1
	case r == 0x200e, r == 0x200f, r == 0x61c:
		if w.rtl {
			return "", 1
		}
		return "bidi", 1
	case r == 0xe0001, 0xe0020 <= r && r <= 0xe007f:
		return "tag", 1
	case r == 0x1f3f4:
		return "", 1 + w.flagTags(i+1)
	case r == 0x200c, r == 0x200d:
		if w.joins(i) {
			return "", 1
		}
		return "zerowidth", 1
	case r == 0xfeff && i == 0:
		return "", 1 // byte order mark
	case r == 0x200b, r == 0x2060, r == 0xfeff:
		return "zerowidth", 1
	case 0xfe00 <= r && r <= 0xfe0f, 0xe0100 <= r && r <= 0xe01ef:
		if w.varies(i) {
			return "", 1
		}
		return "variation", 1
	case 0x180b <= r && r <= 0x180f && unicode.Is(unicode.Mongolian, w.rune(i-1)):
		return "", 1
	case ignorable(r):
		return "ignorable", 1
	case r == 0x3000 && w.near(i, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul):
		return "", 1
	case r == 0x2800, r == 0x2028, r == 0x2029, unicode.Is(unicode.Zs, r):
		return "space", 1
	case unicode.Is(unicode.Co, r):
		return "private", 1
	}
	return "", 1
}

// isolate allows balanced isolates in right-to-left text.
func (w *walk) isolate(r rune) string {
	if !w.rtl {
		return "bidi"
	}
	if r != 0x2069 {
		w.isolates++
		return ""
	}
	if w.isolates == 0 {
		return "bidi"
	}
	w.isolates--
	return ""
}

// flagTags returns the length of the tag sequence at i if it makes one of the three flags that Unicode recommends.
func (w *walk) flagTags(i int) int {
	for _, region := range []string{"gbeng", "gbsct", "gbwls"} {
		n := 0
		for n < len(region) && w.rune(i+n) == 0xe0000+rune(region[n]) {
			n++
		}
		if n == len(region) && w.rune(i+n) == 0xe007f {
			return n + 1
		}
	}
	return 0
}

// joins reports whether a joiner has a job: between parts of an emoji, or between letters of a script that uses it.
func (w *walk) joins(i int) bool {
	before, after := w.rune(i-1), w.rune(i+1)
	if w.rune(i) == 0x200d && emoji(after) && (emoji(before) || before == 0xfe0f || 0x1f3fb <= before && before <= 0x1f3ff) {
		return true
	}
	return shapes(before) && (w.rune(i) == 0x200d || shapes(after))
}

// shapes reports letters and marks of scripts whose spelling needs joiners.
func shapes(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Nko, unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi,
		unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer,
		unicode.Myanmar, unicode.Tibetan) && (unicode.IsLetter(r) || unicode.IsMark(r))
}

// varies reports whether a variation selector stands where one has a meaning: once, after a base that has variants.
func (w *walk) varies(i int) bool {
	base := w.rune(i - 1)
	switch r := w.rune(i); {
	case r == 0xfe0f, r == 0xfe0e:
		return emoji(base) || strings.ContainsRune("0123456789#*", base)
	case r >= 0xe0100:
		return unicode.Is(unicode.Han, base)
	case r == 0xfe00:
		return unicode.In(base, unicode.Sm, unicode.Han)
	case r <= 0xfe02:
		return unicode.Is(unicode.Han, base)
	}
	return false
}

// emoji is a generous reading of Extended_Pictographic and regional indicators.
func emoji(r rune) bool {
	switch {
	case r == 0xa9, r == 0xae, r == 0x203c, r == 0x2049, r == 0x2122, r == 0x2139, 0x2190 <= r && r <= 0x21ff, 0x2300 <= r && r <= 0x27bf,
		0x2900 <= r && r <= 0x297f, 0x2b00 <= r && r <= 0x2bff, r == 0x3030, r == 0x303d, r == 0x3297, r == 0x3299, 0x1f000 <= r && r <= 0x1faff:
		return true
	}
	return false
}

func (w *walk) near(i int, scripts ...*unicode.RangeTable) bool {
	return unicode.In(w.rune(i-1), scripts...) || unicode.In(w.rune(i+1), scripts...)
}
