package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// in returns the same window for a sub-test.
func (b *browser) in(t *testing.T) *browser {
	c := *b
	c.t = t
	return &c
}

// hook selects what carries a data-test name.
func hook(name string) string { return fmt.Sprintf("[data-test=%q]", name) }

// press clicks what carries a data-test name, as soon as it can be clicked. What lies above it for longer than an
// animation takes is an error.
func (b *browser) press(name string) {
	b.t.Helper()
	b.pressAt(hook(name))
}

func (b *browser) pressAt(css string) {
	b.t.Helper()
	began := time.Now()
	eventually(b.t, wait, "press "+css, func() error {
		e, err := b.lookup(css)
		if err != nil {
			return err
		}
		err = b.call("POST", b.base+"/element/"+string(e)+"/click", nil, nil)
		if err != nil && strings.Contains(err.Error(), "intercepted") && time.Since(began) > 2*time.Second {
			b.t.Fatalf("press %s: something lies above it", css)
		}
		if err != nil && strings.Contains(err.Error(), "not interactable") { // out of sight in a pane that scrolls
			_ = b.script(nil, `document.querySelector(arguments[0])?.scrollIntoView({block: 'center'})`, css)
		}
		return err
	})
}

// fill replaces what a field holds by typing.
func (b *browser) fill(name, text string) {
	b.t.Helper()
	e := b.find(hook(name))
	b.must("clear", b.call("POST", b.base+"/element/"+string(e)+"/clear", nil, nil))
	b.keys(e, text)
}

// still waits until nothing moves or fades: what is not opaque yet counts as not shown.
func (b *browser) still() {
	b.t.Helper()
	b.until(`document.getAnimations().every(a => a.playState === 'finished' || a.effect.getComputedTiming().iterations === Infinity)`)
}

// pick chooses an option of a list.
func (b *browser) pick(name, value string) {
	b.t.Helper()
	b.pressAt(hook(name) + fmt.Sprintf(" option[value=%q]", value))
}

// Special keys (section 17.4.2).
const (
	keyTab, keyEnter, keySpace, keyEscape = "\ue004", "\ue007", " ", "\ue00c"
	keyBackspace, keyShift, keyControl    = "\ue003", "\ue008", "\ue009"
	approvable                            = 3 * time.Second // until a dialog has armed, with room for a busy computer
	quick                                 = 15 * time.Second
)

// strike presses keys one after the other on the keyboard itself, wherever the focus is.
func (b *browser) strike(keys ...string) {
	b.t.Helper()
	var acts []map[string]string
	for _, k := range keys {
		acts = append(acts, map[string]string{"type": "keyDown", "value": k}, map[string]string{"type": "keyUp", "value": k})
	}
	b.act(acts)
}

// chord holds all keys at once.
func (b *browser) chord(keys ...string) {
	b.t.Helper()
	var acts []map[string]string
	for _, k := range keys {
		acts = append(acts, map[string]string{"type": "keyDown", "value": k})
	}
	slices.Reverse(keys)
	for _, k := range keys {
		acts = append(acts, map[string]string{"type": "keyUp", "value": k})
	}
	b.act(acts)
}

func (b *browser) act(keys []map[string]string) {
	b.t.Helper()
	b.must("keyboard", b.call("POST", b.base+"/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": keys}}}, nil))
}

// focused returns the data-test name of what has the focus.
func (b *browser) focused() (name string) {
	b.t.Helper()
	b.must("focus", b.script(&name, `return document.activeElement?.dataset.test ?? ''`))
	return name
}

// page returns everything the page holds, as HTML.
func (b *browser) page() (html string) {
	b.t.Helper()
	b.must("page", b.script(&html, `return document.documentElement.innerHTML + [...document.querySelectorAll('input, textarea')].map(e => '\n' + e.value).join('')`))
	return html
}

// state is what the tests read of a snapshot; app.Snapshot has the whole.
type state struct {
	Log struct {
		Events  int
		Intact  bool
		Problem string
	}
	Keyring  struct{ State, Detail string }
	Servers  []server
	Prompt   *prompt
	Problems []failure
	Secrets  []struct{ Name, Added, LastUsed string }
}

type server struct {
	Name, State, Pin, PinDetail, Tier string
	Pid                               int
	Tools                             []struct{ Name, Effect string }
	Failure                           *failure
	Profile                           struct{ Read, Write []string }
}

type failure struct{ Code, What, Means, Fix string }

type prompt struct {
	ID, Digest, Exact, Tool, Target, Deadline string
	Level                                     int
	Args                                      []struct{ Pointer, Value, Origin string }
}

// snapshot asks the host, not the page.
func (b *browser) snapshot() (s state) {
	b.t.Helper()
	b.must("snapshot", b.script(&s, `return await window.go.app.App.Snapshot()`))
	return s
}

// server waits until a server is as wanted.
func (b *browser) server(name string, wanted func(server) bool) (found server) {
	b.t.Helper()
	eventually(b.t, 30*time.Second, "server "+name, func() error {
		for _, s := range b.snapshot().Servers {
			if s.Name == name {
				if found = s; wanted(s) {
					return nil
				}
				return fmt.Errorf("it is %+v", s)
			}
		}
		return errors.New("there is none")
	})
	return found
}

func running(s server) bool  { return s.State == "running" }
func approved(s server) bool { return s.State == "running" && s.Pin == "pinned" }

