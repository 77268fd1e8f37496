package escape

import "golang.org/x/sys/unix"

// foreign: there is no second convention here.
const foreign = 0

func compat() (string, error) { return "", unix.ENOSYS }
