package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cordon/host/secret"
)

func testPaths(t testing.TB) Paths {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	p, err := FindPaths(func(k string) string { return map[string]string{"HOME": home}[k] })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Make(); err != nil {
		t.Fatal(err)
	}
	return p
}

func good() Server {
	return Server{
		Name: "files", Title: "Files", Source: "npm", Version: "1.2.3", Command: []string{"node", "index.js"},
		Read: []string{"/srv/cases"}, Write: []string{"/srv/out"}, Net: NetNone, Memory: DefaultMemory, Pids: DefaultPids,
		Env: map[string]string{"LOG": "info"}, Secrets: map[string]string{"TOKEN": "token"}, Idle: Duration(10 * time.Minute),
	}
}

func goodConfig() Config {
	return Config{Version: Version, Servers: []Server{good()}, Secrets: []secret.Ref{{Name: "token", Server: "files", Env: "TOKEN"}}, FirstRunDone: true}
}

func TestSaveThenLoad(t *testing.T) {
	p := testPaths(t)
	if c, err := Load(p); err != nil || len(c.Servers) != 0 || c.FirstRunDone {
		t.Fatalf("Load without a file = %+v, %v; want an empty configuration", c, err)
	}
	want := goodConfig()
	if err := Save(p, want); err != nil {
		t.Fatal(err)
	}
	got, err := Load(p)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Load = %+v, %v\nwant %+v", got, err, want)
	}
	st, err := os.Stat(p.File())
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(p.Config, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if s, ok := got.Server("files"); !ok || s.Version != "1.2.3" {
		t.Errorf("Server(files) = %+v, %v", s, ok)
	}
}

func TestBrokenFileIsNeverOverwritten(t *testing.T) {
	p := testPaths(t)
	const broken = `{"version":1,"servers":[`
	if err := os.WriteFile(p.File(), []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(p, goodConfig()); err == nil {
		t.Error("Save over a broken file succeeded")
	}
	if b, _ := os.ReadFile(p.File()); string(b) != broken {
		t.Errorf("the broken file was changed to %q", b)
	}
	if err := os.Remove(p.File()); err != nil {
		t.Fatal(err)
	}
	if err := Save(p, goodConfig()); err != nil {
		t.Errorf("Save after the file was removed: %v", err)
	}
	bad := goodConfig()
	bad.Servers[0].Net = "any"
	if err := Save(p, bad); err == nil {
		t.Error("Save of an invalid configuration succeeded")
	}
	if c, err := Load(p); err != nil || len(c.Servers) != 1 {
		t.Errorf("after a refused Save: %+v, %v", c, err)
	}
}

func TestParseNamesThePlace(t *testing.T) {
	p := testPaths(t)
	const head = "{\n  \"version\": 1,\n  \"servers\": [\n    {\"name\": \"files\", \"command\": [\"node\"], \"net\": \"none\", \"memory\": 536870912, \"pids\": 64"
	const tail = "}\n  ],\n  \"secrets\": [],\n  \"firstRunDone\": true\n}\n"
	if _, err := Parse(p, []byte(head+tail)); err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	for name, c := range map[string]struct {
		text          string
		server, field string
		line          int
		problem       string
	}{
		"unknown key in a server": {head + ",\n     \"autoStart\": true" + tail, "files", "servers[0].autoStart", 5, "unknown key"},
		"duplicate key":           {head + ",\n     \"pids\": 65" + tail, "files", "servers[0].pids", 5, "twice"},
		"other letter case":       {head + ",\n     \"Pids\": 65" + tail, "files", "servers[0].Pids", 5, "unknown key"},
		"wrong kind":              {head + ",\n     \"title\": 7" + tail, "files", "servers[0].title", 5, "another kind"},
		"idle as a number":        {head + ",\n     \"idle\": 600" + tail, "files", "servers[0].idle", 5, "another kind"},
		"idle in other words":     {head + ",\n     \"idle\": \"600s\"" + tail, "files", "servers[0].idle", 5, `"600s" has to be written "10m"`},
		"idle that is no time":    {head + ",\n     \"idle\": \"soon\"" + tail, "files", "servers[0].idle", 5, "is no duration"},
		"idle too short":          {head + ",\n     \"idle\": \"10ms\"" + tail, "files", "servers[0].idle", 5, "is not between 1s and 168h"},
		"relative grant":          {head + ",\n     \"read\": [\"/srv\",\n      \"cases\"]" + tail, "files", "servers[0].read[1]", 6, "absolute"},
		"loader variable":         {head + ",\n     \"env\": {\"A\": \"b\",\n      \"LD_PRELOAD\": \"/x.so\"}" + tail, "files", "servers[0].env.LD_PRELOAD", 6, "never passed on"},
		"unknown secret":          {head + ",\n     \"secrets\": {\"TOKEN\":\n      \"token\"}" + tail, "files", "servers[0].secrets.TOKEN", 6, "no secret"},
		"newer version":           {"{\n \"version\": 2}", "", "version", 2, "version 1 only"},
		"no version":              {"{\n}", "", "version", 1, "version 1 only"},
		"not JSON":                {"{\n  version: 1}", "", "", 2, "not valid JSON"},
		"cut short":               {head, "files", "", 4, "not valid JSON"},
		"trailing text":           {head + tail + "{}", "", "", 9, "not valid JSON"},
		"bad UTF-8":               {"{\n\"version\": 1, \"\xff\": 1}", "", "", 2, "not valid JSON"},
		"empty file":              {"", "", "", 1, "not valid JSON"},
	} {
		_, err := Parse(p, []byte(c.text))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v, want *Error", name, err)
			continue
		}
		if e.File != p.File() || e.Line != c.line || e.Column < 1 || !strings.Contains(e.Problem, c.problem) || (c.field != "" && (e.Field != c.field || e.Server != c.server)) {
			t.Errorf("%s: got %v\n(server %q, field %q, line %d); want %q, %q, line %d, %q", name, e, e.Server, e.Field, e.Line, c.server, c.field, c.line, c.problem)
		}
	}
}

