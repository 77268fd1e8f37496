package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// notes makes a folder that no server is granted, outside of /tmp, which is private inside.
func notes(t *testing.T) (file string) {
	t.Helper()
	folder, err := os.MkdirTemp("/var/tmp", "cordon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	file = filepath.Join(folder, "indicators.txt")
	write(t, file, "198.51.100.7")
	return file
}

// reader defines and approves a server that reads what it is told to, and opens its profile.
func (d *desktop) reader(b *browser, name, folder, command string) {
	b.must("add "+name, b.script(nil, `await window.go.app.App.AddServer({name: arguments[0], command: arguments[1], read: [arguments[2]], write: [], net: 'none', memoryBytes: 0, pids: 0})`,
		name, append(strings.Fields(command), "reader"), folder))
	b.server(name, running)
	b.press("nav-servers")
	b.press("server-" + name)
	b.find(hook("review-approve"))
	b.press("review-approve")
	b.server(name, approved)
}

// A server is watched for what it asks for; each thing is allowed once, for good, or never.
func TestWanted(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	folder, command := d.ownServer(t)
	file := notes(t)
	_, b := d.open()
	b.find("#app *")
	d.reader(b, "own", folder, command)
	profile := func() {
		b.press("nav-servers")
		b.press("server-own")
		b.press("tab-profile")
	}
	reads := func(want string) {
		t.Helper()
		b.callJSON("own", "read_note", fmt.Sprintf(`{"path":%q}`, file))
		b.ended("ok", want)
	}
	reads("refused")
	profile()
	if text := b.text(b.find(hook("wanted"))); !strings.Contains(text, "Nothing so far.") {
		t.Errorf("unwatched it says %q", text)
	}
	b.press("watch")
	b.findXPath("//*[@data-test='watch'][.='Stop watching']")
	b.server("own", approved)
	reads("refused")
	profile()
	b.find(hook("asked"))
	if text := b.text(b.find(hook("asked"))); !strings.Contains(text, "wants to read "+file) {
		t.Errorf("asks: %q", text)
	}
	if text := b.text(b.find(hook("tab-profile"))); !strings.Contains(text, "1 asked") {
		t.Errorf("the tab says %q", text)
	}

	b.press("asked-once")
	b.gone(hook("asked"))
	reads("198.51.100.7")
	b.press("nav-servers")
	b.press("server-own")
	b.press("server-stop")
	b.press("server-start")
	b.server("own", approved)
	reads("refused")

	profile()
	b.press("asked-never")
	b.gone(hook("asked"))
	b.press("asked-again")
	b.find(hook("asked"))
	b.press("asked-always")
	b.gone(hook("asked"))
	b.server("own", approved)
	reads("198.51.100.7")
	profile()
	b.press("watch")
	b.findXPath("//*[@data-test='watch'][.='Watch files too']")
	b.server("own", approved)
	reads("198.51.100.7")
}
