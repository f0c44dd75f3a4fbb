package report

import "slices"

// Summary is what several rounds of one figure come to.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Spread is the interquartile range as a part of the median: half of the
	// rounds lie that close together. One odd round does not change it, as it
	// does the distance from Min to Max.
	Spread float64 `json:"spread"`
}

// wideSpread is the Spread above which a median is not to be trusted. With
// five rounds as scattered as that, the medians of two runs of the same
// program differ by 10 % once in a dozen times (TestWideMeansNotRepeatable).
const wideSpread = 0.1

// Wide reports whether the rounds differ too much for the median to be
// trusted.
func (s Summary) Wide() bool { return s.Spread > wideSpread }

// summarize returns the summary of at least one value.
func summarize(values []float64) Summary {
	s := slices.Sorted(slices.Values(values))
	out := Summary{Median: quantile(s, 0.5), Min: s[0], Max: s[len(s)-1]}
	if out.Median != 0 {
		out.Spread = (quantile(s, 0.75) - quantile(s, 0.25)) / out.Median
	}
	return out
}

// Median is the value that as many are above as below, of at least one.
func Median(values []float64) float64 {
	return quantile(slices.Sorted(slices.Values(values)), 0.5)
}

// quantile is the value that a part q of sorted values is below, interpolated
// between neighbours.
func quantile(s []float64, q float64) float64 {
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 == len(s) {
		return s[i]
	}
	return s[i] + (s[i+1]-s[i])*(at-float64(i))
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
