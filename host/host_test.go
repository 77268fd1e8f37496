package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host"
	"cordon/host/audit"
	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/gate"
	"cordon/host/pin"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"
)

var (
	binaries string // directory with cordon-launch and fake
	machine  = sandbox.Probe()
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("HOST_VICTIM"); dir != "" { // a child of TestKilledAtAnyMoment
		binaries = os.Getenv("HOST_BINARIES")
		victim(dir)
		return
	}
	if dir := os.Getenv("HOST_TALKER"); dir != "" { // a child of TestKilledWhileTalking
		talker(dir)
		return
	}
	dir, err := os.MkdirTemp("", "host-test-")
	if err != nil {
		panic(err)
	}
	binaries = os.Getenv("HOST_BINARIES") // built before, by the parent or by whoever runs this as another user
	if binaries == "" {
		binaries = dir
		for name, pkg := range map[string]string{"cordon-launch": "cordon/sandbox/launcher", "fake": "./server/testdata/fake"} {
			c := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("build %s: %v\n%s", pkg, err, out))
			}
		}
		_ = os.Chmod(dir, 0o755)
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // they wait more than they work
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// need skips on a machine that lacks something, unless the variable insists.
func need(t testing.TB, ok bool, what, variable string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv(variable) == "1" {
		t.Fatalf("this machine lacks %s and %s=1", what, variable)
	}
	t.Skipf("this machine lacks %s", what)
}

func box(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	need(t, machine.Landlock > 0, "Landlock", "REQUIRE_SANDBOX")
	need(t, machine.Namespaces == "", "user namespaces", "REQUIRE_SANDBOX")
	return &sandbox.Sandbox{Kernel: machine, Launcher: filepath.Join(binaries, "cordon-launch")}
}

func pathsIn(dir string) config.Paths {
	return config.Paths{Home: filepath.Join(dir, "home"), Config: filepath.Join(dir, "config/cordon"), State: filepath.Join(dir, "state/cordon"),
		Data: filepath.Join(dir, "data/cordon"), Runtime: filepath.Join(dir, "run/cordon"), Cache: filepath.Join(dir, "cache/cordon")}
}

