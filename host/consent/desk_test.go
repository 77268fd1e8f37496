package consent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cordon/host/tool"
)

type asked struct {
	answer Answer
	err    error
	at     time.Time
}

// ask asks in the background; the channel gives how it ended.
func ask(ctx context.Context, d Prompter, p Prompt) <-chan asked {
	c := make(chan asked, 1)
	go func() {
		a, err := d.Ask(ctx, p)
		c <- asked{a, err, time.Now()}
	}()
	synctest.Wait()
	return c
}

func pending(c <-chan asked) bool {
	synctest.Wait()
	return len(c) == 0
}

func TestDeskAllows(t *testing.T) {
	for _, level := range []Level{Click, Type} {
		synctest.Test(t, func(t *testing.T) {
			d, p := NewDesk(), prompt(level)
			c := ask(t.Context(), d, p)
			open, ok := d.Current()
			if !ok || open.ID != p.ID || open.Deadline.Sub(open.Opened) != Patience || open.Armed.Sub(open.Opened) != Arming {
				t.Fatalf("Current = %+v, %v", open, ok)
			}
			time.Sleep(Arming)
			if err := d.Answer(yes(p)); err != nil {
				t.Fatal(err)
			}
			if r := <-c; r.err != nil || r.answer != yes(p) {
				t.Errorf("Ask = %+v", r)
			}
			if err := d.Answer(yes(p)); !errors.Is(err, ErrStale) {
				t.Errorf("the same answer again = %v, want ErrStale", err)
			}
			if _, ok := d.Current(); ok {
				t.Error("the question is still open")
			}
		})
	}
}

func TestDeskRefusesAnswersAndStaysOpen(t *testing.T) {
	for name, c := range map[string]struct {
		level  Level
		wait   time.Duration
		change func(*Answer)
		want   error
	}{
		"too early":               {Click, Arming - time.Nanosecond, func(*Answer) {}, ErrEarly},
		"wrong nonce":             {Click, time.Second, func(a *Answer) { a.ID = prompt(Click).ID }, ErrStale},
		"no nonce":                {Click, time.Second, func(a *Answer) { a.ID = "" }, ErrStale},
		"denial, wrong nonce":     {Click, time.Second, func(a *Answer) { a.ID, a.Allow = prompt(Click).ID, false }, ErrStale},
		"wrong digest":            {Click, time.Second, func(a *Answer) { a.Digest = call(`{}`).Digest.String() }, ErrMismatch},
		"denial, wrong digest":    {Click, time.Second, func(a *Answer) { a.Digest, a.Allow = "", false }, ErrMismatch},
		"nothing typed":           {Type, time.Second, func(a *Answer) { a.Typed = "" }, ErrTyped},
		"typed with a space":      {Type, time.Second, func(a *Answer) { a.Typed += " " }, ErrTyped},
		"typed in another case":   {Type, time.Second, func(a *Answer) { a.Typed = "WS-17" }, ErrTyped},
		"typed early and wrongly": {Type, 0, func(a *Answer) { a.Typed = "" }, ErrEarly},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, p := NewDesk(), prompt(c.level)
			r := ask(t.Context(), d, p)
			time.Sleep(c.wait)
			a := yes(p)
			c.change(&a)
			if err := d.Answer(a); !errors.Is(err, c.want) {
				t.Errorf("%s: Answer = %v, want %v", name, err, c.want)
			}
			if !pending(r) {
				t.Fatalf("%s: the question ended", name)
			}
			time.Sleep(time.Second)
			if err := d.Answer(yes(p)); err != nil {
				t.Errorf("%s: the right answer afterwards = %v", name, err)
			}
			if got := <-r; got.err != nil {
				t.Errorf("%s: Ask = %v", name, got.err)
			}
		})
	}
}

func TestDeskDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, p := NewDesk(), prompt(Click)
		c := ask(t.Context(), d, p)
		a := yes(p)
		a.Allow = false
		if err := d.Answer(a); err != nil { // at once: a denial needs no arming
			t.Fatal(err)
		}
		if r := <-c; !errors.Is(r.err, ErrDenied) {
			t.Errorf("Ask = %v, want ErrDenied", r.err)
		}
	})
	t.Run("level 3 by one answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, p := NewDesk(), prompt(Second)
			c := ask(t.Context(), d, p)
			time.Sleep(time.Second)
			if err := d.Answer(yes(p)); !errors.Is(err, ErrSecond) {
				t.Errorf("Answer = %v, want ErrSecond", err)
			}
			if r := <-c; !errors.Is(r.err, ErrDenied) || !errors.Is(r.err, ErrSecond) {
				t.Errorf("Ask = %v, want ErrDenied for want of a second approver", r.err)
			}
		})
	})
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, p := NewDesk(), prompt(Click)
			began := time.Now()
			r := <-ask(t.Context(), d, p)
			if !errors.Is(r.err, ErrTimedOut) || r.at.Sub(began) != Patience {
				t.Errorf("Ask = %v after %v, want ErrTimedOut after %v", r.err, r.at.Sub(began), Patience)
			}
			if err := d.Answer(yes(p)); !errors.Is(err, ErrStale) {
				t.Errorf("late answer = %v, want ErrStale", err)
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := NewDesk()
			ctx, cancel := context.WithCancel(t.Context())
			first, second := prompt(Click), prompt(Click)
			a, b := ask(ctx, d, first), ask(ctx, d, second)
			cancel()
			for _, c := range []<-chan asked{a, b} {
				if r := <-c; !errors.Is(r.err, ErrCancelled) || !errors.Is(r.err, context.Canceled) {
					t.Errorf("Ask = %v, want ErrCancelled", r.err)
				}
			}
			if _, ok := d.Current(); ok || d.Waiting() != 0 {
				t.Error("questions are left on the desk")
			}
			if _, err := d.Ask(ctx, prompt(Click)); !errors.Is(err, ErrCancelled) {
				t.Errorf("Ask with a dead context = %v", err)
			}
		})
	})
}

