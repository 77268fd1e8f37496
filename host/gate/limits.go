package gate

import (
	"fmt"
	"sync"
	"time"

	"cordon/host/tool"
)

// Limits are how often a server may be called. A model that goes round in circles, or somebody who makes it, ends there. Zero fields are the
// defaults; a negative one is no limit.
type Limits struct {
	PerMinute int            // calls of the server; DefaultPerMinute
	PerDay    int            // calls of the server between midnights in UTC; no limit
	Tools     map[string]int // calls of a tool in a minute, by name; no limit
}

const (
	// DefaultPerMinute lets people and programs work, and ends a loop within a minute.
	DefaultPerMinute = 120

	maxFailures  = 5                // calls in a row that broke, until the next ones are refused
	breakerPause = 30 * time.Second // until one is tried again
)

// limiter counts calls. The zero value is ready. It is safe for concurrent use.
type limiter struct {
	mu  sync.Mutex
	by  map[string]*count // guarded by mu; by server, which are those of the configuration, and by those tools that have a limit of their own
	now func() time.Time  // for tests; nil is time.Now
}

// count is what is known of a server or a tool.
type count struct {
	recent []time.Time // calls of the last minute, oldest first
	day    string
	today  int
	broken int       // calls in a row that broke
	since  time.Time // when the last of them did
	trying bool      // one is tried while the others are refused
}

// admit counts a call, or says by which rule and why it is refused.
func (l *limiter) admit(c tool.Call, limits Limits) (rule, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.time()
	most, limited := limits.Tools[c.Tool.ID.Name]
	server, each := l.of(c.Tool.ID.Server), new(count)
	if limited {
		each = l.of(c.Tool.ID.String())
	}
	if server.broken >= maxFailures {
		if left := breakerPause - now.Sub(server.since); left > 0 || server.trying {
			return "limit.broken", fmt.Sprintf("the last %d calls of %s broke, so it is left alone for a moment; try again in %s, or restart it", server.broken, c.Tool.ID.Server, max(left, time.Second).Round(time.Second))
		}
		server.trying = true // this one
	}
	if limits.PerMinute == 0 {
		limits.PerMinute = DefaultPerMinute
	}
	server.forget(now)
	each.forget(now)
	switch {
	case limits.PerMinute > 0 && len(server.recent) >= limits.PerMinute:
		server.trying = false
		return "limit.rate", fmt.Sprintf("%s was called %d times in a minute, which is its limit; the next call is let through in %s", c.Tool.ID.Server, len(server.recent), until(server.recent[0], now))
	case limited && most >= 0 && len(each.recent) >= most:
		server.trying = false
		if most == 0 {
			return "limit.rate", fmt.Sprintf("%s is not to be called at all, its limit says", c.Tool.ID)
		}
		return "limit.rate", fmt.Sprintf("%s was called %d times in a minute, which is its limit; the next call is let through in %s", c.Tool.ID, len(each.recent), until(each.recent[0], now))
	case limits.PerDay > 0 && server.today >= limits.PerDay:
		server.trying = false
		return "limit.budget", fmt.Sprintf("%s was called %d times today, which is its budget; it begins anew at midnight UTC", c.Tool.ID.Server, server.today)
	}
	for _, n := range []*count{server, each} {
		n.recent = append(n.recent, now)
		n.today++
	}
	return "", ""
}

func until(oldest, now time.Time) time.Duration {
	return max(oldest.Add(time.Minute).Sub(now), time.Second).Round(time.Second)
}

// done takes how an admitted call ended. It broke if its server did not answer, or not with anything that can be used; a tool's own error is an
// answer.
func (l *limiter) done(c tool.Call, broke bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	server := l.of(c.Tool.ID.Server)
	server.trying = false
	if !broke {
		server.broken = 0
		return
	}
	server.broken++
	server.since = l.time()
}

// reset forgets what broke: somebody has mended it.
func (l *limiter) reset(server string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.of(server)
	n.broken, n.trying = 0, false
}

func (l *limiter) time() time.Time {
	if l.now != nil {
		return l.now()
	}
	return time.Now()
}

// of returns a count. The caller holds mu.
func (l *limiter) of(name string) *count {
	if l.by == nil {
		l.by = map[string]*count{}
	}
	n := l.by[name]
	if n == nil {
		n = &count{}
		l.by[name] = n
	}
	return n
}

// forget drops what does not count any more.
func (n *count) forget(now time.Time) {
	i := 0
	for i < len(n.recent) && now.Sub(n.recent[i]) >= time.Minute {
		i++
	}
	n.recent = n.recent[i:]
	if day := now.UTC().Format(time.DateOnly); day != n.day {
		n.day, n.today = day, 0
	}
}
