package host_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/gate"
	"cordon/host/pin"
	"cordon/host/server"
)

// sleepy adds a fake server of its own program that sleeps after a short while, and approves it.
func sleepy(r *rig) (program string, text []byte) {
	r.t.Helper()
	program, text = r.copied()
	r.add("one", program, "ok", "mark-"+random())
	r.approve("one")
	def, _ := r.Config().Server("one")
	def.Idle = config.Duration(200 * time.Millisecond) // less than a definition may say
	r.Servers.Set(def)
	r.restart("one")
	return program, text
}

func (r *rig) asleep() server.View {
	r.t.Helper()
	for range 1000 {
		if v, err := r.Servers.View("one"); err != nil || v.State == server.Idle && v.Pid == 0 {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatal("it does not fall asleep")
	return server.View{}
}

// TestSleepingServer: it stays pinned and is called as if it ran; what has changed while it slept is denied until it is approved.
func TestSleepingServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	program, text := sleepy(r)
	if v := r.asleep(); r.PinStatus(v).State != pin.Pinned || len(v.Tools) == 0 {
		t.Errorf("asleep it is %v with %d tools", r.PinStatus(v).State, len(v.Tools))
	}
	if got, err := r.call("one", "read_echo", object{"a": 1}); err != nil || got != `{"a":1}` {
		t.Errorf("a call that wakes it = %q, %v", got, err)
	}
	r.asleep()
	r.program(program, altered(text))
	for range 2 {
		_, err := r.call("one", "read_echo", object{})
		denied(t, err, gate.Pin, "pin.changed")
		r.asleep()
	}
	if rev, err := r.Review(t.Context(), "one"); err != nil || len(rev.Changes) != 1 || len(rev.Tools) == 0 { // wakes it
		t.Fatalf("review = %+v, %v", rev.Changes, err)
	}
	r.asleep()
	r.approve("one")
	if got, err := r.call("one", "read_echo", object{}); err != nil || got != "{}" {
		t.Errorf("after the approval = %q, %v", got, err)
	}
	p, err := r.Log().Query(audit.Query{})
	if err != nil {
		t.Fatal(err)
	}
	idle := 0
	for _, e := range p.Entries {
		if e.Kind == audit.ServerStop && e.Reason == "idle" {
			idle++
		}
	}
	if idle < 4 {
		t.Errorf("%d stops for idleness are in the log", idle)
	}
}

// slow is a person who takes a while.
type slow struct {
	consent.Prompter
	pause time.Duration
}

// Ask implements consent.Prompter.
func (s slow) Ask(ctx context.Context, p consent.Prompt) (consent.Answer, error) {
	select {
	case <-time.After(s.pause):
		return s.Prompter.Ask(ctx, p)
	case <-ctx.Done():
		return consent.Answer{}, context.Cause(ctx)
	}
}

// TestQuestionKeepsAServerAwake: falling asleep would withdraw it.
func TestQuestionKeepsAServerAwake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.o.Prompter = slow{r, time.Second}
	r.open()
	sleepy(r)
	r.asleep()
	file := filepath.Join(r.case_(), "x")
	if got, err := r.call("one", "write_thing", object{"path": file, "content": "written"}); err != nil || !strings.Contains(got, "written") {
		t.Errorf("a call that asks = %q, %v", got, err)
	}
	if len(r.prompts()) != 1 {
		t.Errorf("%d questions", len(r.prompts()))
	}
	r.asleep()
}
