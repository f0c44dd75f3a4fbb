package offload

import (
	"bytes"
	"encoding/binary"
)

// What frames of one run have in common, compared in words as the host reads them.
// Frames are at least as long as the headers of the first, which have neither tags
// nor IPv4 options nor extension headers.

func same64(a, b []byte) bool {
	return binary.NativeEndian.Uint64(a) == binary.NativeEndian.Uint64(b)
}

func sameWord(a, b []byte) bool {
	return binary.NativeEndian.Uint32(a) == binary.NativeEndian.Uint32(b)
}

func same16(a, b []byte) bool {
	return binary.NativeEndian.Uint16(a) == binary.NativeEndian.Uint16(b)
}

// sameEther compares the Ethernet headers, and of the IP headers the first two
// bytes: version, IPv4 header length, DSCP and ECN.
func sameEther(a, b []byte) bool {
	return same64(a, b) && same64(a[8:], b[8:])
}

// sameIPv4 returns whether fragment bits, TTL, protocol and addresses are equal, and
// the length is the frame's.
func sameIPv4(a, b []byte) bool {
	p, q := (*[20]byte)(a[etherLen:]), (*[20]byte)(b[etherLen:])
	return sameWord(p[6:], q[6:]) && same64(p[12:], q[12:]) &&
		int(binary.BigEndian.Uint16(p[2:])) == len(a)-etherLen
}

// id returns the IPv4 ID.
func id(frame []byte) uint16 {
	return binary.BigEndian.Uint16(frame[etherLen+4:])
}

// sameIPv6 is sameIPv4 for the flow label, next header, hop limit, addresses, length.
func sameIPv6(a, b []byte) bool {
	p, q := (*[40]byte)(a[etherLen:]), (*[40]byte)(b[etherLen:])
	return same16(p[2:], q[2:]) && same16(p[6:], q[6:]) &&
		same64(p[8:], q[8:]) && same64(p[16:], q[16:]) && same64(p[24:], q[24:]) && same64(p[32:], q[32:]) &&
		int(binary.BigEndian.Uint16(p[4:])) == len(a)-etherLen-40
}

// sameTCP returns whether ports, acknowledgement, header length, window, urgent
// pointer and options are equal. (Reserved bits stand beside the length.)
func sameTCP(a, b []byte) bool {
	p, q := (*[tcpLen]byte)(a), (*[tcpLen]byte)(b)
	return sameWord(p[0:], q[0:]) && sameWord(p[tcpAck:], q[tcpAck:]) &&
		p[tcpOffset] == q[tcpOffset] && same16(p[tcpWindow:], q[tcpWindow:]) &&
		same16(p[tcpUrgent:], q[tcpUrgent:]) && bytes.Equal(a[tcpLen:], b[tcpLen:])
}
