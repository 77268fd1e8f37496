package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cordon/host/chat"
	"cordon/host/llm"
	"cordon/host/llm/scripted"
)

// model defines a model at a provider in the test, and returns the provider, which is told what to answer.
func (b *browser) model(kind, name string) *scripted.Server {
	b.t.Helper()
	s := scripted.New()
	b.t.Cleanup(s.Close)
	b.must("model", b.script(nil, `const [name, kind, url] = arguments
		await window.go.app.App.SetModel({name, kind, url, model: 'scripted-1', local: true, hasKey: false, keyName: '', header: '', images: false, reasons: false, context: 100000, output: 4096, prices: {input: 1, cached: 1, output: 5}})`, name, kind, s.URL))
	return s
}

// say types a question and sends it.
func (b *browser) say(text string) {
	b.t.Helper()
	b.fill("composer", text)
	b.pressAt(hook("send") + ":not([disabled])")
}

// over waits until nothing is under way in the conversation that is open, and returns all that is shown of it.
func (b *browser) over(says ...string) string {
	b.t.Helper()
	var text string
	eventually(b.t, 30*time.Second, "the turn is over", func() error {
		if err := b.script(&text, `return document.querySelector('[data-test=stop-chat], [data-test=live]') ? '' : document.querySelector('[data-test=messages]').innerText`); err != nil {
			return err
		}
		for _, s := range says {
			if !strings.Contains(text, s) {
				return fmt.Errorf("it does not say %q:\n%s", s, text)
			}
		}
		if text == "" {
			return fmt.Errorf("it goes on")
		}
		return nil
	})
	return text
}

