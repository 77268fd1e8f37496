package cli

import (
	"fmt"
	"io"
	"strings"

	"cordon/host"
	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/host/consent"

	"github.com/spf13/cobra"
)

func installCommand(e *env) *cobra.Command {
	d := newDefinition()
	var i host.Installation
	c := &cobra.Command{
		Use:   "install NAME npm:PACKAGE[@VERSION]|pypi:PACKAGE[@VERSION] [flags] [-- ARGUMENT...]",
		Short: "Install a server from npm or PyPI and define it",
		Long: `Fetches a server and all that it needs, once, in one exact version, into a folder of its own, and defines a server that runs it.

Fetching is confined: it writes that folder and a cache, and reaches the registry that this computer is set up for and nothing
else. Install scripts do not run unless --scripts is given. Later the server runs with its folder read-only and without the registry.
Its files are pinned when you review it. Packages from npm need node and npm, those from PyPI uv and Python.`,
		Example: `  cordon servers install files npm:@modelcontextprotocol/server-filesystem --write ~/case -- ~/case
  cordon servers install time pypi:mcp-server-time@2026.10.24`,
		Args: usage(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if i.Package, err = catalog.ParsePackage(args[1]); err != nil {
				return usageError(c, "%w", err)
			}
			if i.Server, err = d.read(c); err != nil {
				return err
			}
			if i.Python != "" && i.Package.From != catalog.PyPI {
				return usageError(c, "--python is for packages from PyPI")
			}
			i.Server.Name, i.Server.Command = args[0], args[2:]
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			def, installed, err := h.InstallServer(c.Context(), i, func(text string) { fmt.Fprintln(e.err, consent.Escape(text)) })
			if err != nil {
				return err
			}
			return e.print(struct {
				config.Server
				Scripts []string `json:"scripts"`
				Ran     bool     `json:"scriptsRan"`
				Reached []string `json:"reached"`
			}{def, installed.Scripts, i.Scripts, installed.Reached}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is installed: %s, in %s\n", def.Name, installed.Package, def.Dir)
				if len(installed.Reached) > 0 {
					fmt.Fprintf(w, "Fetching reached %s and nothing else.\n", strings.Join(installed.Reached, ", "))
				}
				if len(installed.Scripts) > 0 && !i.Scripts {
					fmt.Fprintf(w, "Install scripts were not run: %s. If it does not work without them, remove it and install it with --scripts.\n", consent.Escape(strings.Join(installed.Scripts, ", ")))
				}
				fmt.Fprintf(w, "Review its tools with: cordon servers review %s\n", def.Name)
			})
		},
	}
	d.flags(c.Flags())
	f := c.Flags()
	f.BoolVar(&i.Scripts, "scripts", false, "let the packages' install scripts run, confined; npm's without a network")
	f.StringVar(&i.Program, "program", "", "which of the package's programs, where it has several")
	f.StringVar(&i.Python, "python", "", "interpreter for a package from PyPI (default python3)")
	return c
}
