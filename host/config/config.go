package config

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"cordon/host/secret"
)

// Version is the only format of config.json that is read and written.
const Version = 1

const (
	maxFile    = 4 << 20
	maxServers = 256
	maxSecrets = 1024
)

// Config is the content of config.json. It holds no secrets, only their names.
type Config struct {
	Version      int          `json:"version"`
	Servers      []Server     `json:"servers"`
	Secrets      []secret.Ref `json:"secrets"`
	Models       []Model      `json:"models,omitempty"`
	LocalModels  bool         `json:"localModels,omitzero"` // only models on this computer may be asked
	FirstRunDone bool         `json:"firstRunDone"`
}

// Server looks a server up by name.
func (c Config) Server(name string) (Server, bool) {
	i := slices.IndexFunc(c.Servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return Server{}, false
	}
	return c.Servers[i], true
}

// Error says what is wrong in a file and where.
type Error struct {
	File    string // path, or "" when the value has not been written yet
	Server  string // name of the server concerned, or ""
	Field   string // as in the file: "servers[0].env.LD_PRELOAD", or ""
	Line    int    // from 1; 0 when not known
	Column  int    // in bytes, from 1
	Problem string
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
		}
		b.WriteByte(' ')
	}
	if e.Server != "" {
		fmt.Fprintf(&b, "server %q: ", e.Server)
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	return b.String() + e.Problem
}

// Load reads the configuration, through a symbolic link too. A missing file is an empty configuration. Anything that is not exactly what this
// version writes (an unknown or duplicate key, another version, a bad value) is an *Error that says where; the
// file is left alone.
func Load(p Paths) (Config, error) {
	data, err := readCapped(p.File())
	if errors.Is(err, fs.ErrNotExist) {
		return Config{Version: Version}, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("load configuration: %w", err)
	}
	return Parse(p, data)
}

// Seen identifies what the file holds: the SHA-256 of its content, or zero if there is none.
type Seen [sha256.Size]byte

// Look returns what p.File() holds now.
func Look(p Paths) (Seen, error) {
	data, err := readCapped(p.File())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Seen{}, nil
	case err != nil:
		return Seen{}, fmt.Errorf("look at configuration: %w", err)
	}
	return sha256.Sum256(data), nil
}

// ErrEdited means that somebody else has changed the file since it was read.
var ErrEdited = errors.New("the configuration was changed by hand since it was read, so nothing was saved over it; start Cordon again to use what is in the file")

// Parse checks data as the content of p.File().
func Parse(p Paths, data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c, json.RejectUnknownMembers(true)); err != nil {
		return Config{}, decodeError(p.File(), data, err)
	}
	if err := c.Validate(p); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.File = p.File()
			e.Line, e.Column = locate(data, pointer(e.Field))
		}
		return Config{}, err
	}
	return c, nil
}

// Savable returns why Save could not replace the file, or nil. It refuses a symbolic link. Replacing the link would leave
// what it leads to as it was, behind the back of whoever made it; writing where it leads would trust every folder on the
// way there, which somebody else may change between the look and the writing. A link to the folder p.Config is followed,
// because Make looks at where it leads.
func Savable(p Paths) error {
	st, err := os.Lstat(p.File())
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at configuration: %w", err)
	}
	return fmt.Errorf("%s is a symbolic link: it is read, but not written through, so nothing was changed; put the file itself there, or make its folder the link", p.File())
}

// Save validates c and replaces the file durably. A file that cannot be loaded is never overwritten: its error is
// returned instead, and the person who broke it decides. A symbolic link is not replaced either, see Savable. The caller
// holds the Lock of p.State.
func Save(p Paths, c Config) error {
	if err := Savable(p); err != nil {
		return err
	}
	if _, err := Load(p); err != nil {
		return fmt.Errorf("not overwriting a broken file: %w", err)
	}
	c.Version = Version
	if err := c.Validate(p); err != nil {
		return err
	}
	data, err := json.Marshal(c, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	if len(data) > maxFile {
		return fmt.Errorf("the configuration has %d bytes, more than %d", len(data), maxFile)
	}
	return WriteFile(p.File(), append(data, '\n'))
}

// Validate reports the first thing that is wrong in c as an *Error without a file.
func (c Config) Validate(p Paths) error {
	switch {
	case c.Version != Version:
		return &Error{Field: "version", Problem: fmt.Sprintf("is %d; this Cordon reads version %d only", c.Version, Version)}
	case len(c.Servers) > maxServers:
		return &Error{Field: "servers", Problem: fmt.Sprintf("has %d entries, more than %d", len(c.Servers), maxServers)}
	case len(c.Secrets) > maxSecrets:
		return &Error{Field: "secrets", Problem: fmt.Sprintf("has %d entries, more than %d", len(c.Secrets), maxSecrets)}
	}
	models := map[string]bool{}
	if len(c.Models) > maxModels {
		return &Error{Field: "models", Problem: fmt.Sprintf("has %d entries, more than %d", len(c.Models), maxModels)}
	}
	for i, m := range c.Models {
		field := fmt.Sprintf("models[%d]", i)
		if err := m.Validate(); err != nil {
			if e, ok := errors.AsType[*Error](err); ok {
				e.Field = field + "." + e.Field
			}
			return err
		}
		if models[m.Name] {
			return &Error{Field: field + ".name", Problem: "another model has this name"}
		}
		models[m.Name] = true
	}
	names, remote := map[string]bool{}, map[string]bool{}
	for i, s := range c.Servers {
		field := fmt.Sprintf("servers[%d]", i)
		if err := s.Validate(p); err != nil {
			var e *Error
			if errors.As(err, &e) {
				e.Field = field + "." + e.Field
			}
			return err
		}
		if names[s.Name] {
			return &Error{Server: s.Name, Field: field + ".name", Problem: "another server has this name"}
		}
		if s.Sampling != "" && !models[s.Sampling] {
			return &Error{Server: s.Name, Field: field + ".sampling", Problem: fmt.Sprintf("there is no model %q", s.Sampling)}
		}
		names[s.Name], remote[s.Name] = true, s.Remote()
	}
	refs := map[[2]string]secret.Ref{}
	for i, r := range c.Secrets {
		field := fmt.Sprintf("secrets[%d]", i)
		switch _, twice := refs[[2]string{r.Server, r.Name}]; {
		case !nameRE.MatchString(r.Name):
			return &Error{Server: r.Server, Field: field + ".name", Problem: fmt.Sprintf("%q is not a name: %s", r.Name, nameRule)}
		case r.Server != "" && !names[r.Server]:
			return &Error{Server: r.Server, Field: field + ".server", Problem: "there is no such server"}
		case twice:
			return &Error{Server: r.Server, Field: field + ".name", Problem: "this server has another secret of this name"}
		case r.Env != "":
			check := badEnv
			if remote[r.Server] {
				check = badSecretKey
			}
			if why := check(r.Env); why != "" {
				return &Error{Server: r.Server, Field: field + ".env", Problem: why}
			}
		}
		refs[[2]string{r.Server, r.Name}] = r
	}
	for i, s := range c.Servers {
		for _, env := range sortedKeys(s.Secrets) {
			if _, ok := refs[[2]string{s.Name, s.Secrets[env]}]; !ok {
				return &Error{Server: s.Name, Field: fmt.Sprintf("servers[%d].secrets.%s", i, env),
					Problem: fmt.Sprintf("there is no secret %q for this server", s.Secrets[env])}
			}
		}
	}
	return nil
}

func readCapped(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, &Error{File: path, Problem: fmt.Sprintf("is not a plain file of at most %d bytes", maxFile)}
	}
	return os.ReadFile(path)
}

