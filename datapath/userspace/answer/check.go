package answer

import (
	"encoding/binary"
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Offsets and lengths in bytes: into a frame those of Ethernet, into a packet those
// of the IP header.
const (
	srcMACAt = 6
	typeAt   = 12
	ethLen   = 14
	tagLen   = 4

	ip4Len     = 20
	ip4FragAt  = 6
	ip4ProtoAt = 9
	ip4SrcAt   = 12
	ip4DstAt   = 16

	ip6Len     = 40
	ip6SizeAt  = 4
	ip6NextAt  = 6
	ip6LimitAt = 7
	ip6SrcAt   = 8
	ip6DstAt   = 24

	icmpLen = 8
)

// Sender is an endpoint, here or behind a VTEP, as the State has it.
type Sender interface {
	// MAC is the one that it sends from.
	MAC() encap.MAC
	// Owns says whether the State gives it an address. An IPv4 address is one
	// of 4 bytes (netip.Addr.Is4). Nobody owns the unspecified addresses.
	Owns(addr netip.Addr) bool
}

// CheckARP returns 0 or the reason to drop an ARP message, which begins behind its
// Ethernet header: one that is not a request or reply for IPv4 over Ethernet, or in
// which the sender is not who it is. What follows its 28 bytes is padding.
func CheckARP(message []byte, s Sender) datapath.DropReason {
	// Hardware is Ethernet and protocol IPv4, with addresses of 6 and 4 bytes.
	const kind = 1<<48 | 0x0800<<32 | 6<<24 | 4<<16
	const request, reply = 1, 2

	if len(message) < arpLen {
		return datapath.DropTruncated
	}
	op := binary.BigEndian.Uint64(message) ^ kind
	if op != request && op != reply {
		return datapath.DropInnerMalformed
	}
	if encap.MAC(message[arpSHAAt:]) != s.MAC() {
		return datapath.DropSourceARP
	}
	// RFC 5227: a probe has no sender address yet.
	spa := netip.AddrFrom4([4]byte(message[arpSPAAt:]))
	if spa.IsUnspecified() {
		if op == reply {
			return datapath.DropSourceARP
		}
		return 0
	}
	if !s.Owns(spa) {
		return datapath.DropSourceARP
	}
	return 0
}

// Owns6 says whether a sender has an IPv6 address. A link-local address that was
// made from a MAC is that MAC's, and in no table. Nobody has one that stands for an
// IPv4 address, nor the unspecified one.
func Owns6(s Sender, addr [16]byte) bool {
	if mac, ok := LinkLocalMAC(addr); ok {
		return mac == s.MAC()
	}
	a := netip.AddrFrom16(addr)
	return !a.Is4In6() && addr != unspecified6 && s.Owns(a)
}

// LinkLocalMAC reads the MAC out of a link-local address that was made from one,
// RFC 4291 appendix A. False: it was not.
func LinkLocalMAC(addr [16]byte) (encap.MAC, bool) {
	const prefix = 0xfe80 << 48 // fe80::/64
	if binary.BigEndian.Uint64(addr[:]) != prefix || addr[11] != 0xff || addr[12] != 0xfe {
		return encap.MAC{}, false
	}
	return encap.MAC{addr[8] ^ 2, addr[9], addr[10], addr[13], addr[14], addr[15]}, true
}

var (
	unspecified6 = [16]byte{}
	allNodes     = [16]byte{0xff, 0x02, 15: 1}
	allNodesMAC  = encap.MAC{0x33, 0x33, 0, 0, 0, 1}
)
