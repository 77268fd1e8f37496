//go:build !small

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

// newScope asks systemd (the user's manager, or the system's for root) for a scope with this process in it, whose cgroup
// is delegated to us, and returns its path (org.freedesktop.systemd1(5), StartTransientUnit; systemd.scope(5)).
func newScope(timeout time.Duration) (path string, err error) {
	address := managerBus()
	if address == "" {
		return "", errors.New("there is no bus to a service manager")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("connect to the service manager: %w", err)
	}
	defer conn.Close()
	const manager = "org.freedesktop.systemd1.Manager"
	ended := make(chan *dbus.Signal, 16)
	conn.Signal(ended)
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(manager), dbus.WithMatchMember("JobRemoved")); err != nil {
		return "", fmt.Errorf("listen to the service manager: %w", err)
	}
	type property struct {
		Name  string
		Value dbus.Variant
	}
	type auxiliary struct {
		Name       string
		Properties []property
	}
	pid := os.Getpid()
	unit := fmt.Sprintf("%s%d.scope", groupPrefix, pid)
	properties := []property{
		{"Description", dbus.MakeVariant("Cordon and the servers that it runs")},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(pid)})},
		{"Delegate", dbus.MakeVariant(true)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")}, // nothing of it stays when it has ended
	}
	var job dbus.ObjectPath
	systemd := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := systemd.CallWithContext(ctx, manager+".StartTransientUnit", 0, unit, "fail", properties, []auxiliary{}).Store(&job); err != nil {
		return "", fmt.Errorf("ask the service manager for a scope: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the service manager did not make a scope in %s", timeout)
		case s, ok := <-ended:
			if !ok {
				return "", errors.New("the service manager closed the connection")
			}
			var id uint32
			var of dbus.ObjectPath
			var name, result string
			if dbus.Store(s.Body, &id, &of, &name, &result) != nil || of != job {
				continue
			}
			if result != "done" {
				return "", fmt.Errorf("the service manager made no scope: %s", result)
			}
			own, err := ownGroups("/proc/self/cgroup")
			if err != nil {
				return "", err
			}
			if !delegated(own[""]) {
				return "", fmt.Errorf("the scope at %s is not ours", own[""])
			}
			return own[""], nil
		}
	}
}
