package pin

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"cordon/host/tool"
)

// ErrNotShown is returned by Approve when the server is no longer what the person was shown.
var ErrNotShown = errors.New("the server is not what was shown for approval")

// maxFile bounds a pin file: 1,000 tools of 16 KiB fit.
const maxFile = 32 << 20

// version of the file format.
const version = 1

// Store keeps one file per server in a directory that belongs to Cordon alone. The files are the only state: each is
// read whole every time, only what the same bytes meant before is not worked out again. It is safe for concurrent use: a
// file is replaced in one step, so a reader sees the old pin or the new one.
type Store struct {
	dir string
	now func() time.Time

	mu   sync.Mutex
	last map[string]parsed // by server, guarded by mu; values are never changed
}

// parsed is what a pin file meant.
type parsed struct {
	raw    []byte
	pin    stored
	digest tool.Digest // of the fingerprint
}

// maxKept bounds the files whose meaning is remembered.
const maxKept = 1 << 20

// Open returns the store in dir and creates the directory (0700) if it is missing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open pin store: %w", err)
	}
	return &Store{dir: dir, now: time.Now}, nil
}

// Status compares a server with its pin. A pin that cannot be read gives Changed and an error that names the file:
// whoever ignores the error still does not get New or Pinned.
func (s *Store) Status(server string, fp Fingerprint) (Status, error) {
	f, err := s.load(server)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, nil
	}
	if err != nil {
		return Status{State: Changed, Changes: []Change{{What: "pin", Kind: "changed", Old: "a readable pin", New: "a pin that cannot be read"}}}, err
	}
	st := Status{State: Pinned, At: f.pin.At}
	if f.digest != fp.Digest() {
		approved := f.pin.fingerprint()
		st.State = Changed
		st.Changes = Compare(approved, fp)
		if len(st.Changes) == 0 { // nil and empty can differ in nothing one can show
			st.Changes = []Change{{What: "pin", Kind: "changed", Old: approved.Digest().String(), New: fp.Digest().String()}}
		}
	}
	return st, nil
}

// Approved returns what was approved last and when. The error is fs.ErrNotExist if nothing was.
func (s *Store) Approved(server string) (Fingerprint, time.Time, error) {
	f, err := s.load(server)
	if err != nil {
		return Fingerprint{}, time.Time{}, err
	}
	return f.pin.fingerprint(), f.pin.At, nil
}

// Approve makes fp the pin of server. shown is the digest of the fingerprint that the person saw; if it is not fp's, or if
// fp is stale, nothing is written and the error is ErrNotShown. On return the pin is on disk.
func (s *Store) Approve(server string, fp Fingerprint, shown tool.Digest) error {
	name, err := s.file(server)
	if err != nil {
		return err
	}
	if fp.Stale || fp.Digest() != shown {
		return fmt.Errorf("approve %s: %w", server, ErrNotShown)
	}
	text, err := json.Marshal(encode(server, fp, s.now().UTC().Truncate(time.Second)), json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("approve %s: %w", server, err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("approve %s: the pin is larger than %d bytes", server, maxFile)
	}
	if err := replace(name, append(text, '\n')); err != nil {
		return fmt.Errorf("approve %s: %w", server, err)
	}
	return nil
}

// Forget removes a server's pin, after which it is New. Forgetting one that has none is no error.
func (s *Store) Forget(server string) error {
	name, err := s.file(server)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget pin of %s: %w", server, err)
	}
	return syncDir(s.dir)
}

