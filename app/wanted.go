package app

import (
	"fmt"
	"strconv"
	"sync"

	"cordon/host/config"
	"cordon/host/profile"
	"cordon/host/server"
)

// What a server asked for and was not granted, and what a person answers.

// Wanted returns what a server asked for and is not granted.
func (a *App) Wanted(name string) (WantedView, error) {
	p, err := a.host.Suggest(name)
	if err != nil {
		return WantedView{}, err
	}
	v := WantedView{Asked: []AskedView{}, Left: []LeftView{}, Cautions: list(p.Cautions)}
	for _, x := range p.Asked {
		v.Asked = append(v.Asked, AskedView(x))
	}
	for _, x := range p.Left {
		v.Left = append(v.Left, LeftView(x))
	}
	return v, nil
}

// asksCache keeps how much a person has to see of each server: finding out looks at files, and a snapshot must not.
type asksCache struct {
	mu sync.Mutex
	by map[string]asked // guarded by mu; by server
}

type asked struct {
	of string // what it was found out of
	n  int
}

// asks counts what a person has to see.
func (a *App) asks(v server.View) (n int) {
	if v.Wanted == 0 {
		return 0
	}
	of := fmt.Sprint(v.Wanted, v.Lent, v.Def.Read, v.Def.Write, v.Def.Net, v.Def.Hosts, v.Def.Private, v.Def.Reach, v.Def.Serve, v.Def.Never)
	a.asking.mu.Lock()
	known, ok := a.asking.by[v.Name]
	a.asking.mu.Unlock()
	if ok && known.of == of {
		return known.n
	}
	p, err := a.host.Suggest(v.Name)
	if err != nil {
		return 0
	}
	for _, l := range p.Left {
		if l.Warning {
			n++
		}
	}
	n += len(p.Asked)
	a.asking.mu.Lock()
	defer a.asking.mu.Unlock()
	if a.asking.by == nil || len(a.asking.by) > 1000 {
		a.asking.by = map[string]asked{}
	}
	a.asking.by[v.Name] = asked{of, n}
	return n
}

// AnswerWanted grants one thing, for one run or for good, or refuses it for good. It returns when the server runs again.
func (a *App) AnswerWanted(w WantedAnswer) error {
	g, err := grantOf(w.Does, w.Grant)
	if err != nil {
		return err
	}
	switch w.Answer {
	case "once":
		_, err = a.host.Lend(a.ctx, w.Server, g)
	case "always":
		_, err = a.host.Grant(a.ctx, w.Server, g)
	case "never", "again":
		err = a.host.Never(w.Server, w.Grant, w.Answer == "never")
	default:
		err = fmt.Errorf("%q is no answer", w.Answer)
	}
	return err
}

// grantOf is what AskedView names.
func grantOf(does, grant string) (config.Grants, error) {
	switch does {
	case "reads", "runs":
		return config.Grants{Read: []string{grant}}, nil
	case "changes":
		return config.Grants{Write: []string{grant}}, nil
	case "talks to":
		return config.Grants{Hosts: []string{grant}}, nil
	case "calls":
		if port, err := strconv.ParseUint(grant, 10, 16); err == nil {
			return config.Grants{Reach: []uint16{uint16(port)}}, nil
		}
	case "": // of what is never granted only the name is kept
		return config.Grants{}, nil
	}
	return config.Grants{}, fmt.Errorf("%q %q cannot be granted", does, grant)
}

// ObserveServer begins or ends noting what a server asks for and is not granted. It returns when the server runs again.
func (a *App) ObserveServer(name string, on bool) error {
	_, err := a.host.Observe(a.ctx, name, on)
	return err
}

// lent says what a server has for one run.
func lent(g config.Grants) []string {
	all := []string{}
	for _, c := range profile.Diff(profile.Profile{}, profile.Of(config.Server{}.With(g))) {
		if c.Key != "net" {
			all = append(all, c.Key+" "+c.New)
		}
	}
	return all
}
