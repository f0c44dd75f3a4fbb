package agent

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// pickSubnets returns those that a request leaves open, IPv4 first: each the
// next of its pool that no network has and this host does not route elsewhere.
func (a *Agent) pickSubnets(t *reconcile.Tables, r api.NetworkRequest) ([]netip.Prefix, error) {
	pool6 := a.cfg.AddressPool6
	if !pool6.IsValid() {
		pool6 = a.secret.UniqueLocal()
	}
	four, six := r.Picks()
	var out []netip.Prefix
	for _, p := range []struct {
		wanted bool
		pool   netip.Prefix
		bits   int
	}{{four, a.cfg.AddressPool, a.cfg.SubnetBits}, {six, pool6, a.cfg.SubnetBits6}} {
		if !p.wanted {
			continue
		}
		next, err := ipam.NextSubnet(p.pool, p.bits, usedSubnets(t), a.onHost)
		if errors.Is(err, ipam.ErrExhausted) {
			return nil, api.Errorf(api.CodeExhausted, "%w: name one with --subnet", err)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, next)
	}
	return out, nil
}

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

// hasIPv6 reports whether endpoints of a network have an IPv6 address.
func hasIPv6(n store.Network) bool {
	return slices.ContainsFunc(n.Subnets, func(s store.Subnet) bool { return s.Prefix.Addr().Is6() })
}
