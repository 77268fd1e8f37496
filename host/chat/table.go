package chat

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Results that are tables.

const (
	maxRows    = 500_000
	maxColumns = 500
	maxGroups  = 50_000
	maxCell    = 2000 // characters shown of one
)

// query is what a model may want of a table.
type query struct {
	Result  int      `json:"result"`
	File    string   `json:"file"`
	Path    string   `json:"path"`
	Columns []string `json:"columns"`
	Where   []struct {
		Column string `json:"column"`
		Is     string `json:"is"`
		Value  string `json:"value"`
	} `json:"where"`
	Group   []string `json:"group"`
	Compute []struct {
		What   string `json:"what"`
		Column string `json:"column"`
	} `json:"compute"`
	Order      string `json:"order"`
	Descending bool   `json:"descending"`
	Limit      int    `json:"limit"`
	Skip       int    `json:"skip"`
}

// table is rows of texts. A cell that a row lacks is "".
type table struct {
	columns []string
	rows    [][]string
}

var errNoTable = errArguments("this result is no table: read or search it instead")

// tableOf finds the table in a result.
func tableOf(c *Content, path string) (table, error) {
	var texts []string
	if c.Structured != "" {
		texts = append(texts, c.Structured)
	}
	for _, b := range c.Blocks {
		if b.Text != "" {
			texts = append(texts, b.Text)
		}
	}
	for _, text := range texts {
		if t, ok := jsonTable(text, path); ok {
			return t, nil
		}
	}
	if path != "" {
		return table{}, errArguments("there is no array of objects at that path")
	}
	for _, text := range texts {
		if t, ok := linesTable(text); ok {
			return t, nil
		}
		if t, ok := csvTable(text); ok {
			return t, nil
		}
	}
	return table{}, errNoTable
}

// jsonTable takes the array at path, or else the longest array of objects at most three steps down.
func jsonTable(text, path string) (table, bool) {
	v := jsontext.Value(text)
	if !v.IsValid() {
		return table{}, false
	}
	var best []jsontext.Value
	var walk func(v jsontext.Value, at string, depth int)
	walk = func(v jsontext.Value, at string, depth int) {
		switch v.Kind() {
		case '[':
			var list []jsontext.Value
			if json.Unmarshal(v, &list) != nil {
				return
			}
			if fits := len(list) > 0 && list[0].Kind() == '{'; fits && (path == at || path == "" && len(list) > len(best)) {
				best = list
			}
			if path != "" && depth > 0 {
				for i, e := range list[:min(len(list), 100)] {
					walk(e, at+"/"+strconv.Itoa(i), depth-1)
				}
			}
		case '{':
			var members map[string]jsontext.Value
			if depth == 0 || json.Unmarshal(v, &members, jsontext.AllowDuplicateNames(true)) != nil {
				return
			}
			for k, m := range members {
				walk(m, at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), depth-1)
			}
		}
	}
	walk(v, "", 3)
	return objects(best), len(best) > 0
}

func linesTable(text string) (table, bool) {
	var list []jsontext.Value
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l == "" {
			continue
		}
		v := jsontext.Value(l)
		if l[0] != '{' || !v.IsValid() {
			return table{}, false
		}
		list = append(list, v)
	}
	return objects(list), len(list) > 1
}

// objects makes columns of members, in the order in which they come first. Members of objects within have a dot in their names.
func objects(list []jsontext.Value) table {
	var t table
	at := map[string]int{}
	for _, o := range list[:min(len(list), maxRows)] {
		row := make([]string, len(t.columns))
		var put func(prefix string, v jsontext.Value, depth int)
		put = func(prefix string, v jsontext.Value, depth int) {
			dec := jsontext.NewDecoder(strings.NewReader(string(v)), jsontext.AllowDuplicateNames(true))
			if v.Kind() != '{' {
				return
			}
			if _, err := dec.ReadToken(); err != nil {
				return
			}
			for dec.PeekKind() == '"' {
				name, err := dec.ReadToken()
				if err != nil {
					return
				}
				key := prefix + name.String()
				m, err := dec.ReadValue()
				if err != nil {
					return
				}
				if m.Kind() == '{' && depth > 0 {
					put(key+".", m.Clone(), depth-1)
					continue
				}
				i, known := at[key]
				if !known {
					if len(t.columns) == maxColumns {
						continue
					}
					i = len(t.columns)
					at[key], t.columns = i, append(t.columns, key)
				}
				for len(row) <= i {
					row = append(row, "")
				}
				row[i] = cell(m)
			}
		}
		put("", o, 3)
		t.rows = append(t.rows, row)
	}
	return t
}

func cell(v jsontext.Value) string {
	switch v.Kind() {
	case '"':
		var s string
		_ = json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true))
		return s
	case 'n':
		return ""
	}
	return string(v)
}

