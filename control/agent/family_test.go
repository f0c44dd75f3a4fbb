package agent

import (
	"os"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
)

// Agents on an underlay of IPv6.
func TestIPv6Underlay(t *testing.T) {
	l := newLab(t, 0)
	for _, addr := range []string{"2001:db8::1", "2001:db8::2"} {
		l.machineAt(addr)
	}
	one, two := l.nodes[0], l.nodes[1]
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	two.cfg.Join, two.cfg.Token = []string{"2001:db8::1"}, one.secret.Token()
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	if at := one.joinAddress().String(); at != "[2001:db8::1]:7947" {
		t.Errorf("to join at %s", at)
	}
	if n := one.create(api.NetworkRequest{Name: "blue"}); n.Options[api.OptionMTU] != "1430" {
		t.Errorf("MTU of a network is %s, want the underlay's 1500 less 70", n.Options[api.OptionMTU])
	}
	e := one.attach("blue", "a")
	two.attach("blue", "b")
	l.eventually("host2 carries it", func() bool { return two.carries(e, one) })
	peers, err := two.Peers(t.Context())
	if err != nil || len(peers) != 1 || peers[0].VTEP.String() != "[2001:db8::1]:4789" {
		t.Errorf("peers are %+v, %v", peers, err)
	}
}

// A host whose underlay is of the other family does not join, and leaves
// nothing behind.
func TestOtherFamilyDoesNotJoin(t *testing.T) {
	l := newLab(t, 1)
	n := l.machineAt("2001:db8::2")
	n.cfg.Join, n.cfg.Token = []string{"192.0.2.1"}, l.nodes[0].secret.Token()
	err := n.start()
	if err == nil || !strings.Contains(err.Error(), "a cluster has one family") {
		t.Fatalf("join: %v", err)
	}
	if _, err := os.Stat(n.cfg.StateFile()); !os.IsNotExist(err) {
		t.Errorf("state is left: %v", err)
	}
	if nodes := l.nodes[0].tables().Nodes; len(nodes) != 1 {
		t.Errorf("the cluster has nodes %v", nodes)
	}
}

// A member comes back with an address of the other family: it is told, and its
// peers never are.
func TestFamilyDoesNotChange(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	before := two.host.underlay
	two.stop()
	two.host.underlay = newFakeHost("2001:db8::2").underlay
	err := two.start()
	for _, w := range []string{"host1", "192.0.2.1", "2001:db8::2", "--advertise"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not say %q", err, w)
		}
	}
	two.host.underlay = before
	if err := two.start(); err != nil {
		t.Fatalf("as before: %v", err)
	}
	l.eventually("host2 is back", func() bool { return one.knows(two) })
	if v := one.tables().Nodes[two.self.ID].VTEP; v != before.Addr {
		t.Errorf("host1 has host2 at %s", v)
	}
	// Who is alone may change.
	alone := newLab(t, 1).nodes[0]
	alone.stop()
	alone.host.underlay = newFakeHost("2001:db8::2").underlay
	if err := alone.start(); err != nil {
		t.Errorf("a cluster of one: %v", err)
	}
}
