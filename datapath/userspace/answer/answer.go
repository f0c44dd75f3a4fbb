// Package answer is what the userspace datapath says itself, and how it judges
// what endpoints and peers say of themselves: the same frames, byte for byte, and
// the same reasons as the programs of the kernel datapath have them.
//
// A frame that is ARP goes through CheckARP, an IPv6 packet that is not plain TCP
// or UDP through Inspect6, which walks its extension headers (Walk6), looks after
// routers, and has neighbour discovery checked (CheckNeighbour). What then asks is
// answered by a Builder: ARPReply, Advertise. A packet that does not fit is
// answered with TooBig4 or TooBig6, one that a VIP refuses with Reset,
// Unreachable4 or Unreachable6.
//
// Checks are pure functions that never allocate. They read at offsets of their
// own: gopacket's layers take and refuse other messages than the rules do, and
// allocate for options.
package answer

import (
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// ErrShort is returned for a message that ends before what is to be answered.
var ErrShort = errors.New("answer: the message is cut short")

// Builder builds answers, one at a time and without allocating: an answer holds
// until the next one is built. At least offload.Headroom bytes of the same array
// precede it. The zero Builder is ready; it is for one goroutine, and must not be
// copied once it is in use.
type Builder struct {
	buf   gopacket.SerializeBuffer
	eth   layers.Ethernet
	tag   layers.Dot1Q
	arp   layers.ARP
	ip4   layers.IPv4
	ip6   layers.IPv6
	tcp   layers.TCP
	icmp4 layers.ICMPv4
	icmp6 layers.ICMPv6
	na    layers.ICMPv6NeighborAdvertisement

	// What the layers' slices point to.
	to, from     encap.MAC
	toIP, fromIP [16]byte
	option       [1]layers.ICMPv6Option
}

// prepare fills in, at first use, what all answers have in common.
func (b *Builder) prepare() {
	if b.buf != nil {
		return
	}
	const before = offload.Headroom + ethLen + tagLen + leastMTU6
	const after = 64 // gopacket's padding
	b.buf = gopacket.NewSerializeBufferExpectedSize(before, after)
	b.eth.DstMAC, b.eth.SrcMAC = b.to[:], b.from[:]

	b.arp = layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, Operation: layers.ARPReply,
		SourceHwAddress: b.from[:], SourceProtAddress: b.fromIP[:4],
		DstHwAddress: b.to[:], DstProtAddress: b.toIP[:4],
	}
	b.ip4 = layers.IPv4{
		Version: 4, Flags: layers.IPv4DontFragment, TTL: ttl, SrcIP: b.fromIP[:4], DstIP: b.toIP[:4],
	}
	b.ip6 = layers.IPv6{Version: 6, SrcIP: b.fromIP[:], DstIP: b.toIP[:]}
	// It refuses only network layers that have no addresses.
	_ = b.icmp6.SetNetworkLayerForChecksum(&b.ip6)
	b.option[0] = layers.ICMPv6Option{Type: layers.ICMPv6OptTargetAddress, Data: b.from[:]}
	b.na = layers.ICMPv6NeighborAdvertisement{TargetAddress: b.fromIP[:], Options: b.option[:]}
}

var fix = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

// quote begins an answer with what it carries last.
func (b *Builder) quote(bytes []byte) error {
	if err := b.buf.Clear(); err != nil {
		return err
	}
	return b.prepend(bytes)
}

func (b *Builder) prepend(bytes []byte) error {
	at, err := b.buf.PrependBytes(len(bytes))
	if err != nil {
		return err
	}
	copy(at, bytes)
	return nil
}

// frame puts the Ethernet header before an answer, and takes away what gopacket
// pads short frames with: the kernel datapath leaves that to the device.
func (b *Builder) frame(etherType layers.EthernetType) ([]byte, error) {
	b.eth.EthernetType = etherType
	length := ethLen + len(b.buf.Bytes())
	if err := b.eth.SerializeTo(b.buf, fix); err != nil {
		return nil, err
	}
	if _, err := b.buf.PrependBytes(offload.Headroom); err != nil {
		return nil, err
	}
	return b.buf.Bytes()[offload.Headroom : offload.Headroom+length], nil
}
