package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/elicit"
	"cordon/host/oauth"
	"cordon/host/remote"
	"cordon/host/tool"
)

// The hostile suite: what a hostile server would do to its host, see testdata/hostile. After each behaviour Cordon lives, its memory is what it
// was, no process is left, the server beside it answers, and the log says what happened.

// end is how Cordon comes out of a behaviour.
type end string

const (
	runs    end = "answered"     // the call has its answer, and the next one too
	fails   end = "call failed"  // with a text; the next call has its answer
	times   end = "timed out"    // the call ended by its deadline; the next one has its answer
	ends    end = "disconnected" // the session was ended in the middle of the call
	refuses end = "refused"      // it was never offered
)

// hostile is one behaviour.
type hostile struct {
	name, does string
	end        end
	web        end    // over HTTP, if that differs: where the answer ends is known there
	says       string // in what the call, or the start, says
	finding    string // a code that is recorded, or "" for none in particular
	log        string // in the server's log
	slow       bool   // it takes a while and little memory: beside others
}

const (
	shortPatience = 3 * time.Second  // with the call of a slow one; see late-answer in testdata/hostile
	longPatience  = 30 * time.Second // with that of others, which may have to read much
	handshakeTime = 8 * time.Second

	peakAllowed = 320 << 20 // bytes of the heap, garbage among it, at any moment; a message may have 16 MiB, and is copied and read
	heldAllowed = 48 << 20  // while it runs
	restAllowed = 8 << 20   // when it is gone
	textAllowed = 16 << 10  // of an error, a line or a reason

	poison = "POISON" // what no host may take for an answer
)

// patience is how long a call may take.
func (b hostile) patience() time.Duration {
	if b.slow {
		return shortPatience
	}
	return longPatience
}

// outcome is what was seen.
type outcome struct {
	end      end
	text     string // of the call, or why there was none
	next     string // the same for the next call
	tools    []tool.Tool
	view     View
	log      string
	findings []audit.Event
	told     string // what the server says that the host gave away
	asked    int    // questions that reached the person
	peak     int64
	held     int64
	rest     int64
}

// arena is a supervisor with a server that behaves, "one", and many that do not.
type arena struct {
	*rig
	asked atomic.Int32
	site  string // of the hostile servers over HTTP
}

// storage keeps sign-ins in memory.
type storage struct {
	mu   sync.Mutex
	docs map[string][]byte
}

func (s *storage) Load(_ context.Context, server, issuer string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.docs[server+" "+issuer]; d != nil {
		return d, nil
	}
	return nil, oauth.ErrNothing
}

func (s *storage) Save(_ context.Context, server, issuer string, doc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docs[server+" "+issuer] = doc
	return nil
}

func (s *storage) Remove(_ context.Context, server, issuer string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.docs, server+" "+issuer)
	return nil
}

func newArena(t testing.TB) *arena {
	a := &arena{}
	secrets := vault{}
	a.rig = newRig(t, "ok", func(o *Options) {
		o.Backoff = time.Hour // one that ends stays so
		o.Secrets = secrets
		o.SignIns = oauth.Options{Store: &storage{docs: map[string][]byte{}}}
		o.Elicit = func(context.Context, elicit.Question) elicit.Answer {
			a.asked.Add(1)
			return elicit.Answer{Action: elicit.Decline}
		}
	})
	a.patience = handshakeTime
	for _, b := range web {
		secrets[b.name+"/key"] = "client-secret-5b1f77c0"
	}
	a.start()
	a.works()
	return a
}

// openSite starts the hostile servers over HTTP: a process of their own, whose memory is not measured.
func openSite(t testing.TB) string {
	t.Helper()
	c := exec.Command(filepath.Join(binaries, "hostile"), "http", "site")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// heapNow is how many bytes of the heap are in use, garbage among them. It stops nobody.
func heapNow() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// peak watches the heap until it is stopped, and returns the most it had.
func peak() (stop func() int64) {
	var most atomic.Int64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				most.Store(max(most.Load(), heapNow()))
			}
		}
	}()
	return func() int64 {
		close(done)
		<-ended
		return most.Load()
	}
}

