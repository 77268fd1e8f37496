package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	served := 0
	h := Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for method, want := range map[string]int{
		"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "PATCH": 405, "TRACE": 405,
	} {
		served = 0
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "wails://wails/index.html", nil))
		if w.Code != want || (served == 1) != (want == 200) {
			t.Errorf("%s: code %d, served %d times; want %d", method, w.Code, served, want)
		}
		for name, part := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		} {
			if got := w.Header().Get(name); !strings.Contains(got, part) {
				t.Errorf("%s: %s = %q, want %q in it", method, name, got, part)
			}
		}
	}
	for _, never := range []string{"unsafe-eval", "http:", "https:", "*", "script-src 'self' 'unsafe-inline'", "blob:"} {
		if strings.Contains(csp, never) {
			t.Errorf("the policy allows %s", never)
		}
	}
}
