package sandbox

import (
	"fmt"
	"slices"

	"cordon/sandbox/spec"

	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// The medium tier: a program in the namespaces of the host, for machines that give an ordinary user none.

// identity is what a program without an /etc of its own sees besides System: who the user is and what localhost means.
var identity = []string{"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts"}

// sharedABI is the lowest version of Landlock that guards truncate, without which a granted folder leads to changes
// elsewhere by name only. Kernels that have it have all else that the supervisor needs.
const sharedABI = 3

// absent tells programs that a file of the system's is not there which they may not read: some end when it is there and closed.
var absent = []string{"GIT_CONFIG_NOSYSTEM=1"}

// planShared is Plan for the medium tier. Folders that a tmpfs would hold are the host's to make: see scratch.
func planShared(p Profile, c Command, k Kernel) (*spec.Spec, Report, error) {
	r := Report{Tier: TierMedium, Kernel: k.Release, Landlock: min(k.Landlock, len(landlockConfigs)-1), Errata: k.Errata, Limits: k.Groups.String()}
	for _, g := range guaranteesFor(p) {
		r.Guarantees = append(r.Guarantees, Held{g, Enforced, "planned"})
	}
	if err := sharedFoundation(p, k); err != nil {
		r.Tier = TierRefused
		return nil, r, err
	}
	lose := func(g Guarantee, why string) {
		h := r.Get(g)
		h.State, h.Detail = Missing, why
	}
	lose(FSMetadata, k.Namespaces+": names, sizes and dates of other files can be asked for")
	lose(ProcPrivate, k.Namespaces+": which processes exist can be seen, and nothing about them")
	s := &spec.Spec{Argv: c.Argv, Path: Path, Dir: c.Dir, Env: environment(append(slices.Clone(absent), c.Env...)), Net: p.Net, Shared: true, Landlock: ruleset(r), Observe: p.Observe}
	s.Signals = s.Landlock.Scoped&llsys.ScopeSignal == 0
	rule := func(optional bool, rights uint64, paths ...string) {
		for _, path := range paths {
			s.Mounts = append(s.Mounts, spec.Mount{Source: path, Target: path, Optional: optional, Access: rights & s.Landlock.Handled})
		}
	}
	rule(true, rightsRead, System...)
	rule(true, rightsRead, identity...)
	rule(false, rightsDevice, devices...)
	rule(false, rightsRead, p.Read...)
	rule(false, p.writeRights(), p.Write...)
	planLimits(s, &r, p, k)
	if !k.Groups.Pids && p.Pids > 0 { // here RLIMIT_NPROC would count all that the user has
		s.Limits = slices.DeleteFunc(s.Limits, func(l spec.Limit) bool { return l.Resource == unix.RLIMIT_NPROC })
		lose(LimitsPids, fmt.Sprintf("%d tasks wanted: %s", p.Pids, k.Groups.lack()))
	}
	r.countEnv(s)
	r.Get(KillTree).Detail = "init adopts and ends every descendant"
	if k.Groups.usable() {
		r.Get(KillTree).Detail += ", and " + k.Groups.String()
	}
	if lost := r.missing(p.Demand); len(lost) > 0 {
		r.Tier = TierRefused
		return nil, r, &Refusal{Missing: lost, Fix: k.Fix}
	}
	return s, r, nil
}

// Supervisable says why the medium tier cannot be had on this machine, "" when nothing known stands against it.
func (k Kernel) Supervisable() string {
	switch {
	case k.Landlock < sharedABI:
		return fmt.Sprintf("without them Landlock ABI %d is needed, and this kernel has %d", sharedABI, k.Landlock)
	case !k.Seccomp:
		return "this kernel has no seccomp filters"
	case k.Yama > 1:
		return fmt.Sprintf("without them a supervisor is needed, which kernel.yama.ptrace_scope = %d forbids", k.Yama)
	}
	return ""
}

// sharedFoundation checks what the medium tier cannot do without.
func sharedFoundation(p Profile, k Kernel) error {
	if err := foundation(k); err != nil {
		return err
	}
	refuse := func(why string, gs ...Guarantee) error {
		r := &Refusal{Fix: k.Fix}
		for _, g := range gs {
			r.Missing = append(r.Missing, Held{g, Missing, k.Namespaces + "; " + why})
		}
		return r
	}
	if why := k.Supervisable(); why != "" {
		return refuse(why, FSWrite, ProcPrivate)
	}
	for _, path := range p.Read {
		if Below(path, p.Write...) {
			return refuse(fmt.Sprintf("without them %s cannot be kept from changes inside a folder that may be written", path), FSWrite)
		}
	}
	return nil
}
