package consent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Terminal is the Prompter of the command line: it prints the whole question and reads a line. One question at a time.
// Without a terminal (In or Out nil) it denies everything. Lines that were typed before a question could have been
// read do not count: they are dropped and the question is put again. Safe for concurrent use.
type Terminal struct {
	In  io.Reader
	Out io.Writer

	start sync.Once     // makes what follows and starts the reader
	turn  chan struct{} // held by the question on the screen
	lines chan string   // from the reader; closed at the end of In
}

// OpenTerminal returns a Terminal on the process's controlling terminal, whatever standard input and output are
// connected to. Without one it returns a Terminal that denies everything. The caller closes closer when it is not nil.
func OpenTerminal() (t *Terminal, closer io.Closer) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return &Terminal{}, nil
	}
	return &Terminal{In: tty, Out: tty}, tty
}

// Ask implements Prompter.
func (t *Terminal) Ask(ctx context.Context, p Prompt) (Answer, error) {
	if err := p.check(); err != nil {
		return Answer{}, err
	}
	if t.In == nil || t.Out == nil {
		return Answer{}, fmt.Errorf("%w: there is no terminal to ask at", ErrDenied)
	}
	if !t.take(ctx) {
		return Answer{}, cancelled(ctx)
	}
	defer func() { <-t.turn }()
	p = p.open(time.Now(), Arming, Patience)
	if _, err := io.WriteString(t.Out, Describe(p)); err != nil {
		return Answer{}, fmt.Errorf("%w: the question cannot be shown: %w", ErrDenied, err)
	}
	if p.Level == Second {
		_, _ = io.WriteString(t.Out, "This needs a second approver. Denied.\n")
		return Answer{}, fmt.Errorf("%w: %w", ErrDenied, ErrSecond)
	}
	timer := time.NewTimer(time.Until(p.Deadline))
	defer timer.Stop()
	for {
		if _, err := io.WriteString(t.Out, p.ask()); err != nil {
			return Answer{}, fmt.Errorf("%w: the question cannot be shown: %w", ErrDenied, err)
		}
		select {
		case line, ok := <-t.lines:
			if !ok {
				return Answer{}, fmt.Errorf("%w: the terminal was closed", ErrDenied)
			}
			a := p.parse(line)
			switch err := p.judge(a, time.Now()); {
			case err == nil:
				_, _ = io.WriteString(t.Out, "Allowed once.\n")
				return a, nil
			case errors.Is(err, ErrEarly):
				_, _ = io.WriteString(t.Out, "That was typed before the question could be read; it does not count.\n")
			default:
				_, _ = io.WriteString(t.Out, "Denied.\n")
				if errors.Is(err, ErrTimedOut) {
					return Answer{}, ErrTimedOut
				}
				return a, ErrDenied
			}
		case <-timer.C:
			_, _ = io.WriteString(t.Out, "\nNot answered in time: denied.\n")
			return Answer{}, ErrTimedOut
		case <-ctx.Done():
			_, _ = io.WriteString(t.Out, "\nCancelled.\n")
			return Answer{}, cancelled(ctx)
		}
	}
}

// take waits until no other question is on the screen, and reports whether that came before ctx ended. After true the caller takes turn.
func (t *Terminal) take(ctx context.Context) bool {
	// The reader ends with In. It is the one goroutine that can outlive a question, since a read cannot be taken back.
	t.start.Do(func() {
		t.turn, t.lines = make(chan struct{}, 1), make(chan string)
		go read(t.In, t.lines)
	})
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil {
		<-t.turn
		return false
	}
	return true
}

// ErrNoTerminal means that there is no terminal to ask at, or none any more.
var ErrNoTerminal = errors.New("there is no terminal to ask at")

