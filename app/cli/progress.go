package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"cordon/host/consent"
	"cordon/host/tool"

	"golang.org/x/term"
)

// progress shows how a call goes in one line that is rewritten. The zero value shows nothing. It is safe for concurrent use.
type progress struct {
	mu     sync.Mutex
	ticket string             // guarded by mu
	news   chan tool.Progress // guarded by mu; holds the newest; nil: nothing is shown

	out   sync.Mutex // held while the line is written
	w     io.Writer  // guarded by out, as all that follows
	width int
	shown bool // there is a line
	held  int  // others use the terminal
}

// follow shows how the call of a ticket goes on w, if that is a terminal, until end is called, which leaves nothing behind.
func (p *progress) follow(w io.Writer, ticket string) (end func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	p.out.Lock()
	p.w, p.width = f, width-1
	p.out.Unlock()
	news := make(chan tool.Progress, 1)
	p.mu.Lock()
	p.ticket, p.news = ticket, news
	p.mu.Unlock()
	var showing sync.WaitGroup
	showing.Go(func() {
		for now := range news {
			p.show(now)
		}
	})
	return func() {
		p.mu.Lock()
		p.news = nil
		close(news)
		p.mu.Unlock()
		showing.Wait()
		p.out.Lock()
		defer p.out.Unlock()
		p.clear()
	}
}

// tell takes news. It does not block: what was not shown yet is dropped.
func (p *progress) tell(now tool.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.news == nil || now.Ticket != p.ticket {
		return
	}
	select {
	case <-p.news:
	default:
	}
	p.news <- now // there is room: others take only
}

func (p *progress) show(now tool.Progress) {
	text := number(now.Done)
	if now.Total > 0 {
		text += " of " + number(now.Total)
	}
	p.out.Lock()
	defer p.out.Unlock()
	if p.held == 0 {
		p.shown = true
		fmt.Fprintf(p.w, "\r\x1b[K%s", rows(text+"  "+consent.Escape(now.Text), p.width)[0])
	}
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

// hold takes the line away until release is called.
func (p *progress) hold() (release func()) {
	p.out.Lock()
	defer p.out.Unlock()
	p.clear()
	p.held++
	return func() {
		p.out.Lock()
		defer p.out.Unlock()
		p.held--
	}
}

// clear takes the line away. The caller holds out.
func (p *progress) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
