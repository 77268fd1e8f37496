package chat

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"cordon/host/llm"
	"cordon/host/tool"
)

// What a model is told of tools: names that providers take, and of many only those that may help.

// maxWireName is what providers take, in bytes.
const maxWireName = 64

// offer is one tool under the name that models call it by.
type offer struct {
	llm.Tool
	id     tool.ID // Server is "" for one of Cordon's own
	effect tool.Effect
	tokens int
}

// offers names tools: the same ones get the same names, whatever else there is, but for those whose names are alike. A name that has something which no
// model gets is replaced before anything of it is changed or cut.
func offers(tools []tool.Tool, hide *hider) []offer {
	all := make([]offer, 0, len(tools))
	for _, t := range tools {
		o := offer{Tool: llm.Tool{Name: hide.instead(wireName(t.ID), t.ID.Server, t.ID.Name, t.ID.Server+"__"+t.ID.Name, t.ID.String()), Description: describe(t), Schema: t.InputSchema}, id: t.ID, effect: t.Effect}
		o.tokens = tokens(len(o.Name) + len(o.Description) + len(o.Schema))
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.id.String(), b.id.String()))
	})
	taken := map[string]bool{}
	for i := range all {
		name := all[i].Name
		for n := 2; taken[name]; n++ {
			suffix := fmt.Sprintf("_%d", n)
			name = all[i].Name[:min(len(all[i].Name), maxWireName-len(suffix))] + suffix
		}
		taken[name] = true
		all[i].Name = name
	}
	return all
}

func wireName(id tool.ID) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, id.Server+"__"+id.Name)
	if strings.HasPrefix(name, ownPrefix) {
		name = "server_" + name
	}
	return name[:min(len(name), maxWireName)]
}

// maxDescription bounds a description, in characters.
const maxDescription = 2000

func describe(t tool.Tool) string {
	d := strings.TrimSpace(t.Description)
	if d == "" {
		d = t.Title
	}
	return clip(d, maxDescription)
}

// TokensOf is about how much of a model's context the definition of a tool takes.
func TokensOf(t tool.Tool) int {
	return offers([]tool.Tool{t}, newHider(func(s string) string { return s }, "", nil))[0].tokens
}

// tokens is about how many a text of so many bytes makes.
func tokens(bytes int) int { return (bytes*2 + 6) / 7 }

// apart are the offers that f holds for, and the others.
func apart(all []offer, f func(offer) bool) (yes, no []offer) {
	for _, o := range all {
		if f(o) {
			yes = append(yes, o)
		} else {
			no = append(no, o)
		}
	}
	return yes, no
}

// choose takes the tools that fit into so many tokens: first those in must, by name, then those whose words are most like what is asked.
func choose(all []offer, asked string, must map[string]bool, room int) (chosen, held []offer) {
	total := 0
	for _, o := range all {
		total += o.tokens
	}
	if total <= room {
		return all, nil
	}
	rank := relevance(all, asked)
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if must[all[a].Name] != must[all[b].Name] {
			return map[bool]int{true: -1, false: 1}[must[all[a].Name]]
		}
		return cmp.Compare(rank[b], rank[a])
	})
	in := make([]bool, len(all))
	for _, i := range order {
		if all[i].tokens <= room {
			in[i], room = true, room-all[i].tokens
		}
	}
	for i, o := range all { // in the order of names, so that the provider's cache holds
		if in[i] {
			chosen = append(chosen, o)
		} else {
			held = append(held, o)
		}
	}
	return chosen, held
}

// relevance ranks tools by BM25 over their names and descriptions.
func relevance(all []offer, asked string) []float64 {
	const k, b = 1.2, 0.75
	docs, in, mean := make([]map[string]int, len(all)), map[string]int{}, 0.0
	sizes := make([]float64, len(all))
	for i, o := range all {
		docs[i] = map[string]int{}
		for _, w := range append(words(o.id.Server+" "+o.id.Name), words(o.Description)...) {
			if docs[i][w]++; docs[i][w] == 1 {
				in[w]++
			}
			sizes[i]++
		}
		mean += sizes[i] / float64(len(all))
	}
	rank := make([]float64, len(all))
	query := words(asked)
	slices.Sort(query)
	for _, w := range slices.Compact(query) {
		idf := math.Log(1 + (float64(len(all)-in[w])+0.5)/(float64(in[w])+0.5))
		for i := range all {
			if n := float64(docs[i][w]); n > 0 {
				rank[i] += idf * n * (k + 1) / (n + k*(1-b+b*sizes[i]/max(mean, 1)))
			}
		}
	}
	return rank
}

// words cuts text into words in small letters; names in camelCase are several.
func words(s string) []string {
	var spaced strings.Builder
	var last rune
	for _, r := range s {
		if unicode.IsUpper(r) && unicode.IsLower(last) {
			spaced.WriteByte(' ')
		}
		spaced.WriteRune(unicode.ToLower(r))
		last = r
	}
	return strings.FieldsFunc(spaced.String(), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
}
