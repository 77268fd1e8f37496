package inspect

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"cordon/host/tool"
)

// ErrUnread is what Secrets.Each wraps when it has listed every secret that can be read, and there are others.
var ErrUnread = errors.New("not every secret could be read, so some would not be found")

// Secrets lists the secrets that must not leave. Each calls f once for every secret with its name, the server it
// belongs to and its value; f neither keeps nor changes value. If some secret cannot be read Each must return an
// error, so that the inspection counts as degraded: ErrUnread, wrapped, if the others have been listed all the same. Each
// must be safe for concurrent use and quick.
type Secrets interface {
	Each(f func(name, server string, value []byte)) error
}

// Lengths below which a secret is not looked for, because it would be found everywhere.
const (
	minRaw      = 4 // bytes, at all
	minEncoded  = 6 // in any encoding
	minUnbroken = 8 // across white space, escapes of it, and from one value into the next
)

// Secret finds the user's own secrets, exactly: raw, reversed, in base64 (standard and URL alphabet, at all three
// alignments), in hex with any separators, percent-encoded, backslash- or entity-escaped, in two of these layers, and
// broken up by white space, invisible characters or neighbouring values. It is safe for concurrent use.
type Secret struct {
	secrets Secrets

	mu  sync.Mutex
	of  tool.Digest // which secrets set is for
	set *needles    // never changed once stored; guarded by mu
}

// NewSecret returns an engine over secrets. It keeps their values, and forms of them, in memory.
func NewSecret(secrets Secrets) *Secret { return &Secret{secrets: secrets} }

// Name returns "secret".
func (*Secret) Name() string { return "secret" }

// Inspect reports each secret once per text it begins in, by name, under the rule secret.own. Severity is Block,
// but Warn in results, where the caller masks. While some secrets cannot be read it looks for the others and returns
// ErrUnread with what it found.
func (e *Secret) Inspect(ctx context.Context, s Subject) ([]tool.Finding, error) {
	set, unread := e.needles()
	if set == nil {
		return nil, unread
	}
	severity := tool.Block
	if s.Kind == Outcome {
		severity = tool.Warn
	}
	var found []tool.Finding
	seen := map[[2]int]bool{}
	for _, m := range set.find(s.Texts) {
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		key := [2]int{m.text, m.needle.owner}
		if seen[key] {
			continue
		}
		seen[key] = true
		found = append(found, tool.Finding{Rule: "secret.own", Severity: severity, Where: s.Texts[m.text].Pointer,
			Text: fmt.Sprintf("Holds your secret %.80s, %s.", set.names[m.needle.owner], m.needle.form)})
	}
	return found, unread
}

// Mask replaces every form of every secret in text by "[secret NAME]" and returns how many it replaced. An error
// means that text may still hold a secret and must not be shown. Secrets that cannot be read (ErrUnread) are no error and
// are not masked: this process has given them to no server.
func (e *Secret) Mask(text string) (string, int, error) {
	set, err := e.needles()
	if set == nil {
		return "", 0, err
	}
	n := 0
	// Cutting can bring two halves together, so look again.
	for range 8 {
		matches := set.find([]Text{{Value: text}})
		if len(matches) == 0 {
			return text, n, nil
		}
		var k int
		text, k = replaceAll(text, matches, set.names)
		n += k
	}
	return "[secret]", n, nil
}

func replaceAll(text string, matches []match, names []string) (string, int) {
	slices.SortFunc(matches, func(a, b match) int { return a.start - b.start })
	var b strings.Builder
	done, n := 0, 0
	for i := 0; i < len(matches); {
		m := matches[i]
		start, end := m.start, m.end
		for i++; i < len(matches) && matches[i].start < end; i++ {
			end = max(end, matches[i].end)
		}
		b.WriteString(text[done:start])
		b.WriteString("[secret " + names[m.needle.owner] + "]")
		done = end
		n++
	}
	b.WriteString(text[done:])
	return b.String(), n
}

