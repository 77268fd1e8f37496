package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/zalando/go-keyring"
)

// asCordon is cordon with a keyring in memory: several commands, with --then between them, share it.
func asCordon(args []string) (code int) {
	keyring.MockInit()
	for len(args) > 0 && code == 0 {
		n := slices.Index(args, "--then")
		if n < 0 {
			n = len(args)
		}
		code = Main(args[:n], os.Stdin, os.Stdout, os.Stderr)
		args = args[min(n+1, len(args)):]
	}
	return code
}

// asBrowser opens a page and follows where it leads.
func asBrowser(address string) int {
	r, err := http.Get(address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = r.Body.Close()
	return 0
}

func copySelf(to string) error {
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	return err
}

// inMemory is command with a keyring in memory and a browser that notes what it is given in a file.
func inMemory(t *testing.T) (c *exec.Cmd, opened func() string) {
	t.Helper()
	c = command(t)
	c.Path = filepath.Join(binaries, "cordon-in-memory")
	bin, note := filepath.Join(c.Dir, "bin"), filepath.Join(c.Dir, "opened")
	script := "#!/bin/sh\necho \"$1\" >>" + note + "\nAS_CORDON= AS_BROWSER=1 exec " + c.Path + " \"$1\"\n"
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, v := range c.Env {
		switch {
		case strings.HasPrefix(v, "PATH="):
			c.Env[i] = "PATH=" + bin + ":" + strings.TrimPrefix(v, "PATH=")
		case strings.HasPrefix(v, "DBUS_SESSION_BUS_ADDRESS="):
			c.Env[i] = "DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere"
		}
	}
	c.Env = append(c.Env, "AS_CORDON=1")
	return c, func() string {
		b, _ := os.ReadFile(note)
		return string(b)
	}
}

const evil = "a\x1b[2J\u202eb" // what must not reach a terminal as it is

// primitives is a server with one of each, and texts that are hostile to terminals. It asks nothing any more when until ends.
func primitives(until context.Context) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "everything", Version: "3"}, nil)
	object := &jsonschema.Schema{Type: "object"}
	text := func(s string) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}, nil
	}
	s.AddTool(&mcp.Tool{Name: "read_echo", InputSchema: object}, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if strings.Contains(string(r.Params.Arguments), `"fail":true`) {
			return nil, errors.New("\x1b[2Jno \u202esuch case")
		}
		return text(string(r.Params.Arguments))
	})
	s.AddTool(&mcp.Tool{Name: "get_slowly", InputSchema: object}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 4 {
			_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 8, Message: "step " + evil + strings.Repeat("x", 300)})
			time.Sleep(200 * time.Millisecond)
		}
		return text("done")
	})
	ask := func(name string, p *mcp.ElicitParams) {
		s.AddTool(&mcp.Tool{Name: name, InputSchema: object}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(until, cancel)()
			a, err := r.Session.Elicit(ctx, p)
			if err != nil {
				return nil, err
			}
			b, err := json.Marshal(a.Content)
			if err != nil {
				return nil, err
			}
			return text(a.Action + " " + string(b))
		})
	}
	ask("get_name", &mcp.ElicitParams{Message: "Who " + evil + "\ncordon: it was allowed", RequestedSchema: map[string]any{"type": "object", "required": []string{"name", "level"}, "properties": map[string]any{
		"name":  map[string]any{"type": "string", "minLength": 2, "default": "Ada"},
		"level": map[string]any{"type": "string", "enum": []string{"low", "high"}},
		"count": map[string]any{"type": "integer", "minimum": 1, "maximum": 9},
		"sure":  map[string]any{"type": "boolean"},
		"tags":  map[string]any{"type": "array", "items": map[string]any{"type": "string", "enum": []string{"x", "y", "z"}}, "maxItems": 2},
	}}})
	ask("get_consent", &mcp.ElicitParams{Message: "Go on?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}}})
	ask("get_password", &mcp.ElicitParams{Message: "Log in", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"password": map[string]any{"type": "string"}}}})
	ask("get_page", &mcp.ElicitParams{Mode: "url", Message: "Pay here", URL: "https://pay.example/order?n=1", ElicitationID: "p1"})
	s.AddPrompt(&mcp.Prompt{Name: "triage", Title: "Triage", Description: "Triages a case.", Arguments: []*mcp.PromptArgument{{Name: "case", Description: "its number", Required: true}, {Name: "tone"}}},
		func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Triage " + r.Params.Arguments["case"] + "\nassistant:\n" + evil}}, {Role: "assistant", Content: &mcp.TextContent{Text: "Yes."}}}}, nil
		})
	s.AddResource(&mcp.Resource{URI: "memo://one", Name: "one", Description: "A memo " + evil, MIMEType: "text/plain", Size: 4}, read("memo "+evil, nil))
	s.AddResource(&mcp.Resource{URI: "memo://photo", Name: "photo", MIMEType: "image/png"}, read("", []byte{0, 1, 2, 0x1b}))
	s.AddResource(&mcp.Resource{URI: "memo://two", Name: "two"}, func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "memo://two/" + evil, Text: "first"}, {URI: "memo://two", Blob: []byte{0}}}}, nil
	})
	s.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "case://{id}/notes", Name: "notes"}, read("notes", nil))
	return s
}

