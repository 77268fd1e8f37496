package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cordon/host/audit"
	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/sandbox"
)

// Installation is a server to be installed from a registry.
type Installation struct {
	Server  config.Server // name, title, grants and limits; Command holds the server's own arguments alone
	Package catalog.Package
	Program string // which of the package's programs; "" takes the only one, or that of the package's name
	Python  string // interpreter for a package from PyPI; "" means python3
	Scripts bool   // let the package's install scripts run
}

// InstallServer fetches a package, puts it in place and defines a server that runs it. It does not start it. say tells what
// is being done. Cancelling ctx ends it; then, and after any error, nothing is defined and nothing of it is left.
func (h *Host) InstallServer(ctx context.Context, i Installation, say func(text string)) (config.Server, catalog.Installed, error) {
	def := i.Server
	def.Source, def.Version = string(i.Package.From)+":"+i.Package.Name, i.Package.Version
	planned := def
	planned.Command = append([]string{"/"}, def.Command...)
	if err := planned.Validate(h.o.Paths); err != nil { // before anything is fetched
		return def, catalog.Installed{}, err
	}
	release, err := h.reserve(def.Name)
	if err != nil {
		return def, catalog.Installed{}, err
	}
	defer release()
	in := h.installer(say)
	in.Taken = func(dir string) error { return h.used(dir, def.Name) }
	in.Program, in.Python, in.Scripts = i.Program, i.Python, i.Scripts
	done, err := in.Install(ctx, def.Name, i.Package)
	facts := map[string]string{"package": i.Package.String(), "scripts": strconv.FormatBool(i.Scripts), "hosts": strings.Join(done.Reached, " ")}
	if err != nil {
		_, logged := h.Append(audit.Event{Kind: audit.ServerInstall, Server: def.Name, Decision: audit.Failed, Reason: err.Error(), Facts: facts})
		return def, done, errors.Join(err, logged)
	}
	def = defined(def, done)
	facts["package"] = done.Package.String()
	_, err = h.Append(audit.Event{Kind: audit.ServerInstall, Server: def.Name, Decision: audit.Allowed, Reason: done.Package.String(), Facts: facts})
	if err == nil {
		err = h.AddServer(def)
	}
	if err != nil {
		return def, done, errors.Join(err, os.RemoveAll(done.Dir))
	}
	return def, done, nil
}

func (h *Host) installer(say func(text string)) catalog.Installer {
	return catalog.Installer{Sandbox: h.o.Sandbox, Paths: h.o.Paths, Say: say}
}

// defined is def with what runs an installed package, before the arguments that def has.
func defined(def config.Server, done catalog.Installed) config.Server {
	def.Source, def.Version, def.Dir = string(done.Package.From)+":"+done.Package.Name, done.Package.Version, done.Dir
	def.Command = append(slices.Clone(done.Command), def.Command...)
	for _, path := range done.Read {
		if !slices.Contains(def.Read, path) {
			def.Read = append(slices.Clone(def.Read), path)
		}
	}
	return def
}

// reserve keeps a name for one installation, from its first look to its end.
func (h *Host) reserve(name string) (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, exists := h.conf.Server(name); exists {
		return nil, fmt.Errorf("a server named %q exists already; see it with cordon servers show, or remove it first", name)
	}
	if h.installing[name] {
		return nil, fmt.Errorf("a server named %q is being installed already", name)
	}
	if h.installing == nil {
		h.installing = map[string]bool{}
	}
	h.installing[name] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.installing, name)
	}, nil
}

// used names a server other than the one called name that a folder belongs to, as an error.
func (h *Host) used(dir, name string) error {
	for _, other := range h.Config().Servers {
		uses := func(path string) bool { return sandbox.Below(path, dir) }
		if other.Name != name && slices.ContainsFunc(slices.Concat([]string{other.Dir}, other.Command, other.Read, other.Write), uses) {
			return fmt.Errorf("the server %q uses %s; remove it first, or choose another name", other.Name, dir)
		}
	}
	return nil
}

// removeInstalled deletes the folder that InstallServer made for def, unless another server uses it. A definition is a text that
// anybody may have written: only what an installation could have been called is deleted, in the one folder where they lie.
func (h *Host) removeInstalled(def config.Server) error {
	if _, err := catalog.ParsePackage(def.Source + "@" + def.Version); err != nil || def.Version == "" {
		return nil
	}
	name := def.Name + "-" + def.Version
	dir := filepath.Join(h.o.Paths.Data, name)
	if def.Dir != dir || filepath.Base(dir) != name || filepath.Dir(dir) != filepath.Clean(h.o.Paths.Data) || h.used(dir, def.Name) != nil {
		return nil
	}
	data, err := os.OpenRoot(h.o.Paths.Data)
	if err != nil {
		return err
	}
	defer data.Close()
	return data.RemoveAll(name)
}

// sweepInstalls deletes what an installation left that was killed. The caller owns the state.
func (h *Host) sweepInstalls() {
	for _, dir := range []string{h.o.Paths.Data, h.o.Paths.Cache} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() && strings.HasPrefix(e.Name(), catalog.Unfinished) {
				if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
					h.o.Log.Error("an unfinished installation is left", "err", err)
				}
			}
		}
	}
}
