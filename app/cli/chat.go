package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cordon/host"
	"cordon/host/chat"
	"cordon/host/consent"
	"cordon/host/llm"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
)

// talking is one conversation in the terminal.
type talking struct {
	e    *env
	h    *host.Host
	c    *chat.Engine
	id   string
	show bool // what the model thinks

	attach []chat.Attachment // goes with the next question

	// What follows belongs to the engine, which tells of one conversation from one goroutine at a time.
	wrote bool // of the answer that is coming
	begun bool // the line that it is at has its mark
	parts map[int]bool

	unseen int // images that it was said of that the model is not given
}

func chatCommand(e *env) *cobra.Command {
	var o opening
	var show bool
	c := &cobra.Command{
		Use:   "chat [QUESTION]",
		Short: "Ask a model that may call the tools of your servers; asks on the terminal before anything is changed",
		Long: `Holds a conversation with a model, which is told of the tools of all servers that you have approved. Reading flows; before anything is changed you are
asked on the terminal, and without one that is denied. Each call is shown with its result's number, by which the answer cites it. Your own
secrets are taken out before anything leaves.

With QUESTION, or one on standard input, it is asked and answered, and the command ends. Without, you talk: Ctrl-C stops the answer, and ends
the command when nothing is under way. /help shows what else there is. Conversations are kept; the window shows them too.`,
		Example: `  cordon chat --model qwen 'Which of these rules would have seen it?'
  cordon chat --last
  cordon chat --case INC-2041 --server filesystem`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if o.resume != "" && o.last || (o.resume != "" || o.last) && o.inCase != "" {
				return usageError(c, "--resume, --last and --case exclude each other")
			}
			question := ""
			if len(args) == 1 {
				question = args[0]
			} else if !e.typed() {
				b, err := io.ReadAll(io.LimitReader(e.in, 2<<20))
				if err != nil {
					return err
				}
				question = string(b)
			}
			if strings.TrimSpace(question) == "" && (len(args) == 1 || !e.typed()) {
				return usageError(c, "there is nothing to ask")
			}
			o.scoped = c.Flags().Changed("scope")
			return e.chat(c.Context(), question, o, show)
		},
	}
	f := c.Flags()
	f.StringVar(&o.model, "model", "", "which model; the one used last, or the only one, if you do not say")
	f.StringVar(&o.inCase, "case", "", "case that a new conversation belongs to")
	f.StringVar(&o.resume, "resume", "", "go on with the conversation of this id")
	f.BoolVar(&o.last, "last", false, "go on with the conversation that changed last")
	f.StringArrayVar(&o.only, "server", nil, "tell the model of this server's tools only; may be repeated")
	f.StringArrayVarP(&o.files, "attach", "a", nil, "a text file, or a PNG or JPEG image, that goes with the question; may be repeated")
	f.StringVar(&o.scope, "scope", "", scopeHelp)
	f.BoolVar(&show, "show-reasoning", false, "print what the model thinks too")
	flag(c, "model", completeModels)
	flag(c, "case", completeCases)
	flag(c, "resume", completeChats)
	flag(c, "server", completeServers)
	flag(c, "scope", fixed("read", "ask", "usual"))
	return c
}

const scopeHelp = "what calls may do: read, and nothing else; ask, before every one of them; or usual, which leaves it to the rules"

// opening is which conversation is held, and how it is changed first.
type opening struct {
	model, inCase, resume string
	last                  bool
	only, files           []string
	scope                 string
	scoped                bool // scope is given
}

func (e *env) chat(ctx context.Context, question string, o opening, show bool) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	t := &talking{e: e, show: show}
	e.chatted = t.hear
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := e.loadSecrets(ctx, h, ""); err != nil {
		return err
	}
	t.h = h
	if t.c, err = h.Chats(); err != nil {
		return err
	}
	for _, path := range o.files {
		if err := t.file(path); err != nil {
			return err
		}
	}
	if err := t.choose(ctx, o); err != nil {
		return err
	}
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGINT)
	defer signal.Stop(stops)
	if question != "" {
		if !e.json {
			if err := t.introduce(ctx, ""); err != nil {
				return err
			}
		}
		return t.ask(ctx, stops, question)
	}
	return t.talk(ctx, stops)
}

