package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/learn"
	"cordon/host/profile"
	"cordon/host/server"
	"cordon/sandbox"
)

// What a server may touch, after it was defined: what it asks for, and what a person answers.

// Grant adds to what a server is granted, and Revoke takes away. Both say what they changed, as lines that a profile would differ in;
// nothing of it is an error. A preset that no longer holds what is granted is forgotten. The server's command and pin stay as they
// are. If it runs, it is started again with what it has now, once its calls have ended.
func (h *Host) Grant(ctx context.Context, name string, g config.Grants) ([]profile.Change, error) {
	if err := present(g); err != nil {
		return nil, err
	}
	return h.change(ctx, name, func(def config.Server) config.Server { return def.With(g) })
}

// Revoke is Grant's opposite.
func (h *Host) Revoke(ctx context.Context, name string, g config.Grants) ([]profile.Change, error) {
	return h.change(ctx, name, func(def config.Server) config.Server { return def.Without(g) })
}

// Exchange takes away and grants in one, so that the server is started again once.
func (h *Host) Exchange(ctx context.Context, name string, take, give config.Grants) ([]profile.Change, error) {
	if err := present(give); err != nil {
		return nil, err
	}
	return h.change(ctx, name, func(def config.Server) config.Server { return def.Without(take).With(give) })
}

// Observe begins or ends noting what a server asks for and is not granted, see sandbox.Profile. If it runs, it is started again.
func (h *Host) Observe(ctx context.Context, name string, on bool) ([]profile.Change, error) {
	return h.change(ctx, name, func(def config.Server) config.Server {
		def.Observe = on
		return def
	})
}

func (h *Host) change(ctx context.Context, name string, f func(config.Server) config.Server) ([]profile.Change, error) {
	changes, err := h.redefine(name, f, func(changes []profile.Change) error { return h.recordGrant(name, words(changes)) })
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	return changes, h.Servers.Reload(ctx, name) // also one that is only starting: it has what it had
}

// redefine saves a definition that is changed by f and makes it known. What record cannot record is not done.
func (h *Host) redefine(name string, f func(config.Server) config.Server, record func([]profile.Change) error) (changes []profile.Change, err error) {
	h.granting.Lock()
	defer h.granting.Unlock()
	var def config.Server
	err = h.edit(func(c *config.Config) error {
		i := slices.IndexFunc(c.Servers, func(s config.Server) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: %q", server.ErrUnknown, name)
		}
		before := c.Servers[i]
		def = f(before)
		if profile.Of(def).Fits() != nil {
			def.Preset = ""
		}
		if err := errors.Join(def.Validate(h.o.Paths), grantsCover(def)); err != nil {
			return err
		}
		changes = profile.Diff(profile.Of(before), profile.Of(def))
		c.Servers[i] = def
		return record(changes)
	})
	if err != nil {
		return nil, err
	}
	h.Servers.Set(def)
	return changes, nil
}

// recordGrant records what is about to be done. Nothing is recorded of no words.
func (h *Host) recordGrant(name, words string) error {
	if words == "" {
		return nil
	}
	_, err := h.Append(audit.Event{Kind: audit.ServerGrant, Server: name, Reason: words})
	h.o.Changed()
	return err
}

func words(changes []profile.Change) string {
	all := make([]string, len(changes))
	for i, c := range changes {
		all[i] = strings.TrimSpace(c.Key + ": " + c.Old + " → " + c.New)
	}
	return strings.Join(all, "; ")
}

// present refuses what is not there, or is not called so: a server that is granted it would not start.
func present(g config.Grants) error {
	for _, path := range slices.Concat(g.Read, g.Write) {
		if real, err := sandbox.Resolve(path); err != nil {
			return fmt.Errorf("grant %w", err)
		} else if real != path {
			return fmt.Errorf("grant %s: it is a link to %s; grant that", path, real)
		}
	}
	return nil
}

// Lend grants a server more until its process ends, and starts it again with that if it runs. One that sleeps or is stopped has it in
// its next run. What could not be granted for good cannot be lent either.
func (h *Host) Lend(ctx context.Context, name string, g config.Grants) ([]profile.Change, error) {
	v, err := h.Servers.View(name)
	if err != nil {
		return nil, err
	}
	def := v.Def.With(v.Lent)
	more := def.With(g)
	def.Preset, more.Preset = "", ""
	if err := errors.Join(present(g), more.Validate(h.o.Paths), grantsCover(more)); err != nil {
		return nil, err
	}
	changes := profile.Diff(profile.Of(def), profile.Of(more))
	if len(changes) == 0 {
		return nil, nil
	}
	if err := h.recordGrant(name, "for one run: "+words(changes)); err != nil {
		return nil, err
	}
	if err := h.Servers.Lend(name, g); err != nil {
		return nil, err
	}
	return changes, h.Servers.Reload(ctx, name)
}

// Never keeps what a server asked for from being proposed again, or, without never, lets it be. what is written as in
// config.Server.Never. It takes nothing away.
func (h *Host) Never(name, what string, never bool) error {
	word := "never: "
	if !never {
		word = "may be asked again: "
	}
	_, err := h.redefine(name, func(def config.Server) config.Server {
		def.Never = slices.DeleteFunc(slices.Clone(def.Never), func(n string) bool { return n == what })
		if never {
			def.Never = append(def.Never, what)
		}
		return def
	}, func([]profile.Change) error { return h.recordGrant(name, word+what) })
	return err
}

// Suggest says what a server has asked for that it is not granted, and the smallest profile with it.
func (h *Host) Suggest(name string) (learn.Suggestion, error) {
	wanted, err := h.Servers.Wanted(name)
	if err != nil {
		return learn.Suggestion{}, err
	}
	v, err := h.Servers.View(name)
	if err != nil {
		return learn.Suggestion{}, err
	}
	return learn.Suggest(learn.Run{Granted: v.Def.With(v.Lent), Home: sandbox.RealHome(), Wants: wanted.Wants, Rest: wanted.Rest, Hosts: wanted.Hosts,
		Guarded: h.o.Paths.Guarded, Folder: learn.IsFolder}), nil
}
