package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// Server is how one server is to be run, or where a remote one is. It grants nothing that it does not name.
type Server struct {
	Name     string            `json:"name"`                   // key, [a-z0-9][a-z0-9_-]{0,63}
	Title    string            `json:"title"`                  // for people
	Source   string            `json:"source"`                 // where it came from: "npm", "folder", "bundled", or words
	Version  string            `json:"version"`                // exact
	Command  []string          `json:"command"`                // argv; the first is an absolute path or a bare program name
	Dir      string            `json:"dir"`                    // absolute prefix that it was installed to, or ""
	Read     []string          `json:"read"`                   // absolute paths that it may read
	Write    []string          `json:"write"`                  // absolute paths that it may read and change
	Net      string            `json:"net"`                    // NetNone, NetLoopback or NetHosts
	Hosts    []string          `json:"hosts,omitempty"`        // with NetHosts: NAME:PORT, *.NAME:PORT or ADDRESS:PORT, as egress.ParseRule reads
	Private  []string          `json:"privateHosts,omitempty"` // the same, for hosts with addresses in private networks
	Reach    []uint16          `json:"reach,omitempty"`        // ports of this computer's loopback that it finds on its own
	Serve    []uint16          `json:"serve,omitempty"`        // ports that it listens on and programs of this computer may call, at the same port
	Memory   int64             `json:"memory"`                 // bytes
	Pids     int               `json:"pids"`                   // processes and threads
	CPU      float64           `json:"cpu,omitempty"`          // cores; 0 is no limit
	Preset   string            `json:"preset,omitempty"`       // the preset that its profile began with, see package profile
	Env      map[string]string `json:"env"`                    // plain settings; never secrets
	Secrets  map[string]string `json:"secrets"`                // environment variable → name of a secret
	Roots    bool              `json:"roots,omitempty"`        // it may ask which folders it is granted (deprecated in MCP); a person is asked each time
	Sampling string            `json:"sampling,omitempty"`     // name of the model that it may have asked (deprecated in MCP), "" for none; a person is asked each time
	Rate     int               `json:"rate,omitempty"`         // calls in a minute; 0 is the usual limit
	Budget   int               `json:"budget,omitempty"`       // calls in a day; 0 is no limit
	Rates    map[string]int    `json:"rates,omitempty"`        // calls of a tool in a minute, by name; 0 is none at all
	Idle     Duration          `json:"idle,omitzero"`          // without a call for so long it is stopped until the next one; 0 is never

	URL     string            `json:"url,omitempty"`     // of a remote server, which has no program: nothing that says how to run one is set, and Net is NetNone
	Headers map[string]string `json:"headers,omitempty"` // of a remote server: sent with each request; never secrets. Secrets has headers too, LoginSecret and LoginToken
	Login   Login             `json:"login,omitzero"`    // of a remote server
	SSE     bool              `json:"sse,omitempty"`     // of a remote server: it speaks the transport of 2024, HTTP+SSE
	Open    bool              `json:"open,omitempty"`    // of a remote server: a person accepts that it does not want to know who calls

	Demand  []sandbox.Guarantee `json:"demand,omitempty"`  // without which it must not start, besides sandbox.Isolation
	Observe bool                `json:"observe,omitempty"` // what it asks for and is not granted is noted in its log, see sandbox.Profile
	Never   []string            `json:"never,omitempty"`   // what it asked for and a person refused for good: paths, hosts as in Hosts, ports as in Reach; never proposed again
}

// Duration is a time.Duration that is written as text in one way: "90s" is "1m30s", zero is "0s".
type Duration time.Duration

// String implements fmt.Stringer without the parts that are zero at the end: "10m", not "10m0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes what MarshalText writes and nothing else.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return misspelt(fmt.Sprintf("%q is no duration: write 45s, 10m or 1h30m", text))
	}
	if s := Duration(parsed).String(); s != string(text) {
		return misspelt(fmt.Sprintf("%q has to be written %q", text, s))
	}
	*d = Duration(parsed)
	return nil
}

// misspelt is an error in a value of the right kind.
type misspelt string

func (m misspelt) Error() string { return string(m) }

// Sleeps reports whether the server may be stopped while nobody calls it. One that serves ports never is: whoever connects to
// such a port wakes nothing.
func (s Server) Sleeps() bool { return s.Idle > 0 && len(s.Serve) == 0 }