func TestDeskRefusesUnaskable(t *testing.T) {
	changed := prompt(Click)
	changed.Call.Args = []byte(`{"host":"other"}`)
	noTarget := prompt(Type)
	noTarget.Target = ""
	noNonce := prompt(Click)
	noNonce.ID = ""
	for name, p := range map[string]Prompt{
		"no level": prompt(0), "level 4": prompt(4), "level -1": prompt(-1), "zero": {},
		"call changed after freezing": changed, "nothing to type": noTarget, "no nonce": noNonce,
	} {
		for kind, d := range map[string]Prompter{"desk": NewDesk(), "terminal": &Terminal{}} {
			if _, err := d.Ask(t.Context(), p); !errors.Is(err, ErrDenied) {
				t.Errorf("%s, %s: Ask = %v, want ErrDenied", kind, name, err)
			}
		}
	}
}

func TestDeskQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk()
		var prompts []Prompt
		var ends []<-chan asked
		for i := range MaxWaiting + 1 {
			p := New(call(fmt.Sprintf(`{"n":%d}`, i)), Click, "", "r", "", "v1")
			prompts, ends = append(prompts, p), append(ends, ask(t.Context(), d, p))
		}
		if d.Waiting() != MaxWaiting {
			t.Fatalf("Waiting = %d, want %d", d.Waiting(), MaxWaiting)
		}
		if _, err := d.Ask(t.Context(), prompt(Click)); !errors.Is(err, ErrDenied) {
			t.Errorf("one too many = %v, want ErrDenied", err)
		}
		if _, err := d.Ask(t.Context(), prompts[3]); !errors.Is(err, ErrDenied) {
			t.Errorf("the same nonce twice = %v, want ErrDenied", err)
		}
		time.Sleep(time.Minute)
		if err := d.Answer(yes(prompts[1])); !errors.Is(err, ErrStale) {
			t.Errorf("answer to a waiting question = %v, want ErrStale", err)
		}
		for i := range 3 { // first come, first asked
			if p, _ := d.Current(); p.ID != prompts[i].ID {
				t.Fatalf("question %d is not the %d. asked", i, i+1)
			}
			time.Sleep(Arming)
			if err := d.Answer(yes(prompts[i])); err != nil {
				t.Fatal(err)
			}
			if r := <-ends[i]; r.err != nil {
				t.Errorf("question %d: %v", i, r.err)
			}
			synctest.Wait()
		}
		if p, _ := d.Current(); !p.Opened.Equal(time.Now()) {
			t.Error("a question's time must begin when it is shown")
		}
		if err := d.Answer(yes(prompts[3])); !errors.Is(err, ErrEarly) {
			t.Errorf("click meant for the last question = %v, want ErrEarly", err)
		}
		d.DenyAll("stop everything")
		for _, c := range ends[3:] {
			if r := <-c; !errors.Is(r.err, ErrDenied) {
				t.Errorf("after DenyAll: %v", r.err)
			}
		}
		again := prompt(Click)
		c := ask(t.Context(), d, again)
		time.Sleep(time.Second)
		if err := d.Answer(yes(again)); err != nil {
			t.Errorf("asked after DenyAll: %v", err)
		}
		<-c
		d.Close("Cordon ends")
		if _, err := d.Ask(t.Context(), prompt(Click)); !errors.Is(err, ErrDenied) {
			t.Errorf("asked after Close = %v, want ErrDenied", err)
		}
	})
}

func TestDeskTellsOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, p := NewDesk(), prompt(Click)
		c := ask(t.Context(), d, p)
		<-d.Changed()
		d.DenyAll("x")
		<-d.Changed()
		<-c
	})
}

// A storm of answers, good and bad, never lets a question be allowed by another's answer.
func TestDeskUnderStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk()
		ctx, stop := context.WithCancel(t.Context())
		var storm sync.WaitGroup
		for range 4 {
			storm.Go(func() {
				for ctx.Err() == nil {
					if p, ok := d.Current(); ok {
						a := yes(p)
						_ = d.Answer(Answer{ID: a.ID, Digest: tool.Sum(nil).String(), Allow: true})
						_ = d.Answer(a)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for i := range 30 {
			p := New(call(fmt.Sprintf(`{"n":%d}`, i)), Click, "", "r", "", "v1")
			a, err := d.Ask(ctx, p)
			if err != nil || a.ID != p.ID || a.Digest != p.Call.Digest.String() {
				t.Errorf("question %d ended with %+v, %v", i, a, err)
			}
		}
		stop()
		storm.Wait()
	})
}
