package encap

import (
	"errors"
	"fmt"
	"net/netip"
)

// What the tunnel adds to an inner IP packet, in bytes: outer IP, UDP and
// VXLAN headers and the inner Ethernet header. The outer Ethernet header is
// not in it, as no MTU counts its own link's.
const (
	OverheadIPv4 = ipv4Len + udpLen + HeaderLen + ethLen // 50
	OverheadIPv6 = ipv6Len + udpLen + HeaderLen + ethLen // 70
)

// The range of inner MTUs, in bytes of IP packet.
const (
	// MinMTU is what every IPv4 host must take, RFC 1122 section 3.3.2.
	MinMTU = 576
	// MinMTUIPv6 is the least for a network with IPv6, RFC 8200 section 5.
	MinMTUIPv6 = 1280
	// MaxMTU is what is left of the largest IP packet, over IPv4.
	MaxMTU = 1<<16 - 1 - OverheadIPv4
)

// ErrMTURange is returned where an MTU is out of range.
var ErrMTURange = errors.New("MTU out of range")

// Overhead returns what the tunnel adds on the underlay of that VTEP.
func Overhead(vtep netip.Addr) int {
	if vtep.Unmap().Is4() {
		return OverheadIPv4
	}
	return OverheadIPv6
}

// InnerMTU returns the largest inner IP packet, in bytes, that fits an
// underlay's MTU without fragments, for tunnels that end at vtep. It is at
// most MaxMTU. The error wraps ErrMTURange if what is left is less than
// MinMTU.
func InnerMTU(underlay int, vtep netip.Addr) (int, error) {
	overhead := Overhead(vtep)
	if underlay < MinMTU+overhead {
		return 0, fmt.Errorf("%w: the underlay's is %d, at least %d is needed for inner packets of %d",
			ErrMTURange, underlay, MinMTU+overhead, MinMTU)
	}
	return min(underlay-overhead, 1<<16-1-overhead), nil
}

// ValidateMTU returns an error that wraps ErrMTURange unless mtu can be a
// network's. What an underlay has room for is not considered.
func ValidateMTU(mtu int, ipv6 bool) error {
	lowest := MinMTU
	if ipv6 {
		lowest = MinMTUIPv6
	}
	if mtu < lowest || mtu > MaxMTU {
		return fmt.Errorf("%w: %d is not in %d..%d", ErrMTURange, mtu, lowest, MaxMTU)
	}
	return nil
}
