package report

import (
	"math"
	"slices"
)

// Summary is what several rounds of one figure come to.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Uncertainty says how exactly the rounds tell, as a part of the value:
	// the half of the 95 % confidence interval (Student's t, of the
	// logarithms). It is 1 where it would be more, and where fewer than
	// minRounds, or one that came to nothing, leave it unknown.
	Uncertainty float64 `json:"uncertainty"`
}

const (
	confidence = 0.95
	// wideUncertainty is the Uncertainty above which a median is not to be
	// trusted. As long as it is less in two runs of the same program, their
	// medians differ by less than 10 % in more than 19 of 20
	// (TestWideMeansNotRepeatable).
	wideUncertainty = 0.07
)

// Wide reports whether the rounds tell too little for the median to be trusted.
func (s Summary) Wide() bool { return s.Uncertainty > wideUncertainty }

// summarize returns the summary of at least one value.
func summarize(values []float64) Summary {
	s := slices.Sorted(slices.Values(values))
	return Summary{Median: median(s), Min: s[0], Max: s[len(s)-1], Uncertainty: uncertainty(s)}
}

// uncertainty returns that of sorted values.
func uncertainty(s []float64) float64 {
	if len(s) < minRounds || s[0] <= 0 {
		return 1
	}
	mean, _, high := logs(s).MeanCI(confidence)
	return min(1, math.Expm1(high-mean))
}

// Median is the value that as many are above as below, of at least one.
func Median(values []float64) float64 { return median(slices.Sorted(slices.Values(values))) }

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios divides round by round.
func ratios(values, base []float64) []float64 {
	out := make([]float64, 0, len(values))
	for i := range min(len(values), len(base)) {
		if base[i] != 0 {
			out = append(out, values[i]/base[i])
		}
	}
	return out
}
