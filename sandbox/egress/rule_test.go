package egress

import (
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	for s, want := range map[string]string{ // "" means refused
		"api.example.org:443":                     "api.example.org:443",
		"API.Example.ORG:443":                     "api.example.org:443",
		"*.example.org:8080":                      "*.example.org:8080",
		"*.a.b.example.org:1":                     "*.a.b.example.org:1",
		"bücher.example:443":                      "xn--bcher-kva.example:443",
		"BÜCHER.example:443":                      "xn--bcher-kva.example:443",
		"*.bücher.example:443":                    "*.xn--bcher-kva.example:443",
		"straße.example:443":                      "xn--strae-oqa.example:443", // not transitional: strasse is somebody else
		"xn--bcher-kva.example:443":               "xn--bcher-kva.example:443",
		"api。example。org:443":                     "api.example.org:443", // ideographic full stops
		"ａｐｉ.example.org:443":                     "api.example.org:443",
		"_dmarc.example.org:443":                  "_dmarc.example.org:443",
		"r3---sn-x.example.org:443":               "r3---sn-x.example.org:443",
		"1.example.org:65535":                     "1.example.org:65535",
		"192.0.2.7:443":                           "192.0.2.7:443",
		"[2001:db8::1]:443":                       "[2001:db8::1]:443",
		"[2001:DB8:0::1]:443":                     "[2001:db8::1]:443",
		"*.example.co.uk:443":                     "*.example.co.uk:443",
		"t.co:443":                                "t.co:443",
		strings.Repeat("a.", 126) + "bc:80":       "", // 254 bytes
		strings.Repeat("a.", 126) + "b:80":        strings.Repeat("a.", 126) + "b:80",
		"*." + strings.Repeat("a.", 125) + "b:80": "*." + strings.Repeat("a.", 125) + "b:80",
		"*." + strings.Repeat("a.", 126) + "b:80": "",

		"":                        "",
		":443":                    "",
		"api.example.org":         "",
		"api.example.org:":        "",
		"api.example.org:0":       "",
		"api.example.org:65536":   "",
		"api.example.org:0443":    "",
		"api.example.org:+443":    "",
		"api.example.org:-1":      "",
		"api.example.org:443 ":    "",
		" api.example.org:443":    "",
		"api.example.org:443:443": "",
		"api.example.org:https":   "",
		"api.example.org.:443":    "",
		"api..example.org:443":    "",
		".example.org:443":        "",
		"-a.example.org:443":      "",
		"a-.example.org:443":      "",
		"a_b.example.org:443":     "",
		"a\xc3.example.org:443":   "", "a b.example.org:443": "",
		"a%2eb.example.org:443":                      "",
		"api.example.org\x00:443":                    "",
		"user@api.example.org:443":                   "",
		"http://api.example.org:443":                 "",
		"api.example.org/x:443":                      "",
		strings.Repeat("a", 64) + ".example.org:443": "",
		strings.Repeat("a", 63) + ".example.org:443": strings.Repeat("a", 63) + ".example.org:443",
		"localhost:443":                              "",
		"org:443":                                    "",
		"*:443":                                      "",
		"*.org:443":                                  "",
		"*.co.uk:443":                                "",
		"*.com.au:443":                               "",
		"*.*.example.org:443":                        "",
		"api.*.org:443":                              "",
		"*api.example.org:443":                       "",
		"*.192.0.2.7:443":                            "",
		"*.[2001:db8::1]:443":                        "",
		"127.1:443":                                  "",
		"0x7f000001:443":                             "",
		"0x7f.1:443":                                 "",
		"2130706433:443":                             "",
		"017700000001:443":                           "",
		"0177.0.0.1:443":                             "",
		"192.0.2.07:443":                             "",
		"192.0.2.0x7:443":                            "",
		"a.0x:443":                                   "",
		"a.1:443":                                    "",
		"１２７.1:443":                                  "",
		"127。0。0。1:443":                              "127.0.0.1:443", // an address after all, and judged as one
		"192.0.2.7":                                  "",
		"2001:db8::1:443":                            "",
		"[2001:db8::1]":                              "",
		"[2001:db8::1]443":                           "",
		"[2001:db8::1%eth0]:443":                     "",
		"[::ffff:192.0.2.7]:443":                     "",
		"[192.0.2.7]:443":                            "",
		"[api.example.org]:443":                      "",
		"[]:443":                                     "",
		"xn--\u00fc.example:443":                     "",
		"xn--a.example.org:443":                      "",
		"a\u202eb.example.org:443":                   "",
		"a\u00adb.example.org:443":                   "ab.example.org:443", // a soft hyphen is dropped by UTS 46
	} {
		r, err := ParseRule(s)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: got %+v, want an error", s, r)
		case want != "" && (err != nil || r.String() != want || r.Private):
			t.Errorf("%q: got %v, %v; want %q", s, r, err, want)
		}
	}
}

func TestRuleMatches(t *testing.T) {
	for _, tt := range []struct {
		rule, target string
		want         bool
	}{
		{"api.example.org:443", "api.example.org:443", true},
		{"api.example.org:443", "API.example.ORG:443", true},
		{"api.example.org:443", "api.example.org:80", false},
		{"api.example.org:443", "xapi.example.org:443", false},
		{"api.example.org:443", "api.example.org.evil.example:443", false},
		{"*.example.org:443", "a.example.org:443", true},
		{"*.example.org:443", "a.b.example.org:443", true},
		{"*.example.org:443", "example.org:443", false},
		{"*.example.org:443", "evilexample.org:443", false},
		{"*.example.org:443", "a.example.org:80", false},
		{"bücher.example:443", "xn--bcher-kva.example:443", true},
		{"bücher.example:443", "XN--BCHER-KVA.example:443", true},
		{"192.0.2.7:443", "192.0.2.7:443", true},
		{"192.0.2.7:443", "192.0.2.70:443", false},
		{"[2001:db8::1]:443", "[2001:DB8:0:0::1]:443", true},
		{"[2001:db8::1]:443", "[2001:db8::2]:443", false},
	} {
		r, err := ParseRule(tt.rule)
		if err != nil {
			t.Fatal(err)
		}
		to, err := parseTarget(tt.target, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.matches(to); got != tt.want {
			t.Errorf("%s matches %s: got %v", tt.rule, tt.target, got)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"api.example.org:443", "*.example.org:443", "192.0.2.7:443", "[2001:db8::1]:443", "bücher.example:1", "127.1:443", "１２７.1:443", "xn--a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q gives %+v, whose text gives %+v, %v", s, r, again, err)
		}
		host := strings.TrimPrefix(r.Host, "*.")
		if r.Port == 0 || len(r.Host) > maxName || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.:") != "" || strings.HasSuffix(host, ".") {
			t.Fatalf("%q gives %+v", s, r)
		}
		if to := (target{"x." + host, r.Port}); strings.HasPrefix(r.Host, "*.") && (r.matches(target{host, r.Port}) || !r.matches(to)) {
			t.Fatalf("%q does not match exactly what is below", r)
		}
	})
}
