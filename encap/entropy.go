package encap

import (
	"encoding/binary"
	"math/bits"
)

// The range of outer source ports, both included: Linux's default for local
// ports, inside the dynamic range that RFC 7348 section 5 recommends less its
// top, which some firewalls treat apart.
const (
	MinSourcePort = 32768
	MaxSourcePort = 60999
)

// SourcePort returns the outer source port for a flow's hash. The underlay
// spreads flows over its paths by it, and receivers over their queues.
func SourcePort(hash uint32) uint16 {
	const n = MaxSourcePort - MinSourcePort + 1
	return MinSourcePort + uint16(uint64(hash)*n>>32)
}

// EtherTypes and IP protocols whose headers FlowHash looks into.
const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	protoTCP      = 6
	protoUDP      = 17
	protoSCTP     = 132

	etherType8021Q  = 0x8100
	etherType8021AD = 0x88a8
	protoHopByHop   = 0
	protoRouting    = 43
	protoFragment   = 44
	protoAH         = 51
	protoDstOpts    = 60
)

const (
	ethLen  = 14
	ipv4Len = 20
	ipv6Len = 40
	udpLen  = 8
	tagLen  = 4
	// How far FlowHash looks: at so many tags, and so many extension headers.
	maxTags, maxExtensions = 8, 8
)

// FlowHash hashes the flow that an Ethernet frame belongs to. It is symmetric:
// both directions of a flow have one hash, and so one outer source port, as
// with Linux's skb_get_hash; a stateful device on the underlay sees both.
// All packets of a flow have the same hash, so that they stay in order:
//
//   - TCP, UDP and SCTP: both addresses, protocol, both ports;
//   - fragments, the first included, and other IP: addresses and protocol, for
//     fragments of IPv6 that of the fragment header;
//   - what is behind 802.1Q tags: like what is behind none;
//   - everything else, also what is truncated or malformed: both MAC addresses
//     and the EtherType.
//
// It is the same on every host and after every restart, and no defence against
// someone who chooses flows to collide: what can be had by that is one path of
// the underlay.
func FlowHash(frame []byte) uint32 {
	if len(frame) < ethLen {
		return 0
	}
	at := ethLen
	etherType := binary.BigEndian.Uint16(frame[12:])
	for i := 0; i < maxTags && (etherType == etherType8021Q || etherType == etherType8021AD) && len(frame) >= at+tagLen; i++ {
		at += tagLen
		etherType = binary.BigEndian.Uint16(frame[at-2:])
	}
	switch packet := frame[at:]; {
	case etherType == etherTypeIPv4 && len(packet) >= ipv4Len:
		if hash, ok := hashIPv4(packet); ok {
			return hash
		}
	case etherType == etherTypeIPv6 && len(packet) >= ipv6Len && packet[0]>>4 == 6:
		src := mix(binary.BigEndian.Uint64(packet[8:]), binary.BigEndian.Uint64(packet[16:]))
		dst := mix(binary.BigEndian.Uint64(packet[24:]), binary.BigEndian.Uint64(packet[32:]))
		proto, segment := upper6(packet)
		return hashEnds(src, dst, uint64(proto), ports(proto, segment))
	}
	return hashEnds(mac48(frame[6:]), mac48(frame), uint64(etherType)<<16, 0)
}

func hashIPv4(packet []byte) (uint32, bool) {
	headerLen := int(packet[0]&0xf) * 4
	if packet[0]>>4 != 4 || headerLen < ipv4Len || headerLen > len(packet) {
		return 0, false
	}
	src, dst := binary.BigEndian.Uint32(packet[12:]), binary.BigEndian.Uint32(packet[16:])
	proto := packet[9]
	var p uint32
	const moreOrOffset = 0x3fff // MF and the offset: without ports in the later ones
	if binary.BigEndian.Uint16(packet[6:])&moreOrOffset == 0 {
		p = ports(proto, packet[headerLen:])
	}
	return hashEnds(uint64(src), uint64(dst), uint64(proto), p), true
}

// upper6 returns what an IPv6 packet carries behind its extension headers, as far
// as it is there. Of fragments that is the fragment header.
func upper6(packet []byte) (proto byte, segment []byte) {
	proto, segment = packet[6], packet[ipv6Len:]
	for range maxExtensions {
		if len(segment) < 2 {
			break
		}
		n := 8 * (int(segment[1]) + 1)
		switch proto {
		case protoHopByHop, protoRouting, protoDstOpts:
		case protoAH:
			n = 4 * (int(segment[1]) + 2)
		default:
			return proto, segment
		}
		if n > len(segment) {
			break
		}
		proto, segment = segment[0], segment[n:]
	}
	return proto, segment
}

// ports returns the source port in the high half and the destination port in
// the low one, zero for a protocol without.
func ports(proto byte, segment []byte) uint32 {
	if (proto != protoTCP && proto != protoUDP && proto != protoSCTP) || len(segment) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(segment)
}

// hashEnds hashes two ends, each with its port, so that swapping them changes
// nothing.
func hashEnds(src, dst, proto uint64, ports uint32) uint32 {
	a := mix(src, uint64(ports>>16))
	b := mix(dst, uint64(ports&0xffff))
	if a > b {
		a, b = b, a
	}
	h := mix(mix(a, b), proto)
	return uint32(h>>32) ^ uint32(h)
}

// mix folds the 128-bit product of its arguments, each stirred by a constant
// of the golden ratio or of pi, as wyhash does.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0x243f6a8885a308d3)
	return hi ^ lo
}

func mac48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}
