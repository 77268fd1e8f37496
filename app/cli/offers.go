package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"cordon/host"
	"cordon/host/consent"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
)

// What servers offer besides tools, and what they work on without anybody waiting.

// completeFirst completes the first word with the names of servers.
func completeFirst(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return first(completeServers)(c, args, word)
}

// started opens the state, starts a server and gives f both.
func (e *env) started(ctx context.Context, name string, f func(*host.Host) error) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := e.loadSecrets(ctx, h, name); err != nil {
		return err
	}
	if err := h.Servers.Start(ctx, name); err != nil {
		return about(name, err)
	}
	return about(name, f(h))
}

// resource is what `resources --json` prints, of a template with its variables and without an address.
type resource struct {
	URI         string   `json:"uri,omitempty"`
	Template    string   `json:"template,omitempty"`
	Variables   []string `json:"variables,omitempty"`
	Name        string   `json:"name"`
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	MIME        string   `json:"mime,omitempty"`
	Size        int64    `json:"size"` // bytes, -1 if it does not say
}

func resourcesCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "resources SERVER", Short: "List what a server lets be read",
		Long: "Starts the server, or connects to it, and lists its resources, and templates of addresses: fill in what stands in {braces}. Read one with: cordon read SERVER URI",
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			return e.started(c.Context(), args[0], func(h *host.Host) error {
				listed, err := h.Resources(c.Context(), args[0])
				if err != nil {
					return err
				}
				all := []resource{}
				for _, r := range listed {
					x := resource{URI: r.URI, Template: r.Template, Name: r.Name, Title: r.Title, Description: r.Description, MIME: r.MIME, Size: r.Size}
					if r.Template != "" {
						x.Variables = server.Variables(r.Template)
					}
					all = append(all, x)
				}
				return e.print(all, func(w io.Writer) { printResources(w, args[0], all) })
			})
		}}
}

func printResources(w io.Writer, name string, all []resource) {
	if len(all) == 0 {
		fmt.Fprintf(w, "%s lists nothing that can be read.\n", name)
		return
	}
	for _, r := range all {
		size := ""
		if r.Size >= 0 {
			size = sandbox.Bytes(r.Size)
		}
		title := r.Title
		if title == "" {
			title = r.Name
		}
		fmt.Fprintf(w, "%s\n", consent.Escape(r.URI+r.Template))
		if about := strings.Join(strings.Fields(strings.Join([]string{consent.Escape(title), consent.Escape(r.MIME), size}, "  ")), " "); about != "" {
			fmt.Fprintf(w, "    %s\n", about)
		}
		if r.Description != "" {
			fmt.Fprintf(w, "    %s\n", consent.Escape(r.Description))
		}
	}
}

func readCommand(e *env) *cobra.Command {
	var output string
	var within time.Duration
	c := &cobra.Command{Use: "read SERVER URI", Short: "Read one resource of a server, through the gate",
		Long: `Starts the server, or connects to it, and reads a resource that it lists, or one of the form of its templates. It is judged like a call: reading flows on
reviewed servers, an address that goes to somebody else asks first. What is not text is written to a file with --output, or to a pipe; a terminal is not given it.`,
		Example: `  cordon read tracker memo://today
  cordon read tracker case://A-17/photo --output photo.png`,
		Args: usage(cobra.ExactArgs(2)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(deadline(c, within), moreThanNothing(c, "output")); err != nil {
				return err
			}
			return e.run(c.Context(), tool.Proposal{Kind: tool.ReadResource, Target: tool.ID{Server: args[0], Name: args[1]}, Within: within},
				func(r tool.Result) error { return e.printRead(r, output) })
		}}
	c.Flags().StringVarP(&output, "output", "o", "", "write what was read to this file")
	c.Flags().DurationVar(&within, "within", 0, "how long it may take, at most 10m (default 1m)")
	return c
}

