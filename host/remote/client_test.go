package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cordon/sandbox/egress"
)

// TestWhereAServerCannotLead: a server elsewhere names no address of this computer, of a private network or of a cloud's metadata, however it is
// written; one on this computer may name this computer.
func TestWhereAServerCannotLead(t *testing.T) {
	local := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "inside") }))
	defer local.Close()
	at, _ := url.Parse(local.URL)
	get := func(endpoint, target string, private ...egress.Rule) (string, error) {
		t.Helper()
		e, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewClient(e, private)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return "", err
		}
		resp, err := c.Do(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		return resp.Status, nil
	}
	const outside = "https://mcp.example.org/mcp"
	for _, target := range []string{local.URL, "http://localhost:" + at.Port(), "http://LOCALHOST:" + at.Port(), "http://localhost.:" + at.Port(), "http://[::1]:" + at.Port(), "http://[::ffff:127.0.0.1]:" + at.Port(),
		"http://127.1:" + at.Port(), "http://2130706433:" + at.Port(), "http://0x7f.1:" + at.Port(), "http://0.0.0.0:" + at.Port(), "http://[::]:" + at.Port(),
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://192.168.1.1/", "https://172.16.0.1/", "http://[fd00::1]/", "http://[fe80::1]/", "http://100.100.100.200/"} {
		if status, err := get(outside, target); err == nil {
			t.Errorf("a server at %s leads to %s: %s", outside, target, status)
		} else if strings.Contains(err.Error(), "deadline") {
			t.Errorf("%s was tried: %v", target, err)
		}
	}
	for _, target := range []string{local.URL, "http://localhost:" + at.Port()} {
		if status, err := get(local.URL, target); err != nil || status != "200 OK" {
			t.Errorf("a server of this computer and %s: %s, %v", target, status, err)
		}
	}
	if _, err := get(local.URL, "http://169.254.169.254/"); err == nil {
		t.Error("a server of this computer leads to the metadata service")
	}
	rule, err := egress.ParseRule("127.0.0.1:" + at.Port())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(outside, local.URL, rule); err == nil {
		t.Error("a rule for private networks lets a server lead to this computer")
	}
}

// TestClientKeepsNothing: no redirect is followed, no cookie kept, no compression asked for.
func TestClientKeepsNothing(t *testing.T) {
	var seen []*http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	e, _ := url.Parse(s.URL)
	c, err := NewClient(e, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	for range 2 {
		resp, err := c.Get(s.URL)
		if err != nil || resp.StatusCode != http.StatusTemporaryRedirect {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
	}
	if len(seen) != 2 || len(seen[1].Cookies()) > 0 || seen[1].Header.Get("Accept-Encoding") != "" {
		t.Errorf("%d requests, the last with %v", len(seen), seen[len(seen)-1].Header)
	}
}
