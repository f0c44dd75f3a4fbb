package datapathtest

import (
	"fmt"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
)

// multicastCases are frames to a group. In Red, which carries them, everybody
// else gets one copy: each port of this host, and each host that has the
// network, in ascending order of VTEPs; what another host sent goes to the ports
// only. Blue, with the same endpoints, never hears of it.
func multicastCases(s *Site) []Case {
	cases := multicastPasses(s)
	cases = append(cases, multicastNever(s)...)
	cases = append(cases, multicastLists(s)...)
	return append(cases, multicastCounters(s)...)
}

// redMulticast makes Red carry frames to groups.
func redMulticast(st *datapath.State) { Network(st, Red).Multicast = true }

// multicast is a case of one step in a Red that carries multicast.
func multicast(name string, in Frame, out []Frame, drops ...datapath.DropReason) Case {
	return Case{Name: name, State: redMulticast, Steps: []Step{{In: []Frame{in}, Out: out, Drops: drops}}}
}

// at is one frame at several places.
func at(frame []byte, places ...Place) []Frame {
	var out []Frame
	for _, p := range places {
		out = append(out, Frame{p, frame})
	}
	return out
}

// toHosts is a frame to the hosts that have Red.
func toHosts(s *Site, frame []byte) []Frame {
	return []Frame{s.To(s.Host2, Red, frame), s.To(s.Host3, Red, frame)}
}

// groupFrames are all kinds of frames that a network with multicast carries.
func groupFrames() []struct {
	name  string
	frame func(from Endpoint) []byte
} {
	mdns4 := MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 251}))
	mdns6 := MulticastOf(netip.MustParseAddr("ff02::fb"))
	everybody := Party{MAC: broadcast}
	fragment := func(from Endpoint, n int) []byte {
		return Fragments(UDP4(from.On4(), mdns4, "sixteen bytes and more"), 14, 16, 7)[n]
	}
	return []struct {
		name  string
		frame func(from Endpoint) []byte
	}{
		{"IPv4 multicast", func(e Endpoint) []byte { return UDP4(e.On4(), mdns4, "who is printer.local") }},
		{"IPv4 broadcast", func(e Endpoint) []byte {
			return UDP4(e.On4(), Party{broadcast, netip.AddrFrom4([4]byte{10, 0, 0, 255})}, "hello all")
		}},
		{"IPv4 limited broadcast", func(e Endpoint) []byte {
			return UDP4(e.On4(), Party{broadcast, netip.AddrFrom4([4]byte{255, 255, 255, 255})}, "hello all")
		}},
		{"IPv4 of one host to a group's MAC", func(e Endpoint) []byte {
			return UDP4(e.On4(), Party{mdns4.MAC, netip.AddrFrom4([4]byte{10, 0, 0, 77})}, "a cluster of the old kind")
		}},
		{"first fragment of IPv4 multicast", func(e Endpoint) []byte { return fragment(e, 0) }},
		{"last fragment of IPv4 multicast", func(e Endpoint) []byte { return fragment(e, 1) }},
		{"IPv6 multicast", func(e Endpoint) []byte { return ICMP6(e.On6(), mdns6) }},
		{"IPv6 multicast from a link-local address", func(e Endpoint) []byte {
			return ICMP6(e.OnLinkLocal(), MulticastOf(netip.IPv6LinkLocalAllNodes()))
		}},
		{"IPv6 multicast datagram", func(e Endpoint) []byte { return UDP6(e.On6(), mdns6, "who is printer.local") }},
		{"first fragment of IPv6 multicast", func(e Endpoint) []byte {
			return Extend(UDP6(e.On6(), mdns6, "eight bytes, eight more"), FragmentHeader(0, true))
		}},
		// With a router alert (RFC 3376 section 4, RFC 3810 section 5).
		{"IGMP report", func(e Endpoint) []byte {
			ip := ipv4(e.On4(), MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 22})), layers.IPProtocolIGMP)
			ip.TTL, ip.TOS, ip.Options = 1, 0xc0, []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
			report := gopacket.Payload([]byte{0x22, 0, 0xf9, 0x02, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 251})
			return serialize(ethernet(e.On4(), MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 22})), layers.EthernetTypeIPv4), ip, report)
		}},
		{"MLD report", func(e Endpoint) []byte {
			group := mdns6.Addr.As16()
			body := append([]byte{0, 0, 0, 1, 4, 0, 0, 0}, group[:]...)
			report := Message6(e.OnLinkLocal(), MulticastOf(netip.MustParseAddr("ff02::16")), typeMulticastReport2, body)
			return Extend(report, Extension{extHopByHop, []byte{5, 2, 0, 0, 1, 0}})
		}},
		{"broadcast that is not IP", func(e Endpoint) []byte { return Ethernet(e.On4(), everybody, 0x88b5, "not IP") }},
		{"multicast that is not IP", func(e Endpoint) []byte {
			return Ethernet(e.On4(), Party{MAC: [6]byte{1, 0x80, 0xc2, 0, 0, 0x0e}}, 0x88cc, "a neighbour of LLDP")
		}},
		{"802.1Q broadcast", func(e Endpoint) []byte {
			return Tagged(Ethernet(e.On4(), everybody, 0x88b5, "in a VLAN of the endpoints' own"), 0x8100, 7)
		}},
		{"802.1Q multicast of other addresses", func(e Endpoint) []byte {
			return Tagged(UDP4(Party{e.MAC, netip.MustParseAddr("172.16.0.1")}, mdns4, "in a VLAN of the endpoints' own"), 0x8100, 7)
		}},
		// No table knows who has the addresses of that VLAN.
		{"802.1Q ARP request", func(e Endpoint) []byte {
			return Tagged(ARPRequest(Party{e.MAC, netip.MustParseAddr("172.16.0.1")}, netip.MustParseAddr("172.16.0.2")), 0x8100, 4094)
		}},
	}
}

