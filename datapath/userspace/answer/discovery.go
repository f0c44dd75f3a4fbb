package answer

import (
	"encoding/binary"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Types of ICMPv6 messages that are not every endpoint's to send: RFC 4861 section
// 4, RFC 2710, RFC 3810.
const (
	TypeListenerReport        = 131
	TypeListenerDone          = 132
	TypeRouterSolicitation    = 133
	TypeRouterAdvertisement   = 134
	TypeNeighborSolicitation  = 135
	TypeNeighborAdvertisement = 136
	TypeRedirect              = 137
	TypeListenerReport2       = 143
)

// A message of neighbour discovery in a frame. The offsets are from ndAt on.
const (
	ndAt       = ethLen + ip6Len
	ndCodeAt   = 1
	ndFlagsAt  = 4
	ndTargetAt = 8
	ndLen      = 24 // before the options
	ndOptLen   = 8  // of an option, the unit of its length
	ndOptions  = 13 // that are looked at; Linux sends two
	ndMaxLen   = ndLen + ndOptions*ndOptLen
	ndHopLimit = 255

	ndOptSource, ndOptTarget = 1, 2
)

// Inspect6 looks at a frame of IPv6, whose header is in order, that does not carry
// TCP or UDP right behind it. It tells what the packet carries, and returns 0 or
// the reason to drop it. No endpoint is a router that others may learn of (RFC
// 6105), nor asks for one.
func Inspect6(frame []byte, s Sender) (Upper, datapath.DropReason) {
	if len(frame) < ethLen+ip6Len {
		return Upper{}, datapath.DropTruncated
	}
	packet := frame[ethLen:]
	u, reason := Walk6(packet)
	if reason != 0 {
		return u, reason
	}
	if u.Proto == protoICMPv6 {
		switch u.Type {
		case TypeRouterSolicitation:
			return u, datapath.DropMulticast
		case TypeRouterAdvertisement, TypeRedirect:
			return u, datapath.DropRogueRouter
		case TypeNeighborSolicitation, TypeNeighborAdvertisement:
			// RFC 6980, for who is to inspect it could not.
			if u.Extended {
				return u, datapath.DropInnerMalformed
			}
			return u, CheckNeighbour(frame, s)
		}
	}
	src := [16]byte(packet[ip6SrcAt:])
	if Owns6(s, src) {
		return u, 0
	}
	// RFC 3590: a report may come before its sender has an address.
	if src == unspecified6 && u.Proto == protoICMPv6 &&
		(u.Type == TypeListenerReport || u.Type == TypeListenerDone || u.Type == TypeListenerReport2) {
		return u, datapath.DropMulticast
	}
	return u, datapath.DropSourceIP
}

// CheckNeighbour returns 0 or the reason to drop the neighbour solicitation or
// advertisement that stands in a frame right behind its IPv6 header: RFC 4861
// sections 7.1.1 and 7.1.2, and what the sender says of itself.
func CheckNeighbour(frame []byte, s Sender) datapath.DropReason {
	if len(frame) < ndAt+ndLen {
		return datapath.DropTruncated
	}
	ip, message := frame[ethLen:], frame[ndAt:]
	src, target := [16]byte(ip[ip6SrcAt:]), [16]byte(message[ndTargetAt:])
	group := ip[ip6DstAt] == 0xff
	if ip[ip6LimitAt] != ndHopLimit || message[ndCodeAt] != 0 || target[0] == 0xff {
		return datapath.DropInnerMalformed
	}
	nameless := src == unspecified6
	asks := message[0] != TypeNeighborAdvertisement
	if !asks {
		if group && message[ndFlagsAt]&ndSolicited != 0 {
			return datapath.DropInnerMalformed
		}
		if !Owns6(s, target) {
			return datapath.DropSourceARP
		}
	} else if nameless && !solicitedNode([16]byte(ip[ip6DstAt:])) {
		return datapath.DropInnerMalformed
	}
	// RFC 4862 section 5.4.2: duplicate-address detection asks without one.
	if (!nameless || !asks) && !Owns6(s, src) {
		return datapath.DropSourceIP
	}
	length := int(binary.BigEndian.Uint16(ip[ip6SizeAt:]))
	if !checksumRight(ip, message, length) {
		return datapath.DropInnerMalformed
	}
	return checkOptions(message, length, nameless, s.MAC())
}

// checkOptions wants the options to end where the message does, which one of no
// length never does, and a link-layer address to be the sender's. One who has no
// address yet gives none.
func checkOptions(message []byte, length int, nameless bool, mac encap.MAC) datapath.DropReason {
	at := ndLen
	for i := 0; i < ndOptions && at < length; i++ {
		if len(message) < at+ndOptLen {
			return datapath.DropInnerMalformed
		}
		option := message[at : at+ndOptLen]
		at += int(option[1]) * ndOptLen
		if option[0] != ndOptSource && option[0] != ndOptTarget {
			continue
		}
		if option[1] != 1 || (nameless && option[0] == ndOptSource) {
			return datapath.DropInnerMalformed
		}
		if encap.MAC(option[2:]) != mac {
			return datapath.DropSourceARP
		}
	}
	if at != length {
		return datapath.DropInnerMalformed
	}
	return 0
}

// checksumRight says whether a message of that length is whole, RFC 4443 section
// 2.3. One that is longer than what is looked at is not.
func checksumRight(ip, message []byte, length int) bool {
	whole := length &^ (ndOptLen - 1)
	if whole < ndLen || whole > ndMaxLen || whole > len(message) {
		return false
	}
	sum := uint64(length) + protoICMPv6
	for b := ip[ip6SrcAt:ip6Len]; len(b) >= 4; b = b[4:] { // both addresses
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	for b := message[:whole]; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}

// solicitedNode recognises ff02::1:ff00:0/104 (RFC 4291 section 2.7.1).
func solicitedNode(addr [16]byte) bool {
	return [13]byte(addr[:13]) == [13]byte{0xff, 0x02, 11: 1, 12: 0xff}
}
