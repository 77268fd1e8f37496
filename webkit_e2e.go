//go:build e2e && linux && production && webkit2_41

package main

/*
#cgo pkg-config: webkit2gtk-4.1
#include <webkit2/webkit2.h>

static WebKitWebView *view;

static WebKitWebView *give_view(WebKitAutomationSession *session, gpointer data) { return view; }

static void automation_started(WebKitWebContext *context, WebKitAutomationSession *session, gpointer data) {
	WebKitApplicationInfo *info = webkit_application_info_new();
	webkit_application_info_set_name(info, "cordon");
	webkit_application_info_set_version(info, 1, 0, 0);
	webkit_automation_session_set_application_info(session, info);
	webkit_application_info_unref(info);
	g_signal_connect(session, "create-web-view", G_CALLBACK(give_view), NULL);
}

// The executable's definition wins over the library's, so Wails creates a view that WebDriver may control.
GtkWidget *webkit_web_view_new_with_user_content_manager(WebKitUserContentManager *manager) {
	WebKitWebContext *context = webkit_web_context_get_default();
	webkit_web_context_set_automation_allowed(context, TRUE);
	g_signal_connect(context, "automation-started", G_CALLBACK(automation_started), NULL);
	view = WEBKIT_WEB_VIEW(g_object_new(WEBKIT_TYPE_WEB_VIEW, "user-content-manager", manager, "web-context", context,
		"is-controlled-by-automation", TRUE, NULL));
	return GTK_WIDGET(view);
}

static void keep(void) {}
*/
import "C"

// This build lets WebDriver control the window. It is for tests and never shipped.
const automation = true

// Without a call, cgo would leave the C code out.
func init() { C.keep() }
