package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"cordon/host"
	"cordon/host/secret"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func secretsCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "secrets", Short: "Keep tokens in the keyring, each for one server"})
	var ref secret.Ref
	set := &cobra.Command{Use: "set NAME", Short: "Store a secret; the value is read from the terminal or standard input", Args: usage(cobra.ExactArgs(1)), RunE: func(c *cobra.Command, args []string) error {
		ref.Name = args[0]
		if ref.Server == "" || ref.Env == "" {
			return &exitError{exitUsage, errors.New("name the server with --server and its variable with --env")}
		}
		value, err := e.readSecret(c.Context(), "Value")
		if err != nil {
			return err
		}
		h, done, err := e.open(c.Context())
		if err != nil {
			return err
		}
		defer done()
		if err := h.SetSecret(c.Context(), ref, value); err != nil {
			return err
		}
		return e.print(ref, func(w io.Writer) {
			fmt.Fprintf(w, "%s is in the keyring, for %s only, as %s.\n", ref.Name, ref.Server, ref.Env)
		})
	}}
	set.Flags().StringVar(&ref.Server, "server", "", "the server that gets it")
	set.Flags().StringVar(&ref.Env, "env", "", "environment variable it arrives in; of a remote server, the header")
	list := &cobra.Command{Use: "list", Short: "List secrets by name", Args: usage(cobra.NoArgs), RunE: func(*cobra.Command, []string) error {
		conf, _, err := definitions()
		if err != nil {
			return err
		}
		refs := append([]secret.Ref{}, conf.Secrets...)
		return e.print(refs, func(w io.Writer) {
			for _, r := range refs {
				fmt.Fprintf(w, "%s  for %s, %s\n", r.Name, r.Server, r.Env)
			}
			if len(refs) == 0 {
				fmt.Fprintln(w, "No secrets yet.")
			}
		})
	}}
	remove := &cobra.Command{Use: "remove NAME", Short: "Delete a secret from the keyring", Args: usage(cobra.ExactArgs(1)), RunE: func(c *cobra.Command, args []string) error {
		h, done, err := e.open(c.Context())
		if err != nil {
			return err
		}
		defer done()
		if err := h.RemoveSecret(c.Context(), args[0]); err != nil {
			return err
		}
		return e.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is deleted.\n", args[0]) })
	}}
	c.AddCommand(set, list, remove)
	return c
}

// terminal is the descriptor that is read from, if it is a file.
func (e *env) terminal() (fd int, ok bool) {
	f, ok := e.in.(*os.File)
	if !ok {
		return 0, false
	}
	return int(f.Fd()), true
}

// readSecret reads without echo from a terminal, or everything from a pipe, less one final newline. what says what is typed. The end of ctx ends it.
func (e *env) readSecret(ctx context.Context, what string) (secret.Value, error) {
	if !e.typed() {
		b, err := io.ReadAll(io.LimitReader(e.in, secret.MaxBytes+2))
		return secret.NewValue(strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")), err
	}
	fd, _ := e.terminal()
	before, err := term.GetState(fd)
	if err != nil {
		return secret.Value{}, err
	}
	type typed struct {
		b   []byte
		err error
	}
	fmt.Fprintf(e.err, "%s (not shown): ", what)
	read := make(chan typed, 1)
	go func() { // it outlives Ctrl-C, since a read cannot be taken back
		b, err := term.ReadPassword(fd)
		read <- typed{b, err}
	}()
	defer fmt.Fprintln(e.err)
	select {
	case t := <-read:
		return secret.NewValue(string(t.b)), t.err
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		return secret.Value{}, errors.New("nothing was entered")
	}
}

// loadSecrets reads the user's secrets before server is started, so that they are noticed in arguments. Those of other
// servers that the keyring does not give out are warned about and stop nothing here: policy asks before every call as long
// as an inspection does not know them. Its own the server says itself, by not starting. The error is ctx's.
func (e *env) loadSecrets(ctx context.Context, h *host.Host, server string) error {
	err := h.LoadSecrets(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var others []string
	for _, r := range h.Secrets.Unread() {
		if r.Server != server {
			others = append(others, fmt.Sprintf("%q of %s", r.Name, r.Server))
		}
	}
	if len(others) > 0 {
		e.warn(fmt.Sprintf("Cordon cannot read the secret %s, so it would not notice it in arguments or results, and every call asks first: %v", strings.Join(others, ", nor "), err))
	}
	return nil
}
