package learn

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cordon/host/config"
	"cordon/host/profile"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// guarded stands for config.Paths.Guarded, without a file system.
func guarded(path string) (string, bool) {
	switch {
	case strings.Contains(path, "\n") || !utf8.ValidString(path):
		return "is not a path", false
	case sandbox.Below(path, "/home/ana/.ssh"):
		return "holds SSH keys", true
	case path == "/" || sandbox.Below("/home/ana", path):
		return "grants the whole home directory", false
	case sandbox.Below("/home/ana/.ssh", path), path == "/home/ana/vault":
		return "contains SSH keys", false
	}
	return "", false
}

func run(wants ...sandbox.Want) Run {
	return Run{Home: "/home/ana", Granted: config.Server{Net: config.NetNone}, Wants: wants, Guarded: guarded, Folder: func(path string) bool { return strings.HasSuffix(path, "/") }}
}

func want(kind sandbox.WantKind, name string) sandbox.Want {
	return sandbox.Want{Kind: kind, Name: name, Real: name, Count: 1, Dir: kind == sandbox.WantList}
}

func entry(name string) sandbox.Want {
	return sandbox.Want{Kind: sandbox.WantWrite, Name: name, Real: name, Count: 1, Entry: true}
}

const (
	look    = sandbox.WantLook
	read    = sandbox.WantRead
	list    = sandbox.WantList
	execute = sandbox.WantExecute
	write   = sandbox.WantWrite
)

func TestSuggestFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		wants       []sandbox.Want
		caseDir     string
		read, write []string
		preset      string
	}{
		"nothing":                  {nil, "", nil, nil, "offline"},
		"one file":                 {[]sandbox.Want{want(read, "/srv/x/a")}, "", []string{"/srv/x/a"}, nil, "reads-folder"},
		"two files stay two":       {[]sandbox.Want{want(read, "/srv/x/a"), want(read, "/srv/x/b")}, "", []string{"/srv/x/a", "/srv/x/b"}, nil, "reads-folder"},
		"three files are a folder": {[]sandbox.Want{want(read, "/srv/x/a"), want(read, "/srv/x/b"), want(read, "/srv/x/c")}, "", []string{"/srv/x"}, nil, "reads-folder"},
		"five folders are one": {[]sandbox.Want{want(list, "/srv/x/a"), want(list, "/srv/x/b"), want(list, "/srv/x/c"), want(list, "/srv/x/d"), want(list, "/srv/x/e"), want(read, "/srv/x/a/1")}, "",
			[]string{"/srv/x"}, nil, "reads-folder"},
		"three folders stay three":      {[]sandbox.Want{want(list, "/srv/x/a"), want(list, "/srv/x/b"), want(list, "/srv/x/c")}, "", []string{"/srv/x/a", "/srv/x/b", "/srv/x/c"}, nil, "reads-folder"},
		"not the root's":                {[]sandbox.Want{want(read, "/etc/a"), want(read, "/etc/b"), want(read, "/etc/c")}, "", []string{"/etc/a", "/etc/b", "/etc/c"}, nil, "reads-folder"},
		"not the home":                  {[]sandbox.Want{want(read, "/home/ana/a"), want(read, "/home/ana/b"), want(read, "/home/ana/c")}, "", []string{"~/a", "~/b", "~/c"}, nil, "reads-folder"},
		"not what is guarded":           {[]sandbox.Want{want(read, "/home/ana/vault/a"), want(read, "/home/ana/vault/b"), want(read, "/home/ana/vault/c")}, "", []string{"~/vault/a", "~/vault/b", "~/vault/c"}, nil, "reads-folder"},
		"a list holds its files":        {[]sandbox.Want{want(read, "/srv/x/a"), want(list, "/srv/x")}, "", []string{"/srv/x"}, nil, "reads-folder"},
		"writing holds reading":         {[]sandbox.Want{want(read, "/srv/x/a"), entry("/srv/x/b")}, "", nil, []string{"/srv/x"}, "workspace"},
		"reading does not hold writing": {[]sandbox.Want{want(list, "/srv/x"), want(write, "/srv/x/a")}, "", []string{"/srv/x"}, []string{"/srv/x/a"}, "workspace"},
		"running is reading":            {[]sandbox.Want{want(execute, "/srv/x/tool")}, "", []string{"/srv/x/tool"}, nil, "reads-folder"},
		"a look is a wish":              {[]sandbox.Want{want(look, "/srv/x/a")}, "", []string{"/srv/x/a"}, nil, "reads-folder"},
		"a look that leads":             {[]sandbox.Want{want(look, "/srv/x"), want(read, "/srv/x/y/a")}, "", []string{"/srv/x/y/a"}, nil, "reads-folder"},
		"the case folder":               {[]sandbox.Want{want(read, "/home/ana/case/7/a"), want(read, "/home/ana/case/7/b/c")}, "/home/ana/case/7", []string{"${CASE}"}, nil, "reads-folder"},
		"writing in the case":           {[]sandbox.Want{want(read, "/home/ana/case/7/a"), entry("/home/ana/case/7/b/c")}, "/home/ana/case/7", nil, []string{"${CASE}"}, "workspace"},
		"no variable before $":          {[]sandbox.Want{want(read, "/home/ana/$x")}, "", []string{"/home/ana/$x"}, nil, "reads-folder"},
	} {
		r := run(tt.wants...)
		r.Case = tt.caseDir
		got := Suggest(r)
		if !reflect.DeepEqual(append([]string(nil), got.Profile.Read...), append([]string(nil), tt.read...)) || !slices.Equal(got.Profile.Write, tt.write) || got.Profile.Preset != tt.preset || len(got.Left) > 0 {
			t.Errorf("%s: read %q, write %q, preset %s, left %v; want %q, %q, %s", name, got.Profile.Read, got.Profile.Write, got.Profile.Preset, got.Left, tt.read, tt.write, tt.preset)
		}
		// What is proposed can be written, read again and applied.
		p, err := profile.Parse("p", got.Profile.YAML())
		var s config.Server
		if err == nil {
			err = p.Apply(&s, func(name string) string { return map[string]string{"HOME": r.Home, "CASE": tt.caseDir}[name] })
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSuggestLeavesOut(t *testing.T) {
	link := sandbox.Want{Kind: read, Name: "/srv/l/a", Real: "/home/ana/.ssh/id", Count: 1}
	for name, tt := range map[string]struct {
		want    sandbox.Want
		why     string
		warning bool
	}{
		"keys":                 {want(read, "/home/ana/.ssh/id"), "SSH keys", true},
		"a look at keys":       {want(look, "/home/ana/.ssh"), "SSH keys", true},
		"keys behind a link":   {link, "SSH keys", true},
		"the home directory":   {want(list, "/home/ana"), "whole home", false},
		"a new file at home":   {entry("/home/ana/new"), "whole home", false},
		"the root":             {want(list, "/"), "whole home", false},
		"a folder of the root": {want(list, "/etc"), "too much", false},
		"all settings":         {want(list, "/home/ana/.config"), "too much", false},
		"a line break":         {want(read, "/srv/x/a\nb"), "not a path", false},
		"no text":              {want(read, "/srv/x/\xff"), "not a path", false},
		"the resolver":         {want(read, "/etc/resolv.conf"), "proxy", false},
	} {
		got := Suggest(run(tt.want))
		if len(got.Profile.Read)+len(got.Profile.Write) > 0 || len(got.Left) != 1 || got.Left[0].What != tt.want.Name || !strings.Contains(got.Left[0].Why, tt.why) || got.Left[0].Warning != tt.warning {
			t.Errorf("%s: %+v; want it left out because of %q, warning %v", name, got, tt.why, tt.warning)
		}
	}
	// What is behind a harmless link is proposed by its own name, with a word about the other.
	got := Suggest(run(sandbox.Want{Kind: read, Name: "/srv/l/a", Real: "/srv/data/a", Count: 1}))
	if !slices.Equal(got.Profile.Read, []string{"/srv/data/a"}) || len(got.Left) != 1 || !strings.Contains(got.Left[0].Why, "/srv/data/a") {
		t.Errorf("a link: %+v", got)
	}
	// One in a granted folder is there, and works when what it leads to is granted.
	r := run(sandbox.Want{Kind: read, Name: "/srv/l/a", Real: "/srv/data/a", Count: 1})
	r.Granted.Read = []string{"/srv/l"}
	if got := Suggest(r); !slices.Equal(got.Profile.Read, []string{"/srv/l", "/srv/data/a"}) || len(got.Left) != 0 {
		t.Errorf("a link in what is granted: %+v", got)
	}
}

func TestSuggestIsBounded(t *testing.T) {
	var wants []sandbox.Want
	for i := range 1000 {
		wants = append(wants, want(read, fmt.Sprintf("/srv/%d/%d/a", i, i)))
	}
	r := run(wants...)
	r.Rest.Over, r.Rest.Unread = 7, 8
	got := Suggest(r)
	if len(got.Profile.Read) > maxPaths || len(got.Asked)+len(got.Left) != 1002 {
		t.Errorf("%d paths, %d asked, %d left", len(got.Profile.Read), len(got.Asked), len(got.Left))
	}
}

func TestSuggestNetwork(t *testing.T) {
	r := run(sandbox.Want{Kind: sandbox.WantConnect, Name: "127.0.0.1:9200"}, sandbox.Want{Kind: sandbox.WantConnect, Name: "192.0.2.1:443"}, sandbox.Want{Kind: sandbox.WantConnect, Name: "[2001:db8::1]:53"})
	r.Hosts = []egress.Connection{{Host: "api.example.org", Port: 443, Refused: egress.NotAllowed}, {Host: "api.example.org", Port: 443, Refused: egress.NotAllowed},
		{Host: "10.0.0.7", Port: 443, Refused: egress.NotAllowed}, {Host: "single", Port: 80, Refused: egress.NotAllowed}, {Refused: egress.BadRequest}}
	r.Granted.Demand = []sandbox.Guarantee{sandbox.NetNoneG, sandbox.FSMetadata}
	got := Suggest(r)
	if p := got.Profile; !slices.Equal(p.Hosts, []string{"api.example.org:443"}) || !slices.Equal(p.Reach, []uint16{9200}) || p.Net != config.NetHosts || p.Preset != "calls-api" || !slices.Equal(p.Demand, []string{"fs.metadata"}) {
		t.Errorf("profile %+v", p)
	}
	if len(got.Left) != 4 {
		t.Errorf("left %+v", got.Left)
	}
	if want := "talks to api.example.org:443; calls port 9200 of this computer"; got.Sentence() != want {
		t.Errorf("%q, want %q", got.Sentence(), want)
	}
	// Files and the internet together are in no preset, and said.
	r.Wants = append(r.Wants, want(read, "/srv/x/a"))
	if got := Suggest(r); got.Profile.Preset != "" || len(got.Cautions) != 1 {
		t.Errorf("files and hosts: %+v", got)
	}
}

// What was granted before stays, and is not asked for again.
func TestSuggestKeepsWhatIsGranted(t *testing.T) {
	r := run(want(read, "/srv/x/a"), want(read, "/srv/y/a"))
	r.Granted = config.Server{Read: []string{"/srv/x"}, Write: []string{"/srv/w"}, Net: config.NetNone, Memory: 512 << 20, Pids: 64}
	before := fmt.Sprint(r)
	got := Suggest(r)
	if p := got.Profile; !slices.Equal(p.Read, []string{"/srv/x", "/srv/y/a"}) || !slices.Equal(p.Write, []string{"/srv/w"}) || p.Memory != "512M" || p.Pids != 64 || len(got.Asked) != 1 {
		t.Errorf("%+v", got)
	}
	if after := fmt.Sprint(r); strings.Split(after, "0x")[0] != strings.Split(before, "0x")[0] {
		t.Error("what was given was changed")
	}
}

// What a new grant holds is not granted twice; what is kept from changes within it stays so.
func TestSuggestIsTidy(t *testing.T) {
	r := run(want(list, "/srv/x"), entry("/srv/w/new"))
	r.Granted = config.Server{Read: []string{"/srv/x/a", "/srv/w/kept"}, Write: []string{"/srv/w/inner"}, Net: config.NetNone}
	if p := Suggest(r).Profile; !slices.Equal(p.Read, []string{"/srv/w/kept", "/srv/x"}) || !slices.Equal(p.Write, []string{"/srv/w"}) {
		t.Errorf("read %q, write %q", p.Read, p.Write)
	}
}

// A program that asks for one file after the other, in as many rounds, gets its folder at last.
func TestSuggestGathersOverRounds(t *testing.T) {
	r := run()
	for _, name := range []string{"/srv/x/a", "/srv/x/b", "/srv/x/c"} {
		r.Wants = []sandbox.Want{want(read, name)}
		got := Suggest(r)
		r.Granted.Read = got.Profile.Read
	}
	if !slices.Equal(r.Granted.Read, []string{"/srv/x"}) {
		t.Errorf("granted %q", r.Granted.Read)
	}
	// What was granted stays apart when nothing is asked for beside it.
	r = run(want(read, "/srv/y/a"))
	r.Granted.Read = []string{"/srv/x/a", "/srv/x/b", "/srv/x/c"}
	if got := Suggest(r).Profile.Read; !slices.Equal(got, append(r.Granted.Read, "/srv/y/a")) {
		t.Errorf("read %q", got)
	}
}
