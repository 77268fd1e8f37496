package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnusable means that a write failed. The log takes nothing more until it is opened again, and whatever needs
	// a record of itself must not happen.
	ErrUnusable = errors.New("the audit log cannot be written; nothing may run until Cordon is restarted")
	// ErrBroken means that the end of the log is not as it was written. Nothing is changed; a person decides.
	ErrBroken = errors.New("the audit log was changed by something else than Cordon")
	// ErrNoEvent means that the log holds no such record.
	ErrNoEvent = errors.New("no such event")
)

// Log is an open audit log: one writer, many readers, in one process. Safe for concurrent use. Close it.
type Log struct {
	path string
	f    *os.File // append only
	size atomic.Int64
	last atomic.Uint64 // seq of the last record

	mu     sync.Mutex // guards the end of the file and what follows; held across the one write of a record
	hash   string     // of the last record
	buf    []byte
	failed error

	syncMu sync.Mutex // held across fsync; guards synced
	synced int64      // how much of the file is durable

	index index
}

// Open opens the log at path and creates it with mode 0600 if there is none. It checks the last records; Verify checks
// all. A torn last line, as a power cut leaves, is removed and told in a log.recovered event that holds its length
// and SHA-256; a complete record that lacks only its newline is kept. Anything else amiss is ErrBroken, and the file
// is left as it is. A log that another process has open is refused.
func Open(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{path: path, f: f, hash: firstPrev}
	if err := l.recover(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open audit log %s: %w", path, err)
	}
	return l, nil
}

// tailWindow is how much of the end Open reads; it holds several records of any length.
const tailWindow = 4 * MaxRecord

func (l *Log) recover() error {
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("it must be a plain file that only its owner can write to, and has mode %v", st.Mode())
	}
	if err := unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another process has it open: %w", err)
	}
	start := max(st.Size()-tailWindow, 0)
	tail := make([]byte, st.Size()-start)
	if _, err := l.f.ReadAt(tail, start); err != nil && (err != io.EOF || len(tail) > 0) {
		return err
	}
	if start > 0 { // begin at a line
		i := bytes.IndexByte(tail, '\n')
		if i < 0 {
			return fmt.Errorf("%w: its end holds no line", ErrBroken)
		}
		tail = tail[i+1:]
	}
	first := start == 0
	for {
		i := bytes.IndexByte(tail, '\n')
		if i < 0 {
			break
		}
		if err := l.adopt(tail[:i], first); err != nil {
			return fmt.Errorf("%w: after record %d: %w", ErrBroken, l.last.Load(), err)
		}
		tail, first = tail[i+1:], true
	}
	if start > 0 && l.last.Load() == 0 {
		return fmt.Errorf("%w: its end holds no whole record", ErrBroken)
	}
	l.size.Store(st.Size())
	if len(tail) == 0 {
		return nil
	}
	return l.mend(tail)
}

// adopt takes a line that is in the file as the last one. linked says that the one before it is known.
func (l *Log) adopt(line []byte, linked bool) error {
	p, err := parse(line)
	if err != nil {
		return err
	}
	if linked {
		if err := p.follows(l.last.Load(), l.hash); err != nil {
			return err
		}
	}
	l.last.Store(p.seq)
	l.hash = p.hash
	return nil
}

