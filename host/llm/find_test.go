package llm

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cordon/host/config"
	"cordon/host/llm/scripted"
)

func placeOf(t *testing.T, name, address string) Place {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return Place{name, uint16(port)}
}

func TestFind(t *testing.T) {
	t.Parallel()
	good := scripted.New()
	defer good.Close()
	elsewhere := 0
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer trap.Close()
	var places []Place
	for name, answer := range map[string]http.HandlerFunc{
		"other": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"moved": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, trap.URL, http.StatusFound) },
		"lying": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"data":[{"id":"a\u001b[31m"},{"id":""},{"id":"fine"}]}`))
		},
		"locked": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"long": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"data":[{"id":"` + strings.Repeat("x", maxListing) + `"}]}`))
		},
	} {
		h := httptest.NewServer(answer)
		defer h.Close()
		places = append(places, placeOf(t, name, h.URL))
	}
	closed := httptest.NewServer(nil)
	places = append(places, placeOf(t, "closed", closed.URL), placeOf(t, "good", good.URL))
	closed.Close()
	got := Find(t.Context(), places)
	var names []string
	for _, f := range got {
		names = append(names, f.Place+" "+f.Model)
	}
	if want := []string{"good scripted-1", "good scripted-2", "lying fine"}; !slices.Equal(names, want) || elsewhere != 0 {
		t.Errorf("found %q, and %d requests went elsewhere; want %q", names, elsewhere, want)
	}
}

func TestCost(t *testing.T) {
	t.Parallel()
	u := Usage{Input: 1_000_000, Cached: 400_000, Output: 200_000}
	if got, known := Cost(u, config.Price{Input: 3, Cached: 0.3, Output: 15}); !known || got < 4.919 || got > 4.921 {
		t.Errorf("%v, %v", got, known)
	}
	if _, known := Cost(u, config.Price{}); known {
		t.Error("no price is known")
	}
}
