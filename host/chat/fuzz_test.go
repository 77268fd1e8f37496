package chat

import (
	"strings"
	"testing"
	"unicode/utf8"

	"cordon/host/tool"

	"github.com/go-json-experiment/json"
)

// FuzzTable asks whatever result for whatever a model may want of it. It answers in words, in bounds, or says why not.
func FuzzTable(f *testing.F) {
	f.Add(`[{"a":1,"b":{"c":"x"}},{"a":"2"}]`, `{"result":1,"group":["a"],"compute":[{"what":"sum","column":"b.c"}]}`)
	f.Add("a,b\n1,2\n\"x\ny\",3\n", `{"result":1,"where":[{"column":"a","is":">","value":"0"}],"order":"b","limit":1,"skip":1}`)
	f.Add("{\"a\":1}\n{\"a\":2}", `{"result":1,"columns":["a"]}`)
	f.Add(`{"x":{"y":[{"a":1}]}}`, `{"result":1,"path":"/x/y"}`)
	f.Fuzz(func(t *testing.T, text, wanted string) {
		var q query
		if json.Unmarshal([]byte(wanted), &q) != nil {
			return
		}
		table, err := tableOf(&Content{Blocks: []tool.Content{{Type: "text", Text: text}}}, q.Path)
		if err != nil {
			return
		}
		out, err := table.query(t.Context(), q)
		if err == nil && len(out) > 2*maxPage {
			t.Errorf("%d bytes", len(out))
		}
	})
}

// FuzzStandIns hides words and puts them back, in one piece and in many. No word is left, and what is put back is what there was.
func FuzzStandIns(f *testing.F) {
	f.Add("Contoso has contoso bank, [hidden-012345678901] and [hidden-", "Contoso", "contoso bank", 3)
	f.Add(`{"a":"M\u00fcller","b":"CORP\\erika"}`, "Müller", `CORP\erika`, 1)
	f.Add("ſ K", "sss", "kkk", 1)
	f.Fuzz(func(t *testing.T, text, one, two string, size int) {
		c := Case{Name: "c", Redact: []string{strings.TrimSpace(one), strings.TrimSpace(two)}}
		if !utf8.ValidString(text) || c.Validate() != nil {
			return
		}
		h := newHider(func(s string) string { return s }, "0123456789abcdef", c.Redact)
		hidden := h.hide(text)
		left := hidden
		for stand := range h.made {
			left = strings.ReplaceAll(left, stand, "\x00")
		}
		for part := range strings.SplitSeq(left, "\x00") {
			if h.find.MatchString(part) {
				t.Errorf("%q is left in %q", c.Redact, hidden)
			}
		}
		if h.hide(hidden) != hidden {
			t.Errorf("hidden twice %q is another than %q", h.hide(hidden), hidden)
		}
		whole := h.show(hidden)
		if whole != text {
			t.Errorf("put back it is %q, and was %q", whole, text)
		}
		size = min(max(size, 1), 50)
		s := showing{h, map[int]string{}}
		var pieces strings.Builder
		for rest := []rune(hidden); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			pieces.WriteString(s.add(0, string(rest[:min(size, len(rest))])))
		}
		pieces.WriteString(s.held[0])
		if whole != pieces.String() {
			t.Errorf("in one piece %q, in many %q", whole, pieces.String())
		}
	})
}
