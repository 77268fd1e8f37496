//go:build small

package sandbox

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"

	"cordon/sandbox/spec"
)

// A program that is built small leaves programs without namespaces to one that is not.
type supervision struct{}

func newSupervision(*spec.Spec, Profile) (*supervision, error) {
	return nil, errors.New("this program cannot supervise")
}

func (*supervision) listeners() []net.Listener         { return nil }
func (*supervision) close() error                      { return nil }
func (*supervision) stop() error                       { return nil }
func (*supervision) attend(*os.File, <-chan int) error { return nil }
func (*supervision) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	return nil, net.ErrClosed
}
