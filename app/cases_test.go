package app

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cordon/host/config"
	"cordon/host/llm/scripted"
)

// TestFolderOfACase: what a server may do with a folder is seen as it is granted, is granted and taken back, and is in the log.
func TestFolderOfACase(t *testing.T) {
	a := testApp(t)
	above := filepath.Join(t.TempDir(), "cases")
	folder := filepath.Join(above, "INC-2041")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(above, "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, def := range map[string]config.Server{"files": {}, "reader": {Read: []string{above}}, "writer": {Read: []string{folder}, Write: []string{above}},
		"exact": {Read: []string{above}, Write: []string{folder}}, "part": {Write: []string{filepath.Join(folder, "sub")}}} {
		def.Name, def.Source, def.Command, def.Net, def.Memory, def.Pids = name, "local", []string{"/usr/bin/true"}, config.NetNone, config.DefaultMemory, config.DefaultPids
		if err := a.host.AddServer(def); err != nil {
			t.Fatal(err)
		}
	}
	see := func(want ...string) {
		t.Helper()
		for _, path := range []string{folder, link} {
			all, err := a.FolderAccess(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range all {
				row := f.Server + " " + f.Access + " " + f.Through
				if f.Parts {
					row += "parts"
				}
				if f.Real != folder {
					t.Errorf("%s leads to %s", path, f.Real)
				}
				got = append(got, strings.TrimRight(row, " "))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
	see("exact write", "files none", "part none parts", "reader read "+above, "writer write "+above)
	for _, access := range []string{"write", "read", "none", "read"} {
		if err := a.SetFolderAccess(FolderAccess{Server: "files", Folder: link, Real: folder, Access: access}); err != nil {
			t.Fatal(err)
		}
		see("exact write", "files "+access, "part none parts", "reader read "+above, "writer write "+above)
	}
	for name, f := range map[string]FolderAccess{
		"led away":    {Server: "files", Folder: link, Real: above, Access: "write"},
		"nobody":      {Server: "nobody", Folder: folder, Real: folder, Access: "read"},
		"no access":   {Server: "files", Folder: folder, Real: folder, Access: "all"},
		"everything":  {Server: "files", Folder: "/", Real: "/", Access: "write"},
		"relative":    {Server: "files", Folder: "cases", Access: "read"},
		"not there":   {Server: "files", Folder: folder + "/x", Access: "read"},
		"nothing":     {Server: "files", Access: "read"},
		"a line more": {Server: "files", Folder: folder + "\n/etc", Access: "read"},
	} {
		if err := a.SetFolderAccess(f); err == nil {
			t.Errorf("%s: was granted", name)
		}
	}
	see("exact write", "files read", "part none parts", "reader read "+above, "writer write "+above)
	if _, err := a.FolderAccess("cases"); err == nil {
		t.Error("a relative folder was looked up")
	}
	page, err := a.Events(EventQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	grants := 0
	for _, e := range page.Events {
		if strings.Contains(e.Title, " is granted something else: ") {
			grants++
		}
	}
	if grants != 4 {
		t.Errorf("%d grants are in the log", grants)
	}
}

// TestCaseIsKept: limits and scope come back as they were set, and the time to the second if it is not touched.
func TestCaseIsKept(t *testing.T) {
	a, _, _ := chatApp(t)
	want := CaseView{Name: "INC", Servers: []string{}, Models: []string{}, Redact: []string{}, Scope: "read", Limits: CaseLimits{Requests: 3, Calls: 4, Tokens: 5000, Dollars: 0.25, Minutes: 7}}
	var err error
	if want.ID, err = a.SetCase(want); err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		all, err := a.Cases()
		if err != nil || len(all) != 1 || all[0].Limits != want.Limits || all[0].Scope != want.Scope || all[0].Name != want.Name {
			t.Errorf("%+v, %v", all, err)
		}
	}
	same()
	e, _ := a.host.Chats()
	c, err := e.Store.Case(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.Limits.Time = config.Duration(7*time.Minute + 10*time.Second)
	if _, err := e.Store.SetCase(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want.Name = "INC-2"
	if _, err := a.SetCase(want); err != nil {
		t.Fatal(err)
	}
	same()
	if c, _ := e.Store.Case(t.Context(), want.ID); time.Duration(c.Limits.Time) != 7*time.Minute+10*time.Second {
		t.Errorf("the time is %v now", c.Limits.Time)
	}
	for name, bad := range map[string]CaseView{"scope": {Name: "x", Scope: "all"}, "minutes": {Name: "x", Limits: CaseLimits{Minutes: -1}}, "many": {Name: "x", Limits: CaseLimits{Minutes: 1 << 40}}, "dollars": {Name: "x", Limits: CaseLimits{Dollars: -1}}} {
		if _, err := a.SetCase(bad); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	v := newChat(t, a)
	if err := a.ChangeChat(ChatChange{ID: v.ID, What: "scope", Text: "ask"}); err != nil {
		t.Fatal(err)
	}
	if v, err = a.OpenChat(v.ID); err != nil || v.Scope != "ask" {
		t.Errorf("scope %q, %v", v.Scope, err)
	}
	if err := a.ChangeChat(ChatChange{ID: v.ID, What: "scope", Text: "all"}); err == nil {
		t.Error("a scope was taken that there is not")
	}
}

// TestImageOfAQuestion: what the page sends is drawn anew, and it can be seen again; what is none is refused before anything is sent.
func TestImageOfAQuestion(t *testing.T) {
	a, _, s := chatApp(t, scripted.Turn{Text: "a picture"})
	v := newChat(t, a)
	var large bytes.Buffer
	if err := png.Encode(&large, image.NewGray(image.Rect(0, 0, 4000, 1000))); err != nil {
		t.Fatal(err)
	}
	if err := a.Ask(Ask{ID: v.ID, Text: "x", Attach: []Attachment{{Name: "a.png", Image: []byte("GIF89a")}}}); err == nil || len(s.Requests()) > 0 {
		t.Errorf("what is no image was sent, %v", err)
	}
	if err := a.Ask(Ask{ID: v.ID, Text: "what is it?", Attach: []Attachment{{Name: "b.txt", Text: "b"}, {Name: "a.png", Image: large.Bytes()}}}); err != nil {
		t.Fatal(err)
	}
	v, err := a.OpenChat(v.ID)
	if err != nil {
		t.Fatal(err)
	}
	q := v.Entries[0]
	if len(q.Attachments) != 2 || q.Attachments[0].Image || !q.Attachments[1].Image || q.Attachments[1].Bytes >= large.Len() {
		t.Errorf("%+v", q.Attachments)
	}
	if c, err := a.AttachedImage(v.ID, q.Seq, 1); err != nil || !strings.HasPrefix(c.DataURL, "data:image/png;base64,") {
		t.Errorf("%.60q, %v", c.DataURL, err)
	}
	for _, index := range []int{-1, 0, 2} {
		if _, err := a.AttachedImage(v.ID, q.Seq, index); err == nil {
			t.Errorf("an image at %d", index)
		}
	}
	if _, err := a.AttachedImage("other", q.Seq, 1); err == nil {
		t.Error("an image of another conversation")
	}
	if body := s.Requests()[0].Body; strings.Contains(body, "image/png") || !strings.Contains(body, "You were not given it") {
		t.Error("a model that cannot look got it, or was not told") // lab cannot
	}
}
