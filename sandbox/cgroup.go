package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Groups describes where this process may make cgroups. The zero value means nowhere.
type Groups struct {
	Version int    // 0, 1 or 2
	Mount   string // v2: the mount point; v1: ""
	Path    string // v2: our own place, under which children are made
	Memory  bool   // the controllers that can be used
	Pids    bool
	CPU     bool

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

const groupRoot = "/sys/fs/cgroup"

// probeGroups prefers a delegated v2 hierarchy, then v1 controllers whose directories this process may write.
func probeGroups() Groups {
	own, err := ownGroups("/proc/self/cgroup")
	if err != nil {
		return Groups{}
	}
	if path, ok := own[""]; ok {
		if g := probeV2(groupRoot, path); g.usable() {
			return g
		}
	}
	g := Groups{Version: 1, paths: own}
	for name, ok := range map[string]*bool{"memory": &g.Memory, "pids": &g.Pids, "cpu": &g.CPU} {
		path, mounted := own[name]
		*ok = mounted && unix.Access(filepath.Join(groupRoot, name, path), unix.W_OK) == nil
	}
	if !g.usable() {
		return Groups{}
	}
	return g
}

// probeV2 accepts a cgroup only when it was handed to us: writable, and marked as delegated wherever systemd manages
// the tree. Being root is no permission to write into systemd's cgroups.
func probeV2(mount, path string) Groups {
	dir := filepath.Join(mount, path)
	if unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil || unix.Access(filepath.Join(dir, "cgroup.subtree_control"), unix.W_OK) != nil {
		return Groups{}
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		var mark [8]byte
		n, err := unix.Getxattr(dir, "user.delegate", mark[:])
		if err != nil || string(mark[:n]) != "1" {
			if n, err = unix.Getxattr(dir, "trusted.delegate", mark[:]); err != nil || string(mark[:n]) != "1" {
				return Groups{}
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return Groups{}
	}
	have := strings.Fields(string(b))
	return Groups{Version: 2, Mount: mount, Path: path, Memory: slices.Contains(have, "memory"), Pids: slices.Contains(have, "pids"), CPU: slices.Contains(have, "cpu")}
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

// Usage is what a tree of processes uses now.
type Usage struct {
	Memory int64         // bytes
	Tasks  int           //
	CPU    time.Duration // since the start
	OOM    bool          // the kernel killed it for its memory limit
	Source string        // "cgroup v2", "cgroup v1", "" when not known
}

// group is one cgroup made for one sandbox.
type group interface {
	// join returns files into which the sandbox's first process writes itself; the caller closes them. None means attach.
	join() ([]*os.File, error)
	attach(pid int) error // the launcher, before it reads the Spec; does nothing where join gives files
	kill() error          // every process in it
	usage() Usage
	remove(within time.Duration) error // once all have ended; the kernel may count them a little longer
}

var groupCount atomic.Uint64

// groupPrefix marks our cgroups: cordon-<pid of the owner>-<count>.
const groupPrefix = "cordon-"

// newGroup makes a cgroup for p, or returns nil where none is wanted or possible.
func newGroup(g Groups, p Profile) (group, error) {
	if !g.usable() || p.Memory == 0 && p.Pids == 0 && p.CPU == 0 {
		return nil, nil
	}
	name := fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), groupCount.Add(1))
	if g.Version == 2 {
		return newV2(g, name, p)
	}
	return newV1(g, name, p)
}

type v1Group struct {
	c    cgroup1.Cgroup
	kind cgroup1.Name // a controller that knows the processes
	dirs []string     // one for each controller
}

const cpuPeriod = 100_000 // microseconds

func newV1(g Groups, name string, p Profile) (group, error) {
	var subsystems []cgroup1.Subsystem // only what is limited: looking for all of them, as cgroup1.Default does, takes longer
	res := &specs.LinuxResources{}
	if g.Memory && p.Memory > 0 {
		subsystems = append(subsystems, cgroup1.NewMemory(groupRoot, cgroup1.IgnoreModules("memsw", "kmem", "kmem.tcp"))) // nobody reads those
		res.Memory = &specs.LinuxMemory{Limit: &p.Memory, Swap: &p.Memory}
	}
	if g.Pids && p.Pids > 0 {
		subsystems = append(subsystems, cgroup1.NewPids(groupRoot))
		n := int64(p.Pids)
		res.Pids = &specs.LinuxPids{Limit: &n}
	}
	if g.CPU && p.CPU > 0 {
		subsystems = append(subsystems, cgroup1.NewCpu(groupRoot))
		quota, period := int64(p.CPU*cpuPeriod), uint64(cpuPeriod)
		res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if len(subsystems) == 0 {
		return nil, nil
	}
	hierarchy := func() ([]cgroup1.Subsystem, error) { return subsystems, nil }
	path := func(c cgroup1.Name) (string, error) { return filepath.Join(g.paths[string(c)], name), nil }
	c, err := cgroup1.New(path, res, cgroup1.WithHierarchy(hierarchy))
	if err != nil && res.Memory != nil { // kernels without swap accounting
		res.Memory.Swap = nil
		c, err = cgroup1.New(path, res, cgroup1.WithHierarchy(hierarchy))
	}
	made := &v1Group{c: c, kind: subsystems[0].Name()}
	for _, s := range subsystems {
		made.dirs = append(made.dirs, filepath.Join(groupRoot, string(s.Name()), g.paths[string(s.Name())], name))
	}
	if err != nil {
		_ = made.remove(0)
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	return made, nil
}

func (g *v1Group) join() ([]*os.File, error) {
	var files []*os.File
	for _, dir := range g.dirs {
		f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (g *v1Group) attach(int) error { return nil }

func (g *v1Group) kill() error {
	// Processes are killed until none is left: each round can only miss those forked during it, and the pids limit
	// bounds how often that can happen.
	for range 1000 {
		ps, err := g.c.Processes(g.kind, true)
		switch {
		case errors.Is(err, os.ErrNotExist): // removed already
			return nil
		case err != nil || len(ps) == 0:
			return err
		}
		for _, p := range ps {
			_ = unix.Kill(p.Pid, unix.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("processes remain after a thousand rounds")
}

func (g *v1Group) usage() Usage {
	u := Usage{Source: "cgroup v1"}
	m, err := g.c.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return u
	}
	if m.Memory != nil && m.Memory.Usage != nil {
		u.Memory = int64(m.Memory.Usage.Usage)
	}
	if m.MemoryOomControl != nil {
		u.OOM = m.MemoryOomControl.OomKill > 0
	}
	if m.Pids != nil {
		u.Tasks = int(m.Pids.Current)
	}
	if m.CPU != nil && m.CPU.Usage != nil {
		u.CPU = time.Duration(m.CPU.Usage.Total)
	}
	return u
}

// remove does not use Delete, which walks the directories for processes first and then waits in steps of 10 ms.
func (g *v1Group) remove(within time.Duration) error {
	return retry(within, func() error {
		for _, dir := range slices.Backward(g.dirs) { // the one that kill looks at goes last
			if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
				return err
			}
		}
		return nil
	})
}

type v2Group struct {
	m   *cgroup2.Manager
	dir string
}

func newV2(g Groups, name string, p Profile) (group, error) {
	// Processes may sit only in leaves: move ourselves out of the way first, once.
	host := filepath.Join(g.Mount, g.Path, "host")
	if err := os.Mkdir(host, 0o755); err != nil && !os.IsExist(err) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(host, "cgroup.procs"), []byte("0"), 0); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	res := &cgroup2.Resources{}
	if g.Memory && p.Memory > 0 {
		none, together := int64(0), true
		res.Memory = &cgroup2.Memory{Max: &p.Memory, Swap: &none, OOMGroup: &together}
	}
	if g.Pids && p.Pids > 0 {
		res.Pids = &cgroup2.Pids{Max: int64(p.Pids)}
	}
	if g.CPU && p.CPU > 0 {
		quota := int64(p.CPU * cpuPeriod)
		res.CPU = &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, nil)}
	}
	m, err := cgroup2.NewManager(filepath.Join(g.Mount, g.Path), "/"+name, res)
	if err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	return &v2Group{m, filepath.Join(g.Mount, g.Path, name)}, nil
}

func (g *v2Group) join() ([]*os.File, error) { return nil, nil }
func (g *v2Group) attach(pid int) error      { return g.m.AddProc(uint64(pid)) }
func (g *v2Group) kill() error               { return g.m.Kill() }
func (g *v2Group) remove(within time.Duration) error {
	return retry(within, func() error {
		if err := unix.Rmdir(g.dir); err != unix.ENOENT { // nothing inside can make cgroups below it
			return err
		}
		return nil
	})
}

func (g *v2Group) usage() Usage {
	u := Usage{Source: "cgroup v2"}
	s, err := g.m.Stat()
	if err != nil {
		return u
	}
	u.Memory = int64(s.GetMemory().GetUsage())
	u.Tasks = int(s.GetPids().GetCurrent())
	u.CPU = time.Duration(s.GetCPU().GetUsageUsec()) * time.Microsecond
	u.OOM = s.GetMemoryEvents().GetOomKill() > 0
	return u
}

// retry repeats a removal while the kernel still counts the last process as present, usually for microseconds.
func retry(within time.Duration, f func() error) error {
	deadline := time.Now().Add(within)
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
		time.Sleep(pause)
	}
}

// Sweep removes the empty cgroups that owners which are no longer alive left behind. It touches nothing else.
func (g Groups) Sweep() {
	var roots []string
	switch {
	case g.Version == 2:
		roots = []string{filepath.Join(g.Mount, g.Path)}
	case g.Version == 1:
		for _, c := range []string{"memory", "pids", "cpu"} {
			roots = append(roots, filepath.Join(groupRoot, c, g.paths[c]))
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
