package server

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"cordon/host/pin"
	"cordon/host/tool"
	"cordon/sandbox"

	"golang.org/x/sys/unix"
)

// Fifty servers that start at once mostly run the same program. What it holds is read once, as long as it is certain that it
// stays what it is: while at least one start holds it open, under a lease that nobody has broken, or, where the user can have no lease,
// because it is the system's. With the last start that needs it the digest is forgotten.

// heldFiles are the files that starts hold. The zero value is ready; it is safe for concurrent use.
type heldFiles struct {
	mu sync.Mutex
	by map[identity]*heldFile // guarded by mu; what more starts may share
}

// heldFile is an open regular file. It belongs to one start or, if it is shared, to several; each calls letGo once.
type heldFile struct {
	of     *heldFiles
	is     identity // since it was leased
	file   *os.File // open, so that its number is not given to another one
	leased bool

	users  int                // guarded by of.mu
	hashed chan struct{}      // guarded by of.mu; nil until somebody wants the digest; closed when it is there
	cancel context.CancelFunc // guarded by of.mu; of hashing it

	sum tool.Digest // written before hashed is closed, as err
	err error
}

// hold opens a file and leases it, or shares what is held already. It returns nil without an error for what is no regular file. The
// caller lets go of it. Errors: EAGAIN if the file is open for writing, or why it cannot be opened.
func (cs *heldFiles) hold(path string) (*heldFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	is, err := identityOfOpen(f)
	if err != nil || is.mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, err
	}
	if c := cs.share(is); c != nil {
		f.Close()
		return c, nil
	}
	leaseErr := takeLease(f)
	if errors.Is(leaseErr, unix.EAGAIN) {
		f.Close()
		return nil, leaseErr
	}
	if is, err = identityOfOpen(f); err != nil { // as nobody changes it any more
		f.Close()
		return nil, err
	}
	c := &heldFile{of: cs, is: is, file: f, leased: leaseErr == nil, users: 1}
	if !seesWrites(f) || !c.leased && !(sandbox.InSystem(path) && unchangeable(is, os.Geteuid(), time.Now())) {
		return c, nil
	}
	if first := cs.share(is); first != nil {
		f.Close()
		return first, nil
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.by == nil {
		cs.by = map[identity]*heldFile{}
	}
	cs.by[is] = c // instead of one that was broken, or came in the same moment
	return c, nil
}

// share adds a user to what is held of that identity. It returns nil if nothing is, or it may have been changed since it was hashed.
func (cs *heldFiles) share(is identity) *heldFile {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.by[is]
	if c == nil || !c.whole() {
		return nil
	}
	select {
	case <-c.hashed:
		if c.err != nil {
			return nil
		}
	default:
	}
	c.users++
	return c
}

// whole reports whether nobody has asked to write since it was leased. Once false it stays false. What is not leased is judged by
// its marks alone.
func (c *heldFile) whole() bool {
	if !c.leased {
		return true
	}
	kind, err := unix.FcntlInt(c.file.Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind == unix.F_RDLCK
}

// digest returns the SHA-256 of the content. Whoever asks first has it computed, the others wait for that. Cancelling ctx ends only
// this wait.
func (c *heldFile) digest(ctx context.Context) (tool.Digest, error) {
	c.of.mu.Lock()
	if c.hashed == nil {
		hashing, cancel := context.WithCancel(context.Background())
		hashed := make(chan struct{})
		c.hashed, c.cancel = hashed, cancel
		go func() { // the last user waits for it
			defer close(hashed)
			c.sum, c.err = pin.HashOpen(hashing, c.file)
		}()
	}
	hashed := c.hashed
	c.of.mu.Unlock()
	select {
	case <-hashed:
		return c.sum, c.err
	case <-ctx.Done():
		return tool.Digest{}, context.Cause(ctx)
	}
}

// letGo ends one user's hold. With the last one the lease and the digest are gone.
func (c *heldFile) letGo() {
	c.of.mu.Lock()
	c.users--
	last := c.users == 0
	if last && c.of.by[c.is] == c {
		delete(c.of.by, c.is)
	}
	hashed, cancel := c.hashed, c.cancel
	c.of.mu.Unlock()
	if !last {
		return
	}
	if hashed != nil {
		cancel()
		<-hashed
	}
	_ = c.file.Close()
}

func identityOfOpen(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, err
	}
	return identityOf(&st), nil
}

// seesWrites reports whether a file lies where every write passes through this kernel, so that a lease and a time of change tell of
// it, and where its number names one file only. What FUSE and network file systems show may change without a trace; tmpfs
// may give out a number twice.
func seesWrites(f *os.File) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) != nil {
		return false
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}

// settled is how long ago a file was changed at least before its times are trusted to tell of the next change: the clock that they
// are taken from ticks every few milliseconds.
const settled = 2 * time.Second

// unchangeable reports whether a file without a lease is root's, writable for nobody else, and was not changed just now. Who is not
// root can change neither what it holds nor its time of change; what root does shows in that. With access lists the group's bits
// are the most that any of them grants (acl(5)).
func unchangeable(is identity, euid int, now time.Time) bool {
	return euid != 0 && is.uid == 0 && is.mode&0o022 == 0 && now.Sub(time.Unix(is.ctime.Unix())) > settled
}
