package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// pool is where a subnet comes from that nobody named.
type pool struct {
	prefix netip.Prefix
	// bits is the length of its subnets.
	bits int
	// routed is what this host reaches elsewhere by routes of its own.
	routed []netip.Prefix
}

// pools returns those that a request needs a subnet of, IPv4 first.
func (a *Agent) pools(r api.NetworkRequest) ([]pool, error) {
	var out []pool
	four, six := r.Picks()
	if four {
		out = append(out, pool{prefix: a.cfg.AddressPool, bits: a.cfg.SubnetBits})
	}
	if six {
		p := pool{prefix: a.cfg.AddressPool6, bits: a.cfg.SubnetBits6}
		if !p.prefix.IsValid() {
			p.prefix = a.secret.UniqueLocal()
		}
		out = append(out, p)
	}
	for i, p := range out {
		var err error
		if out[i].routed, err = a.host.RoutedWithin(p.prefix); err != nil {
			return nil, fmt.Errorf("routes of this host: %w", err)
		}
	}
	return out, nil
}

// next returns the pool's first subnet that nothing has.
func (p pool) next(t *reconcile.Tables) (netip.Prefix, error) {
	s, err := ipam.NextSubnet(p.prefix, p.bits, slices.Concat(usedSubnets(t), p.routed))
	if errors.Is(err, ipam.ErrExhausted) {
		return s, api.Errorf(api.CodeExhausted, "%w: name one with --subnet", err)
	}
	return s, err
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
