package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/host/llm/scripted"
)

// page is a window that keeps what it is told.
type page struct {
	mu     sync.Mutex
	pushes []ChatPush // guarded by mu
	file   string     // that the person chooses
}

// Emit implements Window.
func (p *page) Emit(event string, payload any) {
	if event == EventChat {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pushes = append(p.pushes, payload.(ChatPush))
	}
}

// ChooseFolder implements Window.
func (p *page) ChooseFolder(string) (string, error) { return "", nil }

// ChooseFile implements Window.
func (p *page) ChooseFile(_, name string) (string, error) {
	if p.file == "" {
		return "", nil
	}
	return filepath.Join(p.file, name), nil
}

func (p *page) told() []ChatPush {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.pushes)
}

// chatApp has a window and a model that says what it is told to.
func chatApp(t *testing.T, turns ...scripted.Turn) (*App, *page, *scripted.Server) {
	t.Helper()
	withKeyring(t)
	a := testApp(t)
	p := &page{}
	Attach(t.Context(), a, p)
	s := scripted.New(turns...)
	t.Cleanup(s.Close)
	if err := a.SetModel(ModelView{Name: "lab", Kind: config.ModelOpenAI, URL: s.URL, Model: "scripted-1", Context: 100_000, Prices: PriceView{1, 1, 1}}); err != nil {
		t.Fatal(err)
	}
	return a, p, s
}