// meet lets a server do its hostile thing, looks at what comes of it, and removes it again.
func (a *arena) meet(t *testing.T, b hostile) (o outcome) {
	t.Helper()
	mark := "hostile-" + b.name + fmt.Sprint(time.Now().UnixNano())
	def := config.Server{Name: b.name, Command: []string{filepath.Join(binaries, "hostile"), "stdio", b.name, mark}, Net: config.NetNone, Memory: 1 << 30, Pids: 64}
	if a.site != "" {
		def = config.Server{Name: b.name, URL: a.site + "/" + b.name + "/mcp", Net: config.NetNone, Open: true}
		if strings.HasPrefix(b.name, "oauth-") {
			def.Login = config.Login{Kind: config.LoginClientSecret, ClientID: "cordon"}
			def.Secrets = map[string]string{config.LoginSecret: "key"}
		}
	}
	before, asked := int64(heap()), a.asked.Load()
	watch := peak()
	a.Set(def)
	stop := sync.OnceFunc(a.neighbour(t))
	t.Cleanup(stop)
	o.end, o.text = a.attempt(t, b, "read_it")
	if o.end == runs && b.end == ends { // it may take a while
		for range 1000 {
			if v, _ := a.View(b.name); v.State != Running {
				o.end = ends
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if o.end != refuses {
		o.view, _ = a.View(b.name)
		if o.tools = o.view.Tools; o.end != ends {
			var end end
			if end, o.next = a.call(t, b, "read_still"); end != runs {
				o.end = ends
			} else if _, o.told = a.call(t, b, "read_told"); o.end == times && b.name == "late-answer" {
				time.Sleep(2 * time.Second)
				_, o.next = a.call(t, b, "read_still")
			}
		}
	}
	o.peak = watch() - before
	stop()
	o.held = int64(heap()) - before
	o.view, _ = a.View(b.name)
	lines, _ := a.Log(b.name)
	for _, l := range lines {
		o.log += l.Text + "\n"
		if len(l.Text) > textAllowed {
			t.Errorf("a line of its log has %d bytes", len(l.Text))
		}
	}
	within(t, 15*time.Second, "removing it", func() { _ = a.Remove(context.Background(), b.name) })
	o.findings = slices.DeleteFunc(a.journal.of(audit.FindingMade), func(e audit.Event) bool { return e.Server != b.name })
	o.asked = int(a.asked.Load() - asked)
	if a.site != "" {
		o.told = toldBy(t, a.site, b.name)
	} else {
		a.gone(mark)
	}
	lines = nil
	o.rest = int64(heap()) - before
	return o
}

// overHTTP sets what differs there.
func overHTTP(all []hostile) []hostile {
	for i, b := range all {
		if b.web != "" {
			all[i].end = b.web
		}
	}
	return all
}

// toldBy is what a server over HTTP says that the host gave away.
func toldBy(t *testing.T, site, name string) string {
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(site + "/" + name + "/told")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// attempt starts a server and calls it.
func (a *arena) attempt(t *testing.T, b hostile, name string) (end, string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := a.Start(ctx, b.name); err != nil {
		if ctx.Err() != nil {
			t.Errorf("the start hangs: %v", err)
		}
		return refuses, err.Error()
	}
	return a.call(t, b, name)
}

func (a *arena) call(t *testing.T, b hostile, name string) (end, string) {
	ctx, cancel := tool.WithPatience(t.Context(), b.patience())
	defer cancel()
	var res tool.Result
	var err error
	within(t, 10*b.patience()+10*time.Second, "a call", func() { res, err = a.Call(ctx, frozen(b.name, name, "{}")) })
	if err == nil {
		var text strings.Builder
		for _, c := range res.Content {
			text.WriteString(c.Text)
		}
		text.Write(res.Structured)
		return runs, strings.Clone(text.String()[:min(text.Len(), 1<<20)])
	}
	if ctx.Err() != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at its deadline the call says %v", err)
		}
		return times, err.Error()
	}
	for range 30 {
		if v, _ := a.View(b.name); v.State != Running {
			return ends, err.Error()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fails, err.Error()
}

// neighbour calls the server that behaves again and again until it is stopped, and once more.
func (a *arena) neighbour(t *testing.T) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	once := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if res, err := a.Call(ctx, frozen("one", "read_echo", `{"a":1}`)); err != nil || len(res.Content) != 1 || res.Content[0].Text != `{"a":1}` {
			t.Errorf("the server beside it answers %v, %v", res.Content, err)
		}
	}
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				once()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		once()
	}
}

// judge compares what was seen with what has to be, and returns what is wrong.
func (b hostile) judge(o outcome) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if o.end != b.end {
		say("%s: %s; want %s", o.end, clipped(o.text+" / "+o.next), b.end)
	}
	if !strings.Contains(o.text, b.says) {
		say("it ends with %q, which does not say %q", clipped(o.text), b.says)
	}
	if (b.end == runs || b.end == fails || b.end == times) && o.next != "ok" {
		say("the next call: %q", clipped(o.next))
	}
	for what, text := range map[string]string{"the call": o.text, "the next call": o.next, "the server": o.told} {
		if strings.Contains(text, poison) {
			say("%s got %q", what, clipped(text))
		}
	}
	if o.end != runs && len(o.text) > textAllowed {
		say("the error has %d bytes", len(o.text))
	}
	for _, tl := range o.tools {
		if strings.Contains(tl.ID.Name+tl.Description, "poison") || strings.Contains(tl.Description, poison) || strings.ContainsFunc(tl.ID.Name, unicode.IsControl) {
			say("the tool %q is offered: %q", tl.ID.Name, tl.Description)
		}
	}
	if strings.ContainsFunc(o.view.Title+o.view.Version, unicode.IsControl) {
		say("it is called %q, %q", o.view.Title, o.view.Version)
	}
	if b.finding != "" && !slices.ContainsFunc(o.findings, func(e audit.Event) bool { return e.Rule == b.finding }) {
		say("findings: %v; want %s", o.findings, b.finding)
	}
	for _, e := range o.findings {
		if len(e.Reason) > textAllowed {
			say("a finding has %d bytes", len(e.Reason))
		}
	}
	if !strings.Contains(o.log, b.log) {
		say("the log does not say %q: %s", b.log, clipped(o.log))
	}
	if b.slow { // beside others
		return wrong
	}
	for _, m := range []struct {
		when           string
		grown, allowed int64
	}{{"at its peak", o.peak, peakAllowed}, {"while it runs", o.held, heldAllowed}, {"afterwards", o.rest, restAllowed}} {
		if m.grown > m.allowed {
			say("%s the heap has grown by %d MiB, %d MiB are allowed", m.when, m.grown>>20, m.allowed>>20)
		}
	}
	return wrong
}

