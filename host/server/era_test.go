package server

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/remote"
	"cordon/host/tool"
	"cordon/host/wire"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// Whatever versions a server speaks, and however it takes the question, it works, and is asked only once.
func TestEras(t *testing.T) {
	t.Parallel()
	for mode, c := range map[string]struct {
		want     Era
		starts   int // of processes, until it runs for the first time
		remember Era
	}{
		"ok":                    {Legacy, 1, Legacy},
		"modern":                {Modern, 1, Modern},
		"both":                  {Modern, 1, Modern},
		"older":                 {Legacy, 1, Legacy},
		"offended":              {Legacy, 2, Legacy},
		"no-answer-to-discover": {Legacy, 1, Unknown},
		"modern-slow":           {Modern, 2, Modern},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			eras := new(erasInMemory)
			r := newRig(t, mode, func(o *Options) { o.Eras = eras })
			r.Supervisor.patience = 15 * time.Second
			r.start()
			if v := r.view(); v.Protocol != c.want || v.Title != "A fake" || v.Version != "1.2.3" || v.Instructions != "Be careful." || v.Restarts != 0 {
				t.Errorf("it speaks %q: %+v", v.Protocol, v)
			}
			if n := len(r.journal.of(audit.ServerStart)); n != c.starts {
				t.Errorf("started %d times, want %d", n, c.starts)
			}
			r.works()
			if n := len(r.journal.of(audit.FindingMade)); n != 0 {
				t.Errorf("findings: %+v", r.journal.of(audit.FindingMade))
			}
			var e Era
			for _, e = range eras.by {
			}
			if e != c.remember {
				t.Errorf("remembered %q, want %q", e, c.remember)
			}
			if err := r.Restart(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			r.works()
			if n := len(r.journal.of(audit.ServerStart)); n != c.starts+1 {
				t.Errorf("started %d times after a restart, want %d", n, c.starts+1)
			}
			// A changed list is read again in both eras, however long the server said that it holds.
			if _, err := r.call("get_changed", "{}"); err != nil {
				t.Fatal(err)
			}
			r.waitFor("the changed list", func(v View) bool {
				return slices.ContainsFunc(v.Tools, func(x tool.Tool) bool {
					return strings.Contains(x.Description, "evil.example")
				})
			})
		})
	}
}

// What is remembered may be wrong: it is forgotten, and the server asked.
func TestWrongEra(t *testing.T) {
	t.Parallel()
	for mode, wrong := range map[string]Era{"ok": Modern, "modern": Legacy} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			eras := always{new(erasInMemory), wrong}
			r := newRig(t, mode, func(o *Options) { o.Eras = &eras })
			r.start()
			r.works()
			if v := r.view(); v.Protocol == wrong {
				t.Errorf("it speaks %q", v.Protocol)
			}
		})
	}
}

