package server

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Nothing that a server answers or sends ends the process, hangs a stop, or takes other calls with it. What go-sdk v1.8.0 does with each
// alone: a panic in a goroutine of its own, a wait without end.
func TestLibraryIsNotReached(t *testing.T) {
	t.Parallel()
	r := newRig(t, "modern")
	r.start()
	if got, err := r.call("needs_nothing", "{}"); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("%q, %v", got, err)
	}
	for _, result := range []string{`{}`, `{"content":null}`, `{"content":[null]}`, `{"content":{}}`, `{"content":[{}]}`, `{"content":[{"type":"text"}]}`, `{"content":[{"type":"resource"}]}`,
		`{"content":[{"type":"resource","resource":null}]}`, `{"content":[{"type":"image","data":"%%"}]}`, `{"content":[{"type":"tool_use"}]}`, `{"content":[],"structuredContent":null}`, `{"content":[],"_meta":null}`,
		`{"content":[],"_meta":[]}`, `{"content":[],"isError":"yes"}`, `{"content":[{"type":"text","text":"x","annotations":null}]}`, `{"content":[{"type":"text","text":"x","annotations":{"audience":[null]}}]}`,
		`{"content":[{"type":"resource_link","icons":[null]}]}`, `{"resultType":"input_required"}`, `{"resultType":"input_required","inputRequests":{}}`, `{"content":[{"type":["text"]}]}`,
		`{"content":[],"structuredContent":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}`} {
		_, _ = r.call("odd_content", fmt.Sprintf(`{"text":%q}`, result)) // an error or a result, whatever
		if v := r.view(); v.State != Running || v.Restarts != 0 {
			t.Fatalf("after %s it is %s", result, v.State)
		}
	}
	r.works()

	asks := newRig(t, "asks-for-completion")
	asks.start()
	asks.works()
	began := time.Now()
	if err := asks.Stop(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
}
