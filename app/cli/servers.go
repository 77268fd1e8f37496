package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/pin"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/spf13/cobra"
)

func serversCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "servers", Short: "Define, review and remove servers"})
	c.AddCommand(addCommand(e), installCommand(e), grantCommand(e, true), grantCommand(e, false), listCommand(e), showCommand(e), removeCommand(e), reviewCommand(e), signInCommand(e), signOutCommand(e), openCommand(e), samplingCommand(e), limitCommand(e))
	return c
}

func addCommand(e *env) *cobra.Command {
	d, far := newDefinition(), new(remoteDefinition)
	c := &cobra.Command{
		Use:   "add NAME [flags] -- PROGRAM [ARGUMENT]... | NAME --url ADDRESS [flags]",
		Short: "Define a server by its command, or a remote one by its address",
		Long: `Defines a server by its command, which must be there: an absolute path, or a name in ` + strings.Join(sandbox.Path, ", ") + `.
It is granted nothing but what the flags name, and does not run before you have reviewed it.

With --url it defines a server on another computer: nothing is started here, and nothing of this computer is granted. You sign in to it with
cordon servers sign-in, or give a key with --key, or a client's id and secret with --login. No flag takes a secret itself: it is read without
echo from the terminal, or from standard input, and kept in the keyring.`,
		Example: `  cordon servers add files --read ~/case -- /opt/files-server ~/case
  cordon servers add lookup --env REGION=eu --net loopback -- node /opt/lookup/index.js
  cordon servers add tracker --url https://mcp.tracker.example/mcp
  cordon servers add intel --url https://intel.example/mcp --header X-Api-Key --key
  cordon servers add feeds --url https://feeds.example/mcp --login client-credentials --issuer https://login.example --client-id soc --client-secret <secret.txt`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("url") {
				switch err := alone(c, "url", slices.Concat(granting, programs)...); {
				case err != nil:
					return err
				case len(args) > 1:
					return usageError(c, "a server with --url has no program, and no flag takes a secret")
				}
				return e.addRemote(c, far, args[0], d.def.Title)
			}
			for _, name := range elsewhere {
				if c.Flags().Changed(name) {
					return usageError(c, "--%s is for remote servers, and needs --url", name)
				}
			}
			if len(args) < 2 {
				return usageError(c, "name the program after --, or a remote server with --url")
			}
			def, err := d.read(c)
			if err != nil {
				return err
			}
			def.Name, def.Command, def.Source = args[0], args[1:], "command"
			// The window defines a server whose program is missing all the same, and shows at once why it does not run. Here
			// nothing starts it, so a slip would show only later.
			if _, err := server.Program(def.Command[0]); err != nil {
				return fmt.Errorf("%s was not added: %w; give its absolute path, or a name in %s", def.Name, err, strings.Join(sandbox.Path, ", "))
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := h.AddServer(def); err != nil {
				return err
			}
			return e.print(def, func(w io.Writer) {
				fmt.Fprintf(w, "%s is defined. Review its tools with: cordon servers review %s\n", def.Name, def.Name)
			})
		},
	}
	d.flags(c.Flags())
	far.flags(c.Flags())
	secretsOff(c)
	return c
}

// listed is one server as `servers list` prints it.
type listed struct {
	config.Server
	Pin string `json:"pin"` // new, pinned, unreadable
	At  string `json:"pinnedAt,omitempty"`
}

// definitions reads the configuration without owning it, so that it works while the window is open.
func definitions() (config.Config, *pin.Store, error) {
	p, err := paths()
	if err != nil {
		return config.Config{}, nil, err
	}
	conf, err := config.Load(p)
	if err != nil {
		return conf, nil, err
	}
	pins, err := pin.Open(p.State + "/pins")
	return conf, pins, err
}

func describe(s config.Server, pins *pin.Store) listed {
	l := listed{Server: s, Pin: "new"}
	switch _, at, err := pins.Approved(s.Name); {
	case errors.Is(err, fs.ErrNotExist): // never approved
	case err != nil:
		l.Pin = "unreadable"
	default:
		l.Pin, l.At = "pinned", at.Format("2006-01-02T15:04:05Z")
	}
	return l
}

func listCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the defined servers", Args: usage(cobra.NoArgs), RunE: func(*cobra.Command, []string) error {
		conf, pins, err := definitions()
		if err != nil {
			return err
		}
		all := []listed{}
		for _, s := range conf.Servers {
			all = append(all, describe(s, pins))
		}
		return e.print(all, func(w io.Writer) {
			if len(all) == 0 {
				fmt.Fprintln(w, "No servers yet. Add one with: cordon servers add NAME -- PROGRAM, or NAME --url ADDRESS")
				return
			}
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tVERSION\tPIN\tNETWORK\tCOMMAND OR ADDRESS")
			for _, s := range all {
				net, what := s.Net, strings.Join(s.Command, " ")
				if s.Remote() {
					net, what = "remote", s.URL
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.Version, s.Pin, net, consent.Escape(what))
			}
			t.Flush()
		})
	}}
}

func showCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show one server's definition", Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeServers, RunE: func(_ *cobra.Command, args []string) error {
		conf, pins, err := definitions()
		if err != nil {
			return err
		}
		s, ok := conf.Server(args[0])
		if !ok {
			return fmt.Errorf("no such server: %q", args[0])
		}
		l := describe(s, pins)
		return e.print(l, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			row := func(k, v string) {
				if v != "" {
					fmt.Fprintf(t, "%s\t%s\n", k, consent.Escape(v))
				}
			}
			row("name", s.Name)
			row("title", s.Title)
			row("source", strings.TrimSpace(s.Source+" "+s.Version))
			if s.Remote() {
				remoteRows(s, row)
			} else {
				programRows(s, row)
			}
			limitRows(s, row)
			row("pin", strings.TrimSpace(l.Pin+" "+l.At))
			t.Flush()
		})
	}}
}

// programRows says what a server's program is and is granted.
func programRows(s config.Server, row func(k, v string)) {
	row("command", strings.Join(s.Command, " "))
	row("installed in", s.Dir)
	row("may read", strings.Join(s.Read, ", "))
	row("may write", strings.Join(s.Write, ", "))
	row("network", s.Net)
	row("may reach", strings.Join(s.Hosts, ", "))
	row("may reach, in private networks", strings.Join(s.Private, ", "))
	row("ports of this computer", sandbox.Ports(s.Reach))
	row("serves ports", sandbox.Ports(s.Serve))
	row("memory", sandbox.Bytes(s.Memory))
	row("tasks", fmt.Sprint(s.Pids))
	if s.CPU > 0 {
		row("processor", fmt.Sprintf("%g cores", s.CPU))
	}
	if s.Idle > 0 {
		row("sleeps", fmt.Sprintf("after %s without a call", s.Idle))
	}
	row("preset", s.Preset)
	for _, g := range s.Demand {
		row("demands", string(g))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		row("variable", k+"="+s.Env[k])
	}
	for _, k := range slices.Sorted(maps.Keys(s.Secrets)) {
		row("secret", k+" from keyring entry "+s.Secrets[k])
	}
}

// remoteRows says where a remote server is and how Cordon identifies itself to it.
func remoteRows(s config.Server, row func(k, v string)) {
	row("address", s.URL)
	row("may be in private networks", strings.Join(s.Private, ", "))
	for _, k := range slices.Sorted(maps.Keys(s.Headers)) {
		row("header", k+": "+s.Headers[k])
	}
	for _, k := range slices.Sorted(maps.Keys(s.Secrets)) {
		switch k {
		case config.LoginSecret, config.LoginToken:
			row("login secret", "from keyring entry "+s.Secrets[k])
		default:
			row("header", k+" from keyring entry "+s.Secrets[k])
		}
	}
	login := s.Login.Kind
	if login == config.LoginBrowser {
		login = "in the browser, if it wants to know who calls"
	}
	row("login", login)
	row("client id", s.Login.ClientID)
	row("issuer", s.Login.Issuer)
	row("scopes", strings.Join(s.Login.Scopes, ", "))
	if s.Open {
		row("open", "it may serve whoever calls")
	}
}

func completeServers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	conf, _, err := definitions()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range conf.Servers {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func removeCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "remove NAME", Short: "Forget a server, its approval and its secrets", Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeServers, RunE: func(c *cobra.Command, args []string) error {
		h, done, err := e.open(c.Context())
		if err != nil {
			return err
		}
		defer done()
		if err := h.RemoveServer(c.Context(), args[0]); err != nil {
			return err
		}
		return e.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is removed.\n", args[0]) })
	}}
}

