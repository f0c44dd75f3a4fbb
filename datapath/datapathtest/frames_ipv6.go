package datapathtest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/encap"
)

// Types of ICMPv6 messages that have no builder of their own.
const (
	typeMulticastReport2    = 143
	typeRouterSolicitation  = 133
	typeRouterAdvertisement = 134
	typeRedirect            = 137
)

// Flags of an advertisement, RFC 4861 section 4.4.
const (
	ndSolicited = 0x40
	ndOverride  = 0x20
)

// Protocols that are IPv6 extension headers.
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAuth        = 51
	extDestination = 60
)

// UDP6 returns a frame of a UDP datagram over IPv6.
func UDP6(from, to Party, payload string) []byte {
	ip := ipv6(from, to, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1111, DstPort: 2222}
	must(udp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, udp, gopacket.Payload(payload))
}

// Solicit returns a neighbour solicitation with these options, RFC 4861 section
// 4.3.
func Solicit(from, to Party, target netip.Addr, options ...[]byte) []byte {
	return Discovery(from, to, layers.ICMPv6TypeNeighborSolicitation, target, 0, options...)
}

// Advertise returns the neighbour advertisement with which an endpoint answers.
func Advertise(from, to Party, flags byte) []byte {
	return Discovery(from, to, layers.ICMPv6TypeNeighborAdvertisement, from.Addr, flags, LinkOption(2, from.MAC))
}

// Discovery returns a message of neighbour discovery that is laid out as a
// solicitation is.
func Discovery(from, to Party, typ byte, target netip.Addr, flags byte, options ...[]byte) []byte {
	body := append([]byte{flags, 0, 0, 0}, target.AsSlice()...)
	return Message6(from, to, typ, append(body, slices.Concat(options...)...))
}

// Message6 returns a frame of any ICMPv6 message, with the hop limit of
// neighbour discovery.
func Message6(from, to Party, typ byte, body []byte) []byte {
	ip := ipv6(from, to, layers.IPProtocolICMPv6)
	ip.HopLimit = 255
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	must(icmp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, icmp, gopacket.Payload(body))
}

// SolicitedNode is the group of an address (RFC 4291 section 2.7.1).
func SolicitedNode(addr netip.Addr) Party {
	a := addr.As16()
	return MulticastOf(netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}))
}

// AllNodes is the group of every endpoint.
func AllNodes() Party { return MulticastOf(netip.IPv6LinkLocalAllNodes()) }

// LinkOption is a link-layer address option: type 1 is the source's, 2 the
// target's (RFC 4861 section 4.6.1).
func LinkOption(typ byte, mac encap.MAC) []byte { return append([]byte{typ, 1}, mac[:]...) }

// NonceOption is what Linux sends with duplicate-address detection (RFC 7527).
func NonceOption() []byte { return []byte{14, 1, 1, 2, 3, 4, 5, 6} }

// Extension is an IPv6 extension header: all of it behind its first two bytes.
type Extension struct {
	Protocol byte
	Body     []byte
}

// Padding is an extension header of 8 bytes that means nothing (RFC 8200
// section 4.2, PadN).
func Padding(protocol byte) Extension { return Extension{protocol, []byte{1, 4, 0, 0, 0, 0}} }

// FragmentHeader says where in its packet a fragment belongs, in eights.
func FragmentHeader(offset uint16, more bool) Extension {
	field := offset << 3
	if more {
		field |= 1
	}
	return Extension{extFragment, append(binary.BigEndian.AppendUint16(nil, field), 0, 0, 0x0f, 0x0a)}
}

// Extend puts extension headers into a frame of IPv6, behind its IPv6 header.
func Extend(frame []byte, headers ...Extension) []byte {
	const lengthAt, nextAt, end = 14 + 4, 14 + 6, 14 + 40
	out := slices.Clone(frame[:end])
	next := out[nextAt]
	for i, h := range headers {
		if i == 0 {
			out[nextAt] = h.Protocol
		}
		following := next
		if i+1 < len(headers) {
			following = headers[i+1].Protocol
		}
		length := byte((len(h.Body)+2)/8 - 1)
		switch h.Protocol {
		case extFragment:
			length = 0 // reserved
		case extAuth:
			length = byte((len(h.Body)+2)/4 - 2)
		}
		out = append(append(out, following, length), h.Body...)
	}
	out = append(out, frame[end:]...)
	binary.BigEndian.PutUint16(out[lengthAt:], uint16(len(out)-end))
	return out
}

// checked6 mends the checksum of an ICMPv6 message that was changed by hand.
func checked6(frame []byte) []byte {
	const lengthAt, addrsAt, icmpAt = 14 + 4, 14 + 8, 14 + 40
	out := Patch(frame, icmpAt+2, 0, 0)
	length := binary.BigEndian.Uint16(out[lengthAt:])
	pseudo := append(slices.Clone(out[addrsAt:icmpAt]), 0, 0, byte(length>>8), byte(length), 0, 0, 0, 58)
	sum := checksum(append(pseudo, out[icmpAt:icmpAt+int(length)]...))
	return Patch(out, icmpAt+2, byte(sum>>8), byte(sum))
}
