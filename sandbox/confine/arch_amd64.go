package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// foreign is where the x32 numbers begin, a second way to every call: none of them exists for the program.
const foreign = 0x40000000

var archDenied = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL}

// archModes are the older calls that give a file its mode.
var archModes = []modes{{mode: 1, change: true, nrs: []uint32{unix.SYS_CHMOD}}, {mode: 1, nrs: []uint32{unix.SYS_CREAT, unix.SYS_MKNOD}}, {flags: 1, mode: 2, nrs: []uint32{unix.SYS_OPEN}}}

// archDeniedShared and archSupervised are the older calls of deniedShared and supervised.
var (
	archDeniedShared = []uint32{unix.SYS_CHOWN, unix.SYS_LCHOWN}
	archSupervised   = []uint32{unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
)
