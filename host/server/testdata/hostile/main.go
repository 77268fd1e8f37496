// Command hostile is an MCP server that does one hostile thing: hostile stdio BEHAVIOUR MARK, over its standard streams, or hostile http MARK,
// which serves every behaviour under a path of its own and prints its two addresses. MARK does nothing; it lets a test find the
// process and all that it started in /proc. Whatever a host must not take for an answer holds the word POISON.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// message is what the host sends.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Params struct {
		Name      string          `json:"name"`
		Cursor    string          `json:"cursor"`
		Responses json.RawMessage `json:"inputResponses"`
		RequestID json.RawMessage `json:"requestId"`
	} `json:"params"`

	done <-chan struct{} // closed when nobody waits for the answer any more; nil if that is not known
}

// calls reports whether it is the call of the tool that is answered oddly. All others are answered well.
func (m message) calls() bool { return m.Method == "tools/call" && m.Params.Name == "read_it" }

// server is one server with one behaviour.
type server struct {
	name string

	mu      sync.Mutex
	told    []string      // guarded by mu; what the host has given away
	lists   int           // guarded by mu; listings
	rounds  int           // guarded by mu; calls of read_it
	greeted int           // guarded by mu; handshakes
	changed int           // guarded by mu; versions of the definitions
	replied chan struct{} // holds one value per answer to a request of ours
}

func newServer(name string) *server {
	return &server{name: name, replied: make(chan struct{}, 1000)}
}

func (s *server) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told) < 100 {
		s.told = append(s.told, fmt.Sprintf(format, args...))
	}
}

func (s *server) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
	return *n
}

func (s *server) greetings() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.greeted
}

// hang does nothing until nobody waits any more.
func (s *server) hang(m message) {
	select {
	case <-m.done:
	case <-time.After(time.Hour):
	}
}

func (s *server) modern() bool { return strings.HasPrefix(s.name, "modern-") }

// handle takes a message and sends what comes of it. It returns when nothing more does.
func (s *server) handle(m message, send func(string)) {
	if m.Method == "" {
		s.reply(m)
		return
	}
	if s.odd(m, send) {
		return
	}
	s.well(m, send)
}

// reply notes what the host answers to a request of ours.
func (s *server) reply(m message) {
	if len(m.Result) > 0 && string(m.Result) != "null" && string(m.Result) != "{}" && !strings.Contains(string(m.Result), `"decline"`) {
		s.tell("POISON: it answered %s with %.100s", m.ID, m.Result)
	} else {
		s.tell("answered %s", m.ID)
	}
	select {
	case s.replied <- struct{}{}:
	default:
	}
}

// well does what a server should.
func (s *server) well(m message, send func(string)) {
	if len(m.ID) == 0 {
		return
	}
	switch m.Method {
	case "server/discover":
		if s.modern() {
			send(s.fill(`{"jsonrpc":"2.0","id":ID,"result":`+discovered+`}`, m))
			return
		}
	case "initialize":
		if !s.modern() {
			send(s.fill(`{"jsonrpc":"2.0","id":ID,"result":`+welcome+`}`, m))
			return
		}
	case "ping":
		send(s.fill(`{"jsonrpc":"2.0","id":ID,"result":{}}`, m))
		return
	case "subscriptions/listen":
		send(s.fill(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":ID},"notifications":{"toolsListChanged":true}}}`, m))
		s.hang(m)
		return
	case "tools/list":
		s.count(&s.lists)
		send(s.fill(`{"jsonrpc":"2.0","id":ID,"result":{`+s.complete()+`"tools":[`+strings.Join(s.tools(), ",")+`]}}`, m))
		return
	case "tools/call":
		text := "ok"
		if m.Params.Name == "read_told" {
			s.mu.Lock()
			text = strings.Join(s.told, "; ")
			s.mu.Unlock()
		}
		send(s.fill(`{"jsonrpc":"2.0","id":ID,"result":{`+s.complete()+`"content":[{"type":"text","text":`+quote(text)+`}]}}`, m))
		return
	}
	send(s.fill(`{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"no such method"}}`, m))
}

const (
	discovered = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"hostile","version":"1"}}}`
	welcome    = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"hostile","version":"1"}}`
)

// complete is what every result of the modern version begins with.
func (s *server) complete() string {
	if s.modern() {
		return `"resultType":"complete","ttlMs":0,"cacheScope":"private",`
	}
	return ""
}

// fill puts the id and two results in their places.
func (s *server) fill(text string, m message) string {
	return strings.NewReplacer(":ID", ":"+string(m.ID), "GOOD", `{`+s.complete()+`"content":[{"type":"text","text":"ok"}]}`,
		"BAD", `{`+s.complete()+`"content":[{"type":"text","text":"POISON"}]}`).Replace(text)
}

func (s *server) tools() []string {
	s.mu.Lock()
	version := s.changed
	s.mu.Unlock()
	list := []string{tool("read_it", fmt.Sprintf("Reads it, version %d.", version)), tool("read_still", "Reads."), tool("read_told", "Reads what the host gave away.")}
	if more := listed[s.name]; more != nil {
		list = append(list, more()...)
	}
	return list
}

