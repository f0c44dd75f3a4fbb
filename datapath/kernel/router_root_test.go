package kernel

import (
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestRouter: an endpoint that passes packets on, to something behind a device
// without offloads, which has to cut the aggregated packets that came out of
// the tunnel; and what it sends back goes into one.
func TestRouter(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testRouter) }

func testRouter(t *testing.T, o linktest.Options) {
	needTool(t, "ethtool", "iperf3")
	b := newBed(t, o, HookAuto)
	router := b.attach(0, testVNI, "10.0.0.2/24", "10.0.0.22/24")
	near := b.attach(0, testVNI, "10.0.0.3/24")
	far := b.attach(1, testVNI, "10.0.0.4/24")
	b.connect()

	// The router's second address is that of a namespace behind it.
	behind := b.lab.Endpoint("behind")
	const inner = "10.0.0.22"
	r := router.Namespace
	run(t, r, "ip", "addr", "del", inner+"/24", "dev", "eth0")
	run(t, r, "ip", "link", "add", "in0", "type", "veth", "peer", "name", "eth0", "netns", behind.Name)
	run(t, r, "ip", "link", "set", "in0", "mtu", "1450", "up")
	run(t, r, "ip", "route", "add", inner, "dev", "in0")
	run(t, r, "sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv4.conf.in0.proxy_arp=1")
	run(t, r, "ethtool", "-K", "in0", "tso", "off", "gso", "off", "tx", "off")
	run(t, behind, "ip", "link", "set", "eth0", "mtu", "1450", "up")
	run(t, behind, "ip", "addr", "add", inner+"/32", "dev", "eth0")
	run(t, behind, "ip", "route", "add", "10.0.0.0/24", "dev", "eth0", "src", inner)

	peers := []*bedEndpoint{near, far}
	if o.IPv6 {
		peers = peers[1:] // to a neighbour on the host the underlay is all one
	}
	for _, peer := range peers {
		checkPing(t, peer.Namespace, inner)
		checkTCP(t, peer.Namespace, behind, inner)
		checkUDP(t, peer.Namespace, behind, inner)
		checkSegmentedUDP(t, peer.Namespace, behind, inner)
	}
}
