package e2e

import (
	"strings"
	"testing"
	"time"
)

// asker defines and approves a server that asks in the middle of a call, and calls it.
func (d *desktop) asker(b *browser, folder, command string) {
	b.must("add asker", b.script(nil, `await window.go.app.App.AddServer({name: 'asker', command: arguments[0], read: [arguments[1]], write: [], net: 'none', memoryBytes: 0, pids: 0})`,
		append(strings.Fields(command), "asker"), folder))
	b.server("asker", running)
	b.approve("asker")
	b.callJSON("asker", "read_queue", `{}`)
	b.find(hook("question"))
}

// A server asks in the middle of a call; the person's answer reaches it, and one with a secret in it does not.
func TestQuestion(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	folder, command := d.ownServer(t)
	_, b := d.open()
	b.find("#app *")
	b.press("nav-servers")
	d.asker(b, folder, command)
	if text := b.text(b.find(hook("question"))); !strings.Contains(text, "Which queue should this ticket go to?") || !strings.Contains(text, "Everything you send is read by asker") {
		t.Errorf("it asks %q", text)
	}
	time.Sleep(time.Second)
	b.press("question-accept") // the priority is missing
	b.find(hook("question"))
	b.fill("question-priority", "9")
	b.press("question-accept")
	b.findXPath("//*[@data-test='question'][contains(., 'it is more than 4')]")
	b.fill("question-priority", "2")
	b.press("question-notify")
	b.press("question-accept")
	b.gone(hook("question"))
	b.ended("ok", `{"action":"accept","content":{"notify":true,"priority":2,"queue":"SOC tier 1"}}`)

	b.callJSON("asker", "read_queue", `{}`)
	b.find(hook("question"))
	time.Sleep(time.Second)
	b.press("question-decline")
	b.ended("ok", `{"action":"decline"}`)

	// What holds a secret is not sent, whatever the person presses.
	before := b.server("asker", running)
	b.must("set a secret", b.script(nil, `await window.go.app.App.SetSecret({name: 'asker-token', server: 'asker', env: 'TOKEN', value: 'tok-5b1f77c0-of-mine'})`))
	b.server("asker", func(s server) bool { return approved(s) && s.Pid != before.Pid })
	b.callJSON("asker", "read_queue", `{}`)
	b.find(hook("question"))
	time.Sleep(time.Second)
	b.fill("question-queue", "use tok-5b1f77c0-of-mine")
	b.fill("question-priority", "2")
	b.press("question-accept")
	b.findXPath("//*[@data-test='question'][contains(., 'it holds one of your secrets')]")
	b.press("question-decline")
	b.ended("ok", `{"action":"decline"}`)
	b.press("nav-activity")
	b.fill("activity-find", "asked you")
	b.until(`[...document.querySelectorAll('table.log tbody tr')].length === 3`)
}
