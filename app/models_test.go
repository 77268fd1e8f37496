package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/llm/scripted"
	"cordon/host/secret"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"
)

// withKeyring has a keyring in memory, so that no test asks the person's own.
func withKeyring(t *testing.T) {
	t.Helper()
	keyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
}

// refused is the failure that err has to be.
func refused(t *testing.T, what string, err error, code string) *Failure {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) || f.Code != code || f.What == "" || f.Means == "" || f.Fix == "" {
		t.Fatalf("%s: got %#v; want all words of %s", what, err, code)
	}
	return f
}

func modelsOf(t *testing.T, a *App) ModelsView {
	t.Helper()
	v, err := a.Models()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var far = ModelView{Name: "sonnet", Kind: config.ModelAnthropic, URL: "https://api.anthropic.com", Model: "claude-x", Header: "X-Api-Key", Images: true, Reasons: true, Context: 200_000, Output: 8000, Prices: PriceView{3, 0.3, 15}}

// TestModelsPage: a model is defined, changed and forgotten; its key goes in and does not come out.
func TestModelsPage(t *testing.T) {
	withKeyring(t)
	a := testApp(t)
	if v := modelsOf(t, a); len(v.Models) != 0 || v.LocalOnly {
		t.Fatalf("at first: %+v", v)
	}
	if err := a.SetModel(far); err != nil {
		t.Fatal(err)
	}
	want := far
	want.URL, want.KeyName = "https://api.anthropic.com/", "model key for https://api.anthropic.com"
	if v := modelsOf(t, a); len(v.Models) != 1 || v.Models[0] != want {
		t.Fatalf("defined: %+v\nwant %+v", v, want)
	}
	haiku := ModelView{Name: "haiku", Kind: config.ModelAnthropic, URL: far.URL, Model: "claude-y"}
	near := ModelView{Name: "qwen", Kind: config.ModelOpenAI, URL: " http://127.0.0.1:11434/v1/ ", Model: "qwen3:8b", HasKey: true, KeyName: "another"}
	for _, m := range []ModelView{haiku, near} {
		if err := a.SetModel(m); err != nil {
			t.Fatal(err)
		}
	}
	if m := modelsOf(t, a).Models[2]; !m.Local || m.HasKey || m.KeyName == "another" {
		t.Errorf("the page decided what follows from the address: %+v", m)
	}
	if err := a.SetModelKey(NewModelKey{"sonnet", " sk-canary-4711\n"}); err != nil {
		t.Fatal(err)
	}
	v := modelsOf(t, a)
	if !v.Models[0].HasKey || !v.Models[1].HasKey || v.Models[2].HasKey {
		t.Errorf("who has the key: %+v", v.Models)
	}
	b, err := json.Marshal(v)
	if err != nil || strings.Contains(string(b), "canary") {
		t.Errorf("the key came back: %v, %s", err, b)
	}
	kept, err := a.host.Secrets.Get(t.Context(), secret.Ref{Name: v.Models[0].KeyName})
	if err != nil || kept.Reveal() != "sk-canary-4711" {
		t.Errorf("kept: %v", err)
	}
	haiku.Context = 100_000
	if err := a.SetModel(haiku); err != nil {
		t.Fatal(err)
	}
	if m := modelsOf(t, a).Models; len(m) != 3 || m[1].Context != 100_000 || !m[1].HasKey {
		t.Errorf("changed: %+v", m)
	}
	for _, name := range []string{"sonnet", "haiku"} {
		if err := a.RemoveModel(name); err != nil {
			t.Fatal(err)
		}
	}
	if m := modelsOf(t, a).Models; len(m) != 1 || m[0].Name != "qwen" {
		t.Errorf("left: %+v", m)
	}
	if _, err := a.host.Secrets.Get(t.Context(), secret.Ref{Name: want.KeyName}); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("the key outlived the last model of its place: %v", err)
	}
}

