package audit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// IndexSize is how many of the last events Query looks at.
	IndexSize = 20000
	maxPage   = 1000
	maxText   = 1024 // bytes of arguments that are searched
)

// Entry is an event as lists show it.
type Entry struct {
	Seq      uint64
	Time     time.Time
	Kind     Kind
	CallID   string
	Server   string
	Tool     string
	Effect   string
	Decision Decision
	Rule     string
	Reason   string
	Took     time.Duration

	text string // what Query searches, in lower case
}

func entryOf(seq uint64, e *Event) Entry {
	args := e.Args[:min(len(e.Args), maxText)]
	return Entry{
		Seq: seq, Time: e.Time, Kind: e.Kind, CallID: e.CallID, Server: e.Server, Tool: e.Tool, Effect: e.Effect,
		Decision: e.Decision, Rule: e.Rule, Reason: e.Reason, Took: e.Took,
		text: strings.ToLower(strings.Join([]string{string(e.Kind), e.CallID, e.Server + "." + e.Tool, e.Effect, string(e.Decision), e.Rule, e.Reason, e.Asker, args}, "\n")),
	}
}

// index holds the entries of the last events, oldest first and without gaps.
type index struct {
	loading sync.Mutex // held while older entries are read from the file; guards loaded
	loaded  bool

	mu       sync.Mutex // guards what follows
	entries  []Entry
	watchers map[chan struct{}]struct{}
}

func (x *index) add(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries = append(x.entries, e)
	if len(x.entries) > IndexSize+IndexSize/4 {
		x.entries = slices.Clone(x.entries[len(x.entries)-IndexSize:])
	}
	for w := range x.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// all returns the entries, oldest first; nobody changes the returned ones.
func (l *Log) all() ([]Entry, error) {
	if err := l.load(); err != nil {
		return nil, err
	}
	l.index.mu.Lock()
	defer l.index.mu.Unlock()
	return l.index.entries[max(0, len(l.index.entries)-IndexSize):len(l.index.entries):len(l.index.entries)], nil
}

// load reads the entries from before Open, once.
func (l *Log) load() error {
	x := &l.index
	x.loading.Lock()
	defer x.loading.Unlock()
	if x.loaded {
		return nil
	}
	x.mu.Lock()
	next := l.last.Load() + 1 // first number that is in the index already
	if len(x.entries) > 0 {
		next = x.entries[0].Seq
	}
	full := len(x.entries) >= IndexSize
	x.mu.Unlock()
	from := uint64(1)
	if next > IndexSize {
		from = next - IndexSize
	}
	var older []Entry
	if from < next && !full {
		err := l.scan(from, func(p parsed) (bool, error) {
			if p.seq >= next {
				return false, nil
			}
			e, err := decode(p.event)
			older = append(older, entryOf(p.seq, &e))
			return true, err
		})
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.entries) > 0 { // entries added meanwhile: keep the list without gaps and repetitions
		begin := x.entries[0].Seq
		older = slices.DeleteFunc(older, func(e Entry) bool { return e.Seq >= begin })
		if n := len(older); n > 0 && older[n-1].Seq+1 != begin {
			older = nil
		}
	}
	x.entries = append(older, x.entries...)
	x.loaded = true
	return nil
}

// Query selects events for a list.
type Query struct {
	Text     string // every word must occur, in any letter case
	Server   string // "" for all
	Decision Decision
	Before   uint64 // only events with a smaller number; 0 for the newest
	Limit    int    // at most 1000; 0 means 200
}

// Page answers a Query, newest first.
type Page struct {
	Entries []Entry
	Total   uint64 // events in the log
	Matched int    // events that match, of the last IndexSize, whatever Before and Limit
	Asked   int    // of those: calls about which a person was asked; each call counts once, by its outcome
	Denied  int    // of those: calls of which nothing was let through
}

// Query looks through the last IndexSize events. The first call reads them from the file.
func (l *Log) Query(q Query) (Page, error) {
	entries, err := l.all()
	if err != nil {
		return Page{}, err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 200
	}
	limit = min(limit, maxPage)
	words := strings.Fields(strings.ToLower(q.Text))
	page := Page{Total: l.last.Load()}
	for _, e := range slices.Backward(entries) {
		if q.Server != "" && e.Server != q.Server || q.Decision != "" && e.Decision != q.Decision ||
			slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e.text, w) }) {
			continue
		}
		page.Matched++
		if e.Kind == CallOutcome && e.Decision.asked() {
			page.Asked++
		}
		if e.Kind == CallOutcome && e.Decision.refused() {
			page.Denied++
		}
		if len(page.Entries) < limit && (q.Before == 0 || e.Seq < q.Before) {
			page.Entries = append(page.Entries, e)
		}
	}
	return page, nil
}

