package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"cordon/sandbox"
)

// cat is a running cat: what goes into in comes out of out.
type cat struct {
	in, out *os.File
	end     func() error
}

func (b *bench) cat(start func(in, out *os.File) (wait func() error, err error)) (*cat, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), childIn.Close())
	}
	wait, err := start(childIn, childOut)
	err = errors.Join(err, childIn.Close(), childOut.Close())
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return &cat{in, out, func() error { return errors.Join(in.Close(), wait(), out.Close()) }}, nil
}

// echo sends one message of n bytes and reads it back.
func (c *cat) echo(n, times int) func() (time.Duration, error) {
	sent, got := make([]byte, n), make([]byte, n)
	return func() (time.Duration, error) {
		begin := time.Now()
		for range times {
			if _, err := c.in.Write(sent); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(c.out, got); err != nil {
				return 0, err
			}
		}
		return time.Since(begin) / time.Duration(times), nil
	}
}

// stream sends n bytes while reading them back.
func (c *cat) stream(n int64) func() (time.Duration, error) {
	block := make([]byte, 64<<10)
	return func() (time.Duration, error) {
		sent := make(chan error, 1)
		begin := time.Now()
		go func() {
			for left := n; left > 0; left -= int64(len(block)) {
				if _, err := c.in.Write(block); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		_, err := io.CopyN(io.Discard, c.out, n)
		return time.Since(begin), errors.Join(err, <-sent)
	}
}

func (b *bench) stdio() (err error) {
	raw, err := b.cat(func(in, out *os.File) (func() error, error) {
		c := exec.CommandContext(b.ctx, "/bin/cat")
		c.Stdin, c.Stdout = in, out
		return c.Wait, c.Start()
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.end()) }()
	confined, err := b.cat(func(in, out *os.File) (func() error, error) {
		p, err := b.sandbox.Start(b.ctx, sandbox.Profile{Memory: 512 << 20, Pids: 64}, sandbox.Command{Argv: []string{"/bin/cat"}}, sandbox.Files{In: in, Out: out})
		if err != nil {
			return nil, err
		}
		return func() error { return p.Wait().Left }, nil
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, confined.end()) }()
	r, err := b.compare("stdio round trip, 200 B", b.n, variant{"raw", raw.echo(200, 50)}, variant{"sandbox", confined.echo(200, 50)})
	if err != nil {
		return err
	}
	r.judge("sandbox", r.Results[0].Median/10, "a tenth")
	r, err = b.compare("stdio throughput, 16 MiB", b.n, variant{"raw", raw.stream(16 << 20)}, variant{"sandbox", confined.stream(16 << 20)})
	if err != nil {
		return err
	}
	r.judge("sandbox", r.Results[0].Median/10, "a tenth")
	return nil
}
