package chat

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/host/llm/scripted"
	"cordon/host/tool"
)

// What attackers found.

// noisy is a JPEG that does not get small.
func noisy(t testing.TB, side int) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range img.Pix {
		img.Pix[i] = byte(rnd.Uint32())
	}
	img.Set(0, 0, color.White)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Words that no model gets are in no name of a tool, also where a name is changed or cut to fit.
func TestWordsInNamesOfTools(t *testing.T) {
	for word, name := range map[string]string{"contoso.com": "contoso.com_lookup", "Müller": "Müller_lookup", "Contoso": strings.Repeat("a", 52) + "Contoso", "hunter2hunter2": "hunter2hunter2"} {
		w := newWorld(t, config.ModelOpenAI)
		w.tools = append(w.tools, tool.Tool{ID: tool.ID{Server: "files", Name: name}, Description: "looks up", InputSchema: []byte(`{"type":"object"}`), Effect: tool.Read})
		id, err := w.Store.SetCase(t.Context(), Case{Name: "c", Redact: []string{word}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Store.Change(t.Context(), w.id, func(c *Conversation) error { c.Case = id; return nil }); err != nil {
			t.Fatal(err)
		}
		n := 0
		w.provider.Decide(func(r scripted.Request) scripted.Turn {
			if n++; n > 1 {
				return scripted.Turn{Text: "ok"}
			}
			i := strings.Index(r.Body, "tool_")
			if i < 0 {
				t.Errorf("%s: %s", word, r.Body)
				return scripted.Turn{Text: "ok"}
			}
			return scripted.Turn{Calls: []scripted.Call{call("1", r.Body[i:i+21], `{}`), call("2", "nothing", `{}`)}}
		})
		w.ask(t, "look")
		for _, r := range w.provider.Requests() {
			if strings.Contains(r.Body, "ontoso") || strings.Contains(r.Body, "M_ller") || strings.Contains(r.Body, "ller_lookup") || strings.Contains(r.Body, "hunter2") || strings.Contains(r.Body, "Conto") {
				t.Errorf("%s: it left: %s", word, r.Body)
			}
		}
		if len(w.calls) != 1 || w.calls[0].Target.Name != name {
			t.Errorf("%s: called %v", word, w.calls)
		}
	}
}

// Files of the same name are two files.
func TestFilesOfOneName(t *testing.T) {
	w := newWorld(t, config.ModelAnthropic)
	n := 0
	w.provider.Decide(func(scripted.Request) scripted.Turn {
		if n++; n == 2 {
			return scripted.Turn{Calls: []scripted.Call{call("1", "cordon__search_result", `{"file":"auth.log (2)","text":"host two"}`), call("2", "cordon__search_result", `{"file":"auth.log (3)","text":"host two"}`)}}
		}
		return scripted.Turn{Text: "ok"}
	})
	file := func(host string) Attachment {
		return Attachment{Name: "auth.log", From: "you", Text: strings.Repeat("host "+host+" said\n", 3000)}
	}
	if err := w.Ask(t.Context(), w.id, Ask{Text: "see", Attached: []Attachment{file("one")}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Ask(t.Context(), w.id, Ask{Text: "and these?", Attached: []Attachment{file("two"), file("three")}}); err != nil {
		t.Fatal(err)
	}
	r := w.provider.Requests()
	if body := r[len(r)-1].Body; !strings.Contains(body, "3000 of 3001 lines") || !strings.Contains(body, "0 of 3001 lines") {
		t.Errorf("the model was told %s", body)
	}
}

// What is not there any more is said, and the conversation goes on.
func TestAttachmentThatIsGone(t *testing.T) {
	w := newWorld(t, config.ModelAnthropic, scripted.Turn{Text: "1"}, scripted.Turn{Text: "2"}, scripted.Turn{Text: "3"})
	picture, err := NewPicture("a.jpg", "you", noisy(t, 50))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Ask(t.Context(), w.id, Ask{Text: "see", Attached: []Attachment{picture, {Name: "long", From: "you", Text: strings.Repeat("x y ", 5000)}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Store.db.Exec("DELETE FROM contents"); err != nil {
		t.Fatal(err)
	}
	w.open(t, w.Store) // the labels are told anew
	if ended := w.ask(t, "and now?"); ended.Why != Done {
		t.Errorf("%+v", ended)
	}
	if r := w.provider.Requests(); strings.Count(r[1].Body, "it is not there any more") != 2 {
		t.Errorf("the model was told %s", r[1].Body)
	}
	if err := w.Ask(t.Context(), w.id, Ask{Text: "in other words", Replaces: w.path(t)[0].Seq}); err != nil {
		t.Error(err)
	}
	if _, err := w.Store.Export(t.Context(), w.id, "test"); err != nil {
		t.Error(err)
	}
}

// A request has no more images than services take, however many there were, and a turn that looks at one page after the other goes on.
func TestManyImages(t *testing.T) {
	shot := noisy(t, 1000)
	large, err := NewPicture("a.jpg", "you", shot)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, config.ModelAnthropic)
	w.provider.Decide(func(r scripted.Request) scripted.Turn {
		if len(r.Body) > 30<<20 {
			return scripted.Turn{Status: 413, Body: `{}`}
		}
		return scripted.Turn{Text: "ok"}
	})
	per := maxPictured / len(large.Data)
	if per > MaxPictures {
		per = MaxPictures
	}
	var all []Attachment
	for range per {
		all = append(all, large)
	}
	for range 12 {
		if err := w.Ask(t.Context(), w.id, Ask{Text: "look", Attached: all}); err != nil {
			t.Fatal(err)
		}
		if ended := w.ended(t); ended.Why != Done {
			t.Fatalf("%+v", ended)
		}
	}
	for len(all)*len(large.Data) <= maxPictured {
		all = append(all, large)
	}
	if err := w.Ask(t.Context(), w.id, Ask{Text: "look", Attached: all}); err == nil {
		t.Error("more images were taken than fit into a request")
	}

	w = newWorld(t, config.ModelAnthropic)
	def := w.models["m"]
	def.Context = 30_000
	w.models["m"] = def
	w.answer = func(context.Context, tool.Proposal) (tool.Result, error) {
		r := result("a page")
		for range 4 {
			r.Content = append(r.Content, tool.Content{Type: "image", MIME: "image/jpeg", Data: shot})
		}
		return r, nil
	}
	n := 0
	w.provider.Decide(func(r scripted.Request) scripted.Turn {
		if n++; strings.Count(r.Body, `"type":"image"`)*tokensOfImage > 26_000 {
			return scripted.Turn{Status: 400, Body: `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 33000 tokens > 30000 maximum"}}`}
		}
		if n == 8 {
			return scripted.Turn{Text: "that was all"}
		}
		return scripted.Turn{Calls: []scripted.Call{call("1", "files__read", fmt.Sprintf(`{"n":%d}`, n))}}
	})
	if ended := w.ask(t, "look at all pages"); ended.Why != Done {
		t.Errorf("%+v", ended)
	}
}

// What leaves is noted before it does.
func TestLeftIsKnownAtOnce(t *testing.T) {
	w := newWorld(t, config.ModelAnthropic)
	def := w.models["m"]
	def.URL = strings.Replace(def.URL, "127.0.0.1", "127.0.0.1.nip.invalid", 1)
	var left Left
	err := (&turn{e: w.Engine, id: w.id}).left(t.Context(), def, Left{Requests: 1, Bytes: 7})
	if c, _ := w.Store.Conversation(t.Context(), w.id); err == nil {
		left = c.Left
	}
	if left.Requests != 1 || left.Bytes != 7 || len(left.Places) != 1 {
		t.Errorf("%+v, %v", left, err)
	}
	w.provider.Decide(func(scripted.Request) scripted.Turn { // the request is there, its answer is not
		path := w.path(t)
		if len(path) != 1 || path[0].Kind != Question {
			t.Errorf("%v", path)
		}
		return scripted.Turn{Text: "ok"}
	})
	w.ask(t, "go")
	// One that cannot be noted is not sent.
	sent := len(w.provider.Requests())
	if _, err := w.Store.db.Exec("CREATE TRIGGER full BEFORE UPDATE OF gone ON conversations WHEN new.gone <> old.gone OR new.title = old.title BEGIN SELECT RAISE(ABORT, 'disk full'); END"); err != nil {
		t.Fatal(err)
	}
	_ = w.Ask(t.Context(), w.id, Ask{Text: "again"})
	if n := len(w.provider.Requests()); n != sent {
		t.Errorf("%d requests left that could not be noted", n-sent)
	}
}

// A scope that is not known narrows, and stops nothing else.
func TestUnknownScope(t *testing.T) {
	w := newWorld(t, config.ModelAnthropic, scripted.Turn{Text: "ok"})
	if _, err := w.Store.db.Exec("UPDATE conversations SET scope = 'strict'"); err != nil {
		t.Fatal(err)
	}
	if ended := w.ask(t, "go"); ended.Why != Done {
		t.Errorf("%+v", ended)
	}
	if body := w.provider.Requests()[0].Body; strings.Contains(body, "files__write") {
		t.Error("the model was told of tools that write")
	}
	if err := w.Store.Change(t.Context(), w.id, func(c *Conversation) error { c.Scope = "stricter"; return nil }); err == nil {
		t.Error("another one was taken")
	}
}

// Conversations are begun and branched whole, whatever happens beside.
func TestBegunWhole(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	beside := func(a, b func()) {
		var both sync.WaitGroup
		both.Go(a)
		both.Go(b)
		both.Wait()
	}
	for range 50 {
		id, err := s.SetCase(ctx, Case{Name: "c"})
		if err != nil {
			t.Fatal(err)
		}
		var c Conversation
		var began, removed error
		beside(func() { c, began = s.New(ctx, id, "m") }, func() { removed = s.RemoveCase(ctx, id) })
		if began == nil && removed == nil {
			t.Fatal("a conversation is in a case that is not there")
		}
		if began != nil {
			continue
		}
		long := strings.Repeat("x y ", 5000)
		q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("see"), Attached: []Attachment{{Name: "a", Text: long, Size: len(long)}}})
		var b Conversation
		var branched error
		beside(func() { b, branched = s.Branch(ctx, c.ID, q.Seq) }, func() {
			_ = s.Change(ctx, c.ID, func(c *Conversation) error { c.Scope = ReadOnly; return nil })
			_ = s.Delete(ctx, c.ID)
		})
		if branched != nil {
			if !errors.Is(branched, ErrNotFound) {
				t.Fatal(branched)
			}
			continue
		}
		en, err := s.Entry(ctx, b.ID, b.Head)
		if err != nil || en.Attached[0].Text != long {
			t.Fatalf("the branch lacks what was attached, %v", err)
		}
	}
	var orphans int
	if err := s.db.QueryRow("SELECT count(*) FROM contents WHERE seq NOT IN (SELECT seq FROM entries)").Scan(&orphans); err != nil || orphans > 0 {
		t.Errorf("%d contents without an entry, %v", orphans, err)
	}
}

// A store of the version before is made one of this.
func TestOlderStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chats.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := connect(path, "journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	old := strings.NewReplacer(" scope TEXT NOT NULL,", "", "user_version = 2", "user_version = 1").Replace(tables)
	if _, err := s.db.Exec(old); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 10_000)
	now := time.Now().UnixMicro()
	for _, q := range []string{
		"INSERT INTO conversations VALUES ('0123456789abcdef', '', 'old', 0, 'm', '[]', ?1, ?1, 1, '{}', 'fence')",
		`INSERT INTO entries VALUES (1, '0123456789abcdef', 0, 1, 'question', ?1, 0, '{"parts":[{"kind":"text","text":"see"}],"attached":[{"name":"a","from":"you","text":"` + long + `","size":10000}]}')`,
	} {
		if _, err := s.db.Exec(q, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Conversations(t.Context(), "")
	if err != nil || len(all) != 1 || all[0].Scope != Usual {
		t.Fatal(all, err)
	}
	en, err := s.Entry(t.Context(), all[0].ID, 1)
	if err != nil || en.Attached[0].Text != long || en.Attached[0].Missing {
		t.Errorf("%.100v, %v", en, err)
	}
	if err := s.write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("PRAGMA user_version = 3")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a store of a later version was opened")
	}
}
