package agent

import (
	"net/netip"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// planSubnets returns the subnets that a valid request describes.
func planSubnets(r api.NetworkRequest) []store.Subnet {
	layout := r.Layout()
	out := make([]store.Subnet, 0, len(layout))
	for _, c := range layout {
		out = append(out, store.Subnet{Prefix: c.Subnet, Gateway: c.Gateway, Range: c.IPRange, Aux: c.AuxiliaryAddresses})
	}
	return out
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
