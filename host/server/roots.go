package server

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"cordon/host/config"
	"cordon/host/elicit"

	"github.com/go-json-experiment/json/jsontext"
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

// errNotOfferedTo means that a server asks for something that it was not told of.
type errNotOfferedTo string

func (e errNotOfferedTo) Error() string {
	return fmt.Sprintf("it needs something that was not offered to it (%s)", strings.TrimSpace(brief(string(e))))
}

// read makes a question for a person of what a server asks.
func (s *session) read(method string, params jsontext.Value) (elicit.Question, error) {
	switch {
	case method == "elicitation/create":
		return elicit.Parse(s.name, params)
	case method == "roots/list" && s.roots != nil:
		return elicit.Question{Server: s.name, Kind: elicit.Form, Message: "It asks which folders it was granted. Send tells it: " + strings.Join(s.roots, ", ") + "."}, nil
	}
	return elicit.Question{}, errNotOfferedTo(method)
}

// answer puts what a person said into the form that the server expects.
func (s *session) answer(method string, a elicit.Answer) (map[string]any, error) {
	if method != "roots/list" {
		r := map[string]any{"action": a.Action}
		if a.Values != nil {
			r["content"] = a.Values
		}
		return r, nil
	}
	if a.Action != elicit.Accept {
		return nil, errors.New("you did not tell it its folders")
	}
	roots := []map[string]string{}
	for _, dir := range s.roots {
		roots = append(roots, map[string]string{"uri": (&url.URL{Scheme: "file", Path: dir}).String(), "name": filepath.Base(dir)})
	}
	return map[string]any{"roots": roots}, nil
}
