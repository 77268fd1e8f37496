package chat

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"cordon/host/llm"
	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	_ "modernc.org/sqlite" // the driver
)

// ErrNotFound means that there is no such case, conversation or entry.
var ErrNotFound = errors.New("it is not there any more")

// Store keeps cases and conversations in an SQLite database. What a method has returned without an error survives the end of the program, and of
// the machine. It is safe for concurrent use.
type Store struct{ db *sql.DB }

// version of the tables, in the database's user_version.
const version = 2

const tables = `
CREATE TABLE cases (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE conversations (
  id TEXT PRIMARY KEY, case_id TEXT NOT NULL, title TEXT NOT NULL, pinned INTEGER NOT NULL, model TEXT NOT NULL, without TEXT NOT NULL, scope TEXT NOT NULL,
  made INTEGER NOT NULL, changed INTEGER NOT NULL, head INTEGER NOT NULL, gone TEXT NOT NULL, fence TEXT NOT NULL
) STRICT;
CREATE INDEX conversations_by_case ON conversations (case_id);
CREATE TABLE entries (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
  parent INTEGER NOT NULL, turn INTEGER NOT NULL, kind TEXT NOT NULL, at INTEGER NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX entries_by_conversation ON entries (conversation, seq);
CREATE INDEX entries_by_number ON entries (conversation, number) WHERE number > 0;
CREATE INDEX entries_by_parent ON entries (conversation, parent, kind);
CREATE TABLE contents (seq INTEGER PRIMARY KEY REFERENCES entries (seq) ON DELETE CASCADE, body TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (text, prefix = '1 2 3', tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER entries_gone AFTER DELETE ON entries BEGIN DELETE FROM words WHERE rowid = old.seq; END;
PRAGMA user_version = 2;
`

// Open opens the store in a file, which is made if it is missing, readable for its owner only. Close it.
func Open(path string) (*Store, error) {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file: move it away", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) // SQLite gives the files beside it the same mode
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, err
	}
	s, err := connect(path, "busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "secure_delete(1)")
	if err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("%s cannot be used, and is left as it is; move it away to begin with none: %w", path, err)
	}
	return s, nil
}

