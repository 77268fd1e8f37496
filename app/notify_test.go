package app

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cordon/host/chat"

	"github.com/godbus/dbus/v5"
)

// desktop takes notifications on a bus of its own.
type desktop struct{ told chan string }

// Notify implements org.freedesktop.Notifications.
func (d desktop) Notify(app string, _ uint32, _, summary, body string, _ []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	d.told <- app + ": " + summary + body
	return 7, nil
}

func notified(t *testing.T) desktop {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("REQUIRE_KEYRING") == "1" {
			t.Fatal("dbus-daemon is missing and REQUIRE_KEYRING=1")
		}
		t.Skip("dbus-daemon is not installed")
	}
	bus := exec.CommandContext(t.Context(), "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bus.Process.Kill()
		_ = bus.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(address))
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d := desktop{make(chan string, 10)}
	if err := conn.Export(d, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.Notifications", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d desktop) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-d.told:
		if got != want {
			t.Errorf("the desktop was told %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the desktop was not told %q", want)
	}
}

// TestNotices: who looks elsewhere is told that something waits, once, and nothing of what it is.
func TestNotices(t *testing.T) {
	d := notified(t)
	a := &App{notices: notices{focused: true, news: make(chan string, 1)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.notices.deliver(ctx) }()
	defer func() { cancel(); <-done }()

	a.notices.asks("seen") // by whoever looks at the window
	a.notices.ended(chat.Done)
	if err := a.Focus(false); err != nil {
		t.Fatal(err)
	}
	a.notices.asks("seen")
	a.notices.asks("one")
	d.hears(t, "Cordon: "+askNews)
	a.notices.asks("one")
	a.notices.ended(chat.Stopped)
	a.notices.ended(chat.Done)
	d.hears(t, "Cordon: "+answerNews)
	a.notices.ended(chat.Broke)
	d.hears(t, "Cordon: "+endNews)
	if err := a.Focus(true); err != nil {
		t.Fatal(err)
	}
	a.notices.ended(chat.Done)
	select {
	case got := <-d.told:
		t.Errorf("the desktop was told %q too", got)
	case <-time.After(100 * time.Millisecond):
	}
}

// TestNoDesktop: without a bus nothing is said, and nothing waits.
func TestNoDesktop(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	n := notices{news: make(chan string, 1)}
	n.send(t.Context(), answerNews)
}