// reviewed is what `servers review --json` prints.
type reviewed struct {
	Server   string                    `json:"server"`
	Digest   string                    `json:"digest"`
	First    bool                      `json:"first"`
	Command  []string                  `json:"command"`
	Binary   string                    `json:"binary"`
	Tools    []reviewedTool            `json:"tools"`
	Prompts  []offered                 `json:"prompts"`
	Changes  []pin.Change              `json:"changes"`
	Findings map[string][]tool.Finding `json:"findings"` // by tool

	PromptFindings map[string][]tool.Finding `json:"promptFindings"`

	Report   sandbox.Report `json:"sandbox"` // of a remote server its tier is "remote", and nothing is confined
	Approved bool           `json:"approved"`

	Instructions string   `json:"instructions"`
	Refused      []string `json:"refused"`            // listed and not offered, and why
	Without      []string `json:"without"`            // what it was started without until it is approved
	Covered      []string `json:"covered"`            // files and folders
	NotCovered   []string `json:"notCovered"`         // what its command names besides
	Unlisted     string   `json:"unlisted,omitempty"` // why it names no tools without them; then only its program is approved
}

type reviewedTool struct {
	Name        string `json:"name"`
	Effect      string `json:"effect"`
	EffectBy    string `json:"effectBy"`
	Description string `json:"description"`
}

func reviewCommand(e *env) *cobra.Command {
	var approve string
	c := &cobra.Command{
		Use:   "review NAME",
		Short: "Show what a server offers or what changed, and approve it",
		Long: `Starts the server in its sandbox, or connects to it, and shows what it offers, or what has changed since it was approved.
Approval is asked for on the terminal. --approve DIGEST approves without a question, and only if the server is still
exactly what was shown under that digest.`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			if b, err := hex.DecodeString(approve); err != nil || approve != "" && len(b) != len(tool.Digest{}) {
				return usageError(c, "--approve %q is not a digest; the review prints it", approve)
			}
			return e.review(c.Context(), args[0], approve)
		},
	}
	c.Flags().StringVar(&approve, "approve", "", "approve what was shown under this digest")
	return c
}

func (e *env) review(ctx context.Context, name, approve string) error {
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := e.loadSecrets(ctx, h, name); err != nil {
		return err
	}
	started := h.Servers.Start(ctx, name)
	r, err := h.Review(ctx, name) // also of a server that does not start before its program is approved
	if started != nil && (err != nil || r.Unlisted == nil) {
		return about(name, started)
	}
	if err != nil {
		return about(name, err)
	}
	v, err := h.Servers.View(name)
	if err != nil {
		return err
	}
	out := reviewed{Server: name, Digest: r.Digest.String(), First: r.First, Command: r.Fingerprint.Command, Binary: r.Fingerprint.BinaryPath, Changes: r.Changes, Findings: r.Findings, Report: v.Report, Tools: []reviewedTool{}, Prompts: []offered{}, PromptFindings: r.PromptFindings,
		Instructions: r.Fingerprint.Instructions, Refused: r.Refused, Without: r.Without, Covered: r.Covered, NotCovered: r.NotCovered}
	if r.Unlisted != nil {
		out.Unlisted = r.Unlisted.Error()
	}
	for _, t := range r.Tools {
		out.Tools = append(out.Tools, reviewedTool{t.ID.Name, t.Effect.String(), t.EffectBy, t.Description})
	}
	for _, p := range r.Prompts {
		out.Prompts = append(out.Prompts, promptOf(p))
	}
	unchanged := !r.First && len(r.Changes) == 0
	switch {
	case unchanged:
		out.Approved = true
	case approve != "":
		if approve != r.Digest.String() {
			return fmt.Errorf("%s is not what was shown under that digest; review it again", name)
		}
		if err := h.Approve(ctx, name, r.Digest); err != nil {
			return err
		}
		out.Approved = true
	}
	if e.json {
		return e.print(out, nil)
	}
	printReview(e.out, r, out)
	switch {
	case unchanged:
		fmt.Fprintln(e.out, "Nothing has changed since it was approved.")
		return nil
	case out.Approved:
		return e.sayApproved(r)
	}
	question := approval(len(r.Tools), len(r.Prompts))
	if r.Unlisted != nil {
		question = "Approve this program, and review its tools afterwards? Type yes: "
	}
	if !e.confirm(question) {
		fmt.Fprintln(e.out, "Not approved. Its tools stay closed.")
		return &exitError{exitDenied, nil}
	}
	if err := h.Approve(ctx, name, r.Digest); err != nil {
		return err
	}
	return e.sayApproved(r)
}

