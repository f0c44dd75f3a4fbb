package offload

import "encoding/binary"

// EtherTypes, protocol numbers and what else stands in headers.
const (
	etherLen = 14
	tagLen   = 4
	maxTags  = 2

	typeIPv4   = 0x0800
	typeIPv6   = 0x86dd
	type8021Q  = 0x8100
	type8021AD = 0x88a8

	hopByHop    = 0
	routing     = 43
	destOptions = 60
	// As many as the kernel datapath walks.
	maxExtensions = 8

	protoTCP = 6
	protoUDP = 17

	tcpSeq, tcpAck, tcpOffset, tcpFlags, tcpWindow, tcpCsum, tcpUrgent, tcpLen = 4, 8, 12, 13, 14, 16, 18, 20

	udpLength, udpCsum, udpLen = 4, 6, 8

	flagFIN, flagSYN, flagRST, flagPSH, flagURG, flagCWR = 0x01, 0x02, 0x04, 0x08, 0x20, 0x80
)

// layout says where in a frame the headers stand of a whole TCP or UDP packet,
// found in the frame itself. Offsets count from the Ethernet header.
type layout struct {
	l3, l4  int
	payload int // where the transport's header ends
	end     int // where the IP header says that the packet does, maybe outside
	proto   uint8
	v6      bool
	// plain: no tag, no IPv4 options, no extension headers.
	plain bool
}

// parse returns whether the frame holds all headers of an unfragmented TCP or UDP
// packet, behind up to two tags.
func (l *layout) parse(b []byte) bool {
	if len(b) < etherLen {
		return false
	}
	at := etherLen
	kind := binary.BigEndian.Uint16(b[at-2:])
	for range maxTags {
		if kind != type8021Q && kind != type8021AD {
			break
		}
		at += tagLen
		if len(b) < at {
			return false
		}
		kind = binary.BigEndian.Uint16(b[at-2:])
	}
	l.l3 = at
	switch kind {
	case typeIPv4:
		if !l.parse4(b[at:]) {
			return false
		}
	case typeIPv6:
		if !l.parse6(b[at:]) {
			return false
		}
	default:
		return false
	}
	return l.parseTransport(b)
}

func (l *layout) parse4(ip []byte) bool {
	if len(ip) < 20 || ip[0]>>4 != 4 {
		return false
	}
	n := int(ip[0]&0xf) * 4
	// An offset or "more fragments": the checksum is not about this packet alone.
	if n < 20 || len(ip) < n || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return false
	}
	l.v6, l.proto = false, ip[9]
	l.l4 = l.l3 + n
	l.end = l.l3 + int(binary.BigEndian.Uint16(ip[2:]))
	l.plain = n == 20 && l.l3 == etherLen
	return true
}

func (l *layout) parse6(ip []byte) bool {
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return false
	}
	l.v6, l.proto = true, ip[6]
	l.end = l.l3 + 40 + int(binary.BigEndian.Uint16(ip[4:]))
	l.plain = l.l3 == etherLen
	at := 40
	for range maxExtensions {
		if l.proto != hopByHop && l.proto != routing && l.proto != destOptions {
			break
		}
		if len(ip) < at+2 {
			return false
		}
		l.plain = false
		l.proto = ip[at]
		at += (int(ip[at+1]) + 1) * 8
	}
	l.l4 = l.l3 + at
	return true
}

func (l *layout) parseTransport(b []byte) bool {
	switch l.proto {
	case protoTCP:
		if len(b) < l.l4+tcpLen {
			return false
		}
		n := int(b[l.l4+tcpOffset]>>4) * 4
		l.payload = l.l4 + n
		return n >= tcpLen && len(b) >= l.payload
	case protoUDP:
		l.payload = l.l4 + udpLen
		return len(b) >= l.payload
	}
	return false
}

// pseudo returns the pseudo-header's sum for a transport length in bytes.
func (l *layout) pseudo(b []byte, length int) uint64 {
	if l.v6 {
		return Pseudo6(b[l.l3:], l.proto, length)
	}
	return Pseudo4(b[l.l3:], l.proto, length)
}

// csum returns where the transport's checksum stands.
func (l *layout) csum() int {
	return l.l4 + l.csumOffset()
}

func (l *layout) csumOffset() int {
	if l.proto == protoTCP {
		return tcpCsum
	}
	return udpCsum
}

// needsCsum is the header of a frame whose transport checksum is to be made.
func (l *layout) needsCsum() Header {
	return Header{Flags: NeedsCsum, CsumStart: uint16(l.l4), CsumOffset: uint16(l.csumOffset())}
}
