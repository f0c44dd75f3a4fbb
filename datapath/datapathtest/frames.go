package datapathtest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/encap"
)

// Frames are built by gopacket and not by the code under test. Those that a
// builder returns are right in every field; a test breaks them by hand, with
// Patch or a slice.

// Party is one end of a frame: an endpoint, or a host on the underlay.
type Party struct {
	MAC  encap.MAC
	Addr netip.Addr
}

// MulticastOf is a group as the destination of frames, with the MAC that follows
// from its address (RFC 1112 section 6.4, RFC 2464 section 7).
func MulticastOf(group netip.Addr) Party {
	a := group.As16()
	if group.Is4() {
		return Party{encap.MAC{1, 0, 0x5e, a[13] & 0x7f, a[14], a[15]}, group}
	}
	return Party{encap.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}, group}
}

// UDP4 returns a frame of a UDP datagram over IPv4.
func UDP4(from, to Party, payload string) []byte {
	ip := ipv4(from, to, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1111, DstPort: 2222}
	must(udp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ip, udp, gopacket.Payload(payload))
}

// TCP returns a frame of a TCP segment, over IPv4 or IPv6 as the parties have it.
func TCP(from, to Party, payload string) []byte {
	tcp := &layers.TCP{SrcPort: 1111, DstPort: 2222, Seq: 1, Ack: 1, ACK: true, PSH: true, Window: 1000}
	if from.Addr.Is6() {
		ip := ipv6(from, to, layers.IPProtocolTCP)
		must(tcp.SetNetworkLayerForChecksum(ip))
		return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, tcp, gopacket.Payload(payload))
	}
	ip := ipv4(from, to, layers.IPProtocolTCP)
	must(tcp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ip, tcp, gopacket.Payload(payload))
}

// ARPRequest returns a broadcast request for an address.
func ARPRequest(from Party, target netip.Addr) []byte {
	return arp(from, Party{MAC: broadcast, Addr: target}, layers.ARPRequest)
}

// ARPReply returns what an endpoint answers to a request.
func ARPReply(from, to Party) []byte { return arp(from, to, layers.ARPReply) }

// ICMP4Echo returns a frame of a ping over IPv4, or of the answer to it.
func ICMP4Echo(from, to Party, reply bool) []byte {
	kind := uint8(layers.ICMPv4TypeEchoRequest)
	if reply {
		kind = layers.ICMPv4TypeEchoReply
	}
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ipv4(from, to, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: 1, Seq: 1}, gopacket.Payload(pingPayload))
}

// ICMP6Echo returns a frame of a ping over IPv6, or of the answer to it.
func ICMP6Echo(from, to Party, reply bool) []byte {
	kind := uint8(layers.ICMPv6TypeEchoRequest)
	if reply {
		kind = layers.ICMPv6TypeEchoReply
	}
	ip := ipv6(from, to, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	must(icmp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, icmp,
		&layers.ICMPv6Echo{Identifier: 1, SeqNumber: 1}, gopacket.Payload(pingPayload))
}

// pingPayload fills an Ethernet frame, so that none is padded.
const pingPayload = "ping, ping, ping, ping"

// ICMP6 returns a frame of an ICMPv6 message that is no neighbour discovery.
func ICMP6(from, to Party) []byte { return ICMP6Echo(from, to, false) }

// Solicitation returns a neighbour solicitation to the target's group that
// names lladdr as the sender's (RFC 4861 section 4.3).
func Solicitation(from Party, target netip.Addr, lladdr encap.MAC) []byte {
	t := target.As16()
	to := Party{
		MAC:  encap.MAC{0x33, 0x33, 0xff, t[13], t[14], t[15]},
		Addr: netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]}),
	}
	ip := ipv6(from, to, layers.IPProtocolICMPv6)
	ip.HopLimit = 255
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	must(icmp.SetNetworkLayerForChecksum(ip))
	return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, icmp,
		&layers.ICMPv6NeighborSolicitation{
			TargetAddress: target.AsSlice(),
			Options: layers.ICMPv6Options{{
				Type: layers.ICMPv6OptSourceAddress, Data: lladdr[:],
			}},
		})
}