// ask asks, with what goes with it.
func (t *talking) ask(ctx context.Context, stops <-chan os.Signal, question string) error {
	a := chat.Ask{Text: question, Attached: t.attach}
	return t.turn(ctx, stops, func() error {
		err := t.c.Ask(ctx, t.id, a)
		if err == nil { // else it was not begun
			t.attach = nil
		}
		return err
	})
}

// file has a file go with the next question.
func (t *talking) file(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // nobody may write to a pipe
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("attach %s: it is not a file", path)
	}
	const most = 16 << 20
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return fmt.Errorf("attach: %w", err)
	case len(data) > most:
		return fmt.Errorf("attach %s: it is larger than %d MiB", path, most>>20)
	}
	a, err := chat.NewFile(filepath.Base(path), "you", data)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	all := append(slices.Clone(t.attach), a)
	if err := (chat.Ask{Attached: all}).Validate(); err != nil {
		return fmt.Errorf("attach %s: %w", path, err)
	}
	t.attach = all
	return nil
}

// choose finds or begins the conversation.
func (t *talking) choose(ctx context.Context, o opening) error {
	conf, model := t.h.Config(), o.model
	if model != "" {
		if _, ok := conf.Model(model); !ok {
			return fmt.Errorf("%w: %q; see: cordon models list", host.ErrNoModel, model)
		}
	}
	for _, name := range o.only {
		if _, ok := conf.Server(name); !ok {
			return fmt.Errorf("there is no server %q; see: cordon servers list", name)
		}
	}
	scope, err := chat.ParseScope(o.scope)
	if err != nil {
		return err
	}
	all, err := t.c.Store.Conversations(ctx, "")
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b chat.Conversation) int { return b.Changed.Compare(a.Changed) })
	asked := func(c chat.Conversation) bool { return c.Head != 0 }
	switch {
	case o.last && !slices.ContainsFunc(all, asked):
		return errors.New("there is no conversation yet")
	case o.last:
		t.id = all[slices.IndexFunc(all, asked)].ID
	case o.resume != "":
		c, err := t.c.Store.Conversation(ctx, o.resume)
		if err != nil {
			return fmt.Errorf("conversation %q: %w; see: cordon chats list", o.resume, err)
		}
		t.id = c.ID
	default:
		of, err := t.caseNamed(ctx, o.inCase)
		if err != nil {
			return err
		}
		if model == "" {
			if model, err = t.h.UsualModel(ctx, of); err != nil {
				return err
			}
		}
		if model == "" {
			return errors.New("there is no model yet, or none that the case allows; find those on this computer with: cordon models find; add one with: cordon models add")
		}
		c, err := t.c.Store.Begin(ctx, chat.Conversation{Case: of, Model: model, Scope: scope})
		if err != nil {
			return err
		}
		t.id = c.ID
	}
	return t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error {
		if model != "" {
			c.Model = model
		}
		if o.scoped {
			c.Scope = scope
		}
		if len(o.only) > 0 {
			c.Without = nil
			for _, s := range conf.Servers {
				if !slices.Contains(o.only, s.Name) {
					c.Without = append(c.Without, s.Name)
				}
			}
		}
		return nil
	})
}

func (t *talking) caseNamed(ctx context.Context, name string) (id string, err error) {
	if name == "" {
		return "", nil
	}
	c, err := caseNamed(ctx, t.c.Store, name)
	return c.ID, err
}

var errNoCase = errors.New("there is no case of that name")

// caseNamed finds a case by its name or id.
func caseNamed(ctx context.Context, s *chat.Store, name string) (chat.Case, error) {
	all, err := s.Cases(ctx)
	if err != nil {
		return chat.Case{}, err
	}
	for _, c := range all {
		if c.ID == name || strings.EqualFold(c.Name, name) {
			return c, nil
		}
	}
	return chat.Case{}, fmt.Errorf("%w: %q; see: cordon cases list; make it with: cordon cases set", errNoCase, name)
}

