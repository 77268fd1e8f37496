package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The main job, with npm's real filesystem server: install, review, read, write with consent, and find all of it in
// Activity. Then everything that must void a consent.
func TestMainJob(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	app, window := d.open()
	window.find("#app *")
	folder := filepath.Join(d.data(), "sample-case")
	step := func(name string, f func(t *testing.T, b *browser)) {
		t.Helper()
		if t.Failed() {
			t.Logf("%s: left out, because a step before it failed", name)
			return
		}
		t.Run(name, func(t *testing.T) { f(t, window.in(t)) })
	}
	d.filesystem(window)

	step("review shows every tool", func(t *testing.T, b *browser) {
		b.find(hook("review-approve"))
		if text := b.text(b.find(hook("review-approve"))); text != "Approve these 14 tools" {
			t.Errorf("the button says %q", text)
		}
		b.until(`document.querySelectorAll('.quar-main section.change').length === 14`)
		if text := b.text(b.find(".quar-main")); !strings.Contains(text, "read_text_file") || !strings.Contains(text, "write_file") {
			t.Errorf("the review shows:\n%s", text)
		}
	})
	step("unreviewed is denied", func(t *testing.T, b *browser) {
		b.form("filesystem", "read_text_file")
		if b.attribute(b.find(hook("run-button")), "disabled") == "" {
			t.Error("Run can be pressed before the review")
		}
		// The button is a courtesy; the host is what denies.
		var r struct{ Outcome, Stage, Rule string }
		err := b.script(&r, `return await window.go.app.App.Call({ticket: 'early', server: 'filesystem', kind: 'tool', tool: 'read_text_file', args: JSON.stringify({path: arguments[0]})})`, filepath.Join(folder, "notes.md"))
		if err != nil || r.Outcome != "denied" || r.Stage != "pin" || r.Rule != "pin.review" {
			t.Errorf("an unreviewed call: %+v, %v; want denied at pin by pin.review", r, err)
		}
	})
	window.approve("filesystem")

	step("reading needs no dialog", func(t *testing.T, b *browser) {
		b.form("filesystem", "read_text_file")
		b.fill("arg-path", filepath.Join(folder, "notes.md"))
		b.press("run-button")
		b.ended("ok", "handle to lsass.exe, access 0x1410", "Outside text, result #1")
		if _, err := b.lookup(hook("consent")); err == nil {
			t.Error("reading asked")
		}
	})

	// What is written: characters with a meaning in HTML and JSON, one outside ASCII, one that does not show, and a
	// newline at the end.
	const content = "<b>a & b</b> \"q\" ü \u2028 end\n"
	target := filepath.Join(folder, "report.html")
	ask := func(b *browser) *prompt {
		b.t.Helper()
		typed := fmt.Sprintf(`{"path":%q,"content":"<b>a & b</b> \"q\" ü \u2028 end\n"}`, target)
		b.callJSON("filesystem", "write_file", typed)
		return b.asked()
	}
	exact := fmt.Sprintf(`{"content":"<b>a & b</b> \"q\" ü %s end\n","path":"%s"}`, "\u2028", target)
	exact = strings.Replace(exact, "end\n", `end\n`, 1)

	step("the dialog shows everything and nothing approves it but Allow", func(t *testing.T, b *browser) {
		p := ask(b)
		e := b.find(hook("consent"))
		if role := b.attribute(e, "role"); role != "alertdialog" {
			t.Errorf("its role is %q", role)
		}
		if f := b.focused(); f != "consent-deny" {
			t.Errorf("the focus is on %q, want consent-deny", f)
		}
		if p.Exact != exact || p.Level != 1 || len(p.Args) != 2 {
			t.Errorf("the host asks for %q at level %d, want %q at level 1", p.Exact, p.Level, exact)
		}
		text := b.text(e)
		for _, want := range []string{"Write file report.html?", "filesystem.write_file", target, "<b>a & b</b> \"q\" ü ", "U+2028", "all 2 shown", "Nothing", "Run a tool", "consent.write"} {
			if !strings.Contains(text, want) {
				t.Errorf("the dialog does not say %q:\n%s", want, text)
			}
		}
		b.press("consent-exact")
		if shown := b.text(b.find(hook("consent") + " pre.code")); strings.Replace(shown, "U+2028", "\u2028", 1) != exact {
			t.Errorf("exact bytes are shown as %q, want %q", shown, exact)
		}
		b.find(fmt.Sprintf(".args-head [title=%q]", p.Digest))

		// Letters, and Enter on Allow once it has armed, do nothing.
		b.strike("a", "l", "y", "1")
		b.armed()
		for range 12 {
			if b.focused() == "consent-allow" {
				break
			}
			b.strike(keyTab)
		}
		b.strike(keyEnter)
		b.chord(keyControl, keyEnter)
		if now := b.snapshot().Prompt; b.focused() != "consent-allow" || now == nil || now.ID != p.ID {
			t.Errorf("Enter on %q answered the question", b.focused())
		}
		b.press("consent-deny")
		b.gone(hook("consent"))
		b.ended("denied", "You denied it", "consent.write")
		absent(t, target)
	})
	step("Allow is not there before it has armed", func(t *testing.T, b *browser) {
		// Watched in the page itself: WebDriver's own pace is slower than arming.
		err := b.script(nil, `window.early = null; new MutationObserver((_, me) => {
			const allow = document.querySelector('[data-test=consent-allow]');
			if (!allow) return;
			me.disconnect(); window.early = allow.disabled; allow.click() }).observe(document.body, {childList: true, subtree: true})`)
		if err != nil {
			t.Fatal(err)
		}
		p := ask(b)
		b.until("window.early !== null")
		var early bool
		if err := b.script(&early, "return window.early"); err != nil || !early {
			t.Errorf("Allow was disabled when the dialog opened: %v, %v", early, err)
		}
		if now := b.snapshot().Prompt; now == nil || now.ID != p.ID {
			t.Error("a click before arming answered the question")
		}
		b.strike(keyEscape)
		b.gone(hook("consent"))
		b.ended("denied", "You denied it")
		absent(t, target)
	})
	step("Enter on Deny denies, typing ahead approves nothing", func(t *testing.T, b *browser) {
		b.form("filesystem", "write_file")
		b.press("args-json")
		b.fill("args-raw", fmt.Sprintf(`{"path":%q,"content":"x"}`, target))
		// Started by keyboard, and the keys go on while the dialog comes up.
		b.chord(keyControl, keyEnter)
		b.strike(keyTab, keyEnter, keyTab, keyTab, keyEnter, "y", keyEnter)
		eventually(t, wait, "the call has ended", func() error {
			if b.snapshot().Prompt != nil {
				b.strike(keyEscape)
				return errors.New("still open")
			}
			if _, err := b.lookup(hook("cancel-button")); err == nil {
				return errors.New("still running")
			}
			return nil
		})
		if _, err := b.lookup(hook("result")); err == nil { // else a key came to Cancel before the dialog was up
			b.ended("denied")
		}
		absent(t, target)
	})
	step("answers that do not fit are refused", func(t *testing.T, b *browser) { refusesAnswers(t, b, target) })

	step("a change of the server while the dialog is open voids the consent", func(t *testing.T, b *browser) {
		entry := filepath.Join(d.data(), "filesystem-2026.8.31", "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js")
		old, err := os.ReadFile(entry)
		if err != nil {
			t.Fatal(err)
		}
		ask(b)
		write(t, entry, string(old)+"\n// changed\n")
		b.armed()
		b.press("consent-allow")
		b.gone(hook("consent"))
		b.ended("denied", "Stopped at stage pin", "pin.changed")
		absent(t, target)
		// Once it is as it was, it is the one that was approved.
		write(t, entry, string(old))
		b.press("nav-servers")
		b.press("server-filesystem")
		b.server("filesystem", approved)
	})
	step("a crash of the server while the dialog is open denies", func(t *testing.T, b *browser) {
		before := b.server("filesystem", approved)
		ask(b)
		if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		b.gone(hook("consent"))
		b.ended("denied", "The question was withdrawn")
		absent(t, target)
		b.server("filesystem", func(s server) bool { return approved(s) && s.Pid != before.Pid })
	})
	step("Stop everything while the dialog is open denies", func(t *testing.T, b *browser) {
		pid := b.server("filesystem", approved).Pid
		ask(b)
		b.chord(keyControl, keyShift, keyBackspace)
		b.gone(hook("consent"))
		b.ended("denied")
		absent(t, target)
		b.server("filesystem", func(s server) bool { return s.State == "stopped" })
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("its process is still there: %v", err)
		}
	})
	step("a stopped server is started where its tools are called", func(t *testing.T, b *browser) {
		b.press("nav-start")
		b.press("nav-run")
		b.press("run-start")
		b.server("filesystem", approved)
	})
	step("Allow writes exactly what was shown", func(t *testing.T, b *browser) {
		p := ask(b)
		if p.Exact != exact {
			t.Errorf("asks for %q", p.Exact)
		}
		b.armed()
		b.press("consent-allow")
		b.gone(hook("consent"))
		b.ended("ok", "Successfully wrote")
		if got, err := os.ReadFile(target); err != nil || string(got) != content {
			t.Errorf("the file holds %q, %v; want %q", got, err, content)
		}
		if err := os.Remove(target); err != nil {
			t.Error(err)
		}
	})
	step("reading outside the folder fails at the server", func(t *testing.T, b *browser) {
		b.callJSON("filesystem", "read_text_file", fmt.Sprintf(`{"path":%q}`, d.log()))
		b.ended("tool-error", "Access denied")
	})
	step("a target that a result named is marked as such", func(t *testing.T, b *browser) {
		if p := ask(b); p.Level != 1 {
			t.Fatalf("asks at level %d, want level 1: the person typed it", p.Level)
		}
		if text := b.text(b.find(hook("consent"))); !strings.Contains(text, "flow.quoted") || !strings.Contains(text, "result #") {
			t.Errorf("the dialog does not say where the target comes from:\n%s", text)
		}
		b.press("consent-deny")
		b.gone(hook("consent"))
		absent(t, target)
	})
	step("activity tells every step", func(t *testing.T, b *browser) { tellsEveryStep(t, d, b) })

	step("closing the window while the dialog is open denies", func(t *testing.T, b *browser) {
		ask(b)
		if out, code := d.run(wait, "xdotool", "search", "--name", "^Cordon$", "windowfocus", "key", "--clearmodifiers", "alt+F4"); code != 0 {
			t.Fatalf("xdotool: exit %d: %s", code, out)
		}
		select {
		case <-app.exited:
		case <-time.After(quick):
			app.stop(syscall.SIGQUIT, 2*time.Second)
			t.Fatal("the window did not close", app.output())
		}
		if app.err != nil {
			t.Errorf("it ended with %v:\n%s", app.err, app.output())
		}
		absent(t, target)
		if out, code := d.run(wait, cordon(t), "audit", "verify"); code != 0 {
			t.Errorf("audit verify: exit %d: %s", code, out)
		}
	})
}

