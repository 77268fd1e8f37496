package build

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// modules are those that our own code may import, each with its reason. What they need themselves is in go.mod.
var modules = map[string]string{
	"github.com/cedar-policy/cedar-go":       "policy: default deny, explainable, small",
	"github.com/containerd/cgroups/v3":       "statistics of cgroups",
	"github.com/go-json-experiment/json":     "strict and canonical JSON on every boundary",
	"github.com/godbus/dbus/v5":              "state of the keyring, systemd scopes, notifications",
	"github.com/google/jsonschema-go":        "schemas of tools, after our own bounds",
	"github.com/landlock-lsm/go-landlock":    "Landlock",
	"github.com/modelcontextprotocol/go-sdk": "MCP",
	"github.com/moby/sys/userns":             "whether we run inside a user namespace",
	"github.com/rogpeppe/go-internal":        "testscript for the command line, tests only",
	"github.com/spf13/cobra":                 "the command line",
	"github.com/spf13/pflag":                 "flags of the command line",
	"github.com/wailsapp/wails/v2":           "the window",
	"github.com/zalando/go-keyring":          "the keyring",
	"github.com/zricethezav/gitleaks/v8":     "rules that find secrets",
	"go.yaml.in/yaml/v3":                     "profiles that people read",
	"golang.org/x/mod":                       "Merkle tree and signed checkpoints for the log",
	"golang.org/x/sync":                      "errgroup",
	"golang.org/x/sys":                       "system calls",
	"golang.org/x/term":                      "reading a secret without showing it",
	"golang.org/x/text":                      "Unicode normalisation and look-alikes",
	"github.com/yosida95/uritemplate/v3":     "templates of resources (RFC 6570); the MCP library needs it too",
	"github.com/anthropics/anthropic-sdk-go": "Anthropic's models; the official library",
	"github.com/openai/openai-go/v3":         "OpenAI's and compatible models; the official library",
	"codeberg.org/go-pdf/fpdf":               "conversations as PDF",
	"modernc.org/sqlite":                     "conversations; SQLite with full-text search, without cgo",
	"golang.org/x/net":                       "BPF, IDNA, proxy settings",
}

// banned are import paths that nothing of ours uses, with the reason.
var banned = map[string]string{
	"expvar":                      "it publishes on http.DefaultServeMux",
	"io/ioutil":                   "it is deprecated",
	"math/rand":                   "use math/rand/v2, or crypto/rand for anything that matters",
	"net/http/pprof":              "it publishes memory on http.DefaultServeMux",
	"net/http/cgi":                "it starts programs outside the sandbox",
	"net/rpc":                     "every path goes through the gate",
	"plugin":                      "it loads code into the host",
	"github.com/tmc/langchaingo":  "the loop is the security boundary; no agent frameworks",
	"github.com/cloudwego/eino":   "the loop is the security boundary; no agent frameworks",
	"github.com/firebase/genkit":  "the loop is the security boundary; no agent frameworks",
	"google.golang.org/adk":       "the loop is the security boundary; no agent frameworks",
	"github.com/mark3labs/mcp-go": "there is one MCP library, go-sdk",
}

// calls are functions that only some places may use. Places are path prefixes from the top of the project.
var calls = map[string]struct {
	why     string
	allowed []string
}{
	"net/http.DefaultClient":    {"it has no time-out and no limit on what it reads; use a client of your own", nil},
	"net/http.DefaultTransport": {"it follows the proxy variables and has few limits; make one", nil},
	"net/http.Get":              {"it uses http.DefaultClient", nil},
	"net/http.Head":             {"it uses http.DefaultClient", nil},
	"net/http.Post":             {"it uses http.DefaultClient", nil},
	"net/http.PostForm":         {"it uses http.DefaultClient", nil},
	"net/http.ListenAndServe":   {"it has no time-outs; use http.Server on a listener of your own", nil},
	"os/exec.Command":           {"only sandbox starts programs, so that none runs unconfined", startsPrograms},
	"os/exec.CommandContext":    {"only sandbox starts programs, so that none runs unconfined", startsPrograms},
	"os.StartProcess":           {"only sandbox starts programs, so that none runs unconfined", startsPrograms},
	"syscall.ForkExec":          {"only sandbox starts programs, so that none runs unconfined", startsPrograms},
	"os.Create":                 {"a crash would leave half a file; use config.WriteFile", writesFiles},
	"os.WriteFile":              {"a crash would leave half a file; use config.WriteFile", writesFiles},
	"log.Fatal":                 {"it skips every deferred call; return an error", nil},
	"log.Fatalf":                {"it skips every deferred call; return an error", nil},
	"unsafe.Pointer":            {"only system calls need it", []string{"sandbox/"}},
}

