package sandbox

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killing is a setup of acts that end a victim.
func killing(s *scene) []string { return s.dies(s.victim()) }

// listener is a victim that ends at SIGWINCH, which others do not mind.
func (s *scene) listener() *victim {
	v := s.victimOf("/bin/sh", "-c", `trap "exit 0" WINCH; while :; do sleep 0.02; done`)
	time.Sleep(50 * time.Millisecond) // for its trap
	return v
}

func onVictim(args ...string) func(s *scene) []string {
	return func(s *scene) []string { return append([]string{s.victim().pid}, args...) }
}

// inVictim is for acts that have to get the victim's secret.
func inVictim(args ...string) func(s *scene) []string {
	return func(s *scene) []string { return s.wants(append([]string{s.victim().pid}, args...)...) }
}

func altering(tell func(pid int) string) func(s *scene) []string {
	return func(s *scene) []string { return s.differs(s.victim(), tell) }
}

func nice(pid int) string {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	return fmt.Sprint(n, err)
}

func ioprio(pid int) string {
	n, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	return fmt.Sprint(n, errno)
}

func scheduler(pid int) string {
	a, err := unix.SchedGetAttr(pid, 0)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(a.Policy, a.Nice)
}

func affinity(pid int) string {
	var set unix.CPUSet
	err := unix.SchedGetaffinity(pid, &set)
	return fmt.Sprint(set.Count(), err)
}

func files(pid int) string {
	var l unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l)
	return fmt.Sprint(l, err)
}

func score(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	return fmt.Sprint(string(b), err)
}

// processProbes are about another process of the same user.
var processProbes = []probe{
	{class: "process", name: "kill", act: "kill", setup: killing},
	{class: "process", name: "kill its group", act: "kill-group", setup: killing},
	{class: "process", name: "kill everything", act: "kill-all", setup: func(s *scene) []string { return s.dies(s.listener()) }},
	{class: "process", name: "tkill", act: "tkill", setup: killing},
	{class: "process", name: "tgkill", act: "tgkill", setup: killing},
	{class: "process", name: "rt_sigqueueinfo", act: "sigqueue", setup: killing},
	{class: "process", name: "rt_tgsigqueueinfo", act: "tgsigqueue", setup: killing},
	{class: "process", name: "pidfd_send_signal", act: "pidfd-signal", setup: killing},
	{class: "process", name: "F_SETOWN and O_ASYNC", act: "async-owner", setup: killing},
	{class: "process", name: "F_SETOWN_EX and O_ASYNC", act: "async-owner-ex", setup: killing},
	{class: "process", name: "FIOSETOWN and O_ASYNC", act: "async-ioctl", setup: killing},
	{class: "process", name: "prlimit", act: "prlimit", setup: altering(files)},
	{class: "process", name: "prlimit, asking", act: "prlimit-get", setup: onVictim()},
	{class: "process", name: "setpriority", act: "setpriority", setup: altering(nice)},
	{class: "process", name: "setpriority of the user", act: "setpriority-user", setup: altering(nice)},
	{class: "process", name: "ioprio_set", act: "ioprio", setup: altering(ioprio)},
	{class: "process", name: "ioprio_set of the user", act: "ioprio-user", setup: altering(ioprio)},
	{class: "process", name: "sched_setaffinity", act: "affinity", setup: altering(affinity)},
	{class: "process", name: "sched_setscheduler", act: "scheduler", setup: altering(scheduler)},
	{class: "process", name: "sched_setattr", act: "schedattr", setup: altering(scheduler)},
	{class: "process", name: "oom_score_adj", act: "score", setup: altering(score)},
	{class: "process", name: "ptrace", act: "ptrace", setup: onVictim()},
	{class: "process", name: "process_vm_readv", act: "vm-read", setup: func(s *scene) []string { v := s.victim(); return s.wants(v.pid, v.environment()) }},
	{class: "process", name: "process_vm_writev", act: "vm-write", setup: func(s *scene) []string {
		v := s.victim()
		tell := func(int) string { b, _ := os.ReadFile("/proc/" + v.pid + "/environ"); return string(b) }
		return append(s.differs(v, tell), v.environment())
	}},
	{class: "process", name: "/proc/PID/mem", act: "proc-mem", setup: func(s *scene) []string { v := s.victim(); return s.wants(v.pid, v.environment()) }},
	{class: "process", name: "pidfd_getfd", act: "pidfd-getfd", setup: inVictim(secretFD)},
	{class: "process", name: "setns to it", act: "setns-process", setup: onVictim()},
	{class: "process", name: "kcmp", act: "kcmp", setup: onVictim()},
	{class: "process", name: "move_pages", act: "move-pages", setup: func(s *scene) []string { v := s.victim(); return []string{v.pid, v.environment()} }},
	{class: "process", name: "migrate_pages", act: "migrate-pages", setup: onVictim()},
	{class: "process", name: "get_robust_list", act: "robust-list", setup: onVictim()},
	{class: "process", name: "perf_event_open", act: "perf", setup: onVictim()},
	{class: "process", name: "/proc/PID/environ", act: "proc-read", setup: inVictim("environ")},
	{class: "process", name: "/proc/PID/cmdline", act: "proc-read", setup: func(s *scene) []string {
		v := s.victim()
		s.want = v.mark
		return []string{v.pid, "cmdline"}
	}},
	{class: "process", name: "/proc/PID/maps", act: "proc-read", setup: onVictim("maps")},
	{class: "process", name: "/proc/PID/status", act: "proc-read", setup: onVictim("status")},
	{class: "process", name: "/proc/PID/stat", act: "proc-read", setup: onVictim("stat")},
	{class: "process", name: "/proc/PID/mountinfo", act: "proc-read", setup: onVictim("mountinfo")},
	{class: "process", name: "/proc/PID/fd", act: "proc-list", setup: onVictim("fd")},
	{class: "process", name: "/proc/PID/cwd", act: "proc-link", setup: onVictim("cwd")},
	{class: "process", name: "/proc/PID/exe", act: "proc-link", setup: onVictim("exe")},
	{class: "process", name: "list of all", act: "all-processes", setup: func(s *scene) []string { s.want = " " + s.victim().pid + " "; return nil }},
	{class: "process", name: "secrets of the host", act: "parent-secret", setup: func(s *scene) []string { return []string{fmt.Sprint(os.Getpid())} }},
	{class: "process", name: "stat /proc/PID", act: "proc-stat", setup: onVictim(), medium: presence},
	{class: "process", name: "pidfd_open", act: "pidfd-open", setup: onVictim(), medium: presence},
	{class: "process", name: "getpgid", act: "getpgid", setup: onVictim(), medium: presence},
	{class: "process", name: "sched_getscheduler", act: "getscheduler", setup: onVictim(), medium: presence},
	{class: "process", name: "getpriority", act: "getpriority", setup: onVictim(), medium: presence},
	{class: "process", name: "kill with no signal", act: "kill-nothing", setup: onVictim()},
}

