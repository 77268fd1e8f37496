package icon

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func drawn(t *testing.T, w, h int) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.NRGBA{uint8(x), uint8(y), 200, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func photo(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 100, 50)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb is a PNG that says how large it is and holds next to nothing.
func bomb(w, h uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	head = append(binary.BigEndian.AppendUint32(head, h), 16, 6, 0, 0, 0)
	out := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), 13)
	return binary.BigEndian.AppendUint32(append(out, head...), crc32.ChecksumIEEE(head))
}

func data(kind string, b []byte) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(b)
}

// size decodes what Picture gave.
func size(t *testing.T, out []byte) image.Point {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("it is no PNG: %v", err)
	}
	return m.Bounds().Size()
}

func TestPicturesAreDrawnAnew(t *testing.T) {
	for name, c := range map[string]struct {
		s    Source
		want image.Point
	}{
		"small":         {Source{Src: data("image/png", drawn(t, 48, 48)), MIME: "image/png"}, image.Pt(48, 48)},
		"large":         {Source{Src: data("image/png", drawn(t, 512, 512))}, image.Pt(64, 64)},
		"wide":          {Source{Src: data("image/png", drawn(t, 512, 2))}, image.Pt(64, 1)},
		"a photo":       {Source{Src: data("image/jpeg", photo(t)), MIME: "image/jpg"}, image.Pt(64, 32)},
		"in capitals":   {Source{Src: "DATA" + data("image/PNG", drawn(t, 8, 8))[4:]}, image.Pt(8, 8)},
		"with a suffix": {Source{Src: data("image/png", append(drawn(t, 8, 8), "<script>alert(1)</script>"...))}, image.Pt(8, 8)},
	} {
		out, err := Picture(t.Context(), c.s, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := size(t, out); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if bytes.Contains(out, []byte("script")) {
			t.Errorf("%s: it holds what was sent", name)
		}
	}
	out, err := Picture(t.Context(), Source{Src: data("image/png", drawn(t, 128, 128))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := png.Decode(bytes.NewReader(out))
	if r, g, b, a := m.At(32, 16).RGBA(); r>>8 != 64 || g>>8 != 32 || b>>8 != 200 || a>>8 != 255 {
		t.Errorf("the colour in it is %d %d %d %d", r>>8, g>>8, b>>8, a>>8)
	}
}

func TestHostilePicturesAreNone(t *testing.T) {
	svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>`)
	small := drawn(t, 8, 8)
	remote := &Client{http.DefaultClient, &url.URL{Scheme: "https", Host: "a.example:8443", Path: "/mcp"}}
	for name, c := range map[string]struct {
		s    Source
		of   *Client
		want string
	}{
		"a bomb":                 {Source{Src: data("image/png", bomb(65535, 65535))}, nil, "65535 by 65535"},
		"a bomb of the most":     {Source{Src: data("image/png", bomb(1<<31-1, 1<<31-1))}, nil, "decoded"},
		"a picture of nothing":   {Source{Src: data("image/png", bomb(0, 5))}, nil, "decoded"},
		"one pixel too wide":     {Source{Src: data("image/png", bomb(513, 1))}, nil, "513 by 1"},
		"a head alone":           {Source{Src: data("image/png", bomb(8, 8))}, nil, "decoded"},
		"half of it":             {Source{Src: data("image/png", small[:len(small)/2])}, nil, "decoded"},
		"SVG":                    {Source{Src: data("image/svg+xml", svg)}, nil, "neither"},
		"SVG as PNG":             {Source{Src: data("image/png", svg)}, nil, "neither"},
		"PNG as SVG":             {Source{Src: data("image/svg+xml", small)}, nil, "another kind"},
		"many passes":            {Source{Src: data("image/jpeg", append(photo(t), bytes.Repeat([]byte("\xff\xda\x00"), maxScans)...))}, nil, "too many passes"},
		"PNG as JPEG":            {Source{Src: data("image/jpeg", small)}, nil, "another kind"},
		"two kinds":              {Source{Src: data("image/png", small), MIME: "image/jpeg"}, nil, "two kinds"},
		"no kind":                {Source{Src: data("", small)}, nil, "another kind"},
		"GIF":                    {Source{Src: data("image/gif", []byte("GIF89a\x01\x00\x01\x00"))}, nil, "neither"},
		"huge":                   {Source{Src: data("image/png", make([]byte, maxBytes+1))}, nil, "more than 256 KiB"},
		"huge by its letters":    {Source{Src: "data:image/png;base64," + strings.Repeat("A", 1<<20)}, nil, "more than 256 KiB"},
		"percent instead":        {Source{Src: "data:image/png,%89PNG"}, nil, "Base64"},
		"no Base64":              {Source{Src: "data:image/png;base64,*"}, nil, "Base64"},
		"elsewhere, from here":   {Source{Src: "https://a.example/i.png"}, nil, "elsewhere"},
		"a file":                 {Source{Src: "file:///etc/passwd"}, remote, "not https"},
		"http":                   {Source{Src: "http://a.example:8443/i.png"}, remote, "not https"},
		"javascript":             {Source{Src: "javascript:alert(1)"}, remote, "not https"},
		"another origin":         {Source{Src: "https://b.example:8443/i.png"}, remote, "not where the server is"},
		"another port":           {Source{Src: "https://a.example/i.png"}, remote, "not where the server is"},
		"a subdomain":            {Source{Src: "https://x.a.example:8443/i.png"}, remote, "not where the server is"},
		"a name before the host": {Source{Src: "https://a.example:8443@b.example/i.png"}, remote, "more than a host"},
		"no scheme":              {Source{Src: "//a.example:8443/i.png"}, remote, "not https"},
		"a path":                 {Source{Src: "/etc/passwd"}, remote, "not https"},
		"hidden characters":      {Source{Src: "https://a.example:8443/\u202ei.png"}, remote, "plain ASCII"},
		"a server over http":     {Source{Src: "https://localhost/i.png"}, &Client{http.DefaultClient, &url.URL{Scheme: "http", Host: "localhost"}}, "not where the server is"},
	} {
		if out, err := Picture(t.Context(), c.s, c.of); out != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d bytes, %v; want %q", name, len(out), err, c.want)
		}
	}
}

func TestFetching(t *testing.T) {
	small := drawn(t, 32, 32)
	var cookies, elsewhere int
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 || r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			cookies++
		}
		http.SetCookie(w, &http.Cookie{Name: "who", Value: "you"})
		switch r.URL.Path {
		case "/good.png":
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write(small)
		case "/page.png":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(small)
		case "/moved.png":
			http.Redirect(w, r, "/landed.png", http.StatusFound)
		case "/endless.png":
			w.Header().Set("Content-Type", "image/png")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		case "/landed.png":
			elsewhere++
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	endpoint, err := url.Parse(srv.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	of := &Client{srv.Client(), endpoint}
	for range 2 {
		out, err := Picture(t.Context(), Source{Src: srv.URL + "/good.png", MIME: "image/png"}, of)
		if err != nil {
			t.Fatal(err)
		}
		if got := size(t, out); got != image.Pt(32, 32) {
			t.Errorf("it is %v", got)
		}
	}
	for path, want := range map[string]string{"/page.png": "another kind", "/moved.png": "302", "/endless.png": "more than 256 KiB", "/none.png": "404"} {
		if _, err := Picture(t.Context(), Source{Src: srv.URL + path}, of); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if cookies > 0 || elsewhere > 0 {
		t.Errorf("%d requests held more than they need, %d followed a redirect", cookies, elsewhere)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Picture(ctx, Source{Src: srv.URL + "/good.png"}, of); err == nil {
		t.Error("it was fetched after the end")
	}
}

func TestPick(t *testing.T) {
	all := Of([]byte(`{"icons":[{"src":"s","mimeType":"image/svg+xml"},{"src":"d","theme":"dark"},7,{"src":""},{"src":"b"},{"src":"l","theme":"light"}]}`))
	if light, dark, ok := Pick(all); !ok || light.Src != "l" || dark.Src != "d" {
		t.Errorf("light %+v, dark %+v, %v", light, dark, ok)
	}
	if light, dark, ok := Pick(Of([]byte(`{"icons":[{"src":"d","theme":"dark"}]}`))); !ok || light.Src != "d" || dark.Src != "d" {
		t.Errorf("light %+v, dark %+v, %v", light, dark, ok)
	}
	for _, none := range []string{`{}`, `{"icons":[]}`, `{"icons":{"src":"x"}}`, `{"icons":[7]}`, `[]`} {
		if _, _, ok := Pick(Of([]byte(none))); ok {
			t.Errorf("%s has an icon", none)
		}
	}
	if got := Of([]byte(`{"icons":[` + strings.Repeat(`{"src":"x"},`, 50) + `{"src":"y"}]}`)); len(got) != maxOffered {
		t.Errorf("%d are looked at", len(got))
	}
}

func FuzzShrink(f *testing.F) {
	f.Add(bomb(3, 3), "image/png")
	f.Fuzz(func(t *testing.T, in []byte, kind string) {
		out, err := shrink(in, kind)
		if err == nil {
			if p := size(t, out); p.X > Side || p.Y > Side {
				t.Errorf("it is %v", p)
			}
		}
	})
}
