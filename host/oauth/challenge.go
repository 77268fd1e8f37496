package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a challenge.
const (
	maxChallenge  = 8 << 10 // bytes of all WWW-Authenticate fields together
	maxChallenges = 16
	maxParams     = 16 // of one challenge
)

// challenge is one of WWW-Authenticate (RFC 9110 §11.6.1).
type challenge struct {
	scheme  string            // lower case
	token68 string            // "" unless it has one in place of parameters
	params  map[string]string // by name in lower case
}

// demand is what a server asks for. The zero value: it does not say.
type demand struct {
	metadata string // address of its metadata, not checked yet
	scopes   []string
	code     string // such as invalid_token, "" if there is none
	text     string // for people, printable
}

// key tells demands apart that lead to different discoveries.
func (d demand) key() string { return d.metadata + " " + strings.Join(d.scopes, " ") }

// demanded reads the challenge that concerns us, Bearer or DPoP; the first that names metadata if there are several. secrets are
// removed from what is for people. The zero demand is returned with an error.
func demanded(h http.Header, secrets ...string) (demand, error) {
	all, err := challenges(h.Values("WWW-Authenticate"))
	if err != nil {
		return demand{}, err
	}
	all = slices.DeleteFunc(all, func(c challenge) bool { return c.scheme != "bearer" && c.scheme != "dpop" })
	if len(all) == 0 {
		return demand{}, nil
	}
	c := all[max(0, slices.IndexFunc(all, func(c challenge) bool { return c.params["resource_metadata"] != "" }))]
	d := demand{metadata: c.params["resource_metadata"], code: c.params["error"], text: printable(c.params["error_description"], secrets...)}
	if d.code != "" && !isCode(d.code) {
		return demand{}, errors.New("its error is no error code")
	}
	if d.scopes, err = scopesOf(c.params["scope"]); err != nil {
		return demand{}, err
	}
	return d, nil
}

// challenges reads all fields of WWW-Authenticate.
func challenges(fields []string) (all []challenge, err error) {
	s := scanner{rest: strings.Join(fields, ", ")}
	if len(s.rest) > maxChallenge {
		return nil, fmt.Errorf("the challenge has %d bytes, at most %d are read", len(s.rest), maxChallenge)
	}
	for s.skip(" \t,"); s.rest != ""; s.skip(" \t,") {
		name := s.token()
		if name == "" {
			return nil, errors.New("the challenge is malformed")
		}
		spaced := s.skip(" \t")
		if strings.HasPrefix(s.rest, "=") { // one more parameter of the challenge before it
			if len(all) == 0 || all[len(all)-1].token68 != "" {
				return nil, errors.New("the challenge has a parameter of nothing")
			}
			if err := s.param(name, all[len(all)-1].params); err != nil {
				return nil, err
			}
		} else {
			c := challenge{scheme: strings.ToLower(name), params: map[string]string{}}
			if spaced && s.rest != "" && s.rest[0] != ',' {
				if c.token68 = s.token68(); c.token68 == "" {
					name := s.token()
					s.skip(" \t")
					if err := s.param(name, c.params); err != nil {
						return nil, err
					}
				}
			}
			if all = append(all, c); len(all) > maxChallenges {
				return nil, errors.New("there are too many challenges")
			}
		}
		if s.skip(" \t"); s.rest != "" && s.rest[0] != ',' {
			return nil, errors.New("the challenge is malformed")
		}
	}
	return all, nil
}

// scanner reads the parts of a field from its front.
type scanner struct{ rest string }

// skip reports whether there was anything to skip.
func (s *scanner) skip(set string) bool {
	n := len(s.rest)
	s.rest = strings.TrimLeft(s.rest, set)
	return len(s.rest) < n
}

// token returns "" if there is none.
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && (alnum(s.rest[n]) || strings.IndexByte("!#$%&'*+-.^_`|~", s.rest[n]) >= 0) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

// token68 returns "" and reads nothing unless the whole item is one.
func (s *scanner) token68() string {
	n := 0
	for n < len(s.rest) && (alnum(s.rest[n]) || strings.IndexByte("-._~+/", s.rest[n]) >= 0) {
		n++
	}
	if n == 0 {
		return ""
	}
	for n < len(s.rest) && s.rest[n] == '=' {
		n++
	}
	if after := strings.TrimLeft(s.rest[n:], " \t"); after != "" && after[0] != ',' {
		return ""
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

// param reads "=" and a value into params.
func (s *scanner) param(name string, params map[string]string) error {
	name = strings.ToLower(name)
	rest, ok := strings.CutPrefix(s.rest, "=")
	if _, twice := params[name]; !ok || name == "" || twice || len(params) >= maxParams {
		return errors.New("the challenge's parameters are malformed, double or too many")
	}
	s.rest = strings.TrimLeft(rest, " \t")
	var value string
	if strings.HasPrefix(s.rest, `"`) {
		if value, ok = s.quoted(); !ok {
			return errors.New("the challenge holds text that does not end or cannot be")
		}
	} else if value = s.token(); value == "" {
		return errors.New("the challenge has a parameter without a value")
	}
	params[name] = value
	return nil
}

// quoted reads a quoted string. What it holds is UTF-8 without control characters.
func (s *scanner) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), utf8.ValidString(b.String())
		case c == '\\' && i+1 < len(s.rest):
			i++
			c = s.rest[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

func alnum(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

// seen reports whether a rune shows itself.
func seen(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }

// isCode reports whether s can be an error code of OAuth's.
func isCode(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e || !alnum(byte(r)) && r != '_' && r != '-' && r != '.' })
}

// visible reports whether s has 1 to most bytes, all of them ASCII that shows and none of them a space.
func visible(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// scopesOf reads a list of scopes (RFC 6749 §3.3), each of them once. nil if there are none.
func scopesOf(list string) ([]string, error) { return checkScopes(strings.Fields(list)) }

func checkScopes(list []string) ([]string, error) {
	if len(list) > maxScopes {
		return nil, fmt.Errorf("there are %d scopes, at most %d are asked for", len(list), maxScopes)
	}
	for _, s := range list {
		if !visible(s, maxScope) || strings.ContainsAny(s, `"\`) {
			return nil, errors.New("a scope is malformed")
		}
	}
	return union(list), nil
}

// union returns what is in any of the lists, once, in the order of its first place. nil if there is nothing.
func union(lists ...[]string) (all []string) {
	for _, list := range lists {
		for _, s := range list {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// within reports whether all of list is in other.
func within(list, other []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(other, s) })
}
