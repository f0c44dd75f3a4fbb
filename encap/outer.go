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
	// OuterLen is what Outer.Put writes before an inner frame: Ethernet, IPv4
	// without options, UDP and VXLAN.
	OuterLen = ethLen + ipv4Len + udpLen + HeaderLen
	// MaxInnerFrame is the longest inner frame that the outer IPv4 packet's
	// 16-bit length can say.
	MaxInnerFrame = 1<<16 - 1 - (OuterLen - ethLen)
)

// dontFragment is the outer DF flag. A tunnel packet that does not fit must be
// an error that path MTU discovery sees, not fragments, whose later ones carry
// no port and which the receiver would have to put together (RFC 7348 section
// 4.3).
const dontFragment = 0x4000

var (
	// ErrNotIPv4 is wrapped where an outer address is not IPv4.
	ErrNotIPv4 = errors.New("not an IPv4 address")
	// ErrTooLong is wrapped where an inner frame does not fit the outer
	// packet.
	ErrTooLong = errors.New("inner frame too long")
)

// Outer is what the headers before an inner frame say, on an IPv4 underlay.
type Outer struct {
	SrcMAC, DstMAC MAC
	// Src and Dst are the VTEPs.
	Src, Dst netip.Addr
	// SrcPort comes from the inner flow: SourcePort(FlowHash(frame)). DstPort
	// is the receiver's, Port as a rule.
	SrcPort, DstPort uint16
	// ECN is the inner packet's: EncapECN.
	ECN ECN
	VNI VNI
}

// Put writes the headers for an inner frame of inner bytes to the first
// OuterLen bytes of b; the frame itself belongs at b[OuterLen:]. The UDP
// checksum is zero, which RFC 7348 section 4.1 asks for: the inner packet has
// its own.
func (o *Outer) Put(b []byte, inner int) error {
	if len(b) < OuterLen {
		return fmt.Errorf("outer headers: %w: %d bytes, %d are needed", ErrTruncated, len(b), OuterLen)
	}
	if inner < 0 || inner > MaxInnerFrame {
		return fmt.Errorf("%w: %d bytes are not in 0..%d", ErrTooLong, inner, MaxInnerFrame)
	}
	if !o.Src.Is4() || !o.Dst.Is4() {
		return fmt.Errorf("VTEPs %s and %s: %w", o.Src, o.Dst, ErrNotIPv4)
	}
	copy(b, o.DstMAC[:])
	copy(b[6:], o.SrcMAC[:])
	binary.BigEndian.PutUint16(b[12:], etherTypeIPv4)

	o.putIPv4(b[ethLen:ethLen+ipv4Len], ipv4Len+udpLen+HeaderLen+inner)

	udp := b[ethLen+ipv4Len:]
	binary.BigEndian.PutUint16(udp, o.SrcPort)
	binary.BigEndian.PutUint16(udp[2:], o.DstPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+HeaderLen+inner))
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

// ipv4Checksum is RFC 1071's, over a header whose own checksum is zero.
func ipv4Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum + sum>>16)
}
