package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/server"
	"cordon/sandbox"
	"cordon/sandbox/held"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	servers = 50 // that start at once
	tools   = 20 // of each
)

// together does something for each server at once.
func together(f func(i int) error) error {
	errs := make([]error, servers)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// crowd measures how long fifty servers that are started at once take until the last one has listed its tools. They run the same
// program, as servers written for Node or Python do, each with a command of its own. Each is pinned, and may write into a folder, which
// it is given because of its pin.
func (b *bench) crowd() (err error) {
	command := func(i int) []string {
		return []string{b.self, nullServerArg, strconv.Itoa(tools), fmt.Sprintf("s%02d", i)}
	}
	raw := variant{"raw", func() (time.Duration, error) {
		begin := time.Now()
		sessions := make([]*mcp.ClientSession, servers)
		err := together(func(i int) (err error) {
			client := mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
			argv := command(i)
			if sessions[i], err = client.Connect(b.ctx, &mcp.CommandTransport{Command: exec.CommandContext(b.ctx, argv[0], argv[1:]...)}, nil); err != nil {
				return err
			}
			r, err := sessions[i].ListTools(b.ctx, nil)
			if err == nil && len(r.Tools) != tools {
				err = fmt.Errorf("%d tools are listed", len(r.Tools))
			}
			return err
		})
		took := time.Since(begin)
		for _, s := range sessions {
			if s != nil {
				_ = s.Close()
			}
		}
		return took, err
	}}
	variants := []variant{raw}
	for _, tier := range []struct {
		name string
		box  *sandbox.Sandbox
	}{{"cordon", b.sandbox}, {"cordon, medium", b.medium()}} {
		h, openErr := b.host(tier.name, tier.box)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, h.Close(context.WithoutCancel(b.ctx))) }()
		var names []string
		for i := range servers {
			def := b.null(fmt.Sprintf("s%02d", i))
			def.Command = command(i)
			def.Write = []string{filepath.Join(b.dir, tier.name, def.Name)}
			if err := os.Mkdir(def.Write[0], 0o700); err != nil {
				return err
			}
			if err := b.approved(h, def); err != nil {
				return err
			}
			names = append(names, def.Name)
		}
		variants = append(variants, variant{tier.name, func() (time.Duration, error) {
			begin := time.Now()
			err := together(func(i int) error { return h.Servers.Start(b.ctx, names[i]) })
			took := time.Since(begin)
			for _, v := range h.Servers.Views() {
				if err == nil && (v.State != server.Running || v.Limited || len(v.Tools) != tools) {
					err = fmt.Errorf("%s is %s, limited %t, and lists %d tools", v.Name, v.State, v.Limited, len(v.Tools))
				}
			}
			h.Servers.StopAll(b.ctx)
			return took, err
		}})
	}
	r, err := b.compare(fmt.Sprintf("%d servers, %d tools each, listed", servers, tools), max(10, b.n/10), variants...)
	if err != nil {
		return err
	}
	took := max(r.get("cordon").Median, r.get("cordon, medium").Median) / 1e6
	r.Target, r.Measured, r.Met = "all are listed in less than 1 s", fmt.Sprintf("%.2f s", took), took < 1
	return nil
}

// approved adds a server and has a person approve it as it is, and stops it again.
func (b *bench) approved(h *host.Host, def config.Server) error {
	if err := h.AddServer(def); err != nil {
		return err
	}
	if err := h.Servers.Start(b.ctx, def.Name); err != nil {
		return err
	}
	review, err := h.Review(b.ctx, def.Name)
	if err != nil {
		return err
	}
	if err := h.Approve(b.ctx, def.Name, review.Digest); err != nil {
		return err
	}
	return h.Servers.Stop(b.ctx, def.Name)
}

// cycles starts and stops a thousand times and looks at what this process holds afterwards.
func (b *bench) cycles() (err error) {
	const times = 1000
	h, err := b.host("cycles", b.sandbox)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(context.WithoutCancel(b.ctx))) }()
	if err := h.AddServer(b.null("null")); err != nil {
		return err
	}
	bare := func(sb *sandbox.Sandbox) func() error {
		return func() error {
			p, err := sb.Start(b.ctx, sandbox.Profile{Memory: 512 << 20, Pids: 64}, sandbox.Command{Argv: []string{"/bin/sleep", "1000"}}, sandbox.Files{})
			if err != nil {
				return err
			}
			return p.Stop(b.ctx, 0).Left
		}
	}
	for _, v := range []struct {
		name  string
		cycle func() error
	}{{"sandbox", bare(b.sandbox)}, {"sandbox, medium", bare(b.medium())}, {"server", func() error {
		return errors.Join(h.Servers.Start(b.ctx, "null"), h.Servers.Stop(b.ctx, "null"))
	}}} {
		var taken []float64
		var before held.Count
		for i := -20; i < times; i++ {
			if i == 0 {
				before = held.Now()
			}
			begin := time.Now()
			if err := v.cycle(); err != nil {
				return fmt.Errorf("%s, cycle %d: %w", v.name, i, err)
			}
			if i < 0 {
				continue
			}
			taken = append(taken, float64(time.Since(begin).Nanoseconds())/1000)
		}
		r := b.row(fmt.Sprintf("%d cycles, %s", times, v.name), []string{v.name}, [][]float64{taken})
		grown := held.Settle(before)
		after := held.Now()
		r.Target, r.Met = "nothing more is held afterwards", grown == nil
		r.Measured = fmt.Sprintf("descriptors %d → %d, goroutines %d → %d, children %d → %d, cgroups %d → %d, mounts %d → %d; %d → %d KiB resident", before.Descriptors, after.Descriptors,
			before.Goroutines, after.Goroutines, before.Children, after.Children, before.Cgroups, after.Cgroups, before.Mounts, after.Mounts, before.Resident, after.Resident)
	}
	return nil
}
