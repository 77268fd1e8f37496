package pin

import "strings"

// Line is one line of a comparison. Old and New count from 1; 0 means the line is not on that side.
type Line struct {
	Sign byte // ' ', '-' or '+'
	Old  int
	New  int
	Text string // without the line end
}

// maxDiffCells bounds the table that Diff fills: 16 MiB, some 2,000 changed lines a side.
const maxDiffCells = 4 << 20

// Diff compares two texts line by line. Joining the lines that are not '+' gives old, those that are not '-' new. When
// the differing middle parts are too large to compare it removes all of one and adds all of the other.
func Diff(old, new string) []Line {
	a, b := lines(old), lines(new)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	out := make([]Line, 0, len(a)+len(b)-head-tail)
	for i := range head {
		out = append(out, Line{' ', i + 1, i + 1, a[i]})
	}
	out = appendMiddle(out, a[head:len(a)-tail], b[head:len(b)-tail], head)
	for i := range tail {
		out = append(out, Line{' ', len(a) - tail + i + 1, len(b) - tail + i + 1, a[len(a)-tail+i]})
	}
	return out
}

// appendMiddle walks the table of longest common subsequences from the front, removals before additions.
func appendMiddle(out []Line, a, b []string, skipped int) []Line {
	remove := func(i int) { out = append(out, Line{'-', skipped + i + 1, 0, a[i]}) }
	add := func(j int) { out = append(out, Line{'+', 0, skipped + j + 1, b[j]}) }
	i, j := 0, 0
	if len(a) > 0 && len(b) > 0 && len(a) <= maxDiffCells/len(b) {
		common := table(a, b)
		w := len(b) + 1
		for i < len(a) && j < len(b) {
			switch {
			case a[i] == b[j]:
				out = append(out, Line{' ', skipped + i + 1, skipped + j + 1, a[i]})
				i, j = i+1, j+1
			case common[(i+1)*w+j] >= common[i*w+j+1]:
				remove(i)
				i++
			default:
				add(j)
				j++
			}
		}
	}
	for ; i < len(a); i++ {
		remove(i)
	}
	for ; j < len(b); j++ {
		add(j)
	}
	return out
}

// table holds at [i*(len(b)+1)+j] the length of the longest common subsequence of a[i:] and b[j:].
func table(a, b []string) []int32 {
	w := len(b) + 1
	t := make([]int32, (len(a)+1)*w)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				t[i*w+j] = t[(i+1)*w+j+1] + 1
			} else {
				t[i*w+j] = max(t[(i+1)*w+j], t[i*w+j+1])
			}
		}
	}
	return t
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
