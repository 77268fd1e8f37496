package server

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// maxWanted bounds the lines and audit events that the wishes of one run may cause, and how many wishes of a server are kept, both for
// each kind, and how many refused hosts. The rest is counted.
const maxWanted = 100

// maxWantedName is how much of a name a line holds, in bytes.
const maxWantedName = 512

// maxWantedParts is how many folders deep what is looked up may lie: looking takes long.
const maxWantedParts = 64

// Wanted is what a server asked for and was not granted, in all its runs since it was defined or Cordon started. It is the program's
// own wish: names are untrusted bytes.
type Wanted struct {
	Wants []sandbox.Want      // only of runs that were observed
	Rest  sandbox.Unwanted    // how often there was more
	Hosts []egress.Connection // that were refused, the first for each host, port and reason
}

// Wanted returns what a server asked for and was not granted. Some of it may have been granted since.
func (s *Supervisor) Wanted(name string) (Wanted, error) {
	u, err := s.unit(name)
	if err != nil {
		return Wanted{}, err
	}
	return u.wanted.all(), nil
}

// wanted keeps the wishes of a server. The zero value is empty.
type wanted struct {
	mu     sync.Mutex
	kept   Wanted             // guarded by mu; its slices are only appended to
	seen   map[[2]string]bool // guarded by mu; kinds and names of wants
	byKind [wishKinds]int     // guarded by mu; how many are kept
	hosts  map[[2]string]bool // guarded by mu; addresses and codes of hosts
}

func (w *wanted) all() Wanted {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept
}

// count says how much there is.
func (w *wanted) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.kept.Wants) + len(w.kept.Hosts)
}

// want keeps x and reports whether it is new.
func (w *wanted) want(x sandbox.Want, kind int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{fmt.Sprint(x.Kind, x.Entry), x.Name}
	if w.seen[key] {
		return false
	}
	if w.byKind[kind] >= maxWanted {
		w.kept.Rest.Over++
		return false
	}
	w.byKind[kind]++
	if w.seen == nil {
		w.seen = map[[2]string]bool{}
	}
	w.seen[key] = true
	w.kept.Wants = append(w.kept.Wants, x)
	return true
}

// refused keeps c and reports whether it is new.
func (w *wanted) refused(c egress.Connection) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{c.Host + ":" + strconv.Itoa(int(c.Port)), string(c.Refused)}
	if c.Host == "" || w.hosts[key] {
		return false
	}
	if len(w.kept.Hosts) >= maxWanted {
		w.kept.Rest.Over++
		return false
	}
	if w.hosts == nil {
		w.hosts = map[[2]string]bool{}
	}
	w.hosts[key] = true
	w.kept.Hosts = append(w.kept.Hosts, c)
	return true
}

// wishes turns what one run of a server asks for and is not granted into lines of its log and audit events, and keeps it. It is not
// safe for concurrent use.
type wishes struct {
	u    *unit
	told [wishKinds]int
}

// Wishes are bounded by kind, so that many of one kind do not hide those of another.
const (
	wishForKeys = iota // what no server is given
	wishToLook         // programs look at much that they do not need
	wish
	wishKinds
)

// kindOf sorts a wish.
func (u *unit) kindOf(w sandbox.Want) int {
	switch {
	case w.Kind != sandbox.WantConnect && len(w.Name) <= maxWantedName && strings.Count(w.Name, "/") <= maxWantedParts && u.s.o.Guarded(w.Name):
		return wishForKeys
	case w.Kind == sandbox.WantLook:
		return wishToLook
	}
	return wish
}

// of is called for each.
func (l *wishes) of(w sandbox.Want) {
	kind := l.u.kindOf(w)
	if l.u.wanted.want(w, kind) {
		l.u.s.o.Changed()
	}
	if l.told[kind]++; l.told[kind] > maxWanted {
		return
	}
	name := w.Name
	if len(name) > maxWantedName {
		name = name[:maxWantedName] + "…"
	}
	name = consent.Escape(name)
	text := "wanted to " + wantsTo[w.Kind] + " " + name + ": not granted"
	l.u.note("%s", text)
	if kind == wishToLook {
		return
	}
	l.u.record(audit.Event{Kind: audit.FindingMade, Rule: "sandbox.wanted", Decision: audit.Marked, Reason: text, Facts: map[string]string{"kind": string(w.Kind), "name": name}})
}

var wantsTo = map[sandbox.WantKind]string{sandbox.WantLook: "look at", sandbox.WantRead: "read", sandbox.WantList: "list", sandbox.WantExecute: "run",
	sandbox.WantWrite: "change", sandbox.WantConnect: "call"}

// end is called when the server has ended.
func (l *wishes) end() {
	n := 0
	for _, told := range l.told {
		n += max(0, told-maxWanted)
	}
	if n > 0 {
		l.u.note("wanted %d more things that are not granted", n)
		l.u.record(audit.Event{Kind: audit.FindingMade, Rule: "sandbox.wanted-more", Decision: audit.Marked, Reason: strconv.Itoa(n) + " more things were asked for than the log takes one by one"})
	}
}

// Lend grants a server more for one run: the one that begins next, until its process ends. What was lent for the run of now stays lent
// then. See Reload for starting it at once. The caller has checked g as if it were for good.
func (s *Supervisor) Lend(name string, g config.Grants) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.next = u.next.And(g)
	u.mu.Unlock()
	s.o.Changed()
	return nil
}

// borrow returns the definition for a run that begins now.
func (u *unit) borrow() config.Server {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lent, u.next = u.next, config.Grants{}
	return u.def.With(u.lent)
}

// giveBack ends what was lent for a run, unless it is reloaded.
func (u *unit) giveBack() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.carries && u.stops == u.carriesAt {
		u.next = u.lent.And(u.next)
	}
	u.lent, u.carries = config.Grants{}, false
}
