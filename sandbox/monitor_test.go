package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"syscall"
	"testing"

	"cordon/sandbox/spec"
)

// A kernel that refuses to make init, as a container's filter does, is named; there is no pid then. It is how the medium tier is reached.
func TestRefusedCloneIsNamed(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteByte(spec.KindOutcome)
	if err := binary.Write(&b, binary.LittleEndian, spec.Wire{Failed: int32(spec.StepClone), Errno: int32(syscall.EPERM)}); err != nil {
		t.Fatal(err)
	}
	err := readRecords(&b, &monitor{pids: make(chan int, 1)})
	if f, ok := errors.AsType[*FailedStep](err); !ok || f.Failed != spec.StepClone || f.Errno != syscall.EPERM {
		t.Fatalf("%v", err)
	}
	s := &Sandbox{}
	if !s.refusedNamespaces(err) || s.kernelFor(Profile{}).Namespaces == "" {
		t.Errorf("%v does not lead to the medium tier", err)
	}
	if err := readRecords(bytes.NewReader(nil), &monitor{pids: make(chan int, 1)}); err == nil {
		t.Error("no report is no error")
	}
}
