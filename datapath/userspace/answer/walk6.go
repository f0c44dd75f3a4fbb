package answer

import (
	"encoding/binary"

	"github.com/ovlnet/ovl/datapath"
)

// IP protocols, those that are IPv6 extension headers among them.
const (
	protoICMP     = 1
	protoICMPv6   = 58
	protoNone     = 59
	protoHopByHop = 0
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoDstOpts  = 60
)

// maxExtensions is more than RFC 8200 section 4.1 recommends, where each stands
// once and one twice.
const maxExtensions = 8

// Upper is what an IPv6 packet carries behind its extension headers.
type Upper struct {
	// Offset is where it begins, in bytes from the IPv6 header on.
	Offset int
	// Proto is its protocol; 44 in a later fragment: unknown.
	Proto uint8
	// Type is its first byte, of ICMPv6 the message's type. It is read for
	// ICMPv6 and behind extension headers, and otherwise 0.
	Type uint8
	// Extended: extension headers stand before it.
	Extended bool
	// Fragment: it is in a fragment, be it the only one.
	Fragment bool
	// FragmentAt is where the header stands that says so, from the IPv6 header on.
	FragmentAt int
}

// Walk6 goes from an IPv6 header, with which packet begins, to what it carries. It
// returns 0 or the reason to drop: a first fragment has to hold all headers (RFC
// 7112), or nobody could tell what the packet is. What is behind the packet's end
// in a padded frame is read like the rest: as Linux does, which cuts it off later.
func Walk6(packet []byte) (Upper, datapath.DropReason) {
	const offsetBits = 0xfff8
	if len(packet) < ip6Len {
		return Upper{}, datapath.DropTruncated
	}
	u := Upper{Offset: ip6Len, Proto: packet[ip6NextAt]}
	for range maxExtensions {
		if !isExtension(u.Proto) {
			break
		}
		if len(packet) < u.Offset+4 {
			return u, datapath.DropTruncated
		}
		h := packet[u.Offset : u.Offset+4]
		length := 8
		u.Extended = true
		switch u.Proto {
		case protoFragment:
			u.Fragment, u.FragmentAt = true, u.Offset
			if binary.BigEndian.Uint16(h[2:])&offsetBits != 0 {
				return u, 0
			}
		case protoAH:
			length = (int(h[1]) + 2) * 4
		default:
			length = (int(h[1]) + 1) * 8
		}
		u.Offset += length
		u.Proto = h[0]
	}
	if isExtension(u.Proto) {
		return u, datapath.DropInnerMalformed
	}
	if (u.Extended && u.Proto != protoNone) || u.Proto == protoICMPv6 {
		if len(packet) <= u.Offset {
			return u, datapath.DropTruncated
		}
		u.Type = packet[u.Offset]
	}
	return u, 0
}

func isExtension(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoDstOpts:
		return true
	}
	return false
}
