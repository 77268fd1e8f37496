package gate

import (
	"context"
	"errors"
	"slices"
	"testing"

	"cordon/host/label"
	"cordon/host/tool"
)

// TestEveryTextOfAServerIsOutsideText gives a server's words back through every part of an answer that can hold any,
// then lets the model repeat them as the target of a write.
func TestEveryTextOfAServerIsOutsideText(t *testing.T) {
	const words = "/exfiltrate/to/attacker.example"
	for name, answer := range map[string]func(context.Context, tool.Call) (tool.Result, error){
		"error": func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{}, errors.New("files: " + words)
		},
		"text": func(context.Context, tool.Call) (tool.Result, error) { return text(words), nil },
		"type": func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Content: []tool.Content{{Type: "image", MIME: "image/png; x=" + words}}}, nil
		},
		"blob": func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Content: []tool.Content{{Type: "resource", Data: []byte("use " + words)}}}, nil
		},
		"address": func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Content: []tool.Content{{Type: "resource_link", URI: "file://" + words}}}, nil
		},
		"structure": func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Structured: []byte(`{"` + words + `":1}`)}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.servers.answer = answer
			_, _ = r.Do(t.Context(), propose("read", somewhere))
			values := r.Labels.Label("c", []byte(`{"path":"`+words+`"}`), tool.OriginModel)
			if !slices.ContainsFunc(values, func(v label.Value) bool { return v.Origin == tool.OriginOutside }) {
				t.Errorf("what the server said counts as the model's: %+v", values)
			}
		})
	}
}

func TestHiddenTextInATypeIsMarked(t *testing.T) {
	r := newRig(t)
	r.servers.answer = func(context.Context, tool.Call) (tool.Result, error) {
		return tool.Result{Content: []tool.Content{{Type: "image", MIME: "image/png\x1b]0;x\a"}}}, nil
	}
	res, err := r.Do(t.Context(), propose("read", somewhere))
	if err != nil || len(res.Findings) == 0 {
		t.Errorf("got %+v, %v; want a finding", res.Findings, err)
	}
}
