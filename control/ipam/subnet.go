package ipam

import (
	"fmt"
	"net/netip"
)

// Subnet is one range of addresses of a network.
type Subnet struct {
	// Prefix has its host bits clear.
	Prefix netip.Prefix
	// Gateway is never handed out. The zero Addr means the first address.
	Gateway netip.Addr
	// Range restricts automatic picks to a part of Prefix; addresses outside
	// it can still be asked for. The zero Prefix means all of it.
	Range netip.Prefix
	// Aux are addresses that are never handed out, by what has them.
	Aux map[string]netip.Addr
}

func (s Subnet) validate() error {
	p := s.Prefix
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return fmt.Errorf("%w: %s is not a prefix such as 10.0.0.0/24", ErrSubnet, p)
	}
	if s.Gateway.IsValid() && !p.Contains(s.Gateway) {
		return fmt.Errorf("%w: gateway %s is outside %s", ErrSubnet, s.Gateway, p)
	}
	if r := s.Range; r.IsValid() && (r.Bits() < p.Bits() || !p.Contains(r.Addr())) {
		return fmt.Errorf("%w: range %s is not within %s", ErrSubnet, r, p)
	}
	return nil
}

func (s Subnet) gateway() netip.Addr {
	if s.Gateway.IsValid() {
		return s.Gateway
	}
	if first := s.Prefix.Addr(); s.Prefix.IsSingleIP() || s.pointToPoint() {
		return first
	}
	return s.Prefix.Addr().Next()
}

// pointToPoint reports whether both addresses of a two-address subnet are
// hosts: RFC 3021 for IPv4, RFC 6164 for IPv6.
func (s Subnet) pointToPoint() bool { return s.Prefix.Bits() == s.Prefix.Addr().BitLen()-1 }

// reserved returns why no endpoint can ever have an address of the subnet.
func (s Subnet) reserved(a netip.Addr) error {
	if a == s.gateway() {
		return fmt.Errorf("%w: %s in %s", ErrGateway, a, s.Prefix)
	}
	for name, aux := range s.Aux {
		if a == aux {
			return fmt.Errorf("%w: %s belongs to %s", ErrAux, a, name)
		}
	}
	if s.Prefix.IsSingleIP() || s.pointToPoint() {
		return nil
	}
	switch {
	case a == s.Prefix.Addr() && a.Is4():
		return fmt.Errorf("%w: %s is the network address of %s", ErrReserved, a, s.Prefix)
	case a == s.Prefix.Addr():
		return fmt.Errorf("%w: %s is the subnet-router anycast address of %s", ErrReserved, a, s.Prefix)
	case a.Is4() && a == last(s.Prefix):
		return fmt.Errorf("%w: %s is the broadcast address of %s", ErrReserved, a, s.Prefix)
	}
	return nil
}

// pickFrom returns the part that addresses are picked from.
func (s Subnet) pickFrom() netip.Prefix {
	if s.Range.IsValid() {
		return s.Range.Masked()
	}
	return s.Prefix
}

// pick returns the first address after the one picked last that free lets
// pass, going around once. It looks at no more addresses than are in use, and
// one, so that the size of an IPv6 subnet does not matter.
func (s Subnet) pick(after netip.Addr, free func(netip.Addr) bool) (netip.Addr, bool) {
	from := s.pickFrom()
	start, end := from.Addr(), last(from)
	if after.IsValid() && from.Contains(after) && after != end {
		start = after.Next()
	}
	for a := start; ; {
		if free(a) && s.reserved(a) == nil {
			return a, true
		}
		if a == end {
			a = from.Addr()
		} else {
			a = a.Next()
		}
		if a == start {
			return netip.Addr{}, false
		}
	}
}

// last returns the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		switch host := p.Bits() - 8*i; {
		case host <= 0:
			b[i] = 0xff
		case host < 8:
			b[i] |= 0xff >> host
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
