package datapath_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

func TestClients(t *testing.T) {
	addr := netip.MustParseAddr
	s := datapath.State{Networks: []datapath.Network{
		{VNI: 4096, Ports: []datapath.Port{
			{Device: "a", MAC: encap.MAC{0x02, 0, 0, 0, 0x12, 0x34}, Addrs: []netip.Addr{addr("10.0.0.2"), addr("fd00::2")}},
			{Device: "b", MAC: encap.MAC{0x0a, 1, 2, 3, 4, 5}},
		}, Remotes: []datapath.Remote{{Addrs: []netip.Addr{addr("10.0.0.3")}}}},
		{VNI: 4097, Ports: []datapath.Port{{MAC: encap.MAC{0x02}, Addrs: []netip.Addr{addr("10.0.0.2")}}}},
		{VNI: 4098},
	}}
	want := map[datapath.Client]bool{
		{VNI: 4096, Addr: addr("10.0.0.2")}:               true,
		{VNI: 4096, Addr: addr("fd00::2")}:                true,
		{VNI: 4096, Addr: addr("fe80::ff:fe00:1234")}:     true,
		{VNI: 4096, Addr: addr("fe80::801:2ff:fe03:405")}: true,
		{VNI: 4097, Addr: addr("10.0.0.2")}:               true,
		{VNI: 4097, Addr: addr("fe80::ff:fe00:0")}:        true,
	}
	got := s.Clients()
	if !maps.Equal(got, want) {
		t.Errorf("clients %v, want %v", got, want)
	}
	less := datapath.State{Networks: slices.Clone(s.Networks)}
	less.Networks[0].Ports = s.Networks[0].Ports[:1]
	moved := datapath.State{Networks: slices.Clone(s.Networks)}
	moved.Networks[1].Ports = []datapath.Port{{MAC: encap.MAC{0x02}}}
	none := datapath.State{}
	for _, before := range []datapath.State{s, less, moved, none} {
		for _, now := range []datapath.State{s, less, moved, none} {
			want := false
			for c := range before.Clients() {
				want = want || !now.Clients()[c]
			}
			if want && !now.ClientsLeft(before) {
				t.Errorf("clients of %v have left, and are none of %v", before, now)
			}
		}
		if before.ClientsLeft(before) || before.ClientsLeft(none) {
			t.Errorf("clients of %v have left", before)
		}
	}
}