// Talk gives the terminal to f, for questions other than consent; no other is shown until f returns. f prints ask and calls line, which
// returns the next line that is typed, and how long after it was called. A line after less than Arming was typed before ask could be read. Errors:
// ErrNoTerminal, ctx's, or f's.
func (t *Terminal) Talk(ctx context.Context, f func(line func(ask string) (text string, after time.Duration, err error)) error) error {
	if t.In == nil || t.Out == nil {
		return ErrNoTerminal
	}
	if !t.take(ctx) {
		return context.Cause(ctx)
	}
	defer func() { <-t.turn }()
	return f(func(ask string) (string, time.Duration, error) {
		if _, err := io.WriteString(t.Out, ask); err != nil {
			return "", 0, fmt.Errorf("%w: %w", ErrNoTerminal, err)
		}
		began := time.Now()
		select {
		case line, ok := <-t.lines:
			if !ok {
				return "", 0, fmt.Errorf("%w: it was closed", ErrNoTerminal)
			}
			return line, time.Since(began), nil
		case <-ctx.Done():
			_, _ = io.WriteString(t.Out, "\n")
			return "", 0, context.Cause(ctx)
		}
	})
}

// read hands over whole lines of at most 4 KiB; longer ones arrive as something nobody asked for.
func read(in io.Reader, lines chan<- string) {
	defer close(lines)
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 256), 4096)
	for s.Scan() {
		lines <- s.Text()
	}
}

func (p Prompt) ask() string {
	if p.Level == Type {
		return fmt.Sprintf("Type %s to allow this once, anything else to deny: ", Escape(p.Target))
	}
	return "Allow this once? [y/N] "
}

func (p Prompt) parse(line string) Answer {
	a := Answer{ID: p.ID, Digest: p.Call.Digest.String(), By: "terminal"}
	switch p.Level {
	case Click:
		word := strings.ToLower(strings.TrimSpace(line))
		a.Allow = word == "y" || word == "yes"
	case Type:
		a.Allow, a.Typed = same(line, p.Target), line
	}
	return a
}

// Describe writes the whole question for a terminal: who, what, every argument byte, why. Nothing is left out, and
// what could move the cursor, hide or reorder text is written as an escape.
func Describe(p Prompt) string {
	var b strings.Builder
	line := func(name, text string) { fmt.Fprintf(&b, "  %-10s %s\n", name, Escape(text)) }
	b.WriteString("\nCordon asks for consent\n")
	line("Tool", p.Call.Tool.ID.String())
	line("Kind", string(p.Call.Kind))
	line("Effect", p.Call.Tool.Effect.String()+" ("+p.Call.Tool.EffectBy+")")
	if p.Target != "" {
		line("Target", p.Target)
	}
	line("Asked by", p.Call.By.Kind+" "+p.Call.By.Name)
	line("Written by", p.Call.Wrote.String())
	line("Rule", p.Rule)
	line("Reason", p.Reason)
	line("Digest", p.Call.Digest.String())
	b.WriteString("  Arguments, whole:\n")
	for l := range bytes.Lines(indent(p.Call.Args)) {
		b.WriteString("    " + escape(strings.TrimSuffix(string(l), "\n"), true) + "\n")
	}
	return b.String()
}

func indent(args []byte) []byte {
	if len(args) == 0 {
		return []byte("{}")
	}
	v := jsontext.Value(args).Clone()
	if v.Indent(jsontext.WithIndent("  ")) != nil {
		return args
	}
	return v
}

// Escape makes s safe to print on a terminal and unambiguous: every rune that is not plainly visible, bytes that are
// no UTF-8, and the backslash are written as \n, \t, \\, \xNN or \u{NNNN}.
func Escape(s string) string { return escape(s, false) }

// EscapeJSON is Escape for JSON text: what it returns is the same JSON.
func EscapeJSON(s string) string { return escape(s, true) }

// escape does it for plain text or within JSON text, where backslashes already mean what they say and \uNNNN keeps
// the JSON equal to what will be sent.
func escape(s string, isJSON bool) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\\' && isJSON, r != '\\' && visible(r):
			b.WriteString(s[:n])
		case r == '\\':
			b.WriteString(`\\`)
		case isJSON:
			for _, u := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		default:
			fmt.Fprintf(&b, `\u{%04x}`, r)
		}
		s = s[n:]
	}
	return b.String()
}

func visible(r rune) bool {
	return unicode.IsPrint(r) && // letters, marks, numbers, punctuation, symbols and the ASCII space
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) && !unicode.Is(unicode.Variation_Selector, r) &&
		r != '\u2800' // braille blank
}
