package ipam

import (
	"fmt"
	"net/netip"
)

// maxHostOverlaps bounds how often NextSubnet asks about the host's routes.
const maxHostOverlaps = 1 << 16

// NextSubnet returns the first subnet of pool, bits long, that overlaps
// nothing in use and nothing that the host routes elsewhere: 10.0.0.0/24,
// then 10.0.1.0/24, and so on in 10.0.0.0/8. onHost may be nil.
func NextSubnet(pool netip.Prefix, bits int, used []netip.Prefix, onHost func(netip.Prefix) (bool, error)) (netip.Prefix, error) {
	pool = pool.Masked()
	if !pool.IsValid() || bits < pool.Bits() || bits > pool.Addr().BitLen() {
		return netip.Prefix{}, fmt.Errorf("%w: pool %s has no subnets of %d bits", ErrSubnet, pool, bits)
	}
	asked := 0
	for p := netip.PrefixFrom(pool.Addr(), bits); ; {
		past := p
		if u, ok := overlap(p, used); ok {
			// A larger subnet in use is skipped at once.
			if u.Bits() < p.Bits() {
				past = u
			}
		} else if onHost == nil {
			return p, nil
		} else if busy, err := onHost(p); err != nil {
			return netip.Prefix{}, fmt.Errorf("routes of the host beside %s: %w", p, err)
		} else if !busy {
			return p, nil
		} else if asked++; asked >= maxHostOverlaps {
			break
		}
		next := last(past).Next()
		if !next.IsValid() || !pool.Contains(next) {
			break
		}
		p = netip.PrefixFrom(next, bits)
	}
	return netip.Prefix{}, fmt.Errorf("%w: every /%d of the pool %s is in use here or routed by the host", ErrExhausted, bits, pool)
}

func overlap(p netip.Prefix, used []netip.Prefix) (netip.Prefix, bool) {
	for _, u := range used {
		if u.Overlaps(p) {
			return u.Masked(), true
		}
	}
	return netip.Prefix{}, false
}
