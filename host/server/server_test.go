package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/secret"
	"cordon/host/tool"
	"cordon/host/wire"
	"cordon/sandbox"
)

var (
	binaries string // directory with cordon-launch and fake
	machine  = sandbox.Probe()
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "server-test-")
	if err != nil {
		panic(err)
	}
	binaries = os.Getenv("SERVER_BINARIES") // built before by whoever runs this as another user
	if binaries == "" {
		binaries = dir
		for name, pkg := range map[string]string{"cordon-launch": "cordon/sandbox/launcher", "fake": "./testdata/fake", "hostile": "./testdata/hostile"} {
			c := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("build %s: %v\n%s", pkg, err, out))
			}
		}
		_ = os.Chmod(dir, 0o755)
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait more than they work
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Println("goroutines are left after all tests:\n" + left)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// leaked waits for our goroutines, and the library's, to end and returns the stacks of those that do not.
func leaked() (left string) {
	b := make([]byte, 1<<20)
	for range 300 {
		left = ""
		for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
			if !strings.Contains(stack, ".TestMain(") && (strings.Contains(stack, "cordon/") || strings.Contains(stack, "go-sdk")) {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return left
}

func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("REQUIRE_SANDBOX") == "1" {
		t.Fatalf("this machine lacks %s and REQUIRE_SANDBOX=1", what)
	}
	t.Skipf("this machine lacks %s", what)
}

func box(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	need(t, machine.Landlock > 0, "Landlock")
	need(t, machine.Namespaces == "", "user namespaces")
	return &sandbox.Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
}

// journal is a Recorder that keeps what it gets.
type journal struct {
	mu     sync.Mutex
	events []audit.Event
	broken error
}

func (j *journal) Append(e audit.Event) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return 0, j.broken
	}
	j.events = append(j.events, e)
	return uint64(len(j.events)), nil
}

func (j *journal) of(kind audit.Kind) []audit.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.events), func(e audit.Event) bool { return e.Kind != kind })
}

// vault holds secrets by server and name.
type vault map[string]string

func (v vault) Get(_ context.Context, ref secret.Ref) (secret.Value, error) {
	s, ok := v[ref.Server+"/"+ref.Name]
	if !ok {
		return secret.Value{}, secret.ErrNotFound
	}
	return secret.NewValue(s), nil
}

// rig is a supervisor with one fake server named "one".
type rig struct {
	*Supervisor
	t       testing.TB
	mark    string
	journal *journal
	changes atomic.Int32
}

func newRig(t testing.TB, mode string, set ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, journal: &journal{}}
	o := Options{Trusted: func(string, pin.Fingerprint) bool { return true }, Sandbox: box(t), Secrets: vault{}, Audit: r.journal, Log: slog.New(slog.DiscardHandler), Version: "test", Grace: 300 * time.Millisecond,
		Backoff: time.Millisecond, Changed: func() { r.changes.Add(1) }}
	for _, f := range set {
		f(&o)
	}
	r.Supervisor = New(o)
	r.Supervisor.patience = 6 * time.Second
	r.mark = r.define("one", mode)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		r.Close(ctx)
		r.gone(r.mark)
	})
	return r
}

// define adds a server in a mode and returns the mark in its argv.
func (r *rig) define(name, mode string) (mark string) {
	var b [8]byte
	_, _ = rand.Read(b[:])
	mark = "mark-" + hex.EncodeToString(b[:])
	r.Set(config.Server{Name: name, Command: []string{filepath.Join(binaries, "fake"), mode, mark}, Net: config.NetNone, Memory: 256 << 20, Pids: 64})
	return mark
}

func (r *rig) start() {
	r.t.Helper()
	if err := r.Start(r.t.Context(), "one"); err != nil {
		r.t.Fatalf("start: %v", err)
	}
}

