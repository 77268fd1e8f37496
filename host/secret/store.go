package secret

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"
)

// Service is the name under which Cordon's entries appear in the keyring.
const Service = "cordon"

// DefaultTimeout bounds one keyring call, an unlock prompt included.
const DefaultTimeout = 10 * time.Second

var (
	// ErrAbsent means that there is no keyring to talk to. The error text says what is missing and what to do.
	ErrAbsent = errors.New("no keyring")
	// ErrLocked means that the keyring is locked, or that its unlock prompt was dismissed or not answered in time.
	ErrLocked = errors.New("the keyring is locked")
	// ErrNotFound means that the keyring works and holds no such secret.
	ErrNotFound = errors.New("no such secret")
)

const (
	fixBus      = "start Cordon from a desktop session"
	fixProvider = "install and start gnome-keyring, KWallet or KeePassXC"
	fixDefault  = "create a default keyring in Passwords and Keys"
	fixLocked   = "unlock the keyring, then try again"
)

// Options adjusts a Store. The zero value is right for the product.
type Options struct {
	Timeout time.Duration // bound of one keyring call; 0 means DefaultTimeout
	Salt    []byte        // key of fingerprints; nil means a fresh random one, so they differ from run to run
}

// Store keeps secrets in the keyring. It never falls back to another place by itself: UseSession is an explicit
// choice. Safe for concurrent use. Close it never needs.
type Store struct {
	timeout time.Duration
	salt    []byte
	slot    chan struct{} // held by the one keyring call in flight
	overdue atomic.Bool   // that call has passed its deadline and still holds the slot

	mu      sync.Mutex // guards what follows
	session bool       // memory only
	held    map[string]entry
	known   map[string][]string // parts of an entry that must not turn up elsewhere, by account; see Know
	unread  map[string]Ref      // known by name, and the keyring could not be asked for them
}

type entry struct {
	ref   Ref
	value []byte
}

// New returns a store that has talked to nobody yet.
func New(o Options) *Store {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Salt == nil {
		o.Salt = make([]byte, sha256.Size)
		_, _ = rand.Read(o.Salt) // never fails: crypto/rand ends the program instead
	}
	return &Store{timeout: o.Timeout, salt: o.Salt, slot: make(chan struct{}, 1), held: map[string]entry{}, known: map[string][]string{}, unread: map[string]Ref{}}
}

// UseSession keeps secrets in memory only, from now until the program ends. Call it because a person chose it.
// Secrets that are in the keyring are not seen any more, by Unread neither; values already read stay usable.
func (s *Store) UseSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = true
	clear(s.unread)
}

// Fingerprint returns eight hex digits that identify v within this store and say nothing about it elsewhere
// (HMAC-SHA-256 under the store's salt).
func (s *Store) Fingerprint(v Value) string {
	m := hmac.New(sha256.New, s.salt)
	m.Write([]byte(v.Reveal()))
	return hex.EncodeToString(m.Sum(nil)[:4])
}

// Set stores v under ref, replacing what was there. Errors: ErrAbsent, ErrLocked, a reason why v is unusable, or
// ctx's. After ErrLocked a prompt that is answered late can still complete the write.
func (s *Store) Set(ctx context.Context, ref Ref, v Value) error {
	if err := v.check(); err != nil {
		return fmt.Errorf("set secret %q: %w", ref.Name, err)
	}
	if !s.inSession() {
		secret := v.Reveal()
		_, err := s.call(ctx, func() (string, error) { return "", keyring.Set(Service, ref.account(), secret) })
		if err != nil {
			return fmt.Errorf("set secret %q: %w", ref.Name, err)
		}
	}
	s.keep(ref, v.Reveal())
	return nil
}