// needles returns the forms of the current secrets, made anew only when the secrets have changed. Errors: ErrUnread with
// the forms of those that can be read, any other without.
func (e *Secret) needles() (*needles, error) {
	type secret struct {
		name  string
		value []byte
	}
	var all []secret
	unread := e.secrets.Each(func(name, _ string, value []byte) {
		all = append(all, secret{name, bytes.Clone(value)})
	})
	if unread != nil && !errors.Is(unread, ErrUnread) {
		return nil, errors.New("secrets cannot be read")
	}
	slices.SortFunc(all, func(a, b secret) int { return cmp.Or(strings.Compare(a.name, b.name), bytes.Compare(a.value, b.value)) })
	parts := make([][]byte, 0, 2*len(all))
	for _, s := range all {
		parts = append(parts, []byte(s.name), s.value)
	}
	of := tool.Sum(parts...)
	e.mu.Lock()
	set := e.set
	fresh := set != nil && e.of == of
	e.mu.Unlock()
	if fresh {
		return set, unread
	}
	set = &needles{names: make([]string, len(all))}
	for i, s := range all {
		set.names[i] = s.name
		set.add(i, s.value)
	}
	set.index()
	e.mu.Lock()
	e.of, e.set = of, set
	e.mu.Unlock()
	return set, unread
}

// needle is one form of one secret.
type needle struct {
	text  []byte
	owner int    // index into names
	form  string // for the analyst
	broad bool   // may be broken up
	wide  bool   // encoded: a mask covers the whole encoded run
}

// needles finds many strings in one pass: a bitmap over the hash of four bytes sends the few candidates to a map.
type needles struct {
	names []string
	plain haystackIndex // looked for in plain text
	hex   haystackIndex // looked for among the hex digits alone, in lower case
}

type haystackIndex struct {
	all    []needle
	bitmap [1 << 10]uint64 // 65,536 bits
	byHead map[uint32][]int
}

func head(b []byte) uint32                  { return binary.LittleEndian.Uint32(b) }
func (*haystackIndex) slot(h uint32) uint32 { return h * 2654435761 >> 16 }

func (x *haystackIndex) index() {
	x.byHead = make(map[uint32][]int, len(x.all))
	for i, n := range x.all {
		h := head(n.text)
		s := x.slot(h)
		x.bitmap[s>>6] |= 1 << (s & 63)
		x.byHead[h] = append(x.byHead[h], i)
	}
}

func (x *haystackIndex) scan(text []byte, hit func(n *needle, from, to int)) {
	if len(x.all) == 0 {
		return
	}
	for i := 0; i+4 <= len(text); i++ {
		h := head(text[i:])
		s := x.slot(h)
		if x.bitmap[s>>6]&(1<<(s&63)) == 0 {
			continue
		}
		for _, k := range x.byHead[h] {
			if n := &x.all[k]; bytes.HasPrefix(text[i:], n.text) {
				hit(n, i, i+len(n.text))
			}
		}
	}
}

func (s *needles) index() {
	s.plain.index()
	s.hex.index()
}

// add makes the forms of one secret. Values are looked for as they are and in plain form, because the text they are
// compared with is in plain form.
func (s *needles) add(owner int, value []byte) {
	value = bytes.TrimSpace(value)
	squeezed := Normalize(string(value), Squeeze).Text
	if len(squeezed) < minRaw {
		return
	}
	put := func(x *haystackIndex, text []byte, form string, wide bool) {
		if len(text) < minRaw || wide && len(text) < minEncoded {
			return
		}
		for i := range x.all {
			if x.all[i].owner == owner && bytes.Equal(x.all[i].text, text) {
				return
			}
		}
		x.all = append(x.all, needle{text, owner, form, len(squeezed) >= minUnbroken || x == &s.hex, wide})
	}
	put(&s.plain, squeezed, "as it is", false)
	if len(squeezed) < minEncoded {
		return
	}
	sources := [][]byte{value}
	if !bytes.Equal(value, squeezed) {
		sources = append(sources, squeezed)
	}
	for _, v := range sources {
		put(&s.plain, reversed(Normalize(string(v), Squeeze).Text), "reversed", false)
		put(&s.plain, []byte(url.QueryEscape(string(v))), "percent-encoded", false) // "+" for a space is not undone by unescaped
		inner := [][]byte{reversed(v), []byte(hex.EncodeToString(v)), []byte(strings.ToUpper(hex.EncodeToString(v))), []byte(url.QueryEscape(string(v)))}
		for _, b := range base64Cores(v) {
			put(&s.plain, b, "in base64", true)
			put(&s.plain, reversed(b), "in reversed base64", true)
			inner = append(inner, b)
		}
		put(&s.hex, []byte(hex.EncodeToString(v)), "in hex", true)
		put(&s.hex, reversed([]byte(hex.EncodeToString(v))), "in reversed hex", true)
		for _, in := range inner {
			for _, b := range base64Cores(in) {
				put(&s.plain, b, "encoded twice", true)
			}
			put(&s.hex, []byte(hex.EncodeToString(in)), "encoded twice", true)
		}
	}
}

