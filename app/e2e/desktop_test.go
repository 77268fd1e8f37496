package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// desktop is a private session: display, window manager, bus, keyring and home.
type desktop struct {
	t    *testing.T
	home string
	env  []string
}

// root is the top of the project.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// need skips the test, or fails it with REQUIRE_WINDOW=1, unless all files and programs are there.
func need(t *testing.T, things ...string) {
	t.Helper()
	for _, thing := range things {
		var err error
		if strings.Contains(thing, "/") {
			_, err = os.Stat(thing)
		} else {
			_, err = exec.LookPath(thing)
		}
		if err == nil {
			continue
		}
		if os.Getenv("REQUIRE_WINDOW") == "1" {
			t.Fatalf("%s is missing and REQUIRE_WINDOW=1; run: make build bin/cordon-desktop-e2e && build/deps.sh test", thing)
		}
		t.Skipf("%s is missing; run: make build bin/cordon-desktop-e2e && build/deps.sh test", thing)
	}
}

// process is a program this test started, in a process group of its own.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	err    error         // from Wait; valid once exited is closed

	out string // file with its standard output and error
}

// output returns what the program printed so far.
func (p *process) output() string {
	b, err := os.ReadFile(p.out)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// start runs a program until the test ends. prepare may change the command before it starts.
func (d *desktop) start(prepare func(*exec.Cmd), name string, args ...string) *process {
	d.t.Helper()
	// A file and not a pipe: grandchildren that outlive the program would keep a pipe open, and Wait waiting.
	out, err := os.CreateTemp(d.t.TempDir(), filepath.Base(name)+"-*.log")
	if err != nil {
		d.t.Fatal(err)
	}
	defer out.Close()
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{}), out: out.Name()}
	p.cmd.Env = d.env
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // tests that are killed leave nothing behind
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		d.t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	d.t.Cleanup(func() {
		p.stop(syscall.SIGTERM, 5*time.Second)
		if d.t.Failed() {
			d.t.Logf("%s printed:\n%s", filepath.Base(name), p.output())
		}
	})
	return p
}

// stop signals the program's group and waits; after grace it kills the group. It reports whether grace sufficed.
func (p *process) stop(sig syscall.Signal, grace time.Duration) bool {
	select {
	case <-p.exited:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // children it left behind
		return true
	default:
	}
	_ = syscall.Kill(p.cmd.Process.Pid, sig)
	select {
	case <-p.exited:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		return true
	case <-time.After(grace):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
		return false
	}
}

// newDesktop starts a session of width × height pixels. Everything ends with the test.
func newDesktop(t *testing.T, width, height int) *desktop {
	t.Helper()
	need(t, "Xvfb", "openbox", "dbus-daemon", "gnome-keyring-daemon")
	// Not t.TempDir: sockets need a path shorter than 108 bytes.
	home, err := os.MkdirTemp("", "cordon-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	d := &desktop{t: t, home: home}
	d.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "USER=e2e", "LANG=C.UTF-8", "TZ=UTC",
		"XDG_CONFIG_HOME=" + home + "/config", "XDG_STATE_HOME=" + home + "/state", "XDG_DATA_HOME=" + home + "/data",
		"XDG_CACHE_HOME=" + home + "/cache", "XDG_RUNTIME_DIR=" + home + "/run", "GTK_A11Y=atspi", "NO_AT_BRIDGE=0",
	}
	for _, dir := range []string{"config", "state", "data", "cache", "run"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	display := d.read(func(w *os.File) {
		d.start(func(c *exec.Cmd) { c.ExtraFiles = []*os.File{w} },
			"Xvfb", "-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", width, height), "-nolisten", "tcp", "-noreset")
	})
	d.env = append(d.env, "DISPLAY=:"+display)
	bus := d.read(func(w *os.File) {
		d.start(func(c *exec.Cmd) { c.ExtraFiles = []*os.File{w} }, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=3")
	})
	d.env = append(d.env, "DBUS_SESSION_BUS_ADDRESS="+bus)
	d.start(nil, "openbox")
	d.start(func(c *exec.Cmd) { c.Stdin = strings.NewReader("pw") }, "gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	return d
}

// read gives a program one end of a pipe and returns the first line it writes there.
func (d *desktop) read(start func(w *os.File)) string {
	d.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Close()
	start(w)
	_ = w.Close()
	_ = r.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		d.t.Fatalf("waiting for a program to start: %v", err)
	}
	return strings.TrimSpace(line)
}

// open starts the automated build and attaches to its window. extra are variables for it.
func (d *desktop) open(extra ...string) (*process, *browser) {
	d.t.Helper()
	bin := filepath.Join(root(d.t), "bin", "cordon-desktop-e2e")
	need(d.t, bin, "WebKitWebDriver")
	inspector := fmt.Sprintf("127.0.0.1:%d", freePort(d.t))
	app := d.start(func(c *exec.Cmd) {
		c.Env = append(append(d.env[:len(d.env):len(d.env)], "WEBKIT_INSPECTOR_SERVER="+inspector), extra...)
	}, bin)
	b := d.attach(app, inspector)
	b.must("first frame", b.script(nil, `await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))`))
	d.t.Cleanup(func() { // while the window is still there
		if dir := os.Getenv("SHOTS"); dir != "" && d.t.Failed() {
			d.screenshot(filepath.Join(dir, "failed-"+strings.ReplaceAll(d.t.Name(), "/", "-")+".png"))
		}
	})
	return app, b
}

// openShipped starts the production build. Only the accessibility bus and the screen reach into it.
func (d *desktop) openShipped(extra ...string) *process {
	d.t.Helper()
	bin := filepath.Join(root(d.t), "bin", "cordon-desktop")
	need(d.t, bin)
	return d.start(func(c *exec.Cmd) { c.Env = append(d.env[:len(d.env):len(d.env)], extra...) }, bin)
}

// run runs a program in the session and returns what it printed and its exit code.
func (d *desktop) run(timeout time.Duration, name string, args ...string) (string, int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.Context()), timeout) // also used while the test is cleaned up
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.WaitDelay = d.env, time.Second
	out, err := cmd.CombinedOutput()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		d.t.Fatalf("run %s: %v\n%s", name, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// press finds a named thing of the given role in any window, through the accessibility bus, and activates it. role is
// "button", "dialog" and the like; a dialog is only looked for. It returns the script's words.
func (d *desktop) press(role, name string) string {
	d.t.Helper()
	need(d.t, "/usr/bin/python3", "/usr/lib/python3/dist-packages/pyatspi")
	out, code := d.run(30*time.Second, "/usr/bin/python3", filepath.Join(root(d.t), "app", "e2e", "atspi.py"), role, name)
	if code != 0 {
		d.t.Fatalf("press %s %q: exit %d\n%s", role, name, code, out)
	}
	return out
}

// screenshot saves the whole screen as PNG, for people to look at.
func (d *desktop) screenshot(path string) {
	d.t.Helper()
	need(d.t, "import")
	if out, code := d.run(20*time.Second, "import", "-window", "root", path); code != 0 {
		d.t.Errorf("screenshot: exit %d\n%s", code, out)
	}
}

// freePort is below those that the kernel gives to connections, of which one might take it before the program does that is told of it.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// eventually waits until fn returns nil, and fails the test with its last error after timeout.
func eventually(t *testing.T, timeout time.Duration, what string, fn func() error) {
	t.Helper()
	var last error
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = fn(); last == nil {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, timeout, last)
}
