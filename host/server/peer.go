package server

import (
	"fmt"
	"io"
	"sync"
	"time"

	"cordon/host/tool"
	"cordon/host/wire"
	"cordon/sandbox"
)

// peer is what a session is held with: a process in a sandbox, or a server elsewhere.
type peer struct {
	lines io.Reader       // what it says, as the guard lets it through; ends with the session
	in    channel         // what it is told
	gone  <-chan struct{} // closed when it has ended
	how   func() string   // how it ended, for a sentence that begins with its name; once gone is closed
	words func() string   // its last ones for a person, "" if it had none; the same
	kill  func()          // ends it at once
	drain *sync.WaitGroup // what reads until its end
	files *lease          // that hold until its tools are listed; nil without files

	listed func([]tool.Tool) error // hears of its tools before they are offered, and may end the session; nil to do neither
}

// channel is a way to a server. After an error or Close nothing more is written; a deadline ends a Write that waits.
type channel interface {
	io.WriteCloser
	SetWriteDeadline(t time.Time) error
}

// process is a server's peer on this computer.
func (u *unit) process(proc *sandbox.Process, p *pipes, guard *wire.Guard, drained *sync.WaitGroup, files *lease) *peer {
	return &peer{lines: wire.NewLines(p.out, guard), in: p.in, gone: proc.Done(), kill: proc.Kill, drain: drained, files: files,
		how: func() string { return fmt.Sprint(proc.Wait()) },
		words: func() string {
			drained.Wait() // all of them
			return u.s.o.Mask(u.lines.last(5))
		}}
}

// ended reports whether the peer is gone. A crash shows on the pipe before it shows in the process table.
func (p *peer) ended(patience time.Duration) bool {
	select {
	case <-p.gone:
		return true
	case <-time.After(patience):
		return false
	}
}

// endPatience is for a peer whose connection has ended.
const endPatience = 200 * time.Millisecond

// offers passes on what was listed.
func (p *peer) offers(tools []tool.Tool) error {
	if p.listed == nil {
		return nil
	}
	return p.listed(tools)
}
