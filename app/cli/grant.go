package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"cordon/app/cli/confined"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/profile"
	"cordon/sandbox"
	"cordon/sandbox/egress"

	"github.com/spf13/cobra"
)

// grantCommand is `servers grant`, or `servers revoke` when give is not set.
func grantCommand(e *env, give bool) *cobra.Command {
	var g config.Grants
	c := &cobra.Command{
		Use:   "grant NAME [flags]",
		Short: "Let a server touch more",
		Long: `Adds to what a server is granted. Its command and its approval stay. If it runs, its calls finish and it is started again.
See what it has with: cordon servers show NAME`,
		Example: `  cordon servers grant files --read ~/case
  cordon servers grant intel --host api.example.org:443`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().NFlag() == 0 || len(slices.Concat(g.Read, g.Write, g.Hosts, g.Private)) == 0 && len(g.Reach)+len(g.Serve) == 0 {
				return usageError(c, "nothing is named")
			}
			var err error
			for _, list := range []*[]string{&g.Read, &g.Write} {
				for i, path := range *list {
					real, err := sandbox.Resolve(path)
					if err != nil && give {
						return fmt.Errorf("grant %w", err)
					}
					if err == nil { // what is gone can be taken away by the name that it had
						(*list)[i] = real
					}
				}
			}
			for _, list := range []*[]string{&g.Hosts, &g.Private} {
				for i, s := range *list {
					r, err := egress.ParseRule(s)
					if err != nil {
						return usageError(c, "%w", err)
					}
					(*list)[i] = r.String()
				}
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			regrant := func(ctx context.Context, name string) ([]profile.Change, error) {
				if give {
					return h.Grant(ctx, name, g)
				}
				return h.Revoke(ctx, name, g)
			}
			changes, err := regrant(c.Context(), args[0])
			if err != nil {
				return err
			}
			return e.print(changes, func(w io.Writer) {
				if len(changes) == 0 {
					fmt.Fprintf(w, "Nothing changed: %s has it so.\n", args[0])
				}
				for _, c := range changes {
					fmt.Fprintf(w, "%s: %s → %s\n", c.Key, consent.Escape(orNothing(c.Old)), consent.Escape(orNothing(c.New)))
				}
			})
		},
	}
	if !give {
		c.Use, c.Short = "revoke NAME [flags]", "Let a server touch less"
		c.Long = "Takes away from what a server is granted. Its command and its approval stay. If it runs, its calls finish and it is started again.\nSee what it has with: cordon servers show NAME"
		c.Example = "  cordon servers revoke files --read ~/case"
	}
	f := c.Flags()
	f.StringArrayVar(&g.Read, "read", nil, "a file or directory that it may read")
	f.StringArrayVar(&g.Write, "write", nil, "a directory that it may read and write")
	f.StringArrayVar(&g.Hosts, "host", nil, "a host that it may reach: NAME:PORT, *.NAME:PORT or ADDRESS:PORT")
	f.StringArrayVar(&g.Private, "private-host", nil, "the same, for a host in a private network")
	f.Var((*confined.PortList)(&g.Reach), "reach", "a port of this computer's loopback that it may call")
	f.Var((*confined.PortList)(&g.Serve), "serve", "a port on which programs of this computer may call it")
	return c
}
