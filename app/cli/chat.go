package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cordon/host"
	"cordon/host/chat"
	"cordon/host/consent"
	"cordon/host/llm"
	"cordon/host/server"

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
	f.StringVar((*string)(&o.scope), "scope", "", scopeHelp)
	f.BoolVar(&show, "show-reasoning", false, "print what the model thinks too")
	flag(c, "model", completeModels)
	flag(c, "case", completeCases)
	flag(c, "resume", completeChats)
	flag(c, "server", completeServers)
	flag(c, "scope", fixed("read", "ask"))
	return c
}

const scopeHelp = "what calls may do: read, and nothing else; or ask before every one of them; empty leaves it to the rules"

// opening is which conversation is held, and how it is changed first.
type opening struct {
	model, inCase, resume string
	last                  bool
	only, files           []string
	scope                 chat.Scope
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
	if o.scope == "usual" {
		o.scope = chat.Usual
	}
	if !slices.Contains(chat.Scopes, o.scope) {
		return fmt.Errorf("%q is no scope: there are read, which allows nothing else, ask, which asks before every call, and usual", o.scope)
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
		c, err := t.c.Store.Begin(ctx, chat.Conversation{Case: of, Model: model, Scope: o.scope})
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
			c.Scope = o.scope
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

const talkHelp = `  Write a question and press Enter; a line that ends with \ goes on in the next.
  One may begin with a path; any other that begins with / is written with //.
  /retry            have the last question answered again
  /continue         go on where the last answer broke off
  /show N           print result N whole
  /model [NAME]     ask another model
  /servers          show which servers' tools the model is told of
  /on NAME, /off NAME   tell it of a server's tools, or not
  /attach FILE      a text file or an image goes with the next question
  /detach           nothing goes with it after all
  /scope [read|ask|usual]   what calls may do: nothing but read, ask before each, or as the rules say
  /new              begin a new conversation
  /quit             end; the conversation is kept
`

// talk reads questions until the end.
func (t *talking) talk(ctx context.Context, stops <-chan os.Signal) error {
	if err := t.introduce(ctx, " /help shows what there is."); err != nil {
		return err
	}
	lines := make(chan string)
	more := make(chan struct{}) // a line is read only when one is wanted: meanwhile the terminal is for what else is asked
	go func() {
		defer close(lines)
		in := bufio.NewScanner(t.e.in)
		in.Buffer(nil, 1<<20)
		for range more {
			if !in.Scan() {
				return
			}
			lines <- in.Text()
		}
	}()
	defer close(more)
	var question strings.Builder
	for {
		if question.Len() == 0 {
			fmt.Fprint(t.e.err, "\n> ")
		} else {
			fmt.Fprint(t.e.err, "… ")
		}
		more <- struct{}{}
		var line string
		var ok bool
		select {
		case line, ok = <-lines:
		case <-stops:
		case <-ctx.Done():
		}
		if !ok {
			fmt.Fprintln(t.e.err)
			return nil
		}
		if rest, goes := strings.CutSuffix(line, `\`); goes {
			question.WriteString(rest + "\n")
			continue
		}
		question.WriteString(line)
		text := question.String()
		question.Reset()
		if strings.TrimSpace(text) == "" {
			continue
		}
		quit, err := t.said(ctx, stops, text)
		if quit || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			fmt.Fprintf(t.e.err, "cordon: %s\n", consent.Escape(t.h.Mask(err.Error())))
		}
	}
}

// introduce says which conversation it is.
func (t *talking) introduce(ctx context.Context, more string) error {
	c, err := t.c.Store.Conversation(ctx, t.id)
	if err != nil {
		return err
	}
	of, err := t.c.Store.Case(ctx, c.Case)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.e.err, "Conversation %s with %s, %s. %s%s\n", c.ID, consent.Escape(c.Model), t.placeOf(c.Model), scopeWords(c, of), more)
	return nil
}

func (t *talking) placeOf(model string) string {
	def, ok := t.h.Config().Model(model)
	switch {
	case !ok:
		return "which is not defined any more"
	case def.Local():
		return "on this computer"
	}
	return "at " + def.Host()
}

// said does what a line wants.
func (t *talking) said(ctx context.Context, stops <-chan os.Signal, text string) (quit bool, err error) {
	word, arg := slash(text)
	if word == "" {
		return false, t.ask(ctx, stops, arg)
	}
	c, err := t.c.Store.Conversation(ctx, t.id)
	if err != nil {
		return false, err
	}
	of, err := t.c.Store.Case(ctx, c.Case)
	if err != nil {
		return false, err
	}
	switch word {
	case "/quit", "/exit", "/q":
		return true, nil
	case "/help":
		fmt.Fprint(t.e.err, talkHelp)
	case "/retry":
		if c.Head == 0 {
			return false, errors.New("nothing has been asked yet")
		}
		last, err := t.c.Store.Entry(ctx, t.id, c.Head)
		if err != nil {
			return false, err
		}
		return false, t.turn(ctx, stops, func() error { return t.c.Retry(ctx, t.id, last.Turn) })
	case "/continue":
		return false, t.turn(ctx, stops, func() error { return t.c.Continue(ctx, t.id) })
	case "/show":
		n, err := strconv.Atoi(strings.TrimPrefix(arg, "#"))
		if err != nil {
			return false, errors.New("write /show and the number of a result")
		}
		en, err := t.c.Store.Numbered(ctx, t.id, n)
		if err != nil {
			return false, fmt.Errorf("there is no result %d in this conversation", n)
		}
		fmt.Fprintln(t.e.err, consent.Escape(callLine(en.Outcome)))
		if en.Outcome.Content != nil {
			for line := range strings.Lines(en.Outcome.Content.Text()) {
				fmt.Fprintf(t.e.out, "| %s\n", consent.Escape(strings.TrimRight(line, "\r\n")))
			}
		}
	case "/model":
		if arg == "" {
			fmt.Fprintf(t.e.err, "%s, %s\n", consent.Escape(c.Model), t.placeOf(c.Model))
			return false, nil
		}
		if _, ok := t.h.Config().Model(arg); !ok {
			return false, fmt.Errorf("%w: %q", host.ErrNoModel, arg)
		}
		if err := t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error { c.Model = arg; return nil }); err != nil {
			return false, err
		}
		fmt.Fprintf(t.e.err, "%s, %s, is asked from now on.\n", arg, t.placeOf(arg))
	case "/servers":
		for _, v := range t.h.Servers.Views() {
			state := "its tools are offered"
			switch {
			case slices.Contains(c.Without, v.Name):
				state = "off"
			case !chat.Offers(c, of, v.Name):
				state = "not of this case"
			case v.State == server.Stopped:
				state = "is started with the next question, if it is approved"
			case !t.h.Offered(v):
				state = "not offered: " + string(v.State)
			}
			fmt.Fprintf(t.e.err, "  %s: %s\n", v.Name, state)
		}
	case "/on", "/off":
		if arg == "" {
			return false, fmt.Errorf("write %s and the name of a server; /servers shows them", word)
		}
		if _, ok := t.h.Config().Server(arg); !ok {
			return false, fmt.Errorf("there is no server %q", arg)
		}
		return false, t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error {
			c.Without = slices.DeleteFunc(c.Without, func(s string) bool { return s == arg })
			if word == "/off" {
				c.Without = append(c.Without, arg)
			}
			return nil
		})
	case "/attach":
		if arg == "" {
			return false, errors.New("write /attach and the path of a file")
		}
		if err := t.file(arg); err != nil {
			return false, err
		}
		a := t.attach[len(t.attach)-1]
		fmt.Fprintf(t.e.err, "%s, %d bytes, goes with the next question.\n", consent.Escape(a.Name), a.Size)
	case "/detach":
		t.attach = nil
		fmt.Fprintln(t.e.err, "Nothing goes with the next question.")
	case "/scope":
		if arg == "" {
			fmt.Fprintf(t.e.err, "%s\n", scopeWords(c, of))
			return false, nil
		}
		to := chat.Scope(arg)
		if arg == "usual" {
			to = chat.Usual
		}
		if err := t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error { c.Scope = to; return nil }); err != nil {
			return false, err
		}
		c.Scope = to
		fmt.Fprintf(t.e.err, "%s\n", scopeWords(c, of))
	case "/new":
		n, err := t.c.Store.Begin(ctx, c)
		if err != nil {
			return false, err
		}
		t.id = n.ID
		fmt.Fprintf(t.e.err, "Conversation %s. %s\n", n.ID, scopeWords(n, of))
	default:
		return false, fmt.Errorf("there is no %s; /help shows what there is; as a question it is written /%s", word, word)
	}
	return false, nil
}

// scopeWords says what calls may do.
func scopeWords(c chat.Conversation, of chat.Case) string {
	words := "Reads flow; you are asked before anything else."
	switch s := chat.ScopeOf(c, of); {
	case s.ReadOnly && s.AskAll:
		words = "Calls may only read, and you are asked before each."
	case s.ReadOnly:
		words = "Calls may only read."
	case s.AskAll:
		words = "You are asked before every call."
	}
	if of.Scope != chat.Usual && of.Scope != c.Scope {
		words += " So says its case, " + consent.Escape(of.Name) + "."
	}
	return words
}

// slash takes a line apart into a command's word and the rest. The word is "" for a question, which is the rest: one that begins with a path
// (/var/log/auth.log), or that has a second slash before it, which is taken off.
func slash(text string) (word, rest string) {
	if !strings.HasPrefix(text, "/") {
		return "", text
	}
	if strings.HasPrefix(text, "//") {
		return "", text[1:]
	}
	word = strings.Fields(text)[0]
	if strings.Contains(word[1:], "/") {
		return "", text
	}
	return word, strings.TrimSpace(text[len(word):])
}
