package escape

import "golang.org/x/sys/unix"

// foreign is the bit of numbers in the x32 convention.
const foreign = 0x40000000

// int80 makes a 32-bit system call without arguments.
func int80(nr uintptr) uintptr

// compat asks for the process's number the 32-bit way.
func compat() (string, error) {
	if r := int80(20); int32(r) <= 0 {
		return "", unix.ENOSYS
	}
	return "answered", nil
}
