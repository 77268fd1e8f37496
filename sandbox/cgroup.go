package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Groups describes where this process may make cgroups. The zero value means nowhere.
type Groups struct {
	Version int    // 0, 1 or 2
	Path    string // v2: the cgroup under which children are made, as a path below the mount point
	Memory  bool   // the controllers that can be used
	Pids    bool
	CPU     bool
	Unready string // v2: why Path is not ready for children yet; settle makes it so. "" when it is
	Why     string // why there is nowhere, "" when not known

	paths map[string]string // v1: our own place by controller
}

func (g Groups) usable() bool { return g.Version > 0 && (g.Memory || g.Pids || g.CPU) }

// String returns "cgroup v2", "cgroup v1" or "rlimits".
func (g Groups) String() string {
	if g.usable() {
		return fmt.Sprintf("cgroup v%d", g.Version)
	}
	return "rlimits"
}

// lack says why a limit cannot be kept for a whole tree.
func (g Groups) lack() string {
	if g.Why != "" {
		return g.Why
	}
	return "no writable cgroup"
}

// place is the directory in which children are made for a controller.
func (g Groups) place(controller string) string {
	if g.Version == 2 {
		return filepath.Join(groupRoot, g.Path)
	}
	return filepath.Join(groupRoot, controller, g.paths[controller])
}

const groupRoot = "/sys/fs/cgroup"

// controllers are those that limits need.
var controllers = []string{"memory", "pids", "cpu"}

// v1Place splits the directory of a v1 cgroup into its controller and its path there.
func v1Place(dir string) (controller, path string, ok bool) {
	rest, ok := strings.CutPrefix(dir, groupRoot+"/")
	controller, path, found := strings.Cut(rest, "/")
	return controller, "/" + path, ok && found
}

// probeGroups prefers v2, where a place is ours or systemd's user manager would give us one, then v1 controllers whose
// directories this process may write.
func probeGroups() Groups {
	own, err := ownGroups("/proc/self/cgroup")
	if err != nil {
		return Groups{Why: "/proc/self/cgroup cannot be read"}
	}
	if path, ok := own[""]; ok && isUnified() {
		return probeV2(path)
	}
	g := Groups{Version: 1, paths: own}
	for name, ok := range map[string]*bool{"memory": &g.Memory, "pids": &g.Pids, "cpu": &g.CPU} {
		path, mounted := own[name]
		*ok = mounted && unix.Access(filepath.Join(groupRoot, name, path), unix.W_OK) == nil
	}
	if !g.usable() {
		return Groups{Why: "no cgroup v1 controller can be written"}
	}
	return g
}

// isUnified reports whether v2 is what is mounted, and not a place beside v1 without controllers.
func isUnified() bool {
	var st unix.Statfs_t
	return unix.Statfs(groupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// hostName is the leaf in which we live ourselves, below a cgroup that is ours: processes may sit only in leaves.
const hostName = "host"

// probeV2 looks at our own cgroup, or at the one above when we are in its leaf for the host already.
func probeV2(path string) Groups {
	if up := filepath.Dir(path); filepath.Base(path) == hostName && delegated(up) {
		g := v2At(up)
		if have, err := os.ReadFile(filepath.Join(groupRoot, up, "cgroup.subtree_control")); err == nil {
			g.use(string(have))
			return g
		}
	}
	if delegated(path) {
		g := v2At(path)
		g.Unready = "we are not in a leaf of it"
		return g
	}
	if dir, ok := managed(); ok {
		g := v2At(dir)
		g.Path, g.Unready = "", "the cgroup of this process is not ours; systemd has to make one"
		return g
	}
	return Groups{Why: "the cgroup of this process is not ours, and no service manager can be asked for one"}
}

// v2At reads which controllers the cgroup at path has.
func v2At(path string) Groups {
	b, err := os.ReadFile(filepath.Join(groupRoot, path, "cgroup.controllers"))
	if err != nil {
		return Groups{Why: err.Error()}
	}
	g := Groups{Version: 2, Path: path}
	g.use(string(b))
	return g
}

func (g *Groups) use(controllers string) {
	have := strings.Fields(controllers)
	g.Memory, g.Pids, g.CPU = slices.Contains(have, "memory"), slices.Contains(have, "pids"), slices.Contains(have, "cpu")
}

// delegated accepts a v2 cgroup only when it was handed to us: writable, and marked as delegated wherever systemd manages
// the tree. Being root is no permission to write into systemd's cgroups. The user's manager marks nothing before systemd
// 253, so a scope with the name that we ask for counts as marked.
func delegated(path string) bool {
	dir := filepath.Join(groupRoot, path)
	for _, file := range []string{"cgroup.procs", "cgroup.subtree_control"} {
		if unix.Access(filepath.Join(dir, file), unix.W_OK) != nil {
			return false
		}
	}
	if base := filepath.Base(path); !bySystemd() || strings.HasPrefix(base, groupPrefix) && strings.HasSuffix(base, ".scope") {
		return true
	}
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var mark [8]byte
		if n, err := unix.Getxattr(dir, name, mark[:]); err == nil && string(mark[:n]) == "1" {
			return true
		}
	}
	return false
}

// bySystemd reports whether systemd manages the machine, and with it the tree of cgroups (sd_booted(3)).
func bySystemd() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// managed returns the cgroup below which a service manager would make one for us: systemd's, or the user's own.
func managed() (path string, ok bool) {
	if !bySystemd() || managerBus() == "" {
		return "", false
	}
	if os.Geteuid() == 0 {
		return "/", true
	}
	uid := os.Geteuid()
	path = fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service", uid, uid)
	_, err := os.Stat(filepath.Join(groupRoot, path))
	return path, err == nil
}

// managerBus returns the address of the bus on which the service manager listens, or "". The runtime directory is taken by
// its standard name: the environment may belong to somebody who must not choose which bus we trust.
func managerBus() string {
	path := "/run/dbus/system_bus_socket"
	if uid := os.Geteuid(); uid != 0 {
		path = fmt.Sprintf("/run/user/%d/bus", uid)
	}
	if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeSocket == 0 {
		return ""
	}
	return "unix:path=" + path
}

// ownGroups reads which cgroup this process is in, by controller; "" is the unified hierarchy.
func ownGroups(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	own := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		parts := strings.SplitN(s.Text(), ":", 3)
		if len(parts) == 3 {
			for c := range strings.SplitSeq(parts[1], ",") {
				own[c] = parts[2]
			}
		}
	}
	return own, nil
}

