package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aclements/go-moremath/stats"
)

// Two runs are compared by the ratios to the baseline: values differ with the
// machine, ratios much less so. A figure of a contender has changed if
//
//   - the medians of its ratios differ by minEffect or more: what a run
//     repeated on a quiet machine may differ by is less than that; and
//   - Welch's t-test of the logarithms of the rounds' ratios says that the
//     rounds do not account for it. All figures of all contenders are tested
//     at once, so the p-values are corrected after Holm: where nothing has
//     changed, a comparison cries out about anything at all with a
//     probability of familyAlpha at most.
//
// A rank test would ask for nothing of how the rounds scatter, but has no
// answer left after correction: five rounds against five reach p = 0.008 at
// best, and a hundred figures ask for 0.0005.
const (
	minEffect   = 0.10
	familyAlpha = 0.05
	// minRounds is what either run needs for the test to be worth anything.
	minRounds = 3
)

// Verdict is what the comparison says of one figure of one contender.
type Verdict int

// The verdicts. Untold is a difference that the rounds scatter too much to
// believe, or one that is too few rounds' to say.
const (
	Unchanged Verdict = iota
	Better
	Worse
	Untold
)

func (v Verdict) String() string {
	return [...]string{"unchanged", "better", "worse", "could not tell"}[v]
}

// Change is one figure of one contender in two runs.
type Change struct {
	Figure    *Figure
	Contender string
	// Old and New are the medians of the ratios.
	Old, New float64
	// P is the corrected probability that chance alone scatters the rounds
	// like this; 1 where it was not tested.
	P       float64
	Verdict Verdict
	// Marked: one of the runs says itself that its median is not to be
	// trusted.
	Marked bool
	// Why says why it is Untold.
	Why string
}

// Effect is by how much the ratio has grown, as a part of the old one.
func (c Change) Effect() float64 { return c.New/c.Old - 1 }

// Comparison is what Compare finds.
type Comparison struct {
	Changes []Change
	// OnlyOld and OnlyNew name the figures and contenders that the other run
	// does not have.
	OnlyOld, OnlyNew []string
	// Caveats are differences between the runs themselves.
	Caveats []string
}

// Compare returns what has changed from one run to another.
func Compare(before, after *Report) Comparison {
	c := Comparison{
		OnlyOld: missing(before, after),
		OnlyNew: missing(after, before),
		Caveats: caveats(before, after),
	}
	for _, f := range after.Figures {
		old := before.figure(f.Name)
		if old == nil {
			continue
		}
		for _, name := range f.Contenders {
			if f.BaselineOf(name) == name || old.Values[name] == nil {
				continue
			}
			change := Change{Figure: f, Contender: name, P: 1, Why: "it was measured against another baseline"}
			if old.BaselineOf(name) == f.BaselineOf(name) {
				change = compareRounds(f, name, old.ratiosOf(name), f.ratiosOf(name))
			}
			change.Marked = old.wide(name) || f.wide(name)
			c.Changes = append(c.Changes, change)
		}
	}
	holm(c.Changes)
	for i := range c.Changes {
		c.Changes[i].judge()
	}
	return c
}

// compareRounds returns a change with its own p-value, not yet corrected.
func compareRounds(f *Figure, contender string, before, after []float64) Change {
	c := Change{Figure: f, Contender: contender, P: 1}
	if len(before) == 0 || len(after) == 0 {
		c.Why = "there is no baseline"
		return c
	}
	c.Old, c.New = Median(before), Median(after)
	if len(before) < minRounds || len(after) < minRounds {
		c.Why = fmt.Sprintf("it takes %d rounds in both runs", minRounds)
		return c
	}
	if slices.Min(before) <= 0 || slices.Min(after) <= 0 {
		c.Why = "a round came to nothing"
		return c
	}
	result, err := stats.TwoSampleWelchTTest(logs(before), logs(after), stats.LocationDiffers)
	switch {
	case errors.Is(err, stats.ErrZeroVariance):
		c.P = 0 // rounds do not scatter at all; minEffect decides
	case err != nil:
		c.Why = err.Error()
	default:
		c.P = result.P
	}
	return c
}

func logs(values []float64) stats.Sample {
	s := stats.Sample{Xs: make([]float64, len(values))}
	for i, v := range values {
		s.Xs[i] = math.Log(v)
	}
	return s
}

// holm corrects the p-values for how many there are.
func holm(changes []Change) {
	var tested []*Change
	for i := range changes {
		if changes[i].Why == "" {
			tested = append(tested, &changes[i])
		}
	}
	slices.SortStableFunc(tested, func(a, b *Change) int { return cmp.Compare(a.P, b.P) })
	least := 0.0
	for i, c := range tested {
		least = max(least, min(1, c.P*float64(len(tested)-i)))
		c.P = least
	}
}

func (c *Change) judge() {
	switch {
	case c.Old > 0 && c.New > 0 && math.Abs(math.Log(c.New/c.Old)) < math.Log(1+minEffect):
		c.Verdict = Unchanged
	case c.Why != "":
		c.Verdict = Untold
	case c.P > familyAlpha:
		c.Verdict, c.Why = Untold, "the rounds scatter too much"
	case (c.New > c.Old) == c.Figure.LowerIsBetter:
		c.Verdict = Worse
	default:
		c.Verdict = Better
	}
}

func (r *Report) figure(name string) *Figure {
	i := slices.IndexFunc(r.Figures, func(f *Figure) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return r.Figures[i]
}

// missing names what of one report is not in another.
func missing(of, in *Report) []string {
	var out []string
	for _, f := range of.Figures {
		other := in.figure(f.Name)
		if other == nil {
			out = append(out, f.Name)
			continue
		}
		for _, c := range f.Contenders {
			if other.Values[c] == nil {
				out = append(out, f.Name+" of "+c)
			}
		}
	}
	return out
}

// caveats returns what makes two runs hard to compare.
func caveats(before, after *Report) []string {
	var out []string
	note := func(what string, before, after any) {
		if before != after {
			out = append(out, fmt.Sprintf("the runs differ in %s: %v, %v", what, before, after))
		}
	}
	note("processor", before.Machine.Model, after.Machine.Model)
	note("CPUs", before.Machine.CPUs, after.Machine.CPUs)
	note("kernel", before.Machine.Kernel, after.Machine.Kernel)
	note("seconds per measurement", before.Duration, after.Duration)
	return out
}
