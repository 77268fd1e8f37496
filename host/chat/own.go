package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cordon/host/llm"
	"cordon/host/tool"

	"github.com/go-json-experiment/json"
)

// Cordon's own tools. They only read what a conversation has read already, so they are no calls, do not pass the gate, and leave nothing behind but
// their place in the conversation. What they return is as foreign as what they read from.

const (
	ownRead   = "cordon__read_result"
	ownFind   = "cordon__search_result"
	ownQuery  = "cordon__query_result"
	ownTools  = "cordon__find_tools"
	ownPrefix = "cordon__"
)

func own(name, description, schema string) offer {
	return offer{Tool: llm.Tool{Name: name, Description: description, Schema: []byte(schema)}, id: tool.ID{Name: strings.TrimPrefix(name, ownPrefix)}, effect: tool.Read,
		tokens: tokens(len(name) + len(description) + len(schema))}
}

// ownResults are the tools for results that are not given whole.
func ownResults() []offer {
	return []offer{
		own(ownRead, "Reads lines of an earlier result, by its number.",
			`{"type":"object","properties":{"result":{"type":"integer","description":"number of the result"},"file":{"type":"string","description":"instead of a result: name of an attached file"},"from":{"type":"integer","description":"first line, from 1"},"lines":{"type":"integer","description":"how many, at most 500"}},"additionalProperties":false}`),
		own(ownFind, "Finds the lines of an earlier result that contain a text, ignoring case.",
			`{"type":"object","properties":{"result":{"type":"integer"},"file":{"type":"string","description":"instead of a result: name of an attached file"},"text":{"type":"string"},"around":{"type":"integer","description":"lines to show before and after each, at most 10"},"skip":{"type":"integer","description":"places to leave out at the beginning"}},"required":["text"],"additionalProperties":false}`),
		own(ownQuery, "Filters, groups and sorts an earlier result that is a table: an array of JSON objects, JSON lines, CSV or TSV. Without arguments besides the result it describes the columns.",
			`{"type":"object","properties":{"result":{"type":"integer"},"file":{"type":"string","description":"instead of a result: name of an attached file"},"path":{"type":"string","description":"JSON pointer to the array, if there are several"},"columns":{"type":"array","items":{"type":"string"}},"where":{"type":"array","items":{"type":"object","properties":{"column":{"type":"string"},"is":{"type":"string","enum":["=","!=","<","<=",">",">=","contains","starts","empty"]},"value":{"type":"string"}},"required":["column","is"],"additionalProperties":false}},"group":{"type":"array","items":{"type":"string"}},"compute":{"type":"array","items":{"type":"object","properties":{"what":{"type":"string","enum":["count","distinct","sum","min","max","mean"]},"column":{"type":"string"}},"required":["what"],"additionalProperties":false}},"order":{"type":"string","description":"column to sort by"},"descending":{"type":"boolean"},"limit":{"type":"integer","description":"rows, at most 200"},"skip":{"type":"integer"}},"additionalProperties":false}`),
	}
}

// ownSearch is the tool that finds others.
func ownSearch(held int) offer {
	return own(ownTools, fmt.Sprintf("Finds further tools by words of what they do. %d are not listed here, to save room; those that are found can be called afterwards.", held),
		`{"type":"object","properties":{"words":{"type":"string"}},"required":["words"],"additionalProperties":false}`)
}

// errArguments is what a model is told that called one of these wrongly.
type errArguments string

// Error says what is wrong.
func (e errArguments) Error() string { return string(e) }

// strict reads arguments.
func strict[T any](args []byte) (v T, err error) {
	if err := json.Unmarshal(args, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, errArguments("the arguments do not fit: " + clip(err.Error(), 300))
	}
	return v, nil
}

// source is what one of these tools reads: a result by its number, or an attached file by its name; and what it is called. It is hidden before anything of it
// is chosen.
func (e *Engine) source(ctx context.Context, t *turn, number int, file string) (what string, c *Content, err error) {
	switch {
	case file != "":
		path, err := e.Store.Path(ctx, t.id, t.at(), maxTold)
		if err != nil {
			return "", nil, err
		}
		for _, en := range slices.Backward(path) {
			for i, a := range en.Attached {
				if a.Name == file || t.hide.hide(a.Name) == file {
					if a.MIME != "" {
						return "", nil, errArguments(fmt.Sprintf("the file %q is an image", clip(file, 80)))
					}
					if a.apart() {
						whole, err := e.Store.Entry(ctx, t.id, en.Seq)
						if err != nil {
							return "", nil, err
						}
						if a = whole.Attached[i]; a.Missing {
							return "", nil, errArguments(fmt.Sprintf("the file %q is not there any more", clip(file, 80)))
						}
					}
					c = &Content{Blocks: []tool.Content{{Type: "text", Text: t.hide.hide(a.Text)}}}
					return fmt.Sprintf("file %q", a.Name), c, nil
				}
			}
		}
		return "", nil, errArguments(fmt.Sprintf("there is no file %q", clip(file, 80)))
	}
	en, err := e.Store.Numbered(ctx, t.id, number)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && en.Outcome.Content == nil:
		return "", nil, errArguments(fmt.Sprintf("there is no result %d", number))
	case err != nil:
		return "", nil, err
	}
	c = &Content{Structured: en.Outcome.Content.Structured}
	if c.Structured != "" {
		c.Structured = string(inJSON([]byte(c.Structured), true, t.hide.hide))
	}
	for _, b := range en.Outcome.Content.Blocks {
		b.Text, b.URI = t.hide.hide(b.Text), t.hide.hide(b.URI)
		c.Blocks = append(c.Blocks, b)
	}
	return fmt.Sprintf("result #%d of %s", number, en.Outcome.Tool), c, nil
}

