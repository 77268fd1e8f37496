package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cordon/host"
	"cordon/host/chat"
	"cordon/host/config"
	"cordon/host/consent"

	"github.com/spf13/cobra"
)

// What is kept: conversations and cases.

// withChats runs f on the conversations.
func (e *env) withChats(ctx context.Context, f func(c *chat.Engine) error) error {
	return e.withHost(ctx, func(_ *host.Host, c *chat.Engine) error { return f(c) })
}

func (e *env) withHost(ctx context.Context, f func(h *host.Host, c *chat.Engine) error) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	c, err := h.Chats()
	if err != nil {
		return err
	}
	return f(h, c)
}

func chatsCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "chats", Short: "List, search, export and delete conversations"})
	c.AddCommand(listChatsCommand(e), exportChatCommand(e), renameChatCommand(e), deleteChatCommand(e))
	return c
}

// listedChat is a conversation as it is listed.
type listedChat struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Case    string    `json:"case"` // its id
	Model   string    `json:"model"`
	Pinned  bool      `json:"pinned"`
	Changed time.Time `json:"changed"`
	Left    chat.Left `json:"left"`
	Snippet string    `json:"snippet,omitempty"`
}

func listChatsCommand(e *env) *cobra.Command {
	var find, inCase string
	c := &cobra.Command{Use: "list", Short: "List conversations, the pinned ones first, then those that changed last", Args: usage(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
		return e.withChats(c.Context(), func(en *chat.Engine) error {
			of := ""
			if inCase != "" {
				found, err := caseNamed(c.Context(), en.Store, inCase)
				if err != nil {
					return err
				}
				of = found.ID
			}
			var hits []chat.Hit
			var err error
			if find != "" {
				hits, err = en.Store.Search(c.Context(), of, find)
			} else {
				var all []chat.Conversation
				all, err = en.Store.Conversations(c.Context(), of)
				for _, c := range all {
					hits = append(hits, chat.Hit{Conversation: c})
				}
			}
			if err != nil {
				return err
			}
			rows := []listedChat{}
			for _, h := range hits {
				rows = append(rows, listedChat{h.ID, h.Title, h.Case, h.Model, h.Pinned, h.Changed, h.Left, h.Snippet})
			}
			return e.print(rows, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				for _, r := range rows {
					fmt.Fprintf(t, "%s\t%s\t%s\n", r.ID, r.Changed.UTC().Format("2006-01-02 15:04 UTC"), consent.Escape(cmp.Or(r.Title, "New conversation")))
					if r.Snippet != "" {
						fmt.Fprintf(t, "\t\t%s\n", consent.Escape(r.Snippet))
					}
				}
				_ = t.Flush()
				switch {
				case len(rows) == 0 && find != "":
					fmt.Fprintln(w, "Nothing is found.")
				case len(rows) == 0:
					fmt.Fprintln(w, "No conversations yet. Begin one with: cordon chat")
				}
			})
		})
	}}
	c.Flags().StringVar(&find, "find", "", "only those with these words")
	c.Flags().StringVar(&inCase, "case", "", "only those of a case")
	flag(c, "case", completeCases)
	return c
}

func exportChatCommand(e *env) *cobra.Command {
	var format, to string
	c := &cobra.Command{Use: "export ID", Short: "Print a conversation, or write it to a file",
		Long: `Markdown is for people: times in UTC, citations that lead to the results, indicators defanged. PDF is the same on
pages, with the case's marking on each. JSON is for programs and has everything as it was.`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: first(completeChats), RunE: func(c *cobra.Command, args []string) error {
			if format == "pdf" && to == "" {
				return usageError(c, "a PDF goes to a file: name it with -o")
			}
			return e.withChats(c.Context(), func(en *chat.Engine) error {
				x, err := en.Store.Export(c.Context(), args[0], Version)
				if err != nil {
					return fmt.Errorf("conversation %q: %w", args[0], err)
				}
				body, _, err := x.As(format)
				switch {
				case errors.Is(err, chat.ErrFormat):
					return usageError(c, "%w", err)
				case err != nil:
					return err
				}
				if to != "" {
					return config.WriteFile(to, body)
				}
				if format == "json" {
					return e.printJSON(body)
				}
				for line := range strings.Lines(string(body)) {
					if _, err := fmt.Fprintln(e.out, consent.Escape(strings.TrimSuffix(line, "\n"))); err != nil {
						return err
					}
				}
				return nil
			})
		}}
	c.Flags().StringVar(&format, "format", "markdown", "markdown, json or pdf")
	flag(c, "format", fixed("markdown", "json", "pdf"))
	c.Flags().StringVarP(&to, "output", "o", "", "file to write, readable for you only")
	return c
}

func renameChatCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "rename ID TITLE", Short: "Give a conversation another title", Args: usage(cobra.ExactArgs(2)), ValidArgsFunction: first(completeChats), RunE: func(c *cobra.Command, args []string) error {
		if strings.TrimSpace(args[1]) == "" {
			return usageError(c, "a conversation needs a title")
		}
		return e.withChats(c.Context(), func(en *chat.Engine) error {
			if err := en.Store.Change(c.Context(), args[0], func(c *chat.Conversation) error { c.Title = args[1]; return nil }); err != nil {
				return fmt.Errorf("conversation %q: %w", args[0], err)
			}
			return nil
		})
	}}
}

func deleteChatCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "delete ID...", Short: "Delete conversations; what the log says of their calls stays", Args: usage(cobra.MinimumNArgs(1)), ValidArgsFunction: completeChats, RunE: func(c *cobra.Command, args []string) error {
		return e.withChats(c.Context(), func(en *chat.Engine) error {
			var errs []error
			for _, id := range args {
				if err := en.Delete(c.Context(), id); err != nil {
					errs = append(errs, fmt.Errorf("conversation %q: %w", id, err))
				}
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			return e.print(map[string][]string{"deleted": args}, func(w io.Writer) { fmt.Fprintln(w, "Deleted.") })
		})
	}}
}

func casesCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "cases", Short: "Group conversations, and say which models may be asked in them and what they do not get"})
	c.AddCommand(listCasesCommand(e), setCaseCommand(e), removeCaseCommand(e))
	return c
}

func listCasesCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List cases", Args: usage(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
		return e.withChats(c.Context(), func(en *chat.Engine) error {
			all, err := en.Store.Cases(c.Context())
			if err != nil {
				return err
			}
			return e.print(append([]chat.Case{}, all...), func(w io.Writer) {
				for _, c := range all {
					writeCase(w, c)
				}
				if len(all) == 0 {
					fmt.Fprintln(w, "No cases yet. Make one with: cordon cases set NAME")
				}
			})
		})
	}}
}

// writeCase says on a line what a case is.
func writeCase(w io.Writer, c chat.Case) {
	fmt.Fprint(w, consent.Escape(c.Name))
	if c.Marking != "" {
		fmt.Fprintf(w, ", TLP:%s", strings.ToUpper(string(c.Marking)))
	}
	if c.Folder != "" {
		fmt.Fprintf(w, ", in %s", consent.Escape(c.Folder))
	}
	if len(c.Servers) > 0 {
		fmt.Fprintf(w, ", with %s", consent.Escape(strings.Join(c.Servers, ", ")))
	}
	if c.LocalOnly {
		fmt.Fprint(w, ", only models on this computer")
	}
	if len(c.Models) > 0 {
		fmt.Fprintf(w, ", only %s", consent.Escape(strings.Join(c.Models, ", ")))
	}
	switch c.Scope {
	case chat.ReadOnly:
		fmt.Fprint(w, ", calls may only read")
	case chat.AskAll:
		fmt.Fprint(w, ", you are asked before every call")
	}
	for _, l := range []struct {
		words string
		set   bool
		value any
	}{
		{"%d requests", c.Limits.Requests > 0, c.Limits.Requests}, {"%d calls", c.Limits.Calls > 0, c.Limits.Calls}, {"%d tokens", c.Limits.Tokens > 0, c.Limits.Tokens},
		{"$%g", c.Limits.Dollars > 0, c.Limits.Dollars}, {"%v", c.Limits.Time > 0, time.Duration(c.Limits.Time)},
	} {
		if l.set {
			fmt.Fprintf(w, ", at most "+l.words+" for a question", l.value)
		}
	}
	if len(c.Redact) > 0 {
		fmt.Fprintf(w, ", no model gets %s", consent.Escape(strings.Join(c.Redact, ", ")))
	}
	fmt.Fprintln(w)
}