func TestValidate(t *testing.T) {
	p := testPaths(t)
	if err := good().Validate(p); err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Server)
		field  string
	}{
		"dot in name":              {func(s *Server) { s.Name = "a.b" }, "name"},
		"slash in name":            {func(s *Server) { s.Name = "a/b" }, "name"},
		"upper case in name":       {func(s *Server) { s.Name = "Files" }, "name"},
		"newline after name":       {func(s *Server) { s.Name = "files\n" }, "name"},
		"empty name":               {func(s *Server) { s.Name = "" }, "name"},
		"65 letters":               {func(s *Server) { s.Name = strings.Repeat("a", 65) }, "name"},
		"bidi control in title":    {func(s *Server) { s.Title = "a\u202eb" }, "title"},
		"line break in version":    {func(s *Server) { s.Version = "1\n2" }, "version"},
		"idle and called at ports": {func(s *Server) { s.Net, s.Serve, s.Idle = NetLoopback, []uint16{8080}, Duration(time.Minute) }, "idle"},
		"idle before it began":     {func(s *Server) { s.Idle = -MinIdle }, "idle"},
		"no command":               {func(s *Server) { s.Command = nil }, "command"},
		"relative command":         {func(s *Server) { s.Command = []string{"./node"} }, "command[0]"},
		"parent command":           {func(s *Server) { s.Command = []string{".."} }, "command[0]"},
		"dotted command":           {func(s *Server) { s.Command = []string{"/opt/../bin/node"} }, "command[0]"},
		"zero byte in argument":    {func(s *Server) { s.Command = []string{"node", "a\x00"} }, "command[1]"},
		"too many arguments":       {func(s *Server) { s.Command = make([]string, maxArgs+1); s.Command[0] = "x" }, "command"},
		"relative read":            {func(s *Server) { s.Read = []string{"cases"} }, "read[0]"},
		"tilde":                    {func(s *Server) { s.Read = []string{"~/cases"} }, "read[0]"},
		"dots in read":             {func(s *Server) { s.Read = []string{"/srv/../etc"} }, "read[0]"},
		"trailing slash":           {func(s *Server) { s.Read = []string{"/srv/"} }, "read[0]"},
		"same path twice":          {func(s *Server) { s.Read = []string{"/srv/a", "/srv/a"} }, "read[1]"},
		"root":                     {func(s *Server) { s.Read = []string{"/"} }, "read[0]"},
		"home":                     {func(s *Server) { s.Read = []string{p.Home} }, "read[0]"},
		"parent of home":           {func(s *Server) { s.Write = []string{filepath.Dir(p.Home)} }, "write[0]"},
		"ssh keys":                 {func(s *Server) { s.Read = []string{p.Home + "/.ssh"} }, "read[0]"},
		"one ssh key":              {func(s *Server) { s.Read = []string{p.Home + "/.ssh/id_ed25519"} }, "read[0]"},
		"what contains a profile":  {func(s *Server) { s.Read = []string{p.Home + "/.config"} }, "read[0]"},
		"browser profile":          {func(s *Server) { s.Read = []string{p.Home + "/.mozilla/firefox"} }, "read[0]"},
		"keyrings":                 {func(s *Server) { s.Write = []string{p.Home + "/.local/share/keyrings"} }, "write[0]"},
		"gnupg":                    {func(s *Server) { s.Read = []string{p.Home + "/.gnupg"} }, "read[0]"},
		"proc":                     {func(s *Server) { s.Read = []string{"/proc/1"} }, "read[0]"},
		"Cordon's configuration":   {func(s *Server) { s.Write = []string{p.Config} }, "write[0]"},
		"Cordon's log":             {func(s *Server) { s.Read = []string{p.State + "/audit.jsonl"} }, "read[0]"},
		"all servers":              {func(s *Server) { s.Read = []string{p.Data} }, "read[0]"},
		"prefix in ssh":            {func(s *Server) { s.Dir = p.Home + "/.ssh" }, "dir"},
		"relative prefix":          {func(s *Server) { s.Dir = "x" }, "dir"},
		"too many paths":           {func(s *Server) { s.Read = make([]string, maxGrants+1) }, "read"},
		"any network":              {func(s *Server) { s.Net = "any" }, "net"},
		"hosts without any":        {func(s *Server) { s.Net = NetHosts }, "hosts"},
		"hosts without the word":   {func(s *Server) { s.Hosts = []string{"api.example.org:443"} }, "hosts"},
		"a host without a port":    {func(s *Server) { s.Net, s.Hosts = NetHosts, []string{"api.example.org"} }, "hosts[0]"},
		"every host of a top":      {func(s *Server) { s.Net, s.Hosts = NetHosts, []string{"a.example.org:1", "*.org:443"} }, "hosts[1]"},
		"a host twice":             {func(s *Server) { s.Net, s.Hosts = NetHosts, []string{"a.example.org:1", "a.example.org:1"} }, "hosts[1]"},
		"a host in capitals":       {func(s *Server) { s.Net, s.Private = NetHosts, []string{"SIEM.corp.example:9200"} }, "privateHosts[0]"},
		"no network word":          {func(s *Server) { s.Net = "" }, "net"},
		"no memory":                {func(s *Server) { s.Memory = 0 }, "memory"},
		"negative memory":          {func(s *Server) { s.Memory = -1 }, "memory"},
		"no pids":                  {func(s *Server) { s.Pids = 0 }, "pids"},
		"LD_PRELOAD":               {func(s *Server) { s.Env = map[string]string{"LD_PRELOAD": "x"} }, "env.LD_PRELOAD"},
		"ld_preload":               {func(s *Server) { s.Env = map[string]string{"ld_preload": "x"} }, "env.ld_preload"},
		"NODE_OPTIONS":             {func(s *Server) { s.Env = map[string]string{"NODE_OPTIONS": "x"} }, "env.NODE_OPTIONS"},
		"PYTHONSTARTUP":            {func(s *Server) { s.Env = map[string]string{"PYTHONSTARTUP": "x"} }, "env.PYTHONSTARTUP"},
		"BASH_ENV":                 {func(s *Server) { s.Env = map[string]string{"BASH_ENV": "x"} }, "env.BASH_ENV"},
		"exported bash function":   {func(s *Server) { s.Env = map[string]string{"BASH_FUNC_x": "x"} }, "env.BASH_FUNC_x"},
		"equals sign":              {func(s *Server) { s.Env = map[string]string{"A=B": "x"} }, "env.A=B"},
		"zero byte in value":       {func(s *Server) { s.Env = map[string]string{"A": "\x00"} }, "env.A"},
		"secret into the loader":   {func(s *Server) { s.Secrets = map[string]string{"LD_AUDIT": "token"} }, "secrets.LD_AUDIT"},
		"variable set twice":       {func(s *Server) { s.Secrets = map[string]string{"LOG": "token"} }, "secrets.LOG"},
		"secret with a slash":      {func(s *Server) { s.Secrets = map[string]string{"TOKEN": "other/token"} }, "secrets.TOKEN"},
		"too many variables":       {func(s *Server) { s.Env = many(maxEnv) }, "env"},
		"home under a longer path": {func(s *Server) { s.Read = []string{p.Home + "/.config/../.ssh"} }, "read[0]"},
	} {
		s := good()
		c.change(&s)
		var e *Error
		if err := s.Validate(p); !errors.As(err, &e) || e.Field != c.field {
			t.Errorf("%s: got %v, want an error in %s", name, err, c.field)
		}
	}
	for name, change := range map[string]func(*Server){
		"absolute command":     func(s *Server) { s.Command = []string{"/usr/bin/node"} },
		"folder in home":       func(s *Server) { s.Read = []string{p.Home + "/cases"} },
		"name beginning alike": func(s *Server) { s.Read = []string{p.Home + "/.sshfoo", p.Home + "/.ssh-notes"} },
		"own installed prefix": func(s *Server) { s.Dir = p.Data + "/servers/files"; s.Read = []string{s.Dir} },
		"LDFLAGS is no loader": func(s *Server) { s.Env = map[string]string{"LDFLAGS": "x"} },
		"idle":                 func(s *Server) { s.Idle = Duration(90 * time.Second) },
		"loopback":             func(s *Server) { s.Net = NetLoopback },
		"named hosts": func(s *Server) {
			s.Net, s.Hosts, s.Private = NetHosts, []string{"*.example.org:443"}, []string{"10.0.0.7:9200"}
		},
		"unusual but plain env": func(s *Server) { s.Env = map[string]string{"_x9": "ä\n"} },
	} {
		s := good()
		change(&s)
		if err := s.Validate(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func many(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("V%d", i)] = ""
	}
	return m
}