// own runs one of Cordon's own tools.
func (e *Engine) own(ctx context.Context, r *turn, name string, args []byte) (string, error) {
	switch name {
	case ownRead:
		a, err := strict[struct {
			Result int    `json:"result"`
			File   string `json:"file"`
			From   int    `json:"from"`
			Lines  int    `json:"lines"`
		}](args)
		if err != nil {
			return "", err
		}
		of, c, err := e.source(ctx, r, a.Result, a.File)
		if err != nil {
			return "", err
		}
		lines := strings.Split(c.Text(), "\n")
		from, n := max(a.From, 1), a.Lines
		if n <= 0 || n > 500 {
			n = 500
		}
		if from > len(lines) {
			return "", errArguments(fmt.Sprintf("it has %d lines", len(lines)))
		}
		return page(sentenceCase(of), lines, from, n), nil
	case ownFind:
		a, err := strict[struct {
			Result int    `json:"result"`
			File   string `json:"file"`
			Text   string `json:"text"`
			Around int    `json:"around"`
			Skip   int    `json:"skip"`
		}](args)
		if err != nil {
			return "", err
		}
		if a.Text == "" {
			return "", errArguments("there is no text to look for")
		}
		of, c, err := e.source(ctx, r, a.Result, a.File)
		if err != nil {
			return "", err
		}
		return matches(of, strings.Split(c.Text(), "\n"), a.Text, min(max(a.Around, 0), 10), max(a.Skip, 0)), nil
	case ownQuery:
		q, err := strict[query](args)
		if err != nil {
			return "", err
		}
		of, c, err := e.source(ctx, r, q.Result, q.File)
		if err != nil {
			return "", err
		}
		t, err := tableOf(c, q.Path)
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, maxQuery, errArguments("it takes too long: ask for less"))
		defer cancel()
		out, err := t.query(ctx, q)
		return sentenceCase(of) + ": " + out, err
	case ownTools:
		a, err := strict[struct {
			Words string `json:"words"`
		}](args)
		if err != nil {
			return "", err
		}
		return r.find(a.Words), nil
	}
	return "", errArguments("there is no such tool")
}

// maxQuery is how long a query may take.
const maxQuery = 10 * time.Second

func sentenceCase(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// maxPage bounds what one of these returns, in bytes.
const maxPage = inline - 1024

// page shows n lines from a line on, as far as there is room; a longer line is cut.
func page(what string, lines []string, from, n int) string {
	var b strings.Builder
	to := from - 1
	for _, l := range lines[from-1 : min(len(lines), from-1+n)] {
		if b.Len()+len(l) > maxPage {
			if b.Len() > 0 {
				break
			}
			l = cutBytes(l, maxPage) + "… (the line goes on)"
		}
		b.WriteString(l + "\n")
		to++
	}
	return fmt.Sprintf("%s, lines %d to %d of %d:\n%s", what, from, to, len(lines), b.String())
}

// matches shows the lines that contain text, ignoring case.
func matches(what string, lines []string, text string, around, skip int) string {
	low := strings.ToLower(text)
	var b strings.Builder
	found, shown, next := 0, 0, 0
	for i, l := range lines {
		at := strings.Index(strings.ToLower(l), low)
		if at < 0 {
			continue
		}
		if found++; found <= skip || b.Len() > maxPage {
			continue
		}
		shown++
		for j := max(next, i-around); j <= min(i+around, len(lines)-1); j++ {
			l := lines[j]
			if len(l) > 1000 { // the place that was found, of a long line
				from := 0
				if j == i {
					from = min(max(0, at-300), len(l)-600)
				}
				l = "…" + strings.ToValidUTF8(l[max(from, 0):min(len(l), from+600)], "") + "…"
			}
			fmt.Fprintf(&b, "%d: %s\n", j+1, l)
			next = j + 1
		}
	}
	head := fmt.Sprintf("%d of %d lines of %s contain it", found, len(lines), what)
	if shown < found {
		head += fmt.Sprintf("; places %d to %d", skip+1, skip+shown)
	}
	return head + ":\n" + cutBytes(b.String(), maxPage+4096)
}
