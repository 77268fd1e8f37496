// Command conformance is the client that MCP's official conformance suite examines: the whole of Cordon without its window, with a person
// who agrees to everything. It adds the server at the address that is its last argument, signs in where that is asked for,
// approves it, and calls each of its tools through the gate. conformance.sh runs the suite.
//
// The credentials that the suite hands out in MCP_CONFORMANCE_CONTEXT go where a person would enter them. Nothing here knows which
// scenario runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/host/oauth"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	name     = "suite"
	metadata = "https://conformance-test.local/client-metadata.json" // the client's, by which the suite knows it
	patience = 50 * time.Second
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: conformance URL")
		os.Exit(2)
	}
	if err := run(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// given is what the suite hands out.
type given struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Issuer       string `json:"issuer"`
	Key          string `json:"private_key_pem"`
	Algorithm    string `json:"signing_algorithm"`
	Assertion    string `json:"valid_jwt"`
	IdPClientID  string `json:"idp_client_id"`
	IdPToken     string `json:"idp_id_token"`
	IdPIssuer    string `json:"idp_issuer"`
	IdPEndpoint  string `json:"idp_token_endpoint"`
	Calls        []struct {
		Name string         `json:"name"`
		Args jsontext.Value `json:"arguments"`
	} `json:"toolCalls"`
}

