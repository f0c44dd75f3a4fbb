package contender

import (
	"context"
	"fmt"

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
	vxlanVNI  = 99
	vxlanPort = 4789
)

func (kernelVXLAN) Name() string { return "vxlan" }

func (kernelVXLAN) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	return joinVeths(lab, "vxlan", bridgeVXLAN)
}

func (kernelVXLAN) Teardown(context.Context) error { return nil }

// bridgeVXLAN makes bridge, vxlan device and endpoint, and the entry by which
// peer is found. The vxlan device joins the bridge first: the endpoint's port
// then takes over the headroom that tunnel headers need.
func bridgeVXLAN(self, peer *vethEnd) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", MTU: self.mtu, TxQLen: -1}}
	if err := add(bridge, nil); err != nil {
		return err
	}
	vxlan := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: self.mtu, TxQLen: -1},
		VxlanId:   vxlanVNI,
		SrcAddr:   self.host.Addr.AsSlice(),
		Port:      vxlanPort,
	}
	if err := add(vxlan, bridge); err != nil {
		return err
	}
	if _, err := self.endpoint.build(self.mtu, bridge); err != nil {
		return err
	}
	err := netlink.NeighAppend(&netlink.Neigh{
		LinkIndex:    vxlan.Index,
		Family:       unix.AF_BRIDGE,
		Flags:        netlink.NTF_SELF,
		State:        netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		HardwareAddr: peer.endpoint.mac,
		IP:           peer.host.Addr.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("forwarding entry of %s: %w", peer.endpoint.mac, err)
	}
	return nil
}
