package egress

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"

	"cordon/sandbox"
)

// Carry serves all connections of a confined program: through Proxy to named hosts, to ports of this computer, and from
// programs of this computer to ports that it serves.
type Carry struct {
	Proxy *Proxy // for sandbox.Process.Egress
	Name  string // of the program, for the log of connections to it

	Observe func(Connection) // as Proxy's; for the ports
	Active  func() string    // as Proxy's; for the ports
	// Taken is told of a port that the program serves and something else of this computer has. An error ends the carrying.
	Taken func(port uint16, err error) error
}

// Start begins, and returns at once. wait, which is there after an error too, returns when every connection and listener is
// gone, as they are after the program, with the errors of those that broke. ctx cuts everything.
func (c Carry) Start(ctx context.Context, p *sandbox.Process) (wait func() error, err error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var broken error
	wait = func() error {
		all.Wait()
		return broken
	}
	begin := func(l net.Listener, serve func(ctx context.Context, l net.Listener) error) {
		all.Go(func() {
			if err := serve(ctx, l); err != nil {
				mu.Lock()
				defer mu.Unlock()
				broken = errors.Join(broken, err)
			}
		})
	}
	if p.Egress != nil {
		begin(p.Egress, c.Proxy.Serve)
	}
	for port, l := range p.Reached {
		begin(l, (&Forward{Host: "localhost", Port: port, Dial: Loopback(port), Observe: c.Observe, Active: c.Active}).Serve)
	}
	for _, port := range p.Forwarded {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err != nil {
			if err = c.Taken(port, err); err != nil {
				return wait, err
			}
			continue
		}
		all.Go(func() { <-p.Done(); l.Close() })
		begin(l, (&Forward{Host: c.Name, Port: port, Observe: c.Observe,
			Dial: func(ctx context.Context) (net.Conn, error) { return p.Dial(ctx, port) }}).Serve)
	}
	return wait, nil
}
