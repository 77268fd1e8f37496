package egress

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// ThroughEnvironment makes p go through the proxy that this process's environment names in HTTPS_PROXY or HTTP_PROXY, but for what
// NO_PROXY lists, as other programs of this machine do. Without one it changes nothing. The error does not quote the address,
// which may hold a password.
func (p *Proxy) ThroughEnvironment() error {
	conf := httpproxy.FromEnvironment()
	named := conf.HTTPSProxy
	if named == "" {
		named = conf.HTTPProxy
	}
	if named == "" {
		return nil
	}
	if !strings.Contains(named, "://") {
		named = "http://" + named
	}
	u, err := url.Parse(named)
	if err == nil {
		err = (&Proxy{Upstream: u}).validate()
	}
	if err != nil {
		return errors.New("the proxy that HTTPS_PROXY or HTTP_PROXY names is none: it has to be http://HOST:PORT or https://HOST:PORT")
	}
	// One proxy for all: the library's own choice by scheme would need to know what a tunnel carries.
	conf.HTTPSProxy, conf.HTTPProxy = named, named
	choose := conf.ProxyFunc()
	p.Upstream = u
	p.Direct = func(host string, port uint16) bool {
		through, err := choose(&url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))})
		return err == nil && through == nil
	}
	return nil
}
