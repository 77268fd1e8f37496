package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/elicit"
	"cordon/host/tool"

	"github.com/go-json-experiment/json/jsontext"
)

// ledger is a Tasks that keeps what it gets.
type ledger struct {
	mu   sync.Mutex
	open []Task // guarded by mu
}

func (l *ledger) Began(t Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, t)
}

func (l *ledger) Ended(server, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(t Task) bool { return t.Server == server && t.ID == id })
}

func (l *ledger) Known(server, tool, id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.open, func(t Task) bool { return t.Server == server && t.Tool == tool && t.ID == id })
}

func (l *ledger) ids() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.open {
		all = append(all, t.ID)
	}
	return all
}

// TestTasks: a call that becomes a task waits for it, asks what it asks, is remembered while it goes on, and can be fetched later.
func TestTasks(t *testing.T) {
	t.Parallel()
	for plan, want := range map[string]struct {
		text, err string
		asked     int
	}{
		"":            {text: "dug "},
		"failed":      {err: "the disk is full"},
		"asks":        {text: `dug {"q":{"action":"accept","content":{"name":"Ada"}}}`, asked: 1},
		"asks-always": {text: `dug {"q1":{"action":"accept","content":{"name":"Ada"}}}`, asked: 1},
		"odd":         {err: `its task is "levitating"`},
		"other":       {err: "about another one"},
		"cancelled":   {err: "was cancelled"},
	} {
		t.Run("plan "+plan, func(t *testing.T) {
			t.Parallel()
			var told []tool.Progress
			var mu sync.Mutex
			asked := 0
			l := &ledger{}
			r := newRig(t, "modern-tasks", func(o *Options) {
				o.Tasks = l
				o.Progress = func(p tool.Progress) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, p)
				}
				o.Elicit = func(context.Context, elicit.Question) elicit.Answer {
					asked++
					if open := l.ids(); len(open) != 1 || open[0] != "t-1" {
						t.Errorf("remembered while it goes on: %v", open)
					}
					return elicit.Answer{Action: elicit.Accept, Values: map[string]jsontext.Value{"name": jsontext.Value(`"Ada"`)}}
				}
			})
			r.start()
			got, err := r.call("get_task", `{"text":"`+plan+`"}`)
			switch {
			case want.err == "" && (err != nil || got != want.text):
				t.Errorf("got %q, %v, want %q", got, err, want.text)
			case want.err != "":
				has(t, err, want.err)
			}
			if asked != want.asked {
				t.Errorf("asked %d times, want %d", asked, want.asked)
			}
			if plan == "" {
				mu.Lock()
				if len(told) == 0 || told[0].Text != "digging" {
					t.Errorf("told %+v", told)
				}
				mu.Unlock()
			}
			if open := l.ids(); len(open) > 0 && plan != "odd" && plan != "other" {
				t.Errorf("still remembered: %v", open)
			}
			r.works()
		})
	}
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		l := &ledger{}
		r := newRig(t, "modern-tasks", func(o *Options) { o.Tasks = l })
		r.start()
		ctx, stop := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, context.DeadlineExceeded)
		defer stop()
		_, err := r.Call(ctx, frozen("one", "get_task", `{"text":"endless"}`))
		if err == nil || !strings.Contains(err.Error(), "still working on it (task t-1)") {
			t.Errorf("a task that goes on: %v", err)
		}
		if open := l.ids(); !slices.Equal(open, []string{"t-1"}) {
			t.Fatalf("remembered: %v", open)
		}
		if _, err := r.call("get_task", `{"text":"done"}`); err != nil { // it has ended meanwhile, and so has another
			t.Fatal(err)
		}
		l.Began(Task{Server: "one", Tool: "get_task", ID: "t-1"})
		id := tool.ID{Server: "one", Name: "get_task"}
		found, release, err := r.Supervisor.Tool(t.Context(), tool.FetchTask, id, "0123456789abcdef")
		defer release()
		if err != nil || found.Effect != tool.Read {
			t.Fatalf("fetching is %v, %v", found.Effect, err)
		}
		c := frozen("one", "get_task", `{"taskId":"t-1"}`)
		c.Kind = tool.FetchTask
		res, err := r.Call(t.Context(), c)
		if err != nil || !strings.HasPrefix(res.Content[0].Text, "dug") || len(l.ids()) != 0 {
			t.Errorf("fetched %+v, %v; remembered %v", res, err, l.ids())
		}
		c.Args = []byte(`{"taskId":"t-9"}`)
		_, err = r.Call(t.Context(), c)
		has(t, err, "no such task")
		l.Began(Task{Server: "one", Tool: "read_thing", ID: "t-1"})
		c.Args = []byte(`{"taskId":"t-1"}`)
		_, err = r.Call(t.Context(), c) // it is another tool's
		has(t, err, "no such task")
	})
	t.Run("cancelled by a person", func(t *testing.T) {
		t.Parallel()
		l := &ledger{}
		r := newRig(t, "modern-tasks", func(o *Options) { o.Tasks = l })
		r.start()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(200*time.Millisecond, cancel)
		if _, err := r.Call(ctx, frozen("one", "get_task", `{"text":"endless"}`)); !errors.Is(err, context.Canceled) {
			t.Errorf("the call: %v", err)
		}
		r.waitFor("the task's end", func(View) bool { return strings.Contains(r.log(), "task cancelled") })
		if len(l.ids()) != 0 {
			t.Errorf("remembered %v", l.ids())
		}
	})
}

// TestLegacyTasks: a tool of a server of 2025-11-25 that runs as a task only is called as one, asked how far it is, and its result is fetched.
func TestLegacyTasks(t *testing.T) {
	t.Parallel()
	for plan, want := range map[string]struct{ text, err string }{
		"":          {text: "dug"},
		"failed":    {err: "the disk is full"},
		"asks":      {text: `{"action":"accept","content":{"name":"Ada"}}`},
		"odd":       {err: `its task is "levitating"`},
		"cancelled": {err: "was cancelled"},
	} {
		t.Run("plan "+plan, func(t *testing.T) {
			t.Parallel()
			l := &ledger{}
			r := newRig(t, "legacy-tasks", func(o *Options) {
				o.Tasks = l
				o.Elicit = func(context.Context, elicit.Question) elicit.Answer {
					return elicit.Answer{Action: elicit.Accept, Values: map[string]jsontext.Value{"name": jsontext.Value(`"Ada"`)}}
				}
			})
			r.start()
			v := r.view()
			i := slices.IndexFunc(v.Tools, func(t tool.Tool) bool { return t.ID.Name == "get_task" })
			if i < 0 {
				t.Fatalf("it offers %d tools", len(v.Tools))
			}
			c := frozen("one", "get_task", `{"text":"`+plan+`"}`)
			c.Tool = v.Tools[i]
			res, err := r.Call(t.Context(), c)
			switch {
			case want.err != "":
				has(t, err, want.err)
			case err != nil || len(res.Content) != 1 || res.Content[0].Text != want.text:
				t.Errorf("got %+v, %v, want %q", res.Content, err, want.text)
			}
			if open := l.ids(); len(open) > 0 && plan != "odd" {
				t.Errorf("still remembered: %v", open)
			}
		})
	}
	t.Run("cancelled by a person", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, "legacy-tasks")
		r.start()
		c := frozen("one", "get_task", `{"text":"endless"}`)
		c.Tool.Definition = []byte(`{"execution":{"taskSupport":"required"}}`)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		if _, err := r.Call(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		r.waitFor("the task's end", func(View) bool { return strings.Contains(r.log(), "task cancelled") })
	})
}
