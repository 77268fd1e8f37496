package host

import (
	"slices"
	"testing"

	"cordon/host/secret"
)

// TestTokensOfADocument: tokens are known wherever they turn up; what an authorization server calls a token and stands in every log is not.
func TestTokensOfADocument(t *testing.T) {
	doc := `{"version":1,"issuer":"https://as.example.org","token":{"access":"eyJhbGciOi.JIUzI1NiJ9-long","refresh":"0123456789abcdef0123","scopes":["read:everything:all"],"type":"client_secret_basic","obtained":"2026-11-27T10:00:00Z"},
		"registration":{"client":{"id":"a-client-id-that-is-long","secret":"s3cr3t-of-the-client"}},"key":"AAAABBBBccccDDDD0123=="}`
	want := []string{"eyJhbGciOi.JIUzI1NiJ9-long", "0123456789abcdef0123", "s3cr3t-of-the-client", "AAAABBBBccccDDDD0123=="}
	if got := tokens([]byte(doc)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, chosen := range []string{"c2.evil-domain.example", "TrustedInstaller", "application/json", `C:\\\\Windows\\\\System32\\\\cmd.exe`, "/usr/bin/python3.11", "192.168.100.200:8080", "2026-11-27T10:00:00Z", "short"} {
		if got := tokens([]byte(`{"token":{"access":"` + chosen + `"}}`)); len(got) > 0 {
			t.Errorf("%q is taken for a secret", got)
		}
	}
}

// TestIndexIsNoSecret: which issuers a server has is nothing to look for.
func TestIndexIsNoSecret(t *testing.T) {
	s := secret.New(secret.Options{})
	s.UseSession()
	l := &logins{s: s}
	if err := l.Save(t.Context(), "one", "https://as.example.org", []byte(`{"token":{"access":"eyJhbGciOi.JIUzI1NiJ9-long"}}`)); err != nil {
		t.Fatal(err)
	}
	var known []string
	s.Each(func(_, _ string, value []byte) { known = append(known, string(value)) })
	if !slices.Equal(known, []string{"eyJhbGciOi.JIUzI1NiJ9-long"}) {
		t.Errorf("known are %q", known)
	}
	if err := l.forget(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Load(t.Context(), "one", "https://as.example.org"); err == nil {
		t.Error("it is still kept")
	}
}
