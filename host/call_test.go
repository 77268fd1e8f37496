package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/gate"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/host/wire"
)

// TestCallOfAServerThatCannotStart: nothing was refused, so nothing stands in the log as denied, and each call is there.
func TestCallOfAServerThatCannotStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	program := filepath.Join(r.dir, "fake")
	b, err := os.ReadFile(filepath.Join(binaries, "fake"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.AddServer(definition("one", r.case_(), program)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	for i, why := range []error{nil, server.ErrNotRunning} { // the first call tries to start it
		_, err := r.call("one", "read_echo", object{})
		var d *gate.Denied
		if err == nil || errors.As(err, &d) || why != nil && !errors.Is(err, why) || !strings.Contains(err.Error(), program) {
			t.Errorf("call %d = %v, want a failure that names the program", i+1, err)
		}
	}
	p, err := r.Log().Query(audit.Query{})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := 0
	for _, e := range p.Entries {
		if e.Decision == audit.Denied {
			t.Errorf("event %d, %s, is denied: %s", e.Seq, e.Kind, e.Reason)
		}
		if e.Kind == audit.CallOutcome {
			outcomes++
			if e.Decision != audit.Failed || !strings.Contains(e.Reason, program) {
				t.Errorf("outcome is %q: %q", e.Decision, e.Reason)
			}
		}
	}
	if outcomes != 2 || p.Denied != 0 {
		t.Errorf("%d outcomes, %d denied; want 2 and 0", outcomes, p.Denied)
	}
}

// TestUnreadSecretsAsk: while the keyring does not answer, another server goes on, and each of its calls asks, even to read.
func TestUnreadSecretsAsk(t *testing.T) {
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	if _, err := r.call("one", "read_echo", object{}); err != nil || len(r.prompts()) != 0 {
		t.Fatalf("reading asked %d times, %v", len(r.prompts()), err)
	}
	r.add("two", filepath.Join(binaries, "fake"))
	r.approve("two")
	r.close()
	c, err := config.Load(r.paths)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.Servers, func(s config.Server) bool { return s.Name == "two" })
	c.Servers[i].Secrets = map[string]string{"TOKEN": "token"}
	c.Secrets = []secret.Ref{{Name: "token", Server: "two", Env: "TOKEN"}}
	if err := config.Save(r.paths, c); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	r.open()
	if err := r.LoadSecrets(t.Context()); !errors.Is(err, secret.ErrAbsent) {
		t.Fatalf("load = %v, want ErrAbsent", err)
	}
	r.yes = false
	_, err = r.call("one", "read_echo", object{"a": "b"})
	denied(t, err, gate.Consent, "inspect.degraded")
	r.yes = true
	if got, err := r.call("one", "read_echo", object{"a": "b"}); err != nil || got != `{"a":"b"}` || len(r.prompts()) != 2 {
		t.Errorf("allowed: %q, %v after %d questions", got, err, len(r.prompts()))
	}
	if _, err := r.call("two", "read_echo", object{}); !errors.Is(err, secret.ErrAbsent) || !strings.Contains(err.Error(), `"token"`) {
		t.Errorf("the server that needs it = %v, want ErrAbsent naming the secret", err)
	}
}

// TestStopEverything: servers that want to live, one in the middle of a call, are gone at once, and so is the call. A server that is stopped politely
// would have been given seconds.
func TestStopEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	names := []string{"one", "two", "three"}
	for _, name := range names {
		r.add(name, filepath.Join(binaries, "fake"), "stubborn")
		r.approve(name)
	}
	ended := make(chan error, len(names))
	for _, name := range names {
		go func() {
			_, err := r.call(name, "read_later", object{"ms": 60_000})
			ended <- err
		}()
	}
	for _, name := range names { // until each is in the middle of it
		for {
			frames, err := r.Servers.Frames(name)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(frames, func(f wire.Frame) bool { return f.Out && f.Method == "tools/call" }) {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	began := time.Now()
	r.StopEverything(t.Context())
	for range names {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "stopped") {
			t.Errorf("a call that was stopped: %v", err)
		}
	}
	if took := time.Since(began); took > 3*time.Second { // twice Grace would be more
		t.Errorf("stopping everything took %v", took)
	}
	for _, v := range r.Servers.Views() {
		if v.State != server.Stopped || v.Pid != 0 {
			t.Errorf("%s is %s, pid %d", v.Name, v.State, v.Pid)
		}
	}
}
