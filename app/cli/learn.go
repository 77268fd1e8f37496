package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cordon/app/cli/confined"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/learn"
	"cordon/sandbox"
	"cordon/sandbox/egress"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func learnCommand(e *env) *cobra.Command {
	var l lesson
	var file string
	c := &cobra.Command{
		Use:   "learn [flags] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program confined, and propose what it would have to be granted",
		Long: `Runs a program in a sandbox with what is granted here, as sandbox exec does, and looks at what it asks for. Then it says on
standard error what the program wanted and did not get, and proposes the smallest profile that would grant it. A program that
gets further asks for more: save the profile, look at it, and learn again with --profile, until nothing is missing.

Looking grants nothing: a program is confined as any other while it is looked at, and gets an error for what is not granted. It
sees the name of the folder that it is started in, without what is in it, so that names relative to it are understood; elsewhere it
starts in an empty home, so name files by their whole path. Hosts that are not named are refused.

Keys, passwords, browser data and histories are never proposed, and a program that asks for them is one to be wary of. Neither are
the home directory, folders that hold too much, and files in /tmp, which is private inside, unless it is started there. What a
program asks for is its own wish: grant what fits its purpose.

With --json the proposal is the last line on standard error. Exit codes are those of sandbox exec: the program's own, or 125 to 127.`,
		Example: `  cordon learn -- python3 parse.py
  cordon learn --case ~/case --save parse.yaml -- node /opt/parse/index.js
  cordon learn --profile parse.yaml --save parse.yaml -- node /opt/parse/index.js`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := moreThanNothing(c, "mem", "pids", "save"); err != nil {
				return err
			}
			if err := l.grants(c, file); err != nil {
				if _, usage := errors.AsType[*exitError](err); !usage {
					err = &exitError{confined.CodeUsage, err}
				}
				return err
			}
			return l.run(c.Context(), e, args)
		},
	}
	fs := c.Flags()
	fs.SetInterspersed(false)
	l.granted.Net = config.NetNone
	fs.StringArrayVar(&l.granted.Read, "read", nil, "grant reading a file or directory")
	fs.StringArrayVar(&l.granted.Write, "write", nil, "grant reading and writing a file or directory")
	fs.StringArrayVar(&l.granted.Hosts, "host", nil, "let it reach this host: NAME:PORT, *.NAME:PORT or ADDRESS:PORT")
	fs.StringArrayVar(&l.granted.Private, "private-host", nil, "the same, for a host in a private network")
	fs.Var((*confined.PortList)(&l.granted.Reach), "reach", "let it call this port of this computer's loopback")
	fs.Var((*confined.PortList)(&l.granted.Serve), "serve", "let programs of this computer call the port that it listens on")
	fs.StringArrayVar(&l.flags.Env, "env", nil, "pass a variable (NAME) or set it (NAME=VALUE)")
	fs.StringVar(&l.flags.Mem, "mem", "", "memory limit for the whole tree, such as 512M")
	fs.IntVar(&l.flags.Pids, "pids", 0, "limit of processes and threads")
	fs.BoolVar(&l.flags.Shared, "without-namespaces", false, "confine as on a machine without user namespaces: the medium tier")
	fs.StringVar(&file, "profile", "", "take what is granted from this file, see cordon profile")
	fs.StringVar(&l.caseDir, "case", "", "the case folder, for ${CASE} in the profile")
	fs.StringVar(&l.save, "save", "", "write the proposed profile to this file")
	return c
}

// lesson is one run of learn.
type lesson struct {
	granted config.Server
	flags   confined.Flags
	caseDir string
	save    string

	mu      sync.Mutex
	refused []egress.Connection // guarded by mu
}

// maxRefused bounds what is kept of refused connections.
const maxRefused = 1000

// grants reads what is granted from a file, or checks what the flags say.
func (l *lesson) grants(c *cobra.Command, file string) error {
	var err error
	if l.caseDir != "" {
		if l.caseDir, err = sandbox.Resolve(l.caseDir); err != nil {
			return fmt.Errorf("--case %w", err)
		}
	}
	if err := l.savable(c, file); err != nil {
		return err
	}
	s := &l.granted
	if file != "" {
		if err := alone(c, "profile", slices.DeleteFunc(slices.Clone(granting), func(name string) bool { return c.Flags().Lookup(name) == nil })...); err != nil {
			return err
		}
		if err := fromFile(file, l.caseDir, s); err != nil {
			return err
		}
		l.flags.Mem, l.flags.Pids, l.flags.CPU = strconv.FormatInt(s.Memory, 10), s.Pids, s.CPU
	} else {
		for _, list := range []*[]string{&s.Read, &s.Write} {
			for i, path := range *list {
				if (*list)[i], err = sandbox.Resolve(path); err != nil {
					return fmt.Errorf("grant %w", err)
				}
			}
		}
		if s.Memory, err = sandbox.ParseBytes(l.flags.Mem); err != nil {
			return err
		}
		s.Pids = l.flags.Pids
	}
	for _, list := range []*[]string{&s.Hosts, &s.Private} {
		for i, host := range *list {
			r, err := egress.ParseRule(host)
			if err != nil {
				return err
			}
			(*list)[i] = r.String()
		}
	}
	return nil
}

// savable says before anything runs that the profile could not be saved, or would take the place of something else than the one it
// began with.
func (l *lesson) savable(c *cobra.Command, from string) error {
	if l.save == "" {
		return nil
	}
	if !learn.IsFolder(filepath.Dir(l.save)) {
		return usageError(c, "--save %s: the folder %s does not exist", l.save, filepath.Dir(l.save))
	}
	there, err := os.Stat(l.save)
	if err != nil {
		return nil // not there
	}
	if began, err := os.Stat(from); err != nil || !os.SameFile(began, there) {
		return usageError(c, "--save %s: it exists, and is not the --profile that this began with; choose another name", l.save)
	}
	return nil
}