// csvTable takes text of two lines and two columns at least, with as many in each.
func csvTable(text string) (table, bool) {
	first, _, _ := strings.Cut(text, "\n")
	for _, comma := range []rune{'\t', ';', ','} {
		if !strings.ContainsRune(first, comma) {
			continue
		}
		r := csv.NewReader(strings.NewReader(text))
		r.Comma, r.LazyQuotes = comma, comma == '\t'
		rows, err := r.ReadAll()
		if err == nil && len(rows) > 1 && len(rows[0]) > 1 {
			return table{rows[0], rows[1:min(len(rows), maxRows)]}, true
		}
	}
	return table{}, false
}

func (t table) column(name string) (int, error) {
	if i := slices.Index(t.columns, name); i >= 0 {
		return i, nil
	}
	return 0, errArguments(fmt.Sprintf("there is no column %q; there are %s", clip(name, 80), clip(strings.Join(t.columns, ", "), 1500)))
}

func (t table) at(row []string, i int) string {
	if i < len(row) {
		return row[i]
	}
	return ""
}

// number reads a cell that is a plain number, of which no digit is lost. What only looks like one, such as a hash, is text.
func number(s string) (float64, bool) {
	digits, point := 0, false
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '-' && i == 0:
		case r == '.' && !point && digits > 0:
			point = true
		default:
			return 0, false
		}
	}
	if digits == 0 || digits > 15 {
		return 0, false
	}
	x, err := strconv.ParseFloat(s, 64)
	return x, err == nil
}

// compare orders numbers by value and all else by bytes, numbers first.
func compare(a, b string) int {
	x, okA := number(a)
	y, okB := number(b)
	switch {
	case okA && okB:
		return cmp.Compare(x, y)
	case okA:
		return -1
	case okB:
		return 1
	}
	return strings.Compare(a, b)
}

// maxOf bounds how many of each a query may have.
const maxOf = 50

// every is how many rows are gone through between looks at the context.
const every = 4096

