package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// State says whether secrets can be kept.
type State string

// The states. The zero value is none of them and means unknown.
const (
	OK      State = "ok"
	Locked  State = "locked"
	Absent  State = "absent"
	Session State = "session" // memory only, chosen by a person
)

// Status is a State with what people need to understand it.
type Status struct {
	State    State
	Provider string // "GNOME Keyring", "KWallet", a program's name, or ""
	Detail   string // one sentence
	Fix      string // what to do, or ""
}

// State asks the provider how it is, without ever causing an unlock prompt. It may start a provider that the session
// bus knows how to start. It returns within the store's time-out; no answer counts as Absent.
func (s *Store) State(ctx context.Context) Status {
	if s.inSession() {
		return Status{State: Session, Detail: "Secrets are kept in memory and forgotten when Cordon ends."}
	}
	if err := busSet(); err != nil {
		return Status{State: Absent, Detail: "There is no session bus.", Fix: fixBus}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	st, err := ask(ctx)
	if err == nil {
		return st
	}
	st.State, st.Detail, st.Fix = Absent, "The session bus does not answer.", fixBus
	var de dbus.Error
	switch {
	case errors.As(err, &de):
		st.Detail, st.Fix = fmt.Sprintf("The keyring does not answer as it should (%s).", de.Name), fixProvider
	case errors.Is(err, context.DeadlineExceeded):
		st.Detail, st.Fix = fmt.Sprintf("The keyring gave no answer within %v.", s.timeout), fixProvider
	}
	return st
}

const (
	secretsName = "org.freedesktop.secrets"
	secretsPath = "/org/freedesktop/secrets"
	loginPath   = "/org/freedesktop/secrets/collection/login"
)

// ask looks at the same collection that the library would use: "login" if there is one, else the default.
func ask(ctx context.Context) (Status, error) {
	conn, err := dbus.ConnectSessionBus(dbus.WithContext(ctx))
	if err != nil {
		return Status{}, err
	}
	defer conn.Close()

	bus := conn.BusObject()
	var owned bool
	if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, secretsName).Store(&owned); err != nil {
		return Status{}, err
	}
	if !owned {
		var names []string
		if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.ListActivatableNames", 0).Store(&names); err != nil {
			return Status{}, err
		}
		if !slices.Contains(names, secretsName) {
			return Status{State: Absent, Detail: "No program on the session bus offers a keyring.", Fix: fixProvider}, nil
		}
	}
	svc := conn.Object(secretsName, secretsPath)
	var list dbus.Variant
	if err := svc.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, "org.freedesktop.Secret.Service", "Collections").Store(&list); err != nil {
		return Status{}, err
	}
	st := Status{Provider: provider(ctx, conn)}
	path := dbus.ObjectPath(loginPath)
	if all, ok := list.Value().([]dbus.ObjectPath); !ok || !slices.Contains(all, path) {
		if err := svc.CallWithContext(ctx, "org.freedesktop.Secret.Service.ReadAlias", 0, "default").Store(&path); err != nil {
			return st, err
		}
	}
	if path == "/" {
		st.State, st.Detail, st.Fix = Absent, "The keyring program runs, but there is no default keyring.", fixDefault
		return st, nil
	}
	var locked dbus.Variant
	if err := conn.Object(secretsName, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0,
		"org.freedesktop.Secret.Collection", "Locked").Store(&locked); err != nil {
		return st, err
	}
	if isLocked, ok := locked.Value().(bool); !ok || isLocked {
		st.State, st.Detail, st.Fix = Locked, "The keyring is locked.", fixLocked
		return st, nil
	}
	st.State, st.Detail = OK, "The keyring is unlocked."
	return st, nil
}

// provider names the program behind the service, as far as the bus tells.
func provider(ctx context.Context, conn *dbus.Conn) string {
	var pid uint32
	if conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, secretsName).Store(&pid) != nil {
		return ""
	}
	cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	argv0, _, _ := strings.Cut(string(cmd), "\x00")
	switch name := filepath.Base(argv0); {
	case strings.HasPrefix(name, "gnome-keyring"):
		return "GNOME Keyring"
	case strings.HasPrefix(name, "kwallet"), strings.HasPrefix(name, "ksecret"):
		return "KWallet"
	case strings.HasPrefix(name, "keepassxc"):
		return "KeePassXC"
	default:
		return name
	}
}
