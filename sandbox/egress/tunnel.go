package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"time"
)

// origin is the connection to a host. It counts, and every byte puts off the end of an idle connection.
type origin struct {
	net.Conn
	from   io.Reader      // Conn, or Conn after what an upstream proxy's answer left in a buffer
	addr   netip.AddrPort // what was dialled
	reason string         // what the Connection has to say about the way
	busy   func()         // set before the first Read and Write

	sent, received int64 // each changed by one goroutine; read when both have ended
}

func (o *origin) Read(b []byte) (int, error) {
	n, err := o.from.Read(b)
	o.received += int64(n)
	o.busy()
	return n, err
}

func (o *origin) Write(b []byte) (int, error) {
	n, err := o.Conn.Write(b)
	o.sent += int64(n)
	o.busy()
	return n, err
}

// CloseWrite tells the host that nothing more comes.
func (o *origin) CloseWrite() error { return closeWrite(o.Conn) }

// tunnel copies both ways until both sides have ended, or cuts both when one fails. Neither side's end stops the other
// direction: a program may close its half and wait for the answer. up and down read from client and o, after what is
// buffered of them.
func tunnel(client net.Conn, up io.Reader, o *origin, down io.Reader, cutBoth func(error)) {
	pass := func(to net.Conn, from io.Reader) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = closeWrite(to)
		}
		if err != nil {
			cutBoth(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(o, up)
	}()
	pass(client, down)
	<-done
}

// closeWrite ends one direction of c, or all of c where half cannot be closed.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// cut ends c at once with a reset, so that the other side cannot take what it has for the whole. It does not block.
func cut(c net.Conn) {
	if o, ok := c.(*origin); ok {
		c = o.Conn
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // tls.Conn would wait to say goodbye
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// cutWhenDone cuts c when ctx ends. The function it returns ends that; afterwards no goroutine of it is left.
func cutWhenDone(ctx context.Context, c net.Conn) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		cut(c)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// finish closes c in a way that lets the program read what was written: closing with bytes unread makes the kernel reset
// the connection and drop the answer.
func finish(c net.Conn) {
	_ = closeWrite(c)
	_ = c.SetDeadline(time.Now().Add(linger))
	_, _ = io.CopyN(io.Discard, c, maxLinger)
	c.Close()
}
