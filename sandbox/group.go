package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// group is one cgroup, made for one sandbox. Making, killing and removing it is a few writes, and they are written here:
// the library for cgroups, which reads their statistics (usage.go), doubles the start time of a small program.
type group struct {
	version int
	dirs    []string // v1: one for each controller; v2: the one
	memory  int64    // its limit in bytes, 0 for none
}

// groupPrefix marks our cgroups: cordon-<pid of the owner>-<count>.
const groupPrefix = "cordon-"

var groupCount atomic.Uint64

// setting is one value to write into a control file.
type setting struct {
	controller, file, value string
	optional                bool // the kernel may lack it
}

const cpuPeriod = 100_000 // microseconds

// settings are what p asks for, as far as g has the controllers. In both hierarchies the order matters: swap comes after
// memory, because it cannot be lower.
func (g Groups) settings(p Profile) (all []setting) {
	put := func(have bool, s ...setting) {
		if have {
			all = append(all, s...)
		}
	}
	bytes, tasks := strconv.FormatInt(p.Memory, 10), strconv.Itoa(p.Pids)
	quota := strconv.FormatInt(int64(math.Round(p.CPU*cpuPeriod)), 10)
	memory, pids, cpu := g.Memory && p.Memory > 0, g.Pids && p.Pids > 0, g.CPU && p.CPU > 0
	if g.Version == 2 {
		// No memory.high: just below max it throttles for minutes and never kills.
		put(memory, setting{"memory", "memory.max", bytes, false}, setting{"memory", "memory.swap.max", "0", true}, setting{"memory", "memory.oom.group", "1", true})
		put(pids, setting{"pids", "pids.max", tasks, false})
		put(cpu, setting{"cpu", "cpu.max", fmt.Sprint(quota, " ", cpuPeriod), false})
		return all
	}
	put(memory, setting{"memory", "memory.limit_in_bytes", bytes, false}, setting{"memory", "memory.memsw.limit_in_bytes", bytes, true})
	put(pids, setting{"pids", "pids.max", tasks, false})
	put(cpu, setting{"cpu", "cpu.cfs_period_us", fmt.Sprint(cpuPeriod), false}, setting{"cpu", "cpu.cfs_quota_us", quota, false})
	return all
}

// wantsGroup reports whether p has a limit that only a cgroup bounds for the whole tree.
func wantsGroup(p Profile) bool { return p.Memory > 0 || p.Pids > 0 || p.CPU > 0 }

// newGroup makes a cgroup for p, or returns nil where none is wanted or possible.
func newGroup(g Groups, p Profile) (*group, error) {
	values := g.settings(p)
	if len(values) == 0 {
		return nil, nil
	}
	name := fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), groupCount.Add(1))
	made := &group{version: g.Version}
	if g.Memory {
		made.memory = p.Memory
	}
	for _, s := range values {
		dir := filepath.Join(g.place(s.controller), name)
		if !slices.Contains(made.dirs, dir) {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), made.remove(0))
			}
			made.dirs = append(made.dirs, dir)
		}
		if err := control(filepath.Join(dir, s.file), s.value); err != nil && !(s.optional && errors.Is(err, fs.ErrNotExist)) {
			return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), made.remove(0))
		}
	}
	return made, nil
}

// control writes value into a control file, which the kernel has made.
func control(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// join returns what lets the sandbox's first process be in the group from its beginning; the caller closes the files. into
// says that the one file is the directory of a v2 cgroup, into which init is cloned. Otherwise they are the task files of
// v1, into which init writes itself.
func (g *group) join() (files []*os.File, into bool, err error) {
	if g.version == 2 {
		fd, err := unix.Open(g.dirs[0], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, true, err
		}
		return []*os.File{os.NewFile(uintptr(fd), g.dirs[0])}, true, nil
	}
	for _, dir := range g.dirs {
		f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			closeAll(files)
			return nil, false, err
		}
		files = append(files, f)
	}
	return files, false, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// kill ends every process in the group. It returns nil when none is left, or the kernel ends them.
func (g *group) kill() error {
	if g.version == 2 {
		if err := control(filepath.Join(g.dirs[0], "cgroup.kill"), "1"); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Linux before 5.14, or removed already.
	}
	// Processes are killed until none is left: each round can only miss those forked during it, and the pids limit
	// bounds how often that can happen.
	for range 1000 {
		b, err := os.ReadFile(filepath.Join(g.dirs[len(g.dirs)-1], "cgroup.procs"))
		pids := strings.Fields(string(b))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || len(pids) == 0:
			return err
		}
		for _, field := range pids {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("processes remain after a thousand rounds")
}

// outOfMemory reports whether the kernel killed something in the group for its memory limit.
func (g *group) outOfMemory() bool {
	for _, dir := range g.dirs {
		for _, file := range []string{"memory.events", "memory.oom_control"} { // of v2, of v1; both have the line
			b, _ := os.ReadFile(filepath.Join(dir, file))
			for line := range strings.Lines(string(b)) {
				if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
					return true
				}
			}
		}
	}
	return false
}

// remove removes the group once every process in it has ended; the kernel may count the last one a little longer,
// usually for microseconds.
func (g *group) remove(within time.Duration) error {
	deadline := time.Now().Add(within)
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		var err error
		for _, dir := range g.dirs {
			if e := unix.Rmdir(dir); e != nil && e != unix.ENOENT { // nothing inside can make cgroups below it
				err = fmt.Errorf("remove cgroup: %w", e)
			}
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