// lifetimeProbes leave something running when the program is stopped.
var lifetimeProbes = func() (all []probe) {
	for _, l := range []struct{ name, act string }{
		{"a daemon", "daemon"}, {"one that ignores signals", "stubborn"}, {"a process group of its own", "group"}, {"three sessions deep", "triple"},
		{"a stopped process", "frozen"}, {"a hundred", "hundred"}, {"one after the other", "chain"}, {"its own subreaper", "subreaper"},
		{"a process that cannot be looked into", "undumpable"}, {"a fork storm", "storm"}, {"the parent's death signal cleared", "parent-death"},
		{"CLONE_PARENT", "clone-parent"}, {"a child without a signal", "silent-child"},
	} {
		all = append(all, probe{class: "lifetime", name: l.name, act: l.act, setup: outlives})
	}
	return all
}()

// kernelProbes reach for parts of the kernel that no server needs.
var kernelProbes = func() []probe {
	folder := func(s *scene) []string { return []string{s.rw} }
	all := []probe{
		{name: "unshare", act: "unshare"}, {name: "clone", act: "clone"}, {name: "clone3", act: "clone3"},
		{name: "mount", act: "mount", setup: folder}, {name: "remount a grant writable", act: "remount", setup: func(s *scene) []string { return []string{s.ro} }},
		{name: "fsopen", act: "fsopen"}, {name: "fsmount", act: "fsmount"}, {name: "open_tree", act: "open-tree", setup: folder},
		{name: "open_tree_attr", act: "open-tree-attr", setup: folder}, {name: "setns", act: "setns"}, {name: "chroot", act: "chroot", setup: folder},
		{name: "pivot_root", act: "pivot", setup: folder}, {name: "sethostname", act: "sethostname"}, {name: "a raw socket in an own namespace", act: "raw-socket"},
		{name: "capabilities in an own namespace", act: "capability"}, {name: "bpf", act: "bpf"}, {name: "userfaultfd", act: "userfaultfd"},
		{name: "perf_event_open", act: "perf-self"}, {name: "io_uring", act: "io-uring"}, {name: "io_setup", act: "aio"}, {name: "add_key", act: "add-key"},
		{name: "request_key", act: "request-key"}, {name: "keyctl", act: "keyring"}, {name: "personality", act: "personality"}, {name: "move_pages", act: "move-own"},
		{name: "set_mempolicy", act: "mempolicy"}, {name: "mbind", act: "mbind"}, {name: "kcmp", act: "kcmp-own"}, {name: "PTRACE_TRACEME", act: "traceme"},
		{name: "process_vm_readv of itself", act: "vm-read-own"}, {name: "clock_adjtime", act: "clock-adjtime"}, {name: "syslog", act: "syslog"},
		{name: "quotactl", act: "quotactl"}, {name: "name_to_handle_at", act: "handle-self"}, {name: "a 32-bit call", act: "int80"}, {name: "an x32 call", act: "x32"},
	}
	for _, d := range []string{"kvm", "fuse", "net/tun", "ptmx", "tty", "console", "mem", "kmsg", "loop-control", "vhost-net", "snapshot", "uinput", "hpet"} {
		all = append(all, probe{name: "/dev/" + d, act: "open-device", setup: func(*scene) []string { return []string{"/dev/" + d} }})
	}
	for i := range all {
		all[i].class = "kernel"
	}
	return all
}()

