package forward

import (
	"encoding/binary"
	"net/netip"

	"github.com/ovlnet/ovl/encap"
)

// Package packet reads the headers. What is left to be known of them here:
const (
	ethLen  = 14
	vlanLen = 4
	ipv6Len = 40

	srcMACAt = 6

	protoICMPv6 = 58
	ndTargetAt  = ethLen + ipv6Len + 8 // RFC 4861 section 4.3
)

// Every host takes IPv4 packets of this size (RFC 1122 section 3.3.2), every
// IPv6 link carries them (RFC 8200 section 5). Nobody is asked for less.
const (
	least4 = 576
	least6 = 1280
)

// addr4 is the IPv4 address that a packet.Packet has, as the State has it. An IPv6
// packet's address is none, not even one that looks so (::ffff:a.b.c.d).
func addr4(a [16]byte) netip.Addr { return netip.AddrFrom4([4]byte(a[12:])) }

func addr6(a [16]byte) netip.Addr { return netip.AddrFrom16(a) }

// ndTarget is what a neighbour solicitation asks for that has been inspected.
func ndTarget(frame []byte) netip.Addr { return netip.AddrFrom16([16]byte(frame[ndTargetAt:])) }

// tagLen is what of a tagged frame a network's MTU does not count.
func tagLen(tagged bool) int {
	if tagged {
		return vlanLen
	}
	return 0
}

// setECN writes the ECN field of the IP packet in a frame, whose header is in
// order and has another one.
func setECN(frame []byte, was, is encap.ECN) {
	packet := frame[ethLen:]
	if packet[0]>>4 == 6 {
		packet[1] = packet[1]&^0x30 | byte(is)<<4
		return
	}
	packet[1] = packet[1]&^3 | byte(is)
	// RFC 1624: the checksum follows the change.
	sum := uint32(^binary.BigEndian.Uint16(packet[10:])) + uint32(^uint16(was)) + uint32(is)
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum))
}

// innerMTU is the largest inner packet for the way to a peer, in a network of
// that MTU. A tag takes room of the path's, not of the network's.
func innerMTU(p *Peer, mtu, tag int) (int, error) {
	path, err := p.pathMTU()
	if err != nil {
		return 0, err
	}
	return min(mtu, path-encap.Overhead(p.VTEP)-tag), nil
}
