// Package icon draws pictures of others anew: what servers call their icons (MCP, `icons`), as PNG of at most Side pixels, and images that models are to look
// at. All that it is given is untrusted. Only PNG and JPEG are taken, from data: addresses and from the origin of the server
// itself; whatever is not on the list is refused, and then there is no picture.
package icon

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Side is how many pixels a picture has at most, in either direction.
const Side = 64

// Bounds of what a server sends.
const (
	maxBytes   = 256 << 10 // of one, before it is decoded
	maxSide    = 512       // pixels, before they are decoded
	maxOffered = 8         // icons of one thing that are looked at
	maxAddress = 2048      // bytes
	patience   = 10 * time.Second
)

// Source is one icon as a server lists it.
type Source struct {
	Src   string `json:"src"`
	MIME  string `json:"mimeType"`
	Theme string `json:"theme"` // light or dark: what it is drawn for; "" for both
}

// Of returns the icons in a JSON object's member "icons", in order. What is malformed has none.
func Of(object []byte) []Source {
	var def struct {
		Icons []jsontext.Value `json:"icons"`
	}
	if json.Unmarshal(object, &def) != nil {
		return nil
	}
	var all []Source
	for _, raw := range def.Icons[:min(len(def.Icons), maxOffered)] {
		var s Source
		if json.Unmarshal(raw, &s) == nil && s.Src != "" {
			all = append(all, s)
		}
	}
	return all
}

// Pick returns what is shown on a light and on a dark ground: the first that is drawn for it, or for both, or else any. ok is false without icons.
func Pick(all []Source) (light, dark Source, ok bool) {
	best := func(theme string) Source {
		for _, want := range []string{theme, ""} {
			for _, s := range all {
				if s.Theme == want && !strings.HasPrefix(strings.ToLower(s.MIME), "image/svg") {
					return s
				}
			}
		}
		return all[0]
	}
	if len(all) == 0 {
		return Source{}, Source{}, false
	}
	return best("light"), best("dark"), true
}

// Client is what icons are fetched with: that of the remote server, which judges every address that it dials.
type Client struct {
	HTTP     *http.Client
	Endpoint *url.URL
}

// Picture returns the PNG of an icon. of is nil for a server on this computer, whose icons are in what it says or nowhere. Errors say why there is none,
// in words that do not quote the server.
func Picture(ctx context.Context, s Source, of *Client) ([]byte, error) {
	if len(s.Src) > 5 && strings.EqualFold(s.Src[:5], "data:") {
		data, kind, err := inline(s.Src[5:])
		if err != nil {
			return nil, err
		}
		if s.MIME != "" && !same(s.MIME, kind) {
			return nil, errors.New("it is said to be of two kinds")
		}
		return shrink(data, kind)
	}
	if of == nil {
		return nil, errors.New("it is elsewhere, where a server on this computer sends nobody")
	}
	at, err := address(s.Src, of.Endpoint)
	if err != nil {
		return nil, err
	}
	data, kind, err := fetch(ctx, of.HTTP, at)
	if err != nil {
		return nil, err
	}
	if s.MIME != "" && !same(s.MIME, kind) {
		return nil, errors.New("it is said to be of two kinds")
	}
	return shrink(data, kind)
}

// inline reads what follows "data:".
func inline(rest string) (data []byte, kind string, err error) {
	head, body, ok := strings.Cut(rest, ",")
	kind, base64ed := strings.CutSuffix(strings.ToLower(head), ";base64")
	switch {
	case !ok || !base64ed || len(head) > maxAddress:
		return nil, "", errors.New("it is not in Base64")
	case len(body) > base64.StdEncoding.EncodedLen(maxBytes):
		return nil, "", tooLarge()
	}
	data, err = base64.StdEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, "", errors.New("it is not in Base64")
	}
	return data, kind, nil
}

// address reads where an icon is: https, of the same host and port as the server itself.
func address(src string, endpoint *url.URL) (*url.URL, error) {
	if len(src) > maxAddress || strings.ContainsFunc(src, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("its address is not plain ASCII of at most %d bytes", maxAddress)
	}
	u, err := url.Parse(src)
	switch {
	case err != nil || u.Scheme != "https" || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return nil, errors.New("its address is not https, or holds more than a host and a path")
	case endpoint.Scheme != "https" || !strings.EqualFold(u.Hostname(), endpoint.Hostname()) || port(u) != port(endpoint):
		return nil, errors.New("it is not where the server is")
	}
	return u, nil
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// fetch gets what is at an address, without cookies, keys or redirects.
func fetch(ctx context.Context, with *http.Client, at *url.URL) (data []byte, kind string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, "", errors.New("its address cannot be asked")
	}
	r.Header.Set("Accept", "image/png, image/jpeg")
	r.Header.Set("User-Agent", "Cordon")
	client := &http.Client{Transport: with.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		return nil, "", errors.New("it cannot be fetched")
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("the server answers with %d, and no other answer is followed", res.StatusCode)
	}
	data, err = io.ReadAll(io.LimitReader(res.Body, maxBytes+1))
	if err != nil {
		return nil, "", errors.New("it cannot be fetched whole")
	}
	return data, res.Header.Get("Content-Type"), nil
}

func tooLarge() error { return fmt.Errorf("it has more than %d KiB", maxBytes>>10) }

// same reports whether two names mean one kind.
func same(a, b string) bool { return plain(a) == plain(b) }

func plain(kind string) string {
	name, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return ""
	}
	if name == "image/jpg" {
		return "image/jpeg"
	}
	return name
}

// shrink makes an icon of a picture.
func shrink(data []byte, said string) ([]byte, error) {
	out, _, err := Redraw(data, said, Bounds{Bytes: maxBytes, From: maxSide, To: Side})
	return out, err
}
