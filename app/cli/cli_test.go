package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cordon/host/catalog"
	"cordon/host/llm/scripted"
	"cordon/sandbox"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

var (
	binaries string // directory with the programs as they are shipped, and fake
	machine  = sandbox.Probe()
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("AS_CORDON") != "":
		os.Exit(asCordon(os.Args[1:]))
	case os.Getenv("AS_BROWSER") != "":
		os.Exit(asBrowser(os.Args[1]))
	}
	dir, err := os.MkdirTemp("", "cli-test-")
	if err != nil {
		panic(err)
	}
	binaries = os.Getenv("CLI_BINARIES") // built before by whoever runs this as another user
	if binaries == "" {
		binaries = dir
		for _, args := range [][]string{{"-o", "cordon", "-tags", "small", "./cordon"}, {"-o", "cordon-cli", "./cordon-cli"},
			{"-o", "cordon-launch", "cordon/sandbox/launcher"}, {"-o", "fake", "cordon/host/server/testdata/fake"}, {"-o", "attempt", "cordon/sandbox/testdata/attempt"}} {
			args[1] = filepath.Join(dir, args[1])
			c := exec.Command("go", append([]string{"build"}, args...)...)
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("build %s: %v\n%s", args[1], err, out))
			}
		}
		if err := errors.Join(copySelf(filepath.Join(dir, "cordon-in-memory")), os.Mkdir(filepath.Join(dir, "memory"), 0o755), os.Symlink("../cordon-in-memory", filepath.Join(dir, "memory", "cordon"))); err != nil {
			panic(err)
		}
		_ = os.Chmod(dir, 0o755)
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // not ignored in what is started, also under nohup(1)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
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

func needSandbox(t testing.TB) {
	t.Helper()
	need(t, machine.Landlock > 0, "Landlock")
	need(t, machine.Namespaces == "", "user namespaces")
}

// environment is what the command sees: directories of its own, no session bus.
func environment(work string) []string {
	return []string{"PATH=" + binaries + ":" + os.Getenv("PATH"), "HOME=" + work + "/home", "XDG_CONFIG_HOME=" + work + "/config", "XDG_STATE_HOME=" + work + "/state",
		"XDG_DATA_HOME=" + work + "/data", "XDG_RUNTIME_DIR=" + work + "/run", "XDG_CACHE_HOME=" + work + "/cache", "DBUS_SESSION_BUS_ADDRESS=", "FAKE=" + binaries + "/fake",
		"LOG=" + work + "/state/cordon/audit.jsonl"}
}

func TestScripts(t *testing.T) {
	needSandbox(t)
	address := remote(t, nil)
	model := scripted.New()
	t.Cleanup(func() {
		if said := scripted.Texts(model.Requests()); strings.Contains(said, "what is your key") && strings.Count(said, "Bearer sk-canary-4711") != 1 {
			t.Error("the key did not come with the one request after it was set")
		}
		model.Close()
	})
	model.Decide(func(r scripted.Request) scripted.Turn {
		if wanted, ok := strings.CutPrefix(lastWords(r), "call "); ok {
			name, args, _ := strings.Cut(wanted, " ")
			return scripted.Turn{Text: "I look.", Calls: []scripted.Call{{ID: "1", Name: name, Args: args}}}
		}
		return scripted.Turn{Text: "You said: " + lastWords(r) + "\x1b[31m", Runes: 4, In: 7, Out: 9}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, v := range environment(e.WorkDir) {
				name, value, _ := strings.Cut(v, "=")
				e.Setenv(name, value)
			}
			e.Setenv("REMOTE", address)
			e.Setenv("MODEL", model.URL)
			e.Setenv("MEMORY", binaries+"/memory") // a cordon with a keyring in memory, if AS_CORDON is set
			return os.MkdirAll(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "limits":
				return machine.Groups.Memory && machine.Groups.Pids, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code":     code,
			"once":     once,
			"json":     checkJSON,
			"jsonenv":  jsonEnv,
			"flipbyte": flipByte,
		},
	})
}