// refusesAnswers plays a page that has been taken over: it has the bound methods, and still gets nothing allowed.
func refusesAnswers(t *testing.T, b *browser, target string) {
	args := fmt.Sprintf(`{"path":%q,"content":"x"}`, target)
	b.callJSON("filesystem", "write_file", args)
	old := b.asked()
	b.press("consent-deny")
	b.gone(hook("consent"))

	// Asked and answered in one go, so that the answer comes before arming.
	b.form("filesystem", "write_file")
	b.press("args-json")
	b.fill("args-raw", args)
	var early struct{ Error string }
	err := b.script(&early, `document.querySelector('[data-test=run-button]').click();
		for (let i = 0; i < 200; i++) {
			const p = (await window.go.app.App.Snapshot()).prompt;
			if (!p) { await new Promise(r => setTimeout(r, 5)); continue }
			try { await window.go.app.App.Answer({id: p.id, digest: p.digest, allow: true, typed: ''}) } catch (e) { return {error: e.message ?? String(e)} }
			return {error: ''}
		}
		return {error: 'nothing was asked'}`)
	refusal(t, "allow before arming", early.Error, err)
	p := b.asked()
	answer := func(what, id, digest string) {
		t.Helper()
		var r struct{ Error string }
		err := b.script(&r, `try { await window.go.app.App.Answer({id: arguments[0], digest: arguments[1], allow: true, typed: ''}) } catch (e) { return {error: e.message ?? String(e)} }
			return {error: ''}`, id, digest)
		refusal(t, what, r.Error, err)
	}
	b.armed()
	wrong := strings.Repeat("0", len(p.Digest)-1) + "1"
	answer("a wrong digest", p.ID, wrong)
	answer("no digest", p.ID, "")
	answer("a wrong id", strings.Repeat("a", len(p.ID)), p.Digest)
	answer("the id of an old question", old.ID, old.Digest)
	answer("an old id with the new digest", old.ID, p.Digest)
	absent(t, target)
	if now := b.snapshot().Prompt; now == nil || now.ID != p.ID {
		t.Fatal("the question is gone")
	}
	b.press("consent-deny") // the dialog still works
	b.gone(hook("consent"))
	b.ended("denied", "You denied it")
	absent(t, target)
	answer("an answered question", p.ID, p.Digest)
	absent(t, target)
}

