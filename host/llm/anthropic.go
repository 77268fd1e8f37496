package llm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"cordon/host/config"
)

// newAnthropic speaks the Messages API. The service is made without the library's defaults, which look for keys and addresses in the
// environment and in files.
func newAnthropic(def config.Model, client *http.Client) func(context.Context, Request, *answer) error {
	messages := anthropic.NewMessageService(option.WithoutEnvironmentDefaults(), option.WithHTTPClient(client), option.WithBaseURL(def.URL), option.WithMaxRetries(0))
	return func(ctx context.Context, r Request, a *answer) error {
		params, err := toAnthropic(def, r)
		if err != nil {
			return &Error{Fault: FaultRequest, err: err}
		}
		stream := messages.NewStreaming(ctx, params)
		defer stream.Close()
		index := map[int64]int{} // their parts by ours
		for stream.Next() {
			e := stream.Current()
			switch e.Type {
			case "message_start":
				a.Model = string(e.Message.Model)
				u := e.Message.Usage
				a.Usage = usage(u.InputTokens, u.CacheReadInputTokens, u.CacheCreationInputTokens, u.OutputTokens)
			case "content_block_start":
				p, ok := fromAnthropic(e.ContentBlock)
				if !ok {
					continue // of tools that the provider runs; none were offered
				}
				i, err := a.begin(p)
				if err != nil {
					return err
				}
				index[e.Index] = i
				if err := a.add(i, e.ContentBlock.Text+e.ContentBlock.Thinking); err != nil {
					return err
				}
			case "content_block_delta":
				i, ok := index[e.Index]
				if !ok {
					continue
				}
				if a.size += len(e.Delta.Signature); a.size > maxText {
					return errTooLong
				}
				a.parts[i].seal.WriteString(e.Delta.Signature)
				if err := a.add(i, e.Delta.Text+e.Delta.Thinking+e.Delta.PartialJSON); err != nil {
					return err
				}
			case "message_delta":
				a.Stop = stopOf(string(e.Delta.StopReason))
				a.Usage.Output = count(e.Usage.OutputTokens)
				if u := e.Usage; u.JSON.InputTokens.Valid() {
					a.Usage = usage(u.InputTokens, u.CacheReadInputTokens, u.CacheCreationInputTokens, u.OutputTokens)
				}
				a.Usage.Thought = count(e.Usage.OutputTokensDetails.ThinkingTokens)
			case "message_stop":
				if a.Stop == "" {
					return errors.New("the answer ended without a reason")
				}
				return nil
			}
		}
		a.Stop = ""
		if err := stream.Err(); err != nil {
			return err
		}
		return errors.New("the stream ended in the middle")
	}
}

func usage(input, cached, stored, output int64) Usage {
	return Usage{Input: count(input) + count(cached) + count(stored), Cached: count(cached), Stored: count(stored), Output: count(output)}
}

// count is a number of tokens that can be true.
func count(n int64) int { return int(min(max(0, n), 1<<40)) }

// stopOf reads the words of both wire formats.
func stopOf(reason string) Stop {
	switch reason {
	case "end_turn", "stop_sequence", "pause_turn", "stop":
		return StopEnd
	case "tool_use", "tool_calls", "function_call":
		return StopCalls
	case "max_tokens", "model_context_window_exceeded", "length":
		return StopLength
	case "refusal", "content_filter":
		return StopRefused
	case "":
		return ""
	}
	return StopLength // for a reason of its own, so that nobody knows whether it is whole
}

func fromAnthropic(b anthropic.ContentBlockStartEventContentBlockUnion) (Part, bool) {
	switch b.Type {
	case "text":
		return Part{Kind: Text}, true
	case "thinking":
		return Part{Kind: Reasoning, Seal: b.Signature}, true
	case "redacted_thinking":
		return Part{Kind: Reasoning, Seal: redactedSeal + b.Data}, true
	case "tool_use":
		return Part{Kind: Call, ID: b.ID, Name: b.Name}, true
	}
	return Part{}, false
}

