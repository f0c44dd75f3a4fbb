package datapathtest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// Offsets into a frame of neighbour discovery.
const (
	ip6LengthAt = 14 + 4
	hopLimitAt  = 14 + 7
	icmp6TypeAt = 14 + 40
	icmp6CodeAt = icmp6TypeAt + 1
	ndTargetAt  = icmp6TypeAt + 8
)

// neighbourCases are IPv6 neighbour discovery: answered on the host that asks,
// and nobody takes another's place by it.
func neighbourCases(s *Site) []Case {
	return slices.Concat(answeredCases(s), badDiscoveryCases(s), advertisementCases(s), discoveryFromTunnelCases(s))
}

// answeredCases are solicitations, in all their forms.
func answeredCases(s *Site) []Case {
	a := s.A.On6()
	nameless := Party{s.A.MAC, netip.IPv6Unspecified()}
	link := LinkOption(1, a.MAC)
	const answer, untold = ndSolicited | ndOverride, ndOverride

	var cases []Case
	for _, k := range []struct {
		name string
		who  Party
	}{
		{"another host's", s.C.On6()},
		{"another host's second address", s.D2.On6()},
		{"this host's", s.B.On6()},
		{"this host's TAP's", s.TAP.On6()},
		{"another host's link-local", s.C.OnLinkLocal()},
		{"this host's link-local", s.B.OnLinkLocal()},
	} {
		group := SolicitedNode(k.who.Addr)
		ask := func(name string, from, to Party, flags byte, options ...[]byte) Case {
			back := from
			if from == nameless {
				back = AllNodes()
			}
			return passes(name+" "+k.name,
				Frame{RedA, Solicit(from, to, k.who.Addr, options...)}, Frame{RedA, Advertise(k.who, back, flags)})
		}
		cases = append(cases,
			ask("solicitation for", a, group, answer, link),
			ask("solicitation without options for", a, group, answer),
			ask("solicitation with a nonce for", a, group, answer, NonceOption(), link),
			ask("solicitation with many options for", a, group, answer, slices.Concat(slices.Repeat([][]byte{NonceOption()}, 12)...), link),
			ask("solicitation from link-local for", s.A.OnLinkLocal(), group, answer, link),
			ask("probe of", a, k.who, answer, link),
			ask("probe without options of", a, k.who, answer),
			ask("duplicate-address detection of", nameless, group, untold),
			ask("duplicate-address detection with a nonce of", nameless, group, untold, NonceOption()),
		)
	}
	moved := Party{s.Nobody.MAC, s.C.V6}
	return append(cases,
		passes("probe of an endpoint where it was",
			Frame{RedA, Solicit(a, moved, s.C.V6, link)}, Frame{RedA, Advertise(s.C.On6(), a, answer)}),
		passes("solicitation from a TAP",
			Frame{RedTAP, Solicitation(s.TAP.On6(), s.C.V6, s.TAP.MAC)}, Frame{RedTAP, Advertise(s.C.On6(), s.TAP.On6(), answer)}),
		passes("solicitation in the other network",
			Frame{BlueA, Solicitation(a, s.F.V6, a.MAC)}, Frame{BlueA, Advertise(s.F.On6(), a, answer)}),
		passes("solicitation in a frame that is padded",
			Frame{RedA, append(Solicit(a, SolicitedNode(s.C.V6), s.C.V6), make([]byte, 30)...)}, Frame{RedA, Advertise(s.C.On6(), a, answer)}),

		drops("duplicate-address detection of its own", Frame{RedA, Solicit(nameless, SolicitedNode(s.A.V6), s.A.V6)}, datapath.DropMulticast),
		drops("duplicate-address detection of its own with a nonce",
			Frame{RedA, Solicit(nameless, SolicitedNode(s.A.V6), s.A.V6, NonceOption())}, datapath.DropMulticast),
		drops("duplicate-address detection of its own link-local",
			Frame{RedA, Solicit(nameless, SolicitedNode(s.A.OnLinkLocal().Addr), s.A.OnLinkLocal().Addr)}, datapath.DropMulticast),
		drops("duplicate-address detection of nobody's",
			Frame{RedA, Solicit(nameless, SolicitedNode(s.Nobody.V6), s.Nobody.V6)}, datapath.DropUnknownNeighbour),
		drops("solicitation for nobody", Frame{RedA, Solicitation(a, s.Nobody.V6, a.MAC)}, datapath.DropUnknownNeighbour),
		drops("solicitation for nobody's link-local", Frame{RedA, Solicitation(a, s.Nobody.OnLinkLocal().Addr, a.MAC)}, datapath.DropUnknownNeighbour),
		drops("solicitation for an endpoint of the other network", Frame{RedA, Solicitation(a, s.F.V6, a.MAC)}, datapath.DropUnknownNeighbour),
		drops("solicitation for a link-local of the other network",
			Frame{RedA, Solicitation(a, s.F.OnLinkLocal().Addr, a.MAC)}, datapath.DropUnknownNeighbour),
		drops("solicitation for the gateway", Frame{RedA, Solicitation(a, s.Gateway.V6, a.MAC)}, datapath.DropUnknownNeighbour),
	)
}

