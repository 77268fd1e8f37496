package spec

import "golang.org/x/sys/unix"

// Asks says what a call wants with what it names.
type Asks uint8

// What calls want.
const (
	AsksOpen    Asks = iota + 1 // what its flags say
	AsksLook                    // whether it is there, and what it is
	AsksChange                  // to write what is there
	AsksEntry                   // to make, remove or rename it: the folder changes
	AsksExecute                 //
	AsksConnect                 // an address, with its length in the argument after it
	AsksBind                    // the same
)

// Named is where a call names a path or an address. A call that names two is there twice, what it changes first.
type Named struct {
	Nr    uint32
	Asks  Asks
	Dir   int8 // number of the argument with the directory; -1: the working directory
	Path  int8 // number of the argument with the path or the address
	Flags int8 // number of the argument with flags: of AsksOpen; else AT_EMPTY_PATH in them says that nothing is named; -1: none
}

// AllNamed returns the calls that are observed. openat2 is not among them: no confined program has it.
func AllNamed() []Named {
	return append([]Named{
		{unix.SYS_OPENAT, AsksOpen, 0, 1, 2},
		{unix.SYS_EXECVE, AsksExecute, -1, 0, -1}, {unix.SYS_EXECVEAT, AsksExecute, 0, 1, 4},
		{unix.SYS_NEWFSTATAT, AsksLook, 0, 1, 3}, {unix.SYS_STATX, AsksLook, 0, 1, 2},
		{unix.SYS_FACCESSAT, AsksLook, 0, 1, -1}, {unix.SYS_FACCESSAT2, AsksLook, 0, 1, 3}, {unix.SYS_CHDIR, AsksLook, -1, 0, -1},
		{unix.SYS_TRUNCATE, AsksChange, -1, 0, -1},
		{unix.SYS_MKDIRAT, AsksEntry, 0, 1, -1}, {unix.SYS_MKNODAT, AsksEntry, 0, 1, -1}, {unix.SYS_UNLINKAT, AsksEntry, 0, 1, -1},
		{unix.SYS_SYMLINKAT, AsksEntry, 1, 2, -1}, {unix.SYS_LINKAT, AsksEntry, 2, 3, -1}, {unix.SYS_LINKAT, AsksLook, 0, 1, -1},
		{unix.SYS_RENAMEAT, AsksEntry, 0, 1, -1}, {unix.SYS_RENAMEAT, AsksEntry, 2, 3, -1},
		{unix.SYS_RENAMEAT2, AsksEntry, 0, 1, -1}, {unix.SYS_RENAMEAT2, AsksEntry, 2, 3, -1},
		{unix.SYS_CONNECT, AsksConnect, -1, 1, -1}, {unix.SYS_BIND, AsksBind, -1, 1, -1},
	}, archNamed...)
}
