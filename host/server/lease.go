package server

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A lease for reading (fcntl(2), F_SETLEASE) can be had on a file of one's own only while nobody has it open for writing, also
// not as memory, and is broken before anybody does. It is held from before a server's files are hashed until it runs: what
// was hashed is what was started, even against a program that writes without leaving a time of change.
type lease struct {
	mu   sync.Mutex
	held []*os.File // guarded by mu
}

// takeLease leases the user's own among paths. Files of others, which the user's programs cannot write, and file systems without
// leases are left out. The error names the file that is open for writing.
func takeLease(paths []string) (*lease, error) {
	l := new(lease)
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // whoever hashes it says so
		}
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		for range leaseTries { // a program that is just being started still holds what its parent was writing
			if !errors.Is(err, unix.EAGAIN) {
				break
			}
			time.Sleep(leasePause)
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		}
		switch {
		case err == nil:
			l.held = append(l.held, f)
			continue
		case errors.Is(err, unix.EAGAIN):
			f.Close()
			l.release()
			return nil, fmt.Errorf("%s is open for writing in another program; close it there, then start again", path)
		}
		f.Close()
	}
	return l, nil
}

const (
	leaseTries = 10
	leasePause = 20 * time.Millisecond
)

// whole reports whether nobody has asked to write since.
func (l *lease) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.held {
		if kind, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0); err != nil || kind != unix.F_RDLCK {
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

// release lets whoever waits write. Releasing twice is harmless.
func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.held {
		_ = f.Close()
	}
	l.held = nil
}