// rig is a Host on directories of its own, with a person who answers.
type rig struct {
	*host.Host
	t     testing.TB
	dir   string
	paths config.Paths
	o     host.Options
	log   lockedBuffer

	mu    sync.Mutex
	asked []consent.Prompt
	yes   bool   // what the person answers
	think func() // happens before that; nil is nothing
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// Ask implements consent.Prompter.
func (r *rig) Ask(_ context.Context, p consent.Prompt) (consent.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Call.Args = bytes.Clone(p.Call.Args)
	r.asked = append(r.asked, p)
	if r.think != nil {
		r.think()
	}
	if !r.yes {
		return consent.Answer{}, consent.ErrDenied
	}
	return consent.Answer{ID: p.ID, Digest: p.Call.Digest.String(), Allow: true, Typed: p.Target, By: "test"}, nil
}

func (r *rig) prompts() []consent.Prompt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), yes: true}
	r.paths = pathsIn(r.dir)
	r.o = host.Options{Paths: r.paths, Sandbox: box(t), Prompter: r, Version: "test", Log: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if err := os.MkdirAll(r.case_(), 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

// case_ is the folder that servers are granted.
func (r *rig) case_() string { return filepath.Join(r.dir, "case") }

func (r *rig) open() {
	r.t.Helper()
	h, err := host.Open(r.t.Context(), r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Host = h
	r.t.Cleanup(r.close)
}

func (r *rig) close() {
	if r.Host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		r.t.Errorf("close: %v", err)
	}
	r.Host = nil
}

func random() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func definition(name, folder string, command ...string) config.Server {
	return config.Server{Name: name, Source: "command", Command: command, Write: []string{folder}, Net: config.NetNone, Memory: 256 << 20, Pids: 64}
}

// add defines and starts a fake server.
func (r *rig) add(name string, command ...string) {
	r.t.Helper()
	if len(command) == 0 {
		command = []string{filepath.Join(binaries, "fake"), "ok", "mark-" + random()}
	}
	if err := r.AddServer(definition(name, r.case_(), command...)); err != nil {
		r.t.Fatal(err)
	}
	r.start(name)
}

func (r *rig) start(name string) {
	r.t.Helper()
	if err := r.Servers.Start(r.t.Context(), name); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) restart(name string) {
	r.t.Helper()
	if err := r.Servers.Stop(r.t.Context(), name); err != nil {
		r.t.Fatal(err)
	}
	r.start(name)
}

func (r *rig) approve(name string) {
	r.t.Helper()
	rev, err := r.Review(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Approve(r.t.Context(), name, rev.Digest); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) call(server, name string, args any) (string, error) {
	r.t.Helper()
	b, err := json.Marshal(args)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := r.Call(r.t.Context(), tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: server, Name: name}, Args: b, Wrote: tool.OriginUser,
		By: tool.Asker{Kind: "test", Name: "a test", Conversation: "c"}})
	if err != nil {
		return "", err
	}
	var s strings.Builder
	for _, c := range res.Content {
		s.WriteString(c.Text)
	}
	if res.IsError {
		return "", errors.New("the tool says: " + s.String())
	}
	return s.String(), nil
}

type object map[string]any

// denied checks that err is a refusal at a stage by a rule.
func denied(t testing.TB, err error, stage gate.Stage, rule string) *gate.Denied {
	t.Helper()
	var d *gate.Denied
	if !errors.As(err, &d) || d.Stage != stage || d.Rule != rule {
		t.Fatalf("error %v, want a refusal at %s by %s", err, stage, rule)
	}
	return d
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// verify checks the audit log, whose last line may be torn.
func verify(t testing.TB, path string) audit.Report {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, err := audit.Verify(f)
	if err != nil || !rep.Intact && !rep.Torn {
		t.Fatalf("log: %+v, %v", rep, err)
	}
	return rep
}

func TestFromReviewToWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	note := filepath.Join(r.case_(), "note.txt")
	put(t, note, "seen")

	_, err := r.call("one", "read_thing", object{"path": note})
	denied(t, err, gate.Pin, "pin.review")
	rev, err := r.Review(t.Context(), "one")
	if err != nil || !rev.First || len(rev.Tools) != 9 {
		t.Fatalf("review = first %v, %d tools, %v", rev.First, len(rev.Tools), err)
	}
	if err := r.Approve(t.Context(), "one", tool.Digest{1}); !errors.Is(err, pin.ErrNotShown) {
		t.Errorf("approving something else = %v, want ErrNotShown", err)
	}
	v, _ := r.Servers.View("one")
	if st := r.PinStatus(v); st.State != pin.New {
		t.Errorf("pin status %v, want new", st)
	}
	r.approve("one")
	if v, _ = r.Servers.View("one"); r.PinStatus(v).State != pin.Pinned {
		t.Errorf("pin status %v, want pinned", r.PinStatus(v))
	}

	if got, err := r.call("one", "read_thing", object{"path": note}); err != nil || got != "seen" {
		t.Errorf("read = %q, %v", got, err)
	}
	if len(r.prompts()) != 0 {
		t.Errorf("reading asked: %v", r.prompts())
	}
	target, content := filepath.Join(r.case_(), "new.txt"), "a\u2028<b>&\\ \u202e \"c\" é\n"
	r.yes = false
	_, err = r.call("one", "write_thing", object{"path": target, "content": content})
	if d := denied(t, err, gate.Consent, "consent.write"); d.Reason != "you denied it" {
		t.Errorf("reason %q", d.Reason)
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a denied write left a file: %v", err)
	}
	r.yes = true
	if _, err := r.call("one", "write_thing", object{"path": target, "content": content}); err != nil {
		t.Fatal(err)
	}
	var shown struct{ Path, Content string }
	ps := r.prompts()
	if err := json.Unmarshal(ps[len(ps)-1].Call.Args, &shown); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != shown.Content || shown.Content != content || shown.Path != target {
		t.Errorf("the file holds %q, %v; shown was %q", b, err, shown.Content)
	}
	outside := filepath.Join(r.dir, "outside.txt")
	put(t, outside, "private")
	if _, err := r.call("one", "read_thing", object{"path": outside}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("reading outside the grant = %v", err)
	}
	r.close()
	if rep := verify(t, host.LogFile(r.paths)); !rep.Intact {
		t.Errorf("log: %+v", rep)
	}
}

func TestApprovalOutlivesARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	v, _ := r.Servers.View("one")
	if err := r.Servers.Stop(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	stopped, _ := r.Servers.View("one")
	if st := r.PinStatus(stopped); st.State != pin.New {
		t.Errorf("a stopped server that nobody approved is %v: %v; want new", st.State, st.Changes)
	}
	r.start("one")
	r.approve("one")
	r.close()
	r.open()
	again, err := r.Servers.View("one")
	if err != nil || again.State != server.Stopped || r.PinStatus(again).State != pin.Pinned || again.Def.Command[2] != v.Def.Command[2] {
		t.Errorf("after a new start: %+v, %v", again, err)
	}
	if got, err := r.call("one", "read_echo", object{}); err != nil || got != "{}" { // starts it
		t.Errorf("call = %q, %v", got, err)
	}
}

func TestChangedDescriptionBlocks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	if _, err := r.call("one", "get_changed", object{}); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 500 { // the server tells a moment after its answer
		if _, err = r.call("one", "read_echo", object{}); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	d := denied(t, err, gate.Pin, "pin.changed")
	if len(d.Changes) != 1 || d.Changes[0].What != "tool read_thing" || !strings.Contains(d.Changes[0].New, "evil.example") || strings.Contains(d.Changes[0].Old, "evil.example") {
		t.Errorf("changes = %+v", d.Changes)
	}
	r.restart("one") // it is its old self again
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Errorf("the approved description is back, and the call fails: %v", err)
	}
}

