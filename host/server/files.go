package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/tool"
	"cordon/sandbox"

	"golang.org/x/sys/unix"
)

// files is what a server consists of on disk, and how to notice that one of them was touched.
type files struct {
	def         config.Server
	fingerprint pin.Fingerprint // as last looked at; without tools and instructions
	marks       []marked        // what stat said of the program and the named files just before that
	watch       *treeWatch      // on Dir; nil without one, or where it cannot be watched
	tree        tool.Digest     // then: the same as marks of all that lies there
	looked      time.Time       // when tree was last compared
}

// lookAtFiles hashes the program, the files its command names and, for an installed server, its whole tree. Files that held holds
// are hashed as it holds them; it may be nil. watch, if it is not nil, begins anew.
func lookAtFiles(ctx context.Context, def config.Server, held *lease, watch *treeWatch) (files, error) {
	if def.Remote() {
		return files{def: def, fingerprint: remoteFingerprint(def)}, nil
	}
	program, err := lookUp(def.Command[0])
	if err != nil {
		return files{}, fmt.Errorf("%s: %w", def.Name, err)
	}
	f := files{def: def, marks: marks(def, program), watch: watch}
	if watch == nil || !watch.begin() {
		f.watch, f.tree, f.looked = nil, treeMark(def.Dir), time.Now()
	}
	hash := func(path string) (tool.Digest, error) {
		d, is, err := held.digest(ctx, path)
		if err == nil && held != nil && !slices.ContainsFunc(f.marks, func(m marked) bool { return m.path == path && m.at == is }) {
			err = errTouched(def.Name)
		}
		return d, err
	}
	f.fingerprint = pin.Fingerprint{Command: def.Command, BinaryPath: program}
	if f.fingerprint.Binary, err = hash(program); err != nil {
		return f, err
	}
	var parts [][]byte
	for _, path := range named(def) {
		d, err := hash(path)
		if err != nil {
			return f, err
		}
		parts = append(parts, []byte(path), d[:])
		f.fingerprint.Files++
	}
	if def.Dir != "" {
		tree, err := pin.HashTree(ctx, def.Dir)
		if err != nil {
			return f, err
		}
		parts = append(parts, tree.Digest[:])
		f.fingerprint.Files += tree.Files
	}
	if len(parts) > 0 {
		f.fingerprint.Tree = tool.Sum(parts...)
	}
	return f, nil
}

// errTouched refuses a start: what was looked at may be something else than what runs.
func errTouched(name string) error {
	return fmt.Errorf("the files of %s were touched while it was starting, so nobody knows what runs; start it again", name)
}

// treePause is how long a look at a whole tree holds where it cannot be watched: one at 4,000 files takes milliseconds.
const treePause = time.Second

// touched reports whether a file is not the one that was looked at. Unless all is set, a tree that was just looked at is not
// looked at again.
func (f *files) touched(all bool) bool {
	if f.def.Remote() {
		return false
	}
	if !slices.Equal(f.marks, marks(f.def, f.fingerprint.BinaryPath)) {
		return true
	}
	if f.watch != nil {
		return f.watch.touched()
	}
	if f.def.Dir == "" || !all && time.Since(f.looked) < treePause {
		return false
	}
	f.looked = time.Now()
	return treeMark(f.def.Dir) != f.tree
}

// pathRE finds absolute paths in an argument: alone, after --option=, in lists, in file: addresses, in a shell's words.
var pathRE = regexp.MustCompile(`/[^\s"'\x60:;,=|&()<>]+`)

// paths lists what exists of the absolute paths that the command's arguments hold, each once.
func paths(def config.Server) []string {
	var all []string
	for _, arg := range def.Command[1:] {
		candidates := append([]string{arg}, pathRE.FindAllString(arg, -1)...)
		for _, path := range candidates {
			if path = strings.TrimPrefix(path, "//"); !strings.HasPrefix(path, "/") && path != arg {
				path = "/" + path
			}
			if !filepath.IsAbs(path) {
				continue
			}
			path = filepath.Clean(path)
			if _, err := os.Stat(path); err == nil && !slices.Contains(all, path) {
				all = append(all, path)
			}
		}
	}
	return all
}

// named lists the regular files outside Dir that the command's arguments name: scripts, jars, configurations. What these
// load themselves is not among them, nor a database.
func named(def config.Server) []string {
	return slices.DeleteFunc(paths(def), func(path string) bool {
		st, err := os.Stat(path)
		return err != nil || !st.Mode().IsRegular() || def.Dir != "" && sandbox.Below(path, def.Dir) || isDatabase(def, path)
	})
}

// Coverage returns the files that a pin of def covers, and what its command names besides: folders that it can be run from,
// and databases.
func Coverage(def config.Server) (covered, not []string) {
	if def.Remote() {
		return nil, nil
	}
	if program, err := lookUp(def.Command[0]); err == nil {
		covered = append(covered, program)
	}
	covered = append(covered, named(def)...)
	if def.Dir != "" {
		covered = append(covered, def.Dir)
	}
	for _, path := range paths(def) {
		st, err := os.Stat(path)
		folder := err == nil && st.IsDir() && (sandbox.Below(path, def.Write...) || sandbox.Below(path, def.Read...)) && !hasProgram(path)
		if !sandbox.Below(path, covered...) && !folder {
			not = append(not, path)
		}
	}
	return covered, not
}

