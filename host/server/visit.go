package server

import (
	"context"
	"errors"
	"fmt"

	"cordon/host/elicit"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A legacy server may refuse a call until the person has been to a page of its (MCP 2025-11-25, client/elicitation: error -32042). The page is
// opened by the person; when the server says that it is done there, the call is sent once more.

const pageRequired = -32042

// pagesOf are the pages that an error asks to be visited, nil if it is another error.
func pagesOf(err error) []jsontext.Value {
	var e *ServerError
	if !errors.As(err, &e) || e.Code != pageRequired {
		return nil
	}
	var data struct {
		Pages []jsontext.Value `json:"elicitations"`
	}
	if json.Unmarshal(e.Data, &data) != nil || len(data.Pages) == 0 {
		return nil
	}
	return data.Pages
}

// visit has the person open pages, one after the other, and waits until the server says that each is done. An error ends the call.
func (s *session) visit(ctx context.Context, call string, pages []jsontext.Value) error {
	if s.elicit == nil {
		return errors.New("it wants you to visit a page first, and there is nobody to show it to")
	}
	if len(pages) > maxQuestions {
		err := fmt.Errorf("it wants %d pages visited at a time", len(pages))
		s.refused(err)
		return err
	}
	for _, raw := range pages {
		q, err := elicit.Parse(s.name, raw)
		if err == nil && q.Kind != elicit.URL {
			err = errors.New("it is no page")
		} else if err == nil && q.ID == "" {
			err = errors.New("the page has no id")
		}
		if err != nil {
			s.refused(err)
			return fmt.Errorf("it wants you to visit a page that you may not: %w; the call did not run", err)
		}
		q.Call = call
		done := s.visiting(q.ID)
		a := s.askPerson([]context.Context{ctx}, q)
		if ctx.Err() != nil {
			s.visited(q.ID)
			return context.Cause(ctx)
		}
		if a.Action != elicit.Accept {
			s.visited(q.ID)
			return errors.New("it wants you to visit a page first, and you did not; the call did not run")
		}
		select {
		case <-done:
		case <-ctx.Done():
			s.visited(q.ID)
			return fmt.Errorf("it did not say in time that you are done on its page; call again when you are: %w", context.Cause(ctx))
		case <-s.ending.Done():
			return errStopped
		}
	}
	return nil
}

// visiting notes that a page is about to be open. The channel is closed when it is done, or nobody waits any more.
func (s *session) visiting(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.visits == nil {
		s.visits = map[string]chan struct{}{}
	}
	if s.visits[id] == nil {
		s.visits[id] = make(chan struct{})
	}
	return s.visits[id]
}

func (s *session) visited(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done := s.visits[id]; done != nil {
		close(done)
		delete(s.visits, id)
	}
}
