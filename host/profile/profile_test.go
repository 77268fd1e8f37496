package profile

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"cordon/host/config"
	"cordon/sandbox"
)

func vars(name string) string {
	return map[string]string{"HOME": "/home/ana", "CASE": "/srv/cases/1/", "XDG_DOCUMENTS_DIR": "/home/ana/Documents"}[name]
}

func TestApply(t *testing.T) {
	p, err := Parse("p.yaml", []byte("preset: workspace # why not\nread: [~/rules, \"${XDG_DOCUMENTS_DIR}/playbooks\"]\nwrite:\n  - ${CASE}\nmemory: 512M\npids: 64\ncpu: 0.5\ndemand: [fs.metadata]\nobserve: true\n"))
	if err != nil {
		t.Fatal(err)
	}
	var s config.Server
	if err := p.Apply(&s, vars); err != nil {
		t.Fatal(err)
	}
	want := config.Server{Preset: "workspace", Read: []string{"/home/ana/rules", "/home/ana/Documents/playbooks"}, Write: []string{"/srv/cases/1"}, Net: config.NetNone,
		Memory: 512 << 20, Pids: 64, CPU: 0.5, Demand: []sandbox.Guarantee{sandbox.FSMetadata}, Observe: true}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
	// The effective profile, written and read again, is the same.
	again, err := Parse("again.yaml", Of(s).YAML())
	if err != nil {
		t.Fatal(err)
	}
	var twice config.Server
	if err := again.Apply(&twice, vars); err != nil || !reflect.DeepEqual(twice, s) || len(Diff(Of(s), again)) != 0 {
		t.Errorf("again %+v, %v, differs in %v", twice, err, Diff(Of(s), again))
	}
}

func TestDefaults(t *testing.T) {
	for text, net := range map[string]string{"preset: offline": "none", "preset: calls-api\nhosts: [api.example.org:443]": "hosts", "preset: calls-api\nreach: [9200]": "loopback",
		"serve: [8080]": "loopback", "read: [/srv]": "none", "preset: workspace\nnet: loopback": "loopback"} {
		p, err := Parse("p", []byte(text))
		var s config.Server
		if err == nil {
			err = p.Apply(&s, vars)
		}
		if err != nil || s.Net != net || s.Memory != config.DefaultMemory || s.Pids != config.DefaultPids {
			t.Errorf("%q: %+v, %v; want net %s", text, s, err, net)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "empty",
		"- a":                                    "not a list of keys",
		"preset: offline\nnetwork: none":         "line 2: \"network\" is not a key",
		"read: [/a]\nread: [/b]":                 "twice",
		"read: &a [/a]\nwrite: *a":               "anchors",
		"read: !!python/object [/a]":             "tags",
		"pids: many":                             "cannot unmarshal",
		"reach: [70000]":                         "cannot unmarshal",
		"preset: offline\n---\nnet: hosts":       "more than one document",
		"read: [/a":                              "did not find",
		"memory: " + strings.Repeat("1", 70_000): "larger than",
		"<<: {net: hosts}":                       "is not a key",
	} {
		_, err := Parse("p.yaml", []byte(text))
		var e *Error
		if !errors.As(err, &e) || e.File != "p.yaml" || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want an error with %q", text, err, want)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"preset: online":                                          "there is no \"online\"",
		"preset: offline\nread: [/srv]":                           "read: the preset offline grants none",
		"preset: reads-folder\nwrite: [/srv]":                     "write: the preset",
		"preset: workspace\nhosts: [a.example.org:443]":           "hosts: the preset",
		"preset: calls-api\nread: [/srv]\nhosts: [a.example:443]": "read: the preset",
		"preset: workspace\nnet: hosts":                           "net: the preset",
		"read: [\"${PATH}/x\"]":                                   "the variables are",
		"read: [\"/srv/${CASE}\"]":                                "only at the beginning",
		"read: [\"${CASE}x\"]":                                    "a slash follows",
		"read: [\"${XDG_DOWNLOAD_DIR}\"]":                         "is not set here",
		"read: [~root/x]":                                         "",
		"memory: 5X":                                              "memory: size",
		"memory: -1M":                                             "memory: size",
	} {
		p, err := Parse("p", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var s config.Server
		err = p.Apply(&s, vars)
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
}

// FuzzParse: whatever a file holds, it is refused or means the same when it is written again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"preset: offline", "read: [~/a]\nhosts: [a:1]", "a: &a [*a]", "memory: 1G\ncpu: .5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse("p", b)
		if err != nil {
			return
		}
		again, err := Parse("again", p.YAML())
		if err != nil && len(strings.TrimSpace(string(p.YAML()))) > 3 || err == nil && len(Diff(p, again)) > 0 {
			t.Errorf("%q: again %v, %v", b, again, err)
		}
	})
}
