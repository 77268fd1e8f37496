package consent

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cordon/host/tool"
)

func call(args string) tool.Call {
	c := tool.Call{
		ID: "0123456789abcdef", Kind: tool.CallTool, Args: []byte(args),
		Tool: tool.Tool{ID: tool.ID{Server: "edr", Name: "isolate"}, Definition: []byte(`{"name":"isolate"}`), Effect: tool.High, EffectBy: "Cordon"},
		By:   tool.Asker{Kind: "window", Name: "Run a tool", Conversation: "c1"},
	}
	c.Digest = tool.DigestOf(c)
	return c
}

func prompt(level Level) Prompt {
	return New(call(`{"host":"ws-17"}`), level, "ws-17", "ask.high", "Isolates a computer.", "v1")
}

func yes(p Prompt) Answer {
	return Answer{ID: p.ID, Digest: p.Call.Digest.String(), Allow: true, Typed: p.Target, By: "window"}
}

func TestReceipt(t *testing.T) {
	p := prompt(Type)
	other := call(`{"host":"ws-18"}`)
	redefined := p.Call
	redefined.Tool.Definition = []byte(`{"name":"isolate","x":1}`)
	tampered := p.Call
	tampered.Args = []byte(`{"host":"ws-99"}`) // Digest still says the old one

	for name, c := range map[string]struct {
		call   tool.Call
		policy string
		ok     bool
	}{
		"the call that was allowed": {p.Call, "v1", true},
		"another call":              {other, "v1", false},
		"changed definition":        {redefined, "v1", false},
		"changed bytes, old digest": {tampered, "v1", false},
		"another policy":            {p.Call, "v2", false},
	} {
		r, err := Issue(p, yes(p), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Redeem(c.call, c.policy); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: Redeem = %v, want ok=%v", name, err, c.ok)
		}
		if err := r.Redeem(p.Call, "v1"); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: second Redeem = %v, want ErrDenied", name, err)
		}
	}
	var none *Receipt
	if err := none.Redeem(p.Call, "v1"); !errors.Is(err, ErrDenied) {
		t.Errorf("nil receipt: %v", err)
	}
	if err := new(Receipt).Redeem(tool.Call{}, ""); !errors.Is(err, ErrDenied) {
		t.Errorf("empty receipt: %v", err)
	}
}

func TestIssue(t *testing.T) {
	p := prompt(Type)
	for name, c := range map[string]struct {
		change func(*Answer)
		want   error
	}{
		"exact":        {func(*Answer) {}, nil},
		"denied":       {func(a *Answer) { a.Allow = false }, ErrDenied},
		"other nonce":  {func(a *Answer) { a.ID = prompt(Type).ID }, ErrStale},
		"other digest": {func(a *Answer) { a.Digest = tool.Sum(nil).String() }, ErrMismatch},
		"no digest":    {func(a *Answer) { a.Digest = "" }, ErrMismatch},
		"not typed":    {func(a *Answer) { a.Typed = "" }, ErrDenied},
	} {
		a := yes(p)
		c.change(&a)
		if _, err := Issue(p, a, time.Now()); !errors.Is(err, c.want) {
			t.Errorf("%s: Issue = %v, want %v", name, err, c.want)
		}
	}
	second := prompt(Second)
	if _, err := Issue(second, yes(second), time.Now()); !errors.Is(err, ErrDenied) {
		t.Errorf("level 3: Issue = %v, want ErrDenied", err)
	}
	r, err := Issue(p, yes(p), time.Unix(7, 0))
	if err != nil || r.Nonce() != p.ID || r.Level() != Type || r.By() != "window" || !r.At().Equal(time.Unix(7, 0)) {
		t.Errorf("receipt says %+v, %v", r, err)
	}
}

func TestReceiptIsSpentOnce(t *testing.T) {
	p := prompt(Click)
	r, err := Issue(p, yes(p), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var spent atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r.Redeem(p.Call, "v1") == nil {
				spent.Add(1)
			}
		})
	}
	wg.Wait()
	if spent.Load() != 1 {
		t.Errorf("spent %d times, want once", spent.Load())
	}
}

func TestNonces(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := prompt(Click).ID
		if len(id) != 32 || seen[id] {
			t.Fatalf("nonce %q is short or not fresh", id)
		}
		seen[id] = true
	}
}
