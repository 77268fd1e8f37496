package app

import (
	"context"
	"sync"
	"time"

	"cordon/host/chat"

	"github.com/godbus/dbus/v5"
)

// Notifications of the desktop (org.freedesktop.Notifications 1.2), while nobody looks at the window: that Cordon asks something, or that an answer is there.
// They say no more than that, because they may be shown on a locked screen and are kept by other programs.

const (
	askNews    = "Cordon asks before something happens"
	answerNews = "An answer is there"
	endNews    = "A question ended without an answer"
)

// notices sends them.
type notices struct {
	mu      sync.Mutex
	focused bool   // guarded by mu: somebody may be looking
	prompt  string // guarded by mu: the question that was told of last
	last    uint32 // guarded by mu: what the desktop calls the last one; the next takes its place
	news    chan string
}

// Focus is told by the page whether the window has the focus. Until it is told, it has.
func (a *App) Focus(on bool) error {
	a.notices.mu.Lock()
	a.notices.focused = on
	a.notices.mu.Unlock()
	return nil
}

// say tells the desktop something unless somebody looks at the window. It does not wait.
func (n *notices) say(what string) {
	n.mu.Lock()
	focused := n.focused
	n.mu.Unlock()
	if focused {
		return
	}
	select {
	case n.news <- what:
	default: // there is one on its way
	}
}

// asks tells of a question once.
func (n *notices) asks(id string) {
	n.mu.Lock()
	known := n.prompt == id
	n.prompt = id
	n.mu.Unlock()
	if !known && id != "" {
		n.say(askNews)
	}
}

// ended tells of the end of a turn.
func (n *notices) ended(why chat.Why) {
	switch why {
	case chat.Done:
		n.say(answerNews)
	case chat.Stopped: // somebody did that
	default:
		n.say(endNews)
	}
}

// deliver sends what there is to say until ctx ends. A desktop without notifications is left alone.
func (n *notices) deliver(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case what := <-n.news:
			n.send(ctx, what)
		}
	}
}

func (n *notices) send(ctx context.Context, what string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	bus, err := dbus.ConnectSessionBus(dbus.WithContext(ctx))
	if err != nil {
		return
	}
	defer bus.Close()
	n.mu.Lock()
	last := n.last
	n.mu.Unlock()
	var id uint32
	err = bus.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications").CallWithContext(ctx, "org.freedesktop.Notifications.Notify", 0,
		"Cordon", last, "", what, "", []string{}, map[string]dbus.Variant{"desktop-entry": dbus.MakeVariant("cordon"), "category": dbus.MakeVariant("im.received")}, int32(-1)).Store(&id)
	if err == nil {
		n.mu.Lock()
		n.last = id
		n.mu.Unlock()
	}
}
