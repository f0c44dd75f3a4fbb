package kernel

import (
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// routeHolds is longer than programs may go on by what they remember of a route.
const routeHolds = 50 * time.Millisecond

// TestReroute: a change on the underlay is followed soon, whatever the
// programs remember of the way.
func TestReroute(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2, Bridge: true}, testReroute) }

func testReroute(t *testing.T, o linktest.Options) {
	b := newBed(t, o, HookAuto)
	near := b.attach(0, testVNI, "10.0.0.2/24")
	far := b.attach(1, testVNI, "10.0.0.3/24")
	b.connect()
	from, to := b.hosts[0], b.hosts[1]
	vtep := to.Addr.String()
	checkPing(t, near.Namespace, far.addr().String())

	t.Run("the next hop has another address", func(t *testing.T) {
		const mac = "02:00:00:00:aa:01"
		run(t, to.Namespace, "ip", "link", "set", linktest.UnderlayDevice, "address", mac)
		run(t, from.Namespace, "ip", "neigh", "replace", vtep, "lladdr", mac, "dev", linktest.UnderlayDevice)
		time.Sleep(routeHolds)
		checkPing(t, near.Namespace, far.addr().String())
	})
	t.Run("the next hop is forgotten", func(t *testing.T) {
		run(t, from.Namespace, "ip", "neigh", "flush", "dev", linktest.UnderlayDevice)
		time.Sleep(routeHolds)
		checkPing(t, near.Namespace, far.addr().String())
	})
	t.Run("the route leads by another device", func(t *testing.T) {
		var by []string
		for i, h := range b.hosts {
			name := "second" + string(rune('1'+i))
			run(t, b.lab.Underlay, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth1", "netns", h.Name)
			run(t, b.lab.Underlay, "ip", "link", "set", name, "master", "br0", "up")
			run(t, h.Namespace, "ip", "link", "set", "eth1", "up")
			if o.IPv6 { // where an address is asked for at its own device only
				run(t, h.Namespace, "ip", "addr", "add", "fe80::"+string(rune('1'+i))+"/64", "dev", "eth1", "nodad")
				by = []string{"via", "fe80::2"}
			}
		}
		run(t, from.Namespace, append([]string{"ip", "route", "add", vtep, "dev", "eth1", "src", from.Addr.String()}, by...)...)
		time.Sleep(routeHolds)
		packets := capture(t, from.Namespace, "eth1")
		checkPing(t, near.Namespace, far.addr().String())
		if len(packets()) == 0 {
			t.Error("the new device carries nothing")
		}
		run(t, from.Namespace, "ip", "route", "del", vtep)
		time.Sleep(routeHolds)
		checkPing(t, near.Namespace, far.addr().String())
	})
}
