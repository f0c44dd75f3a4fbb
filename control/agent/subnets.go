package agent

import (
	"encoding/binary"
	"net/netip"

	"github.com/ovlnet/ovl/control/api"
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

// poolSubnet returns the first subnet of pool, bits long, that shares no
// address with a network of t and that the host can spare; false when there
// is none. onHost reports whether a route of the host leads into a prefix.
func poolSubnet(t *reconcile.Tables, pool netip.Prefix, bits int, onHost func(netip.Prefix) (bool, error)) (netip.Prefix, bool, error) {
	var taken []netip.Prefix
	for _, n := range t.Networks {
		for _, s := range n.Subnets {
			taken = append(taken, s.Prefix)
		}
	}
	p := netip.PrefixFrom(pool.Masked().Addr(), bits)
	for ; pool.Contains(p.Addr()); p = nextPrefix(p) {
		if !p.IsValid() {
			break
		}
		if overlapsAny(p, taken) {
			continue
		}
		used, err := onHost(p)
		if err != nil {
			return netip.Prefix{}, false, err
		}
		if !used {
			return p, true, nil
		}
	}
	return netip.Prefix{}, false, nil
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if p.Overlaps(o) {
			return true
		}
	}
	return false
}

// nextPrefix returns the prefix of the same length right after p; the zero
// Prefix after the last one.
func nextPrefix(p netip.Prefix) netip.Prefix {
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	if p.Addr().Is4() {
		a := p.Addr().As4()
		n := uint64(binary.BigEndian.Uint32(a[:])) + 1<<(32-p.Bits())
		if n > 1<<32-1 {
			return netip.Prefix{}
		}
		binary.BigEndian.PutUint32(a[:], uint32(n))
		return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
	}
	a := p.Addr().As16()
	// Add one at bit Bits-1, carrying towards the front.
	for i, add := (p.Bits()-1)/8, uint16(1)<<(7-(p.Bits()-1)%8); i >= 0; i, add = i-1, 1 {
		sum := uint16(a[i]) + add
		a[i] = byte(sum)
		if sum <= 0xff {
			return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
		}
	}
	return netip.Prefix{}
}
