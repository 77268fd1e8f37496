// Package learn turns what a program asked for and was not granted into the smallest profile that would grant it, in words that a
// person can judge. It proposes; what it read is the program's own wish, so a person has to look at it before it becomes a grant.
package learn

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cordon/host/config"
	"cordon/host/profile"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// Run is what a run showed. All paths are absolute and clean.
type Run struct {
	Granted config.Server       // what was granted; of it, what a profile says
	Home    string              // the home directory, or ""
	Case    string              // the case folder, or ""
	Wants   []sandbox.Want      //
	Rest    sandbox.Unwanted    // how often something was asked for that is not among them
	Hosts   []egress.Connection // those that were refused

	// Guarded says why no server is ever given a path, "" if one can be, and whether it is because keys or the like lie there.
	// config.Paths.Guarded does.
	Guarded func(path string) (why string, secret bool)
	Folder  func(path string) bool // of what was granted: is it a folder? nil: all is
}

// IsFolder is a Folder that looks.
func IsFolder(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

// Suggestion is what could be granted, with what was granted before.
type Suggestion struct {
	Profile  profile.Profile `json:"profile"`
	Asked    []Asked         `json:"asked"`    // what is new in it, in words
	Left     []Left          `json:"left"`     // what was asked for and is not in it
	Cautions []string        `json:"cautions"` // what to think of before it is granted
}

// Asked is one grant.
type Asked struct {
	Does  string `json:"does"`  // "reads", "changes", "runs", "talks to", "calls"
	What  string `json:"what"`  // as the profile has it, or a port in words
	Grant string `json:"grant"` // the absolute path, host or port to grant; as config.Server.Never has it
	Times int    `json:"times"` // how many different things were asked for in a folder; else how often
}

// Left is one thing that is not proposed. What and Why can hold the program's own bytes: escape them.
type Left struct {
	Does    string `json:"does"`
	What    string `json:"what"`
	Why     string `json:"why"`
	Warning bool   `json:"warning,omitempty"` // keys, passwords, histories: no profile grants it
}

// Sentence says everything that the profile grants: "reads ~/case, talks to api.example.org:443".
func (p Suggestion) Sentence() string {
	var parts []string
	say := func(does string, what []string) {
		if len(what) > 0 {
			parts = append(parts, does+" "+strings.Join(what, ", "))
		}
	}
	q := p.Profile
	say("reads", named(q.Read))
	say("reads and changes", named(q.Write))
	say("talks to", slices.Concat(q.Hosts, q.PrivateHosts))
	if len(q.Reach) > 0 {
		say("calls", []string{ports(q.Reach) + " of this computer"})
	}
	if len(q.Serve) > 0 {
		say("can be called at", []string{ports(q.Serve)})
	}
	if len(parts) == 0 {
		return "computes; reads no file of yours and reaches nothing"
	}
	return strings.Join(parts, "; ")
}

func named(paths []string) []string {
	all := slices.Clone(paths)
	for i, p := range all {
		if p == "${CASE}" {
			all[i] = "your case folder"
		}
	}
	return all
}

func ports(all []uint16) string {
	if len(all) == 1 {
		return "port " + sandbox.Ports(all)
	}
	return "ports " + sandbox.Ports(all)
}

// Limits of a suggestion, those of a definition.
const (
	maxPaths = 64
	maxPorts = 16

	maxPathBytes = 1024
	maxPathParts = 64
)

// So many files in one folder, or so many things, make it the folder that is proposed.
const (
	filesTogether  = 3
	thingsTogether = 5
)

// needless is what programs ask for and do without here.
var needless = map[string]string{
	"/etc/resolv.conf":  throughProxy,
	"/etc/host.conf":    throughProxy,
	"/etc/gai.conf":     throughProxy,
	"/etc/locale.alias": "other names for languages; programs do without",
}

const throughProxy = "names are resolved by the proxy, not by the program"

// wide are folders that hold so much that no program is given one; those without a leading slash lie in the home directory. So are all
// folders in the root.
var wide = []string{".cache", ".config", ".local", ".local/share", ".local/state", "snap", "/var/cache", "/var/lib", "/var/log", "/var/tmp", "/var/spool", "/usr/local"}

// target is one path that would have to be granted.
type target struct {
	does  string // "reads", "changes" or "runs"
	path  string
	dir   bool
	look  bool            // it was only looked at
	new   bool            // not all of it was granted before
	names map[string]bool // what was asked for
}

type suggester struct {
	Run
	targets []target
	left    []Left
}

// Suggest looks at nothing but run, and calls nothing but its functions.
func Suggest(run Run) Suggestion {
	p := &suggester{Run: run}
	s := run.Granted
	for _, w := range run.Wants {
		if w.Kind != sandbox.WantConnect {
			p.path(w)
		}
	}
	// What was granted before counts when things are gathered: a program that asks for one file after the other gets its folder too.
	for _, list := range []struct {
		does  string
		paths []string
	}{{"reads", s.Read}, {"changes", s.Write}} {
		for _, path := range list.paths {
			p.targets = append(p.targets, target{does: list.does, path: path, dir: run.Folder == nil || run.Folder(path), names: map[string]bool{path: true}})
		}
	}
	p.gather()
	p.targets = slices.DeleteFunc(p.targets, func(t target) bool { return !t.new })
	out := Suggestion{Asked: []Asked{}, Left: []Left{}, Cautions: []string{}}
	for _, t := range p.targets {
		list := &s.Read
		if t.does == "changes" {
			list = &s.Write
		}
		if len(*list) >= maxPaths {
			p.leave(t.does, t.path, fmt.Sprintf("a profile holds %d folders and files at most", maxPaths))
			continue
		}
		*list = append(slices.Clone(*list), t.path)
		out.Asked = append(out.Asked, Asked{t.does, p.short(t.path), t.path, len(t.names)})
	}
	tidy(&s)
	out.Asked = append(out.Asked, p.hosts(&s)...)
	out.Asked = append(out.Asked, p.addresses(&s)...)
	if n := run.Rest.Over; n > 0 {
		p.leave("asks", fmt.Sprintf("%d times for more", n), "it asked for more different things than are kept")
	}
	if n := run.Rest.Unread; n > 0 {
		p.leave("asks", fmt.Sprintf("%d times for what is not known", n), "its memory cannot be read: it forbids that, or this computer does")
	}
	out.Left = append(out.Left, p.left...)
	out.Profile = p.profile(s)
	if len(s.Read)+len(s.Write) > 0 && len(s.Hosts)+len(s.Private) > 0 {
		out.Cautions = append(out.Cautions, "it would read files of yours and talk to the internet: what it reads can leave. No preset has both")
	}
	for _, t := range p.targets {
		if t.dir && len(t.names) >= filesTogether {
			out.Cautions = append(out.Cautions, fmt.Sprintf("%s is proposed whole, with everything that is in it now and later", p.short(t.path)))
		}
	}
	return out
}

// tidy leaves out what another grant holds. A grant for reading within one for writing keeps from changes what lies there.
func tidy(s *config.Server) {
	within := func(path string, dirs []string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return d != path && sandbox.Below(path, d) })
	}
	read, write := s.Read, s.Write
	s.Read = slices.DeleteFunc(slices.Clone(read), func(path string) bool {
		return slices.Contains(write, path) || within(path, read) && !within(path, write)
	})
	s.Write = slices.DeleteFunc(slices.Clone(write), func(path string) bool { return within(path, write) && !within(path, read) })
}

