package server

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"cordon/host/audit"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// maxConnections bounds the audit events that connections of one server may cause in a minute. The rest is counted.
const maxConnections = 120

// letOut carries the connections of a server. The function it returns waits until all have ended, as they do with the process.
func (u *unit) letOut(ctx context.Context, proc *sandbox.Process, rules []egress.Rule) (wait func()) {
	log := &connections{record: u.record}
	observe := func(c egress.Connection) {
		if c.Refused != "" {
			u.note("connection refused: %s", c.Reason)
			if u.wanted.refused(c) {
				u.s.o.Changed()
			}
		}
		log.add(c)
	}
	proxy := &egress.Proxy{Rules: rules, Active: u.active, Observe: observe}
	if err := proxy.ThroughEnvironment(); err != nil {
		u.note("%v; no host can be reached", err)
		proxy.Rules = nil
	}
	carry := egress.Carry{Proxy: proxy, Name: u.name, Active: u.active, Observe: observe,
		Taken: func(port uint16, err error) error {
			u.note("port %d of this computer is taken, so the server cannot be called there: %v", port, err)
			return nil
		}}
	carried, err := carry.Start(context.WithoutCancel(ctx), proc)
	return func() {
		if err == nil {
			err = carried()
		}
		if err != nil {
			u.s.o.Log.Error("connections", "server", u.name, "err", err)
		}
		log.end()
	}
}

// active names the calls that the server works on; a connection belongs to one of them.
func (u *unit) active() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.running, " ")
}

// connections turns a server's connections into audit events and folds a flood of them.
type connections struct {
	record func(audit.Event)

	mu     sync.Mutex
	minute time.Time // guarded by mu; when counting began
	count  int       // guarded by mu; since then
}

func (l *connections) add(c egress.Connection) {
	l.mu.Lock()
	now := time.Now()
	folded := 0
	if now.Sub(l.minute) >= time.Minute {
		folded, l.minute, l.count = max(0, l.count-maxConnections), now, 0
	}
	l.count++
	over := l.count > maxConnections
	l.mu.Unlock()
	l.fold(folded)
	if over {
		return
	}
	e := audit.Event{Kind: audit.NetConnection, Decision: audit.Allowed, CallID: c.Call, Reason: net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), Took: c.Took, Facts: map[string]string{
		"host": c.Host, "port": strconv.Itoa(int(c.Port)), "method": c.Method, "sent": strconv.FormatInt(c.Sent, 10), "received": strconv.FormatInt(c.Received, 10)}}
	if c.Addr.IsValid() {
		e.Facts["addr"] = c.Addr.Addr().String()
	}
	if first, more, several := strings.Cut(c.Call, " "); several { // one of these; which is not known
		e.CallID = ""
		e.Facts["calls"] = first + " " + more
	}
	if c.Refused != "" {
		e.Decision, e.Rule, e.Reason = audit.Denied, "net."+string(c.Refused), c.Reason
	} else if c.Reason != "" {
		e.Reason += ": " + c.Reason
	}
	l.record(e)
}

// end records what was left out last.
func (l *connections) end() {
	l.mu.Lock()
	folded := max(0, l.count-maxConnections)
	l.count = 0
	l.mu.Unlock()
	l.fold(folded)
}

func (l *connections) fold(n int) {
	if n > 0 {
		l.record(audit.Event{Kind: audit.FindingMade, Rule: "net.flood", Decision: audit.Marked,
			Reason: strconv.Itoa(n) + " more connections in a minute than the log takes one by one"})
	}
}
