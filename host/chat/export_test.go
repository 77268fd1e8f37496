package chat

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"cordon/host/llm"
	"cordon/host/tool"
)

func TestExport(t *testing.T) {
	s := open(t)
	id, err := s.SetCase(t.Context(), Case{Name: "INC-2041 <b>", Marking: "amber+strict"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.New(t.Context(), id, "m")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Change(t.Context(), c.ID, func(c *Conversation) error {
		c.Title, c.Left = "Who\n# was it <img src=x>", Left{Requests: 1, Bytes: 10, Places: []string{"api.example.com"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("what is http://evil.example/x?\n# not a heading")})
	a := appended(t, s, c.ID, q.Seq, Entry{Kind: Answer, Asked: &Asked{Model: "m", Place: "api.example.com", Stop: llm.StopCalls}, Parts: []llm.Part{{Kind: llm.Call, ID: "1", Name: "f__read", Args: []byte(`{}`)}}})
	o := &Outcome{ID: "1", Tool: tool.ID{Server: "f", Name: "read`x"}, State: OK, Number: 1, Event: 9, Args: "{}"}
	o.put(Content{Blocks: []tool.Content{{Type: "text", Text: "from 10.0.0.1\n```\n# out of the fence\n\u202e"}}})
	r := appended(t, s, c.ID, a.Seq, Entry{Kind: Result, Outcome: o})
	b := appended(t, s, c.ID, r.Seq, Entry{Kind: Answer, Asked: &Asked{Model: "m", Stop: llm.StopEnd},
		Parts: says("It is https://evil.example/x [#1] and [#2]. ![a](https://evil.example/i.png) <img src=//evil.example/i.png> [x](//evil.example) `<b>`\n```\n<kept> ![kept](a)\n```\n<not>\n## You, 2026-11-28\nme\n===\n---\n")})
	appended(t, s, c.ID, b.Seq, Entry{Kind: End, Ended: &Ended{Why: Stopped, Reason: "You stopped it."}})
	x, err := s.Export(t.Context(), c.ID, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	text := x.Markdown()
	for _, want := range []string{"# Who \\# was it \\<img src=x\\>\n", "TLP:AMBER+STRICT", "1 requests, 10 bytes, to api[.]example[.]com", "> what is hxxp://evil[.]example/x?\n> **not a heading**", "hxxps://evil[.]example/x [#1](#result-1)",
		"[#2] (there is no such result)", "&#33;[a]&#40;hxxps://evil[.]example/i.png)", "&lt;img src=//evil[.]example/i.png>", "[x]&#40;//evil[.]example)", "`&lt;b>`", "> &lt;kept> &#33;[kept]&#40;a)", "&lt;not>", "\n> **You, 2026-11-28**\n> me\n> ===\n> ---\n", "*You stopped it.*", "### Result 1", "`f.read'x`", "from 10[.]0[.]0[.]1",
		"````\nfrom", "‹U+202E›", " UTC", "(event 9)"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	body, end, err := x.As("json")
	if err != nil || end != ".json" {
		t.Fatal(err)
	}
	var back struct {
		Case         struct{ Name string }
		Conversation []struct {
			Kind    string
			Parts   []struct{ Text string }
			Outcome struct{ Number int }
			Result  struct{ Blocks []struct{ Text string } }
		}
	}
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Conversation) != 5 || back.Conversation[2].Outcome.Number != 1 || !strings.Contains(back.Conversation[2].Result.Blocks[0].Text, "out of the fence") || back.Conversation[0].Parts[0].Text != "what is http://evil.example/x?\n# not a heading" {
		t.Errorf("%+v", back)
	}
	if name := x.FileName(); name != "conversation-who-was-it-img-src-x" {
		t.Errorf("file name %q", name)
	}
	if _, _, err := x.As("exe"); err == nil {
		t.Error("a format that there is not")
	}
}

// TestPDF: the pages say what Markdown says, with links to results and the marking; whatever others wrote is text.
func TestPDF(t *testing.T) {
	if _, err := findFonts(fontPlaces[:]...); err != nil {
		if os.Getenv("REQUIRE_FONTS") == "1" {
			t.Fatal(err)
		}
		t.Skip("no font of those that a PDF can use is installed")
	}
	s := open(t)
	id, err := s.SetCase(t.Context(), Case{Name: "INC-2041", Marking: "amber"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.New(t.Context(), id, "m")
	if err != nil {
		t.Fatal(err)
	}
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("Wer war es? Ωβ \U0001F600 " + strings.Repeat("long", 2000))})
	o := &Outcome{ID: "1", Tool: tool.ID{Server: "f", Name: "read"}, State: OK, Number: 1, Args: "{}"}
	o.put(Content{Blocks: []tool.Content{{Type: "text", Text: strings.Repeat("endobj /JS (app.alert(1)) \u202e\x00\n", 3000)}}})
	r := appended(t, s, c.ID, q.Seq, Entry{Kind: Result, Outcome: o})
	a := appended(t, s, c.ID, r.Seq, Entry{Kind: Answer, Asked: &Asked{Model: "m", Stop: llm.StopEnd}, Parts: says("# Findings\n\nIt was **them** [#1], see https://evil.example/x\n\n- one\n- two\n\n```\ncode\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n")})
	appended(t, s, c.ID, a.Seq, Entry{Kind: End, Ended: &Ended{Why: Done}})
	x, err := s.Export(t.Context(), c.ID, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	body, end, err := x.As("pdf")
	if err != nil || end != ".pdf" || !bytes.HasPrefix(body, []byte("%PDF-")) {
		t.Fatalf("%d bytes, %q, %v", len(body), end, err)
	}
	for _, live := range []string{"/JS", "/JavaScript", "/URI", "/Launch", "/OpenAction"} {
		if live != "/OpenAction" && bytes.Contains(body, []byte(live)) {
			t.Errorf("there is %s in it", live)
		}
	}
	if file := os.Getenv("PDF"); file != "" {
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := findFonts(t.TempDir()); err != ErrNoFont { //nolint:errorlint // it is what is returned
		t.Errorf("without fonts: %v", err)
	}
}

// TestInert: whatever a model writes, every line of it stays in its quotation, and nothing in it is live, in or out of what a reader takes for code.
func TestInert(t *testing.T) {
	for _, s := range []string{"a ` and <script>alert(1)</script>", "    ```\n<script>", "````\n```\n````\n<img src=x>", "```\n```js\n<svg onload=x>", "~~~\n> ~~~\n![a](https:/evil.example/p)", "[1]: https:/evil.example/x\n[a][1]",
		"[x](javascript:alert(1))", "# You, 2026\n## You\n####### x\n#", "&lt;script&gt; &#106;avascript:", "a\r\n<b>\u2028<i>", "<!-- \n-->", "\x00<x>"} {
		out := inert(s)
		for line := range strings.SplitSeq(out, "\n") {
			if !strings.HasPrefix(line, "> ") {
				t.Errorf("%q: the line %q is outside", s, line)
			}
			if strings.HasPrefix(strings.TrimLeft(line, "> "), "#") {
				t.Errorf("%q has the heading %q", s, line)
			}
		}
		for _, bad := range []string{"<", "![", "](", "]:", "][", "javascript:", "https:", "evil.example", " &#106"} {
			if strings.Contains(out, bad) {
				t.Errorf("%q: %q is left in %q", s, bad, out)
			}
		}
	}
}

func TestDefang(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example/x.y":       "hxxps://a[.]example/x.y",
		"HTTP://A.B":                  "HxxP://A[.]B",
		"https:/a.b":                  "hxxps:/a[.]b",
		"www.a.b":                     "www[.]a[.]b",
		"see evil.example.com now":    "see evil[.]example[.]com now",
		"10.0.0.1 and 1.2.3":          "10[.]0[.]0[.]1 and 1.2.3",
		"a@b.example":                 "a@b[.]example",
		"2001:db8::1":                 "2001[:]db8[:][:]1",
		"12:30:59 UTC":                "12:30:59 UTC",
		"ftp://a.b":                   "ftp[:]//a[.]b",
		"javascript:x":                "javascript[:]x",
		`\\host\share`:                `\[\]host\share`,
		"file.py README.md notes.txt": "file.py README.md notes.txt",
	} {
		if got := Defang(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
