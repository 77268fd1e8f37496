package config

import (
	"errors"
	"testing"
)

func TestModels(t *testing.T) {
	good := Model{Name: "claude", Kind: ModelAnthropic, URL: "https://api.anthropic.com/", Model: "claude-sonnet-4-6"}
	for name, c := range map[string]struct {
		change func(*Model)
		field  string // that is wrong, "" for none
	}{
		"good":            {func(*Model) {}, ""},
		"local":           {func(m *Model) { m.Kind, m.URL, m.Model = ModelOpenAI, "http://127.0.0.1:11434/v1/", "qwen3:8b" }, ""},
		"azure":           {func(m *Model) { m.Kind, m.URL = ModelOpenAI, "https://x.openai.azure.com/openai/v1/" }, ""},
		"own header":      {func(m *Model) { m.KeyHeader = "Api-Key" }, ""},
		"name":            {func(m *Model) { m.Name = "a b" }, "name"},
		"kind":            {func(m *Model) { m.Kind = "gemini" }, "kind"},
		"http":            {func(m *Model) { m.URL = "http://api.example.org/v1/" }, "url"},
		"password":        {func(m *Model) { m.URL = "https://me:pw@api.example.org/v1/" }, "url"},
		"query":           {func(m *Model) { m.URL = "https://api.example.org/v1/?key=1" }, "url"},
		"dotted İ":        {func(m *Model) { m.URL = "https://api.anthrop%C4%B0c.com/" }, "url"},
		"umlaut":          {func(m *Model) { m.URL = "https://münchen.example/" }, "url"},
		"no slash":        {func(m *Model) { m.URL = "https://api.example.org/v1" }, "url"},
		"file":            {func(m *Model) { m.URL = "file:///etc/passwd" }, "url"},
		"model":           {func(m *Model) { m.Model = "a\nb" }, "model"},
		"cookie":          {func(m *Model) { m.KeyHeader = "Cookie" }, "keyHeader"},
		"context":         {func(m *Model) { m.Context = -1 }, "context"},
		"output":          {func(m *Model) { m.MaxOutput = 1 << 30 }, "maxOutput"},
		"price":           {func(m *Model) { m.Price.Output = -1 }, "price.output"},
		"local lookalike": {func(m *Model) { m.URL = "http://localhost.example.org/v1/" }, "url"},
	} {
		m := good
		c.change(&m)
		err := m.Validate()
		e, ok := errors.AsType[*Error](err)
		if (err != nil) != (c.field != "") || ok && e.Field != c.field {
			t.Errorf("%s: %v; want field %q", name, err, c.field)
		}
	}
}

// TestModelKeysStayWhereTheyBelong: a key is kept for a place, not for a name that a file gives to a place.
func TestModelKeysStayWhereTheyBelong(t *testing.T) {
	a := Model{Name: "m", URL: "https://api.example.org/v1/"}
	for _, same := range []string{"https://api.example.org/v2/", "https://API.example.org/v1/"} {
		if b := (Model{Name: "other", URL: same}); b.Key() != a.Key() {
			t.Errorf("%s has another key", same)
		}
	}
	for _, other := range []string{"https://api.example.com/v1/", "https://api.example.org:8443/v1/", "http://localhost/v1/"} {
		if b := (Model{Name: "m", URL: other}); b.Key() == a.Key() {
			t.Errorf("%s has the same key", other)
		}
	}
}

func TestKeyHeader(t *testing.T) {
	for want, m := range map[string]Model{
		"X-Api-Key":     {Kind: ModelAnthropic, URL: "https://api.anthropic.com/"},
		"Authorization": {Kind: ModelOpenAI, URL: "https://api.openai.com/v1/"},
		"Api-Key":       {Kind: ModelOpenAI, URL: "https://x.openai.azure.com/openai/v1/"},
	} {
		if got := m.KeyIn(); got != want {
			t.Errorf("%s: %s, want %s", m.URL, got, want)
		}
	}
}
