package contender

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// kernelVXLAN is the kernel's vxlan device as a port of a bridge, with the
// forwarding and neighbour entries set by hand: what Docker Swarm and flannel
// build, at its best.
type kernelVXLAN struct{}

const (
	vxlanVNI = 99
	// vxlanOverhead is what the tunnel adds to an inner packet over IPv4, in
	// bytes.
	vxlanOverhead = 50
)

func (kernelVXLAN) Name() string { return "vxlan" }

func (kernelVXLAN) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	var ends [2]vxlanEnd
	for i := range ends {
		ends[i] = vxlanEnd{
			host:     lab.Hosts[i],
			endpoint: lab.Endpoint(fmt.Sprintf("vxlan%d", i+1)),
			mac:      net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)},
			addr:     netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}),
		}
	}
	for i, end := range ends {
		if err := end.build(ends[1-i]); err != nil {
			return measure.Pair{}, fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	return measure.Pair{Client: ends[0].offer(), Server: ends[1].offer()}, nil
}

func (kernelVXLAN) Teardown(context.Context) error { return nil }

// vxlanEnd is one host's half of the contender.
type vxlanEnd struct {
	host     *linktest.Host
	endpoint *linktest.Namespace
	mac      net.HardwareAddr
	addr     netip.Addr
}

func (e vxlanEnd) offer() measure.Endpoint {
	return measure.Endpoint{Namespace: e.endpoint, Addr: e.addr}
}

// build makes bridge, vxlan device and endpoint, and the entries by which they
// find peer.
func (e vxlanEnd) build(peer vxlanEnd) error {
	if err := e.host.Do(func() error { return e.buildHost(peer) }); err != nil {
		return err
	}
	return e.endpoint.Do(func() error { return e.buildEndpoint(peer) })
}

func (e vxlanEnd) buildHost(peer vxlanEnd) error {
	dev, err := netlink.LinkByName(linktest.UnderlayDevice)
	if err != nil {
		return fmt.Errorf("%s: %w", linktest.UnderlayDevice, err)
	}
	mtu := dev.Attrs().MTU - vxlanOverhead
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", MTU: mtu, TxQLen: -1}}
	if err := add(bridge, nil); err != nil {
		return err
	}
	vxlan := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: mtu, TxQLen: -1},
		VxlanId:   vxlanVNI,
		SrcAddr:   e.host.Addr.AsSlice(),
		Port:      4789,
	}
	if err := add(vxlan, bridge); err != nil {
		return err
	}
	inside, err := os.Open(e.endpoint.NetnsPath)
	if err != nil {
		return err
	}
	defer inside.Close()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "port0", MTU: mtu, TxQLen: -1})
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(inside.Fd())
	veth.PeerMTU, veth.PeerHardwareAddr = uint32(mtu), e.mac
	if err := add(veth, bridge); err != nil {
		return err
	}
	return netlink.NeighAppend(&netlink.Neigh{
		LinkIndex:    vxlan.Index,
		Family:       unix.AF_BRIDGE,
		Flags:        netlink.NTF_SELF,
		State:        netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		HardwareAddr: peer.mac,
		IP:           peer.host.Addr.AsSlice(),
	})
}

func (e vxlanEnd) buildEndpoint(peer vxlanEnd) error {
	dev, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("eth0: %w", err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: e.addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(dev, addr); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return fmt.Errorf("eth0: set up: %w", err)
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex:    dev.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		HardwareAddr: peer.mac,
		IP:           peer.addr.AsSlice(),
	})
}

// add makes a device in the calling thread's namespace, up, and as a port of
// bridge unless that is nil.
func add(l netlink.Link, bridge *netlink.Bridge) error {
	name := l.Attrs().Name
	if err := netlink.LinkAdd(l); err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if bridge != nil {
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			return fmt.Errorf("device %s: bridge port: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("device %s: set up: %w", name, err)
	}
	return nil
}
