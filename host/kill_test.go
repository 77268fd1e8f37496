package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host"
	"cordon/host/consent"
	"cordon/host/tool"
	"cordon/sandbox"
)

type agree struct{}

func (agree) Ask(_ context.Context, p consent.Prompt) (consent.Answer, error) {
	return consent.Answer{ID: p.ID, Digest: p.Call.Digest.String(), Allow: true, Typed: p.Target, By: "test"}, nil
}

// victim opens a Host in dir, starts two servers and calls them until it is killed.
func victim(dir string) {
	ctx := context.Background()
	die := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
	}
	h, err := host.Open(ctx, host.Options{Paths: pathsIn(dir), Sandbox: &sandbox.Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}, Prompter: agree{}, Version: "test"})
	die(err)
	for _, p := range h.Problems() {
		die(p)
	}
	fmt.Println("open")
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		wg.Go(func() {
			if _, known := h.Config().Server(name); !known {
				die(h.AddServer(definition(name, filepath.Join(dir, "case"), filepath.Join(binaries, "fake"), "orphan", os.Getenv("HOST_MARK"))))
			}
			die(h.Servers.Start(ctx, name))
			r, err := h.Review(ctx, name)
			die(err)
			if r.First {
				die(h.Approve(ctx, name, r.Digest))
			}
			for i := 0; ; i++ {
				args, _ := json.Marshal(object{"path": filepath.Join(dir, "case", name), "content": fmt.Sprint(i)})
				_, err := h.Call(ctx, tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: name, Name: "write_thing"}, Args: args, Wrote: tool.OriginUser,
					By: tool.Asker{Kind: "test", Name: "a test", Conversation: name}})
				die(err)
			}
		})
	}
	wg.Wait()
}

// relatives lists processes that run our binaries or carry the mark.
func relatives(mark string) (pids []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		exe, _ := os.Readlink(filepath.Join(d, "exe"))
		b, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(d, "environ"))
		if bytes.Contains(b, []byte(mark)) || bytes.Contains(env, []byte(mark)) || strings.Contains(exe, mark) {
			pids = append(pids, filepath.Base(d))
		}
	}
	return pids
}

// groups lists the cgroups that the process pid made.
func groups(pid int) (all []string) {
	for _, depth := range []string{"", "*/", "*/*/"} {
		found, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/%scordon-%d-*", depth, pid))
		all = append(all, found...)
	}
	return all
}

// TestKilledAtAnyMoment kills a working Host again and again: nothing of it stays, the log is whole, the next one opens.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	sb := box(t)
	dir, mark := t.TempDir(), "mark-"+random()
	if err := os.MkdirAll(filepath.Join(dir, "case"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Of its own, so that the launcher's processes can be told from other tests'.
	bin := filepath.Join(t.TempDir(), mark)
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cordon-launch", "fake"} {
		b, err := os.ReadFile(filepath.Join(binaries, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(bin, name), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	calls := uint64(0)
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HOST_VICTIM="+dir, "HOST_BINARIES="+bin, "HOST_MARK="+mark)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if round%4 != 0 { // three times of four after it has opened, else at any moment
			var b [5]byte
			if _, err := io.ReadFull(out, b[:]); err != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				t.Fatalf("round %d: the victim did not open: %s", round, errs.String())
			}
		}
		time.Sleep(time.Duration(5+rnd.IntN(145)) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if errs.Len() > 0 {
			t.Fatalf("round %d: the victim failed by itself: %s", round, errs.String())
		}
		deadline := time.Now().Add(3 * time.Second)
		for len(relatives(mark)) > 0 {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: processes %v are left", round, relatives(mark))
			}
			time.Sleep(5 * time.Millisecond)
		}
		if _, err := os.Stat(host.LogFile(pathsIn(dir))); err == nil {
			calls = verify(t, host.LogFile(pathsIn(dir))).Events
		}
		h, err := host.Open(t.Context(), host.Options{Paths: pathsIn(dir), Sandbox: sb, Prompter: agree{}, Version: "test"})
		if err != nil || len(h.Problems()) > 0 {
			t.Fatalf("round %d: the next Open: %v, %v", round, err, h.Problems())
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatalf("round %d: close: %v", round, err)
		}
		for len(groups(cmd.Process.Pid)) > 0 { // the kernel may count the dead for a moment
			if time.Now().After(deadline) {
				t.Fatalf("round %d: cgroups %v are left", round, groups(cmd.Process.Pid))
			}
			time.Sleep(5 * time.Millisecond)
			sb.Sweep()
		}
	}
	if calls < uint64(rounds) {
		t.Errorf("only %d records after %d rounds: the victims did nothing", calls, rounds)
	}
}
