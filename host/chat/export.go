package chat

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cordon/host/inspect"
	"cordon/host/llm"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Conversations as files, for people and for programs. What is shown of a conversation is what has led to its head; other versions are left out.

// Exported is a conversation as JSON. Nothing in it is defanged.
type Exported struct {
	Cordon       string          `json:"cordon"` // version that wrote it
	Exported     time.Time       `json:"exported"`
	ID           string          `json:"id"`
	Title        string          `json:"title"`
	Case         *Case           `json:"case,omitzero"`
	Model        string          `json:"model"`
	Left         Left            `json:"left"`
	Conversation []ExportedEntry `json:"conversation"`

	quoted int // bytes of a result that a text quotes, 0 for maxQuoted
}

// ExportedEntry is an entry with its place and what is kept apart: the whole of its result, or its images.
type ExportedEntry struct {
	Seq    int64     `json:"seq"`
	Parent int64     `json:"parent"`
	Turn   int64     `json:"turn"`
	Kind   Kind      `json:"kind"`
	At     time.Time `json:"at"`
	Entry
	Result *Content `json:"result,omitzero"`
}

// Export returns a conversation with everything in it.
func (s *Store) Export(ctx context.Context, id, version string) (Exported, error) {
	c, err := s.Conversation(ctx, id)
	if err != nil {
		return Exported{}, err
	}
	of, err := s.Case(ctx, c.Case)
	if err != nil {
		return Exported{}, err
	}
	path, err := s.Path(ctx, id, c.Head, maxPath)
	if err != nil {
		return Exported{}, err
	}
	out := Exported{Cordon: version, Exported: time.Now().UTC(), ID: c.ID, Title: c.Title, Model: c.Model, Left: c.Left, Conversation: []ExportedEntry{}}
	if of.ID != "" {
		out.Case = &of
	}
	for _, e := range path {
		x := ExportedEntry{Seq: e.Seq, Parent: e.Parent, Turn: e.Turn, Kind: e.Kind, At: e.At, Entry: e}
		if e.Outcome != nil || len(e.Attached) > 0 {
			if x.Result, err = s.content(ctx, e.Seq); err != nil {
				return out, err
			}
		}
		out.Conversation = append(out.Conversation, x)
	}
	return out, nil
}

// ErrFormat means that there is no such format.
var ErrFormat = errors.New("the formats are markdown, json and pdf")

// As returns the conversation in a format, markdown, json or pdf, and how such files' names end.
func (x Exported) As(format string) (body []byte, ending string, err error) {
	switch format {
	case "markdown":
		return []byte(x.Markdown()), ".md", nil
	case "json":
		body, err = json.Marshal(x, jsontext.WithIndent("  "))
		return append(body, '\n'), ".json", err
	case "pdf":
		body, err = x.PDF()
		return body, ".pdf", err
	}
	return nil, "", fmt.Errorf("%w: %q", ErrFormat, format)
}

// FileName is what a file with it may be called, without an ending.
func (x Exported) FileName() string {
	name := strings.Trim(nameless.ReplaceAllString(x.Title, "-"), "-")
	return strings.ToLower(cutBytes("conversation-"+name, 60))
}

var nameless = regexp.MustCompile(`[^A-Za-z0-9]+`)

// maxQuoted bounds what is quoted of a result in a text, in bytes.
const maxQuoted = 64 << 10

// Markdown is the conversation for people: times in UTC, citations that lead to the results at its end, indicators defanged.
func (x Exported) Markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	title := x.Title
	if title == "" {
		title = "Conversation"
	}
	say("# %s\n", plain(title))
	if x.Case != nil {
		say("- Case: %s", plain(x.Case.Name))
		if x.Case.Marking != "" {
			say("- Marking: TLP:%s", strings.ToUpper(string(x.Case.Marking)))
		}
	}
	left := "nothing"
	if x.Left.Requests > 0 {
		left = fmt.Sprintf("%d requests, %d bytes, to %s", x.Left.Requests, x.Left.Bytes, Defang(strings.Join(x.Left.Places, ", ")))
	}
	say("- Left this computer for a model: %s", left)
	say("- Written by Cordon %s at %s. Times are UTC; indicators are defanged.", x.Cordon, stamp(x.Exported))
	var results []ExportedEntry
	cited := map[int]bool{}
	for _, e := range x.Conversation {
		if o := e.Entry.Outcome; o != nil && o.Number > 0 {
			results = append(results, e)
			cited[o.Number] = true
		}
	}
	for _, e := range x.Conversation {
		switch e.Kind {
		case Question:
			say("\n## You, %s\n", stamp(e.At))
			say("%s", inert(text(e.Entry.Parts)))
			for _, a := range e.Entry.Attached {
				say("\nAttached: %s (%d bytes)", plain(a.Name), a.Size)
			}
		case Answer:
			words := text(e.Entry.Parts)
			if words == "" {
				continue
			}
			where := "on this computer"
			if e.Entry.Asked.Place != "" {
				where = "at " + Defang(e.Entry.Asked.Place)
			}
			say("\n## %s (%s), %s\n", plain(e.Entry.Asked.Model), where, stamp(e.At))
			say("%s", cites(inert(words), cited))
		case Result:
			o := e.Entry.Outcome
			name := o.Tool.String()
			if o.Tool.Server == "" {
				name = o.Name
			}
			line := fmt.Sprintf("- %s `%s` %s", stamp(e.At), code(name), outcomeWords(o))
			if o.Number > 0 {
				line += fmt.Sprintf(" → [#%d](#result-%d)", o.Number, o.Number)
			}
			if o.Event > 0 {
				line += fmt.Sprintf(" (event %d)", o.Event)
			}
			say("%s", line)
		case End:
			if e.Entry.Ended.Why != Done {
				say("\n*%s*", plain(e.Entry.Ended.Reason))
			}
		}
	}
	if len(results) > 0 {
		say("\n## Results\n\nWhat tools returned. It is outside text: evidence, never instructions.")
	}
	for _, e := range results {
		o := e.Entry.Outcome
		say("\n### Result %d\n", o.Number)
		say("`%s` with `%s`, %s", code(o.Tool.String()), code(clip(Defang(o.Args), 2000)), stamp(e.At))
		for _, f := range o.Findings {
			say("\nCordon found: %s", plain(f.Text))
		}
		body := o.Reason
		if e.Result != nil {
			body = e.Result.Text()
		}
		most := maxQuoted
		if x.quoted > 0 {
			most = x.quoted
		}
		if len(body) > most {
			body = cutBytes(body, most) + fmt.Sprintf("\n… (%d bytes in all)", len(body))
		}
		body = Defang(visible(body))
		fence := "```"
		for strings.Contains(body, fence) {
			fence += "`"
		}
		say("\n%s\n%s\n%s", fence, strings.TrimRight(body, "\n"), fence)
	}
	return b.String()
}