func reversed(b []byte) []byte {
	if utf8.Valid(b) {
		r := []rune(string(b))
		slices.Reverse(r)
		return []byte(string(r))
	}
	r := bytes.Clone(b)
	slices.Reverse(r)
	return r
}

// base64Cores returns the part of the base64 of v that does not depend on its neighbours, for the three positions
// v can have in a group of three bytes and for both alphabets.
func base64Cores(v []byte) (cores [][]byte) {
	for shift := range 3 {
		padded := append(make([]byte, shift, shift+len(v)+2), v...)
		whole := len(padded) * 8 / 6 // characters made of v (and shift) alone
		first := (shift*8 + 5) / 6
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := enc.EncodeToString(padded)
			if core := []byte(text[first:whole]); len(cores) == 0 || !bytes.Equal(cores[len(cores)-1], core) {
				cores = append(cores, core)
			}
		}
	}
	return cores
}

// match is a needle in a text. start and end are byte offsets into it.
type match struct {
	text       int
	start, end int
	needle     *needle
}

// view is some form of all texts in a row, with the way back: byte i came from bytes start[i] to end[i] of the texts
// laid end to end.
type view struct {
	text       []byte
	start, end []int32 // nil if places are not kept
}

func newView(size int, places bool) view {
	v := view{text: make([]byte, 0, size)}
	if places {
		v.start, v.end = make([]int32, 0, size), make([]int32, 0, size)
	}
	return v
}

// add appends c, which stands for from.text[i:j].
func (v *view) add(c byte, from view, i, j int) {
	v.text = append(v.text, c)
	if from.start != nil {
		v.start = append(v.start, from.start[i])
		v.end = append(v.end, from.end[j-1])
	}
}

func (v view) span(from, to int) (start, end int) {
	if v.start == nil {
		return 0, 0
	}
	return int(v.start[from]), int(v.end[to-1])
}

// find returns all matches in texts, in no particular order.
func (s *needles) find(texts []Text) []match {
	var all []match
	base := make([]int, len(texts)+1)
	escapes := false
	for i, t := range texts {
		base[i+1] = base[i] + len(t.Value)
		escapes = escapes || strings.IndexByte(t.Value, 0x1b) >= 0 || strings.Contains(t.Value, "\u009b")
	}
	note := func(n *needle, start, end int) {
		first, _ := slices.BinarySearch(base, start+1)
		first--
		last := first
		for last+1 < len(texts) && base[last+1] < end {
			last++
		}
		if !n.broad && (last > first || broken(texts[first].Value[start-base[first]:end-base[first]])) {
			return
		}
		m := match{first, start - base[first], min(end-base[first], len(texts[first].Value)), n}
		if n.wide {
			m.start, m.end = widen(texts[first].Value, m.start, m.end)
		}
		all = append(all, m)
	}
	look := func(form Form, note func(n *needle, start, end int)) {
		v := joined(texts, base, Squeeze|form)
		s.search(v, note)
		if escapes {
			s.search(joined(texts, base, Squeeze|form|keepANSI), note)
		}
		for range 3 {
			next, changed := unescaped(v)
			if !changed {
				break
			}
			s.search(next, note)
			v = next
		}
	}
	// Keeping track of places costs more than looking, and mostly there is nothing to find.
	any := false
	look(0, func(*needle, int, int) { any = true })
	if any {
		look(Places, note)
	}
	return all
}

// search calls note with places in the texts, or with zeros if v keeps none.
func (s *needles) search(v view, note func(n *needle, start, end int)) {
	s.plain.scan(v.text, func(n *needle, from, to int) {
		start, end := v.span(from, to)
		note(n, start, end)
	})
	if len(s.hex.all) == 0 {
		return
	}
	digits := hexDigits(v)
	s.hex.scan(digits.text, func(n *needle, from, to int) {
		if start, end := digits.span(from, to); end-start <= 8*len(n.text) { // digits picked out of a long text mean nothing
			note(n, start, end)
		}
	})
}

func joined(texts []Text, base []int, form Form) view {
	if len(texts) == 1 {
		p := Normalize(texts[0].Value, form)
		return view{p.Text, p.Start, p.End}
	}
	v := newView(base[len(texts)], form&Places != 0)
	for i, t := range texts {
		p := Normalize(t.Value, form)
		v.text = append(v.text, p.Text...)
		for k := range p.Start {
			v.start = append(v.start, p.Start[k]+int32(base[i]))
			v.end = append(v.end, p.End[k]+int32(base[i]))
		}
	}
	return v
}

