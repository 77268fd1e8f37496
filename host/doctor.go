package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/host/secret"
	"cordon/sandbox"
)

// CheckState grades one thing that Cordon needs. The zero value is Missing.
type CheckState string

// The states.
const (
	CheckOK       CheckState = "ok"
	CheckDegraded CheckState = "degraded" // works with less
	CheckMissing  CheckState = "missing"
)

// Check is one line of `cordon doctor` and of the window's "This computer".
type Check struct {
	Name   string     `json:"name"`
	State  CheckState `json:"state"`
	Detail string     `json:"detail"`
	Fix    string     `json:"fix"` // what to do, "" when nothing is needed
}

// Doctor looks at everything Cordon needs of this computer. sb may be nil when there is no launcher. It tries one real
// confinement and never causes an unlock prompt.
func Doctor(ctx context.Context, sb *sandbox.Sandbox, secrets *secret.Store) []Check {
	k := sandbox.Probe()
	checks := []Check{kernelCheck(k), landlockCheck(k), namespaceCheck(k), seccompCheck(k), groupCheck(k)}
	checks = append(checks, trialCheck(ctx, sb), keyringCheck(ctx, secrets), displayCheck(), nodeCheck(ctx, sb), uvCheck(ctx, sb))
	return checks
}

func kernelCheck(k sandbox.Kernel) Check { return Check{"kernel", CheckOK, "Linux " + k.Release, ""} }

func landlockCheck(k sandbox.Kernel) Check {
	switch {
	case k.Landlock == 0:
		return Check{"Landlock", CheckMissing, "this kernel has none, or it is switched off", "use Linux 5.13 or newer with landlock among its security modules (lsm=)"}
	case k.Landlock < 3:
		return Check{"Landlock", CheckDegraded, fmt.Sprintf("ABI %d: emptying files is not controlled by it", k.Landlock), "Linux 6.2 or newer brings ABI 3"}
	}
	return Check{"Landlock", CheckOK, fmt.Sprintf("ABI %d", k.Landlock), ""}
}

func namespaceCheck(k sandbox.Kernel) Check {
	switch {
	case k.Namespaces != "" && k.Supervisable() == "":
		return Check{"user namespaces", CheckDegraded, k.Namespaces + ": servers run in the medium tier, where names, sizes and dates of your other files show, and which programs run", k.Fix}
	case k.Namespaces != "":
		return Check{"user namespaces", CheckMissing, k.Namespaces + ", and " + k.Supervisable() + ": no server can start", k.Fix}
	}
	return Check{"user namespaces", CheckOK, "nothing stands against them", ""}
}

func seccompCheck(k sandbox.Kernel) Check {
	if !k.Seccomp {
		return Check{"seccomp", CheckMissing, "this kernel cannot load filters", "use a kernel built with CONFIG_SECCOMP_FILTER"}
	}
	return Check{"seccomp", CheckOK, "filters can be loaded", ""}
}

func groupCheck(k sandbox.Kernel) Check {
	g := k.Groups
	if !g.Memory || !g.Pids {
		return Check{"cgroups", CheckDegraded, "no writable hierarchy: memory is limited for each process, not for a server as a whole",
			"start Cordon in a delegated scope: systemd-run --user --scope -p Delegate=yes"}
	}
	return Check{"cgroups", CheckOK, g.String() + ": memory and tasks of a whole server can be limited", ""}
}

// trialCheck confines a program, with the limits that servers get, and reports what was measured on it.
func trialCheck(ctx context.Context, sb *sandbox.Sandbox) Check {
	if sb == nil {
		return Check{"sandbox", CheckMissing, "the launcher cordon-launch is not beside this program", "reinstall Cordon"}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	began := time.Now()
	p, err := sb.Start(ctx, sandbox.Profile{Memory: config.DefaultMemory, Pids: config.DefaultPids, Demand: sandbox.Isolation(sandbox.NetNone)},
		sandbox.Command{Argv: []string{"true"}}, sandbox.Files{})
	if err != nil {
		fix := ""
		if r, ok := err.(*sandbox.Refusal); ok {
			fix = r.Fix
		}
		return Check{"sandbox", CheckMissing, err.Error(), fix}
	}
	p.Wait()
	n, of := p.Report.Count()
	return Check{"sandbox", CheckOK, fmt.Sprintf("%s, %d of %d guarantees hold, tried in %.1f ms", p.Report.Tier, n, of, float64(time.Since(began).Microseconds())/1000), ""}
}

func keyringCheck(ctx context.Context, s *secret.Store) Check {
	st := s.State(ctx)
	c := Check{Name: "keyring", State: CheckOK, Detail: st.Detail, Fix: st.Fix}
	switch st.State {
	case secret.OK:
	case secret.Session, secret.Locked:
		c.State = CheckDegraded
	default:
		c.State = CheckMissing
	}
	return c
}

func displayCheck() Check {
	for _, v := range []string{"WAYLAND_DISPLAY", "DISPLAY"} {
		if os.Getenv(v) != "" {
			return Check{"display", CheckOK, v + " is " + os.Getenv(v), ""}
		}
	}
	return Check{"display", CheckDegraded, "no display: the window cannot open, the command line works", "start it from a desktop session"}
}

// nodeCheck is about servers from npm.
func nodeCheck(ctx context.Context, sb *sandbox.Sandbox) Check {
	node, _, err := catalog.Node()
	if err != nil {
		return Check{"Node.js", CheckDegraded, "node or npm is not installed: servers from npm cannot be installed or run", "install Node.js 20 or newer"}
	}
	return runs(ctx, sb, "Node.js", node, "reinstall Node.js 20 or newer")
}

// uvCheck is about servers from PyPI.
func uvCheck(ctx context.Context, sb *sandbox.Sandbox) Check {
	uv, err := catalog.UV()
	if err != nil {
		return Check{"uv", CheckDegraded, "uv is not installed: servers from PyPI cannot be installed", "install uv, as docs.astral.sh/uv says"}
	}
	return runs(ctx, sb, "uv", uv, "install uv again, as docs.astral.sh/uv says")
}

// runs asks a program for its version, confined like everything that is started.
func runs(ctx context.Context, sb *sandbox.Sandbox, name, path, fix string) Check {
	if sb == nil {
		return Check{name, CheckOK, path, ""}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	version, err := output(ctx, sb, path, "--version")
	if err != nil {
		return Check{name, CheckDegraded, path + " does not run inside a sandbox: " + err.Error(), fix}
	}
	return Check{name, CheckOK, version + " at " + path, ""}
}

// output runs a program confined and returns the first 4 KiB of what it prints, trimmed.
func output(ctx context.Context, sb *sandbox.Sandbox, program string, args ...string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := sb.Start(ctx, sandbox.Profile{Read: []string{program}}, sandbox.Command{Argv: append([]string{program}, args...)}, sandbox.Files{Out: w})
	w.Close()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	b, err := io.ReadAll(io.LimitReader(r, 4<<10))
	if exit := p.Wait(); err == nil && exit.Code() != 0 {
		err = errors.New(exit.String())
	}
	return strings.TrimSpace(string(b)), err
}
