package host_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/host/elicit"
	"cordon/host/server"
	"cordon/host/tool"

	"github.com/go-json-experiment/json/jsontext"
)

// TestTypeScriptServer: a server of the TypeScript SDK's second version, which speaks 2026-07-28 alone, confined, through the gate: its tools, a
// question, resources, a prompt and completion.
func TestTypeScriptServer(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	need(t, err == nil, "node", "REQUIRE_REGISTRIES")
	r := newRig(t)
	dir := filepath.Join(r.dir, "typescript")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "@modelcontextprotocol/server@2.4.0").CombinedOutput()
	need(t, err == nil, "the npm registry: "+string(said), "REQUIRE_REGISTRIES")
	program, err := os.ReadFile("testdata/typescript/server.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "server.mjs"), program, 0o600); err != nil {
		t.Fatal(err)
	}
	var asked []elicit.Question
	r.o.Elicit = func(_ context.Context, q elicit.Question) elicit.Answer {
		asked = append(asked, q)
		return elicit.Answer{Action: elicit.Accept, Values: map[string]jsontext.Value{"name": jsontext.Value(`"Ada"`)}}
	}
	r.open()
	if err := r.AddServer(config.Server{Name: "ts", Source: "command", Command: []string{node, filepath.Join(dir, "server.mjs")}, Read: []string{dir}, Net: config.NetNone, Memory: 1 << 30, Pids: 64}); err != nil {
		t.Fatal(err)
	}
	r.start("ts")
	r.approve("ts")
	v, err := r.Servers.View("ts")
	if err != nil || v.Protocol != server.Modern || v.Title != "TypeScript" || len(v.Tools) != 3 || len(v.Prompts) != 1 || !v.Reads {
		t.Errorf("view %+v, %v", v, err)
	}
	if got, err := r.call("ts", "read_echo", object{"text": "grüße"}); err != nil || got != "grüße" {
		t.Errorf("a call: %q, %v", got, err)
	}
	if got, err := r.call("ts", "get_name", object{}); err != nil || got != "hello Ada" || len(asked) != 1 {
		t.Errorf("a question: %q, %v, asked %+v", got, err, asked)
	}
	do := func(kind tool.Kind, name, args string) string {
		t.Helper()
		p := tool.Proposal{Kind: kind, Target: tool.ID{Server: "ts", Name: name}, Wrote: tool.OriginUser, By: tool.Asker{Kind: "test", Name: "a test", Conversation: "c"}}
		if args != "" {
			p.Args = []byte(args)
		}
		res, err := r.Call(t.Context(), p)
		if err != nil {
			t.Errorf("%s %s: %v", kind, name, err)
			return ""
		}
		return res.Content[0].Text
	}
	for _, c := range []struct{ kind, name, args, want string }{
		{"resource", "memo://one", "", "memo"}, {"resource", "case://A-1/notes", "", "notes of A-1"}, {"prompt", "triage", `{"case":"A-1"}`, "Triage A-1"},
	} {
		if got := do(tool.Kind(c.kind), c.name, c.args); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	got, err := r.Complete(t.Context(), "ts", server.Ref{Prompt: "triage"}, "case", "A", nil)
	if err != nil || strings.Join(got, " ") != "A1 A2" {
		t.Errorf("completion %q, %v", got, err)
	}
}
