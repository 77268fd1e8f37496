package pin

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cordon/host/tool"
)

func sample() Fingerprint {
	return Fingerprint{
		Command:      []string{"node", "index.js", "/srv"},
		Binary:       tool.Sum([]byte("node")),
		BinaryPath:   "/usr/bin/node",
		Tree:         tool.Sum([]byte("tree")),
		Files:        18,
		Tools:        map[string][]byte{"read": []byte(`{"name":"read"}`), "write": []byte(`{"name":"write"}`)},
		Instructions: "Use read first.",
	}
}

// edits change one thing each.
func edits() map[string]func(*Fingerprint) {
	return map[string]func(*Fingerprint){
		"command":      func(f *Fingerprint) { f.Command = []string{"node", "index.js", "/srv", "--all"} },
		"binary":       func(f *Fingerprint) { f.Binary[0] ^= 1 },
		"binary path":  func(f *Fingerprint) { f.BinaryPath = "/tmp/node" },
		"files":        func(f *Fingerprint) { f.Tree[31] ^= 1 },
		"tool read":    func(f *Fingerprint) { f.Tools["read"] = []byte(`{"name":"read","x":1}`) },
		"tool write":   func(f *Fingerprint) { delete(f.Tools, "write") },
		"tool purge":   func(f *Fingerprint) { f.Tools["purge"] = []byte(`{}`) },
		"instructions": func(f *Fingerprint) { f.Instructions += " " },
	}
}

