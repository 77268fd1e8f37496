package egress

// Environment returns the variables, as NAME=value, that lead common programs to a proxy at addr ("127.0.0.1:3128").
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
	return []string{
		"HTTP_PROXY=" + proxy, "http_proxy=" + proxy,
		"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"ALL_PROXY=" + proxy, "all_proxy=" + proxy,
		"NO_PROXY=" + direct, "no_proxy=" + direct,
		"NODE_USE_ENV_PROXY=1",
	}
}
