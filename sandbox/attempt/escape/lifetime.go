package escape

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// life is how long a copy of this program stays, in seconds.
const life = 60

// lifetime are acts that leave something running when the server is stopped. a[0] is the mark, a time to sleep: what stays
// has it in its command line.
var lifetime map[string]Act

func init() {
	lifetime = map[string]Act{
		"daemon":    shell(`(setsid sh -c 'sleep $0' %s </dev/null >/dev/null 2>&1 &)`),
		"stubborn":  shell(`trap "" TERM HUP INT QUIT USR1; (setsid sh -c 'trap "" TERM HUP INT QUIT USR1; sleep $0; :' %s </dev/null >/dev/null 2>&1 &)`),
		"group":     shell(`set -m; (sleep %s </dev/null >/dev/null 2>&1 &)`),
		"triple":    shell(`(setsid sh -c '(setsid sh -c "(setsid sleep $0 &)" $0 &)' %s </dev/null >/dev/null 2>&1 &)`),
		"frozen":    shell(`(setsid sh -c 'sleep $0 & kill -STOP $!; wait' %s </dev/null >/dev/null 2>&1 &)`),
		"hundred":   shell(`i=0; while [ $i -lt 100 ]; do (setsid sleep %s </dev/null >/dev/null 2>&1 &); i=$((i+1)); done`),
		"chain":     shell(`(setsid sh -c 'n=0; while [ $n -lt 40 ]; do (sleep $0 &) ; n=$((n+1)); sleep 0.01; done' %s </dev/null >/dev/null 2>&1 &)`),
		"subreaper": func(a []string) (string, error) { return respawn("subreaper-inside", a) },
		"subreaper-inside": func(a []string) (string, error) {
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				return "", err
			}
			_, err := lifetime["daemon"](a)
			time.Sleep(life * time.Second)
			return "", err
		},
		"undumpable": func(a []string) (string, error) { return respawn("undumpable-inside", a) },
		"undumpable-inside": func([]string) (string, error) {
			err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
			time.Sleep(life * time.Second)
			return "", err
		},
		"storm": func(a []string) (string, error) { // processes that make the next one and end
			for range 8 {
				if _, err := respawn("storm-inside", a); err != nil {
					return "", err
				}
			}
			return "raging", nil
		},
		"storm-inside": func([]string) (string, error) {
			breed(time.Now().Add(15*time.Second), 30*time.Millisecond)
			return "", nil
		},
		"storm-of-forks-inside": func([]string) (string, error) {
			breed(time.Now().Add(15*time.Second), 0)
			return "", nil
		},
		"parent-death": func(a []string) (string, error) { // the signal at the parent's end, taken off
			if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
				_, _ = lifetime["daemon"](a)
				return "", err
			}
			return lifetime["daemon"](a)
		},
		"clone-parent": func(a []string) (string, error) { return sleeper(unix.CLONE_PARENT, a[0]) },
		"silent-child": func(a []string) (string, error) { return sleeper(0, a[0]) }, // its parent gets no signal when it ends
	}
}

// sleeper makes a process by a raw clone.
func sleeper(flags uintptr, mark string) (string, error) {
	path, arg := cstr("/bin/sleep"), cstr(mark)
	argv, env := []*byte{path, arg, nil}, []*byte{nil}
	r, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if r == 0 && errno == 0 {
		unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		unix.RawSyscall(unix.SYS_EXECVE, addr(path), addr(&argv[0]), addr(&env[0]))
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
	if errno != 0 {
		return "", errno
	}
	return "made", nil
}

// shell returns an act that runs a script with the mark in it.
func shell(script string) Act {
	return func(a []string) (string, error) {
		return "left", exec.Command("/bin/sh", "-c", fmt.Sprintf(script, a[0])).Run()
	}
}

// respawn starts a copy of this program for an act that stays; its command line holds the mark.
func respawn(act string, a []string) (string, error) {
	c := exec.Command("/proc/self/exe", append([]string{act}, a...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return "left", c.Start()
}

// breed forks until then; each generation lives for that long.
func breed(until time.Time, each time.Duration) {
	end := until.Unix()
	for {
		var ts unix.Timespec
		unix.RawSyscall(unix.SYS_CLOCK_GETTIME, 0, uintptr(unsafe.Pointer(&ts)), 0)
		if ts.Sec > end {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		ts = unix.NsecToTimespec(int64(each))
		unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
		r, _, _ := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if r > 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
}
