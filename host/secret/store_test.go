package secret

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zalando/go-keyring"
)

var ref = Ref{Name: "token", Server: "files", Env: "TOKEN"}

func TestNoBusIsRefusedWithoutStartingOne(t *testing.T) {
	for _, addr := range []string{"", "autolaunch:", "unix:path=/nonexistent/bus"} {
		t.Run("address "+addr, func(t *testing.T) {
			t.Setenv("DBUS_SESSION_BUS_ADDRESS", addr)
			s := New(Options{Timeout: 2 * time.Second})
			if err := s.Set(t.Context(), ref, NewValue("v")); !errors.Is(err, ErrAbsent) {
				t.Errorf("Set = %v, want ErrAbsent", err)
			}
			if _, err := s.Get(t.Context(), ref); !errors.Is(err, ErrAbsent) {
				t.Errorf("Get = %v, want ErrAbsent", err)
			}
			if err := s.Remove(t.Context(), ref); !errors.Is(err, ErrAbsent) {
				t.Errorf("Remove = %v, want ErrAbsent", err)
			}
			if st := s.State(t.Context()); st.State != Absent || st.Fix == "" {
				t.Errorf("State = %+v, want absent with a fix", st)
			}
			n := 0
			s.Each(func(string, string, []byte) { n++ })
			if n != 0 {
				t.Errorf("%d secrets are held after every Set failed", n)
			}
		})
	}
}

func TestSessionIsAnExplicitChoice(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	s := New(Options{})
	if err := s.Set(t.Context(), ref, NewValue("v")); !errors.Is(err, ErrAbsent) {
		t.Fatalf("Set before the choice = %v, want ErrAbsent", err)
	}
	s.UseSession()
	if err := s.Set(t.Context(), ref, NewValue("v")); err != nil {
		t.Fatalf("Set after the choice: %v", err)
	}
	v, err := s.Get(t.Context(), ref)
	if err != nil || v.Reveal() != "v" {
		t.Fatalf("Get = %v, want the value", err)
	}
	if _, err := s.Get(t.Context(), Ref{Name: ref.Name, Server: "other"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another server's Get = %v, want ErrNotFound", err)
	}
	if st := s.State(t.Context()); st.State != Session {
		t.Errorf("State = %v, want session", st.State)
	}
	var seen []string
	s.Each(func(name, server string, value []byte) { seen = append(seen, name+"@"+server+"="+string(value)) })
	if len(seen) != 1 || seen[0] != "token@files=v" {
		t.Errorf("Each gave %v", seen)
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if err := s.Remove(t.Context(), ref); !errors.Is(err, ErrNotFound) {
		t.Errorf("second Remove = %v, want ErrNotFound", err)
	}
}

func TestOneStuckCallAtMost(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/unused")
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		release := make(chan struct{})
		stuck := func() (string, error) { <-release; return "late", nil }
		ran := 0
		quick := func() (string, error) { ran++; return "now", nil }

		began := time.Now()
		if _, err := s.call(context.Background(), stuck); !errors.Is(err, ErrLocked) {
			t.Fatalf("stuck call = %v, want ErrLocked", err)
		}
		if took := time.Since(began); took != DefaultTimeout {
			t.Errorf("gave up after %v, want %v", took, DefaultTimeout)
		}
		began = time.Now()
		if _, err := s.call(context.Background(), quick); !errors.Is(err, ErrLocked) {
			t.Errorf("call beside a stuck one = %v, want ErrLocked", err)
		}
		if time.Since(began) != 0 || ran != 0 {
			t.Error("a call beside a stuck one must fail at once and not run")
		}
		close(release)
		synctest.Wait()
		if v, err := s.call(context.Background(), quick); err != nil || v != "now" {
			t.Errorf("call after the prompt was answered = %q, %v", v, err)
		}
	})
}

func TestCallHonoursContext(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/unused")
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		release := make(chan struct{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := s.call(ctx, func() (string, error) { <-release; return "", nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call = %v, want the context's error", err)
		}
		close(release)
		synctest.Wait()
	})
}

func TestHealthyCallsQueue(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/unused")
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := s.call(context.Background(), func() (string, error) { time.Sleep(time.Second); return "", nil }); err != nil {
					t.Errorf("queued call: %v", err)
				}
			})
		}
		wg.Wait()
	})
}

// inKeyring runs the calling test again in a child under a private bus, after setup, a shell fragment;
// busArgs go to dbus-run-session.
func inKeyring(t *testing.T, setup string, busArgs ...string) {
	t.Helper()
	for _, tool := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("REQUIRE_KEYRING") == "1" {
				t.Fatalf("%s is missing and REQUIRE_KEYRING=1", tool)
			}
			t.Skipf("%s is not installed; apt-get install gnome-keyring dbus-daemon", tool)
		}
	}
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	args := append(busArgs, "--", "sh", "-c", setup+` exec "$0" -test.run "^$1\$" -test.v`, os.Args[0], t.Name())
	cmd := exec.CommandContext(ctx, "dbus-run-session", args...)
	cmd.Env = append(os.Environ(), "IN_KEYRING=1", "HOME="+home, "XDG_DATA_HOME="+home+"/data", "XDG_RUNTIME_DIR="+home, "DISPLAY=")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("under a private bus: %v\n%s", err, out)
	}
}

