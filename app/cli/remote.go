package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"cordon/app/browser"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/host/oauth"
	"cordon/host/secret"
	"cordon/host/server"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Remote servers: defining one, signing in and out.

// programs are the flags of `servers add` that are about a program, besides granting.
var programs = []string{"env", "profile", "case", "idle"}

// elsewhere are the flags of `servers add` that are about a remote server.
var elsewhere = []string{"header", "key", "client-id", "client-secret", "login", "issuer", "scope", "private", "open"}

// remoteDefinition is what the flags say of a remote server.
type remoteDefinition struct {
	def         config.Server
	header      string
	key, secret given
	url, login  string
}

// given is a flag that takes no value: a secret on the command line would be in the shell's history and the list of processes.
type given bool

// String implements pflag.Value.
func (g *given) String() string { return fmt.Sprint(bool(*g)) }

// Set implements pflag.Value.
func (g *given) Set(s string) error {
	if s != "true" { // what pflag sets when no value is written
		return errors.New("it takes no value")
	}
	*g = true
	return nil
}

// Type implements pflag.Value.
func (g *given) Type() string { return "bool" }

func (d *remoteDefinition) flags(f *pflag.FlagSet) {
	f.StringVar(&d.url, "url", "", "address of a remote server: https, or http on this computer")
	f.StringVar(&d.header, "header", "Authorization", "the header that the key goes into")
	f.Var(&d.key, "key", "send a key with each request; it is read from the terminal or standard input")
	f.StringVar(&d.def.Login.ClientID, "client-id", "", "with which Cordon is registered at its authorization server")
	f.Var(&d.secret, "client-secret", "read the client's secret, or what --login needs, from the terminal or standard input")
	f.StringVar(&d.login, "login", "", "identify without a person: "+strings.Join([]string{config.LoginClientSecret, config.LoginPrivateKey, config.LoginWorkload}, ", "))
	f.StringVar(&d.def.Login.Issuer, "issuer", "", "the only authorization server that is used")
	f.StringArrayVar(&d.def.Login.Scopes, "scope", nil, "ask for this scope besides those that the server names")
	f.StringArrayVar(&d.def.Private, "private", nil, "let it be at this host in a private network: HOST:PORT")
	f.BoolVar(&d.def.Open, "open", false, "it may serve whoever calls, without asking who that is")
	f.Lookup("key").NoOptDefVal, f.Lookup("client-secret").NoOptDefVal = "true", "true"
}

// secretsOff keeps what somebody wrote after a flag for secrets out of the message that refuses it.
func secretsOff(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		var bad *pflag.InvalidValueError
		if errors.As(err, &bad) && (bad.GetFlag().Name == "key" || bad.GetFlag().Name == "client-secret") {
			return usageError(c, "--%s takes no value: it is read from the terminal or standard input; what was written here may be in your shell's history", bad.GetFlag().Name)
		}
		return usageError(c, "%w", err)
	})
}

// read returns the definition once c's flags are parsed.
func (d *remoteDefinition) read(c *cobra.Command, name string) (config.Server, error) {
	def := d.def
	u, err := url.Parse(d.url)
	if err != nil {
		return def, usageError(c, "--url: that is no address")
	}
	switch {
	case strings.ContainsAny(d.header, ": =") || d.header == "":
		return def, usageError(c, "--header takes the name of a header and nothing else; its value is read by --key")
	case c.Flags().Changed("header") && !bool(d.key):
		return def, usageError(c, "--header names where a key goes: add --key, which reads it")
	case d.login == config.LoginEnterprise:
		return def, usageError(c, "--login %s needs more than flags say: write it into the configuration, under login", d.login)
	case d.login != "" && (def.Login.ClientID == "" || !bool(d.secret)):
		return def, usageError(c, "--login %s needs --client-id and --client-secret", d.login)
	case bool(d.secret) && def.Login.ClientID == "":
		return def, usageError(c, "--client-secret belongs to --client-id")
	case bool(d.secret) && def.Login.Issuer == "" && d.login != config.LoginPrivateKey:
		return def, usageError(c, "--client-secret needs --issuer: without it the server would choose who gets the secret")
	}
	def.Name, def.Source, def.URL, def.Net, def.Login.Kind = name, "url", u.String(), config.NetNone, d.login
	p, err := paths()
	if err == nil {
		err = def.Validate(p)
	}
	return def, err
}

// ask reads the secrets that the flags named.
func (d *remoteDefinition) ask(ctx context.Context, e *env, name string) (refs []secret.Ref, values []secret.Value, err error) {
	if bool(d.key) && bool(d.secret) && !e.typed() {
		return nil, nil, &exitError{exitUsage, errors.New("--key and --client-secret are read one after the other, which needs a terminal; set one of them afterwards with: cordon secrets set")}
	}
	read := func(what string, ref secret.Ref) {
		if err != nil {
			return
		}
		var v secret.Value
		if v, err = e.readSecret(ctx, what); err == nil {
			refs, values = append(refs, ref), append(values, v)
		}
	}
	if d.key {
		read("Key for "+d.header, secret.Ref{Name: "key", Server: name, Env: d.header})
	}
	if d.secret {
		read("Secret of "+consent.Escape(d.def.Login.ClientID), secret.Ref{Name: "login", Server: name, Env: config.LoginSecret})
	}
	return refs, values, err
}