func multicastPasses(s *Site) []Case {
	var cases []Case
	for _, k := range groupFrames() {
		a, vm, c, e := k.frame(s.A), k.frame(s.TAP), k.frame(s.C), k.frame(s.E)
		cases = append(cases,
			multicast(k.name, Frame{RedA, a}, append(at(a, RedB, RedTAP), toHosts(s, a)...)),
			multicast(k.name+" from a TAP", Frame{RedTAP, vm}, append(at(vm, RedA, RedB), toHosts(s, vm)...)),
			multicast(k.name+" from another host", s.From(s.Host2, Red, c), at(c, RedA, RedB, RedTAP)),
			multicast(k.name+" from a third host", s.From(s.Host3, Red, e), at(e, RedA, RedB, RedTAP)),
			multicast(k.name+" where it is not carried", Frame{BlueA, a}, nil, datapath.DropMulticast),
			multicast(k.name+" from another host where it is not carried", s.From(s.Host4, Blue, k.frame(s.F)), nil, datapath.DropMulticast),
		)
	}

	mdns := MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 251}))
	full := UDP4(s.A.On4(), mdns, string(make([]byte, s.MTU-28)))
	long := UDP4(s.A.On4(), mdns, string(make([]byte, s.MTU-28+1)))
	ecn := func(from Endpoint, tos byte) []byte { return WithTOS(UDP4(from.On4(), mdns, "hello"), 14, tos) }
	marked, unaware := WithTOS(s.From(s.Host2, Red, ecn(s.C, 2)).Bytes, s.OuterIP, 3), WithTOS(s.From(s.Host2, Red, ecn(s.C, 0)).Bytes, s.OuterIP, 3)
	var capable []Frame
	for _, f := range toHosts(s, ecn(s.A, 2)) {
		capable = append(capable, Frame{Underlay, WithTOS(f.Bytes, s.OuterIP, 2)})
	}
	return append(cases,
		multicast("with ECN", Frame{RedA, ecn(s.A, 2)}, append(at(ecn(s.A, 2), RedB, RedTAP), capable...)),
		multicast("congestion mark goes inside every copy", Frame{Underlay, marked}, at(ecn(s.C, 3), RedA, RedB, RedTAP)),
		multicast("congestion mark for who does not know it", Frame{Underlay, unaware}, nil, datapath.DropECN),
		multicast("as long as the MTU", Frame{RedA, full}, append(at(full, RedB, RedTAP), toHosts(s, full)...)),
		// The tunnel is what it does not fit; nobody is told (RFC 1122
		// section 3.2.2, RFC 4443 section 2.4 e).
		multicast("longer than the MTU", Frame{RedA, long}, at(long, RedB, RedTAP), datapath.DropTooBig, datapath.DropTooBig),
	)
}

