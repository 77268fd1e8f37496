package remote

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func read(t testing.TB, text string, r func(io.Reader) io.Reader) (got string, s *events) {
	t.Helper()
	var all strings.Builder
	s = newEvents(r(strings.NewReader(text)))
	for {
		e, err := s.next()
		if err != nil {
			return all.String(), s
		}
		all.WriteString(e.name + "(" + e.id + ")" + string(e.data) + ";")
	}
}

func TestEvents(t *testing.T) {
	whole := func(r io.Reader) io.Reader { return r }
	for text, want := range map[string]string{
		"data: a\n\n": "()a;",
		"data:a\r\ndata: b\r\n\r\nevent: x\rdata:c\r\r": "()a\nb;x()c;",
		"id: 1\n\ndata: a\n\nid\ndata: b\n\n":           "(1)a;()b;",
		": comment\n:\n\ndata\n\n":                      "();",
		"data: cut off":                                 "",
		"data: cut off\n":                               "",
		"\ufeffdata: a\n\n":                             "()a;",
		"retry: 5\nretry: x\ndata: a\n\n":               "()a;",
		"id: a\x00b\nid: \u00e4\ndata: a\n\n":           "()a;",
		"unknown: x\ndata:  a \n\n":                     "() a ;",
	} {
		for name, way := range map[string]func(io.Reader) io.Reader{"whole": whole, "bytes": iotest.OneByteReader, "half": iotest.HalfReader} {
			if got, _ := read(t, text, way); got != want {
				t.Errorf("%q, %s: %q, want %q", text, name, got, want)
			}
		}
	}
	if _, s := read(t, "retry: 5\n", whole); s.pause() != minRetry {
		t.Errorf("pause %v", s.pause())
	}
	if _, s := read(t, "retry: 99999999\n", whole); s.pause() != maxRetry {
		t.Errorf("pause %v", s.pause())
	}
	if _, s := read(t, "", whole); s.pause() != time.Second {
		t.Errorf("pause %v", s.pause())
	}
	for name, text := range map[string]string{"a long name": "event: " + strings.Repeat("a", 2<<10) + "\n\n", "a long comment": ":" + strings.Repeat("a", 1<<20), "a long event": "data: " + strings.Repeat("a", 17<<20) + "\n\n",
		"many lines": strings.Repeat("data: "+strings.Repeat("a", 1<<20)+"\n", 17) + "\n"} {
		s := newEvents(strings.NewReader(text))
		if _, err := s.next(); err != errEventTooLong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzEvents(f *testing.F) {
	for _, text := range []string{"data: a\n\n", "id: 1\r\ndata: b\r\rretry: 3\n\n", ":\n\n\ufeff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole, _ := read(t, text, func(r io.Reader) io.Reader { return r })
		bytes, _ := read(t, text, iotest.OneByteReader)
		if whole != bytes {
			t.Errorf("%q and, byte by byte, %q", whole, bytes)
		}
		if strings.ContainsRune(strings.ReplaceAll(whole, "\n", ""), '\r') {
			t.Errorf("an end of a line is left in %q", whole)
		}
	})
}