// approval asks about what a server offers.
func approval(tools, prompts int) string {
	switch {
	case prompts > 0 && tools > 0:
		return fmt.Sprintf("Approve the tools (%d) and prompts (%d)? Type yes: ", tools, prompts)
	case prompts > 0:
		return fmt.Sprintf("Approve the prompts (%d)? Type yes: ", prompts)
	case tools == 1:
		return "Approve this tool? Type yes: "
	}
	return fmt.Sprintf("Approve these %d tools? Type yes: ", tools)
}

func (e *env) sayApproved(r host.Review) error {
	if r.Unlisted != nil {
		fmt.Fprintf(e.out, "Its program is approved. Now review its tools: cordon servers review %s\n", r.Server)
		return nil
	}
	fmt.Fprintln(e.out, "Approved.")
	return nil
}

func printReview(w io.Writer, r host.Review, out reviewed) {
	remote := out.Report.Tier == server.TierRemote
	if remote {
		fmt.Fprintf(w, "%s, on another computer: what it does there cannot be confined or covered\n  address  %s\n  digest   %s\n", r.Server, consent.Escape(out.Binary), out.Digest)
	} else {
		n, of := out.Report.Count()
		fmt.Fprintf(w, "%s, confined: %s %d/%d\n", r.Server, out.Report.Tier, n, of)
		fmt.Fprintf(w, "  command  %s\n  program  %s\n  digest   %s\n", consent.Escape(strings.Join(out.Command, " ")), consent.Escape(out.Binary), out.Digest)
	}
	for _, path := range r.Covered {
		fmt.Fprintf(w, "  covered  %s\n", consent.Escape(path))
	}
	for _, path := range r.NotCovered {
		fmt.Fprintf(w, "  NOT      %s: what is in it can change unnoticed\n", consent.Escape(path))
	}
	if !r.Installed && !remote {
		fmt.Fprintln(w, "           what the covered files load from elsewhere can change unnoticed")
	}
	if len(out.Without) > 0 {
		fmt.Fprintf(w, "  without  %s, until it is approved\n", strings.Join(out.Without, ", "))
	}
	if out.Unlisted != "" {
		fmt.Fprintf(w, "  It does not name its tools without them: %s\n", consent.Escape(out.Unlisted))
	}
	for _, c := range r.Changes {
		fmt.Fprintf(w, "  %s: %s\n", c.Kind, consent.Escape(c.What))
		for _, l := range pin.Diff(c.Old, c.New) {
			if l.Sign != ' ' {
				fmt.Fprintf(w, "    %c %s\n", l.Sign, consent.Escape(l.Text))
			}
		}
	}
	if out.Instructions != "" {
		fmt.Fprintf(w, "  instructions\n                %s\n", consent.Escape(out.Instructions))
	}
	for _, text := range out.Refused {
		fmt.Fprintf(w, "  not offered   %s\n", consent.Escape(text))
	}
	for _, t := range out.Tools {
		fmt.Fprintf(w, "  %-13s %s\n                %s\n", t.Effect, consent.Escape(t.Name), consent.Escape(t.Description))
		for _, f := range out.Findings[t.Name] {
			fmt.Fprintf(w, "                %s: %s\n", f.Rule, consent.Escape(f.Text))
		}
	}
	for _, p := range out.Prompts {
		fmt.Fprintln(w, "  prompt")
		printPrompt(w, "                ", p)
		for _, f := range out.PromptFindings[p.Name] {
			fmt.Fprintf(w, "                %s: %s\n", f.Rule, consent.Escape(f.Text))
		}
	}
}

// confirm reads one line from the terminal; only "yes" is yes. Without a terminal the answer is no.
func (e *env) confirm(question string) bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	fmt.Fprint(tty, question)
	var line string
	_, err = fmt.Fscanln(tty, &line)
	return err == nil && line == "yes"
}