// Peek opens the store in a file to read what it has, beside whoever else has it open and without waiting for them. It makes no file, and changes
// nothing. Close it.
func Peek(path string) (*Store, error) {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(ErrNotFound, err)
	}
	s, err := connect(path, "busy_timeout(0)", "query_only(1)") // not mode=ro, which cannot take away the files beside it when it is the last to close
	if err != nil {
		return nil, err
	}
	var have int
	err = s.db.QueryRow("PRAGMA user_version").Scan(&have)
	if err == nil && have != version {
		err = fmt.Errorf("it is of version %d, and this Cordon knows %d", have, version)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func connect(path string, pragmas ...string) (*Store, error) {
	q := url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_pragma": append(pragmas, "trusted_schema(0)", "cell_size_check(1)")}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	return &Store{db}, nil
}

func (s *Store) prepare() error {
	return s.write(context.Background(), func(tx *sql.Tx) error {
		var have int
		if err := tx.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
			return err
		}
		switch have {
		case version:
			return nil
		case 1:
			_, err := tx.Exec("ALTER TABLE conversations ADD COLUMN scope TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 2")
			return err
		case 0:
			_, err := tx.Exec(tables)
			return err
		}
		return fmt.Errorf("it is of version %d, and this Cordon knows %d: use a newer one", have, version)
	})
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// write runs f in a transaction.
func (s *Store) write(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func newID() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// one is the error of a statement that has to change one row.
func one(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return errors.Join(ErrNotFound, err)
	}
	return nil
}

// collect reads rows and closes them.
func collect[T any](rows *sql.Rows, read func(v *T, scan func(...any) error) error) (all []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v T
		if err := read(&v, rows.Scan); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

const columns = "id, case_id, title, pinned, model, without, scope, made, changed, head, gone, fence"

func (c *Conversation) read(scan func(...any) error) error {
	var without, left string
	var made, changed int64
	if err := scan(&c.ID, &c.Case, &c.Title, &c.Pinned, &c.Model, &without, &c.Scope, &made, &changed, &c.Head, &left, &c.fence); err != nil {
		return err
	}
	c.Made, c.Changed = time.UnixMicro(made).UTC(), time.UnixMicro(changed).UTC()
	return errors.Join(json.Unmarshal([]byte(without), &c.Without), json.Unmarshal([]byte(left), &c.Left))
}

// New begins a conversation in a case, "" for none.
func (s *Store) New(ctx context.Context, inCase, model string) (Conversation, error) {
	return s.Begin(ctx, Conversation{Case: inCase, Model: model})
}

// Begin begins a conversation like c, without its entries.
func (s *Store) Begin(ctx context.Context, c Conversation) (Conversation, error) {
	c.Left, c.Pinned, c.Title = Left{}, false, ""
	return c, s.write(ctx, func(tx *sql.Tx) (err error) {
		c, err = started(ctx, tx, c)
		return err
	})
}

func started(ctx context.Context, tx *sql.Tx, c Conversation) (Conversation, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	c.ID, c.fence, c.Made, c.Changed, c.Head = newID(), newID(), now, now, 0
	_, err := tx.ExecContext(ctx, "INSERT INTO conversations ("+columns+") VALUES (?, '', '', 0, '', '[]', '', ?, ?, 0, '{}', ?)", c.ID, now.UnixMicro(), now.UnixMicro(), c.fence)
	if err != nil {
		return c, err
	}
	return c, set(ctx, tx, c)
}

// set writes what can be changed of a conversation.
func set(ctx context.Context, tx *sql.Tx, c Conversation) error {
	var known int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM cases WHERE id = ?", c.Case).Scan(&known); err != nil {
		return err
	}
	if c.Case != "" && known == 0 {
		return ErrNotFound
	}
	if len([]rune(c.Title)) > maxName {
		return fmt.Errorf("the title is longer than %d characters", maxName)
	}
	without, err := json.Marshal(c.Without)
	if err != nil {
		return err
	}
	left, err := json.Marshal(c.Left)
	if err != nil {
		return err
	}
	c.Title = strings.ToValidUTF8(c.Title, "\ufffd")
	return one(tx.ExecContext(ctx, "UPDATE conversations SET case_id = ?, title = ?, pinned = ?, model = ?, without = ?, scope = ?, gone = ? WHERE id = ?", c.Case, strings.TrimSpace(c.Title), c.Pinned, c.Model, string(without), c.Scope, string(left), c.ID))
}

// querier is the database, or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Conversation returns one.
func (s *Store) Conversation(ctx context.Context, id string) (Conversation, error) {
	return conversation(ctx, s.db, id)
}

func conversation(ctx context.Context, q querier, id string) (c Conversation, err error) {
	err = c.read(q.QueryRowContext(ctx, "SELECT "+columns+" FROM conversations WHERE id = ?", id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return c, err
}

// Conversations returns all of a case, "" for all there are: the pinned ones first, then those that changed last.
func (s *Store) Conversations(ctx context.Context, inCase string) ([]Conversation, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM conversations WHERE ? IN ('', case_id) ORDER BY pinned DESC, changed DESC", inCase)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(c *Conversation, scan func(...any) error) error { return c.read(scan) })
}

// Change edits what a conversation is: title, pin, model, case, servers, scope.
func (s *Store) Change(ctx context.Context, id string, f func(c *Conversation) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		c, err := conversation(ctx, tx, id)
		if err != nil {
			return err
		}
		was := c.Scope
		if err := f(&c); err != nil {
			return err
		}
		if c.Scope != was && !slices.Contains(Scopes, c.Scope) { // one that is there and not known stays, and narrows all it can
			return errScope(c.Scope)
		}
		return set(ctx, tx, c)
	})
}

// Delete forgets a conversation; what it said is overwritten.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		return one(tx.Exec("DELETE FROM conversations WHERE id = ?", id))
	})
}

// Append adds an entry after parent, which is 0 for a first one, and makes it the head. A question begins a turn; all else belongs to its parent's.
func (s *Store) Append(ctx context.Context, id string, parent int64, e Entry) (Entry, error) {
	e.Parent = parent
	if e.At.IsZero() {
		e.At = time.Now()
	}
	err := s.write(ctx, func(tx *sql.Tx) error { return insert(tx, id, &e) })
	e.At = e.At.UTC()
	return e, err
}