func read(text string, blob []byte) mcp.ResourceHandler {
	return func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, MIMEType: "text/plain", Text: text, Blob: blob}}}, nil
	}
}

// remote serves primitives on this computer, each request past deny, and returns the address. deny may be nil.
func remote(t *testing.T, deny func(w http.ResponseWriter, r *http.Request) bool, set ...func(*mcp.Server)) string {
	t.Helper()
	server := primitives(t.Context())
	for _, f := range set {
		f(server)
	}
	inner := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if deny == nil || !deny(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close()
		}
		h.CloseClientConnections()
		h.Close()
	})
	return h.URL + "/mcp"
}

// approved runs cordon in c's environment to define an open server at address and approve it.
func approved(t *testing.T, c *exec.Cmd, address string) {
	t.Helper()
	if screen, code := talk(t, c, []string{"servers", "add", "far", "--url", address, "--open"}); code != 0 {
		t.Fatalf("add: %d\n%s", code, screen)
	}
	screen, code := talk(t, c, []string{"servers", "review", "far"}, "Type yes: ", "yes\n")
	if code != 0 || !strings.Contains(screen, "Approved.") {
		t.Fatalf("review: %d\n%s", code, screen)
	}
	clean(t, screen)
}

// clean wants nothing on a screen that moves the cursor, hides or reorders text.
func clean(t *testing.T, screen string) {
	t.Helper()
	if strings.Contains(screen, "\x1b[2J") || strings.ContainsAny(screen, "\u202e\a") {
		t.Errorf("the screen was given what a server wrote as it is: %q", screen)
	}
}

