package egress

import "os"

// Environment returns the variables, as NAME=value, that lead common programs to a proxy at addr ("127.0.0.1:3128"), and to the
// machine's certificates.
//
// They are advice: a program that does not follow them has no network at all, which is the point. Known to follow: curl,
// Go's net/http, Python's urllib, requests and httpx, npm, git. Node does from 24.5 and 22.21 on, for fetch, http and
// https (24.0 for fetch alone); older ones need an agent of their own.
//
// ALL_PROXY names HTTP although the proxy speaks SOCKS5: httpx, which most Python servers use, fails to start when it meets
// a SOCKS proxy and lacks an optional package. HTTP_PROXY is safe here: only CGI programs could get it from a request.
func Environment(addr string) []string {
	proxy := "http://" + addr
	direct := "localhost,127.0.0.1,::1" // the sandbox's own loopback
	return append([]string{
		"HTTP_PROXY=" + proxy, "http_proxy=" + proxy,
		"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"ALL_PROXY=" + proxy, "all_proxy=" + proxy,
		"NO_PROXY=" + direct, "no_proxy=" + direct,
		"NODE_USE_ENV_PROXY=1",
	}, certificates()...)
}

// certificates names the machine's own list, with what an administrator has added to it, such as a company's authority: many
// programs bring a list of their own. Node reads the machine's from 22.19 and 23.8 on.
func certificates() []string {
	env := []string{"NODE_USE_SYSTEM_CA=1"}
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if _, err := os.Stat(file); err == nil {
			return append(env, "SSL_CERT_FILE="+file, "REQUESTS_CA_BUNDLE="+file, "CURL_CA_BUNDLE="+file)
		}
	}
	return env
}
