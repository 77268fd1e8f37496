package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"cordon/sandbox"
)

// connects is how many connections one measurement makes.
const connects = 100

// connectArg makes this program connect to itself and print how long that took, in nanoseconds.
const connectArg = "connect"

func connectMain() error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	begin := time.Now()
	for range connects {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		c.Close()
	}
	fmt.Println(time.Since(begin).Nanoseconds() / connects)
	return nil
}

// connect measures what one connection over loopback takes: bare, in a network namespace, and supervised.
func (b *bench) connect() error {
	read := func(start func(out *os.File) (wait func() error, err error)) (time.Duration, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer r.Close()
		wait, err := start(w)
		w.Close()
		if err != nil {
			return 0, err
		}
		line, _ := bufio.NewReader(r).ReadString('\n')
		if err := wait(); err != nil {
			return 0, err
		}
		var n int64
		_, err = fmt.Sscan(line, &n)
		return time.Duration(n), err
	}
	confined := func(name string, sb *sandbox.Sandbox) variant {
		return variant{name, func() (time.Duration, error) {
			return read(func(out *os.File) (func() error, error) {
				p, err := sb.Start(b.ctx, sandbox.Profile{Read: []string{b.self}, Net: sandbox.NetLoopback, Demand: sandbox.Isolation(sandbox.NetLoopback)},
					sandbox.Command{Argv: []string{b.self, connectArg}}, sandbox.Files{Out: out, Err: os.Stderr})
				if err != nil {
					return nil, err
				}
				return func() error {
					if exit := p.Wait(); exit.Code() != 0 || exit.Left != nil {
						return fmt.Errorf("%s, left %v", exit, exit.Left)
					}
					return nil
				}, nil
			})
		}}
	}
	raw := variant{"raw", func() (time.Duration, error) {
		return read(func(out *os.File) (func() error, error) {
			c := exec.CommandContext(b.ctx, b.self, connectArg)
			c.Stdout, c.Stderr = out, os.Stderr
			return c.Wait, c.Start()
		})
	}}
	r, err := b.compare("connect", b.n, raw, confined("sandbox", b.sandbox), confined("sandbox, medium", b.medium()))
	if err != nil {
		return err
	}
	took := r.get("sandbox, medium").Median
	r.Target, r.Measured, r.Met = "a supervised connection takes less than 0.250 ms", fmt.Sprintf("%.3f ms", took/1000), took < 250
	return nil
}

// medium is the sandbox as it is on a machine without user namespaces.
func (b *bench) medium() *sandbox.Sandbox {
	sb := &sandbox.Sandbox{Kernel: b.sandbox.Kernel, Launcher: b.sandbox.Launcher}
	sb.Kernel.Namespaces = "switched off for this measurement"
	return sb
}
