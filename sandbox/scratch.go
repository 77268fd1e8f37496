package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cordon/sandbox/spec"
)

// scratch is what a program without a root of its own gets for its home and temporary files: a folder of the user's, made for
// one start and removed after it. Beside them lies one that nothing grants, for the self-test.
type scratch string

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
func newScratch(sp *spec.Spec) (scratch, error) {
	base, err := filepath.EvalSymlinks(scratchBase())
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(base, fmt.Sprintf("%s%d-", scratchName, os.Getpid()))
	if err != nil {
		return "", err
	}
	sc := scratch(dir)
	home, tmp, outside := sc.folders()[0], sc.folders()[1], filepath.Join(dir, "outside")
	for _, d := range []string{home, tmp, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return "", fmt.Errorf("%w; %w", err, sc.remove())
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
func (sc scratch) folders() []string {
	return []string{filepath.Join(string(sc), "home"), filepath.Join(string(sc), "tmp")}
}

// remove removes everything, whatever modes the program gave its folders. Links are not followed.
func (sc scratch) remove() error {
	if sc == "" {
		return nil
	}
	_ = filepath.WalkDir(string(sc), func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(string(sc))
}

// Sweep removes what a process of this user that was killed has left: cgroups and folders.
func (s *Sandbox) Sweep() {
	s.Kernel.Groups.sweep()
	base := scratchBase()
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), scratchName)
		number, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil || !e.IsDir() {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); os.IsNotExist(err) {
			_ = scratch(filepath.Join(base, e.Name())).remove()
		}
	}
}