// A server that claims the modern version and refuses its first request is asked for a handshake, once in a start, and not again for the next one.
func TestClaimedEra(t *testing.T) {
	site := openSite(t)
	for name, c := range map[string]struct {
		state    State
		starts   [2]int // at the first start and at the second
		remember Era
	}{
		"discover-lies": {Running, [2]int{2, 1}, Legacy},
		"modern-lies":   {Crashed, [2]int{2, 2}, Unknown},
	} {
		for transport, def := range map[string]config.Server{
			"stdio": {Name: name, Command: []string{filepath.Join(binaries, "hostile"), "stdio", name, "mark"}, Net: config.NetNone, Memory: 1 << 30, Pids: 64},
			"http":  {Name: name, URL: site + "/" + name + "/mcp", Net: config.NetNone, Open: true},
		} {
			t.Run(name+", "+transport, func(t *testing.T) {
				eras := new(erasInMemory)
				r := newRig(t, "ok", func(o *Options) { o.Eras = eras })
				r.Set(def)
				before := 0
				for i, want := range c.starts {
					err := r.Start(t.Context(), name)
					if (err == nil) != (c.state == Running) || err != nil && !strings.Contains(err.Error(), "initialize first") {
						t.Errorf("start %d: %v", i+1, err)
					}
					n := 0
					for _, e := range r.journal.of(audit.ServerStart) {
						if e.Server == name {
							n++
						}
					}
					if n-before != want {
						t.Errorf("start %d took %d processes or connections, want %d", i+1, n-before, want)
					}
					before = n
					v, _ := r.View(name)
					if v.State != c.state {
						t.Errorf("it is %s", v.State)
					}
					if odd := slices.ContainsFunc(v.Oddities, func(o Oddity) bool { return o.Code == wire.WrongEra }); odd != (want == 2) {
						t.Errorf("start %d: oddities %+v", i+1, v.Oddities)
					}
					if err := r.Stop(t.Context(), name); err != nil {
						t.Error(err)
					}
				}
				if !slices.ContainsFunc(r.journal.of(audit.FindingMade), func(e audit.Event) bool { return e.Rule == string(wire.WrongEra) && e.Server == name }) {
					t.Error("it is not recorded")
				}
				var e Era
				for _, e = range eras.by {
				}
				if e != c.remember {
					t.Errorf("remembered %q, want %q", e, c.remember)
				}
			})
		}
	}
}

// A connection that is lost is no lie.
func TestRefusesEra(t *testing.T) {
	for name, c := range map[string]struct {
		era  Era
		err  error
		want bool
	}{
		"an answer":         {Modern, &ServerError{Code: -32600}, true},
		"one of the list":   {Modern, fmt.Errorf("x: %w", &jsonrpc.Error{Code: -32000}), true},
		"in the other era":  {Legacy, &ServerError{Code: -32600}, false},
		"nobody answers":    {Modern, &jsonrpc.Error{Code: remote.CodeLost}, false},
		"its time was over": {Modern, context.DeadlineExceeded, false},
	} {
		if got := refusesEra(c.era, c.err); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// always is an Eras that begins with something wrong.
type always struct {
	*erasInMemory
	wrong Era
}

func (a *always) Era(p tool.Digest) Era {
	if e := a.wrong; e != Unknown {
		return e
	}
	return a.erasInMemory.Era(p)
}

func (a *always) Remember(p tool.Digest, e Era) {
	a.wrong = Unknown
	a.erasInMemory.Remember(p, e)
}

// A modern server has no ping; it is asked for its versions instead, and one that says nothing is ended.
func TestModernHealth(t *testing.T) {
	t.Parallel()
	quick := func(o *Options) { o.PingAfter, o.PingPatience = 50*time.Millisecond, 300*time.Millisecond }
	r := newRig(t, "modern", quick)
	r.start()
	time.Sleep(500 * time.Millisecond)
	r.works()
	if v := r.view(); v.State != Running || v.Restarts != 0 {
		t.Errorf("it is %s, started again %d times", v.State, v.Restarts)
	}
	mute := newRig(t, "modern-mute", quick)
	mute.start()
	mute.waitFor("its end", func(v View) bool { return v.State == Mute || v.Restarts > 0 })
}

func TestEraOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Era{
		`{"supportedVersions":["2026-07-28"]}`: Modern, `{"supportedVersions":["2025-11-25","2026-07-28"]}`: Modern, `{"supportedVersions":["2025-11-25"]}`: Legacy,
		`{"supportedVersions":"2026-07-28"}`: Legacy, `{"supportedVersions":["2099-01-01"]}`: Legacy, `{}`: Legacy, `{"SupportedVersions":["2026-07-28"]}`: Legacy,
	} {
		if got := eraOf(wire.Answer{Result: []byte(text)}); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	if got := eraOf(wire.Answer{Error: []byte(`{"code":-32601}`)}); got != Legacy {
		t.Errorf("an error: %q", got)
	}
	a, b := pin.Fingerprint{Command: []string{"a"}, Instructions: "x"}, pin.Fingerprint{Command: []string{"a"}, Tools: map[string][]byte{"t": nil}}
	if programKey(a) != programKey(b) || programKey(a) == programKey(pin.Fingerprint{Command: []string{"b"}}) {
		t.Error("the key is not that of the program")
	}
}

// TestSteps: a start tells what it came through, and where it ended.
func TestSteps(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]struct{ steps, last string }{
		"ok":         {"files sandbox version session tools", "9 tools"},
		"modern":     {"files sandbox version session tools", ""},
		"text-exit":  {"files sandbox !version", "before it answered"},
		"list-error": {"files sandbox version session !tools", "the list is gone"},
		"duplicate":  {"files sandbox version session tools", "1 are not offered"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			_ = r.Start(t.Context(), "one")
			var got []string
			v := r.view()
			for _, s := range v.Steps {
				name := string(s.Name)
				if s.Failed {
					name = "!" + name
				}
				got = append(got, name)
				if s.Took < 0 || s.Took > time.Minute || s.Detail == "" {
					t.Errorf("step %+v", s)
				}
			}
			if strings.Join(got, " ") != want.steps || !strings.Contains(v.Steps[len(v.Steps)-1].Detail, want.last) {
				t.Errorf("steps %+v, want %q", v.Steps, want.steps)
			}
			if odd := len(v.Oddities); (mode == "duplicate" || mode == "text-exit") != (odd == 1) {
				t.Errorf("oddities %+v", v.Oddities)
			}
		})
	}
}

