package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"cordon/host/inspect"
	"cordon/host/tool"

	"github.com/go-json-experiment/json/jsontext"
)

// maxResult bounds the text of one result, in bytes.
const maxResult = 16 << 20

// maxBlocks bounds the parts of one result: a page draws each.
const maxBlocks = 1000

// inspectResult looks at what came back: too much is withheld, own secrets are masked, hidden text is marked, and all
// of it is remembered as outside text.
func (g *Gate) inspectResult(ctx context.Context, c tool.Call, r tool.Result, t *trail) (tool.Result, error) {
	size := 0
	for _, b := range r.Content {
		size += len(b.Text) + len(b.Data)
	}
	size += len(r.Structured)
	if len(r.Content) > maxBlocks {
		return tool.Result{}, t.deny(InspectOut, "result.size", fmt.Sprintf("the result has %d parts, at most %d are passed on", len(r.Content), maxBlocks))
	}
	if size > maxResult {
		return tool.Result{}, t.deny(InspectOut, "result.size", fmt.Sprintf("the result has %d bytes, at most %d are passed on", size, maxResult))
	}
	misfit := g.misfit(c, &r)
	texts, blocked, err := g.search(ctx, c.Tool.ID.Server, &r)
	if err != nil {
		return tool.Result{}, t.deny(InspectOut, "result.inspection", "the result could not be searched for secrets, so it is withheld")
	}
	r.Findings = append(r.Findings, misfit...)
	r.Number = g.Labels.Saw(c.By.Conversation, c.Tool.ID.Server, c.Tool.ID.Name, values(texts))
	t.result(r, size)
	if blocked {
		return tool.Result{}, t.deny(InspectOut, "result.quarantined", r.Findings[0].Text)
	}
	if len(r.Findings) > 0 {
		t.mark(InspectOut, many(len(r.Findings), "finding")+", the first: "+r.Findings[0].Text)
	} else {
		t.pass(InspectOut, fmt.Sprintf("%d bytes, nothing found, labelled outside", size))
	}
	return r, nil
}

// search masks own secrets in what a server sent and runs the engines on the rest. Findings are added to r; blocked means that it goes no further. An error
// means that nobody knows what is in it.
func (g *Gate) search(ctx context.Context, from string, r *tool.Result) (texts []inspect.Text, blocked bool, err error) {
	masked, err := g.mask(r)
	if err != nil {
		return nil, false, err
	}
	texts = resultTexts(*r)
	v := g.Inspect.Inspect(ctx, inspect.Subject{Kind: inspect.Outcome, Server: from, Texts: texts})
	r.Findings = v.Findings
	if masked > 0 {
		r.Findings = append(r.Findings, tool.Finding{Engine: "secret", Rule: "secret.masked", Severity: tool.Warn, Text: fmt.Sprintf("%d occurrences of your own secrets were masked.", masked)})
	}
	for _, d := range v.Degraded {
		r.Findings = append(r.Findings, tool.Finding{Engine: "pipeline", Rule: "inspect.degraded", Severity: tool.Warn, Text: d})
	}
	return texts, v.Blocked(), nil
}

// misfit drops a structured result that is not what its tool promised: whoever reads it by its schema would be misled. The other parts stay.
func (g *Gate) misfit(c tool.Call, r *tool.Result) []tool.Finding {
	if r.Structured == nil || c.Kind != tool.CallTool && c.Kind != tool.FetchTask {
		return nil
	}
	err := g.schemas.checkOutput(c.Tool, r.Structured)
	if err == nil {
		return nil
	}
	r.Structured = nil
	if errors.Is(err, errUnchecked) {
		return []tool.Finding{{Engine: "schema", Rule: "result.unchecked", Severity: tool.Warn, Where: "/structuredContent", Text: "The structured part cannot be compared with what the tool promised, so it is left out: " + err.Error() + "."}}
	}
	return []tool.Finding{{Engine: "schema", Rule: "result.schema", Severity: tool.Warn, Where: "/structuredContent", Text: "The structured part is not what the tool promised, so it is left out: " + clip(strings.TrimPrefix(err.Error(), "argument "))}}
}

// clip keeps what a finding may quote.
func clip(s string) string {
	const most = 150
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// mask replaces own secrets in every text of r and returns how many.
func (g *Gate) mask(r *tool.Result) (int, error) {
	total := 0
	replace := func(s *string) error {
		m, n, err := g.Secrets.Mask(*s)
		if err != nil {
			return err
		}
		total += n
		*s = m
		return nil
	}
	for i := range r.Content {
		data := string(r.Content[i].Data)
		for _, s := range []*string{&r.Content[i].Text, &r.Content[i].URI, &r.Content[i].MIME, &data} {
			if *s == "" {
				continue
			}
			if err := replace(s); err != nil {
				return 0, err
			}
		}
		if data != string(r.Content[i].Data) {
			r.Content[i].Data = []byte(data)
		}
	}
	if r.Structured != nil {
		s := string(r.Structured)
		if err := replace(&s); err != nil {
			return 0, err
		}
		if r.Structured = []byte(s); !jsontext.Value(r.Structured).IsValid() {
			r.Structured = nil // masking broke the syntax; the text blocks remain
		}
	}
	return total, nil
}

// Texts are all texts of a result, as they are remembered as outside text.
func Texts(r tool.Result) []string { return values(resultTexts(r)) }

func values(texts []inspect.Text) []string {
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = t.Value
	}
	return all
}

func resultTexts(r tool.Result) []inspect.Text {
	var texts []inspect.Text
	for i, b := range r.Content {
		if b.Text != "" {
			texts = append(texts, inspect.Text{Pointer: fmt.Sprintf("/content/%d/text", i), Value: b.Text})
		}
		if b.URI != "" {
			texts = append(texts, inspect.Text{Pointer: fmt.Sprintf("/content/%d/uri", i), Value: b.URI})
		}
		if b.MIME != "" {
			texts = append(texts, inspect.Text{Pointer: fmt.Sprintf("/content/%d/mimeType", i), Value: b.MIME})
		}
		if len(b.Data) > 0 && utf8.Valid(b.Data) { // text that came as a blob is text
			texts = append(texts, inspect.Text{Pointer: fmt.Sprintf("/content/%d/data", i), Value: string(b.Data)})
		}
	}
	if r.Structured != nil {
		leaves, err := inspect.Leaves(r.Structured)
		if err != nil {
			return append(texts, inspect.Text{Pointer: "/structuredContent", Value: string(r.Structured)})
		}
		for _, l := range leaves {
			texts = append(texts, inspect.Text{Pointer: "/structuredContent" + l.Pointer, Value: l.Value})
		}
	}
	return texts
}
