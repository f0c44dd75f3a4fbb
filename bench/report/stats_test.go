package report

import (
	"math"
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Summary
	}{
		// One round, or two, say nothing of how they scatter; nor has 0 a
		// logarithm.
		{[]float64{3}, Summary{3, 3, 3, 1}},
		{[]float64{4, 1}, Summary{2.5, 1, 4, 1}},
		{[]float64{9, 0, 2}, Summary{2, 0, 9, 1}},
		{[]float64{5, 5, 5}, Summary{5, 5, 5, 0}},
		{[]float64{9, 1, 2}, Summary{2, 1, 9, 1}},
		// Logarithms 0.1 apart: 0.1 / sqrt(3) times Student's t for 2 degrees
		// of freedom, 4.303, is 0.2484.
		{[]float64{math.Exp(0.2), math.Exp(0.1), math.Exp(0.3)}, Summary{math.Exp(0.2), math.Exp(0.1), math.Exp(0.3), math.Expm1(0.2484)}},
	} {
		given := slices.Clone(c.values)
		got := summarize(c.values)
		if exact := got.Uncertainty; math.Abs(exact-c.want.Uncertainty) > 1e-4 {
			t.Errorf("summarize(%v) is known to %v, want %v", c.values, exact, c.want.Uncertainty)
		}
		got.Uncertainty = c.want.Uncertainty
		if got != c.want {
			t.Errorf("summarize(%v) = %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("summarize changed the order of rounds: %v", c.values)
		}
	}
}

// A ratio belongs to one round: the median of ratios is not the ratio of
// medians, and a round in which everything was slow must not count twice.
func TestRatiosAreTakenInsideARound(t *testing.T) {
	got := ratios([]float64{10, 1, 6}, []float64{5, 1, 2})
	if want := []float64{2, 1, 3}; !slices.Equal(got, want) {
		t.Errorf("ratios = %v, want %v", got, want)
	}
	if got := ratios([]float64{1, 2}, []float64{0, 2}); !slices.Equal(got, []float64{1}) {
		t.Errorf("a round whose baseline is 0 has no ratio: %v", got)
	}
	if got := ratios([]float64{1, 2}, nil); len(got) != 0 {
		t.Errorf("without a baseline there are no ratios: %v", got)
	}
}
