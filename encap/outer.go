package encap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

const (
	// Port is VXLAN's UDP port, assigned by IANA.
	Port = 4789
	// OuterTTL is the outer TTL. The inner one is not looked at: to inner
	// packets the tunnel is one hop on the link.
	OuterTTL = 64
	// OuterLenIPv4 is what Outer.Put writes before an inner frame over IPv4:
	// Ethernet, IP without options, UDP and VXLAN.
	OuterLenIPv4 = ethLen + ipv4Len + udpLen + HeaderLen // 50
	// OuterLenIPv6 is the same over IPv6, without extension headers.
	OuterLenIPv6 = ethLen + ipv6Len + udpLen + HeaderLen // 70
	// MaxInnerFrameIPv4 is the longest inner frame that the outer packet's
	// 16-bit length can say.
	MaxInnerFrameIPv4 = 1<<16 - 1 - ipv4Len - udpLen - HeaderLen
	// MaxInnerFrameIPv6 is the same for IPv6, whose length does not count its
	// own header.
	MaxInnerFrameIPv6 = 1<<16 - 1 - udpLen - HeaderLen
)

// dontFragment is the outer DF flag. A tunnel packet that does not fit must be
// an error that path MTU discovery sees, not fragments, whose later ones carry
// no port and which the receiver would have to put together (RFC 7348 section
// 4.3). Over IPv6 nobody on the way fragments.
const dontFragment = 0x4000

var (
	// ErrFamily is wrapped where outer addresses are not two of one family.
	ErrFamily = errors.New("not two addresses of one family")
	// ErrTooLong is wrapped where an inner frame does not fit the outer
	// packet.
	ErrTooLong = errors.New("inner frame too long")
)

// Outer is what the headers before an inner frame say.
type Outer struct {
	SrcMAC, DstMAC MAC
	// Src and Dst are the VTEPs. Their family is that of the outer packet.
	Src, Dst netip.Addr
	// SrcPort comes from the inner flow: SourcePort(FlowHash(frame)). DstPort
	// is the receiver's, Port as a rule.
	SrcPort, DstPort uint16
	// FlowLabel is for IPv6, 20 bits of the same FlowHash: routers spread
	// flows by it as by the source port (RFC 6438). Higher bits are ignored.
	FlowLabel uint32
	// ECN is the inner packet's: EncapECN.
	ECN ECN
	VNI VNI
}

// OuterLen returns how many bytes Put writes, by the family of a VTEP.
func OuterLen(vtep netip.Addr) int {
	if vtep.Is4() {
		return OuterLenIPv4
	}
	return OuterLenIPv6
}

// Put writes the headers for an inner frame of inner bytes to the first
// OuterLen bytes of b; the frame itself belongs behind them. The UDP checksum is
// zero, which RFC 7348 section 4.1 asks for, and RFC 6935 allows tunnels to do
// over IPv6: the inner packet has its own.
func (o *Outer) Put(b []byte, inner int) error {
	length, longest := OuterLenIPv4, MaxInnerFrameIPv4
	switch {
	case o.Src.Is4() && o.Dst.Is4():
	case o.Src.Is6() && o.Dst.Is6() && !o.Src.Is4In6() && !o.Dst.Is4In6():
		length, longest = OuterLenIPv6, MaxInnerFrameIPv6
	default:
		return fmt.Errorf("VTEPs %s and %s: %w", o.Src, o.Dst, ErrFamily)
	}
	if len(b) < length {
		return fmt.Errorf("outer headers: %w: %d bytes, %d are needed", ErrTruncated, len(b), length)
	}
	if inner < 0 || inner > longest {
		return fmt.Errorf("%w: %d bytes are not in 0..%d", ErrTooLong, inner, longest)
	}
	copy(b, o.DstMAC[:])
	copy(b[6:], o.SrcMAC[:])
	udp := b[length-udpLen-HeaderLen:]
	udpTotal := udpLen + HeaderLen + inner
	if length == OuterLenIPv4 {
		binary.BigEndian.PutUint16(b[12:], etherTypeIPv4)
		o.putIPv4(b[ethLen:ethLen+ipv4Len], ipv4Len+udpTotal)
	} else {
		binary.BigEndian.PutUint16(b[12:], etherTypeIPv6)
		o.putIPv6(b[ethLen:ethLen+ipv6Len], udpTotal)
	}
	binary.BigEndian.PutUint16(udp, o.SrcPort)
	binary.BigEndian.PutUint16(udp[2:], o.DstPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpTotal))
	binary.BigEndian.PutUint16(udp[6:], 0)

	Header{VNI: o.VNI}.Put(udp[udpLen:])
	return nil
}

// putIPv4 writes the IPv4 header of a packet of total bytes. The
// identification stays zero: with DF set it means nothing (RFC 6864).
func (o *Outer) putIPv4(b []byte, total int) {
	clear(b)
	b[0] = 4<<4 | ipv4Len/4
	b[1] = byte(o.ECN & CE)
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint16(b[6:], dontFragment)
	b[8] = OuterTTL
	b[9] = protoUDP
	src, dst := o.Src.As4(), o.Dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ipv4Checksum(b))
}

// putIPv6 writes the IPv6 header of a packet with that much payload.
func (o *Outer) putIPv6(b []byte, payload int) {
	const labelMask = 1<<20 - 1
	binary.BigEndian.PutUint32(b, 6<<28|uint32(o.ECN&CE)<<20|o.FlowLabel&labelMask)
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6] = protoUDP
	b[7] = OuterTTL
	src, dst := o.Src.As16(), o.Dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
}

// ipv4Checksum is RFC 1071's, over a header whose own checksum is zero.
func ipv4Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum + sum>>16)
}
