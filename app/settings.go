package app

import (
	"cordon/app/browser"
	"cordon/host/audit"
	"cordon/host/policy"
	"cordon/host/secret"
)

// SetSecret stores a secret in the keyring for one server's variable. If it runs, it is started again with it when its calls have
// ended.
func (a *App) SetSecret(n NewSecret) error {
	if err := a.host.SetSecret(a.ctx, secret.Ref{Name: n.Name, Server: n.Server, Env: n.Env}, secret.NewValue(n.Value)); err != nil {
		return err
	}
	a.reload(n.Server)
	return nil
}

// RemoveSecret deletes a secret from the keyring. A server that has it is started again without it when its calls have ended.
func (a *App) RemoveSecret(name string) error {
	var has []string
	for _, r := range a.host.Config().Secrets {
		if r.Name == name {
			has = append(has, r.Server)
		}
	}
	if err := a.host.RemoveSecret(a.ctx, name); err != nil {
		return err
	}
	for _, server := range has {
		a.reload(server)
	}
	return nil
}

// reload starts a running server again in the background. Its state says why it does not run then.
func (a *App) reload(server string) {
	a.running.Go(func() { _ = a.host.Servers.Reload(a.ctx, server) })
}

// UseSessionSecrets keeps secrets in memory only, until Cordon ends. It is a person's explicit choice.
func (a *App) UseSessionSecrets() error {
	a.host.Secrets.UseSession()
	_, err := a.host.Append(audit.Event{Kind: audit.SecretUse, Reason: "secrets are kept in memory only, by choice"})
	a.recheck()
	return err
}

// secretKey names a secret of one server.
type secretKey struct{ server, name string }

func (a *App) secretView(r secret.Ref) SecretView {
	a.mu.Lock()
	d := a.secrets[secretKey{r.Server, r.Name}]
	a.mu.Unlock()
	return SecretView{Name: r.Name, Server: r.Server, Env: r.Env, Added: stamp(d.added), LastUsed: stamp(d.used)}
}

func ruleViews(rules []policy.Rule) []RuleView {
	out := []RuleView{}
	for _, r := range rules {
		out = append(out, RuleView{r.ID, r.Reason, r.Then})
	}
	return out
}

// OpenLink opens an https address in the system's browser. The page has shown the whole address and asked.
func (a *App) OpenLink(address string) error {
	return browser.Open(address, false)
}
