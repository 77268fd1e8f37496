package catalog

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"cordon/host/config"
	"cordon/sandbox"
)

//go:embed presets
var presets embed.FS

// Preset is a package whose whole tree of packages is part of Cordon as a lock file: an installation is the one that was
// looked at, whatever a registry says later.
type Preset struct {
	Name    string // key of the server, and of its folder in presets/
	Title   string
	Package Package
}

// Filesystem is npm's reference server for files.
var Filesystem = Preset{Name: "filesystem", Title: "Files", Package: Package{NPM, "@modelcontextprotocol/server-filesystem", "2026.8.31"}}

// InstallPreset installs p as Install does. A finished installation of it is used as it is.
func (in Installer) InstallPreset(ctx context.Context, p Preset) (Installed, error) {
	dir := filepath.Join(in.Paths.Data, p.Name+"-"+p.Package.Version)
	if done, err := in.installedNPM(dir, p.Package); err == nil {
		return done, nil
	}
	return in.place(ctx, p.Name, p.Package, func(ctx context.Context, w *work, pkg Package) (Installed, error) {
		for _, name := range []string{"package.json", "package-lock.json"} {
			b, err := presets.ReadFile("presets/" + p.Name + "/" + name)
			if err != nil {
				return Installed{}, err
			}
			if err := config.WriteFile(filepath.Join(w.dir, name), b); err != nil {
				return Installed{}, err
			}
		}
		return w.npm(ctx, pkg, "ci")
	})
}

// Node returns the absolute paths of node and of npm's program, with links followed.
func Node() (node, npm string, err error) {
	if node, err = find("node", ErrNoNode); err != nil {
		return "", "", err
	}
	npm, err = find("npm", ErrNoNode)
	return node, npm, err
}

// fetchNPM lets npm choose the packages that p needs. What it chose stays beside them in package-lock.json.
func (in Installer) fetchNPM(ctx context.Context, w *work, p Package) (Installed, error) {
	version := p.Version
	if version == "" {
		version = "latest"
	}
	manifest, err := json.Marshal(map[string]any{"private": true, "dependencies": map[string]string{p.Name: version}})
	if err != nil {
		return Installed{}, err
	}
	if err := config.WriteFile(filepath.Join(w.dir, "package.json"), manifest); err != nil {
		return Installed{}, err
	}
	return w.npm(ctx, p, "install")
}

// npm runs npm's verb, "ci" or "install", on a folder with a package.json.
func (w *work) npm(ctx context.Context, p Package, verb string) (Installed, error) {
	node, npm, err := Node()
	if err != nil {
		return Installed{}, err
	}
	t := tool{name: "npm", read: []string{filepath.Dir(filepath.Dir(npm))},
		argv: []string{node, npm, verb, "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error"}}
	plain := []string{"npm_config_cache=" + w.cache, "npm_config_update_notifier=false", "npm_config_logs_max=0",
		"npm_config_fetch_retries=2", "npm_config_fetch_retry_mintimeout=1000", "npm_config_fetch_retry_maxtimeout=5000", "npm_config_fetch_timeout=60000"} // npm itself waits for minutes
	if !sandbox.InSystem(node) {
		plain = append(plain, "PATH="+filepath.Dir(node)+":"+strings.Join(sandbox.Path, ":"))
	}
	env, files := settings("NODE_EXTRA_CA_CERTS", "npm_config_registry", "NPM_CONFIG_REGISTRY")
	t.env, t.read = append(env, plain...), append(t.read, files...)
	rc := filepath.Join(w.in.Paths.Home, ".npmrc") // which registry, and how to sign in there
	if _, err := os.Stat(rc); err == nil {
		t.read, t.env = append(t.read, rc), append(t.env, "npm_config_userconfig="+rc)
	}
	if t.registries, t.secrets, err = npmRegistries(rc); err != nil {
		return Installed{}, err
	}
	w.in.say("Fetching " + p.String() + " with npm, install scripts off")
	if err := w.run(ctx, t); err != nil {
		return Installed{}, err
	}
	if w.in.Scripts {
		w.in.say("Running install scripts, without a network")
		t = tool{name: "npm", read: []string{filepath.Dir(filepath.Dir(npm))}, env: plain, argv: []string{node, npm, "rebuild", "--loglevel=error"}, build: true}
		if err := w.run(ctx, t); err != nil {
			return Installed{}, err
		}
	}
	return w.in.installedNPM(w.dir, p)
}

