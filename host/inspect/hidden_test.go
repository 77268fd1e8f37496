package inspect

import (
	"context"
	"strings"
	"testing"

	"cordon/host/tool"
)

func hiddenRules(t *testing.T, kind Kind, text string) map[string]tool.Severity {
	t.Helper()
	found, err := Hidden{}.Inspect(context.Background(), Subject{Kind: kind, Texts: []Text{{"/a", text}}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]tool.Severity{}
	for _, f := range found {
		if f.Where != "/a" || len(f.Text) > 250 {
			t.Errorf("got finding %+v; want it at /a and short", f)
		}
		got[f.Rule] = f.Severity
	}
	return got
}

func tags(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(0xe0000 + r)
	}
	return b.String()
}

func TestHiddenFinds(t *testing.T) {
	for name, c := range map[string]struct{ text, rule string }{
		"right-to-left override":           {"invoice\u202efdp.exe", "hidden.bidi"},
		"override inside Arabic":           {"\u0645\u202e\u0631", "hidden.bidi"},
		"isolate in Latin text":            {"a\u2066b\u2069", "hidden.bidi"},
		"open isolate in Hebrew":           {"\u05e9\u2067\u05dc", "hidden.bidi"},
		"stray end of isolate in Hebrew":   {"\u05e9\u2069", "hidden.bidi"},
		"mark in Latin text":               {"a\u200eb", "hidden.bidi"},
		"tag characters":                   {"hello" + tags("ignore all"), "hidden.tag"},
		"tags behind a black flag":         {"\U0001f3f4" + tags("rm -rf") + "\U000e007f", "hidden.tag"},
		"zero-width space":                 {"del\u200bete", "hidden.zerowidth"},
		"word joiner":                      {"a\u2060b", "hidden.zerowidth"},
		"byte order mark inside":           {"a\ufeffb", "hidden.zerowidth"},
		"joiner between Latin letters":     {"a\u200db", "hidden.zerowidth"},
		"non-joiners in a row in Persian":  {"\u0645\u200c\u200c\u0631", "hidden.zerowidth"},
		"joiner after an emoji and a word": {"😀\u200dx", "hidden.zerowidth"},
		"selector after a letter":          {"a\ufe0f", "hidden.variation"},
		"selectors in a row":               {"😀\ufe0f\ufe0e\ufe0f", "hidden.variation"},
		"supplementary selectors":          {"😀\U000e0151\U000e0152", "hidden.variation"},
		"selector at the start":            {"\ufe0fa", "hidden.variation"},
		"soft hyphen":                      {"de\u00adlete", "hidden.ignorable"},
		"Hangul filler":                    {"a\u3164", "hidden.ignorable"},
		"invisible times":                  {"a\u2062b", "hidden.ignorable"},
		"combining grapheme joiner":        {"a\u034fb", "hidden.ignorable"},
		"annotation mark":                  {"a\ufff9b", "hidden.ignorable"},
		"NUL":                              {"a\x00b", "hidden.control"},
		"backspace":                        {"rm\b\bls", "hidden.control"},
		"delete":                           {"a\x7f", "hidden.control"},
		"C1":                               {"a\u0086b", "hidden.control"},
		"next line":                        {"a\u0085b", "hidden.control"},
		"terminal colour":                  {"\x1b[8mhidden\x1b[0m", "hidden.ansi"},
		"C1 terminal escape":               {"\u009b8m", "hidden.ansi"},
		"no-break space":                   {"a\u00a0b", "hidden.space"},
		"braille blank":                    {"a\u2800b", "hidden.space"},
		"line separator":                   {"a\u2028b", "hidden.space"},
		"wide space in Latin text":         {"a\u3000b", "hidden.space"},
		"private use":                      {"a\ue000b", "hidden.private"},
		"private use, high plane":          {"\U00100000", "hidden.private"},
		"invalid UTF-8":                    {"a\xffb", "hidden.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			got := hiddenRules(t, Arguments, c.text)
			if _, ok := got[c.rule]; !ok || len(got) != 1 {
				t.Errorf("got %v, want only %s", got, c.rule)
			}
		})
	}
}

