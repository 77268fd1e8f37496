package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/sys/unix"
)

// The same servers, met by the MCP library as it comes: go-sdk v1.8.0 with its own transports, in a process that may die.

const (
	bareTime    = 100 * time.Second // of such a process
	bareSpace   = 6 << 30           // bytes of its addresses
	bareMemory  = 512 << 20         // bytes that it may have had
	barePatient = 8 * time.Second   // with a handshake, and with a listing
)

// bare is what the library made of a server.
type bare struct {
	Refused string // why there is no session
	Listed  string // why the listing ended early
	Poison  bool   // a tool that must not be offered is
	Call    string
	Next    string
	Told    string
	Asked   int
	Slow    bool // it did not end by its deadline
	Memory  int64

	died string // how its process ended, "" if well
	left bool   // processes of the server
}

// TestHostileBare is that process.
func TestHostileBare(t *testing.T) {
	name, site, mark := os.Getenv("HOSTILE_NAME"), os.Getenv("HOSTILE_SITE"), os.Getenv("HOSTILE_MARK")
	if name == "" {
		t.Skip("it is started by TestHostileTable")
	}
	_ = unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: bareSpace, Max: bareSpace})
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	all := slices.Concat(both, streams, web)
	patience := all[slices.IndexFunc(all, func(h hostile) bool { return h.name == name })].patience()
	var asked atomic.Int32
	client := mcp.NewClient(&mcp.Implementation{Name: "bare", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			asked.Add(1)
			return &mcp.ElicitResult{Action: "decline"}, nil
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) {},
	})
	c := exec.Command(filepath.Join(binaries, "hostile"), "stdio", name, mark)
	var transport mcp.Transport = &mcp.CommandTransport{Command: c}
	if site != "" {
		over := &mcp.StreamableClientTransport{Endpoint: site + "/" + name + "/mcp"}
		if strings.HasPrefix(name, "oauth-") {
			h, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{Credentials: &oauthex.ClientCredentials{ClientID: "bare",
				ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "client-secret-5b1f77c0"}}})
			if err != nil {
				t.Fatal(err)
			}
			over.OAuthHandler = h
		}
		transport = over
	}
	var b bare
	timed := func(limit time.Duration, f func(ctx context.Context)) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		f(ctx)
		b.Slow = b.Slow || time.Since(began) > limit+3*time.Second
	}
	call := func(s *mcp.ClientSession, tool string) (text string) {
		timed(patience, func(ctx context.Context) {
			r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
			if err != nil {
				text = "failed: " + strings.ReplaceAll(err.Error(), poison, "…") // quoting is not taking
				return
			}
			for _, c := range r.Content {
				if t, ok := c.(*mcp.TextContent); ok {
					text += t.Text
				}
			}
		})
		return text[:min(len(text), 1000)]
	}
	var s *mcp.ClientSession
	timed(barePatient, func(ctx context.Context) {
		var err error
		if s, err = client.Connect(ctx, transport, nil); err != nil {
			b.Refused = err.Error()
		}
	})
	if s != nil && b.Refused == "" {
		timed(barePatient, func(ctx context.Context) {
			for tool, err := range s.Tools(ctx, nil) {
				if err != nil {
					b.Listed = err.Error()
					break
				}
				b.Poison = b.Poison || strings.Contains(tool.Name+tool.Description, "poison") || strings.Contains(tool.Description, poison)
			}
		})
		b.Call, b.Next = call(s, "read_it"), call(s, "read_still")
		if site == "" {
			b.Told = call(s, "read_told")
		}
		timed(10*time.Second, func(context.Context) { _ = s.Close() })
	}
	b.Asked = int(asked.Load())
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	b.Memory = u.Maxrss << 10
	b.Refused, b.Listed = b.Refused[:min(len(b.Refused), 1000)], b.Listed[:min(len(b.Listed), 1000)]
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nBARE %s\n", text)
	os.Exit(0) // whatever is still running
}

