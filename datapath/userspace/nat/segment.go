// Package nat changes addresses and ports of packets in place, as a VIP needs it:
// of TCP and UDP over IPv4 and IPv6, of their fragments, and of the ICMP errors
// that quote them. Checksums are mended, not made (RFC 1624), so that what was
// wrong stays wrong.
//
// Parse finds where in a frame the transport's header stands. Then Ends tells the
// packet's addresses and ports and SetEnds changes them; Quote finds the packet
// that an ICMP error is about, and SetQuoted changes both.
package nat

import (
	"encoding/binary"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// Protocols, and lengths and offsets in bytes.
const (
	TCP    = 6
	UDP    = 17
	ICMP   = 1
	ICMPv6 = 58

	ethLen  = 14
	ip4Len  = 20
	ip6Len  = 40
	icmpLen = 8
	udpLen  = 8
	tcpLen  = 20

	tcpFlagsAt = 13
	tcpSumAt   = 16
	udpSumAt   = 6
	icmpSumAt  = 2

	flagFIN, flagSYN, flagRST, flagACK = 0x01, 0x02, 0x04, 0x10
)

// Segment is what an IP packet carries, as far as it is in this frame. Offsets are
// from the Ethernet header on.
type Segment struct {
	V6 bool
	// L4 is where it begins, behind IP options and extension headers.
	L4 int
	// Proto is its protocol. Of a later fragment of IPv6 it is what the fragment
	// header has.
	Proto uint8
	// First is a fragment with the beginning, be it the only one, Later one without:
	// that has no header at L4.
	First, Later bool
	// ID and FragmentProto tell fragments of one packet from others'.
	ID            uint32
	FragmentProto uint8
}

// Parse reads the frame of an IP packet without tag whose network header is in
// order. The reason is that of a frame that ends within the transport's header.
func Parse(frame []byte, s *Segment) datapath.DropReason {
	ip := frame[ethLen:]
	*s = Segment{V6: ip[0]>>4 == 6}
	reason := datapath.DropReason(0)
	if s.V6 {
		reason = s.parse6(ip)
	} else {
		s.parse4(ip)
	}
	if reason != 0 || s.Later {
		return reason
	}
	if len(frame) < s.L4+headerLen(s.Proto, s.V6) {
		return datapath.DropTruncated
	}
	return 0
}

func (s *Segment) parse4(ip []byte) {
	const more, offset = 0x2000, 0x1fff
	s.L4 = ethLen + int(ip[0]&0x0f)*4
	s.Proto, s.FragmentProto = ip[9], ip[9]
	field := binary.BigEndian.Uint16(ip[6:])
	s.Later = field&offset != 0
	s.First = !s.Later && field&more != 0
	s.ID = uint32(binary.BigEndian.Uint16(ip[4:]))
}

func (s *Segment) parse6(ip []byte) datapath.DropReason {
	const offset = 0xfff8
	if ip[6] == TCP || ip[6] == UDP { // most are
		s.L4, s.Proto = ethLen+ip6Len, ip[6]
		return 0
	}
	u, reason := answer.Walk6(ip)
	if reason != 0 {
		return reason
	}
	s.L4, s.Proto = ethLen+u.Offset, u.Proto
	if !u.Fragment {
		return 0
	}
	if len(ip) < u.FragmentAt+8 {
		return datapath.DropTruncated
	}
	h := ip[u.FragmentAt:]
	s.FragmentProto, s.ID = h[0], binary.BigEndian.Uint32(h[4:])
	s.Later = binary.BigEndian.Uint16(h[2:])&offset != 0
	s.First = !s.Later
	if s.Later {
		s.Proto = s.FragmentProto
	}
	return 0
}

// headerLen is how much of its header a packet needs to have.
func headerLen(proto uint8, v6 bool) int {
	switch {
	case proto == TCP:
		return tcpLen
	case proto == UDP:
		return udpLen
	case proto == ICMPv6 && v6, proto == ICMP && !v6:
		return icmpLen
	}
	return 0
}

// IsICMP says whether it is the ICMP of its family.
func (s *Segment) IsICMP() bool { return s.V6 && s.Proto == ICMPv6 || !s.V6 && s.Proto == ICMP }

// HasPorts says whether it is TCP or UDP.
func (s *Segment) HasPorts() bool { return s.Proto == TCP || s.Proto == UDP }

// Ends are where a packet comes from and goes to. IPv4 addresses are
// ::ffff:a.b.c.d.
type Ends struct {
	Src, Dst         [16]byte
	SrcPort, DstPort uint16
}

// Ends reads those of a packet; a later fragment has no ports.
func (s *Segment) Ends(frame []byte) (e Ends) {
	e.readAddrs(frame[ethLen:], s.V6)
	if !s.Later && s.HasPorts() {
		e.SrcPort, e.DstPort = binary.BigEndian.Uint16(frame[s.L4:]), binary.BigEndian.Uint16(frame[s.L4+2:])
	}
	return e
}

func (e *Ends) readAddrs(ip []byte, v6 bool) {
	if v6 {
		e.Src, e.Dst = [16]byte(ip[8:]), [16]byte(ip[24:])
		return
	}
	e.Src, e.Dst = [16]byte{10: 0xff, 11: 0xff}, [16]byte{10: 0xff, 11: 0xff}
	copy(e.Src[12:], ip[12:16])
	copy(e.Dst[12:], ip[16:20])
}

// Begins says whether a TCP segment is the first of a connection: SYN without
// ACK.
func (s *Segment) Begins(frame []byte) bool {
	return s.tcpFlags(frame)&(flagSYN|flagACK) == flagSYN
}

// Finishes says whether a TCP segment has FIN or RST.
func (s *Segment) Finishes(frame []byte) bool { return s.tcpFlags(frame)&(flagFIN|flagRST) != 0 }

// Resets says whether a TCP segment has RST.
func (s *Segment) Resets(frame []byte) bool { return s.tcpFlags(frame)&flagRST != 0 }

func (s *Segment) tcpFlags(frame []byte) byte {
	if s.Proto != TCP || s.Later {
		return 0
	}
	return frame[s.L4+tcpFlagsAt]
}

// ICMPType is the first byte of an ICMP message.
func (s *Segment) ICMPType(frame []byte) uint8 { return frame[s.L4] }

// Unfinished says whether the transport's checksum is only the sum of the
// pseudo-header, and a device's to finish, by what came with the frame.
func (s *Segment) Unfinished(f offload.Frame) bool {
	return f.Flags&offload.NeedsCsum != 0 && int(f.CsumStart) == s.L4
}

// LooksUnfinished is Unfinished for a frame that came out of the tunnel, where
// nobody says so: packets that never left the machine may be. offload.Run goes by
// the same. One time in 65536 a finished one looks so, and is made anew then.
func (s *Segment) LooksUnfinished(frame []byte) bool {
	if s.First || s.Later || !s.HasPorts() {
		return false
	}
	ip := frame[ethLen:]
	length := 0
	var sum uint64
	if s.V6 {
		length = int(binary.BigEndian.Uint16(ip[4:])) + ethLen + ip6Len - s.L4
		sum = offload.Pseudo6(ip, s.Proto, length)
	} else {
		length = int(binary.BigEndian.Uint16(ip[2:])) + ethLen - s.L4
		sum = offload.Pseudo4(ip, s.Proto, length)
	}
	return binary.BigEndian.Uint16(frame[s.sumAt():]) == offload.Fold(sum)
}

func (s *Segment) sumAt() int {
	if s.Proto == TCP {
		return s.L4 + tcpSumAt
	}
	return s.L4 + udpSumAt
}