// query answers in words and a table of tabs. It ends with ctx.
func (t table) query(ctx context.Context, q query) (string, error) {
	if max(len(q.Columns), len(q.Where), len(q.Group), len(q.Compute)) > maxOf {
		return "", errArguments(fmt.Sprintf("at most %d of each can be asked for", maxOf))
	}
	if len(q.Columns)+len(q.Where)+len(q.Group)+len(q.Compute) == 0 && q.Order == "" && q.Limit == 0 && q.Skip == 0 {
		return t.describe(), nil
	}
	type test struct {
		i     int
		is    string
		value string
	}
	var tests []test
	for _, w := range q.Where {
		i, err := t.column(w.Column)
		if err != nil {
			return "", err
		}
		tests = append(tests, test{i, w.Is, w.Value})
	}
	kept := t.rows
	if len(tests) > 0 {
		kept = nil
		for i, row := range t.rows {
			if i%every == 0 && ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			ok := true
			for _, w := range tests {
				ok = ok && fits(t.at(row, w.i), w.is, w.value)
			}
			if ok {
				kept = append(kept, row)
			}
		}
	}
	out := table{t.columns, kept}
	if len(q.Group)+len(q.Compute) > 0 {
		var err error
		if out, err = out.group(ctx, q); err != nil {
			return "", err
		}
		q.Columns = nil
	}
	if q.Order != "" {
		i, err := out.column(q.Order)
		if err != nil {
			return "", err
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		out.rows = slices.Clone(out.rows)
		slices.SortStableFunc(out.rows, func(a, b []string) int {
			if q.Descending {
				a, b = b, a
			}
			return compare(out.at(a, i), out.at(b, i))
		})
	}
	limit := q.Limit
	if limit <= 0 || limit > 200 {
		limit = min(200, max(limit, 50))
	}
	from := min(max(q.Skip, 0), len(out.rows))
	head := fmt.Sprintf("%d rows, %d fit", len(t.rows), len(kept))
	all := len(out.rows)
	out.rows = out.rows[from:min(all, from+limit)]
	if len(q.Columns) > 0 { // of the rows that are shown
		var err error
		if out, err = out.only(q.Columns); err != nil {
			return "", err
		}
	}
	return head + out.show(from, all), nil
}

func fits(have, is, value string) bool {
	switch is {
	case "=":
		return have == value || compare(have, value) == 0
	case "!=":
		return compare(have, value) != 0
	case "<":
		return compare(have, value) < 0
	case "<=":
		return compare(have, value) <= 0
	case ">":
		return compare(have, value) > 0
	case ">=":
		return compare(have, value) >= 0
	case "contains":
		return strings.Contains(strings.ToLower(have), strings.ToLower(value))
	case "starts":
		return strings.HasPrefix(strings.ToLower(have), strings.ToLower(value))
	case "empty":
		return have == ""
	}
	return false
}

func (t table) only(columns []string) (table, error) {
	var at []int
	for _, c := range columns {
		i, err := t.column(c)
		if err != nil {
			return t, err
		}
		at = append(at, i)
	}
	out := table{columns: columns}
	for _, row := range t.rows {
		var r []string
		for _, i := range at {
			r = append(r, t.at(row, i))
		}
		out.rows = append(out.rows, r)
	}
	return out, nil
}

// group computes figures for each group of rows, or for all.
func (t table) group(ctx context.Context, q query) (table, error) {
	compute := q.Compute
	if len(compute) == 0 {
		compute = append(compute, struct {
			What   string `json:"what"`
			Column string `json:"column"`
		}{What: "count"})
	}
	out := table{columns: slices.Clone(q.Group)}
	by, of := make([]int, len(q.Group)), make([]int, len(compute))
	for i, c := range q.Group {
		var err error
		if by[i], err = t.column(c); err != nil {
			return t, err
		}
	}
	for i, c := range compute {
		name := c.What
		if c.Column != "" {
			name += " " + c.Column
			var err error
			if of[i], err = t.column(c.Column); err != nil {
				return t, err
			}
		} else if c.What != "count" {
			return t, errArguments(c.What + " needs a column")
		}
		out.columns = append(out.columns, name)
	}
	groups := map[string][][]string{}
	var order []string
	for i, row := range t.rows {
		if i%every == 0 && ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		key := ""
		for _, i := range by {
			key += strconv.Quote(t.at(row, i))
		}
		if groups[key] == nil {
			if order = append(order, key); len(order) > maxGroups {
				return t, errArguments(fmt.Sprintf("there are more than %d groups", maxGroups))
			}
		}
		groups[key] = append(groups[key], row)
	}
	if len(by) == 0 && len(order) == 0 {
		order = append(order, "") // of nothing there are none
	}
	for _, key := range order {
		if ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		var row []string
		for _, i := range by {
			row = append(row, t.at(groups[key][0], i))
		}
		for i, c := range compute {
			if ctx.Err() != nil {
				return t, context.Cause(ctx)
			}
			row = append(row, t.figure(groups[key], c.What, c.Column, of[i]))
		}
		out.rows = append(out.rows, row)
	}
	return out, nil
}

// figure is one number of some rows. Cells that are empty do not count, and of sums and means those that are no numbers.
func (t table) figure(rows [][]string, what, column string, i int) string {
	if what == "count" && column == "" {
		return strconv.Itoa(len(rows))
	}
	var cells []string
	for _, r := range rows {
		if c := t.at(r, i); c != "" {
			cells = append(cells, c)
		}
	}
	switch what {
	case "count":
		return strconv.Itoa(len(cells))
	case "distinct":
		slices.Sort(cells)
		return strconv.Itoa(len(slices.Compact(cells)))
	}
	if len(cells) == 0 {
		return ""
	}
	switch what {
	case "min":
		return slices.MinFunc(cells, compare)
	case "max":
		return slices.MaxFunc(cells, compare)
	}
	sum, n := 0.0, 0
	for _, c := range cells {
		if x, err := strconv.ParseFloat(c, 64); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) { // sums are of whatever is a number
			sum, n = sum+x, n+1
		}
	}
	if what == "mean" {
		sum /= float64(max(n, 1))
	}
	return strconv.FormatFloat(sum, 'f', -1, 64)
}

// show writes rows, of which the first is the one after from of all, with tabs between the cells.
func (t table) show(from, all int) string {
	var b strings.Builder
	b.WriteString(strings.Join(t.columns, "\t") + "\n")
	to := from
	for _, row := range t.rows {
		line := make([]string, len(t.columns))
		for i := range line {
			line[i] = clip(strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(t.at(row, i)), maxCell)
		}
		l := strings.Join(line, "\t") + "\n"
		if b.Len()+len(l) > maxPage && to > from {
			break
		}
		b.WriteString(cutBytes(l, maxPage))
		to++
	}
	return fmt.Sprintf(", rows %d to %d of %d:\n%s", min(from+1, to), to, all, b.String())
}

// describe says what columns there are, and what is in them.
func (t table) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows. Columns:\n", len(t.rows))
	for i, c := range t.columns {
		seen := map[string]int{}
		filled := 0
		for _, row := range t.rows {
			if v := t.at(row, i); v != "" {
				filled++
				if len(seen) < 1000 || seen[v] > 0 {
					seen[v]++
				}
			}
		}
		var examples []string
		for v := range seen {
			examples = append(examples, v)
		}
		slices.SortFunc(examples, func(a, b string) int { return cmp.Or(seen[b]-seen[a], strings.Compare(a, b)) })
		for j := range examples[:min(3, len(examples))] {
			examples[j] = strconv.Quote(clip(examples[j], 40))
		}
		fmt.Fprintf(&b, "- %s: %d filled, for example %s\n", c, filled, strings.Join(examples[:min(3, len(examples))], ", "))
		if b.Len() > maxPage {
			b.WriteString("…\n")
			break
		}
	}
	return b.String()
}
