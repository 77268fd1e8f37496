package confine

import "golang.org/x/sys/unix"

// setsModes lists, for the table of the test, the older calls that this architecture alone has: the argument that is a
// mode, and, where it counts only for new files, the one with the flags.
func setsModes(nr uint32) (mode, flags int, known bool) {
	switch nr {
	case unix.SYS_CHMOD, unix.SYS_CREAT, unix.SYS_MKNOD:
		return 1, 0, true
	case unix.SYS_OPEN:
		return 2, 1, true
	}
	return 0, 0, false
}
