package consent

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
)

// screen is what a terminal shows.
type screen struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTerminal(t *testing.T) {
	for name, c := range map[string]struct {
		level Level
		wait  time.Duration
		lines string
		want  error
	}{
		"y":                        {Click, time.Second, "y\n", nil},
		"yes":                      {Click, time.Second, "YES\n", nil},
		"n":                        {Click, time.Second, "n\n", ErrDenied},
		"empty line":               {Click, time.Second, "\n", ErrDenied},
		"yes please":               {Click, time.Second, "yes please\n", ErrDenied},
		"the target's name":        {Type, time.Second, "ws-17\n", nil},
		"y where a name is needed": {Type, time.Second, "y\n", ErrDenied},
		"name with a space":        {Type, time.Second, "ws-17 \n", ErrDenied},
		"level 3":                  {Second, time.Second, "y\n", ErrDenied},
		"silence":                  {Click, Patience, "", ErrTimedOut},
	} {
		synctest.Test(t, func(t *testing.T) {
			in, keys := io.Pipe()
			out := new(screen)
			r := ask(t.Context(), &Terminal{In: in, Out: out}, prompt(c.level))
			time.Sleep(c.wait)
			go func() { _, _ = io.WriteString(keys, c.lines) }()
			if got := <-r; !errors.Is(got.err, c.want) || c.want == nil && got.err != nil {
				t.Errorf("%s: Ask = %v, want %v\n%s", name, got.err, c.want, out)
			}
			_ = in.Close()
			_ = keys.Close()
		})
	}
}

func TestTerminalIgnoresTypeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		out := new(screen)
		go func() { _, _ = io.WriteString(keys, "y\n") }()
		r := ask(t.Context(), &Terminal{In: in, Out: out}, prompt(Click))
		if !pending(r) {
			t.Fatalf("a line typed before the question was taken: %+v", <-r)
		}
		time.Sleep(Arming)
		_, _ = io.WriteString(keys, "y\n")
		if got := <-r; got.err != nil {
			t.Errorf("the same line typed after it = %v", got.err)
		}
		_ = keys.Close()
	})
}

func TestTerminalFailsClosed(t *testing.T) {
	for name, term := range map[string]*Terminal{
		"no terminal": {}, "nothing to read": {Out: io.Discard}, "nothing to write to": {In: strings.NewReader("y\n")},
		"end of input": {In: strings.NewReader(""), Out: io.Discard}, "broken screen": {In: strings.NewReader("y\n"), Out: broken{}},
	} {
		if _, err := term.Ask(t.Context(), prompt(Click)); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: Ask = %v, want ErrDenied", name, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		term := &Terminal{In: in, Out: io.Discard}
		first, second := ask(ctx, term, prompt(Click)), ask(ctx, term, prompt(Click))
		cancel()
		for _, r := range []<-chan asked{first, second} {
			if got := <-r; !errors.Is(got.err, ErrCancelled) {
				t.Errorf("cancelled: %v, want ErrCancelled", got.err)
			}
		}
		_ = keys.Close()
	})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestDescribeShowsEverything(t *testing.T) {
	p := New(call(`{"cmd":"a\u001b[2Jb","path":"C:\\x","rtl":"x`+"\u202e"+`y","tag":"`+"\U000e0041"+`"}`), Type, "ws\u200b-17", "r.1", "be\ncause", "v1")
	got := Describe(p)
	for _, want := range []string{`"a\u001b[2Jb"`, `"C:\\x"`, `x\u202ey`, `\udb40\udc41`, `ws\u{200b}-17`, `be\ncause`, "edr.isolate", "high (Cordon)", p.Call.Digest.String()} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"plain", "a\x1b[31m", "\u202e", "\xff", `\n`, "\U000e0041", "e\u0301"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, e := range []string{Escape(s), escape(s, true)} {
			for _, r := range e {
				if r == unicode.ReplacementChar && !strings.ContainsRune(s, r) || unicode.Is(unicode.C, r) || unicode.Is(unicode.Bidi_Control, r) {
					t.Fatalf("%q lets %U through: %q", s, r, e)
				}
			}
		}
	})
}

// Talk shares the terminal with the question of consent: one at a time, and one reader for both.
func TestTerminalTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		out := new(screen)
		term := &Terminal{In: in, Out: out}
		r := ask(t.Context(), term, prompt(Click))
		time.Sleep(time.Second)
		talked := make(chan string, 1)
		go func() {
			_ = term.Talk(t.Context(), func(line func(string) (string, time.Duration, error)) error {
				early, after, _ := line("first ")
				late, after2, err := line("second ")
				talked <- early + after.String() + late + after2.String()
				return err
			})
		}()
		synctest.Wait()
		if strings.Contains(out.String(), "first") {
			t.Error("two questions are on the screen")
		}
		_, _ = io.WriteString(keys, "y\n")
		if got := <-r; got.err != nil {
			t.Errorf("consent: %v", got.err)
		}
		_, _ = io.WriteString(keys, "a\n")
		synctest.Wait()
		time.Sleep(2 * time.Second)
		_, _ = io.WriteString(keys, "b\n")
		if got := <-talked; got != "a0sb2s" {
			t.Errorf("talked %q", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- term.Talk(ctx, func(line func(string) (string, time.Duration, error)) error {
				_, _, err := line("third ")
				return err
			})
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		_ = keys.Close()
		if err := term.Talk(t.Context(), func(line func(string) (string, time.Duration, error)) error {
			_, _, err := line("fourth ")
			return err
		}); !errors.Is(err, ErrNoTerminal) {
			t.Errorf("a closed terminal: %v", err)
		}
	})
	if err := new(Terminal).Talk(t.Context(), nil); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("no terminal: %v", err)
	}
}
