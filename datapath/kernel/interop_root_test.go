package kernel

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// interopBed has endpoints on two hosts, and a third whose vxlan device an
// operator has configured by hand.
type interopBed struct {
	*bed
	a, b  *bedEndpoint
	plain *linktest.Namespace // holds the vxlan device
	host  *bedHost            // whose device it is
	addr  netip.Addr
	mac   encap.MAC
}

// newInteropBed takes whether the third host fills in the outer checksum. Over
// IPv6 it has to be told to take packets without one.
func newInteropBed(t *testing.T, o linktest.Options, checksum bool) *interopBed {
	b := newBed(t, o, HookAuto)
	n := &interopBed{
		bed: b, host: b.hosts[2], plain: b.lab.Endpoint("plain"),
		addr: netip.MustParseAddr("10.0.0.9"), mac: encap.MAC{2, 0, 0, 0, 0, 9},
	}
	n.host.close(t)
	b.hosts = b.hosts[:2]
	n.a = b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	n.b = b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
	b.connect()

	host := n.host.Namespace
	add := []string{"ip", "link", "add", "vx", "type", "vxlan", "id", strconv.Itoa(testVNI), "dstport", "4789",
		"nolearning", "local", n.host.Addr.String()}
	switch {
	case o.IPv6 && checksum:
		add = append(add, "noudp6zerocsumtx", "udp6zerocsumrx")
	case o.IPv6:
		add = append(add, "udp6zerocsumtx", "udp6zerocsumrx")
	case checksum:
		add = append(add, "udpcsum")
	default:
		add = append(add, "noudpcsum")
	}
	run(t, host, add...)
	run(t, host, "ip", "link", "set", "vx", "netns", n.plain.Name)
	in := n.plain
	run(t, in, "sysctl", "-q", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.vx.accept_dad=0")
	run(t, in, "ip", "link", "set", "vx", "address", n.mac.String(), "mtu", strconv.Itoa(b.mtu), "up")
	run(t, in, "ip", "addr", "add", n.addr.String()+"/24", "dev", "vx")
	run(t, in, "ip", "addr", "add", "fd00::9/64", "dev", "vx", "nodad")
	for _, e := range []*bedEndpoint{n.a, n.b} {
		vtep := e.host.Addr.String()
		run(t, in, "bridge", "fdb", "append", e.port.MAC.String(), "dev", "vx", "dst", vtep)
		run(t, in, "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx", "dst", vtep) // broadcast
	}
	for _, h := range b.hosts {
		network := h.network(testVNI, b.mtu)
		network.Remotes = append(network.Remotes, datapath.Remote{
			MAC: n.mac, Addrs: []netip.Addr{n.addr, netip.MustParseAddr("fd00::9")}, VTEP: n.host.Addr,
		})
		h.apply(t)
	}
	return n
}

// TestInterop: a plain vxlan device is a peer like any other.
func TestInterop(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 3}, testInterop) }

func testInterop(t *testing.T, o linktest.Options) {
	needTool(t, "bridge", "iperf3", "ping")
	for name, checksum := range map[string]bool{"without checksum": false, "with checksum": true} {
		t.Run(name, func(t *testing.T) {
			n := newInteropBed(t, o, checksum)
			packets := capture(t, n.host.Namespace, linktest.UnderlayDevice)

			// Nobody knows anybody: the first ping of each is preceded by
			// ARP or ND, asked by the plain host, answered by ours.
			checkPing(t, n.plain, n.a.addr().String())
			checkPing(t, n.b.Namespace, n.addr.String())
			checkPing(t, n.plain, "fd00::3")
			checkPing(t, n.a.Namespace, "fd00::9")
			checkPing(t, n.plain, n.a.addr().String(), n.fullPing(0)...)
			checkPing(t, n.plain, n.a.addr().String(), "-s", "4000")
			checkPing(t, n.a.Namespace, n.addr.String(), "-s", "4000")
			n.checkARP(t)

			checkUDP(t, n.a.Namespace, n.plain, n.addr.String())
			checkUDP(t, n.plain, n.a.Namespace, n.a.addr().String())
			n.checkWire(t, packets())

			checkTCP(t, n.a.Namespace, n.plain, n.addr.String())
			checkTCP(t, n.plain, n.b.Namespace, "fd00::3")
			for _, h := range n.hosts {
				if drops := h.stats(t).Drops[datapath.DropInnerSource]; drops.Packets != 0 {
					t.Errorf("%s took frames of the plain host for forged: %+v", h.Name, drops)
				}
			}
		})
	}
}

// checkARP asks for each other's addresses, with nothing known: ours is
// answered for it here, the plain host's request crosses.
func (n *interopBed) checkARP(t *testing.T) {
	t.Helper()
	a := dt.Party{MAC: n.a.port.MAC, Addr: n.a.addr()}
	plain := dt.Party{MAC: n.mac, Addr: n.addr}
	for _, c := range []struct {
		from, to dt.Party
		ns       *linktest.Namespace
		device   string
	}{
		{plain, a, n.plain, "vx"},
		{a, plain, n.a.Namespace, "eth0"},
	} {
		heard := listenAll(t, c.ns, c.device)
		sender(t, c.ns, c.device)(dt.ARPRequest(c.from, c.to.Addr))
		const length = 42 // what comes after it is padding
		want := dt.ARPReply(c.to, c.from)[:length]
		found := slices.ContainsFunc(heard(), func(f []byte) bool { return bytes.HasPrefix(f, want) })
		if !found {
			t.Errorf("%s got no answer to its ARP request for %s", c.from.Addr, c.to.Addr)
		}
	}
}

// checkWire looks at what our hosts put on the underlay.
func (n *interopBed) checkWire(t *testing.T, packets []outerPacket) {
	t.Helper()
	ours, theirs := 0, 0
	for _, p := range packets {
		if p.vni != strconv.Itoa(testVNI) {
			t.Fatalf("tshark sees VNI %s: %+v", p.vni, p)
		}
		if p.from == n.host.Addr.String() {
			theirs++
			continue
		}
		ours++
		if p.checksum != "0x0000" || p.ttl != "64" || p.to != n.host.Addr.String() {
			t.Fatalf("want outer checksum 0x0000, TTL 64, to %s: %+v", n.host.Addr, p)
		}
		if n.host.Addr.Is4() && p.df != "1" && p.df != "True" {
			t.Fatalf("want DF: %+v", p)
		}
	}
	if ours < 100 || theirs < 100 {
		t.Errorf("tshark decodes %d packets of ours as VXLAN and %d of the plain host's, want hundreds", ours, theirs)
	}
}

// TestSourcePorts: flows spread over the underlay's paths.
func TestSourcePorts(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 3}, testSourcePorts) }

func testSourcePorts(t *testing.T, o linktest.Options) {
	const flows, wanted = 16, 8
	n := newInteropBed(t, o, false)
	packets := capture(t, n.host.Namespace, linktest.UnderlayDevice)
	for range flows {
		udpSend(t, n.a.Namespace, netip.AddrPortFrom(n.addr, 9), "flow")
	}
	ports, labels := map[string]bool{}, map[string]bool{}
	for _, p := range packets() {
		if p.from == n.a.host.Addr.String() {
			ports[p.sourcePort] = true
			labels[p.label] = true
		}
	}
	if o.IPv6 && len(labels) < wanted {
		t.Errorf("%d flows have %d flow labels, want %d or more", flows, len(labels), wanted)
	}
	if len(ports) < wanted {
		t.Errorf("%d flows have %d outer source ports, want %d or more", flows, len(ports), wanted)
	}
}
