package main

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// rejectForeign is empty: this architecture has one set of numbers.
var rejectForeign []unix.SockFilter

var archDenied = []uint32{unix.SYS_KEXEC_FILE_LOAD, unix.SYS_LOOKUP_DCOOKIE}
