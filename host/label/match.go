package label

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"cordon/host/inspect"
	"cordon/host/tool"
)

// An index entry covers gram bytes at every stride-th position. Any copy of gram+stride-1 = 12 bytes holds one.
const (
	gram   = 8
	stride = minCopy - gram + 1
)

// minWord is the number of letters and digits that a copy must have: indentation and rulers are no quotation.
const minWord = 6

// maxWork bounds the candidates that one Label looks at: some 15 ms. When it is used up values count as outside.
const maxWork = 250_000

// segment is a part of a conversation's results, normalized, each followed by a zero byte, with its indexes. Text is
// only ever appended.
type segment struct {
	text   []byte
	parts  []part
	heads  []int32 // by hash of a gram: its last position plus 1, or 0
	next   []int32 // by position / stride: the position before plus 1, or 0
	maybe  []uint8 // by another hash of a gram: 1 bit if it occurs, so that most look-ups end in a small table
	seed   maphash.Seed
	tokens map[uint64]int32 // by hash of a token: index into parts
}

// part is the text of one result.
type part struct {
	start  int
	detail string
}

func newSegment() *segment {
	return &segment{heads: make([]int32, 1<<10), maybe: make([]uint8, 1<<10), seed: maphash.MakeSeed(), tokens: map[uint64]int32{}}
}

func (s *segment) add(text []byte, detail string) {
	s.parts = append(s.parts, part{len(s.text), detail})
	s.text = append(append(s.text, text...), 0)
	for p := len(s.next) * stride; p+gram <= len(s.text); p += stride {
		if len(s.next) >= len(s.heads) {
			s.grow()
		}
		s.link(p)
	}
	index := int32(len(s.parts) - 1)
	tokens(text, func(from, to int) {
		h := maphash.Bytes(s.seed, text[from:to])
		if _, has := s.tokens[h]; !has {
			s.tokens[h] = index
		}
	})
}

func (s *segment) slot(key uint64) uint64 {
	return (key * 0x9e3779b97f4a7c15) >> 32 & uint64(len(s.heads)-1)
}

// bit returns the byte and the bit of maybe that stand for a gram: eight bits for every head.
func (s *segment) bit(key uint64) (index uint64, mask uint8) {
	h := (key * 0x9e3779b97f4a7c15) >> 29 & uint64(8*len(s.maybe)-1)
	return h >> 3, 1 << (h & 7)
}

func (s *segment) link(p int) {
	key := binary.LittleEndian.Uint64(s.text[p:])
	i, mask := s.bit(key)
	s.maybe[i] |= mask
	h := s.slot(key)
	s.next = append(s.next, s.heads[h])
	s.heads[h] = int32(p + 1)
}

func (s *segment) grow() {
	s.heads = make([]int32, 2*len(s.heads))
	s.maybe = make([]uint8, len(s.heads))
	n := len(s.next)
	s.next = s.next[:0]
	for i := range n {
		s.link(i * stride)
	}
}

// at returns the part that holds position p.
func (s *segment) at(p int) part {
	i, found := slices.BinarySearchFunc(s.parts, p, func(a part, p int) int { return cmp.Compare(a.start, p) })
	if !found {
		i--
	}
	return s.parts[i]
}

// matcher compares values with segments.
type matcher struct {
	segments []*segment
	work     int // candidates left
}

// spans returns the parts of text that repeat a result, in order and without overlap.
func (m *matcher) spans(text string) []Span {
	if len(m.segments) == 0 || len(text) < minToken {
		return nil
	}
	p := inspect.Normalize(text, inspect.Fold|inspect.Places)
	var all []Span
	mark := func(from, to int, detail string) {
		start, end := p.Span(from, to)
		all = append(all, Span{start, end, tool.OriginOutside, detail})
	}
	m.token(p.Text, mark)
	m.copies(p.Text, mark)
	for _, d := range decodings(text) {
		decoded := inspect.Normalize(d.text, inspect.Fold).Text
		m.copies(decoded, func(_, _ int, detail string) {
			all = append(all, Span{d.start, d.end, tool.OriginOutside, detail + ", in " + d.how})
		})
	}
	return merge(all)
}

