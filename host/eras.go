package host

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"

	"cordon/host/config"
	"cordon/host/server"
	"cordon/host/tool"

	"github.com/go-json-experiment/json"
)

// maxEras bounds what is remembered; then it begins anew. It costs a question to learn it again.
const maxEras = 512

// eras is a server.Eras in a file that may be lost or wrong: then servers are asked again. It is safe for concurrent use.
type eras struct {
	file string

	mu      sync.Mutex
	by      map[string]server.Era // guarded by mu; by digest in hex; nil until it is read
	changes int                   // guarded by mu; of by

	writing sync.Mutex // held while the file is written; taken before mu
	written int        // guarded by writing; how many of the changes are in the file
}

func newEras(p config.Paths) *eras { return &eras{file: filepath.Join(p.Cache, "eras.json")} }

// read fills by. The caller holds mu.
func (e *eras) read() {
	if e.by != nil {
		return
	}
	e.by = map[string]server.Era{}
	st, err := os.Lstat(e.file)
	if err != nil || !st.Mode().IsRegular() || st.Size() > 1<<20 {
		return
	}
	b, err := os.ReadFile(e.file)
	var kept map[string]server.Era
	if err != nil || json.Unmarshal(b, &kept) != nil {
		return
	}
	for key, era := range kept {
		if digest, err := hex.DecodeString(key); err == nil && len(digest) == len(tool.Digest{}) && (era == server.Legacy || era == server.Modern) {
			e.by[key] = era
		}
	}
}

// Era implements server.Eras.
func (e *eras) Era(program tool.Digest) server.Era {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.read()
	return e.by[hex.EncodeToString(program[:])]
}

// Remember implements server.Eras. Who comes while the file is written shares the next writing of it.
func (e *eras) Remember(program tool.Digest, era server.Era) {
	change := e.note(hex.EncodeToString(program[:]), era)
	if change == 0 {
		return
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	if e.written >= change {
		return
	}
	e.mu.Lock()
	b, err := json.Marshal(e.by, json.Deterministic(true))
	change = e.changes
	e.mu.Unlock()
	if err == nil {
		_ = config.WriteFile(e.file, b) // without it servers are asked again
	}
	e.written = change
}

// note keeps what is to be remembered. It returns which change that was, 0 for none.
func (e *eras) note(key string, era server.Era) (change int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.read()
	switch {
	case e.by[key] == era:
		return 0
	case era == server.Unknown:
		delete(e.by, key)
	default:
		if len(e.by) >= maxEras {
			clear(e.by)
		}
		e.by[key] = era
	}
	e.changes++
	return e.changes
}