// TestChangedFilesBlock: the server's own files, changed under its feet in any way.
func TestChangedFilesBlock(t *testing.T) {
	t.Parallel()
	rewrite := func(t *testing.T, path string, b []byte) {
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(t *testing.T, path string, b []byte) {
		rewrite(t, path+".new", b)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	sly := func(t *testing.T, path string, b []byte) { // same size, same time
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, path, b)
		if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		file string // which of the server's files
		how  func(t *testing.T, path string, b []byte)
		what string
	}{
		"program replaced":                   {"fake", rename, "binary"},
		"script rewritten in place":          {"script", rewrite, "files"},
		"script replaced":                    {"script", rename, "files"},
		"script rewritten with its old time": {"script", sly, "files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.open()
			own := filepath.Join(r.dir, "own")
			if err := os.MkdirAll(own, 0o700); err != nil {
				t.Fatal(err)
			}
			program, err := os.ReadFile(filepath.Join(binaries, "fake"))
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{"fake": program, "script": []byte("print(1)\n")}
			for name, b := range files {
				rewrite(t, filepath.Join(own, name), b)
			}
			def := definition("one", r.case_(), filepath.Join(own, "fake"), "ok", filepath.Join(own, "script"))
			def.Read = []string{own}
			if err := r.AddServer(def); err != nil {
				t.Fatal(err)
			}
			r.start("one")
			r.approve("one")
			if _, err := r.call("one", "read_echo", object{}); err != nil {
				t.Fatal(err)
			}
			path, other := filepath.Join(own, c.file), bytes.Clone(files[c.file])
			other[len(other)-1] ^= 1
			c.how(t, path, other)
			for _, when := range []string{"while it runs", "again"} {
				_, err = r.call("one", "read_echo", object{})
				if d := denied(t, err, gate.Pin, "pin.changed"); !slices.ContainsFunc(d.Changes, func(x pin.Change) bool { return x.What == c.what }) {
					t.Errorf("%s: changes = %+v, want %s", when, d.Changes, c.what)
				}
			}
			r.restart("one")
			_, err = r.call("one", "read_echo", object{})
			denied(t, err, gate.Pin, "pin.changed")
			c.how(t, path, files[c.file])
			r.restart("one")
			if _, err := r.call("one", "read_echo", object{}); err != nil {
				t.Errorf("the approved files are back, and the call fails: %v", err)
			}
			c.how(t, path, other) // or the change is approved
			r.restart("one")
			r.approve("one")
			if _, err := r.call("one", "read_echo", object{}); err != nil {
				t.Errorf("the change is approved, and the call fails: %v", err)
			}
		})
	}
}

