//go:build !small

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// scratch is what a program without a root of its own gets for its home and temporary files: a folder of the user's, made for
// one start and removed after it. Beside them lies one that nothing grants, for the self-test.
// Its maker holds a lock on it, so that one whose maker was killed can be told.
type scratch struct {
	dir  string
	lock *os.File
}

const scratchName = "cordon-sandbox-"

// scratchBase is where such folders lie: on a tmpfs of the user's if there is one.
func scratchBase() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		if st, err := os.Lstat(dir); err == nil && st.IsDir() {
			return dir
		}
	}
	return os.TempDir()
}

// newScratch makes the folders and puts them into sp.
func newScratch(sp *spec.Spec) (*scratch, error) {
	base, err := filepath.EvalSymlinks(scratchBase())
	if err != nil {
		return nil, err
	}
	sc := new(scratch)
	if sc.dir, err = os.MkdirTemp(base, scratchName); err != nil {
		return nil, err
	}
	if sc.lock, err = lockDir(sc.dir); err != nil {
		return nil, errors.Join(err, sc.remove())
	}
	home, tmp, outside := sc.folders()[0], sc.folders()[1], filepath.Join(sc.dir, "outside")
	for _, d := range []string{home, tmp, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, errors.Join(err, sc.remove())
		}
	}
	for _, d := range []string{home, tmp} {
		sp.Mounts = append(sp.Mounts, spec.Mount{Source: d, Target: d, Access: sp.Landlock.Private})
	}
	sp.Outside = outside
	if sp.Dir == "" {
		sp.Dir = home
	}
	for i, v := range sp.Env {
		if v == "HOME="+Home {
			sp.Env[i] = "HOME=" + home
		}
	}
	if !slices.ContainsFunc(sp.Env, func(v string) bool { return strings.HasPrefix(v, "TMPDIR=") }) {
		sp.Env = append(sp.Env, "TMPDIR="+tmp)
	}
	return sc, nil
}

// folders are its home and its temporary files.
func (sc *scratch) folders() []string {
	return []string{filepath.Join(sc.dir, "home"), filepath.Join(sc.dir, "tmp")}
}

// lockDir locks a folder, or fails when another process has it locked.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// remove removes everything, whatever modes the program gave its folders. Links are not followed.
func (sc *scratch) remove() error {
	if sc == nil {
		return nil
	}
	_ = filepath.WalkDir(sc.dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	err := os.RemoveAll(sc.dir)
	if sc.lock != nil {
		sc.lock.Close()
	}
	return err
}

// sweepAge is how old a folder is before its lock counts: one that is being made has none yet.
const sweepAge = time.Minute

// Sweep removes what a process of this user that was killed has left: cgroups and folders.
func (s *Sandbox) Sweep() {
	s.Kernel.Groups.sweep()
	base := scratchBase()
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !strings.HasPrefix(e.Name(), scratchName) || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		dir := filepath.Join(base, e.Name())
		if lock, err := lockDir(dir); err == nil {
			_ = (&scratch{dir, lock}).remove()
		}
	}
}
