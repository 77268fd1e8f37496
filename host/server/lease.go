package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"cordon/host/pin"
	"cordon/host/tool"

	"golang.org/x/sys/unix"
)

// A lease for reading (fcntl(2), F_SETLEASE) can be had on a file of one's own only while nobody has it open for writing, also
// not as memory, and is broken before anybody does. It is held from before a server's files are hashed until it runs: what
// was hashed is what was started, even against a program that writes without leaving a time of change. Starts at the same time
// share it, and with it the digest, see heldFile.
type lease struct {
	mu   sync.Mutex
	held map[string]*heldFile // guarded by mu; by path
}

// lease opens the regular files among paths and leases the user's own. Files of others, which the user's programs cannot write, and
// file systems without leases are only held open. The error names the file that is open for writing.
func (cs *heldFiles) lease(paths []string) (*lease, error) {
	l := &lease{held: map[string]*heldFile{}}
	for _, path := range paths {
		c, err := cs.hold(path)
		switch {
		case errors.Is(err, unix.EAGAIN):
			l.release()
			return nil, fmt.Errorf("%s is open for writing in another program; close it there, then start again", path)
		case err != nil || c == nil:
			continue // whoever hashes it says so
		case l.held[path] != nil:
			c.letGo()
			continue
		}
		l.held[path] = c
	}
	return l, nil
}

const (
	leaseTries = 10
	leasePause = 20 * time.Millisecond
)

// takeLease leases an open file. Errors: EAGAIN if it is open for writing, or why there is no lease on it.
func takeLease(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	for range leaseTries { // a program that is just being started still holds what its parent was writing
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
		time.Sleep(leasePause)
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	}
	return err
}

// digest is of the file that is held for a path, and tells which that is. Without any lease it is of what lies there now. A path
// that nothing is held for has become a file since.
func (l *lease) digest(ctx context.Context, path string) (tool.Digest, identity, error) {
	if l == nil {
		d, err := pin.HashFile(ctx, path)
		return d, identity{}, err
	}
	l.mu.Lock()
	c := l.held[path]
	l.mu.Unlock()
	if c == nil {
		d, err := pin.HashFile(ctx, path) // for the error
		return d, identity{}, err
	}
	d, err := c.digest(ctx)
	return d, c.is, err
}

// whole reports whether nobody has asked to write since.
func (l *lease) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.held {
		if !c.whole() {
			return false
		}
	}
	return true
}

// watch calls broken once somebody asks to write, who waits until the lease is released. The function it returns ends that,
// and is called once.
func (l *lease) watch(broken func()) (stop func()) {
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stopping:
				return
			case <-tick.C:
				if !l.whole() {
					broken()
					return
				}
			}
		}
	}()
	return func() {
		close(stopping)
		<-ended
	}
}

// release lets whoever waits write, as soon as no other start needs the file. Releasing twice is harmless.
func (l *lease) release() {
	l.mu.Lock()
	held := l.held
	l.held = nil
	l.mu.Unlock()
	for _, c := range held {
		c.letGo()
	}
}