// Confinement is the profile for the sandbox, without what its program and folder need besides.
func (s Server) Confinement() sandbox.Profile {
	p := sandbox.Profile{Read: s.Read, Write: s.Write, Reach: s.Reach, Serve: s.Serve, Memory: s.Memory, Pids: s.Pids, CPU: s.CPU, Observe: s.Observe}
	switch s.Net {
	case NetLoopback:
		p.Net = sandbox.NetLoopback
	case NetHosts:
		p.Net = sandbox.NetHosts
	}
	p.Demand = sandbox.Isolation(p.Net, s.Demand...)
	return p
}

// badConfinement reports the first thing that the sandbox would refuse in any case.
func (s Server) badConfinement() string {
	if len(s.Reach)+len(s.Serve) > 0 && s.Net == NetNone {
		return fmt.Sprintf("ports of the loopback are named, and net is %q: use %q", NetNone, NetLoopback)
	}
	p := s.Confinement()
	p.Read, p.Write = nil, nil // looked at by name
	if err := p.Validate(); err != nil {
		return strings.TrimPrefix(err.Error(), "profile: ")
	}
	return ""
}

// What a server may reach.
const (
	NetNone     = "none"
	NetLoopback = "loopback"
	NetHosts    = "hosts"
)

// Limits of a definition, and what new servers get.
const (
	MinMemory     = 16 << 20
	MaxMemory     = 1 << 40
	DefaultMemory = 512 << 20
	MinPids       = 4
	MaxPids       = 32768
	DefaultPids   = 128
	MinIdle       = Duration(time.Second)
	MaxRate       = 1_000_000
	MaxIdle       = Duration(7 * 24 * time.Hour)

	maxArgs     = 256
	maxArgBytes = 128 << 10
	maxGrants   = 64
	maxNever    = 256
	maxEnv      = 128
	maxEnvBytes = 32 << 10
	maxText     = 256
)

const nameRule = "lower-case letters, digits, _ and -, at most 64, beginning with a letter or digit"

