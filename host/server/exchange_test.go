package server

import (
	"testing"

	"cordon/host/tool"

	"github.com/go-json-experiment/json"
)

// FuzzResult: whatever a server answers a call with is read, or refused, without harm.
func FuzzResult(f *testing.F) {
	for _, text := range []string{`{"content":[{"type":"text","text":"a"}],"structuredContent":{"a":1},"isError":false}`, `{"contents":[{"uri":"a:b","blob":"AQ=="}]}`, `{"messages":[{"role":"user","content":{"type":"image","data":"AQ==","mimeType":"image/png"}}]}`,
		`{"resultType":"task","taskId":"t","status":"working","pollIntervalMs":1e308}`, `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{}}},"requestState":"s"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r answered
		if json.Unmarshal([]byte(text), &r) == nil {
			for _, kind := range []tool.Kind{tool.CallTool, tool.ReadResource, tool.GetPrompt} {
				_, _ = r.result(tool.Call{Kind: kind})
			}
		}
		var k task
		if json.Unmarshal([]byte(text), &k) == nil {
			if d := k.pause(); d < minPoll || d > maxPoll {
				t.Errorf("a pause of %v", d)
			}
		}
		if resource, ok := resource([]byte(text)); ok && resource.Template != "" {
			if p := pattern(resource.Template); p != nil {
				p.MatchString(text)
			}
		}
	})
}