// settle makes a v2 place ready: moves this process into a leaf and hands the controllers down to the leaves beside it.
// Where the place is not ours alone, or not ours at all, the service manager is asked for a scope; other processes are
// never moved. What it returns is ready, or says why there is nowhere.
func (g Groups) settle(timeout time.Duration) Groups {
	if g.Version != 2 || g.Unready == "" {
		return g
	}
	if now := probeGroups(); now.Version == 2 && now.Unready == "" {
		return now // done by somebody else in this process since g was found out
	}
	if g.Path != "" {
		if ready, err := g.descend(); err == nil {
			return ready
		}
	}
	path, err := newScope(timeout)
	if err == nil {
		g.Path = path
		if g, err = g.descend(); err == nil {
			return g
		}
	}
	return Groups{Why: "no cgroup of its own: " + err.Error()}
}

// descend moves this process into the leaf for the host and turns the controllers on for its siblings.
func (g Groups) descend() (Groups, error) {
	dir := filepath.Join(groupRoot, g.Path)
	leaf := filepath.Join(dir, hostName)
	if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
		return g, err
	}
	if err := control(filepath.Join(leaf, "cgroup.procs"), "0"); err != nil {
		return g, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return g, err
	}
	have := strings.Fields(string(b))
	on := ""
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			continue
		}
		// One by one: what one lacks must not cost the others. EBUSY: somebody else's process is in there.
		if err = control(filepath.Join(dir, "cgroup.subtree_control"), "+"+c); err == nil {
			on += " " + c
		}
	}
	if on == "" {
		if err == nil {
			err = fmt.Errorf("%s has none of the controllers %v", g.Path, controllers)
		}
		return g, err
	}
	g.use(on)
	g.Unready = ""
	return g, nil
}

// Usage is what a tree of processes uses now.
type Usage struct {
	Memory   int64         // bytes
	Tasks    int           //
	CPU      time.Duration // since the start
	Pressure Pressure      // v2 only
	OOM      bool          // the kernel killed it for its memory limit
	Source   string        // "cgroup v2", "cgroup v1", "" when not known
}

// Pressure is the share of the last ten seconds in which some task waited for a resource, 0 to 1 (kernel doc,
// accounting/psi).
type Pressure struct{ Memory, CPU float64 }

// sweep removes the empty cgroups that owners which are no longer alive left behind. It touches nothing else.
func (g Groups) sweep() {
	var roots []string
	switch {
	case g.Version == 2 && g.Path != "":
		roots = []string{g.place("")}
	case g.Version == 1:
		for _, c := range controllers {
			roots = append(roots, g.place(c))
		}
	}
	for _, root := range roots {
		entries, err := os.ReadDir(root)
		if err != nil {
			continue
		}
		for _, e := range entries {
			rest, ours := strings.CutPrefix(e.Name(), groupPrefix)
			owner, _, _ := strings.Cut(rest, "-")
			pid, err := strconv.Atoi(owner)
			if ours && err == nil && unix.Kill(pid, 0) == unix.ESRCH {
				_ = unix.Rmdir(filepath.Join(root, e.Name())) // fails while anything lives in it
			}
		}
	}
}
