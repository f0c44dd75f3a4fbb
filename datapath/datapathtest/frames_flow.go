package datapathtest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Packets of flows, over IPv4 or IPv6 as their ends have it. None is padded.

// End is an end of a flow: an endpoint, or a VIP, at a port.
type End struct {
	Party
	Port uint16
}

func (e End) addrPort() netip.AddrPort { return netip.AddrPortFrom(e.Addr, e.Port) }

// Segment is what a TCP segment has beside its ends.
type Segment struct {
	// Flags are those of RFC 9293 section 3.1: TCPSYN and so on.
	Flags    byte
	Seq, Ack uint32
	Window   uint16
	Options  []layers.TCPOption
	Payload  string
}

// The flags of a segment.
const (
	TCPFIN = 1 << iota
	TCPSYN
	TCPRST
	TCPPSH
	TCPACK
)

// Frame returns a frame of the segment.
func (s Segment) Frame(from, to End) []byte {
	return overIP(from.Party, to.Party, layers.IPProtocolTCP, &layers.TCP{
		SrcPort: layers.TCPPort(from.Port), DstPort: layers.TCPPort(to.Port), Seq: s.Seq, Ack: s.Ack,
		FIN: s.Flags&TCPFIN != 0, SYN: s.Flags&TCPSYN != 0, RST: s.Flags&TCPRST != 0,
		PSH: s.Flags&TCPPSH != 0, ACK: s.Flags&TCPACK != 0, Window: s.Window, Options: s.Options,
	}, s.Payload)
}

// Reset returns the answer to a segment that no connection is there for, RFC
// 9293 section 3.5.2, as a datapath sends it: with an ID of zero, DF, and a
// window of zero.
func (s Segment) Reset(from, to End) []byte {
	r := Segment{Flags: TCPRST, Seq: s.Ack}
	if s.Flags&TCPACK == 0 {
		length := uint32(len(s.Payload))
		for _, flag := range []byte{TCPSYN, TCPFIN} {
			if s.Flags&flag != 0 {
				length++
			}
		}
		r = Segment{Flags: TCPRST | TCPACK, Ack: s.Seq + length}
	}
	return withoutFragmenting(r.Frame(from, to))
}

// Datagram returns a frame of a UDP datagram.
func Datagram(from, to End, payload string) []byte {
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port), DstPort: layers.UDPPort(to.Port)}
	frame := overIP(from.Party, to.Party, layers.IPProtocolUDP, udp, payload)
	// gopacket does not know that a sum of zero is sent as all ones (RFC 768).
	return WithUDPChecksum(frame, OuterIPOffset)
}

// SCTP returns a frame with the first chunk of an association, RFC 9260.
func SCTP(from, to End) []byte {
	return overIP(from.Party, to.Party, layers.IPProtocolSCTP, &layers.SCTP{
		SrcPort: layers.SCTPPort(from.Port), DstPort: layers.SCTPPort(to.Port),
	}, "\x01\x00\x00\x14 and so on, the rest of it")
}

// ICMPError returns a frame of an ICMP or ICMPv6 error about the packet in a
// frame, of which it quotes as much as it may. rest is the word behind the
// checksum.
func ICMPError(from, to Party, typ, code byte, rest uint32, about []byte) []byte {
	const icmp = 8
	room := answerLen4 - 20 - icmp
	if from.Addr.Is6() {
		room = answerLen6 - 40 - icmp
	}
	return BriefICMPError(from, to, typ, code, rest, about[:min(len(about), OuterIPOffset+room)])
}

// BriefICMPError is ICMPError that quotes all of a frame's packet.
func BriefICMPError(from, to Party, typ, code byte, rest uint32, about []byte) []byte {
	word := gopacket.Payload(binary.BigEndian.AppendUint32(nil, rest))
	quote := gopacket.Payload(about[OuterIPOffset:])
	if from.Addr.Is6() {
		ip := ipv6(from, to, layers.IPProtocolICMPv6)
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
		must(icmp.SetNetworkLayerForChecksum(ip))
		return serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, icmp, word, quote)
	}
	ip := ipv4(from, to, layers.IPProtocolICMPv4)
	ip.TOS, ip.Flags = 0xc0, layers.IPv4DontFragment
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: uint16(rest >> 16), Seq: uint16(rest)}
	return serialize(ethernet(from, to, layers.EthernetTypeIPv4), ip, icmp, quote)
}

// Echo returns a frame of a ping, or of the answer to it, with that payload.
func Echo(from, to Party, reply bool, payload string) []byte {
	body := binary.BigEndian.AppendUint32(nil, 0x12345678) // identifier, sequence number
	body = append(body, payload...)
	if from.Addr.Is6() {
		kind := uint8(layers.ICMPv6TypeEchoRequest)
		if reply {
			kind = layers.ICMPv6TypeEchoReply
		}
		return overIP(from, to, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}, string(body))
	}
	kind := uint8(layers.ICMPv4TypeEchoRequest)
	if reply {
		kind = layers.ICMPv4TypeEchoReply
	}
	return overIP(from, to, layers.IPProtocolICMPv4, &layers.ICMPv4{
		TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: 0x1234, Seq: 0x5678,
	}, payload)
}

// overIP returns a frame of a protocol over IP. Bytes with which gopacket pads
// it are taken away.
func overIP(from, to Party, protocol layers.IPProtocol, l gopacket.SerializableLayer, payload string) []byte {
	checksummed, _ := l.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	})
	if from.Addr.Is6() {
		ip := ipv6(from, to, protocol)
		if checksummed != nil {
			must(checksummed.SetNetworkLayerForChecksum(ip))
		}
		return unpadded(serialize(ethernet(from, to, layers.EthernetTypeIPv6), ip, l, gopacket.Payload(payload)))
	}
	ip := ipv4(from, to, protocol)
	if checksummed != nil {
		must(checksummed.SetNetworkLayerForChecksum(ip))
	}
	return unpadded(serialize(ethernet(from, to, layers.EthernetTypeIPv4), ip, l, gopacket.Payload(payload)))
}

// unpadded cuts a frame where its packet ends.
func unpadded(frame []byte) []byte {
	const ip4LengthAt, ip6Len = OuterIPOffset + 2, 40
	if IsIPv6(frame) {
		return frame[:OuterIPOffset+ip6Len+int(binary.BigEndian.Uint16(frame[ip6LengthAt:]))]
	}
	return frame[:OuterIPOffset+int(binary.BigEndian.Uint16(frame[ip4LengthAt:]))]
}

// padded is a frame as an interface sends it that fills frames up to 60 bytes.
func padded(frame []byte) []byte {
	return append(slices.Clone(frame), make([]byte, max(0, 60-len(frame)))...)
}

// withoutFragmenting sets DF, which IPv6 does not have.
func withoutFragmenting(frame []byte) []byte {
	if IsIPv6(frame) {
		return frame
	}
	return withFragment(frame, 0x4000)
}
