package observe

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// found is what lies under a path.
type found struct {
	real   string // symbolic links followed, as far as it is there
	there  bool
	parent bool // the folder is there
	dir    bool // it is a folder
}

// distant are file systems whose names are asked for elsewhere: by automounters, over a network, from another program. A confined
// program must not make the host ask, which could tell somebody what it likes. What lies there counts as there.
var distant = []int64{
	0x0187,                         // autofs
	0x65735546,                     // FUSE
	0x6969,                         // NFS
	0x517b, 0xff534d42, 0xfe534d42, // SMB
	0x01021997,             // 9p
	0x00c36400,             // Ceph
	0x5346414f, 0x6b414653, // AFS
	0x73757245, // Coda
}

// maxTurns bounds symbolic links, and steps back in them.
const maxTurns = 40

// follow walks along a clean absolute path, one name at a time, and opens nothing for more than knowing it (O_PATH, which mounts
// nothing either).
func follow(path string) found {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return found{}
	}
	defer unix.Close(root)
	var st unix.Stat_t
	if unix.Fstat(root, &st) != nil {
		return found{}
	}
	home := st.Dev
	at, real := root, ""
	enter := func(fd int) {
		if at != root {
			_ = unix.Close(at)
		}
		at = fd
	}
	defer func() { enter(root) }()
	ahead := strings.Split(path, "/")
	is := found{real: "/", there: true, parent: true, dir: true}
	for turns := 0; len(ahead) > 0; {
		name := ahead[0]
		ahead = ahead[1:]
		switch {
		case name == "" || name == ".":
			continue
		case name == "..": // only links have it: what is clean has none
			if turns++; turns > maxTurns {
				return found{real: path}
			}
			ahead = append(strings.Split(filepath.Dir("/"+real), "/"), ahead...)
			enter(root)
			real, is = "", found{real: "/", there: true, parent: true, dir: true}
			continue
		}
		rest := strings.Join(append([]string{real + "/" + name}, ahead...), "/")
		fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil || unix.Fstat(fd, &st) != nil {
			if err == nil {
				_ = unix.Close(fd)
			}
			return found{real: filepath.Clean(rest), parent: err == unix.ENOENT && is.dir && len(strings.Trim(strings.Join(ahead, ""), "/.")) == 0}
		}
		var fs unix.Statfs_t
		if st.Dev != home && unix.Fstatfs(fd, &fs) == nil && isDistant(int64(fs.Type)) {
			_ = unix.Close(fd)
			return found{real: filepath.Clean(rest), there: true, parent: true}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			target, err := readlink(fd)
			_ = unix.Close(fd)
			if turns++; err != nil || turns > maxTurns {
				return found{real: path}
			}
			if strings.HasPrefix(target, "/") {
				enter(root)
				real, is = "", found{real: "/", there: true, parent: true, dir: true}
			}
			ahead = append(strings.Split(target, "/"), ahead...)
			continue
		}
		enter(fd)
		real += "/" + name
		is = found{real: real, there: true, parent: true, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	}
	return is
}

func isDistant(kind int64) bool {
	for _, d := range distant {
		if kind == d {
			return true
		}
	}
	return false
}

func readlink(fd int) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil || n == len(b) {
		return "", unix.ENAMETOOLONG
	}
	return string(b[:n]), nil
}
