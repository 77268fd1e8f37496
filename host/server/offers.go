package server

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/yosida95/uritemplate/v3"
)

// What a server offers besides tools: prompts, which are pinned like tools, and resources, which come and go. They are asked for by requests of
// Cordon's own: the library reads nothing of them.

// Bounds of what is offered.
const (
	maxOffers    = 1000 // of a kind
	maxOfferText = 4 << 20
	maxOffer     = 64 << 10 // bytes of one
	maxName      = 128      // bytes
	maxArguments = 64       // of a prompt
	maxTemplates = 200
	maxTemplate  = 1024 // bytes
	maxVariables = 16
	maxLinks     = 2000 // resources that results of a session named
	maxSuggested = 100
)

// list goes through the pages of a list and calls each for every entry, within bounds.
func (s *session) list(ctx context.Context, method, key string, each func(raw jsontext.Value)) error {
	seen, size, count := map[string]bool{}, 0, 0
	params := map[string]any{}
	for range wire.MaxPages {
		r, err := s.request(ctx, method, params, nil)
		if err != nil {
			return err
		}
		var page map[string]jsontext.Value
		var entries []jsontext.Value
		cursor := ""
		if json.Unmarshal(r, &page) != nil || page[key] != nil && json.Unmarshal(page[key], &entries) != nil {
			return errors.New("its list is malformed")
		}
		if page["nextCursor"].Kind() == '"' {
			_ = json.Unmarshal(page["nextCursor"], &cursor)
		}
		for _, e := range entries {
			if size, count = size+len(e), count+1; size > maxOfferText || count > maxOffers {
				return nil // what is beyond is not offered
			}
			if len(e) <= maxOffer {
				each(e)
			}
		}
		if cursor == "" {
			return nil
		}
		if len(cursor) > maxOffer || seen[cursor] {
			return errors.New("its list repeats itself")
		}
		seen[cursor] = true
		params = map[string]any{"cursor": cursor}
	}
	return fmt.Errorf("its list has more than %d pages", wire.MaxPages)
}

// offer lists tools and prompts, and says what of them is not offered.
func (s *session) offer(ctx context.Context, source string) (tools, prompts []tool.Tool, refused []string, err error) {
	tools, refused, err = s.tools(ctx, source)
	if err != nil {
		return nil, nil, nil, err
	}
	prompts, more, err := s.prompts(ctx)
	return tools, prompts, append(refused, more...), err
}

// reads reports whether the server has resources.
func (s *session) reads() bool {
	r := s.mcp.InitializeResult()
	return r != nil && r.Capabilities != nil && r.Capabilities.Resources != nil
}

// prompts lists the prompts as tools: their arguments are all texts.
func (s *session) prompts(ctx context.Context) (all []tool.Tool, refused []string, err error) {
	if r := s.mcp.InitializeResult(); r == nil || r.Capabilities == nil || r.Capabilities.Prompts == nil {
		return nil, nil, nil
	}
	err = s.list(ctx, "prompts/list", "prompts", func(raw jsontext.Value) {
		p, err := s.prompt(raw)
		if err == nil && slices.ContainsFunc(all, func(o tool.Tool) bool { return o.ID == p.ID }) {
			err = errors.New("the server lists two prompts of that name")
		}
		if err == nil {
			all = append(all, p)
		} else if len(refused) < maxFindings {
			refused = append(refused, fmt.Sprintf("prompt %q is not offered: %v", brief(p.ID.Name), err))
		}
	})
	return all, refused, err
}