// addRemote defines a remote server with its secrets, or nothing.
func (e *env) addRemote(c *cobra.Command, d *remoteDefinition, name, title string) error {
	d.def.Title = title
	def, err := d.read(c, name)
	if err != nil {
		return err
	}
	ctx := c.Context()
	refs, values, err := d.ask(ctx, e, name)
	if err != nil {
		return err
	}
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := h.AddServer(def); err != nil {
		return err
	}
	for i, ref := range refs {
		if err := h.SetSecret(ctx, ref, values[i]); err != nil {
			undone := h.RemoveServer(context.WithoutCancel(ctx), name)
			if _, there := h.Config().Server(name); there {
				return errors.Join(err, undone)
			}
			return fmt.Errorf("%s was not added: %w", name, err)
		}
	}
	def, _ = h.Config().Server(name)
	return e.print(def, func(w io.Writer) {
		fmt.Fprintf(w, "%s is defined. Review what it offers with: cordon servers review %s\n", name, name)
	})
}

// typed reports whether somebody types what is read.
func (e *env) typed() bool {
	fd, ok := e.terminal()
	return ok && term.IsTerminal(fd)
}

func signInCommand(e *env) *cobra.Command {
	var show bool
	var scopes []string
	c := &cobra.Command{
		Use:   "sign-in NAME",
		Short: "Sign in to a remote server, in the browser",
		Long: `Shows the page on which you sign in, with its host and its whole address, and opens it in your browser once you have said
yes. When you have signed in there, the page leads back to this computer, where this command waits for it; Ctrl-C ends it. How you
are signed in is kept in the keyring.

--print opens nothing: open the address yourself, in a browser on this computer. With --json, the address is one JSON document and the
outcome another.`,
		Example: `  cordon servers sign-in tracker`,
		Args:    usage(cobra.ExactArgs(1)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error { return e.signIn(c.Context(), args[0], scopes, show) },
	}
	c.Flags().StringArrayVar(&scopes, "scope", nil, "ask for this scope too, now and later")
	c.Flags().BoolVar(&show, "print", false, "print the address and open nothing")
	return c
}

// signedIn is what `servers sign-in --json` prints at its end.
type signedIn struct {
	Server  string   `json:"server"`
	Issuer  string   `json:"issuer"`
	Scopes  []string `json:"scopes"`
	Expires string   `json:"expires,omitempty"`
}

func (e *env) signIn(ctx context.Context, name string, scopes []string, show bool) error {
	e.browse = func(ctx context.Context, name, address string) error { return e.showPage(ctx, name, address, show) }
	h, done, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := e.loadSecrets(ctx, h, name); err != nil {
		return err
	}
	if def, ok := h.Config().Server(name); ok && def.Remote() {
		had := len(def.Login.Scopes)
		for _, s := range scopes {
			if !slices.Contains(def.Login.Scopes, s) {
				def.Login.Scopes = append(slices.Clip(def.Login.Scopes), s)
			}
		}
		if len(def.Login.Scopes) > had {
			if err := h.ChangeRemote(ctx, def); err != nil {
				return err
			}
		}
		// It is called first: what it wants to be signed in for, it says then.
		if err := h.Servers.Start(ctx, name); errors.Is(err, server.ErrNameless) || errors.Is(err, oauth.ErrNoPerson) {
			return about(name, err)
		}
	}
	if err := h.Servers.SignIn(ctx, name); err != nil {
		if ctx.Err() != nil {
			return errors.New("it was cancelled; nobody signed in")
		}
		return about(name, err)
	}
	v, err := h.Servers.View(name)
	if err != nil {
		return err
	}
	out := signedIn{Server: name, Scopes: []string{}}
	if st := v.Login; st != nil {
		out.Issuer, out.Scopes = st.Issuer, append(out.Scopes, st.Scopes...)
		if !st.Expires.IsZero() {
			out.Expires = st.Expires.UTC().Format("2006-01-02T15:04:05Z")
		}
	}
	return e.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "You are signed in to %s, by %s.\n", name, consent.Escape(out.Issuer))
		if len(out.Scopes) > 0 {
			fmt.Fprintf(w, "It was given: %s\n", consent.Escape(strings.Join(out.Scopes, ", ")))
		}
	})
}

