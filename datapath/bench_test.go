package datapath_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

var sizes = []int{100, 10_000, 100_000}

// BenchmarkStateEqual compares two states that are the same: the longest that
// it can take.
func BenchmarkStateEqual(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, o := dt.Crowd(4096, n), dt.Crowd(4096, n)
			b.ReportAllocs()
			for b.Loop() {
				if !s.Equal(o) {
					b.Fatal("not equal")
				}
			}
		})
	}
}

// BenchmarkStateSort sorts endpoints that come in no order.
func BenchmarkStateSort(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := dt.Crowd(4096, n)
			remotes := s.Networks[0].Remotes
			shuffle := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				shuffle.Shuffle(n, func(i, j int) { remotes[i], remotes[j] = remotes[j], remotes[i] })
				b.StartTimer()
				s.Sort()
			}
		})
	}
}
