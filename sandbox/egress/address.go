package egress

import (
	"fmt"
	"net"
	"net/netip"
)

// special are ranges in which no host on the internet lies, from IANA's special-purpose registries (RFC 6890) and the
// clouds' manuals. The first that contains an address counts, so that metadata stands before the private range around it. Those
// for documentation and benchmarks count as private: who meets them is in a network that uses them so, as some proxies do.
var special = []struct {
	prefix  netip.Prefix
	what    string
	private bool // acceptable to a rule with Private
}{
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", false},
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified", false},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local or cloud metadata", false},
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata", false}, // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata", false},   // Azure, in a public range
	{netip.MustParsePrefix("fd00:ec2::/32"), "cloud metadata", false},      // Amazon
	{netip.MustParsePrefix("fd20:ce::/32"), "cloud metadata", false},       // Google
	{netip.MustParsePrefix("10.0.0.0/8"), "private", true},
	{netip.MustParsePrefix("172.16.0.0/12"), "private", true},
	{netip.MustParsePrefix("192.168.0.0/16"), "private", true},
	{netip.MustParsePrefix("100.64.0.0/10"), "private (carrier-grade NAT)", true},
	{netip.MustParsePrefix("fc00::/7"), "private", true},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved for protocols", false},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation", true},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation", true},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation", true},
	{netip.MustParsePrefix("192.88.99.0/24"), "a relay for 6to4", false},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks", true},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast", false},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved or broadcast", false},
	{netip.MustParsePrefix("::1/128"), "loopback", false},
	{netip.MustParsePrefix("::/128"), "unspecified", false},
	{netip.MustParsePrefix("fe80::/10"), "link-local", false},
	{netip.MustParsePrefix("ff00::/8"), "multicast", false},
	{netip.MustParsePrefix("2001::/23"), "reserved for protocols", false}, // Teredo is taken out before
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation", false},
	{netip.MustParsePrefix("3fff::/20"), "for documentation", false},
}

// carriers are ranges of IPv6 in which an IPv4 address travels; at is where it begins.
var carriers = []struct {
	prefix netip.Prefix
	at     int
	invert byte
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0}, // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2, 0},     // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), 12, 0xff}, // Teredo, RFC 4380: the client's address, every bit turned
	{netip.MustParsePrefix("::/96"), 12, 0},        // IPv4-compatible, RFC 4291
}

// forbidden says what kind of address a is when it must not be dialled, or "". private tells whether the rule accepts
// private ranges; own are the machine's own addresses, as
// ownAddresses returns them. In IPv6 only what is known to be global is let through, so that
// ranges assigned tomorrow, site-local and local NAT64 (64:ff9b:1::/48) are refused without being named.
func forbidden(a netip.Addr, private bool, own []netip.Addr) string {
	if !a.IsValid() || a.Zone() != "" {
		return "not an address of the internet"
	}
	a = a.Unmap()
	for _, o := range own {
		if o.WithZone("") == a {
			return "this machine's own"
		}
	}
	v4, carried := embedded(a)
	if carried {
		if what := forbidden(v4, private, own); what != "" {
			return fmt.Sprintf("%s (%s inside)", what, v4)
		}
	}
	for _, s := range special {
		if s.prefix.Contains(a) && !carried {
			if s.private && private {
				return ""
			}
			return s.what
		}
	}
	if a.Is6() && !carried && a.As16()[0]>>5 != 1 { // 2000::/3
		return "not a global address"
	}
	return ""
}

// embedded returns the IPv4 address that travels in a.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() || a == netip.IPv6Unspecified() || a == netip.IPv6Loopback() {
		return netip.Addr{}, false
	}
	b := a.As16()
	for _, c := range carriers {
		if c.prefix.Contains(a) {
			v4 := [4]byte(b[c.at:])
			for i := range v4 {
				v4[i] ^= c.invert
			}
			return netip.AddrFrom4(v4), true
		}
	}
	return netip.Addr{}, false
}

// ownAddresses lists what the machine's interfaces are called now; they change when a laptop moves.
func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok {
			return nil, fmt.Errorf("interface address of type %T", a)
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			return nil, fmt.Errorf("interface address of %d bytes", len(n.IP))
		}
		own = append(own, ip.Unmap())
	}
	return own, nil
}
