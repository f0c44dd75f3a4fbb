package datapathtest

import (
	"encoding/binary"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// What a sender hears of a packet that does not fit.

// Lengths of answers, IP header included: RFC 1812 section 4.3.2.3, RFC 4443
// section 3.2.
const (
	answerLen4 = 576
	answerLen6 = 1280
)

// FragmentationNeeded returns the ICMP message that a gateway sends about the
// packet in a frame. It is as long as it may be, if the packet is.
func FragmentationNeeded(from, to Party, mtu int, about []byte) []byte {
	ip := ipv4(from, to, layers.IPProtocolICMPv4)
	ip.TOS, ip.Flags = 0xc0, layers.IPv4DontFragment
	icmp := &layers.ICMPv4{
		TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded),
		Seq:      uint16(mtu),
	}
	quote := about[OuterIPOffset:min(len(about), OuterIPOffset+answerLen4-28)]
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ip, icmp, gopacket.Payload(quote))
}

// PacketTooBig is FragmentationNeeded for IPv6.
func PacketTooBig(from, to Party, mtu int, about []byte) []byte {
	ip := ipv6(from, to, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
	must(icmp.SetNetworkLayerForChecksum(ip))
	quote := about[OuterIPOffset:min(len(about), OuterIPOffset+answerLen6-48)]
	return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, icmp,
		gopacket.Payload(binary.BigEndian.AppendUint32(nil, uint32(mtu))), gopacket.Payload(quote))
}

// ICMP4 returns a frame of an ICMP message of any type, with a body of so many
// bytes.
func ICMP4(from, to Party, kind uint8, body int) []byte {
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ipv4(from, to, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0)}, gopacket.Payload(make([]byte, body)))
}

// ICMP6Type is ICMP4 for IPv6.
func ICMP6Type(from, to Party, kind uint8, body int) []byte {
	ip := ipv6(from, to, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	must(icmp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, icmp, gopacket.Payload(make([]byte, 4+body)))
}

// withFragment sets the flags and the offset of a frame of IPv4.
func withFragment(frame []byte, field uint16) []byte {
	out := Patch(frame, OuterIPOffset+6, byte(field>>8), byte(field), frame[OuterIPOffset+8], frame[OuterIPOffset+9], 0, 0)
	sum := checksum(out[OuterIPOffset : OuterIPOffset+20])
	return Patch(out, OuterIPOffset+10, byte(sum>>8), byte(sum))
}

// withOptions puts four bytes of options into the header of a frame of IPv4.
func withOptions(frame []byte) []byte {
	const header = OuterIPOffset + 20
	out := slices.Concat(frame[:header], []byte{1, 1, 1, 0}, frame[header:])
	length := len(out) - OuterIPOffset
	out = Patch(out, OuterIPOffset, 0x46, out[OuterIPOffset+1], byte(length>>8), byte(length))
	out = Patch(out, OuterIPOffset+10, 0, 0)
	sum := checksum(out[OuterIPOffset : header+4])
	return Patch(out, OuterIPOffset+10, byte(sum>>8), byte(sum))
}

// withTag puts an 802.1Q tag of VLAN 9 into a frame.
func withTag(frame []byte) []byte {
	const addresses = 12
	return slices.Concat(frame[:addresses], []byte{0x81, 0, 0, 9}, frame[addresses:])
}