func store(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "pins"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDigestCoversEveryField(t *testing.T) {
	seen := map[tool.Digest]string{sample().Digest(): "nothing"}
	for what, edit := range edits() {
		f := sample()
		edit(&f)
		if other, dup := seen[f.Digest()]; dup {
			t.Errorf("changing %s gives the digest of changing %s", what, other)
		}
		seen[f.Digest()] = what
	}
	files := sample()
	files.Files++
	if files.Digest() == sample().Digest() {
		t.Error("changing the number of files keeps the digest")
	}
}

func TestDigestKeepsListsApart(t *testing.T) {
	a, b := Fingerprint{Command: []string{"a b"}}, Fingerprint{Command: []string{"a", "b"}}
	if a.Digest() == b.Digest() {
		t.Error(`["a b"] and ["a","b"] share a digest`)
	}
	a, b = Fingerprint{Tools: map[string][]byte{"a": []byte("b"), "c": nil}}, Fingerprint{Tools: map[string][]byte{"a": nil, "b": []byte("c")}}
	if a.Digest() == b.Digest() {
		t.Error("different tool lists share a digest")
	}
}

func TestStatusFollowsApproval(t *testing.T) {
	s, fp := store(t), sample()
	s.now = func() time.Time { return time.Date(2026, 11, 18, 9, 0, 0, 5, time.UTC) }
	if st, err := s.Status("detections", fp); err != nil || st.State != New {
		t.Errorf("before: got %v, %v; want new", st.State, err)
	}
	if err := s.Approve("detections", fp, fp.Digest()); err != nil {
		t.Fatal(err)
	}
	st, err := s.Status("detections", fp)
	if err != nil || st.State != Pinned || st.At != time.Date(2026, 11, 18, 9, 0, 0, 0, time.UTC) || len(st.Changes) != 0 {
		t.Errorf("after: got %+v, %v; want pinned on 2026-11-18", st, err)
	}
	if st, _ := s.Status("other", fp); st.State != New {
		t.Errorf("other server: got %v, want new", st.State)
	}
	for what, edit := range edits() {
		f := sample()
		edit(&f)
		st, err := s.Status("detections", f)
		if err != nil || st.State != Changed || len(st.Changes) != 1 || st.Changes[0].What != what {
			t.Errorf("%s changed: got %+v, %v; want one change of it", what, st, err)
		}
	}
	if err := s.Forget("detections"); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status("detections", fp); err != nil || st.State != New {
		t.Errorf("forgotten: got %v, %v; want new", st.State, err)
	}
	if err := s.Forget("detections"); err != nil {
		t.Errorf("forgetting twice: got %v", err)
	}
}

func TestApproveRefusesWhatWasNotShown(t *testing.T) {
	s, shown := store(t), sample()
	now := sample()
	now.Tools["read"] = []byte(`{"name":"read","description":"also delete"}`)
	if err := s.Approve("x", now, shown.Digest()); !errors.Is(err, ErrNotShown) {
		t.Errorf("got %v, want ErrNotShown", err)
	}
	if st, err := s.Status("x", now); err != nil || st.State != New {
		t.Errorf("got %v, %v; want new, because nothing was approved", st.State, err)
	}
	if err := s.Approve("x", now, now.Digest()); err != nil {
		t.Errorf("what was shown: got %v", err)
	}
}

func TestUnreadablePinIsChanged(t *testing.T) {
	s, fp := store(t), sample()
	if err := s.Approve("x", fp, fp.Digest()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(s.dir, "x.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	for what, text := range map[string]string{
		"empty":           "",
		"cut short":       good[:len(good)/2],
		"not JSON":        "pinned",
		"unknown field":   strings.Replace(good, `"version": 1,`, `"version": 1, "allow": true,`, 1),
		"field in case":   strings.Replace(good, `"files"`, `"Files"`, 1),
		"later version":   strings.Replace(good, `"version": 1`, `"version": 2`, 1),
		"no version":      strings.Replace(good, `"version": 1,`, ``, 1),
		"duplicate field": strings.Replace(good, `"version": 1,`, `"version": 1, "version": 1,`, 1),
		"another server":  strings.Replace(good, `"server": "x"`, `"server": "y"`, 1),
		"changed by hand": strings.Replace(good, `"files": 18`, `"files": 19`, 1),
		"short digest":    strings.Replace(good, fp.Binary.String(), "ab", 1),
		"long digest":     strings.Replace(good, fp.Binary.String(), fp.Binary.String()+"ab", 1),
		"two values":      good + good,
		"null":            "null",
		"empty object":    "{}",
	} {
		if text == good {
			t.Fatalf("%s: the test changes nothing", what)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := s.Status("x", fp)
		if st.State != Changed || len(st.Changes) == 0 || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, %v; want changed and an error with the file's name", what, st.State, err)
		}
	}
	if err := s.Approve("x", fp, fp.Digest()); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status("x", fp); err != nil || st.State != Pinned {
		t.Errorf("approved anew: got %v, %v; want pinned", st.State, err)
	}
}

func TestPinThatIsASymlinkIsChanged(t *testing.T) {
	s, fp := store(t), sample()
	if err := s.Approve("x", fp, fp.Digest()); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "x.json")
	if err := os.Rename(filepath.Join(s.dir, "x.json"), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(s.dir, "x.json")); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status("x", fp); st.State != Changed || err == nil {
		t.Errorf("got %v, %v; want changed", st.State, err)
	}
}

func TestStoreRefusesOddServerKeys(t *testing.T) {
	s, fp := store(t), sample()
	for _, key := range []string{"", "..", "../x", "a/b", "A", ".x", "a\n", strings.Repeat("a", 65), "ä"} {
		if err := s.Approve(key, fp, fp.Digest()); err == nil {
			t.Errorf("%q: got no error", key)
		}
		if st, err := s.Status(key, fp); err == nil || st.State != Changed {
			t.Errorf("%q: got %v, %v; want changed and an error", key, st.State, err)
		}
		if err := s.Forget(key); err == nil {
			t.Errorf("%q: forgot it", key)
		}
	}
	for _, key := range []string{"a", "http-fetch", "x.json", "0_9"} {
		if err := s.Approve(key, fp, fp.Digest()); err != nil {
			t.Errorf("%q: got %v", key, err)
		}
	}
}

func TestPinsArePrivateAndLeaveNothingBehind(t *testing.T) {
	s, fp := store(t), sample()
	for range 3 {
		if err := s.Approve("x", fp, fp.Digest()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(s.dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v; want one file", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v; want 0600", info.Mode(), err)
	}
	if dir, err := os.Stat(s.dir); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("got directory mode %v, %v; want 0700", dir.Mode(), err)
	}
}

func TestAnyBytesSurviveTheFile(t *testing.T) {
	s, fp := store(t), sample()
	fp.Command = []string{"\xff\xfe", ""}
	fp.Instructions = "\x00\u2028\xed\xa0\x80"
	fp.Tools["odd"] = []byte(`{"a":"\u202e"}`)
	if err := s.Approve("x", fp, fp.Digest()); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status("x", fp); err != nil || st.State != Pinned {
		t.Errorf("got %+v, %v; want pinned", st, err)
	}
	got, _, err := s.Approved("x")
	if err != nil || got.Digest() != fp.Digest() {
		t.Errorf("got %+v, %v; want %+v", got, err, fp)
	}
	if _, _, err := s.Approved("y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	s := store(t)
	a, b := sample(), sample()
	b.Files = 99
	if err := s.Approve("x", a, a.Digest()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			fp := a
			if i%2 == 1 {
				fp = b
			}
			for range 10 {
				if err := s.Approve("x", fp, fp.Digest()); err != nil {
					t.Error(err)
				}
				if st, err := s.Status("x", a); err != nil || st.State == New {
					t.Errorf("got %v, %v; want pinned or changed", st.State, err)
				}
			}
		})
	}
	all.Wait()
}

func TestCompareShowsWhatAPersonCanRead(t *testing.T) {
	old, now := sample(), sample()
	now.Tools["read"] = []byte(`{"description":"x","name":"read"}`)
	now.Command = []string{"node", "index.js /srv"}
	got := Compare(old, now)
	want := []Change{
		{"command", "changed", "\"node\"\n\"index.js\"\n\"/srv\"", "\"node\"\n\"index.js /srv\""},
		{"tool read", "changed", "{\n  \"name\": \"read\"\n}", "{\n  \"description\": \"x\",\n  \"name\": \"read\"\n}"},
	}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}
