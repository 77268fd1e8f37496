package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Kernel is what this machine offers. It holds facts only, so that Plan can be tested with any machine.
type Kernel struct {
	Release    string
	Landlock   int    // ABI version, 0 when absent or switched off
	Errata     int    // bit n-1 set: erratum n is fixed (kernel doc, landlock, errata)
	Seccomp    bool   // filters can be loaded
	Namespaces string // why user namespaces cannot be made, "" when nothing known stands against them
	Fix        string // what would change that
	Yama       int    // kernel.yama.ptrace_scope, 0 without Yama
	Groups     Groups // the writable cgroup hierarchy
}

// Probe looks at the running kernel. It changes nothing and never fails: what cannot be found out counts as absent.
func Probe() Kernel {
	k := ProbeUnlimited()
	k.Groups = probeGroups()
	return k
}

// ProbeUnlimited is Probe for programs without limits: it does not look for cgroups.
func ProbeUnlimited() Kernel {
	var k Kernel
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		k.Release = unix.ByteSliceToString(u.Release[:])
	}
	if v, err := llsys.LandlockGetABIVersion(); err == nil && v > 0 {
		k.Landlock = v
		if e, err := llsys.LandlockGetErrata(); err == nil && e > 0 {
			k.Errata = e
		}
	}
	// A null filter is answered with EFAULT where filters exist, with EINVAL or ENOSYS where not.
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
	k.Seccomp = errno == unix.EFAULT
	k.Namespaces, k.Fix = namespaces(os.Geteuid(), readSysctl, allowedByAppArmor)
	k.Yama, _ = readSysctl("kernel/yama/ptrace_scope")
	return k
}

func readSysctl(name string) (int, bool) {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// namespaces tells why a process of uid cannot make user namespaces, and what an administrator can do.
func namespaces(uid int, sysctl func(string) (int, bool), allowed func() bool) (why, fix string) {
	if n, ok := sysctl("user/max_user_namespaces"); ok && n == 0 {
		return "user namespaces are switched off (user.max_user_namespaces = 0)", "sysctl user.max_user_namespaces=15000"
	}
	if uid == 0 {
		return "", ""
	}
	if n, ok := sysctl("kernel/unprivileged_userns_clone"); ok && n == 0 {
		return "user namespaces are for root only (kernel.unprivileged_userns_clone = 0)", "sysctl kernel.unprivileged_userns_clone=1"
	}
	if n, ok := sysctl("kernel/apparmor_restrict_unprivileged_userns"); ok && n == 1 && !allowed() {
		return "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns = 1)",
			"install Cordon's AppArmor profile, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	}
	return "", ""
}

// appArmorProfile is where a package puts build/apparmor/cordon, which lets cordon-launch make user namespaces.
const appArmorProfile = "/etc/apparmor.d/cordon"

// allowedByAppArmor reports whether a profile may let the launcher make user namespaces: one for this process, which the
// launcher inherits, or the launcher's own. The start shows whether it is so.
func allowedByAppArmor() bool {
	if b, err := os.ReadFile("/proc/self/attr/current"); err == nil && !strings.HasPrefix(string(b), "unconfined") {
		return true
	}
	_, err := os.Stat(appArmorProfile)
	return err == nil
}

// String is a line for people: "Linux 6.12.1, Landlock ABI 7, seccomp, user namespaces, cgroup v2".
func (k Kernel) String() string {
	parts := []string{"Linux " + k.Release}
	if k.Landlock > 0 {
		parts = append(parts, fmt.Sprintf("Landlock ABI %d", k.Landlock))
	} else {
		parts = append(parts, "no Landlock")
	}
	if k.Seccomp {
		parts = append(parts, "seccomp")
	} else {
		parts = append(parts, "no seccomp")
	}
	if k.Namespaces == "" {
		parts = append(parts, "user namespaces")
	} else {
		parts = append(parts, "no user namespaces")
	}
	return strings.Join(append(parts, k.Groups.String()), ", ")
}