// placeProbes find out where they are, and get at what belongs to the machine.
var placeProbes = []probe{
	{class: "place", name: "a secret variable", act: "environment", setup: func(s *scene) []string {
		s.ok(os.Setenv("CORDON_TEST_SECRET", s.canary))
		s.undo = append(s.undo, func() { _ = os.Unsetenv("CORDON_TEST_SECRET") })
		return s.wants("CORDON_TEST_SECRET")
	}},
	{class: "place", name: "the machine's name", act: "hostname", setup: func(s *scene) []string {
		s.want, _ = os.Hostname()
		return nil
	}, medium: "the machine's name can be asked for"},
	{class: "place", name: "the machine's users", act: "read", setup: func(s *scene) []string { s.want = "root:"; return []string{"/etc/passwd"} },
		medium: "a program without an /etc of its own sees who the user is (identity)"},
	{class: "place", name: "/etc/machine-id", act: "read", setup: func(*scene) []string { return []string{"/etc/machine-id"} }},
	{class: "place", name: "/etc/fstab", act: "read", setup: func(*scene) []string { return []string{"/etc/fstab"} }},
	{class: "place", name: "/run", act: "list", setup: func(*scene) []string { return []string{"/run"} }},
	{class: "place", name: "/var/log", act: "list", setup: func(*scene) []string { return []string{"/var/log"} }},
	{class: "place", name: "/home", act: "list", setup: func(s *scene) []string { return []string{"/home"} }},
	{class: "place", name: "/sys", act: "list", setup: func(*scene) []string { return []string{"/sys"} }},
	{class: "place", name: "/dev/shm", act: "read", setup: func(s *scene) []string { return s.temporary("/dev/shm") }},
	{class: "place", name: "/tmp", act: "read", setup: func(s *scene) []string { return s.temporary("/tmp") }},
	{class: "place", name: "cgroups", act: "write-file", setup: func(*scene) []string { return []string{"/sys/fs/cgroup/cgroup.procs", "0"} }},
	{class: "place", name: "/proc/sysrq-trigger", act: "append", setup: func(*scene) []string { return []string{"/proc/sysrq-trigger"} }},
	{class: "place", name: "own oom_score_adj", act: "score", setup: func(*scene) []string { return []string{"self"} }},
}

// temporary makes a file in a folder that everybody shares.
func (s *scene) temporary(folder string) []string {
	f, err := os.CreateTemp(folder, "sandbox-escape-")
	s.ok(err)
	defer f.Close()
	s.undo = append(s.undo, func() { os.Remove(f.Name()) })
	_, err = f.WriteString(s.canary)
	s.ok(err)
	return s.wants(f.Name())
}

// interfaceName is one of the machine's that is not loopback, "" without.
func interfaceName() string {
	es, _ := os.ReadDir("/sys/class/net")
	for _, e := range es {
		if b, _ := os.ReadFile("/sys/class/net/" + e.Name() + "/operstate"); e.Name() != "lo" && strings.TrimSpace(string(b)) == "up" {
			return e.Name()
		}
	}
	return ""
}
