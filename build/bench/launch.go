package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"cordon/sandbox"
)

// command measures a program from start to end.
func (b *bench) command(name string, argv ...string) variant {
	return variant{name, func() (time.Duration, error) {
		c := exec.CommandContext(b.ctx, argv[0], argv[1:]...)
		c.Stderr = os.Stderr
		c.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + b.dir, "LANG=C.UTF-8"} // what every variant's program gets
		begin := time.Now()
		err := c.Run()
		return time.Since(begin), err
	}}
}

// bubblewrap returns the arguments that give the view a sandbox has: the same trees of the machine, its own
// namespaces, /proc, /dev, and empty /tmp and home. Its seccomp filter and Landlock rules are none, its self-test too.
func bubblewrap(argv ...string) []string {
	args := []string{"bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin",
		"--setenv", "HOME", sandbox.Home, "--setenv", "LANG", "C.UTF-8", "--hostname", "sandbox"}
	for _, path := range sandbox.System {
		st, err := os.Lstat(path)
		switch {
		case err != nil:
		case st.Mode()&os.ModeSymlink != 0:
			if to, err := os.Readlink(path); err == nil {
				args = append(args, "--symlink", to, path)
			}
		default:
			args = append(args, "--ro-bind", path, path)
		}
	}
	args = append(args, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", sandbox.Home, "--chdir", sandbox.Home, "--")
	return append(args, argv...)
}

func (b *bench) launchTrue() error { return b.launch("launch true", "/bin/true") }

func (b *bench) launchNode() error {
	node, err := exec.LookPath("node")
	if err != nil {
		return errors.New("there is no node")
	}
	if node, err = sandbox.Resolve(node); err != nil {
		return err
	}
	return b.launch("launch node", node, "-e", "0")
}

func (b *bench) launch(name string, argv ...string) error {
	with := func(flags ...string) []string {
		return append(append(append([]string{b.cordon, "sandbox", "exec"}, flags...), "--"), argv...)
	}
	variants := []variant{b.command("raw", argv...), b.command("bubblewrap", bubblewrap(argv...)...),
		b.command("cordon", with()...), b.command("cordon, limits", with("--mem", "512M", "--pids", "64")...)}
	if srt := sandboxRuntime(); srt != "" {
		variants = append(variants, b.command("srt", append([]string{srt, "-s", filepath.Join(b.dir, "srt.json")}, argv...)...))
	}
	r, err := b.compare(name, b.n, variants...)
	if err != nil {
		return err
	}
	r.judge("cordon", r.get("bubblewrap").Median-r.Results[0].Median, "bubblewrap adds")
	if srt := r.get("srt"); srt.Median > 0 {
		b.rows = append(b.rows, row{Name: name + " against srt", Results: []result{r.Results[0], r.get("cordon"), srt}})
		b.rows[len(b.rows)-1].judge("cordon", (srt.Median-r.Results[0].Median)/20, "a twentieth of what srt adds")
	}
	return nil
}

// sandboxRuntime is the program srt of the npm package @anthropic-ai/sandbox-runtime, "" where it is not installed; SRT names it
// where PATH does not.
func sandboxRuntime() string {
	if path := os.Getenv("SRT"); path != "" {
		return path
	}
	path, _ := exec.LookPath("srt")
	return path
}

// start measures what the window does: a long-lived process starts a server and sees it end.
func (b *bench) start() error {
	confined := func(name string, sb *sandbox.Sandbox, p sandbox.Profile) variant {
		p.Demand = sandbox.Isolation(p.Net)
		return variant{name, func() (time.Duration, error) {
			begin := time.Now()
			p, err := sb.Start(b.ctx, p, sandbox.Command{Argv: []string{"/bin/true"}}, sandbox.Files{})
			if err != nil {
				return 0, err
			}
			exit := p.Wait()
			took := time.Since(begin)
			if exit.Code() != 0 || exit.Left != nil {
				return 0, fmt.Errorf("%s, left %v", exit, exit.Left)
			}
			return took, nil
		}}
	}
	r, err := b.compare("start in process", b.n, b.command("raw", "/bin/true"), b.command("bubblewrap", bubblewrap("/bin/true")...),
		confined("sandbox", b.sandbox, sandbox.Profile{}), confined("sandbox, loopback", b.sandbox, sandbox.Profile{Net: sandbox.NetLoopback}),
		confined("sandbox, limits", b.sandbox, sandbox.Profile{Memory: 512 << 20, Pids: 64}), confined("sandbox, medium", b.medium(), sandbox.Profile{}))
	if err != nil {
		return err
	}
	r.judge("sandbox", r.get("bubblewrap").Median-r.Results[0].Median, "bubblewrap adds")
	return nil
}
