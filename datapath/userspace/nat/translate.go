package nat

import (
	"encoding/binary"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// SetEnds changes a packet's addresses and, if it has them, ports. unfinished says
// that the transport's checksum has only the addresses in it so far.
func (s *Segment) SetEnds(frame []byte, e *Ends, unfinished bool) {
	addrs := setAddrs(frame[ethLen:], e, s.V6)
	if s.Later || !s.HasPorts() {
		return
	}
	ports := setPorts(frame[s.L4:], e)
	s.mendTransport(frame[s.sumAt():], addrs, ports, unfinished)
}

// mendTransport mends a TCP or UDP checksum, with which field begins.
func (s *Segment) mendTransport(field []byte, addrs, ports uint32, unfinished bool) {
	was := binary.BigEndian.Uint16(field)
	if unfinished {
		binary.BigEndian.PutUint16(field, fold(uint32(was)+addrs))
		return
	}
	if s.Proto == UDP && was == 0 {
		return // there is none, RFC 768
	}
	is := mended(was, addrs+ports)
	if s.Proto == UDP && is == 0 {
		is = 0xffff
	}
	binary.BigEndian.PutUint16(field, is)
}

// setAddrs changes the addresses of an IP header, and the checksum that it has in
// IPv4. It returns the change of their sum.
func setAddrs(ip []byte, e *Ends, v6 bool) uint32 {
	if v6 {
		both := ip[8:40]
		was := offload.Sum(both, 0)
		copy(both, e.Src[:])
		copy(both[16:], e.Dst[:])
		return change(was, offload.Sum(both, 0))
	}
	both := ip[12:20]
	was := offload.Sum(both, 0)
	copy(both, e.Src[12:])
	copy(both[4:], e.Dst[12:])
	by := change(was, offload.Sum(both, 0))
	binary.BigEndian.PutUint16(ip[10:], mended(binary.BigEndian.Uint16(ip[10:]), by))
	return by
}

// setPorts changes the ports of a TCP or UDP header and returns the change of
// their sum.
func setPorts(b []byte, e *Ends) uint32 {
	was := offload.Sum(b[:4], 0)
	binary.BigEndian.PutUint16(b, e.SrcPort)
	binary.BigEndian.PutUint16(b[2:], e.DstPort)
	return change(was, offload.Sum(b[:4], 0))
}

// change is what to add to a sum in which some words were others.
func change(was, is uint64) uint32 {
	return uint32(^offload.Fold(was)) + uint32(offload.Fold(is))
}

// mended is a checksum after a change of what it is about, RFC 1624 equation 3.
func mended(sum uint16, by uint32) uint16 { return ^fold(uint32(^sum) + by) }

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
