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
		out, err := table.query(q)
		if err == nil && len(out) > 2*maxPage {
			t.Errorf("%d bytes", len(out))
		}
	})
}

// FuzzStandIns hides words and puts them back, in one piece and in many. No word is left, and nothing else is changed but the case of what was hidden.
func FuzzStandIns(f *testing.F) {
	f.Add("Contoso has contoso bank, [redacted-1 and [redacted-9]", "Contoso", "contoso bank", 3)
	f.Add("ſ K", "sss", "kkk", 1)
	f.Fuzz(func(t *testing.T, text, one, two string, size int) {
		one, two = strings.TrimSpace(one), strings.TrimSpace(two)
		if !utf8.ValidString(text) || (Case{Name: "c", Redact: []string{one, two}}).Validate() != nil || strings.ContainsAny(one+two, "[]-") || strings.Contains("redacted", strings.ToLower(one)) || strings.Contains("redacted", strings.ToLower(two)) {
			return
		}
		h := newHider(func(s string) string { return s }, []string{one, two})
		hidden := h.hide(text)
		if h.find.MatchString(strings.NewReplacer("[redacted-1]", "\x00", "[redacted-2]", "\x00").Replace(hidden)) {
			t.Errorf("%q is left in %q", []string{one, two}, hidden)
		}
		whole := h.show(hidden)
		size = min(max(size, 1), 50)
		s := showing{h, map[int]string{}}
		var pieces strings.Builder
		for rest := []rune(hidden); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			pieces.WriteString(s.add(0, string(rest[:min(size, len(rest))])))
		}
		pieces.WriteString(s.held[0])
		if strings.ToValidUTF8(whole, "\ufffd") != strings.ToValidUTF8(pieces.String(), "\ufffd") {
			t.Errorf("in one piece %q, in many %q", whole, pieces.String())
		}
	})
}
