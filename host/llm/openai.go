package llm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/shared"

	"cordon/host/config"
)

// newOpenAI speaks Chat Completions, as OpenAI, Azure, Ollama, llama.cpp, vLLM and LM Studio do. The service is made without the library's
// defaults, which look for keys and addresses in the environment.
func newOpenAI(def config.Model, client *http.Client) func(context.Context, Request, *answer) error {
	// The transport puts the key where it belongs; the library refuses to go without one.
	chat := openai.NewChatCompletionService(option.WithHTTPClient(client), option.WithBaseURL(def.URL), option.WithAPIKey("none"), option.WithMaxRetries(0))
	return func(ctx context.Context, r Request, a *answer) error {
		params, err := toOpenAI(def, r)
		if err != nil {
			return &Error{Fault: FaultRequest, err: err}
		}
		stream := chat.NewStreaming(ctx, params)
		defer stream.Close()
		index := map[int64]int{} // their calls by ours
		for stream.Next() {
			chunk := stream.Current()
			if chunk.Model != "" {
				a.Model = chunk.Model
			}
			if u := chunk.Usage; u.TotalTokens > 0 || u.PromptTokens > 0 {
				cached := min(max(0, u.PromptTokensDetails.CachedTokens), max(0, u.PromptTokens))
				a.Usage = usage(u.PromptTokens-cached, cached, 0, u.CompletionTokens)
				a.Usage.Thought = count(u.CompletionTokensDetails.ReasoningTokens)
			}
			for _, choice := range chunk.Choices {
				if choice.Index != 0 {
					continue // one was asked for
				}
				if err := a.openAIDelta(choice.Delta, index); err != nil {
					return err
				}
				if s := stopOf(choice.FinishReason); s != "" {
					a.Stop = s
				}
			}
		}
		if err := stream.Err(); err != nil {
			a.Stop = ""
			return err
		}
		if a.Stop == "" {
			return errors.New("the stream ended in the middle")
		}
		if a.Stop == StopEnd && len(index) > 0 { // some servers say "stop" although they call
			a.Stop = StopCalls
		}
		return nil
	}
}

func (a *answer) openAIDelta(d openai.ChatCompletionChunkChoiceDelta, index map[int64]int) error {
	for _, name := range []string{"reasoning_content", "reasoning"} { // no standard: DeepSeek, vLLM and llama.cpp; Ollama and OpenRouter
		var thought string
		if json.Unmarshal([]byte(d.JSON.ExtraFields[name].Raw()), &thought) == nil && thought != "" {
			if err := a.last(Reasoning, thought); err != nil {
				return err
			}
			break
		}
	}
	if err := a.last(Text, d.Content+d.Refusal); err != nil {
		return err
	}
	for _, c := range d.ToolCalls {
		i, known := index[c.Index]
		// Ollama gives all calls the same index, each whole.
		if known && c.ID != "" && a.parts[i].ID != c.ID && c.Function.Name != "" {
			known = false
		}
		if !known {
			var err error
			if i, err = a.begin(Part{Kind: Call, ID: c.ID, Name: c.Function.Name}); err != nil {
				return err
			}
			index[c.Index] = i
		}
		if err := a.add(i, c.Function.Arguments); err != nil {
			return err
		}
	}
	return nil
}

func toOpenAI(def config.Model, r Request) (openai.ChatCompletionNewParams, error) {
	p := openai.ChatCompletionNewParams{Model: def.Model, StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)}}
	if most := r.bound(def.MaxOutput); most > 0 {
		if def.Reasoning { // reasoning models of OpenAI take only this name, other servers know only the older
			p.MaxCompletionTokens = param.NewOpt(int64(most))
		} else {
			p.MaxTokens = param.NewOpt(int64(most))
		}
	}
	if r.System != "" {
		p.Messages = append(p.Messages, openai.SystemMessage(r.System))
	}
	for _, t := range r.Tools {
		var schema shared.FunctionParameters
		if err := json.Unmarshal(t.Schema, &schema); err != nil {
			return p, fmt.Errorf("schema of tool %s: %w", t.Name, err)
		}
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: t.Name, Description: param.NewOpt(t.Description), Parameters: schema}))
	}
	for _, m := range r.Messages {
		if m.Role == Assistant {
			if said, ok := assistantMessage(m); ok {
				p.Messages = append(p.Messages, said)
			}
			continue
		}
		var parts []openai.ChatCompletionContentPartUnionParam
		for _, part := range m.Parts {
			switch part.Kind {
			case Text:
				if part.Text != "" {
					parts = append(parts, openai.TextContentPart(part.Text))
				}
			case Image:
				parts = appendImage(parts, def, part)
			case Result: // before all else of its turn; it cannot hold images, so they follow
				text := part.Text
				if part.IsError {
					text = "Error: " + text
				}
				p.Messages = append(p.Messages, openai.ToolMessage(text, part.ID))
				for n, i := range part.Images {
					if def.Images {
						parts = append(parts, openai.TextContentPart("Image "+strconv.Itoa(n+1)+" of the result of "+part.ID+":"))
						parts = appendImage(parts, def, i)
					}
				}
			}
		}
		switch {
		case len(parts) == 1 && parts[0].OfText != nil: // as text, which servers that know no parts understand
			p.Messages = append(p.Messages, openai.UserMessage(parts[0].OfText.Text))
		case len(parts) > 0:
			p.Messages = append(p.Messages, openai.UserMessage(parts))
		}
	}
	return p, nil
}

func appendImage(parts []openai.ChatCompletionContentPartUnionParam, def config.Model, p Part) []openai.ChatCompletionContentPartUnionParam {
	if !def.Images {
		return parts
	}
	return append(parts, openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:" + p.MIME + ";base64," + base64.StdEncoding.EncodeToString(p.Data)}))
}

// assistantMessage is what the model said, without its reasoning, which is not sent back in this format.
func assistantMessage(m Message) (openai.ChatCompletionMessageParamUnion, bool) {
	var said openai.ChatCompletionAssistantMessageParam
	text := ""
	for _, part := range m.Parts {
		switch part.Kind {
		case Text:
			text += part.Text
		case Call:
			args := string(part.Args)
			if part.Args == nil {
				args = "{}" // the model is told by the result what was wrong
			}
			said.ToolCalls = append(said.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID: part.ID, Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: part.Name, Arguments: args}}})
		}
	}
	if text != "" {
		said.Content.OfString = param.NewOpt(text)
	}
	return openai.ChatCompletionMessageParamUnion{OfAssistant: &said}, text != "" || len(said.ToolCalls) > 0
}
