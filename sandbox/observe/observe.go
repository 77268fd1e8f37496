// Package observe keeps what a confined program asked for and is not granted: it names a folder, a file or an address, and this
// package finds out whether there is such a thing on the machine.
//
// Nothing is decided here. A program is confined by its namespaces and by Landlock whether it is observed or not; what is read
// from its memory may be changed before the call goes on, so it is only ever told to people. A program that wants to hide
// something from them can; one that wants to be proposed something can ask for it. What people then grant is their choice.
//
// Names are the program's own bytes: not always UTF-8, with line breaks where it pleases. Whoever shows them escapes them.
package observe

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Kind is what a program wanted to do.
type Kind string

// The kinds.
const (
	Look    Kind = "look"    // to know whether it is there, and what it is
	Read    Kind = "read"    //
	List    Kind = "list"    // to read a folder's names
	Execute Kind = "execute" //
	Write   Kind = "write"   //
	Connect Kind = "connect" // to reach an address without the proxy
)

// Want is one thing that a program asked for and was not granted.
type Want struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`            // a path as it was asked for, absolute and clean; or ADDRESS:PORT. Untrusted bytes
	Real  string `json:"real,omitempty"`  // where the path leads on this machine, symbolic links followed
	Dir   bool   `json:"dir,omitempty"`   // it is a folder
	Entry bool   `json:"entry,omitempty"` // with Write: it is to be made, removed or renamed, so the folder that it lies in would change
	Count int    `json:"count"`           // how often
}

// Granted is what needs no telling.
type Granted struct {
	Read   []string // with everything below: can be read and executed
	Write  []string // the same: can be read and changed
	Inside []string // the same: the sandbox's own, whatever the machine has there
	Here   string   // but not what lies below this folder, where the program was started
	Shown  []string // are there, with nothing in them
	Looks  bool     // everything can be looked at
	Ports  []uint16 // of the loopback

	Addresses []netip.AddrPort
}

// What one program can make the host remember. The rest is counted.
const (
	maxWants     = 1000
	maxNames     = 4096    // with those that there turned out to be nothing behind
	maxBytes     = 1 << 20 // of names
	maxPorts     = 256
	maxLinkBytes = 512
	maxLinks     = 2048 // names in what is granted, which may be links that lead out of it
)

// Record is what one program wants. It is safe for concurrent use. Path and Address take the same time whatever the machine has
// under a name, which the program must not find out; a goroutine of the Record's own looks.
type Record struct {
	granted Granted
	listens func(at netip.AddrPort) bool
	done    chan struct{}

	mu    sync.Mutex
	more  sync.Cond      // there is something to look at or to tell, or no more comes
	names map[key]*entry // guarded by mu, with all below
	bytes int            // of names
	queue []*entry       // of names that were not looked at
	wants []*entry       // of names, in the order in which they were found
	rest  Rest
	links int             // of names in what is granted
	own   map[uint16]bool // ports that the program listens on
	tell  func(Want)
	told  int // how many of wants
	ended bool
}

type key struct {
	kind  Kind
	entry bool
	name  string
}

type entry struct {
	want    Want
	address netip.AddrPort
	link    bool // it lies in what is granted: it is wanted only if it leads out
}

// New returns a Record; Close it. listens reports whether something on this machine takes connections to an address of the
// loopback.
func New(granted Granted, listens func(at netip.AddrPort) bool) *Record {
	r := &Record{granted: granted, listens: listens, done: make(chan struct{}), names: map[key]*entry{}, own: map[uint16]bool{}}
	r.more.L = &r.mu
	go r.look() // Close waits for it
	return r
}

// Close returns when everything that was asked for has been looked at, and what is wanted has been told.
func (r *Record) Close() {
	r.mu.Lock()
	r.ended = true
	r.more.Signal()
	r.mu.Unlock()
	<-r.done
}

// Rest is what is not among the wants.
type Rest struct {
	Over   int // how often something was asked for that did not fit into the bounds
	Unread int // how often it could not be read what was asked for
}

// Wants returns what is known so far, in the order in which it was asked for, and what is not among it.
func (r *Record) Wants() (all []Want, rest Rest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.wants {
		all = append(all, e.want)
	}
	return all, r.rest
}

// Tell calls f with each want, those there are already and those to come, one after the other, until Close. f may not call
// Close.
func (r *Record) Tell(f func(Want)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell, r.told = f, 0
	r.more.Signal()
}

// Unread takes note of a call that names something in memory that this process may not read.
func (r *Record) Unread() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest.Unread++
}

// Path takes note of an absolute path.
func (r *Record) Path(kind Kind, changesFolder bool, path string) {
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) || r.granted.inside(path) {
		return
	}
	link := r.granted.has(kind, path)
	if link && kind == Look && (r.granted.Looks || !r.granted.has(Read, path)) { // it is there
		return
	}
	r.note(key{kind, changesFolder, path}, netip.AddrPort{}, link)
}

// Address takes note of an address to connect to.
func (r *Record) Address(to netip.AddrPort) {
	if to.Port() == 0 || slices.Contains(r.granted.Addresses, to) || to.Addr().IsLoopback() && slices.Contains(r.granted.Ports, to.Port()) {
		return
	}
	r.note(key{kind: Connect, name: to.String()}, to, false)
}

// Own takes note of a port that the program listens on, so that calling it means itself.
func (r *Record) Own(port uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.own) < maxPorts {
		r.own[port] = true
	}
}

func (r *Record) note(k key, to netip.AddrPort, link bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.names[k]; e != nil {
		e.want.Count++
		return
	}
	switch {
	case link && (r.links >= maxLinks || len(k.name) > maxLinkBytes):
		return // hardly one of them leads out
	case link:
		r.links++
	case len(r.names)-r.links >= maxNames || r.bytes+len(k.name) > maxBytes:
		r.rest.Over++
		return
	default:
		r.bytes += len(k.name)
	}
	e := &entry{Want{Kind: k.kind, Name: k.name, Entry: k.entry, Count: 1}, to, link}
	r.names[k] = e
	r.queue = append(r.queue, e)
	r.more.Signal()
}

// has reports whether path needs no telling.
func (g Granted) has(kind Kind, path string) bool {
	read, write := below(path, g.Read), below(path, g.Write)
	switch kind {
	case Execute:
		return read > 0 && read >= write // nothing can be run in a folder granted for writing, but in one for reading within it
	case Write:
		return write > 0 && write >= read
	case Look:
		if g.Looks || path == "/" || slices.Contains(g.Shown, path) {
			return true
		}
		for _, list := range [][]string{g.Shown, g.Read, g.Write, g.Inside} { // what leads to them is there
			if slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(p, path+"/") }) {
				return true
			}
		}
	}
	return read > 0 || write > 0
}

func (g Granted) inside(path string) bool {
	n := below(path, g.Inside)
	return n > 0 && (g.Here == "" || n > below(path, []string{g.Here}))
}

// below returns the length of the longest of dirs that path is or lies below, 0 for none.
func below(path string, dirs []string) (longest int) {
	for _, d := range dirs {
		if len(d) > longest && strings.HasPrefix(path, d) && (len(path) == len(d) || path[len(d)] == '/') {
			longest = len(d)
		}
	}
	return longest
}

// look works through the queue until Close.
func (r *Record) look() {
	defer close(r.done)
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.tell != nil && r.told < len(r.wants):
			tell, want := r.tell, r.wants[r.told].want
			r.told++
			r.mu.Unlock()
			tell(want)
			r.mu.Lock()
		case len(r.queue) > 0:
			e := r.queue[0]
			r.queue[0], r.queue = nil, r.queue[1:]
			r.find(e)
		case r.ended:
			return
		default:
			r.more.Wait()
		}
	}
}

// find looks whether e is there, with mu held, which it lets go of meanwhile.
func (r *Record) find(e *entry) {
	want, own := e.want, r.own[e.address.Port()]
	r.mu.Unlock()
	var there bool
	if want.Kind == Connect {
		there = !e.address.Addr().IsLoopback() || !own && r.listens != nil && r.listens(e.address)
	} else {
		there = r.granted.locate(&want) && (!e.link || want.Real != want.Name && !r.granted.has(want.Kind, want.Real))
	}
	r.mu.Lock()
	switch {
	case !there:
	case len(r.wants) >= maxWants:
		r.rest.Over++
	default:
		want.Count = e.want.Count
		e.want = want
		r.wants = append(r.wants, e)
	}
}

// locate finds out what want names on this machine, and whether there is anything: what it could be granted.
func (g Granted) locate(want *Want) bool {
	f := follow(want.Name)
	want.Real, want.Dir = f.real, f.dir
	if g.inside(f.real) {
		return false
	}
	switch want.Kind {
	case Write:
		if !f.there {
			want.Entry = true
		}
		return f.there || f.parent
	case Read:
		if f.dir {
			want.Kind = List
		}
	case Execute:
		return f.there && !f.dir
	}
	return f.there
}
