package offload

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds the 16-bit words of b to a ones' complement sum (RFC 1071) and returns
// it. It takes words as the host reads them, eight bytes at once: byte order does
// not matter to such a sum until Fold, which knows. An odd last byte counts as if
// a zero followed, so only the last of several pieces may be of odd length.
//
// What it returns is less than 1<<33: a few more words may be added with +.
func Sum(b []byte, initial uint64) uint64 {
	s := initial
	var c uint64
	// 128 bytes a round, 16 additions whose carries go from one to the next: a
	// round that starts without one cannot end with all ones and a carry, so
	// the carry has room.
	for len(b) >= 128 {
		p := (*[128]byte)(b)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[0:]), 0)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[8:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[16:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[24:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[32:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[40:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[48:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[56:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[64:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[72:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[80:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[88:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[96:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[104:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[112:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[120:]), c)
		s += c
		b = b[128:]
	}
	for len(b) >= 32 {
		p := (*[32]byte)(b)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[0:]), 0)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[8:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[16:]), c)
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(p[24:]), c)
		s += c
		b = b[32:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.NativeEndian.Uint64(b), 0)
		s += c
		b = b[8:]
	}
	s = s>>32 + s&0xffffffff
	if len(b) >= 4 {
		s += uint64(binary.NativeEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.NativeEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		s += word(uint16(b[0]) << 8)
	}
	return s>>32 + s&0xffffffff
}

// Fold makes the 16-bit sum of s, in the order of the network: its complement is
// the checksum that binary.BigEndian.PutUint16 writes. It is 0 for nothing but 0.
func Fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>16&0xffff + s>>32 + s&0xffff
	s = s>>16 + s&0xffff // 0x1fffe at most before
	return uint16(word(uint16(s)))
}

// word is a number of 16 bits as it counts in a Sum, and the other way round.
func word(v uint16) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return uint64(binary.NativeEndian.Uint16(b[:]))
}

// less is what takes a word away again that stands in a header at b.
func less(b []byte) uint64 {
	return uint64(^binary.NativeEndian.Uint16(b))
}

// Pseudo4 returns the sum of the pseudo-header of a TCP segment or UDP datagram
// over IPv4 (RFC 9293 section 3.1): ip begins with the IPv4 header, length is that
// of the transport's header and payload, in bytes.
func Pseudo4(ip []byte, proto uint8, length int) uint64 {
	p := (*[20]byte)(ip)
	return uint64(binary.NativeEndian.Uint32(p[12:])) + uint64(binary.NativeEndian.Uint32(p[16:])) +
		word(uint16(proto)) + word(uint16(length))
}

// Pseudo6 is Pseudo4 over IPv6 (RFC 8200 section 8.1), for a length of 16 bits.
func Pseudo6(ip []byte, proto uint8, length int) uint64 {
	return Sum((*[40]byte)(ip)[8:], word(uint16(proto))+word(uint16(length)))
}
