package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestForbidden has every range with its first and last address, and the neighbours outside that are let through.
func TestForbidden(t *testing.T) {
	const never, private, always = "never", "private", "always"
	for _, tt := range []struct {
		want  string
		addrs string
	}{
		{always, "1.1.1.1 8.8.8.8 93.184.216.34 9.255.255.255 11.0.0.0 126.255.255.255 128.0.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0"},
		{always, "100.63.255.255 100.128.0.0 169.253.255.255 169.255.0.0 191.255.255.255 192.0.1.0 192.0.3.0 198.17.255.255 198.20.0.0 198.51.99.255"},
		{always, "198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 168.63.129.15 168.63.129.17 192.88.98.255 192.88.100.0"},
		{always, "2606:4700::1111 2a00:1450:4001::1 2000::1 3ffe:ffff::1 2001:200::1 2001:db7::1 2001:db9::1"},
		{always, "::ffff:8.8.8.8 ::8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:0:4136:e378:8000:63bf:f7f7:f7f7"}, // 8.8.8.8 inside, Teredo's inverted

		{private, "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 100.64.0.0 100.127.255.255 100.100.100.199"},
		{private, "192.0.2.0 192.0.2.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 198.18.0.0 198.19.255.255"},
		{private, "fc00:: fd00::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fd00:ec1::254 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::192.168.1.1 2002:a00:1::1 2001:0:4136:e378:8000:63bf:f5ff:fffe"},

		{never, "127.0.0.0 127.0.0.1 127.255.255.255 0.0.0.0 0.0.0.1 0.255.255.255 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255"},
		{never, "100.100.100.200 168.63.129.16 fd00:ec2::254 fd00:ec2::23 fd20:ce::254"},
		{never, "192.0.0.0 192.0.0.192 192.0.0.255 192.88.99.1"},
		{never, "224.0.0.0 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255"},
		{never, ":: ::1 fe80:: fe80::1 febf:ffff::1 fec0::1 ff00:: ff02::1 ff0e::1 100:: 100::1 2001:db8:: 2001:db8:ffff::1 3fff:: 3fff:fff::1 5f00::1 4000::1 8000::1"},
		{never, "2001:2::1 2001:10::1 2001:20::1 2001:1::1 2001:1ff::1 64:ff9b:1::a00:1 64:ff9b:1::808:808 64:ff9c::1 1::1"},
		{never, "::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::127.0.0.1 ::169.254.169.254 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b::"},
		{never, "2002:7f00:1::1 2002:a9fe:a9fe::1 2002:e000:1:: 2001:0:4136:e378:8000:63bf:80ff:fffe 2001:0:4136:e378:8000:63bf:5601:5601 2001::"},
		{never, "fe80::1%eth0 2606:4700::1111%eth0"},
	} {
		for s := range strings.FieldsSeq(tt.addrs) {
			a := netip.MustParseAddr(s)
			for _, with := range []bool{false, true} {
				got := forbidden(a, with, nil)
				if want := tt.want == always || tt.want == private && with; (got == "") != want {
					t.Errorf("%s with private=%v: got %q, want allowed=%v", s, with, got, want)
				}
			}
		}
	}
	if got := forbidden(netip.Addr{}, true, nil); got == "" {
		t.Error("the zero address is allowed")
	}
}

func TestForbiddenOwn(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("2606:4700::1111")}
	for s, want := range map[string]bool{ // allowed, even with Private
		"93.184.216.34": false, "::ffff:93.184.216.34": false, "64:ff9b::93.184.216.34": false, "2002:5db8:d822::1": false, "192.168.1.5": false, "2606:4700::1111": false,
		"93.184.216.35": true, "192.168.1.6": true, "2606:4700::1112": true, "64:ff9b::93.184.216.35": true,
	} {
		if got := forbidden(netip.MustParseAddr(s), true, own); (got == "") != want {
			t.Errorf("%s: got %q, want allowed=%v", s, got, want)
		}
	}
	got, err := ownAddresses()
	if err != nil || !slices.Contains(got, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("got %v, %v; want 127.0.0.1 among them", got, err)
	}
}
