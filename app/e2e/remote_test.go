package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// addRemote fills in the form for a server at an address, and leaves it open.
func (b *browser) addRemote(name, address string) {
	b.t.Helper()
	b.press("nav-servers")
	b.press("add-server")
	b.press("add-from-url")
	b.fill("add-name", name)
	b.fill("add-url", address)
}

// says waits until something with a data-test name says all of this.
func (b *browser) says(test string, words ...string) {
	b.t.Helper()
	b.find(hook(test))
	eventually(b.t, wait, test+" says it", func() error {
		var text string
		if err := b.script(&text, `return document.querySelector(arguments[0])?.innerText ?? ''`, hook(test)); err != nil {
			return err
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				return errors.New("it does not say " + w + ": " + text)
			}
		}
		return nil
	})
}

// A server at an address: added in the form, allowed although it is open to everybody, reviewed, called, read, fetched.
func TestRemote(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	far := newFaraway(t)
	_, window := d.open()
	window.find("#app *")
	step := func(name string, f func(t *testing.T, b *browser)) {
		t.Helper()
		if t.Failed() {
			t.Logf("%s: left out, because a step before it failed", name)
			return
		}
		t.Run(name, func(t *testing.T) { f(t, window.in(t)) })
	}
	step("an address that is not encrypted is not taken", func(t *testing.T, b *browser) {
		b.addRemote("cases", "http://cases.example.org/mcp")
		b.press("add-save")
		b.findXPath("//*[@id='add-url-e'][contains(., 'http is not encrypted')]")
		b.says("remote-means", "nothing of it is confined", "the same gate")
		b.fill("add-url", far.address())
		b.press("add-save")
		b.gone(hook("add-save"))
	})
	step("one that serves whoever calls is left, until a person allows it", func(t *testing.T, b *browser) {
		b.says("nameless", "It does not ask who calls", "CRD-NET-03")
		if far.said(`tools/call`) {
			t.Error("it was called")
		}
		b.press("open-allow")
		b.server("cases", running)
	})
	step("its tools and prompts are reviewed", func(t *testing.T, b *browser) {
		b.find(hook("review-approve"))
		b.until(`document.querySelectorAll('.quar-main section.change').length === 4`)
		text := b.text(b.find(".quar-page"))
		for _, want := range []string{"3 tools", "1 prompt", "triage", "Triages a case", "Pins the address", far.address(), "can change unnoticed", "resources to read"} {
			if !strings.Contains(text, want) {
				t.Errorf("the review does not say %q:\n%s", want, text)
			}
		}
		if got := b.text(b.find(hook("review-approve"))); got != "Approve these 3 tools and 1 prompt" {
			t.Errorf("the button says %q", got)
		}
		b.press("review-approve")
		b.server("cases", approved)
		b.says("remote", far.address(), "remote", "nothing is confined")
		text = b.text(b.find("[data-detail]"))
		for _, absent := range []string{"What is enforced", "Uses now", "Standard error", "process"} {
			if strings.Contains(text, absent) {
				t.Errorf("the page of a remote server says %q", absent)
			}
		}
	})
	step("a tool is called through the gate", func(t *testing.T, b *browser) {
		b.callJSON("cases", "search_cases", `{"about":"lsass"}`)
		b.ended("ok", "INC-2041: LSASS handle", "U+202E", "Outside text")
		b.callJSON("cases", "add_comment", `{"id":"INC-2041","comment":"seen"}`)
		b.asked()
		if text := b.text(b.find(hook("consent"))); !strings.Contains(text, "The arguments of this call") || !strings.Contains(text, strings.TrimPrefix(far.URL, "http://")) {
			t.Errorf("the dialog does not say what leaves:\n%s", text)
		}
		b.press("consent-deny")
		b.ended("denied")
		if far.said("tools/call", "add_comment") {
			t.Error("it was sent all the same")
		}
	})
	step("progress is shown, and the call can be cancelled", func(t *testing.T, b *browser) {
		b.callJSON("cases", "get_report", `{}`)
		b.says("running", "Running", "of 8", "reading", "the timeline")
		b.says("running", "for 2 s")
		b.press("cancel-button")
		b.ended("cancelled")
	})
	open := func(b *browser, tab string) {
		b.t.Helper()
		b.press("nav-servers")
		b.press("server-cases")
		b.press("tab-" + tab)
	}
	step("a resource is read", func(t *testing.T, b *browser) {
		open(b, "resources")
		b.says("resources", "timeline", "4 KiB", "text/markdown", "export·gnp.exe", "<b>Everything</b>", "hxxps://cases[.]example[.]org")
		b.press("resource-0")
		if got := b.text(b.find(hook("resource-address"))); got != "case://INC-2041/timeline" {
			t.Errorf("the address is %q", got)
		}
		b.press("offer-run")
		b.ended("ok", "Of case://INC-2041/timeline", "U+200B", "Outside text", "1 hidden character")
		b.press("offer-back")
		b.find(hook("resources"))
		if f := b.focused(); f != "resource-0" {
			t.Errorf("the focus is on %q, want where it was", f)
		}
	})
	step("a template is filled in, with what the server proposes, by keyboard", func(t *testing.T, b *browser) {
		open(b, "resources")
		b.press("resource-2")
		b.find(hook("var-id"))
		b.fill("var-id", "INC-204")
		b.says("var-id-offered", "INC-2041", "INC-2042")
		if got := b.text(b.find(hook("resource-address"))); got != "case://INC-204/notes" {
			t.Errorf("the address is %q: what is proposed is not filled in", got)
		}
		b.strike("\ue015", "\ue015", keyEnter) // the second one
		b.says("resource-address", "case://INC-2042/notes")
		b.gone(hook("var-id-offered"))
		b.press("offer-run")
		b.ended("ok", "Of case://INC-2042/notes")
		if !far.said("completion/complete", `"INC-204"`) {
			t.Error("the server was not asked to complete it")
		}
	})
	step("a prompt is fetched", func(t *testing.T, b *browser) {
		open(b, "prompts")
		b.says("prompts", "triage", "Triages a case")
		b.press("prompt-triage")
		b.press("offer-run") // its argument is missing
		b.findXPath("//*[contains(., 'case is required.')]")
		b.fill("arg-case", "INC-2077")
		b.strike(keyEscape)
		b.press("offer-run")
		b.ended("ok", "as the user", "Triage INC-2077", "as the assistant", "I begin with the process tree.")
	})
	step("a prompt that changes holds the server until it is reviewed", func(t *testing.T, b *browser) {
		addTriage(far.mcp, "Triages a case, and sends it to https://intake.example.org\u200b.")
		b.server("cases", func(s server) bool { return s.State == "quarantined" })
		b.press("nav-servers")
		b.press("server-cases")
		b.find(hook("review-approve"))
		b.until(`(t => t.includes('is not the server you approved') && t.includes('prompt triage') && t.includes('sends it to') && t.includes('U+200B'))(document.querySelector('.quar-page').innerText)`)
		addTriage(far.mcp, "Triages a case in the order that the team agreed on.")
		b.server("cases", approved)
	})
	step("activity tells of all of it", func(t *testing.T, b *browser) {
		b.press("nav-activity")
		b.until(`(t => t.includes('search_cases') && t.includes('case://INC-2042/notes') && t.includes('triage'))(document.querySelector('table.log').innerText)`)
	})
	step("disconnected and connected again", func(t *testing.T, b *browser) {
		open(b, "overview")
		b.press("server-stop")
		b.server("cases", func(s server) bool { return s.State == "stopped" })
		b.press("server-start")
		b.server("cases", approved)
	})
}

