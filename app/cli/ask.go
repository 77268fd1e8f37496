package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cordon/host/consent"
	"cordon/host/elicit"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What servers ask a person in the middle of a call, and what Cordon asks before it opens a page. A form is filled in field by field, then shown as
// it would be sent, and sent when the person says so. Nothing of it is sent otherwise.

// asking holds a question on the terminal.
type asking struct {
	e    *env
	q    elicit.Question
	line func(ask string) (text string, after time.Duration, err error)
}

// elicit asks a person in the name of a server. Without a terminal it is cancelled.
func (e *env) elicit(ctx context.Context, q elicit.Question) elicit.Answer {
	a, err := e.asked(ctx, q)
	if err != nil && ctx.Err() == nil {
		e.warn(fmt.Sprintf("%s asked you something, and heard that this was cancelled: %v", q.Server, err))
	}
	return a
}

// asked asks a question. After an error the answer is a cancellation. Errors: consent.ErrNoTerminal, ctx's, that nobody
// answered in time, or why a page cannot be opened.
func (e *env) asked(ctx context.Context, q elicit.Question) (a elicit.Answer, err error) {
	a.Action = elicit.Cancel
	if e.talk == nil {
		return a, consent.ErrNoTerminal
	}
	defer e.progress.hold()()
	ctx, cancel := context.WithTimeoutCause(ctx, elicit.Patience, errors.New("nobody answered in time"))
	defer cancel()
	err = e.talk.Talk(ctx, func(line func(string) (string, time.Duration, error)) error {
		s := &asking{e: e, q: q, line: line}
		if q.Kind == elicit.URL {
			a, err = s.page()
		} else {
			a, err = s.form()
		}
		return err
	})
	if err != nil {
		return elicit.Answer{Action: elicit.Cancel}, err
	}
	return a, nil
}

// head says who asks what.
func (s *asking) head(b *strings.Builder) {
	if s.q.SignIn {
		fmt.Fprintf(b, "\nSigning in to %s\n  %s\n", consent.Escape(s.q.Server), consent.Escape(s.q.Message))
		return
	}
	if s.q.Intro != "" { // Cordon's words
		fmt.Fprintf(b, "\n%s asks you something in the middle of a call.\n", consent.Escape(s.q.Server))
		for _, row := range rows(consent.Escape(s.q.Intro), 76) {
			fmt.Fprintf(b, "%s\n", row)
		}
	} else {
		fmt.Fprintf(b, "\n%s asks you something in the middle of a call. It says:\n", consent.Escape(s.q.Server))
	}
	if s.q.Message != "" {
		quote(b, "  ", s.q.Message)
	}
}

// quote writes another's text so that it does not pass for Cordon's.
func quote(b *strings.Builder, indent, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		for _, row := range rows(consent.Escape(line), 72) {
			fmt.Fprintf(b, "%s| %s\n", indent, row)
		}
	}
}

