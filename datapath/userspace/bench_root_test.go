package userspace

import (
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/encap"
)

// BenchmarkApplyServices brings a host with two ports, 10 000 services and three
// endpoints for each to a State with a backend that is drained or is not, one with an
// endpoint more or less, and the same one again.
func BenchmarkApplyServices(b *testing.B) {
	const services = 10_000
	bed := newBed(b)
	full := dt.CrowdServices(encap.MinVNI, services)
	full.Networks[0].Ports = bed.state.Networks[0].Ports
	apply := func(b *testing.B, s datapath.State) {
		b.Helper()
		bed.on(b, func() error { return bed.dp.Apply(b.Context(), s) })
	}
	b.Run("drain", func(b *testing.B) {
		apply(b, full)
		for i := 0; b.Loop(); i++ {
			apply(b, dt.WithDrained(full, i/2%services, i%2 == 0))
		}
	})
	b.Run("join", func(b *testing.B) {
		apply(b, full)
		for i := 0; b.Loop(); i++ {
			s := datapath.State{Networks: append([]datapath.Network(nil), full.Networks...)}
			if i%2 == 0 {
				n := &s.Networks[0]
				n.Remotes = append(n.Remotes[:len(n.Remotes):len(n.Remotes)], dt.CrowdMember(3*services))
			}
			apply(b, s)
		}
	})
	b.Run("again", func(b *testing.B) {
		apply(b, full)
		for b.Loop() {
			apply(b, full)
		}
	})
}
