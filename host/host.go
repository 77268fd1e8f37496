// Package host wires Cordon together: configuration, secrets, servers, policy, consent and the audit log, owned by
// one process at a time. The window and the command line are its two callers.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cordon/host/audit"
	"cordon/host/chat"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/elicit"
	"cordon/host/gate"
	"cordon/host/inspect"
	"cordon/host/label"
	"cordon/host/oauth"
	"cordon/host/pin"
	"cordon/host/policy"
	"cordon/host/secret"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"
)

// Options are what a Host needs from its caller.
type Options struct {
	Paths    config.Paths
	Sandbox  *sandbox.Sandbox
	Prompter consent.Prompter
	Log      *slog.Logger
	Version  string
	Elicit   func(context.Context, elicit.Question) elicit.Answer // asks a person what a server wants to know; nil offers servers no questions
	Browse   func(ctx context.Context, server, page string) error // opens a page on which one signs in to a server; nil: nobody can
	SignIns  oauth.Options                                        // for tests: Redirect and MetadataURL of logins to remote servers
	Progress func(tool.Progress)                                  // hears how calls go; must not block; nil is allowed
	Chat     func(chat.Update)                                    // hears how conversations go; must not block; nil is allowed
	Changed  func()                                               // called after anything that a screen shows has changed; must not block; nil is allowed
	Secrets  secret.Options                                       // for tests
}

// Host owns the state. Open one, Close it. It is safe for concurrent use.
type Host struct {
	o        Options
	owner    *config.Owner
	log      *audit.Log // nil when it cannot be used
	problems []error    // found at Open; fixed afterwards

	Secrets *secret.Store
	Policy  *policy.Engine
	Servers *server.Supervisor
	Pins    *pin.Store
	Gate    *gate.Gate

	chats    chats
	logins   *logins
	models   models
	tasks    *tasks
	pipeline *inspect.Pipeline
	own      *inspect.Secret

	granting sync.Mutex  // held while a definition is changed and made known
	editing  sync.Mutex  // held while the configuration is changed, with its I/O; readers do not wait for it
	seen     config.Seen // guarded by editing: the file as it was read or written last

	mu         sync.Mutex
	installing map[string]bool // guarded by mu: names of servers
	conf       config.Config   // guarded by mu
	bad        error           // why conf could not be loaded, so must not be saved; set by Open alone
}

// Open takes the state lock, verifies the log's end and loads everything. It fails when another process owns the
// state (*config.HeldError) or the directories cannot be used. A broken configuration or log does not fail: it is a
// problem that screens show, and nothing that depends on it happens.
func Open(ctx context.Context, o Options) (h *Host, err error) {
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.Paths.Make(); err != nil {
		return nil, err
	}
	h = &Host{o: o, Secrets: secret.New(o.Secrets)}
	if h.owner, err = config.Lock(o.Paths.State); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = h.owner.Close()
		}
	}()
	if h.Policy, err = policy.New(policy.Default()); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if h.Pins, err = pin.Open(filepath.Join(o.Paths.State, "pins")); err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	if h.log, err = audit.Open(h.LogFile()); err != nil {
		h.problem(err)
		h.log = nil
	}
	h.seen, _ = config.Look(o.Paths) // first: what is changed meanwhile is not overwritten
	if h.conf, h.bad = config.Load(o.Paths); h.bad != nil {
		h.problem(h.bad)
	}
	err = nil
	o.Sandbox.Sweep()
	h.sweepInstalls()
	h.own = inspect.NewSecret(ownSecrets{h.Secrets})
	h.pipeline = inspect.New(inspect.Hidden{}, h.own)
	h.logins, h.tasks = &logins{s: h.Secrets}, newTasks(o.Paths, o.Changed)
	signIns := o.SignIns
	signIns.Store = h.logins
	h.Servers = server.New(server.Options{SignIns: signIns, Browse: o.Browse, Progress: h.progress, Tasks: h.tasks, Sandbox: o.Sandbox, Secrets: h.Secrets, Audit: h, Trusted: h.trusted, Log: o.Log, Version: o.Version, Changed: o.Changed, Mask: h.Mask, Eras: newEras(o.Paths), Guarded: h.guarded, Elicit: o.Elicit, Sample: h.sample, Place: h.placeOf})
	h.Gate = &gate.Gate{User: userName(), Servers: h.Servers, Pins: h.Pins, Inspect: h.pipeline, Secrets: h.own, Labels: label.NewBook(),
		Policy: h.Policy, Consent: told{attended{o.Prompter, h.Servers}, h}, Audit: h, Tier: h.tier, Limits: h.limits}
	for _, def := range h.conf.Servers {
		h.Servers.Set(def)
	}
	if h.log == nil {
		return h, nil // that is a problem already
	}
	if _, err := h.Append(audit.Event{Kind: audit.LogOpen, Facts: map[string]string{"version": o.Version, "pid": fmt.Sprint(os.Getpid())}}); err != nil {
		h.problem(err)
	}
	return h, nil
}

