package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cordon/sandbox/attempt/escape"

	"golang.org/x/sys/unix"
)

// The escape suite: what a hostile server would try, see package escape. Each probe runs bare, where it has to work, and
// confined, where it must not.

// probe is one attempt and what it aims at.
type probe struct {
	class, name string
	act         string
	setup       func(s *scene) []string // makes what is aimed at and returns the act's arguments
	strong      string                  // why it does not matter that the strong tier lets it through
	medium      string                  // why the medium tier is documented to let it through
	open        string                  // a hole that is known and not yet closed: what it is
}

// column is one way to run a program.
type column struct {
	name  string
	start func(s *scene, argv []string) (*running, error)
}

// running is a program that was started.
type running struct {
	in   io.WriteCloser
	out  *os.File
	stop func() // ends it, as its host would; nothing of it may be left
}

// outcome is how a probe ended in a column.
type outcome struct {
	Through bool   `json:"through"`
	Detail  string `json:"detail"`
}

// answerTime bounds how long an act may take. The races last about a second.
const answerTime = 15 * time.Second

// run carries a probe out in a column and removes everything again.
func (p probe) run(t testing.TB, c column) outcome {
	t.Helper()
	s := newScene(t)
	defer s.close()
	args := []string{}
	if p.setup != nil {
		args = p.setup(s)
	}
	r, err := c.start(s, append([]string{filepath.Join(binaries, "escape"), p.act}, args...))
	if err != nil {
		return outcome{Detail: "start: " + err.Error()}
	}
	stopped := false
	defer func() {
		if !stopped {
			r.stop()
		}
	}()
	answered := make(chan escape.Result, 1)
	go func() {
		defer close(answered)
		line, _ := bufio.NewReader(r.out).ReadString('\n')
		var got escape.Result
		if json.Unmarshal([]byte(line), &got) == nil {
			answered <- got
		}
	}()
	if s.meanwhile != nil {
		s.meanwhile()
	}
	got, o := escape.Result{}, outcome{Detail: "no answer"}
	select {
	case result, ok := <-answered:
		if ok {
			got = result
			o.Detail = got.Detail
		}
	case <-time.After(answerTime):
	}
	o.Through = got.Worked && (s.want == "" || strings.Contains(got.Detail, s.want))
	if s.check != nil { // what happened outside counts, not what the program says
		o.Through = eventually(s.check)
	}
	_ = r.in.Close()
	stopped = true
	r.stop()
	if s.survives != "" {
		o.Through = survivors(s.survives)
	}
	o.Detail = strings.ToValidUTF8(strings.Join(strings.Fields(o.Detail), " "), "?")
	if len(o.Detail) > 60 {
		o.Detail = o.Detail[:60] + "…"
	}
	return o
}

// eventually gives what was sent some time to arrive.
func eventually(check func() bool) bool {
	for range 10 {
		if check() {
			return true
		}
		time.Sleep(4 * time.Millisecond)
	}
	return false
}

