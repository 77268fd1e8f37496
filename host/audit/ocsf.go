package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"cordon/host/tool"
)

// ocsfVersion is the schema that records follow, https://schema.ocsf.io/1.8.0.
const ocsfVersion = "1.8.0"

// class places a kind in OCSF: class, its category and the activity. A type is class*100 + activity.
type class struct {
	uid, category, activity int
	name                    string // of the activity
}

func classOf(e *Event) class {
	switch e.Kind {
	case CallIntent, CallOutcome:
		switch e.Effect {
		case "read", "costly":
			return class{6003, 6, 2, "Read"}
		case "write":
			return class{6003, 6, 3, "Update"}
		case "disclose", "high", "irreversible":
			return class{6003, 6, 99, e.Effect}
		}
		return class{6003, 6, 0, "Unknown"}
	case ConsentAnswer:
		return class{3003, 3, 1, "Assign Privileges"}
	case ServerStart, ServerRefused:
		return class{1007, 1, 1, "Launch"}
	case ServerStop:
		return class{1007, 1, 2, "Terminate"}
	case SandboxReport:
		return class{1007, 1, 99, "Confine"}
	case ModelSet:
		return class{6002, 6, 99, "Set"}
	case ModelRemove:
		return class{6002, 6, 2, "Remove"}
	case ModelAsk:
		return class{6003, 6, 99, "Ask"}
	case ServerAdd, ServerInstall, PinApprove:
		return class{6002, 6, 1, "Install"}
	case ServerGrant:
		return class{6002, 6, 99, "Grant"}
	case ServerAsked:
		return class{6002, 6, 99, "Ask"}
	case ServerSignIn:
		return class{3002, 3, 1, "Logon"}
	case ServerSignOut:
		return class{3002, 3, 2, "Logoff"}
	case ServerRemove:
		return class{6002, 6, 2, "Remove"}
	case LogOpen:
		return class{6002, 6, 3, "Start"}
	case ServerFound:
		return class{6002, 6, 99, "Find"}
	case LogRecovered:
		return class{6002, 6, 99, "Recover"}
	case PinDrift, FindingMade:
		return class{2004, 2, 1, "Create"}
	case NetConnection:
		if e.Decision.refused() {
			return class{4001, 4, 5, "Refuse"}
		}
		return class{4001, 4, 6, "Traffic"}
	case SecretSet:
		return class{3004, 3, 1, "Create"}
	case SecretUse:
		return class{3004, 3, 2, "Read"}
	case SecretRemove:
		return class{3004, 3, 4, "Delete"}
	}
	return class{0, 0, 99, string(e.Kind)}
}

// severity is OCSF's severity_id: 1 informational, 2 low, 3 medium, 4 high.
func severity(e *Event) int {
	s := 1
	switch {
	case e.Kind == PinDrift || e.Kind == LogRecovered:
		s = 4
	case e.Decision.refused() || e.Decision == Marked || e.Kind == ServerRefused || e.Kind == FindingMade:
		s = 3
	case e.Decision == Failed:
		s = 2
	}
	for _, f := range e.Findings {
		switch f.Severity {
		case tool.Info:
		case tool.Warn:
			s = max(s, 3)
		default:
			s = max(s, 4)
		}
	}
	return s
}

// named is the shape of many small OCSF objects.
type named struct {
	Name string `json:"name,omitzero"`
	UID  string `json:"uid,omitzero"`
	Type string `json:"type,omitzero"`
}

type product struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type metadata struct {
	Version     string   `json:"version"`
	Product     product  `json:"product"`
	Profiles    []string `json:"profiles,omitzero"`
	Correlation string   `json:"correlation_uid,omitzero"`
}

type actor struct {
	App string `json:"app_name"`
}

type api struct {
	Operation string `json:"operation"`
	Service   named  `json:"service"`
	Request   named  `json:"request,omitzero"`
}

type device struct {
	TypeID   int    `json:"type_id"`
	Hostname string `json:"hostname"`
}

