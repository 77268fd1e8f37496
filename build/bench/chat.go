package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cordon/host/chat"
	"cordon/host/llm"
)

const (
	conversations = 1000 // that are searched
	entries       = 40   // of each
	long          = 10_000
	newest        = 200 // entries that are shown at first
)

// chat measures what conversations cost: to keep an entry, to find words, and to open what is long.
func (b *bench) chat() (err error) {
	s, err := chat.Open(filepath.Join(b.dir, "chats.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	f := filler{b: b, s: s, rnd: rand.New(rand.NewPCG(1, 2))}
	var all [][]string
	for range conversations {
		_, texts, err := f.fill(entries)
		if err != nil {
			return err
		}
		all = append(all, texts)
	}
	short, _, err := f.fill(newest)
	if err != nil {
		return err
	}
	whole, _, err := f.fill(long)
	if err != nil {
		return err
	}
	alone, err := chat.Open(filepath.Join(b.dir, "alone.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.Close()) }()
	only, _, err := filler{b: b, s: alone, rnd: f.rnd}.fill(newest)
	if err != nil {
		return err
	}
	return errors.Join(b.keep(f, whole), b.find(s, all), b.show(opening{alone, only, "alone"}, opening{s, short, fmt.Sprintf("of %d, among all", newest)}, opening{s, whole, fmt.Sprintf("of %d, among all", long)}))
}

// filler writes conversations of made-up words, of which the common ones come often.
type filler struct {
	b   *bench
	s   *chat.Store
	rnd *rand.Rand
}

func (f filler) words(n int) string {
	var t strings.Builder
	for range n {
		fmt.Fprintf(&t, "w%d ", int(5000*f.rnd.Float64()*f.rnd.Float64()*f.rnd.Float64()))
	}
	return t.String()
}

func (f filler) fill(n int) (c chat.Conversation, texts []string, err error) {
	if c, err = f.s.New(f.b.ctx, "", "m"); err != nil {
		return c, nil, err
	}
	var parent int64
	for i := range n {
		e := chat.Entry{Kind: chat.Answer, Parts: []llm.Part{{Kind: llm.Text, Text: f.words(120)}}, Asked: &chat.Asked{Model: "m", Stop: llm.StopEnd}}
		if i%2 == 0 {
			e = chat.Entry{Kind: chat.Question, Parts: []llm.Part{{Kind: llm.Text, Text: f.words(20)}}}
		}
		if e, err = f.s.Append(f.b.ctx, c.ID, parent, e); err != nil {
			return c, nil, err
		}
		parent, texts = e.Seq, append(texts, e.Parts[0].Text)
	}
	c, err = f.s.Conversation(f.b.ctx, c.ID)
	return c, texts, err
}

// keep compares an entry that is kept with its text that is written to a file, each until it is on the disk.
func (b *bench) keep(f filler, c chat.Conversation) (err error) {
	file, err := os.OpenFile(filepath.Join(b.dir, "plain"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text := f.words(120)
	raw := variant{"write, fdatasync", func() (time.Duration, error) {
		begin := time.Now()
		_, err := file.WriteString(text)
		err = errors.Join(err, syscall.Fdatasync(int(file.Fd())))
		return time.Since(begin), err
	}}
	kept := variant{"entry", func() (time.Duration, error) {
		begin := time.Now()
		_, err := f.s.Append(b.ctx, c.ID, c.Head, chat.Entry{Kind: chat.Answer, Parts: []llm.Part{{Kind: llm.Text, Text: text}}})
		return time.Since(begin), err
	}}
	r, err := b.compare("keep an entry", b.n, raw, kept)
	if err != nil {
		return err
	}
	r.judge("entry", 1000, "1 ms")
	return nil
}

// find compares the search with a look through the texts in memory.
func (b *bench) find(s *chat.Store, all [][]string) error {
	for _, x := range []struct{ name, what string }{{"a rare word", "w4321"}, {"two common words", "w77 w123"}, {"a word that is everywhere", "w0"}} {
		terms := strings.Fields(x.what)
		lacks := func(text string) bool {
			return slices.ContainsFunc(terms, func(term string) bool { return !strings.Contains(text, term) })
		}
		timed := func(name string, find func() (found int, err error)) variant {
			return variant{name, func() (time.Duration, error) {
				begin := time.Now()
				n, err := find()
				took := time.Since(begin)
				if err == nil && n == 0 {
					err = errors.New("nothing is found")
				}
				return took, err
			}}
		}
		scan := timed("scan", func() (n int, err error) {
			for _, texts := range all {
				if slices.ContainsFunc(texts, func(t string) bool { return !lacks(t) }) {
					n++
				}
			}
			return n, nil
		})
		search := timed("search", func() (int, error) {
			hits, err := s.Search(b.ctx, "", x.what)
			return len(hits), err
		})
		r, err := b.compare(fmt.Sprintf("search %d conversations, %s", conversations, x.name), b.n, scan, search)
		if err != nil {
			return err
		}
		took := r.get("search").Median / 1000
		r.Target, r.Measured, r.Met = "found in less than 50 ms", fmt.Sprintf("%.1f ms", took), took < 50
	}
	return nil
}

// opening is a conversation in a store, and what it is called.
type opening struct {
	s    *chat.Store
	c    chat.Conversation
	name string
}

// show opens the end of conversations. It is to take as long as with one that has no more and is the only one.
func (b *bench) show(all ...opening) error {
	var variants []variant
	for _, o := range all {
		variants = append(variants, variant{o.name, func() (time.Duration, error) {
			begin := time.Now()
			path, err := o.s.Path(b.ctx, o.c.ID, o.c.Head, newest)
			took := time.Since(begin)
			if err == nil && len(path) != newest {
				err = fmt.Errorf("%d entries are shown", len(path))
			}
			return took, err
		}})
	}
	r, err := b.compare(fmt.Sprintf("open the newest %d entries", newest), b.n, variants...)
	if err != nil {
		return err
	}
	ratio := max(r.Results[1].Ratio, r.Results[2].Ratio)
	r.Target, r.Measured, r.Met = "however long it is and however many there are, it takes at most a quarter longer", fmt.Sprintf("%.2f times", ratio), ratio < 1.25
	return nil
}
