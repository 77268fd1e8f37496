//go:build nolimits

package sandbox

import (
	"errors"
	"os"
)

// newGroup makes no cgroup: the library for that and what it brings along double the start time of a small program, so
// the command that starts programs without limits is built without it. A profile with limits is refused here.
func newGroup(_ Groups, p Profile) (group, error) {
	if p.Memory != 0 || p.Pids != 0 || p.CPU != 0 {
		return nil, errors.New("this program was built without limits")
	}
	return nil, nil
}

func closeAll([]*os.File) {}
