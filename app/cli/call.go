package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"cordon/host"
	"cordon/host/audit"
	"cordon/host/consent"
	"cordon/host/gate"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/spf13/cobra"
)

func callCommand(e *env) *cobra.Command {
	var within time.Duration
	c := &cobra.Command{
		Use:   "call SERVER TOOL [JSON]",
		Short: "Run one tool through the gate; asks on the terminal before anything is changed",
		Long: `Starts the server in its sandbox, or connects to one that is elsewhere, and runs one tool. The call is judged like every other: reading flows on
reviewed servers, anything else asks on the terminal. Without a terminal every question is denied. While the keyring does
not give out a secret of yours, every call asks, because Cordon would not notice that secret in its arguments.
JSON may be - to read it from standard input.`,
		Example: `  cordon call filesystem read_text_file '{"path":"/home/me/case/notes.md"}'`,
		Args:    usage(cobra.RangeArgs(2, 3)), ValidArgsFunction: completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			if err := deadline(c, within); err != nil {
				return err
			}
			return e.call(c.Context(), args, within)
		},
	}
	c.Flags().DurationVar(&within, "within", 0, "how long the tool may take, at most 10m (default 1m)")
	return c
}

// called is what `call --json` prints.
type called struct {
	OK         bool           `json:"ok"` // false when the tool itself reported failure
	CallID     string         `json:"callId"`
	Event      uint64         `json:"event"`
	Content    []tool.Content `json:"content"`
	Structured any            `json:"structured,omitempty"`
	Findings   []tool.Finding `json:"findings"`
	Micros     int64          `json:"tookMicros"`
}

func (e *env) call(ctx context.Context, args []string, within time.Duration) error {
	json := []byte("{}")
	if len(args) == 3 {
		json = []byte(args[2])
		if args[2] == "-" {
			b, err := io.ReadAll(io.LimitReader(e.in, 2<<20))
			if err != nil {
				return err
			}
			json = b
		}
	}
	return e.run(ctx, tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: args[0], Name: args[1]}, Args: json, Within: within}, e.printCalled)
}

// run takes a proposal through the gate and gives its result to print.
func (e *env) run(ctx context.Context, p tool.Proposal, print func(tool.Result) error) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	return e.runIn(ctx, h, p, print)
}

func (e *env) runIn(ctx context.Context, h *host.Host, p tool.Proposal, print func(tool.Result) error) error {
	name := p.Target.Server
	if err := e.loadSecrets(ctx, h, name); err != nil {
		return err
	}
	command := map[tool.Kind]string{tool.CallTool: "call", tool.ReadResource: "read", tool.GetPrompt: "prompt", tool.FetchTask: "tasks get"}[p.Kind]
	p.By, p.Wrote, p.Ticket = tool.Asker{Kind: "terminal", Name: "cordon " + command, Conversation: "terminal"}, tool.OriginUser, "call"
	before := h.Tasks()
	end := e.progress.follow(e.progressTo(), p.Ticket)
	r, err := h.Call(ctx, p)
	end()
	if err != nil {
		err := &serverError{name: name, fix: stepUp(h, name), error: err}
		for _, k := range h.Tasks() {
			if k.Server == name && !slices.ContainsFunc(before, func(b server.Task) bool { return b.ID == k.ID && b.Server == name }) {
				err.fix = "cordon tasks get " + name + " " + quoted(k.ID)
			}
		}
		return err
	}
	return print(r)
}

// stepUp is how somebody signs in for what a server wants besides, "" if it wants nothing.
func stepUp(h *host.Host, name string) string {
	v, err := h.Servers.View(name)
	if err != nil || v.Login == nil || len(v.Login.Wanted) == 0 {
		return ""
	}
	fix := "cordon servers sign-in " + name
	for _, s := range v.Login.Wanted {
		if !slices.Contains(v.Login.Scopes, s) && !slices.Contains(v.Def.Login.Scopes, s) {
			fix += " --scope " + quoted(s)
		}
	}
	return fix
}

// progressTo is where progress is shown: nowhere for machines.
func (e *env) progressTo() io.Writer {
	if e.json {
		return nil
	}
	return e.err
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/@%+=,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'" // without a backslash, which is escaped on a screen
}

func (e *env) printCalled(r tool.Result) error {
	if err := e.print(calledOf(r), func(w io.Writer) { printResult(w, e.err, r) }); err != nil {
		return err
	}
	if r.IsError {
		return &exitError{exitFailed, nil}
	}
	return nil
}

