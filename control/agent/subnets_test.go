package agent

import (
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/control/api"
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
