package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
	"unsafe"

	"cordon/sandbox/spec"
)

// FailedStep says which step of the confinement failed. Nothing was started.
type FailedStep struct{ spec.Outcome }

// Error names the step and the errno.
func (f *FailedStep) Error() string {
	return fmt.Sprintf("could not %s: %s", f.Failed, f.Errno.Error())
}

// monitor holds the records of one start.
type monitor struct {
	pid     int
	outcome *spec.Outcome
	text    string
	pids    chan int // told the pid, once; closed when no more comes
}

func newMonitor() *monitor { return &monitor{pids: make(chan int, 1)} }

func (m *monitor) found(pid int) {
	m.pid = pid
	select {
	case m.pids <- pid:
	default:
	}
}

// readRecords reads fd 4 into m until end of file. It returns an error unless an Outcome without failure came and the pid
// is known.
func readRecords(r io.Reader, m *monitor) error {
	var kind [1]byte
	for {
		if _, err := io.ReadFull(r, kind[:]); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("read report: %w", err)
		}
		if err := m.record(kind[0], r); err != nil {
			return fmt.Errorf("read report: %w", err)
		}
	}
	switch {
	case m.text != "":
		return errors.New(m.text)
	case m.outcome != nil && m.outcome.Failed != 0: // without a pid, if the kernel refused to make init
		return &FailedStep{*m.outcome}
	case m.outcome == nil || m.pid <= 0:
		return errors.New("the launcher ended before it reported")
	}
	return nil
}

func (m *monitor) record(kind byte, r io.Reader) error {
	le := binary.LittleEndian
	switch kind {
	case spec.KindPid:
		var pid int32
		if err := binary.Read(r, le, &pid); err != nil {
			return err
		}
		m.found(int(pid))
	case spec.KindOutcome:
		var o spec.Wire // the memory is the message, and reflection would be slower than all of the sandbox's own steps
		if _, err := io.ReadFull(r, unsafe.Slice((*byte)(unsafe.Pointer(&o)), unsafe.Sizeof(o))); err != nil {
			return err
		}
		m.outcome = &spec.Outcome{Failed: spec.Step(o.Failed), Index: o.Index, Errno: syscall.Errno(o.Errno), Tried: o.Tried, At: o.At, Pid: o.Pid, Caps: o.Caps}
	case spec.KindText:
		var n uint16
		if err := binary.Read(r, le, &n); err != nil {
			return err
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		m.text = string(b)
	default:
		return fmt.Errorf("unknown record %q", kind)
	}
	return nil
}
