package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// BenchmarkTables makes the wanted content of the maps of a State, as every
// Apply does.
func BenchmarkTables(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := dt.Crowd(testVNI, n)
			peers := peerTable{slots: map[netip.Addr]uint16{}, fresh: map[netip.Addr]uint16{}, pool: pool[uint16]{next: 1, limit: 4095}}
			b.ReportAllocs()
			for b.Loop() {
				t, errs := build(s, numbers{ifindex: ifindex, peer: peers.index, slot: func(slotOwner) uint32 { return 1 }})
				if len(errs) > 0 || len(t.fdb.now) != n+1 || len(t.neigh.now) != n {
					b.Fatalf("%d and %d entries of %d, %v", len(t.fdb.now), len(t.neigh.now), n, errs)
				}
			}
		})
	}
}
