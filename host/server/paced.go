package server

import (
	"bytes"
	"io"
	"time"
)

const (
	paceBurst = 4 << 20 // bytes that are read as fast as they come
	paceRate  = 1 << 20 // bytes a second of what comes after that
	paceStep  = paceRate / 16
	lineCost  = 64 // bytes that a line counts for besides its own: keeping it is work too
)

// paced is a Reader that is slow once much has come without a pause, so that whoever writes waits at the full pipe, and reading a flood does not take a processor.
// It is for one reader.
type paced struct {
	src  io.Reader
	slow func()          // called once, when it begins to be slow
	over <-chan struct{} // closed when nothing more is written: what is left is read at once

	credit int       // bytes
	filled time.Time // when credit was right; zero before the first Read
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	if p.filled.IsZero() {
		p.credit, p.filled = paceBurst, time.Now()
	}
	p.refill()
	if p.credit <= 0 && !p.ended() {
		if p.slow != nil {
			p.slow()
			p.slow = nil
		}
		select {
		case <-time.After(time.Duration(paceStep-p.credit) * time.Second / paceRate):
		case <-p.over:
		}
		p.refill()
	}
	n, err := p.src.Read(b)
	p.credit -= n + lineCost*bytes.Count(b[:n], []byte{'\n'})
	return n, err
}

func (p *paced) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

func (p *paced) refill() {
	now := time.Now()
	passed := min(now.Sub(p.filled), 2*paceBurst/paceRate*time.Second) // it may have been hours
	p.credit = min(paceBurst, p.credit+int(passed*paceRate/time.Second))
	p.filled = now
}