func TestHiddenTextCannotBeApproved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one", filepath.Join(binaries, "fake"), "hidden", "mark-"+random())
	rev, err := r.Review(t.Context(), "one")
	if err != nil || len(rev.Findings["get_hidden"]) == 0 || len(rev.Findings["read_thing"]) != 0 {
		t.Fatalf("findings = %v, %v", rev.Findings, err)
	}
	if err := r.Approve(t.Context(), "one", rev.Digest); err == nil || !strings.Contains(err.Error(), "get_hidden") {
		t.Errorf("approve = %v, want a refusal that names the tool", err)
	}
	_, err = r.call("one", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.review")
}

// waiting is a person who never answers.
type waiting struct{ asked chan struct{} }

func (w waiting) Ask(ctx context.Context, _ consent.Prompt) (consent.Answer, error) {
	close(w.asked)
	<-ctx.Done()
	return consent.Answer{}, fmt.Errorf("%w: %w", consent.ErrCancelled, context.Cause(ctx))
}

func TestAQuestionEndsWithItsServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := waiting{make(chan struct{})}
	r.o.Prompter = w
	r.open()
	r.add("one")
	r.approve("one")
	target := filepath.Join(r.case_(), "new.txt")
	ended := make(chan error, 1)
	go func() {
		_, err := r.call("one", "write_thing", object{"path": target, "content": "x"})
		ended <- err
	}()
	<-w.asked
	r.restart("one")
	if d := denied(t, <-ended, gate.Consent, "consent.write"); !strings.Contains(d.Reason, "withdrawn") {
		t.Errorf("reason %q", d.Reason)
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("it was written all the same")
	}
}

func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	const good = `{"version":1,"servers":[{"name":"one","title":"","source":"","version":"","command":["true"],"dir":"","read":[],"write":[],"net":"none","memory":268435456,"pids":64,"env":{},"secrets":{}}],"secrets":[],"firstRunDone":true}`
	for name, c := range map[string]struct{ text, says string }{
		"syntax":        {`{"version":1,`, "is not valid JSON"},
		"empty":         {``, "is not valid JSON"},
		"unknown field": {strings.Replace(good, `"pids"`, `"pidz"`, 1), "servers[0].pidz"},
		"duplicate key": {strings.Replace(good, `"net":"none"`, `"net":"none","net":"loopback"`, 1), "servers[0].net"},
		"bad value":     {strings.Replace(good, `"none"`, `"everything"`, 1), "servers[0].net"},
		"wrong kind":    {strings.Replace(good, `"pids":64`, `"pids":"64"`, 1), "servers[0].pids"},
		"other version": {strings.Replace(good, `"version":1`, `"version":2`, 1), "version"},
		"a grant of /":  {strings.Replace(good, `"read":[]`, `"read":["/"]`, 1), "servers[0].read[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			put(t, r.paths.File(), c.text)
			r.open()
			ps := r.Problems()
			if len(ps) != 1 || !strings.Contains(ps[0].Error(), r.paths.File()) || !strings.Contains(ps[0].Error(), c.says) {
				t.Fatalf("problems = %v, want the file and %s", ps, c.says)
			}
			if len(r.Config().Servers) != 0 || len(r.Servers.Views()) != 0 {
				t.Error("servers of a broken file are known")
			}
			for what, err := range map[string]error{"add": r.AddServer(definition("two", r.case_(), "true")), "first run": r.FinishFirstRun()} {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s = %v, want a refusal with the reason", what, err)
				}
			}
			r.close()
			if b, err := os.ReadFile(r.paths.File()); err != nil || string(b) != c.text {
				t.Errorf("the file was changed to %q, %v", b, err)
			}
		})
	}
	t.Run("twin", func(t *testing.T) {
		r := newRig(t)
		put(t, r.paths.File(), good)
		r.open()
		if len(r.Problems()) != 0 || len(r.Servers.Views()) != 1 {
			t.Errorf("problems %v, %d servers", r.Problems(), len(r.Servers.Views()))
		}
		if err := r.AddServer(definition("two", r.case_(), "true")); err != nil {
			t.Error(err)
		}
	})
}

func TestBrokenLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	if _, err := r.call("one", "read_echo", object{}); err != nil {
		t.Fatal(err)
	}
	r.close()
	file := host.LogFile(r.paths)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-50] ^= 1
	put(t, file, string(b))
	put(t, r.paths.File(), "{")
	r.open()
	if ps := r.Problems(); len(ps) < 2 || !errors.Is(ps[0], audit.ErrBroken) {
		t.Errorf("problems = %v, want ErrBroken", ps)
	}
	if err := r.FinishFirstRun(); err == nil || !strings.Contains(err.Error(), r.paths.File()) {
		t.Errorf("with both broken, saving = %v; want the configuration's own reason", err)
	}
	r.close()
	put(t, r.paths.File(), `{"version":1,"servers":[],"secrets":[],"firstRunDone":true}`)
	r.open()
	r.Servers.Set(definition("one", r.case_(), filepath.Join(binaries, "fake"), "ok", "x"))
	if err := r.Servers.Start(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "audit log") {
		t.Errorf("start = %v, want a refusal for the log", err)
	}
	if _, err := r.call("one", "read_echo", object{}); err == nil {
		t.Error("a call ran without a log")
	}
	r.close()
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, b) {
		t.Errorf("the broken log was changed: %v", err)
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	_, err := host.Open(t.Context(), r.o)
	var held *config.HeldError
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatalf("second Open = %v, want HeldError with pid %d", err, os.Getpid())
	}
	r.close()
	r.open()
}

// inKeyring runs the calling test again under a private bus with an unlocked keyring.
func inKeyring(t *testing.T) {
	t.Helper()
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		_, err := exec.LookPath(program)
		need(t, err == nil, program, "REQUIRE_KEYRING")
	}
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dbus-run-session", "--", "sh", "-c",
		`printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null; exec "$0" -test.run "^$1\$" -test.v`, os.Args[0], t.Name())
	cmd.Env = append(os.Environ(), "IN_KEYRING=1", "HOME="+home, "XDG_DATA_HOME="+home+"/data", "XDG_RUNTIME_DIR="+home, "DISPLAY=", "HOST_BINARIES="+binaries)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("under a private bus: %v\n%s", err, out)
	}
}

func forms(s string) map[string]string {
	return map[string]string{"raw": s, "base64": base64.StdEncoding.EncodeToString([]byte(s)), "hex": hex.EncodeToString([]byte(s))}
}