const (
	unlocked = `printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null;`
	// There is no prompter on the private bus, so nothing can unlock it again.
	relocked = unlocked + ` busctl --user call org.freedesktop.secrets /org/freedesktop/secrets org.freedesktop.Secret.Service Lock ao 1 /org/freedesktop/secrets/collection/login >/dev/null;`
)

func TestRealKeyring(t *testing.T) {
	if os.Getenv("IN_KEYRING") == "" {
		inKeyring(t, unlocked)
		return
	}
	s := New(Options{})
	if st := s.State(t.Context()); st.State != OK || st.Provider != "GNOME Keyring" {
		t.Fatalf("State = %+v, want ok from GNOME Keyring", st)
	}
	if _, err := s.Get(t.Context(), ref); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get before Set = %v, want ErrNotFound", err)
	}
	const canary = "canary-5d1f"
	if err := s.Set(t.Context(), ref, NewValue(canary)); err != nil {
		t.Fatal(err)
	}
	fresh := New(Options{}) // no cache: the value must come from the keyring
	v, err := fresh.Get(t.Context(), ref)
	if err != nil || v.Reveal() != canary {
		t.Fatalf("Get from a fresh store: %v", err)
	}
	if _, err := fresh.Get(t.Context(), Ref{Name: ref.Name, Server: "other"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another server's Get = %v, want ErrNotFound", err)
	}
	if err := New(Options{}).Load(t.Context(), []Ref{{Name: "gone", Server: "files"}, ref}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Load with one missing = %v, want ErrNotFound", err)
	}
	out, err := exec.Command("grep", "-rl", canary, os.Getenv("HOME")).CombinedOutput()
	if len(out) > 0 {
		t.Errorf("the secret is on disk in plain text: %s %v", out, err)
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{}).Get(t.Context(), ref); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get after Remove = %v, want ErrNotFound", err)
	}
	if _, err := keyring.Get(Service, ref.account()); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the keyring still has it: %v", err)
	}
}

func TestLockedKeyring(t *testing.T) {
	if os.Getenv("IN_KEYRING") == "" {
		if _, err := exec.LookPath("busctl"); err != nil && os.Getenv("REQUIRE_KEYRING") != "1" {
			t.Skip("busctl is not installed; apt-get install systemd")
		}
		inKeyring(t, relocked)
		return
	}
	s := New(Options{Timeout: time.Second})
	if st := s.State(t.Context()); st.State != Locked || st.Fix == "" {
		t.Fatalf("State = %+v, want locked with a fix", st)
	}
	began := time.Now()
	err := s.Set(t.Context(), ref, NewValue("v"))
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("Set = %v, want ErrLocked", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Set took %v", took)
	}
	if _, err := s.Get(t.Context(), ref); !errors.Is(err, ErrLocked) {
		t.Errorf("Get = %v, want ErrLocked", err)
	}
}

func TestNoProvider(t *testing.T) {
	if os.Getenv("IN_KEYRING") == "" {
		// A bus without service directories has nothing to start.
		conf := filepath.Join(t.TempDir(), "bus.conf")
		const empty = `<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen>` +
			`<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
		if err := os.WriteFile(conf, []byte(empty), 0o600); err != nil {
			t.Fatal(err)
		}
		inKeyring(t, "", "--config-file="+conf)
		return
	}
	s := New(Options{Timeout: 3 * time.Second})
	if st := s.State(t.Context()); st.State != Absent || st.Fix != fixProvider {
		t.Errorf("State = %+v, want absent with advice to install a provider", st)
	}
	if err := s.Set(t.Context(), ref, NewValue("v")); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), fixProvider) {
		t.Errorf("Set = %v, want ErrAbsent with the same advice", err)
	}
}

// TestUnread: what the keyring could not be asked for is known by name, until it is read, set, or not wanted any more.
func TestUnread(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	s := New(Options{})
	a, b := Ref{Name: "a", Server: "one", Env: "A"}, Ref{Name: "b", Server: "one", Env: "B"}
	if got := s.Unread(); len(got) != 0 {
		t.Errorf("unread before anybody asked: %v", got)
	}
	if err := s.Load(t.Context(), []Ref{b, a}); !errors.Is(err, ErrAbsent) {
		t.Fatalf("load = %v, want ErrAbsent", err)
	}
	if got := s.Unread(); len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("unread = %v, want both in order", got)
	}
	s.keep(a, "value")
	if got := s.Unread(); len(got) != 1 || got[0] != b {
		t.Errorf("unread = %v, want b", got)
	}
	s.UseSession()
	if _, err := s.Get(t.Context(), b); !errors.Is(err, ErrNotFound) || len(s.Unread()) != 0 {
		t.Errorf("in a session: %v, unread %v; want ErrNotFound and none", err, s.Unread())
	}
}
