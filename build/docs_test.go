package build

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameRealPaths: every path in backquotes, and every link, leads somewhere.
func TestDocumentsNameRealPaths(t *testing.T) {
	path := regexp.MustCompile("`((?:app|host|sandbox|frontend|build)(?:/[\\w./-]+)?)`|\\]\\(([\\w./-]+)\\)")
	for _, doc := range []string{"README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"} {
		b, err := os.ReadFile("../" + doc)
		if err != nil {
			t.Fatal(err)
		}
		found := path.FindAllStringSubmatch(string(b), -1)
		if doc == "ARCHITECTURE.md" && len(found) < 20 {
			t.Errorf("%s: only %d paths found; does the pattern still fit?", doc, len(found))
		}
		for _, m := range found {
			p := strings.TrimSuffix(m[1]+m[2], "/")
			if _, err := os.Stat("../" + p); err != nil {
				t.Errorf("%s names %s, which does not exist", doc, p)
			}
		}
	}
}