func TestGrantThroughSymlink(t *testing.T) {
	p := testPaths(t)
	for _, d := range []string{".ssh", "cases"} {
		if err := os.MkdirAll(filepath.Join(p.Home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"innocent": ".ssh", "fine": "cases"} {
		if err := os.Symlink(filepath.Join(p.Home, target), filepath.Join(p.Home, link)); err != nil {
			t.Fatal(err)
		}
	}
	s := good()
	s.Read = []string{filepath.Join(p.Home, "innocent", "id_ed25519")}
	if err := s.Validate(p); err == nil || !strings.Contains(err.Error(), "leads to") {
		t.Errorf("a link to .ssh: %v, want a refusal", err)
	}
	s.Read = []string{filepath.Join(p.Home, "fine", "new")}
	if err := s.Validate(p); err != nil {
		t.Errorf("a link to cases: %v", err)
	}
}

func TestConfigValidate(t *testing.T) {
	p := testPaths(t)
	for name, change := range map[string]func(*Config){
		"server twice":           func(c *Config) { c.Servers = append(c.Servers, good()) },
		"secret twice":           func(c *Config) { c.Secrets = append(c.Secrets, c.Secrets[0]) },
		"secret of nobody":       func(c *Config) { c.Secrets = append(c.Secrets, secret.Ref{Name: "x", Server: "gone"}) },
		"server without secret":  func(c *Config) { c.Secrets = nil },
		"another server's token": func(c *Config) { c.Secrets[0].Server = "" },
		"bad secret name":        func(c *Config) { c.Secrets = append(c.Secrets, secret.Ref{Name: "a/b"}) },
		"bad secret variable":    func(c *Config) { c.Secrets[0].Env = "LD_PRELOAD" },
		"too many servers":       func(c *Config) { c.Servers = make([]Server, maxServers+1) },
		"version":                func(c *Config) { c.Version = 0 },
	} {
		c := goodConfig()
		change(&c)
		var e *Error
		if err := c.Validate(p); !errors.As(err, &e) {
			t.Errorf("%s: %v, want *Error", name, err)
		}
	}
	c := goodConfig()
	c.Secrets = append(c.Secrets, secret.Ref{Name: "token"}) // Cordon's own, same name
	if err := c.Validate(p); err != nil {
		t.Errorf("one name for two owners: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"servers":[{"name":"a","command":["x"],"net":"none","memory":16777216,"pids":4,"env":{"A":"b"}}],"secrets":[],"firstRunDone":false}`))
	f.Add([]byte(`{"version":1,"servers":[{"name":"a","read":["/"]}]}`))
	f.Add([]byte(`{"version":1,"version":1}`))
	p := testPaths(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(p, data)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("error %v (%T) does not say where", err, err)
			}
			return
		}
		if err := c.Validate(p); err != nil {
			t.Fatalf("parsed, but invalid: %v", err)
		}
	})
}

// TestSaveKeepsALink: a file that is kept elsewhere and linked here is read, and neither the link nor the file is changed.
func TestSaveKeepsALink(t *testing.T) {
	p := testPaths(t)
	elsewhere := filepath.Join(t.TempDir(), "config.json")
	for _, content := range []string{`{"version": 1, "firstRunDone": true}`, ""} { // "": the link leads nowhere
		os.Remove(elsewhere)
		os.Remove(p.File())
		if content != "" {
			if err := os.WriteFile(elsewhere, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(elsewhere, p.File()); err != nil {
			t.Fatal(err)
		}
		if c, err := Load(p); err != nil || c.FirstRunDone != (content != "") {
			t.Errorf("load = %+v, %v", c, err)
		}
		if err := Save(p, Config{}); err == nil || !strings.Contains(err.Error(), p.File()+" is a symbolic link") {
			t.Errorf("save = %v, want an error about the link", err)
		}
		if to, err := os.Readlink(p.File()); err != nil || to != elsewhere {
			t.Errorf("the link is now %q, %v", to, err)
		}
		if b, _ := os.ReadFile(elsewhere); string(b) != content {
			t.Errorf("the file is now %q", b)
		}
	}
}

// TestSaveIntoALinkedFolder is the twin: Make looks at the folder that the link leads to.
func TestSaveIntoALinkedFolder(t *testing.T) {
	p := testPaths(t)
	real := t.TempDir()
	if err := os.RemoveAll(p.Config); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, p.Config); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Make(), Save(p, Config{FirstRunDone: true})); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(p); err != nil || !c.FirstRunDone {
		t.Errorf("load = %+v, %v", c, err)
	}
}
