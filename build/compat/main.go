// Command compat tries servers that people use: it installs each, unmodified, in both tiers, starts it under a preset, lists its
// tools and calls one that needs no account. It prints the table of MATRIX.md. It needs the registries, node, npm, uv and
// bin/cordon-launch (make build), and leaves nothing behind but caches of packages in the folder that -cache names.
//
//	go run ./build/compat [-only SUBSTRING] [-bin bin] [-cache DIR] > build/compat/MATRIX.md
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cordon/host"
	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/profile"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"
)

// candidate is a server to try. CASE in its arguments is the case folder.
type candidate struct {
	what    string // as catalog.ParsePackage reads it, or go:MODULE@VERSION
	preset  string
	args    []string
	program string
	scripts bool
	tool    string // to call, "" for none
	with    string // its arguments
	want    string // what the answer holds
}

var candidates = []candidate{
	{what: "npm:@modelcontextprotocol/server-filesystem@2026.8.31", preset: "workspace", args: []string{"CASE"}, tool: "read_text_file", with: `{"path":"CASE/notes.md"}`, want: "A-1047"},
	{what: "npm:@modelcontextprotocol/server-memory@2026.8.31", preset: "offline", tool: "read_graph", with: `{}`, want: "entities"},
	{what: "npm:@modelcontextprotocol/server-sequential-thinking@2026.8.31", preset: "offline", tool: "sequentialthinking", with: `{"thought":"a","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, want: "thoughtNumber"},
	{what: "npm:@modelcontextprotocol/server-everything@2026.8.31", preset: "offline", tool: "echo", with: `{"message":"hello"}`, want: "hello"},
	{what: "npm:@modelcontextprotocol/server-postgres@0.6.2", preset: "calls-api", args: []string{"postgresql://127.0.0.1:5432/x"}},
	{what: "npm:@playwright/mcp@0.0.83", preset: "offline"},
	{what: "npm:chrome-devtools-mcp@1.11.0", preset: "offline"},
	{what: "npm:@upstash/context7-mcp@4.1.1", preset: "calls-api"},
	{what: "npm:mongodb-mcp-server@3.0.4", preset: "calls-api"},
	{what: "npm:@antv/mcp-server-chart@0.9.10", preset: "calls-api"},
	{what: "npm:mcp-mermaid@0.4.1", preset: "offline"},
	{what: "npm:@cyanheads/git-mcp-server@2.15.3", preset: "workspace"},
	{what: "npm:@eslint/mcp@0.3.13", preset: "reads-folder"},
	{what: "npm:@wonderwhy-er/desktop-commander@0.2.52", preset: "workspace"},
	{what: "npm:@shopify/dev-mcp@1.16.0", preset: "calls-api"},
	{what: "npm:@negokaz/excel-mcp-server@0.12.0", preset: "workspace"},
	{what: "npm:@notionhq/notion-mcp-server@2.5.2", preset: "calls-api"},
	{what: "npm:mcp-fetch-server@1.1.2", preset: "calls-api"},
	{what: "npm:@kazuph/mcp-fetch@1.6.3", preset: "calls-api"},
	{what: "npm:@drawio/mcp@1.6.1", preset: "offline"},
	{what: "npm:duckduckgo-mcp-server@0.1.2", preset: "calls-api"},
	{what: "npm:exa-mcp-server@3.4.1", preset: "calls-api"},
	{what: "npm:nx-mcp@0.25.0", preset: "reads-folder", args: []string{"CASE"}},
	{what: "pypi:mcp-server-fetch@2026.10.24", preset: "calls-api", tool: "fetch", with: `{"url":"https://pypi.org/simple/mcp-server-fetch/","raw":true}`, want: "mcp_server_fetch"},
	{what: "pypi:mcp-server-git@2026.10.19", preset: "workspace", args: []string{"--repository", "CASE"}, tool: "git_log", with: `{"repo_path":"CASE"}`, want: "first commit"},
	{what: "pypi:mcp-server-time@2026.10.19", preset: "offline", tool: "get_current_time", with: `{"timezone":"Europe/Berlin"}`, want: "Europe/Berlin"},
	{what: "pypi:mcp-server-calculator@0.2.1", preset: "offline", tool: "calculate", with: `{"expression":"6*7"}`, want: "42"},
	{what: "pypi:excel-mcp-server@2.2.2", preset: "workspace", args: []string{"stdio"}},
	{what: "pypi:duckduckgo-mcp-server@0.7.0", preset: "calls-api"},
	{what: "pypi:arxiv-mcp-server@0.8.2", preset: "calls-api"},
	{what: "pypi:wikipedia-mcp@2.0.1", preset: "calls-api"},
	{what: "pypi:mcp-nixos@3.1.0", preset: "calls-api"},
	{what: "pypi:awslabs-aws-documentation-mcp-server@1.2.3", preset: "calls-api"},
	{what: "go:github.com/modelcontextprotocol/go-sdk/examples/server/memory@v1.8.0", preset: "workspace", args: []string{"-memory", "CASE/graph.json"}, tool: "read_graph", with: `{}`, want: "Graph read"},
}

// apiHost is what servers with the preset calls-api are granted, so that one of them can reach something.
const apiHost = "pypi.org:443"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

func run() error {
	only := flag.String("only", "", "try only those whose name contains this")
	bin := flag.String("bin", "bin", "where cordon-launch is")
	cache := flag.String("cache", filepath.Join(os.TempDir(), "cordon-compat-cache"), "where packages are kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	launcher, err := filepath.Abs(filepath.Join(*bin, "cordon-launch"))
	if err != nil {
		return err
	}
	k := sandbox.Probe()
	fmt.Printf("# Servers that were tried\n\nOn %s, by `go run ./build/compat`. Each was installed unmodified, in both tiers, started under the preset, and asked for its\ntools; where a call is named, it was made through the gate. Servers that need an account to start are not among them.\n\n", k)
	fmt.Println("| server | version | preset | strong | medium |\n|---|---|---|---|---|")
	failed := 0
	for _, c := range candidates {
		if !strings.Contains(c.what, *only) {
			continue
		}
		var cells []string
		for _, without := range []string{"", "left out for a trial"} {
			tier := k
			tier.Namespaces = without
			began := time.Now()
			text, err := try(ctx, &sandbox.Sandbox{Kernel: tier, Launcher: launcher}, *cache, c)
			if err != nil {
				failed++
				text = "no: " + firstLine(err)
			}
			fmt.Fprintf(os.Stderr, "%-60s %6.1fs %s\n", c.what, time.Since(began).Seconds(), text)
			cells = append(cells, strings.ReplaceAll(text, "|", "\\|"))
		}
		name, version := c.what, ""
		if i := strings.LastIndexByte(c.what, '@'); i > 0 {
			name, version = c.what[:i], c.what[i+1:]
		}
		fmt.Printf("| `%s` | %s | %s | %s | %s |\n", name, version, c.preset, cells[0], cells[1])
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d trials failed", failed)
	}
	return nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line[:min(len(line), 160)]
}

// yes allows every call: the servers see nothing but a case made for them.
type yes struct{}

// Ask implements consent.Prompter.
func (yes) Ask(_ context.Context, p consent.Prompt) (consent.Answer, error) {
	return consent.Answer{ID: p.ID, Digest: p.Call.Digest.String(), Allow: true, Typed: p.Target, By: "compat"}, nil
}

// try runs one candidate on a host of its own.
func try(ctx context.Context, sb *sandbox.Sandbox, cache string, c candidate) (text string, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "cordon-compat-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	caseDir := filepath.Join(dir, "case")
	if err := makeCase(ctx, caseDir); err != nil {
		return "", err
	}
	paths := config.Paths{Home: filepath.Join(dir, "home"), Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state"),
		Data: filepath.Join(dir, "data"), Runtime: filepath.Join(dir, "run"), Cache: cache}
	h, err := host.Open(ctx, host.Options{Paths: paths, Sandbox: sb, Prompter: yes{}, Version: "compat", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.Close(context.WithoutCancel(ctx))) }()
	def := config.Server{Name: "tried"}
	p := profile.Profile{Preset: c.preset}
	switch c.preset {
	case "workspace":
		p.Write = []string{caseDir}
	case "reads-folder":
		p.Read = []string{caseDir}
	case "calls-api":
		p.PrivateHosts = []string{apiHost}
	}
	if err := p.Apply(&def, func(string) string { return "" }); err != nil {
		return "", err
	}
	in := strings.NewReplacer("CASE", caseDir)
	for _, a := range c.args {
		def.Command = append(def.Command, in.Replace(a))
	}
	if err := install(ctx, h, def, c, dir); err != nil {
		return "", err
	}
	_ = h.Servers.Start(ctx, def.Name) // one that needs its grants to name its tools starts once its program is approved
	for range 2 {
		r, err := h.Review(ctx, def.Name)
		if err != nil {
			return "", err
		}
		if err := h.Approve(ctx, def.Name, r.Digest); err != nil {
			return "", err
		}
		if r.Unlisted == nil {
			break
		}
	}
	v, err := h.Servers.View(def.Name)
	if err != nil {
		return "", err
	}
	if v.State != server.Running {
		return "", fmt.Errorf("it is %s: %w", v.State, v.Err)
	}
	text = fmt.Sprintf("%d tools", len(v.Tools))
	if len(v.Tools) == 1 {
		text = "1 tool"
	}
	if c.tool == "" {
		return text, nil
	}
	got, err := h.Call(ctx, tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: def.Name, Name: c.tool}, Args: json.RawMessage(in.Replace(c.with)),
		By: tool.Asker{Kind: "compat", Name: "compat", Conversation: "compat"}, Wrote: tool.OriginUser})
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.tool, err)
	}
	answer, err := json.Marshal(got)
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(answer), c.want) {
		return "", fmt.Errorf("%s answered %.200q", c.tool, answer)
	}
	return text + ", " + c.tool, nil
}

// install puts a candidate in place and defines it.
func install(ctx context.Context, h *host.Host, def config.Server, c candidate, dir string) error {
	if module, ok := strings.CutPrefix(c.what, "go:"); ok {
		build := exec.CommandContext(ctx, "go", "install", "-trimpath", module)
		build.Env = append(os.Environ(), "GOBIN="+filepath.Join(dir, "bin"), "CGO_ENABLED=0")
		build.Dir = dir
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go install: %w: %s", err, out)
		}
		entries, err := os.ReadDir(filepath.Join(dir, "bin"))
		if err != nil || len(entries) != 1 {
			return fmt.Errorf("go install made %d programs, %v", len(entries), err)
		}
		def.Source = c.what
		def.Command = append([]string{filepath.Join(dir, "bin", entries[0].Name())}, def.Command...)
		return h.AddServer(def)
	}
	p, err := catalog.ParsePackage(c.what)
	if err != nil {
		return err
	}
	_, _, err = h.InstallServer(ctx, host.Installation{Server: def, Package: p, Program: c.program, Scripts: c.scripts}, func(string) {})
	return err
}

// makeCase makes a folder with a note in a Git repository.
func makeCase(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := config.WriteFile(filepath.Join(dir, "notes.md"), []byte("# A-1047\n")); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=compat", "-c", "user.email=compat@example.org", "commit", "-q", "-m", "first commit"}} {
		c := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}