// hasProgram reports whether an interpreter that is given a folder would find a program in it.
func hasProgram(dir string) bool {
	for _, name := range []string{"__main__.py", "index.js", "index.mjs", "index.cjs", "package.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// isDatabase reports whether a regular file is data that its server is there to change: an SQLite database where it may
// write, or the place of one that is still empty, given to a long option. Without an option before it a file may be what an
// interpreter runs, and some run a file that only begins as a database does. The pin does not cover it, and shows a change as
// soon as it is something else.
func isDatabase(def config.Server, path string) bool {
	if !sandbox.Below(path, def.Write...) || !ofOption(def, path) {
		return false
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(sqlite))
	n, err := io.ReadFull(f, head)
	return n == 0 && err == io.EOF || string(head) == sqlite
}

const sqlite = "SQLite format 3\x00"

// ofOption reports whether path stands in the command only as --option=path or after --option.
func ofOption(def config.Server, path string) bool {
	found := false
	for i, arg := range def.Command[1:] {
		if !strings.Contains(arg, path) {
			continue
		}
		option, value, joined := strings.Cut(arg, "=")
		if !joined {
			option, value = def.Command[i], arg // the word before
		}
		if !strings.HasPrefix(option, "--") || option == "--" || filepath.Clean(value) != path {
			return false
		}
		found = true
	}
	return found
}

// marks is a cheap look: identity, size and change time cannot be faked together without root, but by a program that holds
// the file open for writing, see lease.
func marks(def config.Server, program string) []marked {
	watched := append([]string{program}, paths(def)...)
	out := make([]marked, 0, len(watched))
	for _, path := range watched {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && !isDatabase(def, path) {
			out = append(out, mark(path))
		}
	}
	return out
}

// treeMark is marks of all that lies in a folder, zero for none. It is looked at often: no path is put together.
func treeMark(dir string) tool.Digest {
	if dir == "" {
		return tool.Digest{}
	}
	h := sha256.New()
	var walk func(fd int)
	walk = func(fd int) {
		d := os.NewFile(uintptr(fd), "tree")
		defer d.Close()
		names, err := d.Readdirnames(-1)
		fmt.Fprintf(h, "%d %v\n", len(names), err)
		slices.Sort(names)
		var b [80]byte
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				fmt.Fprintf(h, "%s gone\n", name)
				continue
			}
			_, _ = io.WriteString(h, name)
			fields := []uint64{uint64(len(name)), st.Dev, st.Ino, uint64(st.Size), uint64(st.Mtim.Sec), uint64(st.Mtim.Nsec), uint64(st.Ctim.Sec), uint64(st.Ctim.Nsec), uint64(st.Mode)}
			_, _ = h.Write(appendAll(b[:0], fields))
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				if sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
					walk(sub)
				}
			}
		}
	}
	if fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		walk(fd)
	}
	return tool.Digest(h.Sum(nil))
}

func appendAll(b []byte, fields []uint64) []byte {
	for _, f := range fields {
		b = binary.NativeEndian.AppendUint64(b, f)
	}
	return b
}

// fingerprint looks at the watched files and hashes again if one was touched.
func (u *unit) fingerprint(ctx context.Context) (pin.Fingerprint, error) {
	u.mu.Lock()
	fs, state := u.files, u.view.State
	u.mu.Unlock()
	if state != Running {
		return pin.Fingerprint{}, fmt.Errorf("%w: %s", ErrNotRunning, u.name)
	}
	if !fs.touched(false) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.files.fingerprint.SameProgram(fs.fingerprint) && u.files.tree == fs.tree {
			u.files.looked = fs.looked
		}
		return u.view.Fingerprint, nil
	}
	again, err := lookAtFiles(ctx, fs.def, nil, fs.watch)
	if err != nil {
		return pin.Fingerprint{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files = again
	return u.look(), nil
}

// look brings the view's fingerprint up to date. The caller holds u.mu.
func (u *unit) look() pin.Fingerprint {
	fp := u.files.fingerprint
	fp.Stale = !fp.SameProgram(u.started)
	fp.Tools, fp.Prompts, fp.Instructions = u.view.Fingerprint.Tools, u.view.Fingerprint.Prompts, u.view.Fingerprint.Instructions
	u.view.Fingerprint = fp
	return fp
}

// identity is what the kernel says about a file. The zero value is of none.
type identity struct {
	dev, ino       uint64
	size           int64
	mtime, ctime   unix.Timespec
	mode, uid, gid uint32
}

func identityOf(st *unix.Stat_t) identity {
	return identity{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim, mode: st.Mode, uid: st.Uid, gid: st.Gid}
}

// marked is what the kernel says about a path.
type marked struct {
	path string
	self identity // of what is there
	to   string   // where that leads, if it is a link
	at   identity // and of what is there then; else self
}

// mark looks at a path. What is gone has no identity.
func mark(path string) marked {
	m := marked{path: path}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return m
	}
	m.self = identityOf(&st)
	m.at = m.self
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		m.to, _ = os.Readlink(path)
		m.at = identity{}
		if unix.Stat(path, &st) == nil {
			m.at = identityOf(&st)
		}
	}
	return m
}
