package datapathtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// model says of frames that come out of a datapath whether they may, from
// nothing but the State and what went in. It does not say what must come out.
type model struct {
	site  *Site
	state datapath.State
	ports map[Place]localPort
	// owner says who has an address, and where.
	owners map[encap.VNI]map[encap.MAC]owner
	// lists are those who get a copy of a frame to a group, by the networks
	// that carry such.
	lists map[encap.VNI]list
	// copies is how many more frames may come out than went in.
	copies int
	// said are the frames that went in, by what of them stays as it is.
	said map[string][]spoken
	// services are those of a network, and led the frames that may have gone
	// through them, by what of those stays as it is.
	services map[encap.VNI][]datapath.Service
	led      map[string][]spoken
}

type localPort struct {
	vni encap.VNI
	mac encap.MAC
}

// owner is an endpoint as its network knows it. It is here if it has no VTEP.
type owner struct {
	addrs   []netip.Addr
	vtep    netip.Addr
	at      Place
	gateway bool
}

type list struct {
	ports int
	hosts map[netip.Addr]bool
}

// spoken is a frame that went in.
type spoken struct {
	vni   encap.VNI
	from  Place
	host  netip.Addr // the tunnel packet's source
	frame []byte
}

func newModel(s *Site, state datapath.State) *model {
	m := &model{site: s, state: state, ports: map[Place]localPort{}, owners: map[encap.VNI]map[encap.MAC]owner{}, lists: map[encap.VNI]list{}, services: map[encap.VNI][]datapath.Service{}}
	for _, n := range state.Networks {
		m.owners[n.VNI] = map[encap.MAC]owner{}
		for _, p := range n.Ports {
			m.ports[Place(p.Device)] = localPort{n.VNI, p.MAC}
			m.owners[n.VNI][p.MAC] = owner{addrs: p.Addrs, at: Place(p.Device), gateway: p.Gateway}
		}
		for _, r := range n.Remotes {
			m.owners[n.VNI][r.MAC] = owner{addrs: r.Addrs, vtep: r.VTEP}
		}
		if len(n.Services) > 0 {
			m.services[n.VNI] = n.Services
			var vips []netip.Addr
			for _, v := range n.Services {
				vips = append(vips, v.VIPs...)
			}
			m.owners[n.VNI][datapath.ServiceMAC] = owner{addrs: vips, at: "VIPs"}
		}
		if n.Multicast {
			m.lists[n.VNI] = list{len(n.Ports), map[netip.Addr]bool{}} // a gateway may count: it bounds
			for _, r := range n.Remotes {
				m.lists[n.VNI].hosts[r.VTEP] = true
			}
		}
	}
	m.forget()
	return m
}

// forget begins anew with what went in.
func (m *model) forget() {
	m.said, m.led, m.copies = map[string][]spoken{}, map[string][]spoken{}, 0
}

// in takes note of a frame that goes in. certain says that the datapath sees
// it, so that it comes out or is counted.
func (m *model) in(f Frame) (certain bool) {
	s := spoken{from: f.At, frame: f.Bytes}
	if f.At == Underlay {
		var ok bool
		if s, ok, certain = m.tunnelled(f.Bytes); !ok {
			return certain
		}
	} else {
		s.vni = m.ports[f.At].vni
		certain = !brokenTag(f.Bytes)
	}
	if l, ok := m.lists[s.vni]; ok && toGroup(s.frame) {
		m.copies += l.ports + len(l.hosts) - 1
	}
	key := lasting(s.frame)
	m.said[key] = append(m.said[key], s)
	if m.translatable(s) {
		key = untranslated(s.frame)
		m.led[key] = append(m.led[key], s)
	}
	return certain
}

// tunnelled takes the tunnel off a packet from the underlay. Not ok is one that
// carries nothing. The packets that the host's stack may drop, for reasons of
// its own, are not certain.
func (m *model) tunnelled(f []byte) (s spoken, ok, certain bool) {
	p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
	forHost := slices.Equal(f[:6], m.site.Here.MAC[:])
	if !forHost && f[0]&1 == 0 {
		return s, false, false
	}
	udp, isUDP := p.TransportLayer().(*layers.UDP)
	vx, isVXLAN := p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
	s.from, certain = Underlay, forHost && isUDP && m.upright(f, udp)
	if !isUDP || !isVXLAN || len(vx.Payload) < ethernetLen || damaged(f) {
		return s, false, certain
	}
	src, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Src().Raw())
	s.vni, s.host, s.frame = encap.VNI(vx.VNI), src.Unmap(), vx.Payload
	return s, true, certain && !brokenTag(s.frame)
}

