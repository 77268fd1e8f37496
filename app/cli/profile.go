package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/profile"
	"cordon/sandbox"

	"github.com/spf13/cobra"
)

func profileCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "profile", Short: "What servers are granted, as files that people read",
		Long: `A profile says what a server may touch: a preset, and within it folders, hosts, ports and limits. It is YAML:

  preset: workspace
  read:  ["${XDG_DOCUMENTS_DIR}/playbooks"]
  write: ["${CASE}"]
  memory: 512M
  pids: 64
  demand: [fs.metadata]
  observe: true      # note in a server's log what it asks for and is not granted

cordon learn makes one. Paths may begin with ~ or with ${CASE}, ${HOME}, ${XDG_DOCUMENTS_DIR}, ${XDG_DOWNLOAD_DIR}, ${XDG_DESKTOP_DIR},
${XDG_CONFIG_HOME}, ${XDG_DATA_HOME} or ${XDG_CACHE_HOME}. Use one with: cordon servers add NAME --profile FILE, or
cordon sandbox exec --profile FILE.`})
	c.AddCommand(profileShow(e), profileCheck(e), profileDiff(e))
	return c
}

// fromFile reads a profile into a definition. caseDir is the case folder, or "".
func fromFile(file, caseDir string, s *config.Server) error {
	p, err := profile.Load(file)
	if err != nil {
		return err
	}
	if caseDir != "" {
		if caseDir, err = sandbox.Resolve(caseDir); err != nil {
			return fmt.Errorf("--case %w", err)
		}
	}
	if err := p.Apply(s, variablesOf(caseDir)); err != nil {
		return &profile.Error{File: file, Problem: err.Error()}
	}
	for _, list := range []*[]string{&s.Read, &s.Write} {
		for i, path := range *list {
			if (*list)[i], err = sandbox.Resolve(path); err != nil {
				return &profile.Error{File: file, Problem: "grant " + err.Error()}
			}
		}
	}
	return nil
}

// variablesOf gives the folders of this user.
func variablesOf(caseDir string) profile.Vars {
	return func(name string) string {
		switch name {
		case "CASE":
			return caseDir
		case "HOME":
			return sandbox.RealHome()
		case "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME":
			if dir := os.Getenv(name); filepath.IsAbs(dir) {
				return dir
			}
			return filepath.Join(sandbox.RealHome(), map[string]string{"XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share", "XDG_CACHE_HOME": ".cache"}[name])
		}
		return userDir(name)
	}
}

// userDir reads user-dirs.dirs, which xdg-user-dirs writes: lines of NAME="$HOME/…" or an absolute path.
func userDir(name string) string {
	f, err := os.Open(filepath.Join(variablesOf("")("XDG_CONFIG_HOME"), "user-dirs.dirs"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, 64<<10)); lines.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || key != name {
			continue
		}
		value = strings.Trim(value, `"`)
		if rest, ok := strings.CutPrefix(value, "$HOME"); ok {
			value = sandbox.RealHome() + rest
		}
		if filepath.IsAbs(value) {
			return filepath.Clean(value)
		}
	}
	return ""
}

// named finds a profile by the name of a server, or in a file.
func named(what, caseDir string) (profile.Profile, config.Server, error) {
	if !strings.ContainsAny(what, "/.") {
		conf, _, err := definitions()
		if err != nil {
			return profile.Profile{}, config.Server{}, err
		}
		s, ok := conf.Server(what)
		if !ok {
			return profile.Profile{}, s, fmt.Errorf("there is no server %q; a file is named with its folder or its ending, such as ./%s.yaml", what, what)
		}
		return profile.Of(s), s, nil
	}
	s := config.Server{Name: "profile", Command: []string{"true"}, Env: map[string]string{}, Secrets: map[string]string{}}
	if err := fromFile(what, caseDir, &s); err != nil {
		return profile.Profile{}, s, err
	}
	return profile.Of(s), s, nil
}

