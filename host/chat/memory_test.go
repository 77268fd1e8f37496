package chat

import (
	"database/sql"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/llm/scripted"
	"cordon/host/tool"
)

// turnEntries are in each turn of long: a question, a call and its result, an answer, and the end.
const turnEntries = 5

// grow adds turns to a conversation, each with a result of size bytes, in one transaction.
func grow(t testing.TB, s *Store, id string, turns, size int) {
	t.Helper()
	c, err := s.Conversation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	err = s.write(t.Context(), func(tx *sql.Tx) error {
		parent := c.Head
		for i := range turns {
			text := strings.Repeat(fmt.Sprintf("%d: Accepted publickey for alice from 192.0.2.7 port 52144\n", i), size/50)[:size]
			call := llm.Part{Kind: llm.Call, ID: fmt.Sprintf("call_%d", i), Name: "files__read", Args: []byte(`{"path":"/var/log/auth.log"}`)}
			for _, e := range [turnEntries]Entry{
				{Kind: Question, Parts: says("What happened then?")},
				{Kind: Answer, Parts: []llm.Part{call}, Asked: &Asked{Model: "m", Stop: llm.StopCalls}},
				{Kind: Result, Outcome: &Outcome{ID: call.ID, Name: call.Name, Tool: tool.ID{Server: "files", Name: "read"}, Args: string(call.Args), State: OK, Number: i + 1, Size: size,
					Beginning: cutBytes(text, keptOfText), Content: &Content{Blocks: []tool.Content{{Type: "text", Text: text}}}}},
				{Kind: Answer, Parts: says("Alice signed in."), Asked: &Asked{Model: "m", Stop: llm.StopEnd}},
				{Kind: End, Ended: &Ended{Why: Done}},
			} {
				e.Parent, e.At = parent, time.Now()
				if err := insert(tx, id, &e); err != nil {
					return err
				}
				parent = e.Seq
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// allocated is how many bytes f takes of the heap, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// long makes the conversation of a new world n entries long; the newest turns have results of size bytes.
func long(t testing.TB, w *world, n, size int) {
	t.Helper()
	const turns = 50
	// What is before them is made by the database itself, in a moment.
	_, err := w.Store.db.Exec(`INSERT INTO entries (seq, conversation, parent, turn, kind, at, number, body)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
		SELECT i, ?1, i - 1, i - (i + 1) % 2, iif(i % 2, 'question', 'answer'), 0, 0, '{"parts":[{"kind":"text","text":"A few words of ' || i || '."}]}' FROM n`, w.id, n-turns*turnEntries)
	if err == nil {
		_, err = w.Store.db.Exec("UPDATE conversations SET head = ?2 WHERE id = ?1", w.id, n-turns*turnEntries)
	}
	if err != nil {
		t.Fatal(err)
	}
	grow(t, w.Store, w.id, turns, size)
	w.provider.Decide(func(scripted.Request) scripted.Turn { return scripted.Turn{Text: "ok"} })
	w.ask(t, "And then?") // the labels are told once of all that was read
}

// newestOf reads what is shown at first.
func newestOf(t testing.TB, w *world) {
	t.Helper()
	c, err := w.Store.Conversation(t.Context(), w.id)
	if err != nil {
		t.Fatal(err)
	}
	path, err := w.Store.Path(t.Context(), w.id, c.Head, 200)
	if err != nil || len(path) != 200 {
		t.Fatal(len(path), err)
	}
}

// What is read for a screen does not grow with the conversation, nor with its results; what is read for a request is bounded.
func TestLongConversations(t *testing.T) {
	measure := func(n, size int) (show, ask uint64) {
		w := newWorld(t, config.ModelOpenAI)
		long(t, w, n, size)
		return allocated(func() { newestOf(t, w) }), allocated(func() { w.ask(t, "And now?") })
	}
	show, _ := measure(1000, 64<<10)
	showLarge, _ := measure(1000, 512<<10)
	_, askMost := measure(maxTold, 64<<10)
	showLong, askLong := measure(10_000, 64<<10)
	for _, x := range []struct {
		what     string
		took, as uint64
	}{
		{"showing large results", showLarge, show},
		{"showing 10,000 entries", showLong, show},
		{"asking in 10,000 entries", askLong, askMost},
	} {
		if x.took > x.as*3/2 {
			t.Errorf("%s allocates %d bytes; it should be about %d", x.what, x.took, x.as)
		}
	}
}

// A level that has no room for everything is given up as soon as that is known.
func TestLevelsEnd(t *testing.T) {
	var path []Entry
	for i := range 1000 {
		path = append(path, Entry{Kind: Question, Turn: int64(i), Parts: says(strings.Repeat("a few words ", 100))})
	}
	for level := range levels {
		w := writer{level: level, room: 10_000, path: path}
		if _, err := w.messages(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := tokens(w.bytes); n > w.room+1000 || level < levels-1 && n <= w.room {
			t.Errorf("level %d was given up at %d tokens of %d", level, n, w.room)
		}
	}
}

// BenchmarkLongMemory tells what is allocated to show and to ask where every fifth entry is a long result, and what the heap grows by meanwhile and afterwards, where
// the scripted provider keeps what it was sent.
func BenchmarkLongMemory(b *testing.B) {
	for _, n := range []int{1000, maxTold, 10_000} {
		w := newWorld(b, config.ModelOpenAI)
		grow(b, w.Store, w.id, n/turnEntries, 64<<10)
		w.provider.Decide(func(scripted.Request) scripted.Turn { return scripted.Turn{Text: "ok"} })
		w.ask(b, "And then?")
		for name, f := range map[string]func(testing.TB, *world){"show": newestOf, "ask": func(t testing.TB, w *world) { w.ask(t, "And now?") }} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				before := heap(true)
				var most uint64
				done, stop := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(done)
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
							most = max(most, heap(false))
						}
					}
				}()
				for b.Loop() {
					f(b, w)
				}
				close(stop)
				<-done
				b.ReportMetric(float64(max(most, before)-before), "peak-B")
				b.ReportMetric(float64(max(heap(true), before)-before), "held-B")
			})
		}
	}
}

// heap is how many bytes of it are in use.
func heap(collected bool) uint64 {
	if collected {
		runtime.GC()
		runtime.GC() // what the first one has finalized
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