// martian says whether the stack takes no packet from that address, whatever its
// routes are: multicast, loopback, 0.0.0.0/8, broadcast (also that of the lab's
// /24), IPv4 addresses in IPv6.
func martian(src netip.Addr) bool {
	if src.IsMulticast() || src.IsLoopback() || src.IsUnspecified() || src.Is4In6() {
		return true
	}
	b := src.AsSlice()
	return src.Is4() && (b[0] == 0 || b[3] == 0xff)
}

// upright says whether there is nothing that the stack would refuse in the
// outer headers of a UDP packet: else the datapath may leave it to the stack.
func (m *model) upright(f []byte, udp *layers.UDP) bool {
	start, end, ok := ipHeader(f)
	if !ok || isIPv6(f, start) != (m.site.Family == IPv6) || len(f) < end+8 {
		return false
	}
	addr, length := f[start+16:start+20], int(binary.BigEndian.Uint16(f[start+2:]))-20
	if isIPv6(f, start) {
		addr, length = f[start+24:start+40], int(binary.BigEndian.Uint16(f[start+4:]))
	} else if f[start] != 0x45 || checksum(f[start:end]) != 0 || binary.BigEndian.Uint16(f[start+6:])&0x3fff != 0 {
		return false
	}
	src, _ := netip.AddrFromSlice(f[start+12 : start+16])
	if isIPv6(f, start) {
		src, _ = netip.AddrFromSlice(f[start+8 : start+24])
	}
	if src == m.site.Here.Addr || martian(src) {
		return false
	}
	return slices.Equal(addr, m.site.Here.Addr.AsSlice()) && udp.DstPort == vxlanPort &&
		length == len(f)-end && int(udp.Length) == length &&
		(udp.Checksum == 0 || slices.Equal(WithUDPChecksum(f, start), f))
}

// damaged says of a packet that one of its outer checksums is wrong, where it is
// easy to tell: without options, fragments, and bytes behind it.
func damaged(f []byte) bool {
	start, end, ok := ipHeader(f)
	if !ok || len(f) < end+8 {
		return false
	}
	length := int(binary.BigEndian.Uint16(f[end+4:]))
	if !isIPv6(f, start) {
		if checksum(f[start:end]) != 0 {
			return f[start]&0xf == 5
		}
		if f[start] != 0x45 || binary.BigEndian.Uint16(f[start+6:])&0x3fff != 0 {
			return false
		}
	}
	zero := f[end+6] == 0 && f[end+7] == 0
	return !zero && length == len(f)-end && !slices.Equal(WithUDPChecksum(f, start), f)
}

// brokenTag says of a frame that it ends inside its 802.1Q tag: the kernel does
// not get as far as the datapath with it.
func brokenTag(f []byte) bool { return tagged(f) && len(f) < ethernetLen+6 }

func tagged(f []byte) bool {
	t := layers.EthernetType(binary.BigEndian.Uint16(f[12:]))
	return t == layers.EthernetTypeDot1Q || t == layers.EthernetTypeQinQ
}

// lasting is what of a frame no datapath changes: not the destination MAC, which
// may be stale, not a priority tag, and not the ECN bits.
func lasting(f []byte) string {
	out := withoutPriority(f)
	if start, end, ok := ipHeader(out); ok {
		if out = withoutECN(out, start); !isIPv6(out, start) {
			copy(out[start+10:end-8], []byte{0, 0})
		}
	}
	return string(out[6:])
}

// withoutECN clears the ECN bits, and leaves the checksum.
func withoutECN(f []byte, at int) []byte {
	if isIPv6(f, at) {
		return Patch(f, at+1, f[at+1]&^0x30)
	}
	return Patch(f, at+1, f[at+1]&^3)
}

// withoutPriority takes a tag of VLAN 0 off.
func withoutPriority(f []byte) []byte {
	if tagged(f) && len(f) >= ethernetLen+4 && binary.BigEndian.Uint16(f[14:])&0xfff == 0 {
		return slices.Delete(slices.Clone(f), 12, 16)
	}
	return slices.Clone(f)
}

