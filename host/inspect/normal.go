package inspect

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Form says how Normalize rewrites.
type Form int

// Forms, to be combined with |.
const (
	Fold    Form = 1 << iota // to lower case
	Squeeze                  // without white space
	Places                   // fill in Start and End
	keepANSI
)

// Plain is a text without tricks: no terminal escapes, controls (but tab and line ends), or default-ignorable
// characters, in NFKC. With Places, byte i of Text came from the original's bytes Start[i] to End[i].
type Plain struct {
	Text  []byte
	Start []int32
	End   []int32
}

// Span returns the place in the original of Text[i:j], which must not be empty.
func (p *Plain) Span(i, j int) (start, end int) { return int(p.Start[i]), int(p.End[j-1]) }

// Normalize returns the plain form of s, which may hold any bytes but at most 2 GiB.
func Normalize(s string, form Form) Plain {
	n := normalizer{src: s, form: form}
	n.out.Text = make([]byte, 0, len(s))
	if form&Places != 0 {
		n.out.Start = make([]int32, 0, len(s))
		n.out.End = make([]int32, 0, len(s))
	}
	for i := 0; i < len(s); {
		if form&Places == 0 { // plain stretches are most of most texts
			j := i
			for j < len(s) && s[j] > ' ' && s[j] < 0x7f && (form&Fold == 0 || s[j] < 'A' || s[j] > 'Z') {
				j++
			}
			if j < len(s) && s[j] >= utf8.RuneSelf && j > i {
				j-- // marks may combine with the last one
			}
			n.out.Text = append(n.out.Text, s[i:j]...)
			if i = j; i == len(s) {
				break
			}
		}
		if form&keepANSI == 0 {
			if k := escapeLen(s[i:]); k > 0 {
				i += k
				continue
			}
		}
		if s[i] < utf8.RuneSelf && (i+1 == len(s) || s[i+1] < utf8.RuneSelf) {
			n.ascii(i)
			i++
			continue
		}
		// An ASCII character is taken together with what follows, because marks combine with it.
		j := i + 1
		for j < len(s) && s[j] >= utf8.RuneSelf && (form&keepANSI != 0 || escapeLen(s[j:]) == 0) {
			j++
		}
		n.run(i, j)
		i = j
	}
	return n.out
}

type normalizer struct {
	src  string
	form Form
	out  Plain
}

func (n *normalizer) ascii(i int) {
	c := n.src[i]
	switch {
	case c == ' ' || '\t' <= c && c <= '\r':
		if n.form&Squeeze != 0 || c == '\v' || c == '\f' {
			return
		}
	case c < ' ' || c == 0x7f:
		return
	case 'A' <= c && c <= 'Z' && n.form&Fold != 0:
		c += 'a' - 'A'
	}
	n.out.Text = append(n.out.Text, c)
	if n.form&Places != 0 {
		n.out.Start = append(n.out.Start, int32(i))
		n.out.End = append(n.out.End, int32(i+1))
	}
}

// run handles src[i:j], in which all bytes but perhaps the first are outside ASCII.
func (n *normalizer) run(i, j int) {
	var kept []byte
	var at []int32 // original offset of each kept byte
	for k := i; k < j; {
		r, w := utf8.DecodeRuneInString(n.src[k:j])
		if r == utf8.RuneError && w == 1 || !dropped(r) {
			for b := range w {
				kept = append(kept, n.src[k+b])
				at = append(at, int32(k+b))
			}
		}
		k += w
	}
	place := func(k int) int32 {
		if k < len(at) {
			return at[k]
		}
		return int32(j)
	}
	var it norm.Iter
	it.Init(norm.NFKC, kept)
	for !it.Done() {
		from := it.Pos()
		seg := it.Next()
		start, end := place(from), place(max(from, it.Pos()-1))+1 // a long segment comes out in parts, at one position
		for len(seg) > 0 {
			r, w := utf8.DecodeRune(seg)
			n.rune(r, seg[:w], start, end)
			seg = seg[w:]
		}
	}
}

func (n *normalizer) rune(r rune, raw []byte, start, end int32) {
	if dropped(r) && (r != utf8.RuneError) || n.form&Squeeze != 0 && unicode.IsSpace(r) {
		return
	}
	before := len(n.out.Text)
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		n.out.Text = append(n.out.Text, raw...)
	case n.form&Fold != 0:
		n.out.Text = utf8.AppendRune(n.out.Text, unicode.ToLower(r))
	default:
		n.out.Text = append(n.out.Text, raw...)
	}
	if n.form&Places != 0 {
		for range len(n.out.Text) - before {
			n.out.Start = append(n.out.Start, start)
			n.out.End = append(n.out.End, end)
		}
	}
}

// dropped reports whether normal text has no use for r: controls but tab and line ends, and ignorable characters.
func dropped(r rune) bool {
	if r < 0xa0 {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r != 0x85
	}
	return ignorable(r)
}

// ignorable reports Default_Ignorable_Code_Point (Unicode 16, DerivedCoreProperties.txt), and the interlinear
// annotation marks.
func ignorable(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, 0x180b <= r && r <= 0x180f,
		0x200b <= r && r <= 0x200f, 0x202a <= r && r <= 0x202e, 0x2060 <= r && r <= 0x206f, r == 0x3164, 0xfe00 <= r && r <= 0xfe0f,
		r == 0xfeff, r == 0xffa0, 0xfff0 <= r && r <= 0xfffb, 0x1bca0 <= r && r <= 0x1bca3, 0x1d173 <= r && r <= 0x1d17a,
		0xe0000 <= r && r <= 0xe0fff:
		return true
	}
	return false
}

// escapeLen returns the length of the terminal escape sequence (ECMA-48) that s starts with, or 0. Of a string
// sequence only the introducer counts: its payload stays visible to the engines.
func escapeLen(s string) int {
	i := 0
	switch {
	case len(s) > 1 && s[0] == 0x1b:
		i = 1
	case strings.HasPrefix(s, "\u009b"):
		return 2 + csiLen(s[2:])
	default:
		return 0
	}
	switch c := s[i]; {
	case c == '[':
		return 2 + csiLen(s[2:])
	case c == ']':
		for i = 2; i < len(s) && i < 6 && '0' <= s[i] && s[i] <= '9'; i++ {
		}
		if i < len(s) && s[i] == ';' {
			i++
		}
		return i
	case c >= 0x20 && c < 0x7f:
		for i < len(s) && s[i] >= 0x20 && s[i] < 0x30 {
			i++
		}
		return min(i+1, len(s))
	}
	return 1
}

func csiLen(s string) int {
	i := 0
	for i < len(s) && i < 64 && s[i] >= 0x20 && s[i] < 0x40 {
		i++
	}
	if i < len(s) && s[i] >= 0x40 && s[i] < 0x7f {
		i++
	}
	return i
}
