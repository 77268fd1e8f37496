package tool

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Header is a value of a call that a remote server wants to see in a header of the request too (MCP 2026-07-28, Streamable HTTP,
// "Custom Headers from Tool Parameters").
type Header struct {
	Name string   // without Mcp-Param-
	Path []string // of the argument, keys of objects in each other
}

const (
	headerKey     = "x-mcp-header"
	maxHeaders    = 32
	maxHeaderName = 64      // bytes
	maxHeaderText = 4 << 10 // bytes of a value
	safeInteger   = 1<<53 - 1
)

// Keywords of JSON Schema that hold a schema, a list of them, or schemas by name.
var (
	schemaKeys  = []string{"items", "prefixItems", "additionalItems", "contains", "oneOf", "anyOf", "allOf", "not", "if", "then", "else", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "propertyNames", "contentSchema"}
	schemasKeys = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)

// Headers returns the headers that an input schema asks for, by name, or what is wrong with one of them.
func Headers(schema jsontext.Value) ([]Header, error) {
	if !bytes.Contains(schema, []byte("mcp-header")) && !bytes.Contains(schema, []byte(`\u`)) {
		return nil, nil
	}
	var root any
	if err := json.Unmarshal(schema, &root); err != nil {
		return nil, err
	}
	var all []Header
	if err := headersIn(root, nil, true, &all); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// headersIn walks a schema. plain: it is reached through properties alone.
func headersIn(node any, path []string, plain bool, all *[]Header) error {
	if list, ok := node.([]any); ok {
		for _, n := range list {
			if err := headersIn(n, nil, false, all); err != nil {
				return err
			}
		}
		return nil
	}
	schema, ok := node.(map[string]any)
	if !ok {
		return nil
	}
	if v, ok := schema[headerKey]; ok {
		h, err := header(v, schema["type"], path, plain)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(*all, func(o Header) bool { return strings.EqualFold(o.Name, h.Name) }) {
			return fmt.Errorf("two of its arguments want the header %s", h.Name)
		}
		if *all = append(*all, h); len(*all) > maxHeaders {
			return fmt.Errorf("it wants more than %d headers", maxHeaders)
		}
	}
	for key, v := range schema {
		switch {
		case slices.Contains(schemaKeys, key):
			if err := headersIn(v, nil, false, all); err != nil {
				return err
			}
		case slices.Contains(schemasKeys, key):
			named, _ := v.(map[string]any)
			for name, n := range named {
				if err := headersIn(n, append(slices.Clone(path), name), plain && key == "properties", all); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func header(name, kind any, path []string, plain bool) (Header, error) {
	text, ok := name.(string)
	switch {
	case !ok || text == "" || len(text) > maxHeaderName || strings.ContainsFunc(text, func(r rune) bool { return !isTokenChar(r) }):
		return Header{}, errors.New("it wants a header whose name is none")
	case !plain || len(path) == 0:
		return Header{}, fmt.Errorf("it wants the header %s from a place where no argument stands for certain", text)
	case kind != "string" && kind != "integer" && kind != "boolean":
		return Header{}, fmt.Errorf("it wants the header %s from something that is neither text nor a whole number nor true or false", text)
	}
	return Header{Name: text, Path: path}, nil
}

// isTokenChar knows the characters of a header's name (RFC 9110, 5.6.2).
func isTokenChar(r rune) bool {
	return r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

// Value returns what the header of a call with these arguments says, or false if it has none.
func (h Header) Value(args jsontext.Value) (string, bool) {
	v := args
	for _, key := range h.Path {
		var object map[string]jsontext.Value
		if v.Kind() != '{' || json.Unmarshal(v, &object) != nil {
			return "", false
		}
		v = object[key]
	}
	text := ""
	switch v.Kind() {
	case '"':
		if json.Unmarshal(v, &text) != nil {
			return "", false
		}
	case 't', 'f':
		text = string(v)
	case '0':
		n, err := strconv.ParseFloat(string(v), 64)
		if err != nil || n != float64(int64(n)) || n > safeInteger || n < -safeInteger {
			return "", false
		}
		text = strconv.FormatInt(int64(n), 10)
	default:
		return "", false
	}
	if len(text) > maxHeaderText {
		return "", false
	}
	return HeaderText(text), true
}

// HeaderText writes text as the value of a header: as it is, or in Base64 with marks around it.
func HeaderText(text string) string {
	const before, after = "=?base64?", "?="
	plain := strings.TrimSpace(text) == text && !(strings.HasPrefix(text, before) && strings.HasSuffix(text, after))
	for i := range len(text) {
		plain = plain && (text[i] >= 0x20 && text[i] <= 0x7e || text[i] == '\t')
	}
	if plain {
		return text
	}
	return before + base64.StdEncoding.EncodeToString([]byte(text)) + after
}
