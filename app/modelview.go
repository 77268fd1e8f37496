package app

// What Settings and the chat are sent of models. See view.go.

// ModelView is a model that may be asked.
type ModelView struct {
	Name    string    `json:"name"`
	Kind    string    `json:"kind"` // anthropic, openai
	URL     string    `json:"url"`
	Model   string    `json:"model"`
	Local   bool      `json:"local"`
	HasKey  bool      `json:"hasKey"`
	KeyName string    `json:"keyName"` // under which the keyring keeps it
	Header  string    `json:"header"`  // "" for the usual one
	Images  bool      `json:"images"`
	Reasons bool      `json:"reasons"`
	Context int       `json:"context"`
	Output  int       `json:"output"`
	Prices  PriceView `json:"prices"`
}

// PriceView is what a million tokens cost, in dollars; all 0 if that is not known.
type PriceView struct {
	Input  float64 `json:"input"`
	Cached float64 `json:"cached"`
	Output float64 `json:"output"`
}

// FoundModel is a model that a program on this computer offers.
type FoundModel struct {
	Place string `json:"place"` // the program that usually listens there
	URL   string `json:"url"`
	Model string `json:"model"`
}

// ModelsView is all that Settings shows of models.
type ModelsView struct {
	Models    []ModelView `json:"models"`
	LocalOnly bool        `json:"localOnly"`
}

// NewModelKey is a key on its way to the keyring.
type NewModelKey struct {
	Name  string `json:"name"` // of a model at its place
	Value string `json:"value"`
}
