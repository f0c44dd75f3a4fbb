package forward

import (
	"encoding/binary"
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// Lengths of headers, in bytes.
const (
	ethLen  = 14
	vlanLen = 4
	ipv4Len = 20
	ipv6Len = 40
)

// What headers say.
const (
	typeIPv4   = 0x0800
	typeARP    = 0x0806
	typeIPv6   = 0x86dd
	type8021Q  = 0x8100
	type8021AD = 0x88a8

	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	// ARP behind its Ethernet header, RFC 826.
	arpRequest  = 1
	arpOpAt     = ethLen + 6
	arpTargetAt = ethLen + 24

	ndTargetAt = ethLen + ipv6Len + 8 // RFC 4861 section 4.3

	vlanID  = 0x0fff // in the tag's 16 bits, IEEE 802.1Q
	maxTags = 8      // that are looked behind, as Linux does

	// leastTagged is the shortest frame with a tag that Linux takes for one.
	leastTagged = ethLen + vlanLen + 2
)

// Every host takes IPv4 packets of this size (RFC 1122 section 3.3.2), every
// IPv6 link carries them (RFC 8200 section 5). Nobody is asked for less.
const (
	least4 = 576
	least6 = 1280
)

func dstMAC(frame []byte) encap.MAC    { return encap.MAC(frame[0:6]) }
func srcMAC(frame []byte) encap.MAC    { return encap.MAC(frame[6:12]) }
func etherType(frame []byte) uint16    { return binary.BigEndian.Uint16(frame[12:]) }
func isGroup(frame []byte) bool        { return frame[0]&1 == 1 }
func isTag(etherType uint16) bool      { return etherType == type8021Q || etherType == type8021AD }
func dst4(packet []byte) netip.Addr    { return netip.AddrFrom4([4]byte(packet[16:20])) }
func src6(packet []byte) netip.Addr    { return netip.AddrFrom16([16]byte(packet[8:24])) }
func dst6(packet []byte) netip.Addr    { return netip.AddrFrom16([16]byte(packet[24:40])) }
func tos4(packet []byte) byte          { return packet[1] }
func tos6(packet []byte) byte          { return packet[0]<<4 | packet[1]>>4 }
func ndTarget(frame []byte) netip.Addr { return netip.AddrFrom16([16]byte(frame[ndTargetAt:])) }

// tagLen is what of a tagged frame a network's MTU does not count.
func tagLen(tagged bool) int {
	if tagged {
		return vlanLen
	}
	return 0
}

// untag takes a priority tag off, one of VLAN 0: its receiver takes the frame for
// one without a tag, so it has to be looked at as one. It is not ok if another
// such tag is behind it.
func untag(f *offload.Frame) (tagged, ok bool) {
	if !isTag(etherType(f.Data)) {
		return false, true
	}
	if len(f.Data) < leastTagged || !priorityTag(f.Data) {
		return true, true
	}
	takeTag(f)
	if !isTag(etherType(f.Data)) {
		return false, true
	}
	return true, len(f.Data) < leastTagged || !priorityTag(f.Data)
}

// priorityTag says of a frame with a tag whether that is of VLAN 0.
func priorityTag(frame []byte) bool { return binary.BigEndian.Uint16(frame[ethLen:])&vlanID == 0 }

// takeTag takes the outermost tag off a frame that has one.
func takeTag(f *offload.Frame) {
	const addresses = 12
	copy(f.Data[vlanLen:], f.Data[:addresses])
	f.Data = f.Data[vlanLen:]
	if f.Flags&offload.NeedsCsum != 0 {
		f.CsumStart -= vlanLen
	}
	if f.HdrLen > vlanLen {
		f.HdrLen -= vlanLen
	}
}

// wholeBehindTags says whether a frame with tags has all of the IP header behind
// them. Nobody here looks into it, but receivers do.
func wholeBehindTags(frame []byte) bool {
	if len(frame) < leastTagged {
		return false
	}
	_, rest, ok := behindTags(frame)
	return ok && rest >= 0
}

// behindTags returns where the packet behind a frame's tags starts, and how much
// more there is than its IP header, 0 if it is another protocol's.
func behindTags(frame []byte) (at, rest int, ok bool) {
	at = ethLen
	for range maxTags + 1 {
		if at > len(frame) {
			return 0, 0, false
		}
		switch t := binary.BigEndian.Uint16(frame[at-2:]); {
		case t == typeIPv4:
			return at, len(frame) - at - ipv4Len, true
		case t == typeIPv6:
			return at, len(frame) - at - ipv6Len, true
		case !isTag(t):
			return at, 0, true
		}
		at += vlanLen
	}
	return 0, 0, false
}

// innerECN reads the ECN field of the IP packet in a frame. A frame behind a tag
// is not looked into, neither on its way into the tunnel nor out of it.
func innerECN(frame []byte) encap.ECN {
	switch packet := frame[ethLen:]; {
	case etherType(frame) == typeIPv4 && len(packet) >= ipv4Len:
		return encap.ECN(tos4(packet)) & encap.CE
	case etherType(frame) == typeIPv6 && len(packet) >= ipv6Len:
		return encap.ECN(tos6(packet)) & encap.CE
	}
	return encap.NotECT
}

// setECN writes the ECN field of the IP packet in a frame, which innerECN has
// read and is another one.
func setECN(frame []byte, was, is encap.ECN) {
	packet := frame[ethLen:]
	if etherType(frame) == typeIPv6 {
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

// checkIPv4 checks the header of a packet that is long enough for one, and that
// its source is the sender's.
func checkIPv4(packet []byte, s *endpoint) datapath.DropReason {
	if packet[0]>>4 != 4 || packet[0]&0xf < 5 {
		return datapath.DropInnerMalformed
	}
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if len(packet) <= 0xffff && (total < int(packet[0]&0xf)*4 || total > len(packet)) {
		return datapath.DropInnerMalformed
	}
	if !s.Owns(netip.AddrFrom4([4]byte(packet[12:16]))) {
		return datapath.DropSourceIP
	}
	return 0
}

// checkIPv6 checks the header of a packet that is long enough for one. Whether
// the source is the sender's is asked apart: duplicate-address detection has
// none yet.
func checkIPv6(packet []byte) datapath.DropReason {
	if packet[0]>>4 != 6 || int(binary.BigEndian.Uint16(packet[4:]))+ipv6Len > len(packet) {
		return datapath.DropInnerMalformed
	}
	return 0
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
