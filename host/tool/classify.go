package tool

import (
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
)

// Hints are a server's own annotations. They are claims: Classify lets them raise an effect, never lower it.
type Hints struct {
	ReadOnly    *bool // readOnlyHint
	Destructive *bool // destructiveHint
	OpenWorld   *bool // openWorldHint
}

// Classify says what a tool can do, and in words who says so. known is the host's own knowledge of the tool (see
// Known); it replaces the reading of verbs and parameters. A name without a verb we know stays Unknown. Of several
// verbs the worst counts. A description, a parameter such as command or url, and annotations only raise. schema is
// the input schema, at most 256 KiB; one that cannot be read raises to Unknown. The reading is a guess from what the
// server says about itself: the sandbox and consent enforce, this decides how loudly to ask.
func Classify(name, description string, schema []byte, hints Hints, known Effect) (effect Effect, by string) {
	by = "Cordon"
	if known != Unknown {
		effect, by = known, "Cordon, from its own list"
	} else {
		effect = fromName(name)
		effect = raise(effect, fromDescription(description))
		effect = raise(effect, fromParameters(schema))
	}
	claimed := fromHints(hints, known != Unknown)
	if raised := raise(effect, claimed); raised != effect {
		return raised, by + "; raised to " + raised.String() + " because the server says so"
	}
	if hints.ReadOnly != nil && *hints.ReadOnly && effect != Read {
		by += "; server says read"
	}
	return effect, by
}

// raise returns the worse of two effects. Unlike Worse it never turns a harmful effect into Unknown, and something
// no worse than read adds nothing to Unknown.
func raise(e, by Effect) Effect {
	if by == Unknown || by == Read {
		return e
	}
	return e.Worse(by)
}

func fromHints(h Hints, known bool) Effect {
	e := Read
	if h.OpenWorld != nil && *h.OpenWorld {
		e = e.Worse(Disclose)
	}
	if h.ReadOnly != nil && !*h.ReadOnly {
		e = e.Worse(Write)
	}
	if h.Destructive != nil && *h.Destructive {
		e = e.Worse(Write)
		if !known { // for a tool we know, how destructive it is has been weighed
			e = e.Worse(High)
		}
	}
	return e
}

// verbs maps a verb to what it does. Only verbs that are rarely nouns stand here: they count anywhere in a name.
func verbs(word string) Effect {
	switch word {
	case "get", "read", "list", "search", "find", "lookup", "fetch", "show", "describe", "view", "count", "check", "inspect", "explain",
		"compare", "validate", "verify", "parse", "browse", "summarize", "summarise", "retrieve", "resolve", "stat", "tail", "head", "grep", "diff",
		"convert", "translate", "decode", "calculate", "compute", "preview", "whois", "ping", "open", "select", "echo", "status", "is", "has":
		return Read
	case "query", "hunt", "scan", "analyze", "analyse", "aggregate", "correlate", "backtest", "download", "crawl", "export", "dump", "enumerate":
		return Costly
	case "submit", "upload", "send", "detonate", "enrich", "notify", "email", "tweet", "forward", "push", "sync":
		return Disclose
	case "create", "add", "write", "edit", "set", "put", "insert", "append", "modify", "change", "rename", "move", "copy", "save", "store",
		"assign", "unassign", "close", "reopen", "acknowledge", "ack", "tag", "untag", "enable", "register", "subscribe", "unsubscribe",
		"configure", "import", "install", "upsert", "merge", "restore", "start", "resume", "pause", "schedule", "toggle", "suppress",
		"mute", "dismiss", "triage", "attach", "detach", "apply", "commit", "draft", "make", "mkdir", "link", "rollback", "undo", "record", "invite":
		return Write
	case "isolate", "unisolate", "deisolate", "contain", "uncontain", "quarantine", "unquarantine", "kill", "terminate", "disable", "deactivate",
		"suspend", "block", "unblock", "ban", "blacklist", "blocklist", "whitelist", "allowlist", "stop", "shutdown", "reboot", "restart", "execute", "exec",
		"invoke", "eval", "remediate", "escalate", "elevate", "grant", "revoke", "deny", "reset", "rotate", "lock", "unlock", "logoff", "logout",
		"deploy", "pay", "transfer", "buy", "purchase", "refund", "impersonate", "exclude", "bypass", "override", "encrypt", "inject", "uninstall", "sudo":
		return High
	case "delete", "remove", "purge", "destroy", "erase", "wipe", "drop", "truncate", "unlink", "rm", "rmdir", "shred", "clear", "empty", "flush",
		"prune", "format", "overwrite", "publish", "unpublish", "share", "broadcast", "disclose", "leak", "expunge", "nuke", "discard", "cancel", "void":
		return Irreversible
	}
	return Unknown
}