// survivors reports whether a process with the mark is left half a second after the end, and ends what is left.
func survivors(mark string) bool {
	none := 0 // some live for moments between others: one look proves nothing
	for range 100 {
		time.Sleep(5 * time.Millisecond)
		none++
		if len(processesWith(mark)) > 0 {
			none = 0
		}
		if none == 5 {
			return false
		}
	}
	for range 20_000 { // some make new ones while they are ended
		left := processesWith(mark)
		if none++; len(left) > 0 {
			none = 0
		}
		if none == 20 {
			break
		}
		for _, pid := range left {
			_ = unix.Prlimit(pid, unix.RLIMIT_NPROC, &unix.Rlimit{}, nil)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return true
}

// command starts a program as most hosts do.
func command(s *scene, argv []string) (*running, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = "/", inR, outW, s.stderr
	err = c.Start()
	inR.Close()
	outW.Close()
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	return &running{in: inW, out: outR, stop: func() {
		defer outR.Close()
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			select {
			case <-ended:
				return
			case <-time.After(300 * time.Millisecond):
				_ = c.Process.Signal(sig)
			}
		}
		<-ended
	}}, nil
}

// bareColumn runs a program without any confinement.
var bareColumn = column{"bare", command}

// confined starts a program in a sandbox of kernel k.
func confined(t testing.TB, k Kernel, want Tier) func(s *scene, argv []string) (*running, error) {
	box := &Sandbox{Kernel: k, Launcher: filepath.Join(binaries, "cordon-launch")}
	return func(s *scene, argv []string) (*running, error) {
		inR, inW, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		outR, outW, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		p := Profile{Read: append([]string{argv[0]}, s.read...), Write: s.write, Net: NetLoopback, Demand: Isolation(NetLoopback)}
		proc, err := box.Start(context.Background(), p, Command{Argv: argv}, Files{In: inR, Out: outW, Err: s.stderr})
		inR.Close()
		outW.Close()
		if err != nil {
			inW.Close()
			outR.Close()
			return nil, err
		}
		if proc.Report.Tier != want {
			t.Errorf("tier %s, want %s", proc.Report.Tier, want)
		}
		return &running{in: inW, out: outR, stop: func() {
			if e := proc.Stop(context.Background(), 300*time.Millisecond); e.Left != nil {
				t.Errorf("left behind: %v", e.Left)
			}
			outR.Close()
		}}, nil
	}
}

// columns of the tiers. In the third the supervisor decides about signals, which Landlock does from ABI 6.
func strongColumn(t testing.TB) column { return column{"strong", confined(t, machine, TierStrong)} }
func mediumColumn(t testing.TB) column {
	return column{"medium", confined(t, withoutNamespaces(machine.Landlock), TierMedium)}
}
func mediumOldColumn(t testing.TB) column {
	return column{"medium, Landlock 4", confined(t, withoutNamespaces(min(4, machine.Landlock)), TierMedium)}
}

// mediumHere is whether this machine could give the medium tier, if it had no namespaces.
var mediumHere = machine.Landlock >= sharedABI && machine.Yama < 2

// withoutNamespaces is this machine with user namespaces off and an older Landlock.
func withoutNamespaces(landlock int) Kernel {
	k := machine
	k.Namespaces, k.Landlock = "switched off for this test", landlock
	return k
}

// probes are all of them. Their names are unique.
func probes() []probe {
	return slices.Concat(fileProbes, changeProbes, grantProbes, processProbes, ipcProbes, networkProbes, kernelProbes, placeProbes, lifetimeProbes)
}

// provable is how many probes have to work bare on a machine with a current kernel.
const provable = 100

// TestEscape is the suite. Root runs it as an ordinary user, who is whom the product is for.
func TestEscape(t *testing.T) {
	box(t)
	if os.Geteuid() == 0 {
		asOrdinaryUser(t, "^TestEscape$")
		return
	}
	proven, through := 0, map[string]int{}
	names := map[string]bool{}
	tiers := []column{strongColumn(t)}
	if mediumHere {
		tiers = append(tiers, mediumColumn(t), mediumOldColumn(t))
	} else {
		fmt.Println("the medium tier cannot be had here, and is left out")
	}
	for _, p := range probes() {
		if names[p.class+p.name] {
			t.Fatalf("two probes are called %s: %s", p.class, p.name)
		}
		names[p.class+p.name] = true
		bare := p.run(t, bareColumn)
		if bare.Through {
			proven++
		} else {
			fmt.Printf("not provable here: %s: %s: %s\n", p.class, p.name, bare.Detail)
		}
		outcomes := make([]outcome, len(tiers))
		var all sync.WaitGroup
		for i, c := range tiers {
			all.Go(func() { outcomes[i] = p.run(t, c) })
		}
		all.Wait()
		for i, c := range tiers {
			o := outcomes[i]
			if o.Through {
				through[c.name]++
			}
			allowed := i == 0 && p.strong != "" || i > 0 && p.medium != ""
			switch {
			case p.open != "":
				if o.Through {
					fmt.Printf("open: %s: %s gets through %s (%s): %s\n", p.class, p.name, c.name, o.Detail, p.open)
				}
			case o.Through && !allowed:
				t.Errorf("%s: %s gets through %s: %s", p.class, p.name, c.name, o.Detail)
			case strings.HasPrefix(o.Detail, "start: "):
				t.Errorf("%s: %s: %s: %s", p.class, p.name, c.name, o.Detail)
			case !o.Through && allowed && bare.Through:
				t.Errorf("%s: %s is said to get through %s and does not: %s", p.class, p.name, c.name, o.Detail)
			}
		}
	}
	fmt.Printf("%d probes, %d proven bare", len(names), proven)
	for _, c := range tiers {
		fmt.Printf("; %s lets %d through", c.name, through[c.name])
	}
	fmt.Println()
	if proven < provable && os.Getenv("REQUIRE_SANDBOX") == "1" {
		t.Errorf("%d probes are proven, want %d", proven, provable)
	}
}

// asOrdinaryUser runs a test of this program again as a user that nobody else is.
func asOrdinaryUser(t *testing.T, test string) {
	t.Helper()
	const uid = 48_911
	dir, err := os.MkdirTemp("/var/tmp", "sandbox-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "sandbox.test")
	b, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(program, b, 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o700), os.Chown(filepath.Join(dir, "tmp"), uid, uid), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "-test.run", test, "-test.v")
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp"), "SANDBOX_BINARIES=" + binaries}
	for _, name := range []string{"REQUIRE_SANDBOX", "ESCAPE_OUT", "JSON", "SRT"} {
		if v, ok := os.LookupEnv(name); ok {
			c.Env = append(c.Env, name+"="+v)
		}
	}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := c.Run(); err != nil {
		t.Errorf("as an ordinary user: %v", err)
	}
}
