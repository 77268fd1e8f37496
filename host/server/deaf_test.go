package server

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
)

// within fails the test unless f returns in time.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s took longer than %v", what, limit)
	}
}

// A server that reads nothing more can still be called with a deadline, be cancelled and be stopped.
func TestDeafServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, "deaf")
	r.start()
	big := `{"a":"` + strings.Repeat("x", 1<<20) + `"}` // more than the pipe holds
	for _, limit := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond} {
		within(t, 3*time.Second, "a call with a deadline", func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if _, err := r.Call(ctx, frozen("one", "read_echo", big)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the call: %v, want the deadline", err)
			}
		})
	}
	within(t, 4*time.Second, "stopping", func() { _ = r.Stop(t.Context(), "one") })
	r.gone(r.mark)
}

// One that floods and reads nothing neither fills the memory nor holds a stop up; its session ends by itself. Alone: it
// measures the heap, which holds what the other tests hold too.
func TestDeafFlood(t *testing.T) {
	r := newRig(t, "deaf-flood")
	r.start()
	before := heap()
	r.waitFor("an end of the session", func(v View) bool { return v.State != Running })
	if grown := int64(heap()) - int64(before); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	within(t, 4*time.Second, "stopping", func() { _ = r.Stop(t.Context(), "one") })
	found := fmt.Sprint(r.journal.of(audit.FindingMade))
	if !strings.Contains(found, "wire.too-many") || !strings.Contains(found, "wire.flood") {
		t.Errorf("findings: %s", found)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A burst is thinned out; calls go on.
func TestPingBurst(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ping-flood")
	r.start()
	r.works()
	r.waitFor("a finding", func(View) bool { return strings.Contains(fmt.Sprint(r.journal.of(audit.FindingMade)), "wire.too-many") })
	r.works()
}

func TestBrief(t *testing.T) {
	for in, want := range map[string]string{"1.2.3": "1.2.3", " a\n\tb ": "a b", strings.Repeat("x", 1<<20): strings.Repeat("x", 100) + "…", "a\xffb": "ab", "": ""} {
		if got := brief(in); got != want {
			t.Errorf("brief(%.20q) = %q, want %q", in, got, want)
		}
	}
}
