package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cordon/host/config"
	"cordon/sandbox/egress"
)

const (
	dialTimeout      = 20 * time.Second
	handshakeTimeout = 10 * time.Second
	maxResponseHead  = 64 << 10 // bytes
	idleTimeout      = 90 * time.Second
)

// NewClient returns what requests of one server are made with, also those to places that the server names. It reaches hosts
// with public addresses, those of private in private networks too, and this computer's loopback only if endpoint is there. It
// follows no redirects and keeps no cookies. What is dialled is an address that was judged, never a name again.
func NewClient(endpoint *url.URL, private []egress.Rule) (*http.Client, error) {
	way := &egress.Proxy{Public: true, Rules: slices.Clone(private), DialTimeout: dialTimeout}
	for i := range way.Rules {
		way.Rules[i].Private = true
	}
	if err := way.ThroughEnvironment(); err != nil {
		return nil, err
	}
	local := config.IsLocal(endpoint)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, err
		}
		if config.IsLocal(&url.URL{Host: addr}) {
			if !local {
				return nil, fmt.Errorf("%s is this computer, where no remote server may send Cordon", addr)
			}
			return dialLocal(ctx, host, port)
		}
		return way.Connect(ctx, host, uint16(n))
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: handshakeTimeout, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxResponseHeaderBytes: maxResponseHead, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 8, MaxConnsPerHost: 4 * maxRequests},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// dialLocal connects to the loopback and nothing else, whatever localhost resolves to.
func dialLocal(ctx context.Context, host, port string) (net.Conn, error) {
	addrs := []string{host}
	if strings.EqualFold(host, "localhost") {
		addrs = []string{"127.0.0.1", "::1"}
	}
	var failed error
	for _, a := range addrs {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(a, port))
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}