func (s *session) prompt(raw jsontext.Value) (tool.Tool, error) {
	canonical, err := tool.CanonicalObject(raw, tool.DefaultLimits())
	if err != nil {
		return tool.Tool{}, err
	}
	var def struct {
		Name        string `json:"name"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Arguments   []struct {
			Name        string `json:"name"`
			Title       string `json:"title"`
			Description string `json:"description"`
			Required    bool   `json:"required"`
		} `json:"arguments"`
	}
	if err := json.Unmarshal(canonical, &def); err != nil {
		return tool.Tool{}, errors.New("its definition is malformed")
	}
	t := tool.Tool{ID: tool.ID{Server: s.name, Name: def.Name}, Title: def.Title, Description: def.Description, Definition: canonical, Effect: tool.Read, EffectBy: "Cordon"}
	if err := offerName(def.Name); err != nil {
		return t, err
	}
	if len(def.Arguments) > maxArguments {
		return t, fmt.Errorf("it has %d arguments, at most %d are allowed", len(def.Arguments), maxArguments)
	}
	properties, required := map[string]any{}, []string{}
	for _, a := range def.Arguments {
		if err := offerName(a.Name); err != nil {
			return t, fmt.Errorf("an argument: %w", err)
		}
		if properties[a.Name] != nil {
			return t, fmt.Errorf("two arguments have the name %q", a.Name)
		}
		p := map[string]any{"type": "string"}
		if a.Title != "" {
			p["title"] = a.Title
		}
		if a.Description != "" {
			p["description"] = a.Description
		}
		properties[a.Name] = p
		if a.Required {
			required = append(required, a.Name)
		}
	}
	schema, err := json.Marshal(map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false})
	if err == nil {
		schema, err = tool.CanonicalObject(schema, tool.DefaultLimits())
	}
	t.InputSchema = schema
	return t, err
}

// offerName reports why something of that name is not offered.
func offerName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("its name has %d bytes, 1 to %d are allowed", len(name), maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		return errors.New("its name holds characters that cannot be seen")
	}
	return nil
}

// catalogue is what a server lets be read, as it was listed last.
type catalogue struct {
	resources []tool.Resource
	templates []tool.Resource
	patterns  []*regexp.Regexp // of the templates, nil for one that matches nothing
}

// has reports whether an address is listed, or of the form of a template.
func (c *catalogue) has(uri string) bool {
	return slices.ContainsFunc(c.resources, func(r tool.Resource) bool { return r.URI == uri }) ||
		slices.ContainsFunc(c.patterns, func(p *regexp.Regexp) bool { return p != nil && p.MatchString(uri) })
}

// resources returns what can be read, asking the server once and after it has said that this has changed.
func (s *session) resources(ctx context.Context) (*catalogue, error) {
	if !s.reads() {
		return &catalogue{}, nil
	}
	s.mu.Lock()
	known, changes := s.readable, s.changes
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	c := &catalogue{}
	err := s.list(ctx, "resources/list", "resources", func(raw jsontext.Value) {
		if r, ok := resource(raw); ok && r.URI != "" {
			c.resources = append(c.resources, r)
		}
	})
	if err != nil {
		return nil, err
	}
	err = s.list(ctx, "resources/templates/list", "resourceTemplates", func(raw jsontext.Value) {
		r, ok := resource(raw)
		if !ok || r.Template == "" || len(c.templates) >= maxTemplates {
			return
		}
		c.templates = append(c.templates, r)
		c.patterns = append(c.patterns, pattern(r.Template))
	})
	if e, ok := errors.AsType[*ServerError](err); err != nil && (!ok || e.Code != methodNotFound) {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == changes {
		s.readable = c
	}
	return c, nil
}

func resource(raw jsontext.Value) (tool.Resource, bool) {
	var def struct {
		URI         string         `json:"uri"`
		Template    string         `json:"uriTemplate"`
		Name        string         `json:"name"`
		Title       string         `json:"title"`
		Description string         `json:"description"`
		MIME        string         `json:"mimeType"`
		Size        jsontext.Value `json:"size"`
		Icons       jsontext.Value `json:"icons"`
	}
	if json.Unmarshal(raw, &def) != nil || def.URI != "" && tool.CheckURI(def.URI) != nil || len(def.Template) > maxTemplate {
		return tool.Resource{}, false
	}
	r := tool.Resource{URI: def.URI, Template: def.Template, Name: brief(def.Name), Title: brief(def.Title), Description: def.Description, MIME: brief(def.MIME), Size: -1}
	if def.Size.Kind() == '0' && json.Unmarshal(def.Size, &r.Size) != nil || r.Size < -1 {
		r.Size = -1
	}
	if def.Icons != nil {
		r.Icons = slices.Concat([]byte(`{"icons":`), def.Icons, []byte(`}`))
	}
	return r, true
}

// pattern is what the addresses of a template look like, nil if that cannot be told.
func pattern(template string) *regexp.Regexp {
	if strings.Count(template, "{")+strings.Count(template, ",") > maxVariables { // each is a part of the pattern, also if it has the same name
		return nil
	}
	t, err := uritemplate.New(template)
	if err != nil {
		return nil
	}
	return t.Regexp()
}

// offers reports why an address may not be read here: what the server has not named itself, nobody makes it read.
func (s *session) offers(ctx context.Context, uri string) error {
	if err := tool.CheckURI(uri); err != nil {
		return err
	}
	s.mu.Lock()
	linked := s.links[uri]
	s.mu.Unlock()
	if linked {
		return nil
	}
	c, err := s.resources(ctx)
	if err != nil {
		return err
	}
	if !c.has(uri) {
		return errNotOffered
	}
	return nil
}

// linked remembers the resources that a result names.
func (s *session) linked(r tool.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range r.Content {
		if b.Type == "resource_link" && tool.CheckURI(b.URI) == nil && len(s.links) < maxLinks {
			if s.links == nil {
				s.links = map[string]bool{}
			}
			s.links[b.URI] = true
		}
	}
}

// forgetResources makes the next look at what can be read ask again.
func (s *session) forgetResources() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readable = nil
	s.changes++
}

// complete asks for values of an argument of a prompt or a template.
func (s *session) complete(ctx context.Context, ref map[string]string, argument, value string, others map[string]string) (values []string, err error) {
	r := s.mcp.InitializeResult()
	if r == nil || r.Capabilities == nil || r.Capabilities.Completions == nil {
		return nil, nil
	}
	params := map[string]any{"ref": ref, "argument": map[string]string{"name": argument, "value": value}}
	if len(others) > 0 {
		params["context"] = map[string]any{"arguments": others}
	}
	raw, err := s.request(ctx, "completion/complete", params, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Completion struct {
			Values []string `json:"values"`
		} `json:"completion"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		return nil, errUnreadable
	}
	for _, v := range answer.Completion.Values {
		if len(v) <= maxOffer && !strings.ContainsFunc(v, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) && len(values) < maxSuggested {
			values = append(values, v)
		}
	}
	return values, nil
}