func newChat(t *testing.T, a *App) ChatView {
	t.Helper()
	v, err := a.NewChat(NewChat{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestChatIsPushed: what the page is told, put together, is what it gets when it opens the conversation.
func TestChatIsPushed(t *testing.T) {
	long := strings.Repeat("many words ", 500)
	a, p, _ := chatApp(t, scripted.Turn{Think: "hm", Text: long, Runes: 3, Calls: []scripted.Call{{ID: "1", Name: "nobody__nothing", Args: `{"a":1}`}}, In: 100, Out: 10}, scripted.Turn{Text: "done", In: 200, Out: 1})
	c := newChat(t, a)
	if c.Model != "lab" || !c.Local || c.Live != nil || len(c.Entries) != 0 {
		t.Fatalf("new: %+v", c)
	}
	if err := a.Ask(Ask{ID: c.ID, Text: "hello", Attach: []Attachment{{Name: "a\nb.txt", Text: "attached"}}}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !slices.ContainsFunc(p.told(), func(u ChatPush) bool { return u.Idle }); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the page is not told of the end")
		}
	}
	v, err := a.OpenChat(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	var entries []EntryView
	streamed := map[int]string{}
	first := ""
	for _, u := range p.told() {
		switch {
		case u.ID != c.ID:
			t.Errorf("a push of %q", u.ID)
		case u.Entry != nil:
			entries = append(entries, *u.Entry)
			if u.Entry.Kind == "answer" && first == "" {
				first = streamed[1]
			}
		case u.Part != nil:
			streamed[u.Index] += u.Part.Text
		}
	}
	if first != long {
		t.Errorf("%d bytes were streamed of %d", len(first), len(long))
	}
	if n := len(p.told()); n > 300 {
		t.Errorf("%d pushes for %d pieces", n, len(long)/3)
	}
	got, _ := json.Marshal(v.Entries)
	want, _ := json.Marshal(entries)
	if string(got) != string(want) {
		t.Errorf("opened: %s\n pushed: %s", got, want)
	}
	if len(v.Entries) != 5 || v.Entries[0].Attachments[0].Name != "ab.txt" || v.Entries[2].Outcome.State != "refused" || v.Entries[4].End.Why != "done" || v.Title != "hello" || v.Budget.Used != 200 || !v.Budget.Priced {
		t.Errorf("%+v", v)
	}
	noNulls(t, "ChatView", reflect.ValueOf(v))
	rows, err := a.Chats(ChatQuery{Text: "hel"})
	if err != nil || len(rows) != 1 || rows[0].ID != c.ID {
		t.Errorf("search: %+v, %v", rows, err)
	}
}

// TestChatStates: each fault of a provider is a failure with a code, and leaves the conversation usable.
func TestChatStates(t *testing.T) {
	a, _, s := chatApp(t, scripted.Turn{Status: 401, Body: `{"error":{"message":"no key"}}`})
	c := newChat(t, a)
	if err := a.Ask(Ask{ID: c.ID, Text: "hello"}); err != nil {
		t.Fatal(err)
	}
	v, err := a.OpenChat(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if end := v.Entries[len(v.Entries)-1].End; end == nil || end.Why != "failed" || end.Failure == nil || end.Failure.Code != "CRD-LLM-01" || end.Failure.Fix == "" {
		t.Errorf("%+v", end)
	}
	s.Say(scripted.Turn{Text: strings.Repeat("word ", 2000), Runes: 4, Pause: time.Millisecond})
	done := make(chan error)
	go func() { done <- a.ContinueChat(c.ID) }()
	for v.Live == nil || len(v.Live.Parts) == 0 {
		time.Sleep(time.Millisecond)
		if v, err = a.OpenChat(c.ID); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, "a second question", a.Ask(Ask{ID: c.ID, Text: "and?"}), "CRD-CHT-02")
	if _, err := a.SelectVersion(c.ID, v.Entries[0].Seq); err == nil {
		t.Error("another version was selected while an answer comes")
	}
	if err := a.StopChat(c.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	v, _ = a.OpenChat(c.ID)
	if end := v.Entries[len(v.Entries)-1].End; end == nil || end.Why != "stopped" || v.Live != nil {
		t.Errorf("%+v, %+v", end, v.Live)
	}
	s.Say(scripted.Turn{Text: "again"}, scripted.Turn{Text: "edited"})
	if err := a.RetryTurn(c.ID, v.Entries[0].Seq); err != nil {
		t.Fatal(err)
	}
	if err := a.Ask(Ask{ID: c.ID, Text: "hello there", Replaces: v.Entries[0].Seq}); err != nil {
		t.Fatal(err)
	}
	v, _ = a.OpenChat(c.ID)
	if len(v.Entries) != 3 || len(v.Entries[0].Versions) != 2 || v.Entries[0].Text != "hello there" {
		t.Errorf("%+v", v.Entries)
	}
	v, err = a.SelectVersion(c.ID, v.Entries[0].Versions[0])
	if err != nil || v.Entries[0].Text != "hello" || v.Entries[1].Text != "again" || len(v.Entries[1].Versions) < 2 {
		t.Errorf("%+v, %v", v.Entries, err)
	}
	b, err := a.BranchChat(c.ID, v.Entries[1].Seq)
	if err != nil || len(b.Entries) != 2 || b.ID == c.ID {
		t.Errorf("%+v, %v", b, err)
	}
	if err := a.DeleteChat(c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := a.OpenChat(c.ID); err == nil {
		t.Error("it was deleted and opened")
	}
}

// TestChatRefuses: what the page sends is checked.
func TestChatRefuses(t *testing.T) {
	a, p, s := chatApp(t)
	c := newChat(t, a)
	for name, do := range map[string]func() error{
		"nothing": func() error { return a.Ask(Ask{ID: c.ID}) },
		"bytes": func() error {
			return a.Ask(Ask{ID: c.ID, Text: "x", Attach: []Attachment{{Name: "a", Text: "a\x00b"}}})
		},
		"a resource": func() error {
			return a.Ask(Ask{ID: c.ID, Text: "x", Attach: []Attachment{{Server: "nobody", URI: "x:y"}}})
		},
		"no conversation": func() error { return a.Ask(Ask{ID: "x", Text: "x"}) },
		"no title":        func() error { return a.ChangeChat(ChatChange{ID: c.ID, What: "title", Text: " "}) },
		"no model":        func() error { return a.ChangeChat(ChatChange{ID: c.ID, What: "model", Text: "nobody"}) },
		"no case":         func() error { return a.ChangeChat(ChatChange{ID: c.ID, What: "case", Text: "nobody"}) },
		"no such thing":   func() error { return a.ChangeChat(ChatChange{ID: c.ID, What: "head", Text: "1"}) },
		"marking":         func() error { _, err := a.SetCase(CaseView{Name: "x", Marking: "purple"}); return err },
		"a strange case":  func() error { _, err := a.SetCase(CaseView{ID: "nobody", Name: "x"}); return err },
		"no format":       func() error { _, err := a.ExportChat(c.ID, "exe"); return err },
		"no evidence":     func() error { _, err := a.Evidence(c.ID, 1); return err },
		"no new case":     func() error { _, err := a.NewChat(NewChat{CaseID: "nobody"}); return err },
	} {
		if err := do(); err == nil {
			t.Errorf("%s: was taken", name)
		} else if f, ok := err.(*Failure); !ok || f.Code == "" || f.What == "" { //nolint:errorlint // as it reaches the page
			t.Errorf("%s: %#v", name, err)
		}
	}
	if len(s.Requests()) > 0 {
		t.Error("something was sent")
	}
	if path, err := a.ExportChat(c.ID, "markdown"); err != nil || path != "" {
		t.Errorf("nobody chose a file, and %q was written, %v", path, err)
	}
	p.file = t.TempDir()
	path, err := a.ExportChat(c.ID, "markdown")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(b), "# Conversation") {
		t.Errorf("%q, %v", b, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	id, err := a.SetCase(CaseView{Name: "INC", LocalOnly: true, Redact: []string{"Contoso"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ChangeChat(ChatChange{ID: c.ID, What: "case", Text: id}); err != nil {
		t.Fatal(err)
	}
	if err := a.RemoveCase(id); err == nil {
		t.Error("a case with a conversation was removed")
	}
	if cases, err := a.Cases(); err != nil || len(cases) != 1 || !cases[0].LocalOnly {
		t.Errorf("%+v, %v", cases, err)
	}
}

// TestClosingStopsChats: what is under way ends with the window, and is kept.
func TestClosingStopsChats(t *testing.T) {
	withKeyring(t)
	done := make(chan error, 1)
	t.Cleanup(func() { // after the app has been closed
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	a := testApp(t)
	s := scripted.New(scripted.Turn{Text: strings.Repeat("word ", 20_000), Runes: 4, Pause: time.Millisecond})
	t.Cleanup(s.Close)
	if err := a.SetModel(ModelView{Name: "lab", Kind: config.ModelOpenAI, URL: s.URL, Model: "scripted-1"}); err != nil {
		t.Fatal(err)
	}
	c := newChat(t, a)
	go func() { done <- a.Ask(Ask{ID: c.ID, Text: "go"}) }()
	for v := c; v.Live == nil || len(v.Live.Parts) == 0; time.Sleep(time.Millisecond) {
		v, _ = a.OpenChat(c.ID)
	}
}

// TestChatOpenedInTheMiddle: what the page gets of an answer that is coming, and what is pushed after that, are the answer: no letter twice, none missing.
func TestChatOpenedInTheMiddle(t *testing.T) {
	var long strings.Builder
	for i := range 3000 {
		long.WriteString(strings.Repeat("x", i%7) + " ")
	}
	a, p, _ := chatApp(t, scripted.Turn{Text: long.String(), Runes: 3, Pause: 100 * time.Microsecond})
	c := newChat(t, a)
	done := make(chan error, 1)
	go func() { done <- a.Ask(Ask{ID: c.ID, Text: "hello"}) }()
	var opened []*LiveView
	for len(opened) < 20 {
		v, err := a.OpenChat(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if v.Live != nil && len(v.Live.Parts) > 0 {
			opened = append(opened, v.Live)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !slices.ContainsFunc(p.told(), func(u ChatPush) bool { return u.Idle }) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	for _, l := range opened {
		text := l.Parts[0].Text
		for _, u := range p.told() {
			if u.Part != nil && u.Rev > l.Rev {
				text += u.Part.Text
			}
		}
		if text != long.String() {
			t.Errorf("opened at %d: %d letters together, want %d", l.Rev, len(text), long.Len())
		}
	}
}