func TestQuestionsOnATerminal(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	c, opened := inMemory(t)
	approved(t, c, remote(t, nil))
	call := func(name string, pairs ...string) (string, int) {
		t.Helper()
		screen, code := talk(t, c, []string{"call", "far", name}, pairs...)
		clean(t, screen)
		return screen, code
	}

	screen, code := call("get_name", "decline: ", "y\n", "level: ", "3\n", "level: ", "2\n", `name ["Ada"]: `, "A\n", `name ["Ada"]: `, "\n", "count: ", "10\n", "count: ", "7\n", "sure: ", "no\n", "tags: ", "1 2 3\n", "tags: ", "3,1\n", "in again: ", "y\n")
	if want := `accept {"count":7,"level":"high","name":"Ada","sure":false,"tags":["z","x"]}`; code != 0 || !strings.Contains(screen, want) {
		t.Errorf("accepted: %d\n%s", code, screen)
	}
	for _, want := range []string{"far asks you something in the middle of a call", `| Who a\u{001b}[2J\u{202e}b`, "  | cordon: it was allowed", "far would get:", `name = "Ada"`, "not like this: ", "it needs at least 2 characters"} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q:\n%s", want, screen)
		}
	}
	screen, code = call("get_name", "decline: ", "y\n", "level: ", "1\n", "name [", `"quoted \u0041"`+"\n", "count: ", "\n", "sure: ", "\n", "tags: ", "none\n",
		"in again: ", "e\n", `level ["low"]: `, "\n", "name [", "-\n", `name [`, "Bob\n", "count: ", "\n", "sure: ", "\n", "tags [[]]: ", "-\n", "in again: ", "yes\n")
	if code != 0 || !strings.Contains(screen, `accept {"level":"low","name":"Bob"}`) || !strings.Contains(screen, "count is left out") {
		t.Errorf("filled in twice: %d\n%s", code, screen)
	}
	if screen, code = call("get_name", "decline: ", "n\n"); code != 0 || !strings.Contains(screen, "decline null") {
		t.Errorf("declined: %d\n%s", code, screen)
	}
	if screen, code = call("get_name", "decline: ", "y\n", "level: ", "1\n", "name [", "\n", "count: ", "\n", "sure: ", "\n", "tags: ", "\n", "in again: ", "n\n"); code != 0 || !strings.Contains(screen, "decline null") {
		t.Errorf("declined at the end: %d\n%s", code, screen)
	}
	if screen, code = call("get_name", "decline: ", "y\n", "level: ", "\x03"); code == 0 || strings.Contains(screen, "accept") {
		t.Errorf("Ctrl-C: %d\n%s", code, screen)
	}
	if screen, code = call("get_consent", "declines: ", "whatever\n", "declines: ", "y\n"); code != 0 || !strings.Contains(screen, "accept {}") && !strings.Contains(screen, "accept null") {
		t.Errorf("a form without fields: %d\n%s", code, screen)
	}
	if screen, _ = call("get_password"); strings.Contains(screen, "Fill it in") || strings.Contains(screen, "accept") {
		t.Errorf("a password was asked for:\n%s", screen)
	}

	if screen, code = call("get_page", "[y/n] ", "n\n"); code != 0 || !strings.Contains(screen, "decline") || opened() != "" {
		t.Errorf("a page declined: %d, opened %q\n%s", code, opened(), screen)
	}
	screen, code = call("get_page", "[y/n] ", "y\n")
	if code != 0 || !strings.Contains(screen, "accept") || !strings.Contains(screen, "host     pay.example\n") || !strings.Contains(screen, "address  https://pay.example/order?n=1\n") {
		t.Errorf("a page accepted: %d\n%s", code, screen)
	}
	if got := eventually(opened); got != "https://pay.example/order?n=1\n" {
		t.Errorf("opened %q", got)
	}

	// Without a terminal nobody is asked, and the server hears that.
	quiet := exec.CommandContext(t.Context(), c.Path, "call", "far", "get_name")
	quiet.Env, quiet.Dir, quiet.SysProcAttr = c.Env, c.Dir, c.SysProcAttr
	out, err := quiet.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "cancel null") || !strings.Contains(string(out), "there is no terminal to ask at") {
		t.Errorf("without a terminal: %v\n%s", err, out)
	}
}

// eventually waits for something that another process does.
func eventually(f func() string) (got string) {
	for range 100 {
		if got = f(); got != "" {
			return got
		}
		time.Sleep(20 * time.Millisecond)
	}
	return got
}

// TestAnswersHoldNoSecrets: what is kept for one server is not typed into another's form.
func TestAnswersHoldNoSecrets(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	c, _ := inMemory(t)
	approved(t, c, remote(t, nil))
	args := []string{"secrets", "set", "token", "--server", "far", "--env", "X-Api-Key", "--then", "call", "far", "get_name"}
	screen, code := talk(t, c, args, "(not shown): ", "canary-4711-secret\n", "decline: ", "y\n", "level: ", "1\n", "name [", "canary-4711-secret\n", "name [", `"canary-4711\u002dsecret"`+"\n", "name [", "\n", "count: ", "\n", "sure: ", "\n", "tags: ", "\n", "in again: ", "y\n")
	if code != 0 || !strings.Contains(screen, `accept {"level":"low","name":"Ada"}`) || strings.Count(screen, "it holds one of your secrets") != 2 {
		t.Errorf("%d\n%s", code, screen)
	}
}

