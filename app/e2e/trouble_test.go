package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestBrokenConfiguration(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	dir := filepath.Join(d.home, "config", "cordon")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	const broken = `{"version":1,"servers":[{"name":"edr","comand":["edr"]}]}`
	write(t, file, broken)
	_, b := d.open()
	banner := b.text(b.find(".banner"))
	for _, want := range []string{file, "comand", "unknown key"} {
		if !strings.Contains(banner, want) {
			t.Errorf("the banner does not say %q: %s", want, banner)
		}
	}
	// Nothing that would have to be saved can be done, and the file stays as it is.
	b.press("nav-servers")
	b.press("add-server")
	b.fill("add-name", "one")
	b.fill("add-command", "node")
	b.press("add-save")
	b.findXPath("//*[@role='dialog']//*[contains(., 'comand')]")
	if now, err := os.ReadFile(file); err != nil || string(now) != broken {
		t.Errorf("the file is now %q, %v", now, err)
	}
}

// Servers that do not work say why, each for itself; the others go on.
func TestBadServers(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	folder, command := d.ownServer(t)
	_, b := d.open()
	b.find("#app *")
	argv := strings.Fields(command)
	define := func(name string, command ...string) {
		t.Helper()
		err := b.script(nil, `await window.go.app.App.AddServer({name: arguments[0], command: arguments[1], read: [arguments[2]], write: [], net: 'none', memoryBytes: 0, pids: 0})`, name, command, folder)
		if err != nil {
			t.Fatalf("add %s: %v", name, err)
		}
	}
	define("good", argv...)
	define("missing", "no-such-program-here")
	define("chatty", "/bin/echo", "hello there, this is not MCP")
	define("long", append(argv, "long-line")...)
	define("cyclic", append(argv, "cyclic")...)

	for name, want := range map[string]struct{ code, what string }{
		"missing": {"CRD-SRV-", `"no-such-program-here" does not exist`},
		"chatty":  {"CRD-SRV-", "hello there"},
		"long":    {"CRD-SRV-02", "longer than 16 MiB"},
	} {
		s := b.server(name, func(s server) bool { return s.Failure != nil })
		if !strings.HasPrefix(s.Failure.Code, want.code) || !strings.Contains(s.Failure.What, want.what) || s.Failure.Means == "" || s.Failure.Fix == "" {
			t.Errorf("%s: %+v; want %s… and %q", name, *s.Failure, want.code, want.what)
		}
		b.press("nav-servers")
		b.press("server-" + name)
		b.until(fmt.Sprintf(`document.querySelector('main').innerText.includes(%q)`, s.Failure.Code))
		if text := b.text(b.find("main")); !strings.Contains(text, want.what) {
			t.Errorf("%s: the screen does not say %q:\n%s", name, want.what, text)
		}
	}
	s := b.server("cyclic", running)
	if len(s.Tools) != 3 {
		t.Errorf("cyclic offers %d tools, want the 3 good ones: %+v", len(s.Tools), s.Tools)
	}
	b.press("nav-activity")
	b.fill("activity-find", "cyclic")
	b.until(`[...document.querySelectorAll('table.log tbody tr')].some(r => r.innerText.includes('is not offered') && r.innerText.includes('$ref'))`)

	b.approve("good")
	b.callJSON("good", "echo", `{"text":"still here"}`)
	b.ended("ok", "still here")
}

// Whatever ends the window, no server outlives it and the log stays whole.
func TestEndings(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	folder, command := d.ownServer(t)
	app, b := d.open()
	b.find("#app *")
	argv := strings.Fields(command)
	err := b.script(nil, `await window.go.app.App.AddServer({name: 'own', command: arguments[0], read: [arguments[1]], write: [], net: 'none', memoryBytes: 0, pids: 0})`, argv, folder)
	if err != nil {
		t.Fatal(err)
	}
	b.approve("own")
	if len(processes(argv[1])) == 0 {
		t.Fatal("the server's process is not found")
	}
	none := func(after string) {
		t.Helper()
		eventually(t, 5*time.Second, "no process of the server after "+after, func() error {
			if left := processes(argv[1]); len(left) > 0 {
				return fmt.Errorf("left: %v", left)
			}
			return nil
		})
		if out, code := d.run(wait, cordon(t), "audit", "verify"); code != 0 {
			t.Errorf("audit verify after %s: exit %d: %s", after, code, out)
		}
	}

	t.Run("a second start says so and leaves the first alone", func(t *testing.T) {
		out, code := d.run(quick, filepath.Join(root(t), "bin", "cordon-desktop"))
		if code != 3 || !strings.Contains(out, "another Cordon is running") {
			t.Errorf("exit %d: %s", code, out)
		}
		b := b.in(t)
		b.callJSON("own", "echo", `{"text":"undisturbed"}`)
		b.ended("ok", "undisturbed")
	})
	t.Run("SIGKILL", func(t *testing.T) {
		app.stop(syscall.SIGKILL, quick)
		none("SIGKILL")
	})
	t.Run("SIGTERM", func(t *testing.T) {
		app, b := (&desktop{t, d.home, d.env}).open()
		b.press("nav-run")
		b.press("run-start")
		b.server("own", approved)
		b.callJSON("own", "echo", `{"text":"after a crash"}`)
		b.ended("ok", "after a crash")
		began := time.Now()
		if !app.stop(syscall.SIGTERM, quick) || app.err != nil {
			t.Errorf("after SIGTERM: %v\n%s", app.err, app.output())
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("ending took %v", took)
		}
		none("SIGTERM")
	})
}

// processes returns the ids of all processes whose command line holds text.
func processes(text string) (pids []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if b, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && strings.Contains(string(b), text) {
			if stat, err := os.ReadFile(filepath.Join(dir, "stat")); errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") {
				continue
			}
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}
