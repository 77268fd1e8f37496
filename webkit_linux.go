//go:build linux && production && webkit2_41

package main

/*
#cgo pkg-config: webkit2gtk-4.1
#include <webkit2/webkit2.h>

static void enable_sandbox(void) {
	webkit_web_context_set_sandbox_enabled(webkit_web_context_get_default(), TRUE);
}
*/
import "C"

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// WebKit ties its main loop to the thread that touches it first; without this, one start in three aborts.
func init() { runtime.LockOSThread() }

// webSandbox confines WebKit's own processes if this machine can, and returns why not, or "". It also closes the
// remote inspector, which WebKit opens even in production builds when one of two variables is set.
func webSandbox() string {
	if !automation {
		_ = os.Unsetenv("WEBKIT_INSPECTOR_SERVER")
		_ = os.Unsetenv("WEBKIT_INSPECTOR_HTTP_SERVER")
	}
	for _, tool := range []string{"bwrap", "xdg-dbus-proxy"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed"
		}
	}
	// WebKit aborts when it cannot start bwrap, for instance where user namespaces are forbidden: try it first.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if exec.CommandContext(ctx, "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true").Run() != nil {
		return "bubblewrap cannot create namespaces here"
	}
	C.enable_sandbox()
	return ""
}
