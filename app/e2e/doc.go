// Package e2e drives the real window. Its tests start a display, a window manager, a session bus and a keyring of
// their own, open bin/cordon-desktop-e2e there, and work it like a person through WebDriver; the shipped
// bin/cordon-desktop is worked through the accessibility bus. They skip when a binary or tool is missing, with the
// reason, and fail instead when REQUIRE_WINDOW=1.
package e2e
