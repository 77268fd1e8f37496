package server

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mark returns what stat(2) says about a file's identity and last change, or "gone".
func mark(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "gone"
	}
	return fmt.Sprintf("%d:%d %d %d.%09d %d.%09d %o", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Mode)
}
