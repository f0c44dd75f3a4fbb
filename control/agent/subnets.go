package agent

import (
	"net/netip"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// planSubnets returns the subnets that a request describes: each gateway and
// range with the subnet that it is in. The request is valid by itself
// (NetworkRequest.Validate), so only what it leaves out is added here.
func planSubnets(r api.NetworkRequest) []store.Subnet {
	subnets := make([]store.Subnet, 0, len(r.Subnets))
	for _, p := range r.Subnets {
		s := store.Subnet{Prefix: p, Gateway: p.Addr().Next()}
		for _, g := range r.Gateways {
			if p.Contains(g) {
				s.Gateway = g
			}
		}
		for _, in := range r.IPRanges {
			if p.Overlaps(in) {
				s.Range = in
			}
		}
		for name, a := range r.AuxAddresses {
			if !p.Contains(a) {
				continue
			}
			if s.Aux == nil {
				s.Aux = make(map[string]netip.Addr)
			}
			s.Aux[name] = a
		}
		subnets = append(subnets, s)
	}
	return subnets
}

// usedSubnets are those of all networks.
func usedSubnets(t *reconcile.Tables) []netip.Prefix {
	var used []netip.Prefix
	for _, n := range t.Networks {
		for _, s := range n.Subnets {
			used = append(used, s.Prefix)
		}
	}
	return used
}

// ipamSubnets are the subnets of a network as ipam describes them.
func ipamSubnets(n store.Network) []ipam.Subnet {
	out := make([]ipam.Subnet, 0, len(n.Subnets))
	for _, s := range n.Subnets {
		out = append(out, ipam.Subnet(s))
	}
	return out
}
