package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// faraway is a server at an address, with everything that a server can offer.
type faraway struct {
	*httptest.Server
	key  string      // that X-Api-Key has to hold, "" for none
	as   *authorizer // where one signs in, nil for nobody
	need string      // scope that add_comment needs besides
	slow string      // method that is answered after three seconds
	mcp  *mcp.Server // cases() unless set

	mu    sync.Mutex
	heard []string // bodies of requests
}

// newFaraway starts one on this computer.
func newFaraway(t *testing.T, set ...func(*faraway)) *faraway {
	t.Helper()
	f := &faraway{}
	for _, s := range set {
		s(f)
	}
	server := f.mcp
	if server == nil {
		server = cases()
		f.mcp = server
	}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, handler) }))
	t.Cleanup(func() { // it waits for streams, so they end first
		for s := range server.Sessions() {
			_ = s.Close()
		}
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// address is where it is called.
func (f *faraway) address() string { return f.URL + "/mcp" }

func (f *faraway) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	f.heard = append(f.heard, string(body))
	f.mu.Unlock()
	if f.slow != "" && bytes.Contains(body, []byte(`"`+f.slow+`"`)) {
		time.Sleep(3 * time.Second)
	}
	switch {
	case r.URL.Path == "/.well-known/oauth-protected-resource/mcp" && f.as != nil:
		reply(w, http.StatusOK, map[string]any{"resource": f.address(), "authorization_servers": []string{f.as.URL}, "scopes_supported": []string{"cases:read"}})
		return
	case r.URL.Path != "/mcp":
		http.NotFound(w, r)
		return
	case f.key != "" && r.Header.Get("X-Api-Key") != f.key:
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	if f.as != nil {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		scopes, ok := f.as.scopes(token)
		challenge := `Bearer resource_metadata="` + f.URL + `/.well-known/oauth-protected-resource/mcp"`
		if !ok {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if f.need != "" && bytes.Contains(body, []byte(`"add_comment"`)) && !slices.Contains(scopes, f.need) {
			w.Header().Set("WWW-Authenticate", challenge+`, error="insufficient_scope", scope="cases:read `+f.need+`"`)
			w.WriteHeader(http.StatusForbidden)
			return
		}
	}
	next.ServeHTTP(w, r)
}

// said reports whether a request held all of the words.
func (f *faraway) said(words ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.heard, func(body string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(body, w) })
	})
}

// cases is a store of cases: tools that read, write and take their time, resources, a template, prompts, and completion.
func cases() *mcp.Server {
	known := []string{"INC-2041", "INC-2042", "INC-2077"}
	s := mcp.NewServer(&mcp.Implementation{Name: "cases", Title: "Case store", Version: "3"}, &mcp.ServerOptions{
		CompletionHandler: func(_ context.Context, r *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			var values []string
			for _, k := range known {
				if strings.HasPrefix(k, r.Params.Argument.Value) && slices.Contains([]string{"case", "id"}, r.Params.Argument.Name) {
					values = append(values, k)
				}
			}
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: values}}, nil
		}})
	text := func(t string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: t}}}
	}
	object := func(names ...string) *jsonschema.Schema {
		o := &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{}, Required: names}
		for _, n := range names {
			o.Properties[n] = &jsonschema.Schema{Type: "string"}
		}
		return o
	}
	s.AddTool(&mcp.Tool{Name: "search_cases", Description: "Searches the cases.", InputSchema: object("about")}, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("INC-2041: LSASS handle\u202e of WS-FIN-0142"), nil
	})
	s.AddTool(&mcp.Tool{Name: "add_comment", Description: "Adds a comment to a case.", InputSchema: object("id", "comment")}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("comment 17 added"), nil
	})
	s.AddTool(&mcp.Tool{Name: "get_report", Description: "Reads all of it, which takes a while.", InputSchema: object()}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 8 {
			_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 8, Message: "reading\u200b the timeline"})
			select {
			case <-time.After(700 * time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return text("the report"), nil
	})
	addTriage(s, "Triages a case in the order that the team agreed on.")
	read := func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, MIMEType: "text/markdown", Text: "# Of " + r.Params.URI + "\n\nOwner: N. Okafor\u200b\n"}}}, nil
	}
	s.AddResource(&mcp.Resource{URI: "case://INC-2041/timeline", Name: "timeline", Title: "Timeline of INC-2041", Description: "What happened, in order.", MIMEType: "text/markdown", Size: 4096}, read)
	s.AddResource(&mcp.Resource{URI: "https://cases.example.org/export", Name: "export\u202egnp.exe", Description: "<b>Everything</b> there is.", MIMEType: "application/zip"}, read)
	s.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "case://{id}/notes", Name: "notes", Title: "Notes on a case", Description: "Notes of one case, newest first.", MIMEType: "text/markdown"}, read)
	return s
}

