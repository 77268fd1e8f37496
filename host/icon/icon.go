// Package icon makes what servers call their icons (MCP, `icons`) into pictures that are safe to show: drawn anew by Cordon as PNG, at most Side
// pixels wide and high. All that it is given is untrusted. Only PNG and JPEG are taken, from data: addresses and from the origin of the server
// itself; whatever is not on the list is refused, and then there is no picture.
package icon

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
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
	maxScans   = 16        // of a JPEG, each of which touches every pixel; usual ones have at most ten
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

// kinds are the formats that are taken, by how a file of each begins.
var kinds = []struct {
	name, begins string
	size         func(io.Reader) (image.Config, error)
	decode       func(io.Reader) (image.Image, error)
}{
	{"image/png", "\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	{"image/jpeg", "\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode},
}

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

// shrink draws a picture anew. Its size is looked at before its pixels are.
func shrink(data []byte, said string) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("it cannot be decoded")
		}
	}()
	if len(data) > maxBytes {
		return nil, tooLarge()
	}
	for _, k := range kinds {
		if !bytes.HasPrefix(data, []byte(k.begins)) {
			continue
		}
		if plain(said) != k.name {
			return nil, errors.New("it is of another kind than it is said to be")
		}
		if k.name == "image/jpeg" && bytes.Count(data, []byte("\xff\xda")) > maxScans {
			return nil, errors.New("it is drawn in too many passes")
		}
		size, err := k.size(bytes.NewReader(data))
		if err != nil {
			return nil, errors.New("it cannot be decoded")
		}
		if size.Width < 1 || size.Height < 1 || size.Width > maxSide || size.Height > maxSide {
			return nil, fmt.Errorf("it is %d by %d pixels, at most %d by %d are drawn", size.Width, size.Height, maxSide, maxSide)
		}
		whole, err := k.decode(bytes.NewReader(data))
		if err != nil {
			return nil, errors.New("it cannot be decoded")
		}
		var to bytes.Buffer
		if err := png.Encode(&to, scaled(whole)); err != nil {
			return nil, err
		}
		return to.Bytes(), nil
	}
	return nil, errors.New("it is neither PNG nor JPEG")
}

// scaled draws a picture so that it fits: each pixel is the mean of those that it stands for.
func scaled(from image.Image) image.Image {
	b := from.Bounds()
	w, h := b.Dx(), b.Dy()
	longest := max(w, h, Side)
	to := image.NewNRGBA(image.Rect(0, 0, max(1, w*Side/longest), max(1, h*Side/longest)))
	tw, th := to.Bounds().Dx(), to.Bounds().Dy()
	for y := range th {
		for x := range tw {
			var r, g, bl, a, n uint64
			for sy := y * h / th; sy < max((y+1)*h/th, y*h/th+1); sy++ {
				for sx := x * w / tw; sx < max((x+1)*w/tw, x*w/tw+1); sx++ {
					pr, pg, pb, pa := from.At(b.Min.X+sx, b.Min.Y+sy).RGBA()
					r, g, bl, a, n = r+uint64(pr), g+uint64(pg), bl+uint64(pb), a+uint64(pa), n+1
				}
			}
			to.Set(x, y, color.RGBA64{uint16(r / n), uint16(g / n), uint16(bl / n), uint16(a / n)})
		}
	}
	return to
}
