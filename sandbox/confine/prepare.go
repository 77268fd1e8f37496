package confine

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// mount is a granted tree, laid out for init.
type mount struct {
	source, target *byte
	attr           unix.MountAttr
	tree           uintptr // open_tree fd, set by init
	access         uint64
	index          int32
}

// node is something init makes in the private root before it becomes read-only.
type node struct {
	kind       uint8 // 'd' directory, 'f' file, 'l' link, 't' tmpfs directory
	path, data *byte
	size       uintptr
	access     uint64
}

// plan is everything init needs, at addresses that stay where they are: package memory and heap, never stack.
var plan struct {
	clone    uintptr
	files    []uintptr // for Spawn: what becomes descriptor 0, 1, …
	wipe     [][]byte  // for Spawn: memory that the copy must not keep
	join     uintptr   // descriptors from joinFD on
	into     bool      // the one at joinFD is a cgroup to be cloned into
	setgroup []byte
	uidMap   []byte
	gidMap   []byte
	hostname []byte
	loopback bool
	inet     bool     // AF_INET sockets exist
	listen   []uint16 // ports whose listeners the host is handed
	tmpfs    *byte
	mounts   []mount
	nodes    []node
	proc     uint64
	dir      *byte
	limits   []spec.Limit
	ruleset  [3]uint64 // handled fs, net, scoped; the size passed is that of the ABI's structure
	rulesize uintptr
	filter   []unix.SockFilter
	prog     unix.SockFprog
	telling  unix.SockFprog // empty unless the host is told of calls
	exec     []*byte        // candidates for execve, in order
	argv     []*byte
	envv     []*byte

	shared  bool  // without namespaces, see shared.go
	signals bool  // the supervisor decides about signals
	denied  *byte // what the self-test tries to open
	outside *byte // a file that it tries to create there
}

// Rights that Landlock accepts on a file; the rest are for directories (kernel doc, landlock, filesystem flags).
const fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
	unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

// deniedFile exists in the private root without any grant: opening it must fail.
const deniedFile = "/.ungranted"

func prepare(s *spec.Spec) error {
	if len(s.Argv) == 0 {
		return errors.New("spec has no program to start")
	}
	plan.denied, plan.outside = pathDenied, pathNew
	if plan.shared = s.Shared; plan.shared {
		plan.signals = s.Signals
		plan.denied, plan.outside = cstr(s.Outside), cstr(s.Outside+"/new")
	} else {
		plan.clone = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET
	}
	plan.join, plan.into = uintptr(s.Join), s.Into
	plan.loopback = s.Net == spec.NetLoopback || s.Net == spec.NetHosts
	if len(s.Listen) > spec.MaxListen || s.Shared && len(s.Listen) > 0 {
		return errors.New("spec has listeners that cannot be")
	}
	plan.listen = s.Listen
	mem.iov.Base, mem.iov.Len = pathZero, 1
	mem.rights.head = unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS}
	mem.msg = unix.Msghdr{Iov: &mem.iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&mem.rights))}
	plan.inet = s.Net != spec.NetNone
	uid, gid := strconv.Itoa(unix.Geteuid()), strconv.Itoa(unix.Getegid())
	plan.setgroup = []byte("deny")
	plan.uidMap = []byte(uid + " " + uid + " 1")
	plan.gidMap = []byte(gid + " " + gid + " 1")
	plan.hostname = []byte(s.Hostname)
	size := strconv.FormatInt(s.TmpBytes, 10)
	plan.tmpfs = cstr("mode=0755,nr_inodes=100000,size=" + size)
	plan.dir = cstr(s.Dir)
	plan.limits = s.Limits
	plan.proc = s.Landlock.Proc
	place := prepareRoot
	if s.Shared {
		place = prepareRules
	}
	if err := place(s); err != nil {
		return err
	}
	plan.ruleset = [3]uint64{s.Landlock.Handled, 0, s.Landlock.Scoped}
	switch {
	case s.Landlock.ABI < 4:
		plan.rulesize = 8
	case s.Landlock.ABI < 6:
		plan.rulesize = 16
	default:
		plan.rulesize = 24
	}
	var err error
	if plan.filter, err = filter(rules{s.Net, s.Shared, s.Signals, s.Shared && s.Observe}); err != nil {
		return err
	}
	plan.prog = unix.SockFprog{Len: uint16(len(plan.filter)), Filter: &plan.filter[0]}
	if tell, err := observing(s); err != nil {
		return err
	} else if tell != nil {
		plan.telling = unix.SockFprog{Len: uint16(len(tell)), Filter: &tell[0]}
	}
	plan.argv, plan.envv = vector(s.Argv), vector(s.Env)
	if strings.Contains(s.Argv[0], "/") {
		plan.exec = []*byte{cstr(s.Argv[0])}
		return nil
	}
	for _, d := range s.Path {
		plan.exec = append(plan.exec, cstr(d+"/"+s.Argv[0]))
	}
	return nil
}

