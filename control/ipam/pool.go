package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// NextSubnet returns the first subnet of pool, bits long, that overlaps
// nothing in use, here or elsewhere: 10.0.0.0/24, then 10.0.1.0/24, and so on in
// 10.0.0.0/8.
func NextSubnet(pool netip.Prefix, bits int, used []netip.Prefix) (netip.Prefix, error) {
	pool = pool.Masked()
	if !pool.IsValid() || bits < pool.Bits() || bits > pool.Addr().BitLen() {
		return netip.Prefix{}, fmt.Errorf("%w: pool %s has no subnets of %d bits", ErrSubnet, pool, bits)
	}
	// Two prefixes are disjoint or one is in the other. Those in use are gone
	// through in ascending order, the larger first: p moves past each that it
	// meets, and is free when the next one begins behind it.
	p := netip.PrefixFrom(pool.Addr(), bits)
	for _, u := range slices.SortedFunc(slices.Values(used), netip.Prefix.Compare) {
		switch u = u.Masked(); {
		case u.Overlaps(p):
		case p.Addr().Less(u.Addr()):
			return p, nil
		default:
			continue
		}
		past := p
		if u.Bits() < bits {
			past = u
		}
		next := last(past).Next()
		if !next.IsValid() || !pool.Contains(next) {
			return netip.Prefix{}, fmt.Errorf("%w: every /%d of the pool %s is in use here or routed by the host", ErrExhausted, bits, pool)
		}
		p = netip.PrefixFrom(next, bits)
	}
	return p, nil
}
