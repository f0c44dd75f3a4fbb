package link

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// EnsureVXLAN makes sure that there is a `vxlan external` device of that name
// that listens on the UDP port: up, without learning, without addresses, of
// that MTU. Over IPv6 it takes zero UDP checksums, which RFC 6935 allows for
// tunnels: without it the kernel drops them. It decides nothing about what it carries: the tunnel's ends come
// with every packet. A device that is right already stays as it is, so that a
// restart does not touch its socket; a wrong one is replaced. The error says
// which vxlan device has the port, if another has. Nothing new is left behind
// on error.
func EnsureVXLAN(name string, port uint16, mtu int) (index int, err error) {
	d, err := byName(name)
	if err != nil && !errors.Is(err, ErrNoDevice) {
		return 0, err
	}
	created := d == nil || !isExternal(d, port)
	if created {
		if err := Remove(name); err != nil {
			return 0, err
		}
		if d, err = addVXLAN(name, port, mtu); err != nil {
			return 0, err
		}
	}
	if err := settleVXLAN(d, mtu); err != nil {
		err = fmt.Errorf("vxlan device %s on UDP port %d: %w%s", name, port, err, otherVXLAN(name, port))
		if created {
			err = errors.Join(err, Remove(name))
		}
		return 0, err
	}
	return d.Attrs().Index, nil
}

// isExternal reports whether d is the device that addVXLAN would make.
func isExternal(d netlink.Link, port uint16) bool {
	v, ok := d.(*netlink.Vxlan)
	return ok && v.FlowBased && v.Port == int(port) && !v.Learning && v.UDP6ZeroCSumRx
}

func addVXLAN(name string, port uint16, mtu int) (netlink.Link, error) {
	v := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu, TxQLen: -1},
		FlowBased: true,
		Port:      int(port),

		UDP6ZeroCSumRx: true,
	}
	if err := netlink.LinkAdd(v); err != nil {
		return nil, fmt.Errorf("create vxlan device %s on UDP port %d: %w%s", name, port, err, otherVXLAN(name, port))
	}
	return v, nil
}

// settleVXLAN brings what can change while the device lives to what it should
// be. Coming up is when the kernel opens its socket.
func settleVXLAN(d netlink.Link, mtu int) error {
	if err := quiet(d); err != nil {
		return fmt.Errorf("switch link-local addresses off: %w", err)
	}
	if d.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(d, mtu); err != nil {
			return fmt.Errorf("MTU %d: %w", mtu, err)
		}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(d, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if err := netlink.AddrDel(d, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s: %w", a.IPNet, err)
		}
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}

// otherVXLAN says, for an error, which other vxlan devices have the port.
func otherVXLAN(name string, port uint16) string {
	devices, err := dump(netlink.LinkList)
	if err != nil {
		return "" // the error at hand is the one that matters
	}
	var others []string
	for _, d := range devices {
		if v, ok := d.(*netlink.Vxlan); ok && v.Port == int(port) && v.Name != name {
			others = append(others, v.Name)
		}
	}
	if others == nil {
		return ""
	}
	return fmt.Sprintf(" (vxlan device %s has the port)", strings.Join(others, ", "))
}