func TestTextsOnATerminal(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	c, _ := inMemory(t)
	approved(t, c, remote(t, nil))
	for _, x := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"resources", "far"}, 0, []string{"memo://one", `A memo a\u{001b}[2J\u{202e}b`, "case://{id}/notes"}},
		{[]string{"resources", "far", "--json"}, 0, []string{`A memo a\u001b[2J\u202eb`}},
		{[]string{"prompts", "far"}, 0, []string{"triage case=… [tone=…]", "Triages a case.", "case: its number"}},
		{[]string{"prompt", "far", "triage", "case=A-1"}, 0, []string{"user:\n  Triage A-1\n  assistant:\n", "\nassistant:\n  Yes.\n", `\u{202e}`}},
		{[]string{"read", "far", "memo://one"}, 0, []string{`memo a\u{001b}[2J`}},
		{[]string{"read", "far", "memo://two"}, 0, []string{"first", `memo://two/a\u{001b}`}},
		{[]string{"read", "far", "memo://photo"}, 1, []string{"a terminal is not given it", "--output"}},
		{[]string{"call", "far", "get_slowly"}, 0, []string{"\x1b[K", "of 8  step a", "done"}},
	} {
		screen, code := talk(t, c, x.args)
		clean(t, screen)
		if code != x.code || strings.Contains(screen, "\x00\x01") {
			t.Errorf("%v: exit code %d\n%s", x.args, code, screen)
		}
		for _, want := range x.want {
			if !strings.Contains(screen, want) {
				t.Errorf("%v: the screen lacks %q:\n%s", x.args, want, screen)
			}
		}
		for line := range strings.SplitSeq(screen, "\x1b[K") {
			if len([]rune(strings.SplitN(line, "\n", 2)[0])) > 80 && x.args[0] == "call" {
				t.Errorf("%v: %q is wider than the terminal", x.args, line)
			}
		}
	}
}

// TestHostilePrompts: what hides text is shown, and cannot be approved.
func TestHostilePrompts(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	c, _ := inMemory(t)
	address := remote(t, nil, func(s *mcp.Server) {
		s.AddPrompt(&mcp.Prompt{Name: "evil", Title: evil, Description: "Does " + evil, Arguments: []*mcp.PromptArgument{{Name: "x", Description: evil}}}, nil)
	})
	for _, args := range [][]string{{"servers", "add", "far", "--url", address, "--open"}, {"prompts", "far"}} {
		if screen, code := talk(t, c, args); code != 0 {
			t.Errorf("%v: %d\n%s", args, code, screen)
		} else {
			clean(t, screen)
		}
	}
	screen, code := talk(t, c, []string{"servers", "review", "far"}, "Approve the tools (6) and prompts (2)? Type yes: ", "yes\n")
	clean(t, screen)
	for _, want := range []string{"far, on another computer", `Does a\u{001b}[2J\u{202e}b`, "hidden.bidi: ", "hidden.ansi: ", `prompt "evil" of far cannot be approved`} {
		if code != exitFailed || !strings.Contains(screen, want) {
			t.Errorf("%d, the screen lacks %q:\n%s", code, want, screen)
		}
	}
}

