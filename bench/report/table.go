package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Print writes a table of each figure: medians, and the ratio to the baseline
// with the lowest and highest of its rounds. What failed stands
// there with its reason.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", r.headline())
	fmt.Fprintf(&b, "Medians of %s; the ratio to the baseline, lowest and highest round.\n", count(r.Rounds, "round"))
	name := r.nameWidth()
	wide := false
	for _, g := range r.Groups() {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(g.Title))
		for _, f := range g.Figures {
			fmt.Fprintf(&b, "\n  %s, %s (%s)\n", f.Title, f.Unit, f.better())
			for _, c := range f.Contenders {
				b.WriteString(strings.TrimRight(f.row(c, name), " ") + "\n")
			}
			for _, c := range slices.Sorted(maps.Keys(f.Failed)) {
				fmt.Fprintf(&b, "    %-*s  not measured: %s\n", name, c, oneLine(f.Failed[c]))
			}
			wide = wide || len(f.Wide) > 0
		}
	}
	if wide {
		fmt.Fprintf(&b, "\n~ the rounds tell it less exactly than to %.0f %% (95 %% confidence)\n", wideUncertainty*100)
	}
	if len(r.NotRun) > 0 {
		fmt.Fprint(&b, "\nNOT RUN\n\n")
		for _, c := range slices.Sorted(maps.Keys(r.NotRun)) {
			fmt.Fprintf(&b, "    %-*s  %s\n", name, c, oneLine(r.NotRun[c]))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// row is one contender's part of a figure's table.
func (f *Figure) row(contender string, width int) string {
	mark := ""
	if f.wide(contender) {
		mark = "  ~"
	}
	row := fmt.Sprintf("    %-*s %10s", width, contender, number(f.Summary[contender].Median))
	q, ok := f.ratio(contender)
	if !ok {
		return row + mark
	}
	return row + fmt.Sprintf(" %9s  %13s%s", factor(q.Median), factor(q.Min)+"–"+factor(q.Max), mark)
}

// nameWidth is how wide the contenders' column must be.
func (r *Report) nameWidth() int {
	width := 10
	fit := func(names ...string) {
		for _, n := range names {
			width = max(width, utf8.RuneCountInString(n))
		}
	}
	for _, f := range r.Figures {
		fit(f.Contenders...)
		fit(slices.Collect(maps.Keys(f.Failed))...)
	}
	fit(slices.Collect(maps.Keys(r.NotRun))...)
	return width
}

// headline says where and when.
func (r *Report) headline() string {
	cpus := count(r.Machine.CPUs, "CPU")
	if v := r.Machine.Virtual; v != nil && *v {
		cpus += " of a virtual machine"
	}
	return fmt.Sprintf("%s, Linux %s %s, %s (%s), %.1f GiB, load %.2f at the start",
		r.Time.Format("2006-01-02"), r.Machine.Kernel, r.Machine.Arch, cpus, r.Machine.Model,
		float64(r.Machine.Memory)/(1<<30), r.Load.Begin)
}

// factor writes a ratio.
func factor(q float64) string {
	if q >= 10 {
		return number(q)
	}
	return fmt.Sprintf("%.2f", q)
}

func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}

// oneLine puts an error that has several into one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
