package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"cordon/host/tool"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// TestSecretFlagsTakeNothing looks at every command: no flag that is about a secret takes a value.
func TestSecretFlagsTakeNothing(t *testing.T) {
	seen := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !regexp.MustCompile(`(?i)^key|secret|token|password`).MatchString(f.Name) {
				return
			}
			seen++
			for _, value := range []string{"canary-4711", "", "false", "1"} {
				if err := f.Value.Set(value); err == nil {
					t.Errorf("%s --%s takes %q", c.CommandPath(), f.Name, value)
				}
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand(&env{}))
	if seen != 2 {
		t.Errorf("%d flags are about secrets, want 2", seen)
	}
}

// TestProgressCannotMoveTheCursor shows what a server says of a call, between questions and at once with others.
func TestProgressCannotMoveTheCursor(t *testing.T) {
	master, slave := pty(t)
	var p progress
	p.tell(tool.Progress{Ticket: "call", Text: "before"}) // nobody looks
	end := p.follow(slave, "call")
	read := make(chan string)
	go func() {
		var all strings.Builder
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			all.Write(b[:n])
			if err != nil || strings.Contains(all.String(), "THE END") {
				read <- all.String()
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			p.tell(tool.Progress{Ticket: "call", Done: float64(i), Total: 50, Text: "\x1b[2J\r\n\u202e" + strings.Repeat("界", 400)})
			p.tell(tool.Progress{Ticket: "other", Text: "of another call"})
		})
		wg.Go(func() { p.hold()() })
	}
	wg.Wait()
	release := p.hold()
	p.tell(tool.Progress{Ticket: "call", Text: "while a question is on the screen"})
	end()
	release()
	p.tell(tool.Progress{Ticket: "call", Text: "after"})
	_, _ = slave.WriteString("THE END")
	got := <-read
	slave.Close()
	if strings.ContainsAny(got, "\n\u202e") || strings.Contains(got, "\x1b[2J") || strings.Contains(got, "question") || strings.Contains(got, "another") || strings.Contains(got, "after") {
		t.Errorf("shown: %q", got)
	}
	for line := range strings.SplitSeq(got, "\r\x1b[K") {
		if width := len([]rune(line)) + strings.Count(line, "界"); width > 80 {
			t.Errorf("a line of %d columns: %q", width, line)
		}
	}
	if !strings.HasSuffix(got, "\r\x1b[KTHE END") && strings.Contains(got, "of 50") {
		t.Errorf("the line stays: %q", got)
	}
}
