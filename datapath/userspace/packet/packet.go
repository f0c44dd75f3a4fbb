// Package packet tells what a frame is, before anybody decides about it: whose
// addresses it has, what it carries, and whether its headers are in order. The
// rules are those of the kernel datapath's programs, and so is their order.
//
// A frame comes with its priority tag taken off (Untag). A Parser reads plain
// TCP and UDP over IPv4 and IPv6, which nearly all frames are, at fixed offsets.
// Everything else (tags, ARP, options, extension headers, other protocols, what
// is cut short or malformed) goes through gopacket's DecodingLayerParser, over
// layers that keep to the rules and have no errors to allocate.
package packet

import (
	"encoding/binary"

	"github.com/google/gopacket"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// EtherTypes that mean something to a datapath.
const (
	TypeIPv4   = 0x0800
	TypeARP    = 0x0806
	TypeIPv6   = 0x86dd
	Type8021Q  = 0x8100
	Type8021AD = 0x88a8
)

const (
	protoTCP = 6
	protoUDP = 17

	ethLen  = 14
	tagLen  = 4
	arpLen  = 28
	ip4Len  = 20
	ip6Len  = 40
	maxTags = 8 // that a packet may stand behind

	// leastTagged is the shortest frame with a tag that Linux takes for one.
	leastTagged = ethLen + tagLen + 2
)

// Packet is what a frame is. Offsets are in bytes from the Ethernet header on.
type Packet struct {
	Dst, Src encap.MAC
	// EtherType is what the frame says of itself: that of the tag where it is
	// Tagged. Behind a tag a frame is the endpoints' own.
	EtherType uint16
	Tagged    bool
	// Inner is the EtherType behind all tags, and L3 where the packet starts.
	Inner uint16
	L3    int

	// Framing says why a frame is no frame: DropTruncated, also for one that
	// ends within its tags or in the IP header behind them. All of what stands
	// below is only for those where it is 0.
	Framing datapath.DropReason
	// Header says why a frame that is not Tagged has no network header:
	// DropTruncated or DropInnerMalformed. Who sent it is asked between the two.
	Header datapath.DropReason

	// Request: ARP that asks. It is one of the two, a request or a reply.
	Request bool
	// Of IP that is not Tagged and whose Header is 0, and of ARP the sender's and
	// the target's addresses: IPv4 as ::ffff:a.b.c.d.
	SrcAddr, DstAddr [16]byte
	// TOS is the type of service or traffic class: DSCP and ECN; 0 behind a tag.
	TOS uint8
	// Proto is the protocol that the IP header names, in IPv6 an extension
	// header's as may be.
	Proto uint8
}

// IP says whether the frame is an IP packet that is not behind a tag.
func (p *Packet) IP() bool { return p.EtherType == TypeIPv4 || p.EtherType == TypeIPv6 }

// ECN is the field of the IP header; NotECT of what has none or is behind a tag.
func (p *Packet) ECN() encap.ECN { return encap.ECN(p.TOS) & encap.CE }

// Group says whether the frame is for many.
func (p *Packet) Group() bool { return p.Dst[0]&1 == 1 }

// Plain says that TCP or UDP stands right behind the IP header. Of IPv4, it may be
// a fragment.
func (p *Packet) Plain() bool { return p.Proto == protoTCP || p.Proto == protoUDP }

// Parser reads frames. The zero Parser is ready; it is for one goroutine, and must
// not be copied once it is in use.
type Parser struct {
	packet  Packet
	decoder *gopacket.DecodingLayerParser
	decoded []gopacket.LayerType
}

// Parse reads a frame, which is without a priority tag. What it returns holds
// until the next one is read.
func (p *Parser) Parse(frame []byte) *Packet {
	if !p.packet.plain(frame) {
		p.decode(frame)
	}
	return &p.packet
}

// plain reads a frame of TCP or UDP whose headers are in order. It returns false,
// and nothing of use, for any other.
func (p *Packet) plain(frame []byte) bool {
	if len(frame) < ethLen+ip4Len {
		return false
	}
	var proto, tos uint8
	etherType := binary.BigEndian.Uint16(frame[12:])
	switch packet := frame[ethLen:]; {
	case etherType == TypeIPv4 && packet[0] == 0x45:
		if !fits4(packet, ip4Len) {
			return false
		}
		proto, tos = packet[9], packet[1]
		p.SrcAddr, p.DstAddr = mapped(packet[12:]), mapped(packet[16:])
	case etherType == TypeIPv6 && len(packet) >= ip6Len && packet[0]>>4 == 6:
		if !fits6(packet) {
			return false
		}
		proto, tos = packet[6], packet[0]<<4|packet[1]>>4
		p.SrcAddr, p.DstAddr = [16]byte(packet[8:]), [16]byte(packet[24:])
	default:
		return false
	}
	if proto != protoTCP && proto != protoUDP {
		return false
	}
	p.Dst, p.Src = encap.MAC(frame), encap.MAC(frame[6:])
	p.EtherType, p.Inner, p.Tagged, p.L3 = etherType, etherType, false, ethLen
	p.Framing, p.Header, p.Request = 0, 0, false
	p.TOS, p.Proto = tos, proto
	return true
}

// fits4 says whether an IPv4 packet's length is one: no less than its header, and
// no more than is there. What 16 bits cannot say of a packet that is still to be
// cut is anything.
func fits4(packet []byte, header int) bool {
	total := int(binary.BigEndian.Uint16(packet[2:]))
	return len(packet) > 0xffff || (total >= header && total <= len(packet))
}

func fits6(packet []byte) bool {
	return int(binary.BigEndian.Uint16(packet[4:]))+ip6Len <= len(packet)
}

func mapped(b []byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
}

func isTag(etherType uint16) bool { return etherType == Type8021Q || etherType == Type8021AD }

// Untag takes a priority tag off a frame, one of VLAN 0: its receiver takes the
// frame for one without a tag, so it has to be looked at as one. What of the
// frame is still to be done moves along. False is a frame to be dropped as
// malformed: it has another such tag behind the first, or ends in the tag behind.
func Untag(f *offload.Frame) bool {
	if !hasPriority(f.Data) {
		return true
	}
	const addresses = 12
	copy(f.Data[tagLen:], f.Data[:addresses])
	f.Data = f.Data[tagLen:]
	if f.Flags&offload.NeedsCsum != 0 {
		f.CsumStart -= tagLen
	}
	if f.HdrLen > tagLen {
		f.HdrLen -= tagLen
	}
	return !isTag(binary.BigEndian.Uint16(f.Data[12:])) || (len(f.Data) >= ethLen+tagLen && !hasPriority(f.Data))
}

func hasPriority(frame []byte) bool {
	const vlanID = 0x0fff
	return len(frame) >= leastTagged && isTag(binary.BigEndian.Uint16(frame[12:])) &&
		binary.BigEndian.Uint16(frame[14:])&vlanID == 0
}
