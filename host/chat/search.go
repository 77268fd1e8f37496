package chat

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode"
)

// Search in the store.

// Hit is a conversation in which something was found.
type Hit struct {
	Conversation
	Snippet string // around the newest place; "" if it is the title
}

// maxHits bounds what a search returns.
const maxHits = 100

// Search finds the conversations of a case, "" for all, whose title or text has every word of what, the last one also as a beginning. Those that
// changed last come first.
func (s *Store) Search(ctx context.Context, inCase, what string) ([]Hit, error) {
	terms := strings.FieldsFunc(strings.ToLower(what), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.M, r) })
	if len(terms) == 0 {
		return nil, nil
	}
	if len(terms) > 20 {
		terms = terms[:20]
	}
	match := `"` + strings.Join(terms, `" "`) + `" *`
	// From the newest place on, as far as there is a conversation that is not known yet: a common word is everywhere.
	rows, err := s.db.QueryContext(ctx, `SELECT e.conversation, e.seq FROM words JOIN entries e ON e.seq = words.rowid JOIN conversations c ON c.id = e.conversation
		WHERE words MATCH ?1 AND ?2 IN ('', c.case_id) ORDER BY words.rowid DESC`, match, inCase)
	if err != nil {
		return nil, err
	}
	newest := map[string]int64{}
	for len(newest) < maxHits && rows.Next() {
		var id string
		var seq int64
		if err := rows.Scan(&id, &seq); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		if newest[id] == 0 {
			newest[id] = seq
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	title, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM conversations WHERE ?1 IN ('', case_id) AND (instr(lower(title), ?2) > 0 OR id IN (SELECT value FROM json_each(?3))) ORDER BY changed DESC LIMIT ?4",
		inCase, strings.ToLower(strings.TrimSpace(what)), ids(newest), maxHits)
	if err != nil {
		return nil, err
	}
	hits, err := collect(title, func(h *Hit, scan func(...any) error) error { return h.read(scan) })
	if err != nil {
		return nil, err
	}
	for i, h := range hits {
		if newest[h.ID] == 0 {
			continue
		}
		var text string
		if err := s.db.QueryRowContext(ctx, "SELECT text FROM words WHERE rowid = ?", newest[h.ID]).Scan(&text); err != nil {
			return nil, err
		}
		hits[i].Snippet = snippet(text, terms)
	}
	return hits, nil
}

// ids are the conversations of a map, as JSON.
func ids(of map[string]int64) string {
	all := make([]string, 0, len(of))
	for id := range of {
		all = append(all, strconv.Quote(id))
	}
	return "[" + strings.Join(all, ",") + "]"
}

// snippet is the place of text where the first of terms is, on one line.
func snippet(text string, terms []string) string {
	const before, most = 40, 160
	runes := []rune(strings.Join(strings.Fields(text), " "))
	low := []rune(strings.ToLower(string(runes)))
	at := 0
	for i := range low {
		if strings.HasPrefix(string(low[i:min(len(low), i+len(terms[0]))]), terms[0]) {
			at = i
			break
		}
	}
	from := min(max(0, at-before), len(runes))
	out := string(runes[from:min(len(runes), from+most)])
	if from > 0 {
		out = "…" + out
	}
	if from+most < len(runes) {
		out += "…"
	}
	return out
}