// badDiscoveryCases are what RFC 4861 sections 7.1.1 and 7.1.2 throw away, and
// what no endpoint may say.
func badDiscoveryCases(s *Site) []Case {
	a, c := s.A.On6(), s.C.On6()
	asB := Party{a.MAC, s.B.V6}
	nameless := Party{a.MAC, netip.IPv6Unspecified()}
	group := SolicitedNode(c.Addr)
	link, others := LinkOption(1, a.MAC), LinkOption(1, s.B.MAC)
	good := Solicit(a, group, c.Addr, link)
	router := Message6(a, AllNodes(), typeRouterAdvertisement, make([]byte, 12))
	redirection := Message6(s.A.OnLinkLocal(), c, typeRedirect, make([]byte, 36))
	hop, dst := Padding(extHopByHop), Padding(extDestination)
	route := Extension{extRouting, make([]byte, 14)}
	auth := Extension{extAuth, make([]byte, 22)}
	first := FragmentHeader(0, true)

	var cases []Case
	for _, k := range []struct {
		name   string
		frame  []byte
		reason datapath.DropReason
	}{
		{"hop limit 254", Patch(good, hopLimitAt, 254), datapath.DropInnerMalformed},
		{"code 1", checked6(Patch(good, icmp6CodeAt, 1)), datapath.DropInnerMalformed},
		{"target that is a group", Solicit(a, group, netip.IPv6LinkLocalAllNodes(), link), datapath.DropInnerMalformed},
		{"checksum that is wrong", Patch(good, icmp6TypeAt+2, good[icmp6TypeAt+2]^1), datapath.DropInnerMalformed},
		{"checksum that is wrong at the end", Patch(good, len(good)-9, good[len(good)-9]^1), datapath.DropInnerMalformed},
		{"option of no length", Solicit(a, group, c.Addr, []byte{14, 0, 0, 0, 0, 0, 0, 0}), datapath.DropInnerMalformed},
		{"second option of no length", Solicit(a, group, c.Addr, link, []byte{14, 0, 0, 0, 0, 0, 0, 0}), datapath.DropInnerMalformed},
		{"option longer than the message", Solicit(a, group, c.Addr, []byte{14, 2, 0, 0, 0, 0, 0, 0}), datapath.DropInnerMalformed},
		{"option cut short", Solicit(a, group, c.Addr, link[:6]), datapath.DropInnerMalformed},
		{"link address of two lengths", Solicit(a, group, c.Addr, append([]byte{1, 2}, make([]byte, 14)...)), datapath.DropInnerMalformed},
		{"more options than anyone sends", Solicit(a, group, c.Addr, slices.Repeat([][]byte{NonceOption()}, 14)...), datapath.DropInnerMalformed},
		{"no target", Message6(a, group, 135, make([]byte, 12)), datapath.DropTruncated},
		{"no target in its length", Patch(good, ip6LengthAt, 0, 16), datapath.DropInnerMalformed},
		{"length beyond the frame", Patch(good, ip6LengthAt, 0, 40), datapath.DropInnerMalformed},
		{"duplicate-address detection with a link address", Solicit(nameless, group, c.Addr, link), datapath.DropInnerMalformed},
		{"duplicate-address detection by unicast", Solicit(nameless, c, c.Addr), datapath.DropInnerMalformed},
		{"duplicate-address detection with another group", Solicit(nameless, AllNodes(), c.Addr), datapath.DropInnerMalformed},

		{"another's link address", Solicit(a, group, c.Addr, others), datapath.DropSourceARP},
		{"another's link address in the second option", Solicit(a, group, c.Addr, link, others), datapath.DropSourceARP},
		{"another's link address behind a nonce", Solicit(a, group, c.Addr, NonceOption(), others), datapath.DropSourceARP},
		{"another's link address as the target's", Solicit(a, group, c.Addr, LinkOption(2, s.B.MAC)), datapath.DropSourceARP},
		{"B's address", Solicit(asB, group, c.Addr, link), datapath.DropSourceIP},
		{"B's link-local address", Solicit(Party{a.MAC, s.B.OnLinkLocal().Addr}, group, c.Addr, link), datapath.DropSourceIP},

		{"solicitation behind a header", Extend(good, dst), datapath.DropInnerMalformed},
		{"solicitation in an atomic fragment", Extend(good, FragmentHeader(0, false)), datapath.DropInnerMalformed},
		{"solicitation in a first fragment", Extend(good, first), datapath.DropInnerMalformed},

		{"router solicitation", Message6(s.A.OnLinkLocal(), MulticastOf(netip.IPv6LinkLocalAllRouters()), typeRouterSolicitation, append(make([]byte, 4), link...)), datapath.DropMulticast},
		{"router solicitation without an address", Message6(nameless, MulticastOf(netip.IPv6LinkLocalAllRouters()), typeRouterSolicitation, make([]byte, 4)), datapath.DropMulticast},
		{"router advertisement", router, datapath.DropRogueRouter},
		{"router advertisement to one", Message6(a, c, typeRouterAdvertisement, make([]byte, 12)), datapath.DropRogueRouter},
		{"router advertisement with B's address", Message6(asB, AllNodes(), typeRouterAdvertisement, make([]byte, 12)), datapath.DropRogueRouter},
		{"router advertisement with another hop limit", Patch(router, hopLimitAt, 64), datapath.DropRogueRouter},
		{"router advertisement behind a header", Extend(router, hop), datapath.DropRogueRouter},
		{"router advertisement behind every header", Extend(router, hop, dst, route, auth, dst), datapath.DropRogueRouter},
		{"router advertisement in an atomic fragment", Extend(router, FragmentHeader(0, false)), datapath.DropRogueRouter},
		{"router advertisement in a first fragment", Extend(router, first, dst), datapath.DropRogueRouter},
		{"redirect", redirection, datapath.DropRogueRouter},
		{"redirect behind a header", Extend(redirection, dst), datapath.DropRogueRouter},
		{"first fragment that hides what it is", endAt(Extend(router, first, dst), 16), datapath.DropTruncated},
		{"first fragment that ends in a header", endAt(Extend(router, first, dst), 9), datapath.DropTruncated},
		{"header that reaches beyond the frame", Extend(router, Extension{extDestination, []byte{1, 4, 0, 0, 0, 0}}, Extension{59, nil})[:54+8], datapath.DropInnerMalformed},
		{"more headers than anyone sends", Extend(ICMP6(a, c), slices.Repeat([]Extension{dst}, 9)...), datapath.DropInnerMalformed},

		{"multicast listener report before an address", Extend(Message6(nameless, MulticastOf(netip.MustParseAddr("ff02::16")), typeMulticastReport2, make([]byte, 4)), hop), datapath.DropMulticast},
		{"multicast listener report", Extend(Message6(s.A.OnLinkLocal(), MulticastOf(netip.MustParseAddr("ff02::16")), typeMulticastReport2, make([]byte, 4)), hop), datapath.DropMulticast},
		{"multicast listener report with B's address", Extend(Message6(asB, MulticastOf(netip.MustParseAddr("ff02::16")), typeMulticastReport2, make([]byte, 4)), hop), datapath.DropSourceIP},
		{"echo before an address", ICMP6(nameless, AllNodes()), datapath.DropSourceIP},
	} {
		cases = append(cases, drops("from an endpoint: "+k.name, Frame{RedA, k.frame}, k.reason))
	}
	return cases
}

