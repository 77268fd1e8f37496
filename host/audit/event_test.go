package audit

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"cordon/host/secret"
	"cordon/host/tool"
)

func TestEventsRoundTrip(t *testing.T) {
	want := event(7)
	want.Time = time.Date(2026, 11, 20, 10, 11, 12, 123456789, time.UTC)
	want.Trace = "0af7651916cd43dd8448eb211c80319c"
	want.ArgsDigest, want.ResultDigest, want.ResultBytes = "aa", "bb", 12
	want.Findings = []tool.Finding{{Engine: "hidden", Rule: "hidden.bidi", Severity: tool.Block, Where: "/x", Text: "A bidi control."}}
	want.Facts = map[string]string{"pid": "12", "tier": "strong"}
	l := open(t, filepath.Join(t.TempDir(), "a"))
	seq := mustAppend(t, l, want)
	s, err := l.Get(seq)
	if err != nil || !s.Matches || !reflect.DeepEqual(s.Event, want) {
		t.Errorf("Get = %+v, %v\nwant %+v", s, err, want)
	}
	if rep := verify(t, []byte(s.Record+"\n")); !rep.Intact || rep.Head != s.Hash {
		t.Errorf("the record returned is not the record written: %+v", rep)
	}
}

// required are the attributes that OCSF 1.8 demands of each class, beyond those of every event.
var required = map[int][]string{
	6003: {"actor", "api", "src_endpoint"}, 3002: {"user"}, 3003: {"user", "privileges"}, 1007: {"actor", "device", "process"},
	6002: {"app"}, 3004: {"entity"}, 2004: {"finding_info"}, 4001: {"dst_endpoint"}, 0: {},
}

func TestRecordsAreOCSF(t *testing.T) {
	for kind, class := range map[Kind]int{
		CallIntent: 6003, CallOutcome: 6003, ConsentAnswer: 3003, ServerStart: 1007, ServerStop: 1007, ServerRefused: 1007,
		ServerFound: 6002, ServerAdd: 6002, ServerInstall: 6002, ServerGrant: 6002, ServerAsked: 6002, ServerSignIn: 3002, ServerSignOut: 3002, ServerRemove: 6002, PinApprove: 6002, PinDrift: 2004, FindingMade: 2004,
		SecretSet: 3004, SecretRemove: 3004, SecretUse: 3004, LogOpen: 6002, LogRecovered: 6002, ModelSet: 6002, ModelRemove: 6002, ModelAsk: 6003, SandboxReport: 1007, NetConnection: 4001, "something.new": 0,
	} {
		for _, decision := range []Decision{"", Allowed, YouDenied, Failed, Intent} {
			e := event(1)
			e.Kind, e.Decision, e.Time, e.Trace = kind, decision, time.UnixMilli(1_700_000_000_123), "0af7651916cd43dd8448eb211c80319c"
			b, err := encode(e, maxEvent)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			for _, k := range append([]string{"class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "status_id", "time", "metadata", "message"}, required[class]...) {
				if _, ok := m[k]; !ok {
					t.Errorf("%s: %s is missing", kind, k)
				}
			}
			num := func(k string) int { n, _ := m[k].(float64); return int(n) }
			if num("class_uid") != class || num("type_uid") != class*100+num("activity_id") || num("category_uid") != class/1000 || num("time") != 1_700_000_000_123 {
				t.Errorf("%s: class %d, category %d, activity %d, type %d, time %d", kind, num("class_uid"), num("category_uid"), num("activity_id"), num("type_uid"), num("time"))
			}
			if s := num("severity_id"); s < 1 || s > 6 {
				t.Errorf("%s: severity %d", kind, s)
			}
			if decision == YouDenied && (num("action_id") != 2 || num("severity_id") < 3) {
				t.Errorf("%s denied: action %d, severity %d", kind, num("action_id"), num("severity_id"))
			}
			meta, _ := m["metadata"].(map[string]any)
			if meta["version"] != "1.8.0" || meta["product"] == nil || meta["correlation_uid"] != e.CallID {
				t.Errorf("%s: metadata %v", kind, meta)
			}
		}
	}
}

func TestOversizeFieldsAreCutWithANote(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "a"))
	big := strings.Repeat("x", 1<<20)
	worst := Event{Kind: CallOutcome, Facts: map[string]string{}}
	for i := range 200 {
		nasty := strings.Repeat("\x00\u202e\xff", 4000) // escapes to several times its length
		worst.Stages = append(worst.Stages, Stage{nasty, nasty, nasty, 1})
		worst.Findings = append(worst.Findings, tool.Finding{Engine: nasty, Rule: nasty, Where: nasty, Text: nasty})
		worst.Facts[fmt.Sprint(i, nasty)] = nasty
	}
	worst.Args, worst.Reason, worst.Asker, worst.Rule, worst.Tool, worst.Server = big, big, big, big, big, big
	worst.CallID, worst.Trace, worst.Effect, worst.Decision = big, big, big, Decision(big)

	var long uint64
	for name, e := range map[string]Event{"long arguments": {Kind: CallIntent, Args: big, Reason: "short"}, "everything": worst} {
		before := len(e.Facts)
		seq, err := l.Append(e)
		if name == "long arguments" {
			long = seq
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s, err := l.Get(seq)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Record) >= MaxRecord || len(s.Event.Cut) == 0 || !strings.Contains(s.Event.Args, "[cut: 1048576 bytes, SHA-256 ") {
			t.Errorf("%s: record of %d bytes, cut %v, args end in %q", name, len(s.Record), s.Event.Cut, s.Event.Args[max(0, len(s.Event.Args)-100):])
		}
		if len(e.Facts) != before {
			t.Errorf("%s: the caller's event was changed", name)
		}
	}
	s, _ := l.Get(long)
	if s.Event.Reason != "short" || !reflect.DeepEqual(s.Event.Cut, []string{"args"}) {
		t.Errorf("what fits must stay: %q, cut %v", s.Event.Reason, s.Event.Cut)
	}
	if rep, err := l.Verify(t.Context()); err != nil || !rep.Intact {
		t.Errorf("Verify = %+v, %v", rep, err)
	}
	// The good twin: a record that fits is not touched.
	fits := Event{Kind: CallIntent, Args: strings.Repeat("y", 60<<10)}
	if s, err := l.Get(mustAppend(t, l, fits)); err != nil || s.Event.Args != fits.Args || s.Event.Cut != nil {
		t.Errorf("a record that fits was cut: %v %v", s.Event.Cut, err)
	}
}

