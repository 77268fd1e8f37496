package server

import (
	"io/fs"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// treeWatch notices changes below a folder (inotify(7)): looking at thousands of files before every call would take longer
// than the calls. It is safe for concurrent use. Close it.
type treeWatch struct {
	dir string

	mu      sync.Mutex
	fd      int  // guarded by mu; -1 when closed
	changed bool // guarded by mu; since begin
}

// newTreeWatch returns nil where a folder cannot be watched as a whole: the user's watches may be used up.
func newTreeWatch(dir string) *treeWatch {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil
	}
	w := &treeWatch{dir: dir, fd: fd}
	if !w.begin() {
		w.close()
		return nil
	}
	return w
}

const treeEvents = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF

// begin watches every folder there is, and forgets what was seen. It reports whether that could be done.
func (w *treeWatch) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	w.changed = false
	return filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		_, err = unix.InotifyAddWatch(w.fd, path, treeEvents|unix.IN_DONT_FOLLOW|unix.IN_ONLYDIR)
		return err
	}) == nil
}

// touched reports whether anything was changed since begin.
func (w *treeWatch) touched() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	return w.changed || w.fd < 0
}

// drain reads what has come. The caller holds w.mu.
func (w *treeWatch) drain() {
	var b [4096]byte
	for {
		n, err := unix.Read(w.fd, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			w.changed = w.changed || err != unix.EAGAIN
			return
		}
		w.changed = true
	}
}

func (w *treeWatch) close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		_ = unix.Close(w.fd)
		w.fd = -1
	}
}