// meetBare lets the library meet a server.
func meetBare(t *testing.T, name, site string) (b bare) {
	mark := fmt.Sprintf("bare-%s-%d", name, time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(t.Context(), bareTime)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestHostileBare$", "-test.timeout=10m")
	c.Env = append(os.Environ(), "HOSTILE_NAME="+name, "HOSTILE_SITE="+site, "HOSTILE_MARK="+mark, "SERVER_BINARIES="+binaries, "GOMEMLIMIT=1GiB", "TMPDIR="+t.TempDir(), "HOSTILE_OUT=")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	c.WaitDelay = 100 * time.Millisecond // a process that is left keeps the pipes
	err := c.Run()
	_, found, ok := strings.Cut(out.String(), "\nBARE ")
	switch text := out.String() + errs.String(); {
	case ok && json.Unmarshal([]byte(found), &b) == nil:
	case ctx.Err() != nil:
		b.died = "hung"
	case strings.Contains(text, "stack overflow"), strings.Contains(text, "stack exceeds"):
		b.died = "crashed: stack overflow"
	case strings.Contains(text, "out of memory"), strings.Contains(text, "cannot allocate"):
		b.died = "memory"
	default:
		b.died = "crashed: " + clipped(cmpFirst(regexp.MustCompile(`(?m)^(panic|fatal error): .*$`).FindString(text), fmt.Sprint(err)))
	}
	time.Sleep(100 * time.Millisecond)
	for _, pid := range processes(mark) {
		var n int
		if _, err := fmt.Sscan(pid, &n); err == nil {
			b.left = true
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
	return b
}

func cmpFirst(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// verdict says how the library came out of it, in a word and a few more.
func (b bare) verdict(h hostile) (word, detail string) {
	keeps := h.end == runs || h.end == fails || h.end == times
	switch {
	case b.died != "":
		word, detail, _ = strings.Cut(b.died, ": ")
		return word, detail
	case b.Memory > bareMemory:
		return "memory", fmt.Sprintf("%d MiB", b.Memory>>20)
	case strings.Contains(b.Call+b.Next+b.Told, poison):
		return "took it", clipped(b.Call + " / " + b.Told)
	case b.Poison:
		return "took it", "it offers the tool"
	case b.Asked > 5 || b.Asked > 0 && h.finding == "wire.question-refused":
		return "took it", fmt.Sprintf("the person was asked %d times", b.Asked)
	case b.Slow:
		return "hung", "its deadline passed"
	case b.left:
		return "left a process", ""
	case keeps && b.Next != "ok":
		return "lost it", clipped(cmpFirst(b.Refused, b.Next))
	}
	return "fine", clipped(cmpFirst(b.Refused, b.Call))
}

// TestHostileTable compares Cordon with the library, for `make hostile`. It writes to the file named by HOSTILE_OUT, with JSON=1 as JSON, and
// passes or fails nothing: TestHostileStdio and TestHostileHTTP do.
func TestHostileTable(t *testing.T) {
	out := os.Getenv("HOSTILE_OUT")
	if out == "" {
		t.Skip("HOSTILE_OUT names no file: see make hostile")
	}
	type row struct {
		Transport string   `json:"transport"`
		Name      string   `json:"name"`
		Does      string   `json:"does"`
		Cordon    end      `json:"cordon"`
		Wrong     []string `json:"wrong,omitempty"` // with what Cordon did
		Peak      int64    `json:"peakMiB"`
		Bare      string   `json:"goSDK"`
		Detail    string   `json:"detail"`
	}
	var rows []row
	total := map[string]int{}
	for _, transport := range []string{"stdio", "http"} {
		site, all := "", slices.Concat(both, streams)
		if transport == "http" {
			site, all = openSite(t), overHTTP(slices.Concat(both, web))
		}
		mine := make([]row, len(all))
		a := newArena(t)
		a.site = site
		side := func(i int) {
			b := all[i]
			o := a.meet(t, b)
			mine[i] = row{Transport: transport, Name: b.name, Does: b.does, Cordon: o.end, Wrong: b.judge(o), Peak: max(o.peak, 0) >> 20}
		}
		some(all, false, 1, side)
		some(all, true, 8, side)
		if transport == "http" { // which has counted what it was told
			site = openSite(t)
		}
		bareSide := func(i int) {
			b := meetBare(t, all[i].name, site)
			if site != "" {
				b.Told = toldBy(t, site, all[i].name)
			}
			mine[i].Bare, mine[i].Detail = b.verdict(all[i])
		}
		some(all, false, 2, bareSide)
		some(all, true, 8, bareSide)
		rows = append(rows, mine...)
	}
	wrong := 0
	for _, r := range rows {
		total[r.Bare]++
		if len(r.Wrong) > 0 {
			wrong++
		}
	}
	var b bytes.Buffer
	if os.Getenv("JSON") == "1" {
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"behaviours": rows, "wrong": wrong, "goSDK": total}); err != nil {
			t.Fatal(err)
		}
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "over\tthe server\tCordon\tgo-sdk v1.8.0")
		for _, r := range rows {
			cordon := string(r.Cordon)
			if len(r.Wrong) > 0 {
				cordon = "WRONG: " + clipped(r.Wrong[0])
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Transport, r.Does, cordon, r.Bare)
		}
		_ = w.Flush()
		fmt.Fprintf(&b, "\n%d behaviours; Cordon: %d as they should be, %d wrong; go-sdk:", len(rows), len(rows)-wrong, wrong)
		for _, word := range []string{"fine", "took it", "lost it", "hung", "memory", "crashed", "left a process"} {
			fmt.Fprintf(&b, " %d %s,", total[word], word)
		}
		b.Truncate(b.Len() - 1)
		b.WriteString(".\nThe library leaves much of this to its host, a tool's schema for one. Took it: what must not be an answer, a tool or a question was one.\n" +
			"Lost it: no session where Cordon has one, or none after the call. Each of its processes may live for 100 s and have 512 MiB.\n")
	}
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// some calls f with the places of those that are slow, or of the others, n at a time.
func some(all []hostile, slow bool, n int, f func(i int)) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, n)
	for i, b := range all {
		if b.slow == slow {
			turn <- struct{}{}
			wg.Go(func() {
				defer func() { <-turn }()
				f(i)
			})
		}
	}
	wg.Wait()
}