func (r *rig) view() View {
	r.t.Helper()
	v, err := r.View("one")
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) waitFor(what string, ok func(v View) bool) View {
	r.t.Helper()
	for range 1000 {
		if v := r.view(); ok(v) {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
	v := r.view()
	r.t.Fatalf("waited in vain for %s; it is %s, %v", what, v.State, v.Err)
	return v
}

func (r *rig) log() string {
	lines, err := r.Log("one")
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

// frozen is a call as the gate would freeze it.
func frozen(server, name, args string) tool.Call {
	c := tool.Call{ID: "0123456789abcdef", Trace: strings.Repeat("ab", 16), Kind: tool.CallTool, Tool: tool.Tool{ID: tool.ID{Server: server, Name: name}}, Args: []byte(args)}
	c.Digest = tool.DigestOf(c)
	return c
}

func (r *rig) call(name, args string) (string, error) {
	res, err := r.Call(r.t.Context(), frozen("one", name, args))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, c := range res.Content {
		b.WriteString(c.Text)
	}
	return b.String(), nil
}

// Tool looks a tool up as a call does that comes no further.
func (r *rig) Tool(id tool.ID) (tool.Tool, error) {
	t, release, err := r.Supervisor.Tool(r.t.Context(), tool.CallTool, id, "look")
	release()
	return t, err
}

func (r *rig) works() {
	r.t.Helper()
	if got, err := r.call("read_echo", `{"a":1}`); err != nil || got != `{"a":1}` {
		r.t.Errorf("a call = %q, %v; want its arguments back", got, err)
	}
}

// processes lists the pids whose argv holds mark, this process apart.
func processes(mark string) []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []string
	for _, d := range dirs {
		if b, err := os.ReadFile(d); err == nil && bytes.Contains(b, []byte(mark)) {
			pids = append(pids, filepath.Base(filepath.Dir(d)))
		}
	}
	return pids
}

func (r *rig) gone(mark string) {
	r.t.Helper()
	for range 100 {
		if len(processes(mark)) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Errorf("processes %v are left", processes(mark))
}

// has fails unless err says every one of the words, and the server's name.
func has(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", words)
	}
	for _, w := range append(words, "one") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestWorkingServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	v := r.view()
	if v.State != Running || v.Title != "A fake" || v.Version != "1.2.3" || v.Instructions != "Be careful." || v.Pid == 0 || v.Report.Tier == "" {
		t.Errorf("view = %+v", v)
	}
	read, err := r.Tool(tool.ID{Server: "one", Name: "read_thing"})
	if err != nil || read.Effect != tool.Read {
		t.Errorf("read_thing = %v, %v; want effect read", read.Effect, err)
	}
	write, err := r.Tool(tool.ID{Server: "one", Name: "write_thing"})
	if err != nil || write.Effect != tool.Write {
		t.Errorf("write_thing = %v, %v; want effect write", write.Effect, err)
	}
	if string(v.Fingerprint.Tools["write_thing"]) != string(write.Definition) || v.Fingerprint.Instructions != "Be careful." {
		t.Error("the fingerprint does not cover what was listed")
	}
	r.works()
	if err := r.Start(t.Context(), "one"); err != nil || r.view().Pid != v.Pid {
		t.Errorf("starting a running server = %v, pid %d; want nothing to happen", err, r.view().Pid)
	}
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if v := r.view(); v.State != Stopped || v.Pid != 0 || v.Err != nil || len(v.Tools) != 0 {
		t.Errorf("after stop: %+v", v)
	}
	r.gone(r.mark)
	if _, err := r.call("read_echo", "{}"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("call of a stopped server = %v, want ErrNotRunning", err)
	}
	if _, err := r.Tool(read.ID); !errors.Is(err, ErrNotRunning) {
		t.Errorf("tool of a stopped server = %v, want ErrNotRunning", err)
	}
	if _, err := r.Fingerprint(t.Context(), "one"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("fingerprint of a stopped server = %v, want ErrNotRunning", err)
	}
	if starts, stops := r.journal.of(audit.ServerStart), r.journal.of(audit.ServerStop); len(starts) != 1 || len(stops) != 1 {
		t.Errorf("%d starts and %d stops are recorded", len(starts), len(stops))
	}
	r.start() // and once more
	r.works()
}

func TestUnknownServer(t *testing.T) {
	r := newRig(t, "ok")
	for name, err := range map[string]error{"start": r.Start(t.Context(), "two"), "stop": r.Stop(t.Context(), "two"), "remove": r.Remove(t.Context(), "two")} {
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "two") {
			t.Errorf("%s = %v, want ErrUnknown naming it", name, err)
		}
	}
	if _, err := r.Call(t.Context(), frozen("two", "x", "{}")); !errors.Is(err, ErrUnknown) {
		t.Errorf("call = %v, want ErrUnknown", err)
	}
}

// TestServersThatNeverWork: each fails once, with words that help, and leaves nothing behind.
func TestServersThatNeverWork(t *testing.T) {
	t.Parallel()
	for mode, words := range map[string][]string{
		"silent":          {"gave no answer in 6s"},
		"stubborn-silent": {"gave no answer in 6s"},
		"text-exit":       {"ended with status 2", "this is not a protocol"},
		"text-forever":    {"does not speak MCP", "printed text"},
		"line100m":        {"a line longer than 16 MiB"},
		"exit-at-once":    {"ended with status 4", "cannot open database: no such file", "fatal: giving up"},
		"die-by-signal":   {"signal: killed"},
		"endless":         {"more than 100 pages"},
		"same-cursor":     {"repeats itself"},
		"duplicate-keys":  {"gave no answer in 6s"},
		"invalid-utf8":    {"gave no answer in 6s"},
		"deep":            {"gave no answer in 6s"},
		"list-error":      {"the list is gone"},
		"wrong-case":      {"gave no answer in 6s", "a message that is neither a request nor an answer"},
		"wrong-case-list": {"gave no answer in 6s", "a message that is neither a request nor an answer"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			other := r.define("two", "ok")
			if err := r.Start(t.Context(), "two"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			err := r.Start(t.Context(), "one")
			has(t, err, words...)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v to find out", took)
			}
			if v := r.view(); v.State != Crashed || v.Err == nil || v.Pid != 0 || v.Restarts != 0 {
				t.Errorf("view = %s, %v, pid %d, %d restarts; want crashed, once", v.State, v.Err, v.Pid, v.Restarts)
			}
			r.gone(r.mark)
			if len(r.journal.of(audit.ServerStart)) != 2 || len(r.journal.of(audit.ServerStop)) != 1 {
				t.Error("the start and the end of each are recorded once")
			}
			if res, err := r.Call(t.Context(), frozen("two", "read_echo", "{}")); err != nil || len(res.Content) != 1 {
				t.Errorf("the other server is disturbed: %v", err)
			}
			if len(processes(other)) == 0 {
				t.Error("the other server's process is gone")
			}
		})
	}
}

