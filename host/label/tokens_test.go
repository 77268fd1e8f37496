package label

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// plainTokens is tokens as its comment says it, one separator after the other.
func plainTokens(text string) []string {
	var all []string
	put := func(s string) {
		if s = strings.Trim(s, ".:!?*"); len(s) >= minToken && len(s) <= maxToken {
			all = append(all, s)
		}
	}
	split := func(s, seps string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(seps, r) })
	}
	for _, run := range split(text, " \t\r\n\v\f\x00\"'`,;()[]{}<>|=") {
		put(run)
		if strings.ContainsAny(run, `/\:@&?#%`) {
			for _, part := range split(run, `/\:@&?#%`) {
				put(part)
			}
		}
	}
	return all
}

func TestTokensAreWhatTheirCommentSays(t *testing.T) {
	const alphabet = "aZ9éß. \t\x00\"'`,;()[]{}<>|=/\\:@&?#%!*-_+~\xff"
	letters := []rune(alphabet)
	texts := []string{"", "abcd", "https://a.example:8080/x?q=1&r=%20#top user@host.example C:\\Users\\alice", strings.Repeat("x", 70) + " wxyz"}
	for range 20_000 {
		var b strings.Builder
		for range rand.IntN(40) {
			if rand.IntN(2) == 0 {
				b.WriteByte("abcd"[rand.IntN(4)])
			} else {
				b.WriteRune(letters[rand.IntN(len(letters))])
			}
		}
		texts = append(texts, b.String())
	}
	for _, text := range texts {
		var got []string
		tokens([]byte(text), func(from, to int) { got = append(got, text[from:to]) })
		if want := plainTokens(text); !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
	}
}