func TestSecretsStayWithTheirServer(t *testing.T) {
	box(t)
	if os.Getenv("IN_KEYRING") == "" {
		inKeyring(t)
		return
	}
	r := newRig(t)
	r.open()
	r.add("one")
	r.add("two")
	r.approve("one")
	r.approve("two")
	canary := "tok-" + random()
	ref := secret.Ref{Name: "token", Server: "one", Env: "TOKEN"}
	if err := r.SetSecret(t.Context(), secret.Ref{Name: "token", Server: "nobody", Env: "TOKEN"}, secret.NewValue("x")); !errors.Is(err, server.ErrUnknown) {
		t.Errorf("a secret for nobody = %v, want ErrUnknown", err)
	}
	if err := r.SetSecret(t.Context(), secret.Ref{Name: "token", Server: "one", Env: "LD_PRELOAD"}, secret.NewValue("x")); err == nil {
		t.Error("a secret in LD_PRELOAD was taken")
	}
	if err := r.SetSecret(t.Context(), ref, secret.NewValue(canary)); err != nil {
		t.Fatal(err)
	}
	// Whatever a server gets into a record, its secret is not part of it.
	said := "see " + canary
	if _, err := r.Append(audit.Event{Kind: audit.FindingMade, Server: "one", Tool: said, Rule: said, Reason: said, Asker: said, Facts: map[string]string{"host": said},
		Findings: []tool.Finding{{Text: said, Where: said}}, Stages: []audit.Stage{{Detail: said}}}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(host.LogFile(r.paths)); err != nil || strings.Contains(string(b), canary) || strings.Count(string(b), "see [secret token]") < 8 {
		t.Errorf("the log holds the secret, or not its name eight times: %v", err)
	}
	for _, fresh := range []bool{false, true} { // from memory, then from the keyring alone
		if fresh {
			r.close()
			r.open()
			if err := r.LoadSecrets(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			r.restart("one")
		}
		got, err := r.call("one", "get_env", object{"name": "TOKEN"})
		if err != nil || !strings.Contains(got, "TOKEN") || !strings.HasSuffix(got, "\n[secret token]") {
			t.Errorf("its own server: %q, %v; want the variable, and the value masked", got, err)
		}
		got, err = r.call("two", "get_env", object{"name": "TOKEN"})
		if err != nil || strings.Contains(got, "TOKEN") || !strings.HasSuffix(got, "\n") {
			t.Errorf("another server has it: %q, %v", got, err)
		}
		for form, s := range forms(canary) {
			_, err := r.call("two", "read_echo", object{"q": "x " + s})
			denied(t, err, gate.Decide, "secret.argument")
			_, err = r.call("one", "read_error", object{"text": "login failed for " + s})
			denied(t, err, gate.Decide, "secret.argument")
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: the refusal repeats it", form)
			}
		}
	}
	if err := r.RemoveServer(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.New(secret.Options{}).Get(t.Context(), ref); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("the removed server's secret = %v, want ErrNotFound", err)
	}
	if len(r.Config().Secrets) != 0 {
		t.Errorf("the configuration still names %v", r.Config().Secrets)
	}
	r.close()
	places := map[string][]byte{"developer log": r.log.Bytes()}
	for _, root := range []string{r.dir, os.Getenv("HOME")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			places[path], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(places) < 4 {
		t.Fatalf("only %d files were searched", len(places))
	}
	for path, b := range places {
		for form, s := range forms(canary) {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds the secret, %s", path, form)
			}
		}
	}
}

func TestRemoveServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	r.approve("one")
	if err := r.RemoveServer(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Pins.Approved("one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its pin = %v, want none", err)
	}
	if _, err := r.call("one", "read_echo", object{}); err == nil {
		t.Error("it can still be called")
	}
	if err := r.RemoveServer(t.Context(), "one"); !errors.Is(err, server.ErrUnknown) {
		t.Errorf("removing it again = %v, want ErrUnknown", err)
	}
	r.add("one") // one of the same name is new
	_, err := r.call("one", "read_echo", object{})
	denied(t, err, gate.Pin, "pin.review")
}

func TestAddServerRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	script := filepath.Join(r.dir, "script.js")
	put(t, script, "x")
	for name, def := range map[string]config.Server{
		"no command":        definition("a", r.case_()),
		"unreadable script": definition("a", r.case_(), "true", script),
		"bad name":          definition("A b", r.case_(), "true"),
		"own state":         definition("a", r.paths.State, "true"),
		"everything":        definition("a", "/", "true"),
	} {
		if err := r.AddServer(def); err == nil {
			t.Errorf("%s: was added", name)
		}
	}
	if len(r.Config().Servers) != 0 {
		t.Errorf("defined: %v", r.Config().Servers)
	}
	def := definition("a", r.case_(), "true", script)
	def.Read = []string{r.dir + "/script.js"}
	if err := r.AddServer(def); err != nil {
		t.Errorf("twin: %v", err)
	}
	if err := r.AddServer(def); err == nil {
		t.Error("a second server of that name was added")
	}
}