func insert(tx *sql.Tx, id string, e *Entry) error {
	lean, c := e.apart()
	body, err := json.Marshal(lean, jsontext.AllowInvalidUTF8(true)) // which is replaced
	if err != nil {
		return err
	}
	if e.Kind != Question {
		err := tx.QueryRow("SELECT turn FROM entries WHERE seq = ? AND conversation = ?", e.Parent, id).Scan(&e.Turn)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Parent, ErrNotFound)
		}
	}
	number := 0
	if e.Outcome != nil {
		number = e.Outcome.Number
	}
	if err := tx.QueryRow("INSERT INTO entries (conversation, parent, turn, kind, at, number, body) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq", id, e.Parent, e.Turn, string(e.Kind), e.At.UnixMicro(), number, string(body)).Scan(&e.Seq); err != nil {
		return err
	}
	if e.Kind == Question {
		e.Turn = e.Seq
		if _, err := tx.Exec("UPDATE entries SET turn = seq WHERE seq = ?", e.Seq); err != nil {
			return err
		}
	}
	if c != nil {
		content, err := json.Marshal(c, jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO contents VALUES (?, ?)", e.Seq, string(content)); err != nil {
			return err
		}
	}
	if text := e.searched(); text != "" {
		if _, err := tx.Exec("INSERT INTO words (rowid, text) VALUES (?, ?)", e.Seq, text); err != nil {
			return err
		}
	}
	return one(tx.Exec("UPDATE conversations SET head = ?, changed = ? WHERE id = ?", e.Seq, e.At.UnixMicro(), id))
}

// apart takes out of an entry what is kept beside it: the content of a result, or images and long texts of a question.
func (e Entry) apart() (Entry, *Content) {
	if e.Outcome != nil {
		return e, e.Outcome.Content
	}
	c := &Content{}
	e.Attached = slices.Clone(e.Attached)
	for i, a := range e.Attached {
		if a.apart() && (a.Data != nil || a.Text != "") {
			b := tool.Content{Type: "text", Text: a.Text}
			if a.MIME != "" {
				b = tool.Content{Type: "image", MIME: a.MIME, Data: a.Data}
			}
			c.Blocks, e.Attached[i].Text = append(c.Blocks, b), ""
		}
	}
	if len(c.Blocks) == 0 {
		return e, nil
	}
	return e, c
}

// join puts what is kept apart in its place, or says that it is not there any more.
func (e *Entry) join(c *Content) {
	if e.Outcome != nil {
		e.Outcome.Content = c
		return
	}
	var blocks []tool.Content
	if c != nil {
		blocks = c.Blocks
	}
	n := 0
	for _, a := range e.Attached {
		if a.apart() && a.Text == "" {
			n++
		}
	}
	for i := range e.Attached {
		switch a := &e.Attached[i]; {
		case !a.apart() || a.Text != "":
		case len(blocks) != n:
			a.Missing = true
		default:
			a.Text, a.Data = blocks[0].Text, blocks[0].Data
			blocks, n = blocks[1:], n-1
		}
	}
}

// searched is the text by which an entry is found: what was asked and said, and which tools were called, but not what they returned.
func (e Entry) searched() string {
	var b strings.Builder
	for _, p := range e.Parts {
		if p.Kind == llm.Text {
			b.WriteString(p.Text + "\n")
		}
	}
	for _, a := range e.Attached {
		b.WriteString(a.Name + "\n")
	}
	if o := e.Outcome; o != nil {
		b.WriteString(o.Name + "\n" + o.Args + "\n" + o.Reason)
	}
	return strings.TrimSpace(b.String())
}

// The next two have their joins in order, because SQLite, left to itself, looks at every entry that there is: in the first once, in the second at each step.

// pathQuery reads the last ?3 entries that lead to ?1 in a conversation ?2.
const pathQuery = `WITH RECURSIVE path (seq, parent, n) AS (SELECT seq, parent, 1 FROM entries WHERE seq = ?1 AND conversation = ?2
	UNION ALL SELECT e.seq, e.parent, n + 1 FROM path CROSS JOIN entries e ON e.seq = path.parent AND e.seq < path.seq AND e.conversation = ?2 WHERE n < ?3)
	SELECT e.seq, e.parent, e.turn, e.kind, e.at, e.body,
		(SELECT group_concat(seq) FROM (SELECT seq FROM entries v INDEXED BY entries_by_parent WHERE v.conversation = ?2 AND v.parent = e.parent AND (v.kind = 'question') = (e.kind = 'question') ORDER BY seq))
	FROM path CROSS JOIN entries e USING (seq) ORDER BY e.seq`

// lastQuery finds what was added last after ?1 in a conversation ?2, itself included; 0 if it is not there.
const lastQuery = `WITH RECURSIVE after (seq) AS (SELECT seq FROM entries WHERE seq = ?1 AND conversation = ?2
	UNION ALL SELECT e.seq FROM after CROSS JOIN entries e INDEXED BY entries_by_parent ON e.parent = after.seq AND e.seq > after.seq AND e.conversation = ?2) SELECT coalesce(max(seq), 0) FROM after`

// SetHead makes seq, or what was added last after it, what the conversation has come to.
func (s *Store) SetHead(ctx context.Context, id string, seq int64, exactly bool) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		last := seq
		if !exactly {
			err := tx.QueryRow(lastQuery, seq, id).Scan(&last)
			if err != nil {
				return err
			}
		}
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM entries WHERE seq = ? AND conversation = ?", last, id).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		return one(tx.Exec("UPDATE conversations SET head = ? WHERE id = ?", last, id))
	})
}