// Since returns the events after seq, oldest first, at most limit of the newest. For callers of Watch.
func (l *Log) Since(seq uint64, limit int) ([]Entry, error) {
	entries, err := l.all()
	if err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(entries, seq+1, func(e Entry, s uint64) int {
		switch {
		case e.Seq < s:
			return -1
		case e.Seq > s:
			return 1
		}
		return 0
	})
	entries = entries[i:]
	return slices.Clone(entries[max(0, len(entries)-limit):]), nil
}

// Watch returns a channel that carries a token after events were appended; several may share one token. stop ends it.
func (l *Log) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	x := &l.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watchers == nil {
		x.watchers = map[chan struct{}]struct{}{}
	}
	x.watchers[c] = struct{}{}
	return c, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.watchers, c)
	}
}

// Stored is an event as it lies in the log.
type Stored struct {
	Seq     uint64
	Event   Event
	Prev    string // hash of the record before, hex
	Hash    string // hex
	Matches bool   // the record is as it was written and continues the one before it
	Record  string // the line itself
}

// Get returns the event numbered seq, however old. Errors: ErrNoEvent, or why the file cannot be read there.
func (l *Log) Get(seq uint64) (Stored, error) {
	if seq == 0 || seq > l.last.Load() {
		return Stored{}, fmt.Errorf("event %d: %w", seq, ErrNoEvent)
	}
	var s Stored
	before, known := firstPrev, seq == 1
	err := l.scan(max(seq-1, 1), func(p parsed) (bool, error) {
		if p.seq < seq {
			before, known = p.hash, true
			return true, nil
		}
		e, err := decode(p.event)
		line, _ := link(nil, p.seq, p.prev, p.event)
		s = Stored{p.seq, e, p.prev, p.hash, known && p.seq == seq && p.prev == before, string(bytes.TrimSuffix(line, []byte("\n")))}
		return false, err
	})
	if err == nil && s.Seq != seq {
		err = ErrNoEvent
	}
	if err != nil {
		return Stored{}, fmt.Errorf("event %d: %w", seq, err)
	}
	return s, nil
}

// ByCall returns the events of one call among the last IndexSize, oldest first.
func (l *Log) ByCall(callID string) ([]Entry, error) {
	entries, err := l.all()
	if err != nil || callID == "" {
		return nil, err
	}
	var found []Entry
	for _, e := range entries {
		if e.CallID == callID {
			found = append(found, e)
		}
	}
	return found, nil
}

// scan calls fn with each record from number from on, until fn returns false or the log ends. Lines that are not
// intact are an error.
func (l *Log) scan(from uint64, fn func(parsed) (bool, error)) error {
	size := l.size.Load()
	start, err := l.find(from, size)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(l.f, start, size-start), MaxRecord)
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF {
			return nil // a line being written right now is not there yet
		}
		if err != nil {
			return err
		}
		p, err := parse(line[:len(line)-1])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		if p.seq < from {
			continue
		}
		if more, err := fn(p); !more || err != nil {
			return err
		}
	}
}

// find returns where a line begins that is not after the one numbered seq, by bisection: numbers grow with offsets.
func (l *Log) find(seq uint64, size int64) (int64, error) {
	lo, hi := int64(0), size // a line numbered at most seq begins at lo; the one sought begins before hi, or at it
	buf := make([]byte, 2*MaxRecord)
	for hi-lo > int64(len(buf)) {
		mid := lo + (hi-lo)/2
		n, err := l.f.ReadAt(buf, mid)
		if err != nil && err != io.EOF {
			return 0, err
		}
		i := bytes.IndexByte(buf[:n], '\n')
		if i < 0 {
			return 0, fmt.Errorf("%w: a line is longer than any record", ErrBroken)
		}
		at := mid + int64(i) + 1
		number, ok := seqOf(buf[i+1 : n])
		switch {
		case at >= hi || at >= size:
			hi = mid
		case !ok:
			return 0, fmt.Errorf("%w: a line does not begin as records do", ErrBroken)
		case number <= seq:
			lo = at
		default:
			hi = mid
		}
	}
	return lo, nil
}

// seqOf reads the number at the beginning of a line.
func seqOf(line []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(headSeq))
	i := bytes.IndexByte(rest[:min(len(rest), 21)], ',')
	if !ok || i < 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(rest[:i]), 10, 64)
	return n, err == nil
}

// Parse reads one line of a log, without its newline. Its own hash is checked; its place in the chain is not, so
// Matches is false. For tools that read a log they do not own.
func Parse(line []byte) (Stored, error) {
	p, err := parse(line)
	if err != nil {
		return Stored{}, err
	}
	e, err := decode(p.event)
	return Stored{Seq: p.seq, Event: e, Prev: p.prev, Hash: p.hash, Record: string(line)}, err
}
