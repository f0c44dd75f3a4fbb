package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// forgedBed has an endpoint on each of two hosts, and a third host that is on
// the underlay but not in the network.
type forgedBed struct {
	*bed
	a, b                   *bedEndpoint
	partyA, partyB         dt.Party
	hostA, hostB, stranger dt.Party
}

func newForgedBed(t *testing.T, o linktest.Options) *forgedBed {
	b := newBed(t, o, HookAuto)
	f := &forgedBed{bed: b}
	f.a = b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	f.b = b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
	b.connect()
	for _, e := range []*bedEndpoint{f.a, f.b} {
		e.silence(t)
		// A device that takes more than the network does.
		run(t, e.Namespace, "ip", "link", "set", "eth0", "mtu", "9000")
		run(t, e.host.Namespace, "ip", "link", "set", e.port.Device, "mtu", "9000")
	}
	f.partyA = dt.Party{MAC: f.a.port.MAC, Addr: f.a.addr()}
	f.partyB = dt.Party{MAC: f.b.port.MAC, Addr: f.b.addr()}
	f.hostA = dt.Party{MAC: macOf(t, b.hosts[0].Namespace, linktest.UnderlayDevice), Addr: b.hosts[0].Addr}
	f.hostB = dt.Party{MAC: macOf(t, b.hosts[1].Namespace, linktest.UnderlayDevice), Addr: b.hosts[1].Addr}
	f.stranger = dt.Party{MAC: macOf(t, b.hosts[2].Namespace, linktest.UnderlayDevice), Addr: b.hosts[2].Addr}
	return f
}

// silence leaves nothing but what the test sends: no IPv6 of the namespace's
// own.
func (e *bedEndpoint) silence(t *testing.T) {
	t.Helper()
	run(t, e.Namespace, "sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1")
}

// forgery is a frame that must not pass.
type forgery struct {
	name  string
	frame []byte
	want  datapath.DropReason
}