// Path returns the entries that lead to seq, itself included, at most the last n of them, the oldest first. seq 0 leads nowhere.
func (s *Store) Path(ctx context.Context, id string, seq int64, n int) ([]Entry, error) {
	return entries(ctx, s.db, id, seq, n)
}

func entries(ctx context.Context, q querier, id string, seq int64, n int) ([]Entry, error) {
	rows, err := q.QueryContext(ctx, pathQuery, seq, id, n)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(e *Entry, scan func(...any) error) error { return e.read(scan) })
}

func (e *Entry) read(scan func(...any) error) error {
	var at int64
	var body, versions string
	if err := scan(&e.Seq, &e.Parent, &e.Turn, &e.Kind, &at, &body, &versions); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(body), e); err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	e.At = time.UnixMicro(at).UTC()
	if strings.Contains(versions, ",") {
		for v := range strings.SplitSeq(versions, ",") {
			var n int64
			if _, err := fmt.Sscan(v, &n); err != nil {
				return err
			}
			e.Versions = append(e.Versions, n)
		}
	}
	return nil
}

// Entry returns one, with what is kept apart.
func (s *Store) Entry(ctx context.Context, id string, seq int64) (Entry, error) {
	all, err := s.Path(ctx, id, seq, 1)
	if err != nil {
		return Entry{}, err
	}
	if len(all) == 0 {
		return Entry{}, ErrNotFound
	}
	e := all[0]
	c, err := s.content(ctx, seq)
	if err != nil {
		return Entry{}, err
	}
	e.join(c)
	return e, nil
}

func (s *Store) content(ctx context.Context, seq int64) (*Content, error) {
	var body string
	switch err := s.db.QueryRowContext(ctx, "SELECT body FROM contents WHERE seq = ?", seq).Scan(&body); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	c := &Content{}
	return c, json.Unmarshal([]byte(body), c)
}

// Numbered returns the result of a number, with its content, in whatever version of the conversation it was read.
func (s *Store) Numbered(ctx context.Context, id string, number int) (Entry, error) {
	var seq int64
	switch err := s.db.QueryRowContext(ctx, "SELECT seq FROM entries WHERE conversation = ? AND number = ? AND number > 0 ORDER BY seq LIMIT 1", id, number).Scan(&seq); {
	case errors.Is(err, sql.ErrNoRows):
		return Entry{}, ErrNotFound
	case err != nil:
		return Entry{}, err
	}
	return s.Entry(ctx, id, seq)
}

// Foreign calls f with every entry of a conversation, in all of its versions, that has outside text, from after one on, with the content of results, in order.
func (s *Store) Foreign(ctx context.Context, id string, after int64, f func(Entry) error) error {
	rows, err := s.db.QueryContext(ctx, "SELECT seq FROM entries WHERE conversation = ? AND seq > ? AND (number > 0 OR kind = 'question' AND instr(body, '\"attached\"') > 0) ORDER BY seq", id, after)
	if err != nil {
		return err
	}
	all, err := collect(rows, func(seq *int64, scan func(...any) error) error { return scan(seq) })
	if err != nil {
		return err
	}
	for _, seq := range all {
		e, err := s.Entry(ctx, id, seq)
		if err == nil {
			err = f(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Branch makes a new conversation of all that led to seq.
func (s *Store) Branch(ctx context.Context, id string, seq int64) (to Conversation, err error) {
	return to, s.write(ctx, func(tx *sql.Tx) error {
		from, err := conversation(ctx, tx, id)
		if err != nil {
			return err
		}
		path, err := entries(ctx, tx, id, seq, maxPath)
		if err == nil && len(path) == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		to = from // with what had left for what is in it
		to.Title, to.Pinned = clip(from.Title+" (branch)", maxName), false
		if to, err = started(ctx, tx, to); err != nil {
			return err
		}
		changed := to.Changed
		for _, e := range path {
			was := e.Seq
			e.Parent, e.Seq = to.Head, 0
			if err := insert(tx, to.ID, &e); err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO contents SELECT ?, body FROM contents WHERE seq = ?", e.Seq, was); err != nil {
				return err
			}
			to.Head = e.Seq
		}
		return one(tx.Exec("UPDATE conversations SET changed = ? WHERE id = ?", changed.UnixMicro(), to.ID)) // not when its last entry was made
	})
}

// maxPath bounds the entries of one conversation that are looked at together.
const maxPath = 1_000_000

// clip cuts s to so many characters.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
