package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestEndpointOffloads: streams and segmented datagrams arrive, on this host
// and another, whatever the endpoints' interfaces leave to others, at both ends
// of their veth pairs.
func TestEndpointOffloads(t *testing.T) {
	needTool(t, "ethtool", "ping")
	f := newTrafficBed(t, linktest.Options{})
	for _, c := range []struct {
		name    string
		set     [][]string
		restore [][]string
	}{
		{name: "as they are"},
		{
			"no segmentation",
			[][]string{{"ethtool", "-K", "DEV", "tso", "off", "gso", "off", "tx-udp-segmentation", "off"}},
			[][]string{{"ethtool", "-K", "DEV", "tso", "on", "gso", "on", "tx-udp-segmentation", "on"}},
		},
		{
			"no checksums",
			[][]string{{"ethtool", "-K", "DEV", "tx", "off", "rx", "off"}},
			[][]string{{"ethtool", "-K", "DEV", "tx", "on", "rx", "on", "tso", "on"}},
		},
		{
			"no scatter-gather",
			[][]string{{"ethtool", "-K", "DEV", "sg", "off"}},
			[][]string{{"ethtool", "-K", "DEV", "sg", "on", "tso", "on", "gso", "on"}},
		},
		{
			"small segments",
			[][]string{{"ip", "link", "set", "DEV", "gso_max_size", "5000", "gso_max_segs", "3"}},
			[][]string{{"ip", "link", "set", "DEV", "gso_max_size", "65536", "gso_max_segs", "65535"}},
		},
		{
			"GRO",
			[][]string{{"ethtool", "-K", "DEV", "gro", "on", "rx-udp-gro-forwarding", "on", "rx-gro-list", "on"}},
			[][]string{{"ethtool", "-K", "DEV", "gro", "off", "rx-udp-gro-forwarding", "off", "rx-gro-list", "off"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.onAllEnds(t, c.set)
			exchange(t, f.a, f.near, 8<<20)
			exchange(t, f.a, f.far, 8<<20)
			f.onAllEnds(t, c.restore)
		})
	}
}

// onAllEnds runs commands for both ends of each endpoint's veth pair.
func (f *trafficBed) onAllEnds(t *testing.T, commands [][]string) {
	t.Helper()
	for _, command := range commands {
		for _, e := range []*bedEndpoint{f.a, f.near, f.far} {
			for device, ns := range map[string]*linktest.Namespace{"eth0": e.Namespace, e.port.Device: e.host.Namespace} {
				c := slices.Clone(command)
				c[slices.Index(c, "DEV")] = device
				run(t, ns, c...)
			}
		}
	}
}

// TestRoutedBetweenNetworks: an endpoint that is on two networks routes from
// one to the other. What comes out of the tunnel goes into it again, aggregated
// or not, and the kernel still has it down as encapsulated.
//
// The router changes no address, as one that masquerades would: so both hosts
// are told that the addresses behind it are its own.
func TestRoutedBetweenNetworks(t *testing.T) {
	onUnderlays(t, linktest.Options{}, func(t *testing.T, o linktest.Options) {
		b := newBed(t, o, HookAuto)
		const otherVNI = testVNI + 1
		a := b.attach(1, testVNI, "10.0.0.2/24", "fd00::2/64")
		c := b.attach(1, otherVNI, "10.1.0.2/24", "fd01::2/64")
		router := b.attach(0, testVNI, "10.0.0.3/24", "fd00::3/64")
		second := b.attachToo(t, router, otherVNI, "10.1.0.3/24", "fd01::3/64")
		for _, w := range []struct {
			port   *datapath.Port
			behind *bedEndpoint
		}{{&b.hosts[0].network(testVNI, b.mtu).Ports[0], c}, {&b.hosts[0].network(otherVNI, b.mtu).Ports[0], a}} {
			w.port.Addrs = slices.Concat(w.port.Addrs, w.behind.port.Addrs)
		}
		b.connect()
		run(t, router.Namespace, "sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		for i := range a.port.Addrs {
			run(t, a.Namespace, "ip", "route", "add", c.port.Addrs[i].String(), "via", router.port.Addrs[i].String())
			run(t, c.Namespace, "ip", "route", "add", a.port.Addrs[i].String(), "via", second.Addrs[i].String())
		}
		exchange(t, a, c, 16<<20)
		if got := b.hosts[0].stats(t).Drops[datapath.DropEncap]; got.Packets != 0 {
			t.Errorf("%d packets could not be encapsulated", got.Packets)
		}
	})
}

// attachToo gives an endpoint an eth1, on another network.
func (b *bed) attachToo(t *testing.T, e *bedEndpoint, vni encap.VNI, addrs ...string) datapath.Port {
	t.Helper()
	other := b.attach(slices.Index(b.hosts, e.host), vni, addrs...)
	run(t, other.Namespace, "ip", "link", "set", "eth0", "down")
	run(t, other.Namespace, "ip", "link", "set", "eth0", "name", "eth1", "netns", e.Name)
	run(t, e.Namespace, "sysctl", "-q", "net.ipv6.conf.eth1.accept_dad=0", "net.ipv6.conf.eth1.dad_transmits=0")
	run(t, e.Namespace, "ip", "link", "set", "eth1", "up")
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		add := []string{"ip", "addr", "add", p.String(), "dev", "eth1"}
		if p.Addr().Is6() {
			add = append(add, "nodad")
		}
		run(t, e.Namespace, add...)
	}
	return other.port
}