func calledOf(r tool.Result) called {
	out := called{OK: !r.IsError, CallID: r.CallID, Event: r.Event, Content: r.Content, Findings: r.Findings, Micros: r.Took.Microseconds()}
	if r.Structured != nil {
		out.Structured = rawJSON(r.Structured)
	}
	return out
}

type rawJSON []byte

// MarshalJSON returns the bytes themselves.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// textTo writes text as it is when it goes to a file or a pipe, and with control characters escaped on a terminal, where they could do things.
func textTo(w io.Writer, indent string) func(s string) {
	f, _ := w.(*os.File)
	terminal := f != nil && isTerminal(f)
	return func(s string) {
		if !terminal && indent == "" {
			fmt.Fprintln(w, s)
			return
		}
		for line := range strings.SplitSeq(s, "\n") {
			if terminal {
				line = consent.Escape(line)
			}
			fmt.Fprintln(w, indent+line)
		}
	}
}

// printResult writes what a call returned, and findings to errw.
func printResult(w, errw io.Writer, r tool.Result) {
	text := textTo(w, "")
	for _, c := range r.Content {
		printContent(w, text, c)
	}
	if len(r.Content) == 0 && r.Structured != nil {
		text(string(r.Structured))
	}
	printFindings(errw, r)
}

// printContent writes one part, what is not text by its heading alone.
func printContent(w io.Writer, text func(string), c tool.Content) {
	if c.Type != "text" {
		fmt.Fprintf(w, "[%s %s, %s] %s\n", c.Type, consent.Escape(c.MIME), sandbox.Bytes(int64(len(c.Data)+len(c.Text))), consent.Escape(c.URI))
	}
	if c.Text != "" || c.Type == "text" {
		text(c.Text)
	}
}

func printFindings(errw io.Writer, r tool.Result) {
	for _, f := range r.Findings {
		fmt.Fprintf(errw, "%s: %s\n", f.Rule, consent.Escape(f.Text))
	}
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func doctorCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "Check what this computer offers, and what to do about what is missing", Args: usage(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
		sb, _ := sandbox.New() // its absence is one of the findings
		checks := host.Doctor(c.Context(), sb, newSecrets())
		if err := e.print(checks, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, c := range checks {
				fmt.Fprintf(t, "%s\t%s\t%s\n", c.State, c.Name, consent.Escape(c.Detail))
				if c.Fix != "" {
					fmt.Fprintf(t, "\t\t%s\n", "→ "+consent.Escape(c.Fix))
				}
			}
			t.Flush()
		}); err != nil {
			return err
		}
		for _, c := range checks {
			if c.State == host.CheckMissing && (c.Name == "sandbox" || c.Name == "Landlock" || c.Name == "seccomp" || c.Name == "user namespaces") {
				return &exitError{exitRefused, nil}
			}
		}
		return nil
	}}
}

func auditCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "audit", Short: "Read and verify the log"})
	var lines int
	tail := &cobra.Command{Use: "tail", Short: "Print the newest events", Args: usage(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error { return e.tail(lines) }}
	tail.Flags().IntVarP(&lines, "lines", "n", 20, "how many")
	verify := &cobra.Command{Use: "verify [FILE]", Short: "Check every byte of the log", Long: `Checks the whole log. Any changed, removed or inserted byte is found, with two exceptions: whole records missing at
the end, and a whole chain made anew by somebody who can write the file. For those, compare the head with one that was
written down elsewhere.

Exit codes: 0 intact, 5 changed.`, Args: usage(cobra.MaximumNArgs(1)), RunE: func(c *cobra.Command, args []string) error { return e.verify(args) }}
	c.AddCommand(tail, verify)
	return c
}

func (e *env) tail(n int) error {
	if n < 0 {
		return &exitError{exitUsage, fmt.Errorf("--lines %d: a number from 0", n)}
	}
	p, err := paths()
	if err != nil {
		return err
	}
	records, err := lastLines(host.LogFile(p), n)
	if err != nil {
		return err
	}
	for _, r := range records {
		if e.json {
			if err := e.printJSON(append(r, '\n')); err != nil {
				return err
			}
			continue
		}
		s, err := audit.Parse(r)
		if err != nil {
			return fmt.Errorf("a record cannot be read: %w", err)
		}
		ev := s.Event
		name := ev.Server
		if ev.Tool != "" {
			name += "." + ev.Tool
		}
		fmt.Fprintf(e.out, "%6d  %s  %-15s %-28s %-12s %s\n", s.Seq, ev.Time.UTC().Format("2006-01-02 15:04:05.000"), ev.Kind, consent.Escape(name), ev.Decision, consent.Escape(strings.TrimSpace(ev.Rule+" "+ev.Reason)))
	}
	return nil
}

