// Package spec is the message between the sandbox package and the launcher: what to enforce, and what was
// enforced. It holds types and their encoding only.
//
// The wire, once per start:
//
//	host                        launcher (fd 3 and 4)                 init, PID 1 inside
//	  Spec, length-prefixed ──fd 3──▶ reads, prepares, clones ──────▶ confines itself, tests itself
//	  pid of init           ◀─fd 4── record kind "pid"                      │
//	  Outcome               ◀─fd 4────────────────────────── record kind "outcome"
//	  end of file           ◀─fd 4── (launcher gone)           exec closed the last copy
//	  listener (NetHosts)   ◀─fd 3── one byte and a descriptor, before the outcome
//	  notifications (Observe) ◀─fd 3── one byte and a descriptor, after the listeners; answered from then on
//	  (stays open)          ──fd 3────────────────────────▶ end of file: the host is gone, die
//	  wait status           ◀─fd 3────────────────────────── four bytes when the program has ended
//
// An Outcome followed by end of file proves that the program was started after everything in the Outcome held.
package spec

import "syscall"

// Version comes first on the wire, so that binaries of different builds never work together by accident.
const Version = 7

// MaxJoin bounds Spec.Join.
const MaxJoin = 8

// MaxListen bounds Spec.Listen.
const MaxListen = 32

// MaxSpecBytes bounds an encoded Spec.
const MaxSpecBytes = 1 << 20

// Net says which sockets exist inside. The zero value is none.
type Net int

// The network modes.
const (
	NetNone     Net = iota // no internet sockets at all
	NetLoopback            // TCP and UDP, in a network namespace that has only lo
	NetHosts               // the same, and a proxy of the host's at EgressPort
)

// Spec is what the launcher has to enforce. All of it is mandatory: a step that fails ends the start.
type Spec struct {
	Argv     []string // at least one; Argv[0] without a slash is looked up in Path
	Path     []string // directories for that look-up, absolute
	Env      []string // whole environment, NAME=value
	Dir      string   // working directory inside; "/" when it does not exist there
	Hostname string
	Mounts   []Mount  // in this order
	Links    []Link   // symbolic links inside
	Dirs     []string // empty private directories inside, writable
	Files    []File   // small generated files, read-only
	TmpBytes int64    // bound of everything in Dirs together
	Net      Net
	Listen   []uint16 // ports on 127.0.0.1 inside on which the host accepts; not Shared
	Landlock Landlock
	Limits   []Limit
	Join     int  // how many files are open from fd 5 on: cgroup v1 task files, into each of which init writes itself first of all
	Into     bool // with Join 1: the file is the directory of a cgroup v2, into which init is cloned

	// Shared starts the program in the namespaces of the host, for machines that give an ordinary user none: Landlock, seccomp
	// and a supervisor confine it. Every Mount is then a rule only, Links, Dirs, Files, Hostname and TmpBytes are empty.
	Shared  bool
	Signals bool   // with Shared: the supervisor decides about signals, because this kernel's Landlock does not
	Outside string // with Shared: a directory of the user's that nothing grants, for the self-test

	// Observe has the kernel tell the host of each call that names a path (see Named) before it goes on, and makes Dir inside when
	// nothing shows it, empty, so that relative names mean what they mean outside.
	Observe bool
}

// Mount is one tree or file of the host that is visible inside.
type Mount struct {
	Source   string // on the host, absolute, without symbolic links
	Target   string // inside, absolute
	Write    bool
	Device   bool // a character device: nodev is left off
	Optional bool // absent on this machine: skip silently
	Access   uint64
}

// Link is a symbolic link made inside.
type Link struct{ Path, To string }

// File is a generated file.
type File struct {
	Path string
	Data string
}

// Landlock is the exact rule set: Handled rights are denied everywhere but where a Mount's Access grants them.
type Landlock struct {
	ABI     int
	Handled uint64
	Scoped  uint64
	Private uint64 // rights inside /tmp, /dev/shm and Dirs
	Proc    uint64 // rights inside /proc
}

// Limit is one resource limit, see getrlimit(2).
type Limit struct {
	Resource int
	Max      uint64
}

// EgressPort is where the host's proxy listens inside, on 127.0.0.1 of the sandbox's own network namespace.
const EgressPort = 3128

// Step names the stages of confinement, for Outcome.Failed and Outcome.At.
type Step int32

// The steps in their order.
const (
	StepClone Step = iota + 1
	StepJoin
	StepUserMap
	StepHostname
	StepLoopback
	StepRoot
	StepMount
	StepProc
	StepCapabilities
	StepLimits
	StepDescriptors
	StepNoNewPrivs
	StepLandlock
	StepSeccomp
	StepSelfTest
	StepExec
	StepSpec
	StepSupervise
	steps
)

var stepNames = [...]string{"", "create namespaces", "join its cgroup", "map the user", "set the host name", "bring up loopback", "build the private root",
	"show a granted path", "mount /proc", "drop capabilities", "set resource limits", "close descriptors", "set no_new_privs",
	"enforce Landlock", "load the seccomp filter", "test the confinement", "start the program", "read the spec", "be supervised"}

// String says what the step does, as in "could not …".
func (s Step) String() string {
	if s <= 0 || int(s) >= len(stepNames) {
		return "an unknown step"
	}
	return stepNames[s]
}

// Try names the forbidden acts that init attempts on itself after confinement.
type Try int32

// The attempts. Each must end in an error; which one is recorded.
const (
	TryOpenUngranted   Try = iota // open a file that no rule grants
	TryWriteRoot                  // create a file in /; Shared: in a directory that nothing grants
	TryStatHost                   // look at the host's root; not Shared
	TryUnshare                    // make a user namespace
	TryMount                      // mount a tmpfs
	TryUnixSocket                 // open an AF_UNIX socket
	TryInetSocket                 // open an AF_INET socket (net none)
	TryConnectOutside             // connect a UDP socket to 192.0.2.1 (net loopback); sends nothing
	TryBindOutside                // bind to 192.0.2.1 (net loopback)
	TryMultipathSocket            // open an MPTCP socket
	TryIOUring                    // set up an io_uring
	TryKeyring                    // read the kernel keyring
	TryChmodOutside               // change the mode of a directory that nothing grants (Shared)
	TryKillOutside                // signal 0 to init (Shared)
	Tries
)

// Outcome is what init measured. Errnos are 0 where the attempt was not made; a forbidden act that worked is -1
// and ends the start.
type Outcome struct {
	Failed Step          // 0: all held
	Index  int32         // which Mount, Link or attempt failed
	Errno  syscall.Errno //
	Tried  [Tries]int32  // errno of each attempt
	At     [steps]int64  // CLOCK_MONOTONIC in nanoseconds when each step ended
	Pid    int32         // pid inside, of init: 1
	Caps   uint64        // effective capabilities left: 0
}

// Record kinds on fd 4. Records are a kind byte and a fixed-size little-endian body: init may not allocate
// memory, so it cannot speak JSON.
const (
	KindPid     = 'p' // int32: init's pid in the launcher's pid namespace
	KindOutcome = 'o' // Outcome
	KindText    = 't' // uint16 length, then text: the launcher could not read or prepare the spec
)

// Wire is the wire form of Outcome: fixed-size fields only, no padding.
type Wire struct {
	Failed, Index, Errno, Pid int32
	Caps                      uint64
	Tried                     [Tries]int32
	At                        [steps]int64
}