// Resources returns what a running server lets be read: single resources, and templates. Errors: ErrNotRunning (wrapped), ctx's, or the
// server's.
func (s *Supervisor) Resources(ctx context.Context, name string) (all []tool.Resource, err error) {
	live, err := s.live(name)
	if err != nil {
		return nil, err
	}
	c, err := live.resources(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return slices.Concat(c.resources, c.templates), nil
}

// Ref names what an argument belongs to.
type Ref struct {
	Prompt   string // a prompt's name, or
	Template string // a resource template
}

// Complete asks a running server for values of an argument that begin like value. others are those that are filled in. A server that does not do
// that proposes nothing.
func (s *Supervisor) Complete(ctx context.Context, name string, of Ref, argument, value string, others map[string]string) ([]string, error) {
	live, err := s.live(name)
	if err != nil {
		return nil, err
	}
	ref := map[string]string{"type": "ref/prompt", "name": of.Prompt}
	if of.Template != "" {
		ref = map[string]string{"type": "ref/resource", "uri": of.Template}
	}
	return live.complete(ctx, ref, argument, value, others)
}

// live is the session of a running server.
func (s *Supervisor) live(name string) (*session, error) {
	u, err := s.unit(name)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.session == nil {
		return nil, fmt.Errorf("%w: %s is %s", ErrNotRunning, name, u.view.State)
	}
	return u.session, nil
}

// Expand fills a template in with values by name. Errors say what is wrong with the template or the address.
func Expand(template string, values map[string]string) (string, error) {
	t, err := uritemplate.New(template)
	if err != nil {
		return "", errors.New("the template of this resource is malformed")
	}
	filled := uritemplate.Values{}
	for name, v := range values {
		filled.Set(name, uritemplate.String(v))
	}
	uri, err := t.Expand(filled)
	if err != nil {
		return "", err
	}
	return uri, tool.CheckURI(uri)
}

// Variables are the names that a template is filled in with.
func Variables(template string) []string {
	t, err := uritemplate.New(template)
	if err != nil {
		return nil
	}
	return t.Varnames()
}
