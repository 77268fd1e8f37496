package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// Killed at any moment, fifty times: no server outlives the window, the log verifies, the next window opens as if
// nothing had been. What the window does meanwhile changes from round to round.
func TestKilledAtAnyMoment(t *testing.T) {
	d := newDesktop(t, 1024, 768)
	folder, command := d.ownServer(t)
	argv := strings.Fields(command)
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	t.Run("prepare", func(t *testing.T) {
		_, b := d.in(t).open()
		b.find("#app *")
		for _, name := range []string{"one", "two"} {
			err := b.script(nil, `await window.go.app.App.AddServer({name: arguments[0], command: arguments[1], read: [arguments[2]], write: [], net: 'none', memoryBytes: 0, pids: 0})`, name, argv, folder)
			if err != nil {
				t.Fatal(err)
			}
			b.server(name, running)
			var r struct{ Digest string }
			if err := b.script(&r, `const r = await window.go.app.App.Review(arguments[0]); await window.go.app.App.Approve(arguments[0], r.digest); return r`, name); err != nil {
				t.Fatal(err)
			}
			b.server(name, approved)
		}
	})

	// Each leaves something going on when it returns, within moments; none waits for its end.
	works := []struct{ name, script string }{
		{"servers start", `for (const s of ['one', 'two']) App.StartServer(s).catch(() => {})`},
		{"calls", `for (const s of ['one', 'two']) await App.StartServer(s);
			for (const s of ['one', 'two']) (async () => { for (let i = 0; ; i++) await App.Call({ticket: s + i, server: s, kind: 'tool', tool: 'echo', args: '{"text":"x"}'}) })().catch(() => {})`},
		{"a question is open", `await App.StartServer('one'); App.Call({ticket: 'q', server: 'one', kind: 'tool', tool: 'isolate_host', args: '{"host":"ws-1"}'}).catch(() => {});
			while (!(await App.Snapshot()).prompt) await new Promise(r => setTimeout(r, 5))`},
		{"servers stop", `await App.StartServer('one'); for (const s of ['one', 'two']) App.StopServer(s).catch(() => {})`},
	}
	for round := range rounds {
		work := works[round%len(works)]
		opening := round%5 == 4 // killed while it opens, without a driver
		name := fmt.Sprintf("%02d, %s", round, work.name)
		if opening {
			name = fmt.Sprintf("%02d, the window opens", round)
		}
		t.Run(name, func(t *testing.T) {
			d := d.in(t)
			var app *process
			if opening {
				app = d.openShipped()
				time.Sleep(time.Duration(rnd.IntN(1200)) * time.Millisecond)
			} else {
				var b *browser
				app, b = d.open()
				b.find("#app *")
				if p := b.snapshot().Problems; len(p) > 0 {
					t.Errorf("after the kill before: %+v", p)
				}
				if err := b.script(nil, `const App = window.go.app.App; `+work.script); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
			}
			select {
			case <-app.exited:
				t.Fatalf("it ended by itself: %v\n%s", app.err, app.output())
			default:
			}
			_ = app.cmd.Process.Kill() // it alone: what it started must end by itself
			<-app.exited
			eventually(t, 5*time.Second, "no process of a server", func() error {
				if left := processes(argv[1]); len(left) > 0 {
					return fmt.Errorf("left: %v", left)
				}
				return nil
			})
			if out, code := d.run(wait, cordon(t), "audit", "verify"); code != 0 {
				t.Errorf("audit verify: exit %d: %s", code, out)
			}
		})
	}
	log, err := os.ReadFile(d.log())
	if err != nil {
		t.Fatal(err)
	}
	records := strings.Count(string(log), `"class_uid":6003`)
	if t.Logf("%d records of calls", records); records < 2*rounds {
		t.Errorf("only %d records of calls after %d rounds: the windows did too little", records, rounds)
	}
}

// in returns the same session for a sub-test; what it starts there ends with it.
func (d *desktop) in(t *testing.T) *desktop {
	c := *d
	c.t = t
	return &c
}
