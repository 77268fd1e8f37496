package app

import (
	"errors"
	"strings"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/secret"
)

// Models: which are defined, their keys, and which may be asked. See modelview.go.

// Models returns the models in the order in which they were defined. While the configuration cannot be read they are not known, which is an error.
func (a *App) Models() (ModelsView, error) {
	for _, err := range a.host.Problems() {
		var broken *config.Error
		if errors.As(err, &broken) {
			return ModelsView{Models: []ModelView{}}, err
		}
	}
	conf := a.host.Config()
	v := ModelsView{Models: make([]ModelView, 0, len(conf.Models)), LocalOnly: conf.LocalModels}
	for _, m := range conf.Models {
		v.Models = append(v.Models, modelView(m))
	}
	return v, nil
}

// SetModel defines a model, or changes the one of that name. Local, HasKey and KeyName follow from the rest and are not read.
func (a *App) SetModel(v ModelView) error {
	def := config.Model{Name: v.Name, Kind: v.Kind, URL: strings.TrimSpace(v.URL), Model: v.Model, KeyHeader: v.Header, Images: v.Images, Reasoning: v.Reasons, Context: v.Context, MaxOutput: v.Output, Price: config.Price(v.Prices)}
	if !strings.HasSuffix(def.URL, "/") {
		def.URL += "/"
	}
	const means = "Nothing was changed."
	if err := def.Validate(); err != nil { // before the host takes a key from the keyring that the definition would no longer need
		return modelFailure(err, means)
	}
	return modelFailure(a.host.SetModel(def), means)
}

// SetModelKey stores the key of a model's service in the keyring, for all models there. It does not come back to the page.
func (a *App) SetModelKey(n NewModelKey) error {
	key := strings.TrimSpace(n.Value)
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if key == "" || len(key) > secret.MaxBytes || strings.ContainsFunc(key, odd) {
		return &Failure{"CRD-MDL-05", "That is no key.", "Nothing was stored.", "A key is one word of letters, digits and signs, as the service shows it."}
	}
	return modelFailure(a.host.SetModelKey(a.ctx, n.Name, secret.NewValue(key)), "The key was not stored.")
}

// RemoveModel forgets a model, and the key of its service with the last model there. One that a server may have asked stays.
func (a *App) RemoveModel(name string) error {
	const means = "Nothing was removed."
	for _, s := range a.host.Config().Servers {
		if s.Sampling == name && name != "" {
			return &Failure{"CRD-MDL-04", "The server " + s.Name + " may have " + name + " asked.", means, "Take that from it first, in a terminal, while Cordon is closed: cordon servers sampling " + s.Name + " --undo"}
		}
	}
	return modelFailure(a.host.RemoveModel(a.ctx, name), means)
}

// FindModels asks the usual ports of this computer which models are there. Nothing is defined by that, and nobody else is asked.
func (a *App) FindModels() ([]FoundModel, error) {
	return foundModels(llm.Find(a.ctx, llm.Places)), nil
}

// SetLocalModels allows only models on this computer, or all that are defined.
func (a *App) SetLocalModels(only bool) error {
	return modelFailure(a.host.SetLocalModels(only), "Nothing was changed.")
}

func modelView(m config.Model) ModelView {
	return ModelView{Name: m.Name, Kind: m.Kind, URL: m.URL, Model: m.Model, Local: m.Local(), HasKey: m.HasKey, KeyName: m.Key().Name, Header: m.KeyHeader, Images: m.Images, Reasons: m.Reasoning, Context: m.Context, Output: m.MaxOutput, Prices: PriceView(m.Price)}
}

func foundModels(all []llm.Found) []FoundModel {
	out := make([]FoundModel, 0, len(all))
	for _, f := range all {
		out = append(out, FoundModel(f))
	}
	return out
}

// modelFields are what the page calls the parts of a definition.
var modelFields = map[string]string{"url": "address", "model": "what it is called there", "keyHeader": "header", "maxOutput": "most it may write", "price.input": "price of reading", "price.cached": "price of what is cached", "price.output": "price of writing"}

// modelFailure is FailureOf for what was wanted of a model, and nil for nil. means says what did not happen.
func modelFailure(err error, means string) error {
	if err == nil {
		return nil
	}
	f := FailureOf(err)
	var wrong *config.Error
	switch {
	case errors.Is(err, host.ErrNoModel):
		f.Code, f.Fix = "CRD-MDL-01", "Look at the list again."
	case errors.As(err, &wrong) && wrong.File == "" && wrong.Server == "":
		field := wrong.Field[strings.LastIndexByte(wrong.Field, ']')+1:] // of models[0].url too
		field = strings.TrimPrefix(field, ".")
		f.Code, f.Fix = "CRD-MDL-02", "Correct it and save again."
		if field == "url" {
			f.Code, f.Fix = "CRD-MDL-03", "Write the address below which the service's paths begin, such as https://llm.example.org/v1/; http only with this computer."
		}
		if words, ok := modelFields[field]; ok {
			field = words
		}
		f.What = field + ": " + wrong.Problem
	case errors.Is(err, secret.ErrAbsent):
		f.Code, f.Fix = "CRD-MDL-06", "Start a keyring, or choose under Settings, Secrets to keep secrets until Cordon closes."
	case errors.Is(err, secret.ErrLocked):
		f.Code, f.Fix = "CRD-MDL-07", "Unlock the keyring and try again."
	default:
		if f.Means != "" { // it has words of its own
			return &f
		}
	}
	f.Means = means
	return &f
}