// lastWords are what a request of Chat Completions asks.
func lastWords(r scripted.Request) string {
	var body struct {
		Messages []struct {
			Content string `json:"content"`
		} `json:"messages"`
	}
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil || len(body.Messages) == 0 {
		return r.Body
	}
	return body.Messages[len(body.Messages)-1].Content
}

// code runs a program without a controlling terminal and wants an exit code: code N PROGRAM [ARGUMENT]...
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program [argument]...")
	}
	got := 0
	err := ts.Exec("setsid", append([]string{"-w"}, args[1:]...)...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if want, _ := strconv.Atoi(args[0]); got != want {
		ts.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// once wants a text to stand in the last standard error exactly once: once TEXT.
func once(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: once text")
	}
	if n := strings.Count(ts.ReadFile("stderr"), args[0]); n != 1 {
		ts.Fatalf("%q stands there %d times:\n%s", args[0], n, ts.ReadFile("stderr"))
	}
}

// at finds a value by a path such as "tools.0.name"; "len" is an array's length.
func at(ts *testscript.TestScript, file, path string) string {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(file)), &v); err != nil {
		ts.Fatalf("%s is not JSON: %v\n%s", file, err, ts.ReadFile(file))
	}
	for step := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			inner, ok := x[step]
			if !ok {
				ts.Fatalf("%s: there is no %s in %s", path, step, ts.ReadFile(file))
			}
			v = inner
		case []any:
			if step == "len" {
				v = len(x)
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				ts.Fatalf("%s: there is no %s in %s", path, step, ts.ReadFile(file))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: there is nothing below %v", path, v)
		}
	}
	return fmt.Sprint(v)
}

// checkJSON matches a value in a JSON file, or in stdout or stderr: json FILE PATH REGEXP.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json file path regexp")
	}
	got := at(ts, args[0], args[1])
	if regexp.MustCompile(args[2]).MatchString(got) == neg {
		ts.Fatalf("%s is %q, want %q (not: %v)", args[1], got, args[2], neg)
	}
}

// jsonEnv puts a value into a variable: jsonenv NAME FILE PATH.
func jsonEnv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], at(ts, args[1], args[2]))
}

// flipByte changes one byte in the middle of the last line but one: flipbyte FILE.
func flipByte(ts *testscript.TestScript, _ bool, args []string) {
	lines := bytes.SplitAfter([]byte(ts.ReadFile(args[0])), []byte("\n"))
	line := lines[len(lines)-3]
	line[len(line)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Join(lines, nil), 0o600))
}

// command is cordon with an environment of its own.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	work := t.TempDir()
	if err := os.MkdirAll(filepath.Join(work, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(binaries, "cordon"), args...)
	c.Env, c.Dir = environment(work), work
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c
}

// TestSignalsOfExec: with and without a report, that is in both programs that can do it.
func TestSignalsOfExec(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	for _, flags := range [][]string{nil, {"--report", "report.json"}} {
		for name, c := range map[string]struct {
			script string
			send   syscall.Signal // once the script has said "ready"; 0 for none
			code   int
			signal syscall.Signal // that ended it
			out    string
		}{
			"SIGTERM is the program's": {`trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done`, syscall.SIGTERM, 9, 0, "got it"},
			"SIGINT is the program's":  {`trap 'echo got it; exit 8' INT; echo ready; while :; do sleep 0.05; done`, syscall.SIGINT, 8, 0, "got it"},
			"death by its own signal":  {`echo ready; kill -SEGV $$; sleep 5`, 0, -1, syscall.SIGSEGV, ""},
			"death by a signal sent":   {`echo ready; while :; do sleep 0.05; done`, syscall.SIGTERM, -1, syscall.SIGTERM, ""},
			"death by SIGHUP sent":     {`echo ready; while :; do sleep 0.05; done`, syscall.SIGHUP, -1, syscall.SIGHUP, ""},
			"a plain end":              {`echo ready; exit 3`, 0, 3, 0, ""},
		} {
			t.Run(fmt.Sprint(name, flags), func(t *testing.T) {
				t.Parallel()
				cmd := command(t, append(append([]string{"sandbox", "exec"}, flags...), "--", "sh", "-c", c.script)...)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				var errs, rest bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				var b [6]byte
				if n, err := out.Read(b[:]); err != nil || string(b[:n]) != "ready\n" {
					_ = cmd.Process.Kill()
					_ = cmd.Wait()
					t.Fatalf("read %q, %v: %s", b[:n], err, errs.String())
				}
				if c.send != 0 {
					_ = cmd.Process.Signal(c.send)
				}
				_, _ = rest.ReadFrom(out)
				_ = cmd.Wait()
				ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
				if ws.Signaled() != (c.signal != 0) || ws.Signaled() && ws.Signal() != c.signal || !ws.Signaled() && ws.ExitStatus() != c.code {
					t.Errorf("ended with %v, want code %d or signal %v; stderr %q", cmd.ProcessState, c.code, c.signal, errs.String())
				}
				if !strings.Contains(rest.String(), c.out) {
					t.Errorf("it said %q, want %q", rest.String(), c.out)
				}
			})
		}
	}
}

