package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// nullServerArg makes this program the server that answers at once. After it may stand how many tools it has, and a word that makes
// its command another one.
const nullServerArg = "null-server"

type nullArgs struct {
	Path  string `json:"path" jsonschema:"what to read"`
	Bytes int    `json:"bytes" jsonschema:"how much comes back"`
}

func nullServer(ctx context.Context, args []string) error {
	tools := 1
	if len(args) > 0 {
		var err error
		if tools, err = strconv.Atoi(args[0]); err != nil {
			return err
		}
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "null", Version: "1"}, nil)
	line := "2026-08-31T10:00:00Z sshd[812]: Accepted publickey for alice from 192.0.2.7 port 52144\n"
	for i := range tools {
		name := "read_log"
		if i > 0 {
			name = fmt.Sprintf("read_log_%d", i)
		}
		mcp.AddTool(s, &mcp.Tool{Name: name, Description: "Reads the end of a log."},
			func(_ context.Context, _ *mcp.CallToolRequest, a nullArgs) (*mcp.CallToolResult, any, error) {
				text := strings.Repeat(line, a.Bytes/len(line)+1)[:a.Bytes]
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
			})
	}
	return s.Run(ctx, &mcp.StdioTransport{})
}

// nobody answers no question: a read that asks is a failure of this measurement.
type nobody struct{}

// Ask denies.
func (nobody) Ask(context.Context, consent.Prompt) (consent.Answer, error) {
	return consent.Answer{}, consent.ErrCancelled
}

// sdk connects to a confined null server with the bare library.
func (b *bench) sdk() (s *mcp.ClientSession, end func() error, err error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, in.Close(), childIn.Close())
	}
	p, err := b.sandbox.Start(b.ctx, sandbox.Profile{Read: []string{b.self}, Memory: config.DefaultMemory, Pids: config.DefaultPids},
		sandbox.Command{Argv: []string{b.self, nullServerArg}}, sandbox.Files{In: childIn, Out: childOut})
	_, _ = childIn.Close(), childOut.Close()
	if err != nil {
		return nil, nil, errors.Join(err, in.Close(), out.Close())
	}
	stop := func() error {
		_ = in.Close()
		left := p.Stop(context.WithoutCancel(b.ctx), time.Second).Left
		_ = out.Close()
		return left
	}
	s, err = mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil).Connect(b.ctx, &mcp.IOTransport{Reader: out, Writer: in}, nil)
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return s, func() error { _ = s.Close(); return stop() }, nil
}

// host opens a host on directories of its own. The caller closes it.
func (b *bench) host(name string, sb *sandbox.Sandbox) (*host.Host, error) {
	home := filepath.Join(b.dir, name)
	paths, err := config.FindPaths(func(name string) string { return map[string]string{"HOME": home}[name] })
	if err != nil {
		return nil, err
	}
	h, err := host.Open(b.ctx, host.Options{Paths: paths, Sandbox: sb, Prompter: nobody{}, Version: "bench", Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		h.Secrets.UseSession()
	}
	return h, err
}

// null defines a null server.
func (b *bench) null(name string) config.Server {
	return config.Server{Name: name, Title: "Null", Source: "bundled", Version: "1", Command: []string{b.self, nullServerArg}, Net: config.NetNone,
		Memory: config.DefaultMemory, Pids: config.DefaultPids}
}

// gate measures a read through the whole host against the bare library, each on its own confined null server.
func (b *bench) gate() (err error) {
	session, end, err := b.sdk()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	h, err := b.host("gate", b.sandbox)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(context.WithoutCancel(b.ctx))) }()
	if err := h.AddServer(b.null("null")); err != nil {
		return err
	}
	if err := h.Servers.Start(b.ctx, "null"); err != nil {
		return err
	}
	review, err := h.Review(b.ctx, "null")
	if err != nil {
		return err
	}
	if err := h.Approve(b.ctx, "null", review.Digest); err != nil {
		return err
	}
	for _, size := range []int{100, 64 << 10} {
		args := fmt.Sprintf(`{"path":"/var/log/auth.log","bytes":%d}`, size)
		bare := variant{"go-sdk", func() (time.Duration, error) {
			begin := time.Now()
			r, err := session.CallTool(b.ctx, &mcp.CallToolParams{Name: "read_log", Arguments: map[string]any{"path": "/var/log/auth.log", "bytes": size}})
			took := time.Since(begin)
			if err == nil && (r.IsError || len(r.Content) != 1) {
				err = errors.New("the tool failed")
			}
			return took, err
		}}
		calls := 0
		gated := variant{"gate", func() (time.Duration, error) {
			calls++
			// A new conversation now and then, as people begin one; its memory is bounded anyway.
			p := tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: "null", Name: "read_log"}, Args: []byte(args),
				By: tool.Asker{Kind: "chat", Name: "bench", Conversation: fmt.Sprintf("c%d-%d", size, calls/20)}, Wrote: tool.OriginModel}
			begin := time.Now()
			r, err := h.Gate.Do(b.ctx, p)
			took := time.Since(begin)
			if err == nil && (r.IsError || len(r.Content) != 1 || len(r.Content[0].Text) != size) {
				err = errors.New("the tool failed")
			}
			return took, err
		}}
		r, err := b.compare(fmt.Sprintf("read, %d B result", size), 5*b.n, bare, gated)
		if err != nil {
			return err
		}
		r.judge("gate", 500, "0.5 ms")
	}
	if rep, err := h.Log().Verify(b.ctx); err != nil || !rep.Intact {
		return fmt.Errorf("the log does not verify: %s %w", rep.Problem, err)
	}
	return nil
}
