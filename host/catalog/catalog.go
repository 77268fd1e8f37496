// Package catalog installs servers: exact versions, integrity checked against a lock file that is part of Cordon,
// install scripts off, in a sandbox that can write nothing but the new server's own prefix. Installing and running
// are separate: what runs later has the prefix read-only and no network.
package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cordon/host/config"
	"cordon/sandbox"
)

//go:embed presets
var presets embed.FS

// Preset is a server that Cordon knows how to install.
type Preset struct {
	Name    string // key of the server, and of its folder in presets/
	Title   string
	Package string // npm package, also the Source of the server's definition
	Version string // exact
	Entry   string // script to run, relative to the prefix
}

// Filesystem is npm's reference server for files.
var Filesystem = Preset{Name: "filesystem", Title: "Files", Package: "@modelcontextprotocol/server-filesystem", Version: "2026.8.31",
	Entry: "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"}

// Starter starts confined programs. *sandbox.Sandbox implements it.
type Starter interface {
	Start(ctx context.Context, p sandbox.Profile, c sandbox.Command, f sandbox.Files) (*sandbox.Process, error)
}

// ErrNoNode means that node or npm is not installed.
var ErrNoNode = errors.New("node and npm are needed to install this server; install Node.js 20 or newer")

// maxOutput bounds what is kept of the installer's messages, in bytes.
const maxOutput = 64 << 10

// Node returns the absolute paths of node and of npm's program, with links followed.
func Node() (node, npm string, err error) {
	for _, p := range []struct {
		name string
		to   *string
	}{{"node", &node}, {"npm", &npm}} {
		path, err := exec.LookPath(p.name)
		if err != nil {
			return "", "", ErrNoNode
		}
		if *p.to, err = sandbox.Resolve(path); err != nil {
			return "", "", err
		}
	}
	return node, npm, nil
}

// Install puts preset p into paths.Data and returns the prefix. A finished installation of the same version is used
// as it is. say tells what is being done. Cancelling ctx ends it and leaves nothing half-installed.
func Install(ctx context.Context, s Starter, paths config.Paths, p Preset, say func(text string)) (prefix string, err error) {
	prefix = filepath.Join(paths.Data, p.Name+"-"+p.Version)
	if _, err := os.Stat(filepath.Join(prefix, p.Entry)); err == nil {
		return prefix, nil
	}
	node, npm, err := Node()
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(paths.Data, "."+p.Name+"-")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", p.Name, err)
	}
	defer os.RemoveAll(work)
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := presets.ReadFile("presets/" + p.Name + "/" + name)
		if err != nil {
			return "", fmt.Errorf("install %s: %w", p.Name, err)
		}
		if err := config.WriteFile(filepath.Join(work, name), b); err != nil {
			return "", fmt.Errorf("install %s: %w", p.Name, err)
		}
	}
	say("Fetching " + p.Package + " " + p.Version + " with npm, install scripts off")
	if err := runNPM(ctx, s, paths, node, npm, work); err != nil {
		return "", fmt.Errorf("install %s: %w", p.Name, err)
	}
	if _, err := os.Stat(filepath.Join(work, p.Entry)); err != nil {
		return "", fmt.Errorf("install %s: the package has no %s", p.Name, p.Entry)
	}
	say("Putting it in place, read-only from now on")
	if err := os.Rename(work, prefix); err != nil {
		return "", fmt.Errorf("install %s: %w", p.Name, err)
	}
	return prefix, config.SyncDir(paths.Data)
}

// passed are the variables npm needs to reach the registry the way this machine does.
var passed = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"npm_config_registry", "NPM_CONFIG_REGISTRY"}

// runNPM runs npm ci in dir: confined to dir and a cache, with the machine's network.
func runNPM(ctx context.Context, s Starter, paths config.Paths, node, npm, dir string) error {
	cache := filepath.Join(paths.Cache, "npm")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return err
	}
	p := sandbox.Profile{Write: []string{dir, cache}, Net: sandbox.NetHost, Memory: 2 << 30, Pids: 256, Demand: sandbox.Isolation(sandbox.NetHost)}
	grant := func(path string) {
		if real, err := sandbox.Resolve(path); err == nil && !sandbox.InSystem(real) {
			p.Read = append(p.Read, real)
		}
	}
	grant(node)
	grant(filepath.Dir(filepath.Dir(npm)))
	c := sandbox.Command{Dir: dir, Env: []string{"npm_config_cache=" + cache, "npm_config_update_notifier=false"},
		Argv: []string{node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error"}}
	if !sandbox.InSystem(node) {
		c.Env = append(c.Env, "PATH="+filepath.Dir(node)+":"+strings.Join(sandbox.Path, ":"))
	}
	if rc := filepath.Join(paths.Home, ".npmrc"); exists(rc) { // which registry, and how to sign in there
		grant(rc)
		c.Env = append(c.Env, "npm_config_userconfig="+rc)
	}
	for _, name := range passed {
		v := os.Getenv(name)
		if v == "" {
			continue
		}
		if filepath.IsAbs(v) {
			grant(v)
		}
		c.Env = append(c.Env, name+"="+v)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	proc, err := s.Start(ctx, p, c, sandbox.Files{Out: w, Err: w})
	w.Close()
	if err != nil {
		return err
	}
	output := make(chan string, 1)
	go func() { // ends with the process
		b, _ := io.ReadAll(io.LimitReader(r, maxOutput))
		_, _ = io.Copy(io.Discard, r)
		output <- strings.TrimSpace(string(b))
	}()
	stop := context.AfterFunc(ctx, proc.Kill)
	exit := proc.Wait()
	text := <-output
	if !stop() && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if exit.Code() != 0 {
		return fmt.Errorf("npm %s; it said: %s", exit, lastLines(text, 6))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