func run(address string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var g given
	if text := os.Getenv("MCP_CONFORMANCE_CONTEXT"); text != "" {
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			return fmt.Errorf("what the suite hands out: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "cordon-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	paths := config.Paths{Home: dir, Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache"), Runtime: filepath.Join(dir, "run")}
	h, err := host.Open(ctx, host.Options{Paths: paths, Sandbox: &sandbox.Sandbox{Kernel: sandbox.Probe()}, Prompter: agrees{}, Elicit: fillIn, Version: "0",
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Browse: browse, SignIns: oauth.Options{MetadataURL: metadata}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(context.WithoutCancel(ctx))) }()
	h.Secrets.UseSession()
	if err := add(ctx, h, address, g); err != nil {
		return err
	}
	err = start(ctx, h)
	if err != nil && g.ClientSecret != "" && errors.Is(err, oauth.ErrNoPerson) { // what a person does who reads that
		if err = changeLogin(ctx, h, config.LoginClientSecret); err == nil {
			err = start(ctx, h)
		}
	}
	if err != nil {
		return tell(h, err)
	}
	r, err := h.Review(ctx, name)
	if err != nil {
		return tell(h, err)
	}
	if err := h.Approve(ctx, name, r.Digest); err != nil {
		return err
	}
	return tell(h, callAll(ctx, h, g, r.Tools))
}

// tell prints what Cordon noticed, for whoever looks into a failure.
func tell(h *host.Host, err error) error {
	if os.Getenv("VERBOSE") != "" {
		lines, _ := h.Servers.Log(name)
		for _, l := range lines {
			fmt.Fprintln(os.Stderr, l.Text)
		}
		frames, _ := h.Servers.Frames(name)
		for _, f := range frames {
			fmt.Fprintln(os.Stderr, map[bool]string{true: ">", false: "<"}[f.Out], f.Text)
		}
	}
	return err
}

func add(ctx context.Context, h *host.Host, address string, g given) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if g.Issuer == "" && (g.ClientSecret != "" || g.Assertion != "") {
		g.Issuer = documented(ctx, u)
	}
	def := config.Server{Name: name, Title: name, Source: "url", URL: u.String(), Net: config.NetNone,
		Login: config.Login{ClientID: g.ClientID, Issuer: g.Issuer, Algorithm: g.Algorithm}}
	entered := map[string]string{config.LoginSecret: g.ClientSecret}
	switch {
	case g.Assertion != "":
		def.Login.Kind, entered[config.LoginSecret] = config.LoginWorkload, g.Assertion
	case g.IdPToken != "":
		def.Login.Kind, entered[config.LoginToken] = config.LoginEnterprise, g.IdPToken
		def.Login.IdPClientID, def.Login.IdPIssuer, def.Login.IdPTokenEndpoint = g.IdPClientID, g.IdPIssuer, g.IdPEndpoint
	case g.Key != "":
		def.Login.Kind, entered[config.LoginSecret] = config.LoginPrivateKey, g.Key
	}
	if err := h.AddServer(def); err != nil {
		return err
	}
	for key, value := range entered {
		if value == "" {
			continue
		}
		if err := h.SetSecret(ctx, secret.Ref{Name: "given-" + key[len("login:"):], Server: name, Env: key}, secret.NewValue(value)); err != nil {
			return err
		}
	}
	return nil
}

// documented is the issuer that a person reads in the service's manual before giving Cordon a secret for it. Here the manual is what the service
// says of itself.
func documented(ctx context.Context, endpoint *url.URL) string {
	manual := *endpoint
	manual.Path = "/.well-known/oauth-protected-resource" + endpoint.Path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, manual.String(), nil)
	if err != nil {
		return ""
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var says struct {
		Issuers []string `json:"authorization_servers"`
	}
	if json.UnmarshalRead(resp.Body, &says) != nil || len(says.Issuers) == 0 {
		return ""
	}
	return says.Issuers[0]
}

func changeLogin(ctx context.Context, h *host.Host, kind string) error {
	def, _ := h.Config().Server(name)
	def.Login.Kind = kind
	return h.ChangeRemote(ctx, def)
}

// start connects, signs in if that is wanted, and accepts a server that does not want to know who calls.
func start(ctx context.Context, h *host.Host) error {
	err := h.Servers.Start(ctx, name)
	for range 3 {
		_, signIn := errors.AsType[*oauth.SignInNeeded](err)
		switch {
		case signIn:
			err = h.Servers.SignIn(ctx, name)
		case errors.Is(err, server.ErrNameless):
			def, _ := h.Config().Server(name)
			def.Open = true
			if err = h.ChangeRemote(ctx, def); err == nil {
				err = h.Servers.Start(ctx, name)
			}
		default:
			return err
		}
	}
	return err
}

// callAll calls what the suite wants called, or else each tool once.
func callAll(ctx context.Context, h *host.Host, g given, tools []tool.Tool) error {
	if len(g.Calls) > 0 {
		var failed error
		for _, c := range g.Calls {
			failed = errors.Join(failed, call(ctx, h, c.Name, c.Args))
		}
		return failed
	}
	var failed error
	for _, t := range tools {
		args, err := arguments(t, tools)
		if err == nil {
			err = call(ctx, h, t.ID.Name, args)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// call runs one tool, and again after signing in for more if that is what it wants.
func call(ctx context.Context, h *host.Host, tool_ string, args jsontext.Value) error {
	for {
		r, err := h.Call(ctx, tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: name, Name: tool_}, Args: args, By: tool.Asker{Kind: "person", Name: "conformance", Conversation: "conformance"}, Wrote: tool.OriginUser})
		if err == nil {
			fmt.Println(tool_, "answered, error:", r.IsError)
			return nil
		}
		v, viewErr := h.Servers.View(name)
		if viewErr != nil {
			return errors.Join(err, viewErr)
		}
		if (v.Login == nil || len(v.Login.Wanted) == 0) && v.State != server.SignIn {
			return err
		}
		if err := h.Servers.SignIn(ctx, name); err != nil {
			return err
		}
	}
}

// arguments are some that fit a tool's schema, one for each whose type it names. A tool that takes a schema gets the one of another tool.
func arguments(t tool.Tool, tools []tool.Tool) (jsontext.Value, error) {
	var schema struct {
		Properties map[string]struct {
			Type string           `json:"type"`
			Enum []jsontext.Value `json:"enum"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(t.InputSchema, &schema); err != nil {
		return nil, err
	}
	args := map[string]any{}
	for name, p := range schema.Properties {
		switch {
		case name == "schema":
			i := slices.IndexFunc(tools, func(o tool.Tool) bool { return o.ID != t.ID })
			if i >= 0 {
				args[name] = jsontext.Value(tools[i].InputSchema)
			}
		case len(p.Enum) > 0:
			args[name] = p.Enum[0]
		case p.Type == "number" || p.Type == "integer":
			args[name] = 3
		case p.Type == "boolean":
			args[name] = true
		case p.Type == "array":
			args[name] = []any{}
		case p.Type == "object":
			args[name] = map[string]any{}
		case p.Type == "string":
			args[name] = "x"
		}
	}
	return json.Marshal(args)
}

// agrees is a person who allows everything.
type agrees struct{}

// Ask implements consent.Prompter.
func (agrees) Ask(_ context.Context, p consent.Prompt) (consent.Answer, error) {
	return consent.Answer{ID: p.ID, Digest: p.Call.Digest.String(), Allow: true, Typed: p.Target, By: "terminal"}, nil
}

// fillIn is a person who accepts what a form proposes.
func fillIn(_ context.Context, q elicit.Question) elicit.Answer {
	if q.Kind != elicit.Form {
		return elicit.Answer{Action: elicit.Decline}
	}
	a := elicit.Answer{Action: elicit.Accept, Values: map[string]jsontext.Value{}}
	for _, f := range q.Fields {
		if f.Default != nil {
			a.Values[f.Name] = f.Default
		}
	}
	return a
}

// browse is a browser whose person has signed in already: it follows redirects until it is back.
func browse(ctx context.Context, _, address string) error {
	client := &http.Client{Timeout: 10 * time.Second}
	go func() {
		r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, address, nil)
		if err != nil {
			return
		}
		if resp, err := client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
	return nil
}