// showPage shows where one signs in to a server, and opens that once the person has said yes, or leaves opening it to them.
func (e *env) showPage(ctx context.Context, name, address string, show bool) error {
	q, err := elicit.Page(name, fmt.Sprintf("You sign in to %s on the page of the host below. When you have, the page leads back to Cordon.", name), address)
	if err != nil {
		return err
	}
	if show {
		return e.print(map[string]string{"server": name, "host": q.Host, "address": q.URL}, func(w io.Writer) {
			fmt.Fprintf(w, "Sign in to %s on this page, in a browser on this computer; Ctrl-C ends the waiting.\n  host     %s\n  address  %s\n", name, q.Host, q.URL)
		})
	}
	a, err := e.asked(ctx, q)
	switch {
	case errors.Is(err, consent.ErrNoTerminal):
		return errors.New("there is no terminal to ask at; --print shows the address instead")
	case err != nil:
		return err
	case a.Action != elicit.Accept:
		return errors.New("you did not want the page opened")
	}
	fmt.Fprintln(e.err, "The page is open in your browser. Waiting for you to sign in there; Ctrl-C ends it.")
	return nil
}

// openPage opens the page of a question that was accepted.
func openPage(q elicit.Question) error { return browser.Open(q.URL, q.SignIn) }

func signOutCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "sign-out NAME", Short: "Forget how you are signed in to a remote server, and tell it so", Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeFirst, RunE: func(c *cobra.Command, args []string) error {
		h, done, err := e.open(c.Context())
		if err != nil {
			return err
		}
		defer done()
		if def, ok := h.Config().Server(args[0]); ok && !def.Remote() {
			return fmt.Errorf("%s runs on this computer: nobody signs in to it", args[0])
		}
		if err := h.Servers.SignOut(c.Context(), args[0]); err != nil {
			return err
		}
		return e.print(map[string]string{"signedOut": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "You are signed out of %s.\n", args[0]) })
	}}
}

// openMeans is what somebody is told before a server may serve whoever calls. The window says the same.
const openMeans = `%s may serve whoever calls: everybody who knows its address may call it, and nobody vouches for who runs it.
Cordon then connects without saying who you are. You still review what it offers, and its calls still go through the gate. Allow it
only if you know this server and it is meant to be open.
`

func openCommand(e *env) *cobra.Command {
	var undo, yes bool
	c := &cobra.Command{Use: "open NAME", Short: "Let a remote server serve whoever calls, or take that back with --undo",
		Long: `Records that you accept that a remote server does not want to know who calls; without that Cordon leaves such a server before anything is
called. It says what that means and asks on the terminal; --yes answers for you. --undo takes it back, and asks nothing.`,
		Example: `  cordon servers open weather
  cordon servers open weather --undo`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			if undo && yes {
				return usageError(c, "--undo asks nothing: leave --yes out")
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			def, ok := h.Config().Server(args[0])
			if ok && def.Remote() && !def.Open && !undo && !yes {
				fmt.Fprintf(e.err, openMeans, args[0])
				if !e.confirm("Allow it? Type yes: ") {
					fmt.Fprintln(e.err, "Nothing was changed.")
					return &exitError{exitDenied, nil}
				}
			}
			if err := h.SetOpen(c.Context(), args[0], !undo); err != nil {
				return err
			}
			return e.print(map[string]any{"server": args[0], "open": !undo}, func(w io.Writer) {
				if undo {
					fmt.Fprintf(w, "%s has to know who calls.\n", args[0])
				} else {
					fmt.Fprintf(w, "%s may serve whoever calls.\n", args[0])
				}
			})
		}}
	c.Flags().BoolVar(&undo, "undo", false, "it has to know who calls again")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func samplingCommand(e *env) *cobra.Command {
	var undo bool
	c := &cobra.Command{Use: "sampling NAME MODEL", Short: "Let a server have a model of yours answer, or take that back with --undo",
		Long: `Some servers want a model to answer something in the middle of a call (MCP sampling, deprecated). This names the one that a server may have
asked. Each time you see what would be sent, and then the answer, before either goes anywhere. It takes effect at the server's next start.`,
		Example: `  cordon servers sampling tracker qwen
  cordon servers sampling tracker --undo`,
		Args: usage(cobra.RangeArgs(1, 2)), ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return completeModels(c, nil, word)
			}
			return completeFirst(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if undo == (len(args) == 2) {
				return usageError(c, "name a model, or say --undo")
			}
			model := ""
			if !undo {
				model = args[1]
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := h.SetSampling(args[0], model); err != nil {
				return err
			}
			return e.print(map[string]string{"server": args[0], "model": model}, func(w io.Writer) {
				if undo {
					fmt.Fprintf(w, "%s may have no model asked.\n", args[0])
				} else {
					fmt.Fprintf(w, "%s may have %s asked; you are shown what, each time.\n", args[0], model)
				}
			})
		}}
	c.Flags().BoolVar(&undo, "undo", false, "it may have none asked any more")
	return c
}

// serverError is an error of a command about one server.
type serverError struct {
	name string
	fix  string // what to do about it, unless the error itself says more
	error
}

func (e *serverError) Unwrap() error { return e.error }

// about names the server that an error is about.
func about(name string, err error) error {
	if err == nil {
		return nil
	}
	return &serverError{name: name, error: err}
}