// TestChat holds conversations in the window, with npm's filesystem and memory servers: reads flow, a write asks, a denial comes back to the model as a
// reason; every fault of a provider ends in a state from which it goes on; what was said is there when the window is opened again.
func TestChat(t *testing.T) {
	need(t, "node", "npm")
	d := newDesktop(t, 1280, 900)
	folder := filepath.Join(d.home, "case")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(folder, "notes.md")
	write(t, note, "# A-1047\nThe host is WS-FIN-0142.\n")
	app, window := d.open()
	window.find("#app *")
	audit := window.axe()
	shot := func(string) {}
	if dir := os.Getenv("SHOTS"); dir != "" {
		shots := window.shots(dir)
		shot = func(name string) {
			shots(name)
			window.must("resize", window.call("POST", window.base+"/window/rect", map[string]int{"width": 1280, "height": 900}, nil))
			window.still()
		}
	}
	step := func(name string, f func(t *testing.T, b *browser)) {
		t.Helper()
		if t.Failed() {
			t.Logf("%s: left out, because a step before it failed", name)
			return
		}
		t.Run(name, func(t *testing.T) { f(t, window.in(t)) })
	}
	step("without a model it says what to do", func(t *testing.T, b *browser) {
		b.press("nav-chat")
		b.find(hook("no-model"))
		audit("no model")
		shot("chat-no-model")
	})
	for name, what := range map[string]string{"files": filesystemPackage, "graph": "npm:" + memoryPackage} {
		command, env := []string{folder}, []map[string]string{}
		if name == "graph" {
			command, env = []string{}, []map[string]string{{"name": "MEMORY_FILE_PATH", "value": filepath.Join(folder, "memory.jsonl"), "secret": ""}}
		}
		window.must("install "+name, window.script(nil, `const [name, what, command, write, env] = arguments
			await window.go.app.App.InstallServer({name, package: what, scripts: false, command, read: [], write, net: 'none', memoryBytes: 0, pids: 0, env})`, name, what, command, []string{folder}, env))
	}
	for _, name := range []string{"files", "graph"} {
		window.reached(name)
		window.must("approve "+name, window.script(nil, `await window.go.app.App.Approve(arguments[0], (await window.go.app.App.Review(arguments[0])).digest)`, name))
		window.server(name, approved)
	}
	model := window.model("anthropic", "lab")

	step("an empty conversation", func(t *testing.T, b *browser) {
		b.press("nav-servers")
		b.press("nav-chat")
		b.press("new-chat")
		b.find(hook("composer"))
		audit("empty")
		shot("chat-empty")
	})
	step("reads flow, a write asks, and no is a reason", func(t *testing.T, b *browser) {
		model.Say(
			scripted.Turn{Think: "Three things to read.", Text: "I look at the case.", Runes: 5, Bytes: 7, In: 1000, Out: 100, Calls: []scripted.Call{
				{ID: "a", Name: "files__read_text_file", Args: fmt.Sprintf(`{"path":%q}`, note)},
				{ID: "b", Name: "files__list_directory", Args: fmt.Sprintf(`{"path":%q}`, folder)},
				{ID: "c", Name: "graph__read_graph", Args: `{}`},
				{ID: "d", Name: "files__write_file", Args: fmt.Sprintf(`{"path":%q,"content":"closed"}`, filepath.Join(folder, "verdict.md"))}}},
			scripted.Turn{Text: "The host is **WS-FIN-0142** [#1]. I could not write: you denied it [#99].\n\n| a | b |\n|---|---|\n| 1 | https://evil.example/x |\n\n<img src=x onerror=\"window.pwned=1\"> ![i](https://evil.example/i.png)\n\n```sh\nls -l\n```", In: 2000, Out: 200, Runes: 3})
		b.say("Which host is it? Write a verdict.")
		p := b.asked()
		if p.Tool != "write_file" || p.Level != 1 {
			t.Errorf("asked %+v", p)
		}
		shot("chat-asked")
		b.press("consent-deny")
		b.gone(hook("consent"))
		text := b.over("WS-FIN-0142", "files.write_file", "you denied it", "hxxps://evil[.]example/x", "onerror")
		var bad int
		b.must("look", b.script(&bad, `return (window.pwned ? 1 : 0) + document.querySelectorAll('[data-test=messages] img, [data-test=messages] a[href], [data-test=messages] script').length`))
		if bad > 0 {
			t.Errorf("%d things of the model's are live in the page", bad)
		}
		for _, want := range []string{"files.read_text_file", "files.list_directory", "graph.read_graph"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not shown:\n%s", want, text)
			}
		}
		if _, err := os.Stat(filepath.Join(folder, "verdict.md")); err == nil {
			t.Error("what was denied was written")
		}
		told := model.Requests()[1].Body
		for _, want := range []string{"WS-FIN-0142", "[FILE] notes.md", "the analyst was asked and did not allow it"} {
			if !strings.Contains(told, want) {
				t.Errorf("the model was not told %q", want)
			}
		}
		audit("finished")
		shot("chat-finished")
	})
	step("an answer rests on what it read", func(t *testing.T, b *browser) {
		write(t, filepath.Join(folder, "timeline.csv"), "time,host,event\n2026-11-27T03:12:09Z,WS-FIN-0142,4624 logon of svc-backup from 10.20.0.7\n2026-11-27T03:12:41Z,WS-FIN-0142,10 handle to lsass.exe 0x1410\n2026-11-27T03:14:02Z,WS-FIN-0142,4688 rundll32.exe comsvcs.dll\n")
		cited := func(r scripted.Request, of string) string { // the number that Cordon gave to a result
			all := regexp.MustCompile(`result #(\d+) of `+regexp.QuoteMeta(of)).FindAllStringSubmatch(r.Body, -1)
			if len(all) == 0 {
				return "[#0]"
			}
			return "[#" + all[0][1] + "]"
		}
		turn := 0
		model.Decide(func(r scripted.Request) scripted.Turn {
			if turn++; turn == 1 {
				return scripted.Turn{Calls: []scripted.Call{{ID: "t", Name: "files__read_text_file", Args: fmt.Sprintf(`{"path":%q}`, filepath.Join(folder, "timeline.csv"))},
					{ID: "n", Name: "files__read_text_file", Args: fmt.Sprintf(`{"path":%q}`, note)}}, In: 3300, Out: 120}
			}
			csv := cited(r, "files.read_text_file")
			return scripted.Turn{Text: "On **WS-FIN-0142** credentials were probably dumped at 03:12 UTC " + csv + ".\n\n| Time (UTC) | What the log says |\n|---|---|\n| 03:12:09 | 4624: logon of `svc-backup` from 10.20.0.7 |\n| 03:12:41 | 10: handle to `lsass.exe`, access 0x1410 |\n| 03:14:02 | 4688: `rundll32.exe comsvcs.dll` |\n\nBefore you isolate it:\n\n- ask who uses `svc-backup`; nothing here says so\n- keep the memory image: `comsvcs.dll` writes one to disk\n", In: 3900, Out: 310, Runes: 9}
		})
		b.press("new-chat")
		b.find(hook("chat-empty"))
		b.say("What happened on the host of this case?")
		text := b.over("credentials were probably dumped", "10[.]20[.]0[.]7")
		if strings.Contains(text, "no such result") {
			t.Errorf("a citation leads nowhere:\n%s", text)
		}
		audit("answered")
		shot("chat-answered")
	})
	step("a citation opens the evidence", func(t *testing.T, b *browser) {
		b.pressAt("[data-test=messages] .cite:not([disabled])")
		b.find(hook("proof"))
		b.until(`/WS-FIN-0142|notes.md|entities|lsass/.test(document.querySelector('[data-test=proof-result]')?.innerText ?? '')`)
		audit("evidence")
		shot("chat-evidence")
	})
	step("a case says what calls may do, and what servers may do with its folder", func(t *testing.T, b *browser) {
		b.press("new-chat")
		b.find(hook("chat-empty"))
		b.press("case-badge")
		b.pick("case-which", "new")
		b.fill("case-name", "INC-2041")
		b.pick("case-marking", "amber")
		b.fill("case-notes", "WS-FIN-0142. Owner: N. Okafor.")
		b.fill("case-folder", folder)
		b.find(hook("case-access-files"))
		b.pick("case-access-files", "read")
		b.pick("case-scope", "read")
		audit("case")
		shot("chat-case")
		b.pressAt("#case-dollars") // in sight: what is below
		shot("chat-case-limits")
		b.press("case-save")
		b.gone(hook("case-save"))
		b.server("files", func(s server) bool { return len(s.Profile.Write) == 0 && len(s.Profile.Read) == 1 && approved(s) })
		b.until(`/May only read/.test(document.querySelector('[data-test=scope-picker]').innerText)`)
		model.Say(scripted.Turn{Text: "I write the verdict.", In: 1200, Out: 40, Calls: []scripted.Call{
			{ID: "r", Name: "files__list_directory", Args: fmt.Sprintf(`{"path":%q}`, folder)},
			{ID: "w", Name: "files__write_file", Args: fmt.Sprintf(`{"path":%q,"content":"closed"}`, filepath.Join(folder, "verdict.md"))}}},
			scripted.Turn{Text: "I may only read here, so nothing was written. The folder has the notes and a timeline [#1].\n", In: 1500, Out: 60})
		b.say("Write a verdict.")
		text := b.over("I may only read here")
		if !strings.Contains(text, "scope.read") {
			t.Errorf("it is not said which rule denied it:\n%s", text)
		}
		told := model.Requests()
		first, last := told[len(told)-2].Body, told[len(told)-1].Body
		if strings.Contains(first, "files__write_file") || !strings.Contains(first, "files__list_directory") || !strings.Contains(last, "scope.read") {
			t.Error("the model was told of what it may not call, or not why it was denied")
		}
		if _, err := os.Stat(filepath.Join(folder, "verdict.md")); err == nil {
			t.Error("what was denied was written")
		}
		audit("refused")
		shot("chat-refused")
	})
	step("an image goes along", func(t *testing.T, b *browser) {
		paste := `const canvas = document.createElement('canvas'); canvas.width = 640; canvas.height = 360
			const g = canvas.getContext('2d'); g.fillStyle = '#335'; g.fillRect(0, 0, 640, 360); g.fillStyle = '#eee'; g.font = '32px sans-serif'; g.fillText('Sign in to Contoso', 40, 80)
			const blob = await new Promise(done => canvas.toBlob(done, 'image/png'))
			const data = new DataTransfer(); data.items.add(new File([blob], 'login.png', {type: 'image/png'}))
			document.querySelector('[data-test=composer]').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}))`
		b.must("paste", b.script(nil, paste))
		b.find(hook("unseen"))
		model.Say(scripted.Turn{Text: "You attached a picture that I was not given."})
		b.say("What page is this?")
		b.over("I was not given")
		last := func() string { all := model.Requests(); return all[len(all)-1].Body }
		if strings.Contains(last(), "iVBORw0KGgo") || !strings.Contains(last(), "login.png") {
			t.Error("a model that cannot look at images was given one, or not told of it")
		}
		b.must("model", b.script(nil, `const m = (await window.go.app.App.Models()).models.find(m => m.name === 'lab'); await window.go.app.App.SetModel({...m, images: true})`))
		model.Say(scripted.Turn{Text: "A page that asks to sign in to Contoso."})
		b.say("And now?")
		b.over("asks to sign in to Contoso")
		if !strings.Contains(last(), "iVBORw0KGgo") {
			t.Error("a model that can look at images was not given what was attached before")
		}
		b.until(`document.querySelector('[data-test=messages] img.picture')?.naturalWidth === 640`)
		audit("image")
		shot("chat-image")
	})
	step("what is missing is said", func(t *testing.T, b *browser) {
		other := b.model("openai", "qwen3")
		b.press("new-chat")
		b.find(hook("chat-empty"))
		b.press("nav-servers")
		b.press("nav-chat")
		b.press("model-picker")
		b.press("model-qwen3")
		b.until(`/qwen3/.test(document.querySelector('[data-test=model-picker]').innerText)`)
		other.Say(scripted.Turn{In: 2400, Out: 30, Calls: []scripted.Call{{ID: "r", Name: "files__read_text_file", Args: fmt.Sprintf(`{"path":%q}`, note)}}}, scripted.Turn{Text: "The notes name one host, **WS-FIN-0142** [#1].", In: 2600, Out: 40},
			scripted.Turn{Text: "Its owner is ", Runes: 3, Drop: 4}, scripted.Turn{Status: http.StatusBadGateway}, scripted.Turn{Status: http.StatusBadGateway}, scripted.Turn{Status: http.StatusBadGateway}, scripted.Turn{Status: http.StatusBadGateway})
		b.say("Which host do the notes name?")
		b.over("one host")
		b.say("And whose is it?")
		b.over("CRD-LLM-07")
		b.must("take away", b.script(nil, `await window.go.app.App.StopServer('graph'); await window.go.app.App.RemoveModel('qwen3')`))
		b.press("nav-servers")
		b.press("nav-chat")
		b.until(`/not there any more/.test(document.querySelector('.composer').innerText) && /1 not running/.test(document.querySelector('[data-test=server-picker]').innerText)`)
		audit("degraded")
		shot("chat-degraded")
		b.must("bring back", b.script(nil, `await window.go.app.App.StartServer('graph')`))
		b.press("model-picker")
		b.press("model-lab")
		b.press("new-chat")
		b.find(hook("chat-empty"))
		b.press("case-badge")
		b.pick("case-which", "")
		b.press("case-save")
		b.gone(hook("case-save"))
	})
	step("each fault ends in a state from which it goes on", func(t *testing.T, b *browser) {
		for _, fault := range []struct {
			name  string
			turns []scripted.Turn
			says  string
		}{
			{"key", []scripted.Turn{{Status: http.StatusUnauthorized, Body: `{"error":{"message":"no such key"}}`}}, "CRD-LLM-01"},
			{"drop", []scripted.Turn{{Text: "half of it is", Runes: 3, Drop: 5}}, "CRD-LLM-07"},
			{"malformed", []scripted.Turn{{Status: 200, Body: "data: {{{\n\n"}, {Status: 200, Body: "data: {{{\n\n"}, {Status: 200, Body: "data: {{{\n\n"}, {Status: 200, Body: "data: {{{\n\n"}}, "CRD-LLM-07"},
		} {
			model.Say(fault.turns...)
			b.say("go on: " + fault.name)
			b.over(fault.says)
			model.Say(scripted.Turn{Text: "here I am again after " + fault.name})
			b.press("continue")
			b.over("here I am again after " + fault.name)
		}
		audit("failed")
		shot("chat-failed")
	})
	step("a busy provider is asked again", func(t *testing.T, b *browser) {
		model.Say(scripted.Turn{Status: 429, Header: http.Header{"Retry-After": {"1"}}, Body: "{}"}, scripted.Turn{Text: "now I can"})
		b.say("busy?")
		b.over("now I can")
	})
	step("a model that goes in circles is stopped", func(t *testing.T, b *browser) {
		n := 0
		model.Decide(func(scripted.Request) scripted.Turn {
			n++
			return scripted.Turn{Calls: []scripted.Call{{ID: fmt.Sprint(n), Name: "graph__read_graph", Args: "{}"}}}
		})
		b.say("again and again")
		b.over("goes in circles")
	})
	step("stop is now, and nothing is lost", func(t *testing.T, b *browser) {
		var text strings.Builder
		text.WriteString("Every event of the night, in its order:\n\n")
		for i := range 600 {
			fmt.Fprintf(&text, "- 03:%02d:%02d UTC: handle to `lsass.exe`, access 0x1410\n", i/60+10, i%60)
		}
		b.press("new-chat")
		b.find(hook("chat-empty"))
		model.Say(scripted.Turn{Think: "There are many.", Text: text.String(), Runes: 6, Pause: 2 * time.Millisecond})
		b.say("Write down every handle to LSASS since 03:10.")
		b.until(`document.querySelector('[data-test=live]')?.innerText.includes('03:10:11 UTC: handle to lsass.exe')`)
		audit("running")
		shot("chat-running")
		var millis float64
		b.must("stop", b.script(&millis, `const began = performance.now()
			const idle = new Promise(r => { const off = window.runtime.EventsOn('chat', p => { if (p.idle) { off(); r(performance.now()) } }) })
			document.querySelector('[data-test=stop-chat]').click()
			return await idle - began`))
		t.Logf("stopped in %.0f ms", millis)
		if millis > 2000 {
			t.Errorf("it took %.0f ms", millis)
		}
		b.over("handle to lsass.exe", "You stopped it")
		shot("chat-stopped")
	})
	step("the first word is shown at once", func(t *testing.T, b *browser) {
		sent := make(chan int64, 1)
		model.Decide(func(scripted.Request) scripted.Turn {
			sent <- time.Now().UnixMilli()
			return scripted.Turn{Text: "quickly " + strings.Repeat("and on ", 200), Runes: 8, Pause: time.Millisecond}
		})
		b.must("watch", b.script(nil, `window.shownAt = 0; new MutationObserver((_, me) => {
			if (!document.querySelector('[data-test=live]')?.innerText.includes('quickly')) return
			me.disconnect(); requestAnimationFrame(() => { window.shownAt = Date.now() }) }).observe(document.body, {childList: true, subtree: true, characterData: true})`))
		b.say("say something")
		b.until("window.shownAt > 0")
		var shown int64
		b.must("shown", b.script(&shown, "return window.shownAt"))
		t.Logf("first words drawn %d ms after the provider was asked", shown-<-sent)
		b.over("and on")
	})
	step("it is there when the window is opened again", func(t *testing.T, b *browser) {
		var before string
		b.must("before", b.script(&before, `return document.querySelector('[data-test=messages]').innerText`))
		if !app.stop(syscall.SIGKILL, quick) {
			t.Fatal("it does not end")
		}
		again, reopened := d.open()
		app, window = again, reopened
		b = window.in(t)
		b.find("#app *")
		b.press("nav-chat")
		b.pressAt(`[data-test=chats] [data-test^="chat-"]`)
		var after string
		eventually(t, wait, "it is there", func() error {
			_ = b.script(&after, `return document.querySelector('[data-test=messages]')?.innerText ?? ''`)
			if !strings.Contains(after, "quickly and on") || len(after) < len(before)/2 {
				return fmt.Errorf("it shows:\n%s", after)
			}
			return nil
		})
	})
	step("the same in the terminal", func(t *testing.T, _ *browser) {
		if !app.stop(syscall.SIGTERM, quick) {
			t.Fatal("it does not end")
		}
		d.sameInTerminal(t, model, folder, note)
	})
}

