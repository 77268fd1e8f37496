package catalog

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/sandbox"
)

var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "catalog-test-")
	if err != nil {
		panic(err)
	}
	binaries = dir
	c := exec.Command("go", "build", "-o", filepath.Join(dir, "cordon-launch"), "cordon/sandbox/launcher")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build the launcher: %v\n%s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// need skips on a machine that lacks something, unless the variable insists.
func need(t *testing.T, err error, variable string) {
	t.Helper()
	if err != nil && os.Getenv(variable) == "1" {
		t.Fatalf("%v, and %s=1", err, variable)
	} else if err != nil {
		t.Skip(err)
	}
}

// rig is an installer with folders of its own and a registry on loopback.
type rig struct {
	Installer
	t    *testing.T
	said []string
	shop *shop
}

// eachTier runs f with a registry, with namespaces and without.
func eachTier(t *testing.T, f func(t *testing.T, r *rig)) {
	machine := sandbox.Probe()
	if machine.Landlock == 0 || machine.Namespaces != "" {
		need(t, errors.New("this machine has no Landlock or no user namespaces"), "REQUIRE_SANDBOX")
	}
	for name, without := range map[string]string{"strong": "", "medium": "left out for a test"} {
		t.Run(name, func(t *testing.T) {
			if without != "" && machine.Supervisable() != "" {
				t.Skip(machine.Supervisable())
			}
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			r := &rig{t: t, shop: openShop(t)}
			k := machine
			k.Namespaces = without
			r.Sandbox = &sandbox.Sandbox{Kernel: k, Launcher: filepath.Join(binaries, "cordon-launch")}
			r.Paths = config.Paths{Home: filepath.Join(dir, "home"), Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}
			for _, d := range []string{r.Paths.Home, r.Paths.Data, r.Paths.Cache} {
				if err := os.MkdirAll(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			r.Say = func(text string) { r.said = append(r.said, text) }
			t.Setenv("npm_config_registry", r.shop.URL+"/")
			t.Setenv("NPM_CONFIG_REGISTRY", "")
			t.Setenv("UV_DEFAULT_INDEX", r.shop.URL+"/simple")
			t.Setenv("UV_INDEX_URL", "")
			f(t, r)
		})
	}
}

// left lists what lies in the folder of installed servers.
func (r *rig) left() []string {
	entries, err := os.ReadDir(r.Paths.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// put writes a file of the rig's.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shop is a registry of both kinds.
type shop struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte // by path; guarded by mu
	auth  []string          // what requests carried; guarded by mu
	stuck chan struct{}     // closed at the end; a file without content hangs until then
}

func openShop(t *testing.T) *shop {
	s := &shop{files: map[string][]byte{}, stuck: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.mu.Lock()
		b, ok := s.files[q.URL.EscapedPath()]
		s.auth = append(s.auth, q.Header.Get("Authorization"))
		s.mu.Unlock()
		if ok && b == nil {
			select {
			case <-s.stuck:
			case <-q.Context().Done():
			}
			return
		}
		if q.URL.Path == "/leak" { // some registries say what they did not like
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"error":"invalid credentials: %s"}`, q.Header.Get("Authorization"))
			return
		}
		if !ok {
			http.NotFound(w, q)
			return
		}
		if strings.HasPrefix(q.URL.Path, "/simple/") {
			w.Header().Set("Content-Type", "text/html")
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(func() { close(s.stuck); s.Close() })
	return s
}

func (s *shop) put(path string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = b
}

type object = map[string]any

// npm offers one version of a package. manifest is its package.json besides name and version, files what it holds.
func (s *shop) npm(name, version string, manifest object, files map[string]string) {
	full := object{"name": name, "version": version}
	for k, v := range manifest {
		full[k] = v
	}
	held, _ := json.Marshal(full)
	all := map[string]string{"package.json": string(held)}
	for path, text := range files {
		all[path] = text
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for path, text := range all {
		_ = w.WriteHeader(&tar.Header{Name: "package/" + path, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg})
		_, _ = io.WriteString(w, text)
	}
	w.Close()
	z.Close()
	sum := sha512.Sum512(b.Bytes())
	file := "/tarballs/" + name[strings.LastIndexByte(name, '/')+1:] + "-" + version + ".tgz"
	full["name"], full["version"] = name, version
	full["dist"] = object{"tarball": s.URL + file, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}
	if _, has := full["scripts"]; has {
		full["hasInstallScript"] = true
	}
	packument, _ := json.Marshal(object{"name": name, "dist-tags": object{"latest": version}, "versions": object{version: full}})
	s.put("/"+strings.ReplaceAll(name, "/", "%2f"), packument)
	s.put(file, b.Bytes())
}

// wheel offers one version of a Python package.
func (s *shop) wheel(name, version, entryPoints string, files map[string]string) {
	stem := strings.ReplaceAll(name, "-", "_") + "-" + version
	all := map[string]string{
		stem + ".dist-info/METADATA":         "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n",
		stem + ".dist-info/WHEEL":            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		stem + ".dist-info/entry_points.txt": entryPoints,
	}
	for path, text := range files {
		all[path] = text
	}
	record := ""
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for path, text := range all {
		f, _ := w.Create(path)
		_, _ = io.WriteString(f, text)
		record += path + ",,\n"
	}
	f, _ := w.Create(stem + ".dist-info/RECORD")
	_, _ = io.WriteString(f, record+stem+".dist-info/RECORD,,\n")
	w.Close()
	file := "/wheels/" + stem + "-py3-none-any.whl"
	s.put(file, b.Bytes())
	s.put("/simple/"+name+"/", []byte(`<a href="`+file+`">`+filepath.Base(file)+`</a>`))
}

// run starts what was installed, as little confined as a test may, and returns what it prints.
func run(t *testing.T, done Installed, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), done.Command[0], append(slices.Clone(done.Command[1:]), args...)...)
	c.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", done.Command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestParsePackage(t *testing.T) {
	for s, want := range map[string]Package{
		"npm:left-pad":                    {NPM, "left-pad", ""},
		"npm:@scope/name@1.2.3-beta.1":    {NPM, "@scope/name", "1.2.3-beta.1"},
		"pypi:mcp-server-git":             {PyPI, "mcp-server-git", ""},
		"pypi:MCP.Server__Git==2026.1.2":  {PyPI, "mcp-server-git", "2026.1.2"},
		"pypi:thing@1!2.0rc1.post2+local": {PyPI, "thing", "1!2.0rc1.post2+local"},
	} {
		got, err := ParsePackage(s)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
		if again, err := ParsePackage(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, which reads %+v, %v", s, got, again, err)
		}
	}
	for _, s := range []string{"", "left-pad", "npm:", "npm:@", "npm:@scope", "npm:Upper", "npm:a/b", "npm:../a", "npm:@a/../b", "npm:@a/b/c", "npm:-g;x@1", "npm:a@", "npm:a@latest",
		"npm:a@^1.0.0", "npm:a@1", "npm:a@1.2.3 ", "npm:a@file:../x", "npm:a@https://x/y.tgz", "npm:a==1.0.0", "npm:git+ssh://x", "pypi:", "pypi:--index", "pypi:a/b", "pypi:a[extra]",
		"pypi:a==", "pypi:a>=1", "pypi:a==1.*", "pypi:a @ https://x", "pypi:a==1\n--index-url", "gem:a", "npm:" + strings.Repeat("a", 300)} {
		if got, err := ParsePackage(s); err == nil {
			t.Errorf("%q was read as %+v", s, got)
		}
	}
}

func TestNPM(t *testing.T) {
	_, _, err := Node()
	need(t, err, "REQUIRE_REGISTRIES")
	eachTier(t, func(t *testing.T, r *rig) {
		r.shop.npm("helper", "3.0.0", object{"scripts": object{"postinstall": "echo ran > ran"}}, map[string]string{"index.js": "module.exports = 'helped'"})
		r.shop.npm("@x/server", "1.2.3", object{"bin": object{"server": "dist/main.js"}, "dependencies": object{"helper": "^3.0.0"}},
			map[string]string{"dist/main.js": "#!/usr/bin/env -S node --no-warnings\nconsole.log(require('helper'), process.argv.slice(2).join(' '))\n"})
		put(t, filepath.Join(r.Paths.Home, ".npmrc"), strings.TrimPrefix(r.shop.URL, "http:")+"/:_authToken=npm-token-in-use\n")
		done, err := r.Install(t.Context(), "mine", Package{NPM, "@x/server", ""})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(r.Paths.Data, "mine-1.2.3")
		if done.Package.Version != "1.2.3" || done.Dir != dir || !slices.Equal(r.left(), []string{"mine-1.2.3"}) {
			t.Errorf("installed %+v, left %q", done, r.left())
		}
		if !slices.Equal(done.Command[1:], []string{"--no-warnings", dir + "/node_modules/@x/server/dist/main.js"}) {
			t.Errorf("command %q", done.Command)
		}
		if got := run(t, done, "a", "b"); got != "helped a b" {
			t.Errorf("it said %q", got)
		}
		if !slices.Equal(done.Scripts, []string{"helper"}) {
			t.Errorf("scripts %q", done.Scripts)
		}
		if _, err := os.Stat(dir + "/node_modules/helper/ran"); err == nil {
			t.Error("an install script ran")
		}
		if !slices.Contains(r.shop.auth, "Bearer npm-token-in-use") {
			t.Error("the person's sign-in at the registry was not used")
		}
		if _, err := r.Install(t.Context(), "other", Package{NPM, "@x/server", "1.2.4"}); err == nil || len(r.left()) != 1 {
			t.Errorf("a version that is not there: %v, left %q", err, r.left())
		}
		if _, err := r.Install(t.Context(), "leak", Package{NPM, "leak", ""}); err == nil || strings.Contains(err.Error(), "npm-token-in-use") || !strings.Contains(err.Error(), "invalid credentials") {
			t.Errorf("a registry that repeats the token: %v", err)
		}
		put(t, filepath.Join(dir, "stale"), "x")
		if _, err := r.Install(t.Context(), "mine", Package{NPM, "@x/server", "1.2.3"}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "stale")); err == nil {
			t.Error("what was left of an earlier installation is still there")
		}
	})
}

// TestScripts: with leave, scripts run, and get nothing that is worth stealing or changing.
func TestScripts(t *testing.T) {
	_, _, err := Node()
	need(t, err, "REQUIRE_REGISTRIES")
	const script = `
const fs = require('fs'), http = require('http');
const seen = {env: JSON.stringify(process.env)};
const look = (name, f) => { try { seen[name] = String(f()) } catch (e) { seen[name] = 'refused ' + e.code } };
look('npmrc', () => fs.readFileSync(HOME + '/.npmrc'));
look('cache', () => fs.writeFileSync(process.env.npm_config_cache + '/planted', 'x'));
look('outside', () => fs.writeFileSync(HOME + '/planted', 'x'));
look('exec', () => { fs.writeFileSync('tool', '#!/bin/sh\necho built'); fs.chmodSync('tool', 0o755); return require('child_process').execFileSync('./tool') });
http.get(URL, () => finish('reached')).on('error', e => finish('refused ' + e.code));
function finish(net) { seen.net = net; fs.writeFileSync('seen.json', JSON.stringify(seen)) }
`
	eachTier(t, func(t *testing.T, r *rig) {
		home, _ := json.Marshal(r.Paths.Home)
		url, _ := json.Marshal(r.shop.URL)
		text := strings.NewReplacer("HOME", string(home), "URL", string(url)).Replace(script)
		r.shop.npm("noisy", "1.0.0", object{"bin": "run.js", "scripts": object{"postinstall": "node setup.js"}}, map[string]string{"run.js": "", "setup.js": text})
		put(t, filepath.Join(r.Paths.Home, ".npmrc"), strings.TrimPrefix(r.shop.URL, "http:")+"/:_authToken=npm-token-to-steal\n")
		r.Scripts = true
		done, err := r.Install(t.Context(), "noisy", Package{NPM, "noisy", "1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(done.Dir, "node_modules/noisy/seen.json"))
		if err != nil {
			t.Fatalf("the script did not run: %v", err)
		}
		var seen map[string]string
		if err := json.Unmarshal(b, &seen); err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(seen["exec"]) != "built" {
			t.Errorf("it cannot build: %q", seen["exec"])
		}
		for _, what := range []string{"npmrc", "outside", "net"} {
			if !strings.HasPrefix(seen[what], "refused") {
				t.Errorf("%s: %q", what, seen[what])
			}
		}
		if strings.Contains(string(b), "npm-token-to-steal") {
			t.Error("the script found the registry's token")
		}
		if _, err := os.Stat(filepath.Join(r.Paths.Home, "planted")); err == nil {
			t.Error("the script wrote outside")
		}
		r.noCache("planted")
	})
}

// noCache fails the test if a file of that name, or a cache for one installation, is left.
func (r *rig) noCache(name string) {
	r.t.Helper()
	_ = filepath.WalkDir(r.Paths.Cache, func(path string, d os.DirEntry, _ error) error {
		if d.Name() == name || filepath.Dir(path) == r.Paths.Cache && strings.HasPrefix(d.Name(), ".") {
			r.t.Errorf("%s is left in the cache", path)
		}
		return nil
	})
}

// TestLyingPackages: what a package says of itself does not lead out of its folder, and leaves nothing behind.
func TestLyingPackages(t *testing.T) {
	node, _, err := Node()
	need(t, err, "REQUIRE_REGISTRIES")
	eachTier(t, func(t *testing.T, r *rig) {
		outside := filepath.Join(r.Paths.Home, "outside.js")
		put(t, outside, "")
		up := strings.Repeat("../", 12)
		for name, c := range map[string]struct {
			manifest object
			want     string
		}{
			"above":     {object{"bin": object{"above": up + strings.TrimPrefix(outside, "/")}}, ""},
			"absolute":  {object{"bin": object{"absolute": outside}}, ""},
			"missing":   {object{"bin": object{"missing": "no.js"}}, ""},
			"folder":    {object{"bin": object{"folder": "dist"}}, "not a plain file"},
			"nothing":   {object{}, "no program"},
			"other":     {object{"bin": "dist/a.js", "version": "9.9.9"}, "says that its version"},
			"confusing": {object{"bin": []string{"dist/a.js"}}, ""},
			"two":       {object{"bin": object{"a": "dist/a.js", "b": "dist/a.js"}}, "name one of them"},
		} {
			r.shop.npm(name, "1.0.0", c.manifest, map[string]string{"dist/a.js": "console.log(1)"})
			done, err := r.Install(t.Context(), "lying", Package{NPM, name, "1.0.0"})
			if err == nil && slices.ContainsFunc(done.Command, func(w string) bool { return w != node && !sandbox.Below(w, done.Dir) }) {
				t.Errorf("%s: it would run %q", name, done.Command)
			}
			if err != nil && len(r.left()) > 0 {
				t.Errorf("%s: left %q", name, r.left())
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			for _, left := range r.left() {
				os.RemoveAll(filepath.Join(r.Paths.Data, left))
			}
		}
		r.Program = "b"
		if _, err := r.Install(t.Context(), "chosen", Package{NPM, "two", "1.0.0"}); err != nil {
			t.Errorf("a program that was named: %v", err)
		}
		var p *ProgramError
		r.Program = "c"
		if _, err := r.Install(t.Context(), "chosen2", Package{NPM, "two", "1.0.0"}); !errors.As(err, &p) || !slices.Equal(p.Programs, []string{"a", "b"}) {
			t.Errorf("a program that is not there: %v", err)
		}
	})
}

// TestElsewhere: a package that lies at another host than the registry is not fetched, and a changed one neither.
func TestElsewhere(t *testing.T) {
	_, _, err := Node()
	need(t, err, "REQUIRE_REGISTRIES")
	eachTier(t, func(t *testing.T, r *rig) {
		other := openShop(t)
		for name, change := range map[string]func(packument string) string{
			"elsewhere": func(p string) string { return strings.ReplaceAll(p, r.shop.URL, other.URL) },
			"changed":   func(p string) string { return p },
		} {
			r.shop.npm(name, "1.0.0", object{"bin": "a.js"}, map[string]string{"a.js": ""})
			file := "/tarballs/" + name + "-1.0.0.tgz"
			r.shop.mu.Lock()
			r.shop.files["/"+name] = []byte(change(string(r.shop.files["/"+name])))
			other.put(file, r.shop.files[file])
			if name == "changed" {
				r.shop.files[file] = append(r.shop.files[file], 0)
			}
			r.shop.mu.Unlock()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // npm would try for long
			_, err := r.Install(ctx, name, Package{NPM, name, "1.0.0"})
			cancel()
			if err == nil || len(r.left()) > 0 {
				t.Errorf("%s: %v, left %q", name, err, r.left())
			}
		}
		if len(other.auth) > 0 {
			t.Error("another place of this computer was reached")
		}
	})
}

func TestCancelled(t *testing.T) {
	_, _, err := Node()
	need(t, err, "REQUIRE_REGISTRIES")
	eachTier(t, func(t *testing.T, r *rig) {
		r.shop.put("/stuck", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Install(ctx, "stuck", Package{NPM, "stuck", ""}); !errors.Is(err, context.DeadlineExceeded) || len(r.left()) > 0 {
			t.Errorf("%v, left %q", err, r.left())
		}
	})
}

func TestPyPI(t *testing.T) {
	_, err := UV()
	need(t, err, "REQUIRE_REGISTRIES")
	eachTier(t, func(t *testing.T, r *rig) {
		if _, _, err := r.python(); err != nil {
			need(t, err, "REQUIRE_REGISTRIES")
		}
		code := map[string]string{"clock/__init__.py": "", "clock/app.py": `
import importlib.metadata, sys
class App:
    @staticmethod
    def main():
        print("ticks", importlib.metadata.version("Clock-Server"), *sys.argv[1:])
        assert not any("dist-packages" in p or "site-packages" in p for p in sys.path), sys.path
`}
		r.shop.wheel("clock-server", "2.1", "[console_scripts]\nclock-server = clock.app:App.main\nother = clock.app:App\n\n[gui_scripts]\nx = y:z\n", code)
		done, err := r.Install(t.Context(), "clock", Package{PyPI, "clock-server", ""})
		if err != nil {
			t.Fatal(err)
		}
		if done.Package.Version != "2.1" || !slices.Equal(r.left(), []string{"clock-2.1"}) {
			t.Errorf("installed %+v, left %q", done, r.left())
		}
		if got := run(t, done, "a", "b"); got != "ticks 2.1 a b" {
			t.Errorf("it said %q", got)
		}
		r.shop.put("/simple/source-only/", []byte(`<a href="/wheels/source-only-1.0.tar.gz">source-only-1.0.tar.gz</a>`))
		r.shop.put("/wheels/source-only-1.0.tar.gz", []byte("never read"))
		for name, entries := range map[string]string{
			"source-only": "",
			"no-program":  "[gui_scripts]\nx = y:z\n",
			"injected":    "[console_scripts]\ninjected = clock.app:App.main\");import os;os.system(\"x\n",
			"injected-2":  "[console_scripts]\ninjected-2 = os;x:y\n",
			"injected-3":  "[console_scripts]\nin\rjected = clock.app:App.main\n",
		} {
			if entries != "" {
				r.shop.wheel(name, "1.0", entries, code)
			}
			if done, err := r.Install(t.Context(), name, Package{PyPI, name, "1.0"}); err == nil {
				t.Errorf("%s was installed: %q", name, done.Command)
			}
		}
		if len(r.left()) != 1 {
			t.Errorf("left %q", r.left())
		}
	})
}

// TestPyPIScripts: a package that has to be built is built only with leave, and its setup gets no further than the folder.
func TestPyPIScripts(t *testing.T) {
	_, err := UV()
	need(t, err, "REQUIRE_REGISTRIES")
	const backend = `
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    seen = [os.environ["SSL_CERT_FILE"]]
    for path in (HOME + "/.npmrc", HOME + "/.netrc"):
        try: seen.append(open(path).read())
        except OSError as e: seen.append("refused")
    for folder in (HOME, os.environ["UV_CACHE_DIR"]):
        try: open(folder + "/planted", "w").write("x")
        except OSError: pass
    info = "built-1.0.dist-info/"
    with zipfile.ZipFile(directory + "/built-1.0-py3-none-any.whl", "w") as z:
        z.writestr("built.py", "def main(): print(" + repr(" ".join(seen)) + ")")
        z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
        z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(info + "entry_points.txt", "[console_scripts]\nbuilt = built:main\n")
        z.writestr(info + "RECORD", "")
    return "built-1.0-py3-none-any.whl"
`
	eachTier(t, func(t *testing.T, r *rig) {
		for _, name := range []string{".npmrc", ".netrc"} {
			put(t, filepath.Join(r.Paths.Home, name), "secret-of-"+name)
		}
		own := filepath.Join(r.Paths.Home, "own.pem") // a machine's own certificates count, not those of its system
		bundle, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
		need(t, err, "REQUIRE_REGISTRIES")
		put(t, own, string(bundle))
		t.Setenv("SSL_CERT_FILE", own)
		home, _ := json.Marshal(r.Paths.Home)
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for path, text := range map[string]string{"backend.py": strings.ReplaceAll(backend, "HOME", string(home)), "PKG-INFO": "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n",
			"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n[project]\nname = \"built\"\nversion = \"1.0\"\n"} {
			_ = w.WriteHeader(&tar.Header{Name: "built-1.0/" + path, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
			_, _ = io.WriteString(w, text)
		}
		w.Close()
		z.Close()
		r.shop.put("/simple/built/", []byte(`<a href="/wheels/built-1.0.tar.gz">built-1.0.tar.gz</a>`))
		r.shop.put("/wheels/built-1.0.tar.gz", b.Bytes())
		if _, err := r.Install(t.Context(), "built", Package{PyPI, "built", "1.0"}); err == nil || len(r.left()) > 0 {
			t.Fatalf("built without leave: %v, left %q", err, r.left())
		}
		r.Scripts = true
		done, err := r.Install(t.Context(), "built", Package{PyPI, "built", "1.0"})
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, done); got != own+" refused refused" {
			t.Errorf("its setup read %q", got)
		}
		if _, err := os.Stat(filepath.Join(r.Paths.Home, "planted")); err == nil {
			t.Error("its setup wrote outside")
		}
		r.noCache("planted")
	})
}

// TestPython: an interpreter in a folder that no server is given is not used.
func TestPython(t *testing.T) {
	home := t.TempDir()
	for _, place := range []string{"bin/python3", ".local/bin/python3", ".ssh/bin/python3", ".local/share/uv/python/cpython/bin/python3"} {
		path := filepath.Join(home, place)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, path, "")
		in := Installer{Paths: config.Paths{Home: home}, Python: path}
		_, read, err := in.python()
		if want := strings.Contains(place, "cpython"); (err == nil) != want {
			t.Errorf("%s: granted %q, %v", place, read, err)
		}
	}
}

// TestRegistries: an installer reaches what the machine is set up for, and words with passwords stay inside.
func TestRegistries(t *testing.T) {
	for _, name := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	rc := filepath.Join(t.TempDir(), ".npmrc")
	hosts := func() string {
		all, _, err := npmRegistries(rc)
		if err != nil {
			return err.Error()
		}
		var words []string
		for _, u := range all {
			words = append(words, u.Host)
		}
		return strings.Join(words, " ")
	}
	t.Setenv("MIRROR", "mirror.example")
	for text, want := range map[string]string{
		"": "registry.npmjs.org",
		"registry=https://r.example/npm/\n//r.example/:_authToken=x\n":             "r.example",
		" registry = \"https://r.example\" \n@a:registry=https://a.example:8443\n": "r.example a.example:8443",
		"@a:registry=https://${MIRROR}/\n; registry=https://no.example\n":          "mirror.example registry.npmjs.org",
		"registry=file:///etc\n": "npm: a registry's address is not http or https",
	} {
		put(t, rc, text)
		if got := hosts(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	t.Setenv("UV_DEFAULT_INDEX", "own=https://u:secret-word@index.example/simple")
	all, err := pypiRegistries()
	if err != nil || len(all) != 2 || all[0].Host != "index.example" || all[1].Host != "files.pythonhosted.org" {
		t.Errorf("%v, %v", all, err)
	}
	if got := withoutPasswords("error at https://u:secret-word@index.example, Basic dTpzZWNyZXQtd29yZA==, dTpzZWNyZXQtd29yZA==", all, nil); strings.Contains(got, "secret-word") || strings.Contains(got, "dTpz") {
		t.Errorf("it says %q", got)
	}
}