// Get returns the secret of ref. A secret is read from the keyring once per process and kept in memory after that,
// because Each must know it for as long as the server that has it can talk. Errors: ErrNotFound, ErrAbsent,
// ErrLocked or ctx's.
func (s *Store) Get(ctx context.Context, ref Ref) (Value, error) {
	s.mu.Lock()
	e, ok := s.held[ref.account()]
	session := s.session
	s.mu.Unlock()
	if ok {
		return NewValue(string(e.value)), nil
	}
	if session {
		return Value{}, fmt.Errorf("get secret %q: %w", ref.Name, ErrNotFound)
	}
	got, err := s.call(ctx, func() (string, error) { return keyring.Get(Service, ref.account()) })
	if err != nil {
		s.miss(err, ref)
		return Value{}, fmt.Errorf("get secret %q: %w", ref.Name, err)
	}
	s.keep(ref, got)
	return NewValue(got), nil
}

// Load reads every secret of refs, so that Each covers them before any server runs. It reads all it can and
// returns the joined errors of the rest; with a locked or absent keyring it stops at the first, and the others count as
// unread.
func (s *Store) Load(ctx context.Context, refs []Ref) error {
	var errs []error
	for i, r := range refs {
		_, err := s.Get(ctx, r)
		if err == nil {
			continue
		}
		errs = append(errs, err)
		if !errors.Is(err, ErrNotFound) {
			s.miss(err, refs[i:]...)
			break
		}
	}
	return errors.Join(errs...)
}

// Unread returns the secrets that Get or Load wanted and the keyring could not be asked for, by server and name. They may
// exist, and Each does not know them.
func (s *Store) Unread() []Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.unread), func(a, b Ref) int {
		return cmp.Or(strings.Compare(a.Server, b.Server), strings.Compare(a.Name, b.Name))
	})
}

// miss notes how asking the keyring for refs failed. What it says it does not hold, nobody has to look for.
func (s *Store) miss(err error, refs ...Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		_, held := s.held[r.account()]
		if held || s.session || errors.Is(err, ErrNotFound) {
			delete(s.unread, r.account())
		} else {
			s.unread[r.account()] = r
		}
	}
}