func TestNoFieldTakesASecret(t *testing.T) {
	var walk func(reflect.Type, string)
	walk = func(ty reflect.Type, at string) {
		switch {
		case ty == reflect.TypeFor[secret.Value](), ty.Kind() == reflect.Interface:
			t.Errorf("Event%s could hold a secret", at)
		case ty == reflect.TypeFor[time.Time]():
		case ty.Kind() == reflect.Struct:
			for i := range ty.NumField() {
				walk(ty.Field(i).Type, at+"."+ty.Field(i).Name)
			}
		case ty.Kind() == reflect.Slice, ty.Kind() == reflect.Map, ty.Kind() == reflect.Pointer:
			walk(ty.Elem(), at)
		}
	}
	walk(reflect.TypeFor[Event](), "")
}

// TestCallsCountOnce: a call that asks leaves two records of the decision, and other events are denied too.
func TestCallsCountOnce(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "a"))
	for i, d := range []Decision{YouAllowed, YouDenied, TimedOut, Denied, Failed, Allowed} {
		id := fmt.Sprint("call", i)
		if d.asked() {
			mustAppend(t, l, Event{Kind: ConsentAnswer, CallID: id, Decision: d})
		}
		mustAppend(t, l, Event{Kind: CallOutcome, CallID: id, Decision: d})
	}
	for _, kind := range []Kind{PinDrift, ServerRefused, NetConnection} {
		mustAppend(t, l, Event{Kind: kind, Decision: Denied})
	}
	p, err := l.Query(Query{})
	if err != nil || p.Matched != 12 || p.Asked != 3 || p.Denied != 3 {
		t.Errorf("matched %d, asked %d, denied %d, %v; want 12, 3, 3", p.Matched, p.Asked, p.Denied, err)
	}
}