// turn runs one, which a signal stops, and says how it ended, if not well.
func (t *talking) turn(ctx context.Context, stops <-chan os.Signal, run func() error) error {
	done := make(chan error, 1)
	go func() { done <- run() }()
	for {
		select {
		case <-stops:
			t.c.Stop(t.id)
			continue
		case err := <-done:
			if err != nil {
				return err
			}
		}
		c, err := t.c.Store.Conversation(context.WithoutCancel(ctx), t.id)
		if err != nil {
			return err
		}
		end, err := t.c.Store.Entry(context.WithoutCancel(ctx), t.id, c.Head)
		if err != nil || end.Ended == nil || end.Ended.Why == chat.Done {
			return err
		}
		return errors.New(strings.TrimSuffix(end.Ended.Reason, "."))
	}
}

// hear prints what happens in a conversation.
func (t *talking) hear(u chat.Update) {
	out := t.e.out
	if t.e.json {
		if u.Entry != nil {
			t.printEntry(*u.Entry)
		}
		return
	}
	switch {
	case u.Part != nil && (u.Part.Kind == llm.Text || u.Part.Kind == llm.Reasoning && t.show):
		if t.parts == nil {
			t.parts = map[int]bool{}
		}
		if !t.parts[u.Index] && t.wrote {
			t.write("\n\n")
		}
		t.parts[u.Index], t.wrote = true, true
		t.write(u.Part.Text)
	case u.Entry != nil && u.Entry.Kind == chat.Answer:
		if t.wrote {
			fmt.Fprintln(out)
		}
		t.wrote, t.begun, t.parts = false, false, nil
	case u.Entry != nil && u.Entry.Outcome != nil:
		fmt.Fprintln(t.e.err, consent.Escape(callLine(u.Entry.Outcome)))
	case u.Live != nil && u.Live.Phase == chat.Asking && u.Live.Asked != nil && u.Live.Asked.Unseen > 0 && u.Live.Asked.Unseen != t.unseen:
		t.unseen = u.Live.Asked.Unseen // once, and again when there are more
		fmt.Fprintf(t.e.err, "  images that the model is not given: %d; %s\n", t.unseen, u.Live.Asked.Why)
	case u.Live != nil && u.Live.Phase == chat.Retrying:
		fmt.Fprintf(t.e.err, "  %s; it is asked again\n", consent.Escape(u.Live.Retry))
	}
}

// write writes a model's words, which do nothing to a terminal but begin lines. There, each line has a mark, so that none passes for Cordon's.
func (t *talking) write(text string) {
	f, ok := t.e.out.(*os.File)
	mark := ok && isTerminal(f)
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			fmt.Fprintln(t.e.out)
			t.begun = false
		}
		if mark && !t.begun {
			fmt.Fprint(t.e.out, "| ")
		}
		t.begun = true
		fmt.Fprint(t.e.out, consent.Escape(line))
	}
}

// callLine is one call and how it ended, on a line.
func callLine(o *chat.Outcome) string {
	name := o.Tool.String()
	if o.Tool.Server == "" {
		name = o.Name
	}
	args := o.Args
	if r := []rune(args); len(r) > 100 {
		args = string(r[:99]) + "…"
	}
	line := fmt.Sprintf("  %s %s: ", name, args)
	switch o.State {
	case chat.OK:
		line += "ran"
	case chat.ToolError:
		line += "ran, and reported a failure"
	case chat.Denied:
		line += "denied by " + o.Rule + ", " + o.Reason
	case chat.Cancelled:
		line += "stopped"
	case chat.Failed:
		line += "failed, " + o.Reason
	default:
		line += "not made, " + o.Reason
	}
	if o.State == chat.OK || o.State == chat.ToolError {
		line += fmt.Sprintf(" in %v", time.Duration(o.Took).Round(time.Millisecond))
	}
	if o.Number > 0 {
		line += fmt.Sprintf(" [#%d]", o.Number)
	}
	return line
}

// printEntry prints an entry as a line of JSON.
func (t *talking) printEntry(en chat.Entry) {
	x := chat.ExportedEntry{Seq: en.Seq, Parent: en.Parent, Turn: en.Turn, Kind: en.Kind, At: en.At, Entry: en}
	if en.Outcome != nil {
		x.Result = en.Outcome.Content
	}
	if b, err := json.Marshal(x); err == nil {
		_ = t.e.printJSON(append(b, '\n'))
	}
}
