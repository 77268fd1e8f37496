//go:build !nolimits

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var groupCount atomic.Uint64

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