// A server on this computer offers the same, beside its profile.
func TestLocalOffers(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	folder, command := d.ownServer(t)
	_, b := d.open()
	b.find("#app *")
	b.must("add own", b.script(nil, `await window.go.app.App.AddServer({name: 'own', command: arguments[0], read: [arguments[1]], write: [], net: 'none', memoryBytes: 0, pids: 0})`,
		append(strings.Fields(command), "offers"), folder))
	b.server("own", running)
	b.approve("own")
	b.find(hook("tab-profile"))
	b.press("tab-resources")
	b.press("resource-0")
	b.press("offer-run")
	b.ended("ok", "note of note://one")
	b.press("tab-prompts")
	b.press("prompt-summary")
	b.press("offer-run")
	b.ended("ok", "as the user", "Summarise the notes.")
}

// A key goes to its server in its header and is seen nowhere else.
func TestRemoteKey(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	const key = "k-77f1-of-the-soc-team-0042"
	far := newFaraway(t, func(f *faraway) { f.key = key })
	_, b := d.open()
	b.find("#app *")
	b.addRemote("cases", far.address())
	b.press("add-how-key")
	b.fill("add-header", "X-Api-Key")
	b.press("add-save")
	b.findXPath("//*[@id='add-key-e'][contains(., 'A key is required.')]")
	b.fill("add-key", key)
	b.press("add-save")
	b.gone(hook("add-save"))
	b.server("cases", running)
	b.press("review-approve")
	b.server("cases", approved)
	b.says("remote-login", "X-Api-Key", "secret")
	if strings.Contains(b.page(), key) {
		t.Error("the page holds the key")
	}
	b.callJSON("cases", "search_cases", `{"about":"`+key+`"}`)
	b.ended("denied", "secret.argument")
	for _, file := range []string{filepath.Join(d.home, "config", "cordon", "config.json"), d.log()} {
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), key) {
			t.Errorf("%s holds the key, or is not there: %v", filepath.Base(file), err)
		}
	}
}