// out says what is wrong with a frame that came out; nil if it may.
func (m *model) out(f Frame) error {
	if f.At != Underlay {
		port := m.ports[f.At]
		return m.received(port.vni, port.mac, f)
	}
	p := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.NoCopy)
	vx, ok := p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
	if !ok {
		return errors.New("no tunnel packet")
	}
	inner, vni := vx.Payload, encap.VNI(vx.VNI)
	if len(inner) < ethernetLen {
		return errors.New("carries less than an Ethernet header")
	}
	vtep := m.owners[vni][encap.MAC(inner[0:6])].vtep
	if toGroup(inner) { // any of those that have the network
		if dst, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Dst().Raw()); m.lists[vni].hosts[dst] {
			vtep = dst
		}
	}
	if !vtep.IsValid() {
		return fmt.Errorf("network %d has no endpoint %s elsewhere", vni, encap.MAC(inner[0:6]))
	}
	host := Party{Addr: vtep}
	for _, h := range []Party{m.site.Host2, m.site.Host3, m.site.Host4} {
		if h.Addr == vtep {
			host = h
		}
	}
	want := VXLAN(m.site.Here, host, vni, inner)
	if start, _, ok := ipHeader(inner); ok && (!toGroup(inner) || tos(inner, start)&3 != 3) {
		want = WithTOS(want, m.site.OuterIP, tos(inner, start)&3)
	} else if ok || tagged(inner) {
		// A vxlan device marks what carries a mark as RFC 3168 has it, and
		// may go by what is behind a tag.
		want = WithTOS(want, m.site.OuterIP, tos(f.Bytes, m.site.OuterIP)&3)
	}
	if !slices.Equal(masked(f.Bytes), masked(want)) {
		return fmt.Errorf("the outer headers are not those of\n%s", describe("want", want))
	}
	if len(inner)-ethernetLen > m.site.MTU {
		return fmt.Errorf("longer than the MTU of %d", m.site.MTU)
	}
	return m.received(vni, encap.MAC(inner[0:6]), Frame{Underlay, inner})
}

// received says what is wrong with a frame that reaches the endpoint with that
// MAC, here or on its way elsewhere.
func (m *model) received(vni encap.VNI, mac encap.MAC, f Frame) error {
	dst, src := encap.MAC(f.Bytes[0:6]), encap.MAC(f.Bytes[6:12])
	from, ok := m.owners[vni][src]
	switch {
	case toGroup(f.Bytes) && m.forAll(vni, f.Bytes):
	case toGroup(f.Bytes) && f.At == Underlay:
		return fmt.Errorf("is for all, and does not cross")
	case dst != mac && !m.asksFor(vni, mac, f.Bytes):
		return fmt.Errorf("is for %s, not for %s", dst, mac)
	}
	if !ok || src == mac {
		return fmt.Errorf("network %d has no other endpoint %s", vni, src)
	}
	if m.beside(f) {
		return nil
	}
	if err := m.sender(from, src, f.Bytes); err != nil {
		return err
	}
	if f.At == Underlay && from.vtep.IsValid() {
		return errors.New("an endpoint elsewhere has not sent it from here")
	}
	if f.At != Underlay && m.answers(vni, mac, f.Bytes) {
		return nil
	}
	if from.gateway && f.At == Underlay || m.owners[vni][mac].gateway && from.vtep.IsValid() {
		return errors.New("a gateway is of its host alone")
	}
	if toGroup(f.Bytes) && (from.gateway || m.owners[vni][mac].gateway) {
		return errors.New("a gateway has nothing to do with groups")
	}
	for _, s := range m.said[lasting(f.Bytes)] {
		of := m.owners[vni][encap.MAC(s.frame[0:6])]
		stale := of.addrs == nil || from.gateway && of.vtep.IsValid() // which a gateway does not know
		if s.vni == vni && s.host == from.vtep && (from.vtep.IsValid() || s.from == from.at) &&
			(stale || encap.MAC(s.frame[0:6]) == dst) {
			return nil
		}
	}
	if m.throughVIP(vni, from, f.Bytes) {
		return nil
	}
	return errors.New("nobody who may has sent it")
}

// throughVIP says whether a frame may be what a VIP has made of another: it is
// from who has sent that, or from a VIP.
func (m *model) throughVIP(vni encap.VNI, from owner, f []byte) bool {
	return slices.ContainsFunc(m.led[untranslated(f)], func(s spoken) bool {
		if bytes.Equal(f[6:12], datapath.ServiceMAC[:]) {
			return s.vni == vni
		}
		return s.vni == vni && m.toVIP(s) && s.from == from.at && bytes.Equal(s.frame[6:12], f[6:12])
	})
}

func toGroup(f []byte) bool { return f[0]&1 == 1 }

// forAll says of a frame to a group whether its network carries it: not what
// the tables answer.
func (m *model) forAll(vni encap.VNI, f []byte) bool {
	if _, ok := m.lists[vni]; !ok {
		return false
	}
	if layers.EthernetType(binary.BigEndian.Uint16(f[12:])) == layers.EthernetTypeARP {
		return false
	}
	start, end, ok := ipHeader(f)
	return !ok || !isIPv6(f, start) || f[start+6] != byte(layers.IPProtocolICMPv6) || len(f) <= end ||
		f[end] < layers.ICMPv6TypeRouterSolicitation || f[end] > layers.ICMPv6TypeRedirect
}

