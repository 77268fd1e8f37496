package pin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"cordon/host/tool"
)

// Tree is the digest of a directory and what it covers.
type Tree struct {
	Digest tool.Digest
	Files  int   // regular files
	Bytes  int64 // their content together
}

// limits of one tree. The largest dependency trees seen are about 60,000 files.
type limits struct {
	entries int
	bytes   int64
	depth   int
}

func treeLimits() limits { return limits{entries: 200_000, bytes: 8 << 30, depth: 64} }

// HashFile returns the SHA-256 of one regular file's content. It follows symlinks in the path, because that is what
// starting the file does; it refuses devices, pipes and directories. Cancelling ctx stops it.
func HashFile(ctx context.Context, name string) (tool.Digest, error) {
	d, _, err := hashFile(ctx, name, 0, nil, make([]byte, 256<<10))
	return d, err
}

// HashOpen returns the SHA-256 of the content of an open file, from its beginning and whatever its offset is, which it does not move. The
// caller closes f. Cancelling ctx stops it.
func HashOpen(ctx context.Context, f *os.File) (tool.Digest, error) {
	d, _, err := hash(ctx, io.NewSectionReader(f, 0, math.MaxInt64), make([]byte, 256<<10))
	return d, err
}

// HashTree returns the digest of all that lies below root: relative path, kind and executable bit of every entry, the
// content of files and the target of symlinks. It never follows a symlink, so what a link to the outside shows is not
// covered. It refuses devices, pipes and sockets, more than 200,000 entries, 8 GiB or 64 levels, and a file that is
// replaced meanwhile. The digest depends neither on where root is nor on times, owners and other permission bits.
// Cancelling ctx stops it.
func HashTree(ctx context.Context, root string) (Tree, error) {
	return hashTree(ctx, root, treeLimits())
}

type entry struct {
	path   string // relative, slashes
	kind   byte   // 'd' directory, 'f' file, 'x' executable file, 'l' symlink
	target string // of a symlink
	info   fs.FileInfo
	sum    tool.Digest // of a file
}

func hashTree(ctx context.Context, root string, l limits) (Tree, error) {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return Tree{}, fmt.Errorf("hash directory: %w", err)
	}
	entries, t, err := list(ctx, root, l)
	if err != nil {
		return Tree{}, fmt.Errorf("hash directory: %w", err)
	}
	if err := hashAll(ctx, root, entries); err != nil {
		return Tree{}, fmt.Errorf("hash directory: %w", err)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	parts := make([][]byte, 0, 3*len(entries)+1)
	parts = append(parts, []byte("cordon tree 1"))
	for i := range entries {
		e := &entries[i]
		content := []byte(e.target)
		if e.kind == 'f' || e.kind == 'x' {
			content = e.sum[:]
		}
		parts = append(parts, []byte(e.path), []byte{e.kind}, content)
	}
	t.Digest = tool.Sum(parts...)
	return t, nil
}

// list finds every entry below root and bounds them before any content is read.
func list(ctx context.Context, root string, l limits) (entries []entry, t Tree, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if name == root {
			if !d.IsDir() {
				return fmt.Errorf("%q is not a directory", name)
			}
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		e := entry{path: filepath.ToSlash(rel)}
		if e.info, err = d.Info(); err != nil {
			return err
		}
		switch mode := e.info.Mode(); {
		case mode.IsDir():
			e.kind = 'd'
		case mode&fs.ModeSymlink != 0:
			e.kind = 'l'
			if e.target, err = os.Readlink(name); err != nil {
				return err
			}
		case mode.IsRegular():
			e.kind = 'f'
			if mode&0o111 != 0 {
				e.kind = 'x'
			}
			t.Files++
			t.Bytes += e.info.Size()
		default:
			return fmt.Errorf("%q is a device, pipe or socket", name)
		}
		entries = append(entries, e)
		switch {
		case len(entries) > l.entries:
			return fmt.Errorf("more than %d entries", l.entries)
		case t.Bytes > l.bytes:
			return fmt.Errorf("more than %d bytes", l.bytes)
		case strings.Count(e.path, "/") >= l.depth:
			return fmt.Errorf("more than %d levels", l.depth)
		}
		return nil
	})
	return entries, t, err
}

// hashAll fills in the digests of regular files, two at a time.
func hashAll(ctx context.Context, root string, entries []entry) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *entry)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			buf := make([]byte, 256<<10)
			for e := range next {
				var n int64
				var err error
				e.sum, n, err = hashFile(ctx, path.Join(root, e.path), syscall.O_NOFOLLOW, e.info, buf)
				if err == nil && n != e.info.Size() {
					err = fmt.Errorf("%q changed while it was read", e.path)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
feed:
	for i := range entries {
		if k := entries[i].kind; k != 'f' && k != 'x' {
			continue
		}
		select {
		case next <- &entries[i]:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// hashFile opens without blocking, so that a pipe put in a file's place cannot hang it, and checks what it opened.
func hashFile(ctx context.Context, name string, flag int, was fs.FileInfo, buf []byte) (d tool.Digest, n int64, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|flag, 0)
	if err != nil {
		return d, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return d, 0, err
	}
	if !info.Mode().IsRegular() {
		return d, 0, fmt.Errorf("%q is not a regular file", name)
	}
	if was != nil && !os.SameFile(was, info) {
		return d, 0, fmt.Errorf("%q was replaced while it was read", name)
	}
	return hash(ctx, f, buf)
}

func hash(ctx context.Context, r io.Reader, buf []byte) (d tool.Digest, n int64, err error) {
	h := sha256.New()
	n, err = io.CopyBuffer(struct{ io.Writer }{h}, cancellable{ctx, r}, buf)
	return tool.Digest(h.Sum(nil)), n, err
}

// cancellable is a reader that stops at the next block once ctx is done.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