func (e *env) verify(args []string) error {
	p, err := paths()
	if err != nil {
		return err
	}
	file := host.LogFile(p)
	if len(args) == 1 {
		file = args[0]
	}
	f, err := plainFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no log yet at %s", file)
	} else if err != nil {
		return err
	}
	defer f.Close()
	r, err := audit.Verify(f)
	if err != nil {
		return err
	}
	if err := e.print(map[string]any{"file": file, "intact": r.Intact, "events": r.Events, "head": r.Head, "badSeq": r.BadSeq, "badLine": r.BadLine, "problem": r.Problem, "torn": r.Torn}, func(w io.Writer) {
		if r.Intact {
			fmt.Fprintf(w, "intact: %d events, head %s\n", r.Events, r.Head)
			return
		}
		if r.Torn {
			fmt.Fprintf(w, "intact: %d events, head %s\n  The record after them was not written whole, as when Cordon is killed. The next start removes it and records that.\n", r.Events, r.Head)
			return
		}
		fmt.Fprintf(w, "NOT INTACT from line %d on: %s\n  %d events before it are as they were written; do not trust what follows.\n", r.BadLine, r.Problem, r.Events)
	}); err != nil {
		return err
	}
	if !r.Intact && !r.Torn {
		return &exitError{exitBroken, nil}
	}
	return nil
}

// plainFile opens a file for reading that is one: a fifo would be waited for without end.
func plainFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a plain file", path)
	}
	return f, nil
}

// lastLines returns the last n lines of a file, oldest first.
func lastLines(path string, n int) ([][]byte, error) {
	f, err := plainFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	var out [][]byte
	for _, l := range lines[max(0, len(lines)-n):] {
		if l != "" {
			out = append(out, []byte(l))
		}
	}
	return out, nil
}

func tryCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "try", Short: "Walk through the first start in the terminal", Long: `Three things to try: watch a sandbox hold, meet the consent question, and run npm's filesystem server on a
sample case. Without a terminal every question is denied, and the summary says so.`, Args: usage(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error { return e.try(c.Context()) }}
}

// tried is the summary of `cordon try`.
type tried struct {
	Sandbox    string `json:"sandbox"`
	Consent    string `json:"consent"`
	Filesystem string `json:"filesystem"`
}

func (e *env) try(ctx context.Context) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	say := func(format string, args ...any) {
		if !e.json {
			fmt.Fprintf(e.out, format+"\n", args...)
		}
	}
	var sum tried
	failed := false
	fail := func(err error) string {
		failed = true
		return "did not work: " + consent.Escape(err.Error())
	}

	say("1. Watch a sandbox hold")
	trial, err := h.TrySandbox(ctx)
	if err != nil {
		sum.Sandbox = fail(err)
	} else {
		held := 0
		for _, a := range trial.Attempts {
			word := "HELD    "
			if a.Held() {
				held++
			} else if a.Confined.Worked {
				word = "NOT HELD"
				failed = true
			} else {
				word = "nothing "
			}
			say("   %s  %-42s %s", word, a.Act, a.Confined.Detail)
		}
		n, of := trial.Report.Count()
		sum.Sandbox = fmt.Sprintf("%d of %d forbidden acts were refused; %s, %d of %d guarantees hold", held, len(trial.Attempts), trial.Report.Tier, n, of)
	}
	say("   %s\n", sum.Sandbox)

	say("2. Meet the consent question")
	_, err = h.Practice(ctx)
	var denied *gate.Denied
	switch {
	case errors.As(err, &denied):
		sum.Consent = "denied: " + denied.Reason
	case err != nil:
		sum.Consent = fail(err)
	default:
		sum.Consent = "allowed once; the file was written"
	}
	say("   %s\n", sum.Consent)

	say("3. npm's filesystem server on a sample case")
	name, err := h.PrepareFilesystem(ctx, func(text string, _, _ int) { say("   %s", text) })
	if err != nil {
		sum.Filesystem = fail(err)
	} else if r, err := h.Review(ctx, name); err != nil {
		sum.Filesystem = fail(err)
	} else {
		sum.Filesystem = fmt.Sprintf("runs confined and offers %d tools; review them with: cordon servers review %s", len(r.Tools), name)
	}
	say("   %s\n", sum.Filesystem)
	if e.json {
		if err := e.print(sum, nil); err != nil {
			return err
		}
	}
	if failed {
		return &exitError{exitFailed, nil}
	}
	return nil
}