// TestModelRefusals: what is wrong changes nothing, and has a code and words.
func TestModelRefusals(t *testing.T) {
	withKeyring(t)
	a := testApp(t)
	if err := a.SetModel(far); err != nil {
		t.Fatal(err)
	}
	if err := a.SetModelKey(NewModelKey{"sonnet", "sk-1"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*ModelView)
		code   string
		says   string
	}{
		"not encrypted":        {func(m *ModelView) { m.URL = "http://llm.example.org/v1/" }, "CRD-MDL-03", "only https is spoken"},
		"no address":           {func(m *ModelView) { m.URL = "llm.example.org" }, "CRD-MDL-03", "begins with https://"},
		"a password in it":     {func(m *ModelView) { m.URL = "https://me:pw@llm.example.org/" }, "CRD-MDL-03", "keep it as a secret"},
		"letters of elsewhere": {func(m *ModelView) { m.URL = "https://аnthropic.com/" }, "CRD-MDL-03", "xn--"},
		"a name with spaces":   {func(m *ModelView) { m.Name = "My model" }, "CRD-MDL-02", "is not a name"},
		"no kind":              {func(m *ModelView) { m.Kind = "" }, "CRD-MDL-02", "anthropic or openai"},
		"no model":             {func(m *ModelView) { m.Model = "" }, "CRD-MDL-02", "what it is called there"},
		"a header of its own":  {func(m *ModelView) { m.Header = "Cookie" }, "CRD-MDL-02", "header"},
		"less than no tokens":  {func(m *ModelView) { m.Context = -1 }, "CRD-MDL-02", "context"},
		"a price below zero":   {func(m *ModelView) { m.Prices.Input = -1 }, "CRD-MDL-02", "price of reading"},
	} {
		m := far
		c.change(&m)
		f := refused(t, name, a.SetModel(m), c.code)
		if !strings.Contains(f.What, c.says) || strings.Contains(f.What, "models[") || strings.Contains(f.What, "pw") {
			t.Errorf("%s: says %q; want %q", name, f.What, c.says)
		}
	}
	for _, key := range []string{"", " ", "two words", "käy", strings.Repeat("k", secret.MaxBytes+1)} {
		refused(t, "a key that is none", a.SetModelKey(NewModelKey{"sonnet", key}), "CRD-MDL-05")
	}
	refused(t, "a key for nobody", a.SetModelKey(NewModelKey{"nobody", "sk-2"}), "CRD-MDL-01")
	refused(t, "nobody", a.RemoveModel("nobody"), "CRD-MDL-01")
	if err := a.host.AddServer(config.Server{Name: "tracker", Source: "local", Command: []string{"/usr/bin/true"}, Net: config.NetNone, Memory: config.DefaultMemory, Pids: config.DefaultPids}); err != nil {
		t.Fatal(err)
	}
	if err := a.host.SetSampling("tracker", "sonnet"); err != nil {
		t.Fatal(err)
	}
	if f := refused(t, "in use", a.RemoveModel("sonnet"), "CRD-MDL-04"); !strings.Contains(f.What, "tracker") {
		t.Errorf("in use by whom: %q", f.What)
	}
	v := modelsOf(t, a)
	if len(v.Models) != 1 || !v.Models[0].HasKey || v.Models[0].Name != "sonnet" || v.Models[0].URL != "https://api.anthropic.com/" {
		t.Errorf("something changed: %+v", v)
	}
	if kept, err := a.host.Secrets.Get(t.Context(), secret.Ref{Name: v.Models[0].KeyName}); err != nil || kept.Reveal() != "sk-1" {
		t.Errorf("the key changed: %v", err)
	}
}

// TestModelKeyWithoutKeyring: a key that cannot be kept is refused, and the model says that it has none.
func TestModelKeyWithoutKeyring(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	for _, c := range []struct {
		err  error
		code string
	}{{secret.ErrAbsent, "CRD-MDL-06"}, {dbus.Error{Name: "org.freedesktop.Secret.Error.IsLocked"}, "CRD-MDL-07"}} {
		keyring.MockInitWithError(c.err)
		a := testApp(t)
		if err := a.SetModel(far); err != nil {
			t.Fatal(err)
		}
		err := a.SetModelKey(NewModelKey{"sonnet", "sk-canary-4711"})
		if f := refused(t, c.code, err, c.code); f.Means != "The key was not stored." || strings.Contains(f.What, "canary") {
			t.Errorf("%+v", f)
		}
		if modelsOf(t, a).Models[0].HasKey {
			t.Error("a key is said to be there")
		}
		if err := a.UseSessionSecrets(); err != nil {
			t.Fatal(err)
		}
		if err := a.SetModelKey(NewModelKey{"sonnet", "sk-canary-4711"}); err != nil {
			t.Fatal(err)
		}
		if !modelsOf(t, a).Models[0].HasKey {
			t.Error("the key that is kept in memory is not told of")
		}
	}
}

