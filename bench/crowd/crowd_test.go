package crowd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/encap"
)

func TestEndpoints(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/20")
	n := store.Network{ID: "n1", Name: "bench", MTU: 1450, Subnets: []store.Subnet{{Prefix: prefix}}}
	const count = 2000
	free, err := addresses(n, count)
	if err != nil {
		t.Fatal(err)
	}
	ids, macs, addrs := map[string]bool{}, map[encap.MAC]bool{}, map[netip.Addr]bool{}
	low := netip.MustParseAddr("10.0.8.0") // the half below is not the crowd's
	broadcast := netip.MustParseAddr("10.0.15.255")
	for _, r := range endpoints("node", n, free) {
		e := r.value.(store.Endpoint)
		if r.table != store.TableEndpoint || r.key != e.ID {
			t.Fatalf("row of %s has key %s in table %s", e.ID, r.key, r.table)
		}
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
	if _, err := addresses(n, 2049); err == nil || !strings.Contains(err.Error(), "10.0.0.0/20") {
		t.Errorf("more than half of the subnet: %v", err)
	}
	if _, err := addresses(store.Network{Name: "bench"}, 1); err == nil {
		t.Error("a network without a subnet is taken")
	}
}

func TestServices(t *testing.T) {
	n := store.Network{ID: "n1", Name: "bench"}
	vips := []netip.Addr{netip.MustParseAddr("10.0.15.254"), netip.MustParseAddr("10.0.15.253")}
	rows := services("node", n, store.Endpoint{ID: "e1", Node: "other"}, vips)
	if len(rows) != 2*len(vips) {
		t.Fatalf("%d rows for %d services", len(rows), len(vips))
	}
	ids := map[string]bool{}
	for i, vip := range vips {
		s := rows[2*i].value.(store.Service)
		ids[s.ID] = true
		if rows[2*i].table != store.TableService || rows[2*i].key != s.ID || s.Name != ServiceName(i) ||
			s.Network != "n1" || len(s.VIPs) != 1 || s.VIPs[0] != vip || balance.CheckSize(s.TableSize) != nil {
			t.Errorf("service %d is %+v", i, rows[2*i])
		}
		b := rows[2*i+1].value.(store.Backend)
		if rows[2*i+1].table != store.TableBackend || rows[2*i+1].key != store.BackendKey(s.ID, "e1") || b.Node != "other" || b.Weight != 1 || b.Draining {
			t.Errorf("its backend is %+v", rows[2*i+1])
		}
	}
	if len(ids) != len(vips) {
		t.Error("services share an ID")
	}
}
