package app

import (
	"context"
	"sync"
	"time"

	"cordon/host/chat"
)

// What the page is told of conversations that go on.

// frame is how often the page is told of a conversation that goes on: as often as it is drawn.
const frame = 16 * time.Millisecond

// pushes are what the page has to be told of conversations, in order. Text that continues the same part is put together.
type pushes struct {
	mu   sync.Mutex
	all  []ChatPush // guarded by mu
	kept int        // guarded by mu: so many of all are not added to any more
	some chan struct{}
}

func (p *pushes) add(v ChatPush) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.all); n > p.kept && v.Part != nil && p.all[n-1].Part != nil && p.all[n-1].ID == v.ID && p.all[n-1].Index == v.Index && p.all[n-1].Part.Kind == v.Part.Kind {
		p.all[n-1].Part.Text += v.Part.Text
		p.all[n-1].Rev = v.Rev
		return
	}
	p.all = append(p.all, v)
	select {
	case p.some <- struct{}{}:
	default:
	}
}

func (p *pushes) take() []ChatPush {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all, p.kept = nil, 0
	return all
}

// seal keeps what comes from now on apart from what is there.
func (p *pushes) seal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = len(p.all)
}

// chatChanged notes what the page has to be told. It does not block.
func (a *App) chatChanged(u chat.Update) {
	p := ChatPush{ID: u.ID, Rev: u.Rev, Index: u.Index, Live: liveView(u.Live), Idle: u.Idle}
	if u.Part != nil {
		p.Part = &LivePart{string(u.Part.Kind), u.Part.Text, u.Part.Name}
	}
	if u.Entry != nil {
		v := a.entryView(*u.Entry)
		p.Entry = &v
		if u.Entry.Ended != nil {
			a.notices.ended(u.Entry.Ended.Why)
		}
	}
	a.pushes.add(p)
}

// tell sends what there is to tell of conversations, at most once in a frame.
func (a *App) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.pushes.some:
		}
		for _, p := range a.pushes.take() {
			a.emit(EventChat, p)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(frame):
		}
	}
}