func setCaseCommand(e *env) *cobra.Command {
	var v chat.Case
	var marking, scope string
	var most time.Duration
	var more []string
	c := &cobra.Command{Use: "set NAME", Short: "Make a case, or change what is given of it",
		Long: `Makes a case, or changes those of its rules that are given. Its notes are told to models. Words given with --redact are replaced before anything
leaves for a model, in questions, results and definitions of tools, and put back in what it answers.`,
		Example: `  cordon cases set INC-2041 --marking amber --redact Contoso --redact 'Erika Mustermann' --local-only`,
		Args:    usage(cobra.ExactArgs(1)), ValidArgsFunction: first(completeCases), RunE: func(c *cobra.Command, args []string) error {
			narrowed, err := chat.ParseScope(scope)
			if err != nil {
				return err
			}
			return e.withHost(c.Context(), func(h *host.Host, en *chat.Engine) error {
				now, err := caseNamed(c.Context(), en.Store, args[0])
				switch {
				case errors.Is(err, errNoCase):
					now = chat.Case{Name: args[0]}
				case err != nil: // a case that cannot be read is not made anew, without its rules
					return err
				}
				set := func(flag string, f func()) {
					if c.Flags().Changed(flag) {
						f()
					}
				}
				set("marking", func() { now.Marking = chat.Marking(marking) })
				set("folder", func() { now.Folder = v.Folder })
				set("server", func() { now.Servers = v.Servers })
				set("notes", func() { now.Notes = v.Notes })
				set("local-only", func() { now.LocalOnly = v.LocalOnly })
				set("model", func() { now.Models = v.Models })
				set("redact", func() {
					now.Redact = slices.DeleteFunc(v.Redact, func(w string) bool { return strings.TrimSpace(w) == "" })
				})
				for _, w := range more {
					if !slices.Contains(now.Redact, w) {
						now.Redact = append(now.Redact, w)
					}
				}
				for _, name := range v.Servers {
					if _, ok := h.Config().Server(name); !ok {
						return fmt.Errorf("there is no server %q; see: cordon servers list", name)
					}
				}
				for _, name := range v.Models {
					if _, ok := h.Config().Model(name); !ok {
						return fmt.Errorf("%w: %q; see: cordon models list", host.ErrNoModel, name)
					}
				}
				set("scope", func() { now.Scope = narrowed })
				set("max-requests", func() { now.Limits.Requests = v.Limits.Requests })
				set("max-time", func() { now.Limits.Time = config.Duration(most) })
				set("max-dollars", func() { now.Limits.Dollars = v.Limits.Dollars })
				set("max-calls", func() { now.Limits.Calls = v.Limits.Calls })
				id, err := en.Store.SetCase(c.Context(), now)
				if err != nil {
					return err
				}
				return e.print(map[string]string{"id": id, "name": now.Name}, func(w io.Writer) { writeCase(w, now) })
			})
		}}
	f := c.Flags()
	f.StringVar(&marking, "marking", "", "of the Traffic Light Protocol: clear, green, amber, amber+strict, red; empty for none")
	f.StringVar(&v.Notes, "notes", "", "what models are told of it")
	f.StringVar(&v.Folder, "folder", "", "where its files are, absolute; what a server may read of it is granted to that server")
	f.StringArrayVar(&v.Servers, "server", nil, "offer this server's tools only; may be repeated")
	f.BoolVar(&v.LocalOnly, "local-only", false, "ask only models on this computer")
	f.StringArrayVar(&v.Models, "model", nil, "ask only this model; may be repeated")
	f.StringArrayVar(&v.Redact, "redact", nil, "a word that no model gets; may be repeated; they take the place of those that there are, and an empty one ends them all")
	f.StringArrayVar(&more, "redact-also", nil, "one more such word")
	f.StringVar(&scope, "scope", "", scopeHelp)
	f.Float64Var(&v.Limits.Dollars, "max-dollars", 0, "what one question may cost; 0 for no limit")
	f.IntVar(&v.Limits.Calls, "max-calls", 0, "how many calls one question may have made; 0 for the usual limit")
	f.IntVar(&v.Limits.Requests, "max-requests", 0, "how often the model may be asked for one question; 0 for the usual limit")
	f.DurationVar(&most, "max-time", 0, "how long one question may take, such as 10m; 0 for the usual limit")
	flag(c, "scope", fixed("read", "ask", "usual"))
	flag(c, "marking", fixed("clear", "green", "amber", "amber+strict", "red"))
	flag(c, "server", completeServers)
	flag(c, "model", completeModels)
	_ = c.MarkFlagDirname("folder")
	return c
}

func removeCaseCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "remove NAME", Short: "Forget a case that has no conversations", Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: first(completeCases), RunE: func(c *cobra.Command, args []string) error {
		return e.withChats(c.Context(), func(en *chat.Engine) error {
			found, err := caseNamed(c.Context(), en.Store, args[0])
			if err != nil {
				return err
			}
			if err := en.Store.RemoveCase(c.Context(), found.ID); err != nil {
				return fmt.Errorf("case %q: %w", args[0], err)
			}
			return e.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintln(w, "It is forgotten.") })
		})
	}}
}
