package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cordon/host/tool"
)

// TestResultCannotMoveTheCursor prints a result whose parts hold terminal escapes.
func TestResultCannotMoveTheCursor(t *testing.T) {
	var out, errw strings.Builder
	printResult(&out, &errw, tool.Result{Content: []tool.Content{{Type: "image", MIME: "image/png\x1b]0;x\a", URI: "\x1b[2J"}}})
	if s := out.String() + errw.String(); strings.ContainsAny(s, "\x1b\a") || !strings.Contains(s, "image/png") {
		t.Errorf("printed %q", s)
	}
}

// TestReportReplacesPlainFilesOnly keeps a link and a pipe as they are; as root, --report /dev/null must not cost the
// machine its /dev/null.
func TestReportReplacesPlainFilesOnly(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	link, plain := filepath.Join(dir, "link"), filepath.Join(dir, "plain")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "sandbox", "exec", "--report", link, "--", "true").CombinedOutput(); err == nil || !strings.Contains(string(out), "not a plain file") {
		t.Errorf("link: %v %s", err, out)
	}
	if to, err := os.Readlink(link); err != nil || to != "/dev/null" {
		t.Errorf("the link is now %q, %v", to, err)
	}
	for range 2 { // a new file, and one that is there
		if out, err := command(t, "sandbox", "exec", "--report", plain, "--", "true").CombinedOutput(); err != nil {
			t.Errorf("plain file: %v %s", err, out)
		}
	}
}
