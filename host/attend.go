package host

import (
	"context"
	"errors"
	"sync"

	"cordon/host/consent"
	"cordon/host/server"
)

// attended is a Prompter that withdraws a question when the server it is about ends: what the person was asked about
// is then no longer there, even if the server is started again.
type attended struct {
	consent.Prompter
	servers *server.Supervisor
}

var errServerEnded = errors.New("the server ended")

// Ask implements consent.Prompter.
func (a attended) Ask(ctx context.Context, p consent.Prompt) (consent.Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	gone := a.servers.Gone(p.Call.Tool.ID.Server)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-gone:
			cancel(errServerEnded)
		case <-ctx.Done():
		}
	})
	defer watching.Wait()
	defer cancel(nil)
	return a.Prompter.Ask(ctx, p)
}
