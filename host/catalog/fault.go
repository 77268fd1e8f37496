package catalog

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cordon/sandbox"
	"cordon/sandbox/egress"
)

// Fault is why an installer did not do its work.
type Fault struct {
	Tool string // npm or uv
	Kind FaultKind
	How  string // in words: how it ended, or which host could not be reached
	Said string // its last lines, without what it was given to sign in with; untrusted
}

// FaultKind is what kept an installer from its work, as far as it is known.
type FaultKind string

// The kinds.
const (
	FaultOther       FaultKind = ""
	FaultAbsent      FaultKind = "absent"      // there is no such package or version
	FaultUnreachable FaultKind = "unreachable" // the registry does not answer
	FaultSignIn      FaultKind = "sign-in"     // the registry wants to know who asks
	FaultKept        FaultKind = "kept"        // it wanted to reach something else than the registry
	FaultContent     FaultKind = "content"     // what came is not what the registry announced
)

// Error has What in its first line, and what the installer said in those after it.
func (f *Fault) Error() string {
	if f.Said == "" {
		return f.What()
	}
	return f.What() + "\n" + f.Said
}

// What says what is known, in one line.
func (f *Fault) What() string {
	first := map[FaultKind]string{
		FaultAbsent: "there is no such package or version", FaultUnreachable: "the registry could not be reached", FaultSignIn: "the registry refused it: it wants you to sign in",
		FaultKept: "it wanted to reach more than the registry", FaultContent: "what came is not what the registry announced",
	}[f.Kind]
	if first == "" {
		first = "it failed"
	}
	return fmt.Sprintf("%s: %s (%s)", f.Tool, first, f.How)
}

// Fix says what to do, or "".
func (f *Fault) Fix() string {
	return map[FaultKind]string{
		FaultAbsent:      "look its name and version up where its makers publish it",
		FaultUnreachable: "see whether this computer reaches the registry, by itself or through HTTPS_PROXY; then try again",
		FaultSignIn:      "sign in as " + f.Tool + " wants it; its own settings are used",
		FaultKept:        "install it by its makers' instructions, and add it by its command; or choose another server",
		FaultContent:     "try again later, and ask whoever runs the registry: somebody may have changed the package",
	}[f.Kind]
}

var faults = []struct {
	kind FaultKind
	says *regexp.Regexp
}{
	{FaultContent, regexp.MustCompile(`(?m)^npm error code EINTEGRITY|(?i)hash mismatch`)},
	{FaultSignIn, regexp.MustCompile(`(?m)^npm error code E40[13]$|40[13] (Unauthorized|Forbidden)`)},
	{FaultAbsent, regexp.MustCompile(`(?m)^npm error code (E404|ETARGET)$|was not found in the package registry|there is no version of`)},
	{FaultUnreachable, regexp.MustCompile(`(?m)^npm error code (E5\d\d|ENOTFOUND|EAI_AGAIN|EAI_FAIL|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ECONNRESET|ERR_SOCKET_TIMEOUT|\w*CERT\w*|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$|(?i)error sending request|dns error|failed to fetch|tunnel error`)},
}

// brief is the last lines of what an installer said, each of a length that can be read. A line is nothing that a program may choose the
// look of: runs of spaces become one.
func brief(said string) string {
	var all []string
	for line := range strings.SplitSeq(lastLines(said, 6), "\n") {
		line = strings.Join(strings.Fields(line), " ")
		if r := []rune(line); len(r) > maxSaid {
			line = string(r[:maxSaid]) + "…"
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

// maxSaid is how many characters of a line are shown.
const maxSaid = 300

// fault explains an installer that failed by what it said and what it reached.
func fault(tool string, exit sandbox.Exit, said string, seen []egress.Connection) *Fault {
	f := &Fault{Tool: tool, How: exit.String(), Said: brief(said)}
	for _, x := range faults {
		if x.says.MatchString(said) {
			f.Kind = x.kind
			break
		}
	}
	var kept, lost []string
	for _, c := range seen {
		at := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
		switch {
		case c.Refused == egress.NotAllowed:
			kept = append(kept, at)
		case c.Refused != "":
			lost = append(lost, at+": "+c.Reason)
		}
	}
	slices.Sort(kept)
	kept, lost = slices.Compact(kept), slices.Compact(lost)
	switch {
	case len(kept) > 0 && f.Kind != FaultContent && f.Kind != FaultSignIn && f.Kind != FaultAbsent:
		f.Kind = FaultKept
		fallthrough
	case len(kept) > 0:
		f.How = "it was kept from " + strings.Join(kept[:min(len(kept), 5)], ", ") + ": installing reaches the registry and nothing else"
	case len(lost) > 0 && (f.Kind == FaultOther || f.Kind == FaultUnreachable):
		f.Kind, f.How = FaultUnreachable, lost[len(lost)-1]
	}
	return f
}
