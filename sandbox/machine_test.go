package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a machine is expected to give is said by whoever knows it: build/vm/test.sh boots machines that lack one thing each.
//
//	EXPECT_LIMITS="cgroup v2"   limits hold for whole trees, by this means
//	EXPECT_REFUSED="fs.read"    nothing starts, and this guarantee is named
//	EXPECT_TIER="medium"        a server's profile starts in this tier

func expected(t *testing.T, name string) string {
	t.Helper()
	want := os.Getenv(name)
	if want == "" {
		t.Skipf("%s is not set: nobody says what this machine gives", name)
	}
	return want
}

func TestMachineRefusesByName(t *testing.T) {
	want := expected(t, "EXPECT_REFUSED")
	s := &Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
	mark := filepath.Join(t.TempDir(), "started")
	p, err := s.Start(t.Context(), Profile{Write: []string{filepath.Dir(mark)}, Demand: Isolation(NetNone)}, Command{Argv: []string{"sh", "-c", "echo >" + mark}}, Files{})
	if err == nil {
		p.Kill()
		p.Wait()
		t.Fatalf("it started: %+v", p.Report)
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Fix == "" || !strings.Contains(err.Error(), want+" is not available") {
		t.Errorf("got %v, %+v; want a refusal that names %s and what to do", err, refusal, want)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program ran")
	}
}

func TestMachineTier(t *testing.T) {
	want := expected(t, "EXPECT_TIER")
	s := &Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
	for _, n := range []Net{NetNone, NetLoopback, NetHosts} {
		p, err := s.Start(t.Context(), Profile{Net: n, Demand: Isolation(n)}, Command{Argv: []string{"true"}}, Files{})
		if err != nil {
			t.Fatal(err)
		}
		exit := p.Wait()
		if string(p.Report.Tier) != want || exit.Code() != 0 || exit.Left != nil {
			t.Errorf("network %d: tier %q, want %q; %v, left %v", n, p.Report.Tier, want, exit, exit.Left)
		}
	}
}

func TestMachineKeepsLimits(t *testing.T) {
	want := expected(t, "EXPECT_LIMITS")
	s := box(t)
	profile := Profile{Memory: 256 << 20, Pids: 40, CPU: 0.5, Demand: slices.Concat(Isolation(NetNone), []Guarantee{LimitsMemory, LimitsPids, LimitsCPU})}
	p, err := s.Start(t.Context(), profile, Command{Argv: []string{"sh", "-c", `trap "" TERM; (setsid sh -c 'trap "" TERM; while :; do :; done' &) ; sleep 60`}}, Files{})
	if err != nil {
		t.Fatal(err)
	}
	group := p.group
	if group == nil || p.Report.Limits != want {
		t.Fatalf("limits by %q, want %q: %+v", p.Report.Limits, want, p.Report)
	}
	deadline := time.Now().Add(20 * time.Second)
	for u := p.Usage(); u.Tasks < 4 || u.Memory == 0 || u.CPU == 0; u = p.Usage() {
		if time.Now().After(deadline) {
			t.Fatalf("usage: %+v; want tasks, memory and processor time", u)
		}
		time.Sleep(20 * time.Millisecond)
	}
	// Half a processor: over two seconds it cannot use much more than one second.
	before, began := p.Usage().CPU, time.Now()
	time.Sleep(2 * time.Second)
	if used, wall := p.Usage().CPU-before, time.Since(began); used > wall*3/4 {
		t.Errorf("it used %v of processor time in %v under a limit of a half", used, wall)
	}
	if err := group.kill(); err != nil { // by its place in the cgroup, as the last resort does
		t.Errorf("kill: %v", err)
	}
	if exit := p.Wait(); exit.Left != nil || exit.Known {
		t.Errorf("after the kill: %+v", exit)
	}
	for _, dir := range group.dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

// What the user's service manager gives is a scope of this process with a leaf for itself.
func TestMachineScope(t *testing.T) {
	if expected(t, "EXPECT_LIMITS") != "cgroup v2" {
		t.Skip("no cgroup v2 is expected here")
	}
	s := box(t)
	k := s.kernelFor(Profile{Pids: 8})
	own, err := ownGroups("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if k.Groups.Unready != "" || own[""] != filepath.Join(k.Groups.Path, hostName) || !delegated(k.Groups.Path) {
		t.Errorf("we are in %s; groups %+v", own[""], k.Groups)
	}
	if again := probeGroups(); again.Unready != "" || again.Path != k.Groups.Path || !again.Memory || !again.Pids || !again.CPU {
		t.Errorf("a process beside us finds %+v, want the same place, ready", again)
	}
}