// TestLocalModelsOnly: the switch holds, and goes back.
func TestLocalModelsOnly(t *testing.T) {
	withKeyring(t)
	a := testApp(t)
	if err := a.SetModel(far); err != nil {
		t.Fatal(err)
	}
	ask := func(only bool) error {
		m, err := a.host.Model("sonnet")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if !only {
			cancel() // what is let through goes nowhere
		}
		_, err = m.Ask(ctx, llm.Request{Messages: []llm.Message{{Role: llm.User, Parts: []llm.Part{{Kind: llm.Text, Text: "x"}}}}}, func(llm.Delta) {})
		return err
	}
	for _, only := range []bool{true, false} {
		if err := a.SetLocalModels(only); err != nil {
			t.Fatal(err)
		}
		if v := modelsOf(t, a); v.LocalOnly != only || len(v.Models) != 1 {
			t.Errorf("only %v: %+v", only, v)
		}
		if err := ask(only); strings.Contains(err.Error(), "only models on this computer") != only {
			t.Errorf("only %v: asked with %v", only, err)
		}
	}
}

// TestFoundModels: a program on this computer is asked what it has, and nothing is defined by that.
func TestFoundModels(t *testing.T) {
	s := scripted.New()
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	found := foundModels(llm.Find(t.Context(), []llm.Place{{Name: "Ollama", Port: uint16(port)}}))
	if len(found) != 2 || found[0] != (FoundModel{"Ollama", s.URL, "scripted-1"}) {
		t.Errorf("found %+v", found)
	}
	a := testApp(t)
	if all, err := a.FindModels(); err != nil || all == nil {
		t.Errorf("found %v, %v", all, err)
	}
	if v := modelsOf(t, a); len(v.Models) != 0 {
		t.Errorf("defined by looking: %+v", v)
	}
}

// TestModelsOfABrokenFile: what cannot be read is not an empty list, and is not written over.
func TestModelsOfABrokenFile(t *testing.T) {
	withKeyring(t)
	dir := t.TempDir()
	env := map[string]string{"HOME": dir, "XDG_RUNTIME_DIR": dir}
	paths, err := config.FindPaths(func(n string) string { return env[n] })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(paths.Config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.File(), []byte(`{"version": 1, "models": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Paths: paths, Log: slog.New(slog.DiscardHandler), Sandbox: testApp(t).o.Sandbox})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(context.WithoutCancel(t.Context()), b)
	_, err = b.Models()
	if f := FailureOf(err); f.Code != "CRD-CFG-01" {
		t.Errorf("the list: %+v", f)
	}
	refused(t, "a model", b.SetModel(far), "CRD-CFG-01")
}

// TestModelFailuresKeepOtherWords: what is not about models is said as everywhere else, and always with what did not happen.
func TestModelFailuresKeepOtherWords(t *testing.T) {
	if err := modelFailure(nil, "x"); err != nil {
		t.Errorf("nothing failed: %v", err)
	}
	for _, err := range []error{config.ErrEdited, host.ErrNoModel} {
		var f *Failure
		if !errors.As(modelFailure(err, "Nothing was changed."), &f) || f.Means != "Nothing was changed." || f.What != err.Error() {
			t.Errorf("%v: %+v", err, f)
		}
	}
}

// TestPlacesMatchThePage: the form for a model knows the places that are looked at.
func TestPlacesMatchThePage(t *testing.T) {
	b, err := os.ReadFile("../frontend/src/lib/models.ts")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range llm.Places {
		if !strings.Contains(string(b), "local('"+p.Name+"', "+strconv.Itoa(int(p.Port))+")") {
			t.Errorf("models.ts does not know %s at %s", p.Name, p.URL())
		}
	}
}
