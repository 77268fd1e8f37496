package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Resources that somebody looks at are watched: the server says when one has changed. Who watches is remembered by the unit, so that a server that
// is started again, or a connection that is made anew, is told of it.

// maxWatched bounds the resources of a server that are watched.
const maxWatched = 100

// errNotWatchable means that a server does not tell of changes.
var errNotWatchable = errors.New("it does not tell when its resources change")

// watches are the resources of a unit that somebody looks at. The zero value is empty.
type watches struct {
	mu   sync.Mutex
	next int
	by   map[string]map[int]func() // guarded by mu; by address
}

// add reports an error if there are too many. changed must not block.
func (w *watches) add(uri string, changed func()) (remove func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[string]map[int]func(){}
	}
	if w.by[uri] == nil {
		if len(w.by) >= maxWatched {
			return nil, fmt.Errorf("more than %d resources are watched", maxWatched)
		}
		w.by[uri] = map[int]func(){}
	}
	n := w.next
	w.next++
	w.by[uri][n] = changed
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.by[uri], n)
		if len(w.by[uri]) == 0 {
			delete(w.by, uri)
		}
	}, nil
}

func (w *watches) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.by))
}

// changed tells whoever watches an address.
func (w *watches) changed(uri string) {
	w.mu.Lock()
	told := slices.Collect(maps.Values(w.by[uri]))
	w.mu.Unlock()
	for _, f := range told {
		f()
	}
}

// Watch calls changed whenever a server says that a resource has changed, until ctx ends, also after the server was started again. changed must not
// block. Errors: ErrNotRunning (wrapped), ctx's, that the server does not do that, or that it offers no such resource.
func (s *Supervisor) Watch(ctx context.Context, name, uri string, changed func()) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	live, err := s.live(name)
	if err != nil {
		return err
	}
	if err := live.offers(ctx, uri); err != nil {
		return fmt.Errorf("%s: %q cannot be watched: %w", name, uri, err)
	}
	remove, err := u.watches.add(uri, changed)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := live.watch(ctx, u.watches.all()); err != nil {
		remove()
		return fmt.Errorf("%s: %w", name, err)
	}
	context.AfterFunc(ctx, func() {
		remove()
		if live, err := s.live(name); err == nil {
			live.do(func() { _ = live.watch(live.ending, u.watches.all()) })
		}
	})
	return nil
}

// tells reports whether the server says when a resource has changed.
func (s *session) tells() bool {
	return s.reads() && s.mcp.InitializeResult().Capabilities.Resources.Subscribe
}

// watch makes a server tell of changes of these resources and no others.
func (s *session) watch(ctx context.Context, uris []string) error {
	if !s.tells() {
		return errNotWatchable
	}
	ctx, cancel := context.WithTimeout(ctx, noticePatience)
	defer cancel()
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.era == Modern {
		s.listen(uris)
		return nil
	}
	for uri := range s.watched {
		if !slices.Contains(uris, uri) {
			delete(s.watched, uri)
			if _, err := s.request(ctx, "resources/unsubscribe", map[string]any{"uri": uri}, nil); err != nil {
				return err
			}
		}
	}
	for _, uri := range uris {
		if s.watched[uri] {
			continue
		}
		if _, err := s.request(ctx, "resources/subscribe", map[string]any{"uri": uri}, nil); err != nil {
			return err
		}
		if s.watched == nil {
			s.watched = map[string]bool{}
		}
		s.watched[uri] = true
	}
	return nil
}

// listen replaces the stream on which a modern server tells of changes. The caller holds watching.
func (s *session) listen(uris []string) {
	if s.unlisten != nil {
		s.unlisten()
		s.unlisten = nil
	}
	if len(uris) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(s.ending)
	s.unlisten = cancel
	s.do(func() {
		_, _ = s.request(ctx, "subscriptions/listen", map[string]any{"notifications": map[string]any{"resourceSubscriptions": uris}}, nil)
	})
}

// updated tells of a resource that has changed.
func (s *session) updated(params jsontext.Value) {
	var p struct {
		URI string `json:"uri"`
	}
	if json.Unmarshal(params, &p) == nil && tool.CheckURI(p.URI) == nil && s.update != nil {
		s.update(p.URI)
	}
}
