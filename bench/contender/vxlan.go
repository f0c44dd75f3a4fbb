package contender

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// kernelVXLAN is the kernel's vxlan device as a port of a bridge, with the
// forwarding and neighbour entries set by hand: what Docker Swarm and flannel
// build, at its best. It has no control plane, so the time that something
// takes is a lower bound for whoever has one.
type kernelVXLAN struct {
	// grows: it is measured with that many remotes (vxlan_grown.go), which
	// may be 0.
	grows   bool
	remotes int
	filled  time.Duration

	ends []*vxlanEnd
	// spare is what Attach puts on the network, on the second host.
	spare vethEndpoint
}

// vxlanEnd is one host's half.
type vxlanEnd struct {
	*vethEnd
	bridge, vxlan netlink.Link
}

const (
	vxlanVNI  = 99
	vxlanPort = 4789
)

func (k *kernelVXLAN) Name() string { return grownName("vxlan", k.grows, k.remotes) }

func (k *kernelVXLAN) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	pair, err := joinVeths(lab, "vxlan", func(self, peer *vethEnd) error {
		end := &vxlanEnd{vethEnd: self}
		k.ends = append(k.ends, end)
		return end.build(peer)
	})
	if err != nil {
		return measure.Pair{}, err
	}
	k.spare = newVethEndpoint(lab, "vxlan", len(k.ends)+1)
	return pair, k.fill(lab)
}

func (*kernelVXLAN) Teardown(context.Context) error { return nil }

// build makes bridge, vxlan device and endpoint, and the entry by which peer
// is found. The vxlan device joins the bridge first: the endpoint's port then
// takes over the headroom that tunnel headers need.
func (e *vxlanEnd) build(peer *vethEnd) error {
	e.bridge = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", MTU: e.mtu, TxQLen: -1}}
	if err := add(e.bridge, nil); err != nil {
		return err
	}
	e.vxlan = &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: e.mtu, TxQLen: -1},
		VxlanId:   vxlanVNI,
		SrcAddr:   e.host.Addr.AsSlice(),
		Port:      vxlanPort,
	}
	if err := add(e.vxlan, e.bridge); err != nil {
		return err
	}
	if _, err := e.endpoint.build(e.mtu, e.bridge); err != nil {
		return err
	}
	return e.forward(peer.endpoint, peer.host.Addr)
}

// forward sets the entry by which another endpoint is found; it runs in the
// host.
func (e *vxlanEnd) forward(other vethEndpoint, vtep netip.Addr) error {
	if err := netlink.NeighAppend(e.entry(other, vtep)); err != nil {
		return fmt.Errorf("forwarding entry of %s: %w", other.mac, err)
	}
	return nil
}

func (e *vxlanEnd) entry(other vethEndpoint, vtep netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    e.vxlan.Attrs().Index,
		Family:       unix.AF_BRIDGE,
		Flags:        netlink.NTF_SELF,
		State:        netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		HardwareAddr: other.mac,
		IP:           vtep.AsSlice(),
	}
}
