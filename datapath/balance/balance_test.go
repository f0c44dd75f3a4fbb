package balance_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath/balance"
)

func named(n int) []balance.Backend {
	out := make([]balance.Backend, n)
	for i := range out {
		out[i] = balance.Backend{Name: fmt.Sprintf("%032x", i+1), Weight: 1}
	}
	return out
}

// shares are how many entries lead to each backend.
func shares(t *testing.T, table []uint16, backends int) []int {
	t.Helper()
	out := make([]int, backends)
	for i, b := range table {
		if int(b) >= backends {
			t.Fatalf("entry %d leads to %d of %d", i, b, backends)
		}
		out[b]++
	}
	return out
}

func TestTableShares(t *testing.T) {
	for _, n := range []int{1, 2, 6, 100, 1000} {
		got := shares(t, balance.Table(named(n), balance.DefaultSize), n)
		// Each has its turn in every round.
		if most, least := slices.Max(got), slices.Min(got); most-least > 1 {
			t.Errorf("of %d backends one has %d entries, another %d", n, most, least)
		}
	}
	weighted := named(3)
	weighted[0].Weight, weighted[1].Weight, weighted[2].Weight = 1, 3, 0
	got := shares(t, balance.Table(weighted, balance.DefaultSize), 3)
	if share := float64(got[0]) / balance.DefaultSize; share < 0.249 || share > 0.251 || got[2] != 0 {
		t.Errorf("of weights 1, 3 and 0, entries are %v", got)
	}
	for _, none := range [][]balance.Backend{nil, {{Name: "a"}}} {
		if table := balance.Table(none, balance.DefaultSize); table != nil {
			t.Errorf("%v share %d entries", none, len(table))
		}
	}
}

// TestTableOrder: hosts may list backends in any order.
func TestTableOrder(t *testing.T) {
	backends := named(20)
	backends[3].Weight, backends[4].Weight = 5, 2
	want := balance.Table(backends, balance.DefaultSize)
	shuffled := slices.Clone(backends)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for i, at := range balance.Table(shuffled, balance.DefaultSize) {
		if shuffled[at].Name != backends[want[i]].Name {
			t.Fatalf("entry %d leads to %s or %s", i, shuffled[at].Name, backends[want[i]].Name)
		}
	}
}

// TestTableDisruption: a backend that goes moves its own entries and few others,
// and when it is back all is as it was.
func TestTableDisruption(t *testing.T) {
	for _, n := range []int{2, 6, 50, 1000} {
		all := named(n)
		before := balance.Table(all, balance.DefaultSize)
		after := balance.Table(all[1:], balance.DefaultSize)
		moved := 0
		for i := range before {
			if before[i] != 0 && all[before[i]].Name != all[1:][after[i]].Name {
				moved++
			}
		}
		if part := float64(moved) / balance.DefaultSize; part > 0.02 {
			t.Errorf("1 of %d backends goes, and %.1f %% of the entries move between others", n, 100*part)
		}
	}
}

// TestTableStays: a table is the same in every version of ovl, for hosts of
// different versions share services.
func TestTableStays(t *testing.T) {
	table := balance.Table(named(6), 1021)
	if got, want := table[:16], []uint16{5, 3, 4, 2, 2, 2, 3, 4, 4, 1, 0, 5, 4, 5, 3, 5}; !slices.Equal(got, want) {
		t.Errorf("the table begins with %v, want %v", got, want)
	}
}

// TestHash: the reference implementation's results, and the BPF programs'
// (datapath/kernel), for what a flow is in memory.
func TestHash(t *testing.T) {
	for _, c := range []struct {
		flow balance.Flow
		want uint32
	}{
		{balance.Flow{Protocol: 6, Client: netip.MustParseAddrPort("10.0.0.2:40000"), VIP: netip.MustParseAddrPort("10.0.0.9:80")}, 0x39699e74},
		{balance.Flow{Protocol: 17, Client: netip.MustParseAddrPort("[fd00::2]:40000"), VIP: netip.MustParseAddrPort("[fd00::9]:53")}, 0x3aebf844},
	} {
		if got := c.flow.Hash(); got != c.want {
			t.Errorf("%+v: %#x, want %#x", c.flow, got, c.want)
		}
	}
}

// TestHashSpreads: ports one after the other, as stacks hand them out, spread
// over backends.
func TestHashSpreads(t *testing.T) {
	const flows, backends = 60000, 6
	table := balance.Table(named(backends), balance.DefaultSize)
	var got [backends]int
	for i := range flows {
		f := balance.Flow{
			Protocol: 6, Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), uint16(1024+i)),
			VIP: netip.MustParseAddrPort("10.0.0.9:80"),
		}
		got[table[balance.Entry(f.Hash(), len(table))]]++
	}
	for i, n := range got {
		if n < flows/backends*95/100 || n > flows/backends*105/100 {
			t.Errorf("backend %d gets %d of %d flows", i, n, flows)
		}
	}
	f := balance.Flow{Protocol: 6, Client: netip.MustParseAddrPort("10.0.0.2:1"), VIP: netip.MustParseAddrPort("10.0.0.9:80")}
	g := balance.Flow{Protocol: 17, Client: netip.MustParseAddrPort("10.0.0.2:2"), VIP: netip.MustParseAddrPort("10.0.0.9:81")}
	if f.Affine().Hash() != g.Affine().Hash() {
		t.Error("two flows of a client are told apart where they should not")
	}
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{6, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			backends := named(n)
			b.ReportAllocs()
			for b.Loop() {
				balance.Table(backends, balance.DefaultSize)
			}
		})
	}
}

func BenchmarkHash(b *testing.B) {
	f := balance.Flow{Protocol: 6, Client: netip.MustParseAddrPort("10.0.0.2:1"), VIP: netip.MustParseAddrPort("10.0.0.9:80")}
	b.ReportAllocs()
	for b.Loop() {
		f.Hash()
	}
}