func profileShow(e *env) *cobra.Command {
	var caseDir string
	c := &cobra.Command{Use: "show [SERVER|FILE|PRESET]", Short: "Print an effective profile; without a name, the presets",
		Args: usage(cobra.MaximumNArgs(1)), ValidArgsFunction: completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return e.print(profile.Presets, func(w io.Writer) {
					for _, p := range profile.Presets {
						fmt.Fprintf(w, "%-13s %s\n", p.Name, p.Says)
					}
				})
			}
			if p, ok := profile.PresetNamed(args[0]); ok {
				return e.print(p, func(w io.Writer) {
					fmt.Fprintf(w, "%s\ngrants: %s\nnet: %s\n", p.Says, orNothing(strings.Join(p.Keys, ", ")), strings.Join(p.Nets, " or "))
				})
			}
			p, _, err := named(args[0], caseDir)
			if err != nil {
				return err
			}
			return e.print(p, func(w io.Writer) { _, _ = w.Write(p.YAML()) })
		}}
	c.Flags().StringVar(&caseDir, "case", "", "the case folder, for ${CASE}")
	return c
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// checked is what `profile check` found.
type checked struct {
	Profile profile.Profile `json:"profile"`
	Report  sandbox.Report  `json:"sandbox"`
	Refused string          `json:"refused,omitempty"`
}

func profileCheck(e *env) *cobra.Command {
	var caseDir string
	c := &cobra.Command{Use: "check SERVER|FILE", Short: "Say whether a profile is right and what this computer can enforce of it",
		Long: `Reads a profile, replaces its variables, looks at its folders and plans a start on this computer. Nothing is started.

Exit codes: 0 it can be used, 1 something in it is wrong, 4 this computer cannot give what it demands.`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			p, s, err := named(args[0], caseDir)
			if err != nil {
				return err
			}
			at, err := paths()
			if err != nil {
				return err
			}
			if err := s.Validate(at); err != nil {
				return &profile.Error{File: args[0], Problem: strings.TrimPrefix(err.Error(), "profile: ")}
			}
			out := checked{Profile: p}
			_, report, err := sandbox.Plan(s.Confinement(), sandbox.Command{Argv: []string{"true"}}, sandbox.Probe(), sandbox.CurrentIdentity())
			out.Report = report
			var refusal *sandbox.Refusal
			switch {
			case errors.As(err, &refusal):
				out.Refused = err.Error()
			case err != nil:
				return err
			}
			if err := e.print(out, func(w io.Writer) { printChecked(w, out) }); err != nil {
				return err
			}
			if refusal != nil {
				return &exitError{exitRefused, nil}
			}
			return nil
		}}
	c.Flags().StringVar(&caseDir, "case", "", "the case folder, for ${CASE}")
	return c
}

func printChecked(w io.Writer, out checked) {
	_, _ = w.Write(out.Profile.YAML())
	n, of := out.Report.Count()
	fmt.Fprintf(w, "\non this computer: %s, %d of %d guarantees planned\n", out.Report.Tier, n, of)
	for _, g := range out.Report.Guarantees {
		if g.State == sandbox.Missing {
			fmt.Fprintf(w, "  missing  %s: %s\n", g.Name, consent.Escape(g.Detail))
		}
	}
	if out.Refused != "" {
		fmt.Fprintf(w, "  %s\n", consent.Escape(out.Refused))
	}
}

func profileDiff(e *env) *cobra.Command {
	var caseDir string
	c := &cobra.Command{Use: "diff SERVER|FILE SERVER|FILE", Short: "Compare two effective profiles",
		Long: "Compares two effective profiles. Exit codes: 0 they are the same, 1 they differ or one is wrong.",
		Args: usage(cobra.ExactArgs(2)), ValidArgsFunction: completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			a, _, err := named(args[0], caseDir)
			if err != nil {
				return err
			}
			b, _, err := named(args[1], caseDir)
			if err != nil {
				return err
			}
			changes := slices.Concat([]profile.Change{}, profile.Diff(a, b))
			if err := e.print(changes, func(w io.Writer) {
				for _, c := range changes {
					fmt.Fprintf(w, "%s\n", c.Key)
					for _, side := range []struct{ sign, text string }{{"-", c.Old}, {"+", c.New}} {
						if side.text != "" {
							fmt.Fprintf(w, "  %s %s\n", side.sign, consent.Escape(side.text))
						}
					}
				}
			}); err != nil {
				return err
			}
			if len(changes) > 0 {
				return &exitError{exitFailed, nil}
			}
			return nil
		}}
	c.Flags().StringVar(&caseDir, "case", "", "the case folder, for ${CASE}")
	return c
}
