package app

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/gate"
	"cordon/host/label"
	"cordon/host/pin"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/go-json-experiment/json"

	"golang.org/x/sys/unix"
)

// Answer delivers a person's answer. It must carry the nonce and digest of the prompt that was shown.
func (a *App) Answer(an Answer) error {
	return a.desk.Answer(consent.Answer{ID: an.ID, Digest: an.Digest, Allow: an.Allow, Typed: an.Typed, By: "window"})
}

// promptView is everything the dialog shows; nil when the question has just been withdrawn.
func (a *App) promptView(p consent.Prompt) *PromptView {
	q, ok := a.host.Gate.Question(p.ID)
	if !ok {
		return nil
	}
	c := p.Call
	v := &PromptView{ID: p.ID, Digest: c.Digest.String(), Practice: c.By.Kind == "practice", Level: int(p.Level), Effect: c.Tool.Effect.String(), Server: c.Tool.ID.Server,
		Tool: c.Tool.ID.Name, AskedBy: c.By.Name, AskedDetail: askedDetail(c), Exact: string(c.Args), Args: argViews(q.Values), Findings: findingViews(q.Findings),
		Rule: p.Rule, Reason: p.Reason, Also: []RuleView{}, Opened: stamp(p.Opened), Deadline: stamp(p.Deadline), ArmMillis: p.Armed.Sub(p.Opened).Milliseconds()}
	if p.Level == consent.Type {
		v.Target = p.Target
	}
	for _, d := range q.Degraded {
		v.Findings = append(v.Findings, FindingView{"pipeline", "inspect.degraded", "warn", "", d})
	}
	for _, r := range q.Decision.Also {
		v.Also = append(v.Also, RuleView{r.ID, r.Reason, r.Then})
	}
	s, err := a.host.Servers.View(c.Tool.ID.Server)
	if err == nil {
		sv := a.serverView(s)
		// The version is the definition's, never what the server says of itself: that would be its words in this dialog.
		v.ServerVersion, v.Tier, v.Enforced, v.Demanded = s.Def.Version, sv.Tier, sv.Enforced, sv.Demanded
		v.Pin = "Pinned: " + sv.PinDetail + "."
		v.Leaves, v.LeavesDetail = leaves(s.Def)
		v.Preview = preview(c, s.Def)
	}
	words(v, q)
	switch c.Kind {
	case tool.ReadResource:
		v.Question, v.AllowLabel = "Read "+shorten(v.Tool, 60)+"?", "Read once"
	case tool.GetPrompt:
		v.Question, v.AllowLabel = "Fetch the prompt "+shorten(v.Tool, 60)+"?", "Fetch once"
	}
	return v
}

func askedDetail(c tool.Call) string {
	switch c.By.Kind {
	case "window":
		return "You filled in this form and pressed Run."
	case "chat":
		return "A model wants this in that conversation, and wrote the arguments."
	case "practice":
		return "A practice request. Whatever you answer, nothing outside the practice folder changes."
	}
	return "Asked over: " + c.By.Kind
}

// words puts the question, the consequence and the button into plain language.
func words(v *PromptView, q gate.Question) {
	verb := phrase(v.Tool)
	if v.Effect == tool.Unknown.String() {
		verb = "Run this tool" // its name is the server's choice of words, such as "reject"
	}
	object := q.Target
	if v.Preview != nil {
		object = filepath.Base(v.Preview.Path)
	}
	v.Question = verb + "?"
	if object != "" && object != v.Tool {
		v.Question = verb + " " + shorten(object, 60) + "?"
	}
	v.AllowLabel = verb + " once"
	switch {
	case v.Preview != nil && v.Preview.Exists:
		v.Consequence = fmt.Sprintf("changes 1 file, +%d −%d lines", v.Preview.Added, v.Preview.Removed)
		v.Undo, v.UndoDetail = "No", "The file is replaced. Cordon keeps no copy of the old one."
	case v.Preview != nil:
		v.Consequence = "creates 1 file, " + many(v.Preview.Added, "line")
		v.Undo, v.UndoDetail = "Yes", "Delete the new file."
	default:
		v.Consequence = map[string]string{"unknown": "Cordon does not know what this tool does and treats it as a change", "read": "reads", "costly": "an expensive read",
			"disclose": "sends data to a third party", "write": "changes something", "high": "acts on people's systems", "irreversible": "cannot be taken back"}[v.Effect]
		v.Undo, v.UndoDetail = "Not by Cordon", "Cordon cannot take back what a tool has done."
	}
}

// many counts in words: "1 line", "2 lines".
func many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// phrase turns a tool's name into words: "write_file" becomes "Write file".
func phrase(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case r == '_' || r == '-' || r == '.' || r == '/':
			b.WriteByte(' ')
		case r >= 'A' && r <= 'Z' && i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z':
			b.WriteByte(' ')
			b.WriteRune(r + 'a' - 'A')
		case r < 0x20 || r > 0x7e:
			return "Run this tool"
		default:
			b.WriteRune(r)
		}
	}
	s := strings.Join(strings.Fields(b.String()), " ")
	if s == "" || len(s) > 40 {
		return "Run this tool"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}

