package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// TestWhatPassesWeakensNothing: only a machine that gives no namespaces leads to the medium tier, not one that is short of
// something at the moment, as a program can make it.
func TestWhatPassesWeakensNothing(t *testing.T) {
	for _, c := range []struct {
		step  spec.Step
		index int32
		errno unix.Errno
		lacks bool
	}{
		{spec.StepClone, 0, unix.EPERM, true}, {spec.StepClone, 0, unix.EACCES, true}, {spec.StepClone, 0, unix.EINVAL, true},
		{spec.StepClone, 0, unix.EAGAIN, false}, {spec.StepClone, 0, unix.ENOMEM, false}, {spec.StepClone, 0, unix.ENOSPC, false},
		{spec.StepHostname, 0, unix.EPERM, true}, {spec.StepRoot, 1, unix.EACCES, true}, {spec.StepRoot, 1, unix.ENOSPC, false},
		{spec.StepProc, 0, unix.EPERM, true}, {spec.StepProc, 0, unix.ENOMEM, false}, {spec.StepProc, 1, unix.EPERM, false},
		{spec.StepLandlock, 0, unix.EPERM, false}, {spec.StepSeccomp, 0, unix.EACCES, false}, {spec.StepMount, 0, unix.EACCES, false},
	} {
		s := new(Sandbox)
		err := fmt.Errorf("start: %w", &FailedStep{spec.Outcome{Failed: c.step, Index: c.index, Errno: c.errno}})
		if got := s.refusedNamespaces(err); got != c.lacks || (s.kernelFor(Profile{}).Namespaces != "") != c.lacks {
			t.Errorf("%v (%d): %v: lacks namespaces: %v, want %v", c.step, c.index, c.errno, got, c.lacks)
		}
	}
	if s := new(Sandbox); s.refusedNamespaces(fmt.Errorf("the launcher ended")) {
		t.Error("any error weakens")
	}
}

// TestStrangersAtTheProxy: without a network of its own the proxy's listener stands on this computer's loopback, where any
// program can call it. Only the confined one's calls are taken.
func TestStrangersAtTheProxy(t *testing.T) {
	s := inTier(t, "medium")
	p, err := s.Start(t.Context(), Profile{Net: NetHosts}, Command{Argv: []string{"bash", "-c", "read -t 10 < /dev/null; exec 3<>/dev/tcp/127.0.0.1/3128; cat <&3"}}, Files{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Wait()
	defer p.Kill()
	strangers := make(chan error, 3)
	for range cap(strangers) {
		go func() {
			c, err := net.DialTimeout("tcp", p.Egress.Addr().String(), 5*time.Second)
			if err == nil {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, err = c.Read(make([]byte, 1))
			}
			strangers <- err
		}()
	}
	taken, err := p.Egress.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	accepted := make(chan error, 1)
	go func() { // nobody else is
		c, err := p.Egress.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	for range cap(strangers) {
		if err := <-strangers; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a stranger's call ended with %v, want it cut", err)
		}
	}
	p.Kill()
	p.Wait()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("another call was taken: %v", err)
	}
}
