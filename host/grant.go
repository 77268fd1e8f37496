package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/profile"
	"cordon/host/server"
)

// Grants are what a server may touch, to be given or taken away.
type Grants struct {
	Read, Write    []string // absolute paths, symbolic links followed
	Hosts, Private []string // as egress.ParseRule reads
	Reach, Serve   []uint16
}

// Grant adds to what a server is granted, and Revoke takes away. Both say what they changed, as lines that a profile would differ in;
// nothing of it is an error. A preset that no longer holds what is granted is forgotten. The server's command and pin stay as they
// are. If it runs, it is started again with what it has now, once its calls have ended.
func (h *Host) Grant(ctx context.Context, name string, g Grants) ([]profile.Change, error) {
	return h.regrant(ctx, name, g, true)
}

// Revoke is Grant's opposite.
func (h *Host) Revoke(ctx context.Context, name string, g Grants) ([]profile.Change, error) {
	return h.regrant(ctx, name, g, false)
}

// changed returns have with what is given, or without.
func changed[T comparable](have, given []T, with bool) []T {
	all := slices.DeleteFunc(slices.Clone(have), func(x T) bool { return !with && slices.Contains(given, x) })
	for _, x := range given {
		if with && !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

func (h *Host) regrant(ctx context.Context, name string, g Grants, give bool) ([]profile.Change, error) {
	var def config.Server
	var changes []profile.Change
	err := h.edit(func(c *config.Config) error {
		i := slices.IndexFunc(c.Servers, func(s config.Server) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: %q", server.ErrUnknown, name)
		}
		def = c.Servers[i]
		before := profile.Of(def)
		for _, l := range []struct {
			have  *[]string
			given []string
		}{{&def.Read, g.Read}, {&def.Write, g.Write}, {&def.Hosts, g.Hosts}, {&def.Private, g.Private}} {
			*l.have = changed(*l.have, l.given, give)
		}
		def.Reach, def.Serve = changed(def.Reach, g.Reach, give), changed(def.Serve, g.Serve, give)
		switch hosts, loop := len(def.Hosts)+len(def.Private) > 0, len(def.Reach)+len(def.Serve) > 0; {
		case hosts:
			def.Net = config.NetHosts
		case loop && def.Net == config.NetNone, def.Net == config.NetHosts && loop:
			def.Net = config.NetLoopback
		case def.Net == config.NetHosts:
			def.Net = config.NetNone
		}
		if profile.Of(def).Fits() != nil {
			def.Preset = ""
		}
		if err := grantsCover(def); err != nil {
			return err
		}
		changes = profile.Diff(before, profile.Of(def))
		c.Servers[i] = def
		return nil
	})
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	h.Servers.Set(def)
	words := make([]string, len(changes))
	for i, c := range changes {
		words[i] = strings.TrimSpace(c.Key + ": " + c.Old + " → " + c.New)
	}
	_, err = h.Append(audit.Event{Kind: audit.ServerGrant, Server: name, Reason: strings.Join(words, "; ")})
	h.o.Changed()
	return changes, errors.Join(err, h.Servers.Reload(ctx, name)) // also one that is only starting: it has what it had
}
