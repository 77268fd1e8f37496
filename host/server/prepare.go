package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/secret"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// From a definition to what the sandbox takes.

// launch is what a server is started as.
type launch struct {
	profile sandbox.Profile
	command sandbox.Command
	rules   []egress.Rule // the hosts that it may reach
	files   files
	lease   *lease     // on the files, until it runs
	watch   *treeWatch // on its folder, as long as it runs; nil without one
	limited bool       // without secrets, hosts and writing
	plain   *launch    // without the proxy of observed, if there is one: for where the loopback is shared
}

// release lets go of the files.
func (l launch) release() {
	l.lease.release()
	l.watch.close()
}

// Limits says what a server is started without as long as nobody has approved its program: "its secrets", "its hosts",
// "ports of this computer", "writing". It is empty if the definition gives none of them.
func Limits(def config.Server) []string {
	var without []string
	if def.Remote() {
		return nil
	}
	if len(def.Secrets) > 0 {
		without = append(without, "its secrets")
	}
	if def.Net == config.NetHosts {
		without = append(without, "its hosts")
	}
	if len(def.Reach) > 0 {
		without = append(without, "ports of this computer")
	}
	if len(def.Write) > 0 {
		without = append(without, "writing")
	}
	return without
}

// withheld is a definition without what Limits names. What it was to write it may read.
func withheld(def config.Server) config.Server {
	def.Read, def.Write = slices.Concat(def.Read, def.Write), nil
	def.Hosts, def.Private, def.Reach, def.Serve = nil, nil, nil, nil
	if def.Net == config.NetHosts {
		def.Net = config.NetNone
	}
	def.Secrets = nil
	def.Demand = slices.DeleteFunc(slices.Clone(def.Demand), func(g sandbox.Guarantee) bool { return g == sandbox.NetHostsG })
	return def
}

// watched is a launch in which what the program asks a proxy for is known by name, if it is observed and does not demand to have no
// network. It grants nothing: the proxy goes by the rules, and there are none. But it takes a loopback, on which a program may
// listen, so it is only for where that is the program's own.
func watched(plain launch, def config.Server) launch {
	if !def.Observe || plain.profile.Net == sandbox.NetHosts || slices.Contains(def.Demand, sandbox.NetNoneG) || slices.Contains(def.Demand, sandbox.NetLoopbackG) {
		return plain
	}
	l := plain
	l.plain = &plain
	l.profile.Net = sandbox.NetHosts
	l.profile.Demand = sandbox.Isolation(sandbox.NetHosts, append(slices.Clone(def.Demand), sandbox.ProcPrivate)...) // which only namespaces give
	l.command.Env = append(egress.Environment(sandbox.EgressAddr), l.command.Env...)
	return l
}

// launch starts the program, watched if that can be.
func (u *unit) launch(ctx context.Context, l launch, f sandbox.Files) (*sandbox.Process, error) {
	proc, err := u.s.o.Sandbox.Start(ctx, l.profile, l.command, f)
	if _, refused := errors.AsType[*sandbox.Refusal](err); refused && l.plain != nil {
		return u.s.o.Sandbox.Start(ctx, l.plain.profile, l.plain.command, f)
	}
	return proc, err
}

// prepare turns a definition into what the sandbox takes, and looks at the files that will run. A program that nobody has
// approved gets just what it takes to name its tools.
func (u *unit) prepare(ctx context.Context, def config.Server) (l launch, err error) {
	covered, _ := Coverage(def)
	if l.lease, err = u.s.held.lease(covered); err != nil {
		return l, err
	}
	if def.Dir != "" {
		l.watch = newTreeWatch(def.Dir)
	}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	if l.files, err = lookAtFiles(ctx, def, l.lease, l.watch); err != nil {
		return l, err
	}
	program := l.files.fingerprint.BinaryPath
	l.limited = len(Limits(def)) > 0 && !u.s.o.Trusted(u.name, l.files.fingerprint)
	given := def
	if l.limited {
		given = withheld(def)
	}
	l.rules = given.Rules()
	p := given.Confinement()
	p.Read, p.Write = nil, nil
	for _, grant := range []struct {
		from []string
		to   *[]string
	}{{given.Read, &p.Read}, {given.Write, &p.Write}} {
		for _, path := range grant.from {
			real, err := sandbox.Resolve(path)
			if err != nil {
				return l, fmt.Errorf("granted folder: %w", err)
			}
			if real != path {
				return l, fmt.Errorf("granted folder %s has become a link to %s; grant the new place if that is right", path, real)
			}
			*grant.to = append(*grant.to, path)
		}
	}
	if !sandbox.InSystem(program) {
		p.Read = append(p.Read, program)
	}
	if def.Dir != "" {
		p.Read = append(p.Read, def.Dir)
	}
	l.profile = p
	l.command = sandbox.Command{Argv: append([]string{program}, def.Command[1:]...), Dir: def.Dir}
	if p.Net == sandbox.NetHosts {
		l.command.Env = egress.Environment(sandbox.EgressAddr)
	}
	for k, v := range def.Env {
		l.command.Env = append(l.command.Env, k+"="+v)
	}
	for env, name := range given.Secrets {
		v, err := u.s.o.Secrets.Get(ctx, secret.Ref{Name: name, Server: u.name, Env: env})
		if err != nil {
			return l, fmt.Errorf("secret %q for %s: %w", name, env, err)
		}
		l.command.Env = append(l.command.Env, env+"="+v.Reveal())
		u.record(audit.Event{Kind: audit.SecretUse, Facts: map[string]string{"secret": name, "env": env}})
	}
	return watched(l, given), nil
}

// lookUp finds a program on the host where the sandbox will find it, with symbolic links followed.
func lookUp(name string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, d := range sandbox.Path {
			candidates = append(candidates, filepath.Join(d, name))
		}
	}
	for _, c := range candidates {
		if st, err := os.Stat(c); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return sandbox.Resolve(c)
		}
	}
	return "", fmt.Errorf("program %q does not exist or cannot be executed", name)
}
