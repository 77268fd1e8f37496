package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	tryTimeout   = 5 * time.Second // for one address
	maxAddresses = 6               // of a name that are tried
	// upstreamLookup bounds the local look-up when an upstream proxy does the one that counts: machines behind one often
	// have no resolver for the world.
	upstreamLookup = 2 * time.Second
)

const throughUpstream = "through the upstream proxy"

// reach checks t, resolves it and connects, in this order: a name that is not allowed never leaves the machine, not even
// as a question to the resolver. Errors are *refusal. The caller closes the origin.
func (p *Proxy) reach(ctx context.Context, t target) (*origin, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(p.DialTimeout, defaultDial))
	defer cancel()
	allowed, private := p.Public, false
	for _, r := range p.Rules {
		if r.matches(t) {
			allowed, private = true, private || r.Private
		}
	}
	if !allowed {
		return nil, refuse(NotAllowed, "%s is not among this server's hosts: add it to its profile if the server needs it", t)
	}
	if p.Upstream == nil || p.Direct != nil && p.Direct(t.host, t.port) {
		addrs, err := p.addresses(ctx, t, private)
		if err != nil {
			return nil, err
		}
		return p.connect(ctx, t, addrs)
	}
	lookup, stop := context.WithTimeout(ctx, upstreamLookup)
	defer stop()
	if _, err := p.addresses(lookup, t, private); err != nil && err.code != Unresolvable {
		return nil, err
	}
	return p.tunnelUpstream(ctx, t)
}

// Connect reaches host and port for this process itself, by the same rules as for a program. The error says in words why not, and
// names the host and what its addresses are.
func (p *Proxy) Connect(ctx context.Context, host string, port uint16) (net.Conn, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	t, err := parseTarget(net.JoinHostPort(host, strconv.Itoa(int(port))), 0)
	if err != nil {
		return nil, err
	}
	o, err := p.reach(ctx, t)
	if err != nil {
		if r, ok := errors.AsType[*refusal](err); ok && r.detail != "" {
			return nil, fmt.Errorf("%s: %s", r.reason, r.detail)
		}
		return nil, err
	}
	o.busy = func() {}
	return o, nil
}

// addresses returns those addresses of t that may be dialled. One forbidden address does not spoil the others: what is
// dialled is what was judged, never a name again, so a mixed answer (an attack by rebinding, or a company's split DNS)
// gains nothing, and refusing it would only let whoever can add an address to an answer switch a host off.
func (p *Proxy) addresses(ctx context.Context, t target, private bool) ([]netip.Addr, *refusal) {
	found, err := p.resolve(ctx, t.host)
	if err != nil {
		return nil, refuse(Unresolvable, "%s does not resolve", t.host).because("%v", err)
	}
	list := p.own
	if list == nil {
		list = ownAddresses
	}
	own, err := list()
	if err != nil {
		return nil, refuse(ForbiddenAddress, "it cannot be told where %s leads", t.host).because("this machine's addresses cannot be listed: %v", err)
	}
	var good []netip.Addr
	why := ""
	for _, a := range found {
		a = a.Unmap() // resolvers write IPv4 either way
		what := forbidden(a, private, own)
		if p.loopback && a.Is4() && a.IsLoopback() {
			what = ""
		}
		if what == "" {
			good = append(good, a)
		} else {
			why = fmt.Sprintf("%s is %s", a, what)
		}
	}
	if len(found) == 0 {
		return nil, refuse(Unresolvable, "%s has no address", t.host)
	}
	if len(good) == 0 {
		return nil, refuse(ForbiddenAddress, "%s leads to an address that no server may reach", t.host).because("%s", why)
	}
	return good, nil
}

// resolve returns the addresses of host, which may be one itself.
func (p *Proxy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if p.Resolve != nil {
		return p.Resolve(ctx, host)
	}
	if strings.Contains(host, ".") {
		host += "." // no search domain: it would make another name of one that does not exist
	}
	// Go's own resolver, so that programs with and without cgo behave alike and ctx ends a look-up.
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
}

// connect dials addrs in their order until one answers.
func (p *Proxy) connect(ctx context.Context, t target, addrs []netip.Addr) (*origin, error) {
	dial := p.Dial
	if dial == nil {
		dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", a.String())
		}
	}
	var failed error
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		addr := netip.AddrPortFrom(a, t.port)
		conn, err := dial(try, addr)
		cancel()
		if err == nil {
			return &origin{Conn: conn, from: conn, addr: addr}, nil
		}
		if failed = err; ctx.Err() != nil {
			break
		}
	}
	return nil, refuse(Unreachable, "%s cannot be reached", t).because("%v", failed)
}

// upstreamTarget is where the upstream proxy listens.
func upstreamTarget(u *url.URL) (target, error) {
	port := uint16(80)
	if u.Scheme == "https" {
		port = 443
	}
	return parseTarget(u.Host, port)
}

func viaUpstream(t target) *refusal {
	return refuse(Unreachable, "%s cannot be reached through the upstream proxy", t)
}

// tunnelUpstream asks the upstream proxy for a tunnel to t, for plain requests too, so that it never reads them.
func (p *Proxy) tunnelUpstream(ctx context.Context, t target) (*origin, error) {
	at, err := upstreamTarget(p.Upstream)
	if err != nil {
		return nil, viaUpstream(t).because("%v", err)
	}
	addrs, err := p.resolve(ctx, at.host)
	if err != nil || len(addrs) == 0 {
		return nil, viaUpstream(t).because("%s does not resolve", at.host)
	}
	o, err := p.connect(ctx, at, addrs)
	if r, failed := errors.AsType[*refusal](err); failed {
		return nil, viaUpstream(t).because("%s: %s", r.reason, r.detail)
	}
	o.reason = throughUpstream
	release := cutWhenDone(ctx, o.Conn)
	err = p.askUpstream(ctx, o, at, t)
	release()
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		cut(o.Conn)
		return nil, viaUpstream(t).because("%v", err)
	}
	return o, nil
}

func (p *Proxy) askUpstream(ctx context.Context, o *origin, at, t target) error {
	if p.Upstream.Scheme == "https" {
		conf := new(tls.Config)
		if p.UpstreamTLS != nil {
			conf = p.UpstreamTLS.Clone()
		}
		conf.ServerName = orDefault(conf.ServerName, at.host)
		conf.NextProtos = []string{"http/1.1"}
		conn := tls.Client(o.Conn, conf)
		if err := conn.HandshakeContext(ctx); err != nil {
			return err
		}
		o.Conn, o.from = conn, conn
	}
	head := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n", t, t)
	if u := p.Upstream.User; u != nil {
		password, _ := u.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(o.Conn, head+"\r\n"); err != nil {
		return err
	}
	bounded := &io.LimitedReader{R: o.Conn, N: maxHead}
	in := bufio.NewReader(bounded)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	switch {
	case err != nil:
		return errors.New("its answer is not HTTP")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("it answered %d", resp.StatusCode)
	}
	bounded.N = math.MaxInt64
	o.from = in // what the host said first may already be in there
	return nil
}
