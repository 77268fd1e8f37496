// Package catalog installs servers from npm and PyPI: exact versions, scripts off unless granted, in a sandbox that can
// write nothing but the new server's own folder and a cache, and reach nothing but the registry, through the proxy for named
// hosts. Installing and running are separate: what runs later has its folder read-only and no registry.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"cordon/host/config"
	"cordon/sandbox"
)

// Registry is where a package comes from.
type Registry string

// The registries.
const (
	NPM  Registry = "npm"
	PyPI Registry = "pypi"
)

// Package is a server in a registry.
type Package struct {
	From    Registry
	Name    string // as the registry writes it: "@scope/name", or normalized by PEP 503
	Version string // exact; "" means the newest
}

// String returns what ParsePackage reads.
func (p Package) String() string {
	s := string(p.From) + ":" + p.Name
	if p.Version != "" {
		s += "@" + p.Version
	}
	return s
}

var (
	npmName     = regexp.MustCompile(`^(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*$`)
	npmVersion  = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	pypiName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	pypiVersion = regexp.MustCompile(`^([0-9]+!)?[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?(\+[a-z0-9]+([._-][a-z0-9]+)*)?$`)
	separators  = regexp.MustCompile(`[-_.]+`)
)

// maxName bounds a package's name and a version, in bytes.
const maxName = 214 // npm's own bound

// ParsePackage reads "npm:@scope/name", "npm:name@1.2.3", "pypi:name", "pypi:name@1.2.3" or "pypi:name==1.2.3". Ranges and
// tags are refused: what is installed is one version.
func ParsePackage(s string) (Package, error) {
	from, rest, ok := strings.Cut(s, ":")
	p := Package{From: Registry(from)}
	if !ok || p.From != NPM && p.From != PyPI {
		return Package{}, fmt.Errorf("package %q: write npm:NAME or pypi:NAME, with @VERSION for another than the newest", s)
	}
	p.Name = rest
	if i := strings.LastIndexByte(rest, '@'); i > 0 {
		p.Name, p.Version = rest[:i], rest[i+1:]
	} else if name, version, ok := strings.Cut(rest, "=="); ok && p.From == PyPI {
		p.Name, p.Version = name, version
	}
	name, version := npmName, npmVersion
	if p.From == PyPI {
		p.Name = normalized(p.Name)
		name, version = pypiName, pypiVersion
	}
	switch {
	case len(p.Name) > maxName || !name.MatchString(p.Name):
		return Package{}, fmt.Errorf("package %q: %q is not the name of a package", s, p.Name)
	case p.Name == rest: // no version
	case len(p.Version) > maxName || !version.MatchString(p.Version):
		return Package{}, fmt.Errorf("package %q: %q is not an exact version", s, p.Version)
	}
	return p, nil
}

