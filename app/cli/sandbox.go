package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cordon/app/cli/confined"
	"cordon/app/servers/practice"
	"cordon/host/config"
	"cordon/sandbox"
	"cordon/sandbox/attempt"
	"cordon/sandbox/egress"

	"github.com/spf13/cobra"
)

func sandboxCommand() *cobra.Command {
	c := group(&cobra.Command{Use: "sandbox", Short: "Confine any program"})
	c.AddCommand(execCommand())
	return c
}

func execCommand() *cobra.Command {
	var f confined.Flags
	var report, file, caseDir string
	var hosts, private []string
	c := &cobra.Command{
		Use:   "exec [flags] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program with what is granted here and nothing more",
		Long: `Runs a program in a sandbox of its own. It sees the system's programs and libraries, empty private /tmp
and home directories, and what --read and --write grant; nothing in a folder granted with --write can be run. It has no network but the hosts that --host names and
the ports of --reach and --serve, no environment but PATH, HOME and LANG, and cannot reach other processes. Standard streams, exit code and signals pass through.

Exit codes: the program's own; 125 the sandbox could not be made, 126 the program cannot be executed,
127 there is no such program.`,
		Example: `  cordon sandbox exec -- ls /
  cordon sandbox exec --read ~/case --write ~/out --mem 512M --pids 64 -- python3 parse.py
  cordon sandbox exec --net loopback --env TOKEN --report report.json -- node server.js
  cordon sandbox exec --host api.example.org:443 -- curl https://api.example.org/`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := moreThanNothing(c, "mem", "pids", "cpu", "report"); err != nil {
				return err
			}
			if file != "" {
				if err := alone(c, "profile", granting...); err != nil {
					return err
				}
				var s config.Server
				if err := fromFile(file, caseDir, &s); err != nil {
					return &exitError{confined.CodeUsage, err}
				}
				p := s.Confinement()
				f.Read, f.Write, f.Reach, f.Serve, f.Demand = s.Read, s.Write, s.Reach, s.Serve, p.Demand
				f.Mem, f.Pids, f.CPU = strconv.FormatInt(s.Memory, 10), s.Pids, s.CPU
				if hosts, private = s.Hosts, s.Private; s.Net != config.NetHosts {
					f.Net = s.Net
				}
			}
			return execute(c.Context(), f, hosts, private, report, args)
		},
	}
	fs := c.Flags()
	fs.SetInterspersed(false)
	fs.StringArrayVar(&f.Read, "read", nil, "grant reading a file or directory")
	fs.StringArrayVar(&f.Write, "write", nil, "grant reading and writing a file or directory")
	fs.StringArrayVar(&f.Env, "env", nil, "pass a variable (NAME) or set it (NAME=VALUE)")
	fs.StringVar(&f.Net, "net", "none", "network: none, or loopback (its own, not this computer's)")
	fs.StringArrayVar(&hosts, "host", nil, "let it reach this host through Cordon's proxy: NAME:PORT, *.NAME:PORT or ADDRESS:PORT")
	fs.StringArrayVar(&private, "private-host", nil, "the same, for a host in a private network")
	fs.Var((*confined.PortList)(&f.Reach), "reach", "let it call this port of this computer's loopback")
	fs.Var((*confined.PortList)(&f.Serve), "serve", "let programs of this computer call the port that it listens on")
	fs.StringVar(&f.Mem, "mem", "", "memory limit for the whole tree, such as 512M")
	fs.IntVar(&f.Pids, "pids", 0, "limit of processes and threads")
	fs.Float64Var(&f.CPU, "cpu", 0, "limit of processor cores, such as 0.5")
	fs.BoolVar(&f.Shared, "without-namespaces", false, "confine as on a machine without user namespaces: the medium tier")
	fs.StringVar(&file, "profile", "", "take what is granted from this file, see cordon profile")
	fs.StringVar(&caseDir, "case", "", "the case folder, for ${CASE} in the profile")
	fs.StringVar(&report, "report", "", "write what was enforced to this file, as JSON")
	_ = c.RegisterFlagCompletionFunc("net", cobra.FixedCompletions([]string{"none", "loopback"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func execute(ctx context.Context, f confined.Flags, hosts, private []string, report string, args []string) error {
	var proxy *egress.Proxy
	if len(hosts)+len(private) > 0 {
		var err error
		proxy, err = proxyTo(hosts, private)
		if err == nil && f.Net != "none" {
			err = fmt.Errorf("--host and --net %s exclude each other", f.Net)
		}
		if err != nil {
			return &exitError{confined.CodeUsage, err}
		}
		// What a person sets by hand comes later and counts.
		f.Net, f.Env = "hosts", append(egress.Environment(sandbox.EgressAddr), f.Env...)
	}
	if f.Net == "hosts" && proxy == nil {
		return &exitError{confined.CodeUsage, errors.New("--net hosts: name each with --host")}
	}
	if len(f.Reach)+len(f.Serve) > 0 && f.Net == "none" {
		f.Net = "loopback"
	}
	carry := egress.Carry{Proxy: proxy, Taken: func(port uint16, err error) error { return fmt.Errorf("--serve %d: %w", port, err) }}
	f.Carry = carry.Start
	sb, err := sandbox.New()
	if err != nil {
		return &exitError{confined.CodeFailed, err}
	}
	var started func(*sandbox.Process, time.Duration) error
	if report != "" {
		started = func(p *sandbox.Process, took time.Duration) error { return writeReport(report, p, took) }
	}
	_, err = f.Run(ctx, sb, args, started)
	if coded, ok := errors.AsType[*confined.Error](err); ok {
		return &exitError{coded.Code, coded.Err}
	}
	return err
}

// proxyTo returns the proxy that leads to hosts.
func proxyTo(hosts, private []string) (*egress.Proxy, error) {
	p := new(egress.Proxy)
	if err := p.ThroughEnvironment(); err != nil {
		return nil, err
	}
	for _, list := range [][]string{hosts, private} {
		for _, s := range list {
			r, err := egress.ParseRule(s)
			if err != nil {
				return nil, err
			}
			r.Private = len(p.Rules) >= len(hosts)
			p.Rules = append(p.Rules, r)
		}
	}
	return p, nil
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
	if err := replace(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// replace writes a file in the place of what is there. What is no plain file stays: a device, or a link that a program may have put
// there.
func replace(path string, b []byte) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if st, err := os.Lstat(abs); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file", path)
	}
	return config.WriteFile(abs, b)
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
