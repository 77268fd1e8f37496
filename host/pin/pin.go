// Package pin remembers what a server was when a person approved it, and says what has changed since: its command,
// its binary and files, its tool definitions and its instructions.
package pin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cordon/host/tool"
)

// Fingerprint is everything about a server that an approval covers. Values are compared, never changed.
type Fingerprint struct {
	Command      []string          // argv as it is started
	Binary       tool.Digest       // content of the executable
	BinaryPath   string            // absolute
	Tree         tool.Digest       // files of the server, see HashTree; zero if it has none of its own
	Files        int               // number of files in Tree
	Tools        map[string][]byte // canonical definition by tool name, exactly as listed
	Prompts      map[string][]byte // the same of prompts, by name
	Instructions string            // server instructions from the handshake, untrusted text
	Stale        bool              // what runs was started from other files than these, so this is no server's; equals no pin
}

// SameProgram reports whether two servers are started from the same command and the same files.
func (f Fingerprint) SameProgram(g Fingerprint) bool {
	return slices.Equal(f.Command, g.Command) && f.Binary == g.Binary && f.BinaryPath == g.BinaryPath && f.Tree == g.Tree && f.Files == g.Files
}

// Digest covers every field. No two different fingerprints share one.
func (f Fingerprint) Digest() tool.Digest {
	var command [][]byte
	for _, arg := range f.Command {
		command = append(command, []byte(arg))
	}
	argv, defs := tool.Sum(command...), sum(f.Tools)
	kind := "cordon pin 1"
	if f.Stale {
		kind = "cordon stale 1"
	}
	parts := [][]byte{[]byte(kind), argv[:], f.Binary[:], []byte(f.BinaryPath), f.Tree[:], strconv.AppendInt(nil, int64(f.Files), 10), defs[:], []byte(f.Instructions)}
	if len(f.Prompts) > 0 { // none, as in pins from before there were any, is no part
		prompts := sum(f.Prompts)
		parts = append(parts, prompts[:])
	}
	return tool.Sum(parts...)
}

// sum covers definitions by name.
func sum(defs map[string][]byte) tool.Digest {
	var parts [][]byte
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		parts = append(parts, []byte(name), defs[name])
	}
	return tool.Sum(parts...)
}

// State says how a server stands to its pin. The zero value is New, which is not approved.
type State int

// The states. Only Pinned lets a server be used.
const (
	New     State = iota // never approved
	Pinned               // exactly what was approved
	Changed              // differs from what was approved, or the pin cannot be read
)

// String returns new, pinned or changed.
func (s State) String() string {
	switch s {
	case Pinned:
		return "pinned"
	case Changed:
		return "changed"
	}
	return "new"
}

// Status is the state of one server. The zero value is New.
type Status struct {
	State   State
	At      time.Time // when it was approved, UTC; zero if New or unreadable
	Changes []Change  // for Changed, at least one
}

// Change is one difference from what was approved. Old and New are whole: argv one argument a line, digests in hex,
// definitions as indented JSON. They are untrusted text.
type Change struct {
	What string // "running program", "command", "binary", "binary path", "files", "instructions", "tool NAME", "prompt NAME", "pin"
	Kind string // added, removed, changed
	Old  string
	New  string
}

// Compare returns the differences of now from approved, command and files first, then tools by name.
func Compare(approved, now Fingerprint) []Change {
	var all []Change
	add := func(what, old, new string) {
		if old == new {
			return
		}
		kind := "changed"
		switch "" {
		case old:
			kind = "added"
		case new:
			kind = "removed"
		}
		all = append(all, Change{what, kind, old, new})
	}
	if now.Stale {
		add("running program", "started from the files that lie on disk", "started from other files; a restart shows what these are")
	}
	add("command", argv(approved.Command), argv(now.Command))
	add("binary path", approved.BinaryPath, now.BinaryPath)
	add("binary", digest(approved.Binary), digest(now.Binary))
	add("files", tree(approved), tree(now))
	add("instructions", approved.Instructions, now.Instructions)
	all = append(all, definitions("tool ", approved.Tools, now.Tools)...)
	return append(all, definitions("prompt ", approved.Prompts, now.Prompts)...)
}

// definitions compares what is listed, by name. what begins the name of a change.
func definitions(what string, approved, now map[string][]byte) (all []Change) {
	for _, name := range slices.Sorted(maps.Keys(merged(approved, now))) {
		old, had := approved[name]
		new, has := now[name]
		switch {
		case had && has && !bytes.Equal(old, new):
			all = append(all, Change{what + name, "changed", pretty(old), pretty(new)})
		case had && !has:
			all = append(all, Change{what + name, "removed", pretty(old), ""})
		case has && !had:
			all = append(all, Change{what + name, "added", "", pretty(new)})
		}
	}
	return all
}

func merged(a, b map[string][]byte) map[string][]byte {
	m := maps.Clone(a)
	if m == nil {
		m = map[string][]byte{}
	}
	maps.Copy(m, b)
	return m
}

// argv quotes each argument, so that ["a b"] and ["a", "b"] do not look alike.
func argv(command []string) string {
	lines := make([]string, len(command))
	for i, arg := range command {
		lines[i] = strconv.Quote(arg)
	}
	return strings.Join(lines, "\n")
}

func digest(d tool.Digest) string {
	if d == (tool.Digest{}) {
		return ""
	}
	return "sha256 " + d.String()
}

func tree(f Fingerprint) string {
	if f.Files == 0 && f.Tree == (tool.Digest{}) {
		return ""
	}
	if f.Files == 1 {
		return fmt.Sprintf("1 file, sha256 %s", f.Tree)
	}
	return fmt.Sprintf("%d files, sha256 %s", f.Files, f.Tree)
}

func pretty(definition []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, definition, "", "  ") != nil {
		return string(definition)
	}
	return b.String()
}
