package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown writes a group's figures as a table: a row per figure, a column per
// contender. Below it stands why some were not measured.
func markdown(g Group) string {
	var contenders []string
	for _, f := range g.Figures {
		for _, c := range slices.Concat(f.Contenders, slices.Sorted(maps.Keys(f.Failed))) {
			if !slices.Contains(contenders, c) {
				contenders = append(contenders, c)
			}
		}
	}
	var b strings.Builder
	b.WriteString("| |")
	for _, c := range contenders {
		fmt.Fprintf(&b, " %s |", c)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(contenders)) + "\n")
	for _, f := range g.Figures {
		fmt.Fprintf(&b, "| %s, %s, %s |", f.Title, f.Unit, f.better())
		for _, c := range contenders {
			fmt.Fprintf(&b, " %s |", f.cell(c))
		}
		b.WriteByte('\n')
	}
	for _, f := range g.Figures {
		for _, why := range slices.Compact(slices.Sorted(maps.Values(f.Failed))) {
			fmt.Fprintf(&b, "\n%s, not measured of %s: %s\n", f.Title, f.failedBy(why), oneLine(why))
		}
	}
	return b.String()
}

// cell is a contender's part of a table: its value, and its ratio with the
// lowest and highest round.
func (f *Figure) cell(contender string) string {
	s, ok := f.Summary[contender]
	if !ok {
		return "–"
	}
	cell := number(s.Median)
	if q, ok := f.ratio(contender); ok {
		cell += fmt.Sprintf("<br>**%s** (%s–%s)", factor(q.Median), factor(q.Min), factor(q.Max))
	}
	if f.wide(contender) {
		cell += " ~"
	}
	return cell
}

// failedBy names the contenders that were not measured for a reason.
func (f *Figure) failedBy(why string) string {
	var names []string
	for _, c := range slices.Sorted(maps.Keys(f.Failed)) {
		if f.Failed[c] == why {
			names = append(names, "`"+c+"`")
		}
	}
	return strings.Join(names, ", ")
}
