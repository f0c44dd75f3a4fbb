package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Print writes what has changed, then what could not be told.
func (c Comparison) Print(w io.Writer) error {
	var b strings.Builder
	for _, s := range c.Caveats {
		fmt.Fprintf(&b, "note: %s\n", s)
	}
	counts := map[Verdict]int{}
	for _, ch := range c.Changes {
		counts[ch.Verdict]++
	}
	for _, v := range []Verdict{Worse, Better, Untold} {
		if counts[v] == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(v.String()))
		for _, ch := range c.Changes {
			if ch.Verdict == v {
				b.WriteString(ch.line())
			}
		}
	}
	for _, only := range []struct {
		run   string
		names []string
	}{{"old", c.OnlyOld}, {"new", c.OnlyNew}} {
		if len(only.names) > 0 {
			fmt.Fprintf(&b, "\nonly in the %s run: %s\n", only.run, strings.Join(only.names, ", "))
		}
	}
	fmt.Fprintf(&b, "\n%d compared: %d better, %d worse, %d could not be told, %d unchanged (less than %.0f %%)\n",
		len(c.Changes), counts[Better], counts[Worse], counts[Untold], counts[Unchanged], minEffect*100)
	if told, same := c.unmarked(); told > 0 {
		fmt.Fprintf(&b, "of %d that neither run marks with ~, %d unchanged\n", told, same)
	}
	if counts[Better]+counts[Worse] == 0 {
		fmt.Fprintln(&b, "no change beyond the noise")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	return nil
}

// unmarked returns how many changes there are of what neither run marks, and how
// many of those are none.
func (c Comparison) unmarked() (told, same int) {
	for _, ch := range c.Changes {
		if ch.Marked {
			continue
		}
		told++
		if ch.Verdict == Unchanged {
			same++
		}
	}
	return told, same
}

func (c Change) line() string {
	if c.Old == 0 || c.New == 0 {
		return fmt.Sprintf("  %-12s %s: %s\n", c.Contender, c.Figure.Title, c.Why)
	}
	why := fmt.Sprintf("p = %.2g", c.P)
	if c.Why != "" {
		why = c.Why
	}
	return fmt.Sprintf("  %-12s %5s → %-5s %+4.0f %%  %s (%s; %s)\n",
		c.Contender, factor(c.Old), factor(c.New), 100*c.Effect(), c.Figure.Title, c.Figure.better(), why)
}

// Worse reports whether anything has become worse.
func (c Comparison) Worse() bool {
	return slices.ContainsFunc(c.Changes, func(ch Change) bool { return ch.Verdict == Worse })
}
