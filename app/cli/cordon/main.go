// Command cordon is Cordon's command line. It runs `cordon sandbox exec` itself, because a program as large as the whole
// command line takes longer to start than a sandbox; everything else, help and every error included, is cordon-cli's.
//
// It does not ask its cgroup how many processors it may use: four files that take longer to read than it computes.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"cordon/app/cli/confined"
	"cordon/sandbox"
	"cordon/sandbox/confine"
	"cordon/sandbox/spec"
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == "sandbox" && os.Args[2] == "exec" {
		if f, args, ok := parse(os.Args[3:]); ok {
			run(f, args)
		}
	}
	err := handOver()
	fmt.Fprintln(os.Stderr, "cordon:", err)
	os.Exit(confined.CodeFailed)
}

// run returns only when the program was not started; cordon-cli then finds the same reason and explains it.
func run(f confined.Flags, args []string) {
	probe := sandbox.ProbeUnlimited
	if f.Limited() {
		probe = sandbox.Probe
	}
	sb := &sandbox.Sandbox{Kernel: probe(), Spawn: func(sp *spec.Spec, files []uintptr) (int, error) {
		return confine.Spawn(sp, files, os.Args, confined.Signals...)
	}}
	if sb.Kernel.Groups.Unready != "" || sb.Kernel.Namespaces != "" {
		return // cordon-cli can ask the service manager for a cgroup, and supervise
	}
	ran, err := f.Run(context.Background(), sb, args, nil)
	if !ran {
		return
	}
	var end *confined.Error
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &end) && end.Err == nil:
		os.Exit(end.Code)
	case end != nil:
		fmt.Fprintln(os.Stderr, "cordon:", end.Err)
		os.Exit(end.Code)
	}
	fmt.Fprintln(os.Stderr, "cordon:", err)
	os.Exit(confined.CodeFailed)
}

// parse reads the flags in their plainest forms, --name value and --name=value. What else pflag would take, it leaves to
// cordon-cli, as it does limits of nothing, which are wrong, and reports: this program is built without D-Bus and the library for statistics (tag small).
func parse(args []string) (f confined.Flags, program []string, ok bool) {
	f.Net = "none"
	for len(args) > 0 {
		word := args[0]
		if word == "--" {
			return f, args[1:], len(args) > 1
		}
		if !strings.HasPrefix(word, "-") {
			return f, args, true
		}
		name, value, joined := strings.Cut(word, "=")
		if args = args[1:]; !joined {
			if len(args) == 0 {
				return f, nil, false
			}
			value, args = args[0], args[1:]
		}
		switch name {
		case "--read":
			f.Read = append(f.Read, value)
		case "--write":
			f.Write = append(f.Write, value)
		case "--env":
			f.Env = append(f.Env, value)
		case "--net":
			f.Net = value
		case "--mem":
			if value == "" {
				return f, nil, false
			}
			f.Mem = value
		case "--pids":
			n, err := strconv.Atoi(value)
			if err != nil || n <= 0 {
				return f, nil, false
			}
			f.Pids = n
		case "--cpu":
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || !(n > 0) {
				return f, nil, false
			}
			f.CPU = n
		default:
			return f, nil, false
		}
	}
	return f, nil, false
}

// handOver becomes cordon-cli, which lies beside this program or in ../libexec/cordon.
func handOver() error {
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return err
	}
	dir := filepath.Dir(exe)
	for _, path := range []string{filepath.Join(dir, "cordon-cli"), filepath.Join(dir, "../libexec/cordon/cordon-cli")} {
		if err = syscall.Exec(path, os.Args, os.Environ()); err != syscall.ENOENT {
			break
		}
	}
	return fmt.Errorf("start cordon-cli: %w; reinstall Cordon", err)
}
