package egress

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Forward carries every connection of a listener to one place that the profile names: a port of this computer's loopback, or
// one that the program serves. Nothing is asked for, so nothing is judged; every connection is one Connection in the log.
type Forward struct {
	Host string // for the log
	Port uint16 //
	Dial func(ctx context.Context) (net.Conn, error)

	Observe func(Connection) // as Proxy's
	Active  func() string    // as Proxy's
}

// Serve is as Proxy.Serve.
func (f *Forward) Serve(ctx context.Context, l net.Listener) error {
	p := &Proxy{Observe: f.Observe, Active: f.Active}
	p.forward = f.carry
	return p.Serve(ctx, l)
}

func (f *Forward) carry(ctx context.Context, s *session) {
	s.saw.Method, s.saw.Host, s.saw.Port = "TCP", f.Host, f.Port
	if s.busy {
		s.report(Busy, "too many connections at once")
		cut(s.client)
		return
	}
	dialling, cancel := context.WithTimeout(ctx, orDefault(s.p.DialTimeout, defaultDial))
	defer cancel()
	c, err := f.Dial(dialling)
	if err != nil {
		s.report(Unreachable, "nobody answers there: "+err.Error())
		cut(s.client)
		return
	}
	addr, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	o := &origin{Conn: c, from: c, addr: addr}
	s.carry(ctx, o, func() *refusal {
		tunnel(s.client, s.in, o, o, s.cutBoth)
		return nil
	})
}

// Loopback returns a dialler for a port of this computer's loopback, IPv4 first.
func Loopback(port uint16) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: 10 * time.Second}
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String())
		if err != nil {
			if six, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(netip.IPv6Loopback(), port).String()); err == nil {
				return six, nil
			}
		}
		return c, err
	}
}
