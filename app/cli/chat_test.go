package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cordon/host/chat"
	"cordon/host/config"
	"cordon/host/llm/scripted"
)

func TestSlash(t *testing.T) {
	for _, c := range []struct{ text, word, rest string }{
		{"Who was it?", "", "Who was it?"},
		{"What is in /etc?", "", "What is in /etc?"},
		{"/help", "/help", ""},
		{"/show  #3 ", "/show", "#3"},
		{"/model\tlab", "/model", "lab"},
		{"/model a/b", "/model", "a/b"},
		{"/on\none", "/on", "one"},
		{"/nothing", "/nothing", ""},
		{"/", "/", ""},
		{"/var/log/auth.log what happened?", "", "/var/log/auth.log what happened?"},
		{"/var/log\nwhat is there?", "", "/var/log\nwhat is there?"},
		{"/quit/", "", "/quit/"},
		{"//quit means what?", "", "/quit means what?"},
		{"//", "", "/"},
	} {
		if word, rest := slash(c.text); word != c.word || rest != c.rest {
			t.Errorf("%q: got %q, %q; want %q, %q", c.text, word, rest, c.word, c.rest)
		}
	}
}

// TestPathsAreAsked types what begins with a slash: paths are questions, and an unknown command is neither run nor asked.
func TestPathsAreAsked(t *testing.T) {
	t.Parallel()
	needSandbox(t)
	model := scripted.New()
	t.Cleanup(model.Close)
	model.Decide(func(r scripted.Request) scripted.Turn { return scripted.Turn{Text: "You said: " + lastWords(r)} })
	c := command(t)
	if screen, code := talk(t, c, []string{"models", "add", "near", "--url", model.URL, "--format", "openai", "--model", "scripted-1"}); code != 0 {
		t.Fatalf("models add: %d\n%s", code, screen)
	}
	screen, code := talk(t, c, []string{"chat"}, "\n> ", "/var/log/auth.log what happened?\n", "You said: /var/log/auth.log what happened?", "/tmp what is there?\n",
		"there is no /tmp", "//tmp what is there?\n", "You said: /tmp what is there?", "/quit\n")
	if code != 0 || !strings.Contains(screen, "as a question it is written //tmp") || strings.Count(screen, "You said:") != 2 {
		t.Errorf("chat: %d\n%s", code, screen)
	}
}

// TestCompletionWaitsForNobody completes while the window has the state.
func TestCompletionWaitsForNobody(t *testing.T) {
	c := command(t, "__complete", "chats", "delete", "")
	state := filepath.Join(c.Dir, "state", "cordon")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	owner, err := config.Lock(state)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	s, err := chat.Open(filepath.Join(state, "chats.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept, err := s.New(t.Context(), "", "near")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.Output(); err != nil || !strings.HasPrefix(string(out), kept.ID) {
		t.Errorf("%v\n%s", err, out)
	}
}