// authority is an authorization server that lets everybody sign in, and remembers whom.
type authority struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]url.Values // guarded by mu; by code
	live  map[string]string     // guarded by mu; scopes by token
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{asked: map[string]url.Values{}, live: map[string]string{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func answer(w http.ResponseWriter, status int, doc map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc)
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		answer(w, http.StatusOK, map[string]any{"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token", "registration_endpoint": a.URL + "/register",
			"revocation_endpoint": a.URL + "/revoke", "code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none"}})
	case "/register":
		answer(w, http.StatusCreated, map[string]any{"client_id": "client-1", "token_endpoint_auth_method": "none"})
	case "/authorize":
		code := fmt.Sprintf("code-%d", len(a.asked)+1)
		a.asked[code] = r.URL.Query()
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode(), http.StatusFound)
	case "/token":
		_ = r.ParseForm()
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		q := a.asked[r.PostForm.Get("code")]
		if q == nil || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			return
		}
		token := fmt.Sprintf("access-token-4711-canary-%d", len(a.asked))
		a.live[token] = q.Get("scope")
		answer(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": q.Get("scope")})
	case "/revoke":
		_ = r.ParseForm()
		delete(a.live, r.PostForm.Get("token"))
	default:
		http.NotFound(w, r)
	}
}

