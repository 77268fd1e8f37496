// Command bench measures what confinement, the gate and conversations cost, against the same work done raw and under bubblewrap. In
// every round each variant of a row runs once, in an order of its own, so that a noisy machine disturbs all of them alike. It needs
// bin/cordon and bin/cordon-launch (make build) and leaves nothing behind.
//
//	go run ./build/bench [-n 200] [-rows launch,node,start,stdio,connect,gate,crowd,cycles,chat] [-bin bin] [-json]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"cordon/host/config"
	"cordon/sandbox"
)

// variant is one way to do a row's work.
type variant struct {
	name string
	run  func() (time.Duration, error)
}

// row compares variants; the first is the raw one.
type row struct {
	Name     string   `json:"name"`
	Results  []result `json:"results"`
	Target   string   `json:"target,omitempty"`
	Measured string   `json:"measured,omitempty"`
	Met      bool     `json:"met"`
}

// result is one variant's distribution, in microseconds.
type result struct {
	Name   string  `json:"name"`
	Median float64 `json:"medianMicros"`
	P90    float64 `json:"p90Micros"`
	Min    float64 `json:"minMicros"`
	Ratio  float64 `json:"ratio"` // of the medians, to the raw variant
}

// bench is one run of this program.
type bench struct {
	ctx     context.Context
	n       int
	dir     string // of its own, removed at the end
	self    string // this executable
	cordon  string
	sandbox *sandbox.Sandbox
	rows    []row
}

func main() {
	if len(os.Args) >= 2 && os.Args[1] == nullServerArg {
		if err := nullServer(context.Background(), os.Args[2:]); err != nil {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == nullWebArg {
		if err := nullWeb(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == connectArg {
		if err := connectMain(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	n := flag.Int("n", 200, "rounds of each row, at least 100")
	bin := flag.String("bin", "bin", "where cordon and cordon-launch are")
	rows := flag.String("rows", "launch,node,start,stdio,connect,gate,crowd,cycles,chat", "which rows")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("/var/tmp", "cordon-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := config.WriteFile(filepath.Join(dir, "srt.json"), []byte(`{"network":{"allowedDomains":[],"deniedDomains":[]},"filesystem":{"denyRead":[],"allowWrite":[],"denyWrite":[]}}`)); err != nil {
		return err
	}
	abs, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &bench{ctx: ctx, n: max(*n, 100), dir: dir, self: self, cordon: filepath.Join(abs, "cordon"),
		sandbox: &sandbox.Sandbox{Kernel: sandbox.Probe(), Launcher: filepath.Join(abs, "cordon-launch")}}
	for _, name := range strings.Split(*rows, ",") {
		f, ok := map[string]func() error{"launch": b.launchTrue, "node": b.launchNode, "start": b.start, "stdio": b.stdio, "connect": b.connect, "gate": b.gate, "crowd": b.crowd, "cycles": b.cycles, "chat": b.chat}[name]
		if !ok {
			return fmt.Errorf("there is no row %q", name)
		}
		if err := f(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Kernel string `json:"kernel"`
			Rounds int    `json:"rounds"`
			Rows   []row  `json:"rows"`
		}{b.sandbox.Kernel.String(), b.n, b.rows})
	}
	return b.print(os.Stdout)
}

// compare runs every variant n times, in rounds. Two rounds before that warm the caches. Each round has an order of its own:
// what ends a namespace goes on after its program, and must not weigh on the same neighbour each time.
func (b *bench) compare(name string, n int, vs ...variant) (*row, error) {
	order := rand.New(rand.NewPCG(1, 2))
	taken := make([][]float64, len(vs))
	for i := -2; i < n; i++ {
		for _, j := range order.Perm(len(vs)) {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			d, err := vs[j].run()
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", name, vs[j].name, err)
			}
			if i >= 0 {
				taken[j] = append(taken[j], float64(d.Nanoseconds())/1000)
			}
		}
	}
	names := make([]string, 0, len(vs))
	for _, v := range vs {
		names = append(names, v.name)
	}
	return b.row(name, names, taken), nil
}

// row adds a row from the times of each variant, in microseconds.
func (b *bench) row(name string, variants []string, taken [][]float64) *row {
	r := row{Name: name}
	for i, ts := range taken {
		slices.Sort(ts)
		x := result{Name: variants[i], Median: ts[len(ts)/2], P90: ts[len(ts)*9/10], Min: ts[0], Ratio: 1}
		if i > 0 {
			x.Ratio = x.Median / r.Results[0].Median
		}
		r.Results = append(r.Results, x)
	}
	b.rows = append(b.rows, r)
	return &b.rows[len(b.rows)-1]
}

func (r *row) get(name string) result {
	for _, x := range r.Results {
		if x.Name == name {
			return x
		}
	}
	return result{}
}

// judge compares what a variant adds to the raw one with a bound.
func (r *row) judge(name string, bound float64, what string) {
	added := r.get(name).Median - r.Results[0].Median
	r.Target, r.Measured, r.Met = fmt.Sprintf("%s adds less than %s", name, what), fmt.Sprintf("%.3f ms against %.3f", added/1000, bound/1000), added < bound
}

func (b *bench) print(w io.Writer) error {
	fmt.Fprintf(w, "%s; %d rounds, each variant once in each; milliseconds\n\n", b.sandbox.Kernel, b.n)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "row\tvariant\tmedian\tp90\tmin\tto raw\tadded\t")
	for _, r := range b.rows {
		for _, x := range r.Results {
			fmt.Fprintf(t, "%s\t%s\t%.3f\t%.3f\t%.3f\t%.2f\t%+.3f\t\n", r.Name, x.Name, x.Median/1000, x.P90/1000, x.Min/1000, x.Ratio, (x.Median-r.Results[0].Median)/1000)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, r := range b.rows {
		if r.Target != "" {
			verdict := "missed"
			if r.Met {
				verdict = "met"
			}
			fmt.Fprintf(w, "%-7s %s: %s (%s)\n", verdict, r.Name, r.Target, r.Measured)
		}
	}
	return nil
}