func broken(s string) bool { return strings.ContainsAny(s, " \t\r\n") }

// widen extends an encoded match to all of the encoded run it stands in.
func widen(s string, start, end int) (int, int) {
	for start > 0 && encodes(s[start-1]) {
		start--
	}
	for end < len(s) && encodes(s[end]) {
		end++
	}
	return start, end
}

func encodes(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_' || c == '=' || c == '%'
}

// hexDigits keeps the hex digits of v in lower case, without the 0 of "0x".
func hexDigits(v view) view {
	out := newView(len(v.text), v.start != nil)
	for i := 0; i < len(v.text); i++ {
		c := v.text[i]
		switch {
		case c == '0' && i+1 < len(v.text) && v.text[i+1]|0x20 == 'x':
			continue
		case 'A' <= c && c <= 'F':
			c |= 0x20
		case '0' <= c && c <= '9' || 'a' <= c && c <= 'f':
		default:
			continue
		}
		out.add(c, v, i, i+1)
	}
	return out
}

// unescaped resolves one layer of %41, \u0041, \x41, \", \n and &#65;, and normalizes again, because an escape can
// hide an invisible character.
func unescaped(v view) (view, bool) {
	if bytes.IndexByte(v.text, '%') < 0 && bytes.IndexByte(v.text, '\\') < 0 && bytes.IndexByte(v.text, '&') < 0 {
		return v, false
	}
	out := newView(len(v.text), v.start != nil)
	changed := false
	for i := 0; i < len(v.text); {
		got, n := unescape(v.text[i:])
		if n == 0 {
			got, n = v.text[i:i+1], 1
		} else {
			changed = true
		}
		for _, c := range got {
			out.add(c, v, i, i+n)
		}
		i += n
	}
	if !changed {
		return v, false
	}
	if v.start == nil {
		return view{text: Normalize(string(out.text), Squeeze).Text}, true
	}
	p := Normalize(string(out.text), Squeeze|Places)
	for i := range p.Text {
		p.Start[i], p.End[i] = out.start[p.Start[i]], out.end[p.End[i]-1]
	}
	return view{p.Text, p.Start, p.End}, true
}

// unescape returns what the escape at the start of b stands for and its length, or 0.
func unescape(b []byte) (got []byte, n int) {
	if len(b) < 2 {
		return nil, 0
	}
	switch b[0] {
	case '%':
		if c, ok := number(b[1:], 2, 16); ok {
			return []byte{byte(c)}, 3
		}
	case '\\':
		switch b[1] {
		case '"', '\\', '/', '\'':
			return b[1:2], 2
		case 'n', 't', 'r', 'b', 'f':
			return nil, 2
		case 'x':
			if c, ok := number(b[2:], 2, 16); ok {
				return []byte{byte(c)}, 4
			}
		case 'u':
			if c, ok := number(b[2:], 4, 16); ok {
				if len(b) >= 12 && utf16.IsSurrogate(rune(c)) && b[6] == '\\' && b[7] == 'u' {
					if low, ok := number(b[8:], 4, 16); ok {
						return utf8.AppendRune(nil, utf16.DecodeRune(rune(c), rune(low))), 12
					}
				}
				return utf8.AppendRune(nil, rune(c)), 6
			}
		}
	case '&':
		return entity(b)
	}
	return nil, 0
}

func entity(b []byte) (got []byte, n int) {
	for name, c := range map[string]string{"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": `"`, "&apos;": "'"} {
		if bytes.HasPrefix(b, []byte(name)) {
			return []byte(c), len(name)
		}
	}
	if b[1] != '#' {
		return nil, 0
	}
	end := bytes.IndexByte(b[:min(len(b), 12)], ';')
	if end < 3 {
		return nil, 0
	}
	digits, radix := b[2:end], 10
	if digits[0]|0x20 == 'x' {
		digits, radix = digits[1:], 16
	}
	if c, ok := number(digits, len(digits), radix); ok && len(digits) > 0 {
		return utf8.AppendRune(nil, rune(c)), end + 1
	}
	return nil, 0
}

// number reads exactly digits characters.
func number(b []byte, digits, radix int) (n int, ok bool) {
	if len(b) < digits {
		return 0, false
	}
	for _, c := range b[:digits] {
		d := 99
		switch {
		case '0' <= c && c <= '9':
			d = int(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			d = int(c|0x20-'a') + 10
		}
		if d >= radix {
			return 0, false
		}
		n = n*radix + d
	}
	return n, true
}
