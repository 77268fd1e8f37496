package server

import (
	"bytes"
	"context"
	"fmt"

	"cordon/host/icon"
	"cordon/host/tool"
	"cordon/host/wire"
)

// maxPictures bounds the different icons of a session that are looked at.
const maxPictures = 200

// Icon is the picture of something that a server offers, or of the server itself.
type Icon struct {
	Of    string // server, tool, prompt or resource
	Name  string // of the server, the tool or the prompt; a resource's address or template
	Light []byte // PNG for a light ground, at most icon.Side pixels wide and high
	Dark  []byte // the same for a dark one
}

// listed is something with icons.
type listed struct {
	of, name string
	icons    []icon.Source
}

// Icons returns the pictures of a running server and of what it offers; of resources only those that were asked for, see Resources. An icon that is
// none leaves an oddity behind. Errors: ErrNotRunning (wrapped), or ctx's.
func (s *Supervisor) Icons(ctx context.Context, name string) ([]Icon, error) {
	u, err := s.unit(name)
	if err != nil {
		return nil, err
	}
	live, err := s.live(name)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	tools, prompts := u.view.Tools, u.view.Prompts
	var from *icon.Client
	if u.def.Remote() && u.login != nil {
		from = &icon.Client{HTTP: u.login.client, Endpoint: u.login.endpoint}
	}
	u.mu.Unlock()
	all := []listed{{"server", u.name, live.icons()}}
	for _, offered := range []struct {
		of   string
		list []tool.Tool
	}{{"tool", tools}, {"prompt", prompts}} {
		for _, t := range offered.list {
			all = append(all, listed{offered.of, t.ID.Name, icon.Of(t.Definition)})
		}
	}
	live.mu.Lock()
	if c := live.readable; c != nil {
		for _, list := range [][]tool.Resource{c.resources, c.templates} {
			for _, r := range list {
				all = append(all, listed{"resource", r.URI + r.Template, icon.Of(r.Icons)})
			}
		}
	}
	live.mu.Unlock()
	var out []Icon
	for _, l := range all {
		light, dark, ok := icon.Pick(l.icons)
		if !ok {
			continue
		}
		i := Icon{Of: l.of, Name: l.name}
		if i.Light, err = live.draw(ctx, l, light, from, u.odd); err == nil {
			i.Dark, err = live.draw(ctx, l, dark, from, u.odd)
		}
		if err != nil {
			return nil, err
		}
		if i.Light != nil || i.Dark != nil {
			out = append(out, i)
		}
	}
	return out, nil
}

// icons are the server's own.
func (s *session) icons() (all []icon.Source) {
	if r := s.mcp.InitializeResult(); r != nil && r.ServerInfo != nil {
		for _, i := range r.ServerInfo.Icons {
			all = append(all, icon.Source{Src: i.Source, MIME: i.MIMEType, Theme: string(i.Theme)})
		}
	}
	return all
}

// pictured reports whether there may be an icon in what the server says of itself, or in a definition.
func (s *session) pictured(lists ...[]tool.Tool) bool {
	for _, list := range lists {
		for _, t := range list {
			if bytes.Contains(t.Definition, []byte(`"icons":`)) {
				return true
			}
		}
	}
	return len(s.icons()) > 0
}

// draw makes a picture once in a session, nil if it is none. The error is ctx's.
func (s *session) draw(ctx context.Context, of listed, from icon.Source, client *icon.Client, odd func(wire.Code, string)) ([]byte, error) {
	s.drawing.Lock()
	defer s.drawing.Unlock()
	if png, ok := s.pictures[from]; ok {
		return png, nil
	}
	if len(s.pictures) >= maxPictures {
		return nil, nil
	}
	png, err := icon.Picture(ctx, from, client)
	if ctx.Err() != nil { // not the icon's fault
		return nil, ctx.Err()
	}
	if err != nil {
		odd(wire.IconRefused, fmt.Sprintf("the icon of %s %q is not shown: %v", of.of, brief(of.name), err))
	}
	if s.pictures == nil {
		s.pictures = map[icon.Source][]byte{}
	}
	s.pictures[from] = png
	return png, nil
}
