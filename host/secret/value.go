// Package secret keeps tokens in the operating system's keyring (Secret Service) and out of everything else.
// A secret travels inside the program as a Value, which prints as "[secret]" wherever it is printed, logged or
// encoded; it is bound to one server, and the keyring entry is named for that pair, so that editing a
// configuration file cannot carry a token to another server.
package secret

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// MaxBytes is the longest secret that is taken; it must fit an environment variable.
const MaxBytes = 64 << 10

const redacted = "[secret]"

// Value is a secret. Every way of printing or encoding it gives "[secret]"; Reveal is the only way out. The zero
// Value is empty. It is immutable and safe for concurrent use. It is not comparable by content.
type Value struct {
	_ [0]func() // forbids ==, which would compare addresses
	// A pointer, because fmt prints unexported fields of outer structs without calling methods: a pointer one
	// level down prints as an address.
	p *string
}

// NewValue wraps s. The caller should let go of s.
func NewValue(s string) Value { return Value{p: &s} }

// Reveal returns the secret itself. Callers hand it to the server it belongs to, and to nothing else.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// IsEmpty reports whether there is no secret inside.
func (v Value) IsEmpty() bool { return v.Reveal() == "" }

// String returns "[secret]".
func (Value) String() string { return redacted }

// GoString returns "[secret]".
func (Value) GoString() string { return redacted }

// Format writes "[secret]" for every verb and flag.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns "[secret]".
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns the JSON string "[secret]".
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns "[secret]".
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// check reports why v cannot be kept; the reason never quotes it.
func (v Value) check() error {
	s := v.Reveal()
	switch {
	case s == "":
		return fmt.Errorf("the secret is empty")
	case len(s) > MaxBytes:
		return fmt.Errorf("the secret has %d bytes, more than %d", len(s), MaxBytes)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("the secret holds a zero byte, which no environment variable can carry")
	case !utf8.ValidString(s):
		return fmt.Errorf("the secret is not UTF-8 text")
	}
	return nil
}

// Ref names a secret without holding it; it is what configuration files and the log contain.
type Ref struct {
	Name   string `json:"name"`   // what a person calls it
	Server string `json:"server"` // the only server that gets it; "" for Cordon itself
	Env    string `json:"env"`    // environment variable in which the server finds it
}

// account is the entry's name in the keyring. Server keys hold no slash, so it is exact.
func (r Ref) account() string { return r.Server + "/" + r.Name }
