package app

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/server"
	"cordon/host/tool"
)

// AddServer defines a server by its command and starts it.
func (a *App) AddServer(n NewServer) error {
	def := definitionOf(n)
	def.Source = "command"
	if err := a.host.AddServer(def); err != nil {
		return err
	}
	// A server that does not start is defined all the same; its state says why it does not run.
	a.running.Go(func() { _ = a.host.Servers.Start(a.ctx, def.Name) })
	return nil
}

// definitionOf is what the form says, without where the server comes from.
func definitionOf(n NewServer) config.Server {
	def := config.Server{Name: n.Name, Command: n.Command, Read: n.Read, Write: n.Write, Net: n.Net, Hosts: n.Hosts, Private: n.Private, Reach: n.Reach, Serve: n.Serve,
		Memory: cmp.Or(n.MemoryBytes, config.DefaultMemory), Pids: cmp.Or(n.Pids, config.DefaultPids)}
	for _, e := range n.Env {
		if def.Env == nil {
			def.Env = map[string]string{}
		}
		def.Env[e.Name] = e.Value
	}
	return def
}

// RemoveServer stops a server and forgets it, its pin and its secrets.
func (a *App) RemoveServer(name string) error { return a.host.RemoveServer(a.ctx, name) }

// StartServer starts a server and returns when it is ready.
func (a *App) StartServer(name string) error {
	if err := a.host.Servers.Start(a.ctx, name); err != nil {
		return a.failureOf(name, err)
	}
	a.host.Gate.Mended(name)
	return nil
}

// StopServer ends a server and returns when nothing of it is left.
func (a *App) StopServer(name string) error { return a.host.Servers.Stop(a.ctx, name) }

// RestartServer starts a running server again as soon as its calls have ended, and returns when it is ready.
func (a *App) RestartServer(name string) error {
	if err := a.host.Servers.Reload(a.ctx, name); err != nil {
		return a.failureOf(name, err)
	}
	a.host.Gate.Mended(name)
	return nil
}

// ServerLog returns the kept lines of a server's standard error.
func (a *App) ServerLog(name string) ([]LogLine, error) {
	lines, err := a.host.Servers.Log(name)
	if err != nil {
		return nil, err
	}
	out := make([]LogLine, 0, len(lines))
	for _, l := range lines {
		out = append(out, LogLine{stamp(l.Time), l.Text})
	}
	return out, nil
}

// Frames returns the last messages of a server's session.
func (a *App) Frames(name string) ([]FrameView, error) {
	frames, err := a.host.Servers.Frames(name)
	if err != nil {
		return nil, err
	}
	out := make([]FrameView, 0, len(frames))
	for _, f := range frames {
		out = append(out, FrameView{At: stamp(f.At), Out: f.Out, ID: f.ID, Method: f.Method, Answer: f.Answer, Failed: f.Failed, Size: f.Size, Text: f.Text, Cut: len(f.Text) < f.Size && f.Size > 4<<10})
	}
	return out, nil
}

// Review returns what is to be approved.
func (a *App) Review(name string) (ReviewView, error) {
	r, err := a.host.Review(a.ctx, name)
	a.changed() // looking may have found the files changed, or as they were again
	if err != nil {
		return ReviewView{}, err
	}
	v := ReviewView{Server: name, Digest: r.Digest.String(), First: r.First, Command: list(r.Fingerprint.Command), Binary: r.Fingerprint.BinaryPath,
		Files: r.Fingerprint.Files + 1, Tools: []ToolView{}, Prompts: []ToolView{}, Changes: changeViews(r.Changes), Refused: list(r.Refused), Instructions: r.Fingerprint.Instructions,
		Without: list(r.Without), Installed: r.Installed, Covered: list(r.Covered), NotCovered: list(r.NotCovered)}
	if r.Unlisted != nil {
		v.Unlisted = r.Unlisted.Error()
	}
	as := func(changed map[string]string, name string) string {
		if r.First {
			return "new"
		}
		return cmp.Or(changed[name], "pinned")
	}
	tools, prompts := changedOf(r.Changes, "tool "), changedOf(r.Changes, "prompt ")
	for _, t := range r.Tools {
		v.Tools = append(v.Tools, toolView(t, as(tools, t.ID.Name), r.Findings[t.ID.Name], 0))
	}
	for _, p := range r.Prompts {
		v.Prompts = append(v.Prompts, toolView(p, as(prompts, p.ID.Name), r.PromptFindings[p.ID.Name], 0))
	}
	return v, nil
}