// addTriage adds the prompt, or replaces it.
func addTriage(s *mcp.Server, description string) {
	s.AddPrompt(&mcp.Prompt{Name: "triage", Title: "Triage", Description: description, Arguments: []*mcp.PromptArgument{{Name: "case", Description: "Its number.", Required: true}, {Name: "tone"}}},
		func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Triage " + r.Params.Arguments["case"] + ". Name the host and what is not known."}}, {Role: "assistant", Content: &mcp.TextContent{Text: "I begin with the process tree."}}}}, nil
		})
}

// authorizer signs everybody in who comes with a browser.
type authorizer struct {
	*httptest.Server
	mu    sync.Mutex
	codes map[string]url.Values // what was asked for, by code
	given map[string]string     // scopes by token

	client, secret string // of a machine that may sign in, "" for none
}

func newAuthorizer(t *testing.T) *authorizer {
	t.Helper()
	a := &authorizer{codes: map[string]url.Values{}, given: map[string]string{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// scopes are those of an access token.
func (a *authorizer) scopes(token string) ([]string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.given[token]
	return strings.Fields(s), ok
}

func reply(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc)
}

func (a *authorizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = r.ParseForm()
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		reply(w, http.StatusOK, map[string]any{"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token", "registration_endpoint": a.URL + "/register",
			"revocation_endpoint": a.URL + "/revoke", "code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic"},
			"dpop_signing_alg_values_supported": []string{"ES256"}, "authorization_response_iss_parameter_supported": true})
	case "/register":
		reply(w, http.StatusCreated, map[string]any{"client_id": "cordon-1", "token_endpoint_auth_method": "none"})
	case "/authorize":
		q := r.URL.Query()
		code := fmt.Sprintf("code-%d", len(a.codes)+1)
		a.codes[code] = q
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {a.URL}}.Encode(), http.StatusFound)
	case "/token":
		if r.PostForm.Get("grant_type") == "client_credentials" {
			if id, secret, ok := r.BasicAuth(); !ok || a.client == "" || id != a.client || secret != a.secret {
				reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
				return
			}
			token := fmt.Sprintf("machine-%d-%s", len(a.given)+1, a.client)
			a.given[token] = r.PostForm.Get("scope")
			reply(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "DPoP", "expires_in": 3600, "scope": r.PostForm.Get("scope")})
			return
		}
		asked, ok := a.codes[r.PostForm.Get("code")]
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || r.Header.Get("DPoP") == "" {
			reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			return
		}
		delete(a.codes, r.PostForm.Get("code"))
		token := fmt.Sprintf("access-%d", len(a.given)+1)
		a.given[token] = asked.Get("scope")
		reply(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "DPoP", "expires_in": 3600, "scope": asked.Get("scope"), "refresh_token": "refresh-" + token})
	case "/revoke":
		delete(a.given, r.PostForm.Get("token"))
	default:
		http.NotFound(w, r)
	}
}

// fakeBrowser is an xdg-open that only notes the address: env is for the program, opened waits for the next address, and visit goes there as a
// browser does.
func (d *desktop) fakeBrowser() (env string, opened func() string, visit func(string)) {
	d.t.Helper()
	dir := filepath.Join(d.home, "bin")
	notes := filepath.Join(d.home, "opened")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\nprintf '%s\\n' \"$1\" >> '"+notes+"'\n"), 0o700); err != nil {
		d.t.Fatal(err)
	}
	seen := 0
	opened = func() (address string) {
		d.t.Helper()
		eventually(d.t, quick, "the browser is opened", func() error {
			b, _ := os.ReadFile(notes)
			lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			if len(b) == 0 || len(lines) <= seen {
				return fmt.Errorf("%d addresses so far", seen)
			}
			address = lines[seen]
			return nil
		})
		seen++
		return address
	}
	visit = func(address string) {
		d.t.Helper()
		res, err := (&http.Client{Timeout: quick}).Get(address)
		if err != nil {
			d.t.Fatalf("the page: %v", err)
		}
		page, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.Contains(string(page), "go back to Cordon") {
			d.t.Fatalf("the page ends with %s: %s", res.Status, page)
		}
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH"), opened, visit
}
