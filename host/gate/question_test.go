package gate

import (
	"testing"

	"cordon/host/tool"
)

func TestTargetIsWhatTheToolActsOn(t *testing.T) {
	for name, tt := range map[string]struct{ schema, args, want string }{
		"a declared path":                {`{"properties":{"path":{},"content":{}}}`, `{"path":"/case/a.txt","content":"x"}`, "/case/a.txt"},
		"the more telling of two":        {`{"properties":{"path":{},"host":{}}}`, `{"path":"/a","host":"WS-1"}`, "WS-1"},
		"an argument the tool knows not": {`{"properties":{"path":{}}}`, `{"host":"ok","path":"/case/a.txt"}`, "/case/a.txt"},
		"nothing telling":                {`{"properties":{"n":{}}}`, `{"n":1}`, "isolate"},
		"what a keyboard cannot type":    {`{"properties":{"host":{}}}`, "{\"host\":\"a\\u202eb\"}", "isolate"},
		"what nobody would type":         {`{"properties":{"host":{}}}`, `{"host":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`, "isolate"},
		"a schema that declares nothing": {`{}`, `{"host":"WS-1"}`, "isolate"},
	} {
		c := tool.Call{Tool: tool.Tool{ID: tool.ID{Server: "edr", Name: "isolate"}, InputSchema: []byte(tt.schema)}, Args: []byte(tt.args)}
		if got := Target(c); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