// prepareRoot lays out mounts and nodes: parents before children, every directory exactly once.
func prepareRoot(s *spec.Spec) error {
	made := map[string]bool{"/": true}
	add := func(kind uint8, path, data string, access uint64) {
		if made[path] {
			return
		}
		made[path] = true
		plan.nodes = append(plan.nodes, node{kind, cstr(path), cstr(data), uintptr(len(data)), access})
	}
	var parents func(path string)
	parents = func(path string) {
		if dir := parent(path); !made[dir] {
			parents(dir)
			add('d', dir, "", 0)
		}
	}
	for _, d := range s.Dirs {
		parents(d)
		add('t', d, "", s.Landlock.Private)
	}
	type link struct{ path, to string }
	var links []link
	for _, l := range s.Links {
		links = append(links, link{l.Path, l.To})
	}
	sources := s.Mounts
	slices.SortStableFunc(sources, func(a, b spec.Mount) int { return strings.Compare(a.Target, b.Target) })
	for i, m := range sources {
		// A source that is a symbolic link on this machine (/bin, /lib64, /etc/localtime) becomes the same link
		// inside; what it leads to must be granted by itself.
		var st unix.Stat_t
		if err := unix.Lstat(m.Source, &st); err != nil {
			if m.Optional && err == unix.ENOENT {
				continue
			}
			return errors.New("granted path " + m.Source + ": " + err.Error())
		}
		kind := st.Mode & unix.S_IFMT
		if kind == unix.S_IFLNK {
			if !m.Optional {
				return errors.New("granted path " + m.Source + " is a symbolic link; grant what it leads to")
			}
			to := make([]byte, unix.PathMax)
			n, err := unix.Readlink(m.Source, to)
			if err != nil {
				return errors.New("granted path " + m.Source + ": " + err.Error())
			}
			links = append(links, link{m.Target, string(to[:n])})
			continue
		}
		inner := false // below another mount: the target is there already
		for _, o := range plan.mounts {
			if below(m.Target, gostr(o.target)) {
				inner = true
			}
		}
		access := m.Access
		if !inner {
			parents(m.Target)
		}
		if kind == unix.S_IFDIR {
			if !inner {
				add('d', m.Target, "", 0)
			}
		} else {
			if !inner {
				add('f', m.Target, "", 0)
			}
			access &= fileRights
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
		switch {
		case m.Device:
			attr.Attr_set = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY
		case m.Write && m.Access&unix.LANDLOCK_ACCESS_FS_EXECUTE != 0:
		case m.Write:
			attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC // the loader can be asked to run what execve may not
		default:
			attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
		}
		plan.mounts = append(plan.mounts, mount{source: cstr(m.Source), target: cstr(m.Target), attr: attr, access: access, index: int32(i)})
	}
	for _, f := range s.Files {
		if !made[f.Path] {
			parents(f.Path)
			add('f', f.Path, f.Data, unix.LANDLOCK_ACCESS_FS_READ_FILE)
		}
	}
	for _, l := range links {
		if !made[l.path] {
			parents(l.path)
			add('l', l.path, l.to, 0)
		}
	}
	parents("/proc/self")
	if s.Observe && !slices.ContainsFunc(links, func(l link) bool { return below(s.Dir, l.path) }) {
		parents(s.Dir + "/name")
	}
	add('f', deniedFile, "", 0)
	return nil
}

// prepareRules lays out what Landlock grants of the host's own tree. A link grants nothing: what it leads to must be granted
// by itself.
func prepareRules(s *spec.Spec) error {
	for i, m := range s.Mounts {
		var st unix.Stat_t
		if err := unix.Lstat(m.Source, &st); err != nil {
			if m.Optional && err == unix.ENOENT {
				continue
			}
			return errors.New("granted path " + m.Source + ": " + err.Error())
		}
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFLNK && m.Optional:
			continue
		case kind == unix.S_IFLNK:
			return errors.New("granted path " + m.Source + " is a symbolic link; grant what it leads to")
		case kind != unix.S_IFDIR:
			m.Access &= fileRights
		}
		plan.mounts = append(plan.mounts, mount{target: cstr(m.Target), access: m.Access, index: int32(i)})
	}
	return nil
}

func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// parent returns the directory of a clean absolute path.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// cstr returns s with a NUL at its end, on the heap. A NUL inside s ends it there: the spec package's caller
// has refused such strings.
func cstr(s string) *byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return &b[0]
}

func gostr(p *byte) string { return unix.BytePtrToString(p) }

// vector returns a NULL-terminated array of C strings.
func vector(ss []string) []*byte {
	v := make([]*byte, 0, len(ss)+1)
	for _, s := range ss {
		v = append(v, cstr(s))
	}
	return append(v, nil)
}

func addr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
