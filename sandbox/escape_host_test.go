package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestEscapeHostDeath kills the host in the middle of every probe that leaves something running: nothing may be left.
func TestEscapeHostDeath(t *testing.T) {
	if act := os.Getenv("ESCAPE_ACT"); act != "" {
		hostOf(act, os.Getenv("ESCAPE_MARK"), os.Getenv("ESCAPE_TIER"))
		return
	}
	needMedium(t)
	if os.Geteuid() == 0 {
		asOrdinaryUser(t, "^TestEscapeHostDeath$")
		return
	}
	for _, tier := range []string{"strong", "medium"} {
		for _, p := range lifetimeProbes {
			m := mark()
			c := exec.Command(os.Args[0], "-test.run", "^TestEscapeHostDeath$")
			c.Env = append(os.Environ(), "ESCAPE_ACT="+p.act, "ESCAPE_MARK="+m, "ESCAPE_TIER="+tier, "SANDBOX_BINARIES="+binaries, "TMPDIR="+t.TempDir(), "XDG_RUNTIME_DIR=")
			out, err := c.StdoutPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
				t.Errorf("%s: %s: the host said %q, %v", tier, p.name, line, err)
			}
			if p.act != "storm" && len(processesWith(m)) == 0 {
				t.Errorf("%s: %s: nothing runs, so the test proves nothing", tier, p.name)
			}
			_ = c.Process.Kill()
			_ = c.Wait()
			if survivors(m) {
				t.Errorf("%s: %s outlives the host", tier, p.name)
			}
		}
	}
}

// hostOf starts a probe in a tier, says so, and waits for its death.
func hostOf(act, mark, tier string) {
	k := machine
	if tier == "medium" {
		k = withoutNamespaces(machine.Landlock)
	}
	s := &Sandbox{Kernel: k, Launcher: filepath.Join(binaries, "cordon-launch")}
	program := filepath.Join(binaries, "escape")
	in, hold, err := os.Pipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	out, w, err := os.Pipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err = s.Start(context.Background(), Profile{Read: []string{program}}, Command{Argv: []string{program, act, mark}}, Files{In: in, Out: w}); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	time.Sleep(time.Minute)
	hold.Close()
}
