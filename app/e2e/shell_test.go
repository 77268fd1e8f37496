package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The page runs, under its content security policy, and the host ends in order on a signal.
func TestWindowOpensAndEnds(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	began := time.Now()
	app, b := d.open()
	b.find("#app *")
	t.Logf("page is there after %v", time.Since(began).Round(time.Millisecond))

	t.Run("inline script does not run", func(t *testing.T) {
		var ran bool
		err := b.script(&ran, `const s = document.createElement('script');
			try { s.textContent = 'window.injected = 1' } catch (e) {}
			document.body.append(s); await new Promise(r => setTimeout(r, 100)); return window.injected === 1`)
		if err != nil || ran {
			t.Errorf("an injected script ran: %v, %v", ran, err)
		}
	})
	t.Run("strings do not become markup", func(t *testing.T) {
		if err := b.script(nil, `document.createElement('div').innerHTML = '<b>x</b>'`); err == nil || !strings.Contains(err.Error(), "TypeError") {
			t.Errorf("innerHTML took a string: %v", err)
		}
	})
	t.Run("frames do not load", func(t *testing.T) {
		var blocked string
		err := b.script(&blocked, `return await new Promise(r => {
			document.addEventListener('securitypolicyviolation', e => r(e.effectiveDirective), {once: true});
			const f = document.createElement('iframe'); f.src = 'wails://wails/index.html'; document.body.append(f);
			setTimeout(() => r('nothing was blocked'), 3000) })`)
		if err != nil || blocked != "frame-src" {
			t.Errorf("blocked %q, %v; want frame-src", blocked, err)
		}
	})
	t.Run("only GET", func(t *testing.T) {
		var status int
		if err := b.script(&status, `return (await fetch('/index.html', {method: 'POST', body: 'x'})).status`); err != nil || status != 405 {
			t.Errorf("POST = %d, %v; want 405", status, err)
		}
		if err := b.script(&status, `return (await fetch('/index.html')).status`); err != nil || status != 200 {
			t.Errorf("GET = %d, %v; want 200", status, err)
		}
	})
	d.screenshot(filepath.Join(t.TempDir(), "page.png"))

	t.Run("a second start says so", func(t *testing.T) {
		out, code := d.run(20*time.Second, filepath.Join(root(t), "bin", "cordon-desktop"))
		if code != 3 || !strings.Contains(out, "process "+strconv.Itoa(app.cmd.Process.Pid)) {
			t.Errorf("exit %d: %s; want 3 and the first one's process", code, out)
		}
	})
	began = time.Now()
	if !app.stop(syscall.SIGTERM, 15*time.Second) || app.err != nil {
		t.Errorf("after SIGTERM: %v\n%s", app.err, app.output())
	}
	t.Logf("ended %v after SIGTERM", time.Since(began).Round(time.Millisecond))
}

func TestSignalsEndInOrder(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			d := newDesktop(t, 1024, 768)
			app, b := d.open()
			b.find("#app *")
			if !app.stop(sig, 15*time.Second) || app.err != nil {
				t.Errorf("after %s: %v\n%s", name, app.err, app.output())
			}
		})
	}
}

// The shipped build shows its window to assistive technology and opens no inspector.
func TestShippedBuild(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	port := freePort(t)
	server, httpServer := "127.0.0.1:"+strconv.Itoa(port), "127.0.0.1:"+strconv.Itoa(freePort(t))
	app := d.openShipped("WEBKIT_INSPECTOR_SERVER="+server, "WEBKIT_INSPECTOR_HTTP_SERVER="+httpServer)
	d.press("frame", "Cordon")
	for _, addr := range []string{server, httpServer} {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			t.Errorf("the shipped build listens for an inspector at %s", addr)
		}
	}
	shot := filepath.Join(t.TempDir(), "screen.png")
	d.screenshot(shot)
	if st, err := os.Stat(shot); err != nil || st.Size() < 1000 {
		t.Errorf("screenshot: %v, %v", st, err)
	}
	if !app.stop(syscall.SIGTERM, 15*time.Second) || app.err != nil {
		t.Errorf("after SIGTERM: %v\n%s", app.err, app.output())
	}
}

func TestWithoutADisplay(t *testing.T) {
	bin := filepath.Join(root(t), "bin", "cordon-desktop")
	need(t, bin)
	d := &desktop{t: t, env: []string{"PATH=" + os.Getenv("PATH")}} // no DISPLAY, no HOME
	for arg, want := range map[string]struct {
		text string
		code int
	}{"": {"there is no display", 1}, "--version": {"cordon-desktop ", 0}, "--help": {"Usage:", 0}, "--nope": {"unknown argument", 2}} {
		var args []string
		if arg != "" {
			args = []string{arg}
		}
		if out, code := d.run(5*time.Second, bin, args...); code != want.code || !strings.Contains(out, want.text) {
			t.Errorf("%s: exit %d, %q; want %d, %q", arg, code, out, want.code, want.text)
		}
	}
}

// The tools of this package, tried on a page of their own making.
func TestWebDriverTools(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	app, b := d.open()
	b.find("#app *")
	err := b.script(nil, `const add = (tag, props) => Object.assign(document.body.appendChild(document.createElement(tag)), props);
		document.getElementById('app').remove();
		const field = add('input', {id: 'field', title: 'a field'}), out = add('output', {id: 'out'});
		add('button', {id: 'go', textContent: ' Say  it '}).onclick = () => { out.textContent = field.value };
		add('button', {textContent: arguments[0]}).onclick = e => e.target.remove()`, "Go away")
	if err != nil {
		t.Fatal(err)
	}
	field := b.find("#field")
	b.keys(field, "grün")
	b.click(b.button("Say it"))
	b.until("document.getElementById('out').textContent !== ''")
	if got := b.text(b.find("#out")); got != "grün" {
		t.Errorf("text = %q, want what was typed", got)
	}
	if got, none := b.attribute(field, "title"), b.attribute(field, "lang"); got != "a field" || none != "" {
		t.Errorf("attributes = %q, %q", got, none)
	}
	b.click(b.findXPath("//button[.='Go away']"))
	b.gone("button:not(#go)")
	if err := b.script(nil, "throw {code: 'X'}"); err == nil || err.Error() != `{"code":"X"}` {
		t.Errorf("a rejection arrives as %v", err)
	}
	shot := filepath.Join(t.TempDir(), "page.png")
	d.screenshot(shot)
	if png, err := os.ReadFile(shot); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("screenshot: %d bytes, %v", len(png), err)
	}
	d.press("button", "Say it") // through the accessibility bus, in the automated build too
	app.stop(syscall.SIGTERM, 15*time.Second)
}