// multicastNever are frames to a group that even Red does not carry: what the
// tables answer, and what comes from those who may not say it.
func multicastNever(s *Site) []Case {
	a, c := s.A.On4(), s.C.On4()
	a6, c6 := s.A.On6(), s.C.On6()
	mdns, nodes := MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 251})), MulticastOf(netip.IPv6LinkLocalAllNodes())
	routers, ll := MulticastOf(netip.IPv6LinkLocalAllRouters()), s.A.OnLinkLocal()
	toAll := func(frame []byte) []byte { return Patch(frame, 0, broadcast[:]...) }

	return []Case{
		multicast("ARP request", Frame{RedA, ARPRequest(a, s.C.V4)}, at(ARPReply(c, a), RedA)),
		multicast("ARP request for nobody", Frame{RedA, ARPRequest(a, s.Nobody.V4)}, nil, datapath.DropUnknownNeighbour),
		multicast("ARP announcement", Frame{RedA, ARPRequest(a, s.A.V4)}, nil, datapath.DropMulticast),
		multicast("ARP reply to everybody", Frame{RedA, toAll(ARPReply(a, a))}, nil, datapath.DropMulticast),
		multicast("ARP reply to everybody from another host", s.From(s.Host2, Red, toAll(ARPReply(c, a))), nil, datapath.DropMulticast),
		multicast("ARP reply to everybody from another host where nothing is carried",
			s.From(s.Host2, Blue, toAll(ARPReply(c, a))), nil, datapath.DropMulticast),
		multicast("ARP request from another host", s.From(s.Host2, Red, ARPRequest(c, s.A.V4)), at(ARPRequest(c, s.A.V4), RedA)),
		multicast("ARP request from another host for nobody", s.From(s.Host2, Red, ARPRequest(c, s.Nobody.V4)), nil, datapath.DropUnknownNeighbour),
		multicast("neighbour advertisement to everybody", Frame{RedA, Advertise(a6, nodes, ndOverride)}, nil, datapath.DropMulticast),
		multicast("neighbour advertisement from another host to everybody", s.From(s.Host2, Red, Advertise(c6, nodes, ndOverride)), nil, datapath.DropMulticast),
		multicast("router solicitation", Frame{RedA, Message6(a6, routers, typeRouterSolicitation, make([]byte, 4))}, nil, datapath.DropMulticast),
		multicast("router solicitation from another host", s.From(s.Host2, Red, Message6(c6, routers, typeRouterSolicitation, make([]byte, 4))), nil, datapath.DropMulticast),

		multicast("router advertisement", Frame{RedA, Message6(ll, nodes, typeRouterAdvertisement, make([]byte, 12))}, nil, datapath.DropRogueRouter),
		multicast("router advertisement from another host",
			s.From(s.Host2, Red, Message6(s.C.OnLinkLocal(), nodes, typeRouterAdvertisement, make([]byte, 12))), nil, datapath.DropRogueRouter),

		multicast("with B's IPv4", Frame{RedA, UDP4(Party{s.A.MAC, s.B.V4}, mdns, "x")}, nil, datapath.DropSourceIP),
		multicast("with B's IPv6", Frame{RedA, ICMP6(Party{s.A.MAC, s.B.V6}, nodes)}, nil, datapath.DropSourceIP),
		multicast("with B's MAC", Frame{RedA, Ethernet(s.B.On4(), Party{MAC: broadcast}, 0x88b5, "x")}, nil, datapath.DropSourceMAC),
		multicast("802.1Q with B's MAC", Frame{RedA, Tagged(Ethernet(s.B.On4(), Party{MAC: broadcast}, 0x88b5, "x"), 0x8100, 7)}, nil, datapath.DropSourceMAC),
		multicast("with this host's MAC from another host", s.From(s.Host2, Red, Ethernet(a, Party{MAC: broadcast}, 0x88b5, "x")), nil, datapath.DropInnerSource),
		multicast("with this host's IPv4 from another host", s.From(s.Host2, Red, UDP4(Party{s.C.MAC, s.A.V4}, mdns, "x")), nil, datapath.DropInnerSource),
		multicast("with a third host's MAC from another host", s.From(s.Host2, Red, UDP4(s.E.On4(), mdns, "x")), nil, datapath.DropInnerSource),
		multicast("from a host that does not have the network", s.From(s.Host4, Red, UDP4(s.F.On4(), mdns, "x")), nil, datapath.DropUnknownVTEP),
		multicast("from a stranger", s.From(s.Stranger, Red, UDP4(c, mdns, "x")), nil, datapath.DropUnknownVTEP),
	}
}