func decodeError(file string, data []byte, err error) error {
	e := &Error{File: file, Problem: err.Error()}
	var offset int64
	var at jsontext.Pointer
	var syn *jsontext.SyntacticError
	var sem *json.SemanticError
	switch {
	case errors.As(err, &syn):
		offset, at = syn.ByteOffset, syn.JSONPointer
		e.Problem = "is not valid JSON: " + syn.Err.Error()
		if errors.Is(syn.Err, jsontext.ErrDuplicateName) {
			e.Problem = "the same key stands here twice"
		}
	case errors.As(err, &sem):
		offset, at = sem.ByteOffset, sem.JSONPointer
		e.Problem = "a value of another kind is needed here"
		if errors.Is(sem.Err, json.ErrUnknownName) {
			e.Problem = "unknown key"
		}
		if m, ok := errors.AsType[misspelt](sem.Err); ok {
			e.Problem = m.Error()
		}
		offset = skipSpace(data, offset)
	}
	e.Field = field(at)
	e.Line, e.Column = lineColumn(data, offset)
	e.Server = serverAt(data, at)
	return e
}

// serverAt names the server that the pointer leads into, if the broken text still tells.
func serverAt(data []byte, at jsontext.Pointer) string {
	t := slices.Collect(at.Tokens())
	if len(t) < 2 || t[0] != "servers" {
		return ""
	}
	want := jsontext.Pointer("/servers/" + t[1] + "/name")
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return ""
		}
		if d.StackPointer() == want && tok.Kind() == '"' {
			if s := tok.String(); s != "name" {
				return s
			}
		}
	}
}

// field writes a JSON pointer the way people write paths: /servers/0/env/A becomes servers[0].env.A.
func field(at jsontext.Pointer) string {
	var b strings.Builder
	for t := range at.Tokens() {
		if _, err := strconv.Atoi(t); err == nil {
			b.WriteString("[" + t + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(t)
	}
	return b.String()
}

// pointer is the inverse of field for the fields that Validate names.
func pointer(field string) jsontext.Pointer {
	field = strings.NewReplacer("[", ".", "]", "").Replace(field)
	var p jsontext.Pointer
	for t := range strings.SplitSeq(field, ".") {
		p = p.AppendToken(t)
	}
	return p
}

// locate finds where the value at the pointer begins, or the nearest value around it that exists.
func locate(data []byte, at jsontext.Pointer) (line, column int) {
	for ; at != ""; at = at.Parent() {
		d := jsontext.NewDecoder(bytes.NewReader(data))
		for {
			before := d.InputOffset()
			if _, err := d.ReadToken(); err != nil {
				break
			}
			if d.StackPointer() != at {
				continue
			}
			if kind, _ := d.StackIndex(d.StackDepth()); kind == '{' { // the first hit in an object is the key
				before = d.InputOffset()
			}
			return lineColumn(data, skipSpace(data, before))
		}
	}
	return 1, 1
}

// skipSpace moves past white space and the punctuation between values.
func skipSpace(data []byte, offset int64) int64 {
	for offset >= 0 && offset < int64(len(data)) && strings.IndexByte(" \t\r\n:,", data[offset]) >= 0 {
		offset++
	}
	return offset
}

func lineColumn(data []byte, offset int64) (line, column int) {
	offset = min(max(offset, 0), int64(len(data)))
	before := data[:offset]
	return bytes.Count(before, []byte("\n")) + 1, int(offset) - (bytes.LastIndexByte(before, '\n') + 1) + 1
}
