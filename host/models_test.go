package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/llm/scripted"
	"cordon/host/secret"
	"cordon/sandbox"

	"github.com/zalando/go-keyring"
)

// openIn is a host with a keyring in memory.
func openIn(t *testing.T, dir string) *host.Host {
	t.Helper()
	h, err := host.Open(t.Context(), host.Options{Paths: pathsIn(dir), Sandbox: &sandbox.Sandbox{Kernel: machine}, Prompter: agree{}, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// openWithModel has a model at a scripted provider.
func openWithModel(t *testing.T, dir string, turns ...scripted.Turn) (*host.Host, *scripted.Server) {
	t.Helper()
	keyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	s := scripted.New(turns...)
	t.Cleanup(s.Close)
	h := openIn(t, dir)
	if err := h.SetModel(config.Model{Name: "near", Kind: config.ModelOpenAI, URL: s.URL, Model: "scripted-1"}); err != nil {
		t.Fatal(err)
	}
	return h, s
}

func askModel(ctx context.Context, h *host.Host, name, text string) error {
	m, err := h.Model(name)
	if err != nil {
		return err
	}
	_, err = m.Ask(ctx, llm.Request{Messages: []llm.Message{{Role: llm.User, Parts: []llm.Part{{Kind: llm.Text, Text: text}}}}}, func(llm.Delta) {})
	return err
}

// TestModelKey: a key is shared by the models of a place, goes with the last of them, and does not follow an address that is edited.
func TestModelKey(t *testing.T) {
	dir := t.TempDir()
	h, s := openWithModel(t, dir, scripted.Turn{Text: "a"})
	other := scripted.New(scripted.Turn{Text: "d"})
	defer other.Close()
	ctx := t.Context()
	if err := h.SetModelKey(ctx, "near", secret.NewValue("sk-canary-4711")); err != nil {
		t.Fatal(err)
	}
	if err := h.SetModel(config.Model{Name: "nearer", Kind: config.ModelOpenAI, URL: s.URL, Model: "scripted-2"}); err != nil {
		t.Fatal(err)
	}
	if err := askModel(ctx, h, "nearer", "hello"); err != nil {
		t.Fatal(err)
	}
	if said := scripted.Texts(s.Requests()); !strings.Contains(said, "Bearer sk-canary-4711") {
		t.Errorf("the key did not come: %s", said)
	}
	// The same name at another place.
	def, _ := h.Config().Model("near")
	def.URL = other.URL
	if err := h.SetModel(def); err != nil {
		t.Fatal(err)
	}
	if err := askModel(ctx, h, "near", "hello"); err != nil {
		t.Fatal(err)
	}
	if said := scripted.Texts(other.Requests()); strings.Contains(said, "sk-canary") {
		t.Errorf("the key went to another place: %s", said)
	}
	// The same, in a file that was edited: it says that there is a key.
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	file := pathsIn(dir).File()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(b), `"model": "scripted-1"`, `"model": "scripted-1", "hasKey": true`, 1)
	if edited == string(b) {
		t.Fatalf("nothing to edit in %s", b)
	}
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	h = openIn(t, dir)
	defer h.Close(context.WithoutCancel(ctx))
	if err := askModel(ctx, h, "near", "hello"); err == nil {
		t.Error("asked without the key that its definition speaks of")
	}
	if said := scripted.Texts(other.Requests()); strings.Contains(said, "sk-canary") {
		t.Errorf("the key went to another place: %s", said)
	}
	if err := h.RemoveModel(ctx, "nearer"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Secrets.Get(ctx, config.Model{URL: s.URL}.Key()); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("the key is still there: %v", err)
	}
}

// TestSentIsRecorded: the words of a request are beside the log before it leaves, own secrets masked, in a file of one's own; without that it stays.
func TestSentIsRecorded(t *testing.T) {
	dir := t.TempDir()
	h, s := openWithModel(t, dir, scripted.Turn{Text: "a"}, scripted.Turn{Text: "b"}, scripted.Turn{Text: "c"})
	ctx := t.Context()
	defer h.Close(context.WithoutCancel(ctx))
	if err := h.SetModelKey(ctx, "near", secret.NewValue("two\nlines")); err == nil {
		t.Error("a key of two lines was taken")
	}
	if err := h.Secrets.Set(ctx, secret.Ref{Name: "other"}, secret.NewValue("sk-canary-4711\n\"more\" sk-canary")); err != nil {
		t.Fatal(err)
	}
	path := host.SentFile(pathsIn(dir))
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	if err := askModel(ctx, h, "near", "the word is sk-canary-4711\n\"more\" sk-canary, the place is Kiel"); err != nil {
		t.Fatal(err)
	}
	if err := askModel(ctx, h, "near", `{"a":"sk-canary-4711\n\"more\" sk-canary"}`); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), "Kiel") || strings.Contains(string(b), "sk-canary") {
		t.Errorf("recorded %s, %v", b, err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if b, _ := os.ReadFile(elsewhere); len(b) > 0 {
		t.Error("it was written where a link led")
	}
	if err := os.Truncate(path, 64<<20+1); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if err := askModel(ctx, h, "near", "again"); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 10_000 {
		t.Errorf("it was not put aside: %v, %v", st, err)
	}
	// Nothing can be written there.
	for _, at := range []string{path, path + ".1"} {
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(at, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := len(s.Requests())
	err = askModel(ctx, h, "near", "unseen")
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Fault != llm.FaultRecord || len(s.Requests()) != before {
		t.Errorf("%v, %d requests", err, len(s.Requests())-before)
	}
}

// TestRefusedChangeKeepsTheKey: a definition that is refused leaves the keyring as it was.
func TestRefusedChangeKeepsTheKey(t *testing.T) {
	h, s := openWithModel(t, t.TempDir(), scripted.Turn{Text: "a"})
	defer h.Close(context.WithoutCancel(t.Context()))
	if err := h.SetModelKey(t.Context(), "near", secret.NewValue("sk-canary-4711")); err != nil {
		t.Fatal(err)
	}
	def, _ := h.Config().Model("near")
	def.URL = "http://elsewhere.example/v1/"
	if err := h.SetModel(def); err == nil {
		t.Fatal("plain HTTP to another computer was taken")
	}
	if err := askModel(t.Context(), h, "near", "hello"); err != nil {
		t.Fatal(err)
	}
	if said := scripted.Texts(s.Requests()); !strings.Contains(said, "Bearer sk-canary-4711") {
		t.Errorf("the key is gone: %s", said)
	}
}
