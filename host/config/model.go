package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"cordon/host/secret"
)

// Model is a language model that may be asked.
type Model struct {
	Name      string `json:"name"`               // what people call it
	Kind      string `json:"kind"`               // which wire format it speaks: ModelAnthropic or ModelOpenAI
	URL       string `json:"url"`                // of the service, below which its paths begin: https://api.openai.com/v1/
	Model     string `json:"model"`              // what the service calls it
	HasKey    bool   `json:"hasKey,omitzero"`    // a key for its place is in the keyring
	KeyHeader string `json:"keyHeader,omitzero"` // in which that travels; "" for the usual one of its kind
	Images    bool   `json:"images,omitzero"`    // it can look at images
	Reasoning bool   `json:"reasoning,omitzero"` // it is told to think first
	Context   int    `json:"context,omitzero"`   // tokens that it can read; 0 is not known
	MaxOutput int    `json:"maxOutput,omitzero"` // tokens that it may write; 0 leaves it to the service, or 16,384 where one has to be named
	Price     Price  `json:"price,omitzero"`
}

// Price is what a million tokens cost, in dollars. The zero value is not known.
type Price struct {
	Input  float64 `json:"input"`
	Cached float64 `json:"cached"` // read from the provider's cache
	Output float64 `json:"output"`
}

// Wire formats.
const (
	ModelAnthropic = "anthropic" // Messages
	ModelOpenAI    = "openai"    // Chat Completions
)

const (
	maxModels     = 128
	defaultOutput = 16384
	maxTokens     = 1 << 24
)

var modelRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`)

// keyHeaders are those in which services look for a key.
var keyHeaders = []string{"Authorization", "X-Api-Key", "Api-Key"}

// Model looks a model up by name.
func (c Config) Model(name string) (Model, bool) {
	i := slices.IndexFunc(c.Models, func(m Model) bool { return m.Name == name })
	if i < 0 {
		return Model{}, false
	}
	return c.Models[i], true
}

// KeyIn is the header in which the model's key travels.
func (m Model) KeyIn() string {
	u, err := url.Parse(m.URL)
	switch {
	case m.KeyHeader != "":
		return m.KeyHeader
	case m.Kind == ModelAnthropic:
		return "X-Api-Key"
	case err == nil && strings.HasSuffix(strings.ToLower(u.Hostname()), ".azure.com"):
		return "Api-Key"
	}
	return "Authorization"
}

// Output is how many tokens it may write, where that has to be said.
func (m Model) Output() int {
	if m.MaxOutput > 0 {
		return m.MaxOutput
	}
	return defaultOutput
}

// Local reports whether it runs on this computer.
func (m Model) Local() bool {
	u, err := url.Parse(m.URL)
	return err == nil && IsLocal(u)
}

// Host is the host name of its service.
func (m Model) Host() string {
	u, err := url.Parse(m.URL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// Key is where the key of the model's service is kept. All models at one place share it, and it is named for that place, so that editing a
// model's address cannot carry it elsewhere.
func (m Model) Key() secret.Ref {
	u, err := url.Parse(m.URL)
	if err != nil {
		return secret.Ref{}
	}
	return secret.Ref{Name: "model key for " + u.Scheme + "://" + strings.ToLower(u.Host)}
}

// Validate reports the first thing that is wrong, as an *Error.
func (m Model) Validate() error {
	fail := func(field, format string, args ...any) error {
		return &Error{Field: field, Problem: fmt.Sprintf(format, args...)}
	}
	if !nameRE.MatchString(m.Name) {
		return fail("name", "%q is not a name: %s", m.Name, nameRule)
	}
	if m.Kind != ModelAnthropic && m.Kind != ModelOpenAI {
		return fail("kind", "is %q; it has to be %s or %s", m.Kind, ModelAnthropic, ModelOpenAI)
	}
	u, err := url.Parse(m.URL)
	if err != nil || len(m.URL) > 2048 || !plain(m.URL) {
		return fail("url", "is not an address")
	}
	if err := CheckURL(u, true); err != nil {
		return fail("url", "%v", err)
	}
	switch {
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }):
		return fail("url", "has a host in letters other than a to z; write it as browsers send it (xn--)")
	case u.RawQuery != "" || u.ForceQuery:
		return fail("url", "must not have a part after ?")
	case u.String() != m.URL || !strings.HasSuffix(u.Path, "/"):
		at := *u
		at.Path, at.RawPath = strings.TrimSuffix(at.Path, "/")+"/", ""
		return fail("url", "has to be written %q", at.String())
	case !modelRE.MatchString(m.Model):
		return fail("model", "%q is not what a service calls a model", m.Model)
	case m.KeyHeader != "" && !slices.Contains(keyHeaders, m.KeyHeader):
		return fail("keyHeader", "is %q; it has to be one of %s", m.KeyHeader, strings.Join(keyHeaders, ", "))
	case m.Context < 0 || m.Context > maxTokens:
		return fail("context", "is not between 0 and %d", maxTokens)
	case m.MaxOutput < 0 || m.MaxOutput > maxTokens:
		return fail("maxOutput", "is not between 0 and %d", maxTokens)
	}
	for _, p := range []struct {
		field string
		price float64
	}{{"input", m.Price.Input}, {"cached", m.Price.Cached}, {"output", m.Price.Output}} {
		if !(p.price >= 0 && p.price <= 1e6) {
			return fail("price."+p.field, "is not between 0 and 1000000")
		}
	}
	return nil
}
