// Package cli is the cordon command: everything the window does, in a terminal. Main runs it in process, so that
// tests use the real thing.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cordon/host"
	"cordon/host/audit"
	"cordon/host/catalog"
	"cordon/host/chat"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/host/gate"
	"cordon/host/oauth"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/spf13/cobra"
)

// Version is Cordon's version; the build may override it.
var Version = "0.1.0"

// Exit codes. `cordon sandbox exec` gives the program's own code, or 125 to 127 as env(1) does.
const (
	exitFailed  = 1 // something broke
	exitUsage   = 2 // the command line is wrong
	exitDenied  = 3 // a call was denied
	exitRefused = 4 // the sandbox cannot give what is demanded
	exitBroken  = 5 // the audit log does not verify
)

// env is what one run of the command works with.
type env struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	prompter consent.Prompter // nil: the controlling terminal

	talk     *consent.Terminal                                       // where servers' questions are asked; nil: nowhere
	check    func(elicit.Question, elicit.Answer) error              // reports why an answer is not sent
	browse   func(ctx context.Context, server, address string) error // opens a page to sign in on; nil: nobody can
	progress progress
	chatted  func(chat.Update) // hears how a conversation goes; nil: nobody
}

// exitError ends the command with a code. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Main runs the command line and returns its exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	return run(args, &env{in: in, out: out, err: errw})
}

func run(args []string, e *env) int {
	ctx := context.Background()
	words := args
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		words = words[1:]
	}
	ends := true
	switch {
	case len(words) > 0 && words[0] == "chat": // there, one stops the answer
		ends = false
	case len(words) > 1 && (words[0] == "learn" || words[0] == "sandbox" && words[1] == "exec"): // there, they are the program's
		ends = false
	}
	if ends {
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
	}
	root := rootCommand(e)
	root.SetArgs(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = &exitError{exitFailed, errors.New("it was cancelled")}
	}
	code := exitFailed
	var exit *exitError
	var denied *gate.Denied
	var refusal *sandbox.Refusal
	switch {
	case errors.As(err, &exit):
		code = exit.code
		if exit.err == nil {
			return code
		}
	case errors.As(err, &denied):
		code = exitDenied
	case errors.As(err, &refusal):
		code = exitRefused
	}
	e.fail(err, code)
	return code
}

// fail prints an error for people on standard error, or as JSON for machines.
func (e *env) fail(err error, code int) {
	fix := ""
	var refusal *sandbox.Refusal
	var held *config.HeldError
	var conf *config.Error
	var fault *catalog.Fault
	var signIn *oauth.SignInNeeded
	var of *serverError
	errors.As(err, &of)
	switch {
	case of != nil && errors.As(err, &signIn):
		fix = "cordon servers sign-in " + of.name
	case of != nil && errors.Is(err, oauth.ErrNoPerson):
		fix = fmt.Sprintf("only programs that are registered there are let in: cordon servers remove %s, then add it again with --login, --client-id and --client-secret", of.name)
	case of != nil && errors.Is(err, server.ErrNameless):
		fix = fmt.Sprintf("if you know it and it is meant to be open: cordon servers open %s", of.name)
	case of != nil && of.fix != "":
		fix = of.fix
	case errors.Is(err, audit.ErrBroken):
		fix = "nothing runs without a record: keep the file as evidence, move it away, then try again"
	case errors.Is(err, audit.ErrUnusable):
		fix = "nothing runs without a record: make room on the disk, then try again"
	case errors.Is(err, secret.ErrNotFound):
		fix = "see what is known with: cordon secrets list; set one again with: cordon secrets set"
	case errors.As(err, &conf) && conf.File != "":
		fix = "correct the file, then try again; it was left as it is, and nothing it defines is used until then"
	case errors.As(err, &refusal):
		fix = refusal.Fix
	case errors.As(err, &fault):
		fix = fault.Fix()
	case errors.As(err, &held):
		fix = "use the window, or quit Cordon first"
	}
	var found []tool.Finding // in a server's words
	if failed, ok := errors.AsType[*gate.Failed](err); ok {
		found = failed.Findings
	}
	if e.json {
		out := map[string]any{"error": err.Error(), "code": code, "fix": fix}
		if len(found) > 0 {
			out["findings"] = found
		}
		_ = json.NewEncoder(e.err).Encode(out)
		return
	}
	printFindings(e.err, tool.Result{Findings: found})
	first, more, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(e.err, "cordon: %s\n", consent.Escape(first))
	for line := range strings.Lines(more) { // what a program said; marked, so that it does not pass for ours
		for _, row := range rows(consent.Escape(strings.TrimSuffix(line, "\n")), 72) {
			fmt.Fprintf(e.err, "  | %s\n", row)
		}
	}
	if fix != "" {
		fmt.Fprintf(e.err, "  what to do: %s\n", consent.Escape(fix))
	}
}