// Remove deletes the secret of ref from the keyring and from memory. Errors: ErrNotFound, ErrAbsent, ErrLocked or ctx's.
func (s *Store) Remove(ctx context.Context, ref Ref) error {
	if !s.inSession() {
		_, err := s.call(ctx, func() (string, error) { return "", keyring.Delete(Service, ref.account()) })
		if err != nil {
			return fmt.Errorf("remove secret %q: %w", ref.Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.held[ref.account()]; !ok && s.session {
		return fmt.Errorf("remove secret %q: %w", ref.Name, ErrNotFound)
	}
	delete(s.held, ref.account())
	delete(s.unread, ref.account())
	return nil
}

// Know makes Each tell of parts of ref's secret instead of the whole, in addition to those that it was told of before: what was
// replaced may still be valid somewhere.
func (s *Store) Know(ref Ref, parts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.known[ref.account()]
	for _, p := range parts {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	s.known[ref.account()] = all[max(0, len(all)-maxKnown):]
}

// maxKnown is how many parts of a secret are known, the newest.
const maxKnown = 64

// Each calls fn for every secret read or set so far, for inspectors that look for them in what leaves the machine.
// fn must neither keep nor change value. No lock is held meanwhile.
func (s *Store) Each(fn func(name, server string, value []byte)) {
	s.mu.Lock()
	all := make([]entry, 0, len(s.held))
	for account, e := range s.held {
		parts, apart := s.known[account]
		if !apart {
			all = append(all, e)
		}
		for _, p := range parts {
			all = append(all, entry{e.ref, []byte(p)})
		}
	}
	s.mu.Unlock()
	for _, e := range all {
		fn(e.ref.Name, e.ref.Server, e.value)
	}
}

func (s *Store) inSession() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

func (s *Store) keep(ref Ref, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[ref.account()] = entry{ref, []byte(value)}
	delete(s.unread, ref.account())
}

// call runs fn, one keyring call, under the store's deadline. The library has none: while a locked keyring shows
// its prompt, fn blocks, possibly for ever. So at most one call is in flight; while an overdue one is, every other
// fails at once with ErrLocked, and no more than one goroutine can be stuck.
func (s *Store) call(ctx context.Context, fn func() (string, error)) (string, error) {
	if err := busSet(); err != nil {
		return "", err
	}
	if s.overdue.Load() {
		return "", fmt.Errorf("%w: its prompt is still waiting for an answer; %s", ErrLocked, fixLocked)
	}
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	select {
	case s.slot <- struct{}{}:
	case <-timer.C:
		return "", fmt.Errorf("%w: another call is waiting for its prompt; %s", ErrLocked, fixLocked)
	case <-ctx.Done():
		return "", ctx.Err()
	}
	type outcome struct {
		value string
		err   error
	}
	done := make(chan outcome, 1)
	var late sync.Mutex // orders "finished" and "overdue", so that a finished call is never called overdue
	finished := false
	go func() {
		v, err := fn()
		late.Lock()
		finished = true
		s.overdue.Store(false)
		late.Unlock()
		done <- outcome{v, err}
		<-s.slot
	}()
	giveUp := func(err error) (string, error) {
		late.Lock()
		defer late.Unlock()
		if !finished {
			s.overdue.Store(true)
		}
		return "", err
	}
	select {
	case o := <-done:
		return o.value, explain(o.err)
	case <-timer.C:
		return giveUp(fmt.Errorf("%w: no answer within %v; %s", ErrLocked, s.timeout, fixLocked))
	case <-ctx.Done():
		return giveUp(ctx.Err())
	}
}

// busSet refuses when no session bus is named: the D-Bus library would start one and leave it behind.
func busSet() error {
	switch a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); {
	case a == "":
		return fmt.Errorf("%w: there is no session bus (DBUS_SESSION_BUS_ADDRESS is not set); %s", ErrAbsent, fixBus)
	case strings.HasPrefix(a, "autolaunch:"):
		return fmt.Errorf("%w: there is no running session bus (DBUS_SESSION_BUS_ADDRESS asks for a new one); %s", ErrAbsent, fixBus)
	}
	return nil
}

// explain turns a library error into one of ours.
func explain(err error) error {
	var de dbus.Error
	var pe *dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return ErrNotFound
	case errors.As(err, &de):
	case errors.As(err, &pe):
		de = *pe
	case strings.Contains(err.Error(), "failed to unlock correct collection"):
		return fmt.Errorf("%w: the unlock prompt was dismissed; %s", ErrLocked, fixLocked)
	default:
		return fmt.Errorf("%w: the session bus cannot be used: %w; %s", ErrAbsent, err, fixBus)
	}
	switch {
	case de.Name == "org.freedesktop.Secret.Error.IsLocked":
		return fmt.Errorf("%w; %s", ErrLocked, fixLocked)
	case de.Name == "org.freedesktop.Secret.Error.NoSuchObject", de.Name == "org.freedesktop.DBus.Error.UnknownMethod",
		de.Name == "org.freedesktop.DBus.Error.UnknownObject":
		return fmt.Errorf("%w: the provider has no default keyring (%s); %s", ErrAbsent, de.Name, fixDefault)
	case de.Name == "org.freedesktop.DBus.Error.ServiceUnknown", de.Name == "org.freedesktop.DBus.Error.NameHasNoOwner",
		strings.HasPrefix(de.Name, "org.freedesktop.DBus.Error.Spawn."), de.Name == "org.freedesktop.DBus.Error.TimedOut":
		return fmt.Errorf("%w: nothing on the session bus provides org.freedesktop.secrets (%s); %s", ErrAbsent, de.Name, fixProvider)
	}
	return fmt.Errorf("%w: the provider answered %s; %s", ErrLocked, de.Name, fixLocked)
}
