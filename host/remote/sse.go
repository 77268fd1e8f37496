package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// HTTP+SSE, the transport of MCP 2024-11-05, deprecated since 2025-03-26: one stream for all that the server says, whose first event tells where
// messages are posted. For servers that still need it, if their definition says so.

// errNoEndpoint ends a connection whose stream does not begin as it should.
var errNoEndpoint = errors.New("its stream of events does not begin with the address for messages; is this an HTTP+SSE server?")

// opened begins the stream with the first message, and returns a channel that is closed when the address for messages is known or the connection
// has ended. The caller holds mu.
func (c *Conn) opened() <-chan struct{} {
	if c.sse == nil {
		c.sse = make(chan struct{})
		c.all.Go(func() {
			if err := c.old(); err != nil && c.ctx.Err() == nil {
				c.end(err)
			}
		})
	}
	return c.sse
}

// old reads the stream to its end.
func (c *Conn) old() error {
	known := false
	defer func() {
		if !known {
			close(c.sse)
		}
	}()
	resp, err := c.stretch(c.ctx)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	s := newEvents(resp.Body)
	for {
		e, err := s.next()
		if err != nil {
			return fmt.Errorf("its stream ended: %w", err)
		}
		switch {
		case !known:
			if e.name != "endpoint" {
				return errNoEndpoint
			}
			to, err := c.beside(string(e.data))
			if err != nil {
				return err
			}
			c.mu.Lock()
			c.posts = to
			c.mu.Unlock()
			known = true
			close(c.sse)
		case e.name == "" || e.name == "message":
			if len(bytes.TrimSpace(e.data)) > 0 {
				c.receive(e.data, c.o.Guard.In)
				c.settle()
			}
		}
	}
}

// settle forgets the requests that are answered.
func (c *Conn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.waits {
		if !c.o.Guard.Open(id) {
			delete(c.waits, id)
		}
	}
}

// stretch opens the stream, identified like every request.
func (c *Conn) stretch(ctx context.Context) (*http.Response, error) {
	for try := 1; ; try++ {
		r, err := c.request(ctx, http.MethodGet, nil, message{})
		if err != nil {
			return nil, err
		}
		resp, again, err := c.do(ctx, r)
		if err != nil {
			return nil, err
		}
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode == http.StatusOK && kind == "text/event-stream" {
			return resp, nil
		}
		_ = resp.Body.Close()
		if !again || try >= maxTries {
			return nil, fmt.Errorf("it answered HTTP %d where a stream of events is expected", resp.StatusCode)
		}
	}
}

// beside resolves the address for messages, which has to be of the same origin: what is posted there identifies its sender.
func (c *Conn) beside(address string) (*url.URL, error) {
	to, err := c.o.Endpoint.Parse(strings.TrimSpace(address))
	switch {
	case err != nil || len(address) > maxEventLine || !printable(address):
		return nil, errNoEndpoint
	case to.Scheme != c.o.Endpoint.Scheme || !strings.EqualFold(to.Host, c.o.Endpoint.Host) || to.User != nil:
		return nil, fmt.Errorf("it wants messages posted to another place, %q; nothing is sent there", short(to.Host))
	}
	to.Fragment = ""
	return to, nil
}
