package answer

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/encap"
)

// Every IPv4 host takes packets of this size (RFC 1122 section 3.3.2), every IPv6
// link carries them (RFC 8200 section 5). Nobody is asked for less, and no answer
// is longer.
const (
	leastMTU4 = 576
	leastMTU6 = 1280

	// As much of the packet as makes the answer full (RFC 1812 section 4.3.2.3,
	// RFC 4443 section 2.4).
	quote4 = leastMTU4 - ip4Len - icmpLen
	quote6 = leastMTU6 - ip6Len - icmpLen

	tosControl = 0xc0 // RFC 1812 section 4.3.2.5
	ttl        = 64
)

// TooBig4 returns the ICMP message "fragmentation needed" (RFC 1191) for the
// sender of a frame of IPv4 that does not fit: which size, in bytes of the IP
// packet, does. It comes from that address, of IPv4, or where it is not valid from
// the packet's destination. False is a packet of which nothing is said: RFC 1122
// section 3.2.2.
//
// A frame may have one tag, and then so has the answer. What is behind it is the
// endpoints' own network, so `from` is not to be valid, and mtu less by the tag.
//
// The packet is quoted as its sender handed it over, an unfinished checksum and
// all. Routers that run Linux do so, whoever looks for the packet among those that
// it has sent finds the bytes that it sent, nobody can verify a checksum over what
// is not quoted, and to finish it would take reading up to 64 KiB for an answer of
// 576 bytes. (The kernel datapath has to settle it, for the kernel would go on to
// write into the quote.)
func (b *Builder) TooBig4(frame []byte, from netip.Addr, mtu int) ([]byte, bool) {
	b.prepare()
	packet := b.turnRound(frame, layers.EthernetTypeIPv4)
	if len(packet) < quote4 || !answerable4(packet) {
		return nil, false
	}
	copy(b.toIP[:4], packet[ip4SrcAt:])
	copy(b.fromIP[:4], packet[ip4DstAt:])
	if from.Is4() {
		b.fromIP = expand4(from)
	}
	b.ip4.TOS, b.ip4.Protocol = tosControl, layers.IPProtocolICMPv4
	b.icmp4.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)
	b.icmp4.Seq = uint16(max(mtu, leastMTU4)) // where RFC 1191 has the MTU

	err := b.quote(packet[:quote4])
	if err == nil {
		err = b.icmp4.SerializeTo(b.buf, fix)
	}
	if err == nil {
		err = b.ip4.SerializeTo(b.buf, fix)
	}
	return b.finish(frame, layers.EthernetTypeIPv4, err)
}

// TooBig6 is TooBig4 for IPv6: the ICMPv6 message "packet too big", RFC 4443
// section 3.2. Of what nothing is said, section 2.4 tells.
func (b *Builder) TooBig6(frame []byte, from netip.Addr, mtu int) ([]byte, bool) {
	b.prepare()
	packet := b.turnRound(frame, layers.EthernetTypeIPv6)
	if len(packet) < quote6 || !answerable6(packet) {
		return nil, false
	}
	b.toIP, b.fromIP = [16]byte(packet[ip6SrcAt:]), [16]byte(packet[ip6DstAt:])
	if from.Is6() {
		b.fromIP = from.As16()
	}
	b.ip6.HopLimit, b.ip6.NextHeader = ttl, layers.IPProtocolICMPv6
	b.icmp6.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(max(mtu, leastMTU6)))

	err := b.quote(packet[:quote6])
	if err == nil {
		err = b.prepend(size[:])
	}
	if err == nil {
		err = b.icmp6.SerializeTo(b.buf, fix)
	}
	if err == nil {
		err = b.ip6.SerializeTo(b.buf, fix)
	}
	return b.finish(frame, layers.EthernetTypeIPv6, err)
}

// turnRound sets an answer's MACs and returns the packet of that type in a frame,
// nil if it is of another or behind more than one tag.
func (b *Builder) turnRound(frame []byte, want layers.EthernetType) []byte {
	if len(frame) < ethLen+tagLen {
		return nil
	}
	b.to, b.from = encap.MAC(frame[srcMACAt:]), encap.MAC(frame)
	if isTag(etherType(frame)) {
		frame = frame[tagLen:]
	}
	if etherType(frame) != want {
		return nil
	}
	return frame[ethLen:]
}

// finish puts the tag of the frame that is answered before the answer, if it has
// one, and the Ethernet header.
func (b *Builder) finish(frame []byte, carries layers.EthernetType, err error) ([]byte, bool) {
	if tag := etherType(frame); err == nil && isTag(tag) {
		tci := binary.BigEndian.Uint16(frame[ethLen:])
		b.tag = layers.Dot1Q{
			Priority: uint8(tci >> 13), DropEligible: tci&0x1000 != 0, VLANIdentifier: tci & 0x0fff, Type: carries,
		}
		err = b.tag.SerializeTo(b.buf, fix)
		carries = tag
	}
	if err != nil {
		return nil, false
	}
	out, err := b.frame(carries)
	return out, err == nil
}

func etherType(frame []byte) layers.EthernetType {
	return layers.EthernetType(binary.BigEndian.Uint16(frame[typeAt:]))
}

func isTag(t layers.EthernetType) bool {
	return t == layers.EthernetTypeDot1Q || t == layers.EthernetTypeQinQ
}

func expand4(a netip.Addr) (out [16]byte) {
	four := a.As4()
	copy(out[:], four[:])
	return out
}

// answerable4 and answerable6 say whether an error may be answered with: none
// about errors, about what is for many, or, in IPv4, about fragments but the
// first. That the source is one host the source check has seen to, and frames for
// groups do not come here. Behind a tag nothing has checked the header's length:
// whatever it says, the type is looked for within the quote.
func answerable4(packet []byte) bool {
	const offsetBits = 0x1fff
	first := packet[ip4DstAt]
	if first == 0 || first >= 224 || binary.BigEndian.Uint16(packet[ip4FragAt:])&offsetBits != 0 {
		return false
	}
	if packet[ip4ProtoAt] != protoICMP {
		return true
	}
	switch packet[int(packet[0]&0x0f)*4] {
	case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeSourceQuench, layers.ICMPv4TypeRedirect,
		layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
		return false
	}
	return true
}

func answerable6(packet []byte) bool {
	const informational = 128 // and up
	if packet[ip6DstAt] == 0xff {
		return false
	}
	u, reason := Walk6(packet)
	return reason == 0 &&
		(u.Proto != protoICMPv6 || (u.Type >= informational && u.Type != TypeRedirect))
}
