package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, path string) *Log {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func event(n int) Event {
	return Event{
		Kind: CallOutcome, CallID: fmt.Sprintf("call%04d", n), Server: "files", Tool: "read_file", Effect: "read", Decision: Allowed,
		Rule: "allow.read", Reason: "Reading within the granted folders.", Asker: "chat", Args: fmt.Sprintf(`{"path":"/srv/%d"}`, n),
		Stages: []Stage{{"resolve", "passed", "", 12}, {"pin", "passed", "unchanged", 3}}, Took: time.Millisecond,
	}
}

func mustAppend(t testing.TB, l *Log, e Event) uint64 {
	t.Helper()
	seq, err := l.Append(e)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// smallLog writes n events and returns the file's bytes.
func smallLog(t testing.TB, n int) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	for i := range n {
		mustAppend(t, l, event(i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func verify(t testing.TB, data []byte) Report {
	t.Helper()
	rep, err := Verify(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestAppendThenVerify(t *testing.T) {
	path, data := smallLog(t, 3)
	rep := verify(t, data)
	if !rep.Intact || rep.Events != 3 || len(rep.Head) != 64 {
		t.Fatalf("Verify = %+v, want three intact events", rep)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", st.Mode())
	}
	l := open(t, path)
	if seq, hash := l.Head(); seq != 3 || hash != rep.Head {
		t.Errorf("Head after reopening = %d %s, want 3 %s", seq, hash, rep.Head)
	}
	if seq := mustAppend(t, l, event(3)); seq != 4 {
		t.Errorf("Append after reopening = %d, want 4", seq)
	}
	if rep, err := l.Verify(t.Context()); err != nil || !rep.Intact || rep.Events != 4 {
		t.Errorf("Verify = %+v, %v", rep, err)
	}
	if rep := verify(t, nil); !rep.Intact || rep.Events != 0 || rep.Head != "" {
		t.Errorf("an empty log: %+v", rep)
	}
}

func TestEveryFlippedByteIsNoticed(t *testing.T) {
	_, data := smallLog(t, 3)
	good := verify(t, data)
	for i := range data {
		for _, x := range []byte{0x01, 0x20, 0x80, 0xff} {
			bad := bytes.Clone(data)
			bad[i] ^= x
			if rep := verify(t, bad); rep.Intact || rep.Problem == "" || rep.BadSeq == 0 {
				t.Fatalf("byte %d (%q) ^ %#x went unnoticed: %+v", i, data[i], x, rep)
			}
		}
		if rep := verify(t, slicesDelete(data, i)); rep.Intact {
			t.Fatalf("byte %d (%q) removed unnoticed", i, data[i])
		}
		if rep := verify(t, slicesInsert(data, i, 'x')); rep.Intact {
			t.Fatalf("byte inserted before %d unnoticed", i)
		}
		if rep := verify(t, slicesInsert(data, i, data[i])); rep.Intact {
			t.Fatalf("byte %d (%q) doubled unnoticed", i, data[i])
		}
	}
	// Reordered, repeated and missing records.
	lines := bytes.SplitAfter(data, []byte("\n"))
	for name, bad := range map[string][]byte{
		"swapped":       bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
		"repeated":      bytes.Join([][]byte{lines[0], lines[0], lines[1], lines[2]}, nil),
		"first missing": bytes.Join([][]byte{lines[1], lines[2]}, nil),
		"one missing":   bytes.Join([][]byte{lines[0], lines[2]}, nil),
		"blank line":    append(bytes.Clone(data), '\n'),
		"other text":    append(bytes.Clone(data), "hello\n"...),
	} {
		if rep := verify(t, bad); rep.Intact {
			t.Errorf("%s: unnoticed", name)
		}
	}
	// The stated exception: whole records gone at the end leave an intact log with another head.
	if rep := verify(t, data[:len(data)-len(lines[2])]); !rep.Intact || rep.Head == good.Head {
		t.Errorf("cut at the end: %+v", rep)
	}
}

func slicesDelete(b []byte, i int) []byte { return append(bytes.Clone(b[:i]), b[i+1:]...) }
func slicesInsert(b []byte, i int, x byte) []byte {
	return append(append(bytes.Clone(b[:i]), x), b[i:]...)
}

func TestVerifyOfAnOpenLogNoticesATruncatedFile(t *testing.T) {
	path, data := smallLog(t, 3)
	l := open(t, path)
	last := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	if err := os.Truncate(path, int64(last)); err != nil {
		t.Fatal(err)
	}
	if rep, err := l.Verify(t.Context()); err != nil || rep.Intact || rep.BadSeq != 3 {
		t.Errorf("Verify = %+v, %v; want record 3 missing", rep, err)
	}
}

func TestOpenMendsATornLine(t *testing.T) {
	_, data := smallLog(t, 3)
	lines := bytes.SplitAfter(data, []byte("\n"))
	two := len(lines[0]) + len(lines[1])
	for name, c := range map[string]struct {
		tail string
		kept bool
	}{
		"half a record":          {string(data[two : two+len(lines[2])/2]), false},
		"one byte":               {"{", false},
		"all but the newline":    {string(lines[2][:len(lines[2])-1]), true},
		"all but the last brace": {string(lines[2][:len(lines[2])-2]), false},
		"zeros":                  {strings.Repeat("\x00", 4096), false},
	} {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, append(bytes.Clone(data[:two]), c.tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, _ := os.Open(path); f != nil {
			if rep, _ := Verify(f); !rep.Torn || rep.Intact {
				t.Errorf("%s: Verify before = %+v, want torn", name, rep)
			}
			_ = f.Close()
		}
		l := open(t, path)
		want := uint64(3)
		if c.kept {
			want = 4
		}
		if seq, _ := l.Head(); seq != want {
			t.Errorf("%s: last record %d, want %d", name, seq, want)
		}
		s, err := l.Get(want)
		if err != nil || s.Event.Kind != LogRecovered || s.Event.Facts["bytes"] != fmt.Sprint(len(c.tail)) || len(s.Event.Facts["sha256"]) != 64 {
			t.Errorf("%s: last event %+v, %v", name, s.Event, err)
		}
		if rep, err := l.Verify(t.Context()); err != nil || !rep.Intact {
			t.Errorf("%s: Verify after = %+v, %v", name, rep, err)
		}
	}
}

// The twin: an end that no interrupted write leaves was changed.
func TestOtherEndsAreChanges(t *testing.T) {
	_, data := smallLog(t, 3)
	whole := string(data[:len(data)-1])
	for name, log := range map[string]string{"the last byte is another": whole + "X", "a brace more": whole + "}", "words at the end": string(data) + "X", "zeros and words": string(data) + "\x00\x00X",
		"another object": string(data) + `{"s":1`} {
		if rep, err := Verify(strings.NewReader(log)); err != nil || rep.Intact || rep.Torn {
			t.Errorf("%s: %+v, %v; want it neither intact nor torn", name, rep, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	_, data := smallLog(t, 3)
	lines := bytes.SplitAfter(data, []byte("\n"))
	flipped := bytes.Clone(data)
	flipped[len(flipped)-200] ^= 1
	for name, text := range map[string][]byte{
		"changed last record":           flipped,
		"missing record":                bytes.Join([][]byte{lines[0], lines[2]}, nil),
		"missing first":                 bytes.Join([][]byte{lines[1], lines[2]}, nil),
		"somebody's file":               []byte("dear diary"),
		"somebody's lines":              []byte("dear\ndiary\n"),
		"foreign torn text":             append(bytes.Clone(data), "hello"...),
		"next record's number is wrong": append(bytes.Clone(data), `{"seq":9,"prev":"`...),
		"one endless line":              bytes.Repeat([]byte("x"), 2*tailWindow),
		"endless after a line":          append(append(bytes.Clone(data), `{"seq":4`...), bytes.Repeat([]byte("x"), 2*tailWindow)...),
	} {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(path); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: Open = %v, want ErrBroken", name, err)
			if l != nil {
				_ = l.Close()
			}
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, text) {
			t.Errorf("%s: the file was changed", name)
		}
	}

	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	l := open(t, path)
	if _, err := Open(path); err == nil {
		t.Error("a second writer was let in")
	}
	// A program that is being started has copies of all files, with their locks, until its exec.
	dup, err := unix.FcntlInt(l.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	_ = l.Close()
	open(t, path).Close() // the good twin
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a group-writable log was opened")
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "link")); err == nil {
		t.Error("a symbolic link was followed")
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory was opened")
	}
}

func TestWriteErrorMakesTheLogUnusable(t *testing.T) {
	path, _ := smallLog(t, 1)
	l := open(t, path)
	real := l.f
	ro, err := os.Open(path) // every write to it fails
	if err != nil {
		t.Fatal(err)
	}
	l.f = ro
	if _, err := l.Append(event(1)); !errors.Is(err, ErrUnusable) {
		t.Errorf("Append = %v, want ErrUnusable", err)
	}
	l.f = real // the disk is well again, but who knows what is missing
	if _, err := l.Append(event(2)); !errors.Is(err, ErrUnusable) {
		t.Errorf("next Append = %v, want ErrUnusable", err)
	}
	if err := l.Sync(); !errors.Is(err, ErrUnusable) {
		t.Errorf("Sync = %v, want ErrUnusable", err)
	}
	_, _ = ro.Close(), l.Close()
	again := open(t, path)
	if seq := mustAppend(t, again, event(1)); seq != 2 {
		t.Errorf("after reopening: %d, want 2", seq)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Append(event(3)); !errors.Is(err, ErrUnusable) {
		t.Errorf("Append after Close = %v, want ErrUnusable", err)
	}
}

func TestAppendRefusesWithoutHarm(t *testing.T) {
	path, _ := smallLog(t, 1)
	l := open(t, path)
	if _, err := l.Append(Event{}); err == nil || errors.Is(err, ErrUnusable) {
		t.Errorf("an event without a kind: %v", err)
	}
	if seq := mustAppend(t, l, event(1)); seq != 2 {
		t.Errorf("next event is %d, want 2", seq)
	}
}

func TestConcurrentAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l := open(t, path)
	changed, stop := l.Watch()
	defer stop()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				mustAppend(t, l, event(w*100+i))
				if i%10 == 0 {
					if err := l.Sync(); err != nil {
						t.Error(err)
					}
					if _, err := l.Query(Query{Text: "read_file"}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	<-changed
	if rep, err := l.Verify(t.Context()); err != nil || !rep.Intact || rep.Events != 400 {
		t.Errorf("Verify = %+v, %v", rep, err)
	}
	entries, err := l.Since(390, 100)
	if err != nil || len(entries) != 10 || entries[0].Seq != 391 {
		t.Errorf("Since(390) = %d entries, %v", len(entries), err)
	}
	page, err := l.Query(Query{})
	if err != nil || page.Matched != 400 || page.Total != 400 || len(page.Entries) != 200 {
		t.Errorf("Query = %d matched of %d, %d returned, %v", page.Matched, page.Total, len(page.Entries), err)
	}
}

// A writer killed at any moment leaves a log that opens and verifies.
func TestKilledWriter(t *testing.T) {
	if path := os.Getenv("WRITE_LOG"); path != "" {
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("writing")
		for i := 0; ; i++ {
			if _, err := l.Append(event(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "a")
	var last uint64
	for round := range 20 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "WRITE_LOG="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		if line != "writing\n" {
			t.Fatalf("round %d: writer said %q", round, line)
		}
		time.Sleep(time.Duration(rand.IntN(10_000)) * time.Microsecond) // a real process, real time
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()

		l, err := Open(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		rep, err := l.Verify(t.Context())
		if err != nil || !rep.Intact || rep.Events < last {
			t.Fatalf("round %d: %+v, %v; before it had %d events", round, rep, err, last)
		}
		last = rep.Events
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d events survived 20 kills", last)
}

func FuzzVerify(f *testing.F) {
	_, data := smallLog(f, 2)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(`{"seq":1,"prev":"` + firstPrev + `","event":{},"hash":"` + firstPrev + `"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rep, err := Verify(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if rep.Intact != (rep.Problem == "") || rep.Intact != (rep.BadSeq == 0) {
			t.Fatalf("report contradicts itself: %+v", rep)
		}
		if !rep.Intact {
			return
		}
		hash, n := firstPrev, uint64(0)
		for line := range bytes.Lines(data) { // an intact log is exactly what we would write
			p, err := parse(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				t.Fatal(err)
			}
			n++
			again, h := link(nil, n, hash, p.event)
			if !bytes.Equal(again, line) {
				t.Fatalf("line %d differs from what we write:\n%s%s", n, line, again)
			}
			hash = h
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "a"))
	e := event(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(l.size.Load())/float64(l.last.Load()), "bytes/record")
}

func BenchmarkAppendSync(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "a"))
	for b.Loop() {
		if _, err := l.Append(event(1)); err != nil {
			b.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "a"))
	for i := range 20000 {
		mustAppend(b, l, event(i))
	}
	b.SetBytes(l.size.Load())
	for b.Loop() {
		if rep, err := l.Verify(b.Context()); err != nil || !rep.Intact {
			b.Fatal(rep, err)
		}
	}
}

func BenchmarkLoadIndex(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "a"))
	for i := range 20000 {
		mustAppend(b, l, event(i))
	}
	for b.Loop() {
		l.index = index{}
		if _, err := l.Query(Query{Text: "none"}); err != nil {
			b.Fatal(err)
		}
	}
}
