package catalog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cordon/host/config"
	"cordon/sandbox"
)

// lib is where a Python package and those it needs lie, in the server's folder; starter is what runs one of its programs.
const (
	lib     = "lib"
	starter = "run.py"
)

// UV returns the absolute path of uv, with links followed.
func UV() (string, error) { return find("uv", ErrNoUV) }

// fetchPyPI lets uv choose and place the packages that p needs: wheels alone, unless scripts are granted, because building
// any other runs its setup.
func (in Installer) fetchPyPI(ctx context.Context, w *work, p Package) (Installed, error) {
	uv, err := UV()
	if err != nil {
		return Installed{}, err
	}
	python, read, err := in.python()
	if err != nil {
		return Installed{}, err
	}
	requirement := p.Name
	if p.Version != "" {
		requirement += "==" + p.Version
	}
	env, files := settings("UV_DEFAULT_INDEX", "UV_INDEX_URL")
	t := tool{name: "uv", read: append(files, read...), build: in.Scripts,
		env:  append(env, "UV_CACHE_DIR="+w.cache, "UV_LINK_MODE=copy", "UV_PYTHON_DOWNLOADS=never", "UV_NO_PROGRESS=1", "UV_NO_CONFIG=1"),
		argv: []string{uv, "pip", "install", "--quiet", "--target", filepath.Join(w.dir, lib), "--python", python, "--compile-bytecode"}}
	if !in.Scripts {
		t.argv = append(t.argv, "--only-binary", ":all:")
	}
	t.argv = append(t.argv, requirement)
	if t.registries, err = pypiRegistries(); err != nil {
		return Installed{}, err
	}
	if in.Scripts && slices.ContainsFunc(t.registries, func(u *url.URL) bool { return u.User != nil }) {
		return Installed{}, errors.New("the index is named with a password, which the packages' own setup could read: leave --scripts out")
	}
	if in.Scripts {
		in.say("Fetching " + p.String() + " with uv, which may run the packages' own setup")
	} else {
		in.say("Fetching " + p.String() + " with uv, finished packages only")
	}
	if err := w.run(ctx, t); err != nil {
		return Installed{}, err
	}
	return in.finishPyPI(w.dir, p, python, read)
}

// python returns the interpreter and what it needs to be readable.
func (in Installer) python() (path string, read []string, err error) {
	name := in.Python
	if name == "" {
		name = "python3"
	}
	candidates := []string{name}
	if !filepath.IsAbs(name) {
		candidates = nil
		for _, dir := range sandbox.Path {
			candidates = append(candidates, filepath.Join(dir, name))
		}
	}
	for _, c := range candidates {
		if path, err := sandbox.Resolve(c); err == nil {
			if sandbox.InSystem(path) {
				return path, nil, nil
			}
			prefix := filepath.Dir(filepath.Dir(path)) // with its library
			if why, _ := in.Paths.Guarded(prefix); why != "" {
				return "", nil, fmt.Errorf("%s cannot be used, because its folder would have to be readable: %s", path, why)
			}
			return path, []string{prefix}, nil
		}
	}
	if in.Python != "" {
		return "", nil, fmt.Errorf("there is no %s", in.Python)
	}
	return "", nil, ErrNoPython
}

// pypiRegistries are the indexes that uv would ask: those of its variables, else PyPI.
func pypiRegistries() ([]*url.URL, error) {
	var named []string
	for _, name := range []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if v := os.Getenv(name); v != "" {
			_, at, ok := strings.Cut(v, "=") // NAME=URL
			if !ok || strings.Contains(v[:len(v)-len(at)-1], "/") {
				at = v
			}
			named = append(named, at)
		}
	}
	if len(named) == 0 {
		named = []string{"https://pypi.org/simple"}
	}
	var all []*url.URL
	for _, s := range append(named, "https://files.pythonhosted.org/") { // mirrors lead there too
		u, err := address(s)
		if err != nil {
			return nil, fmt.Errorf("uv: %w", err)
		}
		all = append(all, u)
	}
	return all, nil
}

var programName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

var identifiers = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// finishPyPI writes the starter and returns what lies in dir.
func (in Installer) finishPyPI(dir string, p Package, python string, read []string) (Installed, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Installed{}, err
	}
	defer root.Close()
	info, version, err := distInfo(root, p.Name)
	if err != nil {
		return Installed{}, err
	}
	if !pypiVersion.MatchString(version) || p.Version != "" && version != p.Version {
		return Installed{}, fmt.Errorf("the package says that its version is %q", version)
	}
	p.Version = version
	programs, err := consoleScripts(root, info)
	if err != nil {
		return Installed{}, err
	}
	name, entry, err := in.choose(p, programs)
	if err != nil {
		return Installed{}, err
	}
	if !programName.MatchString(name) {
		return Installed{}, fmt.Errorf("%q is not the name of a program", name)
	}
	entry, _, _ = strings.Cut(entry, "[") // extras
	module, object, _ := strings.Cut(strings.TrimSpace(entry), ":")
	module, object = strings.TrimSpace(module), strings.TrimSpace(object)
	if !identifiers.MatchString(module) || !identifiers.MatchString(object) {
		return Installed{}, fmt.Errorf("its program %q starts with %q, which is not MODULE:FUNCTION", name, entry)
	}
	// -I and -S leave out the environment's and the person's own packages, and the system's: what lies here and what comes
	// with Python is all there is.
	text := fmt.Sprintf(`# Starts %s of %s. The interpreter is given -I and -S.
import functools, importlib, os, site, sys

site.addsitedir(os.path.join(os.path.dirname(os.path.abspath(__file__)), %q))
if __name__ == "__main__":
    sys.argv[0] = %q
    sys.exit(functools.reduce(getattr, %q.split("."), importlib.import_module(%q))())
`, name, p, lib, name, object, module)
	if err := config.WriteFile(filepath.Join(dir, starter), []byte(text)); err != nil {
		return Installed{}, err
	}
	return Installed{Package: p, Dir: dir, Read: read, Command: []string{python, "-I", "-S", filepath.Join(dir, starter)}}, nil
}

// distInfo finds the folder that describes the package called name, and its version.
func distInfo(root *os.Root, name string) (dir, version string, err error) {
	entries, err := fs.ReadDir(root.FS(), lib)
	if err != nil {
		return "", "", err
	}
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), ".dist-info")
		if !ok {
			continue
		}
		if have, version, ok := strings.Cut(stem, "-"); ok && normalized(have) == name {
			return lib + "/" + e.Name(), version, nil
		}
	}
	return "", "", errors.New("what was installed does not name the package")
}

// consoleScripts reads the programs of a package (packaging.python.org, entry points specification).
func consoleScripts(root *os.Root, info string) (map[string]string, error) {
	b, err := readBounded(root, info+"/entry_points.txt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	programs := map[string]string{}
	section := ""
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case section == "console_scripts":
			if name, entry, ok := strings.Cut(line, "="); ok {
				programs[strings.TrimSpace(name)] = strings.TrimSpace(entry)
			}
		}
	}
	return programs, lines.Err()
}

func readBounded(root *os.Root, path string) ([]byte, error) {
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(b) > maxManifest {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxManifest)
	}
	return b, err
}