// fromEndpoint are frames that endpoint A might send.
func (f *forgedBed) fromEndpoint() []forgery {
	a, b := f.partyA, f.partyB
	otherMAC, otherIP := a, a
	otherMAC.MAC = encap.MAC{2, 0xba, 0xd0, 0, 0, 1}
	otherIP.Addr = netip.MustParseAddr("10.0.0.99")
	asB := dt.Party{MAC: a.MAC, Addr: b.Addr}
	a6 := dt.Party{MAC: a.MAC, Addr: f.a.port.Addrs[1]}
	b6 := dt.Party{MAC: b.MAC, Addr: f.b.port.Addrs[1]}
	asB6 := dt.Party{MAC: a.MAC, Addr: b6.Addr}
	unknown := dt.Party{MAC: encap.MAC{2, 9, 9, 9, 9, 9}, Addr: netip.MustParseAddr("10.0.0.9")}
	multicast := dt.Party{MAC: encap.MAC{1, 0, 0x5e, 0, 0, 0xfb}, Addr: netip.MustParseAddr("224.0.0.251")}
	good := dt.UDP4(a, b, "hello")
	return []forgery{
		{"another's MAC", dt.UDP4(otherMAC, b, "x"), datapath.DropSourceMAC},
		{"B's MAC", dt.UDP4(b, a, "x"), datapath.DropSourceMAC},
		{"no one's IP", dt.UDP4(otherIP, b, "x"), datapath.DropSourceIP},
		{"B's IP", dt.UDP4(asB, b, "x"), datapath.DropSourceIP},
		{"unspecified IP", dt.UDP4(dt.Party{MAC: a.MAC, Addr: netip.IPv4Unspecified()}, b, "x"), datapath.DropSourceIP},
		{"B's IPv6", dt.ICMP6(asB6, b6), datapath.DropSourceIP},
		{"unspecified IPv6", dt.ICMP6(dt.Party{MAC: a.MAC, Addr: netip.IPv6Unspecified()}, b6), datapath.DropSourceIP},
		{"ARP with B's IP", dt.ARPRequest(asB, netip.MustParseAddr("10.0.0.7")), datapath.DropSourceARP},
		{"ARP reply with B's IP", dt.ARPReply(asB, b), datapath.DropSourceARP},
		{"ARP with another sender MAC", dt.Patch(dt.ARPRequest(a, b.Addr), 22, otherMAC.MAC[:]...), datapath.DropSourceARP},
		{"ARP of another hardware", dt.Patch(dt.ARPRequest(a, b.Addr), 14, 0, 6), datapath.DropInnerMalformed},
		{"ARP cut short", dt.ARPRequest(a, b.Addr)[:41], datapath.DropTruncated},
		{"ARP for nobody", dt.ARPRequest(a, unknown.Addr), datapath.DropUnknownNeighbour},
		{"ARP announcement", dt.ARPRequest(a, a.Addr), datapath.DropMulticast},
		{"solicitation with another's link address", dt.Solicitation(a6, b6.Addr, otherMAC.MAC), datapath.DropSourceARP},
		{"solicitation from B's IPv6", dt.Solicitation(asB6, b6.Addr, a.MAC), datapath.DropSourceIP},
		{"solicitation for nobody", dt.Solicitation(a6, netip.MustParseAddr("fd00::99"), a.MAC), datapath.DropUnknownNeighbour},
		{"duplicate-address detection", dt.Solicit(dt.Party{MAC: a.MAC, Addr: netip.IPv6Unspecified()}, dt.SolicitedNode(a6.Addr), a6.Addr), datapath.DropMulticast},
		{"unknown MAC", dt.UDP4(a, unknown, "x"), datapath.DropUnknownDestination},
		{"to itself", dt.UDP4(a, a, "x"), datapath.DropUnknownDestination},
		{"multicast", dt.UDP4(a, multicast, "x"), datapath.DropMulticast},
		{"broadcast that is not IP", dt.Ethernet(a, dt.Party{MAC: encap.MAC{255, 255, 255, 255, 255, 255}}, 0x88b5, "x"), datapath.DropMulticast},
		{"IP cut short", good[:33], datapath.DropTruncated},
		{"IPv6 cut short", dt.ICMP6(a6, b6)[:53], datapath.DropTruncated},
		{"IP version 5", dt.Patch(good, 14, 0x55), datapath.DropInnerMalformed},
		{"IP header of 16 bytes", dt.Patch(good, 14, 0x44), datapath.DropInnerMalformed},
		{"IP longer than the frame", dt.Patch(good, 16, 0x10, 0), datapath.DropInnerMalformed},
		{"IP shorter than its header", dt.Patch(good, 16, 0, 19), datapath.DropInnerMalformed},
		{"longer than the MTU", dt.UDP4(a, b, string(make([]byte, f.mtu-28+1))), datapath.DropTooBig},
		{"other protocol longer than the MTU", dt.Ethernet(a, b, 0x88b5, string(make([]byte, f.mtu+1))), datapath.DropTooBig},
	}
}