var (
	nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	envRE  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

// ValidName reports whether s can be a server's or a secret's name.
func ValidName(s string) bool { return nameRE.MatchString(s) }

// Validate reports the first thing that is wrong as an *Error without a file; its Field is relative to the server.
// It looks at the file system only to see through symbolic links.
func (s Server) Validate(p Paths) error {
	bad := func(field, format string, args ...any) error {
		return &Error{Server: s.Name, Field: field, Problem: fmt.Sprintf(format, args...)}
	}
	if !nameRE.MatchString(s.Name) {
		return bad("name", "%q is not a name: %s", s.Name, nameRule)
	}
	for _, f := range []struct{ field, text string }{{"title", s.Title}, {"source", s.Source}, {"version", s.Version}} {
		if len(f.text) > maxText || !plain(f.text) {
			return bad(f.field, "must be plain text of at most %d bytes", maxText)
		}
	}
	if s.Rate < 0 || s.Rate > MaxRate || s.Budget < 0 || s.Budget > MaxRate {
		return bad("rate", "rate and budget are numbers from 0 to %d", MaxRate)
	}
	if len(s.Rates) > maxEnv {
		return bad("rates", "has %d tools, more than %d", len(s.Rates), maxEnv)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Rates)) {
		if n := s.Rates[name]; n < 0 || n > MaxRate || name == "" || len(name) > maxText || !plain(name) {
			return bad("rates."+name, "has to be the name of a tool with a number from 0 to %d", MaxRate)
		}
	}
	if s.Remote() {
		if field, why := s.validateRemote(); why != "" {
			return bad(field, "%s", why)
		}
		return nil
	}
	if len(s.Headers) > 0 || s.Open || s.SSE || !s.Login.IsZero() {
		return bad("headers", "headers, login, sse and open are for servers with a url")
	}
	if field, why := badCommand(s.Command); why != "" {
		return bad(field, "%s", why)
	}
	if s.Dir != "" {
		if why := badPath(s.Dir); why != "" {
			return bad("dir", "%s", why)
		}
		if why := p.badGrant(s.Dir); why != "" {
			return bad("dir", "%s", why)
		}
	}
	for _, g := range []struct {
		field string
		paths []string
	}{{"read", s.Read}, {"write", s.Write}} {
		if len(g.paths) > maxGrants {
			return bad(g.field, "has %d paths, more than %d", len(g.paths), maxGrants)
		}
		for i, path := range g.paths {
			field := fmt.Sprintf("%s[%d]", g.field, i)
			if why := badPath(path); why != "" {
				return bad(field, "%s", why)
			}
			if why := p.badGrant(path); why != "" {
				return bad(field, "%s", why)
			}
			if slices.Contains(g.paths[:i], path) {
				return bad(field, "%s stands here twice", path)
			}
		}
	}
	switch {
	case s.Net != NetNone && s.Net != NetLoopback && s.Net != NetHosts:
		return bad("net", "%q is none of %q, %q and %q", s.Net, NetNone, NetLoopback, NetHosts)
	case s.Net == NetHosts && len(s.Hosts)+len(s.Private) == 0:
		return bad("hosts", "is empty: name the hosts, or set net to %q", NetNone)
	case s.Net != NetHosts && len(s.Hosts)+len(s.Private) > 0:
		return bad("hosts", "names hosts, but net is %q and not %q", s.Net, NetHosts)
	case len(s.Hosts)+len(s.Private) > maxGrants:
		return bad("hosts", "has %d hosts, more than %d", len(s.Hosts)+len(s.Private), maxGrants)
	case s.Memory < MinMemory || s.Memory > MaxMemory:
		return bad("memory", "%d bytes is not between %d and %d", s.Memory, MinMemory, int64(MaxMemory))
	case s.Pids < MinPids || s.Pids > MaxPids:
		return bad("pids", "%d is not between %d and %d", s.Pids, MinPids, MaxPids)
	case len(s.Env)+len(s.Secrets) > maxEnv:
		return bad("env", "has %d variables with secrets, more than %d", len(s.Env)+len(s.Secrets), maxEnv)
	}
	switch {
	case s.Idle != 0 && (s.Idle < MinIdle || s.Idle > MaxIdle):
		return bad("idle", "%s is not between %s and %s", s.Idle, MinIdle, MaxIdle)
	case s.Idle != 0 && !s.Sleeps():
		return bad("idle", "a server that serves ports is never idle, because they can be called at any time; leave one of the two out")
	}
	if len(s.Never) > maxNever {
		return bad("never", "has %d entries, more than %d", len(s.Never), maxNever)
	}
	for i, entry := range s.Never {
		field := fmt.Sprintf("never[%d]", i)
		if why := badNever(entry); why != "" {
			return bad(field, "%s", why)
		}
		if slices.Contains(s.Never[:i], entry) {
			return bad(field, "%s stands here twice", entry)
		}
	}
	if len(s.Preset) > maxText || !plain(s.Preset) {
		return bad("preset", "must be plain text of at most %d bytes", maxText)
	}
	if why := s.badConfinement(); why != "" {
		return bad("profile", "%s", why)
	}
	if field, err := s.badHost(); err != nil {
		return bad(field, "%v", err)
	}
	for _, env := range sortedKeys(s.Env) {
		if why := badEnv(env); why != "" {
			return bad("env."+env, "%s", why)
		}
		if v := s.Env[env]; len(v) > maxEnvBytes || strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
			return bad("env."+env, "must be text without zero bytes, at most %d bytes", maxEnvBytes)
		}
	}
	for _, env := range sortedKeys(s.Secrets) {
		if why := badEnv(env); why != "" {
			return bad("secrets."+env, "%s", why)
		}
		if _, twice := s.Env[env]; twice {
			return bad("secrets."+env, "is also set in env")
		}
		if !nameRE.MatchString(s.Secrets[env]) {
			return bad("secrets."+env, "%q is not a name: %s", s.Secrets[env], nameRule)
		}
	}
	return nil
}

// Rules are the hosts that the server may reach. s is valid.
func (s Server) Rules() []egress.Rule {
	var all []egress.Rule
	for i, host := range slices.Concat(s.Hosts, s.Private) {
		if r, err := egress.ParseRule(host); err == nil { // Validate has seen to that
			r.Private = i >= len(s.Hosts)
			all = append(all, r)
		}
	}
	return all
}

// badHost finds the first host that is no rule, or is not written the one way that rules are.
func (s Server) badHost() (field string, err error) {
	for _, list := range []struct {
		field string
		hosts []string
	}{{"hosts", s.Hosts}, {"privateHosts", s.Private}} {
		for i, host := range list.hosts {
			field := fmt.Sprintf("%s[%d]", list.field, i)
			r, err := egress.ParseRule(host)
			if err != nil {
				return field, err
			}
			if r.String() != host {
				return field, fmt.Errorf("%q has to be written %q", host, r)
			}
			if slices.Contains(list.hosts[:i], host) {
				return field, fmt.Errorf("%s stands here twice", host)
			}
		}
	}
	return "", nil
}

