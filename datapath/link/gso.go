package link

import (
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// tunnelSegmentation is what ethtool calls a device's segmentation of TCP
// inside a UDP tunnel without outer checksum (NETIF_F_GSO_UDP_TUNNEL).
const tunnelSegmentation = "tx-udp_tnl-segmentation"

// SegmentsTunnels reports whether the device cuts large TCP packets inside a
// tunnel into segments by itself. If not, the kernel does before the device.
func SegmentsTunnels(device string) (bool, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return false, fmt.Errorf("ethtool: %w", err)
	}
	defer e.Close()
	features, err := e.Features(device)
	if err != nil {
		return false, fmt.Errorf("features of interface %s: %w", device, err)
	}
	return features[tunnelSegmentation], nil
}

// SetGSOIPv4MaxSize sets how many bytes of an IPv4 packet the namespace's stack
// hands the interface at most, to be cut into segments later. Above 65536 it
// is what Linux calls BIG TCP, which IPv4 has since Linux 6.3; kernels before
// that ignore it.
func (n *Namespace) SetGSOIPv4MaxSize(ifname string, size int) error {
	return n.Do(func() error {
		d, err := byName(ifname)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetGSOIPv4MaxSize(d, size); err != nil {
			return fmt.Errorf("interface %s: gso_ipv4_max_size %d: %w", ifname, size, err)
		}
		return nil
	})
}
