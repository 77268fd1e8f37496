package supervise

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// changeOld decodes the older calls.
func (c *caller) changeOld() (fd int, set func(fd int) error, err error) {
	switch uintptr(c.nr) {
	case unix.SYS_CHMOD:
		fd, err = c.file(atCwd, c.args[0], 0)
		return fd, chmod(c.args[1]), err
	case unix.SYS_UTIMES:
		if set, err = c.times(c.args[1], 1000); err != nil {
			return -1, nil, err
		}
		fd, err = c.file(atCwd, c.args[0], 0)
		return fd, set, err
	case unix.SYS_FUTIMESAT:
		if set, err = c.times(c.args[2], 1000); err != nil {
			return -1, nil, err
		}
		flags := 0
		if c.args[1] == 0 {
			flags = unix.AT_EMPTY_PATH
		}
		fd, err = c.file(c.args[0], c.args[1], flags)
		return fd, set, err
	case unix.SYS_UTIME:
		both := [2]unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
		if c.args[1] != 0 {
			b, err := c.memory(c.args[1], 16)
			if err != nil {
				return -1, nil, err
			}
			both = [2]unix.Timespec{{Sec: int64(binary.NativeEndian.Uint64(b))}, {Sec: int64(binary.NativeEndian.Uint64(b[8:]))}}
		}
		fd, err = c.file(atCwd, c.args[0], 0)
		return fd, func(fd int) error { return setTimes(fd, &both) }, err
	}
	return -1, nil, unix.ENOSYS
}
