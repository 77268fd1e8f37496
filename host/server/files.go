package server

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	marks       []string        // what stat said of each watched file just before that
}

// lookAtFiles hashes the program, the files its command names and, for an installed server, its whole tree.
func lookAtFiles(ctx context.Context, def config.Server) (files, error) {
	program, err := lookUp(def.Command[0])
	if err != nil {
		return files{}, fmt.Errorf("%s: %w", def.Name, err)
	}
	f := files{def: def, marks: marks(def, program)}
	f.fingerprint = pin.Fingerprint{Command: def.Command, BinaryPath: program}
	if f.fingerprint.Binary, err = pin.HashFile(ctx, program); err != nil {
		return f, err
	}
	var parts [][]byte
	for _, path := range named(def) {
		d, err := pin.HashFile(ctx, path)
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

// touched reports whether a file is not the one that was looked at.
func (f files) touched() bool { return !slices.Equal(f.marks, marks(f.def, f.fingerprint.BinaryPath)) }

// named lists the regular files outside Dir that the command's arguments name, also as --option=FILE: scripts, jars,
// configurations. What these load themselves is not among them.
func named(def config.Server) []string {
	var paths []string
	for _, arg := range def.Command[1:] {
		if option, file, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(option, "-") {
			arg = file
		}
		if !filepath.IsAbs(arg) || def.Dir != "" && strings.HasPrefix(arg, def.Dir+"/") {
			continue
		}
		if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() && !isDatabase(def, arg) {
			paths = append(paths, arg)
		}
	}
	return paths
}

// isDatabase reports whether a regular file is data that its server is there to change: an SQLite database where it may
// write, or the place of one that is still empty. No interpreter takes either for a program. The pin does not cover it, and
// shows a change as soon as it is something else.
func isDatabase(def config.Server, path string) bool {
	if !sandbox.Below(filepath.Clean(path), def.Write...) {
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

// marks is a cheap look: identity, size and change time cannot be faked together without root.
func marks(def config.Server, program string) []string {
	watched := append([]string{program}, named(def)...)
	for _, arg := range def.Command[1:] {
		if def.Dir != "" && strings.HasPrefix(arg, def.Dir+"/") {
			watched = append(watched, arg)
		}
	}
	out := make([]string, 0, len(watched))
	for _, path := range watched {
		out = append(out, path+" "+mark(path))
	}
	return out
}

// fingerprint looks at the watched files and hashes again if one was touched.
func (u *unit) fingerprint(ctx context.Context) (pin.Fingerprint, error) {
	u.mu.Lock()
	fs, fp, state := u.files, u.view.Fingerprint, u.view.State
	u.mu.Unlock()
	if state != Running {
		return pin.Fingerprint{}, fmt.Errorf("%w: %s", ErrNotRunning, u.name)
	}
	if !fs.touched() {
		return fp, nil
	}
	again, err := lookAtFiles(ctx, fs.def)
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
	fp.Tools, fp.Instructions = u.view.Fingerprint.Tools, u.view.Fingerprint.Instructions
	u.view.Fingerprint = fp
	return fp
}

// mark returns what stat(2) says about a file's identity and last change, or "gone".
func mark(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "gone"
	}
	return fmt.Sprintf("%d:%d %d %d.%09d %d.%09d %o", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Mode)
}
