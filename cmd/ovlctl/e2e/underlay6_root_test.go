package e2e

import (
	"fmt"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestIPv6Underlay is three hosts that reach each other over IPv6 alone: what
// their endpoints say to each other, of either family, does not notice.
func TestIPv6Underlay(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 3, IPv6: true})
	c.upAll()
	if line := c.hosts[0].agent.joinLine; line != "ovlctl up --join 2001:db8::1 --token "+c.token {
		t.Errorf("the first host prints %q", line)
	}
	c.hosts[0].must("network", "create", "shop", "--subnet", "10.0.0.0/24", "--subnet", "fd00:5::/64")
	var endpoints []*endpoint
	for i, h := range c.hosts {
		endpoints = append(endpoints, h.attach("shop", fmt.Sprintf("c%d", i+1)))
	}
	checkPings(t, endpoints...) // at once: the first packets too
	checkBulk(t, endpoints[0], endpoints[1])
	if mtu := endpoints[0].info.MTU; mtu != 1430 {
		t.Errorf("the MTU of an endpoint is %d, want the underlay's 1500 less 70", mtu)
	}
	for i, h := range c.hosts {
		var s api.Status
		h.query(&s, "status")
		if want := fmt.Sprintf("[2001:db8::%d]:4789", i+1); s.VTEP.String() != want || len(s.Problems) > 0 {
			t.Errorf("status is %+v, want the VTEP %s and no problems", s, want)
		}
		for reason, drops := range s.Counters.Drops {
			// What stacks say to groups when they come up is no loss.
			if drops.Packets > 0 && reason != "multicast" {
				t.Errorf("%s dropped %d packets: %s", h.name, drops.Packets, reason)
			}
		}
	}
}
