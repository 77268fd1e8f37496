package chat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cordon/host/llm"
	"cordon/host/tool"
)

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "chats.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func begin(t testing.TB, s *Store) Conversation {
	t.Helper()
	c, err := s.New(t.Context(), "", "m")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func says(text string) []llm.Part { return []llm.Part{{Kind: llm.Text, Text: text}} }

func appended(t testing.TB, s *Store, id string, parent int64, e Entry) Entry {
	t.Helper()
	e, err := s.Append(t.Context(), id, parent, e)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	s := open(t)
	c := begin(t, s)
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("who logged in?"), Attached: []Attachment{{Name: "a.txt", From: "you", Text: "x", Size: 1}}})
	a := appended(t, s, c.ID, q.Seq, Entry{Kind: Answer, Parts: []llm.Part{{Kind: llm.Call, ID: "1", Name: "f__read", Args: []byte(`{"path":"/a"}`)}}, Asked: &Asked{Model: "m", Stop: llm.StopCalls}})
	whole := strings.Repeat("all of it ", 10_000)
	o := &Outcome{ID: "1", Name: "f__read", Tool: tool.ID{Server: "f", Name: "read"}, Args: `{"path":"/a"}`, State: OK, Number: 1}
	o.put(Content{Blocks: []tool.Content{{Type: "text", Text: whole}}})
	r := appended(t, s, c.ID, a.Seq, Entry{Kind: Result, Outcome: o})
	path, err := s.Path(t.Context(), c.ID, r.Seq, 100)
	if err != nil || len(path) != 3 {
		t.Fatalf("%d entries, %v; want 3", len(path), err)
	}
	for i, want := range []Entry{q, a, r} {
		if got := path[i]; got.Seq != want.Seq || got.Turn != q.Seq || got.Kind != want.Kind {
			t.Errorf("entry %d: %+v, want %+v", i, got, want)
		}
	}
	if got := path[2].Outcome; got.Content != nil || got.Size != len(whole) || len(got.Beginning) != keptOfText {
		t.Errorf("the way has the content of results with it, or not its size: %d bytes", got.Size)
	}
	e, err := s.Numbered(t.Context(), c.ID, 1)
	if err != nil || e.Outcome.Content == nil || e.Outcome.Content.Text() != whole {
		t.Errorf("by its number the result is not whole: %v", err)
	}
	if _, err := s.Numbered(t.Context(), c.ID, 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("a number that is not there: %v", err)
	}
	c, _ = s.Conversation(t.Context(), c.ID)
	if c.Head != r.Seq {
		t.Errorf("head is %d, want %d", c.Head, r.Seq)
	}
}

// Bytes that are no text are kept as such, and are no reason to lose an entry.
func TestNoText(t *testing.T) {
	s := open(t)
	c := begin(t, s)
	o := &Outcome{ID: "\xff", State: Failed, Reason: "a\xffb\x00", Number: 1}
	o.put(Content{Blocks: []tool.Content{{Type: "text", Text: "\xc3\x28"}}})
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("a\xff\x00b")})
	r := appended(t, s, c.ID, q.Seq, Entry{Kind: Result, Outcome: o})
	path, err := s.Path(t.Context(), c.ID, r.Seq, 10)
	if err != nil || len(path) != 2 || text(path[0].Parts) != "a\ufffd\x00b" || path[1].Outcome.Reason != "a\ufffdb\x00" {
		t.Errorf("%+v, %v", path, err)
	}
	if _, err := s.SetCase(t.Context(), Case{Name: "\xff"}); err == nil {
		t.Error("a case with a name that is no text")
	}
}

func TestVersions(t *testing.T) {
	s := open(t)
	c := begin(t, s)
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("one")})
	first := appended(t, s, c.ID, q.Seq, Entry{Kind: Answer, Parts: says("first")})
	end := appended(t, s, c.ID, first.Seq, Entry{Kind: End, Ended: &Ended{Why: Done}})
	second := appended(t, s, c.ID, q.Seq, Entry{Kind: Answer, Parts: says("second")})
	path, err := s.Path(t.Context(), c.ID, second.Seq, 100)
	if err != nil || len(path) != 2 || !slices.Equal(path[1].Versions, []int64{first.Seq, second.Seq}) {
		t.Fatalf("%+v, %v", path, err)
	}
	if err := s.SetHead(t.Context(), c.ID, first.Seq, false); err != nil {
		t.Fatal(err)
	}
	if c, _ = s.Conversation(t.Context(), c.ID); c.Head != end.Seq {
		t.Errorf("the first version goes on to %d, want %d", c.Head, end.Seq)
	}
	other := begin(t, s)
	if err := s.SetHead(t.Context(), other.ID, first.Seq, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("an entry of another conversation became the head: %v", err)
	}
	if _, err := s.Append(t.Context(), other.ID, first.Seq, Entry{Kind: Answer, Parts: says("stray")}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an entry was added after one of another conversation: %v", err)
	}
	b, err := s.Branch(t.Context(), c.ID, first.Seq)
	if err != nil {
		t.Fatal(err)
	}
	path, err = s.Path(t.Context(), b.ID, b.Head, 100)
	if err != nil || len(path) != 2 || text(path[1].Parts) != "first" || path[1].Turn != path[0].Seq || path[0].Seq == q.Seq {
		t.Errorf("branch: %+v, %v", path, err)
	}
}

