package crowd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

func TestEndpoints(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/20")
	n := store.Network{ID: "n1", Name: "bench", MTU: 1450, Subnets: []store.Subnet{{Prefix: prefix}}}
	const count = 2000
	es, err := endpoints("node", n, count)
	if err != nil {
		t.Fatal(err)
	}
	ids, macs, addrs := map[string]bool{}, map[encap.MAC]bool{}, map[netip.Addr]bool{}
	low := netip.MustParseAddr("10.0.8.0") // the half below is not the crowd's
	broadcast := netip.MustParseAddr("10.0.15.255")
	for _, e := range es {
		ids[e.ID], macs[e.MAC], addrs[e.Addrs[0].Addr()] = true, true, true
		if a := e.Addrs[0].Addr(); e.Addrs[0].Bits() != 20 || a.Less(low) || !a.Less(broadcast) {
			t.Fatalf("endpoint %s has address %s", e.Name, e.Addrs[0])
		}
		if !e.MAC.IsUnicast() || e.Node != "node" || e.Network != "n1" {
			t.Fatalf("endpoint is %+v", e)
		}
	}
	if len(ids) != count || len(macs) != count || len(addrs) != count {
		t.Errorf("of %d endpoints, %d have an ID, %d a MAC and %d an address of their own", count, len(ids), len(macs), len(addrs))
	}
	if _, err := endpoints("node", n, 2049); err == nil || !strings.Contains(err.Error(), "10.0.0.0/20") {
		t.Errorf("more than half of the subnet: %v", err)
	}
	if _, err := endpoints("node", store.Network{Name: "bench"}, 1); err == nil {
		t.Error("a network without a subnet is taken")
	}
}