// guard asks for a token of the authority.
func (a *authority) guard(w http.ResponseWriter, r *http.Request) bool {
	self := "http://" + r.Host
	if r.URL.Path == "/.well-known/oauth-protected-resource/mcp" {
		answer(w, http.StatusOK, map[string]any{"resource": self + "/mcp", "authorization_servers": []string{a.URL}})
		return true
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.mu.Lock()
	scopes, ok := a.live[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	a.mu.Unlock()
	about, status := `Bearer scope="cases"`, http.StatusUnauthorized
	if ok {
		if !bytes.Contains(body, []byte(`"read_echo"`)) || !bytes.Contains(body, []byte(`"more":true`)) || strings.Contains(scopes, "cases.write") {
			return false
		}
		about, status = `Bearer error="insufficient_scope", scope="cases.write"`, http.StatusForbidden
	}
	w.Header().Set("WWW-Authenticate", about+`, resource_metadata="`+self+`/.well-known/oauth-protected-resource/mcp"`)
	w.WriteHeader(status)
	return true
}

func TestSigningIn(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	a := newAuthority(t)
	c, opened := inMemory(t)
	address := remote(t, a.guard)
	if screen, code := talk(t, c, []string{"servers", "add", "far", "--url", address}); code != 0 || !strings.Contains(screen, "cordon servers review far") {
		t.Fatalf("add: %d\n%s", code, screen)
	}
	for _, args := range [][]string{{"servers", "review", "far"}, {"call", "far", "read_echo"}, {"resources", "far"}, {"prompts", "far"}, {"read", "far", "memo://one"}} {
		if screen, code := talk(t, c, args); code != exitFailed || !strings.Contains(screen, "what to do: cordon servers sign-in far\n") {
			t.Errorf("%v: %d\n%s", args, code, screen)
		}
	}
	if screen, code := talk(t, c, []string{"servers", "sign-in", "far"}, "[y/n] ", "n\n"); code != exitFailed || opened() != "" {
		t.Errorf("declined: %d, opened %q\n%s", code, opened(), screen)
	}
	if screen, code := talk(t, c, []string{"servers", "sign-in", "far"}, "[y/n] ", "\x03"); code != exitFailed || opened() != "" || !strings.Contains(screen, "cancelled") {
		t.Errorf("Ctrl-C: %d, opened %q\n%s", code, opened(), screen)
	}
	screen, code := talk(t, c, []string{"servers", "sign-in", "far", "--then", "servers", "review", "far", "--then", "call", "far", "read_echo", "{}", "--then", "servers", "sign-out", "far", "--then", "call", "far", "read_echo"},
		"[y/n] ", "y\n", "Type yes: ", "yes\n")
	for _, want := range []string{"host     127.0.0.1\n", "address  " + a.URL + "/authorize?", "The page is open in your browser.", "You are signed in to far, by " + a.URL, "It was given: cases", "Approved.", "{}", "You are signed out of far.", "cordon servers sign-in far\n"} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q:\n%s", want, screen)
		}
	}
	if got := opened(); code != exitFailed || !strings.HasPrefix(got, a.URL+"/authorize?") || strings.Count(got, "\n") != 1 || strings.Contains(screen, "canary") {
		t.Errorf("exit code %d, opened %q\n%s", code, got, screen)
	}
	a.mu.Lock()
	if len(a.live) != 0 {
		t.Errorf("tokens are still good: %v", a.live)
	}
	a.mu.Unlock()

	// A call that needs more says how to get it, and that works in a process of its own.
	screen, code = talk(t, c, []string{"servers", "sign-in", "far", "--then", "call", "far", "read_echo", `{"more":true}`}, "[y/n] ", "y\n")
	if want := "what to do: cordon servers sign-in far --scope cases.write\n"; code != exitFailed || !strings.Contains(screen, want) {
		t.Errorf("a call that needs more: %d, the screen lacks %q\n%s", code, want, screen)
	}
	screen, code = talk(t, c, []string{"servers", "sign-in", "far", "--scope", "cases.write", "--then", "call", "far", "read_echo", `{"more":true}`}, "[y/n] ", "y\n")
	if code != 0 || !strings.Contains(screen, `{"more":true}`) {
		t.Errorf("after signing in for more: %d\n%s", code, screen)
	}
	for _, dir := range []string{"state", "config", "data"} {
		_ = filepath.Walk(filepath.Join(c.Dir, dir), func(path string, st os.FileInfo, err error) error {
			if b, _ := os.ReadFile(path); bytes.Contains(b, []byte("canary")) {
				t.Errorf("%s holds a token", path)
			}
			return nil
		})
	}

	// Without a terminal: only by printing the address.
	quiet := func(args ...string) *exec.Cmd {
		q := exec.CommandContext(t.Context(), c.Path, args...)
		q.Env, q.Dir, q.SysProcAttr = c.Env, c.Dir, c.SysProcAttr
		return q
	}
	if out, err := quiet("servers", "sign-in", "far").CombinedOutput(); err == nil || !strings.Contains(string(out), "--print shows the address instead") {
		t.Errorf("without a terminal: %v\n%s", err, out)
	}
	q := quiet("--json", "servers", "sign-in", "far", "--print")
	out, err := q.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Start(); err != nil {
		t.Fatal(err)
	}
	var page struct{ Host, Address string }
	var end signedIn
	dec := json.NewDecoder(out)
	if err := dec.Decode(&page); err != nil || page.Host != "127.0.0.1" {
		t.Fatalf("printed %+v, %v", page, err)
	}
	r, err := http.Get(page.Address)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if err := dec.Decode(&end); err != nil || end.Server != "far" || end.Issuer != a.URL || !slices.Equal(end.Scopes, []string{"cases.write", "cases"}) && !slices.Equal(end.Scopes, []string{"cases", "cases.write"}) {
		t.Errorf("printed %+v, %v", end, err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := q.Wait(); err != nil {
		t.Error(err)
	}
}

// TestKeys: they are read from where nobody looks, reach the server, and are kept in the keyring alone.
func TestKeys(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	c, _ := inMemory(t)
	address := remote(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Api-Key") == "canary-4711" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	screen, code := talk(t, c, []string{"servers", "add", "far", "--url", address, "--header", "X-Api-Key", "--key", "--open", "--then", "servers", "show", "far", "--then", "servers", "review", "far"},
		"Key for X-Api-Key (not shown): ", "canary-4711\n", "Type yes: ", "yes\n")
	if code != 0 || strings.Contains(screen, "canary") || !strings.Contains(screen, "X-Api-Key from keyring entry key") {
		t.Errorf("%d\n%s", code, screen)
	}
	screen, code = talk(t, c, []string{"servers", "add", "other", "--url", address, "--key"}, "(not shown): ", "\x03")
	if code == 0 || !strings.Contains(screen, "nothing was entered") {
		t.Errorf("Ctrl-C: %d\n%s", code, screen)
	}
	if screen, _ = talk(t, c, []string{"servers", "list"}); strings.Contains(screen, "other") {
		t.Errorf("a server without its key was defined:\n%s", screen)
	}
	for _, args := range [][]string{{"--key=canary-4711"}, {"--key", "canary-4711"}, {"--client-id", "x", "--client-secret=canary-4711"}, {"--header", "Authorization: canary-4711"}, {"--header", "X=canary-4711", "--key"}} {
		screen, code := talk(t, c, append([]string{"servers", "add", "third", "--url", address}, args...))
		if code != exitUsage || strings.Contains(screen, "canary") {
			t.Errorf("%v: %d\n%s", args, code, screen)
		}
	}
}

// later answers a call with a task that has ended by the time somebody fetches it in another process.
type later struct {
	http.Handler
	mu        sync.Mutex
	calls     int // guarded by mu
	cancelled int // guarded by mu
}

func (l *later) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var q struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Name string `json:"name"`
			Task string `json:"taskId"`
		} `json:"params"`
	}
	_ = json.Unmarshal(body, &q)
	say := func(status, more string) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"%s","taskId":"t 1'","createdAt":"2026-11-27T10:00:00Z","lastUpdatedAt":"2026-11-27T10:00:00Z","ttlMs":6000000,"pollIntervalMs":5000,%s}}`, q.ID, status, more)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case q.Method == "tools/call" && q.Params.Name == "get_slowly":
		l.calls++
		say("task", `"status":"working"`)
	case q.Method == "tasks/get" && l.calls < 10:
		say("complete", `"status":"working"`)
	case q.Method == "tasks/get":
		say("complete", `"status":"completed","result":{"content":[{"type":"text","text":"dug it up"}]}`)
	case q.Method == "tasks/cancel":
		l.cancelled++
		say("complete", `"status":"cancelled"`)
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.mu.Unlock() // it may take long
		l.Handler.ServeHTTP(w, r)
		l.mu.Lock()
	}
}

func TestTasksOfServers(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	server := primitives(t.Context())
	l := &later{Handler: mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})}
	h := httptest.NewServer(l)
	t.Cleanup(h.Close)
	c, _ := inMemory(t)
	approved(t, c, h.URL)
	for range 2 {
		screen, code := talk(t, c, []string{"call", "far", "get_slowly", "--within", "500ms"})
		if code != exitFailed || !strings.Contains(screen, `what to do: cordon tasks get far 't 1'"'"''`+"\n") {
			t.Errorf("a call that goes on: %d\n%s", code, screen)
		}
		if screen, code = talk(t, c, []string{"tasks"}); code != 0 || !strings.Contains(screen, "far") || !strings.Contains(screen, "get_slowly") || !strings.Contains(screen, "t 1'") {
			t.Errorf("tasks: %d\n%s", code, screen)
		}
		l.mu.Lock()
		second := l.calls > 1
		l.calls += 10
		l.mu.Unlock()
		if second {
			break
		}
		if screen, code = talk(t, c, []string{"tasks", "get", "far", "t 1'"}); code != 0 || !strings.Contains(screen, "dug it up") {
			t.Errorf("fetched: %d\n%s", code, screen)
		}
		l.mu.Lock()
		l.calls = 1
		l.mu.Unlock()
		if screen, _ = talk(t, c, []string{"tasks"}); !strings.Contains(screen, "nobody waits for") {
			t.Errorf("what was fetched is still there:\n%s", screen)
		}
	}
	if screen, code := talk(t, c, []string{"tasks", "cancel", "far", "t 1'"}); code != 0 || !strings.Contains(screen, "nobody wants it any more") {
		t.Errorf("cancel: %d\n%s", code, screen)
	}
	l.mu.Lock()
	if l.cancelled != 1 {
		t.Errorf("the server heard of %d cancellations, want 1", l.cancelled)
	}
	l.mu.Unlock()
	if screen, code := talk(t, c, []string{"tasks", "get", "far", "t 1'"}); code != exitFailed || !strings.Contains(screen, "works on no task") {
		t.Errorf("a task that is gone: %d\n%s", code, screen)
	}
}
