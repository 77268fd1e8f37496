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

// groupPrefix marks our cgroups: cordon-<pid of the owner>-<count>.
const groupPrefix = "cordon-"

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
