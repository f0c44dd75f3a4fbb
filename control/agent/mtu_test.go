package agent

import (
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// Networks use what the underlays take: jumbo frames as long as every host has
// them. Where hosts differ, each says so, and says how.
func TestUnequalUnderlays(t *testing.T) {
	l := newLab(t, 0)
	one := l.machine()
	one.host.underlay.MTU = 9000
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	if n := one.create(api.NetworkRequest{Name: "jumbo"}); n.Options[api.OptionMTU] != "8950" {
		t.Errorf("MTU of a network is %s, want the underlay's 9000 less 50", n.Options[api.OptionMTU])
	}
	if e := one.attach("jumbo", "a"); e.MTU != 8950 {
		t.Errorf("MTU of an endpoint is %d, want its network's 8950", e.MTU)
	}
	problems := func(n *node) string {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(s.Problems, "\n")
	}
	if p := problems(one); p != "" {
		t.Errorf("problems of a host alone: %s", p)
	}

	two := l.add()
	if n := one.create(api.NetworkRequest{Name: "common"}); n.Options[api.OptionMTU] != "1450" {
		t.Errorf("MTU of a network for both is %s, want 1450", n.Options[api.OptionMTU])
	}
	if e := two.attach("jumbo", "b"); e.MTU != 1450 {
		t.Errorf("MTU of an endpoint on the smaller underlay is %d, want 1450", e.MTU)
	}
	l.eventually("both name the other's MTU", func() bool {
		return strings.Contains(problems(one), "underlay: its MTU is 9000 here but 1500 on node host2") &&
			strings.Contains(problems(two), "underlay: its MTU is 1500 here but 9000 on node host1") &&
			strings.Contains(problems(two), "network jumbo: its MTU 8950 is more")
	})
	for n, want := range map[*node]int{one: 1500, two: 9000} {
		peers, err := n.Peers(t.Context())
		if err != nil || len(peers) != 1 || peers[0].MTU != want {
			t.Errorf("peers of %s are %+v, %v, want one of MTU %d", n.cfg.Name, peers, err, want)
		}
	}
	// The larger one holds packets for the smaller to what that takes.
	l.eventually("the datapath knows of the smaller underlay", func() bool {
		s, _ := one.host.dp().Last()
		return len(s.Peers) == 1 && s.Peers[0].VTEP == two.host.underlay.Addr && s.Peers[0].MTU == 1500
	})
}
