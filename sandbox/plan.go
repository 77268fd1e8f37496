package sandbox

import (
	"fmt"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cordon/sandbox/spec"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Home is the private, empty home directory inside.
const Home = "/home/sandbox"

// System is what every program sees of the machine: programs and libraries, certificates, time zones. None of it is
// particular to a person, and no private key lies in it, not even one that only root can read. Entries that a machine lacks are skipped; symbolic links stay links.
var System = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates",
	"/etc/ca-certificates.conf", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/localtime", "/etc/mime.types", "/etc/protocols", "/etc/services", "/etc/os-release",
}

var devices = []string{"/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"}

const tmpBytes = 256 << 20 // bound of each private directory; counts against the memory limit too

// landlockConfigs are the exact rule sets by ABI version. Versions this table does not know are treated as the last
// one it does: the kernel keeps old rights meaning what they meant.
var landlockConfigs = []landlock.Config{1: landlock.V1, 2: landlock.V2, 3: landlock.V3, 4: landlock.V4, 5: landlock.V5,
	6: landlock.V6, 7: landlock.V7, 8: landlock.V8, 9: landlock.V9, 10: landlock.V10, 11: landlock.V11}

// Rights by kind of grant, cut down to what the ABI knows.
const (
	rightsRead  = llsys.AccessFSExecute | llsys.AccessFSReadFile | llsys.AccessFSReadDir
	rightsWrite = llsys.AccessFSReadFile | llsys.AccessFSReadDir | llsys.AccessFSWriteFile | llsys.AccessFSRemoveDir | llsys.AccessFSRemoveFile |
		llsys.AccessFSMakeDir | llsys.AccessFSMakeReg | llsys.AccessFSMakeSym | llsys.AccessFSMakeFifo | llsys.AccessFSRefer | llsys.AccessFSTruncate
	rightsDevice = llsys.AccessFSReadFile | llsys.AccessFSWriteFile
	rightsProc   = llsys.AccessFSReadFile | llsys.AccessFSReadDir
)

// writeRights are those of p's folders for writing.
func (p Profile) writeRights() uint64 {
	if p.Build {
		return rightsWrite | llsys.AccessFSExecute
	}
	return rightsWrite
}

// Command is what to run.
type Command struct {
	Argv []string // Argv[0] is an absolute path or a name looked up in Path inside
	Env  []string // NAME=value, besides PATH, HOME, LANG, USER and TMPDIR, which it may override
	Dir  string   // working directory inside; "" means Home
}

// Path is where programs are looked up inside.
var Path = []string{"/usr/local/bin", "/usr/bin", "/bin"}

// Plan turns what is wanted into what will be enforced on kernel k, or refuses by name. It is pure: it looks at its
// arguments only. The Report it returns holds promises; Start replaces them by measurements.
func Plan(p Profile, c Command, k Kernel, id Identity) (*spec.Spec, Report, error) {
	if err := p.Validate(); err != nil {
		return nil, Report{}, err
	}
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, Report{}, fmt.Errorf("no program to start")
	}
	for _, s := range slices.Concat(c.Argv, c.Env, []string{c.Dir}) {
		if strings.ContainsRune(s, 0) {
			return nil, Report{}, fmt.Errorf("argument or variable contains a NUL")
		}
	}
	if k.Namespaces != "" {
		return planShared(p, c, k)
	}
	r := Report{Tier: TierStrong, Kernel: k.Release, Landlock: min(k.Landlock, len(landlockConfigs)-1), Errata: k.Errata, Limits: k.Groups.String()}
	if err := foundation(k); err != nil {
		r.Tier = TierRefused
		return nil, r, err
	}
	for _, g := range guaranteesFor(p) {
		r.Guarantees = append(r.Guarantees, Held{g, Enforced, "planned"})
	}
	s := &spec.Spec{Argv: c.Argv, Path: Path, Dir: c.Dir, Hostname: "sandbox", TmpBytes: tmpBytes, Net: p.Net, Listen: listening(p), Observe: p.Observe}
	if s.Dir == "" {
		s.Dir = Home
	}
	s.Env = environment(c.Env)
	planFiles(s, p, id, r)
	planLimits(s, &r, p, k)
	r.countEnv(s)
	r.Get(KillTree).Detail = "pid namespace"
	if k.Groups.usable() {
		r.Get(KillTree).Detail = "pid namespace and " + k.Groups.String()
	}
	if lost := r.missing(p.Demand); len(lost) > 0 {
		r.Tier = TierRefused
		return nil, r, &Refusal{Missing: lost, Fix: k.Fix}
	}
	return s, r, nil
}

