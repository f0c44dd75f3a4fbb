package kernel

import (
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestAddressMoves: an endpoint goes, another one gets its addresses, and the
// senders, whose stacks have not noticed, reach it with the first packet.
func TestAddressMoves(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	near := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	far := b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
	moving := b.attach(0, testVNI, "10.0.0.4/24", "fd00::4/64")
	b.connect()
	pingAll := func() {
		t.Helper()
		for _, from := range []*bedEndpoint{near, far} {
			for _, a := range []string{"10.0.0.4", "fd00::4"} {
				run(t, from.Namespace, "ping", "-n", "-c", "1", "-W", "1", a)
			}
		}
	}
	pingAll()

	mac := encap.MAC{2, 0xee, 0, 0, 0, 1}
	run(t, moving.Namespace, "ip", "link", "set", "eth0", "address", mac.String())
	ports := b.hosts[0].network(testVNI, b.mtu).Ports
	for i := range ports {
		if ports[i].MAC == moving.port.MAC {
			ports[i].MAC = mac
		}
	}
	b.connect()
	for _, from := range []*bedEndpoint{near, far} {
		// What they would keep anyway, but may have begun to doubt.
		for _, a := range moving.port.Addrs {
			remember(t, from, a, moving.port.MAC)
		}
	}
	pingAll()
}

// remember has an endpoint's stack hold a neighbour's MAC for good.
func remember(t *testing.T, e *bedEndpoint, a netip.Addr, mac encap.MAC) {
	t.Helper()
	run(t, e.Namespace, "ip", "neigh", "replace", a.String(), "lladdr", mac.String(), "dev", "eth0", "nud", "permanent")
}