func TestSearch(t *testing.T) {
	s := open(t)
	for i := range 20 {
		c := begin(t, s)
		q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says(fmt.Sprintf("question %d about Köln and LSASS", i))})
		appended(t, s, c.ID, q.Seq, Entry{Kind: Answer, Parts: says(fmt.Sprintf("the answer is number%d, and the e-mail came from a@evil.example", i))})
	}
	for what, want := range map[string]int{"number7": 1, "koln lsass": 20, "LSAS": 20, "evil.example": 20, "nothing": 0, `" OR 1 --`: 0, "": 0, "NEAR(": 0, "a* b": 0, "number1": 11} {
		hits, err := s.Search(t.Context(), "", what)
		if err != nil || len(hits) != want {
			t.Errorf("%q: %d hits, %v; want %d", what, len(hits), err, want)
		}
		for _, h := range hits {
			if h.Snippet == "" {
				t.Errorf("%q: no snippet", what)
			}
		}
	}
	hits, _ := s.Search(t.Context(), "", "number7")
	if !strings.Contains(hits[0].Snippet, "number7") {
		t.Errorf("snippet is %q", hits[0].Snippet)
	}
	if err := s.Delete(t.Context(), hits[0].ID); err != nil {
		t.Fatal(err)
	}
	if hits, _ := s.Search(t.Context(), "", "number7"); len(hits) != 0 {
		t.Error("what was deleted is still found")
	}
}

// What was deleted is not in the file any more, nor in those beside it once the store is closed.
func TestDeletedIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chats.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.New(t.Context(), "", "m")
	if err != nil {
		t.Fatal(err)
	}
	const secret = "Hildegardswiesenbrunn"
	o := &Outcome{ID: "1", State: OK, Number: 1, Args: secret}
	o.put(Content{Blocks: []tool.Content{{Type: "text", Text: strings.Repeat(secret+" ", 5000)}}})
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("where is " + secret + "?")})
	appended(t, s, c.ID, q.Seq, Entry{Kind: Result, Outcome: o})
	holds := func() (in []string) {
		files, _ := filepath.Glob(path + "*")
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if low := strings.ToLower(string(b)); strings.Contains(low, strings.ToLower(secret)) {
				in = append(in, filepath.Base(f))
			}
			if st, _ := os.Stat(f); st.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", f, st.Mode())
			}
		}
		return in
	}
	if len(holds()) == 0 {
		t.Fatal("it was never there, so this proves nothing")
	}
	if err := s.Delete(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if in := holds(); len(in) > 0 {
		t.Errorf("it is still in %v", in)
	}
}

