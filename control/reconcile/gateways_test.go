package reconcile

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// A gateway is in the State where its network is, at its place, and what the
// builder remembers of the State before does not change by it.
func TestGatewaysIn(t *testing.T) {
	gateway := datapath.Port{Device: "ovlgw1000", MAC: datapath.GatewayMAC, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Gateway: true}
	s := datapath.State{Networks: []datapath.Network{
		{VNI: 4096, Ports: []datapath.Port{{Device: "ovl0000000001"}, {Device: "tap0"}}},
		{VNI: 4097, Ports: []datapath.Port{{Device: "ovl0000000002"}}},
	}}
	s.Networks[0].Ports = slices.Grow(s.Networks[0].Ports, 2) // there is room behind them
	g := &Gateways{Ports: map[encap.VNI]datapath.Port{4096: gateway, 4099: {Device: "ovlgw1003", Gateway: true}}}
	want := datapath.State{Networks: []datapath.Network{
		{VNI: 4096, Ports: []datapath.Port{{Device: "ovl0000000001"}, gateway, {Device: "tap0"}}},
		{VNI: 4097, Ports: []datapath.Port{{Device: "ovl0000000002"}}},
	}}
	before := datapath.State{Networks: []datapath.Network{
		{VNI: 4096, Ports: []datapath.Port{{Device: "ovl0000000001"}, {Device: "tap0"}}},
		{VNI: 4097, Ports: []datapath.Port{{Device: "ovl0000000002"}}},
	}}
	if got := g.In(s); !got.Equal(want) {
		t.Errorf("with gateways:\n%+v\nwant\n%+v", got, want)
	}
	if !s.Equal(before) {
		t.Errorf("the state before has become\n%+v", s)
	}
	if got := (*Gateways)(nil).In(s); !got.Equal(before) {
		t.Errorf("without gateways:\n%+v", got)
	}
}

// Gateways that come and go are in the next State, though the tables are the same.
func TestReconcilerGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(plain)
		defer r.stop()
		gateways := func() (n int) {
			s, _ := r.fake.Last()
			for _, p := range s.Networks[0].Ports {
				if p.Gateway {
					n++
				}
			}
			return n
		}
		for i, g := range []*Gateways{
			nil,
			{Ports: map[encap.VNI]datapath.Port{4096: {Device: "ovlgw1000", MAC: datapath.GatewayMAC, Gateway: true}}},
			{},
		} {
			r.gateways.Store(g)
			r.Again()
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if got, want := gateways(), i%2; got != want {
				t.Errorf("step %d: %d gateways are in the state, want %d", i, got, want)
			}
		}
	})
}
