package app

import (
	"context"
	"crypto/rand"
	"fmt"

	"cordon/host"
	"cordon/host/catalog"
)

// TryFilesystem installs npm's filesystem server on a sample case and starts it. It returns at once with the id under
// which "progress" events tell how it goes.
func (a *App) TryFilesystem() (string, error) {
	return a.work("filesystem", Progress{Text: "Starting", Steps: 4}, "It runs. Review its tools next.", func(ctx context.Context, say func(text string, step, of int)) error {
		_, err := a.host.PrepareFilesystem(ctx, say)
		return err
	}), nil
}

// InstallServer installs a server from a registry, defines it and starts it; n.Command holds its arguments. It returns at
// once, as TryFilesystem does.
func (a *App) InstallServer(n NewServer) (string, error) {
	p, err := catalog.ParsePackage(n.Package)
	if err != nil {
		return "", err
	}
	const steps = 4
	return a.work("install", Progress{Text: "Starting", Steps: steps}, "It is installed. Review its tools next.", func(ctx context.Context, say func(text string, step, of int)) error {
		step := 0
		def, _, err := a.host.InstallServer(ctx, host.Installation{Server: definitionOf(n), Package: p, Scripts: n.Scripts}, func(text string) {
			step++
			say(text, step, steps)
		})
		if err != nil {
			return err
		}
		say("Starting it in its sandbox", steps, steps)
		_ = a.host.Servers.Start(ctx, def.Name) // its state says why it does not run
		return nil
	}), nil
}

// work does something long beside, which can be cancelled, and tells how it goes under the id that it returns at once.
func (a *App) work(name string, first Progress, end string, do func(ctx context.Context, say func(text string, step, of int)) error) (id string) {
	id = name + "-" + rand.Text()[:8]
	ctx, cancel := context.WithCancel(a.ctx)
	a.mu.Lock()
	a.progress[id] = cancel
	a.mu.Unlock()
	a.running.Go(func() {
		defer func() {
			cancel()
			a.mu.Lock()
			delete(a.progress, id)
			a.mu.Unlock()
		}()
		last := first
		last.ID = id
		err := do(ctx, func(text string, step, of int) {
			last = Progress{ID: id, Text: text, Step: step, Steps: of}
			a.emit(EventProgress, last)
		})
		last.Done = true
		if err != nil {
			f := FailureOf(err)
			last.Failure = &f
		} else {
			last.Text, last.Step = end, last.Steps
		}
		a.emit(EventProgress, last)
	})
	return id
}

// CancelProgress stops long work.
func (a *App) CancelProgress(id string) error {
	a.mu.Lock()
	cancel := a.progress[id]
	a.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return nil
}

// TrySandbox tries forbidden acts without and with a sandbox.
func (a *App) TrySandbox() (TrySandboxView, error) {
	t, err := a.host.TrySandbox(a.ctx)
	if err != nil {
		return TrySandboxView{}, err
	}
	n, of := t.Report.Count()
	v := TrySandboxView{Attempts: []AttemptView{}, Tier: string(t.Report.Tier), Enforced: n, Demanded: of, TookMillis: t.Took.Milliseconds()}
	for _, at := range t.Attempts {
		bare := "works: " + at.Bare.Detail
		if at.Risky {
			bare = "not tried"
		} else if !at.Bare.Worked {
			bare = at.Bare.Detail
		}
		v.Attempts = append(v.Attempts, AttemptView{Act: at.Act, Detail: at.Detail, Bare: bare, Confined: at.Confined.Detail, Held: at.Held()})
	}
	return v, nil
}

// TryConsent makes a practice request and returns how it ended.
func (a *App) TryConsent() (CallView, error) {
	ticket := "practice-" + rand.Text()[:8]
	ctx, done, err := a.ticket(ticket)
	if err != nil {
		return CallView{}, err
	}
	defer done()
	r, err := a.host.Practice(ctx)
	if err != nil {
		err = fmt.Errorf("practice: %w", err)
	}
	return callView(ticket, "", r, err), nil
}