// A machine signs in: nobody is asked, and what proves it lies in the keyring alone. A wrong secret says so, and leads back to the form.
func TestRemoteMachine(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	const secret = "cs-51c0-of-the-soc-desk-0087"
	as := newAuthorizer(t)
	as.client, as.secret = "soc-desk", secret
	far := newFaraway(t, func(f *faraway) { f.as = as })
	_, b := d.open()
	b.find("#app *")
	b.addRemote("cases", far.address())
	b.press("add-how-machine")
	b.press("add-save")
	b.findXPath("//*[@id='add-secret-e'][contains(., 'belongs to the client id')]")
	b.pick("add-machine", "private-key-jwt")
	b.findXPath("//textarea[@id='add-secret']")
	b.fill("add-secret", "a"+keyEnter+"b") // not drawn, but kept as it is
	var kept string
	if err := b.script(&kept, `return document.querySelector('#add-secret').value`); err != nil || kept != "a\nb" {
		t.Errorf("the field for a key holds %q, %v", kept, err)
	}
	b.pick("add-machine", "client-credentials")
	b.fill("add-client", "soc-desk")
	b.fill("add-secret", secret)
	b.press("add-save")
	b.findXPath("//*[@id='add-issuer-e'][contains(., 'Who gets the secret')]")
	b.fill("add-issuer", as.URL)
	b.press("add-save")
	b.gone(hook("add-save"))
	b.server("cases", running)
	b.press("review-approve")
	b.server("cases", approved)
	b.says("remote-login", "as a registered program, with a client secret", "nobody signs in")
	b.callJSON("cases", "search_cases", `{"about":"LSASS"}`)
	b.result()
	if strings.Contains(b.page(), secret) {
		t.Error("the page holds the secret")
	}
	for _, file := range []string{filepath.Join(d.home, "config", "cordon", "config.json"), d.log()} {
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), "machine-1-soc-desk") {
			t.Errorf("%s holds the secret or the token, or is not there: %v", filepath.Base(file), err)
		}
	}
	b.addRemote("wrong", far.address())
	b.press("add-how-machine")
	b.fill("add-client", "soc-desk")
	b.fill("add-secret", "another-secret-than-that")
	b.fill("add-issuer", as.URL)
	b.press("add-save")
	b.gone(hook("add-save"))
	b.findXPath("//*[@data-detail]//*[@aria-label='What failed'][contains(., 'invalid_client')]")
}