func outcomeWords(o *Outcome) string {
	asked := ""
	if o.Asked {
		asked = ", you were asked"
	}
	switch o.State {
	case OK:
		return "ran" + asked
	case ToolError:
		return "ran and reported a failure" + asked
	case Denied:
		return fmt.Sprintf("was denied by `%s`: %s", code(o.Rule), plain(o.Reason))
	case Cancelled:
		return "was stopped"
	case Failed:
		return "failed: " + plain(o.Reason)
	}
	return "was not made: " + plain(o.Reason)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// visible writes out what cannot be seen.
func visible(s string) string {
	return inspect.Reveal(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}

// plain is text of others on one line, in which nothing is Markdown.
func plain(s string) string {
	s = strings.Join(strings.Fields(Defang(visible(s))), " ")
	return markdown.ReplaceAllString(s, `\$0`)
}

var markdown = regexp.MustCompile("[\\\\`*_{}\\[\\]<>#|!~]")

// inert is Markdown of others within a quotation of its own: nothing in it loads, runs or leads anywhere, no line of it ends the quotation, and no heading stands
// beside ours. That holds whatever a reader takes for code, so "<" is written &lt; in code too.
func inert(s string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(Defang(visible(s)), "\n"), "\n") {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t>"))]
		rest := line[len(indent):]
		if text := strings.TrimLeft(rest, "#"); text != rest {
			if text = strings.TrimSpace(text); text != "" {
				text = "**" + text + "**"
			}
			rest = text
		}
		b.WriteString("> " + indent + live.Replace(rest) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// live is what makes Markdown more than text, as characters that stand for themselves everywhere.
var live = strings.NewReplacer("<", "&lt;", "![", "&#33;[", "](", "]&#40;", "]:", "]&#58;", "][", "]&#91;", "&", "&amp;")

// code is text of others within backticks.
func code(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(visible(s), "`", "'")), " ")
}

var citation = regexp.MustCompile(`\[#(\d{1,6})\]`)

// cites makes links of citations of results that there are.
func cites(s string, known map[int]bool) string {
	return citation.ReplaceAllStringFunc(s, func(c string) string {
		var n int
		if _, err := fmt.Sscanf(c, "[#%d]", &n); err != nil || !known[n] {
			return c + " (there is no such result)"
		}
		return fmt.Sprintf("[#%d](#result-%d)", n, n)
	})
}

var (
	schemes   = regexp.MustCompile(`(?i)\b(https?|ftps?|wss?|javascript|vbscript|data|file|mailto|smb):`)
	addresses = regexp.MustCompile(`\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\b`)
	hosts     = regexp.MustCompile(`(?i)(?::/|//|@|\bwww\.)[a-z0-9-]+(?:\.[a-z0-9-]+)*`)
	names     = regexp.MustCompile(`(?i)\b(?:[a-z0-9-]+\.)+(?:com|net|org|info|biz|io|ru|cn|de|uk|fr|nl|eu|ch|at|xyz|top|online|site|club|shop|icu|cc|tk|su|br|jp|onion|example)\b`)
	sixes     = regexp.MustCompile(`(?i)\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b|\b(?:[0-9a-f]{1,4}:)+:[0-9a-f:]*`)
	shares    = regexp.MustCompile(`(^|[^\\])\\\\([A-Za-z0-9])`)
)

// Defang makes addresses in text such that nothing takes them for links: hxxps://evil[.]example, 10[.]0[.]0[.]1, a@evil[.]example. A host name that stands alone is
// known by a usual ending.
func Defang(s string) string {
	dots := func(m string) string { return strings.ReplaceAll(m, ".", "[.]") }
	s = addresses.ReplaceAllString(s, "$1[.]$2[.]$3[.]$4")
	s = names.ReplaceAllStringFunc(hosts.ReplaceAllStringFunc(s, dots), dots)
	s = sixes.ReplaceAllStringFunc(s, func(m string) string { return strings.ReplaceAll(m, ":", "[:]") })
	s = schemes.ReplaceAllStringFunc(s, func(m string) string {
		if low := strings.ToLower(m); strings.HasPrefix(low, "http") {
			return m[:1] + "xx" + m[3:]
		}
		return m[:len(m)-1] + "[:]"
	})
	return shares.ReplaceAllString(s, `$1\[\]$2`)
}

// Text is what an answer or question says.
func (e Entry) Text() string { return text(e.Parts) }

// Reasoning is what a model thought first, as far as its provider shows it.
func (e Entry) Reasoning() string {
	var b strings.Builder
	for _, p := range e.Parts {
		if p.Kind == llm.Reasoning {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}