// sameInTerminal holds the conversation of the window with cordon chat, in the same state. There is no terminal to ask at, so what would be asked is denied.
func (d *desktop) sameInTerminal(t *testing.T, model *scripted.Server, folder, note string) {
	t.Helper()
	model.Say(
		scripted.Turn{Text: "I look at the case.", Runes: 5, Calls: []scripted.Call{
			{ID: "a", Name: "files__read_text_file", Args: fmt.Sprintf(`{"path":%q}`, note)},
			{ID: "b", Name: "graph__read_graph", Args: `{}`},
			{ID: "d", Name: "files__write_file", Args: fmt.Sprintf(`{"path":%q,"content":"closed"}`, filepath.Join(folder, "verdict.md"))}}},
		scripted.Turn{Text: "The host is **WS-FIN-0142** [#1]."})
	cordon := filepath.Join(root(t), "bin", "cordon")
	said, code := d.run(time.Minute, cordon, "chat", "--model", "lab", "Which host is it? Write a verdict.")
	for _, want := range []string{"I look at the case.", "files.read_text_file", "ran in", "graph.read_graph", "files.write_file", "denied by consent.write", "The host is **WS-FIN-0142** [#1]."} {
		if code != 0 || !strings.Contains(said, want) {
			t.Errorf("exit %d; cordon chat does not say %q:\n%s", code, want, said)
		}
	}
	said, code = d.run(time.Minute, cordon, "chats", "list", "--find", "credentials")
	if code != 0 || !strings.Contains(said, "What happened on the host") {
		t.Errorf("exit %d; the window's conversation is not found: %s", code, said)
	}
}

