package tool

import (
	"strings"
	"testing"
)

func TestClassifyByName(t *testing.T) {
	for name, want := range map[string]Effect{
		"get_alert": Read, "list_incidents": Read, "search_events": Read, "findHost": Read, "lookup-hash": Read, "read_rules": Read,
		"search_rules": Read, "GetFileInfo": Read, "getHTTPResponse": Read, "list_directory": Read, "describe_instances": Read,
		"get_block": Read, "list_shares": Read, "get_post": Read, "get_report": Read, "list_posts": Read, "get_update_history": Read, "check_status": Read,
		"get_deleted_items": Read, "list_tags": Read, "view_comment": Read, "get_run": Read,

		"hunt": Costly, "query_logs": Costly, "analyze_pcap": Costly, "backtest_rule": Costly, "export_events": Costly, "scan_host": Costly, "test_rule": Costly, "run_query": Costly, "runHunt": Costly,

		"submit_sample": Disclose, "upload_file": Disclose, "send_message": Disclose, "detonate_url": Disclose, "enrichIndicator": Disclose,
		"notify_channel": Disclose, "ask_perplexity": Disclose,

		"create_ticket": Write, "close_alert": Write, "update_case": Write, "add_comment": Write, "assign_incident": Write, "saveSearch": Write,
		"edit_file": Write, "write_file": Write, "move_file": Write, "post_message": Write, "tag_host": Write, "acknowledge_alert": Write,
		"alert_close": Write, "enable_rule": Write, "merge_pull_request": Write, "set_status": Write, "save_draft": Write,

		"isolate_host": High, "isolateHost": High, "host-isolate": High, "edr.isolate": High, "kill_process": High, "disable_user": High,
		"disableAccount": High, "quarantine": High, "quarantine_file": High, "block_ip": High, "ip_block": High, "stop_service": High,
		"execute_command": High, "runScript": High, "run_command": High, "reset_password": High, "revoke_sessions": High, "deploy_rule": High,
		"contain_endpoint": High, "unisolate_host": High, "restart_vm": High, "grant_role": High, "pay_invoice": High, "shell": High, "killprocess": High,
		"release_from_quarantine": Irreversible,

		"delete_index": Irreversible, "purge_mail": Irreversible, "mail_purge": Irreversible, "publish": Irreversible, "share": Irreversible, "share_indicator": Irreversible,
		"publishReport": Irreversible, "drop_table": Irreversible, "wipe_device": Irreversible, "remove_user": Irreversible, "clear_logs": Irreversible,
		"deletefile": Irreversible, "DELETE_ALL": Irreversible, "cancel_order": Irreversible,

		"get_and_delete": Irreversible, "getAndDelete": Irreversible, "read_or_write": Write, "list-then-purge": Irreversible, "search_and_isolate": High,
		"get_or_create_user": Write, "delete_or_get": Irreversible, "read_and_post": Write, "find_delete": Irreversible, "check_and_run": High,
		"get.status.then.kill": High, "fetch_and_publish": Irreversible, "readDeleteFile": Irreversible,

		"directory_tree": Unknown, "frobnicate": Unknown, "": Unknown, "_": Unknown, "工具": Unknown, "sequentialthinking": Unknown, "42": Unknown,
		"dеlete_index": Unknown, // Cyrillic е
	} {
		if got, _ := Classify(name, "", nil, Hints{}, Unknown); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

func TestClassifyByDescription(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Effect
	}{
		{"get_item", "Returns one item.", Read},
		{"get_item", "Deletes the item and returns it.", Irreversible},
		{"get_item", "Returns the item and deletes it.", Irreversible},
		{"search", "Finds hosts. Isolates every match.", High},
		{"frobnicate", "Reads a file.", Unknown},
		{"frobnicate", "Deletes a file.", Irreversible},
		{"update_case", "This cannot be undone.", Irreversible},
		{"get_deleted", "Lists deleted items.", Read},
		{"delete_index", "Harmless. Only reads.", Irreversible},
	} {
		if got, _ := Classify(c.name, c.text, nil, Hints{}, Unknown); got != c.want {
			t.Errorf("%s, %q: got %v, want %v", c.name, c.text, got, c.want)
		}
	}
}

func TestClassifyByParameters(t *testing.T) {
	for _, c := range []struct {
		name, schema string
		want         Effect
	}{
		{"get_item", `{"properties":{"id":{}}}`, Read},
		{"get_item", `{"properties":{"country_code":{},"host":{},"path":{}}}`, Read},
		{"fetch", `{"properties":{"url":{}}}`, Disclose},
		{"get_page", `{"properties":{"targetUrl":{}}}`, Disclose},
		{"get_item", `{"properties":{"command":{}}}`, High},
		{"get_item", `{"properties":{"shell_command":{}}}`, High},
		{"get_item", `{"properties":{"script":{}}}`, High},
		{"get_item", `{"properties":{"code":{}}}`, High},
		{"run_query", `{"properties":{"sql":{}}}`, Write},
		{"run_query", `{"properties":{"kql":{},"days":{}}}`, Costly},
		{"run_query", `{"properties":{"command":{}}}`, High},
		{"delete_index", `{"properties":{"id":{}}}`, Irreversible},
		{"frobnicate", `{"properties":{"url":{}}}`, Unknown},
		{"frobnicate", `{"properties":{"command":{}}}`, High},
		{"get_item", `{"properties":`, Write},
		{"get_item", `[]`, Write},
	} {
		if got, _ := Classify(c.name, "", []byte(c.schema), Hints{}, Unknown); got != c.want {
			t.Errorf("%s %s: got %v, want %v", c.name, c.schema, got, c.want)
		}
	}
}

func TestAnnotationsOnlyRaise(t *testing.T) {
	yes, no := new(true), new(false)
	for _, c := range []struct {
		what  string
		name  string
		hints Hints
		known Effect
		want  Effect
		by    string
	}{
		{"read-only claim on a delete", "delete_index", Hints{ReadOnly: yes, Destructive: no, OpenWorld: no}, Unknown, Irreversible, "Cordon; server says read"},
		{"read-only claim on an unknown", "frobnicate", Hints{ReadOnly: yes}, Unknown, Unknown, "Cordon; server says read"},
		{"read-only claim on a read", "get_item", Hints{ReadOnly: yes}, Unknown, Read, "Cordon"},
		{"read that admits to write", "get_item", Hints{ReadOnly: no}, Unknown, Write, "raised to write"},
		{"read that admits to destroy", "get_item", Hints{Destructive: yes}, Unknown, High, "raised to high"},
		{"unknown that admits to destroy", "frobnicate", Hints{Destructive: yes}, Unknown, High, "raised to high"},
		{"read that goes outside", "get_item", Hints{OpenWorld: yes}, Unknown, Disclose, "raised to disclose"},
		{"write that goes outside", "create_ticket", Hints{OpenWorld: yes}, Unknown, Write, "Cordon"},
		{"known write that overwrites", "write_file", Hints{ReadOnly: no, Destructive: yes}, Write, Write, "from its own list"},
		{"known read that admits to write", "x", Hints{ReadOnly: no}, Read, Write, "raised to write"},
		{"known disclosure that says read", "get-env", Hints{ReadOnly: yes}, Disclose, Disclose, "server says read"},
	} {
		got, by := Classify(c.name, "", nil, c.hints, c.known)
		if got != c.want || !strings.Contains(by, c.by) {
			t.Errorf("%s: got %v by %q, want %v by %q", c.what, got, by, c.want, c.by)
		}
	}
}

func TestKnownCoversTheOfficialServers(t *testing.T) {
	for source, tools := range realTools(t) {
		for _, tl := range tools {
			if got := Known(source, tl.Name); got == Unknown {
				t.Errorf("%s %s: got unknown; want it catalogued", source, tl.Name)
			}
		}
	}
	for _, c := range []struct {
		source, name string
		want         Effect
	}{
		{"npm:@modelcontextprotocol/server-filesystem", "read_text_file", Read},
		{"npm:@modelcontextprotocol/server-filesystem", "move_file", Write},
		{"npm:@modelcontextprotocol/server-filesystem", "delete_file", Unknown},
		{"npm:@modelcontextprotocol/server-memory", "delete_entities", Irreversible},
		{"npm:@modelcontextprotocol/server-everything", "get-env", Disclose},
		{"npm:@modelcontextprotocol/server-filesystem ", "read_text_file", Unknown},
		{"npm:someone-else/server-filesystem", "read_text_file", Unknown},
	} {
		if got := Known(c.source, c.name); got != c.want {
			t.Errorf("%s %s: got %v, want %v", c.source, c.name, got, c.want)
		}
	}
}

func TestClassifyNeverCallsAnOfficialToolHarmlessWhenItIsNot(t *testing.T) {
	for source, tools := range realTools(t) {
		for _, tl := range tools {
			h := Hints{tl.Annotations.ReadOnlyHint, tl.Annotations.DestructiveHint, tl.Annotations.OpenWorldHint}
			known := Known(source, tl.Name)
			if got, _ := Classify(tl.Name, "", tl.InputSchema, h, known); got.Worse(known) != got {
				t.Errorf("%s %s: got %v, which is less than the catalogue's %v", source, tl.Name, got, known)
			}
		}
	}
}