// fromUnderlay are packets that may reach host A, from B or a stranger.
func (f *forgedBed) fromUnderlay() []forgery {
	a, b := f.partyA, f.partyB
	inner := dt.UDP4(b, a, "hello")
	good := dt.VXLAN(f.hostB, f.hostA, testVNI, inner)
	tunnel := func(inner []byte) []byte { return dt.VXLAN(f.hostB, f.hostA, testVNI, inner) }
	asA := dt.Party{MAC: b.MAC, Addr: a.Addr}
	nobody := dt.Party{MAC: encap.MAC{2, 9, 9, 9, 9, 9}, Addr: netip.MustParseAddr("10.0.0.9")}
	b6 := dt.Party{MAC: b.MAC, Addr: f.b.port.Addrs[1]}
	a6 := dt.Party{MAC: a.MAC, Addr: f.a.port.Addrs[1]}
	all := encap.MAC{255, 255, 255, 255, 255, 255}
	long := tunnel(dt.UDP4(b, a, "more than an Ethernet frame is padded to"))
	patch := func(offset int, b ...byte) []byte { return dt.Patch(good, dt.At(good, offset), b...) }
	cut := func(n int) []byte { return dt.Shorten(good, dt.At(good, n)) }

	return []forgery{
		{"unknown VTEP", dt.VXLAN(f.stranger, f.hostA, testVNI, inner), datapath.DropUnknownVTEP},
		{"unknown VTEP and MAC", dt.VXLAN(f.stranger, f.hostA, testVNI, dt.UDP4(nobody, a, "x")), datapath.DropUnknownVTEP},
		{"unknown VNI", dt.VXLAN(f.hostB, f.hostA, testVNI+1, inner), datapath.DropUnknownVNI},
		{"VNI 0", dt.VXLAN(f.hostB, f.hostA, 0, inner), datapath.DropUnknownVNI},
		{"no I flag", patch(dt.VXLANOffset, 0), datapath.DropVXLANFlags},
		{"reserved flag", patch(dt.VXLANOffset, 0x88), datapath.DropVXLANFlags},
		{"reserved first byte", patch(dt.VXLANOffset+2, 1), datapath.DropVXLANFlags},
		{"reserved last byte", patch(dt.VXLANOffset+7, 1), datapath.DropVXLANFlags},
		{"cut in the UDP header", cut(dt.OuterUDPOffset + 4), datapath.DropTruncated},
		{"cut in the VXLAN header", cut(dt.VXLANOffset + 5), datapath.DropTruncated},
		{"cut after the VXLAN header", cut(dt.InnerOffset), datapath.DropTruncated},
		{"cut in the inner Ethernet header", cut(dt.InnerOffset + 9), datapath.DropTruncated},
		{"cut in the inner IP header", cut(dt.InnerIPOffset + 11), datapath.DropTruncated},
		{"cut in the inner payload", dt.Shorten(long, len(long)-3), datapath.DropInnerMalformed},
		{"inner MAC of this host", tunnel(dt.UDP4(a, b, "x")), datapath.DropInnerSource},
		{"inner MAC of nobody", tunnel(dt.UDP4(nobody, a, "x")), datapath.DropInnerSource},
		{"inner IP of this host", tunnel(dt.UDP4(asA, a, "x")), datapath.DropInnerSource},
		{"inner IPv6 of this host", tunnel(dt.ICMP6(dt.Party{MAC: b.MAC, Addr: a6.Addr}, a6)), datapath.DropInnerSource},
		{"inner ARP sender of this host", tunnel(dt.ARPRequest(asA, a.Addr)), datapath.DropInnerSource},
		{"inner ARP sender MAC", tunnel(dt.Patch(dt.ARPRequest(b, a.Addr), 22, nobody.MAC[:]...)), datapath.DropInnerSource},
		{"inner ARP cut short", tunnel(dt.ARPRequest(b, a.Addr)[:41]), datapath.DropTruncated},
		{"inner ARP for nobody", tunnel(dt.ARPRequest(b, nobody.Addr)), datapath.DropUnknownNeighbour},
		{"inner IPv6 cut short", tunnel(dt.ICMP6(b6, a6)[:50]), datapath.DropTruncated},
		{"inner IP version 6", patch(dt.InnerIPOffset, 0x65), datapath.DropInnerMalformed},
		{"inner MAC unknown here", tunnel(dt.UDP4(b, nobody, "x")), datapath.DropNotLocal},
		{"inner MAC of the sender", tunnel(dt.UDP4(b, b, "x")), datapath.DropNotLocal},
		{"inner multicast", tunnel(dt.UDP4(b, dt.Party{MAC: encap.MAC{1, 0, 0x5e, 0, 0, 1}, Addr: netip.MustParseAddr("224.0.0.1")}, "x")), datapath.DropMulticast},
		{"inner broadcast that is not IP", tunnel(dt.Ethernet(b, dt.Party{MAC: all}, 0x88b5, "x")), datapath.DropMulticast},
		{"congestion mark on a packet without ECN", withTOS(good, 3), datapath.DropECN},
		{"nested VXLAN of another VNI", dt.VXLAN(f.hostB, f.hostA, testVNI+7, tunnel(inner)), datapath.DropUnknownVNI},
	}
}