// nouny lists verbs that are as often nouns ("get_block", "list_lock", "empty_report"): they count only where a verb
// stands, that is first, after "and" or "or", or when no plain verb comes first.
func nouny(word string) Effect {
	switch word {
	case "run", "command", "shell", "script", "trigger", "issue", "order":
		return High
	case "post", "update", "patch", "comment", "report", "note", "label", "flag", "file", "log", "branch", "fork", "mark", "replace", "reply":
		return Write
	case "release":
		return Irreversible
	case "message", "mail", "chat", "ask", "alert", "page":
		return Disclose
	case "sample", "trace", "watch", "monitor", "profile", "test":
		return Costly
	}
	return Unknown
}

// demoted are verbs of the first table that name things when a harmless verb leads: "list_tag", "get_format".
func demoted(word string) bool {
	switch word {
	case "format", "lock", "link", "record", "block", "head", "tail", "status", "set", "store", "import", "export", "start", "stop", "email",
		"schedule", "draft", "commit", "tag", "diff", "query", "scan", "copy", "change", "sync", "dump", "empty", "transfer", "script", "open", "close", "merge", "push":
		return true
	}
	return false
}

// fromName takes the worst of the verbs in a name. After a plain verb ("get"), words that may be nouns count as nouns,
// unless "and" or "or" stands between.
func fromName(name string) Effect {
	words := split(name)
	effect, found, led := Unknown, false, false
	for i, w := range words {
		if joins(w) {
			led = false
			continue
		}
		e, noun := verbs(w), demoted(w)
		if n := nouny(w); n != Unknown {
			e, noun = n, true
		}
		if (w == "run" || w == "execute") && i+1 < len(words) && slices.Contains([]string{"query", "search", "hunt"}, words[i+1]) {
			e = Costly // what it may do shows in its parameters: see parameter
		}
		if e == Unknown || noun && led {
			continue
		}
		led = led || !noun
		if !found {
			effect, found = e, true
		}
		effect = effect.Worse(e)
	}
	return withPrefixes(effect, words)
}

func joins(word string) bool {
	return word == "and" || word == "or" || word == "then" || word == "plus"
}

// withPrefixes finds harmful verbs glued to what follows ("deletefile", "killprocess"), when nothing worse was seen.
func withPrefixes(effect Effect, words []string) Effect {
	for _, w := range words {
		for _, verb := range []string{"delete", "remove", "purge", "destroy", "wipe", "kill", "isolate", "disable", "quarantine", "execute", "terminate", "publish"} {
			if len(w) > len(verb) && (strings.HasPrefix(w, verb) || strings.HasSuffix(w, verb)) && w != verb+"d" && w != verb+"s" {
				effect = raise(effect, verbs(verb))
			}
		}
	}
	return effect
}

// split cuts snake_case, kebab-case, dotted and camelCase names into lower-case words.
func split(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsLetter(r) {
			flush()
			continue
		}
		if unicode.IsUpper(r) && i > 0 {
			lowerBefore := unicode.IsLower(runes[i-1])
			acronymEnds := unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if lowerBefore || acronymEnds {
				flush()
			}
		}
		word = append(word, r)
	}
	flush()
	return words
}

