package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Reasons that several probes share.
const (
	metadata = "names, sizes and dates of other files can be asked for (fs.metadata is missing)"
	presence = "which processes exist can be seen (proc.private is missing)"
	advice   = "a lock is advice, on a file that was granted, and ends with the server"
	ownCode  = "a program may run what it brings along, as any interpreter does: it stays confined"
)

// fileProbes read or look at what is not granted.
var fileProbes = []probe{
	{class: "read", name: "a file", act: "read", setup: func(s *scene) []string { return s.wants(s.secret) }},
	{class: "read", name: "a file, by openat2", act: "openat2-read", setup: func(s *scene) []string { return s.wants(s.secret) }},
	{class: "read", name: "a file, mapped", act: "mmap-read", setup: func(s *scene) []string { return s.wants(s.secret) }},
	{class: "read", name: "a file, from its folder", act: "chdir-read", setup: func(s *scene) []string { return s.wants(s.secret) }},
	{class: "read", name: "through a symlink in a writable folder", act: "symlink-read", setup: func(s *scene) []string { return s.wants(s.in("l"), s.secret) }},
	{class: "read", name: "through a hard link in a writable folder", act: "link-read", setup: func(s *scene) []string { return s.wants(s.in("l"), s.secret) }},
	{class: "read", name: "after renaming it into a writable folder", act: "rename-read", setup: func(s *scene) []string { return s.wants(s.in("l"), s.secret) }},
	{class: "read", name: "after exchanging it with an own file", act: "exchange-read", setup: func(s *scene) []string { return s.wants(s.in("l"), s.secret) }},
	{class: "read", name: "through /proc/self/root", act: "read", setup: func(s *scene) []string { return s.wants("/proc/self/root" + s.secret) }},
	{class: "read", name: "through /proc/self/cwd", act: "read", setup: func(s *scene) []string { return s.wants("/proc/self/cwd" + s.secret) }},
	{class: "read", name: "through /proc/PID/root", act: "read", setup: func(s *scene) []string { return s.wants("/proc/" + s.victim().pid + "/root" + s.secret) }},
	{class: "read", name: "through /proc/PID/cwd", act: "read", setup: func(s *scene) []string { return s.wants("/proc/" + s.victim().pid + "/cwd/secret") }},
	{class: "read", name: "through /proc/PID/fd", act: "read", setup: func(s *scene) []string { return s.wants("/proc/" + s.victim().pid + "/fd/" + secretFD) }},
	{class: "read", name: "through /proc/PID/task", act: "read", setup: func(s *scene) []string {
		v := s.victim()
		return s.wants("/proc/" + v.pid + "/task/" + v.pid + "/cwd/secret")
	}},
	{class: "read", name: "by reopening an O_PATH descriptor", act: "reopen-read", setup: func(s *scene) []string { return s.wants(s.secret) }},
	{class: "read", name: "upwards from a granted folder", act: "up-read", setup: func(s *scene) []string { return s.wants(s.ro, "../home/secret") }},
	{class: "read", name: "upwards by a path", act: "read", setup: func(s *scene) []string { return s.wants(s.ro + "/../home/secret") }},
	{class: "read", name: "by its handle", act: "handle-read", setup: func(s *scene) []string { return s.wants(s.secret) }},
	{class: "read", name: "the file behind standard error", act: "stderr-read", setup: func(s *scene) []string {
		f, err := os.OpenFile(s.secret, os.O_WRONLY|os.O_APPEND, 0)
		s.ok(err)
		s.undo = append(s.undo, func() { f.Close() })
		s.stderr = f
		return s.wants()
	}},
	{class: "read", name: "an inherited descriptor", act: "descriptor-read", setup: func(s *scene) []string {
		fd, err := unix.Open(s.secret, unix.O_RDONLY, 0) // no O_CLOEXEC, as careless callers do
		s.ok(err)
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 700)
		s.ok(err)
		s.undo = append(s.undo, func() { unix.Close(fd); unix.Close(high) })
		return s.wants(fmt.Sprint(high))
	}},
	{class: "look", name: "list a folder", act: "list", setup: func(s *scene) []string { s.want = "secret"; return []string{s.home} }},
	{class: "look", name: "list through a symlink", act: "list", setup: func(s *scene) []string {
		s.want = "secret"
		s.ok(os.Symlink(s.home, s.in("l")))
		return []string{s.in("l")}
	}},
	{class: "look", name: "stat", act: "stat", setup: func(s *scene) []string { return []string{s.secret} }, medium: metadata},
	{class: "look", name: "statx", act: "statx", setup: func(s *scene) []string { return []string{s.secret} }, medium: metadata},
	{class: "look", name: "access", act: "access", setup: func(s *scene) []string { return []string{s.secret} }, medium: metadata},
	{class: "look", name: "statfs", act: "statfs", setup: func(s *scene) []string { return []string{s.home} }, medium: metadata},
	{class: "look", name: "O_PATH", act: "opath", setup: func(s *scene) []string { return []string{s.secret} }, medium: metadata},
	{class: "look", name: "chdir", act: "chdir", setup: func(s *scene) []string { return []string{s.home} }, medium: metadata},
	{class: "look", name: "where a symlink leads", act: "readlink", setup: func(s *scene) []string {
		s.ok(os.Symlink(s.canary, filepath.Join(s.home, "l")))
		return s.wants(filepath.Join(s.home, "l"))
	}, medium: metadata},
	{class: "look", name: "an attribute", act: "getxattr", setup: func(s *scene) []string { return s.wants(s.secret, userAttribute) }},
	{class: "look", name: "an attribute, by getxattrat", act: "getxattrat", setup: func(s *scene) []string { return s.wants(s.secret, userAttribute) }},
	{class: "look", name: "names of attributes", act: "listxattr", setup: func(s *scene) []string { s.want = userAttribute; return []string{s.secret} }},
	{class: "look", name: "name_to_handle_at", act: "handle", setup: func(s *scene) []string { return []string{s.secret} }},
	{class: "look", name: "inotify on a folder", act: "inotify", setup: func(s *scene) []string { return []string{s.home} }},
	{class: "look", name: "inotify on a file", act: "inotify", setup: func(s *scene) []string { return []string{s.secret} }},
	{class: "look", name: "inotify through a symlink", act: "inotify-link", setup: func(s *scene) []string { return []string{s.in("l"), s.home} }},
	{class: "look", name: "inotify upwards", act: "inotify", setup: func(s *scene) []string { return []string{s.ro + "/../home"} }},
	{class: "look", name: "dnotify on a folder", act: "dnotify", setup: func(s *scene) []string { return []string{s.home} }},
	{class: "look", name: "fanotify on a folder", act: "fanotify", setup: func(s *scene) []string { return []string{s.home} }},
	{class: "look", name: "flock", act: "flock", setup: func(s *scene) []string { return []string{s.secret} }},
	{class: "look", name: "lease", act: "lease", setup: func(s *scene) []string { return []string{s.secret} }},
}