func TestQuery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l := open(t, path)
	for i := range 30 {
		e := event(i)
		switch i % 3 {
		case 1:
			e.Server, e.Decision = "edr", YouDenied
		case 2:
			e.Server, e.Decision = "edr", Denied
		}
		mustAppend(t, l, e)
	}
	check := func(t *testing.T, l *Log) {
		t.Helper()
		for name, c := range map[string]struct {
			q              Query
			matched, given int
			first          uint64
		}{
			"everything":      {Query{}, 30, 30, 30},
			"limit":           {Query{Limit: 5}, 30, 5, 30},
			"next page":       {Query{Limit: 5, Before: 26}, 30, 5, 25},
			"server":          {Query{Server: "edr"}, 20, 20, 30},
			"decision":        {Query{Decision: YouDenied}, 10, 10, 29},
			"words":           {Query{Text: "EDR  you"}, 10, 10, 29},
			"in arguments":    {Query{Text: "/srv/17"}, 1, 1, 18},
			"nothing":         {Query{Text: "absent"}, 0, 0, 0},
			"server and text": {Query{Server: "files", Text: "call0003"}, 1, 1, 4},
		} {
			p, err := l.Query(c.q)
			var first uint64
			if len(p.Entries) > 0 {
				first = p.Entries[0].Seq
			}
			if err != nil || p.Matched != c.matched || len(p.Entries) != c.given || first != c.first || p.Total != 30 {
				t.Errorf("%s: matched %d, gave %d from %d, total %d, %v; want %d, %d from %d", name, p.Matched, len(p.Entries), first, p.Total, err, c.matched, c.given, c.first)
			}
		}
		p, _ := l.Query(Query{})
		if p.Asked != 10 || p.Denied != 20 {
			t.Errorf("asked %d, denied %d; want 10 and 20", p.Asked, p.Denied)
		}
		byCall, err := l.ByCall("call0005")
		if err != nil || len(byCall) != 1 || byCall[0].Seq != 6 {
			t.Errorf("ByCall = %v, %v", byCall, err)
		}
	}
	t.Run("while writing", func(t *testing.T) { check(t, l) })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("after reopening", func(t *testing.T) { check(t, open(t, path)) })
}

func TestGetFindsAnyEvent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l := open(t, path)
	const n = 3000
	for i := range n {
		e := event(i)
		e.Reason = strings.Repeat("r", i%700) // uneven lengths
		mustAppend(t, l, e)
	}
	for seq := uint64(1); seq <= n; seq += 37 {
		s, err := l.Get(seq)
		if err != nil || s.Seq != seq || !s.Matches || s.Event.CallID != fmt.Sprintf("call%04d", seq-1) {
			t.Fatalf("Get(%d) = %d %q matches=%v, %v", seq, s.Seq, s.Event.CallID, s.Matches, err)
		}
	}
	for _, seq := range []uint64{0, n + 1} {
		if _, err := l.Get(seq); !errors.Is(err, ErrNoEvent) {
			t.Errorf("Get(%d) = %v, want ErrNoEvent", seq, err)
		}
	}
}

func TestIndexKeepsTheLastEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l := open(t, path)
	const n = IndexSize + IndexSize/2
	small := Event{Kind: SecretUse}
	for range n {
		mustAppend(t, l, small)
	}
	check := func(name string, l *Log) {
		t.Helper()
		p, err := l.Query(Query{Limit: 1})
		if err != nil || p.Matched != IndexSize || p.Entries[0].Seq != p.Total {
			t.Errorf("%s: matched %d of %d, newest %v, %v", name, p.Matched, p.Total, p.Entries, err)
		}
	}
	check("written here", l)
	_ = l.Close()
	again := open(t, path)
	mustAppend(t, again, small) // before the index is loaded
	check("loaded", again)
	seqs := map[uint64]bool{}
	all, _ := again.Since(0, n)
	for _, e := range all {
		seqs[e.Seq] = true
	}
	if len(seqs) != IndexSize || !seqs[n+1] || !seqs[n+2-IndexSize] {
		t.Errorf("index holds %d numbers, from %v", len(seqs), slices.Min(slices.Collect(maps.Keys(seqs))))
	}
}
