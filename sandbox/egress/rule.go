package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Rule lets one host, or the names below one, be reached on one port. The zero value matches nothing.
type Rule struct {
	Host    string // "api.example.org", "*.example.org", "192.0.2.7" or "2001:db8::1": lower case, punycode, without brackets
	Port    uint16 // 1 to 65535
	Private bool   // addresses of private ranges are acceptable too; profiles set it, ParseRule does not
}

// ParseRule reads "api.example.org:443", "*.example.org:443" (one or more labels below, never the name itself),
// "192.0.2.7:443" or "[2001:db8::1]:443". Names are mapped by UTS 46 and need two labels or more: a resolver would complete
// a single one with a search domain that nobody chose. What resolvers read as an address (127.1, 0x7f000001) is no name.
func ParseRule(s string) (Rule, error) {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return Rule{}, fmt.Errorf("rule %q: leave out %s://, and write %s:443 or the port that is meant", s, scheme, strings.Trim(rest, "/"))
	}
	host, below := strings.CutPrefix(s, "*.")
	host, err := toASCII(host)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", s, err)
	}
	t, err := parseTarget(host, 0)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", s, err)
	}
	_, notAddress := netip.ParseAddr(t.host)
	switch {
	case notAddress == nil && below:
		return Rule{}, fmt.Errorf("rule %q: an address has no names below it", s)
	case notAddress != nil && !strings.Contains(t.host, "."):
		return Rule{}, fmt.Errorf("rule %q: the name needs two labels or more", s)
	case below && registry(t.host):
		return Rule{}, fmt.Errorf("rule %q: names below it belong to everybody", s)
	case below && len("*.")+len(t.host) > maxName:
		return Rule{}, fmt.Errorf("rule %q: longer than %d bytes", s, maxName)
	case below:
		t.host = "*." + t.host
	}
	return Rule{Host: t.host, Port: t.port}, nil
}

// String returns what ParseRule reads; Private is not in it.
func (r Rule) String() string { return target{r.Host, r.Port}.String() }

func (r Rule) matches(t target) bool {
	if suffix, below := strings.CutPrefix(r.Host, "*"); below {
		return r.Port == t.port && len(t.host) > len(suffix) && strings.HasSuffix(t.host, suffix)
	}
	return r.Port == t.port && r.Host == t.host
}

// registry knows names of the form co.uk, below which strangers register. It is no public suffix list: example.github.io
// is not told from example.org.
func registry(name string) bool {
	second, top, _ := strings.Cut(name, ".")
	return len(top) == 2 && strings.Contains(" ac co com edu gob gov go gv id ltd mil ne net nom or org plc sch ", " "+second+" ")
}

const maxName = 253 // bytes of a name; RFC 1035, section 2.3.4, without the root

// target is where a program wants to go. host is canonical: equal hosts are equal strings.
type target struct {
	host string
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// parseTarget reads host:port. port is what counts when s has none; 0 means it must have one.
func parseTarget(s string, port uint16) (target, error) {
	host, rest := s, ""
	if v6, ok := strings.CutPrefix(s, "["); ok {
		if host, rest, ok = strings.Cut(v6, "]"); !ok || !strings.Contains(host, ":") {
			return target{}, errors.New("brackets hold an IPv6 address and nothing else")
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, rest = s[:i], s[i:]
	}
	host, err := canonical(host)
	if err != nil {
		return target{}, err
	}
	if rest == "" && port != 0 {
		return target{host, port}, nil
	}
	digits, _ := strings.CutPrefix(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 || rest != ":"+strconv.FormatUint(n, 10) {
		return target{}, errors.New("the port is missing or not between 1 and 65535")
	}
	return target{host, uint16(n)}, nil
}

// canonical returns the one spelling in which hosts are compared: an address as netip writes it, or a name in ASCII and
// lower case. Names are not mapped here: programs send punycode.
func canonical(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" || a.Is4In6() {
			return "", errors.New("addresses have no zone and are not IPv4 in IPv6")
		}
		return a.String(), nil
	}
	if len(s) == 0 || len(s) > maxName {
		return "", fmt.Errorf("a name has 1 to %d bytes", maxName)
	}
	name := []byte(s)
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c + 'a' - 'A'
		}
	}
	last := ""
	for label := range strings.SplitSeq(string(name), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", errors.New("a label has 1 to 63 bytes and no hyphen at its ends")
		}
		for i, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' && i == 0) {
				return "", errors.New("a name holds letters, digits, hyphens and dots")
			}
		}
		last = label
	}
	// The WHATWG URL standard's "ends in a number": inet_aton and browsers read such a name as an IPv4 address.
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return "", errors.New("a name that ends in a number is read as an address")
	}
	return string(name), nil
}

// toASCII maps the name in a rule by UTS 46. What it cannot change, canonical judges.
func toASCII(hostport string) (string, error) {
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 || strings.HasPrefix(hostport, "[") {
		return hostport, nil
	}
	lookup := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))
	name, err := lookup.ToASCII(hostport[:i])
	if err == nil {
		var again string // what does not map to itself (bytes outside UTF-8 do not) is no name
		if again, err = lookup.ToASCII(name); again != name {
			err = errors.New("it does not map to itself")
		}
	}
	if err != nil {
		return "", errors.New("not an internationalised domain name")
	}
	return name + hostport[i:], nil
}
