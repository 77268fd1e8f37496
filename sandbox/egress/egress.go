// Package egress is the one way out for a confined program without a network: a proxy on the sandbox's own loopback,
// served by the host, that lets named hosts through and nothing else. It speaks HTTP/1.1 (CONNECT, and plain requests in
// absolute form) and SOCKS5 (CONNECT), told apart by the first byte.
//
//	program ──▶ listener inside ──▶ name in Rules? ──▶ resolve ──▶ address acceptable? ──▶ dial that address
//
// A connection carries one request. Whatever follows it is never read as a second one, so that nothing can be smuggled past
// the check, and every connection is one Connection in the log.
//
// What it does not do: it looks into no tunnel. TLS SNI, the Host inside a tunnel and the certificate are not inspected, so
// a program can reach whatever else an allowed host serves on that port ("domain fronting"), and can send it anything.
// The machine's public address behind a router's NAT is not known here, so it is not recognised as its own.
package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Code says why a request was refused. Codes are stable: the log and the header X-Cordon-Refused use them.
type Code string

// The codes.
const (
	NotAllowed       Code = "not-allowed"       // no rule names this host and port
	ForbiddenAddress Code = "forbidden-address" // the name leads to addresses that are not to be dialled
	BadRequest       Code = "bad-request"       // not a request this proxy understands, or an ambiguous one
	Unresolvable     Code = "unresolvable"      // the name has no address
	Unreachable      Code = "unreachable"       // nobody answers there, or not in HTTP
	Busy             Code = "busy"              // too many connections at once
)

// Connection is what became of one request or tunnel.
type Connection struct {
	Began    time.Time
	Took     time.Duration
	Method   string         // of HTTP, or "SOCKS5"; "" when none was read
	Host     string         // a name or an address in its canonical form; "" when none was read
	Port     uint16         //
	Addr     netip.AddrPort // what was dialled, possibly the upstream proxy; zero when nothing was
	Sent     int64          // bytes from the program to the host, heads included
	Received int64          // bytes from the host to the program
	Call     string         // what Active returned when the request came
	Refused  Code           // "" when it was let through
	Reason   string         // why it was refused, or how it ended when not by itself, in words
}

// Proxy lets what is allowed through. The zero value refuses everything. Its fields must not change once Serve is called;
// Serve may run on several listeners at once and then the limit on connections holds for all of them together.
type Proxy struct {
	Rules  []Rule
	Public bool // every host with a public address may be reached; Rules say where private ones are acceptable

	// Resolve returns the addresses of a name; nil asks the machine's resolver. It must end when ctx ends.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects to exactly addr; nil uses TCP. It must end when ctx ends. Without a method CloseWrite on what it
	// returns, the end of one direction ends both.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

	// Upstream is an http or https proxy through which everything goes, with optional user and password. nil means none.
	// It is the person's choice, so its own address is not judged. It resolves names again by itself: an address that we
	// judged need not be the one it dials, and a name that does not resolve here is not judged at all.
	Upstream    *url.URL
	UpstreamTLS *tls.Config // for an https Upstream; nil means the machine's certificates
	// Direct names what does not go through Upstream, by canonical host; nil means nothing. See ThroughEnvironment.
	Direct func(host string, port uint16) bool

	Observe func(Connection) // gets each Connection once, a refusal before it is answered; called concurrently; must not block
	Active  func() string    // names the call that runs now; called concurrently; must not block

	Connections int           // at once; 0 means 64
	Idle        time.Duration // without a byte in either direction, until a connection is cut; 0 means 5 minutes
	HeadTimeout time.Duration // for a whole request head; 0 means 10 seconds
	DialTimeout time.Duration // for resolving and connecting; 0 means 20 seconds

	forward  func(ctx context.Context, s *session) // instead of what the program asks for; see Forward
	open     atomic.Int32                          // connections, refused ones included
	own      func() ([]netip.Addr, error)          // tests only; nil means ownAddresses
	loopback bool                                  // tests only: 127.0.0.0/8 may be dialled
}

const (
	defaultConnections = 64
	defaultIdle        = 5 * time.Minute
	defaultHead        = 10 * time.Second
	defaultDial        = 20 * time.Second
	busyHead           = time.Second            // for the head of a request that is only going to be refused
	linger             = 500 * time.Millisecond // for a program to read the answer before the kernel may reset the connection
	maxLinger          = 256 << 10              // bytes read and dropped meanwhile
)

// Serve accepts connections on l until ctx ends or l is closed, then cuts those that are open. It closes l, returns when
// every connection and goroutine of it is gone, and returns nil then. Errors: a field of p that is wrong, and those of l.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all.Go(func() { <-ctx.Done(); l.Close() })
	if err := p.validate(); err != nil {
		return err
	}
	limit := int32(orDefault(p.Connections, defaultConnections))
	for {
		conn, err := l.Accept()
		if err != nil {
			switch {
			case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
				return nil
			case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM):
				select { // a connection that ends makes room
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
				continue
			}
			return fmt.Errorf("accept from the sandbox: %w", err)
		}
		n := p.open.Add(1)
		if n > 2*limit { // as many as are served are refused politely; who floods gets no answer
			p.open.Add(-1)
			conn.Close()
			p.observe(Connection{Began: time.Now(), Refused: Busy, Reason: "far too many connections at once"})
			continue
		}
		all.Go(func() {
			defer p.open.Add(-1)
			p.serve(ctx, conn, n > limit)
		})
	}
}

// validate reports the first thing that is wrong with p.
func (p *Proxy) validate() error {
	for _, r := range p.Rules {
		want, err := ParseRule(r.String())
		if err != nil {
			return err
		}
		if want.Private = r.Private; r != want {
			return fmt.Errorf("rule %q is not written as ParseRule returns it", r)
		}
	}
	if p.Connections < 0 || p.Connections > 1<<16 || p.Idle < 0 || p.HeadTimeout < 0 || p.DialTimeout < 0 {
		return errors.New("proxy: a limit is negative or too high")
	}
	if u := p.Upstream; u != nil { // errors do not quote it: it may hold a password
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
			return errors.New("upstream proxy: want http://host:port or https://host:port")
		}
		if _, err := upstreamTarget(u); err != nil {
			return fmt.Errorf("upstream proxy: %w", err)
		}
	}
	return nil
}

func (p *Proxy) observe(c Connection) {
	if p.Observe != nil {
		p.Observe(c)
	}
}

// orDefault returns v, or d when v is zero.
func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// refusal is why a request goes no further. The program is told the reason; the detail, which may name resolvers, proxies
// and addresses of the machine's own network, is for the log.
type refusal struct {
	code   Code
	reason string
	detail string
}

func (r *refusal) Error() string { return r.reason }

func refuse(code Code, format string, args ...any) *refusal {
	return &refusal{code: code, reason: fmt.Sprintf(format, args...)}
}

// because adds a detail for the log.
func (r *refusal) because(format string, args ...any) *refusal {
	r.detail = fmt.Sprintf(format, args...)
	return r
}