// TestOddServersThatWork: each does something strange, which is noticed or ignored, and still serves.
func TestOddServersThatWork(t *testing.T) {
	t.Parallel()
	for mode, c := range map[string]struct {
		rule, log string
		lacks     string // a tool that must not be offered
		tools     int    // that must be, 0: do not count
	}{
		"noise":               {rule: "wire.noise", log: "[stdout] debug: tools/list"},
		"ref-schema":          {rule: "wire.tool-refused", lacks: "get_ref", tools: 9},
		"output-ref":          {rule: "wire.tool-refused", lacks: "get_ref", tools: 9},
		"defs-bomb":           {rule: "wire.tool-refused", lacks: "get_bomb", tools: 9},
		"deep-schema":         {rule: "wire.tool-refused", lacks: "get_deep", tools: 9},
		"odd-names":           {rule: "wire.tool-refused", lacks: "get_none", tools: 9},
		"duplicate-keys-tool": {lacks: "delete_all", tools: 10},
		"unsolicited":         {log: `reply "u2"`},
		"unknown-ids":         {},
		"stderr-flood":        {log: "flood flood"},
		"hidden":              {tools: 10},
		"escaped-keys":        {rule: "wire.tool-refused", lacks: "get_ref", tools: 9},
		"other-case":          {lacks: "get_ref", tools: 10},
		"deep-2000":           {},
		"notifies-nothing":    {},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			r.start()
			r.works()
			if c.rule != "" && !slices.ContainsFunc(r.journal.of(audit.FindingMade), func(e audit.Event) bool { return e.Rule == c.rule && e.Server == "one" }) {
				t.Errorf("findings are %v, want %s", r.journal.of(audit.FindingMade), c.rule)
			}
			if c.log != "" {
				r.waitFor("the log", func(View) bool { return strings.Contains(r.log(), c.log) })
			}
			if c.lacks != "" {
				if _, err := r.Tool(tool.ID{Server: "one", Name: c.lacks}); err == nil {
					t.Errorf("%s is offered", c.lacks)
				}
			}
			if n := len(r.view().Tools); c.tools > 0 && n != c.tools {
				t.Errorf("%d tools are offered, want %d", n, c.tools)
			}
			r.works()
		})
	}
}

func TestDuplicateNamesAreTakenOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "duplicate")
	r.start()
	got, err := r.Tool(tool.ID{Server: "one", Name: "read_thing"})
	if err != nil || got.Description != "Reads a file." || len(r.view().Tools) != 9 {
		t.Errorf("read_thing = %q, %v, of %d tools; want the first of that name", got.Description, err, len(r.view().Tools))
	}
}

func TestTooManyToolsAreCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, "many")
	r.start()
	if n := len(r.view().Tools); n != wire.MaxTools {
		t.Errorf("%d tools, want %d", n, wire.MaxTools)
	}
	if n := len(r.journal.of(audit.FindingMade)); n > maxFindings {
		t.Errorf("%d findings are recorded, want at most %d", n, maxFindings)
	}
}

// TestArgumentsArriveByteForByte: what was shown is what the server gets.
func TestArgumentsArriveByteForByte(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	for name, raw := range map[string]string{
		"empty":           `{}`,
		"html":            `{"html":"<a href=\"x\">&amp;</a> & < >"}`,
		"line separators": "{\"s\":\"a\u2028b\u2029c\"}",
		"numbers":         `{"big":9007199254740991,"e":1e+300,"f":0.1,"neg":-5,"z":0}`,
		"unicode":         "{\"ключ\":\"значение 🙂 \u00e9 e\u0301\",\"\u20ac\":1}",
		"invisible":       "{\"s\":\"a\u200bb\u202ec\U000e0041\"}",
		"escapes":         `{"s":"\u0000\u0001\b\t\n\f\r\u001f\"\\/"}`,
		"order":           `{"b":1,"a":{"z":[],"y":{}},"aa":[null,true,false]}`,
		"long":            `{"s":"` + strings.Repeat("<&>", 100_000) + `"}`,
	} {
		want, err := tool.CanonicalObject([]byte(raw), tool.DefaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := r.call("read_echo", string(want))
		if err != nil || got != string(want) {
			t.Errorf("%s: the server got %.200q, %v; want %.200q", name, got, err, want)
		}
	}
}

func TestResultSizes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	if got, err := r.call("read_big", `{"bytes":8000000}`); err != nil || len(got) != 8_000_000 {
		t.Fatalf("8 MB: %d bytes, %v", len(got), err)
	}
	_, err := r.call("read_big", `{"bytes":20000000}`)
	has(t, err)
	r.waitFor("a fresh start", func(v View) bool { return v.State == Running && v.Restarts == 1 })
	r.works()
}

func TestMemoryIsBounded(t *testing.T) {
	r := newRig(t, "line100m")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	has(t, r.Start(t.Context(), "one"), "longer than 16 MiB")
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 150 {
		t.Errorf("%d MiB were allocated for a line of 100 MiB", got)
	}
}

func TestErrorsOfTheProtocol(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	_, err := r.call("read_error", `{"text":"no such index"}`)
	has(t, err, "no such index")
	_, err = r.call("nothing", `{}`)
	has(t, err, "no such tool")
	res, err := r.Call(t.Context(), frozen("one", "read_thing", `{"path":"/nowhere"}`))
	if err != nil || !res.IsError {
		t.Errorf("a tool's own failure = %+v, %v; want a result that says so", res, err)
	}
	r.works()
}