// decide asks until one of the words is typed, and not before ask could be read.
func (s *asking) decide(ask string, words ...string) (string, error) {
	for {
		text, after, err := s.line(ask)
		if err != nil {
			return "", err
		}
		word := strings.ToLower(strings.TrimSpace(text))
		if long, ok := map[string]string{"yes": "y", "no": "n"}[word]; ok {
			word = long
		}
		switch {
		case after < consent.Arming:
			ask = "That was typed before the question could be read; it does not count.\n" + lastLine(ask)
		case slices.Contains(words, word):
			return word, nil
		default:
			ask = lastLine(ask)
		}
	}
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

// page asks whether to open a page, and opens it.
func (s *asking) page() (elicit.Answer, error) {
	var b strings.Builder
	s.head(&b)
	if !s.q.SignIn {
		b.WriteString("It wants you to open a page. What you do there is between you and the page.\n")
	}
	fmt.Fprintf(&b, "  host     %s\n  address  %s\nOpen it in your browser? [y/n] ", consent.Escape(s.q.Host), consent.Escape(s.q.URL))
	word, err := s.decide(b.String(), "y", "n")
	if err != nil {
		return elicit.Answer{}, err
	}
	if word == "n" {
		return elicit.Answer{Action: elicit.Decline}, nil
	}
	if err := openPage(s.q); err != nil {
		return elicit.Answer{}, err
	}
	return elicit.Answer{Action: elicit.Accept}, nil
}

// form lets the person fill in the fields, look at all of them, and decide.
func (s *asking) form() (elicit.Answer, error) {
	var b strings.Builder
	s.head(&b)
	if len(s.q.Fields) > 0 {
		fmt.Fprintf(&b, "It wants to know: %s\n", strings.Join(names(s.q.Fields), ", "))
		word, err := s.decide(b.String()+"Fill it in? y, or n to decline: ", "y", "n")
		if err != nil || word == "n" {
			return elicit.Answer{Action: elicit.Decline}, err
		}
		b.Reset()
		b.WriteString("Nothing is sent before you have seen all of it and said yes. Enter takes what is in [brackets], a single - leaves a field out,\n\"text in quotes\" is JSON. Ctrl-C cancels the call.\n")
	}
	values := map[string]jsontext.Value{}
	for {
		for _, f := range s.q.Fields {
			if err := s.field(&b, f, values); err != nil {
				return elicit.Answer{}, err
			}
		}
		a := elicit.Answer{Action: elicit.Accept, Values: values}
		if err := s.e.check(s.q, a); err != nil { // each field has passed before
			fmt.Fprintf(&b, "  That cannot be sent: %s\n", consent.Escape(err.Error()))
			continue
		}
		if s.q.Intro != "" {
			word, err := s.decide(b.String()+s.q.Yes+"? y, or n to decline: ", "y", "n")
			if err != nil || word == "n" {
				return elicit.Answer{Action: elicit.Decline}, err
			}
			return a, nil
		}
		fmt.Fprintf(&b, "\n%s would get:\n", consent.Escape(s.q.Server))
		for _, f := range s.q.Fields {
			if v, ok := values[f.Name]; ok {
				fmt.Fprintf(&b, "  %s = %s\n", consent.Escape(f.Name), consent.EscapeJSON(string(v)))
			} else {
				fmt.Fprintf(&b, "  %s is left out\n", consent.Escape(f.Name))
			}
		}
		ask, words := "Send this? y sends it, n declines: ", []string{"y", "n"}
		if len(s.q.Fields) == 0 {
			fmt.Fprintf(&b, "  that you agree, and nothing else\n")
		} else {
			ask, words = "Send this? y sends it, n declines, e fills it in again: ", append(words, "e")
		}
		word, err := s.decide(b.String()+ask, words...)
		switch {
		case err != nil:
			return elicit.Answer{}, err
		case word == "y":
			return a, nil
		case word == "n":
			return elicit.Answer{Action: elicit.Decline}, nil
		}
		b.Reset()
	}
}

func names(fields []elicit.Field) (all []string) {
	for _, f := range fields {
		all = append(all, consent.Escape(f.Name))
	}
	return all
}

// field asks for one field until it fits. b is what was not printed yet.
func (s *asking) field(b *strings.Builder, f elicit.Field, values map[string]jsontext.Value) error {
	proposed := f.Default
	if v, ok := values[f.Name]; ok { // filled in before
		proposed = v
	}
	explain(b, f)
	for {
		fmt.Fprintf(b, "  %s", consent.Escape(f.Name))
		if proposed != nil {
			fmt.Fprintf(b, " [%s]", consent.EscapeJSON(string(proposed)))
		}
		b.WriteString(": ")
		text, _, err := s.line(b.String())
		b.Reset()
		if err != nil {
			return err
		}
		text = strings.TrimSpace(text)
		v, err := valueOf(f, text)
		if text == "" {
			v, err = proposed, nil
		}
		answer := elicit.Answer{Action: elicit.Accept}
		if v != nil {
			answer.Values = map[string]jsontext.Value{f.Name: v}
		}
		if err == nil {
			err = s.e.check(elicit.Question{Server: s.q.Server, Kind: elicit.Form, Fields: []elicit.Field{f}}, answer)
		}
		if err == nil {
			delete(values, f.Name)
			if v != nil {
				values[f.Name] = v
			}
			return nil
		}
		if field, ok := errors.AsType[*elicit.FieldError](err); ok {
			err = field.Err
		}
		fmt.Fprintf(b, "    not like this: %s\n", consent.Escape(err.Error()))
	}
}

// explain says what a field is.
func explain(b *strings.Builder, f elicit.Field) {
	about := []string{string(f.Type)}
	bound := func(text string, is bool) {
		if is {
			about = append(about, text)
		}
	}
	unit := map[elicit.FieldType]string{elicit.Text: "characters", elicit.Choices: "of them"}[f.Type]
	bound("in the form of "+f.Format, f.Format != "")
	bound(fmt.Sprintf("at least %d %s", f.MinLength, unit), f.MinLength > 0 && unit != "")
	bound(fmt.Sprintf("at most %d %s", f.MaxLength, unit), f.MaxLength > 0 && unit != "")
	if f.Min != nil {
		about = append(about, fmt.Sprintf("from %v", *f.Min))
	}
	if f.Max != nil {
		about = append(about, fmt.Sprintf("to %v", *f.Max))
	}
	bound("has to be filled in", f.Required)
	bound("type y or n", f.Type == elicit.Boolean)
	bound("type a number of the list", f.Type == elicit.Choice)
	bound("type numbers of the list, or none", f.Type == elicit.Choices)
	fmt.Fprintf(b, "\n  %s: %s\n", consent.Escape(f.Name), strings.Join(about, ", "))
	for _, text := range []string{f.Title, f.Description} {
		if text != "" {
			quote(b, "    ", text)
		}
	}
	for i, o := range f.Options {
		fmt.Fprintf(b, "    %d  %s", i+1, consent.Escape(o.Value))
		if o.Title != o.Value {
			fmt.Fprintf(b, "  (%s)", consent.Escape(o.Title))
		}
		b.WriteByte('\n')
	}
}

// valueOf is what a typed line means for a field; nil leaves it out.
func valueOf(f elicit.Field, line string) (jsontext.Value, error) {
	if line == "-" || line == "" {
		return nil, nil
	}
	switch f.Type {
	case elicit.Number, elicit.Integer:
		if v := jsontext.Value(line); v.Kind() == '0' && v.IsValid() {
			return v, nil
		}
		return nil, errors.New("it is not a number")
	case elicit.Boolean:
		switch strings.ToLower(line) {
		case "y", "yes", "true":
			return jsontext.Value("true"), nil
		case "n", "no", "false":
			return jsontext.Value("false"), nil
		}
		return nil, errors.New("it is neither yes nor no")
	case elicit.Choice:
		chosen, err := choose(f, line)
		if err != nil || len(chosen) != 1 {
			return nil, errors.New("type one number of the list")
		}
		return json.Marshal(chosen[0])
	case elicit.Choices:
		if line == "none" {
			return jsontext.Value("[]"), nil
		}
		chosen, err := choose(f, line)
		if err != nil {
			return nil, err
		}
		return json.Marshal(chosen)
	}
	if quoted := jsontext.Value(line); quoted.Kind() == '"' && quoted.IsValid() {
		return quoted, nil
	}
	return json.Marshal(line)
}

func choose(f elicit.Field, line string) (chosen []string, err error) {
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' }) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > len(f.Options) {
			return nil, fmt.Errorf("%q is no number of the list", word)
		}
		chosen = append(chosen, f.Options[n-1].Value)
	}
	return chosen, nil
}