// listening are the ports inside on which the host accepts.
func listening(p Profile) []uint16 {
	if p.Net == NetHosts {
		return append([]uint16{spec.EgressPort}, p.Reach...)
	}
	return p.Reach
}

// foundation checks what no start can do without.
func foundation(k Kernel) error {
	var lost []Held
	fix := k.Fix
	if k.Landlock < 1 {
		lost = append(lost, Held{FSRead, Missing, "this kernel has no Landlock"})
		if fix == "" {
			fix = "use a kernel 5.13 or newer with landlock in its list of security modules (lsm=)"
		}
	}
	if !k.Seccomp {
		lost = append(lost, Held{Syscalls, Missing, "this kernel has no seccomp filters"})
	}
	if len(lost) > 0 {
		return &Refusal{Missing: lost, Fix: fix}
	}
	return nil
}

// environment returns the defaults overridden by extra, in a stable order.
func environment(extra []string) []string {
	env := []string{"PATH=" + strings.Join(Path, ":"), "HOME=" + Home, "LANG=C.UTF-8"}
	for _, e := range extra {
		name, _, _ := strings.Cut(e, "=")
		env = slices.DeleteFunc(env, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		env = append(env, e)
	}
	return env
}

// ruleset is what Landlock denies where nothing grants it.
func ruleset(r Report) spec.Landlock {
	cfg := landlockConfigs[r.Landlock]
	handled := uint64(cfg.HandledAccessFS)
	scoped := uint64(cfg.Scoped)
	if r.Errata&2 == 0 {
		scoped &^= llsys.ScopeSignal // before erratum 2 was fixed, threads of one process could not signal each other
	}
	return spec.Landlock{ABI: r.Landlock, Handled: handled, Scoped: scoped, Private: rightsWrite & handled, Proc: rightsProc & handled}
}

func planFiles(s *spec.Spec, p Profile, id Identity, r Report) {
	s.Landlock = ruleset(r)
	handled := s.Landlock.Handled
	add := func(path string, rights uint64, m spec.Mount) {
		m.Source, m.Target, m.Access = path, path, rights&handled
		s.Mounts = append(s.Mounts, m)
	}
	for _, d := range System {
		add(d, rightsRead, spec.Mount{Optional: true})
	}
	for _, d := range devices {
		add(d, rightsDevice, spec.Mount{Device: true})
	}
	for _, d := range p.Read {
		add(d, rightsRead, spec.Mount{})
	}
	for _, d := range slices.Concat(p.Write, between(p)) {
		add(d, p.writeRights(), spec.Mount{Write: true})
	}
	s.Dirs = []string{"/tmp", "/dev/shm", Home}
	s.Links = []spec.Link{{Path: "/dev/fd", To: "/proc/self/fd"}, {Path: "/dev/stdin", To: "/proc/self/fd/0"},
		{Path: "/dev/stdout", To: "/proc/self/fd/1"}, {Path: "/dev/stderr", To: "/proc/self/fd/2"}}
	s.Files = []spec.File{
		{Path: "/etc/passwd", Data: fmt.Sprintf("user:x:%d:%d::%s:/bin/sh\n", id.UID, id.GID, Home)},
		{Path: "/etc/group", Data: fmt.Sprintf("user:x:%d:\n", id.GID)},
	}
	s.Files = append(s.Files, spec.File{Path: "/etc/hosts", Data: "127.0.0.1 localhost\n::1 localhost\n"},
		spec.File{Path: "/etc/nsswitch.conf", Data: "passwd: files\ngroup: files\nhosts: files\n"})
}

// between returns the directories that lie between a grant for reading and the grant for writing around it. Each becomes
// a mount of its own: what is mounted on cannot be renamed, so nothing else can be put in the place of what must not be
// changed.
func between(p Profile) []string {
	var all []string
	for _, path := range p.Read {
		var dirs []string
		for d := filepath.Dir(path); d != "/"; d = filepath.Dir(d) {
			if slices.Contains(p.Write, d) {
				all, dirs = append(all, dirs...), nil // and on: this one may lie in another
				continue
			}
			if slices.Contains(p.Read, d) || slices.Contains(System, d) {
				break
			}
			if !slices.Contains(all, d) {
				dirs = append(dirs, d)
			}
		}
	}
	return all
}

// planLimits puts what a cgroup cannot bound into rlimits, and says so.
func planLimits(s *spec.Spec, r *Report, p Profile, k Kernel) {
	limit := func(resource int, max uint64) { s.Limits = append(s.Limits, spec.Limit{Resource: resource, Max: max}) }
	limit(unix.RLIMIT_CORE, 0)
	limit(unix.RLIMIT_NOFILE, 4096)
	limit(unix.RLIMIT_MEMLOCK, 8<<20)
	limit(unix.RLIMIT_SIGPENDING, 1024) // they are counted for the user as a whole, outside too
	mem, pids, cpu := r.Get(LimitsMemory), r.Get(LimitsPids), r.Get(LimitsCPU)
	switch {
	case p.Memory == 0:
		mem.State, mem.Detail = NotDemanded, "no limit was set"
	case k.Groups.Memory:
		mem.Detail = fmt.Sprintf("%s for the whole tree, no swap (%s)", Bytes(p.Memory), k.Groups)
	default:
		// Address space cannot be bounded (WebAssembly reserves gigabytes), writable private memory can.
		limit(unix.RLIMIT_DATA, uint64(p.Memory))
		mem.State, mem.Detail = Missing, fmt.Sprintf("%s for each process, not for the tree: %s", Bytes(p.Memory), k.Groups.lack())
	}
	switch {
	case p.Pids == 0:
		pids.State, pids.Detail = NotDemanded, "no limit was set"
	case k.Groups.Pids:
		pids.Detail = fmt.Sprintf("%d tasks (%s)", p.Pids, k.Groups)
	default:
		// Counted per user namespace since Linux 5.14, so this bounds the sandbox, not the desktop.
		limit(unix.RLIMIT_NPROC, uint64(p.Pids))
		pids.Detail = fmt.Sprintf("%d tasks (RLIMIT_NPROC in its own user namespace)", p.Pids)
		if !atLeast(k.Release, 5, 14) || os0(s) {
			pids.State, pids.Detail = Missing, fmt.Sprintf("%d tasks wanted: %s", p.Pids, k.Groups.lack())
		}
	}
	switch {
	case p.CPU == 0:
		cpu.State, cpu.Detail = NotDemanded, "no limit was set"
	case k.Groups.CPU:
		cpu.Detail = fmt.Sprintf("%g cores (%s)", p.CPU, k.Groups)
	default:
		cpu.State, cpu.Detail = Missing, fmt.Sprintf("%g cores wanted: %s", p.CPU, k.Groups.lack())
	}
}

// os0 reports whether the program will run as uid 0, whose processes RLIMIT_NPROC does not bound.
func os0(s *spec.Spec) bool {
	for _, f := range s.Files {
		if f.Path == "/etc/passwd" {
			return strings.HasPrefix(f.Data, "user:x:0:")
		}
	}
	return true
}

// Identity is who runs the program.
type Identity struct{ UID, GID int }

// CurrentIdentity returns this process's user and group.
func CurrentIdentity() Identity {
	return Identity{unix.Geteuid(), unix.Getegid()}
}

// RealHome returns the home directory of the user on the host, which is never granted whole.
func RealHome() string {
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) {
		return filepath.Clean(u.HomeDir)
	}
	return ""
}

func atLeast(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

// Bytes writes a size for people: "512 MiB".
func Bytes(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + " " + units[i:i+1] + "iB"
}

// ParseBytes reads "512M", "2G", "64K", "1048576"; "" is 0.
func ParseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	units := map[byte]int64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
	number, unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I"), int64(1)
	if number != "" {
		if u, ok := units[number[len(number)-1]]; ok {
			number, unit = number[:len(number)-1], u
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("size %q: write a number with K, M, G or T, such as 512M", s)
	}
	return n * unit, nil
}

// Ports writes ports for people: "80, 443".
func Ports(ps []uint16) string {
	words := make([]string, len(ps))
	for i, p := range ps {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, ", ")
}

// InSystem reports whether path is part of System, and so visible in every sandbox.
func InSystem(path string) bool { return Below(path, System...) }

// Below reports whether path is one of dirs or lies below one. All are absolute and clean.
func Below(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
}