// expectDrop sends the frame to host A and waits for the one count.
func (f *forgedBed) expectDrop(t *testing.T, c forgery, send func([]byte)) {
	t.Helper()
	before := f.hosts[0].stats(t).Drops
	send(c.frame)
	var got string
	for range 100 {
		got = increase(before, f.hosts[0].stats(t).Drops)
		if got != "" {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if want := fmt.Sprintf("%s+1 ", c.want); got != want {
		t.Errorf("%s: counted %q, want %q", c.name, got, want)
	}
}

func increase(before, after map[datapath.DropReason]datapath.Counter) string {
	out := ""
	for r, c := range after {
		if n := c.Packets - before[r].Packets; n > 0 {
			out += fmt.Sprintf("%s+%d ", r, n)
		}
	}
	return out
}

func fixIPChecksum(frame []byte) {
	// Shorten to its full length only mends lengths and checksum.
	copy(frame, dt.Shorten(frame, len(frame)))
}

// macOf returns the address of a device in a namespace.
func macOf(t testing.TB, ns *linktest.Namespace, device string) (mac encap.MAC) {
	t.Helper()
	err := ns.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err == nil {
			mac = encap.MAC(i.HardwareAddr)
		}
		return err
	})
	if err != nil {
		t.Fatalf("address of %s in %s: %v", device, ns.Name, err)
	}
	return mac
}

// sender opens a packet socket on a device and returns what sends frames.
func sender(t *testing.T, ns *linktest.Namespace, device string) func([]byte) {
	t.Helper()
	fd := packetSocket(t, ns, device, 0)
	return func(frame []byte) {
		t.Helper()
		if _, err := unix.Write(fd, frame); err != nil {
			t.Fatalf("send %d bytes on %s: %v", len(frame), device, err)
		}
	}
}

// listenFor is how long a listener waits for the last frame.
const listenFor = 200 * time.Millisecond

// listen opens a packet socket on a device and returns what reads all that it
// has heard so far, waiting a little for the last. What the stacks of the
// namespaces say to each other, and what this one sent, is left out.
func listen(t *testing.T, ns *linktest.Namespace, device string) func() [][]byte {
	t.Helper()
	fd := packetSocket(t, ns, device, unix.ETH_P_ALL)
	return func() [][]byte {
		var heard [][]byte
		buf := make([]byte, 1<<16)
		deadline := time.Now().Add(listenFor)
		for time.Now().Before(deadline) {
			n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err != nil {
				time.Sleep(5 * time.Millisecond)
				continue
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if ownStack(buf[:n]) {
				continue
			}
			heard = append(heard, append([]byte(nil), buf[:n]...))
		}
		return heard
	}
}

// ownStack recognises ARP, and the ICMP with which a stack answers a datagram
// that nobody waits for.
func ownStack(frame []byte) bool {
	const etherType, protocol = 12, 23
	return len(frame) > protocol &&
		(frame[etherType] == 0x08 && frame[etherType+1] == 0x06 || frame[protocol] == unix.IPPROTO_ICMP)
}

func packetSocket(t *testing.T, ns *linktest.Namespace, device string, protocol uint16) int {
	t.Helper()
	var fd int
	err := ns.Do(func() (err error) {
		index, err := ifindex(device)
		if err != nil {
			return err
		}
		order := protocol<<8 | protocol>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(order)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: order, Ifindex: int(index)})
	})
	if err != nil {
		t.Fatalf("packet socket on %s of %s: %v", device, ns.Name, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