// TestIgnoredSignals: what whoever starts the command ignores, as nohup(1) does, the program does not get.
func TestIgnoredSignals(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	for name, flags := range map[string]string{"cordon": "", "cordon-cli": "--report report.json "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			like := command(t)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap '' HUP; exec "$0" sandbox exec `+flags+`-- sh -c 'echo ready; read -r word; echo "$word"'`, like.Path)
			cmd.Env, cmd.Dir, cmd.SysProcAttr = like.Env, like.Dir, like.SysProcAttr
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !lines.Scan() || lines.Text() != "ready" {
				t.Fatalf("it said %q", lines.Text())
			}
			_ = cmd.Process.Signal(syscall.SIGHUP)
			_, _ = io.WriteString(in, "alive\n")
			if !lines.Scan() || lines.Text() != "alive" {
				t.Errorf("after SIGHUP it said %q", lines.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSignalsDuringStart sends a signal at any moment of a start: it ends the program, or reaches its handler, and is never lost.
func TestSignalsDuringStart(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	const script = `trap 'exit 7' TERM; while :; do sleep 0.002; done`
	for name, flags := range map[string][]string{"cordon": nil, "cordon-cli": {"--report", "report.json"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range 60 {
				cmd := command(t, append(append([]string{"sandbox", "exec"}, flags...), "--", "sh", "-c", script)...)
				var errs bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(i) * 500 * time.Microsecond)
				_ = cmd.Process.Signal(syscall.SIGTERM)
				late := time.AfterFunc(70*time.Second, func() { _ = cmd.Process.Kill() })
				_ = cmd.Wait()
				late.Stop()
				ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
				if !(ws.Signaled() && ws.Signal() == syscall.SIGTERM) && ws.ExitStatus() != 7 || errs.Len() > 0 {
					t.Fatalf("after %v: %v, want SIGTERM or status 7; stderr %q", time.Duration(i)*500*time.Microsecond, cmd.ProcessState, errs.String())
				}
			}
		})
	}
}

// pty returns the two ends of a new pseudo-terminal.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// talk runs cordon in env on a terminal and answers: each pair is what to wait for and what to type a second later.
func talk(t *testing.T, like *exec.Cmd, args []string, pairs ...string) (screen string, code int) {
	t.Helper()
	master, slave := pty(t)
	c := exec.CommandContext(t.Context(), like.Path, args...)
	c.Env, c.Dir, c.Stdin, c.Stdout, c.Stderr = like.Env, like.Dir, slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	_ = master.SetReadDeadline(time.Now().Add(60 * time.Second))
	defer time.AfterFunc(70*time.Second, func() { _ = c.Process.Kill() }).Stop()
	var seen bytes.Buffer
	b := make([]byte, 4096)
	for {
		n, err := master.Read(b)
		seen.Write(b[:n])
		for len(pairs) > 1 && strings.Contains(seen.String(), pairs[0]) {
			time.Sleep(time.Second) // a person reads; earlier answers do not count
			if _, err := master.WriteString(pairs[1]); err != nil {
				t.Fatal(err)
			}
			pairs = pairs[2:]
		}
		if err != nil { // EIO when the last one has closed it
			break
		}
	}
	_ = c.Wait()
	if len(pairs) > 0 {
		t.Errorf("%q never appeared", pairs[0])
	}
	return strings.ReplaceAll(seen.String(), "\r\n", "\n"), c.ProcessState.ExitCode()
}

func TestConsentOnATerminal(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	c := command(t)
	folder := filepath.Join(c.Dir, "case")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if screen, code := talk(t, c, []string{"servers", "add", "one", "--write", folder, "--", filepath.Join(binaries, "fake"), "ok", "x"}); code != 0 {
		t.Fatalf("add: %d\n%s", code, screen)
	}
	if screen, code := talk(t, c, []string{"servers", "review", "one"}, "Type yes: ", "no\n"); code != exitDenied || !strings.Contains(screen, "Not approved") {
		t.Errorf("review answered with no: %d\n%s", code, screen)
	}
	if screen, code := talk(t, c, []string{"servers", "review", "one"}, "Type yes: ", "yes\n"); code != 0 || !strings.Contains(screen, "Approved.") {
		t.Fatalf("review answered with yes: %d\n%s", code, screen)
	}
	path := filepath.Join(folder, "new.txt")
	args := []string{"call", "one", "write_thing", `{"path":"` + path + `","content":"a\u202eb\u001b[2J"}`}

	screen, code := talk(t, c, args, "[y/N] ", "n\n")
	if _, err := os.Stat(path); code != exitDenied || err == nil || !strings.Contains(screen, "you denied it") {
		t.Errorf("answered with n: %d, file %v\n%s", code, err, screen)
	}
	screen, code = talk(t, c, args, "[y/N] ", "y\n")
	if b, err := os.ReadFile(path); code != 0 || err != nil || string(b) != "a\u202eb\x1b[2J" {
		t.Errorf("answered with y: %d, %q, %v\n%s", code, b, err, screen)
	}
	for _, want := range []string{"Cordon asks for consent", "one.write_thing", path, "consent.write", `a\u202eb`, "Allowed once."} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q:\n%s", want, screen)
		}
	}
	if strings.Contains(screen, "\u202e") || strings.Contains(screen, "\x1b[2J") {
		t.Errorf("the screen was given control characters: %q", screen)
	}
	screen, code = talk(t, c, []string{"call", "one", "read_thing", `{"path":"` + path + `"}`})
	if code != 0 || strings.Contains(screen, "\x1b[2J") || !strings.Contains(screen, `a\u{202e}b`) {
		t.Errorf("reading it back: %d %q", code, screen)
	}
}

func TestParseBytesThroughTheCommand(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"x", "-1", "0", "1.5G", "99999999999999999999", "9999999T", "M", "5Q"} {
		cmd := command(t, "sandbox", "exec", "--mem", size, "--", "true")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != exitUsage {
			t.Errorf("--mem %s: %v, want exit %d: %s", size, cmd.ProcessState, exitUsage, out)
		}
	}
}

// What an installer said cannot look like a line of Cordon's, however long it is.
func TestRows(t *testing.T) {
	for text, want := range map[string]int{"": 1, "short": 1, strings.Repeat("x", 72): 1, strings.Repeat("x", 73): 2, strings.Repeat("界", 36): 1, strings.Repeat("界", 37): 2} {
		got := rows(text, 72)
		if len(got) != want || strings.Join(got, "") != text {
			t.Errorf("%q: %q", text, got)
		}
	}
	said := &catalog.Fault{Tool: "npm", How: "ended with status 1", Said: strings.Repeat("x", 74) + "cordon: it was installed all the same\ncordon: do this\x1b[2K"}
	var out bytes.Buffer
	(&env{err: &out}).fail(said, 1)
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if i > 0 && !strings.HasPrefix(line, "  | ") || len(line) > 80 && i > 0 || strings.Contains(line, "\x1b") {
			t.Errorf("line %d: %q", i, line)
		}
	}
}
