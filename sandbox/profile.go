// Package sandbox confines any process: it plans what to enforce on this kernel, starts the program through the
// launcher, reports what was measured, limits its resources and ends its whole tree. It knows nothing of MCP.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cordon/sandbox/spec"
)

// Net says which network a confined program has. The zero value is NetNone.
type Net = spec.Net

// The network modes.
const (
	NetNone     = spec.NetNone     // no internet sockets
	NetLoopback = spec.NetLoopback // a loopback interface of its own; nothing outside the sandbox can be reached
	NetHosts    = spec.NetHosts    // the same, and a proxy of the host's that leads to named hosts; see Process.Egress
)

// Profile is what a program is granted. The zero value grants the system's programs and libraries, private empty
// /tmp and home directories, and nothing else.
type Profile struct {
	Read   []string    // files and directories, absolute, without symbolic links; readable, and programs in them can be run
	Write  []string    // the same, also writable; programs in them cannot be run
	Build  bool        // but with this they can: for what makes programs, never for what was made
	Net    Net         //
	Reach  []uint16    // ports of this computer's loopback that the program finds on its own, if it has one; see Process.Reached
	Serve  []uint16    // ports on which the program may be called by the host, if it has a loopback; see Process.Dial
	Memory int64       // bytes for the whole tree; 0 means no limit
	Pids   int         // processes and threads of the whole tree; 0 means no limit
	CPU    float64     // cores; 0 means no limit
	Demand []Guarantee // guarantees without which the program must not start

	// Observe keeps what the program asks for and is not granted, see Process.Wanted. It grants nothing and decides nothing: every
	// call that is looked at goes on, and what confines the program decides. Each call that names a path takes longer, Command.Dir is
	// there inside, empty, also when nothing shows it, and the program cannot supervise others (seccomp has one listener).
	Observe bool
}

// Guarantee names one protection. The names are stable: profiles, reports and the log use them.
type Guarantee string

// The guarantees.
const (
	FSRead       Guarantee = "fs.read"       // only granted files can be read
	FSWrite      Guarantee = "fs.write"      // only granted files can be written
	FSMetadata   Guarantee = "fs.metadata"   // other paths cannot even be seen
	NetNoneG     Guarantee = "net.none"      // no internet socket can be opened
	NetLoopbackG Guarantee = "net.loopback"  // nothing but the sandbox's own loopback can be reached or bound
	NetHostsG    Guarantee = "net.hosts"     // nothing leads out but the host's proxy
	IPCUnix      Guarantee = "ipc.unix"      // no session bus, no X11, no agent socket
	IPCPrivate   Guarantee = "ipc.private"   // System V IPC, abstract sockets and signals end at the sandbox
	ProcPrivate  Guarantee = "proc.private"  // other processes cannot be seen or signalled
	PrivNone     Guarantee = "priv.none"     // no capability, no way to regain one
	Syscalls     Guarantee = "syscalls"      // io_uring, keyrings, namespaces, mounts, bpf are out of reach
	EnvClean     Guarantee = "env.clean"     // only named variables, no inherited descriptor
	LimitsMemory Guarantee = "limits.memory" // memory of the whole tree is bounded
	LimitsPids   Guarantee = "limits.pids"   // the number of tasks is bounded
	LimitsCPU    Guarantee = "limits.cpu"    // processor time is bounded
	KillTree     Guarantee = "kill.tree"     // stopping ends every descendant
)

// EgressAddr is where a program with NetHosts finds the host's proxy.
const EgressAddr = "127.0.0.1:3128"

// maxGrants bounds each list of paths of a profile, maxPorts each of ports.
const (
	maxGrants = 128
	maxPorts  = 16
)