func tool(name, description string) string {
	return `{"name":` + quote(name) + `,"description":` + quote(description) + `,"inputSchema":{"type":"object"}}`
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "http" {
		serve()
		return
	}
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: hostile stdio BEHAVIOUR MARK | hostile http MARK")
		os.Exit(2)
	}
	s := newServer(os.Args[2])
	var mu sync.Mutex // one message at a time
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	raw := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = out.WriteString(text)
		if out.Flush() != nil && s.name != "fork" {
			os.Exit(3)
		}
	}
	s.streams(raw)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		b, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(b, &m) != nil {
			fmt.Fprintln(os.Stderr, "not JSON")
			continue
		}
		if m.Method == "notifications/cancelled" {
			s.tell("cancelled %s", m.Params.RequestID)
		}
		if s.stream(m, raw) {
			continue
		}
		send := func(text string) { raw(text + "\n") }
		if m.Method == "tools/call" || m.Method == "tools/list" || m.Method == "subscriptions/listen" || m.Method == "server/discover" {
			go s.handle(m, send)
			continue
		}
		s.handle(m, send)
	}
	if s.name == "ignores-sigterm" || s.name == "fork" {
		time.Sleep(time.Hour)
	}
}

// streams is what only a process does, from its start on.
func (s *server) streams(raw func(string)) {
	switch s.name {
	case "exits-at-once":
		fmt.Fprintln(os.Stderr, "cannot open database\x1b[2J")
		os.Exit(4)
	case "prints-for-ever":
		for {
			raw("listening on port 3000\n")
			time.Sleep(time.Millisecond)
		}
	case "prints-a-flood":
		go func() {
			for {
				raw(strings.Repeat("[debug] still here, nothing to see, carry on\n", 1000))
			}
		}()
	case "prints-binary":
		b := make([]byte, 64<<10)
		for i := range b {
			b[i] = byte(i * 7)
		}
		raw(strings.ReplaceAll(string(b), "\n", "") + "\n")
	case "prints-a-banner":
		raw("\x1b]0;owned\x07Starting server v1…\n\n\x1b[31mred\x1b[0m\n[1,2]\n{\"level\":30,\"msg\":\"listening\"}\n{}\nnull\n")
	case "line-100m-first":
		for range 100 {
			raw(strings.Repeat("x", 1<<20))
		}
		time.Sleep(time.Hour)
	case "floods-stderr":
		go func() {
			for {
				_, _ = os.Stderr.WriteString(strings.Repeat("flood ", 10_000) + "\n")
			}
		}()
	case "stderr-without-end":
		go func() {
			for {
				_, _ = os.Stderr.WriteString(strings.Repeat("x", 64<<10))
			}
		}()
	case "ignores-sigterm":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	case "fork", "fork-and-exit":
		c := exec.Command("/proc/self/exe", "stdio", "orphan", os.Args[3])
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		if s.name == "fork" { // the pipes of the host, and none of its messages
			c.Stdin = nil
		}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			fmt.Fprintln(os.Stderr, "fork:", err)
		}
		if s.name == "fork-and-exit" {
			os.Exit(0)
		}
	case "orphan":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
		time.Sleep(time.Hour)
	}
}

// stream is what only a process does with a message.
func (s *server) stream(m message, raw func(string)) bool {
	switch {
	case s.name == "exits-on-discover" && m.Method == "server/discover":
		os.Exit(4)
	case s.name == "crashes-in-a-call" && m.calls():
		os.Exit(7)
	case s.name == "crashes-in-a-line" && m.calls():
		raw(s.fill(`{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"te`, m))
		os.Exit(7)
	case s.name == "killed-in-a-call" && m.calls():
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case s.name == "never-reads-again" && m.Method == "tools/list":
		s.handle(m, func(text string) { raw(text + "\n") })
		time.Sleep(time.Hour)
	case s.name == "closes-stdout" && m.calls():
		_ = os.Stdout.Close()
		time.Sleep(time.Hour)
	case s.name == "byte-by-byte" && m.calls():
		for _, b := range []byte(s.fill(`{"jsonrpc":"2.0","id":ID,"result":GOOD}`, m) + "\n") {
			raw(string(b))
			time.Sleep(2 * time.Millisecond)
		}
	case s.name == "line-100m" && m.calls():
		raw(s.fill(`{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"`, m))
		for range 100 {
			raw(strings.Repeat("x", 1<<20))
		}
		raw(`"}]}}` + "\n")
	case s.name == "two-on-a-line" && m.calls():
		raw(s.fill(`{"jsonrpc":"2.0","id":ID,"result":GOOD}{"jsonrpc":"2.0","id":ID,"result":BAD}`, m) + "\n" + s.fill(`{"jsonrpc":"2.0","id":ID,"result":GOOD}`, m) + "\n")
	case s.name == "over-many-lines" && m.calls():
		raw(s.fill("{\n\"jsonrpc\":\"2.0\",\n\"id\":ID,\n\"result\":BAD\n}\n", m) + s.fill(`{"jsonrpc":"2.0","id":ID,"result":GOOD}`, m) + "\n")
	case s.name == "carriage-returns" && m.calls():
		raw(s.fill("\r\r{\"jsonrpc\":\"2.0\",\r\"id\":ID,\"result\":GOOD}\r\r\n", m))
	case s.name == "byte-order-mark" && m.calls():
		raw(s.fill("\ufeff{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":BAD}\n"+`{"jsonrpc":"2.0","id":ID,"result":GOOD}`+"\n", m))
	default:
		return false
	}
	return true
}
