package pin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// grow makes a small tree and returns its root.
func grow(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("index.js", "run()", 0o644)
	write("bin/tool", "#!", 0o755)
	write("lib/a/b.js", "b", 0o644)
	if err := os.Symlink("../index.js", filepath.Join(root, "bin/link")); err != nil {
		t.Fatal(err)
	}
	return root
}

func hashed(t testing.TB, root string) Tree {
	t.Helper()
	got, err := HashTree(context.Background(), root)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHashTreeCountsAndRepeats(t *testing.T) {
	a, b := hashed(t, grow(t)), hashed(t, grow(t))
	if a != b || a.Files != 3 || a.Bytes != 8 {
		t.Errorf("got %+v and %+v; want the same, 3 files, 8 bytes", a, b)
	}
}

func TestHashTreeIgnoresTimesAndOtherModes(t *testing.T) {
	root := grow(t)
	was := hashed(t, root)
	if err := os.Chtimes(filepath.Join(root, "index.js"), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "index.js"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := hashed(t, root); got != was {
		t.Errorf("got %v, want %v", got, was)
	}
}

func TestHashTreeSeesEveryChange(t *testing.T) {
	for what, change := range map[string]func(root string) error{
		"one byte flipped": func(r string) error { return os.WriteFile(filepath.Join(r, "lib/a/b.js"), []byte("c"), 0o644) },
		"file added":       func(r string) error { return os.WriteFile(filepath.Join(r, "new"), nil, 0o644) },
		"file removed":     func(r string) error { return os.Remove(filepath.Join(r, "index.js")) },
		"file renamed":     func(r string) error { return os.Rename(filepath.Join(r, "index.js"), filepath.Join(r, "index2.js")) },
		"file moved":       func(r string) error { return os.Rename(filepath.Join(r, "lib/a/b.js"), filepath.Join(r, "lib/b.js")) },
		"made executable":  func(r string) error { return os.Chmod(filepath.Join(r, "index.js"), 0o755) },
		"empty directory":  func(r string) error { return os.Mkdir(filepath.Join(r, "d"), 0o755) },
		"link retargeted": func(r string) error {
			return errors.Join(os.Remove(filepath.Join(r, "bin/link")), os.Symlink("../lib/a/b.js", filepath.Join(r, "bin/link")))
		},
		"file for a link with its target as content": func(r string) error {
			return errors.Join(os.Remove(filepath.Join(r, "bin/link")), os.WriteFile(filepath.Join(r, "bin/link"), []byte("../index.js"), 0o644))
		},
	} {
		t.Run(what, func(t *testing.T) {
			root := grow(t)
			was := hashed(t, root)
			if err := change(root); err != nil {
				t.Fatal(err)
			}
			if got := hashed(t, root); got.Digest == was.Digest {
				t.Errorf("got the same digest %v", got.Digest)
			}
		})
	}
}

func TestHashTreeDoesNotFollowLinksOut(t *testing.T) {
	root, outside := grow(t), filepath.Join(t.TempDir(), "secret")
	if err := os.Symlink(outside, filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	was := hashed(t, root) // the target does not even exist
	if err := os.WriteFile(outside, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := hashed(t, root); got != was {
		t.Errorf("got %v, want %v", got, was)
	}
}

func TestHashTreeRefuses(t *testing.T) {
	pipe := grow(t)
	if err := syscall.Mkfifo(filepath.Join(pipe, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(grow(t), "index.js")
	for _, c := range []struct {
		what, root string
		l          limits
		want       string
	}{
		{"a pipe", pipe, treeLimits(), "device, pipe or socket"},
		{"a file as root", file, treeLimits(), "not a directory"},
		{"nothing", filepath.Join(pipe, "none"), treeLimits(), "no such file"},
		{"too many entries", grow(t), limits{entries: 3, bytes: 100, depth: 9}, "more than 3 entries"},
		{"too many bytes", grow(t), limits{entries: 99, bytes: 7, depth: 9}, "more than 7 bytes"},
		{"too deep", grow(t), limits{entries: 99, bytes: 100, depth: 2}, "more than 2 levels"},
	} {
		if got, err := hashTree(context.Background(), c.root, c.l); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want an error with %q", c.what, got, err, c.want)
		}
	}
	if _, err := hashTree(context.Background(), grow(t), limits{entries: 7, bytes: 8, depth: 3}); err != nil {
		t.Errorf("at the limits: got %v", err)
	}
}

func TestHashTreeStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := HashTree(ctx, grow(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestHashFile(t *testing.T) {
	root := grow(t)
	got, err := HashFile(context.Background(), filepath.Join(root, "bin/link"))
	plain, err2 := HashFile(context.Background(), filepath.Join(root, "index.js"))
	if err != nil || err2 != nil || got != plain {
		t.Errorf("got %v, %v and %v, %v; want the same digest", got, err, plain, err2)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "bin", "none"} {
		if _, err := HashFile(context.Background(), filepath.Join(root, name)); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func BenchmarkHashTree5000(b *testing.B) {
	root := b.TempDir()
	for i := range 5000 {
		dir := filepath.Join(root, fmt.Sprintf("p%d", i/50))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d.js", i)), []byte(strings.Repeat("x", 4096)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if t := hashed(b, root); t.Files != 5000 {
			b.Fatal(t)
		}
	}
}