// asksFor says whether a frame to a group asks for an address of the endpoint
// with that MAC: from another kind of host, such questions come in the tunnel.
func (m *model) asksFor(vni encap.VNI, mac encap.MAC, f []byte) bool {
	p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
	var target netip.Addr
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok && arp.Operation == layers.ARPRequest {
		target, _ = netip.AddrFromSlice(arp.DstProtAddress)
	}
	if nd, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok {
		target, _ = netip.AddrFromSlice(nd.TargetAddress)
	}
	return f[0]&1 == 1 && (slices.Contains(m.owners[vni][mac].addrs, target) || target == Endpoint{MAC: mac}.OnLinkLocal().Addr)
}

// sender checks that what a frame says of its sender is so.
func (m *model) sender(from owner, src encap.MAC, f []byte) error {
	linkLocal := Endpoint{MAC: src}.OnLinkLocal().Addr
	owns := func(b []byte) error {
		a, ok := netip.AddrFromSlice(b)
		if !ok || !slices.Contains(from.addrs, a) && a != linkLocal {
			return fmt.Errorf("%s is not an address of %s", a, src)
		}
		return nil
	}
	p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
	switch layers.EthernetType(binary.BigEndian.Uint16(f[12:])) {
	case layers.EthernetTypeIPv4:
		if len(f) < ethernetLen+20 || f[ethernetLen]>>4 != 4 {
			return errors.New("no IPv4 header")
		}
		head, length := int(f[ethernetLen]&0xf)*4, int(binary.BigEndian.Uint16(f[ethernetLen+2:]))
		if head < 20 || length < head || length > len(f)-ethernetLen {
			return fmt.Errorf("IPv4 header of %d bytes in a packet of %d", head, length)
		}
		return owns(f[26:30])
	case layers.EthernetTypeIPv6:
		if len(f) < ethernetLen+40 || f[ethernetLen]>>4 != 6 {
			return errors.New("no IPv6 header")
		}
		if length := int(binary.BigEndian.Uint16(f[ethernetLen+4:])); length > len(f)-ethernetLen-40 {
			return fmt.Errorf("IPv6 payload of %d bytes that are not there", length)
		}
		for _, l := range p.Layers() {
			switch l := l.(type) {
			case *layers.ICMPv6RouterAdvertisement, *layers.ICMPv6Redirect:
				return fmt.Errorf("%s is nobody's to send", l.LayerType())
			case *layers.ICMPv6NeighborAdvertisement:
				if err := owns(l.TargetAddress); err != nil {
					return err
				}
			case *layers.ICMPv6NeighborSolicitation:
				if netip.AddrFrom16([16]byte(f[22:38])).IsUnspecified() {
					return nil
				}
			}
		}
		return owns(f[22:38])
	case layers.EthernetTypeARP:
		arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if !ok || !slices.Equal(arp.SourceHwAddress, src[:]) {
			return errors.New("not an ARP message of its sender")
		}
		if arp.Operation == layers.ARPRequest && slices.Equal(arp.SourceProtAddress, make([]byte, 4)) {
			return nil
		}
		return owns(arp.SourceProtAddress)
	}
	return nil
}

// beside says whether a frame is what an endpoint here is told of a packet that
// was dropped.
func (m *model) beside(f Frame) bool { return m.tooBig(f) || m.refuses(f) }

// tooBig says whether a frame tells an endpoint here that one of its packets does
// not fit, and quotes what it has sent.
func (m *model) tooBig(f Frame) bool {
	const header, leastQuote = 8, 28
	p := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.NoCopy)
	var message []byte
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok &&
		icmp.TypeCode == layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded) {
		message = p.NetworkLayer().LayerPayload()
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && icmp.TypeCode.Type() == layers.ICMPv6TypePacketTooBig {
		message = p.NetworkLayer().LayerPayload()
	}
	if len(message) < header+leastQuote || f.At == Underlay {
		return false
	}
	for _, all := range m.said {
		for _, s := range all {
			if s.from == f.At && len(s.frame) > m.site.MTU && bytes.Contains(s.frame, message[header:]) {
				return true
			}
		}
	}
	return false
}

// answers says whether a frame is what the datapath itself says to an endpoint
// here: who has an address that it may have asked for.
func (m *model) answers(vni encap.VNI, mac encap.MAC, f []byte) bool {
	p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
	src := m.owners[vni][encap.MAC(f[6:12])]
	owns := func(b []byte) bool {
		a, _ := netip.AddrFromSlice(b)
		return slices.Contains(src.addrs, a) || a == Endpoint{MAC: encap.MAC(f[6:12])}.OnLinkLocal().Addr
	}
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return arp.Operation == layers.ARPReply && slices.Equal(arp.DstHwAddress, mac[:]) && owns(arp.SourceProtAddress)
	}
	if nd, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); ok {
		return owns(nd.TargetAddress)
	}
	return false
}
