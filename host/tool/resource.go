package tool

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Resource is something that a server lets be read, or, with a Template, a whole family of such things. All text is untrusted.
type Resource struct {
	URI         string
	Template    string // RFC 6570; then URI is ""
	Name        string
	Title       string
	Description string
	MIME        string
	Size        int64  // bytes as the server says, -1 if it does not
	Icons       []byte // JSON object that holds them alone, or nil; see package icon
}

// maxURI is how long the address of a resource may be, in bytes.
const maxURI = 4096

// CheckURI reports why the address of a resource is not passed to a server.
func CheckURI(uri string) error {
	switch {
	case uri == "" || len(uri) > maxURI:
		return fmt.Errorf("it has %d bytes, 1 to %d are allowed", len(uri), maxURI)
	case !utf8.ValidString(uri) || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == 0x7f || r >= 0x80 }):
		return errors.New("it holds characters that have to be written as % and digits")
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return errors.New("it is no address with a scheme")
	}
	if u.User != nil {
		return errors.New("a name or password has no place in an address")
	}
	path := u.Host + "/" + u.Path + u.Opaque
	if p, err := url.PathUnescape(path); err == nil { // a server may take it apart once more
		path += "/" + p
	}
	if slices.Contains(strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }), "..") {
		return errors.New("it leads out of where it begins (..)")
	}
	return nil
}

// ResourceEffect is what reading an address does: the address of a page goes to whoever has that page.
func ResourceEffect(uri string) Effect {
	if u, err := url.Parse(uri); err == nil && slices.Contains([]string{"http", "https", "ws", "wss", "ftp", "ftps"}, strings.ToLower(u.Scheme)) {
		return Disclose
	}
	return Read
}