// print writes v as JSON when that was asked for, else calls text.
func (e *env) print(v any, text func(w io.Writer)) error {
	if !e.json {
		text(e.out)
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	return e.printJSON(b.Bytes())
}

// printJSON writes JSON text as it is, and to a terminal as the same JSON with what could do things there escaped.
func (e *env) printJSON(text []byte) error {
	f, ok := e.out.(*os.File)
	for line := range bytes.Lines(text) {
		if ok && isTerminal(f) {
			line = []byte(consent.EscapeJSON(strings.TrimSuffix(string(line), "\n")) + "\n")
		}
		if _, err := e.out.Write(line); err != nil {
			return err
		}
	}
	return nil
}

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "cordon",
		Short: "Run MCP servers and other programs confined, and let nothing with consequences happen unseen",
		Long: `Cordon runs MCP servers in sandboxes, asks before anything is changed, and keeps a log that shows
if it was tampered with. The window is cordon-desktop; this command does the same in a terminal.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       Version,
	}
	group(root)
	root.PersistentFlags().BoolVar(&e.json, "json", false, "print JSON for machines")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(sandboxCommand(), learnCommand(e), callCommand(e), resourcesCommand(e), readCommand(e), promptsCommand(e), promptCommand(e), tasksCommand(e), serversCommand(e), profileCommand(e), secretsCommand(e), modelsCommand(e), chatCommand(e), chatsCommand(e), casesCommand(e), doctorCommand(e), auditCommand(e), tryCommand(e), attemptCommand(e), practiceCommand())
	strictTopics(root)
	return root
}

// strictTopics makes the two commands that cobra adds refuse what they do not know: by themselves they print help and end
// with 0.
func strictTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = usage(func(c *cobra.Command, args []string) error {
				if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return fmt.Errorf("unknown help topic %q", strings.Join(args, " "))
				}
				return nil
			})
		case "completion":
			group(c)
			for _, shell := range c.Commands() {
				shell.Args = usage(cobra.NoArgs)
			}
		}
	}
}

// group makes a command that only holds others: alone it prints its help, and a word that names none of them is wrong.
func group(c *cobra.Command) *cobra.Command {
	c.Args = usage(func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
		}
		return nil
	})
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return c
}

// usage wraps a check of positional arguments so that its failure exits with 2.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			if strings.Contains(err.Error(), "arg(s)") { // cobra's way of counting
				err = fmt.Errorf("write it as: %s", c.UseLine())
			}
			return usageError(c, "%w", err)
		}
		return nil
	}
}

func paths() (config.Paths, error) { return config.FindPaths(os.Getenv) }

// open takes the state for one command. The caller closes what it returns. Where the window goes on and shows what is
// broken, a command ends: without its configuration or its log nothing it could do is right.
func (e *env) open(ctx context.Context) (*host.Host, func(), error) {
	p, err := paths()
	if err != nil {
		return nil, nil, err
	}
	sb, err := sandbox.New()
	if err != nil {
		return nil, nil, err
	}
	prompter := e.prompter
	var closer io.Closer
	if prompter == nil {
		var t *consent.Terminal
		t, closer = consent.OpenTerminal()
		prompter, e.talk = t, t
	}
	h, err := host.Open(ctx, host.Options{Paths: p, Sandbox: sb, Prompter: prompter, Version: Version, Log: slog.New(plainLog{e}), Elicit: e.elicit, Browse: e.browse, Progress: e.progress.tell, Chat: e.chatted})
	if err == nil {
		e.check = h.CheckAnswer
	}
	done := func() {
		if h != nil {
			_ = h.Close(context.WithoutCancel(ctx))
		}
		if closer != nil {
			_ = closer.Close()
		}
	}
	if err == nil {
		err = errors.Join(h.Problems()...)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return h, done, nil
}

// warn tells something that does not end the command, on standard error: a line of text, or a line of JSON.
func (e *env) warn(text string) {
	if e.json {
		_ = json.NewEncoder(e.err).Encode(map[string]string{"warning": text})
		return
	}
	fmt.Fprintf(e.err, "cordon: warning: %s\n", consent.Escape(text))
}

// plainLog is a slog.Handler that tells warnings in plain words. That the audit log cannot be written it leaves out: the
// command ends with that error.
type plainLog struct{ e *env }

// Enabled implements slog.Handler.
func (plainLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (p plainLog) Handle(_ context.Context, r slog.Record) error {
	text, told := r.Message, false
	r.Attrs(func(a slog.Attr) bool {
		err, _ := a.Value.Any().(error)
		told = told || errors.Is(err, audit.ErrUnusable)
		text += fmt.Sprintf(", %s: %v", a.Key, a.Value)
		return true
	})
	if !told {
		p.e.warn(text)
	}
	return nil
}

// WithAttrs implements slog.Handler; nothing here uses it.
func (p plainLog) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup implements slog.Handler; nothing here uses it.
func (p plainLog) WithGroup(string) slog.Handler { return p }

func newSecrets() *secret.Store { return secret.New(secret.Options{}) }

// rows breaks a line of text so that no terminal does it: the next row would look as if it began there. Letters that may be wide count as
// two columns.
func rows(text string, width int) (all []string) {
	row, used := 0, 0
	for i, r := range text {
		w := 1
		if r >= 0x300 {
			w = 2
		}
		if used += w; used > width {
			all, row, used = append(all, text[row:i]), i, w
		}
	}
	return append(all, text[row:])
}