type endpoint struct {
	Hostname string `json:"hostname,omitzero"`
	IP       string `json:"ip,omitzero"`
	Port     int    `json:"port,omitzero"`
}

type traffic struct {
	Out int64 `json:"bytes_out"`
	In  int64 `json:"bytes_in"`
}

type findingInfo struct {
	UID   string `json:"uid"`
	Title string `json:"title"`
}

// record is an event as OCSF JSON. Cordon's own fields, whole, are in unmapped; the rest is derived from them.
type record struct {
	ClassUID    int          `json:"class_uid"`
	CategoryUID int          `json:"category_uid"`
	ActivityID  int          `json:"activity_id"`
	Activity    string       `json:"activity_name"`
	TypeUID     int          `json:"type_uid"`
	SeverityID  int          `json:"severity_id"`
	StatusID    int          `json:"status_id"` // 1 success (2004: new), 2 failure, 0 not known yet
	ActionID    int          `json:"action_id,omitzero"`
	Disposition int          `json:"disposition_id,omitzero"`
	Time        int64        `json:"time"` // milliseconds since 1970
	Message     string       `json:"message"`
	Metadata    metadata     `json:"metadata"`
	Trace       named        `json:"trace,omitzero"`
	Actor       *actor       `json:"actor,omitzero"`
	API         *api         `json:"api,omitzero"`
	Source      *named       `json:"src_endpoint,omitzero"`
	Destination *endpoint    `json:"dst_endpoint,omitzero"`
	Traffic     *traffic     `json:"traffic,omitzero"`
	User        *named       `json:"user,omitzero"`
	Privileges  []string     `json:"privileges,omitzero"`
	Device      *device      `json:"device,omitzero"`
	Process     *named       `json:"process,omitzero"`
	App         *named       `json:"app,omitzero"`
	Entity      *named       `json:"entity,omitzero"`
	Finding     *findingInfo `json:"finding_info,omitzero"`
	Own         own          `json:"unmapped"`
}

// own is Event as JSON.
type own struct {
	Kind         Kind              `json:"kind"`
	Time         time.Time         `json:"time"`
	CallID       string            `json:"call_id,omitzero"`
	Trace        string            `json:"trace,omitzero"`
	Server       string            `json:"server,omitzero"`
	Tool         string            `json:"tool,omitzero"`
	Effect       string            `json:"effect,omitzero"`
	Decision     Decision          `json:"decision,omitzero"`
	Rule         string            `json:"rule,omitzero"`
	Reason       string            `json:"reason,omitzero"`
	Asker        string            `json:"asker,omitzero"`
	Args         string            `json:"args,omitzero"`
	ArgsDigest   string            `json:"args_digest,omitzero"`
	ResultDigest string            `json:"result_digest,omitzero"`
	ResultBytes  int64             `json:"result_bytes,omitzero"`
	Stages       []Stage           `json:"stages,omitzero"`
	Findings     []ownFinding      `json:"findings,omitzero"`
	TookNanos    int64             `json:"took_ns,omitzero"`
	Facts        map[string]string `json:"facts,omitzero"`
	Cut          []string          `json:"cut,omitzero"`
}

type ownFinding struct {
	Engine   string `json:"engine"`
	Rule     string `json:"rule"`
	Severity int    `json:"severity"`
	Where    string `json:"where,omitzero"`
	Text     string `json:"text"`
}