// on returns a setup whose act has to change a file: the first argument.
func on(file func(s *scene) string, more ...string) func(s *scene) []string {
	return func(s *scene) []string {
		return s.changes(file(s), append([]string{file(s)}, more...)...)
	}
}

func secretOf(s *scene) string { return s.secret }
func notesOf(s *scene) string  { return s.notes }

// at returns a setup whose act has to make a file of that name below a folder.
func at(folder func(s *scene) string, args func(s *scene, path string) []string) func(s *scene) []string {
	return func(s *scene) []string {
		path := filepath.Join(folder(s), "new")
		return s.appears(path, args(s, path)...)
	}
}

func homeOf(s *scene) string { return s.home }
func roOf(s *scene) string   { return s.ro }

func alone(_ *scene, path string) []string { return []string{path} }

// linked returns a setup for an act that goes through a link of its own in the folder for writing.
func linked(file func(s *scene) string) func(s *scene) []string {
	return func(s *scene) []string { return s.changes(file(s), s.in("l"), file(s)) }
}

// changeProbes change what is not granted.
var changeProbes = []probe{
	{class: "change", name: "append", act: "append", setup: on(secretOf)},
	{class: "change", name: "truncate", act: "truncate", setup: on(secretOf)},
	{class: "change", name: "truncate by opening", act: "open-truncate", setup: on(secretOf)},
	{class: "change", name: "write through a mapping", act: "mmap-write", setup: on(secretOf)},
	{class: "change", name: "write through a symlink", act: "symlink-write", setup: linked(secretOf)},
	{class: "change", name: "write through /proc/PID/fd", act: "append", setup: func(s *scene) []string {
		return s.changes(s.secret, "/proc/"+s.victim().pid+"/fd/"+secretFD)
	}},
	{class: "change", name: "remove", act: "remove", setup: on(secretOf)},
	{class: "change", name: "rename away", act: "rename", setup: func(s *scene) []string { return s.changes(s.secret, s.secret, s.in("x")) }},
	{class: "change", name: "rename over", act: "rename-over", setup: func(s *scene) []string { return s.changes(s.secret, s.in("x"), s.secret) }},
	{class: "change", name: "rename a granted folder", act: "rename", setup: func(s *scene) []string { return s.changes(s.rw, s.rw, s.rw+"-x") }},
	{class: "change", name: "link into a writable folder", act: "link", setup: func(s *scene) []string { return s.changes(s.secret, s.secret, s.in("x")) }},
	{class: "change", name: "link from a writable folder", act: "link", setup: at(homeOf, func(s *scene, path string) []string {
		s.ok(os.WriteFile(s.in("x"), nil, 0o600))
		return []string{s.in("x"), path}
	})},
	{class: "change", name: "create", act: "create", setup: at(homeOf, alone)},
	{class: "change", name: "mkdir", act: "mkdir", setup: at(homeOf, alone)},
	{class: "change", name: "symlink", act: "symlink", setup: at(homeOf, alone)},
	{class: "change", name: "mkfifo", act: "mkfifo", setup: at(homeOf, alone)},
	{class: "change", name: "give a nameless file a name", act: "tmpfile", setup: at(homeOf, func(s *scene, path string) []string { return []string{s.in("x"), path} })},
	{class: "change", name: "chmod", act: "chmod", setup: on(secretOf)},
	{class: "change", name: "fchmodat2", act: "fchmodat2", setup: on(secretOf)},
	{class: "change", name: "fchmodat2 of an O_PATH descriptor", act: "fchmodat2-empty", setup: on(secretOf)},
	{class: "change", name: "chmod of an O_PATH descriptor", act: "chmod-descriptor", setup: on(secretOf)},
	{class: "change", name: "chmod through a symlink", act: "chmod-symlink", setup: linked(secretOf)},
	{class: "change", name: "chmod through a symlink that changes", act: "chmod-race", setup: linked(secretOf)},
	{class: "change", name: "utimes through a symlink that changes", act: "utimes-race", setup: linked(secretOf)},
	{class: "change", name: "chmod through /proc/PID/cwd", act: "chmod", setup: func(s *scene) []string {
		return s.changes(s.secret, "/proc/"+s.victim().pid+"/cwd/secret")
	}},
	{class: "change", name: "chmod upwards from a granted folder", act: "chmod", setup: func(s *scene) []string { return s.changes(s.secret, s.rw+"/../home/secret") }},
	{class: "change", name: "chmod of a folder", act: "chmod", setup: on(homeOf)},
	{class: "change", name: "chown", act: "chown", setup: on(secretOf)},
	{class: "change", name: "fchownat of an O_PATH descriptor", act: "fchownat", setup: on(secretOf)},
	{class: "change", name: "utimes", act: "utimes", setup: on(secretOf)},
	{class: "change", name: "setxattr", act: "setxattr", setup: on(secretOf, userAttribute)},
	{class: "change", name: "removexattr", act: "removexattr", setup: on(secretOf, userAttribute)},
	{class: "change", name: "file_setattr", act: "file-setattr", setup: on(secretOf)},
	{class: "change", name: "write to a fifo", act: "fifo", setup: func(s *scene) []string { return s.fifo(s.home) }},
}

