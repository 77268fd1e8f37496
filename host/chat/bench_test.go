package chat

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cordon/host/llm"
)

// filled has conversations of so many entries each, of made-up words of which the common ones come often.
func filled(b *testing.B, conversations, entries int) (*Store, string) {
	b.Helper()
	s := open(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	words := func(n int) string {
		var t strings.Builder
		for range n {
			fmt.Fprintf(&t, "w%d ", int(5000*rnd.Float64()*rnd.Float64()*rnd.Float64()))
		}
		return t.String()
	}
	last := ""
	for range conversations {
		c, err := s.New(b.Context(), "", "m")
		if err != nil {
			b.Fatal(err)
		}
		last = c.ID
		err = s.write(b.Context(), func(tx *sql.Tx) error { // in one, which is not what is measured
			var parent int64
			for i := range entries {
				e := Entry{Parent: parent, At: time.Now(), Kind: Answer, Parts: says(words(120)), Asked: &Asked{Model: "m", Stop: llm.StopEnd}}
				if i%2 == 0 {
					e.Kind, e.Asked, e.Parts = Question, nil, says(words(20))
				}
				if err := insert(tx, c.ID, &e); err != nil {
					return err
				}
				parent = e.Seq
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s, last
}

// BenchmarkSearch finds words that are rare, common, and everywhere in 1,000 conversations of 40 entries.
func BenchmarkSearch(b *testing.B) {
	s, _ := filled(b, 1000, 40)
	for _, what := range []string{"w4321", "w77 w123", "w0", "w"} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Search(b.Context(), "", what); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLong reads and adds to a conversation of 10,000 entries.
func BenchmarkLong(b *testing.B) {
	s, id := filled(b, 1, 10_000)
	c, err := s.Conversation(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	for name, n := range map[string]int{"newest 200": 200, "all": maxPath} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Path(b.Context(), id, c.Head, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("add", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Append(b.Context(), id, c.Head, Entry{Kind: Answer, Parts: says("a few words")}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