// printRead writes what was read. With one part that is all that is written.
func (e *env) printRead(r tool.Result, output string) error {
	printFindings(e.err, r)
	one := len(r.Content) == 1
	switch {
	case output != "" && !one:
		return fmt.Errorf("it has %d parts, and none was written to %s; --json prints them", len(r.Content), output)
	case output != "":
		b := r.Content[0].Data
		if len(b) == 0 {
			b = []byte(r.Content[0].Text)
		}
		if err := replace(output, b); err != nil {
			return err
		}
		return e.print(map[string]any{"file": output, "bytes": len(b), "mime": r.Content[0].MIME}, func(w io.Writer) {
			fmt.Fprintf(w, "%s is in %s\n", sandbox.Bytes(int64(len(b))), output)
		})
	case e.json:
		return e.print(calledOf(r), nil)
	case one && len(r.Content[0].Data) > 0:
		if f, ok := e.out.(*os.File); ok && isTerminal(f) {
			return fmt.Errorf("it is no text (%s, %s), and a terminal is not given it; write it to a file with --output", r.Content[0].MIME, sandbox.Bytes(int64(len(r.Content[0].Data))))
		}
		_, err := e.out.Write(r.Content[0].Data)
		return err
	case one:
		textTo(e.out, "")(r.Content[0].Text)
		return nil
	}
	for _, c := range r.Content {
		printContent(e.out, textTo(e.out, ""), c)
		if len(c.Data) > 0 {
			fmt.Fprintln(e.err, "  what is not text of several parts is printed by --json only")
		}
	}
	return nil
}

// offered is what `prompts --json` prints.
type offered struct {
	Name        string           `json:"name"`
	Title       string           `json:"title,omitempty"`
	Description string           `json:"description"`
	Arguments   []promptArgument `json:"arguments"`
}

type promptArgument struct {
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required"`
}

func promptOf(t tool.Tool) offered {
	var def struct {
		Arguments []promptArgument `json:"arguments"`
	}
	_ = json.Unmarshal(t.Definition, &def) // the host has read it
	if def.Arguments == nil {
		def.Arguments = []promptArgument{}
	}
	return offered{Name: t.ID.Name, Title: t.Title, Description: t.Description, Arguments: def.Arguments}
}

func promptsCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "prompts SERVER", Short: "List the prompts that a server offers",
		Long: "Starts the server, or connects to it, and lists its prompts with their arguments. Fetch one with: cordon prompt SERVER NAME [KEY=VALUE]...",
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			return e.started(c.Context(), args[0], func(h *host.Host) error {
				v, err := h.Servers.View(args[0])
				if err != nil {
					return err
				}
				all := []offered{}
				for _, p := range v.Prompts {
					all = append(all, promptOf(p))
				}
				return e.print(all, func(w io.Writer) {
					if len(all) == 0 {
						fmt.Fprintf(w, "%s offers no prompts.\n", args[0])
					}
					for _, p := range all {
						printPrompt(w, "", p)
					}
				})
			})
		}}
}