var (
	startsPrograms = []string{
		"sandbox/",        // confines what it starts
		"app/browser/",    // hands a confirmed link to the browser
		"webkit_linux.go", // tries bubblewrap once, with constant arguments
		"build/compat/",   // prepares a case and builds a server from source; is not shipped
		"build/bench/",    // measures programs raw and under bubblewrap; is not shipped
	}
	writesFiles = []string{
		"host/config/", // where WriteFile itself is
		"app/servers/", // servers, which run confined and write what they are told
		"sandbox/",     // /proc and cgroup files, which take one write and no rename
	}
)

func moduleOf(importPath string, names []string) string {
	best := ""
	for _, m := range names {
		if below(importPath, m) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

func TestImportsAreKnown(t *testing.T) {
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var required []string
	for line := range strings.Lines(string(gomod)) {
		if f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require ")); len(f) >= 2 && strings.Contains(f[0], ".") && strings.HasPrefix(f[1], "v") {
			required = append(required, f[0])
		}
	}
	seen := map[string]bool{}
	for _, p := range packages(t) {
		for _, to := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for path, why := range banned {
				if to == path || strings.Contains(path, ".") && below(to, path) {
					t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
				}
			}
			first, _, _ := strings.Cut(to, "/")
			if !strings.Contains(first, ".") || seen[to] {
				continue // the standard library and ourselves
			}
			seen[to] = true
			if m := moduleOf(to, required); m == "" {
				t.Errorf("%s imports %s, which go.mod does not require", p.ImportPath, to)
			} else if modules[m] == "" {
				t.Errorf("%s imports %s: module %s is not in the list of modules with a reason", p.ImportPath, to, m)
			}
		}
	}
}

// violations parses one file and reports forbidden calls and literals, as "line: what: why".
func violations(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	imported := map[string]string{} // local name → path
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		local := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			local = i.Name.Name
		}
		imported[local] = path
		if local == "." && path != "" {
			return []string{fmt.Sprintf("%d: dot import of %s: it hides where names come from", fset.Position(i.Pos()).Line, path)}, nil
		}
	}
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || imported[x.Name] == "" {
				return true
			}
			what := imported[x.Name] + "." + n.Sel.Name
			rule, ok := calls[what]
			if ok && !slices.ContainsFunc(rule.allowed, func(p string) bool { return strings.HasPrefix(name, p) }) {
				found = append(found, fmt.Sprintf("%d: %s: %s", fset.Position(n.Pos()).Line, what, rule.why))
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING && strings.Contains(n.Value, "0.0.0.0") && !strings.HasPrefix(name, "sandbox/") && name != "host/try.go" { // try.go names it as a forbidden act
				found = append(found, fmt.Sprintf("%d: 0.0.0.0: it listens to the whole network; use 127.0.0.1", fset.Position(n.Pos()).Line))
			}
		}
		return true
	})
	return found, nil
}

func TestForbiddenCalls(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n == "node_modules" || n == "testdata" || n == "bin" || n == "frontend" || strings.HasPrefix(n, ".") && n != ".." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		name := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		found, err := violations(name, src)
		for _, v := range found {
			t.Errorf("%s:%s", name, v)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestViolations(t *testing.T) {
	for name, c := range map[string]struct {
		file, body string
		want       int
	}{
		"default client":           {"host/llm/a.go", `import "net/http"; var _ = http.DefaultClient`, 1},
		"renamed import":           {"host/llm/a.go", `import h "net/http"; var _ = h.Get`, 1},
		"own client":               {"host/llm/a.go", `import "net/http"; var _ = http.Client{}`, 0},
		"program in the host":      {"host/gate/a.go", `import "os/exec"; var _ = exec.Command`, 1},
		"program in the sandbox":   {"sandbox/start.go", `import "os/exec"; var _ = exec.Command`, 0},
		"not the package exec":     {"host/gate/a.go", `var exec struct{ Command int }; var _ = exec.Command`, 0},
		"state written carelessly": {"host/pin/a.go", `import "os"; var _ = os.WriteFile`, 1},
		"reading":                  {"host/pin/a.go", `import "os"; var _ = os.ReadFile`, 0},
		"listens to all":           {"host/gateway/a.go", `var _ = "0.0.0.0:80"`, 1},
		"loopback":                 {"host/gateway/a.go", `var _ = "127.0.0.1:80"`, 0},
		"dot import":               {"host/pin/a.go", `import . "os"`, 1},
	} {
		got, err := violations(c.file, []byte("package a\n"+c.body))
		if err != nil || len(got) != c.want {
			t.Errorf("%s: %q, %v; want %d", name, got, err, c.want)
		}
	}
}