// multicastLists are who is there to hear.
func multicastLists(s *Site) []Case {
	mdns := MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 251}))
	a, c := UDP4(s.A.On4(), mdns, "hello"), UDP4(s.C.On4(), mdns, "hello")
	with := func(change func(red *datapath.Network)) func(*datapath.State) {
		return func(st *datapath.State) {
			redMulticast(st)
			change(Network(st, Red))
		}
	}
	both := func(st *datapath.State) {
		redMulticast(st)
		Network(st, Blue).Multicast = true
	}
	return []Case{
		{
			Name:  "nobody is there",
			State: with(func(red *datapath.Network) { red.Ports, red.Remotes = red.Ports[:1], nil }),
			Steps: []Step{{In: []Frame{{RedA, a}}, Drops: []datapath.DropReason{datapath.DropMulticast}}},
		},
		{
			Name:  "only another host is there",
			State: with(func(red *datapath.Network) { red.Ports, red.Remotes = red.Ports[:1], red.Remotes[:1] }),
			Steps: []Step{
				{In: []Frame{{RedA, a}}, Out: []Frame{s.To(s.Host2, Red, a)}},
				{In: []Frame{s.From(s.Host2, Red, c)}, Out: []Frame{{RedA, c}}},
			},
		},
		{
			Name:  "a host has left",
			State: with(func(red *datapath.Network) { red.Remotes = red.Remotes[:2] }),
			Steps: []Step{{In: []Frame{{RedA, a}}, Out: append(at(a, RedB, RedTAP), s.To(s.Host2, Red, a))}},
		},
		{
			Name:  "a port has left",
			State: with(func(red *datapath.Network) { red.Ports = red.Ports[:2] }),
			Steps: []Step{
				{In: []Frame{{RedA, a}}, Out: append(at(a, RedB), toHosts(s, a)...)},
				{In: []Frame{s.From(s.Host2, Red, c)}, Out: at(c, RedA, RedB)},
			},
		},
		{
			Name:  "two networks with the same endpoints",
			State: both,
			Steps: []Step{
				{In: []Frame{{RedA, a}}, Out: append(at(a, RedB, RedTAP), toHosts(s, a)...)},
				{In: []Frame{{BlueA, a}}, Out: []Frame{{BlueB, a}, s.To(s.Host2, Blue, a), s.To(s.Host4, Blue, a)}},
				{In: []Frame{s.From(s.Host2, Red, c)}, Out: at(c, RedA, RedB, RedTAP)},
				{In: []Frame{s.From(s.Host2, Blue, c)}, Out: at(c, BlueA, BlueB)},
			},
		},
	}
}

// multicastCounters want each copy to be counted where it goes, and what was
// received once.
func multicastCounters(s *Site) []Case {
	mdns := MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 251}))
	a, c := UDP4(s.A.On4(), mdns, "hello"), UDP4(s.C.On4(), mdns, "hello to you")
	counted := func(host Party, sent, received []byte) func(before, after datapath.Stats) error {
		one := func(frame []byte) datapath.Counter {
			if frame == nil {
				return datapath.Counter{}
			}
			return datapath.Counter{Packets: 1, Bytes: uint64(len(frame))}
		}
		return func(before, after datapath.Stats) error {
			b, a := before.Peers[host.Addr], after.Peers[host.Addr]
			more := datapath.PeerCounter{
				Sent:     datapath.Counter{Packets: a.Sent.Packets - b.Sent.Packets, Bytes: a.Sent.Bytes - b.Sent.Bytes},
				Received: datapath.Counter{Packets: a.Received.Packets - b.Received.Packets, Bytes: a.Received.Bytes - b.Received.Bytes},
			}
			if want := (datapath.PeerCounter{Sent: one(sent), Received: one(received)}); more != want {
				return fmt.Errorf("traffic with %s: %+v more, want %+v", host.Addr, more, want)
			}
			return nil
		}
	}
	sent := append(at(a, RedB, RedTAP), toHosts(s, a)...)
	return []Case{
		{Name: "counts the copy to another host", State: redMulticast, Steps: []Step{
			{In: []Frame{{RedA, a}}, Out: sent, Check: counted(s.Host2, a, nil)},
			{In: []Frame{s.From(s.Host2, Red, c)}, Out: at(c, RedA, RedB, RedTAP), Check: counted(s.Host2, nil, c)},
		}},
		{Name: "counts the copy to a third host", State: redMulticast, Steps: []Step{
			{In: []Frame{{RedA, a}}, Out: sent, Check: counted(s.Host3, a, nil)},
		}},
		{Name: "counts nothing received where it is not carried", State: redMulticast, Steps: []Step{
			{In: []Frame{s.From(s.Host2, Blue, c)}, Drops: []datapath.DropReason{datapath.DropMulticast}, Check: counted(s.Host2, nil, nil)},
		}},
	}
}