// run runs the program and says what it wanted.
func (l *lesson) run(ctx context.Context, e *env, args []string) error {
	at, err := paths()
	if err != nil {
		return err
	}
	sb, err := sandbox.New()
	if err != nil {
		return &exitError{confined.CodeFailed, err}
	}
	proxy := &egress.Proxy{Rules: l.granted.Rules(), Observe: l.connection}
	f := l.flags
	f.Read, f.Write, f.Reach, f.Serve, f.Observe = l.granted.Read, l.granted.Write, l.granted.Reach, l.granted.Serve, true
	f.Net, f.Env = "hosts", append(egress.Environment(sandbox.EgressAddr), f.Env...)
	f.Demand = slices.DeleteFunc(slices.Clone(l.granted.Demand), func(g sandbox.Guarantee) bool { // the network is another one here
		return g == sandbox.NetNoneG || g == sandbox.NetLoopbackG
	})
	f.Carry = egress.Carry{Proxy: proxy, Taken: func(port uint16, err error) error { return fmt.Errorf("--serve %d: %w", port, err) }}.Start
	var failed error
	f.Ended = func(p *sandbox.Process) {
		wants, rest := p.Wanted()
		l.mu.Lock()
		hosts := slices.Clone(l.refused)
		l.mu.Unlock()
		failed = l.tell(e, learn.Suggest(learn.Run{Granted: l.granted, Home: sandbox.RealHome(), Case: l.caseDir, Wants: wants, Rest: rest, Hosts: hosts, Guarded: at.Guarded, Folder: learn.IsFolder}))
	}
	_, err = f.Run(ctx, sb, args, nil)
	if coded, ok := errors.AsType[*confined.Error](err); ok {
		if failed != nil { // the code stays the program's
			e.fail(failed, coded.Code)
		}
		return &exitError{coded.Code, coded.Err}
	}
	return errors.Join(err, failed)
}

func (l *lesson) connection(c egress.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Refused != "" && len(l.refused) < maxRefused {
		l.refused = append(l.refused, c)
	}
}

// tell saves a proposal and prints it.
func (l *lesson) tell(e *env, p learn.Suggestion) error {
	var failed error
	saved := l.save
	if saved != "" {
		if err := replace(saved, p.Profile.YAML()); err != nil {
			failed, saved = fmt.Errorf("save the profile: %w", err), ""
		}
	}
	if e.json {
		fmt.Fprintln(e.err) // the program may have left half a line
		return errors.Join(failed, json.NewEncoder(e.err).Encode(p))
	}
	if f, ok := e.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		// What the program did to the terminal ends here: a sequence it began, another screen, a region, hidden letters.
		fmt.Fprint(f, "\x18\x1b\\\x1b[?1049l\x1b[!p\x1b[r\x1b[0m\x1b(B\x1b[999;1H\n")
	}
	printSuggestion(e.err, p, saved, colours(e.err))
	return failed
}

// colours reports whether w is a terminal that shows them (no-color.org).
func colours(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func printSuggestion(w io.Writer, p learn.Suggestion, saved string, colour bool) {
	red, plain := "", ""
	if colour {
		red, plain = "\x1b[1;31m", "\x1b[0m"
	}
	fmt.Fprintf(w, "%s\ncordon learn\n", plain) // the program may have left its colours
	if len(p.Asked) == 0 {
		fmt.Fprintln(w, "  It asked for nothing that could be granted besides.")
	} else {
		fmt.Fprintln(w, "  It wanted, and did not get:")
		for _, a := range p.Asked {
			times := ""
			switch files := a.Does == "reads" || a.Does == "changes" || a.Does == "runs"; {
			case a.Times > 1 && files:
				times = fmt.Sprintf("  (%d things in it)", a.Times)
			case a.Times > 1:
				times = fmt.Sprintf("  (%d times)", a.Times)
			}
			fmt.Fprintf(w, "    %-9s %s%s\n", a.Does, consent.Escape(a.What), times)
		}
	}
	if len(p.Left) > 0 {
		fmt.Fprintln(w, "  Left out:")
		// Warnings first.
		slices.SortStableFunc(p.Left, func(a, b learn.Left) int { return cmp.Compare(rank(a), rank(b)) })
		for i, l := range p.Left {
			if i == maxShown {
				fmt.Fprintf(w, "    and %d more\n", len(p.Left)-i)
				break
			}
			line := fmt.Sprintf("%-9s %s: %s", l.Does, consent.Escape(l.What), consent.Escape(l.Why))
			if l.Warning {
				line = red + "WARNING " + line + plain
			}
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
	for _, c := range p.Cautions {
		fmt.Fprintf(w, "  Think of this: %s.\n", consent.Escape(c))
	}
	fmt.Fprintf(w, "  With what is proposed, it %s.\n\n", consent.Escape(p.Sentence()))
	for line := range strings.Lines(string(p.Profile.YAML())) {
		fmt.Fprintf(w, "    %s", line)
	}
	if saved != "" {
		fmt.Fprintf(w, "\n  Saved. Look at it, then: cordon learn --profile %s -- …\n", consent.Escape(saved))
	}
}

// maxShown bounds what is shown of what is left out; --json has all of it.
const maxShown = 30

func rank(l learn.Left) int {
	if l.Warning {
		return 0
	}
	return 1
}
