// Package held counts what a process holds of the machine, so that tests find what work has left behind.
package held

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Count is what this process holds. A number that cannot be read is 0.
type Count struct {
	Goroutines, Descriptors int
	Children                int // also those that nobody has collected
	Mounts                  int // in its namespace
	Cgroups                 int // that the sandbox made for it, by their name
	Resident                int // KiB of memory; not compared
}

// Now counts.
func Now() Count {
	c := Count{Goroutines: runtime.NumGoroutine()}
	fds, _ := os.ReadDir("/proc/self/fd")
	c.Descriptors = len(fds)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	c.Mounts = bytes.Count(mounts, []byte("\n"))
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		c.Children += len(strings.Fields(string(b)))
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(_ string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), fmt.Sprintf("cordon-%d-", os.Getpid())) {
			c.Cgroups++
		}
		return nil // what may not be looked at is not ours
	})
	status, _ := os.ReadFile("/proc/self/status")
	if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
		_, _ = fmt.Sscan(rest, &c.Resident)
	}
	return c
}

// More reports whether c holds more of anything than before.
func (c Count) More(before Count) bool {
	return c.Goroutines > before.Goroutines || c.Descriptors > before.Descriptors || c.Children > before.Children || c.Mounts > before.Mounts || c.Cgroups > before.Cgroups
}

// patience is how long what has been ended may take to go.
const patience = 5 * time.Second

// Settle waits until no more is held than before, and returns an error that names both counts and shows every goroutine if that
// does not happen.
func Settle(before Count) error { return settle(before, patience) }

func settle(before Count, patience time.Duration) error {
	now := Now()
	for end := time.Now().Add(patience); now.More(before); now = Now() {
		if time.Now().After(end) {
			stacks := make([]byte, 256<<10)
			return fmt.Errorf("held before: %+v, after: %+v\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