func toRecord(e *Event) *record {
	c := classOf(e)
	r := &record{
		ClassUID: c.uid, CategoryUID: c.category, ActivityID: c.activity, Activity: c.name, TypeUID: c.uid*100 + c.activity,
		SeverityID: severity(e), StatusID: 1, Time: e.Time.UnixMilli(), Message: message(e),
		Metadata: metadata{Version: ocsfVersion, Product: product{"Cordon", "Cordon"}, Correlation: e.CallID},
		Own: own{e.Kind, e.Time, e.CallID, e.Trace, e.Server, e.Tool, e.Effect, e.Decision, e.Rule, e.Reason, e.Asker, e.Args,
			e.ArgsDigest, e.ResultDigest, e.ResultBytes, e.Stages, nil, int64(e.Took), e.Facts, e.Cut},
	}
	for _, f := range e.Findings {
		r.Own.Findings = append(r.Own.Findings, ownFinding{f.Engine, f.Rule, int(f.Severity), f.Where, f.Text})
	}
	switch {
	case e.Decision == Intent:
		r.StatusID = 0
	case c.uid != 2004 && (e.Decision.refused() || e.Decision == Failed || e.Kind == ServerRefused):
		r.StatusID = 2
	}
	if e.Decision.refused() {
		r.ActionID, r.Disposition = 2, 2 // denied, blocked
	} else if e.Decision == Allowed || e.Decision == YouAllowed {
		r.ActionID, r.Disposition = 1, 1
	}
	if r.ActionID != 0 {
		r.Metadata.Profiles = append(r.Metadata.Profiles, "security_control")
	}
	if e.Trace != "" {
		r.Metadata.Profiles = append(r.Metadata.Profiles, "trace")
		r.Trace.UID = e.Trace
	}
	asker := e.Asker
	if asker == "" {
		asker = "Cordon"
	}
	switch c.uid { // what the class requires
	case 6003:
		r.Actor = &actor{asker}
		r.API = &api{e.Tool, named{Name: e.Server}, named{UID: e.CallID}}
		r.Source = &named{Name: "localhost"}
	case 3002:
		r.User = &named{Name: asker}
	case 3003:
		r.User = &named{Name: asker}
		r.Privileges = []string{e.Server + "." + e.Tool}
	case 1007:
		r.Actor = &actor{"Cordon"}
		r.Device = &device{0, "localhost"}
		r.Process = &named{Name: e.Server, UID: e.Facts["pid"]}
	case 6002:
		r.App = &named{Name: e.Server}
		if e.Server == "" {
			r.App.Name = "Cordon"
		}
	case 4001:
		r.Source = &named{Name: e.Server}
		number := func(fact string) int64 { n, _ := strconv.ParseInt(e.Facts[fact], 10, 64); return n }
		r.Destination = &endpoint{e.Facts["host"], e.Facts["addr"], int(number("port"))}
		r.Traffic = &traffic{number("sent"), number("received")}
	case 3004:
		r.Entity = &named{Name: e.Facts["name"], UID: e.Facts["fingerprint"], Type: "secret"}
		if r.Entity.Name == "" {
			r.Entity.Name = e.Server
		}
	case 2004:
		title := e.Reason
		if title == "" {
			title = r.Message
		}
		uid := e.Rule
		if e.CallID != "" {
			uid = e.CallID
		}
		r.Finding = &findingInfo{cmp.Or(uid, string(e.Kind)), title}
	}
	return r
}

func message(e *Event) string {
	m := string(e.Kind)
	if e.Server != "" {
		m += " " + e.Server
		if e.Tool != "" {
			m += "." + e.Tool
		}
	}
	if e.Decision != "" {
		m += ": " + string(e.Decision)
	}
	return m
}

// encode writes e as one line of JSON of at most limit bytes, shortening what is long if it must.
func encode(e Event, limit int) ([]byte, error) {
	if e.Kind == "" {
		return nil, fmt.Errorf("an event has no kind")
	}
	e.Cut = nil
	steps := []struct{ bytes, items int }{{16 << 10, 512}, {4 << 10, 128}, {1 << 10, 64}, {256, 32}, {64, 16}, {16, 4}}
	for short := e; ; steps = steps[1:] {
		if textBytes(&short) <= limit { // encoding never makes it shorter
			b, err := marshal(&short)
			if err != nil || len(b) <= limit {
				return b, err
			}
		}
		if len(steps) == 0 {
			return nil, fmt.Errorf("an event cannot be shortened to %d bytes", limit)
		}
		short = shorten(e, steps[0].bytes, steps[0].items)
	}
}

