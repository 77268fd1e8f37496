package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cordon/host"
	"cordon/host/config"
	"cordon/host/consent"
	"cordon/host/llm"
	"cordon/host/secret"

	"github.com/spf13/cobra"
)

// providers are services of models and where they are asked. Those on this computer have their usual ports.
func providers() map[string]config.Model {
	all := map[string]config.Model{
		"anthropic": {Kind: config.ModelAnthropic, URL: "https://api.anthropic.com/"},
		"openai":    {Kind: config.ModelOpenAI, URL: "https://api.openai.com/v1/"},
	}
	for _, p := range llm.Places {
		all[placeName(p.Name)] = config.Model{Kind: config.ModelOpenAI, URL: p.URL()}
	}
	return all
}

func placeName(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

func providerNames() []string { return slices.Sorted(maps.Keys(providers())) }

// listedModel is a model as it is listed.
type listedModel struct {
	config.Model
	Local bool `json:"local"`
}

func modelsCommand(e *env) *cobra.Command {
	c := group(&cobra.Command{Use: "models", Short: "Define which language models may be asked, and with which keys"})
	c.AddCommand(addModelCommand(e), modelKeyCommand(e), listModelsCommand(e), findModelsCommand(e), askModelCommand(e), localModelsCommand(e), removeModelCommand(e))
	return c
}

func addModelCommand(e *env) *cobra.Command {
	var provider, format string
	var def config.Model
	c := &cobra.Command{Use: "add NAME", Short: "Define a model, or change one",
		Long: `Defines a model by where it is asked and what it is called there. --provider knows the usual places: ` + strings.Join(providerNames(), ", ") + `.
Any other is given with --url, and with --format: anthropic (Messages) or openai (Chat Completions), which most services and programs
understand, Azure's at https://NAME.openai.azure.com/openai/v1/ among them. Other computers are asked over https only.
Its key is entered with: cordon models key NAME`,
		Example: `  cordon models add sonnet --provider anthropic --model claude-sonnet-4-6 --images
  cordon models add qwen --provider ollama --model qwen3:8b
  cordon models add lab --url https://llm.corp.example/v1/ --format openai --model mistral-large`,
		Args: usage(cobra.ExactArgs(1)), RunE: func(c *cobra.Command, args []string) error {
			at, known := providers()[provider]
			switch {
			case provider != "" && !known:
				return usageError(c, "provider %q is not known; it has to be one of %s, or give --url and --format", provider, strings.Join(providerNames(), ", "))
			case provider == "" && (def.URL == "" || format == ""):
				return usageError(c, "say where it is: --provider, or --url and --format")
			case def.Model == "":
				return usageError(c, "say what it is called there: --model")
			case provider != "" && format != "" && format != at.Kind:
				return usageError(c, "--provider says the format already")
			}
			def.Name, def.Kind = args[0], format
			if known {
				def.Kind = at.Kind
			}
			if def.URL == "" {
				def.URL = at.URL
			}
			if !strings.HasSuffix(def.URL, "/") {
				def.URL += "/"
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := h.SetModel(def); err != nil {
				return err
			}
			return e.print(def, func(w io.Writer) {
				fmt.Fprintf(w, "%s is defined: %s at %s.\n", def.Name, def.Model, def.URL)
				if now, _ := h.Config().Model(def.Name); !now.HasKey && !def.Local() {
					fmt.Fprintf(w, "It has no key yet: cordon models key %s\n", def.Name)
				}
			})
		}}
	f := c.Flags()
	f.StringVar(&provider, "provider", "", "a place that is known: "+strings.Join(providerNames(), ", "))
	f.StringVar(&def.URL, "url", "", "address below which its paths begin")
	f.StringVar(&format, "format", "", "anthropic or openai")
	f.StringVar(&def.Model, "model", "", "what it is called there")
	f.StringVar(&def.KeyHeader, "header", "", "header in which its key travels, if not the usual one: Authorization, X-Api-Key or Api-Key")
	f.BoolVar(&def.Images, "images", false, "it can look at images")
	f.BoolVar(&def.Reasoning, "reasoning", false, "it is told to think first")
	f.IntVar(&def.Context, "context", 0, "tokens that it can read")
	f.IntVar(&def.MaxOutput, "max-output", 0, "tokens that it may write in an answer")
	f.Float64Var(&def.Price.Input, "price-input", 0, "dollars for a million tokens that it reads")
	f.Float64Var(&def.Price.Cached, "price-cached", 0, "the same for those from the service's cache")
	f.Float64Var(&def.Price.Output, "price-output", 0, "dollars for a million tokens that it writes")
	flag(c, "provider", fixed(providerNames()...))
	flag(c, "format", fixed("anthropic", "openai"))
	return c
}

func modelKeyCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "key NAME", Short: "Store the key of a model's service; it is read from the terminal or standard input",
		Long: "Stores a key in the keyring. It is kept for the model's place, so all models there share it, and it goes nowhere else.",
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeModels, RunE: func(c *cobra.Command, args []string) error {
			conf, _, err := definitions()
			if err != nil {
				return err
			}
			def, ok := conf.Model(args[0])
			if !ok {
				return fmt.Errorf("%w: %q", host.ErrNoModel, args[0])
			}
			v, err := e.readSecret(c.Context(), "Key for "+def.URL)
			if err != nil {
				return err
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := h.SetModelKey(c.Context(), args[0], v); err != nil {
				return err
			}
			return e.print(map[string]string{"model": args[0], "url": def.URL}, func(w io.Writer) { fmt.Fprintf(w, "The key is in the keyring, for %s only.\n", def.URL) })
		}}
}

func listModelsCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the models that are defined", Args: usage(cobra.NoArgs), RunE: func(*cobra.Command, []string) error {
		conf, _, err := definitions()
		if err != nil {
			return err
		}
		all := make([]listedModel, len(conf.Models))
		for i, m := range conf.Models {
			all[i] = listedModel{m, m.Local()}
		}
		return e.print(map[string]any{"models": all, "localOnly": conf.LocalModels}, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, m := range all {
				where := m.URL
				if m.Local {
					where += " (this computer)"
				} else if conf.LocalModels {
					where += " (not asked: only this computer's are)"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, m.Model.Model, where, map[bool]string{true: "its key is kept", false: "no key"}[m.HasKey])
			}
			_ = t.Flush()
			if len(all) == 0 {
				fmt.Fprintln(w, "No models yet. Those on this computer are found by: cordon models find")
			}
		})
	}}
}

func findModelsCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "find", Short: "Look for models that programs on this computer offer",
		Long: "Asks the usual ports of this computer's loopback which models are there. Nothing is defined by that, and nobody else is asked.",
		Args: usage(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
			found := llm.Find(c.Context(), llm.Places)
			return e.print(append([]llm.Found{}, found...), func(w io.Writer) {
				for _, f := range found {
					fmt.Fprintf(w, "%s  at %s, the port of %s\n  cordon models add NAME --provider %s --model %s\n", f.Model, f.URL, f.Place, placeName(f.Place), f.Model)
				}
				if len(found) == 0 {
					var looked []string
					for _, p := range llm.Places {
						looked = append(looked, fmt.Sprintf("%s (%d)", p.Name, p.Port))
					}
					fmt.Fprintf(w, "Nothing answers at the usual ports: %s.\n", strings.Join(looked, ", "))
				}
			})
		}}
}

// asked is what came of a question to a model.
type asked struct {
	llm.Answer
	Cost float64 `json:"cost,omitempty"` // dollars, if known
}

func askModelCommand(e *env) *cobra.Command {
	var reasoning bool
	c := &cobra.Command{Use: "ask NAME [TEXT]", Short: "Ask a model something, without tools, to see that it works",
		Long: `Sends TEXT, or standard input, to a model and prints its answer as it comes. Your own secrets are taken out before anything leaves. What
leaves is recorded: cordon audit, and word for word in models.jsonl beside the log.`,
		Args: usage(cobra.RangeArgs(1, 2)), ValidArgsFunction: completeModels, RunE: func(c *cobra.Command, args []string) error {
			text := "Say hello in one short sentence."
			if len(args) == 2 {
				text = args[1]
			} else if !e.typed() {
				b, err := io.ReadAll(io.LimitReader(e.in, 1<<20))
				if err != nil {
					return err
				}
				text = string(b)
			}
			if strings.TrimSpace(text) == "" {
				return usageError(c, "there is nothing to ask")
			}
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := h.LoadSecrets(c.Context()); err != nil && !errors.Is(err, secret.ErrNotFound) {
				return fmt.Errorf("your secrets cannot be read, so nobody would notice one of them in the text, and nothing was sent: %w", err)
			}
			m, err := h.Model(args[0])
			if err != nil {
				return err
			}
			return e.askModel(c.Context(), h, args[0], m, llm.Request{Messages: []llm.Message{{Role: llm.User, Parts: []llm.Part{{Kind: llm.Text, Text: h.Mask(text)}}}}}, reasoning)
		}}
	c.Flags().BoolVar(&reasoning, "show-reasoning", false, "print what it thinks too")
	return c
}

