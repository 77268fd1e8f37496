package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/secret"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// From a definition to what the sandbox takes.

// prepare turns a definition into what the sandbox takes, and takes the fingerprint of what will run.
func (u *unit) prepare(ctx context.Context, def config.Server) (sandbox.Profile, sandbox.Command, files, error) {
	p := sandbox.Profile{Memory: def.Memory, Pids: def.Pids, Net: sandbox.NetNone}
	switch def.Net {
	case config.NetLoopback:
		p.Net = sandbox.NetLoopback
	case config.NetHosts:
		p.Net = sandbox.NetHosts
	}
	p.Demand = sandbox.Isolation(p.Net)
	for _, grant := range []struct {
		from []string
		to   *[]string
	}{{def.Read, &p.Read}, {def.Write, &p.Write}} {
		for _, path := range grant.from {
			real, err := sandbox.Resolve(path)
			if err != nil {
				return p, sandbox.Command{}, files{}, fmt.Errorf("granted folder: %w", err)
			}
			if real != path {
				return p, sandbox.Command{}, files{}, fmt.Errorf("granted folder %s has become a link to %s; grant the new place if that is right", path, real)
			}
			*grant.to = append(*grant.to, path)
		}
	}
	program, err := lookUp(def.Command[0])
	if err != nil {
		return p, sandbox.Command{}, files{}, fmt.Errorf("%s: %w", u.name, err)
	}
	if !sandbox.InSystem(program) {
		p.Read = append(p.Read, program)
	}
	if def.Dir != "" {
		p.Read = append(p.Read, def.Dir)
	}
	fs, err := lookAtFiles(ctx, def, program)
	if err != nil {
		return p, sandbox.Command{}, files{}, err
	}
	c := sandbox.Command{Argv: append([]string{program}, def.Command[1:]...), Dir: def.Dir}
	if p.Net == sandbox.NetHosts {
		c.Env = egress.Environment(sandbox.EgressAddr)
	}
	for k, v := range def.Env {
		c.Env = append(c.Env, k+"="+v)
	}
	for env, name := range def.Secrets {
		v, err := u.s.o.Secrets.Get(ctx, secret.Ref{Name: name, Server: u.name, Env: env})
		if err != nil {
			return p, c, fs, fmt.Errorf("secret %q for %s: %w", name, env, err)
		}
		c.Env = append(c.Env, env+"="+v.Reveal())
		u.record(audit.Event{Kind: audit.SecretUse, Facts: map[string]string{"secret": name, "env": env}})
	}
	return p, c, fs, nil
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