// TestLongChat opens a conversation of 10,000 entries: what is drawn stays bounded, and it scrolls.
func TestLongChat(t *testing.T) {
	d := newDesktop(t, 1280, 900)
	state := filepath.Join(d.home, "state", "cordon")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(state, "chats.db"), 10_000)
	_, b := d.open()
	b.find("#app *")
	b.press("nav-chat")
	began := time.Now()
	b.pressAt(`[data-test=chats] [data-test^="chat-"]`)
	b.until(`document.querySelector('[data-test=messages]')?.innerText.includes('answer 9999')`)
	t.Logf("opened in %v", time.Since(began))
	var frames struct {
		Frames, Nodes, Older int
		P50, P95, Worst      float64
	}
	b.must("scroll", b.script(&frames, `const pane = document.querySelector('[data-test=messages]')
		const times = []; let last = performance.now(); let older = 0
		const before = pane.innerText
		for (const until = last + 5000; last < until;) {
			pane.scrollTop = Math.max(0, pane.scrollTop - 300)
			if (pane.scrollTop === 0) older++
			await new Promise(r => requestAnimationFrame(r))
			const now = performance.now(); times.push(now - last); last = now
		}
		times.sort((a, b) => a - b)
		const at = q => times[Math.floor(times.length * q)]
		return {frames: times.length, nodes: pane.querySelectorAll('*').length, older, p50: at(0.5), p95: at(0.95), worst: times.at(-1)}`))
	t.Logf("%+v", frames)
	if frames.Nodes > 30_000 || frames.Frames < 20 {
		t.Errorf("%d nodes are drawn, in %d frames", frames.Nodes, frames.Frames)
	}
}

// fill makes a conversation of n entries.
func fill(t *testing.T, path string, n int) {
	t.Helper()
	s, err := chat.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	c, err := s.New(ctx, "", "lab")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Change(ctx, c.ID, func(c *chat.Conversation) error { c.Title = "A long one"; return nil }); err != nil {
		t.Fatal(err)
	}
	var parent int64
	for i := range n {
		e := chat.Entry{Kind: chat.Question, Parts: []llm.Part{{Kind: llm.Text, Text: fmt.Sprintf("question %d", i)}}}
		if i%2 == 1 {
			e = chat.Entry{Kind: chat.Answer, Asked: &chat.Asked{Model: "lab", Stop: llm.StopEnd}, Parts: []llm.Part{{Kind: llm.Text, Text: fmt.Sprintf("answer %d with **words** and `code`\n\n- one\n- two\n\n```\nline\n```\n", i)}}}
		}
		if e, err = s.Append(ctx, c.ID, parent, e); err != nil {
			t.Fatal(err)
		}
		parent = e.Seq
	}
}
