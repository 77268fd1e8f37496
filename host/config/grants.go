package config

import (
	"fmt"
	"slices"
	"strconv"

	"cordon/sandbox/egress"
)

// Grants are what a server may touch, to be given or taken away.
type Grants struct {
	Read, Write    []string // absolute paths, symbolic links followed
	Hosts, Private []string // as egress.ParseRule reads
	Reach, Serve   []uint16 // ports, as in Server
}

// And returns what either grants.
func (g Grants) And(o Grants) Grants { return g.changed(o, true) }

// Empty reports whether nothing is granted.
func (g Grants) Empty() bool {
	return len(g.Read)+len(g.Write)+len(g.Hosts)+len(g.Private)+len(g.Reach)+len(g.Serve) == 0
}

func (g Grants) changed(o Grants, give bool) Grants {
	return Grants{Read: changed(g.Read, o.Read, give), Write: changed(g.Write, o.Write, give), Hosts: changed(g.Hosts, o.Hosts, give),
		Private: changed(g.Private, o.Private, give), Reach: changed(g.Reach, o.Reach, give), Serve: changed(g.Serve, o.Serve, give)}
}

// changed returns have with what is given, or without.
func changed[T comparable](have, given []T, give bool) []T {
	all := slices.DeleteFunc(slices.Clone(have), func(x T) bool { return !give && slices.Contains(given, x) })
	for _, x := range given {
		if give && !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// With returns s with g granted besides, and the network that g takes. What is granted is never refused at the same time.
func (s Server) With(g Grants) Server {
	s = s.granted(g, true)
	s.Never = slices.DeleteFunc(slices.Clone(s.Never), func(never string) bool { return slices.Contains(g.names(), never) })
	return s
}

// Without returns s with g no longer granted, and no more of a network than what is left takes.
func (s Server) Without(g Grants) Server { return s.granted(g, false) }

func (s Server) granted(g Grants, give bool) Server {
	now := Grants{s.Read, s.Write, s.Hosts, s.Private, s.Reach, s.Serve}.changed(g, give)
	s.Read, s.Write, s.Hosts, s.Private, s.Reach, s.Serve = now.Read, now.Write, now.Hosts, now.Private, now.Reach, now.Serve
	switch hosts, loop := len(s.Hosts)+len(s.Private) > 0, len(s.Reach)+len(s.Serve) > 0; {
	case hosts:
		s.Net = NetHosts
	case loop && s.Net == NetNone, loop && s.Net == NetHosts:
		s.Net = NetLoopback
	case s.Net == NetHosts:
		s.Net = NetNone
	}
	return s
}

// names are the grants as Server.Never has them.
func (g Grants) names() []string {
	all := slices.Concat(g.Read, g.Write, g.Hosts, g.Private)
	for _, port := range g.Reach {
		all = append(all, strconv.Itoa(int(port)))
	}
	return all
}

// badNever says what is wrong with one entry of Never, or "".
func badNever(entry string) string {
	if entry != "" && entry[0] == '/' {
		return badPath(entry)
	}
	if n, err := strconv.ParseUint(entry, 10, 16); err == nil && n > 0 && strconv.FormatUint(n, 10) == entry {
		return ""
	}
	if r, err := egress.ParseRule(entry); err == nil && r.String() == entry {
		return ""
	}
	return fmt.Sprintf("%q is no path, host or port", entry)
}