// token looks for the whole value, and for names and addresses in it.
func (m *matcher) token(text []byte, mark func(from, to int, detail string)) {
	look := func(from, to int) {
		for i := len(m.segments) - 1; i >= 0; i-- {
			s := m.segments[i]
			if k, has := s.tokens[maphash.Bytes(s.seed, text[from:to])]; has {
				mark(from, to, s.parts[k].detail)
				return
			}
		}
	}
	from, to := 0, len(text)
	for from < to && space(text[from]) {
		from++
	}
	for to > from && space(text[to-1]) {
		to--
	}
	if n := to - from; n >= minToken && n <= maxToken {
		look(from, to)
	}
	tokens(text, func(from, to int) {
		if indicator(text[from:to]) {
			look(from, to)
		}
	})
}

// copies finds the longest repetitions from left to right.
func (m *matcher) copies(text []byte, mark func(from, to int, detail string)) {
	words := 0 // letters and digits in text[i:i+gram]
	for i := range min(gram, len(text)) {
		words += isWord(text[i])
	}
	floor := 0 // end of the last copy
	for i := 0; i+gram <= len(text); {
		if words >= minWord-minCopy+gram {
			if from, to, detail := m.longestAt(text, i, floor); to > 0 {
				mark(from, to, detail)
				floor = to
				for i < to {
					words = slide(text, i, words)
					i++
				}
				continue
			}
		}
		words = slide(text, i, words)
		i++
	}
}

func slide(text []byte, i, words int) int {
	words -= isWord(text[i])
	if i+gram < len(text) {
		words += isWord(text[i+gram])
	}
	return words
}

// longestAt extends every occurrence of text[i:i+gram] both ways and returns the longest that counts as a copy.
func (m *matcher) longestAt(text []byte, i, floor int) (from, to int, detail string) {
	key := binary.LittleEndian.Uint64(text[i:])
	for k := len(m.segments) - 1; k >= 0; k-- {
		s := m.segments[k]
		if i, mask := s.bit(key); s.maybe[i]&mask == 0 {
			continue
		}
		for p := int(s.heads[s.slot(key)]) - 1; p >= 0 && m.work > 0; p = int(s.next[p/stride]) - 1 {
			m.work--
			if binary.LittleEndian.Uint64(s.text[p:]) != key {
				continue
			}
			a, b := i, i+gram
			for a > floor && p-(i-a) > 0 && text[a-1] == s.text[p-(i-a)-1] {
				a--
			}
			for b < len(text) && p+(b-i) < len(s.text) && text[b] == s.text[p+(b-i)] {
				b++
			}
			a, b = settle(text, s.text, a, b, p-(i-a))
			if b-a > to-from && b > i {
				from, to, detail = a, b, s.at(p).detail
				if b-a >= 256 {
					return from, to, detail
				}
			}
		}
	}
	return from, to, detail
}

// settle cuts a copy back to what counts: text[a:b], which equals other from at on. It returns 0, 0 if nothing does.
func settle(text, other []byte, a, b, at int) (int, int) {
	if b-a < minFree {
		end := at + (b - a)
		for a < b && (!boundary(text, a) || !boundary(other, at)) {
			a++
			at++
		}
		for b > a && (!boundary(text, b) || !boundary(other, end)) {
			b--
			end--
		}
	}
	words := 0
	for _, c := range text[a:b] {
		words += isWord(c)
	}
	if b-a < minCopy || words < minWord {
		return 0, 0
	}
	return a, b
}

// boundary reports whether no token is cut at position p.
func boundary(text []byte, p int) bool {
	return p == 0 || p >= len(text) || isWord(text[p-1]) == 0 || isWord(text[p]) == 0
}

// isWord is 1 for letters and digits of any script.
func isWord(c byte) int {
	if c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' {
		return 1
	}
	return 0
}

