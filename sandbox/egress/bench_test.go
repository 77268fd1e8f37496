package egress

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// BenchmarkConnect opens a connection, sends a byte and gets it back: directly, and through the proxy by CONNECT and SOCKS5.
func BenchmarkConnect(b *testing.B) {
	port := listen(b, echo)
	w := start(b, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
	socks := append([]byte("\x05\x01\x00\x05\x01\x00\x03\x08api.test"), byte(port>>8), byte(port))
	for _, way := range []struct {
		name, to string
		ask      []byte
		answer   int // bytes of the proxy's
	}{
		{"direct", fmt.Sprintf("127.0.0.1:%d", port), nil, 0},
		{"CONNECT", w.addr, fmt.Appendf(nil, "CONNECT api.test:%d HTTP/1.1\r\nHost: api.test\r\n\r\n", port), len("HTTP/1.1 200 Connection established\r\n\r\n")},
		{"SOCKS5", w.addr, socks, 12},
	} {
		b.Run(way.name, func(b *testing.B) {
			got := make([]byte, way.answer+1)
			for b.Loop() {
				c, err := net.Dial("tcp", way.to)
				if err != nil {
					b.Fatal(err)
				}
				if way.answer > 0 {
					_, _ = c.Write(way.ask)
					if _, err := io.ReadFull(c, got[:way.answer]); err != nil {
						b.Fatal(err)
					}
				}
				_, _ = c.Write([]byte("x"))
				if _, err := io.ReadFull(c, got[:1]); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}

// BenchmarkThroughput sends 1 MiB and gets it back over one connection.
func BenchmarkThroughput(b *testing.B) {
	port := listen(b, echo)
	w := start(b, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}}})
	direct, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		b.Fatal(err)
	}
	defer direct.Close()
	through, _ := w.connect(fmt.Sprintf("api.test:%d", port))
	_ = through.SetDeadline(time.Time{})
	block := make([]byte, 1<<20)
	for name, c := range map[string]net.Conn{"direct": direct, "CONNECT": through} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(2 << 20)
			got := make([]byte, len(block))
			for b.Loop() {
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = c.Write(block)
				}()
				if _, err := io.ReadFull(c, got); err != nil {
					b.Fatal(err)
				}
				<-sent
			}
		})
	}
}
