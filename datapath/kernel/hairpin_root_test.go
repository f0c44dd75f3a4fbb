package kernel

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestHairpin: a packet that came out of the tunnel, and that its endpoint
// passes on with no copy made, goes into the tunnel again. The kernel still
// has it down as encapsulated.
//
// The router changes no address, as one that masquerades would: so both hosts
// are told that the sender's address is the router's as well.
func TestHairpin(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testHairpin) }

func testHairpin(t *testing.T, o linktest.Options) {
	b := newBed(t, o, HookAuto)
	router := b.attach(0, testVNI, "10.0.0.2/24")
	from := b.attach(1, testVNI, "10.0.0.4/24")
	to := b.attach(1, testVNI, "10.0.0.5/24")
	b.connect()
	local := &b.hosts[0].network(testVNI, b.mtu).Ports[0]
	local.Addrs = append(local.Addrs, from.addr())
	for i, r := range b.hosts[1].network(testVNI, b.mtu).Remotes {
		if r.MAC == router.port.MAC {
			b.hosts[1].network(testVNI, b.mtu).Remotes[i].Addrs = []netip.Addr{from.addr()}
		}
	}
	for _, h := range b.hosts {
		h.apply(t)
	}
	run(t, router.Namespace, "sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
		"net.ipv4.conf.eth0.rp_filter=0", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0")
	run(t, from.Namespace, "ip", "neigh", "add", "10.0.0.2", "lladdr", router.port.MAC.String(), "dev", "eth0", "nud", "permanent")
	run(t, from.Namespace, "ip", "route", "add", to.addr().String(), "via", "10.0.0.2")

	in := udpListen(t, to.Namespace, netip.AddrPortFrom(to.addr(), 4000))
	udpSend(t, from.Namespace, netip.AddrPortFrom(to.addr(), 4000), "round the corner")
	if err := in.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := in.Read(buf)
	if err != nil || string(buf[:n]) != "round the corner" {
		t.Errorf("heard %q, %v", buf[:n], err)
	}
	checkSegmentedUDP(t, from.Namespace, to.Namespace, to.addr().String())
	if c := b.hosts[0].stats(t).Peers[b.hosts[1].Addr]; c.Received.Packets == 0 || c.Sent.Packets == 0 {
		t.Errorf("the packets took another way: %+v", c)
	}
	if c := b.hosts[0].stats(t).Drops[datapath.DropEncap]; c.Packets != 0 {
		t.Errorf("%d packets could not be encapsulated", c.Packets)
	}
}