// refusal checks that a rejection carries a Failure.
func refusal(t *testing.T, what, text string, err error) {
	t.Helper()
	var f failure
	if err != nil || json.Unmarshal([]byte(text), &f) != nil || !strings.HasPrefix(f.Code, "CRD-ASK-") || f.What == "" {
		t.Errorf("%s: refused with %q, %v; want a Failure", what, text, err)
	}
}

// tellsEveryStep looks at Activity after the calls above.
func tellsEveryStep(t *testing.T, d *desktop, b *browser) {
	b.press("nav-activity")
	rows := func() (texts []string) {
		b.must("rows", b.script(&texts, `return [...document.querySelectorAll('table.log tbody tr')].map(r => [...r.cells].map(c => c.innerText.trim()).join('|'))`))
		return texts
	}
	b.find("table.log tbody tr")
	all := strings.Join(rows(), "\n")
	for _, want := range []string{"Cordon started", "filesystem was added", "filesystem started", "filesystem was approved", "filesystem.write_file", "you allowed", "you denied", "denied", "intent", "pin.review", "consent.write"} {
		if !strings.Contains(all, want) {
			t.Errorf("activity does not show %q:\n%s", want, all)
		}
	}

	// The allowed write left an answer and an outcome, and the one that a change voided its answer.
	b.pick("filter-decision", "you allowed")
	b.until(`document.querySelectorAll('table.log tbody tr').length === 3`)
	var seq int
	b.must("newest", b.script(&seq, `return Number(document.querySelector('table.log tbody tr').dataset.test.slice(6))`))
	b.click(b.find(hook("event-"+strconv.Itoa(seq)) + " td"))
	b.find(".story ol.stages")
	var stages []string
	b.must("stages", b.script(&stages, `return [...document.querySelectorAll('ol.stages li')].map(l => l.innerText.replace(/\s+/g, ' '))`))
	if len(stages) != 10 || !strings.HasPrefix(stages[0], "resolve") || !strings.HasPrefix(stages[9], "outcome") || !strings.Contains(stages[5], "you allowed it once") {
		t.Errorf("the story has %d stages:\n%s", len(stages), strings.Join(stages, "\n"))
	}
	story := b.text(b.find(".story"))
	for _, want := range []string{"Run a tool asked for filesystem.write_file: you allowed.", "matches", "report.html", "Same call", "intent"} {
		if !strings.Contains(story, want) {
			t.Errorf("the story does not say %q:\n%s", want, story)
		}
	}

	b.pick("filter-decision", "")
	b.fill("activity-find", "pin.review")
	b.until(`document.querySelectorAll('table.log tbody tr').length === 1`)
	b.fill("activity-find", "no such words")
	b.findXPath("//h2[.='No event matches']")
	b.click(b.button("Clear the filters"))
	b.pick("filter-server", "filesystem")
	b.until(`document.querySelectorAll('table.log tbody tr').length > 10 && ![...document.querySelectorAll('table.log tbody tr')].some(r => r.innerText.includes('Cordon started'))`)
	b.pick("filter-server", "")

	// By keyboard: the focused row opens with Enter.
	b.must("focus", b.script(nil, `document.querySelectorAll('table.log tbody tr')[1].focus()`))
	b.strike(keyEnter)
	b.until(`document.querySelector('table.log tbody tr[aria-selected=true]') === document.querySelectorAll('table.log tbody tr')[1]`)

	b.press("verify-log")
	b.findXPath("//*[contains(., 'The log is intact')]")
	verify := func(path string) (string, int) { return d.run(wait, cordon(t), "audit", "verify", path) }
	if out, code := verify(d.log()); code != 0 {
		t.Errorf("audit verify: exit %d: %s", code, out)
	}
	whole, err := os.ReadFile(d.log())
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), whole...)
	changed[len(changed)/2] ^= 1
	copied := filepath.Join(t.TempDir(), "audit.jsonl")
	write(t, copied, string(changed))
	if out, code := verify(copied); code != 5 {
		t.Errorf("audit verify of a changed log: exit %d, want 5: %s", code, out)
	}
	// The real one, changed in place and put back.
	f, err := os.OpenFile(d.log(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(len(whole) / 2)
	if _, err := f.WriteAt(changed[at:at+1], at); err != nil {
		t.Fatal(err)
	}
	b.press("verify-log")
	b.findXPath("//*[contains(., 'The log does not fit together')]")
	b.until(`document.querySelector('footer').textContent.includes('Log damaged')`)
	if _, err := f.WriteAt(whole[at:at+1], at); err != nil {
		t.Fatal(err)
	}
	b.press("verify-log")
	b.until(`document.querySelector('footer').textContent.includes('Log intact')`)
}
