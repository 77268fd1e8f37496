package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/gate"

	"github.com/spf13/cobra"
)

// limited is what `servers limit --json` prints. 0 is the usual limit of calls in a minute, no limit of calls in a day, and no calls of a tool at all.
type limited struct {
	Server    string         `json:"server"`
	PerMinute int            `json:"perMinute"`
	PerDay    int            `json:"perDay"`
	Tools     map[string]int `json:"tools"`
	Changed   string         `json:"changed,omitempty"`
}

func limitCommand(e *env) *cobra.Command {
	var minute, day int
	var tools []string
	c := &cobra.Command{
		Use:   "limit NAME [flags]",
		Short: "Limit how often a server may be called",
		Long: `Limits how many calls of a server are let through, and shows what holds; without flags it changes nothing. What it is not called
any more is denied, and recorded. Days end at midnight UTC. A server runs on while its limits are changed.`,
		Example: `  cordon servers limit intel --per-minute 30 --per-day 1000
  cordon servers limit intel --tool lookup=5 --tool submit=never
  cordon servers limit intel --per-day 0 --tool lookup=0`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeFirst,
		RunE: func(c *cobra.Command, args []string) error {
			change, err := limitsOf(c, minute, day, tools)
			if err != nil {
				return err
			}
			out := limited{Server: args[0]}
			if c.Flags().Changed("per-minute") || c.Flags().Changed("per-day") || len(tools) > 0 {
				h, done, err := e.open(c.Context())
				if err != nil {
					return err
				}
				defer done()
				def, ok := h.Config().Server(args[0])
				if !ok {
					return fmt.Errorf("no such server: %q", args[0])
				}
				if out.Changed, err = h.Limit(args[0], change(def)); err != nil {
					return err
				}
			}
			conf, _, err := definitions()
			if err != nil {
				return err
			}
			def, ok := conf.Server(args[0])
			if !ok {
				return fmt.Errorf("no such server: %q", args[0])
			}
			out.PerMinute, out.PerDay, out.Tools = def.Rate, def.Budget, def.Rates
			if out.Tools == nil {
				out.Tools = map[string]int{}
			}
			return e.print(out, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				limitRows(def, func(k, v string) { fmt.Fprintf(t, "%s\t%s\n", consent.Escape(k), v) })
				t.Flush()
			})
		},
	}
	c.Flags().IntVar(&minute, "per-minute", 0, fmt.Sprintf("calls in a minute; 0 is the usual limit, %d", gate.DefaultPerMinute))
	c.Flags().IntVar(&day, "per-day", 0, "calls in a day; 0 is no limit")
	c.Flags().StringArrayVar(&tools, "tool", nil, "calls of one tool in a minute, TOOL=N; TOOL=0 is no limit, TOOL=never no calls at all")
	return c
}

// limitsOf reads what the flags make of a server's limits.
func limitsOf(c *cobra.Command, minute, day int, tools []string) (func(config.Server) gate.Limits, error) {
	if minute < 0 || minute > config.MaxRate || day < 0 || day > config.MaxRate {
		return nil, usageError(c, "--per-minute and --per-day take numbers from 0 to %d", config.MaxRate)
	}
	each := map[string]int{} // -1 removes
	for _, s := range tools {
		at := strings.LastIndexByte(s, '=')
		if at < 1 {
			return nil, usageError(c, "--tool %q: write TOOL=N", s)
		}
		name, text := s[:at], s[at+1:]
		n, err := strconv.Atoi(text)
		switch {
		case text == "never":
			n = 0
		case err != nil || n < 0 || n > config.MaxRate:
			return nil, usageError(c, "--tool %q: N is a number from 0 to %d, or never", s, config.MaxRate)
		case n == 0:
			n = -1
		}
		each[name] = n
	}
	return func(def config.Server) gate.Limits {
		l := gate.Limits{PerMinute: def.Rate, PerDay: def.Budget, Tools: maps.Clone(def.Rates)}
		if c.Flags().Changed("per-minute") {
			l.PerMinute = minute
		}
		if c.Flags().Changed("per-day") {
			l.PerDay = day
		}
		for name, n := range each {
			if n < 0 {
				delete(l.Tools, name)
				continue
			}
			if l.Tools == nil {
				l.Tools = map[string]int{}
			}
			l.Tools[name] = n
		}
		return l
	}, nil
}

// limitRows says what limits a server.
func limitRows(def config.Server, row func(k, v string)) {
	minute, day := fmt.Sprint(def.Rate), fmt.Sprint(def.Budget)
	if def.Rate == 0 {
		minute = fmt.Sprintf("%d, as usual", gate.DefaultPerMinute)
	}
	if def.Budget == 0 {
		day = "no limit"
	}
	row("calls in a minute", minute)
	row("calls in a day", day)
	for _, name := range slices.Sorted(maps.Keys(def.Rates)) {
		text := fmt.Sprint(def.Rates[name])
		if def.Rates[name] == 0 {
			text = "none at all"
		}
		row("calls of "+name+" in a minute", text)
	}
}
