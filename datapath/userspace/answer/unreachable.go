package answer

import (
	"encoding/binary"

	"github.com/google/gopacket/layers"
)

// Unreachable is what of a VIP cannot be reached.
type Unreachable uint8

// Each has a code of its own in both families, RFC 792 and RFC 4443 section 3.1.
const (
	// PortUnreachable: it does not offer the port.
	PortUnreachable Unreachable = iota
	// ProtocolUnreachable: it does not speak the protocol.
	ProtocolUnreachable
)

// Unreachable4 returns the ICMP message "destination unreachable" for the sender of
// a frame of IPv4 without tag, from where the frame was to go. As much is quoted as
// by TooBig4, of a short packet all. False is a packet of which nothing is said.
func (b *Builder) Unreachable4(frame []byte, what Unreachable) ([]byte, bool) {
	b.prepare()
	packet := b.turnRound(frame, layers.EthernetTypeIPv4)
	if packet == nil || !answerable4(packet) {
		return nil, false
	}
	copy(b.toIP[:4], packet[ip4SrcAt:])
	copy(b.fromIP[:4], packet[ip4DstAt:])
	b.ip4.TOS, b.ip4.Protocol = tosControl, layers.IPProtocolICMPv4
	code := layers.ICMPv4CodePort
	if what == ProtocolUnreachable {
		code = layers.ICMPv4CodeProtocol
	}
	b.icmp4.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, uint8(code))
	b.icmp4.Seq = 0

	err := b.quote(packet[:min(packetLen4(packet), quote4)])
	if err == nil {
		err = b.icmp4.SerializeTo(b.buf, fix)
	}
	if err == nil {
		err = b.ip4.SerializeTo(b.buf, fix)
	}
	return b.finish(frame, layers.EthernetTypeIPv4, err)
}

// Unreachable6 is Unreachable4 for IPv6. A protocol is not unreachable there but
// prohibited: what RFC 4443 has for it asks for a pointer into the packet.
func (b *Builder) Unreachable6(frame []byte, what Unreachable) ([]byte, bool) {
	b.prepare()
	packet := b.turnRound(frame, layers.EthernetTypeIPv6)
	if len(packet) < ip6Len || !answerable6(packet) {
		return nil, false
	}
	b.toIP, b.fromIP = [16]byte(packet[ip6SrcAt:]), [16]byte(packet[ip6DstAt:])
	b.ip6.HopLimit, b.ip6.NextHeader = ttl, layers.IPProtocolICMPv6
	code := layers.ICMPv6CodePortUnreachable
	if what == ProtocolUnreachable {
		code = layers.ICMPv6CodeAdminProhibited
	}
	b.icmp6.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, uint8(code))
	var unused [4]byte

	err := b.quote(packet[:min(packetLen6(packet), quote6)])
	if err == nil {
		err = b.prepend(unused[:])
	}
	if err == nil {
		err = b.icmp6.SerializeTo(b.buf, fix)
	}
	if err == nil {
		err = b.ip6.SerializeTo(b.buf, fix)
	}
	return b.finish(frame, layers.EthernetTypeIPv6, err)
}

// packetLen4 and packetLen6 are the length of a packet without what pads its frame.
// What 16 bits cannot say of one that is still to be cut is all that is there.
func packetLen4(packet []byte) int {
	if len(packet) > 0xffff {
		return len(packet)
	}
	return min(len(packet), int(binary.BigEndian.Uint16(packet[2:])))
}

func packetLen6(packet []byte) int {
	if len(packet) > 0xffff {
		return len(packet)
	}
	return min(len(packet), ip6Len+int(binary.BigEndian.Uint16(packet[ip6SizeAt:])))
}