func (e *env) askModel(ctx context.Context, h *host.Host, name string, m llm.Model, r llm.Request, reasoning bool) error {
	began, wrote := time.Now(), false
	var first time.Duration
	a, err := m.Ask(ctx, r, func(d llm.Delta) {
		switch {
		case d.Retry != nil:
			fmt.Fprintf(e.err, "%s\n  trying again in %v\n", consent.Escape(h.Mask(d.Retry.Why)), d.Retry.After.Round(100*time.Millisecond))
			return
		case first == 0:
			first = time.Since(began)
		}
		if !e.json && (d.Kind == llm.Text || d.Kind == llm.Reasoning && reasoning) {
			wrote = true
			for i, line := range strings.Split(d.Text, "\n") { // a model's words do nothing to a terminal
				if i > 0 {
					fmt.Fprintln(e.out)
				}
				fmt.Fprint(e.out, consent.Escape(line))
			}
		}
	})
	if wrote {
		fmt.Fprintln(e.out)
	}
	if err != nil {
		return errors.New(h.Mask(err.Error()))
	}
	def, _ := h.Config().Model(name)
	cost, known := llm.Cost(a.Usage, def.Price)
	if e.json {
		return e.print(asked{a, cost}, nil)
	}
	fmt.Fprintf(e.err, "%d tokens read, %d written; first after %v, all after %v", a.Usage.Input, a.Usage.Output, first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if known {
		fmt.Fprintf(e.err, "; $%.4f", cost)
	}
	fmt.Fprintln(e.err)
	if len(a.Parts) == 0 {
		return errors.New("it said nothing")
	}
	if a.Stop == llm.StopRefused {
		return errors.New("it refuses to answer")
	}
	return nil
}

func localModelsCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "local-only on|off", Short: "Allow only models on this computer, or all that are defined", Args: usage(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)), ValidArgs: []string{"on", "off"},
		RunE: func(c *cobra.Command, args []string) error {
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			only := args[0] == "on"
			if err := h.SetLocalModels(only); err != nil {
				return err
			}
			return e.print(map[string]bool{"localOnly": only}, func(w io.Writer) {
				if only {
					fmt.Fprintln(w, "Only models on this computer are asked now.")
				} else {
					fmt.Fprintln(w, "All models that are defined may be asked.")
				}
			})
		}}
}

func removeModelCommand(e *env) *cobra.Command {
	return &cobra.Command{Use: "remove NAME", Short: "Forget a model; its key too, if no other model is at that place", Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: completeModels,
		RunE: func(c *cobra.Command, args []string) error {
			h, done, err := e.open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := h.RemoveModel(c.Context(), args[0]); err != nil {
				return err
			}
			return e.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is forgotten.\n", args[0]) })
		}}
}

func completeModels(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	conf, _, err := definitions()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, m := range conf.Models {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
