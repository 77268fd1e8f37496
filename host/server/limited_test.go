package server

import (
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/sandbox"
)

// A program that nobody has approved finds no secret, no way out and nothing to write; an approved one finds all three.
func TestLimited(t *testing.T) {
	t.Parallel()
	var trusted atomic.Bool
	r := newRig(t, "web", func(o *Options) {
		o.Secrets = vault{"one/token": "tok-5b1f77c0"}
		o.Trusted = func(name string, program pin.Fingerprint) bool {
			if name != "one" || program.Binary == (pin.Fingerprint{}).Binary || len(program.Command) == 0 {
				t.Errorf("asked about %q, %+v", name, program)
			}
			return trusted.Load()
		}
	})
	folder := t.TempDir()
	def := config.Server{Name: "one", Command: []string{filepath.Join(binaries, "fake"), "web", r.mark}, Secrets: map[string]string{"TOKEN": "token"},
		Net: config.NetHosts, Hosts: []string{"api.example.com:443"}, Write: []string{folder}, Memory: 256 << 20, Pids: 64}
	r.Set(def)
	if got := Limits(def); !slices.Equal(got, []string{"its secrets", "its hosts", "writing"}) {
		t.Errorf("limits: %q", got)
	}
	for _, yes := range []bool{false, true, false} {
		trusted.Store(yes)
		if err := r.Restart(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if v := r.view(); v.Limited == yes {
			t.Errorf("trusted %v: limited %v", yes, v.Limited)
		}
		env, err := r.call("get_env", `{"name":"TOKEN"}`)
		if err != nil || strings.Contains(env, "tok-") != yes || strings.Contains(env, "TOKEN") != yes || strings.Contains(env, "HTTPS_PROXY") != yes {
			t.Errorf("trusted %v: environment %q, %v", yes, env, err)
		}
		web, err := r.call("read_web", `{"path":"http://evil.example.com/"}`)
		if err != nil && !strings.Contains(err.Error(), "dial") || strings.HasPrefix(web, "403") != yes {
			t.Errorf("trusted %v: the web says %q, %v", yes, web, err)
		}
		wrote, err := r.call("write_thing", `{"path":"`+filepath.Join(folder, "x")+`","content":"x"}`)
		if err != nil || (wrote == "written") != yes {
			t.Errorf("trusted %v: writing says %q, %v", yes, wrote, err)
		}
	}
	// Watching one that is not approved tells which hosts it would call, and gives it none.
	def.Observe = true
	r.Set(def)
	if err := r.Restart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if web, err := r.call("read_web", `{"path":"http://api.example.com:443/"}`); err != nil || !strings.HasPrefix(web, "403 Forbidden not-allowed") {
		t.Errorf("watched, the web says %q, %v", web, err)
	}
	if w, err := r.Wanted("one"); err != nil || len(w.Hosts) < 2 || w.Hosts[len(w.Hosts)-1].Host != "api.example.com" {
		t.Errorf("wanted: %+v, %v", w, err)
	}
	if n := len(r.journal.of(audit.SecretUse)); n != 1 {
		t.Errorf("the secret was used %d times, want once", n)
	}
	starts := r.journal.of(audit.ServerStart)
	if len(starts) != 4 || starts[0].Facts["without"] != "its secrets, its hosts, writing" || starts[1].Facts["without"] != "" {
		t.Errorf("recorded: %+v", starts)
	}
}

// Being watched takes a loopback of one's own: where it would be that of the machine, a server that has no network gets none.
func TestWatchedWithoutNamespaces(t *testing.T) {
	t.Parallel()
	for name, without := range map[string]string{"strong": "", "medium": "left out for a test"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := box(t)
			if s.Kernel.Namespaces = without; without != "" && machine.Supervisable() != "" {
				t.Skip(machine.Supervisable())
			}
			r := newRig(t, "web", func(o *Options) { o.Sandbox = s })
			r.Set(config.Server{Name: "one", Command: []string{filepath.Join(binaries, "fake"), "web", r.mark}, Net: config.NetNone, Memory: 256 << 20, Pids: 64, Observe: true})
			r.start()
			want, unwanted := sandbox.NetHostsG, sandbox.NetNoneG
			if without != "" {
				want, unwanted = unwanted, want
			}
			report := r.view().Report
			if h := report.Get(want); h == nil || h.State != sandbox.Enforced || report.Get(unwanted) != nil {
				t.Errorf("reported: %+v", report.Guarantees)
			}
			env, err := r.call("get_env", `{"name":"HTTPS_PROXY"}`)
			if err != nil || strings.Contains(env, "HTTPS_PROXY") != (without == "") {
				t.Errorf("its environment: %q, %v", env, err)
			}
		})
	}
}