// TestStartErrorsAreClean: a server words the end of its handshake.
func TestStartErrorsAreClean(t *testing.T) {
	site := openSite(t)
	r := newRig(t, "ok", func(o *Options) {
		o.Mask = func(s string) string { return strings.ReplaceAll(s, "canary", "[secret]") }
	})
	r.Set(config.Server{Name: "two", URL: site + "/terminal-in-welcome/mcp", Net: config.NetNone, Open: true})
	err := r.Start(t.Context(), "two")
	v, _ := r.View("two")
	if err == nil || v.Err == nil || len(v.Steps) == 0 {
		t.Fatalf("it runs: %v %v", err, v.Err)
	}
	for what, text := range map[string]string{"error": err.Error(), "view": v.Err.Error(), "step": v.Steps[len(v.Steps)-1].Detail} {
		if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "canary") || !strings.Contains(text, "‹U+001B›[2J‹U+202E›[secret]") {
			t.Errorf("%s: %q", what, text)
		}
	}
}

// TestUnansweredQuestion: a server that gives no answer to the question for its version, over HTTP, is taken for an old one, and that is not remembered.
func TestUnansweredQuestion(t *testing.T) {
	eras := new(erasInMemory)
	r, f := newRemote(t, Legacy, func(o *Options) { o.Eras = eras })
	asked := false
	f.deny = func(*http.Request) int {
		if !asked {
			asked = true
			return http.StatusInternalServerError
		}
		return 0
	}
	r.start()
	if v := r.view(); v.Protocol != Legacy || !strings.HasPrefix(v.Steps[1].Detail, "2025-11-25 is assumed: it gave no answer") || len(eras.by) != 0 {
		t.Errorf("%+v, remembered %v", v.Steps, eras.by)
	}
	r.Set(config.Server{Name: "nowhere", URL: "http://127.0.0.1:1/mcp", Net: config.NetNone})
	err := r.Start(t.Context(), "nowhere")
	v, _ := r.View("nowhere")
	if err == nil || !strings.Contains(err.Error(), "did not complete the handshake: the server cannot be reached") || !strings.Contains(v.Steps[1].Detail, "no answer") || len(eras.by) != 0 {
		t.Errorf("%v, %+v, remembered %v", err, v.Steps, eras.by)
	}
}
