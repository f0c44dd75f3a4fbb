package nat

import (
	"encoding/binary"

	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// Types of ICMP messages.
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	icmp6Parameter = 4 // errors are 1 to 4
	icmp6Echo      = 128
	icmp6EchoReply = 129
)

// Quote is the packet that an ICMP error is about. It is the beginning of one: it
// ends behind its ports, or later.
type Quote struct {
	Segment // in the frame
	// Ends are those of the packet.
	Ends Ends
	l3   int
}

// leastQuote is what an error quotes at least of what is behind IP (RFC 792).
const leastQuote = 8

// IsEcho says whether an ICMP message, in no fragment, is an echo request.
func (s *Segment) IsEcho(frame []byte) bool {
	want := byte(icmpEcho)
	if s.V6 {
		want = icmp6Echo
	}
	return s.IsICMP() && !s.First && !s.Later && s.ICMPType(frame) == want
}

// IsError says whether an ICMP message, in no fragment, is an error that a packet
// may be answered with by who gets it or forwards it.
func (s *Segment) IsError(frame []byte) bool {
	if !s.IsICMP() || s.First || s.Later {
		return false
	}
	t := s.ICMPType(frame)
	if s.V6 {
		return t >= 1 && t <= icmp6Parameter
	}
	return t == icmpUnreachable || t == icmpTimeExceeded || t == icmpParameter
}

// Quote finds the TCP or UDP packet that an ICMP error quotes. False: there is none
// that tells its ports.
func (s *Segment) Quote(frame []byte, q *Quote) bool {
	*q = Quote{l3: s.L4 + icmpLen}
	frame = s.unpadded(frame)
	if len(frame) < q.l3 {
		return false
	}
	ip := frame[q.l3:]
	if s.V6 {
		if len(ip) < ip6Len || ip[0]>>4 != 6 {
			return false
		}
		u, reason := answer.Walk6(ip)
		if reason != 0 {
			return false
		}
		q.V6, q.Proto, q.L4 = true, u.Proto, q.l3+u.Offset
	} else {
		const offset = 0x1fff
		if len(ip) < ip4Len || ip[0]>>4 != 4 || ip[0]&0x0f < 5 || binary.BigEndian.Uint16(ip[6:])&offset != 0 {
			return false
		}
		q.Proto, q.L4 = ip[9], q.l3+int(ip[0]&0x0f)*4
	}
	if !q.HasPorts() || len(frame) < q.L4+leastQuote {
		return false
	}
	q.Ends.readAddrs(ip, s.V6)
	q.Ends.SrcPort, q.Ends.DstPort = binary.BigEndian.Uint16(frame[q.L4:]), binary.BigEndian.Uint16(frame[q.L4+2:])
	return true
}

// SetQuoted changes the addresses of an ICMP error, and addresses and ports of what
// it quotes.
func (s *Segment) SetQuoted(frame []byte, q *Quote, outer, quoted *Ends) {
	frame = s.unpadded(frame)
	end := min(len(frame), q.L4+tcpLen)
	changed := frame[q.l3:end]
	was := offload.Sum(changed, 0)
	addrs := setAddrs(frame[q.l3:], quoted, q.V6)
	ports := setPorts(frame[q.L4:], quoted)
	if at := q.sumAt(); at+2 <= len(frame) {
		q.mendTransport(frame[at:], addrs, ports, false)
	}
	by := change(was, offload.Sum(changed, 0))
	header := setAddrs(frame[ethLen:], outer, s.V6)
	if s.V6 { // whose checksum has them in it, RFC 4443 section 2.3
		by += header
	}
	sum := frame[s.L4+icmpSumAt:]
	binary.BigEndian.PutUint16(sum, mended(binary.BigEndian.Uint16(sum), by))
}

// unpadded is a frame up to where its packet ends.
func (s *Segment) unpadded(frame []byte) []byte {
	end := ethLen + int(binary.BigEndian.Uint16(frame[ethLen+2:]))
	if s.V6 {
		end = ethLen + ip6Len + int(binary.BigEndian.Uint16(frame[ethLen+4:]))
	}
	return frame[:min(end, len(frame))]
}

// TurnEcho makes the reply of an echo request, in place.
func (s *Segment) TurnEcho(frame []byte) {
	var dst [6]byte
	copy(dst[:], frame)
	copy(frame, frame[6:12])
	copy(frame[6:], dst[:])
	ends := s.Ends(frame)
	ends.Src, ends.Dst = ends.Dst, ends.Src
	setAddrs(frame[ethLen:], &ends, s.V6)
	message := frame[s.L4:]
	was := uint16(message[0]) << 8
	message[0] = icmpEchoReply
	if s.V6 {
		message[0] = icmp6EchoReply
	}
	by := uint32(^was) + uint32(message[0])<<8
	binary.BigEndian.PutUint16(message[icmpSumAt:], mended(binary.BigEndian.Uint16(message[icmpSumAt:]), by))
}

// Returns says whether an ICMP error goes back the way of the packet that it
// quotes: nobody tells errors about others' flows.
func (s *Segment) Returns(frame []byte, q *Quote) bool {
	e := s.Ends(frame)
	return e.Src == q.Ends.Dst && e.Dst == q.Ends.Src
}
