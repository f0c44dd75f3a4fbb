package measure

import "math"

// percentile returns the smallest of the sorted values that is not below p
// percent of them (the nearest rank).
func percentile(sorted []float64, p float64) float64 {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