func space(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// What a byte does to the tokens around it.
const (
	outer = 1 << iota // stands between two runs
	inner             // stands between the parts of a run
	edge              // does not count at either end of a token
)

var class = [...]uint8{
	' ': outer, '\t': outer, '\r': outer, '\n': outer, '\v': outer, '\f': outer, 0: outer, '"': outer, '\'': outer, '`': outer, ',': outer, ';': outer,
	'(': outer, ')': outer, '[': outer, ']': outer, '{': outer, '}': outer, '<': outer, '>': outer, '|': outer, '=': outer,
	'/': inner, '\\': inner, ':': inner | edge, '@': inner, '&': inner, '?': inner | edge, '#': inner, '%': inner,
	'.': edge, '!': edge, '*': edge, 255: 0,
}

// tokens calls f for what a reader would take for one name in text: runs without white space, quotes and brackets, and
// the parts of such runs between / \ : @ & ? # %.
func tokens(text []byte, f func(from, to int)) {
	put := func(from, to int) {
		for from < to && class[text[from]]&edge != 0 {
			from++
		}
		for to > from && class[text[to-1]]&edge != 0 {
			to--
		}
		if n := to - from; n >= minToken && n <= maxToken {
			f(from, to)
		}
	}
	for start := 0; start < len(text); start++ {
		end := start
		var seen uint8
		for end < len(text) && class[text[end]]&outer == 0 {
			seen |= class[text[end]]
			end++
		}
		if end-start >= minToken {
			put(start, end)
		}
		if seen&inner != 0 {
			for from, to := start, start; to <= end; to++ {
				if to == end || class[text[to]]&inner != 0 {
					put(from, to)
					from = to + 1
				}
			}
		}
		start = end
	}
}

// indicator reports whether a token inside a longer value is worth comparing alone: a host name, an address, a hash,
// or a name with digits in it. Ordinary words are not.
func indicator(token []byte) bool {
	return bytes.ContainsAny(token, ".@0123456789_\\")
}

// decoding is a part of a text that reads differently once decoded.
type decoding struct {
	start, end int
	how        string
	text       string
}

// decodings undoes one layer: runs of base64 of 16 or more, runs of hex of 24 or more, and the percent-encoding of
// the whole.
func decodings(text string) []decoding {
	var all []decoding
	if strings.IndexByte(text, '%') >= 0 {
		if d := unpercent(text); d != text {
			all = append(all, decoding{0, len(text), "percent-encoding", d})
		}
	}
	for i := 0; i < len(text); {
		j := i
		isHex := true
		for j < len(text) && in64(text[j]) {
			isHex = isHex && inHex(text[j])
			j++
		}
		if n := j - i; n >= 24 && isHex {
			if d, err := hex.DecodeString(text[i : i+n&^1]); err == nil && legible(d) {
				all = append(all, decoding{i, j, "hex", string(d)})
			}
		}
		if j-i >= 16 {
			if d := unbase64(text[i:j]); legible(d) {
				all = append(all, decoding{i, j, "base64", string(d)})
			}
		}
		i = j + 1
	}
	return all
}

func in64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

func inHex(c byte) bool {
	return 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || '0' <= c && c <= '9'
}

func unbase64(s string) []byte {
	if len(s)%4 == 1 {
		s = s[:len(s)-1]
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	d, err := enc.DecodeString(s)
	if err != nil {
		return nil
	}
	return d
}

// unpercent decodes what can be decoded and keeps the rest.
func unpercent(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && inHex(s[i+1]) && inHex(s[i+2]) {
			d, _ := hex.DecodeString(s[i+1 : i+3])
			b.Write(d)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// legible reports whether decoded bytes are text: words and hashes decode to noise.
func legible(b []byte) bool {
	if len(b) < minCopy || !utf8.Valid(b) {
		return false
	}
	odd := 0
	for _, c := range b {
		if c < ' ' && !space(c) || c == 0x7f {
			odd++
		}
	}
	return odd*10 <= len(b)
}

// merge sorts spans and joins those that overlap, under the detail of the longer one.
func merge(all []Span) []Span {
	slices.SortFunc(all, func(a, b Span) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End)) })
	var out []Span
	for _, s := range all {
		if n := len(out); n > 0 && s.Start < out[n-1].End {
			last := &out[n-1]
			if s.End-s.Start > last.End-last.Start {
				last.Detail = s.Detail
			}
			last.End = max(last.End, s.End)
			continue
		}
		out = append(out, s)
	}
	return out
}