func TestHiddenLeavesOrdinaryTextAlone(t *testing.T) {
	for name, text := range map[string]string{
		"ASCII":                  "plain\ttext\r\n{}",
		"German":                 "Grüße aus Köln",
		"decomposed":             "e\u0301",
		"emoji":                  "😀👍🏽",
		"family":                 "👨\u200d👩\u200d👧\u200d👦",
		"profession with colour": "👩🏽\u200d💻",
		"rainbow flag":           "🏳\ufe0f\u200d🌈",
		"heart on fire":          "❤\ufe0f\u200d🔥",
		"keycap":                 "1\ufe0f\u20e3",
		"text style":             "☎\ufe0e",
		"flag of Germany":        "🇩🇪",
		"flag of Scotland":       "\U0001f3f4" + tags("gbsct") + "\U000e007f",
		"pirate flag":            "🏴\u200d☠\ufe0f",
		"Arabic":                 "مرحبا بالعالم",
		"Hebrew with a mark":     "שלום\u200f!",
		"Hebrew with isolates":   "שלום \u2066abc\u2069 עולם",
		"Persian non-joiner":     "می\u200cخواهم",
		"Hindi joiner":           "क्\u200dष",
		"Sinhala joiner":         "ශ්\u200dරී",
		"Japanese":               "検知\u3000ルール",
		"ideographic variant":    "葛\U000e0100",
		"leading byte mark":      "\ufeffid,name",
		"Chinese":                "检测规则",
	} {
		t.Run(name, func(t *testing.T) {
			if got := hiddenRules(t, Definition, text); len(got) != 0 {
				t.Errorf("got %v, want nothing", got)
			}
		})
	}
}

func TestHiddenSeverityDependsOnThePlace(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		text string
		want tool.Severity
	}{
		{Definition, "a\u202eb", tool.Block},
		{Definition, tags("x"), tool.Block},
		{Definition, "a\u200bb", tool.Warn},
		{Arguments, "a\u202eb", tool.Warn},
		{Arguments, tags("x"), tool.Warn},
		{Outcome, tags("x"), tool.Warn},
		{Outcome, "a\u00adb", tool.Info},
		{Arguments, "a\u00adb", tool.Warn},
		{Arguments, "a\u00a0b", tool.Info},
	} {
		for rule, got := range hiddenRules(t, c.kind, c.text) {
			if got != c.want {
				t.Errorf("%s %q: got %s %v, want %v", c.kind, c.text, rule, got, c.want)
			}
		}
	}
}

func TestHiddenSaysWhatAndWhere(t *testing.T) {
	found, err := Hidden{}.Inspect(context.Background(), Subject{Kind: Definition, Texts: []Text{{"/description", "ok" + tags("send keys")}, {"/x", "a\u202eb\u202ec"}}})
	if err != nil || len(found) != 2 {
		t.Fatalf("got %v, %v; want two findings", found, err)
	}
	if got := found[0].Text; !strings.Contains(got, "9 invisible tag characters: U+E0073 at byte 2") || !strings.Contains(got, `"send keys"`) {
		t.Errorf("got %q", got)
	}
	if got, want := found[1].Text, "2 bidirectional controls: U+202E at byte 1, U+202E at byte 5."; got != want || found[1].Where != "/x" {
		t.Errorf("got %q at %s, want %q at /x", got, found[1].Where, want)
	}
}

func FuzzHidden(f *testing.F) {
	f.Add("a\u202e\u200d\xff\U0001f3f4" + tags("gbs"))
	f.Fuzz(func(t *testing.T, text string) {
		found, err := Hidden{}.Inspect(context.Background(), Subject{Kind: Arguments, Texts: []Text{{"", text}}})
		if err != nil || !suspicious(text) && len(hiddenIn(text)) > 0 {
			t.Errorf("got %v, %v; the quick check disagrees with the slow one", found, err)
		}
	})
}
