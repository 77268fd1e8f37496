package app

import (
	"fmt"
	"path/filepath"
	"time"

	"cordon/host/chat"
	"cordon/host/config"
	"cordon/sandbox"
)

// Cases, and what servers may do with the files of one.

// Cases returns all cases.
func (a *App) Cases() ([]CaseView, error) {
	e, err := a.host.Chats()
	if err != nil {
		return nil, chatFailure(err)
	}
	all, err := e.Store.Cases(a.ctx)
	if err != nil {
		return nil, chatFailure(err)
	}
	views := []CaseView{}
	for _, c := range all {
		views = append(views, CaseView{c.ID, c.Name, string(c.Marking), c.Notes, c.Folder, list(c.Servers), list(c.Models), c.LocalOnly, list(c.Redact), string(c.Scope), limitsView(c.Limits)})
	}
	return views, nil
}

func limitsView(l chat.Limits) CaseLimits {
	return CaseLimits{l.Requests, l.Calls, l.Tokens, l.Dollars, int(time.Duration(l.Time).Round(time.Minute) / time.Minute)}
}

// SetCase keeps a case, a new one if it has no id, and returns its id.
func (a *App) SetCase(v CaseView) (string, error) {
	e, err := a.host.Chats()
	if err != nil {
		return "", chatFailure(err)
	}
	c, err := e.Store.Case(a.ctx, v.ID)
	if err != nil {
		return "", chatFailure(err)
	}
	if v.Limits.Minutes < 0 || v.Limits.Minutes > 1<<20 {
		return "", chatFailure(fmt.Errorf("%d minutes cannot be a limit", v.Limits.Minutes))
	}
	if v.Limits.Minutes != limitsView(c.Limits).Minutes { // else it stays, to the second
		c.Limits.Time = config.Duration(time.Duration(v.Limits.Minutes) * time.Minute)
	}
	limits := chat.Limits{Requests: v.Limits.Requests, Calls: v.Limits.Calls, Tokens: v.Limits.Tokens, Dollars: v.Limits.Dollars, Time: c.Limits.Time}
	id, err := e.Store.SetCase(a.ctx, chat.Case{ID: v.ID, Name: v.Name, Marking: chat.Marking(v.Marking), Notes: v.Notes, Folder: v.Folder, Servers: v.Servers, Models: v.Models,
		LocalOnly: v.LocalOnly, Redact: v.Redact, Scope: chat.Scope(v.Scope), Limits: limits})
	a.changed()
	return id, chatFailure(err)
}

// RemoveCase forgets a case without conversations.
func (a *App) RemoveCase(id string) error {
	e, err := a.host.Chats()
	if err != nil {
		return chatFailure(err)
	}
	err = e.Store.RemoveCase(a.ctx, id)
	a.changed()
	return chatFailure(err)
}

// FolderAccess says what the servers on this computer may do with a folder.
func (a *App) FolderAccess(folder string) ([]FolderAccess, error) {
	real, err := resolved(folder)
	if err != nil {
		return nil, &Failure{"CRD-CHT-04", fmt.Sprintf("The folder %s cannot be used.", folder), sentence(err.Error(), ""), "Choose a folder that is there."}
	}
	all := []FolderAccess{}
	for _, v := range a.host.Servers.Views() {
		if v.Def.Remote() {
			continue
		}
		f := FolderAccess{Server: v.Name, Folder: folder, Real: real, Access: "none"}
		for _, granted := range []struct {
			access string
			paths  []string
		}{{"read", v.Def.Read}, {"write", v.Def.Write}} {
			for _, path := range granted.paths {
				switch {
				case path == real:
					f.Access, f.Through = granted.access, ""
				case sandbox.Below(real, path) && (f.Access != granted.access || f.Through != ""):
					f.Access, f.Through = granted.access, path
				case sandbox.Below(path, real):
					f.Parts = true
				}
			}
		}
		all = append(all, f)
	}
	return all, nil
}

func resolved(folder string) (string, error) {
	if !filepath.IsAbs(folder) {
		return "", fmt.Errorf("%q is not an absolute path", folder)
	}
	return sandbox.Resolve(folder)
}

// SetFolderAccess grants a server a folder, or takes it away. It returns when the server runs again.
func (a *App) SetFolderAccess(f FolderAccess) error {
	real, err := resolved(f.Folder)
	switch {
	case err != nil:
		return err
	case real != f.Real: // it was shown what it leads to
		return &Failure{"CRD-CHT-05", fmt.Sprintf("The folder %s leads to %s now.", f.Folder, real), "Nothing was granted.", "Look where it leads, and choose again."}
	}
	none, reads, writes := config.Grants{}, config.Grants{Read: []string{real}}, config.Grants{Write: []string{real}}
	give, take := none, none
	switch f.Access {
	case "none":
		take = reads.And(writes)
	case "read":
		give, take = reads, writes
	case "write":
		give, take = writes, reads
	default:
		return fmt.Errorf("%q is nothing that a server may do with a folder", f.Access)
	}
	_, err = a.host.Exchange(a.ctx, f.Server, take, give)
	return err
}