// redactedSeal marks a reasoning of which the provider shows nothing.
const redactedSeal = "redacted:"

func toAnthropic(def config.Model, r Request) (anthropic.MessageNewParams, error) {
	p := anthropic.MessageNewParams{Model: def.Model, MaxTokens: int64(r.bound(def.Output()))}
	cache := anthropic.NewCacheControlEphemeralParam()
	if r.System != "" {
		p.System = []anthropic.TextBlockParam{{Text: r.System, CacheControl: cache}}
	}
	if def.Reasoning {
		p.Thinking.OfAdaptive = &anthropic.ThinkingConfigAdaptiveParam{Display: anthropic.ThinkingConfigAdaptiveDisplaySummarized}
	}
	for _, t := range r.Tools {
		var schema map[string]any
		if err := json.Unmarshal(t.Schema, &schema); err != nil {
			return p, fmt.Errorf("schema of tool %s: %w", t.Name, err)
		}
		in := anthropic.ToolInputSchemaParam{Properties: schema["properties"]}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if s, ok := name.(string); ok {
				in.Required = append(in.Required, s)
			}
		}
		maps.DeleteFunc(schema, func(k string, _ any) bool { return k == "type" || k == "properties" || k == "required" })
		in.ExtraFields = schema
		p.Tools = append(p.Tools, anthropic.ToolUnionParam{OfTool: &anthropic.ToolParam{Name: t.Name, Description: anthropic.String(t.Description), InputSchema: in}})
	}
	if len(p.Tools) > 0 {
		p.Tools[len(p.Tools)-1].OfTool.CacheControl = cache
	}
	for _, m := range r.Messages {
		var blocks []anthropic.ContentBlockParamUnion
		// Results come first: so the provider wants it.
		for _, first := range []bool{true, false} {
			for _, part := range m.Parts {
				if (part.Kind == Result) != first {
					continue
				}
				if b, ok := blockOf(def, part); ok {
					blocks = append(blocks, b)
				}
			}
		}
		switch {
		case len(blocks) == 0:
		case m.Role == Assistant:
			p.Messages = append(p.Messages, anthropic.NewAssistantMessage(blocks...))
		default:
			p.Messages = append(p.Messages, anthropic.NewUserMessage(blocks...))
		}
	}
	if n := len(p.Messages); n > 0 { // what was said before is read from the cache next time
		last := p.Messages[n-1].Content
		if c := last[len(last)-1].GetCacheControl(); c != nil {
			*c = cache
		}
	}
	return p, nil
}

func blockOf(def config.Model, p Part) (anthropic.ContentBlockParamUnion, bool) {
	switch p.Kind {
	case Text:
		return anthropic.NewTextBlock(p.Text), p.Text != ""
	case Reasoning: // without its seal it is nothing that the provider takes back
		if data, ok := strings.CutPrefix(p.Seal, redactedSeal); ok {
			return anthropic.NewRedactedThinkingBlock(data), true
		}
		return anthropic.NewThinkingBlock(p.Seal, p.Text), p.Seal != ""
	case Image:
		return anthropic.NewImageBlockBase64(p.MIME, base64.StdEncoding.EncodeToString(p.Data)), def.Images
	case Call:
		args := p.Args
		if args == nil {
			args = []byte("{}") // the model is told by the result what was wrong
		}
		return anthropic.NewToolUseBlock(p.ID, json.RawMessage(args), p.Name), true
	case Result:
		b := anthropic.NewToolResultBlock(p.ID, p.Text, p.IsError)
		for _, i := range p.Images {
			if def.Images {
				b.OfToolResult.Content = append(b.OfToolResult.Content, anthropic.ToolResultBlockParamContentUnion{OfImage: anthropic.NewImageBlockBase64(i.MIME, base64.StdEncoding.EncodeToString(i.Data)).OfImage})
			}
		}
		return b, true
	}
	return anthropic.ContentBlockParamUnion{}, false
}