// mend repairs an incomplete last line. Only what can be the beginning of the next record, or the zeros that some
// file systems leave, is touched: anything else was not written by a Log.
func (l *Log) mend(torn []byte) error {
	begin, _ := link(nil, l.last.Load()+1, l.hash, nil)
	begin = begin[:len(begin)-tailLen-1]
	n := min(len(begin), len(torn))
	if len(torn) > MaxRecord || !bytes.Equal(torn[:n], begin[:n]) && len(bytes.Trim(torn, "\x00")) > 0 {
		return fmt.Errorf("%w: after record %d: what follows is not the beginning of a record", ErrBroken, l.last.Load())
	}
	sum := sha256.Sum256(torn)
	facts := map[string]string{"bytes": strconv.Itoa(len(torn)), "sha256": hex.EncodeToString(sum[:])}
	if l.adopt(torn, true) == nil {
		if _, err := l.f.Write([]byte("\n")); err != nil {
			return err
		}
		l.size.Add(1)
		facts["outcome"] = "the record was complete and was kept"
	} else {
		whole := l.size.Load() - int64(len(torn))
		if err := l.f.Truncate(whole); err != nil {
			return err
		}
		l.size.Store(whole)
		facts["outcome"] = "the bytes were removed"
	}
	if _, err := l.Append(Event{Kind: LogRecovered, Reason: "The last line was incomplete, as after a power cut.", Facts: facts}); err != nil {
		return err
	}
	return l.Sync()
}

// Append writes e as the next record, in one write, and returns its number. It is in the file when Append returns, and
// survives the program's death; Sync makes it survive the machine's. After a write error it and every later Append
// return ErrUnusable. An event that cannot be encoded is refused and leaves the log usable.
func (l *Log) Append(e Event) (seq uint64, err error) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.Round(0).UTC()
	event, err := encode(e, maxEvent)
	if err != nil {
		return 0, fmt.Errorf("append to audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	seq = l.last.Load() + 1
	line, hash := link(l.buf[:0], seq, l.hash, event)
	l.buf = line
	n, err := l.f.Write(line)
	l.size.Add(int64(n))
	if err != nil {
		l.failed = fmt.Errorf("%w: %w", ErrUnusable, err)
		return 0, l.failed
	}
	l.hash = hash
	l.last.Store(seq)
	l.index.add(entryOf(seq, &e)) // under mu, so that entries arrive in order
	return seq, nil
}

// Sync makes every record appended before the call durable. Callers that wait at the same time share one fsync. After
// an error the log is unusable: the kernel may have dropped what it could not write.
func (l *Log) Sync() error {
	want := l.size.Load()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	if l.synced >= want {
		return nil
	}
	size := l.size.Load()
	if err := l.f.Sync(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = fmt.Errorf("%w: %w", ErrUnusable, err)
		return l.failed
	}
	l.synced = size
	return nil
}

// Err returns why the log is unusable, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Head returns the number and hash of the last record: 0 and "" when there is none.
func (l *Log) Head() (seq uint64, hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq = l.last.Load(); seq == 0 {
		return 0, ""
	}
	return seq, l.hash
}

// Verify checks the whole file as it is now, while others go on appending. It also notices a file that was cut short
// or replaced since Open. Cancelling ctx stops it.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	l.mu.Lock()
	size, seq, hash := l.size.Load(), l.last.Load(), l.hash
	l.mu.Unlock()
	f, err := os.Open(l.path) // by name: what people and other programs would read
	if err != nil {
		return Report{}, fmt.Errorf("verify audit log: %w", err)
	}
	defer f.Close()
	rep, err := Verify(&stopReader{ctx, io.LimitReader(f, size)})
	if err == nil && rep.Intact && (rep.Events != seq || seq > 0 && rep.Head != hash) {
		rep.Intact, rep.BadSeq, rep.BadLine = false, rep.Events+1, rep.Events+1
		rep.Problem = fmt.Sprintf("the file ends at record %d, but %d were written", rep.Events, seq)
	}
	return rep, err
}

type stopReader struct {
	ctx context.Context
	r   io.Reader
}

func (s *stopReader) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// Close syncs and closes the log. Later calls of Append fail.
func (l *Log) Close() error {
	err := l.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: it was closed", ErrUnusable)
	}
	// Closing alone leaves the lock with a program that is being started and holds copies of all files until its exec.
	return errors.Join(err, unix.Flock(int(l.f.Fd()), unix.LOCK_UN), l.f.Close())
}
