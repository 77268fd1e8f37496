package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cordon/app/servers/practice"
	"cordon/host/config"
	"cordon/sandbox"
	"cordon/sandbox/attempt"

	"github.com/spf13/cobra"
)

func sandboxCommand(e *env) *cobra.Command {
	c := &cobra.Command{Use: "sandbox", Short: "Confine any program"}
	c.AddCommand(execCommand(e))
	return c
}

// execFlags are the grants of `cordon sandbox exec`.
type execFlags struct {
	read, write, env []string
	net, mem, report string
	pids             int
	cpu              float64
}

func execCommand(e *env) *cobra.Command {
	var f execFlags
	c := &cobra.Command{
		Use:   "exec [flags] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program with what is granted here and nothing more",
		Long: `Runs a program in a sandbox of its own. It sees the system's programs and libraries, empty private /tmp
and home directories, and what --read and --write grant. It has no network, no environment but PATH, HOME and
LANG, and cannot reach other processes. Standard streams, exit code and signals pass through.

Exit codes: the program's own; 125 the sandbox could not be made, 126 the program cannot be executed,
127 there is no such program.`,
		Example: `  cordon sandbox exec -- ls /
  cordon sandbox exec --read ~/case --write ~/out --mem 512M --pids 64 -- python3 parse.py
  cordon sandbox exec --net loopback --env TOKEN --report report.json -- node server.js`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return execute(c.Context(), e, f, args) },
	}
	fs := c.Flags()
	fs.SetInterspersed(false)
	fs.StringArrayVar(&f.read, "read", nil, "grant reading a file or directory")
	fs.StringArrayVar(&f.write, "write", nil, "grant reading and writing a file or directory")
	fs.StringArrayVar(&f.env, "env", nil, "pass a variable (NAME) or set it (NAME=VALUE)")
	fs.StringVar(&f.net, "net", "none", "network: none, or loopback (its own, not this computer's)")
	fs.StringVar(&f.mem, "mem", "", "memory limit for the whole tree, such as 512M")
	fs.IntVar(&f.pids, "pids", 0, "limit of processes and threads")
	fs.Float64Var(&f.cpu, "cpu", 0, "limit of processor cores, such as 0.5")
	fs.StringVar(&f.report, "report", "", "write what was enforced to this file, as JSON")
	_ = c.RegisterFlagCompletionFunc("net", cobra.FixedCompletions([]string{"none", "loopback"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func execute(ctx context.Context, e *env, f execFlags, args []string) error {
	own := func(err error) error { return &exitError{125, err} }
	profile, err := f.profile()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	command, err := f.command(&profile, args)
	if err != nil {
		return own(err)
	}
	sb, err := sandbox.New()
	if err != nil {
		return own(err)
	}
	// Signals that arrive between here and the start are kept and passed on.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGALRM, syscall.SIGCONT)
	began := time.Now()
	p, err := sb.Start(ctx, profile, command, sandbox.Files{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	var missing *sandbox.NotFoundError
	switch {
	case errors.As(err, &missing) && missing.Errno == syscall.ENOENT:
		return &exitError{127, err}
	case errors.As(err, &missing):
		return &exitError{126, err}
	case err != nil:
		return own(err)
	}
	if f.report != "" {
		if err := writeReport(f.report, p, time.Since(began)); err != nil {
			p.Kill()
			p.Wait()
			return own(err)
		}
	}
	for {
		select {
		case s := <-signals:
			_ = p.Signal(s)
		case <-p.Done():
			return passOn(p.Wait())
		}
	}
}

// passOn ends this process the way the program ended.
func passOn(exit sandbox.Exit) error {
	if exit.OOM {
		return &exitError{137, errors.New("the program used more memory than --mem allows and was ended")}
	}
	if exit.Known && exit.Status.Signaled() {
		sandbox.DieBy(exit.Status.Signal())
	}
	if code := exit.Code(); code != 0 {
		return &exitError{code, nil}
	}
	return nil
}

func writeReport(path string, p *sandbox.Process, took time.Duration) error {
	b, err := json.MarshalIndent(struct {
		sandbox.Report
		Pid         int   `json:"pid"`
		StartMicros int64 `json:"startMicros"`
	}{p.Report, p.Pid, took.Microseconds()}, "", "  ")
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	return config.WriteFile(abs, append(b, '\n'))
}

func (f execFlags) profile() (sandbox.Profile, error) {
	p := sandbox.Profile{Pids: f.pids, CPU: f.cpu}
	var err error
	if p.Net, err = network(f.net); err != nil {
		return p, err
	}
	if p.Memory, err = parseBytes(f.mem); err != nil {
		return p, err
	}
	for _, list := range []struct {
		from []string
		to   *[]string
	}{{f.read, &p.Read}, {f.write, &p.Write}} {
		for _, path := range list.from {
			real, err := sandbox.Resolve(path)
			if err != nil {
				return p, fmt.Errorf("grant %w", err)
			}
			*list.to = append(*list.to, real)
		}
	}
	p.Demand = sandbox.Isolation(p.Net)
	return p, nil
}

func network(s string) (sandbox.Net, error) {
	switch s {
	case "none":
		return sandbox.NetNone, nil
	case "loopback":
		return sandbox.NetLoopback, nil
	}
	return 0, fmt.Errorf("--net %q: it is none or loopback", s)
}

// command builds what to run: a named file is granted by naming it, the working directory is kept where it is
// visible inside.
func (f execFlags) command(p *sandbox.Profile, args []string) (sandbox.Command, error) {
	c := sandbox.Command{Argv: args}
	if strings.Contains(args[0], "/") {
		real, err := sandbox.Resolve(args[0])
		if err != nil {
			return c, &exitError{127, fmt.Errorf("program %w", err)}
		}
		c.Argv = append([]string{real}, args[1:]...)
		if !covered(real, *p) {
			p.Read = append(p.Read, real)
		}
	}
	if dir, err := os.Getwd(); err == nil {
		if real, err := sandbox.Resolve(dir); err == nil && covered(real, *p) {
			c.Dir = real
		}
	}
	for _, v := range f.env {
		name, _, set := strings.Cut(v, "=")
		if name == "" {
			return c, fmt.Errorf("--env %q has no name", v)
		}
		if !set {
			value, ok := os.LookupEnv(name)
			if !ok {
				return c, fmt.Errorf("--env %s: it is not set here", name)
			}
			v = name + "=" + value
		}
		c.Env = append(c.Env, v)
	}
	return c, nil
}

// covered reports whether path is visible inside under p.
func covered(path string, p sandbox.Profile) bool {
	return sandbox.InSystem(path) || sandbox.Below(path, p.Read...) || sandbox.Below(path, p.Write...)
}

// parseBytes reads "512M", "2G", "64K", "1048576"; "" is 0.
func parseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	units := map[byte]int64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
	number, unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I"), int64(1)
	if number != "" {
		if u, ok := units[number[len(number)-1]]; ok {
			number, unit = number[:len(number)-1], u
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("size %q: write a number with K, M, G or T, such as 512M", s)
	}
	return n * unit, nil
}

// attemptCommand is what "watch a sandbox hold" starts inside.
func attemptCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "attempt ACT[=ARGUMENT]...", Hidden: true, Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return attempt.Main(args, e.out) }}
}

// practiceCommand is the bundled server behind "meet the consent dialog".
func practiceCommand() *cobra.Command {
	return &cobra.Command{Use: "practice-server FOLDER", Hidden: true, Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return practice.Run(c.Context(), args[0], Version) }}
}
