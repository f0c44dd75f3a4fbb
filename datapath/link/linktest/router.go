package linktest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What a router calls its link to its host, and that to the other router.
const (
	hostLink   = "host"
	narrowLink = "narrow"
)

// joinByRouters puts two routers between two hosts. Every address stands for
// itself alone, and is reached by a route:
//
//	host 1 ── host │ router 1 │ narrow ── narrow │ router 2 │ host ── host 2
//	 .1            .254      .253          .252             .254        .2
func (l *Lab) joinByRouters(o Options) error {
	if o.Hosts != 2 || o.Bridge {
		return errors.New("routers stand between two hosts")
	}
	for i, h := range l.Hosts {
		r, err := l.addSpace(fmt.Sprintf("r%d", i+1))
		if err != nil {
			return err
		}
		l.Routers = append(l.Routers, r)
		if err := r.Do(func() error { return addVeth(hostLink, UnderlayDevice, h.Namespace, o.MTU) }); err != nil {
			return err
		}
	}
	first, second := l.Routers[0], l.Routers[1]
	if err := first.Do(func() error { return addVeth(narrowLink, narrowLink, second, o.NarrowMTU) }); err != nil {
		return err
	}
	for i, r := range l.Routers {
		near, far := l.Hosts[i].Addr, l.Hosts[1-i].Addr
		err := r.Do(func() error { return configureRouter(near, far, gateway-1-i, gateway-2+i) })
		if err != nil {
			return fmt.Errorf("router %s: %w", r.Name, err)
		}
		err = l.Hosts[i].Do(func() error {
			if err := configureAlone(UnderlayDevice, near); err != nil {
				return err
			}
			return routeVia(UnderlayDevice, netip.Prefix{}, hostAddr(gateway, near.Is6()))
		})
		if err != nil {
			return fmt.Errorf("host %s: %w", l.Hosts[i].Name, err)
		}
	}
	return nil
}

// configureRouter makes a router between its host and the other's. own and other
// are the numbers of its address and of the other router's on the narrow link.
func configureRouter(near, far netip.Addr, own, other int) error {
	family, path := "v4", "/proc/sys/net/ipv4/ip_forward"
	if near.Is6() {
		family, path = "v6", "/proc/sys/net/ipv6/conf/all/forwarding"
	}
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("forward IP%s: %w", family, err)
	}
	ipv6 := near.Is6()
	if err := configureAlone(hostLink, hostAddr(gateway, ipv6)); err != nil {
		return err
	}
	if err := configureAlone(narrowLink, hostAddr(own, ipv6)); err != nil {
		return err
	}
	if err := routeVia(hostLink, netip.PrefixFrom(near, near.BitLen()), netip.Addr{}); err != nil {
		return err
	}
	return routeVia(narrowLink, netip.PrefixFrom(far, far.BitLen()), hostAddr(other, ipv6))
}

// configureAlone brings a device up with an address that has no neighbours.
func configureAlone(device string, a netip.Addr) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	up := configureDevice
	if a.Is6() {
		up, addr.Flags = configureDevice6, unix.IFA_F_NODAD
	}
	if err := up(device); err != nil {
		return err
	}
	d, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	if err := netlink.AddrAdd(d, addr); err != nil {
		return fmt.Errorf("address %s of %s: %w", a, device, err)
	}
	return nil
}

// routeVia adds a route: to everything, if to is none, and straight to it if
// there is no router.
func routeVia(device string, to netip.Prefix, router netip.Addr) error {
	d, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	r := &netlink.Route{LinkIndex: d.Attrs().Index, Table: unix.RT_TABLE_MAIN}
	if to.IsValid() {
		r.Dst = &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
	}
	if router.IsValid() {
		r.Gw, r.Flags = router.AsSlice(), int(netlink.FLAG_ONLINK)
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	if err := netlink.RouteAdd(r); err != nil {
		return fmt.Errorf("route to %s by %s: %w", to, device, err)
	}
	return nil
}
