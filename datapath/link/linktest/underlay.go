package linktest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostAddr returns the address of the lab's n-th host, from 1. The 254th is
// where every host's default route leads; nothing answers there.
func hostAddr(n int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
}

const gateway = 254

// addrGenNone keeps the kernel from making link-local IPv6 addresses, whose
// router solicitations would be noise on an underlay that tests listen to.
const addrGenNone = 1

// joinByVeth gives the two hosts one veth pair.
func (l *Lab) joinByVeth(mtu int) error {
	a, b := l.Hosts[0], l.Hosts[1]
	if err := a.Do(func() error { return addVeth(UnderlayDevice, UnderlayDevice, b.Namespace, mtu) }); err != nil {
		return err
	}
	return l.configureHosts()
}

// joinByBridge gives every host a veth to a bridge in the underlay namespace.
func (l *Lab) joinByBridge(mtu int) error {
	err := l.Underlay.Do(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", MTU: mtu, TxQLen: -1}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("bridge br0: %w", err)
		}
		if err := configureDevice("br0"); err != nil {
			return err
		}
		for i, h := range l.Hosts {
			port := fmt.Sprintf("h%d", i+1)
			if err := addVeth(port, UnderlayDevice, h.Namespace, mtu); err != nil {
				return err
			}
			if err := configureDevice(port); err != nil {
				return err
			}
			d, err := netlink.LinkByName(port)
			if err != nil {
				return fmt.Errorf("%s: %w", port, err)
			}
			if err := netlink.LinkSetMaster(d, bridge); err != nil {
				return fmt.Errorf("%s: bridge port: %w", port, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.configureHosts()
}

// addVeth makes a pair out of name, in the calling thread's namespace, and
// peer, in another. Both are born where they belong.
func addVeth(name, peer string, in *Namespace, mtu int) error {
	f, err := os.Open(in.NetnsPath)
	if err != nil {
		return fmt.Errorf("veth %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // read only
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name, MTU: mtu, TxQLen: -1})
	veth.PeerName, veth.PeerNamespace, veth.PeerMTU = peer, netlink.NsFd(f.Fd()), uint32(mtu)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s with its peer %s in %s: %w", name, peer, in.Name, err)
	}
	return nil
}

// configureDevice silences IPv6 on a device and brings it up.
func configureDevice(name string) error {
	d, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := netlink.LinkSetIP6AddrGenMode(d, addrGenNone); err != nil {
		return fmt.Errorf("%s: address generation: %w", name, err)
	}
	return setUp(name)
}

// configureDevice6 brings a device of an IPv6 underlay up. Its link-local
// address is good at once, and it does not ask for routers.
func configureDevice6(name string) error {
	for key, value := range map[string]string{"accept_dad": "0", "dad_transmits": "0", "accept_ra": "0"} {
		path := filepath.Join("/proc/sys/net/ipv6/conf", name, key)
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return setUp(name)
}

// configureHosts gives every host its address and its default route.
func (l *Lab) configureHosts() error {
	for _, h := range l.Hosts {
		if err := h.Do(h.configure); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	return nil
}

func (h *Host) configure() error {
	up, mask := configureDevice, net.CIDRMask(24, 32)
	addr := &netlink.Addr{}
	if h.Addr.Is6() {
		up, mask = configureDevice6, net.CIDRMask(64, 128)
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := up(UnderlayDevice); err != nil {
		return err
	}
	d, err := netlink.LinkByName(UnderlayDevice)
	if err != nil {
		return fmt.Errorf("%s: %w", UnderlayDevice, err)
	}
	addr.IPNet = &net.IPNet{IP: h.Addr.AsSlice(), Mask: mask}
	if err := netlink.AddrAdd(d, addr); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	route := &netlink.Route{
		LinkIndex: d.Attrs().Index, Gw: hostAddr(gateway, h.Addr.Is6()).AsSlice(), Table: unix.RT_TABLE_MAIN,
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return settled(UnderlayDevice)
}

// AwaitAddresses returns when the addresses of the namespace's device can be
// used: an IPv6 address waits for its turn in the kernel even if nobody looks
// for duplicates of it, and until then nothing is sent from it.
func (ns *Namespace) AwaitAddresses(device string) error {
	return ns.Do(func() error { return settled(device) })
}

func settled(device string) error {
	const patience = 5 * time.Second
	d, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		addrs, err := netlink.AddrList(d, netlink.FAMILY_V6)
		if err != nil {
			return fmt.Errorf("addresses of %s: %w", device, err)
		}
		waits := slices.IndexFunc(addrs, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 })
		if waits < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("address %s of %s cannot be used after %s", addrs[waits].IP, device, patience)
		}
	}
}

// segmentation is what a NIC without offloads for tunnels cannot do.
var segmentation = []string{"tso", "gso", "tx-udp-segmentation", "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"}

// SetSegmentationOffload switches TSO, GSO and the segmentation of UDP
// tunnels on the underlay device of every host on or off. Off also switches
// GRO on, which a veth has not by default and which every real NIC has: the
// figures then resemble those of a NIC without tunnel offload. On restores a
// veth's defaults.
func (l *Lab) SetSegmentationOffload(ctx context.Context, on bool) error {
	state, gro := "off", "on"
	if on {
		state, gro = "on", "off"
	}
	args := []string{"-K", UnderlayDevice, "gro", gro}
	for _, feature := range segmentation {
		args = append(args, feature, state)
	}
	for _, h := range l.Hosts {
		if out, err := h.Command(ctx, "ethtool", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("host %s: ethtool: %w: %s", h.Name, err, out)
		}
	}
	return nil
}
