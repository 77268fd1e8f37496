package egress

import (
	"io"
	"strings"
	"testing"
)

func TestSOCKS(t *testing.T) {
	port := listen(t, echo)
	w := start(t, &Proxy{Rules: []Rule{{Host: "api.test", Port: port}, {Host: "127.0.0.1", Port: port}, {Host: "10.0.0.1", Port: 80}, {Host: "gone.example", Port: 80}, {Host: "api.test", Port: 1}, {Host: "2001:db8::1", Port: 80}}})
	p := string([]byte{byte(port >> 8), byte(port)})
	name := func(s string) string { return "\x03" + string([]byte{byte(len(s))}) + s }
	reply := func(code byte) string {
		return "\x05\x00\x05" + string([]byte{code}) + "\x00\x01\x00\x00\x00\x00\x00\x00"
	}
	const hello, connect = "\x05\x01\x00", "\x05\x01\x00"
	for title, tt := range map[string]struct {
		raw, want string
		code      Code
		host      string
	}{
		"a name":                       {hello + connect + name("api.test") + p + "x", reply(0) + "x", "", "api.test"},
		"a name in capitals":           {hello + connect + name("API.test") + p + "x", reply(0) + "x", "", "api.test"},
		"several methods":              {"\x05\x03\x02\x01\x00" + connect + name("api.test") + p + "x", reply(0) + "x", "", "api.test"},
		"an address":                   {hello + connect + "\x01\x7f\x00\x00\x01" + p + "x", reply(0) + "x", "", "127.0.0.1"},
		"an address as a name":         {hello + connect + name("127.0.0.1") + p + "x", reply(0) + "x", "", "127.0.0.1"},
		"another name":                 {hello + connect + name("evil.test") + p, reply(2), NotAllowed, "evil.test"},
		"another address":              {hello + connect + "\x01\x7f\x00\x00\x02" + p, reply(2), NotAllowed, "127.0.0.2"},
		"another address of IPv6":      {hello + connect + "\x04" + strings.Repeat("\x00", 15) + "\x01" + p, reply(2), NotAllowed, "::1"},
		"an address for documentation": {hello + connect + "\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x00\x50", reply(2), ForbiddenAddress, "2001:db8::1"},
		"an address mapped":            {hello + connect + "\x04" + strings.Repeat("\x00", 10) + "\xff\xff\x7f\x00\x00\x01" + p, reply(1), BadRequest, ""},
		"a private address":            {hello + connect + "\x01\x0a\x00\x00\x01\x00\x50", reply(2), ForbiddenAddress, "10.0.0.1"},
		"a name without address":       {hello + connect + name("gone.example") + "\x00\x50", reply(4), Unresolvable, "gone.example"},
		"a port where nobody is":       {hello + connect + name("api.test") + "\x00\x01", reply(4), Unreachable, "api.test"},
		"port 0":                       {hello + connect + name("api.test") + "\x00\x00", reply(1), BadRequest, ""},
		"an empty name":                {hello + connect + name("") + p, reply(1), BadRequest, ""},
		"a name with a NUL":            {hello + connect + name("api.test\x00.evil") + p, reply(1), BadRequest, ""},
		"a name that is an address":    {hello + connect + name("127.1") + p, reply(1), BadRequest, ""},
		"BIND":                         {hello + "\x05\x02\x00" + name("api.test") + p, reply(7), BadRequest, ""},
		"UDP":                          {hello + "\x05\x03\x00" + name("api.test") + p, reply(7), BadRequest, ""},
		"an unknown kind of address":   {hello + connect + "\x02api.test" + p, reply(8), BadRequest, ""},
		"a reserved byte":              {hello + "\x05\x01\x01" + name("api.test") + p, reply(1), BadRequest, ""},
		"another version inside":       {hello + "\x04\x01\x00" + name("api.test") + p, reply(1), BadRequest, ""},
		"passwords only":               {"\x05\x01\x02", "\x05\xff", BadRequest, ""},
		"no method":                    {"\x05\x00", "\x05\xff", BadRequest, ""},
		"cut in the methods":           {"\x05\x05\x00", "\x05\xff", BadRequest, ""},
		"cut in the name":              {hello + connect + "\x03\xffapi.test", reply(1), BadRequest, ""},
		"cut after the methods":        {hello, reply(1), BadRequest, ""},
	} {
		t.Run(title, func(t *testing.T) {
			w.t = t
			c := w.dial()
			_, _ = io.WriteString(c, tt.raw)
			_ = c.CloseWrite()
			b, err := io.ReadAll(c)
			if string(b) != tt.want || err != nil {
				t.Errorf("got %q, %v; want %q", b, err, tt.want)
			}
			if r := w.next(); r.Refused != tt.code || r.Host != tt.host || r.Method != "SOCKS5" || (r.Reason == "") != (tt.code == "") {
				t.Errorf("reported %+v; want %q of %q", r, tt.code, tt.host)
			}
		})
	}
	if got := w.ask("\x04\x01\x00\x50\x7f\x00\x00\x01\x00"); status(got) != "HTTP/1.1 400 Bad Request" {
		t.Errorf("SOCKS4: got %q", got)
	}
	w.next()
}
