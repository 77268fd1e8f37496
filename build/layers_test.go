// Package build checks rules about the whole tree: which package may import which, which modules and calls are used.
package build

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// hostLayers is the order inside host: a package imports only those before it. ARCHITECTURE.md has the reasons.
var hostLayers = []string{
	"tool", "secret", "config", "profile", "learn", "pin", "inspect", "label", "policy", "consent", "audit", "wire", "icon", "elicit", "oauth", "remote", "server", "gate",
	"llm", "chat", "gateway", "catalog",
}

const (
	wails = "github.com/wailsapp/wails/v2"
	mcp   = "github.com/modelcontextprotocol/go-sdk"

	anthropic = "github.com/anthropics/anthropic-sdk-go"
	openai    = "github.com/openai/openai-go/v3"
)

// pkg is what the go command says about a package.
type pkg struct {
	ImportPath   string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
	CgoFiles     []string
	TestGoFiles  []string
}

// packages lists every package of the module, with the tags of both the plain and the desktop build.
func packages(t *testing.T) []pkg {
	t.Helper()
	var all []pkg
	for _, tags := range []string{"", "desktop,production,webkit2_41,e2e"} {
		cmd := exec.Command("go", "list", "-json", "-tags", tags, "./...")
		cmd.Dir = ".."
		out, err := cmd.Output()
		if err != nil {
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				t.Fatalf("go list: %v\n%s", err, e.Stderr)
			}
			t.Fatalf("go list: %v", err)
		}
		for d := json.NewDecoder(strings.NewReader(string(out))); ; {
			var p pkg
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
	}
	if len(all) < 4 {
		t.Fatalf("go list names only %d packages", len(all))
	}
	return all
}

// forbidden says why package from may not import to, both within the module and beyond, or "".
func forbidden(from, to string) string {
	f, t := local(from), local(to)
	switch {
	case below(to, wails) && f != ".":
		return "only the root package knows Wails; elsewhere use app.Window"
	case below(to, mcp) && !below(f, "host/server") && !below(f, "host/gateway") && !below(f, "app/servers") && !below(f, "build/bench"):
		return "host/server is the only MCP client, host/gateway and the bundled servers the only MCP servers"
	case below(to, anthropic) && f != "host/llm", below(to, openai) && f != "host/llm":
		return "host/llm is the only place that knows providers of models"
	case t == "host/llm/scripted":
		return "the scripted provider is for tests"
	case t == "":
		return ""
	case (t == "app" || below(t, "app")) && f != "." && !below(f, "app"):
		return "nothing imports app but main"
	case below(f, "sandbox") && !below(t, "sandbox"):
		return "sandbox stands alone"
	case below(t, "sandbox") && below(f, "host") && path.Dir(f) == "host" && slices.Contains([]string{"tool", "pin", "inspect", "label", "policy", "consent", "audit"}, path.Base(f)):
		return "deciding and recording need no sandbox; host/server starts programs"
	case below(f, "app/servers") && !below(t, "app/servers"):
		return "bundled servers are programs like any other and share nothing with the host"
	case below(f, "app") || f == ".":
		return ""
	case t == "host" && f != "host" && below(f, "host"):
		return "host wires the packages below it; none of them imports it"
	case strings.HasPrefix(f, "host/") && strings.HasPrefix(t, "host/"):
		a, b := slices.Index(hostLayers, layer(f)), slices.Index(hostLayers, layer(t))
		switch {
		case layer(f) == layer(t):
			return ""
		case a < 0 || b < 0:
			return "one of the two is not in hostLayers: decide where it belongs"
		case b > a:
			return layer(t) + " stands above " + layer(f)
		}
	}
	return ""
}

// local turns "cordon/host/tool" into "host/tool", "cordon" into ".", and anything foreign into "".
func local(importPath string) string {
	if importPath == "cordon" {
		return "."
	}
	rest, ok := strings.CutPrefix(importPath, "cordon/")
	if !ok {
		return ""
	}
	return rest
}

// below reports whether p is dir or lies under it.
func below(p, dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	return p == dir || strings.HasPrefix(p, dir+"/")
}

// layer is the name of the host package that p belongs to.
func layer(p string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(p, "host/"), "/")
	return name
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range packages(t) {
		for _, to := range p.Imports {
			if why := forbidden(p.ImportPath, to); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
}

func TestEveryHostPackageHasAPlace(t *testing.T) {
	for _, p := range packages(t) {
		if dir := local(p.ImportPath); strings.HasPrefix(dir, "host/") && !slices.Contains(hostLayers, layer(dir)) {
			t.Errorf("%s is not in hostLayers: decide where it belongs", dir)
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"cordon", wails, true},
		{"cordon/app", wails + "/pkg/runtime", false},
		{"cordon", "cordon/app", true},
		{"cordon/app/cli/cordon", "cordon/app/cli", true},
		{"cordon/host", "cordon/app", false},
		{"cordon/sandbox", "cordon/app", false},
		{"cordon/host/server", mcp + "/mcp", true},
		{"cordon/host/gate", mcp + "/mcp", false},
		{"cordon/build/bench", mcp + "/mcp", true},
		{"cordon/sandbox", mcp + "/mcp", false},
		{"cordon/app", mcp + "/mcp", false},
		{"cordon/app/servers/detections", mcp + "/mcp", true},
		{"cordon/app/servers/detections", "cordon/host/tool", false},
		{"cordon/host/gate", "cordon/host/audit", true},
		{"cordon/host/audit", "cordon/host/gate", false},
		{"cordon/host/tool", "cordon/host/secret", false},
		{"cordon/host/consent", "cordon/host/tool", true},
		{"cordon/host/server", "cordon/sandbox", true},
		{"cordon/host/policy", "cordon/sandbox", false},
		{"cordon/host", "cordon/host/gate", true},
		{"cordon/host/gate", "cordon/host", false},
		{"cordon/host/novelty", "cordon/host/tool", false},
		{"cordon/sandbox/launcher", "cordon/sandbox/spec", true},
		{"cordon/sandbox", "cordon/host/tool", false},
		{"cordon/host/tool", "strings", true},
		{"cordon/host/llm", anthropic, true},
		{"cordon/host/chat", openai + "/option", false},
		{"cordon/host/llm", "cordon/host/llm/scripted", false},
	} {
		if why := forbidden(c.from, c.to); (why == "") != c.ok {
			t.Errorf("%s → %s: %q, want allowed=%v", c.from, c.to, why, c.ok)
		}
	}
}
