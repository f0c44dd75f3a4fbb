package report

import "slices"

// Summary is what several rounds of one figure come to.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize returns the summary of at least one value.
func summarize(values []float64) Summary {
	s := slices.Sorted(slices.Values(values))
	return Summary{Median: middle(s), Min: s[0], Max: s[len(s)-1]}
}

// middle is the median of sorted values.
func middle(s []float64) float64 {
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// Spread is how far apart the extremes are, as a part of the median.
func (s Summary) Spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Max - s.Min) / s.Median
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