func leaves(def config.Server) (answer, detail string) {
	if def.Remote() {
		how := "over TLS"
		u, err := url.Parse(def.URL)
		if err != nil {
			return "The arguments of this call", "To another computer."
		}
		if u.Scheme == "http" {
			how = "not encrypted"
		}
		return "The arguments of this call", fmt.Sprintf("To %s, %s. What is done with them there cannot be confined.", u.Host, how)
	}
	if len(def.Reach) > 0 {
		to := fmt.Sprintf("services of this computer at port %s", sandbox.Ports(def.Reach))
		if def.Net == config.NetHosts {
			to += ", " + strings.Join(slices.Concat(def.Hosts, def.Private), ", ")
		}
		return "Whatever the server sends", "The server can reach " + to + " and nothing else."
	}
	switch def.Net {
	case config.NetLoopback:
		return "Nothing", "The server can reach only a loopback network of its own."
	case config.NetHosts:
		return "Whatever the server sends", "The server can reach " + strings.Join(slices.Concat(def.Hosts, def.Private), ", ") + " and nothing else."
	}
	return "Nothing", "The server has no network."
}

func argViews(values []label.Value) []ArgView {
	out := []ArgView{}
	for _, v := range values {
		view := ArgView{Pointer: v.Pointer, Kind: v.Kind, Value: v.Text, Origin: v.Origin.String(), Detail: v.Detail, Spans: []SpanView{}}
		switch v.Kind {
		case "bool":
			view.Kind = "boolean"
		case "object", "array":
			view.Kind = "empty"
		}
		for _, s := range v.Spans {
			view.Spans = append(view.Spans, SpanView{units(v.Text, s.Start), units(v.Text, s.End), s.Origin.String(), s.Detail})
		}
		if n := len(view.Spans); n > 0 {
			view.Note = fmt.Sprintf("quotes %s", v.Spans[0].Detail)
		}
		out = append(out, view)
	}
	return out
}

// units converts a byte offset to UTF-16 units, which is how pages count.
func units(s string, byteOffset int) int {
	n := 0
	for i, r := range s {
		if i >= byteOffset {
			break
		}
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// maxPreview bounds what is read and compared for a preview, in bytes.
const maxPreview = 256 << 10

// maxPreviewLines bounds what a page is made to draw.
const maxPreviewLines = 2000

// preview shows what a write of a whole file changes: only of tools whose package Cordon knows, because a name alone says
// nothing about what a tool does; text only, and only inside a folder that the server may write. The old content is read
// through the granted folder, so that a link in it cannot lead elsewhere.
func preview(c tool.Call, def config.Server) *PreviewView {
	if c.Tool.ID.Name != "write_file" || def.Source != host.Bundled && tool.Known(def.Source, c.Tool.ID.Name) != tool.Write {
		return nil
	}
	var args struct {
		Path    string `json:"path"`
		Content string `json:"content"`
	}
	if json.Unmarshal(c.Args, &args) != nil || !filepath.IsAbs(args.Path) || len(args.Content) > maxPreview {
		return nil
	}
	for _, dir := range def.Write {
		rel, err := filepath.Rel(dir, filepath.Clean(args.Path))
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		old, exists, ok := readInside(dir, rel)
		if !ok || strings.Count(old, "\n")+strings.Count(args.Content, "\n") > maxPreviewLines {
			return nil
		}
		p := &PreviewView{Path: filepath.Clean(args.Path), Exists: exists, Lines: diffLines(diffText(old, args.Content))}
		for _, l := range p.Lines {
			switch l.Sign {
			case "+":
				p.Added++
			case "-":
				p.Removed++
			}
		}
		return p
	}
	return nil
}

// diffText compares two texts line by line. The newline at the end of a file ends its last line; it does not begin
// another one, unless it is all that changes.
func diffText(old, new string) []pin.Line {
	a, b := strings.TrimSuffix(old, "\n"), strings.TrimSuffix(new, "\n")
	if a == b && old != new {
		a, b = old, new
	}
	return pin.Diff(a, b)
}

// readInside reads a small text file below dir. ok is false when there is something that cannot be shown as text.
func readInside(dir, rel string) (text string, exists, ok bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", false, false
	}
	defer root.Close()
	st, err := root.Stat(rel)
	if os.IsNotExist(err) {
		return "", false, true
	}
	if err != nil || !st.Mode().IsRegular() || st.Size() > maxPreview {
		return "", true, false
	}
	// The server may put something else in its place in this moment: a fifo or a lease must not hold the window up.
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", true, false
	}
	defer f.Close()
	if st, err = f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", true, false
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPreview))
	if err != nil || !utf8.Valid(b) {
		return "", true, false
	}
	return string(b), true, true
}
