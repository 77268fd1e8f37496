package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The shipped build, by assistive technology alone: a person who cannot see the dialog can read, deny and allow it.
func TestAssistiveTechnology(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	app := d.openShipped()
	file := filepath.Join(d.data(), "practice", "practice.txt")

	d.press("button", "Practise")
	d.press("dialog", "Write file practice.txt?")
	d.press("text", "added: You allowed this on purpose.")
	d.press("button", "Deny")
	d.press("text", "It was denied: nothing was written.")
	absent(t, file)

	d.press("button", "Practise")
	d.press("dialog", "Write file practice.txt?")
	eventually(t, quick, "the practice file is written", func() error {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		d.press("button", "Write file once") // does nothing until it has armed
		return errors.New("not yet")
	})
	d.press("text", "You allowed it: the practice file was written.")
	if b, err := os.ReadFile(file); err != nil || string(b) != "You allowed this on purpose.\n" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if !app.stop(syscall.SIGTERM, quick) || app.err != nil {
		t.Errorf("after SIGTERM: %v\n%s", app.err, app.output())
	}
}

// axe loads axe into the page. What it returns fails the test for everything that axe finds now.
func (b *browser) axe() (audit func(what string)) {
	b.t.Helper()
	file := filepath.Join(root(b.t), "frontend", "node_modules", "axe-core", "axe.min.js")
	need(b.t, file)
	source, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	b.must("load axe", b.script(nil, string(source)))
	return func(what string) {
		b.t.Helper()
		b.still()
		var found []struct {
			ID, Help string
			Nodes    []string
		}
		err := b.script(&found, `const r = await axe.run(document, {resultTypes: ['violations']});
			return r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + ' ' + n.any.map(a => a.message).join(' '))}))`)
		if err != nil {
			b.t.Fatalf("%s: %v", what, err)
		}
		for _, v := range found {
			b.t.Errorf("%s: %s: %s\n\t%s", what, v.ID, v.Help, strings.Join(v.Nodes, "\n\t"))
		}
	}
}

// axe finds nothing on any screen, drawn by the engine that draws it for people, in both themes.
func TestAxe(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	folder, command := d.ownServer(t)
	_, b := d.open()
	b.find("#app *")
	audit := b.axe()
	argv := strings.Fields(command)
	define := func(name string, command []string) {
		b.must("add "+name, b.script(nil, `await window.go.app.App.AddServer({name: arguments[0], command: arguments[1], read: [arguments[2]], write: [], net: 'none', memoryBytes: 0, pids: 0})`, name, command, folder))
	}
	define("own", argv)
	define("absent", []string{"no-such-program-here"})
	b.server("own", running)

	for _, theme := range []string{"light", "dark"} {
		b.press("nav-settings")
		b.press("settings-appearance")
		b.press("theme-" + theme)
		audit(theme + " appearance")
		for _, page := range []string{"secrets", "policy", "computer", "keyboard", "about"} {
			b.press("settings-" + page)
			audit(theme + " " + page)
		}
		b.press("nav-start")
		b.press("try-sandbox")
		b.find(".try-more table")
		audit(theme + " start")
		b.press("nav-servers")
		b.press("server-absent")
		audit(theme + " failed server")
		b.press("server-own")
		if theme == "light" {
			b.find(hook("review-approve"))
			audit(theme + " review")
			b.press("review-approve")
			b.server("own", approved)
		}
		for _, tab := range []string{"overview", "tools", "profile", "log", "connection"} {
			b.press("tab-" + tab)
			audit(theme + " server " + tab)
		}
		b.press("add-server")
		b.press("add-net-hosts")
		b.press("add-save") // every field says what is wrong with it
		audit(theme + " add a server")
		b.strike(keyEscape)
		b.callJSON("own", "echo", "{\"text\":\"a\u202eb <i>c</i>\"}")
		b.result()
		audit(theme + " run and result")
		b.callJSON("own", "isolate_host", `{"host":"ws-fin-0142"}`)
		b.asked()
		audit(theme + " consent")
		b.press("consent-deny")
		b.result()
		audit(theme + " denied")
		b.press("nav-activity")
		b.click(b.find("table.log tbody tr td"))
		b.find(".story ol.stages")
		audit(theme + " activity and story")
	}
}

// axe finds nothing on what remote servers bring, in both themes.
func TestAxeRemote(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	as := newAuthorizer(t)
	far, guarded := newFaraway(t), newFaraway(t, func(f *faraway) { f.as = as })
	_, b := d.open()
	b.find("#app *")
	audit := b.axe()
	theme := func(name string) {
		b.press("nav-settings")
		b.press("settings-appearance")
		b.press("theme-" + name)
	}
	for _, name := range []string{"light", "dark"} {
		theme(name)
		b.addRemote("cases-"+name, "http://cases.example.org/mcp")
		b.press("add-how-key")
		b.press("add-more")
		b.press("add-save")
		audit(name + " add a remote server with a key")
		b.press("add-how-person")
		audit(name + " add a remote server")
		b.fill("add-url", far.address())
		b.press("add-save")
		b.gone(hook("add-save"))
		b.find(hook("nameless"))
		audit(name + " open to everybody")
		b.press("open-allow")
		b.find(hook("review-approve"))
		audit(name + " review with prompts")
		b.press("review-approve")
		b.server("cases-"+name, approved)
		for _, tab := range []string{"overview", "resources", "prompts", "log"} {
			b.press("tab-" + tab)
			audit(name + " remote server " + tab)
		}
		b.press("tab-resources")
		b.press("resource-2")
		b.fill("var-id", "INC")
		b.find(hook("var-id-offered"))
		b.strike("\ue015")
		audit(name + " what a server proposes")
		b.strike(keyEnter)
		b.press("offer-run")
		b.result()
		audit(name + " resource")
		b.press("tab-prompts")
		b.press("prompt-triage")
		b.press("offer-run")
		b.fill("arg-case", "INC-2041")
		b.strike(keyEscape)
		b.press("offer-run")
		b.result()
		audit(name + " prompt")
		b.callJSON("cases-"+name, "get_report", `{}`)
		b.says("running", "of 8")
		audit(name + " progress")
		b.press("cancel-button")
		b.result()
		b.addRemote("intel-"+name, guarded.address())
		b.press("add-save")
		b.find(hook("sign-in-needed"))
		audit(name + " sign-in needed")
		b.press("sign-in")
		b.find(hook("question-accept") + ":not([disabled])")
		audit(name + " the page to sign in on")
		b.press("question-decline")
		b.gone(hook("question"))
		b.find(hook("sign-in"))
		audit(name + " a sign-in that was left")
	}
}
