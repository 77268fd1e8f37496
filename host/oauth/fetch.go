package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
)

// hostRE is what the part of an address between the slashes may be.
var hostRE = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// address reads an address that a server chose. It has to be https, or http on this machine if the endpoint is there too, with a host in
// plain letters, without a name, password or fragment. A server elsewhere cannot name this machine or the network around it.
func (a *Authorizer) address(text string) (*url.URL, error) {
	if !visible(text, maxURL) {
		return nil, fmt.Errorf("an address is not plain ASCII of at most %d bytes", maxURL)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || !hostRE.MatchString(u.Host):
		return nil, errors.New("an address cannot be read, or its host is not written in plain letters, digits, dots and hyphens")
	case u.User != nil:
		return nil, fmt.Errorf("the address at %s holds a name or password before the host", u.Host)
	case strings.Contains(text, "#"):
		return nil, fmt.Errorf("the address at %s has a fragment", u.Host)
	case loopback(u) && a.local && (u.Scheme == "http" || u.Scheme == "https"):
	case u.Scheme != "https":
		return nil, fmt.Errorf("the address at %s is not https", u.Host)
	case inside(u) && !a.inside:
		return nil, fmt.Errorf("the address at %s leads into this machine or the network around it", u.Host)
	}
	return u, nil
}

// loopback reports whether an address leads to this machine by what it says.
func loopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap().IsLoopback() || err != nil && strings.EqualFold(u.Hostname(), "localhost")
}

// inside reports whether an address leads where the internet does not, by what it says. Names are the HTTP client's to check.
func inside(u *url.URL) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	ip, err := netip.ParseAddr(host)
	if err != nil { // a browser also reads 127.1, 2130706433 and 0x7f.1 as addresses
		last := host[strings.LastIndexByte(host, '.')+1:]
		return host == "localhost" || strings.HasSuffix(host, ".localhost") || last == "" || last[0] >= '0' && last[0] <= '9'
	}
	ip = ip.Unmap()
	return !ip.IsGlobalUnicast() || ip.IsPrivate()
}

// origin returns the scheme, host and port of u in one form, such as https://example.com:443.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return strings.ToLower(u.Scheme) + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// root returns the scheme, host and port of u as they are written.
func root(u *url.URL) string { return strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host) }

// answer is what came back to a request of ours.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// isJSON reports whether it says that it is JSON.
func (r answer) isJSON() bool {
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

// netError is a failure of the network, whose text may quote the other side.
type netError struct {
	what string
	err  error
}

// Error is printable.
func (e *netError) Error() string { return e.what + ": " + printable(e.err.Error()) }

// Unwrap returns the failure itself.
func (e *netError) Unwrap() error { return e.err }

// do sends a request and reads at most most bytes of what comes back. Redirects are answers like any other. Errors name the host and
// nothing of what was sent.
func (a *Authorizer) do(ctx context.Context, r *http.Request, most int64) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "Cordon/"+a.o.Version)
	resp, err := a.http.Do(r.WithContext(ctx))
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address
		}
		return answer{}, &netError{r.URL.Host + " does not answer", err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return answer{}, &netError{"the answer of " + r.URL.Host + " does not end well", err}
	}
	if int64(len(body)) > most {
		return answer{}, fmt.Errorf("the answer of %s has more than %d KiB", r.URL.Host, most>>10)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// get fetches a JSON document into v, whose unknown members are left out. found is false if the server has none there: an answer of the
// kind 3xx or 4xx, or something else than JSON. A redirect is not followed.
func (a *Authorizer) get(ctx context.Context, u *url.URL, v any) (found bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, fmt.Errorf("ask %s: %w", u.Host, err)
	}
	got, err := a.do(ctx, r, maxDocument)
	switch {
	case err != nil:
		return false, err
	case got.status == http.StatusTooManyRequests || got.status >= 500:
		return false, fmt.Errorf("%s answers %d", u.Host, got.status)
	case got.status != http.StatusOK || !got.isJSON():
		return false, nil
	}
	if err := json.Unmarshal(got.body, v); err != nil {
		return false, fmt.Errorf("what %s says about itself is malformed", u.Host)
	}
	return true, nil
}
