package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cordon/host/catalog"
	"cordon/host/config"
	"cordon/host/server"
	"cordon/host/tool"
	"cordon/sandbox"
	"cordon/sandbox/attempt"
)

// Attempt is one forbidden act, tried without and with the sandbox.
type Attempt struct {
	Act      string // in words
	Detail   string // its object
	Bare     attempt.Result
	Confined attempt.Result
	Risky    bool // was not tried bare
}

// Held reports whether the sandbox stopped what works without it.
func (a Attempt) Held() bool { return !a.Confined.Worked && (a.Risky || a.Bare.Worked) }

// Trial is the result of TrySandbox.
type Trial struct {
	Attempts []Attempt
	Report   sandbox.Report
	Took     time.Duration
}

// tools of Cordon's own command line that the first start needs; beside this executable.
func ownCommand() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(exe), "cordon-cli")
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
		return "", fmt.Errorf("the program cordon-cli is not beside %s; reinstall Cordon", exe)
	}
	return path, nil
}

// TrySandbox starts a program that tries forbidden things and compares with what this process itself can do. Nothing
// is changed and nothing is sent: the bare acts look, ask for a route, or bind and let go.
func (h *Host) TrySandbox(ctx context.Context) (Trial, error) {
	return TrySandbox(ctx, h.o.Sandbox, h.o.Paths.Home)
}

// TrySandbox is Host.TrySandbox without the state.
func TrySandbox(ctx context.Context, sb *sandbox.Sandbox, home string) (Trial, error) {
	type act struct {
		words, act, arg string
		risky           bool
	}
	acts := []act{{"look into your home directory", "list", home, false}}
	for _, f := range []string{".ssh", ".gnupg", ".aws", ".mozilla", ".config"} {
		if _, err := os.Stat(filepath.Join(home, f)); err == nil {
			acts = append(acts, act{"look into ~/" + f, "list", filepath.Join(home, f), false})
		}
	}
	for _, f := range []string{".bashrc", ".profile", ".bash_history", ".gitconfig"} {
		if _, err := os.Stat(filepath.Join(home, f)); err == nil {
			acts = append(acts, act{"read ~/" + f, "read", filepath.Join(home, f), false})
		}
	}
	pid := strconv.Itoa(os.Getpid())
	acts = append(acts, act{"read the environment of Cordon", "read", "/proc/" + pid + "/environ", false},
		act{"signal Cordon", "kill", pid, false},
		act{"open an address outside (1.1.1.1)", "udp", "1.1.1.1:53", false},
		act{"listen on every address (0.0.0.0)", "bind-tcp", "0.0.0.0:0", false})
	if bus := strings.TrimPrefix(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), "unix:path="); filepath.IsAbs(bus) {
		bus, _, _ = strings.Cut(bus, ",")
		acts = append(acts, act{"talk to the session bus", "unix", bus, false})
	}
	acts = append(acts, act{"start 300 processes", "forks", "300", true}, act{"become another user", "setuid", "", true}, act{"mount a file system", "mount", "/tmp", true},
		act{"make namespaces", "unshare", "", true})
	program, err := ownCommand()
	if err != nil {
		return Trial{}, err
	}
	began := time.Now()
	argv := []string{program, "attempt"}
	for _, a := range acts {
		argv = append(argv, a.act+"="+a.arg)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Trial{}, err
	}
	defer r.Close()
	p, err := sb.Start(ctx, sandbox.Profile{Read: []string{program}, Memory: 256 << 20, Pids: 64, Demand: sandbox.Isolation(sandbox.NetNone)}, sandbox.Command{Argv: argv}, sandbox.Files{Out: w})
	w.Close()
	if err != nil {
		return Trial{}, err
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	out, err := io.ReadAll(io.LimitReader(r, 1<<20))
	p.Wait()
	if err != nil {
		return Trial{}, err
	}
	t := Trial{Report: p.Report}
	dec := json.NewDecoder(bytes.NewReader(out))
	for _, a := range acts {
		one := Attempt{Act: a.words, Detail: a.arg, Risky: a.risky}
		if err := dec.Decode(&one.Confined); err != nil {
			return Trial{}, fmt.Errorf("the program that tries forbidden things ended early: %w", err)
		}
		if !a.risky {
			one.Bare = attempt.Do(a.act, a.arg)
		}
		t.Attempts = append(t.Attempts, one)
	}
	t.Took = time.Since(began)
	return t, nil
}

