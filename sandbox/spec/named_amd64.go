package spec

import "golang.org/x/sys/unix"

// archNamed are the older calls.
var archNamed = []Named{
	{unix.SYS_OPEN, AsksOpen, -1, 0, 1}, {unix.SYS_CREAT, AsksEntry, -1, 0, -1},
	{unix.SYS_STAT, AsksLook, -1, 0, -1}, {unix.SYS_LSTAT, AsksLook, -1, 0, -1}, {unix.SYS_ACCESS, AsksLook, -1, 0, -1},
	{unix.SYS_MKDIR, AsksEntry, -1, 0, -1}, {unix.SYS_MKNOD, AsksEntry, -1, 0, -1}, {unix.SYS_RMDIR, AsksEntry, -1, 0, -1}, {unix.SYS_UNLINK, AsksEntry, -1, 0, -1},
	{unix.SYS_SYMLINK, AsksEntry, -1, 1, -1}, {unix.SYS_LINK, AsksEntry, -1, 1, -1}, {unix.SYS_LINK, AsksLook, -1, 0, -1},
	{unix.SYS_RENAME, AsksEntry, -1, 0, -1}, {unix.SYS_RENAME, AsksEntry, -1, 1, -1},
}
