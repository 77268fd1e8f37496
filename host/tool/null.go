package tool

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// WithoutNulls leaves out the arguments that are null where the schema neither takes null nor needs them: models write them so instead
// of leaving them out. args is a canonical object, and so is what is returned; false means that nothing was left out.
func WithoutNulls(schema jsontext.Value, args []byte) ([]byte, bool) {
	var of struct {
		Properties map[string]struct {
			Type jsontext.Value `json:"type"`
		} `json:"properties"`
		Required []string `json:"required"`
	}
	var given map[string]jsontext.Value
	if json.Unmarshal(schema, &of) != nil || json.Unmarshal(args, &given) != nil {
		return args, false
	}
	left := false
	for name, v := range given {
		kind := of.Properties[name].Type
		if v.Kind() == 'n' && kind.Kind() == '"' && string(kind) != `"null"` && !slices.Contains(of.Required, name) {
			delete(given, name)
			left = true
		}
	}
	if !left {
		return args, false
	}
	text, err := json.Marshal(given)
	if err == nil {
		text, err = CanonicalObject(text, DefaultLimits())
	}
	if err != nil {
		return args, false
	}
	return text, true
}
