package datapathtest

import (
	"encoding/binary"
	"slices"

	"github.com/google/gopacket/layers"
)

// Changes to frames that leave them right in all other fields, or wrong in just
// one. `at` is where an IP header begins: 14, or further on in a tunnel packet.
// IP headers have no options. Frames that come in stay as they are.

// isIPv6 says of which version the header at is.
func isIPv6(frame []byte, at int) bool { return frame[at]>>4 == 6 }

// tos is the type of service or traffic class.
func tos(frame []byte, at int) byte {
	if isIPv6(frame, at) {
		return frame[at]<<4 | frame[at+1]>>4
	}
	return frame[at+1]
}

// WithTOS sets the type of service or traffic class: DSCP and ECN.
func WithTOS(frame []byte, at int, tos byte) []byte {
	out := slices.Clone(frame)
	if isIPv6(out, at) {
		out[at] = out[at]&0xf0 | tos>>4
		out[at+1] = out[at+1]&0x0f | tos<<4
		return out
	}
	out[at+1] = tos
	return mendIP(out, at)
}

// WithTTL sets the time to live or hop limit.
func WithTTL(frame []byte, at int, ttl byte) []byte {
	if isIPv6(frame, at) {
		return Patch(frame, at+7, ttl)
	}
	return mendIP(Patch(frame, at+8, ttl), at)
}

// WithIPLength sets the packet's length, header included, and leaves the frame
// as long as it is.
func WithIPLength(frame []byte, at, length int) []byte {
	if isIPv6(frame, at) {
		return Patch(frame, at+4, uint16Bytes(length-40)...)
	}
	return mendIP(Patch(frame, at+2, uint16Bytes(length)...), at)
}

// WithUDPLength sets the length in the UDP header that begins there.
func WithUDPLength(frame []byte, udp, length int) []byte {
	return Patch(frame, udp+4, uint16Bytes(length)...)
}

// WithUDPChecksum sets the right checksum in the UDP header behind the IP
// header at, which ends with the frame.
func WithUDPChecksum(frame []byte, at int) []byte {
	udp, addresses := at+20, frame[at+12:at+20]
	if isIPv6(frame, at) {
		udp, addresses = at+40, frame[at+8:at+40]
	}
	out := Patch(frame, udp+6, 0, 0)
	pseudo := slices.Clone(addresses)
	pseudo = append(pseudo, 0, byte(layers.IPProtocolUDP))
	pseudo = append(pseudo, uint16Bytes(len(out)-udp)...)
	sum := checksum(append(pseudo, out[udp:]...))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(out[udp+6:], sum)
	return out
}

// Cut returns the first n bytes of a tunnel packet with the outer lengths mended
// to match, as far as they are there: what a sender of too short a packet would
// send.
func (s *Site) Cut(frame []byte, n int) []byte {
	out := slices.Clone(frame[:n])
	if n < s.OuterUDP {
		return out
	}
	out = WithIPLength(out, s.OuterIP, n-s.OuterIP)
	if n >= s.OuterUDP+6 {
		out = WithUDPLength(out, s.OuterUDP, n-s.OuterUDP)
	}
	return out
}

// Tagged puts an 802.1Q tag of that type into a frame.
func Tagged(frame []byte, tagType layers.EthernetType, tci uint16) []byte {
	const addresses = 12
	tag := binary.BigEndian.AppendUint16(nil, uint16(tagType))
	return slices.Insert(slices.Clone(frame), addresses, binary.BigEndian.AppendUint16(tag, tci)...)
}

// Fragments cuts the packet behind the IP header at into fragments of that many
// bytes each, a multiple of eight, and the rest. They have the identification
// id.
func Fragments(frame []byte, at, size int, id uint16) [][]byte {
	const fragmentHeader = 44
	head, six := at+20, isIPv6(frame, at)
	if six {
		head = at + 40
	}
	var out [][]byte
	for offset := 0; offset < len(frame)-head; offset += size {
		end := min(head+offset+size, len(frame))
		field := uint16(offset) // in eights, at the upper 13 bits
		f := slices.Clone(frame[:head])
		if six {
			if end < len(frame) {
				field |= 1
			}
			f = append(f, frame[at+6], 0)
			f = binary.BigEndian.AppendUint16(f, field)
			f = binary.BigEndian.AppendUint32(f, uint32(id))
			f[at+6] = fragmentHeader
		} else {
			field /= 8
			if end < len(frame) {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(f[at+4:], id)
			binary.BigEndian.PutUint16(f[at+6:], field)
		}
		f = append(f, frame[head+offset:end]...)
		out = append(out, WithIPLength(f, at, len(f)-at))
	}
	return out
}

// mendIP puts the checksum of an IPv4 header right, in place.
func mendIP(frame []byte, at int) []byte {
	h := frame[at:min(at+20, len(frame))]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return frame
}

func uint16Bytes(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
