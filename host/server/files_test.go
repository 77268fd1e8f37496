package server

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"cordon/host/config"
)

// What a pin covers, however the command names it.
func TestCoverage(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	x, y := put("x.py", "x"), put("y z.jar", "y")
	put("app/__main__.py", "m")
	put("case/notes.txt", "n")
	data := put("w/data.db", sqlite+"rest")
	app, case_ := filepath.Join(dir, "app"), filepath.Join(dir, "case")
	for name, c := range map[string]struct {
		args         []string
		covered, not []string
	}{
		"a file":                          {[]string{x}, []string{x}, nil},
		"with a space":                    {[]string{y}, []string{y}, nil},
		"of an option":                    {[]string{"--main=" + x}, []string{x}, nil},
		"of a short option":               {[]string{"-r" + x}, []string{x}, nil},
		"as an address":                   {[]string{"file://" + x}, []string{x}, nil},
		"in a list":                       {[]string{"-cp", "/nowhere:" + x}, []string{x}, nil},
		"an argument file":                {[]string{"@" + x}, []string{x}, nil},
		"in a shell's words":              {[]string{"-c", "exec python3 '" + x + "'; true"}, []string{x}, nil},
		"twice":                           {[]string{x, "--again=" + x}, []string{x}, nil},
		"absent":                          {[]string{"/no/such"}, nil, nil},
		"a folder with a program":         {[]string{app}, nil, []string{app}},
		"a granted folder":                {[]string{case_}, nil, nil},
		"a database of an option":         {[]string{"--db", data}, nil, []string{data}},
		"a database of a joined option":   {[]string{"--db=" + data}, nil, []string{data}},
		"a database as the script":        {[]string{data}, []string{data}, nil},
		"a database after a short option": {[]string{"-x", data}, []string{data}, nil},
		"a database in two places":        {[]string{"--db", data, data}, []string{data}, nil},
	} {
		def := config.Server{Command: append([]string{"/bin/true"}, c.args...), Read: []string{case_, app}, Write: []string{filepath.Join(dir, "w")}}
		covered, not := Coverage(def)
		if !slices.Equal(covered[1:], c.covered) || !slices.Equal(not, c.not) {
			t.Errorf("%s: covered %q, not %q; want %q, %q", name, covered, not, c.covered, c.not)
		}
	}
}

// A link that was put back is another link.
func TestMarkSeesLinks(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	point := func(to string) {
		_ = os.Remove(link)
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	point("a")
	before := mark(link)
	if mark(link) != before {
		t.Error("the mark of an untouched link changes")
	}
	point("b")
	point("a")
	if mark(link) == before {
		t.Error("a link that was changed and put back has the same mark")
	}
}

// A tree's mark covers every entry, its name and its place.
func TestTreeMark(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a/b/c")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(deep, "f")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good")
	before := treeMark(dir)
	if treeMark(dir) != before || before == treeMark("") {
		t.Fatal("the mark of an untouched tree changes")
	}
	w := newTreeWatch(dir)
	if w == nil {
		t.Fatal("the folder cannot be watched")
	}
	defer w.close()
	for name, act := range map[string]func() error{
		"content": func() error { write("evil"); return nil },
		"mode":    func() error { return os.Chmod(file, 0o644) },
		"name":    func() error { return os.Rename(file, file+"2") },
		"new":     func() error { return os.Symlink("/etc/passwd", filepath.Join(dir, "a/link")) },
		"folder":  func() error { return os.Mkdir(filepath.Join(dir, "z"), 0o700) },
	} {
		was := treeMark(dir)
		if !w.begin() || w.touched() {
			t.Errorf("%s: the watch sees what was before it", name)
		}
		if err := act(); err != nil {
			t.Fatal(err)
		}
		if treeMark(dir) == was {
			t.Errorf("%s: not seen", name)
		}
		if !w.touched() {
			t.Errorf("%s: not noticed", name)
		}
		_ = os.Rename(file+"2", file)
	}
}

func BenchmarkTreeMark(b *testing.B) {
	dir := b.TempDir()
	for i := range 400 {
		sub := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(sub, 0o700); err != nil {
			b.Fatal(err)
		}
		for j := range 10 {
			if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(j)), nil, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		treeMark(dir)
	}
}
