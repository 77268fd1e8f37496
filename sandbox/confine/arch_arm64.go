package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// foreign is 0: this architecture has one set of numbers.
const foreign = 0

var archDenied = []uint32{unix.SYS_KEXEC_FILE_LOAD, unix.SYS_LOOKUP_DCOOKIE}

// archModes is empty: the older calls do not exist here.
var archModes []modes

// archDeniedShared and archSupervised are empty for the same reason.
var archDeniedShared, archSupervised []uint32