func (p *suggester) leave(does, what, why string) {
	p.left = append(p.left, Left{Does: does, What: what, Why: why})
}

// path turns one want into a target, or leaves it out.
func (p *suggester) path(w sandbox.Want) {
	does := map[sandbox.WantKind]string{sandbox.WantWrite: "changes", sandbox.WantExecute: "runs", sandbox.WantLook: "looks at"}[w.Kind]
	does = cmp.Or(does, "reads")
	if longest := max(len(w.Name), len(w.Real)); longest > maxPathBytes || strings.Count(w.Name, "/") > maxPathParts || strings.Count(w.Real, "/") > maxPathParts {
		p.leave(does, strings.ToValidUTF8(w.Name[:min(len(w.Name), 100)], "")+"…", "no path that long is proposed") // looking at it takes long, too
		return
	}
	for _, name := range []string{w.Name, w.Real} {
		if why, ok := needless[name]; ok {
			p.leave(does, w.Name, why)
			return
		}
	}
	t := target{does: does, path: cmp.Or(w.Real, w.Name), dir: w.Dir, new: true, names: map[string]bool{w.Name: true}}
	if w.Entry { // an empty folder would do, and cannot be granted before it is there
		t.path, t.dir = filepath.Dir(t.path), true
	}
	for _, name := range []string{w.Name, t.path} {
		if why, secret := p.Guarded(name); secret {
			p.left = append(p.left, Left{does, w.Name, why, true})
			return
		}
	}
	if why := p.barred(t.path); why != "" {
		p.leave(does, w.Name, why)
		return
	}
	if t.dir && p.isWide(t.path) {
		p.leave(does, w.Name, t.path+" holds too much; name the folder that it needs")
		return
	}
	if w.Real != "" && w.Real != w.Name && !p.granted(target{does: "reads", path: w.Name}) { // a link in what is granted is there
		p.leave(does, w.Name, "it is a link to "+w.Real+", and inside only that has a name: let the program use it")
	}
	if t.does == "looks at" { // what is not there is not asked for again, so this may be all that it asks
		t.does, t.look = "reads", true
	}
	if p.granted(t) {
		return
	}
	p.targets = append(p.targets, t)
}

