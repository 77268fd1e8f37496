// Package profile reads what a server is granted from a file that a person writes and reads: YAML, strict, with presets that
// say how much there can be at most, and variables for folders that differ from one computer to the next.
package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"cordon/host/config"
	"cordon/sandbox"

	"go.yaml.in/yaml/v3"
)

// Profile is a file as it is written. Nothing in it has been looked up yet.
type Profile struct {
	Preset string   `yaml:"preset,omitempty"`
	Read   []string `yaml:"read,omitempty,flow"`
	Write  []string `yaml:"write,omitempty,flow"`
	Net    string   `yaml:"net,omitempty"`
	Hosts  []string `yaml:"hosts,omitempty,flow"`
	// PrivateHosts are hosts that may lead to addresses in private networks.
	PrivateHosts []string `yaml:"private-hosts,omitempty,flow"`
	Reach        []uint16 `yaml:"reach,omitempty,flow"`
	Serve        []uint16 `yaml:"serve,omitempty,flow"`
	Memory       string   `yaml:"memory,omitempty"` // 512M
	Pids         int      `yaml:"pids,omitempty"`
	CPU          float64  `yaml:"cpu,omitempty"` // cores
	Demand       []string `yaml:"demand,omitempty,flow"`
	Observe      bool     `yaml:"observe,omitempty"` // note what it asks for and is not granted
}

// maxBytes bounds a file.
const maxBytes = 64 << 10

// Error says what is wrong in which file, and where if that is known.
type Error struct {
	File    string
	Line    int    // 0 if unknown
	Problem string //
}

// Error names the file and the line.
func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s, line %d: %s", e.File, e.Line, e.Problem)
	}
	return e.File + ": " + e.Problem
}

// Load reads a file of at most 64 KiB. Errors are *Error, or say why it cannot be read.
func Load(file string) (Profile, error) {
	f, err := os.Open(file)
	if err != nil {
		return Profile{}, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return Profile{}, &Error{File: file, Problem: "it is not a plain file"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return Profile{}, err
	}
	return Parse(file, b)
}

// Parse reads a profile strictly: one document, a mapping of known keys, each once; no anchors, aliases or tags, with which
// a text means something else than it seems to say. Errors are *Error.
func Parse(file string, text []byte) (Profile, error) {
	bad := func(line int, format string, args ...any) (Profile, error) {
		return Profile{}, &Error{file, line, fmt.Sprintf(format, args...)}
	}
	if len(text) > maxBytes {
		return bad(0, "it is larger than %d KiB", maxBytes>>10)
	}
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return bad(0, "it is empty; begin with a preset, such as: preset: offline")
	case err != nil:
		return bad(0, "%s", said(err))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return bad(0, "it holds more than one document")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return bad(doc.Line, "it is not a list of keys and values")
	}
	if line, why := odd(doc.Content[0]); why != "" {
		return bad(line, "%s", why)
	}
	for i := 0; i < len(doc.Content[0].Content); i += 2 {
		if key := doc.Content[0].Content[i]; !slices.Contains(keys, key.Value) {
			return bad(key.Line, "%q is not a key; they are %s", key.Value, strings.Join(keys, ", "))
		}
	}
	var p Profile
	if err := doc.Decode(&p); err != nil {
		return bad(0, "%s", said(err))
	}
	return p, nil
}

var keys = []string{"preset", "read", "write", "net", "hosts", "private-hosts", "reach", "serve", "memory", "pids", "cpu", "demand", "observe"}

// odd reports the first thing in a tree that a profile has no use for.
func odd(n *yaml.Node) (line int, why string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return n.Line, "anchors and aliases are not used here"
	case n.Style&yaml.TaggedStyle != 0:
		return n.Line, "tags are not used here"
	case n.Kind == yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			for j := 0; j < i; j += 2 {
				if n.Content[i].Value == n.Content[j].Value {
					return n.Content[i].Line, fmt.Sprintf("%q stands here twice", n.Content[i].Value)
				}
			}
		}
	}
	for _, c := range n.Content {
		if line, why := odd(c); why != "" {
			return line, why
		}
	}
	return 0, ""
}

// said shortens what the library says.
func said(err error) string {
	var t *yaml.TypeError
	if errors.As(err, &t) && len(t.Errors) > 0 {
		return t.Errors[0]
	}
	return strings.TrimPrefix(err.Error(), "yaml: ")
}

// YAML writes p as a file.
func (p Profile) YAML() []byte {
	b, err := yaml.Marshal(p)
	if err != nil {
		return []byte("# " + err.Error() + "\n")
	}
	return b
}

// Of is the profile of a server as it is defined.
func Of(s config.Server) Profile {
	p := Profile{Preset: s.Preset, Read: s.Read, Write: s.Write, Net: s.Net, Hosts: s.Hosts, PrivateHosts: s.Private, Reach: s.Reach, Serve: s.Serve,
		Memory: size(s.Memory), Pids: s.Pids, CPU: s.CPU, Observe: s.Observe}
	for _, g := range s.Demand {
		p.Demand = append(p.Demand, string(g))
	}
	return p
}

// size writes bytes as a profile has them.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n > 0 && n%u.n == 0 {
			return fmt.Sprintf("%d%s", n/u.n, u.name)
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// Change is one key that differs between two profiles. An empty side means that nothing is granted or demanded there.
type Change struct {
	Key string `json:"key"`
	Old string `json:"old"`
	New string `json:"new"`
}

// Diff returns what differs from a to b, in the order of the keys.
func Diff(a, b Profile) []Change {
	var all []Change
	list := func(s []string) string { return strings.Join(s, ", ") }
	text := func(v any) string {
		if s := fmt.Sprint(v); s != "0" && s != "false" {
			return s
		}
		return ""
	}
	for _, c := range []Change{{"preset", a.Preset, b.Preset}, {"read", list(a.Read), list(b.Read)}, {"write", list(a.Write), list(b.Write)}, {"net", a.Net, b.Net},
		{"hosts", list(a.Hosts), list(b.Hosts)}, {"private-hosts", list(a.PrivateHosts), list(b.PrivateHosts)}, {"reach", sandbox.Ports(a.Reach), sandbox.Ports(b.Reach)},
		{"serve", sandbox.Ports(a.Serve), sandbox.Ports(b.Serve)}, {"memory", a.Memory, b.Memory}, {"pids", text(a.Pids), text(b.Pids)}, {"cpu", text(a.CPU), text(b.CPU)},
		{"demand", list(a.Demand), list(b.Demand)}, {"observe", text(a.Observe), text(b.Observe)}} {
		if c.Old != c.New {
			all = append(all, c)
		}
	}
	return all
}