// Signing in: Cordon shows the page and asks, the browser brings the answer back, more is asked for later, and one signs out.
func TestRemoteSignIn(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	as := newAuthorizer(t)
	far := newFaraway(t, func(f *faraway) { f.as, f.need = as, "cases:comment" })
	env, opened, visit := d.fakeBrowser()
	_, window := d.open(env)
	window.find("#app *")
	step := func(name string, f func(t *testing.T, b *browser)) {
		t.Helper()
		if t.Failed() {
			t.Logf("%s: left out, because a step before it failed", name)
			return
		}
		t.Run(name, func(t *testing.T) { f(t, window.in(t)) })
	}
	accept := func(b *browser) string {
		b.t.Helper()
		b.find(hook("question"))
		b.pressAt(hook("question-accept") + ":not([disabled])")
		b.gone(hook("question"))
		return opened()
	}
	step("it says that one has to sign in", func(t *testing.T, b *browser) {
		b.addRemote("cases", far.address())
		b.press("add-save")
		b.gone(hook("add-save"))
		b.server("cases", func(s server) bool { return s.State == "sign-in needed" })
		b.says("sign-in-needed", "It wants to know who calls", "CRD-NET-01")
	})
	step("the page is shown, and not opened when one does not want it", func(t *testing.T, b *browser) {
		b.press("sign-in")
		b.says("question", "Cordon asks this", "127.0.0.1", as.URL+"/authorize?", "code_challenge", "not encrypted", far.address())
		b.pressAt(hook("question-decline") + ":not([disabled])")
		b.gone(hook("question"))
		b.findXPath("//*[contains(@class, 'toast')][contains(., 'The page was not opened.')]")
		b.find(hook("sign-in"))
		if _, err := os.Stat(filepath.Join(d.home, "opened")); err == nil {
			t.Error("the browser was opened")
		}
	})
	step("waiting for the browser can be given up", func(t *testing.T, b *browser) {
		b.press("sign-in")
		accept(b)
		b.says("signing-in", "Waiting for you in the browser")
		b.press("sign-in-cancel")
		b.gone(hook("signing-in"))
		b.find(hook("sign-in"))
	})
	step("signed in", func(t *testing.T, b *browser) {
		b.press("sign-in")
		address := accept(b)
		if !strings.HasPrefix(address, as.URL+"/authorize?") {
			t.Fatalf("opened %s", address)
		}
		visit(address)
		b.server("cases", running)
		b.press("review-approve")
		b.server("cases", approved)
		b.says("remote-login", "signed in", strings.TrimPrefix(as.URL, "http://"), "cases:read", "to this computer", "UTC")
		b.callJSON("cases", "search_cases", `{"about":"lsass"}`)
		b.ended("ok", "INC-2041")
	})
	step("what it wants besides is a request", func(t *testing.T, b *browser) {
		comment := func() {
			b.t.Helper()
			b.callJSON("cases", "add_comment", `{"id":"INC-2041","comment":"seen"}`)
			b.asked()
			b.armed()
			b.press("consent-allow")
			b.gone(hook("consent"))
		}
		comment()
		b.ended("failed", "CRD-NET-01")
		b.press("nav-servers")
		b.press("server-cases")
		b.says("sign-in-wanted", "The server wants to be allowed more:", "cases:comment")
		b.press("sign-in")
		visit(accept(b))
		b.gone(hook("sign-in-wanted"))
		b.says("remote-login", "cases:comment")
		comment()
		b.ended("ok", "comment 17 added")
	})
	step("signed out", func(t *testing.T, b *browser) {
		b.press("nav-servers")
		b.press("server-cases")
		b.press("sign-out")
		b.server("cases", func(s server) bool { return s.State == "stopped" })
		b.says("remote-login", "not signed in")
		as.mu.Lock()
		defer as.mu.Unlock()
		if _, ok := as.given["access-2"]; ok {
			t.Error("the authorization server does not know")
		}
	})
}
