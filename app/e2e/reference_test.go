package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// npm's reference servers, in the versions that build/compat tries too.
const (
	everythingPackage = "npm:@modelcontextprotocol/server-everything@2026.8.31"
	filesystemPackage = "npm:@modelcontextprotocol/server-filesystem@2026.8.31"
	memoryPackage     = "@modelcontextprotocol/server-memory@2026.8.31"
	thinkingPackage   = "npm:@modelcontextprotocol/server-sequential-thinking@2026.8.31"
	typescriptSDK     = "@modelcontextprotocol/server@2.4.0"
	goServer          = "github.com/modelcontextprotocol/go-sdk/examples/server/everything" // of the version in go.mod
)

// TestReferenceServers works all that npm's four reference servers, a server of the TypeScript SDK that speaks 2026-07-28 alone, and one of the Go
// SDK offer, from the window: every kind of tool and content, resources, templates, subscriptions, prompts, completion, questions, progress,
// cancelling, logging, and what is not offered to servers.
func TestReferenceServers(t *testing.T) {
	need(t, "node", "npm")
	d := newDesktop(t, 1280, 900)
	dirs := map[string]string{}
	for _, name := range []string{"case", "graph", "ts", "go"} {
		dirs[name] = filepath.Join(d.home, name)
		if err := os.Mkdir(dirs[name], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	note, picture, sound := filepath.Join(dirs["case"], "notes.md"), filepath.Join(dirs["case"], "shot.png"), filepath.Join(dirs["case"], "call.wav")
	var drawn bytes.Buffer
	if err := png.Encode(&drawn, image.NewGray(image.Rect(0, 0, 24, 24))); err != nil {
		t.Fatal(err)
	}
	write(t, note, "# A-1047\n")
	write(t, picture, drawn.String())
	write(t, sound, "RIFF\x24\x00\x00\x00WAVEfmt ")
	built := make(chan error, 2)
	go func() { built <- typescript(t.Context(), dirs["ts"]) }()
	go func() { built <- gobuild(t.Context(), filepath.Join(dirs["go"], "everything")) }()

	env, opened, _ := d.fakeBrowser()
	_, window := d.open(env)
	window.find("#app *")
	shot := func(string) {}
	if dir := os.Getenv("SHOTS"); dir != "" {
		shot = window.shots(dir)
	}
	step := func(name string, f func(t *testing.T, b *browser)) {
		t.Helper()
		if t.Failed() {
			t.Logf("%s: left out, because a step before it failed", name)
			return
		}
		t.Run(name, func(t *testing.T) { f(t, window.in(t)) })
	}
	install := func(name, what string, folder ...string) {
		window.must("install "+name, window.script(nil, `const [name, what, command, write] = arguments
			await window.go.app.App.InstallServer({name, package: what, scripts: false, command, read: [], write, net: 'none', memoryBytes: 0, pids: 0})`, name, what, folder, folder))
	}
	install("everything", everythingPackage)
	install("files", filesystemPackage, dirs["case"])
	install("thinking", thinkingPackage)

	// The form takes what memory needs besides: a folder to write, and a variable that says where.
	window.press("nav-servers")
	window.press("add-server")
	window.press("add-from-npm")
	window.fill("add-name", "graph")
	window.fill("add-package", memoryPackage)
	window.fill("add-env", "MEMORY_FILE_PATH")
	window.press("add-save")
	window.findXPath("//*[@id='add-env-e'][contains(., 'NAME=VALUE')]")
	window.fill("add-env", "MEMORY_FILE_PATH="+filepath.Join(dirs["graph"], "memory.jsonl"))
	window.press("add-write")
	d.chooseFolder(window, dirs["graph"])
	window.until(fmt.Sprintf(`document.querySelector('[role=dialog] [aria-label="May write"]')?.textContent.includes(%q)`, dirs["graph"]))
	shot("reference-add")
	window.press("add-save")
	window.reached("graph")
	for range 2 {
		if err := <-built; err != nil {
			unreachable(t, err.Error())
		}
	}
	for name, command := range map[string][]string{"ts": {"node", filepath.Join(dirs["ts"], "server.mjs")}, "go": {filepath.Join(dirs["go"], "everything")}} {
		window.must("add "+name, window.script(nil, `const [name, command, read] = arguments
			await window.go.app.App.AddServer({name, command, read, write: [], net: 'none', memoryBytes: 0, pids: 0})`, name, command, []string{dirs[name]}))
	}
	for _, name := range []string{"everything", "files", "thinking", "graph", "ts", "go"} {
		window.reached(name)
		window.must("approve "+name, window.script(nil, `await window.go.app.App.Approve(arguments[0], (await window.go.app.App.Review(arguments[0])).digest)`, name))
		window.server(name, approved)
	}

	call := func(server, tool, args string, says ...string) func(*testing.T, *browser) {
		return func(t *testing.T, b *browser) {
			t.Helper()
			b.work(server, tool, args)
			b.ended("ok", says...)
		}
	}
	step("files: it reads, and what it reads is shown for what it is", func(t *testing.T, b *browser) {
		for _, c := range []struct{ tool, args, says string }{
			{"read_text_file", `{"path":%q}`, "A-1047"}, {"read_file", `{"path":%q}`, "A-1047"}, {"get_file_info", `{"path":%q}`, "size"}, {"read_multiple_files", `{"paths":[%q]}`, "A-1047"},
		} {
			b.callJSON("files", c.tool, fmt.Sprintf(c.args, note))
			b.ended("ok", c.says)
		}
		for _, c := range []struct{ tool, args, says string }{
			{"list_directory", `{"path":%q}`, "notes.md"}, {"list_directory_with_sizes", `{"path":%q}`, "notes.md"}, {"directory_tree", `{"path":%q}`, "notes.md"}, {"search_files", `{"path":%q,"pattern":"**/*.md"}`, "notes.md"},
		} {
			b.callJSON("files", c.tool, fmt.Sprintf(c.args, dirs["case"]))
			b.ended("ok", c.says)
		}
		b.callJSON("files", "list_allowed_directories", `{}`)
		b.ended("ok", dirs["case"])
		b.callJSON("files", "read_media_file", fmt.Sprintf(`{"path":%q}`, picture))
		b.ended("ok", "image/png")
		b.picture()
		shot("reference-picture")
		b.callJSON("files", "read_media_file", fmt.Sprintf(`{"path":%q}`, sound))
		b.ended("ok", "audio")
	})
	step("files: it writes what was allowed", func(t *testing.T, b *browser) {
		made := filepath.Join(dirs["case"], "out")
		for _, c := range []struct{ tool, args string }{
			{"create_directory", fmt.Sprintf(`{"path":%q}`, made)},
			{"write_file", fmt.Sprintf(`{"path":%q,"content":"one\n"}`, filepath.Join(made, "a.txt"))},
			{"edit_file", fmt.Sprintf(`{"path":%q,"edits":[{"oldText":"one","newText":"two"}]}`, filepath.Join(made, "a.txt"))},
			{"move_file", fmt.Sprintf(`{"source":%q,"destination":%q}`, filepath.Join(made, "a.txt"), filepath.Join(made, "b.txt"))},
		} {
			b.work("files", c.tool, c.args)
			b.ended("ok")
		}
		if got, err := os.ReadFile(filepath.Join(made, "b.txt")); err != nil || string(got) != "two\n" {
			t.Errorf("it wrote %q, %v", got, err)
		}
	})
	step("graph: it keeps what was allowed, and its resource shows it", func(t *testing.T, b *browser) {
		for _, c := range []struct{ tool, args string }{
			{"create_entities", `{"entities":[{"name":"WS-FIN-0142","entityType":"host","observations":["handle to lsass"]},{"name":"INC-2041","entityType":"case","observations":[]}]}`},
			{"create_relations", `{"relations":[{"from":"INC-2041","to":"WS-FIN-0142","relationType":"concerns"}]}`},
			{"add_observations", `{"observations":[{"entityName":"INC-2041","contents":["opened 07:41"]}]}`},
		} {
			b.work("graph", c.tool, c.args)
			b.ended("ok")
		}
		for _, c := range []struct{ tool, args, says string }{
			{"read_graph", `{}`, "concerns"}, {"search_nodes", `{"query":"lsass"}`, "WS-FIN-0142"}, {"open_nodes", `{"names":["INC-2041"]}`, "opened 07:41"},
		} {
			b.callJSON("graph", c.tool, c.args)
			b.ended("ok", c.says)
		}
		b.tab("graph", "resources")
		b.press("resource-0")
		b.press("offer-run")
		b.ended("ok", "WS-FIN-0142", "opened 07:41")
		for _, c := range []struct{ tool, args string }{
			{"delete_observations", `{"deletions":[{"entityName":"INC-2041","observations":["opened 07:41"]}]}`},
			{"delete_relations", `{"relations":[{"from":"INC-2041","to":"WS-FIN-0142","relationType":"concerns"}]}`},
			{"delete_entities", `{"entityNames":["WS-FIN-0142"]}`},
		} {
			b.work("graph", c.tool, c.args)
			b.ended("ok")
		}
		kept, err := os.ReadFile(filepath.Join(dirs["graph"], "memory.jsonl"))
		if err != nil || !strings.Contains(string(kept), "INC-2041") || strings.Contains(string(kept), "WS-FIN-0142") {
			t.Errorf("it keeps %q, %v", kept, err)
		}
	})
	step("thinking: one thought", call("thinking", "sequentialthinking", `{"thought":"the parent is bagent.exe","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, "thoughtNumber"))

	step("everything: each kind of content", func(t *testing.T, b *browser) {
		call("everything", "echo", `{"message":"hello"}`, "Echo: hello")(t, b)
		call("everything", "get-sum", `{"a":2,"b":40}`, "is 42")(t, b)
		call("everything", "get-tiny-image", `{}`, "image/png", "MCP logo")(t, b)
		b.picture()
		call("everything", "get-annotated-message", `{"messageType":"error","includeImage":true}`, "Operation failed")(t, b)
		b.picture()
		call("everything", "get-structured-content", `{"location":"New York"}`, "Cloudy", "82")(t, b)
		call("everything", "get-resource-reference", `{"resourceType":"Blob","resourceId":3}`, "demo://resource/dynamic/blob/3")(t, b)
		b.work("everything", "get-env", `{}`)
		b.ended("ok", "/home/sandbox")
		if _, text := b.result(); strings.Contains(text, d.home) {
			t.Errorf("it knows where home is:\n%s", text)
		}
	})
	step("everything: a resource that a result names can be read", func(t *testing.T, b *browser) {
		call("everything", "get-resource-links", `{"count":2}`, "Blob Resource 1", "Text Resource 2")(t, b)
		shot("reference-links")
		b.press("read-link")
		b.says("resource-address", "demo://resource/dynamic/blob/1")
		b.press("offer-run")
		b.ended("ok", "demo://resource/dynamic/blob/1")
		b.work("everything", "gzip-file-as-resource", `{"name":"note.gz","data":"data:text/plain,hello","outputType":"resourceLink"}`)
		b.ended("ok", "application/gzip")
		b.press("read-link")
		b.press("offer-run")
		b.ended("ok", "demo://resource/session/note.gz", "application/gzip")
		b.press("offer-back")
		b.says("resources", "note.gz")
	})
	step("everything: it tells how far it is, and is cancelled", func(t *testing.T, b *browser) {
		b.work("everything", "trigger-long-running-operation", `{"duration":4,"steps":4}`)
		b.says("running", "of 4")
		b.ended("ok", "Steps: 4")
		b.work("everything", "trigger-long-running-operation", `{"duration":60,"steps":60}`)
		b.says("running", "of 60")
		b.press("cancel-button")
		b.ended("cancelled")
	})
	step("everything: a form of every kind of field", func(t *testing.T, b *browser) {
		b.work("everything", "trigger-elicitation-request", `{}`)
		b.find(hook("question-accept") + ":not([disabled])")
		b.press("question-accept") // the name is missing
		b.findXPath("//*[@data-test='question'][contains(., 'It has to be filled in.')]")
		b.fill("question-name", "N. Okafor")
		b.press("question-check")
		b.fill("question-email", "soc@example.org")
		b.fill("question-homepage", "https://example.org/")
		b.fill("question-birthdate", "1990-01-31")
		b.press("question-untitledMultipleSelectEnum-Drums")
		shot("reference-form")
		b.press("question-accept")
		b.gone(hook("question"))
		b.ended("ok", "N. Okafor", "soc@example.org", "Favorite Integer: 42", "hero-1", `"Drums"`, "pet-1")
		b.work("everything", "trigger-elicitation-request", `{}`)
		b.pressAt(hook("question-decline") + ":not([disabled])")
		b.ended("ok", "declined")
	})
	step("everything: a page to open", func(t *testing.T, b *browser) {
		b.work("everything", "trigger-url-elicitation", `{"url":"https://sign.example.org/form?case=1","message":"Sign it there."}`)
		b.says("question", "Sign it there.", "sign.example.org")
		b.pressAt(hook("question-accept") + ":not([disabled])")
		if got := opened(); got != "https://sign.example.org/form?case=1" {
			t.Errorf("opened %s", got)
		}
		b.ended("ok", "completed the URL elicitation")
	})
	step("everything: a call that becomes a task", func(t *testing.T, b *browser) {
		b.work("everything", "simulate-research-query", `{"topic":"python","ambiguous":true}`)
		b.says("running", "Gathering sources")
		b.says("question", "could have multiple interpretations")
		b.pick("question-interpretation", "snake")
		b.pressAt(hook("question-accept") + ":not([disabled])")
		b.ended("ok", "Research Report: python (snake)")
	})
	step("everything: its notes are kept", func(t *testing.T, b *browser) {
		b.work("everything", "toggle-simulated-logging", `{}`)
		b.ended("ok", "Started simulated")
		b.tab("everything", "connection")
		shot("reference-notes")
		b.until(`[...document.querySelectorAll('.frames li')].some(l => l.innerText.includes('notifications/message'))`)
	})
	step("everything: resources, templates and what changes", func(t *testing.T, b *browser) {
		b.work("everything", "toggle-subscriber-updates", `{}`)
		b.ended("ok", "Started simulated")
		b.tab("everything", "resources")
		b.pressAt(`[data-at="demo://resource/static/document/features.md"]`)
		b.press("offer-run")
		b.ended("ok", "demo://resource/static/document/features.md")
		b.press("offer-back")
		b.pressAt(`[data-at="demo://resource/dynamic/text/{resourceId}"]`)
		b.fill("var-resourceId", "7")
		b.says("resource-address", "demo://resource/dynamic/text/7")
		b.press("resource-watch")
		b.press("offer-run")
		b.ended("ok", "Resource 7: This is a plaintext")
		b.says("resource-changed", "demo://resource/dynamic/text/7", "has changed since")
		shot("reference-changed")
		b.press("offer-run")
		b.gone(hook("resource-changed"))
	})
	step("everything: prompts, and values that it proposes", func(t *testing.T, b *browser) {
		prompt := func(name string, args ...string) {
			t.Helper()
			b.tab("everything", "prompts")
			b.press("prompt-" + name)
			for i := 0; i < len(args); i += 2 {
				b.fill("arg-"+args[i], args[i+1])
				b.strike(keyEscape)
			}
		}
		prompt("simple-prompt")
		b.press("offer-run")
		b.ended("ok", "as the user", "simple prompt without arguments")
		prompt("args-prompt", "city", "Lagos")
		b.press("offer-run")
		b.ended("ok", "weather in Lagos?")
		prompt("completable-prompt", "department", "Sales")
		b.fill("arg-name", "E")
		b.says("arg-name-offered", "Eve")
		b.strike("\ue015", keyEnter)
		b.press("offer-run")
		b.ended("ok", "promote Eve to the head of the Sales team")
		prompt("resource-prompt", "resourceType", "Text", "resourceId", "5")
		b.press("offer-run")
		b.ended("ok", "demo://resource/dynamic/text/5", "Resource 5")
	})
	step("everything: what was not offered to it is not there", func(t *testing.T, b *browser) {
		for _, tool := range b.server("everything", approved).Tools {
			if strings.Contains(tool.Name, "sampling") || strings.Contains(tool.Name, "roots") {
				t.Errorf("it offers %s", tool.Name)
			}
		}
	})

	step("ts: a server that speaks 2026-07-28 alone", func(t *testing.T, b *browser) {
		call("ts", "read_echo", `{"text":"grüße"}`, "grüße")(t, b)
		b.callJSON("ts", "get_name", `{}`)
		b.fill("question-name", "Ada")
		b.pressAt(hook("question-accept") + ":not([disabled])")
		b.ended("ok", "hello Ada")
		b.callJSON("ts", "get_summary", `{}`)
		b.ended("failed", "sampling/createMessage", "capabilities do not declare")
		b.tab("ts", "resources")
		b.press("resource-0")
		b.press("offer-run")
		b.ended("ok", "memo")
		b.press("offer-back")
		b.press("resource-1")
		b.fill("var-id", "A-1")
		b.press("offer-run")
		b.ended("ok", "notes of A-1")
		b.tab("ts", "prompts")
		b.press("prompt-triage")
		b.fill("arg-case", "A")
		b.says("arg-case-offered", "A1", "A2")
		b.strike("\ue015", keyEnter)
		b.press("offer-run")
		b.ended("ok", "Triage A1")
		b.tab("ts", "overview")
		b.says("server-head", "2026-07-28")
	})
	step("go: a server of the Go SDK", func(t *testing.T, b *browser) {
		run := func(tool, args, outcome string, says ...string) {
			t.Helper()
			b.work("go", tool, args)
			b.ended(outcome, says...)
		}
		run("greet", `{"name":"Ada"}`, "ok", "Hi Ada")
		run("greet (structured)", `{"name":"Ada"}`, "ok", "Hi Ada")
		run("greet (content with ResourceLink)", `{"name":"Ada"}`, "ok", "greeting")
		run("ping", `{}`, "tool-error", "ping failed") // it speaks 2026-07-28, in which nobody pings
		run("log", `{}`, "ok")
		run("sample", `{}`, "tool-error", "sampling")
		run("roots", `{}`, "tool-error", "roots")
		run("elicit (form)", `{}`, "tool-error", "eliciting failed") // nor asks by itself
		run("elicit (url)", `{}`, "tool-error", "eliciting failed")
		b.tab("go", "tools")
		for _, icon := range []string{"server-go", "tool-greet (with Icons)"} {
			b.until(fmt.Sprintf(`(i => i && i.naturalWidth > 0 && i.src.startsWith('data:image/png'))(document.querySelector('[data-test="icon-%s"]'))`, icon))
		}
		shot("reference-icons")
		b.tab("go", "prompts")
		shot("reference-icons-prompts")
		b.tab("go", "resources")
		b.find(hook("icon-resource-embedded:info"))
		shot("reference-icons-resources")
		b.press("resource-0")
		b.press("offer-run")
		b.ended("ok", "This is the hello example server.")
		b.tab("go", "prompts")
		b.press("prompt-greet")
		b.press("offer-run")
		b.ended("ok", "Say hi to")
	})
}

// allow answers the dialog with Allow, and types the target where that is asked for.
func (b *browser) allow() {
	b.t.Helper()
	if p := b.asked(); p.Level > 1 {
		b.fill("consent-typed", p.Target)
	}
	b.armed()
	b.press("consent-allow")
	b.gone(hook("consent"))
}

// work calls a tool, and allows it if that is asked.
func (b *browser) work(server, tool, args string) {
	b.t.Helper()
	b.callJSON(server, tool, args)
	for _, t := range b.server(server, running).Tools {
		if t.Name == tool && t.Effect != "read" {
			b.allow()
		}
	}
}

// tab opens one page of a server.
func (b *browser) tab(server, tab string) {
	b.t.Helper()
	b.press("nav-start") // leaving it forgets what was open
	b.press("nav-servers")
	b.press("server-" + server)
	b.press("tab-" + tab)
}

// picture waits until the result shows a picture that was drawn.
func (b *browser) picture() {
	b.t.Helper()
	b.until(`(i => i && i.complete && i.naturalWidth > 0)(document.querySelector('[data-test=result] img.picture'))`)
}

// reached waits until a server that was installed runs. Without a registry the test is skipped, or fails with REQUIRE_REGISTRIES=1.
func (b *browser) reached(name string) {
	b.t.Helper()
	eventually(b.t, 90*time.Second, name+" is installed and runs", func() error {
		for _, s := range b.snapshot().Servers {
			if s.Name == name && (running(s) || s.State == "quarantined") {
				return nil
			}
		}
		var said string
		_ = b.script(&said, `return [...document.querySelectorAll('.toasts, [aria-label="What failed"]')].map(e => e.textContent).join(' ')`)
		if strings.Contains(said, "ENOTFOUND") || strings.Contains(said, "ECONNREFUSED") || strings.Contains(said, "EAI_AGAIN") {
			unreachable(b.t, said)
		}
		return errors.New("not yet " + said)
	})
}

func unreachable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("REQUIRE_REGISTRIES") == "1" {
		t.Fatalf("the registries are needed and REQUIRE_REGISTRIES=1: %s", why)
	}
	t.Skipf("the registries are needed: %s", why)
}

// typescript installs the SDK beside the server that host's tests have too.
func typescript(ctx context.Context, dir string) error {
	program, err := os.ReadFile("../../host/testdata/typescript/server.mjs")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "server.mjs"), program, 0o600)
	}
	if err != nil {
		return err
	}
	if said, err := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--silent", typescriptSDK).CombinedOutput(); err != nil {
		return fmt.Errorf("npm install %s: %w: %s", typescriptSDK, err, said)
	}
	return nil
}

func gobuild(ctx context.Context, to string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", to, goServer)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w: %s", goServer, err, said)
	}
	return nil
}
