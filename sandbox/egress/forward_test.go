package egress

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// TestForward carries both ways, whoever speaks first, and tells of each connection, also of one that found nobody.
func TestForward(t *testing.T) {
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() { // speaks first, then echoes
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "hello\n")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	var mu sync.Mutex
	var saw []Connection
	port := uint16(service.Addr().(*net.TCPAddr).Port)
	f := &Forward{Host: "localhost", Port: port, Dial: Loopback(port), Active: func() string { return "call" }, Observe: func(c Connection) {
		mu.Lock()
		defer mu.Unlock()
		saw = append(saw, c)
	}}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	call := func(text []byte) ([]byte, error) {
		c, err := net.DialTimeout("tcp4", l.Addr().String(), 5*time.Second)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		go func() {
			_, _ = c.Write(text)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		return io.ReadAll(c)
	}
	text := make([]byte, 1<<20)
	_, _ = rand.Read(text)
	if got, err := call(text); err != nil || !bytes.Equal(got, append([]byte("hello\n"), text...)) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	service.Close()
	if got, err := call(nil); err == nil && len(got) > 0 {
		t.Errorf("nobody listens, and %q came", got)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(saw) != 2 || saw[0].Method != "TCP" || saw[0].Port != port || saw[0].Call != "call" || saw[0].Sent != int64(len(text)) || saw[0].Received != int64(len(text)+6) || saw[0].Refused != "" || saw[1].Refused != Unreachable {
		t.Errorf("told of %+v", saw)
	}
	if _, err := Loopback(port)(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a closed port: %v", err)
	}
}
