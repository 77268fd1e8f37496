// Package elicit holds what a server may ask a person in the middle of a call (MCP elicitation): a flat form, or a page to open. What a server
// sends is read against a list of what is allowed; whatever is not on it refuses the whole question. Nothing is ever filled in or
// opened by itself.
package elicit

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind is how a person answers.
type Kind string

// The kinds.
const (
	Form Kind = "form" // by filling in fields
	URL  Kind = "url"  // by opening a page in the browser, where the rest happens
)

// Question is what a server asks. All text in it is untrusted.
type Question struct {
	Server  string
	Call    string // id of the call that it belongs to, "" if that is not known
	Kind    Kind
	Message string
	Fields  []Field // of a form, those that have to be filled in first, then by name
	URL     string  // of a page
	Host    string  // of that page, as the browser will ask for it: punycode for anything but ASCII
	ID      string  // the server's own, of a page
	For     string  // what it is for, in Cordon's words, for the record; "" for what a server wants to know
	Intro   string  // what Cordon says of it and what yes does; "" for what a server wants to know. Then Message is only shown with it, and may be ""
	Yes     string  // what yes is called; "" for the usual word
	SignIn  bool    // the page is for signing in to the server, and Cordon asks
}

// Page is Cordon's own question to open a page on which one signs in to a server: https, or http on this computer. message is Cordon's.
func Page(server, message, address string) (Question, error) {
	q := Question{Server: server, Kind: URL, Message: message, URL: address, ID: "sign-in", SignIn: true}
	at := address
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" {
		if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && a.IsLoopback() {
			at = "https" + strings.TrimPrefix(address, "http")
		}
	}
	var err error
	q.Host, err = host(at)
	return q, err
}

// FieldType is what a field holds.
type FieldType string

// The types.
const (
	Text    FieldType = "text"
	Number  FieldType = "number"
	Integer FieldType = "integer"
	Boolean FieldType = "boolean"
	Choice  FieldType = "choice"  // one of Options
	Choices FieldType = "choices" // some of Options
)

// Field is one field of a form.
type Field struct {
	Name, Title, Description string
	Type                     FieldType
	Required                 bool
	Format                   string         // of text: "", email, uri, date or date-time
	Options                  []Option       // of a choice
	Default                  jsontext.Value // of its type, or nil; shown, never sent unseen
	MinLength, MaxLength     int            // of text in characters, of choices in number; 0 is no bound
	Min, Max                 *float64       // of numbers; nil is no bound
}

// Option is one thing to choose.
type Option struct{ Value, Title string }

// Action is what a person does with a question.
type Action string

// The actions, as the protocol has them.
const (
	Accept  Action = "accept"
	Decline Action = "decline"
	Cancel  Action = "cancel"
)

// Answer is a person's. Values has a member for each field that was filled in; it is nil unless a form is accepted.
type Answer struct {
	Action Action
	Values map[string]jsontext.Value
}

// Bounds of a question.
const (
	maxMessage  = 4 << 10 // bytes
	maxSchema   = 32 << 10
	maxFields   = 32
	maxOptions  = 200
	maxName     = 64
	maxText     = 512
	maxURL      = 2048
	maxAnswer   = 16 << 10 // bytes of one value
	maxDecimals = 1e15
)

// ErrSecret means that a form asks for what no server is told: passwords, tokens, keys.
var ErrSecret = errors.New("it asks for a password, a token or a key; give it those as a secret under Settings if it needs them")

// secretRE finds what a field is called that wants a secret.
var secretRE = regexp.MustCompile(`(?i)pass(word|wd|phrase|code)|\bpwd\b|secret|token|credential|api[ _-]?key|private[ _-]?key|access[ _-]?key|\bpin\b|\botp\b|\bmfa\b|\b2fa\b|\bcvv\b|\bcvc\b|security[ _-]?code|one[ _-]?time|(seed|recovery)[ _-]?(phrase|code|key)|verification[ _-]?code`)

// warningRE finds what a description warns of: "do not give us your pin". It is a sign and no more, as secretRE is; a field's name and title are always judged.
var warningRE = regexp.MustCompile(`(?i)\b(do not|don't|never) (give|enter|send|share|include|provide|type)\b[^.;:!?()\n]{0,100}`)

// camelRE splits names such as apiKey.
var camelRE = regexp.MustCompile(`([a-z0-9])([A-Z])`)

func asksForSecret(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return secretRE.MatchString(w) || secretRE.MatchString(strings.ReplaceAll(camelRE.ReplaceAllString(w, "$1 $2"), "_", " "))
	})
}

