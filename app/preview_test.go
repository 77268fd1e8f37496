package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/tool"
)

func TestPreviewIsOfKnownTools(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notes.md")
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(source, name, path, content string) *PreviewView {
		args, _ := json.Marshal(map[string]string{"path": path, "content": content})
		return preview(tool.Call{Tool: tool.Tool{ID: tool.ID{Server: "s", Name: name}}, Args: args}, config.Server{Source: source, Write: []string{dir}})
	}
	const npm = "npm:@modelcontextprotocol/server-filesystem"
	if p := ask(npm, "write_file", path, "one\nthree\n"); p == nil || p.Added != 1 || p.Removed != 1 || !p.Exists {
		t.Errorf("npm's filesystem server: %+v", p)
	}
	if p := ask(host.Bundled, "write_file", filepath.Join(dir, "new"), "x"); p == nil || p.Exists {
		t.Errorf("the practice server: %+v", p)
	}
	for name, p := range map[string]*PreviewView{
		"a server of its own with a tool of that name": ask("command", "write_file", path, "x"),
		"another package":              ask("npm:@evil/server-filesystem", "write_file", path, "x"),
		"another tool":                 ask(npm, "edit_file", path, "x"),
		"outside":                      ask(npm, "write_file", "/etc/passwd", "x"),
		"more lines than a page draws": ask(npm, "write_file", path, strings.Repeat("\n", maxPreviewLines+1)),
	} {
		if p != nil {
			t.Errorf("%s has a preview: %+v", name, p)
		}
	}
}

// What the server puts in the place of a file must not hold the window up.
func TestPreviewWaitsForNothing(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fifo", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	leased := filepath.Join(dir, "leased")
	if err := os.WriteFile(leased, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(leased, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", "link", "leased"} {
		done := make(chan bool, 1)
		go func() {
			_, _, ok := readInside(dir, name)
			done <- ok
		}()
		select {
		case ok := <-done:
			if ok {
				t.Errorf("%s was read as text", name)
			}
		case <-time.After(3 * time.Second):
			t.Errorf("%s holds it up", name)
		}
	}
}