// normalized is a Python package's name as PEP 503 compares it.
func normalized(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// Starter starts confined programs. *sandbox.Sandbox implements it.
type Starter interface {
	Start(ctx context.Context, p sandbox.Profile, c sandbox.Command, f sandbox.Files) (*sandbox.Process, error)
}

// Installer puts packages into Paths.Data.
type Installer struct {
	Sandbox Starter
	Paths   config.Paths
	Say     func(text string)      // told what is being done; nil is allowed
	Taken   func(dir string) error // why a folder that is there must not be replaced; nil replaces it
	Scripts bool                   // run the packages' own scripts: npm's without a network, Python's with the index in reach
	Program string                 // which of the package's programs; "" takes the only one, or that of the package's name
	Python  string                 // interpreter for PyPI, an absolute path or a name in sandbox.Path; "" means python3
}

// Installed is a package in its place.
type Installed struct {
	Package Package  // its Version is exact
	Dir     string   // its folder
	Command []string // what runs it, before a server's own arguments
	Read    []string // what an interpreter outside of the system's folders needs besides
	Scripts []string // packages in it that have install scripts: names
	Reached []string // hosts that were reached, HOST:PORT
}

// Errors of a machine that lacks an installer.
var (
	ErrNoNode   = errors.New("node and npm are needed to install this server; install Node.js 20 or newer")
	ErrNoUV     = errors.New("uv is needed to install this server; install it as docs.astral.sh/uv says")
	ErrNoPython = errors.New("python3 is needed to run this server; install Python 3.10 or newer")
)

// Install puts p into the folder of the server called name, where it replaces what is left of an earlier one. The caller
// makes sure that no server uses it. Cancelling ctx ends it and leaves nothing half-installed.
func (in Installer) Install(ctx context.Context, name string, p Package) (Installed, error) {
	fetch := in.fetchNPM
	if p.From == PyPI {
		fetch = in.fetchPyPI
	}
	return in.place(ctx, name, p, fetch)
}

// Unfinished begins the names of folders that an installation uses before it is done. One that was killed leaves them.
const Unfinished = ".install-"

// place runs fetch on a folder of its own and moves that to where it stays.
func (in Installer) place(ctx context.Context, name string, p Package, fetch func(ctx context.Context, w *work, p Package) (Installed, error)) (done Installed, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("install %s: %w", p, err)
		}
	}()
	dir, err := os.MkdirTemp(in.Paths.Data, Unfinished+name+"-")
	if err != nil {
		return Installed{}, err
	}
	defer os.RemoveAll(dir)
	cache := filepath.Join(in.Paths.Cache, string(p.From))
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return Installed{}, err
	}
	if in.Scripts { // what they leave in a cache must not become part of another installation
		if cache, err = os.MkdirTemp(in.Paths.Cache, Unfinished+name+"-"); err != nil {
			return Installed{}, err
		}
		defer os.RemoveAll(cache)
	}
	w := &work{in: in, dir: dir, cache: cache}
	if done, err = fetch(ctx, w, p); err != nil {
		return Installed{}, err
	}
	done.Reached = w.reached()
	in.say("Putting it in place, read-only from now on")
	done.Dir = filepath.Join(in.Paths.Data, name+"-"+done.Package.Version)
	if in.Taken != nil {
		if err := in.Taken(done.Dir); err != nil {
			return Installed{}, err
		}
	}
	if err := os.RemoveAll(done.Dir); err != nil {
		return Installed{}, err
	}
	if err := os.Rename(dir, done.Dir); err != nil {
		return Installed{}, err
	}
	for i, word := range done.Command {
		if rest, ok := strings.CutPrefix(word, dir+"/"); ok {
			done.Command[i] = filepath.Join(done.Dir, rest)
		}
	}
	return done, config.SyncDir(in.Paths.Data)
}

func (in Installer) say(text string) {
	if in.Say != nil {
		in.Say(text)
	}
}

// find returns the absolute path of an installer's program that a person would start, with links followed.
func find(name string, missing error) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", missing
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	return sandbox.Resolve(path)
}

// choose picks one of the programs of package p.
func (in Installer) choose(p Package, programs map[string]string) (name, entry string, err error) {
	own := p.Name[strings.LastIndexByte(p.Name, '/')+1:]
	var names []string
	for name := range programs {
		names = append(names, name)
	}
	switch {
	case in.Program != "":
		own = in.Program
	case len(names) == 1:
		own = names[0]
	}
	if entry, ok := programs[own]; ok {
		return own, entry, nil
	}
	if len(names) == 0 {
		return "", "", errors.New("it has no program to start, so it is not a server")
	}
	return "", "", &ProgramError{p, in.Program, sorted(names)}
}

// ProgramError says that a package has several programs and none was named, or not the one that was.
type ProgramError struct {
	Package  Package
	Named    string   // "" for none
	Programs []string // its programs, sorted; untrusted text
}

// Error lists them.
func (e *ProgramError) Error() string {
	if e.Named != "" {
		return fmt.Sprintf("%s has no program %q; it has %q", e.Package, e.Named, e.Programs)
	}
	return fmt.Sprintf("%s has these programs: %q; name one of them", e.Package, e.Programs)
}
