package server

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"cordon/host/config"
	"cordon/host/elicit"
)

// Roots: a server may ask which folders it works on. That is deprecated in MCP since 2026-07-28; servers that need it get it if their definition says so,
// and a person is asked each time. It learns nothing that its sandbox does not show it.

// rootsOf are the folders that a server may ask for, nil if it may not.
func rootsOf(def config.Server) []string {
	if !def.Roots {
		return nil
	}
	return append(append([]string{}, def.Read...), def.Write...)
}

// wantsRoots is the appeal of a server for its folders.
func (s *session) wantsRoots() appeal {
	q := elicit.Question{Server: s.name, Kind: elicit.Form, Intro: "It asks which folders it was granted. If you say yes, it is told: " + strings.Join(s.roots, ", ") + ".", Yes: "Tell it", For: "for its folders"}
	return appeal{q, func(_ context.Context, ask func(elicit.Question) elicit.Answer, q elicit.Question) (map[string]any, error) {
		return s.folders(ask(q))
	}}
}

// folders are what a server is told of them.
func (s *session) folders(a elicit.Answer) (map[string]any, error) {
	if a.Action != elicit.Accept {
		return nil, errors.New("you did not tell it its folders")
	}
	roots := []map[string]string{}
	for _, dir := range s.roots {
		roots = append(roots, map[string]string{"uri": (&url.URL{Scheme: "file", Path: dir}).String(), "name": filepath.Base(dir)})
	}
	return map[string]any{"roots": roots}, nil
}