// Parse reads the params of elicitation/create. server is asked in the name of. The error says what is not allowed, in words that may quote the
// server.
func Parse(server string, params jsontext.Value) (Question, error) {
	var p struct {
		Mode    string         `json:"mode"`
		Message *string        `json:"message"`
		Schema  jsontext.Value `json:"requestedSchema"`
		URL     string         `json:"url"`
		ID      string         `json:"elicitationId"`
		Meta    jsontext.Value `json:"_meta"`
		Task    jsontext.Value `json:"task"`
	}
	if len(params) > maxSchema+maxMessage+maxURL {
		return Question{}, fmt.Errorf("its question has %d bytes", len(params))
	}
	if err := json.Unmarshal(params, &p, json.RejectUnknownMembers(true)); err != nil {
		return Question{}, errors.New("its question is malformed")
	}
	q := Question{Server: server, Kind: Kind(p.Mode), URL: p.URL, ID: p.ID}
	if q.Kind == "" {
		q.Kind = Form
	}
	switch {
	case p.Task != nil:
		return Question{}, errors.New("it wants its question answered as a task")
	case p.Message == nil || strings.TrimSpace(*p.Message) == "" || len(*p.Message) > maxMessage:
		return Question{}, fmt.Errorf("its question has no text of at most %d bytes", maxMessage)
	case q.Kind == Form && (p.URL != "" || p.Schema == nil):
		return Question{}, errors.New("its form has no fields, or has an address besides")
	case q.Kind == URL && (p.Schema != nil || len(p.ID) > maxName*2): // from 2026-07-28 on it has no id
		return Question{}, errors.New("its page has fields, or a very long id")
	case q.Kind != Form && q.Kind != URL:
		return Question{}, fmt.Errorf("it asks in the unknown mode %.20q", p.Mode)
	}
	q.Message = *p.Message
	var err error
	if q.Kind == URL {
		q.Host, err = host(p.URL)
		return q, err
	}
	if q.Fields, err = fields(p.Schema); err != nil {
		return q, err
	}
	if wordsRE.MatchString(q.Message) && slices.ContainsFunc(q.Fields, func(f Field) bool { return f.Type == Text }) {
		return q, ErrSecret
	}
	return q, nil
}

// wordsRE finds a question for a secret in what is said above a form that takes text.
var wordsRE = regexp.MustCompile(`(?i)\bpass(word|phrase|code)\b|private[ -]key|(seed|recovery) (phrase|code|key)|(one-time|verification) code`)

// hostRE is what the part of an address between the slashes may be.
var hostRE = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// host returns the host of an address that may be opened: https, no password in it, nothing that is hard to see.
func host(address string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || len(address) > maxURL || u.Scheme != "https" || u.Hostname() == "":
		return "", fmt.Errorf("its page is not an https address of at most %d bytes", maxURL)
	case u.User != nil:
		return "", errors.New("its page's address holds a name or password before the host")
	case !hostRE.MatchString(u.Host): // an escape in it would be another letter for the browser
		return "", errors.New("its page's host is not written in plain letters, digits, dots and hyphens")
	case strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("its page's address holds characters other than plain ASCII") // punycode shows what they are
	}
	return u.Hostname(), nil
}

