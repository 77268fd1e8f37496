package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cordon/app/cli/confined"
	"cordon/host/config"
	"cordon/sandbox"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// definition is what the flags of a command say of a server: all but what it is and what runs it.
type definition struct {
	def                config.Server
	mem, file, caseDir string
	settings           []string
}

func newDefinition() *definition {
	return &definition{def: config.Server{Memory: config.DefaultMemory, Pids: config.DefaultPids}}
}

func (d *definition) flags(f *pflag.FlagSet) {
	f.SetInterspersed(true)
	f.StringArrayVar(&d.def.Read, "read", nil, "grant reading a file or directory")
	f.StringArrayVar(&d.def.Write, "write", nil, "grant reading and writing a directory")
	f.StringArrayVar(&d.settings, "env", nil, "set a variable, NAME=VALUE; not for secrets")
	f.StringVar(&d.def.Net, "net", config.NetNone, "network: none, or loopback (its own)")
	f.StringArrayVar(&d.def.Hosts, "host", nil, "let it reach this host through Cordon's proxy: NAME:PORT, *.NAME:PORT or ADDRESS:PORT")
	f.StringArrayVar(&d.def.Private, "private-host", nil, "the same, for a host in a private network")
	f.Var((*confined.PortList)(&d.def.Reach), "reach", "let it call this port of this computer's loopback")
	f.Var((*confined.PortList)(&d.def.Serve), "serve", "let programs of this computer call the port that it listens on")
	f.StringVar(&d.mem, "mem", strconv.Itoa(config.DefaultMemory>>20)+"M", "memory limit")
	f.IntVar(&d.def.Pids, "pids", d.def.Pids, "limit of processes and threads")
	f.StringVar(&d.file, "profile", "", "take what is granted from this file, see cordon profile")
	f.StringVar(&d.caseDir, "case", "", "the case folder, for ${CASE} in the profile")
	f.DurationVar((*time.Duration)(&d.def.Idle), "idle", 0, "stop it after so long without a call, until the next one (10m); 0 is never")
	f.StringVar(&d.def.Title, "title", "", "name for people")
}

// read returns the definition once c's flags are parsed: without a name, a source and a command.
func (d *definition) read(c *cobra.Command) (config.Server, error) {
	def := d.def
	var err error
	if def.Memory, err = limits(c, d.mem, def.Pids); err != nil {
		return def, err
	}
	if d.file != "" {
		if err := alone(c, "profile", granting...); err != nil {
			return def, err
		}
		if err := fromFile(d.file, d.caseDir, &def); err != nil {
			return def, err
		}
	}
	for _, list := range []*[]string{&def.Read, &def.Write} {
		for i, path := range *list {
			if (*list)[i], err = sandbox.Resolve(path); err != nil {
				return def, fmt.Errorf("grant %w", err)
			}
		}
	}
	def.Env = map[string]string{}
	for _, s := range d.settings {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return def, &exitError{exitUsage, fmt.Errorf("--env %q: write NAME=VALUE; for a secret use cordon secrets set", s)}
		}
		def.Env[name] = value
	}
	switch unsaid := d.file == "" && !c.Flags().Changed("net"); {
	case unsaid && len(def.Hosts)+len(def.Private) > 0:
		def.Net = config.NetHosts
	case unsaid && len(def.Reach)+len(def.Serve) > 0:
		def.Net = config.NetLoopback
	}
	return def, nil
}