// fifo makes one in a folder that has to get something.
func (s *scene) fifo(folder string) []string {
	path := filepath.Join(folder, "fifo")
	s.ok(unix.Mkfifo(path, 0o600))
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	s.ok(err)
	s.undo = append(s.undo, func() { unix.Close(fd) })
	s.check = func() bool {
		n, err := unix.Read(fd, make([]byte, 16))
		return err == nil && n > 0
	}
	return []string{path}
}

// grantProbes change what is granted for reading only, or make a granted folder lend rights.
var grantProbes = []probe{
	{class: "read-only", name: "append", act: "append", setup: on(notesOf)},
	{class: "read-only", name: "truncate", act: "truncate", setup: on(notesOf)},
	{class: "read-only", name: "truncate by opening", act: "open-truncate", setup: on(notesOf)},
	{class: "read-only", name: "write through a mapping", act: "mmap-write", setup: on(notesOf)},
	{class: "read-only", name: "reopen for writing", act: "reopen-write", setup: on(notesOf)},
	{class: "read-only", name: "remove", act: "remove", setup: on(notesOf)},
	{class: "read-only", name: "rename over", act: "rename-over", setup: func(s *scene) []string { return s.changes(s.notes, s.in("x"), s.notes) }},
	{class: "read-only", name: "exchange with an own file", act: "exchange", setup: func(s *scene) []string {
		s.ok(os.WriteFile(s.in("x"), nil, 0o600))
		return s.changes(s.notes, s.in("x"), s.notes)
	}},
	{class: "read-only", name: "link into a writable folder and write", act: "link", setup: func(s *scene) []string { return s.changes(s.notes, s.notes, s.in("x")) }},
	{class: "read-only", name: "create", act: "create", setup: at(roOf, alone)},
	{class: "read-only", name: "mkdir", act: "mkdir", setup: at(roOf, alone)},
	{class: "read-only", name: "symlink", act: "symlink", setup: at(roOf, alone)},
	{class: "read-only", name: "chmod", act: "chmod", setup: on(notesOf)},
	{class: "read-only", name: "fchmod", act: "fchmod", setup: on(notesOf)},
	{class: "read-only", name: "fchmodat2 of an O_PATH descriptor", act: "fchmodat2-empty", setup: on(notesOf)},
	{class: "read-only", name: "chmod through a symlink that changes", act: "chmod-race", setup: linked(notesOf)},
	{class: "read-only", name: "chown", act: "chown", setup: on(notesOf)},
	{class: "read-only", name: "fchown", act: "fchown", setup: on(notesOf)},
	{class: "read-only", name: "utimes", act: "utimes", setup: on(notesOf)},
	{class: "read-only", name: "futimens", act: "futimens", setup: on(notesOf)},
	{class: "read-only", name: "setxattr", act: "setxattr", setup: on(notesOf, userAttribute)},
	{class: "read-only", name: "fsetxattr", act: "fsetxattr", setup: on(notesOf, userAttribute)},
	{class: "read-only", name: "removexattr", act: "removexattr", setup: on(notesOf, userAttribute)},
	{class: "read-only", name: "FS_IOC_SETFLAGS", act: "setflags", setup: on(notesOf)},
	{class: "read-only", name: "FS_IOC_FSSETXATTR", act: "fssetxattr", setup: on(notesOf)},
	{class: "read-only", name: "file_setattr", act: "file-setattr", setup: on(notesOf)},
	{class: "read-only", name: "FS_IOC_SETVERSION", act: "setversion", setup: on(notesOf)},
	{class: "read-only", name: "FS_IOC_ENABLE_VERITY", act: "verity", setup: on(notesOf)},
	{class: "read-only", name: "EXT4_IOC_MIGRATE", act: "migrate-extents", setup: func(s *scene) []string {
		f, err := os.Open(s.notes)
		s.ok(err)
		defer f.Close()
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) // from extents to blocks, which it undoes
		return s.changes(s.notes, s.notes)
	}},
	{class: "read-only", name: "EXT4_IOC_ALLOC_DA_BLKS", act: "allocate-delayed", setup: func(s *scene) []string { return []string{s.notes} }},
	{class: "read-only", name: "write to a fifo", act: "fifo", setup: func(s *scene) []string { return s.fifo(s.ro) }},
	{class: "read-only", name: "chmod of the file behind standard error", act: "stderr-chmod", setup: func(s *scene) []string {
		f, err := os.OpenFile(s.secret, os.O_WRONLY|os.O_APPEND, 0)
		s.ok(err)
		s.undo = append(s.undo, func() { f.Close() })
		s.stderr = f
		return s.changes(s.secret)
	}, open: "a file that a person redirects to a stream can be given another mode, times and attributes; servers have pipes"},
	{class: "read-only", name: "lease", act: "lease", setup: func(s *scene) []string { return []string{s.notes} }},
	{class: "read-only", name: "dnotify", act: "dnotify", setup: func(s *scene) []string { return []string{s.ro} }},
	{class: "read-only", name: "fanotify", act: "fanotify", setup: func(s *scene) []string { return []string{s.ro} }},
	{class: "read-only", name: "flock", act: "flock", setup: func(s *scene) []string { return []string{s.notes} }, strong: advice, medium: advice},
	{class: "writable", name: "make a file setuid", act: "setid", setup: func(s *scene) []string { return s.setid() }},
	{class: "writable", name: "make a new setuid file", act: "setid-new", setup: func(s *scene) []string { return s.setid() }},
	{class: "writable", name: "run a program", act: "run", setup: func(s *scene) []string { return s.program() }},
	{class: "writable", name: "run a program by the loader", act: "run-loader", setup: func(s *scene) []string { return s.program() }, medium: ownCode},
	{class: "writable", name: "run a program from memory", act: "run-memory", strong: ownCode, medium: ownCode},
}

// setid says that a file in the folder for writing has to lend its owner's rights.
func (s *scene) setid() []string {
	path := s.in("x")
	s.check = func() bool {
		st, err := os.Stat(path)
		return err == nil && st.Mode()&os.ModeSetuid != 0
	}
	return []string{path}
}

// program puts one into the folder for writing.
func (s *scene) program() []string {
	b, err := os.ReadFile("/bin/true")
	s.ok(err)
	s.ok(os.WriteFile(s.in("true"), b, 0o700))
	return []string{s.in("true")}
}
