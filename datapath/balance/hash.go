package balance

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Flow is what a client's packets to a service have in common.
type Flow struct {
	// Protocol is the IP protocol number.
	Protocol uint8
	Client   netip.AddrPort
	VIP      netip.AddrPort
}

// Hash is MurmurHash3 (x86, 32 bits, seed 0) over ten words as they lie in
// memory of a little-endian machine:
//
//	client's address     4 words   in network order, IPv4 as ::ffff:a.b.c.d
//	VIP                  4 words   likewise
//	ports                1 word    client's, then VIP's, each in network order
//	protocol             1 word
//
// which the BPF programs compute as well (bpf/service.h).
func (f Flow) Hash() uint32 {
	var b [4 * words]byte
	client, vip := f.Client.Addr().As16(), f.VIP.Addr().As16()
	copy(b[0:], client[:])
	copy(b[16:], vip[:])
	binary.BigEndian.PutUint16(b[32:], f.Client.Port())
	binary.BigEndian.PutUint16(b[34:], f.VIP.Port())
	b[36] = f.Protocol
	return murmur3(&b)
}

// Affine is f as a service with affinity looks at it: every flow of a client
// is the same.
func (f Flow) Affine() Flow {
	return Flow{Client: netip.AddrPortFrom(f.Client.Addr(), 0), VIP: netip.AddrPortFrom(f.VIP.Addr(), 0)}
}

// Entry is the entry, of so many, that a hash chooses.
func Entry(hash uint32, size int) int {
	return int(uint64(hash) * uint64(size) >> 32)
}

const words = 10

func murmur3(b *[4 * words]byte) uint32 {
	var h uint32
	for i := 0; i < len(b); i += 4 {
		k := binary.LittleEndian.Uint32(b[i:]) * 0xcc9e2d51
		h ^= bits.RotateLeft32(k, 15) * 0x1b873593
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	h ^= uint32(len(b))
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
