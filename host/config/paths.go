// Package config holds Cordon's own files: where they are, what a server's definition may say, and how a file is
// written so that a crash leaves the old or the new one, whole. Definitions are checked once here and trusted after.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Paths are Cordon's directories, by the XDG Base Directory Specification 0.8. All are absolute and end in "cordon".
type Paths struct {
	Home    string // the user's home, for judging grants; not Cordon's
	Config  string // config.json
	State   string // the audit log, pins
	Data    string // installed servers, one prefix each
	Runtime string // sockets
	Cache   string // what may be deleted at any time
}

// FindPaths reads the XDG variables through getenv. Relative values are ignored, as the specification demands. It
// fails only when HOME is not an absolute path. Nothing is created.
func FindPaths(getenv func(string) string) (Paths, error) {
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return Paths{}, fmt.Errorf("HOME is %q, not an absolute path", home)
	}
	home = filepath.Clean(home)
	dir := func(env, fallback string) string {
		if d := getenv(env); filepath.IsAbs(d) {
			return filepath.Join(d, "cordon")
		}
		return filepath.Join(home, fallback, "cordon")
	}
	return Paths{
		Home:    home,
		Config:  dir("XDG_CONFIG_HOME", ".config"),
		State:   dir("XDG_STATE_HOME", ".local/state"),
		Data:    dir("XDG_DATA_HOME", ".local/share"),
		Runtime: dir("XDG_RUNTIME_DIR", ".cache/run"),
		Cache:   dir("XDG_CACHE_HOME", ".cache"),
	}, nil
}

// File is where the configuration lies.
func (p Paths) File() string { return filepath.Join(p.Config, "config.json") }

// Make creates the directories that are missing, with mode 0700, and refuses any that belongs to another user or
// that others can write to.
func (p Paths) Make() error {
	for _, d := range []string{p.Config, p.State, p.Data, p.Runtime, p.Cache} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("create directory: %w", err)
		}
		if err := private(d); err != nil {
			return err
		}
	}
	return nil
}

func private(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check directory: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Getuid() {
		return fmt.Errorf("%s belongs to another user; give it to yours or remove it", dir)
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s has mode %04o, so others can write to it; run: chmod 700 %s", dir, st.Mode().Perm(), strconv.Quote(dir))
	}
	return nil
}

// WriteFile replaces the file at path by data with mode 0600: written beside it, synced, renamed, directory synced.
// After a crash the old or the new file is there, whole. The directory must exist.
func WriteFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes renames and creations in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// HeldError says that another process owns the state.
type HeldError struct {
	Dir string
	PID int // 0 when the owner did not say
}

func (e *HeldError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s is in use by %s", e.Dir, who)
}

// Owner is the right to change what lies in one directory.
type Owner struct{ f *os.File }

// Lock makes this process the owner of dir, which must exist. If another one is, it returns a *HeldError at once.
// The lock ends with Close or with the process, however that dies; children do not inherit it.
func Lock(dir string) (*Owner, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &HeldError{dir, readPID(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", dir, &fs.PathError{Op: "flock", Path: path, Err: err})
	}
	// The number is for people; the lock does not depend on it.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &Owner{f}, nil
}

// Close gives the directory up. Closing the file alone would leave the lock to a child that is just being started, until it
// becomes its program: it shares the open file.
func (o *Owner) Close() error {
	return errors.Join(unix.Flock(int(o.f.Fd()), unix.LOCK_UN), o.f.Close())
}

func readPID(f *os.File) int {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	end := 0
	for end < n && b[end] >= '0' && b[end] <= '9' {
		end++
	}
	pid, _ := strconv.Atoi(string(b[:end]))
	return pid
}
