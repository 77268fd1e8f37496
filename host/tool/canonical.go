package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bounds what Canonical accepts. A zero field allows nothing, so that forgotten limits refuse.
type Limits struct {
	Bytes  int // length of the input
	Depth  int // nesting of objects and arrays; a bare scalar has depth 0
	Values int // objects, arrays, scalars and object keys together
}

// DefaultLimits returns the bounds for tool arguments: 1 MiB, 64 levels, 100,000 values.
func DefaultLimits() Limits { return Limits{Bytes: 1 << 20, Depth: 64, Values: 100_000} }

// maxExact is 2^53: from here on a float64 no longer holds every integer.
const maxExact = 1 << 53

// Canonical parses raw strictly and returns it in the canonical form of RFC 8785. It accepts exactly one JSON value
// in valid UTF-8, without duplicate keys or lone surrogates, within the limits. A number is refused when it
// overflows or underflows float64, or is 2^53 or more and would change its digits: RFC 8785 would alter such
// identifiers in silence. Errors name the byte offset, never the content. raw is not modified.
func Canonical(raw []byte, limits Limits) ([]byte, error) {
	if len(raw) > limits.Bytes {
		return nil, fmt.Errorf("JSON is %d bytes long, at most %d are allowed", len(raw), limits.Bytes)
	}
	if at := firstInvalid(raw); at >= 0 {
		return nil, fmt.Errorf("JSON at byte %d: not valid UTF-8", at)
	}
	if err := checkTokens(raw, limits); err != nil {
		return nil, err
	}
	v := jsontext.Value(bytes.Clone(raw))
	if err := v.Canonicalize(); err != nil {
		return nil, positioned(err)
	}
	return v, nil
}

// CanonicalObject is Canonical for input that must be a JSON object, as arguments and definitions are.
func CanonicalObject(raw []byte, limits Limits) ([]byte, error) {
	v, err := Canonical(raw, limits)
	if err != nil {
		return nil, err
	}
	if v[0] != '{' {
		return nil, errors.New("JSON at byte 0: must be an object")
	}
	return v, nil
}

func firstInvalid(raw []byte) int {
	if utf8.Valid(raw) {
		return -1
	}
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// checkTokens reads all tokens once, so that depth and count are bounded before anything is built.
func checkTokens(raw []byte, limits Limits) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	for values := 0; ; {
		tok, err := dec.ReadToken()
		if err != nil {
			return positioned(err)
		}
		at := dec.InputOffset()
		if dec.StackDepth() > limits.Depth {
			return fmt.Errorf("JSON at byte %d: nested deeper than %d levels", at, limits.Depth)
		}
		switch tok.Kind() {
		case jsontext.KindEndObject, jsontext.KindEndArray:
		default:
			values++
		}
		if values > limits.Values {
			return fmt.Errorf("JSON at byte %d: more than %d values", at, limits.Values)
		}
		if tok.Kind() == jsontext.KindNumber {
			lit := tok.String()
			if !survives(lit) {
				return fmt.Errorf("JSON at byte %d: this number cannot be sent exactly; write it as a string", at-int64(len(lit)))
			}
		}
		if dec.StackDepth() == 0 {
			break
		}
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return fmt.Errorf("JSON at byte %d: more than one value", dec.InputOffset())
	}
	return nil
}

// positioned keeps the offset of a syntax error and drops its text, which quotes the input.
func positioned(err error) error {
	what := "not valid JSON"
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		what = "duplicate key"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		what = "ends too early"
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("JSON at byte %d: %s", s.ByteOffset, what)
	}
	return fmt.Errorf("JSON: %s", what)
}

// survives reports whether a JSON number means the same after it has been through a float64.
func survives(lit string) bool {
	f, err := strconv.ParseFloat(lit, 64)
	if err != nil {
		return false // out of range
	}
	digits, exp, ok := decimal(lit)
	if !ok {
		return false
	}
	if f == 0 {
		return digits == ""
	}
	if -maxExact < f && f < maxExact {
		return true
	}
	d, e, _ := decimal(string(jsontext.AppendFloat(nil, f, 64)))
	return d == digits && e == exp
}

// decimal splits a JSON number into its significant digits and the power of ten of the last one. Zero has none.
func decimal(lit string) (digits string, exp int, ok bool) {
	lit = strings.TrimPrefix(lit, "-")
	if i := strings.IndexAny(lit, "eE"); i >= 0 {
		n, err := strconv.Atoi(lit[i+1:])
		if err != nil {
			return "", 0, strings.Trim(lit[:i], "0.") == ""
		}
		lit, exp = lit[:i], n
	}
	whole, frac, _ := strings.Cut(lit, ".")
	exp -= len(frac)
	digits = strings.TrimLeft(whole+frac, "0")
	trimmed := strings.TrimRight(digits, "0")
	exp += len(digits) - len(trimmed)
	if trimmed == "" {
		exp = 0
	}
	return trimmed, exp, true
}
