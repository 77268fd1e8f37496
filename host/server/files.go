package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cordon/host/config"
	"cordon/host/pin"
	"cordon/host/tool"

	"golang.org/x/sys/unix"
)

// files is what a server consists of on disk, and how to notice that one of them was touched.
type files struct {
	def         config.Server
	program     string
	fingerprint pin.Fingerprint
	marks       []string // what stat says of each watched file
}

// lookAtFiles hashes the program, the files its command names and, for an installed server, its whole tree.
func lookAtFiles(ctx context.Context, def config.Server, program string) (files, error) {
	f := files{def: def, program: program, marks: marks(def, program)}
	f.fingerprint = pin.Fingerprint{Command: def.Command, BinaryPath: program}
	var err error
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

// named lists the regular files outside Dir that the command's arguments name: scripts, jars, configurations.
func named(def config.Server) []string {
	var paths []string
	for _, arg := range def.Command[1:] {
		if !filepath.IsAbs(arg) || def.Dir != "" && strings.HasPrefix(arg, def.Dir+"/") {
			continue
		}
		if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() {
			paths = append(paths, arg)
		}
	}
	return paths
}

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
	now := marks(fs.def, fs.program)
	if slices.Equal(now, fs.marks) {
		return fp, nil
	}
	again, err := lookAtFiles(ctx, fs.def, fs.program)
	if err != nil {
		return pin.Fingerprint{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files = again
	fp = again.fingerprint
	fp.Tools, fp.Instructions = u.view.Fingerprint.Tools, u.view.Fingerprint.Instructions // may be newer than those above
	u.view.Fingerprint = fp
	return fp, nil
}

// mark returns what stat(2) says about a file's identity and last change, or "gone".
func mark(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "gone"
	}
	return fmt.Sprintf("%d:%d %d %d.%09d %d.%09d %o", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Mode)
}
