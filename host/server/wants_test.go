package server

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// What a server asks for and is not granted is a line of its log that a person can act on, and an event; without its profile's
// say-so it is neither.
func TestWishesAreNoted(t *testing.T) {
	t.Parallel()
	home, err := os.MkdirTemp("/var/tmp", "server-wants-") // not below /tmp, which is private inside
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	path := filepath.Join(home, "credentials")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, observe := range []bool{true, false} {
		r := newRig(t, "files")
		r.Set(config.Server{Name: "one", Command: []string{filepath.Join(binaries, "fake"), "files", r.mark}, Net: config.NetNone, Memory: 256 << 20, Pids: 64, Observe: observe})
		r.start()
		for range 2 {
			_, _ = r.call("read_thing", `{"path":"`+path+`"}`)
		}
		want := "wanted to read " + path + ": not granted"
		noted := func() int { return strings.Count(r.log(), want) }
		for until := time.Now().Add(5 * time.Second); observe && noted() == 0 && time.Now().Before(until); {
			time.Sleep(5 * time.Millisecond)
		}
		if (noted() == 1) != observe {
			t.Errorf("observe %v: noted %d times:\n%s", observe, noted(), r.log())
		}
		told := 0
		for _, e := range r.journal.of(audit.FindingMade) {
			if e.Rule == "sandbox.wanted" && e.Reason == want && e.Server == "one" && e.Facts["name"] == path && e.Decision == audit.Marked {
				told++
			}
		}
		if (told == 1) != observe {
			t.Errorf("observe %v: %d events", observe, told)
		}
	}
}

func TestWishesAreBounded(t *testing.T) {
	var j journal
	l := &wishes{u: newUnit(New(Options{Audit: &j, Log: slog.New(slog.DiscardHandler)}), config.Server{Name: "one"})}
	l.of(sandbox.Want{Kind: sandbox.WantRead, Name: "/x/line\nbreak \xff"})
	l.of(sandbox.Want{Kind: sandbox.WantLook, Name: "/x/looked"})
	l.of(sandbox.Want{Kind: sandbox.WantLook, Name: "/" + strings.Repeat("x", 4000)})
	for i := range 300 {
		l.of(sandbox.Want{Kind: sandbox.WantWrite, Name: fmt.Sprintf("/x/%d", i/2)})
	}
	l.end()
	var lines []string
	for _, line := range l.u.lines.all() {
		lines = append(lines, strings.TrimPrefix(line.Text, cordonPrefix))
	}
	if kept := l.u.wanted.all(); len(kept.Wants) != maxWanted+2 || kept.Rest.Over != 2*51 {
		t.Errorf("%d wishes are kept, and %+v", len(kept.Wants), kept.Rest)
	}
	if lines[0] != `wanted to read /x/line\nbreak \xff: not granted` || len(lines) != maxWanted+3 || lines[maxWanted+2] != "wanted 201 more things that are not granted" {
		t.Errorf("%d lines, first %q, last %q", len(lines), lines[0], lines[len(lines)-1])
	}
	if len(lines[2]) > maxWantedName+100 {
		t.Errorf("a line of %d bytes", len(lines[2]))
	}
	if events := j.of(audit.FindingMade); len(events) != maxWanted+1 || events[1].Reason != "wanted to change /x/0: not granted" {
		t.Errorf("%d events, second %+v", len(events), events[1])
	}
}

// However much a server asks for, its asking for keys is seen.
func TestWishesDoNotHide(t *testing.T) {
	var j journal
	l := &wishes{u: newUnit(New(Options{Audit: &j, Log: slog.New(slog.DiscardHandler), Guarded: func(path string) bool { return path == "/home/a/.ssh/id" }}), config.Server{Name: "one"})}
	for i := range 500 {
		l.of(sandbox.Want{Kind: sandbox.WantLook, Name: fmt.Sprintf("/l/%d", i)})
		l.of(sandbox.Want{Kind: sandbox.WantRead, Name: fmt.Sprintf("/r/%d", i)})
		l.u.wanted.refused(egress.Connection{Host: fmt.Sprintf("h%d.example", i), Port: 443, Refused: egress.NotAllowed})
	}
	l.of(sandbox.Want{Kind: sandbox.WantRead, Name: "/home/a/.ssh/id"})
	kept := l.u.wanted.all()
	if last := kept.Wants[len(kept.Wants)-1]; last.Name != "/home/a/.ssh/id" || len(kept.Hosts) != maxWanted || kept.Rest.Over != 3*(500-maxWanted) {
		t.Errorf("the last is %q, %d hosts, %+v", last.Name, len(kept.Hosts), kept.Rest)
	}
	if events := j.of(audit.FindingMade); !strings.Contains(events[len(events)-1].Reason, ".ssh/id") {
		t.Errorf("recorded last: %+v", events[len(events)-1])
	}
}