// Ethernet returns a frame that is not IP.
func Ethernet(from, to Party, etherType uint16, payload string) []byte {
	return serialize(ethernet(from, to, layers.EthernetType(etherType)), gopacket.Payload(payload))
}

// VXLAN returns inner in a tunnel packet on UDP port 4789, over IPv4 or IPv6 as
// the parties have it, as RFC 7348 has it: with checksum zero.
func VXLAN(from, to Party, vni encap.VNI, inner []byte) []byte {
	b := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.UDP{SrcPort: 40000, DstPort: vxlanPort},
		&layers.VXLAN{ValidIDFlag: true, VNI: uint32(vni)},
		gopacket.Payload(inner)))
	if from.Addr.Is6() {
		return serialize(ethernet(from, to, layers.EthernetTypeIPv6),
			ipv6(from, to, layers.IPProtocolUDP), gopacket.Payload(b.Bytes()))
	}
	ip := ipv4(from, to, layers.IPProtocolUDP)
	ip.Flags = layers.IPv4DontFragment
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ip, gopacket.Payload(b.Bytes()))
}

// vxlanPort is the UDP port of RFC 7348 section 8.
const vxlanPort = 4789

// Offsets into a frame of VXLAN over IPv4; At turns them into those of any.
const (
	OuterIPOffset    = 14
	OuterUDPOffset   = OuterIPOffset + 20
	VXLANOffset      = OuterUDPOffset + 8
	InnerOffset      = VXLANOffset + 8
	InnerIPOffset    = InnerOffset + 14
	UDPChecksumField = OuterUDPOffset + 6
)

// At returns where a frame has what stands at one of the offsets above: over
// IPv6, what follows the outer IP header comes 20 bytes later.
func At(frame []byte, offset int) int {
	if offset >= OuterUDPOffset && IsIPv6(frame) {
		return offset + 20
	}
	return offset
}

// IsIPv6 tells the family of the IP packet in a frame.
func IsIPv6(frame []byte) bool { return frame[12] == 0x86 && frame[13] == 0xdd }

// Patch returns a copy of the frame with some of its bytes replaced.
func Patch(frame []byte, offset int, b ...byte) []byte {
	out := append([]byte(nil), frame...)
	copy(out[offset:], b)
	return out
}

// Shorten returns the first n bytes of a frame of VXLAN with the outer lengths
// mended to match: what a sender of too short a packet would send.
func Shorten(frame []byte, n int) []byte {
	out := append([]byte(nil), frame[:n]...)
	udp := At(out, OuterUDPOffset)
	ip := out[OuterIPOffset:min(udp, n)]
	if IsIPv6(out) {
		binary.BigEndian.PutUint16(ip[4:], uint16(n-udp))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(n-OuterIPOffset))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	}
	if n >= udp+8 {
		binary.BigEndian.PutUint16(out[udp+4:], uint16(n-udp))
	}
	return out
}

var broadcast = encap.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func arp(from, to Party, op uint16) []byte {
	target := to.MAC
	if op == layers.ARPRequest {
		target = encap.MAC{}
	}
	return serialize(ethernet(from, to, layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: from.MAC[:], SourceProtAddress: from.Addr.AsSlice(),
		DstHwAddress: target[:], DstProtAddress: to.Addr.AsSlice(),
	})
}

func ethernet(from, to Party, t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{
		SrcMAC: net.HardwareAddr(from.MAC[:]), DstMAC: net.HardwareAddr(to.MAC[:]), EthernetType: t,
	}
}

func ipv4(from, to Party, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 64, Protocol: proto,
		SrcIP: from.Addr.AsSlice(), DstIP: to.Addr.AsSlice(),
	}
}

func ipv6(from, to Party, proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: proto,
		SrcIP: from.Addr.AsSlice(), DstIP: to.Addr.AsSlice(),
	}
}

func serialize(l ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...))
	return b.Bytes()
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// must ends a test that builds a frame which cannot be.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("datapathtest: build frame: %v", err))
	}
}