// TestInstallServer installs real servers from both registries, calls them, and takes them away again.
func TestInstallServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, _, err := catalog.Node()
	need(t, err == nil, "node and npm", "REQUIRE_REGISTRIES")
	_, err = exec.LookPath("uv")
	need(t, err == nil, "uv", "REQUIRE_REGISTRIES")
	r.open()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for name, c := range map[string]struct {
		pkg, tool, want string
		args            object
	}{
		"graph": {"npm:@modelcontextprotocol/server-memory@2026.8.31", "read_graph", "entities", object{}},
		"clock": {"pypi:mcp-server-time@2026.10.19", "get_current_time", "Europe/Berlin", object{"timezone": "Europe/Berlin"}},
	} {
		pkg, err := catalog.ParsePackage(c.pkg)
		if err != nil {
			t.Fatal(err)
		}
		def := config.Server{Name: name, Net: config.NetNone, Memory: config.DefaultMemory, Pids: config.DefaultPids}
		def, done, err := r.InstallServer(ctx, host.Installation{Server: def, Package: pkg}, func(text string) { t.Log(text) })
		if err != nil {
			if fault, ok := errors.AsType[*catalog.Fault](err); ok && fault.Kind == catalog.FaultUnreachable {
				t.Log(err)
				need(t, false, "a package registry", "REQUIRE_REGISTRIES")
			}
			t.Fatal(err)
		}
		if len(done.Reached) == 0 || def.Source+"@"+def.Version != c.pkg {
			t.Errorf("%s: reached %q, defined %+v", name, done.Reached, def)
		}
		if _, _, err := r.InstallServer(ctx, host.Installation{Server: def, Package: pkg}, nil); err == nil {
			t.Errorf("%s was installed over a server of that name", name)
		}
		r.start(name)
		r.approve(name)
		if got, err := r.call(name, c.tool, c.args); err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s = %.200q, %v", name, got, err)
		}
		twin := def
		twin.Name = name + "-twin"
		if err := r.AddServer(twin); err != nil {
			t.Fatal(err)
		}
		for _, remove := range []string{name, twin.Name} {
			if err := r.RemoveServer(ctx, remove); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(def.Dir); err != nil && remove == name {
				t.Errorf("%s was deleted although %s uses it", def.Dir, twin.Name)
			}
		}
	}
	// Two at once: one is installed, the other refused, and what is defined is there.
	pkg, _ := catalog.ParsePackage("pypi:mcp-server-time@2026.10.19")
	both := make(chan error, 2)
	for range 2 {
		go func() { // ends with the installation
			_, _, err := r.InstallServer(ctx, host.Installation{Server: config.Server{Name: "both", Net: config.NetNone, Memory: config.DefaultMemory, Pids: config.DefaultPids}, Package: pkg}, nil)
			both <- err
		}()
	}
	if a, b := <-both, <-both; (a == nil) == (b == nil) {
		t.Errorf("two at once: %v, %v", a, b)
	}
	installed, _ := r.Config().Server("both")
	if _, err := os.Stat(filepath.Join(installed.Dir, "run.py")); err != nil {
		t.Error(err)
	}
	// A folder that another server has come to use is not replaced.
	user := definition("user", r.case_(), "true")
	user.Read = []string{installed.Dir}
	if err := r.AddServer(user); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveServer(ctx, "both"); err != nil {
		t.Error(err)
	}
	if _, _, err := r.InstallServer(ctx, host.Installation{Server: config.Server{Name: "both", Net: config.NetNone, Memory: config.DefaultMemory, Pids: config.DefaultPids}, Package: pkg}, nil); err == nil || !strings.Contains(err.Error(), `"user"`) {
		t.Errorf("installed over what another uses: %v", err)
	}
	if _, err := os.Stat(filepath.Join(installed.Dir, "run.py")); err != nil {
		t.Error(err)
	}
	// Removing deletes nothing that a definition's words lead to.
	for i, version := range []string{"1/../../" + filepath.Base(r.paths.Data) + "/../../precious-tree", "..", "1.0.0/../x"} {
		evil := definition(fmt.Sprintf("evil-%d", i), r.case_(), "true")
		evil.Source, evil.Version = "npm:left-pad", version
		evil.Dir = filepath.Join(r.paths.Data, evil.Name+"-"+version)
		if err := os.MkdirAll(evil.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.AddServer(evil); err != nil {
			continue // not even defined
		}
		if err := r.RemoveServer(ctx, evil.Name); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(evil.Dir); err != nil {
			t.Errorf("version %q: %s was deleted", version, evil.Dir)
		}
	}
	// What a hand-written definition calls its folder is not deleted with it.
	precious := filepath.Join(r.paths.Data, "precious-1.0.0")
	if err := os.MkdirAll(precious, 0o700); err != nil {
		t.Fatal(err)
	}
	def := definition("precious", r.case_(), "true")
	def.Dir, def.Version = precious, "1.0.0"
	if err := r.AddServer(def); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveServer(ctx, "precious"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error("a folder that was not installed was deleted")
	}
}

