package confined

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"cordon/sandbox"

	"golang.org/x/sys/unix"
)

// streams are a program's standard streams. A plain file is not handed over: whoever owns a file may change its mode, times and
// attributes through any descriptor of it. The program has a pipe instead, and what passes there is read from the file and written to
// it here.
type streams struct {
	sandbox.Files
	theirs []*os.File // ends of the pipes that the program has
	copies []func()   // to begin once it runs
	out    sync.WaitGroup

	in   input
	ours []*os.File // ends to close

	mu     sync.Mutex
	failed error // guarded by mu; of writing to a file
}

// input is what is read ahead for the program. Whatever it has not read when it ends is put back.
type input struct {
	r, w  *os.File
	start int64 // where the file stood
	wrote atomic.Int64
	done  chan struct{}
}

// openStreams makes the streams of this process for the program; nothing is read yet. Call begin once it has started, or close, and wait when
// it has ended.
func openStreams() (*streams, error) {
	s := &streams{Files: sandbox.Files{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}}
	if plain(os.Stdin) {
		if err := s.input(); err != nil {
			return nil, err
		}
	}
	for _, stream := range []struct {
		name string
		file *os.File
		to   **os.File
	}{{"output", os.Stdout, &s.Out}, {"error", os.Stderr, &s.Err}} {
		switch {
		case !plain(stream.file):
		case stream.file == os.Stderr && s.Out != os.Stdout && same(os.Stdout, os.Stderr): // in the order in which they are written
			s.Err = s.Out
		default:
			r, w, err := os.Pipe()
			if err != nil {
				s.close()
				return nil, err
			}
			*stream.to, s.theirs, s.ours = w, append(s.theirs, w), append(s.ours, r)
			s.out.Add(1)
			s.copies = append(s.copies, func() { // ends when nobody holds the other end
				defer s.out.Done()
				_, err := io.Copy(stream.file, r)
				r.Close()
				if err != nil {
					s.mu.Lock()
					s.failed = errors.Join(s.failed, fmt.Errorf("standard %s: %w", stream.name, cause(err)))
					s.mu.Unlock()
				}
			})
		}
	}
	return s, nil
}

// cause leaves out which call on which descriptor failed.
func cause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

func (s *streams) input() error {
	start, err := os.Stdin.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.In, s.theirs, s.ours = r, append(s.theirs, r), append(s.ours, w)
	if same(os.Stdin, os.Stdout) || same(os.Stdin, os.Stderr) { // what is written must not overwrite what is not read yet
		s.copies = append(s.copies, func() {
			_, _ = io.Copy(w, os.Stdin)
			w.Close()
		})
		return nil
	}
	kept, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, 3) // tells what is left in the pipe
	if err != nil {
		s.close()
		return err
	}
	s.in = input{r: os.NewFile(uintptr(kept), "stdin"), w: w, start: start, done: make(chan struct{})}
	s.copies = append(s.copies, func() { // ends with the file, or with settle
		defer close(s.in.done)
		b := make([]byte, 64<<10)
		for at := start; ; {
			n, err := os.Stdin.ReadAt(b, at) // the file stays where it stands: what the program leaves is for others
			if n > 0 {
				m, failed := w.Write(b[:n])
				at += int64(m)
				s.in.wrote.Store(at - start)
				if failed != nil {
					return
				}
			}
			if err != nil { // the end, or there is nothing to read
				w.Close()
				return
			}
		}
	})
	return nil
}

// settle puts the file where the program has read to. It has ended.
func (s *streams) settle() {
	if s.in.r == nil {
		return
	}
	_ = s.in.w.SetWriteDeadline(time.Unix(1, 0)) // a copy that waits for room waits no more
	<-s.in.done
	left, err := unix.IoctlGetInt(int(s.in.r.Fd()), unix.TIOCINQ)
	if err == nil {
		_, _ = os.Stdin.Seek(s.in.start+s.in.wrote.Load()-int64(left), io.SeekStart)
	}
	s.in.w.Close()
	s.in.r.Close()
}

// begin carries the streams of a program that has started.
func (s *streams) begin() {
	for _, f := range s.theirs {
		f.Close()
	}
	for _, f := range s.copies {
		go f() // wait waits for it, but for one that reads a file that is written to as well: it ends with the program
	}
}

// close forgets the streams of a program that has not started.
func (s *streams) close() {
	for _, f := range append(s.theirs, s.ours...) {
		f.Close()
	}
}

// wait returns when all that the program wrote is in the files, with what went wrong. The program has ended.
func (s *streams) wait() error {
	s.settle()
	s.out.Wait()
	return s.failed
}

func plain(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}

func same(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
