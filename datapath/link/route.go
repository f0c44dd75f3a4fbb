package link

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OverlappingRoute looks for a unicast route of the main table that shares an
// address with p, and returns the first one as text, such as "192.0.2.0/24 dev
// eth0". Default routes are not counted: they overlap with everything.
func OverlappingRoute(p netip.Prefix) (string, bool, error) {
	routes, err := overlapping(p)
	if err != nil || len(routes) == 0 {
		return "", false, err
	}
	dst, _ := routePrefix(routes[0])
	return describeRoute(routes[0], dst), true, nil
}

// RoutedWithin returns the destinations of all the routes that
// OverlappingRoute could find, in no order; some may be in it twice.
func RoutedWithin(p netip.Prefix) ([]netip.Prefix, error) {
	routes, err := overlapping(p)
	var out []netip.Prefix
	for _, r := range routes {
		dst, _ := routePrefix(r)
		out = append(out, dst)
	}
	return out, err
}

// overlapping lists the routes that share an address with p.
func overlapping(p netip.Prefix) ([]netlink.Route, error) {
	family := netlink.FAMILY_V4
	if p.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := mainRoutes(family)
	return slices.DeleteFunc(routes, func(r netlink.Route) bool {
		dst, ok := routePrefix(r)
		return !ok || isDefault(r) || !dst.Overlaps(p)
	}), err
}

// mainRoutes lists the unicast routes of the main table.
func mainRoutes(family int) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

func isDefault(r netlink.Route) bool {
	dst, ok := routePrefix(r)
	return !ok || dst.Bits() == 0
}

func routePrefix(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(addr, bits), ok
}

func describeRoute(r netlink.Route, dst netip.Prefix) string {
	text := dst.String()
	if r.Gw != nil {
		text += " via " + r.Gw.String()
	}
	if r.LinkIndex == 0 {
		return text
	}
	d, err := dump(func() (netlink.Link, error) { return netlink.LinkByIndex(r.LinkIndex) })
	if err != nil { // gone meanwhile
		return text + fmt.Sprintf(" dev #%d", r.LinkIndex)
	}
	return text + " dev " + d.Attrs().Name
}

// RouteMTU returns the MTU that the route from one address to another names, be
// it an operator's or what the kernel has learned of the path; 0 if it names
// none, and the device's holds.
func RouteMTU(from, to netip.Addr) (int, error) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{SrcAddr: from.AsSlice()})
	if err != nil {
		return 0, fmt.Errorf("route from %s to %s: %w", from, to, err)
	}
	if len(routes) == 0 {
		return 0, nil
	}
	return routes[0].MTU, nil
}