// changedOf maps the names of one kind, "tool " or "prompt ", to "new" or "changed".
func changedOf(changes []pin.Change, kind string) map[string]string {
	out := map[string]string{}
	for _, c := range changes {
		if name, ok := strings.CutPrefix(c.What, kind); ok {
			out[name] = map[string]string{"added": "new"}[c.Kind]
			if out[name] == "" {
				out[name] = "changed"
			}
		}
	}
	return out
}

// Approve pins what was shown under digest.
func (a *App) Approve(name, digest string) error {
	b, err := hex.DecodeString(digest)
	if err != nil || len(b) != len(tool.Digest{}) {
		return errors.New("the digest is malformed")
	}
	return a.host.Approve(a.ctx, name, tool.Digest(b))
}

// reviewCache keeps the findings on definitions, which cost a moment and change only with the definition.
type reviewCache struct {
	mu sync.Mutex
	by map[tool.Digest][]tool.Finding // guarded by mu
}

func (c *reviewCache) findings(h *host.Host, a *App, t tool.Tool) []tool.Finding {
	key := tool.Sum([]byte(t.ID.Server), t.Definition)
	c.mu.Lock()
	fs, ok := c.by[key]
	c.mu.Unlock()
	if ok {
		return fs
	}
	fs = h.InspectTool(a.ctx, t)
	if slices.ContainsFunc(fs, func(f tool.Finding) bool { return f.Rule == "inspect.degraded" }) {
		return fs // it may be whole the next time
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil || len(c.by) > 5000 {
		c.by = map[tool.Digest][]tool.Finding{}
	}
	c.by[key] = fs
	return fs
}

func (a *App) serverView(v server.View) ServerView {
	s := ServerView{Name: v.Name, Version: v.Def.Version, Title: v.Def.Title, Protocol: string(v.Protocol), Source: v.Def.Source, Command: list(v.Def.Command),
		State: string(v.State), Since: stamp(v.Since), Failure: a.failureOf(v.Name, v.Err), Pid: v.Pid, Guarantees: []GuaranteeView{}, Tools: []ToolView{}, Env: []EnvView{}, Without: []string{},
		StderrLines: v.StderrLines, Frames: v.Frames, Removable: true, TriedAt: stamp(v.Report.TriedAt)}
	if s.Title == "" {
		s.Title = v.Title
	}
	if s.Version == "" {
		s.Version = v.Version
	}
	s.Profile = ProfileView{Read: list(v.Def.Read), Write: list(v.Def.Write), Net: v.Def.Net, Hosts: list(v.Def.Hosts), Private: list(v.Def.Private), Reach: list(v.Def.Reach), Serve: list(v.Def.Serve), MemoryBytes: v.Def.Memory, Pids: v.Def.Pids, IdleSeconds: int64(time.Duration(v.Def.Idle).Seconds()), CPU: v.Def.CPU, Preset: v.Def.Preset, Demand: []string{}, Observe: v.Def.Observe, Never: list(v.Def.Never)}
	for _, g := range v.Def.Demand {
		s.Profile.Demand = append(s.Profile.Demand, string(g))
	}
	s.Wanted, s.Asks, s.Lent = v.Wanted, a.asks(v), lent(v.Lent)
	s.Usage = UsageView{MemoryBytes: v.Usage.Memory, MemoryMax: v.Def.Memory, Tasks: v.Usage.Tasks, TasksMax: v.Def.Pids, CPUMillis: v.Usage.CPU.Milliseconds(),
		MemoryWaits: percent(v.Usage.Pressure.Memory), CPUWaits: percent(v.Usage.Pressure.CPU), Source: v.Usage.Source}
	if v.Limited && v.State != server.Stopped && v.State != server.Starting && v.State != server.Refused {
		s.Without = server.Limits(v.Def)
	}
	a.tierOf(v, &s)
	st := a.host.PinStatus(v)
	s.Pin, s.PinnedAt = st.State.String(), stamp(st.At)
	switch st.State {
	case pin.New:
		s.PinDetail = "nobody has reviewed it yet"
	case pin.Pinned:
		s.PinDetail = "definition and files match the pin of " + st.At.UTC().Format(time.DateOnly)
		if v.Def.Remote() {
			s.PinDetail = "address and definitions match the pin of " + st.At.UTC().Format(time.DateOnly)
		} else if n := v.Fingerprint.Files + 1; v.Fingerprint.BinaryPath != "" && n > 1 {
			s.PinDetail = fmt.Sprintf("definition and %d files match the pin of %s", n, st.At.UTC().Format(time.DateOnly))
		}
	case pin.Changed:
		s.PinDetail = summary(st.Changes)
		if v.State == server.Running {
			s.State = "quarantined"
		}
	}
	switch {
	case v.State == server.Running && v.Restarts > 0 && v.Def.Remote():
		s.Detail = fmt.Sprintf("connected again %d times", v.Restarts)
	case v.State == server.Running && v.Restarts > 0:
		s.Detail = fmt.Sprintf("restarted %d times", v.Restarts)
	case v.State == server.Idle && v.Def.Remote():
		s.Detail = "It is connected again at the next call."
	case v.State == server.Idle:
		s.Detail = "It sleeps and starts at the next call."
	}
	as := func(changed map[string]string, name string) string {
		if st.State != pin.Changed {
			return st.State.String()
		}
		return cmp.Or(changed[name], "pinned")
	}
	tools, prompts := changedOf(st.Changes, "tool "), changedOf(st.Changes, "prompt ")
	for _, t := range v.Tools {
		s.Tools = append(s.Tools, toolView(t, as(tools, t.ID.Name), a.cache.findings(a.host, a, t), a.callsToday(t.ID)))
	}
	for name, value := range v.Def.Env {
		s.Env = append(s.Env, EnvView{Name: name, Value: value})
	}
	for name, secret := range v.Def.Secrets {
		s.Env = append(s.Env, EnvView{Name: name, Secret: secret})
	}
	s.Steps, s.Oddities, s.Tasks = []StepView{}, []OddityView{}, []TaskView{}
	for _, x := range v.Steps {
		s.Steps = append(s.Steps, StepView{string(x.Name), x.Took.Milliseconds(), a.host.Mask(x.Detail), x.Failed})
	}
	for _, x := range v.Oddities {
		s.Oddities = append(s.Oddities, OddityView{stamp(x.At), string(x.Code), a.host.Mask(x.Text)})
	}
	for _, k := range a.host.Tasks() {
		if k.Server == v.Name {
			s.Tasks = append(s.Tasks, TaskView{k.ID, k.Tool, k.Call, stamp(k.Began), stamp(k.Ends)})
		}
	}
	s.Remote, s.Reads, s.Tells, s.Icons, s.Prompts = remoteView(v), v.Reads, v.Tells, v.Icons, []ToolView{}
	for _, p := range v.Prompts {
		s.Prompts = append(s.Prompts, toolView(p, as(prompts, p.ID.Name), a.cache.findings(a.host, a, p), 0))
	}
	sort.Slice(s.Env, func(i, j int) bool { return s.Env[i].Name < s.Env[j].Name })
	return s
}

func percent(share float64) int { return int(math.Round(share * 100)) }

// tierOf fills in what is enforced: measured while it runs, "" before the first start.
func (a *App) tierOf(v server.View, s *ServerView) {
	if v.State == server.Refused {
		s.Tier = "refused"
		return
	}
	s.Tier = string(v.Report.Tier)
	for _, g := range v.Report.Guarantees {
		s.Guarantees = append(s.Guarantees, GuaranteeView{string(g.Name), string(g.State), g.Detail})
	}
	s.Enforced, s.Demanded = v.Report.Count()
	// What is missing comes first: it is what a person has to know.
	rank := map[string]int{"missing": 0, "enforced": 1, "not demanded": 2}
	slices.SortStableFunc(s.Guarantees, func(x, y GuaranteeView) int { return rank[x.State] - rank[y.State] })
}

func summary(cs []pin.Change) string {
	var parts []string
	for _, c := range cs {
		parts = append(parts, c.What+" "+c.Kind)
	}
	if len(parts) > 3 {
		parts = append(parts[:3], fmt.Sprintf("and %d more", len(cs)-3))
	}
	return strings.Join(parts, ", ")
}

func toolView(t tool.Tool, state string, findings []tool.Finding, calls int) ToolView {
	return ToolView{Name: t.ID.Name, Title: t.Title, Description: t.Description, Effect: t.Effect.String(), EffectBy: t.EffectBy, Schema: string(t.InputSchema),
		Pin: state, Findings: findingViews(findings), CallsToday: calls}
}

func findingViews(fs []tool.Finding) []FindingView {
	out := []FindingView{}
	for _, f := range fs {
		out = append(out, FindingView{f.Engine, f.Rule, f.Severity.String(), f.Where, f.Text})
	}
	return out
}

func changeViews(cs []pin.Change) []ChangeView {
	out := []ChangeView{}
	for _, c := range cs {
		out = append(out, ChangeView{What: c.What, Kind: c.Kind, Lines: diffLines(pin.Diff(c.Old, c.New))})
	}
	return out
}

func diffLines(ls []pin.Line) []DiffLine {
	out := []DiffLine{}
	for _, l := range ls {
		out = append(out, DiffLine{string(rune(l.Sign)), l.Old, l.New, l.Text})
	}
	return out
}