func badCommand(argv []string) (field, why string) {
	if len(argv) == 0 || argv[0] == "" {
		return "command", "is empty"
	}
	if len(argv) > maxArgs {
		return "command", fmt.Sprintf("has %d parts, more than %d", len(argv), maxArgs)
	}
	total := 0
	for i, a := range argv {
		total += len(a) + 1
		if strings.ContainsRune(a, 0) || !utf8.ValidString(a) || total > maxArgBytes {
			return fmt.Sprintf("command[%d]", i), fmt.Sprintf("must be text without zero bytes, at most %d bytes in all", maxArgBytes)
		}
	}
	if strings.Contains(argv[0], "/") {
		if why := badPath(argv[0]); why != "" {
			return "command[0]", why
		}
	} else if !plain(argv[0]) || argv[0] == "." || argv[0] == ".." {
		return "command[0]", fmt.Sprintf("%q is not a program name", argv[0])
	}
	return "", ""
}

func badPath(path string) string {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Sprintf("%q is not an absolute path", path)
	case filepath.Clean(path) != path:
		return fmt.Sprintf("%q is not in its shortest form, %q", path, filepath.Clean(path))
	case len(path) > 4095 || !plain(path):
		return fmt.Sprintf("%q is not a path of at most 4095 bytes without control characters", path)
	}
	return ""
}

// plain reports whether s is UTF-8 text that shows itself whole: no control, format or line-breaking characters.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
	})
}

// Variables that make a loader, interpreter or library run or load something else than the definition says.
var (
	refusedEnv = []string{
		"BASH_ENV", "BASHOPTS", "CDPATH", "CLASSPATH", "DOTNET_STARTUP_HOOKS", "ENV", "GCONV_PATH", "GETCONF_DIR",
		"GLIBC_TUNABLES", "HOSTALIASES", "IFS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "LOCPATH", "MALLOC_TRACE", "NLSPATH", "NODE_EXTRA_CA_CERTS",
		"NODE_OPTIONS", "NODE_PATH", "NODE_REPL_EXTERNAL_MODULE", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "PATH",
		"PERLLIB", "PHPRC", "PHP_INI_SCAN_DIR", "PROMPT_COMMAND", "PS4", "RESOLV_HOST_CONF", "RES_OPTIONS", "R_PROFILE", "R_PROFILE_USER",
		"SHELLOPTS", "_JAVA_OPTIONS",
	}
	refusedEnvPrefix = []string{"BASH_FUNC_", "BUN_", "COR_", "CORECLR_", "DYLD_", "GIT_", "LD_", "LUA_", "NPM_CONFIG_", "PERL5", "PYTHON", "RUBY"}
)

func badEnv(name string) string {
	if !envRE.MatchString(name) {
		return fmt.Sprintf("%q is not the name of an environment variable", name)
	}
	up := strings.ToUpper(name)
	if slices.Contains(refusedEnv, up) || slices.ContainsFunc(refusedEnvPrefix, func(p string) bool { return strings.HasPrefix(up, p) }) {
		return fmt.Sprintf("%s can make a program load or run something else than its command says; it is never passed on", name)
	}
	return ""
}

