package chat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// Cases in the store.

// Cases returns all cases by name.
func (s *Store) Cases(ctx context.Context) ([]Case, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT body FROM cases")
	if err != nil {
		return nil, err
	}
	all, err := collect(rows, func(c *Case, scan func(...any) error) error {
		var body string
		if err := scan(&body); err != nil {
			return err
		}
		return json.Unmarshal([]byte(body), c)
	})
	slices.SortFunc(all, func(a, b Case) int {
		return strings.Compare(strings.ToLower(a.Name)+a.ID, strings.ToLower(b.Name)+b.ID)
	})
	return all, err
}

// Case returns one. "" is the case of conversations without one: it has no rules.
func (s *Store) Case(ctx context.Context, id string) (c Case, err error) {
	if id == "" {
		return c, nil
	}
	var body string
	switch err = s.db.QueryRowContext(ctx, "SELECT body FROM cases WHERE id = ?", id).Scan(&body); {
	case errors.Is(err, sql.ErrNoRows):
		return c, ErrNotFound
	case err != nil:
		return c, err
	}
	return c, json.Unmarshal([]byte(body), &c)
}

// Bounds of a case.
const (
	maxName   = 200 // characters
	maxNotes  = 20_000
	maxRedact = 500 // words
	minRedact = 3   // characters of one: shorter ones are everywhere
)

// Validate reports the first thing that is wrong.
func (c Case) Validate() error {
	for _, text := range slices.Concat([]string{c.Name, c.Notes, c.Folder}, c.Models, c.Servers, c.Redact) {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return errors.New("something in the case is no text")
		}
	}
	switch name := []rune(strings.TrimSpace(c.Name)); {
	case len(name) == 0:
		return errors.New("the case needs a name")
	case len(name) > maxName:
		return fmt.Errorf("the case's name is longer than %d characters", maxName)
	case !slices.Contains(Markings, c.Marking):
		return fmt.Errorf("%q is no marking: there are clear, green, amber, amber+strict and red", c.Marking)
	case !slices.Contains(Scopes, c.Scope):
		return errScope(c.Scope)
	case c.Folder != "" && (!filepath.IsAbs(c.Folder) || filepath.Clean(c.Folder) != c.Folder || len(c.Folder) > 4096 || strings.ContainsFunc(c.Folder, unicode.IsControl)):
		return errors.New("the case's folder is not written as an absolute path")
	case len([]rune(c.Notes)) > maxNotes:
		return fmt.Errorf("the notes are longer than %d characters", maxNotes)
	case len(c.Redact) > maxRedact:
		return fmt.Errorf("there are more than %d words that no model is to get", maxRedact)
	}
	for _, w := range c.Redact {
		if n := len([]rune(strings.TrimSpace(w))); n < minRedact || n > maxName || strings.ContainsFunc(w, unicode.IsControl) {
			return fmt.Errorf("%q cannot be kept from models: words of %d to %d characters can", w, minRedact, maxName)
		}
	}
	l := c.Limits
	if l.Requests < 0 || l.Calls < 0 || l.Tokens < 0 || !(l.Dollars >= 0) || l.Time < 0 {
		return errors.New("a limit is less than nothing")
	}
	return nil
}

func errScope(s Scope) error {
	return fmt.Errorf("%q is no scope: there are read, which allows nothing else, ask, which asks before every call, and usual", s)
}

// ParseScope reads a scope as people write it: "usual" and nothing are Usual.
func ParseScope(word string) (Scope, error) {
	if word == "usual" {
		return Usual, nil
	}
	if s := Scope(word); slices.Contains(Scopes, s) {
		return s, nil
	}
	return Usual, errScope(Scope(word))
}

// SetCase keeps a case, a new one if it has no id, and returns its id.
func (s *Store) SetCase(ctx context.Context, c Case) (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	c.Name = strings.TrimSpace(c.Name)
	for i, w := range c.Redact {
		c.Redact[i] = strings.TrimSpace(w)
	}
	isNew := c.ID == ""
	if isNew {
		c.ID = newID()
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return c.ID, s.write(ctx, func(tx *sql.Tx) error {
		if isNew {
			_, err := tx.Exec("INSERT INTO cases VALUES (?, ?)", c.ID, string(body))
			return err
		}
		return one(tx.Exec("UPDATE cases SET body = ? WHERE id = ?", string(body), c.ID))
	})
}

// ErrNotEmpty means that a case still has conversations.
var ErrNotEmpty = errors.New("the case still has conversations")

// RemoveCase forgets a case without conversations: theirs would lose the rules that they were held under. Errors: ErrNotEmpty.
func (s *Store) RemoveCase(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM conversations WHERE case_id = ?", id).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return ErrNotEmpty
		}
		return one(tx.Exec("DELETE FROM cases WHERE id = ?", id))
	})
}