func clipped(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}

// run lets every behaviour of a table happen, those that are slow beside each other.
func (a *arena) run(t *testing.T, all []hostile) {
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	meet := func(t *testing.T, b hostile) {
		o := a.meet(t, b)
		if os.Getenv("HOSTILE_SHOW") != "" {
			t.Logf("%s: %s; next %s; peak %d held %d rest %d MiB; asked %d; told %s; findings %v; log %s", o.end, clipped(o.text), clipped(o.next), o.peak>>20, o.held>>20, o.rest>>20, o.asked, clipped(o.told), o.findings, clipped(o.log))
		}
		for _, w := range b.judge(o) {
			t.Error(w)
		}
	}
	for _, b := range all {
		if !b.slow {
			t.Run(b.name, func(t *testing.T) { meet(t, b) })
		}
	}
	t.Run("slow", func(t *testing.T) {
		for _, b := range all {
			if b.slow {
				t.Run(b.name, func(t *testing.T) {
					t.Parallel()
					meet(t, b)
				})
			}
		}
	})
	for range 2000 { // a request for a token may take a quarter of a minute
		if runtime.NumGoroutine() <= goroutines && openFiles(t) <= files {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines and %d open files, %d and %d before", runtime.NumGoroutine(), openFiles(t), goroutines, files)
}

func openFiles(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestHostileStdio meets hostile servers on their standard streams.
func TestHostileStdio(t *testing.T) {
	newArena(t).run(t, slices.Concat(both, streams))
}

// TestHostileHTTP meets hostile servers over HTTP.
func TestHostileHTTP(t *testing.T) {
	site := openSite(t) // it outlives the arena
	a := newArena(t)
	a.site = site
	a.run(t, overHTTP(slices.Concat(both, web)))
}

// TestHostileAddresses: a server on the internet sends Cordon nowhere but to the internet, and one on this machine only to this machine.
func TestHostileAddresses(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "")
	}
	var heard atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) })}
	defer s.Close()
	go func() { _ = s.Serve(l) }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, c := range []struct{ endpoint, names string }{
		{"https://mcp.example.com", "127.0.0.1"}, {"https://mcp.example.com", "localhost"}, {"https://mcp.example.com", "LOCALHOST"}, {"https://mcp.example.com", "localhost."},
		{"https://mcp.example.com", "a.localhost"}, {"https://mcp.example.com", "[::1]"}, {"https://mcp.example.com", "[::ffff:127.0.0.1]"}, {"https://mcp.example.com", "127.1"},
		{"https://mcp.example.com", "2130706433"}, {"https://mcp.example.com", "0x7f.1"}, {"https://mcp.example.com", "0177.0.0.1"}, {"https://mcp.example.com", "0.0.0.0"},
		{"https://mcp.example.com", "[::]"}, {"https://mcp.example.com", "169.254.169.254"}, {"https://mcp.example.com", "[fd00:ec2::254]"}, {"https://mcp.example.com", "10.0.0.1"},
		{"https://mcp.example.com", "192.168.1.1"}, {"https://mcp.example.com", "100.64.0.1"}, {"https://mcp.example.com", "[64:ff9b::7f00:1]"}, {"https://mcp.example.com", "[2002:7f00:1::]"},
		{"http://127.0.0.1:" + port, "169.254.169.254"}, {"http://127.0.0.1:" + port, "10.0.0.1"},
	} {
		endpoint, err := url.Parse(c.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		client, err := remote.NewClient(endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.names+":"+port+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s leads to %s: %s", c.endpoint, c.names, resp.Status)
		} else if ctx.Err() != nil {
			t.Errorf("%s tries to lead to %s: %v", c.endpoint, c.names, err)
		}
		cancel()
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("%d requests came to this machine", n)
	}
	endpoint := &url.URL{Scheme: "http", Host: "localhost:" + port}
	client, err := remote.NewClient(endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get(endpoint.String())
	if err != nil {
		t.Fatalf("one on this machine cannot be reached: %v", err)
	}
	_ = resp.Body.Close()
}