// advertisementCases are advertisements of endpoints: an answer goes to who
// asked, nobody else needs them.
func advertisementCases(s *Site) []Case {
	a, b, c := s.A.On6(), s.B.On6(), s.C.On6()
	answer := func(from, to Party) []byte { return Advertise(from, to, ndSolicited|ndOverride) }
	bare := Discovery(a, c, 136, a.Addr, ndSolicited)
	return []Case{
		passes("advertisement to another host", Frame{RedA, answer(a, c)}, s.To(s.Host2, Red, answer(a, c))),
		passes("advertisement to this host", Frame{RedA, answer(a, b)}, Frame{RedB, answer(a, b)}),
		passes("advertisement without options", Frame{RedA, bare}, s.To(s.Host2, Red, bare)),
		passes("advertisement of its link-local",
			Frame{RedA, answer(s.A.OnLinkLocal(), c)}, s.To(s.Host2, Red, answer(s.A.OnLinkLocal(), c))),
		drops("unsolicited advertisement", Frame{RedA, Advertise(a, AllNodes(), ndOverride)}, datapath.DropMulticast),
		drops("advertisement to a group that says it was asked for", Frame{RedA, answer(a, AllNodes())}, datapath.DropInnerMalformed),
		drops("advertisement of B's address", Frame{RedA, Discovery(a, c, 136, b.Addr, ndSolicited, LinkOption(2, a.MAC))}, datapath.DropSourceARP),
		drops("advertisement of the gateway's address", Frame{RedA, Discovery(a, c, 136, s.Gateway.V6, ndSolicited, LinkOption(2, a.MAC))}, datapath.DropSourceARP),
		drops("advertisement of B's link-local", Frame{RedA, Discovery(a, c, 136, s.B.OnLinkLocal().Addr, ndSolicited, LinkOption(2, a.MAC))}, datapath.DropSourceARP),
		drops("advertisement of another's link address", Frame{RedA, Discovery(a, c, 136, a.Addr, ndSolicited, LinkOption(2, b.MAC))}, datapath.DropSourceARP),
		drops("advertisement with B's address", Frame{RedA, Discovery(Party{a.MAC, b.Addr}, c, 136, a.Addr, ndSolicited, LinkOption(2, a.MAC))}, datapath.DropSourceIP),
		drops("advertisement without an address", Frame{RedA, Discovery(Party{a.MAC, netip.IPv6Unspecified()}, c, 136, a.Addr, ndSolicited)}, datapath.DropSourceIP),
		drops("advertisement behind a header", Frame{RedA, Extend(answer(a, c), Padding(extDestination))}, datapath.DropInnerMalformed),
	}
}