// Validate reports the first thing that is wrong with p: relative or unclean paths, too many grants, negative
// limits, the whole file system.
func (p Profile) Validate() error {
	for _, list := range []struct {
		name  string
		paths []string
	}{{"read", p.Read}, {"write", p.Write}} {
		if len(list.paths) > maxGrants {
			return fmt.Errorf("profile: %s has %d entries, at most %d", list.name, len(list.paths), maxGrants)
		}
		for _, path := range list.paths {
			switch {
			case !filepath.IsAbs(path):
				return fmt.Errorf("profile: %s %q is not an absolute path", list.name, path)
			case filepath.Clean(path) != path:
				return fmt.Errorf("profile: %s %q is not a clean path", list.name, path)
			case path == "/":
				return fmt.Errorf("profile: %s \"/\" would grant the whole file system", list.name)
			case strings.ContainsRune(path, 0):
				return fmt.Errorf("profile: %s %q contains a NUL", list.name, path)
			case reserved(path):
				return fmt.Errorf("profile: %s %q belongs to the sandbox itself", list.name, path)
			}
		}
	}
	switch {
	case p.Memory < 0 || p.Memory > 0 && p.Memory < 4<<20:
		return fmt.Errorf("profile: memory limit %d bytes is below 4 MiB", p.Memory)
	case p.Pids < 0:
		return fmt.Errorf("profile: pids limit %d is negative", p.Pids)
	case p.CPU != 0 && !(p.CPU >= 0.01 && p.CPU <= 4096): // NaN too
		return fmt.Errorf("profile: cpu limit %v is not between 0.01 and 4096 cores", p.CPU)
	case p.Net < NetNone || p.Net > NetHosts:
		return fmt.Errorf("profile: unknown network mode %d", p.Net)
	}
	if err := p.validatePorts(); err != nil {
		return err
	}
	for _, g := range p.Demand {
		if !slices.Contains(guaranteesFor(p), g) {
			return fmt.Errorf("profile: demands %q, which is not a guarantee of this profile", g)
		}
	}
	return nil
}

func (p Profile) validatePorts() error {
	all := slices.Concat(p.Reach, p.Serve)
	switch {
	case len(all) == 0:
		return nil
	case p.Net != NetLoopback && p.Net != NetHosts:
		return errors.New("profile: ports of the loopback are named, and the program has none")
	case len(p.Reach) > maxPorts || len(p.Serve) > maxPorts:
		return fmt.Errorf("profile: more than %d ports", maxPorts)
	}
	for i, port := range all {
		switch {
		case port == 0 || i >= len(p.Reach) && port < 1024:
			return fmt.Errorf("profile: port %d cannot be used", port)
		case slices.Contains(all[:i], port):
			return fmt.Errorf("profile: port %d stands twice", port)
		case p.Net == NetHosts && port == spec.EgressPort:
			return fmt.Errorf("profile: port %d is the proxy's", port)
		}
	}
	return nil
}

// reserved reports whether the sandbox makes path itself, so that it cannot come from the host.
func reserved(path string) bool {
	for _, own := range []string{"/proc", "/sys", "/dev", Home, "/dev/shm"} {
		if path == own || strings.HasPrefix(path, own+"/") {
			return true
		}
	}
	return path == "/tmp" || path == "/etc" || path == "/home" || path == "/root" || path == "/run"
}

// Resolve returns path as the launcher wants it: absolute, clean, symbolic links followed. It fails when the path
// does not exist.
func Resolve(path string) (string, error) {
	if path == "" { // filepath.Abs would take the working directory: a variable that is not set must not grant it
		return "", errors.New("\"\": the path is empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		if pe, ok := err.(*os.PathError); ok {
			return "", fmt.Errorf("%s: %w", path, pe.Err)
		}
		return "", err
	}
	return real, nil
}

// guaranteesFor lists, in the order they are shown, the guarantees that p can have.
func guaranteesFor(p Profile) []Guarantee {
	gs := []Guarantee{FSRead, FSWrite, FSMetadata}
	switch p.Net {
	case NetNone:
		gs = append(gs, NetNoneG)
	case NetLoopback:
		gs = append(gs, NetLoopbackG)
	case NetHosts:
		gs = append(gs, NetHostsG)
	}
	return append(gs, IPCUnix, IPCPrivate, ProcPrivate, PrivNone, Syscalls, EnvClean, LimitsMemory, LimitsPids, LimitsCPU, KillTree)
}

// Isolation lists the guarantees every server demands unless a person gave some up, all that both tiers give, and those of and
// besides, each once. Not among the former are the limits, which need a cgroup that not every machine lends to users, and what
// only namespaces give.
func Isolation(n Net, and ...Guarantee) []Guarantee {
	all := slices.DeleteFunc(guaranteesFor(Profile{Net: n}), func(g Guarantee) bool {
		return slices.Contains([]Guarantee{LimitsMemory, LimitsPids, LimitsCPU, FSMetadata, ProcPrivate}, g)
	})
	for _, g := range and {
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}
