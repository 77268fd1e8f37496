package egress

import (
	"bufio"
	"bytes"
	"strings"
)

const maxHead = 32 << 10 // bytes of a request's or response's head

// peekHead waits for a whole request head and returns it without consuming it. net/http is more forgiving than a boundary
// should be (a bare line feed, folded lines, Transfer-Encoding besides Content-Length), so checkHead looks at the very
// bytes that net/http will parse. Lines that end in a bare line feed are refused before the head is whole.
func peekHead(r *bufio.Reader) ([]byte, *refusal) {
	for seen := 0; ; {
		_, err := r.Peek(seen + 1)
		b, _ := r.Peek(r.Buffered())
		for i := seen; i < len(b); i++ {
			if b[i] != '\n' {
				continue
			}
			if i == 0 || b[i-1] != '\r' {
				return nil, refuse(BadRequest, "a line ends in a bare line feed")
			}
			if i >= 3 && b[i-2] == '\n' {
				return b[:i+1], nil
			}
		}
		if err != nil {
			return nil, broken(err)
		}
		seen = len(b)
	}
}

// checkHead refuses every head that two parsers could read differently, and returns the value of Host.
func checkHead(head []byte) (host string, _ *refusal) {
	lines := strings.Split(string(bytes.TrimSuffix(head, []byte("\r\n\r\n"))), "\r\n")
	part := strings.Split(lines[0], " ")
	if len(part) != 3 || !token(part[0]) || !printable(part[1]) || part[2] != "HTTP/1.1" && part[2] != "HTTP/1.0" {
		return "", refuse(BadRequest, "the request line is not one of HTTP/1.1")
	}
	seen := map[string]string{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) || !text(value) { // a folded line begins with a space, which no token does
			return "", refuse(BadRequest, "a header line is malformed")
		}
		switch name = strings.ToLower(name); name {
		case "host", "content-length", "transfer-encoding":
			if _, twice := seen[name]; twice {
				return "", refuse(BadRequest, "%s is there twice", name)
			}
			seen[name] = strings.Trim(value, " \t")
		}
	}
	length, sized := seen["content-length"]
	coding, coded := seen["transfer-encoding"]
	_, hosted := seen["host"]
	switch {
	case sized && coded:
		return "", refuse(BadRequest, "content-length and transfer-encoding are both there")
	case sized && (length == "" || len(length) > 18 || strings.Trim(length, "0123456789") != ""):
		return "", refuse(BadRequest, "content-length is not a number")
	case coded && (part[2] != "HTTP/1.1" || !strings.EqualFold(coding, "chunked")):
		return "", refuse(BadRequest, "transfer-encoding is not chunked, or not of HTTP/1.1")
	case !hosted && part[2] == "HTTP/1.1" && part[0] != "CONNECT":
		return "", refuse(BadRequest, "host is missing")
	}
	return seen["host"], nil
}

// token reports whether s is one, RFC 9110 section 5.6.2.
func token(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	}) < 0
}

// printable reports whether s is visible ASCII, as a request target is. A fragment has no place in one.
func printable(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' }) < 0
}

// text reports whether s has no control character but the tab.
func text(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