// fields reads a schema: an object of primitive properties and nothing else, no references.
func fields(schema jsontext.Value) ([]Field, error) {
	var s struct {
		Schema      string                    `json:"$schema"`
		Type        string                    `json:"type"`
		Title       string                    `json:"title"`
		Description string                    `json:"description"`
		Properties  map[string]jsontext.Value `json:"properties"`
		Required    []string                  `json:"required"`
		Additional  *bool                     `json:"additionalProperties"`
	}
	if len(schema) > maxSchema {
		return nil, fmt.Errorf("its form has %d bytes, at most %d are allowed", len(schema), maxSchema)
	}
	if err := json.Unmarshal(schema, &s, json.RejectUnknownMembers(true)); err != nil || s.Type != "object" {
		return nil, errors.New("its form is not a flat list of fields")
	}
	if len(s.Properties) > maxFields {
		return nil, fmt.Errorf("its form has %d fields, at most %d are allowed", len(s.Properties), maxFields)
	}
	var all []Field
	for name, raw := range s.Properties {
		f, err := field(name, raw)
		if err != nil {
			return nil, fmt.Errorf("field %.64q: %w", name, err)
		}
		f.Required = slices.Contains(s.Required, name)
		all = append(all, f)
	}
	for _, name := range s.Required {
		if _, ok := s.Properties[name]; !ok {
			return nil, fmt.Errorf("its form demands the field %.64q, which it does not have", name)
		}
	}
	slices.SortFunc(all, func(a, b Field) int {
		if a.Required != b.Required { // what has to be filled in comes first
			return map[bool]int{true: -1, false: 1}[a.Required]
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

// property is what a field's schema may say.
type property struct {
	Type        string         `json:"type"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Default     jsontext.Value `json:"default"`
	Format      string         `json:"format"`
	MinLength   *int           `json:"minLength"`
	MaxLength   *int           `json:"maxLength"`
	Minimum     *float64       `json:"minimum"`
	Maximum     *float64       `json:"maximum"`
	Enum        []string       `json:"enum"`
	EnumNames   []string       `json:"enumNames"`
	OneOf       []constant     `json:"oneOf"`
	MinItems    *int           `json:"minItems"`
	MaxItems    *int           `json:"maxItems"`
	Items       *items         `json:"items"`
}

type items struct {
	Type  string     `json:"type"`
	Enum  []string   `json:"enum"`
	AnyOf []constant `json:"anyOf"`
	OneOf []constant `json:"oneOf"`
}

type constant struct {
	Const *string `json:"const"`
	Title string  `json:"title"`
}

func field(name string, raw jsontext.Value) (Field, error) {
	var p property
	if err := json.Unmarshal(raw, &p, json.RejectUnknownMembers(true)); err != nil {
		return Field{}, errors.New("it is more than a simple value")
	}
	f := Field{Name: name, Title: p.Title, Description: p.Description, Min: p.Minimum, Max: p.Maximum}
	switch {
	case name == "" || len(name) > maxName || !seen(name) || slices.Contains(inherited, name):
		return f, errors.New("its name is empty, long, of the window's own or cannot be seen")
	case !seen(p.Title) || !seen(strings.ReplaceAll(p.Description, "\n", " ")):
		return f, errors.New("its description holds characters that cannot be seen")
	case len(p.Title) > maxText || len(p.Description) > 4*maxText:
		return f, errors.New("its description is too long")
	case asksForSecret(name, p.Title, warningRE.ReplaceAllString(p.Description, "")) || strings.EqualFold(p.Format, "password"):
		return f, ErrSecret
	}
	var err error
	switch p.Type {
	case "string":
		f.Type, f.Format = Text, p.Format
		if !slices.Contains([]string{"", "email", "uri", "date", "date-time"}, p.Format) {
			return f, fmt.Errorf("its format %.20q is unknown", p.Format)
		}
		if f.Options, err = options(p.Enum, p.EnumNames, p.OneOf); err != nil {
			return f, err
		}
		if f.Options != nil {
			f.Type = Choice
		}
		f.MinLength, f.MaxLength, err = lengths(p.MinLength, p.MaxLength)
	case "number", "integer":
		f.Type = FieldType(p.Type)
		if tooLarge(p.Minimum) || tooLarge(p.Maximum) || p.Minimum != nil && p.Maximum != nil && *p.Minimum > *p.Maximum {
			err = errors.New("its bounds cannot be kept")
		}
	case "boolean":
		f.Type = Boolean
	case "array":
		if p.Items == nil || p.Items.Type != "" && p.Items.Type != "string" {
			return f, errors.New("it is a list of other than things to choose")
		}
		f.Type = Choices
		if f.Options, err = options(p.Items.Enum, nil, slices.Concat(p.Items.AnyOf, p.Items.OneOf)); err == nil && f.Options == nil {
			err = errors.New("it has nothing to choose")
		}
		if err == nil {
			f.MinLength, f.MaxLength, err = lengths(p.MinItems, p.MaxItems)
		}
	default:
		err = errors.New("it is of no simple type")
	}
	if err != nil {
		return f, err
	}
	if p.Default != nil {
		if err := f.check(p.Default); err != nil {
			return f, fmt.Errorf("what it is filled in with does not fit: %w", err)
		}
		var text string
		if f.Type == Text && json.Unmarshal(p.Default, &text) == nil && !seen(text) {
			return f, errors.New("what it is filled in with holds characters that cannot be seen")
		}
		f.Default = p.Default.Clone()
	}
	return f, nil
}

// inherited are names that mean something else to the window.
var inherited = []string{"__proto__", "constructor", "prototype", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
	"__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"}

// seen reports whether text shows itself whole.
func seen(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

func tooLarge(n *float64) bool { return n != nil && !(*n >= -maxDecimals && *n <= maxDecimals) }

func lengths(least, most *int) (a, b int, err error) {
	if least != nil {
		a = *least
	}
	if most != nil {
		b = *most
	}
	if a < 0 || most != nil && (b < a || b < 1) || a > maxAnswer {
		return 0, 0, errors.New("its bounds cannot be kept")
	}
	return a, b, nil
}

func options(values, names []string, constants []constant) (all []Option, err error) {
	if len(values) > 0 && len(constants) > 0 || len(names) > 0 && len(names) != len(values) {
		return nil, errors.New("what can be chosen is said twice, or in part")
	}
	for i, v := range values {
		o := Option{v, v}
		if len(names) > 0 {
			o.Title = names[i]
		}
		all = append(all, o)
	}
	for _, c := range constants {
		if c.Const == nil {
			return nil, errors.New("one of its choices has no value")
		}
		o := Option{*c.Const, c.Title}
		if o.Title == "" {
			o.Title = o.Value
		}
		all = append(all, o)
	}
	there := map[string]bool{}
	for _, o := range all {
		if len(o.Value) > maxText || len(o.Title) > maxText || !seen(o.Value) || !seen(o.Title) || there[o.Value] {
			return nil, errors.New("one of its choices is too long, cannot be seen, or is there twice")
		}
		there[o.Value] = true
	}
	if len(all) > maxOptions {
		return nil, fmt.Errorf("it has %d choices, at most %d are allowed", len(all), maxOptions)
	}
	return all, nil
}

// Check reports the first thing that is wrong with an answer to q.
func (q Question) Check(a Answer) error {
	switch a.Action {
	case Decline, Cancel:
		if len(a.Values) > 0 {
			return errors.New("a refusal sends nothing")
		}
		return nil
	case Accept:
	default:
		return fmt.Errorf("%q is no answer", a.Action)
	}
	known := map[string]bool{}
	for _, f := range q.Fields {
		known[f.Name] = true
		v, given := a.Values[f.Name]
		if !given {
			if f.Required {
				return &FieldError{f.Name, errors.New("it has to be filled in")}
			}
			continue
		}
		if err := f.check(v); err != nil {
			return &FieldError{f.Name, err}
		}
	}
	for name := range a.Values {
		if !known[name] {
			return &FieldError{name, errors.New("the form has no such field")}
		}
	}
	return nil
}

// FieldError says what is wrong with the answer in one field.
type FieldError struct {
	Field string
	Err   error
}

// Error names the field.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *FieldError) Unwrap() error { return e.Err }

// check reports why a value does not fit.
func (f Field) check(v jsontext.Value) error {
	if len(v) > maxAnswer {
		return fmt.Errorf("it is longer than %d bytes", maxAnswer)
	}
	switch f.Type {
	case Text, Choice:
		var s string
		if v.Kind() != '"' || json.Unmarshal(v, &s) != nil {
			return errors.New("it is not text")
		}
		if f.Type == Choice {
			return f.offers(s)
		}
		return f.text(s)
	case Number, Integer:
		var n float64
		if v.Kind() != '0' || json.Unmarshal(v, &n) != nil || tooLarge(&n) {
			return errors.New("it is not a number")
		}
		switch {
		case f.Type == Integer && n != float64(int64(n)):
			return errors.New("it is not a whole number")
		case f.Min != nil && n < *f.Min:
			return fmt.Errorf("it is less than %v", *f.Min)
		case f.Max != nil && n > *f.Max:
			return fmt.Errorf("it is more than %v", *f.Max)
		}
	case Boolean:
		if k := v.Kind(); k != 't' && k != 'f' {
			return errors.New("it is neither yes nor no")
		}
	case Choices:
		var all []string
		if v.Kind() != '[' || json.Unmarshal(v, &all) != nil {
			return errors.New("it is no list of choices")
		}
		for i, s := range all {
			if slices.Contains(all[:i], s) {
				return errors.New("something is chosen twice")
			}
			if err := f.offers(s); err != nil {
				return err
			}
		}
		switch {
		case len(all) < f.MinLength:
			return fmt.Errorf("choose at least %d", f.MinLength)
		case f.MaxLength > 0 && len(all) > f.MaxLength:
			return fmt.Errorf("choose at most %d", f.MaxLength)
		}
	}
	return nil
}

func (f Field) offers(s string) error {
	if !slices.ContainsFunc(f.Options, func(o Option) bool { return o.Value == s }) {
		return errors.New("it is none of the choices")
	}
	return nil
}

// formats of text; the person's answer is checked roughly, the server may look closer.
var formats = map[string]*regexp.Regexp{
	"email":     regexp.MustCompile(`^[^\s@]+@[^\s@]+$`),
	"uri":       regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:\S+$`),
	"date":      regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`),
	"date-time": regexp.MustCompile(`^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$`),
}

func (f Field) text(s string) error {
	n := utf8.RuneCountInString(s)
	switch re := formats[f.Format]; {
	case n < f.MinLength:
		return fmt.Errorf("it needs at least %d characters", f.MinLength)
	case f.MaxLength > 0 && n > f.MaxLength:
		return fmt.Errorf("it takes at most %d characters", f.MaxLength)
	case re != nil && !re.MatchString(s):
		return fmt.Errorf("it is not of the form %s", f.Format)
	}
	return nil
}