func printPrompt(w io.Writer, indent string, p offered) {
	line := indent + consent.Escape(p.Name)
	for _, a := range p.Arguments {
		word := consent.Escape(a.Name) + "=…"
		if !a.Required {
			word = "[" + word + "]"
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
	for _, text := range []string{p.Title, p.Description} {
		if text != "" {
			fmt.Fprintf(w, "%s    %s\n", indent, consent.Escape(text))
		}
	}
	for _, a := range p.Arguments {
		if text := strings.TrimSpace(a.Title + " " + a.Description); text != "" {
			fmt.Fprintf(w, "%s    %s: %s\n", indent, consent.Escape(a.Name), consent.Escape(text))
		}
	}
}

func promptCommand(e *env) *cobra.Command {
	var within time.Duration
	c := &cobra.Command{Use: "prompt SERVER NAME [KEY=VALUE]...", Short: "Fetch one prompt of a server, through the gate",
		Long:    "Starts the server, or connects to it, and fetches a prompt, filled in with the values given. Its messages are printed with whose words they are to be; each line of them is indented.",
		Example: `  cordon prompt tracker triage case=A-1047 tone=short`,
		Args:    usage(cobra.MinimumNArgs(2)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			if err := deadline(c, within); err != nil {
				return err
			}
			values := map[string]string{}
			for _, s := range args[2:] {
				key, value, ok := strings.Cut(s, "=")
				if _, twice := values[key]; !ok || key == "" || twice {
					return usageError(c, "%q: write KEY=VALUE, each key once", s)
				}
				values[key] = value
			}
			filled, err := json.Marshal(values)
			if err != nil {
				return usageError(c, "a value is not text")
			}
			return e.run(c.Context(), tool.Proposal{Kind: tool.GetPrompt, Target: tool.ID{Server: args[0], Name: args[1]}, Args: filled, Within: within}, func(r tool.Result) error {
				return e.print(calledOf(r), func(w io.Writer) {
					for _, c := range r.Content {
						fmt.Fprintf(w, "%s:\n", consent.Escape(c.Role))
						printContent(w, textTo(w, "  "), c)
					}
					printFindings(e.err, r)
				})
			})
		}}
	c.Flags().DurationVar(&within, "within", 0, "how long it may take, at most 10m (default 1m)")
	return c
}

func tasksCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "tasks", Short: "List what servers still work on, fetch it or give it up",
		Long: `A server may go on with a call that nobody waits for any more. This lists such calls; get waits for the result of one and prints it
as cordon call does, cancel gives it up.`})
	c.RunE = func(c *cobra.Command, _ []string) error { return e.tasks(c.Context()) }
	var within time.Duration
	get := &cobra.Command{Use: "get SERVER ID", Short: "Wait for the result of a task and print it", Args: usage(cobra.ExactArgs(2)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			if err := deadline(c, within); err != nil {
				return err
			}
			return e.task(c.Context(), args[0], args[1], func(h *host.Host, k server.Task) error {
				id, err := json.Marshal(map[string]string{"taskId": k.ID})
				if err != nil {
					return err
				}
				return e.runIn(c.Context(), h, tool.Proposal{Kind: tool.FetchTask, Target: tool.ID{Server: k.Server, Name: k.Tool}, Args: id, Within: within}, e.printCalled)
			})
		}}
	get.Flags().DurationVar(&within, "within", 0, "how long to wait, at most 10m (default 1m)")
	cancel := &cobra.Command{Use: "cancel SERVER ID", Short: "Give up a task", Args: usage(cobra.ExactArgs(2)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			return e.task(c.Context(), args[0], args[1], func(h *host.Host, k server.Task) error {
				if err := e.loadSecrets(c.Context(), h, k.Server); err != nil {
					return err
				}
				if err := h.CancelTask(c.Context(), k.Server, k.ID); err != nil {
					return about(k.Server, err)
				}
				return e.print(map[string]string{"server": k.Server, "cancelled": k.ID}, func(w io.Writer) { fmt.Fprintf(w, "%s was told that nobody wants it any more.\n", k.Server) })
			})
		}}
	c.AddCommand(get, cancel)
	return c
}

func (e *env) tasks(ctx context.Context) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	all := append([]server.Task{}, h.Tasks()...)
	return e.print(all, func(w io.Writer) {
		if len(all) == 0 {
			fmt.Fprintln(w, "No server works on anything that nobody waits for.")
			return
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "SERVER\tTOOL\tBEGAN\tKEPT UNTIL\tID")
		for _, k := range all {
			ends := "it does not say"
			if !k.Ends.IsZero() {
				ends = k.Ends.UTC().Format("2006-01-02 15:04:05Z")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.Server, consent.Escape(k.Tool), k.Began.UTC().Format("2006-01-02 15:04:05Z"), ends, consent.Escape(k.ID))
		}
		t.Flush()
	})
}

// task finds a task and gives it to f.
func (e *env) task(ctx context.Context, name, id string, f func(*host.Host, server.Task) error) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, k := range h.Tasks() {
		if k.Server == name && (k.ID == id || consent.Escape(k.ID) == id) {
			return f(h, k)
		}
	}
	return fmt.Errorf("%s works on no task %q; see what there is with: cordon tasks", name, id)
}
