package app

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cordon/host/config"
	"cordon/sandbox"
)

// TestTypesMatchThePage compares every interface in types.ts with the Go struct of its name, and Bound with the methods
// that are really bound.
func TestTypesMatchThePage(t *testing.T) {
	b, err := os.ReadFile("../frontend/src/lib/types.ts")
	if err != nil {
		t.Fatal(err)
	}
	pages := interfaces(string(b))
	for _, v := range []any{Failure{}, Snapshot{}, DefaultsView{}, LogView{}, KeyringView{}, Check{}, ServerView{}, GuaranteeView{}, ProfileView{}, WantedView{}, FrameView{}, AskedView{}, LeftView{}, WantedAnswer{}, UsageView{}, ToolView{}, EnvView{},
		FindingView{}, LogLine{}, ReviewView{}, ChangeView{}, DiffLine{}, QuestionView{}, FieldView{}, OptionView{}, QuestionAnswer{}, PromptView{}, ArgView{}, SpanView{}, PreviewView{}, RuleView{}, Answer{}, CallRequest{},
		CallView{}, CallProgress{}, StepView{}, OddityView{}, TaskView{}, CompleteRequest{}, RemoteView{}, IconView{}, ResourceView{}, NewRemote{}, ContentView{}, NewServer{}, NewSecret{}, SecretView{}, EventQuery{}, EventPage{}, EventView{}, StoryView{}, StageView{}, FactView{}, AttemptView{},
		TrySandboxView{}, Progress{}, ChatRow{}, ChatQuery{}, ChatView{}, ChatServer{}, ChatLeft{}, BudgetView{}, EntryView{}, AttachmentView{}, SentView{}, UsedView{}, ProposedView{}, OutcomeView{}, EndView{},
		LiveView{}, LivePart{}, RunningView{}, ChatPush{}, NewChat{}, Ask{}, Attachment{}, ChatChange{}, CaseView{}, CaseLimits{}, FolderAccess{},
		ModelView{}, PriceView{}, FoundModel{}, ModelsView{}, NewModelKey{}} {
		typ := reflect.TypeOf(v)
		var have []string
		for i := range typ.NumField() {
			have = append(have, typ.Field(i).Tag.Get("json"))
		}
		want, ok := pages[typ.Name()]
		if !ok {
			t.Errorf("types.ts has no interface %s", typ.Name())
			continue
		}
		delete(pages, typ.Name())
		if !slices.Equal(have, want) {
			t.Errorf("%s: Go has %v\n  types.ts has %v", typ.Name(), have, want)
		}
	}
	var methods []string
	for i, typ := 0, reflect.TypeFor[*App](); i < typ.NumMethod(); i++ {
		methods = append(methods, typ.Method(i).Name)
	}
	slices.Sort(pages["Bound"])
	if !slices.Equal(methods, pages["Bound"]) {
		t.Errorf("bound methods: Go has %v\n  types.ts has %v", methods, pages["Bound"])
	}
	delete(pages, "Bound")
	if want := []string{EventSnapshot, EventProgress, EventCall, EventActivity, EventChat}; !slices.Equal(pages["Pushed"], want) {
		t.Errorf("events: Go has %v, types.ts has %v", want, pages["Pushed"])
	}
	delete(pages, "Pushed")
	for name := range pages {
		t.Errorf("types.ts has an interface %s that Go lacks", name)
	}
}

// interfaces returns the member names of every exported interface, in order.
func interfaces(src string) map[string][]string {
	out := map[string][]string{}
	member := regexp.MustCompile(`(?:^|[;{\n])\s*(\w+)\??(?:\(|:)`)
	for _, m := range regexp.MustCompile(`export interface (\w+) \{([^}]*)\}`).FindAllStringSubmatch(src, -1) {
		for _, f := range member.FindAllStringSubmatch("\n"+strings.ReplaceAll(m[2], ";", ";\n"), -1) {
			out[m[1]] = append(out[m[1]], f[1])
		}
	}
	return out
}

// noNulls finds nil slices.
func noNulls(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Slice:
		if v.IsNil() {
			t.Errorf("%s is null", path)
		}
		for i := range v.Len() {
			noNulls(t, path+"[]", v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			noNulls(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			noNulls(t, path, v.Elem())
		}
	}
}

// TestListsAreNeverNull walks the zero views that screens get and finds nil slices.
func TestListsAreNeverNull(t *testing.T) {
	a := testApp(t)
	snap, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	noNulls(t, "Snapshot", reflect.ValueOf(snap))
	page, err := a.Events(EventQuery{})
	if err != nil {
		t.Fatal(err)
	}
	noNulls(t, "EventPage", reflect.ValueOf(page))
	story, err := a.Story(1)
	if err != nil {
		t.Fatal(err)
	}
	noNulls(t, "StoryView", reflect.ValueOf(story))
	call, err := a.Call(CallRequest{Ticket: "t", Server: "none", Tool: "x", Args: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	noNulls(t, "CallView", reflect.ValueOf(call))
	models, err := a.Models()
	if err != nil {
		t.Fatal(err)
	}
	noNulls(t, "ModelsView", reflect.ValueOf(models))
	noNulls(t, "FoundModels", reflect.ValueOf(foundModels(nil)))
}

// testApp is an App on private directories, with the launcher built for the test.
func testApp(t *testing.T) *App {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "app-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	launcher := filepath.Join(dir, "cordon-launch")
	build := exec.Command("go", "build", "-o", launcher, "cordon/sandbox/launcher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build launcher: %v\n%s", err, out)
	}
	env := map[string]string{"HOME": dir, "XDG_RUNTIME_DIR": filepath.Join(dir, "run")}
	if err := os.Mkdir(env["XDG_RUNTIME_DIR"], 0o700); err != nil {
		t.Fatal(err)
	}
	paths, err := config.FindPaths(func(n string) string { return env[n] })
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{Paths: paths, Log: slog.New(slog.DiscardHandler), Sandbox: &sandbox.Sandbox{Kernel: sandbox.Probe(), Launcher: launcher}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Close(context.Background(), a); err != nil {
			t.Error(err)
		}
	})
	return a
}

// TestDefaultsAreTheCommandLines: the form begins with what `cordon servers add` takes.
func TestDefaultsAreTheCommandLines(t *testing.T) {
	s, err := testApp(t).Snapshot()
	if want := (DefaultsView{config.DefaultMemory, config.DefaultPids}); err != nil || s.Defaults != want {
		t.Errorf("defaults %+v, %v; want %+v", s.Defaults, err, want)
	}
}