// TestFilesystemServerFromNPM runs the real server as the first start does.
func TestFilesystemServerFromNPM(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, _, err := catalog.Node()
	need(t, err == nil, "node and npm", "REQUIRE_REGISTRIES")
	r.open()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	name, err := r.PrepareFilesystem(ctx, func(text string, step, of int) { t.Logf("%d/%d %s", step, of, text) })
	if err != nil && strings.Contains(err.Error(), "npm ") {
		t.Log(err)
		need(t, false, "a package registry", "REQUIRE_REGISTRIES")
	} else if err != nil {
		t.Fatal(err)
	}
	r.approve(name)
	folder := host.CaseFolder(r.paths)
	if got, err := r.call(name, "read_text_file", object{"path": filepath.Join(folder, "notes.md")}); err != nil || !strings.Contains(got, "A-1047") {
		t.Errorf("read = %.100q, %v", got, err)
	}
	if len(r.prompts()) != 0 {
		t.Error("reading asked")
	}
	target := filepath.Join(folder, "new.md")
	if _, err := r.call(name, "write_file", object{"path": target, "content": "x"}); err != nil || len(r.prompts()) != 1 {
		t.Errorf("write = %v after %d questions, want one", err, len(r.prompts()))
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != "x" {
		t.Errorf("written %q, %v", b, err)
	}

	// The same server, told that it may do more than its grants say: the sandbox decides.
	def, _ := r.Config().Server(name)
	outside := filepath.Join(r.dir, "outside.txt")
	put(t, outside, "private")
	def.Name, def.Command, def.Env = "wide", []string{def.Command[0], def.Command[1], r.dir}, nil
	if err := r.AddServer(def); err != nil {
		t.Fatal(err)
	}
	r.start("wide")
	r.approve("wide")
	if got, err := r.call("wide", "read_text_file", object{"path": filepath.Join(folder, "notes.md")}); err != nil || !strings.Contains(got, "A-1047") {
		t.Errorf("read inside = %.100q, %v", got, err)
	}
	if got, err := r.call("wide", "read_text_file", object{"path": outside}); err == nil || !strings.Contains(err.Error(), "ENOENT") && !strings.Contains(err.Error(), "EACCES") {
		t.Errorf("read outside = %q, %v; want the sandbox's refusal", got, err)
	}
	_, _ = r.call("wide", "write_file", object{"path": outside + "2", "content": "x"}) // may seem to work, in the private /tmp
	if _, err := os.Stat(outside + "2"); err == nil {
		t.Error("a file outside was made")
	}

	if err := r.Servers.Stop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	flipped := filepath.Join(def.Dir, "node_modules/@modelcontextprotocol/sdk/package.json")
	b, err := os.ReadFile(flipped)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(flipped, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Servers.Start(t.Context(), name); err != nil {
		return // it may not even start; what counts is that it does not run as approved
	}
	_, err = r.call(name, "read_text_file", object{"path": filepath.Join(folder, "notes.md")})
	if d := denied(t, err, gate.Pin, "pin.changed"); len(d.Changes) != 1 || d.Changes[0].What != "files" {
		t.Errorf("changes = %+v, want files", d.Changes)
	}
}

// What a person writes into the configuration while Cordon runs is not lost to the next save.
func TestEditedByHand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.add("one")
	b, err := os.ReadFile(r.paths.File())
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(b), `"title": ""`, `"title": "by hand"`, 1)
	put(t, r.paths.File(), edited)
	if err := r.FinishFirstRun(); !errors.Is(err, config.ErrEdited) {
		t.Errorf("saving = %v, want ErrEdited", err)
	}
	if b, _ := os.ReadFile(r.paths.File()); string(b) != edited {
		t.Error("the file was changed")
	}
	r.close()
	r.open()
	if err := r.FinishFirstRun(); err != nil {
		t.Error(err)
	}
	if s, _ := r.Config().Server("one"); s.Title != "by hand" {
		t.Errorf("the title is %q", s.Title)
	}
}
