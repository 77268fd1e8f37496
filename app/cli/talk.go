package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"cordon/host"
	"cordon/host/chat"
	"cordon/host/consent"
	"cordon/host/server"
)

// What a person types in a conversation, and what of it is a command.

const talkHelp = `  Write a question and press Enter; a line that ends with \ goes on in the next.
  One may begin with a path; any other that begins with / is written with //.
  /retry            have the last question answered again
  /continue         go on where the last answer broke off
  /show N           print result N whole
  /model [NAME]     ask another model
  /servers          show which servers' tools the model is told of
  /on NAME, /off NAME   tell it of a server's tools, or not
  /attach FILE      a text file or an image goes with the next question
  /detach           nothing goes with it after all
  /scope [read|ask|usual]   what calls may do: nothing but read, ask before each, or as the rules say
  /new              begin a new conversation
  /quit             end; the conversation is kept
`

// talk reads questions until the end.
func (t *talking) talk(ctx context.Context, stops <-chan os.Signal) error {
	if err := t.introduce(ctx, " /help shows what there is."); err != nil {
		return err
	}
	lines := make(chan string)
	more := make(chan struct{}) // a line is read only when one is wanted: meanwhile the terminal is for what else is asked
	go func() {
		defer close(lines)
		in := bufio.NewScanner(t.e.in)
		in.Buffer(nil, 1<<20)
		for range more {
			if !in.Scan() {
				return
			}
			lines <- in.Text()
		}
	}()
	defer close(more)
	var question strings.Builder
	for {
		if question.Len() == 0 {
			fmt.Fprint(t.e.err, "\n> ")
		} else {
			fmt.Fprint(t.e.err, "… ")
		}
		more <- struct{}{}
		var line string
		var ok bool
		select {
		case line, ok = <-lines:
		case <-stops:
		case <-ctx.Done():
		}
		if !ok {
			fmt.Fprintln(t.e.err)
			return nil
		}
		if rest, goes := strings.CutSuffix(line, `\`); goes {
			question.WriteString(rest + "\n")
			continue
		}
		question.WriteString(line)
		text := question.String()
		question.Reset()
		if strings.TrimSpace(text) == "" {
			continue
		}
		quit, err := t.said(ctx, stops, text)
		if quit || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			fmt.Fprintf(t.e.err, "cordon: %s\n", consent.Escape(t.h.Mask(err.Error())))
		}
	}
}

// introduce says which conversation it is.
func (t *talking) introduce(ctx context.Context, more string) error {
	c, err := t.c.Store.Conversation(ctx, t.id)
	if err != nil {
		return err
	}
	of, err := t.c.Store.Case(ctx, c.Case)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.e.err, "Conversation %s with %s, %s. %s%s\n", c.ID, consent.Escape(c.Model), t.placeOf(c.Model), scopeWords(c, of), more)
	return nil
}

func (t *talking) placeOf(model string) string {
	def, ok := t.h.Config().Model(model)
	switch {
	case !ok:
		return "which is not defined any more"
	case def.Local():
		return "on this computer"
	}
	return "at " + def.Host()
}

// said does what a line wants.
func (t *talking) said(ctx context.Context, stops <-chan os.Signal, text string) (quit bool, err error) {
	word, arg := slash(text)
	if word == "" {
		return false, t.ask(ctx, stops, arg)
	}
	c, err := t.c.Store.Conversation(ctx, t.id)
	if err != nil {
		return false, err
	}
	of, err := t.c.Store.Case(ctx, c.Case)
	if err != nil {
		return false, err
	}
	switch word {
	case "/quit", "/exit", "/q":
		return true, nil
	case "/help":
		fmt.Fprint(t.e.err, talkHelp)
	case "/retry":
		if c.Head == 0 {
			return false, errors.New("nothing has been asked yet")
		}
		last, err := t.c.Store.Entry(ctx, t.id, c.Head)
		if err != nil {
			return false, err
		}
		return false, t.turn(ctx, stops, func() error { return t.c.Retry(ctx, t.id, last.Turn) })
	case "/continue":
		return false, t.turn(ctx, stops, func() error { return t.c.Continue(ctx, t.id) })
	case "/show":
		n, err := strconv.Atoi(strings.TrimPrefix(arg, "#"))
		if err != nil {
			return false, errors.New("write /show and the number of a result")
		}
		en, err := t.c.Store.Numbered(ctx, t.id, n)
		if err != nil {
			return false, fmt.Errorf("there is no result %d in this conversation", n)
		}
		fmt.Fprintln(t.e.err, consent.Escape(callLine(en.Outcome)))
		if en.Outcome.Content != nil {
			for line := range strings.Lines(en.Outcome.Content.Text()) {
				fmt.Fprintf(t.e.out, "| %s\n", consent.Escape(strings.TrimRight(line, "\r\n")))
			}
		}
	case "/model":
		if arg == "" {
			fmt.Fprintf(t.e.err, "%s, %s\n", consent.Escape(c.Model), t.placeOf(c.Model))
			return false, nil
		}
		if _, ok := t.h.Config().Model(arg); !ok {
			return false, fmt.Errorf("%w: %q", host.ErrNoModel, arg)
		}
		if err := t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error { c.Model = arg; return nil }); err != nil {
			return false, err
		}
		fmt.Fprintf(t.e.err, "%s, %s, is asked from now on.\n", arg, t.placeOf(arg))
	case "/servers":
		for _, v := range t.h.Servers.Views() {
			state := "its tools are offered"
			switch {
			case slices.Contains(c.Without, v.Name):
				state = "off"
			case !chat.Offers(c, of, v.Name):
				state = "not of this case"
			case v.State == server.Stopped:
				state = "is started with the next question, if it is approved"
			case !t.h.Offered(v):
				state = "not offered: " + string(v.State)
			}
			fmt.Fprintf(t.e.err, "  %s: %s\n", v.Name, state)
		}
	case "/on", "/off":
		if arg == "" {
			return false, fmt.Errorf("write %s and the name of a server; /servers shows them", word)
		}
		if _, ok := t.h.Config().Server(arg); !ok {
			return false, fmt.Errorf("there is no server %q", arg)
		}
		return false, t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error {
			c.Without = slices.DeleteFunc(c.Without, func(s string) bool { return s == arg })
			if word == "/off" {
				c.Without = append(c.Without, arg)
			}
			return nil
		})
	case "/attach":
		if arg == "" {
			return false, errors.New("write /attach and the path of a file")
		}
		if err := t.file(arg); err != nil {
			return false, err
		}
		a := t.attach[len(t.attach)-1]
		fmt.Fprintf(t.e.err, "%s, %d bytes, goes with the next question.\n", consent.Escape(a.Name), a.Size)
	case "/detach":
		t.attach = nil
		fmt.Fprintln(t.e.err, "Nothing goes with the next question.")
	case "/scope":
		if arg == "" {
			fmt.Fprintf(t.e.err, "%s\n", scopeWords(c, of))
			return false, nil
		}
		to, err := chat.ParseScope(arg)
		if err != nil {
			return false, err
		}
		if err := t.c.Store.Change(ctx, t.id, func(c *chat.Conversation) error { c.Scope = to; return nil }); err != nil {
			return false, err
		}
		c.Scope = to
		fmt.Fprintf(t.e.err, "%s\n", scopeWords(c, of))
	case "/new":
		n, err := t.c.Store.Begin(ctx, c)
		if err != nil {
			return false, err
		}
		t.id = n.ID
		fmt.Fprintf(t.e.err, "Conversation %s. %s\n", n.ID, scopeWords(n, of))
	default:
		return false, fmt.Errorf("there is no %s; /help shows what there is; as a question it is written /%s", word, word)
	}
	return false, nil
}

// scopeWords says what calls may do.
func scopeWords(c chat.Conversation, of chat.Case) string {
	words := "Reads flow; you are asked before anything else."
	switch s := chat.ScopeOf(c, of); {
	case s.ReadOnly && s.AskAll:
		words = "Calls may only read, and you are asked before each."
	case s.ReadOnly:
		words = "Calls may only read."
	case s.AskAll:
		words = "You are asked before every call."
	}
	if of.Scope != chat.Usual && of.Scope != c.Scope {
		words += " So says its case, " + consent.Escape(of.Name) + "."
	}
	return words
}

// slash takes a line apart into a command's word and the rest. The word is "" for a question, which is the rest: one that begins with a path
// (/var/log/auth.log), or that has a second slash before it, which is taken off.
func slash(text string) (word, rest string) {
	if !strings.HasPrefix(text, "/") {
		return "", text
	}
	if strings.HasPrefix(text, "//") {
		return "", text[1:]
	}
	word = strings.Fields(text)[0]
	if strings.Contains(word[1:], "/") {
		return "", text
	}
	return word, strings.TrimSpace(text[len(word):])
}