var serverRE = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,63}\z`)

func (s *Store) file(server string) (string, error) {
	if !serverRE.MatchString(server) {
		return "", fmt.Errorf("pin: %.80q is not a server key", server)
	}
	return filepath.Join(s.dir, server+".json"), nil
}

func (s *Store) load(server string) (parsed, error) {
	name, err := s.file(server)
	if err != nil {
		return parsed{}, err
	}
	raw, err := read(name)
	if err != nil {
		return parsed{}, fmt.Errorf("read pin: %w", err)
	}
	s.mu.Lock()
	p, known := s.last[server]
	s.mu.Unlock()
	if known && bytes.Equal(p.raw, raw) {
		return p, nil
	}
	if p, err = parse(name, server, raw); err != nil {
		return parsed{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]parsed{}
	}
	if len(raw) <= maxKept {
		s.last[server] = p
	} else {
		delete(s.last, server)
	}
	return p, nil
}

func parse(name, server string, raw []byte) (parsed, error) {
	var f stored
	if err := json.Unmarshal(raw, &f, json.RejectUnknownMembers(true)); err != nil {
		return parsed{}, fmt.Errorf("read pin %s: not a pin file of this version", name)
	}
	switch {
	case f.Version != version:
		return parsed{}, fmt.Errorf("read pin %s: version %d is not supported", name, f.Version)
	case f.Server != server:
		return parsed{}, fmt.Errorf("read pin %s: it belongs to another server", name)
	case f.At.IsZero(), f.Binary == nil, f.Tree == nil, f.Digest == nil:
		return parsed{}, fmt.Errorf("read pin %s: incomplete", name)
	}
	digest := f.fingerprint().Digest()
	if digest != tool.Digest(*f.Digest) {
		return parsed{}, fmt.Errorf("read pin %s: its digest does not match its content", name)
	}
	return parsed{raw, f, digest}, nil
}

// stored is the format of a pin file. The digest finds damage; it does not authenticate.
type stored struct {
	Version      int               `json:"version"`
	Server       string            `json:"server"`
	At           time.Time         `json:"at"`
	Digest       *hexDigest        `json:"digest"`
	Command      []quoted          `json:"command"`
	BinaryPath   quoted            `json:"binaryPath"`
	Binary       *hexDigest        `json:"binary"`
	Tree         *hexDigest        `json:"tree"`
	Files        int               `json:"files"`
	Instructions quoted            `json:"instructions"`
	Tools        map[string]quoted `json:"tools"`
	Prompts      map[string]quoted `json:"prompts,omitempty"`
}

// quoted is text that may hold any bytes: base64 in the file, so that nothing is changed on the way.
type quoted []byte

type hexDigest tool.Digest

func (d hexDigest) MarshalText() ([]byte, error) { return []byte(tool.Digest(d).String()), nil }

func (d *hexDigest) UnmarshalText(text []byte) error {
	if len(text) == 2*len(d) {
		if _, err := hex.Decode(d[:], text); err == nil {
			return nil
		}
	}
	return errors.New("not a SHA-256 in hex")
}

func encode(server string, fp Fingerprint, at time.Time) stored {
	digest, binary, tree := hexDigest(fp.Digest()), hexDigest(fp.Binary), hexDigest(fp.Tree)
	f := stored{Version: version, Server: server, At: at, Digest: &digest, BinaryPath: quoted(fp.BinaryPath), Binary: &binary,
		Tree: &tree, Files: fp.Files, Instructions: quoted(fp.Instructions), Tools: map[string]quoted{}}
	for _, arg := range fp.Command {
		f.Command = append(f.Command, quoted(arg))
	}
	for name, def := range fp.Tools {
		f.Tools[name] = def
	}
	for name, def := range fp.Prompts {
		if f.Prompts == nil {
			f.Prompts = map[string]quoted{}
		}
		f.Prompts[name] = def
	}
	return f
}

func (f stored) fingerprint() Fingerprint {
	fp := Fingerprint{Binary: tool.Digest(*f.Binary), BinaryPath: string(f.BinaryPath), Tree: tool.Digest(*f.Tree), Files: f.Files,
		Instructions: string(f.Instructions), Tools: map[string][]byte{}}
	for _, arg := range f.Command {
		fp.Command = append(fp.Command, string(arg))
	}
	for name, def := range f.Tools {
		fp.Tools[name] = def
	}
	for name, def := range f.Prompts {
		if fp.Prompts == nil {
			fp.Prompts = map[string][]byte{}
		}
		fp.Prompts[name] = def
	}
	return fp
}

// read returns a regular file of at most maxFile bytes; a symlink in its place is refused.
func read(name string) (raw []byte, err error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", name, maxFile)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// replace writes a file so that after a crash there is the old content or the new, never a part.
func replace(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text) // CreateTemp made it 0600
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
}
