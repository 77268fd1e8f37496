package host

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cordon/host/config"
	"cordon/host/gate"
	"cordon/host/profile"
)

// Limit replaces how often a server may be called. Its command, grants and approval stay, and so does its process: the next call is judged by it.
// It says what it changed, "" if nothing; that is recorded, and what cannot be recorded is not done.
func (h *Host) Limit(name string, l gate.Limits) (changed string, err error) {
	_, err = h.redefine(name, func(def config.Server) config.Server {
		changed = limited(def, l)
		def.Rate, def.Budget, def.Rates = l.PerMinute, l.PerDay, maps.Clone(l.Tools)
		return def
	}, func([]profile.Change) error { return h.recordGrant(name, changed) })
	if err != nil {
		return "", err
	}
	return changed, nil
}

// limited says in words what becomes different for a server that is limited by l.
func limited(def config.Server, l gate.Limits) string {
	var all []string
	say := func(what string, old, now string) {
		if old != now {
			all = append(all, fmt.Sprintf("%s: %s → %s", what, old, now))
		}
	}
	number := func(n int, none string) string {
		if n == 0 {
			return none
		}
		return fmt.Sprint(n)
	}
	usual := fmt.Sprintf("the usual %d", gate.DefaultPerMinute)
	say("calls in a minute", number(def.Rate, usual), number(l.PerMinute, usual))
	say("calls in a day", number(def.Budget, "no limit"), number(l.PerDay, "no limit"))
	names := maps.Clone(def.Rates)
	if names == nil {
		names = map[string]int{}
	}
	maps.Copy(names, l.Tools)
	of := func(limits map[string]int, name string) string {
		if n, ok := limits[name]; ok {
			return number(n, "none at all")
		}
		return "no limit"
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		say("calls of "+name+" in a minute", of(def.Rates, name), of(l.Tools, name))
	}
	return strings.Join(all, "; ")
}
