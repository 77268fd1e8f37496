package catalog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// Limits of an installer: what is kept of its messages, what it may use.
const (
	maxOutput     = 64 << 10
	installMemory = 2 << 30
	installPids   = 256
)

// work is one installation: a folder that a tool fills, confined.
type work struct {
	in         Installer
	dir, cache string

	mu   sync.Mutex
	seen []egress.Connection // guarded by mu
}

// tool is a program that fills the folder.
type tool struct {
	name       string // what errors call it
	argv       []string
	env        []string
	read       []string   // what it needs besides the system's files
	registries []*url.URL // what it may reach
	secrets    []string   // besides those in their addresses; its words are shown without them
	build      bool       // it runs the packages' scripts: what it writes can be executed
}

// run starts t and returns when it has ended. Errors hold its last words and the connections that were refused.
func (w *work) run(ctx context.Context, t tool) error {
	p := sandbox.Profile{Write: []string{w.dir, w.cache}, Build: t.build, Memory: installMemory, Pids: installPids}
	proxy := &egress.Proxy{Observe: w.observe}
	c := sandbox.Command{Dir: w.dir, Argv: t.argv, Env: []string{"XDG_CACHE_HOME=" + w.cache}}
	if err := open(&p, proxy, t.registries); err != nil {
		return err
	}
	if p.Net == sandbox.NetHosts {
		c.Env = append(c.Env, egress.Environment(sandbox.EgressAddr)...)
	}
	c.Env = append(c.Env, t.env...) // last: what this machine says of its certificates counts
	for _, path := range append(t.read, t.argv[0]) {
		if real, err := sandbox.Resolve(path); err == nil && !sandbox.InSystem(real) && !slices.Contains(p.Read, real) {
			p.Read = append(p.Read, real)
		}
	}
	p.Demand = sandbox.Isolation(p.Net)
	r, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	proc, err := w.in.Sandbox.Start(ctx, p, c, sandbox.Files{Out: out, Err: out})
	out.Close()
	if err != nil {
		return err
	}
	carried, err := egress.Carry{Proxy: proxy, Name: "installer", Observe: w.observe}.Start(ctx, proc)
	if err != nil {
		proc.Kill()
	}
	text := make(chan string, 1)
	go func() { // ends with the process
		b, _ := io.ReadAll(io.LimitReader(r, maxOutput))
		_, _ = io.Copy(io.Discard, r)
		text <- strings.TrimSpace(string(b))
	}()
	stop := context.AfterFunc(ctx, proc.Kill)
	exit := proc.Wait()
	err = errors.Join(err, carried())
	said := withoutPasswords(<-text, t.registries, t.secrets)
	switch {
	case !stop() && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case exit.Code() != 0:
		w.mu.Lock()
		defer w.mu.Unlock()
		return fault(t.name, exit, said, w.seen)
	}
	return nil
}

// open lets a program reach registries: those of this computer by their port, others by their host, through the proxy that this
// machine's settings name for them.
func open(p *sandbox.Profile, proxy *egress.Proxy, registries []*url.URL) error {
	for _, u := range registries {
		host, port := u.Hostname(), u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" {
			return fmt.Errorf("registry %s: want http or https and a host", u.Host)
		}
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			p.Net = max(p.Net, sandbox.NetLoopback)
			if !slices.Contains(p.Reach, uint16(n)) {
				p.Reach = append(p.Reach, uint16(n))
			}
			continue
		}
		rule, err := egress.ParseRule(net.JoinHostPort(host, port))
		if err != nil {
			return fmt.Errorf("registry %s: %w", u.Host, err)
		}
		rule.Private = true // whoever set this machine up has said that its registry is there
		p.Net = sandbox.NetHosts
		if !slices.Contains(proxy.Rules, rule) {
			proxy.Rules = append(proxy.Rules, rule)
		}
	}
	if p.Net == sandbox.NetHosts {
		return proxy.ThroughEnvironment()
	}
	return nil
}

func (w *work) observe(c egress.Connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) < 10_000 {
		w.seen = append(w.seen, c)
	}
}

// reached lists the hosts that let themselves be reached.
func (w *work) reached() []string { return w.hosts("") }

// hosts lists those whose connections ended so, sorted, each once.
func (w *work) hosts(ended egress.Code) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, c := range w.seen {
		if c.Refused == ended {
			all = append(all, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))))
		}
	}
	return slices.Compact(sorted(all))
}

// credentials finds what a registry may echo of a request's own.
var credentials = regexp.MustCompile(`(?i)\b(bearer|basic) +[^\s"']+`)

// withoutPasswords takes out of an installer's words what it was given to sign in with: in its registries' addresses, and in secrets.
func withoutPasswords(text string, registries []*url.URL, secrets []string) string {
	for _, u := range registries {
		if u.User == nil {
			continue
		}
		password, _ := u.User.Password()
		both := u.User.Username() + ":" + password
		secrets = append(secrets, u.User.String(), password, base64.StdEncoding.EncodeToString([]byte(both)), base64.URLEncoding.EncodeToString([]byte(both)))
		if password == "" {
			secrets = append(secrets, u.User.Username())
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may be part of another
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return credentials.ReplaceAllString(text, "$1 ***")
}

// settings are variables that tell an installer how this machine reaches its registry; others stay outside.
func settings(names ...string) (env, files []string) {
	for _, name := range append(names, "SSL_CERT_FILE", "SSL_CERT_DIR") {
		v := os.Getenv(name)
		if v == "" {
			continue
		}
		if filepath.IsAbs(v) {
			files = append(files, v)
		}
		env = append(env, name+"="+v)
	}
	return env, files
}

// address reads a registry's address.
func address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("a registry's address is not http or https") // it may hold a password, so it is not quoted
	}
	return u, nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