func TestCases(t *testing.T) {
	s := open(t)
	id, err := s.SetCase(t.Context(), Case{Name: " INC-2041 ", Marking: "amber", LocalOnly: true, Redact: []string{" Contoso "}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Case(t.Context(), id)
	if err != nil || c.Name != "INC-2041" || !c.LocalOnly || c.Redact[0] != "Contoso" {
		t.Fatalf("%+v, %v", c, err)
	}
	conv, err := s.New(t.Context(), id, "m")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveCase(t.Context(), id); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a case with a conversation was removed: %v", err)
	}
	if err := s.Change(t.Context(), conv.ID, func(c *Conversation) error { c.Case = "0123456789abcdef"; return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("a conversation went into a case that is not there: %v", err)
	}
	if err := s.Delete(t.Context(), conv.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveCase(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := s.New(t.Context(), id, "m"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a conversation in a case that is gone: %v", err)
	}
	for name, bad := range map[string]Case{"no name": {}, "marking": {Name: "a", Marking: "purple"}, "short word": {Name: "a", Redact: []string{"ab"}}, "limit": {Name: "a", Limits: Limits{Calls: -1}}, "long": {Name: strings.Repeat("x", 201)}} {
		if _, err := s.SetCase(t.Context(), bad); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

// A newer store, or a file that is none, is refused and left as it is.
func TestForeignFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chats.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer store: %v", err)
	}
	text := filepath.Join(t.TempDir(), "notes.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("these are my notes\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(text); err == nil {
		t.Error("a text was opened")
	}
	if b, _ := os.ReadFile(text); !strings.HasPrefix(string(b), "these are my notes") {
		t.Error("and was overwritten")
	}
}

// What is no file of ours is not opened, and a damaged store does not hold anybody up.
func TestOddStores(t *testing.T) {
	dir := t.TempDir()
	link, pipe := filepath.Join(dir, "link.db"), filepath.Join(dir, "pipe.db")
	if err := errors.Join(os.Symlink(filepath.Join(dir, "target"), link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, pipe, dir} {
		if s, err := Open(path); err == nil {
			_ = s.Close()
			t.Errorf("%s was opened", path)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "target")); err == nil {
		t.Error("what a link points to was made")
	}
	s := open(t)
	c := begin(t, s)
	a := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("a")})
	b := appended(t, s, c.ID, a.Seq, Entry{Kind: Question, Parts: says("b")})
	if _, err := s.db.Exec("UPDATE entries SET parent = ? WHERE seq = ?", b.Seq, a.Seq); err != nil {
		t.Fatal(err)
	}
	if path, err := s.Path(t.Context(), c.ID, b.Seq, maxPath); err != nil || len(path) != 2 {
		t.Errorf("a circle: %d entries, %v", len(path), err)
	}
	if err := s.SetHead(t.Context(), c.ID, a.Seq, false); err != nil {
		t.Error(err)
	}
}

func TestWritersSideBySide(t *testing.T) {
	s := open(t)
	errs := make(chan error, 8)
	for range 8 {
		go func() {
			c, err := s.New(context.Background(), "", "m")
			for range 20 {
				if err == nil {
					_, err = s.Append(context.Background(), c.ID, 0, Entry{Kind: Question, Parts: says("x")})
				}
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// What is long is not read with the entries it belongs to, and is there when it is asked for, in a branch too.
func TestLongAttachments(t *testing.T) {
	s := open(t)
	c := begin(t, s)
	long := strings.Repeat("a line of a log\n", 1000)
	q := appended(t, s, c.ID, 0, Entry{Kind: Question, Parts: says("see"), Attached: []Attachment{
		{Name: "short", Text: "short", Size: 5}, {Name: "long", Text: long, Size: len(long)}, {Name: "picture", MIME: "image/png", Data: []byte("png"), Size: 3}, {Name: "longer", Text: long + "!", Size: len(long) + 1}}})
	b, err := s.Branch(t.Context(), c.ID, q.Seq)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{c.ID, b.ID} {
		c, err := s.Conversation(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		path, err := s.Path(t.Context(), id, c.Head, 10)
		if err != nil || len(path) != 1 {
			t.Fatal(path, err)
		}
		if a := path[0].Attached; len(a) != 4 || a[0].Text != "short" || a[1].Text != "" || a[2].Data != nil || a[3].Text != "" || a[1].Size != len(long) {
			t.Errorf("the path has %.100v", a)
		}
		en, err := s.Entry(t.Context(), id, c.Head)
		if err != nil {
			t.Fatal(err)
		}
		if a := en.Attached; a[0].Text != "short" || a[1].Text != long || string(a[2].Data) != "png" || a[3].Text != long+"!" {
			t.Errorf("the entry has %.100v", a)
		}
	}
}

// TestPeek reads beside one that writes, changes nothing, and leaves nothing behind.
func TestPeek(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chats.db")
	if s, err := Peek(path); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is missing was opened: %v, %v", s, err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, s)
	err = s.write(t.Context(), func(tx *sql.Tx) error {
		peeked, err := Peek(path)
		if err != nil {
			return err
		}
		all, err := peeked.Conversations(t.Context(), "")
		if len(all) != 1 {
			t.Errorf("it has %d conversations", len(all))
		}
		if err := peeked.Delete(t.Context(), c.ID); err == nil {
			t.Error("a conversation was deleted")
		}
		return errors.Join(err, peeked.Close())
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	peeked, err := Peek(path) // now it is the only one
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peeked.Conversation(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if err := peeked.Change(t.Context(), c.ID, func(c *Conversation) error { c.Title = "x"; return nil }); err == nil {
		t.Error("a conversation was changed")
	}
	if err := peeked.Close(); err != nil {
		t.Error(err)
	}
	if files, err := filepath.Glob(path + "*"); err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Peek(path); err == nil {
		_ = s.Close()
		t.Error("an empty file was opened")
	}
}

// TestPathsAreSearched: what is read of one conversation does not grow with all the others, nor at each step with the whole of it.
func TestPathsAreSearched(t *testing.T) {
	s := open(t)
	for query, step := range map[string]string{pathQuery: "INTEGER PRIMARY KEY (rowid=?)", lastQuery: "entries_by_parent (conversation=? AND parent=?)"} {
		rows, err := s.db.Query("EXPLAIN QUERY PLAN "+query, 1, begin(t, s).ID, 200)
		if err != nil {
			t.Fatal(err)
		}
		all, err := collect(rows, func(step *string, scan func(...any) error) error { var n int; return scan(&n, &n, &n, step) })
		if err != nil {
			t.Fatal(err)
		}
		if plan := strings.Join(all, "\n"); strings.Contains(plan, "SCAN e") || !strings.Contains(plan, "SEARCH e USING "+step) && !strings.Contains(plan, "SEARCH e USING COVERING INDEX "+step) {
			t.Errorf("%s\nis done so:\n%s", query, plan)
		}
	}
}