// discoveryFromTunnelCases come from hosts that are plain vxlan devices: these
// ask their neighbours themselves.
func discoveryFromTunnelCases(s *Site) []Case {
	a, c := s.A.On6(), s.C.On6()
	nameless := Party{c.MAC, netip.IPv6Unspecified()}
	group := SolicitedNode(a.Addr)
	link := LinkOption(1, c.MAC)
	answer := Advertise(c, a, ndSolicited|ndOverride)
	router := Message6(c, AllNodes(), typeRouterAdvertisement, make([]byte, 12))
	reaches := func(name string, frame []byte) Case {
		return passes("from the tunnel: "+name, s.From(s.Host2, Red, frame), Frame{RedA, frame})
	}
	// Endpoints do not hear of it: their answer to all nodes would not cross.
	taken := func(name string, owner Party, options ...[]byte) Case {
		return passes("from the tunnel: "+name,
			s.From(s.Host2, Red, Solicit(nameless, SolicitedNode(owner.Addr), owner.Addr, options...)),
			s.To(s.Host2, Red, Advertise(owner, AllNodes(), ndOverride)))
	}
	cases := []Case{
		reaches("solicitation", Solicit(c, group, a.Addr, link)),
		reaches("solicitation for a link-local address", Solicit(c, SolicitedNode(s.A.OnLinkLocal().Addr), s.A.OnLinkLocal().Addr, link)),
		taken("duplicate-address detection of an endpoint's", s.A.On6()),
		taken("duplicate-address detection of an endpoint's with a nonce", s.A.On6(), NonceOption()),
		taken("duplicate-address detection of an endpoint's link-local", s.A.OnLinkLocal()),
		taken("duplicate-address detection of a TAP's", s.TAP.On6()),
		reaches("probe", Solicit(c, a, a.Addr, link)),
		reaches("advertisement", answer),
		passes("from the tunnel: solicitation for a TAP", s.From(s.Host2, Red, Solicitation(c, s.TAP.V6, c.MAC)), Frame{RedTAP, Solicitation(c, s.TAP.V6, c.MAC)}),
	}
	cases = append(cases, disguisedCase(s))
	for _, k := range []struct {
		name   string
		frame  []byte
		reason datapath.DropReason
	}{
		{"solicitation for nobody", Solicit(c, SolicitedNode(s.Nobody.V6), s.Nobody.V6, link), datapath.DropUnknownNeighbour},
		{"solicitation for another host's", Solicit(c, SolicitedNode(s.E.V6), s.E.V6, link), datapath.DropNotLocal},
		{"solicitation for nobody's link-local", Solicit(c, SolicitedNode(s.Nobody.OnLinkLocal().Addr), s.Nobody.OnLinkLocal().Addr, link), datapath.DropNotLocal},
		{"duplicate-address detection of its own", Solicit(nameless, SolicitedNode(c.Addr), c.Addr), datapath.DropNotLocal},
		{"duplicate-address detection of another host's", Solicit(nameless, SolicitedNode(s.E.V6), s.E.V6), datapath.DropNotLocal},
		{"duplicate-address detection of nobody's", Solicit(nameless, SolicitedNode(s.Nobody.V6), s.Nobody.V6), datapath.DropUnknownNeighbour},
		{"duplicate-address detection with a link address", Solicit(nameless, group, a.Addr, link), datapath.DropInnerMalformed},
		{"solicitation with A's link address", Solicit(c, group, a.Addr, LinkOption(1, a.MAC)), datapath.DropInnerSource},
		{"solicitation with A's link address in the second option", Solicit(c, group, a.Addr, link, LinkOption(1, a.MAC)), datapath.DropInnerSource},
		{"solicitation from A's address", Solicit(Party{c.MAC, a.Addr}, group, a.Addr, link), datapath.DropInnerSource},
		{"solicitation with a wrong checksum", Patch(Solicit(c, group, a.Addr), ndTargetAt-6, 1), datapath.DropInnerMalformed},
		{"solicitation from afar", Patch(Solicit(c, group, a.Addr, link), hopLimitAt, 63), datapath.DropInnerMalformed},
		{"solicitation behind a header", Extend(Solicit(c, group, a.Addr, link), Padding(extDestination)), datapath.DropInnerMalformed},
		{"solicitation that is cut short", Message6(c, group, 135, make([]byte, 12)), datapath.DropTruncated},
		{"unsolicited advertisement", Advertise(c, AllNodes(), ndOverride), datapath.DropMulticast},
		{"advertisement of A's address", Discovery(c, a, 136, a.Addr, ndSolicited, LinkOption(2, c.MAC)), datapath.DropInnerSource},
		{"advertisement in a fragment", Extend(answer, FragmentHeader(0, false)), datapath.DropInnerMalformed},
		{"router advertisement", router, datapath.DropRogueRouter},
		{"router advertisement to one", Message6(c, a, typeRouterAdvertisement, make([]byte, 12)), datapath.DropRogueRouter},
		{"router advertisement behind headers", Extend(router, Padding(extHopByHop), Padding(extDestination)), datapath.DropRogueRouter},
		{"router advertisement in a first fragment", Extend(router, FragmentHeader(0, true)), datapath.DropRogueRouter},
		{"redirect", Message6(c, a, typeRedirect, make([]byte, 36)), datapath.DropRogueRouter},
		{"router solicitation", Message6(c, MulticastOf(netip.IPv6LinkLocalAllRouters()), typeRouterSolicitation, make([]byte, 4)), datapath.DropMulticast},
	} {
		cases = append(cases, drops("from the tunnel: "+k.name, s.From(s.Host2, Red, k.frame), k.reason))
	}
	return cases
}

// disguisedCase is an advertisement of another's address behind a header which,
// read as the message, begins a solicitation that is right in every field.
func disguisedCase(s *Site) Case {
	const nextInOption, option = 14, 1
	victim := s.B
	victim.V6 = netip.AddrFrom16([16]byte{0xfd, 8: nextInOption, 9: option, 15: 3})
	real := Discovery(s.A.On6(), s.C.On6(), 136, victim.V6, ndOverride, LinkOption(2, s.A.MAC))
	c := drops("advertisement in disguise", Frame{RedA, checked6(Extend(real, Padding(extDestination)))}, datapath.DropInnerMalformed)
	c.State = func(st *datapath.State) {
		ports := Network(st, Red).Ports
		for i := range ports {
			if ports[i].MAC == victim.MAC {
				ports[i].Addrs = victim.Addrs()
			}
		}
	}
	return c
}

// endAt cuts a frame of IPv6 off n bytes behind its header, and mends its length.
func endAt(frame []byte, n int) []byte {
	out := slices.Clone(frame[:14+40+n])
	binary.BigEndian.PutUint16(out[ip6LengthAt:], uint16(n))
	return out
}
