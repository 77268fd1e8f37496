// Package browser opens pages in the system's browser. Call it only when a person has seen the whole address and said yes.
package browser

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"cordon/host/config"
)

// Open opens an https address in the system's browser and returns once that was told to; local allows http with this computer. It refuses what the
// person could not have read in the address: a name or password, a host or characters other than plain ASCII.
func Open(address string, local bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && !(local && u.Scheme == "http" && config.IsLocal(u)) || u.Host == "" || u.User != nil || !plainHost(u.Host) || len(address) > 2048 || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("only plain https addresses are opened")
	}
	opener, err := exec.LookPath("xdg-open")
	if err != nil {
		return errors.New("this computer has no xdg-open; copy the address instead")
	}
	p, err := os.StartProcess(opener, []string{"xdg-open", u.String()}, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, nil, nil}, Sys: &syscall.SysProcAttr{Setsid: true}}) // Ctrl-C here is not the browser's
	if err != nil {
		return fmt.Errorf("open link: %w", err)
	}
	go func() { _, _ = p.Wait() }() // a browser may stay; nobody waits for it but the process table
	return nil
}

// plainHost reports whether a host is written as a browser will ask for it. An escape in it is another letter there.
func plainHost(host string) bool {
	return !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-:[]", r))
	})
}