// fromDescription reads the first word of each sentence ("Deletes an index.") and phrases that say there is no way
// back. It never makes anything harmless.
func fromDescription(text string) Effect {
	const most = 4 << 10
	if len(text) > most {
		text = text[:most]
	}
	text = strings.ToLower(text)
	e := Read
	for _, phrase := range []string{"cannot be undone", "can't be undone", "irreversibl", "permanently delete", "permanently remove", "no undo"} {
		if strings.Contains(text, phrase) {
			e = Irreversible
		}
	}
	for sentence := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '.' || r == '\n' || r == ';' || r == '!' }) {
		words := strings.FieldsFunc(sentence, func(r rune) bool { return !unicode.IsLetter(r) })
		for i, w := range words {
			if i > 0 && !joins(words[i-1]) {
				continue
			}
			if v := verbs(stem(w)); !demoted(stem(w)) {
				e = raise(e, v)
			}
		}
	}
	return e
}

// stem turns "deletes" and "deleting" into "delete" where that is a verb we know.
func stem(w string) string {
	for _, cut := range []struct{ end, with string }{{"es", ""}, {"s", ""}, {"ing", ""}, {"ing", "e"}} {
		if s, ok := strings.CutSuffix(w, cut.end); ok && verbs(s+cut.with) != Unknown {
			return s + cut.with
		}
	}
	return w
}

// fromParameters reads the names of the top-level parameters and what they let the caller choose.
func fromParameters(schema []byte) Effect {
	if len(schema) == 0 {
		return Read
	}
	canonical, err := CanonicalObject(schema, Limits{Bytes: maxSchemaBytes, Depth: DefaultLimits().Depth, Values: DefaultLimits().Values})
	if err != nil {
		return Write
	}
	var s struct {
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal(canonical, &s); err != nil {
		return Write
	}
	e := Read
	for name := range s.Properties {
		e = raise(e, parameter(split(name)))
	}
	return e
}

func parameter(words []string) Effect {
	e := Read
	for _, w := range words {
		switch w {
		case "command", "cmd", "commands", "cmdline", "commandline", "shell", "script", "code", "powershell", "bash", "argv", "expression":
			if w != "code" || len(words) == 1 { // country_code chooses nothing
				e = e.Worse(High)
			}
		case "sql", "statement", "statements":
			e = e.Worse(Write)
		case "force", "recursive", "overwrite", "purge", "permanent":
			e = e.Worse(Write)
		case "url", "urls", "uri", "webhook", "callback", "endpoint", "recipient", "recipients", "proxy":
			e = e.Worse(Disclose)
		case "to", "cc", "bcc":
			if len(words) == 1 {
				e = e.Worse(Disclose)
			}
		}
	}
	return e
}

// Known returns what the host knows about a tool of a well-known package, or Unknown. source is the registry name
// without version, such as "npm:@modelcontextprotocol/server-filesystem". The caller must have checked that the server
// really is that package; a name alone proves nothing.
func Known(source, name string) Effect {
	reads := func(names ...string) bool { return slices.Contains(names, name) }
	switch source {
	case "npm:@modelcontextprotocol/server-filesystem":
		switch {
		case reads("read_file", "read_text_file", "read_media_file", "read_multiple_files", "list_directory", "list_directory_with_sizes",
			"directory_tree", "search_files", "get_file_info", "list_allowed_directories"):
			return Read
		case reads("write_file", "edit_file", "create_directory", "move_file"):
			return Write
		}
	case "npm:@modelcontextprotocol/server-memory":
		switch {
		case reads("read_graph", "search_nodes", "open_nodes"):
			return Read
		case reads("create_entities", "create_relations", "add_observations"):
			return Write
		case reads("delete_entities", "delete_observations", "delete_relations"):
			return Irreversible
		}
	case "npm:@modelcontextprotocol/server-sequential-thinking":
		if name == "sequentialthinking" {
			return Read
		}
	case "npm:@modelcontextprotocol/server-everything":
		switch {
		case reads("echo", "get-annotated-message", "get-resource-links", "get-resource-reference", "get-structured-content", "get-sum",
			"get-tiny-image", "get-roots-list"):
			return Read
		case reads("trigger-long-running-operation", "simulate-research-query"):
			return Costly
		case reads("get-env", "gzip-file-as-resource", "trigger-sampling-request", "trigger-sampling-request-async",
			"trigger-elicitation-request", "trigger-elicitation-request-async", "trigger-url-elicitation"):
			return Disclose // get-env returns the whole environment and calls itself read-only
		case reads("toggle-simulated-logging", "toggle-subscriber-updates"):
			return Write
		}
	}
	return Unknown
}
