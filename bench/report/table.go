package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// wideSpread is how far apart the rounds of a ratio may be, as a part of its
// median, before it is marked as one to be taken with care.
const wideSpread = 0.2

// Print writes a table of each figure: medians, and the ratio to the baseline
// with the lowest and highest of its rounds.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "\n%d rounds; medians; the ratio to the baseline, lowest and highest round\n", r.Rounds)
	wide := false
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, f := range r.Figures {
		fmt.Fprintf(t, "\n%s, %s\n", f.Title, f.Unit)
		for _, name := range f.Contenders {
			fmt.Fprintf(t, "  %s\t%.1f", name, f.Summary[name].Median)
			if q, ok := f.Ratios[name]; ok && name != f.BaselineOf(name) {
				fmt.Fprintf(t, "\t%.2f\t%.2f–%.2f", q.Median, q.Min, q.Max)
				if q.Spread() > wideSpread {
					fmt.Fprint(t, " ~")
					wide = true
				}
			}
			fmt.Fprintln(t)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if wide {
		fmt.Fprintf(w, "\n~ the rounds differ by more than %.0f%%: something else was busy\n", wideSpread*100)
	}
	for name, why := range r.NotRun {
		fmt.Fprintf(w, "%s was not run: %s\n", name, why)
	}
	return nil
}