// never is why something is not proposed again.
const never = "you said never"

// barred says why a path cannot be proposed, or "": nobody is given it, or what a person refused for good lies there or holds it.
func (p *suggester) barred(path string) string {
	if why, _ := p.Guarded(path); why != "" {
		return why
	}
	if slices.ContainsFunc(p.Granted.Never, func(n string) bool {
		return strings.HasPrefix(n, "/") && (sandbox.Below(path, n) || sandbox.Below(n, path))
	}) {
		return never
	}
	return ""
}

// granted reports whether t is granted already, as what lies behind a link may be.
func (p *suggester) granted(t target) bool {
	switch t.does {
	case "changes":
		return sandbox.Below(t.path, p.Granted.Write...)
	case "runs":
		return sandbox.InSystem(t.path) || sandbox.Below(t.path, p.Granted.Read...)
	}
	return sandbox.InSystem(t.path) || sandbox.Below(t.path, p.Granted.Read...) || sandbox.Below(t.path, p.Granted.Write...)
}

// isWide reports whether a folder holds too much to be proposed.
func (p *suggester) isWide(path string) bool {
	if strings.Count(path, "/") < 2 || path == p.Home || p.Home != "" && sandbox.Below(p.Home, path) {
		return true
	}
	return slices.ContainsFunc(wide, func(w string) bool {
		if !strings.HasPrefix(w, "/") {
			w = filepath.Join(p.Home, w)
		}
		return path == w
	})
}

// gather makes folders of what lies together, and leaves out what others hold.
func (p *suggester) gather() {
	if p.Case != "" && p.barred(p.Case) == "" { // the case folder is one thing
		for i, t := range p.targets {
			if t.new && sandbox.Below(t.path, p.Case) {
				p.targets[i].path, p.targets[i].dir, p.targets[i].look = p.Case, true, false
			}
		}
	}
	p.merge()
	p.leads()
	for {
		files, things, asked := map[string]int{}, map[string]int{}, map[string]bool{}
		for _, t := range p.targets { // merged, so each path is there once for what is done with it
			dir := t.does + " " + filepath.Dir(t.path)
			if things[dir]++; !t.dir {
				files[dir]++
			}
			asked[dir] = asked[dir] || t.new
		}
		changed := false
		for i, t := range p.targets {
			dir := filepath.Dir(t.path)
			key := t.does + " " + dir
			if !asked[key] || files[key] < filesTogether && things[key] < thingsTogether || p.isWide(dir) {
				continue
			}
			if p.barred(dir) == "" {
				p.targets[i].path, p.targets[i].dir, p.targets[i].look, changed = dir, true, false, true
			}
		}
		if !changed {
			break
		}
		p.merge()
	}
}

// leads leaves out looks at what leads to another target: it is there then.
func (p *suggester) leads() {
	all := slices.Clone(p.targets)
	p.targets = slices.DeleteFunc(p.targets, func(t target) bool {
		return t.look && slices.ContainsFunc(all, func(o target) bool { return o.path != t.path && sandbox.Below(o.path, t.path) })
	})
}

// merge leaves one of those that are the same, and none that another holds.
func (p *suggester) merge() {
	slices.SortStableFunc(p.targets, func(a, b target) int { return cmp.Compare(a.path, b.path) })
	var all []target
	for _, t := range p.targets {
		i := slices.IndexFunc(all, func(o target) bool { return o.holds(t) })
		if i < 0 {
			for _, o := range all { // in the order of their paths only the same path can be held by a later one
				if t.holds(o) {
					maps.Copy(t.names, o.names)
					t.new = t.new || o.new
				}
			}
			all = append(slices.DeleteFunc(all, func(o target) bool { return t.holds(o) }), t)
			continue
		}
		maps.Copy(all[i].names, t.names)
		all[i].new = all[i].new || t.new
		all[i].look = all[i].look && t.look
	}
	p.targets = all
}

