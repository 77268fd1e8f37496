package sandbox

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

var (
	modern   = Kernel{Release: "6.12.1", Landlock: 6, Errata: 7, Seccomp: true}
	someone  = Identity{1000, 1000}
	anything = Command{Argv: []string{"/bin/true"}}
)

func TestPlanRefusesByName(t *testing.T) {
	for name, tt := range map[string]struct {
		kernel func(*Kernel)
		p      Profile
		want   Guarantee // "" means allowed
		fix    string
	}{
		"a modern kernel is enough":       {func(*Kernel) {}, Profile{Demand: Isolation(NetNone)}, "", ""},
		"no Landlock":                     {func(k *Kernel) { k.Landlock = 0 }, Profile{}, FSRead, "lsm="},
		"no user namespaces":              {func(k *Kernel) { k.Namespaces = "switched off" }, Profile{Demand: Isolation(NetHosts), Net: NetHosts}, "", ""},
		"metadata without namespaces":     {func(k *Kernel) { k.Namespaces, k.Fix = "switched off", "sysctl x" }, Profile{Demand: []Guarantee{FSMetadata}}, FSMetadata, "sysctl x"},
		"processes without namespaces":    {func(k *Kernel) { k.Namespaces = "switched off" }, Profile{Demand: []Guarantee{ProcPrivate}}, ProcPrivate, ""},
		"neither namespaces nor ABI 3":    {func(k *Kernel) { k.Namespaces, k.Fix, k.Landlock = "switched off", "sysctl x", 2 }, Profile{}, FSWrite, "sysctl x"},
		"neither namespaces nor ptrace":   {func(k *Kernel) { k.Namespaces, k.Yama = "switched off", 2 }, Profile{}, FSWrite, ""},
		"reading inside writing, shared":  {func(k *Kernel) { k.Namespaces = "switched off" }, Profile{Write: []string{"/srv"}, Read: []string{"/srv/a"}}, FSWrite, ""},
		"tasks without a cgroup, shared":  {func(k *Kernel) { k.Namespaces = "switched off" }, Profile{Pids: 8, Demand: []Guarantee{LimitsPids}}, LimitsPids, ""},
		"no seccomp":                      {func(k *Kernel) { k.Seccomp = false }, Profile{}, Syscalls, ""},
		"memory demanded without cgroup":  {func(*Kernel) {}, Profile{Memory: 64 << 20, Demand: []Guarantee{LimitsMemory}}, LimitsMemory, ""},
		"memory demanded with cgroup":     {func(k *Kernel) { k.Groups = Groups{Version: 2, Memory: true} }, Profile{Memory: 64 << 20, Demand: []Guarantee{LimitsMemory}}, "", ""},
		"memory demanded but not limited": {func(k *Kernel) { k.Groups = Groups{Version: 2, Memory: true} }, Profile{Demand: []Guarantee{LimitsMemory}}, LimitsMemory, ""},
		"pids on an old kernel":           {func(k *Kernel) { k.Release = "5.13.0" }, Profile{Pids: 8, Demand: []Guarantee{LimitsPids}}, LimitsPids, ""},
		"pids on a new kernel":            {func(*Kernel) {}, Profile{Pids: 8, Demand: []Guarantee{LimitsPids}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := modern
			tt.kernel(&k)
			_, report, err := Plan(tt.p, anything, k, someone)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("got %v, want a plan", err)
				}
				return
			}
			var r *Refusal
			if !errors.As(err, &r) || !strings.Contains(err.Error(), string(tt.want)) || !strings.Contains(r.Fix, tt.fix) {
				t.Fatalf("got %v, want a refusal that names %s and a fix with %q", err, tt.want, tt.fix)
			}
			if report.Tier != TierRefused {
				t.Errorf("tier %q, want refused", report.Tier)
			}
		})
	}
}

func TestProfileValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		p    Profile
		want string // part of the error, "" means valid
	}{
		"empty":             {Profile{}, ""},
		"a folder":          {Profile{Read: []string{"/srv/cases"}}, ""},
		"relative":          {Profile{Read: []string{"cases"}}, "not an absolute path"},
		"unclean":           {Profile{Write: []string{"/srv/../etc"}}, "not a clean path"},
		"root":              {Profile{Read: []string{"/"}}, "whole file system"},
		"proc":              {Profile{Read: []string{"/proc/1"}}, "belongs to the sandbox"},
		"private home":      {Profile{Write: []string{Home}}, "belongs to the sandbox"},
		"NUL":               {Profile{Read: []string{"/srv/a\x00b"}}, "NUL"},
		"tiny memory":       {Profile{Memory: 1}, "below 4 MiB"},
		"negative pids":     {Profile{Pids: -1}, "negative"},
		"no cpu":            {Profile{CPU: 0.001}, "cpu limit"},
		"not a number":      {Profile{CPU: math.NaN()}, "cpu limit"},
		"a cpu":             {Profile{CPU: 1.5}, ""},
		"unknown guarantee": {Profile{Demand: []Guarantee{"fs.everything"}}, "not a guarantee"},
		"foreign guarantee": {Profile{Net: NetLoopback, Demand: []Guarantee{NetNoneG}}, "not a guarantee"},
		"unknown network":   {Profile{Net: 9}, "unknown network"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.p.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPlanUsesTheExactLandlockVersion(t *testing.T) {
	last := uint64(0)
	for abi := 1; abi <= 12; abi++ {
		k := modern
		k.Landlock = abi
		s, r, err := Plan(Profile{Read: []string{"/srv"}, Write: []string{"/var/case"}}, anything, k, someone)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(abi, 11); r.Landlock != want || s.Landlock.ABI != want {
			t.Errorf("ABI %d: planned %d", abi, r.Landlock)
		}
		if s.Landlock.Handled&last != last {
			t.Errorf("ABI %d handles fewer rights than the one before", abi)
		}
		last = s.Landlock.Handled
		if scoped := s.Landlock.Scoped != 0; scoped != (abi >= 6) {
			t.Errorf("ABI %d: scoped %v", abi, scoped)
		}
		for _, m := range s.Mounts {
			if m.Access&^s.Landlock.Handled != 0 {
				t.Errorf("ABI %d: %s is granted rights the ABI does not know", abi, m.Source)
			}
			if !m.Write && !m.Device && m.Access&unix.LANDLOCK_ACCESS_FS_WRITE_FILE != 0 {
				t.Errorf("%s is read-only and may be written", m.Source)
			}
			if m.Write && m.Access&unix.LANDLOCK_ACCESS_FS_EXECUTE != 0 {
				t.Errorf("%s may be written and executed", m.Source)
			}
		}
	}
}

func TestEnvironmentIsAnAllowList(t *testing.T) {
	got := environment([]string{"TOKEN=a=b", "HOME=/x", "TOKEN=c"})
	want := "PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 HOME=/x TOKEN=c"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNamespaces(t *testing.T) {
	for name, tt := range map[string]struct {
		uid    int
		sysctl map[string]int
		want   string
	}{
		"plain":                 {1000, nil, ""},
		"none at all":           {0, map[string]int{"user/max_user_namespaces": 0}, "switched off"},
		"Debian switch":         {1000, map[string]int{"kernel/unprivileged_userns_clone": 0}, "root only"},
		"Debian switch as root": {0, map[string]int{"kernel/unprivileged_userns_clone": 0}, ""},
		"many":                  {1000, map[string]int{"user/max_user_namespaces": 99}, ""},
		"AppArmor":              {1000, map[string]int{"kernel/apparmor_restrict_unprivileged_userns": 1}, "AppArmor restricts"},
		"AppArmor, off":         {1000, map[string]int{"kernel/apparmor_restrict_unprivileged_userns": 0}, ""},
		"AppArmor with profile": {1001, map[string]int{"kernel/apparmor_restrict_unprivileged_userns": 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			why, fix := namespaces(tt.uid, func(n string) (int, bool) { v, ok := tt.sysctl[n]; return v, ok }, func() bool { return tt.uid == 1001 })
			if tt.want == "" && why != "" || !strings.Contains(why, tt.want) || (why == "") != (fix == "") {
				t.Errorf("got %q (fix %q), want %q", why, fix, tt.want)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{5: "5 B", 1024: "1 KiB", 512 << 20: "512 MiB", 3 << 29: "1.5 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// TestSweep: a folder whose maker is dead goes, one that is in use and what is not ours stay.
func TestSweep(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", base)
	sc, err := newScratch(&spec.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * sweepAge)
	stays := []string{sc.dir, filepath.Join(base, "other"), filepath.Join(base, scratchName+"new")}
	gone := filepath.Join(base, scratchName+"old")
	for _, dir := range append(stays[1:], filepath.Join(gone, "home")) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{sc.dir, stays[1], gone} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	(&Sandbox{}).Sweep()
	for _, dir := range stays {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s is gone: %v", filepath.Base(dir), err)
		}
	}
	if _, err := os.Stat(gone); err == nil {
		t.Error("what a dead process left stays")
	}
	if err := sc.remove(); err != nil {
		t.Error(err)
	}
}
