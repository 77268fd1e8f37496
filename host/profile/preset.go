package profile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cordon/host/config"
	"cordon/sandbox"
)

// Preset is the most that a profile can hold, for servers of one kind.
type Preset struct {
	Name string
	Says string   // for people: what a server with it can do
	Keys []string // of what it can grant
	Nets []string // the first is what it has when none is named
}

// Presets are the known ones, the strictest first.
var Presets = []Preset{
	{"offline", "Computes. It reads no file of yours and reaches nothing.", nil, []string{config.NetNone}},
	{"reads-folder", "Reads the folders that are named. It changes nothing and reaches nothing.", []string{"read"}, []string{config.NetNone}},
	{"workspace", "Reads and changes the folders that are named. It reaches nothing but itself.", []string{"read", "write", "serve"}, []string{config.NetNone, config.NetLoopback}},
	{"calls-api", "Reaches the hosts and ports that are named. It sees no file of yours.", []string{"hosts", "private-hosts", "reach"}, []string{config.NetHosts, config.NetLoopback}},
}

// PresetNamed returns a preset.
func PresetNamed(name string) (Preset, bool) {
	i := slices.IndexFunc(Presets, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return Presets[i], true
}

// Vars gives the value of a variable, "" if it has none here.
type Vars func(name string) string

// Apply puts what p grants into a definition: its preset, narrowed to what p names, with variables replaced and sizes
// read. What p does not say gets the preset's default, or the one of a new server. It does not look at the file system;
// config.Server.Validate does. Errors name the key.
func (p Profile) Apply(s *config.Server, vars Vars) error {
	preset, err := p.within()
	if err != nil {
		return err
	}
	s.Preset = p.Preset
	for _, list := range []struct {
		key  string
		from []string
		to   *[]string
	}{{"read", p.Read, &s.Read}, {"write", p.Write, &s.Write}} {
		*list.to = []string{}
		for _, path := range list.from {
			real, err := expand(path, vars)
			if err != nil {
				return fmt.Errorf("%s: %w", list.key, err)
			}
			*list.to = append(*list.to, real)
		}
	}
	s.Hosts, s.Private, s.Reach, s.Serve = p.Hosts, p.PrivateHosts, p.Reach, p.Serve
	switch {
	case p.Net != "":
		s.Net = p.Net
	case len(p.Hosts)+len(p.PrivateHosts) > 0:
		s.Net = config.NetHosts
	case len(p.Reach)+len(p.Serve) > 0:
		s.Net = config.NetLoopback
	case p.Preset != "":
		s.Net = preset.Nets[0]
	default:
		s.Net = config.NetNone
	}
	if s.Memory, err = sandbox.ParseBytes(p.Memory); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	s.Memory, s.Pids, s.CPU = cmp.Or(s.Memory, config.DefaultMemory), cmp.Or(p.Pids, config.DefaultPids), p.CPU
	s.Demand, s.Observe = nil, p.Observe
	for _, g := range p.Demand {
		s.Demand = append(s.Demand, sandbox.Guarantee(g))
	}
	return nil
}

// Fits says why p grants more than its preset, nil if it does not.
func (p Profile) Fits() error {
	_, err := p.within()
	return err
}

// within reports the first key of p that its preset does not have.
func (p Profile) within() (Preset, error) {
	if p.Preset == "" {
		return Preset{}, nil
	}
	preset, ok := PresetNamed(p.Preset)
	if !ok {
		var names []string
		for _, q := range Presets {
			names = append(names, q.Name)
		}
		return preset, fmt.Errorf("preset: there is no %q; they are %s", p.Preset, strings.Join(names, ", "))
	}
	for _, k := range []struct {
		key  string
		used bool
	}{{"read", len(p.Read) > 0}, {"write", len(p.Write) > 0}, {"hosts", len(p.Hosts) > 0}, {"private-hosts", len(p.PrivateHosts) > 0}, {"reach", len(p.Reach) > 0}, {"serve", len(p.Serve) > 0}} {
		if k.used && !slices.Contains(preset.Keys, k.key) {
			return preset, fmt.Errorf("%s: the preset %s grants none; leave it out, or leave out the preset", k.key, p.Preset)
		}
	}
	if p.Net != "" && !slices.Contains(preset.Nets, p.Net) {
		return preset, fmt.Errorf("net: the preset %s has %s, not %s", p.Preset, strings.Join(preset.Nets, " or "), p.Net)
	}
	return preset, nil
}

// variables are what a path may begin with.
var variables = []string{"CASE", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_DESKTOP_DIR", "XDG_DOCUMENTS_DIR", "XDG_DOWNLOAD_DIR"}

// expand replaces the variable at the beginning of a path, "${NAME}" or "~".
func expand(path string, vars Vars) (string, error) {
	name, rest, ok := "", "", false
	switch {
	case path == "~" || strings.HasPrefix(path, "~/"):
		name, rest, ok = "HOME", path[1:], true
	case strings.HasPrefix(path, "${"):
		if name, rest, ok = strings.Cut(path[2:], "}"); !ok || !slices.Contains(variables, name) {
			return "", fmt.Errorf("%q: the variables are ${%s}", path, strings.Join(variables, "}, ${"))
		}
	}
	if strings.ContainsAny(rest, "$~") || !ok && strings.Contains(path, "${") {
		return "", fmt.Errorf("%q: a variable stands only at the beginning", path)
	}
	if !ok {
		return path, nil
	}
	if rest != "" && rest[0] != '/' {
		return "", fmt.Errorf("%q: a slash follows the variable", path)
	}
	value := vars(name)
	if value == "" {
		return "", fmt.Errorf("%q: %s is not set here%s", path, name, map[string]string{"CASE": "; name the case folder with --case"}[name])
	}
	return strings.TrimSuffix(value, "/") + rest, nil
}