// CaseFolder is the sample case of the first start.
func CaseFolder(p config.Paths) string { return filepath.Join(p.Data, "sample-case") }

// sample are the files of the sample case.
var sample = map[string]string{
	"README.txt": "A sample case. A server that you start on this folder can read it and nothing else.\n" +
		"Reading is allowed once you have reviewed the server; writing asks you first.\n",
	"alert.json": `{
  "id": "A-1047",
  "time": "2026-11-20T07:41:09Z",
  "host": "WS-FIN-0142",
  "user": "k.brandt",
  "rule": "lsass handle from unusual parent",
  "process": "C:\\ProgramData\\bagent\\bagent.exe"
}
`,
	"notes.md": "# A-1047\n\n- 07:41 UTC: handle to lsass.exe, access 0x1410, parent unknown\n- backup agent was updated the day before\n- to do: compare with the hash of the released agent\n",
}

// PrepareFilesystem installs npm's filesystem server on the sample case, defines it and starts it. It returns the
// server's name. What is already done is not done again. Cancelling ctx stops it.
func (h *Host) PrepareFilesystem(ctx context.Context, say func(text string, step, of int)) (string, error) {
	const steps = 4
	say("Preparing the sample case", 1, steps)
	folder := CaseFolder(h.o.Paths)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for name, text := range sample {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := config.WriteFile(path, []byte(text)); err != nil {
			return "", err
		}
	}
	preset := catalog.Filesystem
	if _, exists := h.Config().Server(preset.Name); !exists {
		done, err := h.installer(func(text string) { say(text, 2, steps) }).InstallPreset(ctx, preset)
		if err != nil {
			return "", err
		}
		say("Defining the server", 3, steps)
		def := config.Server{Name: preset.Name, Title: preset.Title, Command: []string{folder}, Write: []string{folder}, Net: config.NetNone,
			Memory: config.DefaultMemory, Pids: config.DefaultPids}
		if err := h.AddServer(defined(def, done)); err != nil {
			return "", err
		}
	}
	say("Starting it in its sandbox", 4, steps)
	return preset.Name, h.Servers.Start(ctx, preset.Name)
}

// practice is the key of the bundled server behind "meet the consent dialog".
const practice = "practice"

// Practice asks for consent to change a file in an empty folder, through the same path as every call.
func (h *Host) Practice(ctx context.Context) (tool.Result, error) {
	folder := filepath.Join(h.o.Paths.Data, "practice")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return tool.Result{}, err
	}
	program, err := ownCommand()
	if err != nil {
		return tool.Result{}, err
	}
	if _, exists := h.Config().Server(practice); !exists {
		err := h.AddServer(config.Server{Name: practice, Title: "Practice", Source: Bundled, Version: h.o.Version, Command: []string{program, "practice-server", folder},
			Write: []string{folder}, Net: config.NetNone, Memory: config.DefaultMemory, Pids: config.DefaultPids})
		if err != nil {
			return tool.Result{}, err
		}
	}
	if err := h.Servers.Start(ctx, practice); err != nil {
		return tool.Result{}, err
	}
	if err := h.approveBundled(ctx, practice, program); err != nil {
		return tool.Result{}, err
	}
	args, err := json.Marshal(map[string]string{"path": filepath.Join(folder, "practice.txt"), "content": "You allowed this on purpose.\n"})
	if err != nil {
		return tool.Result{}, err
	}
	return h.Call(ctx, tool.Proposal{Kind: tool.CallTool, Target: tool.ID{Server: practice, Name: "write_file"}, Args: args,
		By: tool.Asker{Kind: "practice", Name: "Practice", Conversation: "practice"}, Wrote: tool.OriginDefault})
}

// Bundled is the Source of servers that are part of Cordon itself.
const Bundled = "bundled"

// approveBundled pins a server whose program is Cordon's own, because a person who runs Cordon trusts its files
// already. Any other program has to be reviewed.
func (h *Host) approveBundled(ctx context.Context, name, program string) error {
	v, err := h.Servers.View(name)
	if err != nil {
		return err
	}
	if v.State != server.Running || v.Def.Source != Bundled || v.Fingerprint.BinaryPath != program {
		return fmt.Errorf("%s is not the bundled server it claims to be; remove it and try again", name)
	}
	r, err := h.Review(ctx, name)
	if err != nil {
		return err
	}
	if !r.First && len(r.Changes) == 0 {
		return nil
	}
	return h.Approve(ctx, name, r.Digest)
}
