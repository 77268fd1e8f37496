package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cordon/host/pin"
	"cordon/host/remote"
	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/go-json-experiment/json"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// Era is a way to open a session: with a handshake, or with none at all.
type Era string

// The eras, by the newest version of each that Cordon speaks.
const (
	Unknown Era = ""
	Legacy  Era = "2025-11-25" // initialize, then a session
	Modern  Era = "2026-07-28" // every request stands for itself
)

// Eras remembers which era a program speaks, by its files and command. It may forget.
type Eras interface {
	Era(program tool.Digest) Era
	Remember(program tool.Digest, e Era) // Unknown forgets it
}

// programKey identifies what speaks: the command and all of its files.
func programKey(f pin.Fingerprint) tool.Digest {
	return pin.Fingerprint{Command: f.Command, Binary: f.Binary, BinaryPath: f.BinaryPath, Tree: f.Tree, Files: f.Files}.Digest()
}

// eraPatience is how long a server may take to say which era it speaks. One that is only slow is taken for an old one, and says so later.
const eraPatience = 3 * time.Second

// Errors of opening a session that another attempt mends.
var (
	errOffended = errors.New("it ended when it was asked for its protocol versions") // start it again as an old one
	errOtherEra = errors.New("it speaks another version of the protocol")            // start it again, and ask

	errLegacyAfterAll = errors.New("it says that it speaks a version that it does not speak") // start it again as an old one
)

// anotherStart reports whether err may be mended by starting again.
func anotherStart(err error) bool {
	return errors.Is(err, errOffended) || errors.Is(err, errOtherEra) || errors.Is(err, errLegacyAfterAll)
}

// refusesEra reports whether a server that was opened as a modern one answered its first listing with an error, as those do that want a handshake after all. It may
// be another error; then the handshake fails too.
func refusesEra(e Era, err error) bool {
	if e != Modern {
		return false
	}
	if of, ok := errors.AsType[*jsonrpc.Error](err); ok { // from the library
		return of.Code != remote.CodeLost
	}
	of, ok := errors.AsType[*ServerError](err)
	return ok && of.Code != remote.CodeLost
}

// discover is the first request of the modern era, with an id that the library does not use.
func discover(id, version string) []byte {
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": "server/discover", "params": map[string]any{"_meta": map[string]any{
		"io.modelcontextprotocol/protocolVersion":    Modern,
		"io.modelcontextprotocol/clientInfo":         map[string]string{"name": "cordon", "version": version},
		"io.modelcontextprotocol/clientCapabilities": struct{}{},
	}}}, json.Deterministic(true))
	if err != nil {
		panic(err) // it is made of constants and a version
	}
	return append(text, '\n')
}

// Errors that only a modern server answers with (MCP 2026-07-28, basic/versioning).
const (
	headerMismatch     = -32020
	missingCapability  = -32021
	unsupportedVersion = -32022
)

// eraOf says which era an answer to discover tells of.
func eraOf(a wire.Answer) Era {
	var result struct {
		Versions []string `json:"supportedVersions"`
	}
	var failed struct {
		Code int `json:"code"`
		Data struct {
			Versions []string `json:"supported"`
		} `json:"data"`
	}
	switch {
	case a.Result != nil && json.Unmarshal(a.Result, &result) == nil && slices.Contains(result.Versions, string(Modern)):
		return Modern
	case a.Error == nil || json.Unmarshal(a.Error, &failed) != nil:
	case failed.Code == unsupportedVersion && slices.Contains(failed.Data.Versions, string(Modern)), failed.Code == headerMismatch, failed.Code == missingCapability:
		return Modern
	}
	return Legacy
}

// lost reports whether an answer is Cordon's own, because the server gave none.
func lost(a wire.Answer) bool {
	var failed struct {
		Code int `json:"code"`
	}
	return a.Error != nil && json.Unmarshal(a.Error, &failed) == nil && failed.Code == remote.CodeLost
}

// findEra asks a server that has just been started which era it speaks. late gets the answer of one that does not say in time, if it ever
// does; it is nil if none can come any more. Errors: errOffended if the server ends instead, ctx's, or why it cannot be asked.
func findEra(ctx context.Context, g *wire.Guard, to *wire.Tap, version string, ended <-chan struct{}) (e Era, late <-chan wire.Answer, err error) {
	const id = "cordon-era"
	answer := g.Ask(`"` + id + `"`)
	g.Quiet(true)
	defer g.Quiet(false)
	if _, err := to.Write(discover(id, version)); err != nil { // it has ended before it could be offended
		return Unknown, nil, err
	}
	patience := time.NewTimer(eraPatience)
	defer patience.Stop()
	select {
	case a := <-answer:
		if lost(a) { // and nothing more comes of it; it may answer a handshake
			return Unknown, nil, nil
		}
		return eraOf(a), nil, nil
	case <-patience.C:
		return Unknown, answer, nil
	case <-ended:
		err = errOffended
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select {
	case a := <-answer: // it answered first
		return eraOf(a), nil, nil
	default:
		return Unknown, nil, err
	}
}

// ask sends a request of Cordon's own to a modern server and returns when it has answered anything, or with ctx's error.
func (s *session) ask(ctx context.Context) error {
	id := fmt.Sprintf("cordon-%d", asks.Add(1))
	answer := s.guard.Ask(`"` + id + `"`)
	if _, err := s.to.Write(discover(id, s.version)); err != nil {
		return err
	}
	select {
	case <-answer:
		return nil
	case <-ctx.Done():
		s.guard.Forget(`"` + id + `"`)
		return ctx.Err()
	}
}

// erasInMemory is an Eras that ends with the process. It is safe for concurrent use.
type erasInMemory struct {
	mu sync.Mutex
	by map[tool.Digest]Era // guarded by mu
}

// Era implements Eras.
func (m *erasInMemory) Era(program tool.Digest) Era {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[program]
}

// Remember implements Eras.
func (m *erasInMemory) Remember(program tool.Digest, e Era) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil || len(m.by) > 1000 {
		m.by = map[tool.Digest]Era{}
	}
	if m.by[program] = e; e == Unknown {
		delete(m.by, program)
	}
}