func TestCancellingACall(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Call(ctx, frozen("one", "read_later", `{"ms":60000}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("call = %v, want the deadline", err)
	}
	if v := r.view(); v.State != Running {
		t.Errorf("the server is %s after an abandoned call", v.State)
	}
}

func TestCrashInACallRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	pid := r.view().Pid
	_, err := r.call("read_crash", `{}`)
	has(t, err, "ended with status 7 during the call")
	v := r.waitFor("a restart", func(v View) bool { return v.State == Running && v.Pid != pid })
	if v.Restarts != 1 || v.Err != nil {
		t.Errorf("after the crash: %d restarts, %v", v.Restarts, v.Err)
	}
	if stop := r.journal.of(audit.ServerStop); len(stop) != 1 || !strings.Contains(stop[0].Reason, "status 7") {
		t.Errorf("recorded %v", stop)
	}
	r.works()
	if !strings.Contains(r.log(), "going down") {
		t.Errorf("log %q lacks the server's last words", r.log())
	}
}

func TestCrashingAgainAndAgainEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, "crash-after-list")
	r.start()
	v := r.waitFor("an end", func(v View) bool { return v.State == Crashed && len(r.journal.of(audit.ServerStop)) >= 5 })
	has(t, v.Err, "ended with status 5")
	time.Sleep(100 * time.Millisecond) // several times the longest pause that could follow
	if n := len(r.journal.of(audit.ServerStart)); n != maxRestarts {
		t.Errorf("%d starts, want %d", n, maxRestarts)
	}
	r.gone(r.mark)
	r.start() // a person may try again
}

func TestStopWhileWaitingToRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "crash-after-list", func(o *Options) { o.Backoff = time.Hour })
	r.start()
	r.waitFor("the crash", func(v View) bool { return v.State == Crashed })
	if err := r.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if v := r.view(); v.State != Stopped || v.Err != nil {
		t.Errorf("view = %s, %v; want stopped", v.State, v.Err)
	}
}

// A person who starts it does not wait for the pause, and the count begins anew.
func TestStartWhileWaitingToRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok", func(o *Options) { o.Backoff = time.Hour })
	r.start()
	for range maxRestarts + 1 {
		if _, err := r.call("read_crash", `{}`); err == nil {
			t.Fatal("it did not crash")
		}
		r.waitFor("the crash", func(v View) bool { return v.State == Crashed })
		r.start()
		if v := r.view(); v.State != Running || v.Restarts != 0 {
			t.Fatalf("it is %s after %d restarts", v.State, v.Restarts)
		}
	}
	r.works()
}

func TestOrphansEndWithTheirServer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"orphan", "orphan-crash"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode, func(o *Options) { o.Backoff = time.Hour })
			r.start()
			if n := len(processes(r.mark)); n < 2 {
				t.Fatalf("%d processes, want a server and an orphan", n)
			}
			if mode == "orphan-crash" {
				r.works()
				r.waitFor("the crash", func(v View) bool { return v.State == Crashed })
			} else if err := r.Stop(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			r.gone(r.mark)
		})
	}
}

func TestStopInOrder(t *testing.T) {
	t.Parallel()
	const grace = 700 * time.Millisecond
	for _, c := range []struct {
		mode     string
		min, max time.Duration
		log      string // what the server said of its end
	}{
		{"ok", 0, grace, "stdin closed"},                   // the closed input is enough
		{"polite", grace, 2 * grace, "got SIGTERM"},        // then SIGTERM
		{"ignores-eof", grace, 2 * grace, "stdin closed"},  // which it dies of
		{"stubborn", 2 * grace, 4 * grace, "stdin closed"}, // then the end
		{"stderr-flood", 0, 4 * grace, "flood"},            // writes all the time
		{"orphan", 0, 4 * grace, "stdin closed"},           // the orphan goes with it
		{"unsolicited", 0, grace, "stdin closed"},
		{"noise", 0, grace, "stdin closed"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.mode, func(o *Options) { o.Grace = grace })
			r.start()
			if c.mode == "stderr-flood" {
				r.waitFor("the flood", func(v View) bool { return v.StderrLines > 100 })
			}
			began := time.Now()
			if err := r.Stop(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < c.min || took > c.max {
				t.Errorf("stopping took %v, want %v to %v", took, c.min, c.max)
			}
			r.gone(r.mark)
			if !strings.Contains(r.log(), c.log) {
				t.Errorf("the log says %q, want %q", r.log(), c.log)
			}
		})
	}
}

func TestCancellingStopSkipsTheGraces(t *testing.T) {
	t.Parallel()
	r := newRig(t, "stubborn", func(o *Options) { o.Grace = time.Hour })
	r.start()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := r.Stop(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	r.gone(r.mark)
}

func TestStopAllAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "stubborn")
	marks := []string{r.mark}
	for i := range 4 {
		name := fmt.Sprintf("more%d", i)
		marks = append(marks, r.define(name, "stubborn"))
		if err := r.Start(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	began := time.Now()
	r.StopAll(t.Context())
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("stopping five took %v: one after the other?", took)
	}
	for _, m := range marks {
		r.gone(m)
	}
}

func TestCancellingAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "silent")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Start(ctx, "one"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start = %v, want the deadline", err)
	}
	if v := r.view(); v.State != Stopped {
		t.Errorf("state = %s, want stopped", v.State)
	}
	r.gone(r.mark)
}

// TestStartReportsToEveryCaller: whoever asks for a start learns how it ended, not only the first.
func TestStartReportsToEveryCaller(t *testing.T) {
	t.Parallel()
	for mode, fails := range map[string]bool{"ok": false, "exit-at-once": true, "silent": true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					err := r.Start(t.Context(), "one")
					if fails && err == nil {
						t.Error("a start that failed was reported as working")
					}
					if !fails && (err != nil || r.view().State != Running) {
						t.Errorf("start returned %v with the server %s", err, r.view().State)
					}
				})
			}
			wg.Wait()
			for range 5 { // at once after a failure, too
				if mode == "exit-at-once" && r.Start(t.Context(), "one") == nil {
					t.Fatal("a start right after a failed one was reported as working")
				}
			}
		})
	}
}

func TestRaces(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok", func(o *Options) { o.Grace = 50 * time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() { _ = r.Start(ctx, "one") },
		func() { _ = r.Start(ctx, "one") },
		func() { time.Sleep(500 * time.Millisecond); _ = r.Stop(ctx, "one") },
		func() { _, _ = r.Call(ctx, frozen("one", "read_echo", "{}")) },
		func() { _, _ = r.Call(ctx, frozen("one", "get_changed", "{}")) },
		func() { _, _ = r.Call(ctx, frozen("one", "read_crash", "{}")); time.Sleep(100 * time.Millisecond) },
		func() { _, _ = r.Fingerprint(ctx, "one"); r.Views(); _, _ = r.Log("one") },
		func() {
			_, _ = r.Tool(tool.ID{Server: "one", Name: "read_thing"})
			r.StopAll(ctx)
			time.Sleep(500 * time.Millisecond) // a start has to have a chance on a busy machine
		},
	} {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	wg.Wait()
	closing, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	r.Close(closing)
	r.gone(r.mark)
	if v := r.view(); v.State != Stopped && v.State != Crashed || v.Pid != 0 {
		t.Errorf("after Close it is %s, pid %d", v.State, v.Pid)
	}
	if a, b := len(r.journal.of(audit.ServerStart)), len(r.journal.of(audit.ServerStop)); a != b || a == 0 {
		t.Errorf("%d starts and %d stops are recorded", a, b)
	}
}

func TestStderrIsKeptAndMasked(t *testing.T) {
	t.Parallel()
	const token = "tok-5b1f77c0"
	r := newRig(t, "stderr-secret", func(o *Options) {
		o.Secrets = vault{"one/token": token}
		o.Mask = func(s string) string { return strings.ReplaceAll(s, token, "[secret token]") }
	})
	def := r.view().Def
	def.Secrets = map[string]string{"TOKEN": "token"}
	r.Set(def)
	r.start()
	r.waitFor("the line", func(v View) bool { return v.StderrLines > 0 })
	if log := r.log(); !strings.Contains(log, "token is [secret token]") || strings.Contains(log, token) {
		t.Errorf("log = %q", log)
	}
	if use := r.journal.of(audit.SecretUse); len(use) != 1 || use[0].Facts["secret"] != "token" {
		t.Errorf("recorded uses: %v", use)
	}
	got, err := r.call("get_env", `{"name":"TOKEN"}`)
	if err != nil || !strings.HasSuffix(got, token) {
		t.Errorf("get_env = %q, %v; want the server to have its secret", got, err)
	}
	names, _, _ := strings.Cut(got, "\n")
	for _, n := range strings.Fields(names) {
		if !slices.Contains([]string{"PATH", "HOME", "LANG", "TMPDIR", "TOKEN"}, n) {
			t.Errorf("the server has %s in its environment", n)
		}
	}
}

func TestMissingSecretRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	def := r.view().Def
	def.Secrets = map[string]string{"TOKEN": "token"}
	r.Set(def)
	if err := r.Start(t.Context(), "one"); !errors.Is(err, secret.ErrNotFound) || !strings.Contains(err.Error(), "TOKEN") {
		t.Errorf("start = %v, want ErrNotFound naming the variable", err)
	}
	if len(r.journal.of(audit.ServerStart)) != 0 || len(r.journal.of(audit.ServerRefused)) != 1 {
		t.Error("a refusal and no start must be recorded")
	}
}

func TestNothingStartsWithoutARecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.journal.broken = errors.New("disk full")
	if err := r.Start(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("start = %v, want the log's error", err)
	}
	r.gone(r.mark)
	r.journal.broken = nil
	r.start()
}

func TestMissingProgram(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	def := r.view().Def
	def.Command = []string{filepath.Join(binaries, "nothing")}
	r.Set(def)
	has(t, r.Start(t.Context(), "one"), "does not exist")
}

// TestChangedDescriptionShows: after list_changed the next fingerprint is another one.
func TestChangedDescriptionShows(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	before, err := r.Fingerprint(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.call("get_changed", "{}"); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the new list", func(v View) bool { return strings.Contains(v.Tools[0].Description, "evil") })
	after, err := r.Fingerprint(t.Context(), "one")
	if err != nil || after.Digest() == before.Digest() || bytes.Equal(after.Tools["read_thing"], before.Tools["read_thing"]) {
		t.Errorf("the fingerprint is as before, %v", err)
	}
}

// copyFake gives the server a program of its own that a test may change.
func (r *rig) copyFake() (path string) {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(binaries, "fake"))
	if err != nil {
		r.t.Fatal(err)
	}
	path = filepath.Join(r.t.TempDir(), "fake")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		r.t.Fatal(err)
	}
	def := r.view().Def
	def.Command = append([]string{path}, def.Command[1:]...)
	r.Set(def)
	return path
}

// replace puts other content in path's place by a rename, as package managers do.
func replace(t testing.TB, path string, more string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", append(b, more...), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestChangedProgramShowsUntilRestart: neither a new list of tools nor looking twice hides it.
func TestChangedProgramShowsUntilRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	path := r.copyFake()
	r.start()
	before, err := r.Fingerprint(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, "x")
	for range 2 {
		after, err := r.Fingerprint(t.Context(), "one")
		if err != nil || after.Binary == before.Binary {
			t.Fatalf("the changed program does not show: %v", err)
		}
	}
	if _, err := r.call("get_changed", "{}"); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the new list", func(v View) bool { return strings.Contains(v.Tools[0].Description, "evil") })
	after, err := r.Fingerprint(t.Context(), "one")
	if err != nil || after.Binary == before.Binary {
		t.Errorf("after a new list the changed program no longer shows: %v", err)
	}
	if bytes.Equal(after.Tools["read_thing"], before.Tools["read_thing"]) {
		t.Error("the changed description does not show")
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t, "ok")
	r.start()
	if err := r.Remove(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	r.gone(r.mark)
	if _, err := r.View("one"); !errors.Is(err, ErrUnknown) {
		t.Errorf("View = %v, want ErrUnknown", err)
	}
}
