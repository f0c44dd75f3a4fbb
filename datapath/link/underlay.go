package link

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is an interface of the host, and the address of it that tunnels
// start from.
type Device struct {
	Name  string
	Index int
	// MTU in bytes, without the Ethernet header.
	MTU  int
	Addr netip.Addr
}

// Underlay finds the device that connects this host to the others, and the
// address of it that is the tunnels'. The address also settles the family of
// the underlay. Where there are both, IPv4 comes first; an IPv6 address that
// is named is taken all the same.
//
//   - "": the device of the default route with the lowest metric, and its
//     preferred source or first address of that route's family; without such a
//     route, the host's only global address of the family.
//   - an IP address: that one, which must be on a device that is up.
//   - else an interface name: its first global address.
//
// Of IPv6 addresses those that were set up by hand come first; those that
// come and go (RFC 8981) or that may not be used yet are left out. Link-local
// ones are refused, loopback addresses found by address only. Errors say what
// is there instead.
func Underlay(advertise string) (Device, error) {
	all, err := hostAddrs()
	if err != nil {
		return Device{}, err
	}
	if advertise == "" {
		return underlayByDefault(all)
	}
	if addr, err := netip.ParseAddr(advertise); err == nil {
		return underlayByAddr(all, addr.Unmap())
	}
	return underlayByName(all, advertise)
}

// hostAddr is one address of the host and the device it is on.
type hostAddr struct {
	netip.Addr
	dev    *netlink.LinkAttrs
	global bool
	flags  int // IFA_F_…
}

func (a hostAddr) device() Device {
	return Device{Name: a.dev.Name, Index: a.dev.Index, MTU: a.dev.MTU, Addr: a.Addr}
}

func (a hostAddr) up() bool { return a.dev.RawFlags&unix.IFF_UP != 0 }

// passing are IPv6 addresses on which no tunnel can rely.
const passing = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// usable reports whether tunnels can start here without being asked for.
func (a hostAddr) usable() bool {
	return a.global && a.up() && (a.Is4() || a.flags&passing == 0)
}

// choose returns the usable addresses of the family that comes first, those
// that were set up by hand before others.
func choose(all []hostAddr, ok func(hostAddr) bool) []hostAddr {
	var found [3][]hostAddr
	for _, a := range all {
		if !a.usable() || !ok(a) {
			continue
		}
		rank := 0
		if a.Is6() {
			rank = 2
			if a.flags&unix.IFA_F_PERMANENT != 0 {
				rank = 1
			}
		}
		found[rank] = append(found[rank], a)
	}
	if len(found[0]) > 0 {
		return found[0]
	}
	return append(found[1], found[2]...)
}

// hostAddrs lists what addresses there are, in the kernel's order: by device,
// primary addresses before secondary ones.
func hostAddrs() ([]hostAddr, error) {
	devices, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	byIndex := make(map[int]*netlink.LinkAttrs, len(devices))
	for _, d := range devices {
		byIndex[d.Attrs().Index] = d.Attrs()
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []hostAddr
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		dev := byIndex[a.LinkIndex]
		if !ok || dev == nil { // the device came after the first list
			continue
		}
		global := a.Scope == int(netlink.SCOPE_UNIVERSE) && ip.Unmap().IsGlobalUnicast()
		out = append(out, hostAddr{Addr: ip.Unmap(), dev: dev, global: global, flags: a.Flags})
	}
	return out, nil
}

func underlayByDefault(all []hostAddr) (Device, error) {
	family := "IPv4"
	route, err := defaultRoute(netlink.FAMILY_V4)
	if err == nil && route == nil {
		family = "IPv6"
		route, err = defaultRoute(netlink.FAMILY_V6)
	}
	if err != nil {
		return Device{}, err
	}
	if route == nil {
		return onlyAddr(all)
	}
	index := route.LinkIndex
	if index == 0 && len(route.MultiPath) > 0 {
		index = route.MultiPath[0].LinkIndex
	}
	src, _ := netip.AddrFromSlice(route.Src) // invalid if the route has none
	for _, a := range all {
		if a.Addr == src.Unmap() && a.up() {
			return a.device(), nil // possibly on lo, as routers have it
		}
	}
	found := choose(all, func(a hostAddr) bool { return a.dev.Index == index && a.Is6() == (family == "IPv6") })
	if len(found) > 0 {
		return found[0].device(), nil
	}
	return Device{}, fmt.Errorf("the default route's interface has no global %s address; name another with --advertise (%s)",
		family, describe(all))
}

// defaultRoute returns the best default route of the main table, or nil.
func defaultRoute(family int) (*netlink.Route, error) {
	routes, err := mainRoutes(family)
	if err != nil {
		return nil, err
	}
	var best *netlink.Route
	metric := math.MaxInt
	for i, r := range routes {
		if isDefault(r) && r.Priority < metric {
			best, metric = &routes[i], r.Priority
		}
	}
	return best, nil
}

func onlyAddr(all []hostAddr) (Device, error) {
	found := choose(all, func(hostAddr) bool { return true })
	if len(found) == 1 {
		return found[0].device(), nil
	}
	what := "more than one"
	if len(found) == 0 {
		what = "no"
	}
	return Device{}, fmt.Errorf("no default route and %s global address; name one with --advertise (%s)", what, describe(all))
}

func underlayByAddr(all []hostAddr, addr netip.Addr) (Device, error) {
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		return Device{}, fmt.Errorf("address %s is link-local: an underlay may have routers between its hosts (%s)", addr, describe(all))
	}
	for _, a := range all {
		if a.Addr != addr {
			continue
		}
		if !a.up() {
			return Device{}, fmt.Errorf("address %s is on interface %s, which is down", addr, a.dev.Name)
		}
		return a.device(), nil
	}
	return Device{}, fmt.Errorf("no interface has the address %s (%s)", addr, describe(all))
}

func underlayByName(all []hostAddr, name string) (Device, error) {
	d, err := byName(name)
	if errors.Is(err, ErrNoDevice) {
		return Device{}, fmt.Errorf("%q is neither an IP address nor an interface: %w (%s)", name, ErrNoDevice, describe(all))
	}
	if err != nil {
		return Device{}, err
	}
	if d.Attrs().RawFlags&unix.IFF_UP == 0 {
		return Device{}, fmt.Errorf("interface %s is down", name)
	}
	found := choose(all, func(a hostAddr) bool { return a.dev.Index == d.Attrs().Index })
	if len(found) > 0 {
		return found[0].device(), nil
	}
	return Device{}, fmt.Errorf("interface %s has no global address (%s)", name, describe(all))
}

// describe says in a few words what addresses there are to choose from.
func describe(all []hostAddr) string {
	var parts []string
	for _, a := range all {
		if !a.global && (a.dev.Name == "lo" || a.Is6()) {
			continue
		}
		part := a.dev.Name + " " + a.String()
		switch {
		case !a.up():
			part += " down"
		case a.Is6() && a.flags&passing != 0:
			part += " not for good"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "this host has no address besides loopback and link-local"
	}
	return "this host has " + strings.Join(parts, ", ")
}
