package kernel

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// nic is an underlay whose devices leave more or less to the kernel.
type nic struct {
	name     string
	wire     bool
	features map[string]bool
	// segments: it cuts TCP inside a tunnel by itself. merges: what comes in
	// is not, or no more, in segments of the MTU.
	segments, merges bool
}

// nics are what hosts have. With rx-udp-gro-forwarding GRO merges UDP that is
// not for a socket of the host, as all inner datagrams are; with rx-gro-list it
// chains packets up instead of merging them.
var nics = []nic{
	{name: "segments tunnels", segments: true, merges: true},
	{name: "no segmentation", merges: true},
	{name: "no offload", wire: true, merges: true},
	{name: "rx-udp-gro-forwarding", wire: true, merges: true, features: map[string]bool{"rx-udp-gro-forwarding": true}},
	{name: "rx-gro-list", wire: true, merges: true, features: map[string]bool{"rx-gro-list": true}},
	{name: "no GRO", wire: true, features: map[string]bool{"gro": false}},
}

// TestUnderlayOffloads: streams and segmented datagrams cross, whatever the
// underlay's devices do of the work, and TCP never by the slow path.
func TestUnderlayOffloads(t *testing.T) {
	onUnderlays(t, linktest.Options{}, testUnderlayOffloads)
}

func testUnderlayOffloads(t *testing.T, o linktest.Options) {
	needTool(t, "ethtool", "ping")
	on := nics
	if o.IPv6 {
		on = []nic{nics[0], nics[2]} // GRO looks at the inner packet alike
	}
	for _, n := range on {
		t.Run(n.name, func(t *testing.T) {
			o.Wire = n.wire
			f := newTrafficBed(t, o)
			f.settle(t, n)
			size := int64(32 << 20)
			if n.wire {
				size = 8 << 20
			}
			for i, addr := range f.far.port.Addrs {
				back := f.a.port.Addrs[i]
				meet(t, f.a.Namespace, addr)
				meet(t, f.far.Namespace, back)
				slow := f.slow(t)
				before := taken(t, f.far)
				checkTransfer(t, f.a.Namespace, f.far.Namespace, addr, size)
				f.checkSegments(t, n, before, taken(t, f.far))
				checkTransfer(t, f.far.Namespace, f.a.Namespace, back, size)
				native := addr.Is6() == o.IPv6 || stripsEither(t)
				if n := f.slow(t) - slow; n > 0 && native {
					t.Errorf("%d packets of TCP took the slow path", n)
				}
				checkDatagrams(t, f.a.Namespace, f.far.Namespace, addr)
				checkDatagrams(t, f.far.Namespace, f.a.Namespace, back)
			}
			f.checkCorrupted(t, f.a, f.far)
		})
	}
}

func (f *trafficBed) settle(t *testing.T, n nic) {
	t.Helper()
	if !n.wire {
		if err := f.lab.SetSegmentationOffload(t.Context(), n.segments); err != nil {
			t.Fatal(err)
		}
	}
	for feature, on := range n.features {
		if err := f.lab.SetFeature(t.Context(), feature, on); err != nil {
			t.Fatal(err)
		}
	}
}

// checkSegments wants TCP out of the tunnel in as large pieces as there can be:
// merged, or segments that fill the MTU.
func (f *trafficBed) checkSegments(t *testing.T, n nic, before, after datapath.Counter) {
	t.Helper()
	if before.Packets == after.Packets {
		return // before Linux 6.7 bpf_redirect_peer counts nothing
	}
	mean := int((after.Bytes - before.Bytes) / (after.Packets - before.Packets))
	least, most := f.mtu-20, f.mtu+14 // the Ethernet header; some segments end what is sent at once
	if n.merges {
		least, most = 5*f.mtu, 1<<17
	}
	if mean < least || mean > most {
		t.Errorf("%d bytes a packet come out of the tunnel, want %d to %d", mean, least, most)
	}
}

// meet has a namespace find the neighbour that it will send to. A ping may go
// unanswered: all namespaces of a machine share the socket that a CPU sends ICMP
// by, and others' answers may fill it.
func meet(t *testing.T, from *linktest.Namespace, addr netip.Addr) {
	t.Helper()
	const pings = 5
	var out string
	var err error
	for range pings {
		if out, err = tryRun(from, "ping", "-n", "-c", "1", "-W", "0.5", addr.String()); err == nil {
			return
		}
	}
	t.Fatalf("%s does not reach %s: %v\n%s", from.Name, addr, err, out)
}

// slow counts the packets that the hosts' vxlan devices have carried.
func (b *bed) slow(t *testing.T) (packets uint64) {
	t.Helper()
	for _, h := range b.hosts {
		err := h.Do(func() error {
			d, err := netlink.LinkByName(VXLANDevice)
			if err != nil {
				return err
			}
			s := d.Attrs().Statistics
			packets += s.RxPackets + s.TxPackets
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packets
}

// taken is what an endpoint's device has received, in pieces as they came:
// the datapath's own counters count segments.
func taken(t *testing.T, e *bedEndpoint) (c datapath.Counter) {
	t.Helper()
	err := e.Do(func() error {
		d, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		s := d.Attrs().Statistics
		c = datapath.Counter{Packets: s.RxPackets, Bytes: s.RxBytes}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
