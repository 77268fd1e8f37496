package cli

import (
	"fmt"
	"time"

	"cordon/host/config"
	"cordon/host/gate"
	"cordon/sandbox"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// moreThanNothing refuses flags that were given and say nothing: zero, less, NaN and an empty text would be taken for a
// flag that was left out, and what was meant as a limit would be none. The error exits with 2.
func moreThanNothing(c *cobra.Command, names ...string) error {
	var err error
	c.Flags().Visit(func(f *pflag.Flag) { // those that were given
		for _, name := range names {
			if f.Name == name && err == nil && !saysSomething(c.Flags(), f) {
				err = usageError(c, "--%s %q: it must be more than nothing, or be left out", name, f.Value)
			}
		}
	})
	return err
}

func saysSomething(fs *pflag.FlagSet, f *pflag.Flag) bool {
	switch f.Value.Type() {
	case "duration":
		d, err := fs.GetDuration(f.Name)
		return err == nil && d > 0
	case "int":
		n, err := fs.GetInt(f.Name)
		return err == nil && n > 0
	case "float64":
		x, err := fs.GetFloat64(f.Name)
		return err == nil && x > 0
	}
	return f.Value.String() != ""
}

func usageError(c *cobra.Command, format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf("%w; see %s --help", fmt.Errorf(format, args...), c.CommandPath())}
}

// deadline checks --within: the gate would shorten what is longer than it allows without a word.
func deadline(c *cobra.Command, within time.Duration) error {
	if err := moreThanNothing(c, "within"); err != nil {
		return err
	}
	if within > gate.MaxDeadline {
		return usageError(c, "--within %v: at most %v", within, gate.MaxDeadline)
	}
	return nil
}

// limits reads --mem and checks it and --pids against what a definition can say.
func limits(c *cobra.Command, mem string, pids int) (memory int64, err error) {
	if err := moreThanNothing(c, "mem", "pids"); err != nil {
		return 0, err
	}
	memory, err = sandbox.ParseBytes(mem)
	switch {
	case err != nil:
		return 0, usageError(c, "--mem: %w", err)
	case memory < config.MinMemory || memory > config.MaxMemory:
		return 0, usageError(c, "--mem %s: between 16M and 1T", mem)
	case pids < config.MinPids || pids > config.MaxPids:
		return 0, usageError(c, "--pids %d: between %d and %d", pids, config.MinPids, config.MaxPids)
	}
	return memory, nil
}

// granting are the flags that a profile stands for.
var granting = []string{"read", "write", "net", "host", "private-host", "reach", "serve", "mem", "pids", "cpu"}

// alone refuses others beside a flag.
func alone(c *cobra.Command, name string, others ...string) error {
	for _, o := range others {
		if c.Flags().Changed(o) {
			return usageError(c, "--%s and --%s exclude each other", name, o)
		}
	}
	return nil
}