// holds reports whether granting t grants o. A folder that is only looked at holds nothing but itself.
func (t target) holds(o target) bool {
	if t.path != o.path && (t.look || !sandbox.Below(o.path, t.path)) {
		return false
	}
	switch t.does {
	case "changes":
		return o.does != "runs"
	case "runs":
		return o.does != "changes" && (t.path == o.path || t.dir)
	}
	return o.does != "changes"
}

// hosts adds the hosts that were refused because nothing names them.
func (p *suggester) hosts(s *config.Server) (all []Asked) {
	times := map[string]int{}
	var order []string
	for _, c := range p.Hosts {
		if c.Host == "" {
			continue
		}
		name := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
		if times[name]++; times[name] > 1 {
			continue
		}
		if c.Refused != egress.NotAllowed {
			p.leave("talks to", name, c.Reason)
			continue
		}
		order = append(order, name)
	}
	for _, name := range order {
		r, err := egress.ParseRule(name)
		if err != nil {
			p.leave("talks to", name, err.Error())
			continue
		}
		if addr, err := netip.ParseAddr(r.Host); err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()) {
			p.leave("talks to", name, "it lies in a private network; name it under private-hosts if it is meant")
			continue
		}
		if slices.Contains(s.Hosts, r.String()) {
			continue
		}
		if slices.Contains(s.Never, r.String()) {
			p.leave("talks to", name, never)
			continue
		}
		if len(s.Hosts)+len(s.Private) >= maxPaths {
			p.leave("talks to", name, fmt.Sprintf("a profile holds %d hosts at most", maxPaths))
			continue
		}
		s.Hosts = append(slices.Clone(s.Hosts), r.String())
		all = append(all, Asked{"talks to", r.String(), r.String(), times[name]})
	}
	return all
}

// addresses adds the ports of this computer that were called, and leaves out what went past the proxy.
func (p *suggester) addresses(s *config.Server) (all []Asked) {
	for _, w := range p.Wants {
		if w.Kind != sandbox.WantConnect {
			continue
		}
		to, err := netip.ParseAddrPort(w.Name)
		switch {
		case err != nil:
		case to.Port() == 53:
			p.leave("talks to", w.Name, throughProxy)
		case !to.Addr().IsLoopback():
			p.leave("talks to", w.Name, "it went past the proxy; hosts are reached through it only (HTTPS_PROXY)")
		case slices.Contains(s.Reach, to.Port()):
		case slices.Contains(s.Never, strconv.Itoa(int(to.Port()))):
			p.leave("calls", w.Name, never)
		case len(s.Reach) >= maxPorts || slices.Contains(s.Serve, to.Port()):
			p.leave("calls", w.Name, fmt.Sprintf("a profile holds %d ports at most, each once", maxPorts))
		default:
			s.Reach = append(slices.Clone(s.Reach), to.Port())
			all = append(all, Asked{"calls", fmt.Sprintf("port %d of this computer", to.Port()), strconv.Itoa(int(to.Port())), w.Count})
		}
	}
	return all
}

// profile writes s as a file has it: with variables, and the strictest preset that has all of it.
func (p *suggester) profile(s config.Server) profile.Profile {
	switch {
	case len(s.Hosts)+len(s.Private) > 0:
		s.Net = config.NetHosts
	case len(s.Reach)+len(s.Serve) > 0:
		s.Net = config.NetLoopback
	case s.Net == config.NetHosts:
		s.Net = config.NetNone
	}
	s.Demand = slices.DeleteFunc(slices.Clone(s.Demand), func(g sandbox.Guarantee) bool { // of a network that it has no longer
		return g == sandbox.NetNoneG && s.Net != config.NetNone || g == sandbox.NetLoopbackG && s.Net != config.NetLoopback || g == sandbox.NetHostsG && s.Net != config.NetHosts
	})
	for _, preset := range profile.Presets {
		s.Preset = preset.Name
		if profile.Of(s).Fits() == nil {
			break
		}
		s.Preset = ""
	}
	out := profile.Of(s)
	for _, list := range []*[]string{&out.Read, &out.Write} {
		*list = slices.Clone(*list)
		for i, path := range *list {
			(*list)[i] = p.short(path)
		}
	}
	return out
}

// short writes a path as a profile has it. What a variable could not be followed by stays as it is.
func (p *suggester) short(path string) string {
	for _, v := range []struct{ dir, name string }{{p.Case, "${CASE}"}, {p.Home, "~"}} {
		if v.dir == "" || v.dir == "/" || !sandbox.Below(path, v.dir) {
			continue
		}
		if rest := strings.TrimPrefix(path, v.dir); !strings.ContainsAny(rest, "$~") {
			return v.name + rest
		}
	}
	return path
}
