package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
)

// TestEscapeTable compares what gets through bare, in both tiers and in other sandboxes, for `make escape`. It writes to the file
// named by ESCAPE_OUT, with JSON=1 as JSON, and passes or fails nothing: TestEscape does.
func TestEscapeTable(t *testing.T) {
	out := os.Getenv("ESCAPE_OUT")
	if out == "" {
		t.Skip("ESCAPE_OUT names no file: see make escape")
	}
	box(t)
	if os.Geteuid() == 0 {
		tableAsOrdinaryUser(t, out)
		return
	}
	columns := []column{bareColumn, strongColumn(t)}
	var absent []string
	if mediumHere {
		columns = append(columns, mediumColumn(t))
	} else {
		absent = append(absent, "not compared: the medium tier, which cannot be had here")
	}
	for _, other := range []func(testing.TB) (column, string){bubblewrap, sandboxRuntime, landlockOnly} {
		c, why := other(t)
		if why != "" {
			absent = append(absent, "not compared: "+why)
			continue
		}
		columns = append(columns, c)
	}
	type row struct {
		Class    string             `json:"class"`
		Name     string             `json:"name"`
		Outcomes map[string]outcome `json:"outcomes"`
		Strong   string             `json:"strong,omitempty"`
		Medium   string             `json:"medium,omitempty"`
		Open     string             `json:"open,omitempty"`
	}
	var rows []row
	total := map[string]int{}
	proven := 0
	for _, p := range probes() {
		r := row{p.class, p.name, map[string]outcome{}, p.strong, p.medium, p.open}
		for _, c := range columns {
			r.Outcomes[c.name] = p.run(t, c)
		}
		if r.Outcomes["bare"].Through {
			proven++
		}
		for _, c := range columns {
			if r.Outcomes[c.name].Through {
				total[c.name]++
			}
		}
		rows = append(rows, r)
	}
	var b bytes.Buffer
	if os.Getenv("JSON") == "1" {
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"kernel": machine.String(), "probes": rows, "proven": proven, "through": total, "absent": absent}); err != nil {
			t.Fatal(err)
		}
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		head := "class\tprobe"
		for _, c := range columns {
			head += "\t" + c.name
		}
		fmt.Fprintln(w, head)
		for _, r := range rows {
			line := r.Class + "\t" + r.Name
			for _, c := range columns {
				line += "\t" + cell(r.Outcomes["bare"], r.Outcomes[c.name])
			}
			fmt.Fprintln(w, line)
		}
		line := "\tgot through"
		for _, c := range columns {
			line += fmt.Sprintf("\t%d", total[c.name])
		}
		fmt.Fprintln(w, line)
		_ = w.Flush()
		fmt.Fprintf(&b, "\n%d probes, %d of them proven here; %s\n", len(rows), proven, machine)
		for _, why := range absent {
			fmt.Fprintln(&b, why)
		}
	}
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tableAsOrdinaryUser has another user write the table, who can write to a folder of the tests only.
func tableAsOrdinaryUser(t *testing.T, out string) {
	dir, err := os.MkdirTemp("/var/tmp", "sandbox-table-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	inner := filepath.Join(dir, "out")
	if err := errors.Join(os.WriteFile(inner, nil, 0o600), os.Chmod(dir, 0o711), os.Chmod(inner, 0o666)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ESCAPE_OUT", inner)
	asOrdinaryUser(t, "^TestEscapeTable$")
	b, err := os.ReadFile(inner)
	if err := errors.Join(err, os.WriteFile(out, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// cell is THROUGH, held, or - for what this machine cannot prove.
func cell(bare, o outcome) string {
	switch {
	case o.Through:
		return "THROUGH"
	case !bare.Through:
		return "-"
	}
	return "held"
}

// around is a column whose program is another sandbox, which is told what the scene grants.
func around(name string, arguments func(s *scene, program string) []string) column {
	return column{name, func(s *scene, argv []string) (*running, error) {
		return command(s, append(arguments(s, argv[0]), argv...))
	}}
}

// bubblewrap is a profile as people write it.
func bubblewrap(testing.TB) (column, string) {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return column{}, "bwrap is not installed"
	}
	return around("bubblewrap", func(s *scene, program string) []string {
		args := []string{path, "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"}
		for _, d := range []string{"bin", "lib", "lib64", "sbin"} {
			args = append(args, "--symlink", "usr/"+d, "/"+d)
		}
		for _, d := range append([]string{program}, s.read...) {
			args = append(args, "--ro-bind", d, d)
		}
		for _, d := range s.write {
			args = append(args, "--bind", d, d)
		}
		return append(args, "--")
	}), ""
}

// landlockOnly is testdata/landlocked.
func landlockOnly(testing.TB) (column, string) {
	program := filepath.Join(binaries, "landlocked")
	return around("Landlock only", func(s *scene, p string) []string {
		args := []string{program, "-r", p}
		for _, d := range s.read {
			args = append(args, "-r", d)
		}
		for _, d := range s.write {
			args = append(args, "-w", d)
		}
		return args
	}), ""
}

// sandboxRuntime is srt, of the npm package @anthropic-ai/sandbox-runtime; SRT names it where PATH does not.
func sandboxRuntime(t testing.TB) (column, string) {
	path := os.Getenv("SRT")
	if path == "" {
		var err error
		if path, err = exec.LookPath("srt"); err != nil {
			return column{}, "srt is not installed (npm i @anthropic-ai/sandbox-runtime; SRT=path)"
		}
	}
	settings := filepath.Join(t.TempDir(), "settings.json")
	c := around("srt", func(s *scene, _ string) []string {
		b, err := json.Marshal(map[string]any{"network": map[string]any{"allowedDomains": []string{}, "deniedDomains": []string{}},
			"filesystem": map[string]any{"denyRead": []string{s.home}, "allowWrite": s.write, "denyWrite": []string{}}})
		s.ok(err)
		s.ok(os.WriteFile(settings, b, 0o600))
		return []string{path, "-s", settings}
	})
	test := probe{class: "", name: "", act: "hostname"}
	if o := test.run(t, c); !o.Through {
		why, _ := exec.Command(path, "-s", settings, "/bin/true").CombinedOutput()
		return column{}, "srt does not start here: " + strings.Join(strings.Fields(string(why)), " ")
	}
	return c, ""
}