// progress passes on how a call goes, without the user's secrets.
func (h *Host) progress(p tool.Progress) {
	if h.o.Progress != nil {
		p.Text = h.Mask(p.Text)
		h.o.Progress(p)
	}
}

func (h *Host) problem(err error) {
	if !slices.ContainsFunc(h.problems, func(e error) bool { return e.Error() == err.Error() }) {
		h.problems = append(h.problems, err)
	}
}

// Close stops every server, closes the log and gives up the state. It returns when nothing is left running.
func (h *Host) Close(ctx context.Context) error {
	err := h.closeChats() // first: what servers are stopped for must not look like their fault
	h.Servers.Close(ctx)
	h.pipeline.Wait()
	if h.log != nil {
		err = errors.Join(err, h.log.Close())
	}
	return errors.Join(err, h.owner.Close())
}

// Problems returns what was found broken at Open.
func (h *Host) Problems() []error { return h.problems }

// LogFile is where the audit log lies.
func (h *Host) LogFile() string { return LogFile(h.o.Paths) }

// LogFile is where the audit log of paths lies.
func LogFile(p config.Paths) string { return filepath.Join(p.State, "audit.jsonl") }

// Log returns the open audit log, or nil when it cannot be used.
func (h *Host) Log() *audit.Log { return h.log }

// errNoLog refuses everything that would need a record.
var errNoLog = errors.New("the audit log could not be opened, so nothing may run")

// Append writes to the audit log, or refuses when there is none.
func (h *Host) Append(e audit.Event) (uint64, error) {
	if h.log == nil {
		return 0, errNoLog
	}
	return h.log.Append(h.masked(e))
}

// masked takes the user's own secrets out of what others wrote into an event: names, reasons, findings. The gate has
// treated the arguments already.
func (h *Host) masked(e audit.Event) audit.Event {
	for _, s := range []*string{&e.Server, &e.Tool, &e.Rule, &e.Reason, &e.Asker} {
		*s = h.Mask(*s)
	}
	e.Findings, e.Stages = slices.Clone(e.Findings), slices.Clone(e.Stages)
	for i := range e.Findings {
		e.Findings[i].Text, e.Findings[i].Where = h.Mask(e.Findings[i].Text), h.Mask(e.Findings[i].Where)
	}
	for i := range e.Stages {
		e.Stages[i].Detail = h.Mask(e.Stages[i].Detail)
	}
	e.Facts = maps.Clone(e.Facts)
	for k, v := range e.Facts {
		e.Facts[k] = h.Mask(v)
	}
	return e
}

// Sync makes the audit log durable.
func (h *Host) Sync() error {
	if h.log == nil {
		return errNoLog
	}
	return h.log.Sync()
}

// Mask replaces the user's own secrets in text that is shown. Text that cannot be searched is withheld.
func (h *Host) Mask(text string) string {
	masked, _, err := h.own.Mask(text)
	if err != nil {
		return "[withheld: it could not be searched for secrets]"
	}
	return masked
}

// HoldsSecret reports whether text holds one of the user's own secrets, in any form that is looked for, or cannot be searched.
func (h *Host) HoldsSecret(text string) bool {
	_, n, err := h.own.Mask(text)
	return n > 0 || err != nil
}

// ownSecrets lets the inspector see every secret that has been read or set, and know that others could not be read.
type ownSecrets struct{ s *secret.Store }

// Each implements inspect.Secrets.
func (o ownSecrets) Each(f func(name, server string, value []byte)) error {
	unread := o.s.Unread() // first: what is read meanwhile is listed, and does no harm here
	o.s.Each(f)
	if len(unread) > 0 {
		return fmt.Errorf("%w: %d in the keyring, the first is %q", inspect.ErrUnread, len(unread), unread[0].Name)
	}
	return nil
}

func (h *Host) limits(name string) gate.Limits {
	def, _ := h.Config().Server(name)
	return gate.Limits{PerMinute: def.Rate, PerDay: def.Budget, Tools: def.Rates}
}

