package answer

import (
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/encap"
)

// Where ARP's fields are, from the Ethernet header on (RFC 826).
const (
	arpAt    = ethLen
	arpLen   = 28
	arpSHAAt = 8
	arpSPAAt = 14
	arpTPAAt = 24
)

// ARPReply returns the frame with which owner, who has the address that is asked
// for, would answer the request in a frame: one that CheckARP has taken. It is as
// long as the request, which is changed into it where the kernel does this.
func (b *Builder) ARPReply(request []byte, owner encap.MAC) ([]byte, error) {
	if len(request) < arpAt+arpLen {
		return nil, ErrShort
	}
	b.prepare()
	message := request[arpAt:]
	b.to, b.from = encap.MAC(message[arpSHAAt:]), owner
	copy(b.toIP[:4], message[arpSPAAt:])
	copy(b.fromIP[:4], message[arpTPAAt:])

	if err := b.quote(message[arpLen:]); err != nil {
		return nil, err
	}
	if err := b.arp.SerializeTo(b.buf, fix); err != nil {
		return nil, err
	}
	return b.frame(layers.EthernetTypeARP)
}

// Flags of an advertisement, RFC 4861 section 4.4, as their upper byte.
const (
	ndSolicited = 0x40
	ndOverride  = 0x20
)

// Advertise returns the frame with which owner, who has the address that is asked
// for, would answer the neighbour solicitation in a frame: one that CheckNeighbour
// has taken. Who asks without an address is told with all others, and was not
// asked by name: RFC 4861 section 7.2.4.
func (b *Builder) Advertise(solicitation []byte, owner encap.MAC) ([]byte, error) {
	if len(solicitation) < ndAt+ndLen {
		return nil, ErrShort
	}
	b.prepare()
	b.from, b.fromIP = owner, [16]byte(solicitation[ndAt+ndTargetAt:])
	b.to, b.toIP = encap.MAC(solicitation[srcMACAt:]), [16]byte(solicitation[ethLen+ip6SrcAt:])
	b.na.Flags = ndSolicited | ndOverride
	if b.toIP == unspecified6 {
		b.to, b.toIP = allNodesMAC, allNodes
		b.na.Flags = ndOverride
	}
	b.ip6.HopLimit, b.ip6.NextHeader = ndHopLimit, layers.IPProtocolICMPv6
	b.icmp6.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)

	if err := b.quote(nil); err != nil {
		return nil, err
	}
	if err := b.na.SerializeTo(b.buf, fix); err != nil {
		return nil, err
	}
	return b.packet6()
}

// packet6 puts the headers before a body of ICMPv6.
func (b *Builder) packet6() ([]byte, error) {
	if err := b.icmp6.SerializeTo(b.buf, fix); err != nil {
		return nil, err
	}
	if err := b.ip6.SerializeTo(b.buf, fix); err != nil {
		return nil, err
	}
	return b.frame(layers.EthernetTypeIPv6)
}
