package api

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/name"
)

// Shortest and longest prefix of a subnet by family. The longest ones still
// have an address beside the gateway's.
const (
	minBitsIPv4, maxBitsIPv4 = 8, 30
	minBitsIPv6, maxBitsIPv6 = 32, 126
)

// HasIPv6 reports whether the network is to have IPv6.
func (r NetworkRequest) HasIPv6() bool { return r.IPv6 || r.namesIPv6() }

// Picks reports of which families a subnet is to be picked: of IPv4 if none is
// named at all, of IPv6 if one is wanted and none named.
func (r NetworkRequest) Picks() (ipv4, ipv6 bool) {
	return len(r.Subnets) == 0, r.IPv6 && !r.namesIPv6()
}

// namesIPv6 reports whether one of the subnets asked for is of IPv6.
func (r NetworkRequest) namesIPv6() bool {
	return slices.ContainsFunc(r.Subnets, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// subnetOf returns which of the subnets a is in, or -1.
func (r NetworkRequest) subnetOf(a netip.Addr) int {
	return slices.IndexFunc(r.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (r NetworkRequest) validateSubnets() error {
	if len(r.Subnets) > MaxSubnets {
		return Errorf(CodeInvalid, "%d subnets are too many: %d at most", len(r.Subnets), MaxSubnets)
	}
	if _, six := r.Picks(); six && len(r.Subnets) == MaxSubnets {
		return Errorf(CodeInvalid, "%d subnets and one of IPv6 are too many: %d at most", len(r.Subnets), MaxSubnets)
	}
	for i, p := range r.Subnets {
		if err := validateSubnet(p); err != nil {
			return err
		}
		for _, o := range r.Subnets[:i] {
			if o.Overlaps(p) {
				return Errorf(CodeInvalid, "subnets %s and %s overlap", o, p)
			}
		}
	}
	return nil
}

func validateSubnet(p netip.Prefix) error {
	a := p.Addr()
	lowest, highest := minBitsIPv4, maxBitsIPv4
	if a.Is6() {
		lowest, highest = minBitsIPv6, maxBitsIPv6
	}
	switch {
	case !p.IsValid() || a.Is4In6():
		return Errorf(CodeInvalid, "subnet %s is not a prefix such as 10.1.0.0/24 or fd00:1::/64", p)
	case p != p.Masked():
		return Errorf(CodeInvalid, "subnet %s has host bits set: %s is meant?", p, p.Masked())
	case p.Bits() < lowest || p.Bits() > highest:
		return Errorf(CodeInvalid, "subnet %s has a prefix length that is not in %d..%d", p, lowest, highest)
	case a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified():
		return Errorf(CodeInvalid, "subnet %s is not one that hosts can be in", p)
	}
	return nil
}

func (r NetworkRequest) validateGateways() error {
	var has [MaxSubnets]bool
	for _, g := range r.Gateways {
		i := r.subnetOf(g)
		switch {
		case i < 0:
			return Errorf(CodeInvalid, "gateway %s is in none of the subnets given", g)
		case has[i]:
			return Errorf(CodeInvalid, "subnet %s has two gateways: one at most", r.Subnets[i])
		case isEdge(r.Subnets[i], g):
			return Errorf(CodeInvalid, "gateway %s is the %s address of %s", g, edge(g), r.Subnets[i])
		}
		has[i] = true
	}
	return nil
}

func (r NetworkRequest) validateRanges() error {
	var has [MaxSubnets]bool
	for _, p := range r.IPRanges {
		if !p.IsValid() || p != p.Masked() {
			return Errorf(CodeInvalid, "IP range %s is not a prefix without host bits", p)
		}
		i := r.subnetOf(p.Addr())
		switch {
		case i < 0 || p.Bits() < r.Subnets[i].Bits():
			return Errorf(CodeInvalid, "IP range %s is inside none of the subnets given", p)
		case has[i]:
			return Errorf(CodeInvalid, "subnet %s has two IP ranges: one at most", r.Subnets[i])
		}
		has[i] = true
	}
	return nil
}

func (r NetworkRequest) validateAux() error {
	if len(r.AuxAddresses) > maxList {
		return Errorf(CodeInvalid, "%d aux addresses are too many: %d at most", len(r.AuxAddresses), maxList)
	}
	owner := make(map[netip.Addr]string)
	for _, n := range slices.Sorted(maps.Keys(r.AuxAddresses)) {
		a := r.AuxAddresses[n]
		if err := name.Validate("aux address", n); err != nil {
			return invalid(err)
		}
		switch i := r.subnetOf(a); {
		case i < 0:
			return Errorf(CodeInvalid, "aux address %s=%s is in none of the subnets given", n, a)
		case isEdge(r.Subnets[i], a):
			return Errorf(CodeInvalid, "aux address %s=%s is the %s address of %s", n, a, edge(a), r.Subnets[i])
		case r.gatewayOf(i) == a:
			return Errorf(CodeInvalid, "aux address %s=%s is the gateway of %s", n, a, r.Subnets[i])
		case owner[a] != "":
			return Errorf(CodeInvalid, "aux addresses %s and %s are both %s", owner[a], n, a)
		}
		owner[a] = n
	}
	return nil
}

// Layout returns the subnets asked for, each with its gateway (the one asked
// for, or the first address), range and auxiliary addresses. The request is
// valid.
func (r NetworkRequest) Layout() []IPAMConfig {
	out := make([]IPAMConfig, 0, len(r.Subnets))
	for i, p := range r.Subnets {
		c := IPAMConfig{Subnet: p, Gateway: r.gatewayOf(i)}
		for _, in := range r.IPRanges {
			if p.Overlaps(in) {
				c.IPRange = in
			}
		}
		for n, a := range r.AuxAddresses {
			if !p.Contains(a) {
				continue
			}
			if c.AuxiliaryAddresses == nil {
				c.AuxiliaryAddresses = make(map[string]netip.Addr)
			}
			c.AuxiliaryAddresses[n] = a
		}
		out = append(out, c)
	}
	return out
}

func (r NetworkRequest) gatewayOf(i int) netip.Addr {
	for _, g := range r.Gateways {
		if r.Subnets[i].Contains(g) {
			return g
		}
	}
	return r.Subnets[i].Addr().Next()
}

// isEdge reports whether a is p's first address, or the last one of an IPv4
// prefix: those are the network's and the broadcast address (RFC 919). In
// IPv6 the first one is the routers' anycast address (RFC 4291 section
// 2.6.1).
func isEdge(p netip.Prefix, a netip.Addr) bool {
	if a == p.Addr() {
		return true
	}
	return a.Is4() && !p.Contains(a.Next())
}

// edge names what isEdge finds in the family of a.
func edge(a netip.Addr) string {
	if a.Is4() {
		return "network or broadcast"
	}
	return "routers' anycast"
}
