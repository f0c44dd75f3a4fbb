package agent

import (
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestPlanSubnets(t *testing.T) {
	got := planSubnets(api.NetworkRequest{
		Subnets:      prefixes("10.1.0.0/24", "fd00::/64"),
		Gateways:     []netip.Addr{netip.MustParseAddr("10.1.0.254")},
		IPRanges:     prefixes("10.1.0.128/25"),
		AuxAddresses: map[string]netip.Addr{"router": netip.MustParseAddr("fd00::5")},
	})
	if len(got) != 2 {
		t.Fatalf("%d subnets", len(got))
	}
	four, six := got[0], got[1]
	if four.Gateway.String() != "10.1.0.254" || four.Range.String() != "10.1.0.128/25" || four.Aux != nil {
		t.Errorf("IPv4 subnet is %+v", four)
	}
	if six.Gateway.String() != "fd00::1" || six.Range.IsValid() || six.Aux["router"].String() != "fd00::5" {
		t.Errorf("IPv6 subnet is %+v", six)
	}
}

func TestPoolSubnet(t *testing.T) {
	for _, c := range []struct {
		name, pool string
		bits       int
		taken      []netip.Prefix
		routes     []netip.Prefix
		want       string
	}{
		{"the first", "10.0.0.0/8", 24, nil, nil, "10.0.0.0/24"},
		{"after those of networks", "10.0.0.0/8", 24, prefixes("10.0.0.0/24", "10.0.1.128/25"), nil, "10.0.2.0/24"},
		{"a larger network covers several", "10.0.0.0/8", 24, prefixes("10.0.0.0/22"), nil, "10.0.4.0/24"},
		{"after a route of the host", "10.0.0.0/8", 24, nil, prefixes("10.0.0.0/23"), "10.0.2.0/24"},
		{"none is left", "10.0.0.0/23", 24, prefixes("10.0.0.0/23"), nil, ""},
		{"end of the address space", "255.255.254.0/23", 24, prefixes("255.255.254.0/23"), nil, ""},
		{"IPv6 carries over", "fd00::/48", 64, prefixes("fd00::/56"), nil, "fd00:0:0:100::/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tables := &reconcile.Tables{Networks: map[string]store.Network{}}
			for _, p := range c.taken {
				tables.Networks[p.String()] = store.Network{Subnets: []store.Subnet{{Prefix: p}}}
			}
			onHost := func(p netip.Prefix) (bool, error) { return overlapsAny(p, c.routes), nil }
			got, ok, err := poolSubnet(tables, netip.MustParsePrefix(c.pool), c.bits, onHost)
			if err != nil {
				t.Fatal(err)
			}
			if ok != (c.want != "") || ok && got.String() != c.want {
				t.Errorf("got %v, %v; want %q", got, ok, c.want)
			}
		})
	}
}