// callJSON fills in the form under Run with args, as JSON, and presses Run.
func (b *browser) callJSON(serverName, tool, args string) {
	b.t.Helper()
	b.form(serverName, tool)
	if args != "{}" { // a tool without arguments has no fields to write differently
		b.press("args-json")
		b.fill("args-raw", args)
	}
	b.pressAt(hook("run-button") + ":not([disabled])")
}

// form opens a fresh form for a tool.
func (b *browser) form(serverName, tool string) {
	b.t.Helper()
	b.press("nav-start") // leaving it forgets what was typed and the last result
	b.press("nav-run")
	b.pick("run-server", serverName)
	b.pick("run-tool", tool)
}

// result waits for the end of a call and returns how it ended and all that is said about it.
func (b *browser) result() (outcome, text string) {
	b.t.Helper()
	b.find(hook("result"))
	var r []string
	b.must("result", b.script(&r, `const e = document.querySelector('[data-test=result]'); return [e.dataset.outcome ?? '', e.innerText]`))
	return r[0], r[1]
}

// ended fails the test unless the call ended in this way and says all of this.
func (b *browser) ended(outcome string, says ...string) {
	b.t.Helper()
	got, text := b.result()
	if got != outcome {
		b.t.Errorf("the call ended %q, want %q:\n%s", got, outcome, text)
	}
	for _, s := range says {
		if !strings.Contains(text, s) {
			b.t.Errorf("the result does not say %q:\n%s", s, text)
		}
	}
}

// asked waits for the consent dialog and returns what the host asks.
func (b *browser) asked() *prompt {
	b.t.Helper()
	b.find(hook("consent"))
	b.until(`document.querySelector('[data-test=consent]')?.getAnimations().every(a => a.playState === 'finished')`)
	p := b.snapshot().Prompt
	if p == nil {
		b.t.Fatal("the dialog is shown, but the host asks nothing")
	}
	return p
}

// armed waits until Allow can be pressed.
func (b *browser) armed() {
	b.t.Helper()
	b.find(hook("consent-allow") + ":not([disabled])")
}

// approve goes through a server's review.
func (b *browser) approve(name string) {
	b.t.Helper()
	b.press("nav-servers")
	b.press("server-" + name)
	b.press("review-approve")
	b.server(name, approved)
}

// add defines a server through the window: its name, its command, and the folder it may read, chosen in the desktop's
// own dialog.
func (d *desktop) add(b *browser, name, command, read string) {
	b.t.Helper()
	b.press("nav-servers")
	b.press("add-server")
	b.fill("add-name", name)
	b.fill("add-command", command)
	if read != "" {
		b.press("add-read")
		d.chooseFolder(b, read)
		b.until(fmt.Sprintf(`document.querySelector('[role=dialog] [aria-label="May read"]')?.textContent.includes(%q)`, read))
	}
	b.press("add-save")
	b.gone(hook("add-save"))
}

// chooseFolder types a path into the desktop's folder dialog.
func (d *desktop) chooseFolder(b *browser, path string) {
	b.t.Helper()
	need(b.t, "xdotool")
	keys := func(args ...string) {
		if out, code := d.run(wait, "xdotool", args...); code != 0 {
			b.t.Fatalf("xdotool %v: exit %d: %s", args, code, out)
		}
	}
	keys("search", "--sync", "--name", "^Choose a folder", "windowfocus", "--sync")
	keys("key", "slash") // opens the field for a path, which takes a moment
	time.Sleep(300 * time.Millisecond)
	keys("type", "--delay", "2", strings.TrimPrefix(path, "/"))
	keys("key", "Return")
}

// ownServer puts the tests' own server into the home directory and returns its folder and the command for it.
func (d *desktop) ownServer(t *testing.T) (folder, command string) {
	t.Helper()
	need(t, "node")
	folder = filepath.Join(d.home, "own")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("testdata/own.mjs")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(folder, "own.mjs")
	write(t, script, string(program))
	write(t, filepath.Join(folder, "about.txt"), "Repeats a text.")
	return folder, "node " + script
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want no such file", filepath.Base(path), err)
	}
}

// cordon is the command line program.
func cordon(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(root(t), "bin", "cordon")
	need(t, bin)
	return bin
}

func (d *desktop) log() string  { return filepath.Join(d.home, "state", "cordon", "audit.jsonl") }
func (d *desktop) data() string { return filepath.Join(d.home, "data", "cordon") }

// filesystem installs the npm server through the window. Without a registry it skips, or fails with
// REQUIRE_REGISTRIES=1.
func (d *desktop) filesystem(b *browser) {
	b.t.Helper()
	need(b.t, "node", "npm")
	b.press("try-filesystem")
	eventually(b.t, time.Minute, "the filesystem server is installed", func() error {
		s := b.snapshot()
		for _, server := range s.Servers {
			if server.Name == "filesystem" && running(server) {
				return nil
			}
		}
		if _, err := b.lookup(hook("try-filesystem") + ":not([disabled])"); err == nil {
			var said string
			_ = b.script(&said, `return document.querySelector('.toasts').textContent`)
			if said != "" {
				if os.Getenv("REQUIRE_REGISTRIES") == "1" {
					b.t.Fatalf("the npm registry is needed and REQUIRE_REGISTRIES=1: %s", said)
				}
				b.t.Skipf("the npm registry is needed: %s", said)
			}
		}
		return errors.New("not yet")
	})
}
