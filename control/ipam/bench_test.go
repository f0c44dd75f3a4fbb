package ipam_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/ipam"
)

// benchAllocator has handed out so many addresses of a /8, and keeps them on a
// disk that is memory.
func benchAllocator(b *testing.B, leases int, o ipam.Options) (*ipam.Allocator, []ipam.Subnet) {
	a, err := ipam.Open(&disk{buckets: map[string]map[string][]byte{}}, o)
	if err != nil {
		b.Fatal(err)
	}
	nets := []ipam.Subnet{subnet("10.0.0.0/8")}
	for i := range leases {
		if _, err := a.Allocate("n", nets, ipam.Request{Endpoint: fmt.Sprint("e", i)}); err != nil {
			b.Fatal(err)
		}
	}
	return a, nets
}

// benchCycle hands an address out and takes it back.
func benchCycle(b *testing.B, a *ipam.Allocator, nets []ipam.Subnet) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Allocate("n", nets, ipam.Request{Endpoint: "last"}); err != nil {
			b.Fatal(err)
		}
		if err := a.Release("n", "last"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAllocate and release, beside leases that stay.
func BenchmarkAllocate(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, nets := benchAllocator(b, n, ipam.Options{Rest: -1})
			benchCycle(b, a, nets)
		})
	}
}

// BenchmarkAllocateFull asks where one address is left: all are looked at.
func BenchmarkAllocateFull(b *testing.B) {
	const leases = 1<<16 - 3
	a, nets := benchAllocator(b, leases, ipam.Options{Rest: -1})
	nets[0].Range = netip.MustParsePrefix("10.0.0.0/16")
	benchCycle(b, a, nets)
}

// BenchmarkAllocateResting asks while so many addresses rest, as after a network
// of short-lived endpoints.
func BenchmarkAllocateResting(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			a, nets := benchAllocator(b, n, ipam.Options{Now: func() time.Time { return now }})
			for i := range n {
				if err := a.Release("n", fmt.Sprint("e", i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := a.Allocate("n", nets, ipam.Request{Endpoint: fmt.Sprint("new", i)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReview looks for leases without an endpoint, and finds none.
func BenchmarkReview(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, _ := benchAllocator(b, n, ipam.Options{Rest: -1})
			b.ReportAllocs()
			for b.Loop() {
				gone, err := a.Reconcile("n", func(string) bool { return true }, time.Minute)
				if err != nil || len(gone) > 0 {
					b.Fatal(gone, err)
				}
			}
		})
	}
}
