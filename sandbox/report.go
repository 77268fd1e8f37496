package sandbox

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// Tier grades the isolation of a started program. The zero value is TierRefused.
type Tier string

// The tiers.
const (
	TierRefused  Tier = "refused"
	TierWeakened Tier = "weakened" // runs with less than was demanded, by explicit consent
	TierMedium   Tier = "medium"   // no namespaces: Landlock, seccomp and a supervisor, all measured
	TierStrong   Tier = "strong"   // user namespaces, Landlock and seccomp, all measured
)

// State of one guarantee.
type State string

// The states.
const (
	Enforced    State = "enforced"
	Missing     State = "missing"
	NotDemanded State = "not demanded"
)

// Held is one guarantee and how it is known.
type Held struct {
	Name   Guarantee `json:"name"`
	State  State     `json:"state"`
	Detail string    `json:"detail"` // what was tried and how it ended, or why it is missing
}

// Report says what was really enforced on one process. Plan fills in what will be; Start what was measured.
type Report struct {
	Tier       Tier          `json:"tier"`
	Guarantees []Held        `json:"guarantees"`
	Kernel     string        `json:"kernel"`      // release
	Landlock   int           `json:"landlockABI"` // the exact version enforced
	Errata     int           `json:"landlockErrata"`
	Limits     string        `json:"limits"` // "cgroup v2", "cgroup v1", "rlimits"
	TriedAt    time.Time     `json:"triedAt"`
	Times      []StageTiming `json:"times,omitempty"`
}

// StageTiming is how long one step of the start took.
type StageTiming struct {
	Step   string `json:"step"`
	Micros int64  `json:"micros"`
}

// Count returns how many guarantees are enforced, and out of how many that were wanted.
func (r Report) Count() (enforced, of int) {
	for _, g := range r.Guarantees {
		switch g.State {
		case Enforced:
			enforced++
			of++
		case Missing:
			of++
		}
	}
	return enforced, of
}

// Get returns the entry for g, or nil.
func (r *Report) Get(g Guarantee) *Held {
	for i := range r.Guarantees {
		if r.Guarantees[i].Name == g {
			return &r.Guarantees[i]
		}
	}
	return nil
}

// countEnv says what is left of the environment.
func (r *Report) countEnv(s *spec.Spec) {
	r.Get(EnvClean).Detail = fmt.Sprintf("%d variables, 3 descriptors", len(s.Env))
}

// missing returns the demanded guarantees that are not enforced, each with its reason.
func (r *Report) missing(demand []Guarantee) []Held {
	var out []Held
	for _, g := range demand {
		if h := r.Get(g); h == nil || h.State != Enforced {
			if h == nil {
				h = &Held{g, Missing, "unknown"}
			}
			out = append(out, *h)
		}
	}
	return out
}

// Refusal is returned when something that was demanded cannot be enforced. Nothing was started.
type Refusal struct {
	Missing []Held
	Fix     string // what would make it possible, or ""
}

// Error names every missing guarantee.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString("not started: ")
	for i, m := range r.Missing {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s is not available (%s)", m.Name, m.Detail)
	}
	return b.String()
}

// measure replaces the plan's promises by what init tried on itself.
func (r *Report) measure(o *spec.Outcome, p Profile) {
	set := func(g Guarantee, detail string) {
		if h := r.Get(g); h != nil {
			h.State, h.Detail = Enforced, detail
		}
	}
	e := func(t spec.Try) string { return unix.ErrnoName(syscall.Errno(o.Tried[t])) }
	if r.Tier == TierMedium {
		r.measureShared(o, set, e)
		return
	}
	set(FSRead, "open a file without grant: "+e(spec.TryOpenUngranted))
	set(FSWrite, "create a file in /: "+e(spec.TryWriteRoot))
	set(FSMetadata, "look at /sys: "+e(spec.TryStatHost))
	set(NetNoneG, "open an internet socket: "+e(spec.TryInetSocket))
	set(NetLoopbackG, fmt.Sprintf("reach 192.0.2.1: %s, bind it: %s", e(spec.TryConnectOutside), e(spec.TryBindOutside)))
	set(NetHostsG, fmt.Sprintf("reach 192.0.2.1 past the proxy: %s, bind it: %s", e(spec.TryConnectOutside), e(spec.TryBindOutside)))
	set(IPCUnix, "open a Unix socket: "+e(spec.TryUnixSocket))
	set(IPCPrivate, "own IPC, host name and network namespaces")
	set(ProcPrivate, "process 1 of its own namespace")
	set(PrivNone, fmt.Sprintf("0 capabilities, unshare: %s, mount: %s", e(spec.TryUnshare), e(spec.TryMount)))
	set(Syscalls, fmt.Sprintf("io_uring: %s, keyctl: %s, MPTCP: %s", e(spec.TryIOUring), e(spec.TryKeyring), e(spec.TryMultipathSocket)))
	r.timings(o)
}

// measureShared is measure for the medium tier.
func (r *Report) measureShared(o *spec.Outcome, set func(g Guarantee, detail string), e func(t spec.Try) string) {
	set(FSRead, "open a folder without grant: "+e(spec.TryOpenUngranted))
	set(FSWrite, fmt.Sprintf("create a file without grant: %s, change a mode: %s", e(spec.TryWriteRoot), e(spec.TryChmodOutside)))
	set(NetNoneG, "open an internet socket: "+e(spec.TryInetSocket))
	set(NetLoopbackG, fmt.Sprintf("reach 192.0.2.1: %s, bind it: %s", e(spec.TryConnectOutside), e(spec.TryBindOutside)))
	set(NetHostsG, fmt.Sprintf("reach 192.0.2.1 past the proxy: %s, bind it: %s", e(spec.TryConnectOutside), e(spec.TryBindOutside)))
	set(IPCUnix, "open a Unix socket: "+e(spec.TryUnixSocket))
	set(IPCPrivate, "signal a process outside: "+e(spec.TryKillOutside)+"; no System V IPC")
	set(PrivNone, fmt.Sprintf("0 capabilities, unshare: %s, mount: %s", e(spec.TryUnshare), e(spec.TryMount)))
	set(Syscalls, fmt.Sprintf("io_uring: %s, keyctl: %s, MPTCP: %s", e(spec.TryIOUring), e(spec.TryKeyring), e(spec.TryMultipathSocket)))
	r.timings(o)
}

func (r *Report) timings(o *spec.Outcome) {
	for i := int(spec.StepJoin); i < int(spec.StepExec); i++ {
		if at, before := o.At[i], o.At[i-1]; at > 0 && before > 0 {
			r.Times = append(r.Times, StageTiming{spec.Step(i).String(), (at - before) / 1000})
		}
	}
	r.Times = append([]StageTiming{{spec.StepClone.String(), (o.At[spec.StepClone] - o.At[0]) / 1000}}, r.Times...)
}