// guarded are places no server is ever given, with the reason. Those without a leading slash lie in the home directory.
var guarded = []struct{ path, why string }{
	{".ssh", "SSH keys"},
	{".gnupg", "GnuPG keys"},
	{".local/share/keyrings", "keyrings"},
	{".local/share/kwalletd", "keyrings"},
	{".password-store", "passwords"},
	{".config/keepassxc", "passwords"},
	{".pki", "private keys"},
	{".aws", "cloud credentials"},
	{".azure", "cloud credentials"},
	{".config/gcloud", "cloud credentials"},
	{".kube", "cluster credentials"},
	{".docker", "registry credentials"},
	{".config/gh", "forge credentials"},
	{".config/git/credentials", "forge credentials"},
	{".git-credentials", "forge credentials"},
	{".netrc", "passwords"},
	{".npmrc", "registry credentials"},
	{".pypirc", "registry credentials"},
	{".cargo/credentials.toml", "registry credentials"},
	{".bash_history", "a shell's history"},
	{".zsh_history", "a shell's history"},
	{".zhistory", "a shell's history"},
	{".histfile", "a shell's history"},
	{".sh_history", "a shell's history"},
	{".ksh_history", "a shell's history"},
	{".ash_history", "a shell's history"},
	{".history", "a shell's history"},
	{".local/share/fish", "a shell's history"},
	{".config/nushell", "a shell's history"},
	{".local/share/xonsh", "a shell's history"},
	{".python_history", "an interpreter's history"},
	{".node_repl_history", "an interpreter's history"},
	{".irb_history", "an interpreter's history"},
	{".psql_history", "a database client's history"},
	{".mysql_history", "a database client's history"},
	{".sqlite_history", "a database client's history"},
	{".rediscli_history", "a database client's history"},
	{".lesshst", "a pager's history"},
	{".viminfo", "an editor's history"},
	{".mozilla", "a browser profile"},
	{".thunderbird", "mail"},
	{".config/google-chrome", "a browser profile"},
	{".config/google-chrome-beta", "a browser profile"},
	{".config/chromium", "a browser profile"},
	{".config/BraveSoftware", "a browser profile"},
	{".config/microsoft-edge", "a browser profile"},
	{".config/opera", "a browser profile"},
	{".config/vivaldi", "a browser profile"},
	{".librewolf", "a browser profile"},
	{"snap/firefox", "a browser profile"},
	{"snap/chromium", "a browser profile"},
	{".var/app", "browser profiles and other programs' data"},
	{"/proc", "other programs' memory and settings"},
	{"/sys", "the kernel's controls"},
	{"/dev", "devices"},
	{"/run", "sockets of the session"},
	{"/root", "the administrator's files"},
	{"/etc/shadow", "password hashes"},
	{"/etc/ssl/private", "private keys"},
}

// Guarded says why no server is given path, or "" if one can be: it is no path that a definition can hold, it is too much, or it
// lies in a place with keys, passwords or the like, which secret reports. It looks at the file system to see through symbolic links.
func (p Paths) Guarded(path string) (why string, secret bool) {
	if why = badPath(path); why != "" {
		return why, false
	}
	return p.grants(path)
}

// badGrant says why a server cannot have path, a clean absolute one, or "" if it can. Symbolic links are followed
// as far as they exist, so that another name for a guarded place is refused too.
func (p Paths) badGrant(path string) string {
	why, _ := p.grants(path)
	return why
}

// grants is badGrant, and says whether it is because of where path lies.
func (p Paths) grants(path string) (why string, inside bool) {
	candidates := []string{path}
	if real := resolve(path); real != path {
		candidates = append(candidates, real)
	}
	for _, c := range candidates {
		if why, inside := p.guards(c); why != "" {
			if c != path {
				why = fmt.Sprintf("%s leads to %s: %s", path, c, why)
			}
			return why, inside
		}
	}
	return "", false
}

func (p Paths) guards(path string) (why string, inside bool) {
	if path == "/" {
		return "grants the whole machine; name the folders it needs", false
	}
	if p.Home != "" && within(p.Home, path) {
		return fmt.Sprintf("%s grants the whole home directory; name the folders it needs", path), false
	}
	own := []struct{ path, why string }{
		{p.Config, "Cordon's own configuration"}, {p.State, "Cordon's log and pins"}, {p.Runtime, "Cordon's sockets"},
	}
	for _, g := range slices.Concat(guarded, own) {
		place := g.path
		if place == "" {
			continue
		}
		if !filepath.IsAbs(place) {
			place = filepath.Join(p.Home, place)
		}
		switch {
		case filepath.IsAbs(g.path) && within(p.Home, place):
			// The user's own home is /root: the other lines judge what lies inside.
		case within(path, place):
			return fmt.Sprintf("%s holds %s, which no server is given", place, g.why), true
		case within(place, path):
			return fmt.Sprintf("%s contains %s (%s), which no server is given", path, place, g.why), false
		}
	}
	if p.Data != "" && within(p.Data, path) {
		return fmt.Sprintf("%s contains every installed server; name the folder it needs", path), false
	}
	return "", false
}

// within reports whether path is dir or lies below it. Both are clean and absolute.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// resolve follows symbolic links in the part of path that exists.
func resolve(path string) string {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == "/" {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