func (h *Host) tier(name string) string {
	_, tier, err := h.Servers.State(name)
	if err != nil {
		return string(sandbox.TierRefused)
	}
	return string(tier)
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// Config returns a copy of the configuration.
func (h *Host) Config() config.Config {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.conf
	c.Servers, c.Secrets, c.Models = slices.Clone(c.Servers), slices.Clone(c.Secrets), slices.Clone(c.Models)
	return c
}

// edit changes the configuration and saves it; on any error nothing has changed.
func (h *Host) edit(f func(c *config.Config) error) error {
	h.editing.Lock()
	defer h.editing.Unlock()
	if h.bad != nil {
		return fmt.Errorf("the configuration could not be read, so it is not changed: %w", h.bad)
	}
	if err := config.Savable(h.o.Paths); err != nil {
		return err // before f, which may change the keyring
	}
	switch now, err := config.Look(h.o.Paths); {
	case err != nil:
		return err
	case now != h.seen:
		return config.ErrEdited
	}
	c := h.Config() // a copy: the old one is in use, and stays if this fails
	if err := f(&c); err != nil {
		return err
	}
	if err := config.Save(h.o.Paths, c); err != nil {
		return err
	}
	h.mu.Lock()
	h.conf = c
	h.mu.Unlock()
	var err error
	h.seen, err = config.Look(h.o.Paths)
	return err
}

// guarded reports whether keys or the like lie at a path.
func (h *Host) guarded(path string) bool {
	_, secret := h.o.Paths.Guarded(path)
	return secret
}

// AddServer validates a definition, saves it and makes it known. It does not start it.
func (h *Host) AddServer(def config.Server) error {
	if !def.Remote() && len(def.Command) > 0 {
		if err := grantsCover(def); err != nil {
			return err
		}
	}
	err := h.edit(func(c *config.Config) error {
		if _, exists := c.Server(def.Name); exists {
			return fmt.Errorf("a server named %q exists already", def.Name)
		}
		c.Servers = append(c.Servers, def)
		return nil
	})
	if err != nil {
		return err
	}
	h.Servers.Set(def)
	facts := map[string]string{"command": strings.Join(def.Command, " ") + def.URL, "source": def.Source, "version": def.Version}
	if def.Open {
		facts["open"] = "it may serve whoever calls"
	}
	_, err = h.Append(audit.Event{Kind: audit.ServerAdd, Server: def.Name, Facts: facts})
	h.o.Changed()
	return err
}

// grantsCover refuses a command that names a file which its server could not read.
func grantsCover(def config.Server) error {
	granted := slices.Concat(def.Read, def.Write, sandbox.System)
	if def.Dir != "" {
		granted = append(granted, def.Dir)
	}
	for i, arg := range def.Command {
		st, err := os.Stat(arg)
		if i == 0 || !filepath.IsAbs(arg) || err != nil || !st.Mode().IsRegular() {
			continue
		}
		if !sandbox.Below(arg, granted...) {
			return fmt.Errorf("server %q could not read %s, which its command names; grant its folder %s for reading", def.Name, arg, filepath.Dir(arg))
		}
	}
	return nil
}

// RemoveServer stops a server and forgets its definition, its pin and its secrets. What was installed for it alone is deleted.
func (h *Host) RemoveServer(ctx context.Context, name string) error {
	if err := h.Servers.Remove(ctx, name); err != nil {
		return err
	}
	var gone []secret.Ref
	def, _ := h.Config().Server(name)
	err := h.edit(func(c *config.Config) error {
		c.Servers = slices.DeleteFunc(c.Servers, func(s config.Server) bool { return s.Name == name })
		c.Secrets = slices.DeleteFunc(c.Secrets, func(r secret.Ref) bool {
			if r.Server == name {
				gone = append(gone, r)
			}
			return r.Server == name
		})
		return nil
	})
	if err != nil {
		return err
	}
	err = errors.Join(h.Pins.Forget(name), h.removeInstalled(def))
	h.tasks.forget(name)
	if def.Remote() {
		err = errors.Join(err, h.logins.forget(ctx, name))
	}
	for _, r := range gone {
		if e := h.Secrets.Remove(ctx, r); e != nil && !errors.Is(e, secret.ErrNotFound) {
			err = errors.Join(err, fmt.Errorf("secret %q stays in the keyring: %w", r.Name, e))
		}
	}
	if _, e := h.Append(audit.Event{Kind: audit.ServerRemove, Server: name}); e != nil {
		err = errors.Join(err, e)
	}
	h.o.Changed()
	return err
}

// Call starts the target's server if it is stopped and takes the proposal through the gate, also when the server does not
// start: then the gate records that the call failed, and the error says why the server does not run.
func (h *Host) Call(ctx context.Context, p tool.Proposal) (tool.Result, error) {
	var stopped error
	if state, _, err := h.Servers.State(p.Target.Server); err == nil && state == server.Stopped {
		stopped = h.Servers.Start(ctx, p.Target.Server)
	}
	r, err := h.Gate.Do(ctx, p)
	var denied *gate.Denied
	if stopped != nil && err != nil && !errors.As(err, &denied) {
		return tool.Result{}, h.Gate.Words(ctx, p.Target.Server, stopped)
	}
	return r, err
}

// Resources returns what a running server lets be read. Errors: as of server.Supervisor.Resources, in words that were inspected.
func (h *Host) Resources(ctx context.Context, name string) ([]tool.Resource, error) {
	all, err := h.Servers.Resources(ctx, name)
	return all, h.Gate.Words(ctx, name, err)
}

// SetSecret stores a secret for one server's environment variable and notes its name in the configuration. A running
// server gets it at its next start.
func (h *Host) SetSecret(ctx context.Context, ref secret.Ref, v secret.Value) error {
	// The definition is checked before the keyring is touched.
	err := h.edit(func(c *config.Config) error {
		i := slices.IndexFunc(c.Servers, func(s config.Server) bool { return s.Name == ref.Server })
		if i < 0 {
			return fmt.Errorf("%w: %q", server.ErrUnknown, ref.Server)
		}
		c.Secrets = slices.DeleteFunc(c.Secrets, func(r secret.Ref) bool { return r.Name == ref.Name && r.Server == ref.Server })
		c.Secrets = append(c.Secrets, ref)
		s := c.Servers[i]
		s.Secrets = cloneMap(s.Secrets)
		for env, name := range s.Secrets {
			if name == ref.Name && env != ref.Env {
				delete(s.Secrets, env)
			}
		}
		s.Secrets[ref.Env] = ref.Name
		c.Servers[i] = s
		if err := c.Validate(h.o.Paths); err != nil {
			return err
		}
		return h.Secrets.Set(ctx, ref, v)
	})
	if err != nil {
		return err
	}
	def, _ := h.Config().Server(ref.Server)
	h.Servers.Set(def)
	_, err = h.Append(audit.Event{Kind: audit.SecretSet, Server: ref.Server, Facts: map[string]string{"secret": ref.Name, "env": ref.Env, "fingerprint": h.Secrets.Fingerprint(v)}})
	h.o.Changed()
	return err
}

// RemoveSecret deletes a secret from the keyring and from its server's definition.
func (h *Host) RemoveSecret(ctx context.Context, name string) error {
	var ref secret.Ref
	err := h.edit(func(c *config.Config) error {
		i := slices.IndexFunc(c.Secrets, func(r secret.Ref) bool { return r.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: %q", secret.ErrNotFound, name)
		}
		ref = c.Secrets[i]
		c.Secrets = slices.Delete(c.Secrets, i, i+1)
		for i, s := range c.Servers {
			if s.Name == ref.Server {
				s.Secrets = cloneMap(s.Secrets)
				delete(s.Secrets, ref.Env)
				c.Servers[i] = s
			}
		}
		if err := h.Secrets.Remove(ctx, ref); err != nil && !errors.Is(err, secret.ErrNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if def, ok := h.Config().Server(ref.Server); ok {
		h.Servers.Set(def)
	}
	_, err = h.Append(audit.Event{Kind: audit.SecretRemove, Server: ref.Server, Facts: map[string]string{"secret": ref.Name, "env": ref.Env}})
	h.o.Changed()
	return err
}

// LoadSecrets reads the known secrets once, so that inspection knows all of them before anything runs. After an error the
// caller may go on: a server whose own secret is missing does not start, and while Secrets.Unread names any, inspection is
// degraded, so that policy asks before every call.
func (h *Host) LoadSecrets(ctx context.Context) error {
	conf := h.Config()
	var err error
	refs := conf.Secrets
	for _, m := range conf.Models {
		if m.HasKey && !slices.Contains(refs, m.Key()) {
			refs = append(refs, m.Key())
		}
	}
	if len(refs) > 0 {
		err = h.Secrets.Load(ctx, refs)
	}
	for _, s := range conf.Servers {
		if s.Remote() && (err == nil || errors.Is(err, secret.ErrNotFound)) {
			err = errors.Join(err, h.logins.known(ctx, s.Name))
		}
	}
	return err
}

// FinishFirstRun notes that the welcome was seen.
func (h *Host) FinishFirstRun() error {
	err := h.edit(func(c *config.Config) error { c.FirstRunDone = true; return nil })
	h.o.Changed()
	return err
}

func cloneMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	return out
}

// stopPatience is how long servers may take to end by themselves when everything is stopped. After it they are killed.
const stopPatience = 300 * time.Millisecond

// StopEverything ends every server, its calls with it, and returns when nothing is left, within a second. Open questions are the caller's to deny
// first.
func (h *Host) StopEverything(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if e := h.opened(); e != nil {
		e.StopAll()
	}
	h.Servers.StopAll(ctx)
	h.o.Changed()
}