// textBytes adds up the text in e.
func textBytes(e *Event) int {
	n := len(e.Kind) + len(e.CallID) + len(e.Trace) + len(e.Server) + len(e.Tool) + len(e.Effect) + len(e.Decision) + len(e.Rule) +
		len(e.Reason) + len(e.Asker) + len(e.Args) + len(e.ArgsDigest) + len(e.ResultDigest)
	for _, s := range e.Stages {
		n += len(s.Name) + len(s.State) + len(s.Detail)
	}
	for _, f := range e.Findings {
		n += len(f.Engine) + len(f.Rule) + len(f.Where) + len(f.Text)
	}
	for k, v := range e.Facts {
		n += len(k) + len(v)
	}
	return n
}

func marshal(e *Event) ([]byte, error) {
	return json.Marshal(toRecord(e), json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
}

// shorten returns a copy of e whose texts have at most maxBytes, plus a note, and whose lists at most maxItems. Cut
// names the fields concerned.
func shorten(e Event, maxBytes, maxItems int) Event {
	cut := map[string]bool{}
	text := func(field string, s *string) {
		if len(*s) > maxBytes+100 { // the note must not make it longer
			sum := sha256.Sum256([]byte(*s))
			*s = fmt.Sprintf("%s… [cut: %d bytes, SHA-256 %s]", strings.ToValidUTF8((*s)[:maxBytes], ""), len(*s), hex.EncodeToString(sum[:]))
			cut[field] = true
		}
	}
	items := func(field string, n int) int {
		if n > maxItems {
			cut[fmt.Sprintf("%s (%d in all)", field, n)] = true
			return maxItems
		}
		return n
	}
	text("args", &e.Args)
	text("reason", &e.Reason)
	text("asker", &e.Asker)
	text("rule", &e.Rule)
	text("tool", &e.Tool)
	text("server", &e.Server)
	text("effect", &e.Effect)
	text("call_id", &e.CallID)
	text("trace", &e.Trace)
	text("args_digest", &e.ArgsDigest)
	text("result_digest", &e.ResultDigest)
	kind, decision := string(e.Kind), string(e.Decision)
	text("kind", &kind)
	text("decision", &decision)
	e.Kind, e.Decision = Kind(kind), Decision(decision)

	e.Stages = slices.Clone(e.Stages[:items("stages", len(e.Stages))])
	for i := range e.Stages {
		text("stages", &e.Stages[i].Name)
		text("stages", &e.Stages[i].State)
		text("stages", &e.Stages[i].Detail)
	}
	e.Findings = slices.Clone(e.Findings[:items("findings", len(e.Findings))])
	for i := range e.Findings {
		text("findings", &e.Findings[i].Engine)
		text("findings", &e.Findings[i].Rule)
		text("findings", &e.Findings[i].Where)
		text("findings", &e.Findings[i].Text)
	}
	if e.Facts != nil {
		facts := map[string]string{}
		keys := slices.Sorted(maps.Keys(e.Facts))
		for _, k := range keys[:items("facts", len(keys))] {
			v := e.Facts[k]
			text("facts", &k)
			text("facts", &v)
			facts[k] = v
		}
		e.Facts = facts
	}
	e.Cut = slices.Sorted(maps.Keys(cut))
	return e
}

// decode reads back what encode wrote.
func decode(b []byte) (Event, error) {
	var r struct {
		Own own `json:"unmapped"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	o := r.Own
	e := Event{o.Time, o.Kind, o.CallID, o.Trace, o.Server, o.Tool, o.Effect, o.Decision, o.Rule, o.Reason, o.Asker, o.Args,
		o.ArgsDigest, o.ResultDigest, o.ResultBytes, o.Stages, nil, time.Duration(o.TookNanos), o.Facts, o.Cut}
	for _, f := range o.Findings {
		sev := tool.Severity(f.Severity)
		e.Findings = append(e.Findings, tool.Finding{Engine: f.Engine, Rule: f.Rule, Severity: sev, Where: f.Where, Text: f.Text})
	}
	return e, nil
}