// npmRegistries are the registries that npm would ask: those of the environment and of the person's .npmrc, else npm's own. secrets are
// what it signs in with there.
func npmRegistries(rc string) (all []*url.URL, secrets []string, err error) {
	named := []string{os.Getenv("npm_config_registry"), os.Getenv("NPM_CONFIG_REGISTRY")}
	own := named[0] != "" || named[1] != ""
	f, err := os.Open(rc)
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), "=")
			key, value = strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"'`)
			if strings.HasSuffix(key, ":_authToken") || strings.HasSuffix(key, ":_auth") || strings.HasSuffix(key, ":_password") || strings.HasPrefix(key, "_") {
				secrets = append(secrets, os.Expand(value, os.Getenv))
			}
			if key == "registry" || strings.HasPrefix(key, "@") && strings.HasSuffix(key, ":registry") {
				named, own = append(named, os.Expand(value, os.Getenv)), own || key == "registry"
			}
		}
		if err := lines.Err(); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", rc, err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	if !own {
		named = append(named, "https://registry.npmjs.org/")
	}
	for _, s := range named {
		if s == "" {
			continue
		}
		u, err := address(s)
		if err != nil {
			return nil, nil, fmt.Errorf("npm: %w", err)
		}
		all = append(all, u)
	}
	return all, secrets, nil
}

// maxManifest bounds a package.json or lock file, in bytes.
const maxManifest = 32 << 20

// readJSON reads what a package wrote: bounded, and within its folder.
func readJSON(root *os.Root, path string, into any) error {
	b, err := readBounded(root, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// installedNPM reads what lies in dir: which version of p, and what starts it.
func (in Installer) installedNPM(dir string, p Package) (Installed, error) {
	node, _, err := Node()
	if err != nil {
		return Installed{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Installed{}, err
	}
	defer root.Close()
	base := "node_modules/" + p.Name
	var manifest struct {
		Version string          `json:"version"`
		Bin     json.RawMessage `json:"bin"`
	}
	if err := readJSON(root, base+"/package.json", &manifest); err != nil {
		return Installed{}, err
	}
	if !npmVersion.MatchString(manifest.Version) || p.Version != "" && manifest.Version != p.Version {
		return Installed{}, fmt.Errorf("the package says that its version is %q", manifest.Version)
	}
	p.Version = manifest.Version
	done := Installed{Package: p, Dir: dir}
	programs := map[string]string{}
	var single string
	if json.Unmarshal(manifest.Bin, &single) == nil && single != "" {
		programs[p.Name[strings.LastIndexByte(p.Name, '/')+1:]] = single
	} else if len(manifest.Bin) > 0 {
		if err := json.Unmarshal(manifest.Bin, &programs); err != nil {
			return Installed{}, fmt.Errorf("the programs in its package.json: %w", err)
		}
	}
	_, entry, err := in.choose(p, programs)
	if err != nil {
		return Installed{}, err
	}
	if entry = filepath.Clean(entry); !filepath.IsLocal(entry) {
		return Installed{}, fmt.Errorf("its program %q lies outside of the package", entry)
	}
	if done.Command, err = launch(root, dir, filepath.Join(base, entry), node); err != nil {
		return Installed{}, err
	}
	var lock struct {
		Packages map[string]struct {
			HasInstallScript bool `json:"hasInstallScript"`
		} `json:"packages"`
	}
	if err := readJSON(root, "package-lock.json", &lock); err != nil {
		return Installed{}, err
	}
	for path, l := range lock.Packages {
		if i := strings.LastIndex(path, "node_modules/"); l.HasInstallScript && i >= 0 {
			done.Scripts = append(done.Scripts, path[i+len("node_modules/"):])
		}
	}
	sorted(done.Scripts)
	return done, nil
}

// launch returns what starts the program at path: node for a script of node's, with the options its first line names, or the
// file itself.
func launch(root *os.Root, dir, path, node string) ([]string, error) {
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", path)
	}
	head := make([]byte, 256)
	n, _ := f.Read(head)
	first, _, _ := strings.Cut(string(head[:n]), "\n")
	words := strings.Fields(strings.TrimPrefix(first, "#!"))
	program := filepath.Join(dir, path)
	for i, w := range words {
		if strings.HasPrefix(first, "#!") && filepath.Base(w) == "node" {
			command := []string{node}
			for _, option := range words[i+1:] {
				if strings.HasPrefix(option, "--") {
					command = append(command, option)
				}
			}
			return append(command, program), nil
		}
	}
	switch filepath.Ext(path) {
	case ".js", ".mjs", ".cjs":
		return []string{node, program}, nil
	}
	return []string{program}, nil
}
