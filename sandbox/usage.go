//go:build !small

package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/cgroups/v3/cgroup2/stats"
)

// usage reads what the group uses now. What cannot be read is left zero.
func (g *group) usage() Usage {
	if g.version == 2 {
		return g.usageV2()
	}
	return g.usageV1()
}

func (g *group) usageV1() Usage {
	u := Usage{Source: "cgroup v1", OOM: g.outOfMemory()}
	var subsystems []cgroup1.Subsystem
	at := map[cgroup1.Name]string{}
	for _, dir := range g.dirs {
		kind, path, ok := v1Place(dir)
		if !ok {
			continue
		}
		at[cgroup1.Name(kind)] = path
		switch cgroup1.Name(kind) {
		case cgroup1.Memory:
			subsystems = append(subsystems, cgroup1.NewMemory(groupRoot, cgroup1.IgnoreModules("memsw", "kmem", "kmem.tcp")))
		case cgroup1.Pids:
			subsystems = append(subsystems, cgroup1.NewPids(groupRoot))
		case cgroup1.Cpu:
			subsystems = append(subsystems, cgroup1.NewCpuacct(groupRoot))
			at[cgroup1.Cpuacct] = path // mounted together everywhere that systemd or a distribution mounts them
		}
	}
	c, err := cgroup1.Load(func(n cgroup1.Name) (string, error) { return at[n], nil },
		cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) { return subsystems, nil }))
	if err != nil {
		return u
	}
	m, err := c.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return u
	}
	if m.Memory != nil && m.Memory.Usage != nil {
		u.Memory = int64(m.Memory.Usage.Usage)
	}
	if m.Pids != nil {
		u.Tasks = int(m.Pids.Current)
	}
	if total := m.GetCPU().GetUsage().GetTotal(); total > 0 {
		u.CPU = time.Duration(total)
	} else {
		u.CPU = processorTime(filepath.Join(g.dirs[0], "cgroup.procs"))
	}
	return u
}

// processorTime adds up what the processes listed in file have used, with their ended children: without a limit for the
// processor there is no v1 cgroup that counts it.
func processorTime(file string) time.Duration {
	const second = 100 // clock ticks, the same on every Linux (proc_pid_stat(5), sysconf(3))
	var ticks int64
	list, _ := os.ReadFile(file)
	for pid := range strings.FieldsSeq(string(list)) {
		stat, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ") // after the name, which may hold anything
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			continue // it has ended
		}
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / second
}

func (g *group) usageV2() Usage {
	u := Usage{Source: "cgroup v2", OOM: g.outOfMemory()}
	rel, err := filepath.Rel(groupRoot, g.dirs[0])
	if err != nil {
		return u
	}
	m, err := cgroup2.Load("/"+rel, cgroup2.WithMountpoint(groupRoot))
	if err != nil {
		return u
	}
	s, err := m.Stat()
	if err != nil {
		return u
	}
	u.Memory = int64(s.GetMemory().GetUsage())
	u.Tasks = int(s.GetPids().GetCurrent())
	u.CPU = time.Duration(s.GetCPU().GetUsageUsec()) * time.Microsecond
	u.Pressure = Pressure{Memory: stalled(s.GetMemory().GetPSI()), CPU: stalled(s.GetCPU().GetPSI())}
	return u
}

// stalled is the share of the last ten seconds in which some task waited, 0 to 1.
func stalled(p *stats.PSIStats) float64 {
	if p.GetSome() == nil {
		return 0
	}
	return p.GetSome().GetAvg10() / 100
}
