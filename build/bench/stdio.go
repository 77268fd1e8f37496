package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"cordon/sandbox"

	"golang.org/x/sys/unix"
)

// cat is a running cat: what goes into in comes out of out.
type cat struct {
	in, out *os.File
	end     func() error
}

func startCat(start func(in, out *os.File) (wait func() error, err error)) (*cat, error) {
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

// echo sends 50 messages of 200 bytes and reads each back before the next. It returns the time of one.
func (c *cat) echo() (time.Duration, error) {
	const times = 50
	var sent, got [200]byte
	begin := time.Now()
	for range times {
		if _, err := c.in.Write(sent[:]); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c.out, got[:]); err != nil {
			return 0, err
		}
	}
	return time.Since(begin) / times, nil
}

// stream sends 16 MiB while reading them back.
func (c *cat) stream() (time.Duration, error) {
	const n = 16 << 20
	block := make([]byte, 64<<10)
	sent := make(chan error, 1)
	begin := time.Now()
	go func() {
		for left := n; left > 0; left -= len(block) {
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

// cats take turns: where the memory of one lies makes it some per cent quicker or slower for as long as it lives.
type cats struct {
	all  []*cat
	turn int
}

func (cs *cats) next() *cat {
	cs.turn++
	return cs.all[cs.turn%len(cs.all)]
}

func (cs *cats) echo() (time.Duration, error)   { return cs.next().echo() }
func (cs *cats) stream() (time.Duration, error) { return cs.next().stream() }

func (cs *cats) end() (err error) {
	for _, c := range cs.all {
		err = errors.Join(err, c.end())
	}
	return err
}

// cats starts raw ones and confined ones, five each, where this process may run now.
func (b *bench) cats() (raw, confined *cats, err error) {
	raw, confined = &cats{}, &cats{}
	for range 5 {
		c, err := startCat(func(in, out *os.File) (func() error, error) {
			c := exec.CommandContext(b.ctx, "/bin/cat")
			c.Stdin, c.Stdout = in, out
			return c.Wait, c.Start()
		})
		if err != nil {
			return raw, confined, err
		}
		raw.all = append(raw.all, c)
		c, err = startCat(func(in, out *os.File) (func() error, error) {
			p, err := b.sandbox.Start(b.ctx, sandbox.Profile{Memory: 512 << 20, Pids: 64}, sandbox.Command{Argv: []string{"/bin/cat"}}, sandbox.Files{In: in, Out: out})
			if err != nil {
				return nil, err
			}
			return func() error { return p.Wait().Left }, nil
		})
		if err != nil {
			return raw, confined, err
		}
		confined.all = append(confined.all, c)
	}
	return raw, confined, nil
}

// stdio compares what passes through pipes. The two ends have a core each: left alone, the kernel puts them on one core or on two, and
// decides otherwise for what is in a cgroup, which weighs more than all that a sandbox does. The last rows show that.
func (b *bench) stdio() error {
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		return err
	}
	if mine.Count() > 1 {
		near, far := first(mine), mine
		far.Clear(near)
		if err := b.streams("each end on its core", only(near), only(first(far))); err != nil {
			return err
		}
	}
	return b.streams("placed by the kernel", mine, mine)
}

func first(cores unix.CPUSet) int {
	for i := 0; ; i++ {
		if cores.IsSet(i) {
			return i
		}
	}
}

func only(core int) (cores unix.CPUSet) {
	cores.Set(core)
	return cores
}

func (b *bench) streams(where string, near, far unix.CPUSet) (err error) {
	if err := pin(far); err != nil { // what is started stays where its starter was
		return err
	}
	raw, confined, err := b.cats()
	defer func() { err = errors.Join(err, raw.end(), confined.end()) }()
	if err := errors.Join(err, pin(near)); err != nil {
		return err
	}
	for _, x := range []struct {
		name          string
		raw, confined func() (time.Duration, error)
	}{{"stdio round trip, 200 B, ", raw.echo, confined.echo}, {"stdio throughput, 16 MiB, ", raw.stream, confined.stream}} {
		r, err := b.compare(x.name+where, b.n, variant{"raw", x.raw}, variant{"sandbox", x.confined})
		if err != nil {
			return err
		}
		if near != far {
			r.judge("sandbox", r.Results[0].Median/20, "a twentieth")
		}
	}
	return nil
}

// pin lets every thread of this process, and what it starts from now on, run on these cores only.
func pin(cores unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &cores); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
