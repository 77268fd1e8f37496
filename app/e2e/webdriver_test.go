package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// browser is one WebDriver session (W3C WebDriver, 2018) on the window of a running program.
type browser struct {
	t    *testing.T
	base string // http://127.0.0.1:PORT/session/ID
	http *http.Client
}

// element is a reference to a node, valid while the node is in the page.
type element string

// elementKey is the member that holds a reference, from section 12 of the recommendation.
const elementKey = "element-6066-11e4-a52e-4f735466cecf"

// wait is how long look-ups try.
const wait = 10 * time.Second

// attach starts WebKitWebDriver on the window of app. The session ends with the test; the window does not.
func (d *desktop) attach(app *process, inspector string) *browser {
	d.t.Helper()
	port := freePort(d.t)
	d.start(nil, "WebKitWebDriver", fmt.Sprintf("--port=%d", port), "--target="+inspector)
	b := &browser{t: d.t, http: &http.Client{Timeout: 20 * time.Second}}
	server := fmt.Sprintf("http://127.0.0.1:%d", port)
	eventually(d.t, 20*time.Second, "attach to the window", func() error {
		select {
		case <-app.exited:
			d.t.Fatalf("the program ended: %v\n%s", app.err, app.output())
		default:
		}
		var s struct {
			SessionID string `json:"sessionId"`
		}
		err := b.call("POST", server+"/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"browserName": "cordon"}}}, &s)
		if err == nil {
			b.base = server + "/session/" + url.PathEscape(s.SessionID)
		}
		return err
	})
	d.t.Cleanup(func() { _ = b.call("DELETE", b.base, nil, nil) })
	return b
}

// call makes one request and decodes the value of its answer.
func (b *browser) call(method, url string, body, value any) error {
	var send io.Reader
	if method == "POST" {
		if body == nil {
			body = struct{}{}
		}
		j, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, url, send)
	if err != nil {
		return err
	}
	res, err := b.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s %s: %s: %w", method, url, res.Status, err)
	}
	if res.StatusCode != http.StatusOK {
		var e struct{ Error, Message string }
		_ = json.Unmarshal(answer.Value, &e)
		return fmt.Errorf("%s: %s", e.Error, e.Message)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, value)
}

func (b *browser) must(what string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// lookup finds the first node for a CSS selector now.
func (b *browser) lookup(css string) (element, error) {
	var found map[string]string
	if err := b.call("POST", b.base+"/element", map[string]string{"using": "css selector", "value": css}, &found); err != nil {
		return "", err
	}
	return element(found[elementKey]), nil
}

// find waits for a node that matches a CSS selector.
func (b *browser) find(css string) element {
	b.t.Helper()
	var e element
	eventually(b.t, wait, "find "+css, func() (err error) { e, err = b.lookup(css); return err })
	return e
}

// findXPath waits for a node by XPath, for what CSS cannot say, such as a button's text.
func (b *browser) findXPath(xpath string) element {
	b.t.Helper()
	var e element
	eventually(b.t, wait, "find "+xpath, func() error {
		var found map[string]string
		err := b.call("POST", b.base+"/element", map[string]string{"using": "xpath", "value": xpath}, &found)
		e = element(found[elementKey])
		return err
	})
	return e
}

// button waits for a button with exactly this text.
func (b *browser) button(text string) element {
	b.t.Helper()
	return b.findXPath(fmt.Sprintf("//button[normalize-space()=%q]", text))
}

// gone waits until nothing matches a CSS selector.
func (b *browser) gone(css string) {
	b.t.Helper()
	eventually(b.t, wait, css+" gone", func() error {
		if _, err := b.lookup(css); err == nil {
			return errors.New("still there")
		} else if !strings.HasPrefix(err.Error(), "no such element") {
			return err
		}
		return nil
	})
}

// click clicks in the middle of a node like a mouse does: what lies on top of it gets the click.
func (b *browser) click(e element) {
	b.t.Helper()
	b.must("click", b.call("POST", b.base+"/element/"+string(e)+"/click", nil, nil))
}

// keys types text into a node. Special keys are in the Unicode range U+E000 (section 17.4.2): "\ue007" is Enter.
func (b *browser) keys(e element, text string) {
	b.t.Helper()
	b.must("type", b.call("POST", b.base+"/element/"+string(e)+"/value", map[string]string{"text": text}, nil))
}

// text returns a node's text as rendered.
func (b *browser) text(e element) (text string) {
	b.t.Helper()
	b.must("text", b.call("GET", b.base+"/element/"+string(e)+"/text", nil, &text))
	return text
}

// attribute returns a node's attribute, "" if it has none.
func (b *browser) attribute(e element, name string) string {
	b.t.Helper()
	var v *string
	b.must("attribute", b.call("GET", b.base+"/element/"+string(e)+"/attribute/"+url.PathEscape(name), nil, &v))
	if v == nil {
		return ""
	}
	return *v
}

// script runs the body of an async function in the page and decodes what it returns into value, if not nil. A
// rejected promise is an error.
func (b *browser) script(value any, body string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	const wrap = `const done = arguments[arguments.length - 1];
(async function () { %s }).apply(null, Array.prototype.slice.call(arguments, 0, -1))
  .then(v => done({ok: v === undefined ? null : v}), e => done({error: typeof e === 'object' && e !== null && !(e instanceof Error) ? JSON.stringify(e) : String(e)}))`
	var r struct {
		OK    json.RawMessage `json:"ok"`
		Error string          `json:"error"`
	}
	if err := b.call("POST", b.base+"/execute/async", map[string]any{"script": fmt.Sprintf(wrap, body), "args": args}, &r); err != nil {
		return err
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(r.OK, value)
}

// until waits until an expression in the page is true.
func (b *browser) until(expression string) {
	b.t.Helper()
	eventually(b.t, wait, expression, func() error {
		var ok bool
		if err := b.script(&ok, "return !!("+expression+")"); err != nil {
			return err
		}
		if !ok {
			return errors.New("false")
		}
		return nil
	})
}

// screenshot saves the page as PNG.
func (b *browser) screenshot(path string) {
	b.t.Helper()
	// Drawn without a GPU, as shipped, the driver waits for the next frame, which a page at rest does not have.
	b.must("screenshot", b.script(nil, `const s = document.documentElement.style; let n = 0;
		const i = setInterval(() => { s.opacity = ++n % 2 ? '0.999' : ''; if (n >= 40) clearInterval(i) }, 50)`))
	var data string
	b.must("screenshot", b.call("GET", b.base+"/screenshot", nil, &data))
	png, err := base64.StdEncoding.DecodeString(data)
	b.must("screenshot", err)
	b.must("screenshot", os.WriteFile(path, png, 0o600))
}
