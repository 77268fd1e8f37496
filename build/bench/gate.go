package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// nullWebArg makes it one that listens on the loopback and prints its address.
const nullWebArg = "null-web"

type nullArgs struct {
	Path  string `json:"path" jsonschema:"what to read"`
	Bytes int    `json:"bytes" jsonschema:"how much comes back"`
}

func nullServer(ctx context.Context, args []string) error {
	s, err := null(args)
	if err != nil {
		return err
	}
	return s.Run(ctx, &mcp.StdioTransport{})
}

func nullWeb(ctx context.Context) error {
	s, err := null(nil)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/mcp\n", l.Addr())
	web := http.Server{Handler: mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, nil), ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })()
	return web.Serve(l)
}

func null(args []string) (*mcp.Server, error) {
	tools := 1
	if len(args) > 0 {
		var err error
		if tools, err = strconv.Atoi(args[0]); err != nil {
			return nil, err
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
	return s, nil
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

// pair is a bare library's session and a host, each with its own null server, in the same way.
type pair struct {
	way     string // stdio or HTTP
	session *mcp.ClientSession
	host    *host.Host
	end     func() error
}

// pairs opens both pairs: over pipes, each server confined, and over HTTP, where it is the same one.
func (b *bench) pairs() (all []pair, err error) {
	session, end, err := b.sdk()
	if err != nil {
		return nil, err
	}
	all = append(all, pair{way: "stdio", session: session, end: end})
	address, stop, err := b.web()
	if err != nil {
		return all, err
	}
	all = append(all, pair{way: "HTTP", end: stop})
	web := &all[1]
	if web.session, err = mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil).Connect(b.ctx, &mcp.StreamableClientTransport{Endpoint: address}, nil); err != nil {
		return all, err
	}
	defs := []config.Server{b.null("null"), {Name: "null", Source: "url", URL: address, Net: config.NetNone, Open: true, Rate: config.MaxRate}}
	defs[0].Rate = config.MaxRate
	for i := range all {
		p := &all[i]
		if p.host, err = b.host("gate "+p.way, b.sandbox); err != nil {
			return all, err
		}
		before := p.end
		p.end = func() error {
			_ = p.session.Close()
			return errors.Join(p.host.Close(context.WithoutCancel(b.ctx)), before())
		}
		if err := b.approved(p.host, defs[i]); err != nil {
			return all, err
		}
		if err := p.host.Servers.Start(b.ctx, "null"); err != nil {
			return all, err
		}
	}
	return all, nil
}

// web starts a null server that listens on the loopback.
func (b *bench) web() (address string, stop func() error, err error) {
	c := exec.CommandContext(b.ctx, b.self, nullWebArg)
	out, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error {
		_ = c.Process.Kill()
		_ = c.Wait()
		return nil
	}
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return strings.TrimSpace(address), stop, nil
}

// gate measures a read against the bare library: by the client alone, as the supervisor makes it, and through the whole gate.
func (b *bench) gate() (err error) {
	all, err := b.pairs()
	defer func() {
		for _, p := range all {
			err = errors.Join(err, p.end())
		}
	}()
	if err != nil {
		return err
	}
	for _, p := range all {
		for _, size := range []int{100, 64 << 10, 1 << 20} {
			if err := b.read(p, size); err != nil {
				return err
			}
		}
		if rep, err := p.host.Log().Verify(b.ctx); err != nil || !rep.Intact {
			return fmt.Errorf("the log does not verify: %s %w", rep.Problem, err)
		}
	}
	return nil
}

func (b *bench) read(p pair, size int) error {
	args := fmt.Sprintf(`{"bytes":%d,"path":"/var/log/auth.log"}`, size)
	whole := func(content int, isError bool, text int, err error) error {
		if err == nil && (isError || content != 1 || text != size) {
			err = errors.New("the tool failed")
		}
		return err
	}
	bare := variant{"go-sdk", func() (time.Duration, error) {
		begin := time.Now()
		r, err := p.session.CallTool(b.ctx, &mcp.CallToolParams{Name: "read_log", Arguments: map[string]any{"path": "/var/log/auth.log", "bytes": size}})
		took := time.Since(begin)
		if err != nil {
			return took, err
		}
		text, ok := r.Content[0].(*mcp.TextContent)
		if !ok {
			return took, errors.New("no text")
		}
		return took, whole(len(r.Content), r.IsError, len(text.Text), nil)
	}}
	listed, err := p.host.Servers.View("null")
	if err != nil {
		return err
	}
	client := variant{"client", func() (time.Duration, error) {
		c := tool.Call{ID: "0123456789abcdef", Trace: strings.Repeat("ab", 16), Kind: tool.CallTool, Tool: listed.Tools[0], Args: []byte(args)}
		begin := time.Now()
		r, err := p.host.Servers.Call(b.ctx, c)
		took := time.Since(begin)
		if err != nil {
			return took, err
		}
		return took, whole(len(r.Content), r.IsError, len(r.Content[0].Text), nil)
	}}
	calls := 0
	gated := variant{"gate", func() (time.Duration, error) {
		calls++
		// A new conversation now and then, as people begin one; its memory is bounded anyway.
		proposal := tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: "null", Name: "read_log"}, Args: []byte(args),
			By: tool.Asker{Kind: "chat", Name: "bench", Conversation: fmt.Sprintf("c%d-%d", size, calls/20)}, Wrote: tool.OriginModel}
		begin := time.Now()
		r, err := p.host.Gate.Do(b.ctx, proposal)
		took := time.Since(begin)
		if err != nil {
			return took, err
		}
		return took, whole(len(r.Content), r.IsError, len(r.Content[0].Text), nil)
	}}
	r, err := b.compare(fmt.Sprintf("read over %s, %d B", p.way, size), max(100, 5*b.n*1000/(1000+size/64)), bare, client, gated)
	if err != nil {
		return err
	}
	if size == 1<<20 {
		r.judge("client", r.Results[0].Median/10, "a tenth")
		return nil
	}
	r.judge("client", 300, "0.3 ms")
	b.rows = append(b.rows, row{Name: r.Name + ", all of it", Results: []result{r.Results[0], r.get("gate")}})
	b.rows[len(b.rows)-1].judge("gate", 500, "0.5 ms")
	return nil
}
