package confined

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"cordon/sandbox"
)

// streams are a program's standard streams. A plain file is not handed over: whoever owns a file may change its mode, times and
// attributes through any descriptor of it. The program has a pipe instead, and what it writes there is written to the file here.
type streams struct {
	sandbox.Files
	theirs []*os.File // ends of the pipes that the program has
	out    sync.WaitGroup

	mu     sync.Mutex
	failed error // guarded by mu; of writing to a file
}

// openStreams returns the streams of this process for the program. Close theirs once it has started, and wait when it has ended.
func openStreams() (*streams, error) {
	s := &streams{Files: sandbox.Files{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}}
	if plain(os.Stdin) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		s.In, s.theirs = r, append(s.theirs, r)
		go func() { // ends with the file, or with the program
			_, _ = io.Copy(w, os.Stdin)
			w.Close()
		}()
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
			*stream.to, s.theirs = w, append(s.theirs, w)
			s.out.Go(func() { // ends when nobody holds the other end
				defer r.Close()
				if _, err := io.Copy(stream.file, r); err != nil {
					s.mu.Lock()
					s.failed = errors.Join(s.failed, fmt.Errorf("standard %s: %w", stream.name, err))
					s.mu.Unlock()
				}
			})
		}
	}
	return s, nil
}

// close closes the program's ends here.
func (s *streams) close() {
	for _, f := range s.theirs {
		f.Close()
	}
}

// wait returns when all that the program wrote is in the files, with what went wrong. The program has ended.
func (s *streams) wait() error {
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
