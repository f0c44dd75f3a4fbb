package datapathtest

import (
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// gatewayPortCases are about the port that is the network itself on this host. It is
// where B is in the others: in Red and in Blue, with the same addresses.
func gatewayPortCases(s *Site) []Case {
	cases := slices.Concat(gatewayPasses(s), gatewayNeighbours(s), gatewayFromUnderlay(s), gatewayToOthers(s),
		gatewayGroups(s), gatewaySources(s), gatewayServices(s))
	for i, c := range cases {
		change := c.State
		cases[i].State = func(st *datapath.State) {
			s.withGateways(st)
			if change != nil {
				change(st)
			}
		}
	}
	return cases
}

// gateway is the networks' own addresses as those of a port.
func (s *Site) gateway() Endpoint { return Endpoint{datapath.GatewayMAC, s.Gateway.V4, s.Gateway.V6} }

// withGateways makes B's ports those of gateways.
func (s *Site) withGateways(st *datapath.State) {
	for _, n := range st.Networks {
		for i, p := range n.Ports {
			if p.MAC == s.B.MAC {
				n.Ports[i] = datapath.Port{Device: p.Device, MAC: datapath.GatewayMAC, Addrs: s.gateway().Addrs(), Gateway: true}
			}
		}
	}
}

// unicastKind is one of frames to an endpoint.
type unicastKind struct {
	name  string
	frame func(from, to Endpoint) []byte
}

// unicastKinds are all of them.
func unicastKinds() []unicastKind {
	return []unicastKind{
		{"IPv4", func(f, t Endpoint) []byte { return UDP4(f.On4(), t.On4(), "x") }},
		{"IPv6", func(f, t Endpoint) []byte { return UDP6(f.On6(), t.On6(), "x") }},
		{"TCP", func(f, t Endpoint) []byte { return TCP(f.On4(), t.On4(), "x") }},
		{"IPv4 echo", func(f, t Endpoint) []byte { return ICMP4Echo(f.On4(), t.On4(), false) }},
		{"IPv6 echo", func(f, t Endpoint) []byte { return ICMP6Echo(f.On6(), t.On6(), false) }},
		{"IPv6 link-local", func(f, t Endpoint) []byte { return UDP6(f.OnLinkLocal(), t.OnLinkLocal(), "x") }},
		{"a last fragment", func(f, t Endpoint) []byte {
			return Fragments(UDP4(f.On4(), t.On4(), "sixteen bytes and more"), OuterIPOffset, 16, 7)[1]
		}},
		{"ARP reply", func(f, t Endpoint) []byte { return ARPReply(f.On4(), t.On4()) }},
		{"advertisement", func(f, t Endpoint) []byte { return Advertise(f.On6(), t.On6(), ndSolicited) }},
		{"not IP", func(f, t Endpoint) []byte { return Ethernet(f.On4(), t.On4(), 0x88b5, "not IP") }},
		{"802.1Q", func(f, t Endpoint) []byte { return Tagged(UDP4(f.On4(), t.On4(), "x"), 0x8100, 5) }},
	}
}

// gatewayPasses are frames between the gateway and endpoints of its host.
func gatewayPasses(s *Site) []Case {
	gw := s.gateway()
	var cases []Case
	for _, k := range unicastKinds() {
		for _, e := range []struct {
			name string
			who  Endpoint
			at   Place
			gw   Place
		}{{"A", s.A, RedA, RedB}, {"a TAP", s.TAP, RedTAP, RedB}, {"A of the other network", s.A, BlueA, BlueB}} {
			to, from := k.frame(e.who, gw), k.frame(gw, e.who)
			cases = append(cases,
				passes(k.name+" from "+e.name, Frame{e.at, to}, Frame{e.gw, to}),
				passes(k.name+" to "+e.name, Frame{e.gw, from}, Frame{e.at, from}))
		}
	}
	// The sender may still have an address down with the MAC of one that is gone, or
	// that it does not reach.
	right := UDP4(gw.On4(), s.A.On4(), "x")
	right6 := UDP6(gw.On6(), s.A.On6(), "x")
	for _, was := range []Endpoint{s.Nobody, s.C} {
		cases = append(cases,
			passes("IPv4 to A at the MAC of "+was.V4.String(), Frame{RedB, Patch(right, 0, was.MAC[:]...)}, Frame{RedA, right}),
			passes("IPv6 to A at the MAC of "+was.V4.String(), Frame{RedB, Patch(right6, 0, was.MAC[:]...)}, Frame{RedA, right6}))
	}
	back := UDP4(s.A.On4(), gw.On4(), "x")
	return append(cases, passes("to the gateway's address at the MAC of nobody",
		Frame{RedA, Patch(back, 0, s.Nobody.MAC[:]...)}, Frame{RedB, back}))
}

// gatewayNeighbours are questions who has its addresses, and its own about others.
func gatewayNeighbours(s *Site) []Case {
	const answer, untold = ndSolicited | ndOverride, ndOverride
	gw := s.gateway()
	nameless4, nameless6 := Party{s.A.MAC, netip.IPv4Unspecified()}, Party{s.A.MAC, netip.IPv6Unspecified()}
	group := SolicitedNode(gw.V6)
	var cases []Case
	for _, at := range []Place{RedA, BlueA} {
		on := " on " + string(at)
		cases = append(cases,
			passes("ARP for it"+on, Frame{at, ARPRequest(s.A.On4(), gw.V4)}, Frame{at, ARPReply(gw.On4(), s.A.On4())}),
			passes("ARP by unicast for it"+on, Frame{at, arpTo(s.A.On4(), gw.On4())}, Frame{at, ARPReply(gw.On4(), s.A.On4())}),
			passes("ARP probe for it"+on, Frame{at, ARPRequest(nameless4, gw.V4)}, Frame{at, ARPReply(gw.On4(), nameless4)}),
			passes("solicitation for it"+on, Frame{at, Solicitation(s.A.On6(), gw.V6, s.A.MAC)}, Frame{at, Advertise(gw.On6(), s.A.On6(), answer)}),
			passes("probe of it"+on, Frame{at, Solicit(s.A.On6(), gw.On6(), gw.V6)}, Frame{at, Advertise(gw.On6(), s.A.On6(), answer)}),
			passes("duplicate-address detection of it"+on, Frame{at, Solicit(nameless6, group, gw.V6)}, Frame{at, Advertise(gw.On6(), AllNodes(), untold)}))
	}
	for _, of := range []Endpoint{s.A, s.TAP, s.C, s.E} {
		cases = append(cases,
			passes("its ARP for "+of.V4.String(), Frame{RedB, ARPRequest(gw.On4(), of.V4)}, Frame{RedB, ARPReply(of.On4(), gw.On4())}),
			passes("its solicitation for "+of.V4.String(), Frame{RedB, Solicitation(gw.On6(), of.V6, gw.MAC)}, Frame{RedB, Advertise(of.On6(), gw.On6(), answer)}))
	}
	return append(cases,
		drops("its ARP for nobody", Frame{RedB, ARPRequest(gw.On4(), s.Nobody.V4)}, datapath.DropUnknownNeighbour),
		drops("its ARP for itself", Frame{RedB, ARPRequest(gw.On4(), gw.V4)}, datapath.DropMulticast))
}

// gatewayFromUnderlay are frames from other hosts, to which it does not exist.
func gatewayFromUnderlay(s *Site) []Case {
	gw := s.gateway()
	var cases []Case
	for _, k := range unicastKinds() {
		cases = append(cases,
			drops(k.name+" from another host", s.From(s.Host2, Red, k.frame(s.C, gw)), datapath.DropNotLocal),
			drops(k.name+" from another host, into the other network", s.From(s.Host4, Blue, k.frame(s.F, gw)), datapath.DropNotLocal),
			drops(k.name+" as the gateway", s.From(s.Host2, Red, k.frame(gw, s.A)), datapath.DropInnerSource),
			drops(k.name+" as the gateway to a TAP", s.From(s.Host3, Red, k.frame(gw, s.TAP)), datapath.DropInnerSource),
			drops(k.name+" as the gateway to the gateway", s.From(s.Host2, Red, k.frame(gw, gw)), datapath.DropInnerSource))
	}
	nameless := Party{s.C.MAC, netip.IPv6Unspecified()}
	return append(cases,
		drops("ARP from another host", s.From(s.Host2, Red, ARPRequest(s.C.On4(), gw.V4)), datapath.DropNotLocal),
		drops("ARP by unicast from another host", s.From(s.Host2, Red, arpTo(s.C.On4(), gw.On4())), datapath.DropNotLocal),
		drops("solicitation from another host", s.From(s.Host2, Red, Solicitation(s.C.On6(), gw.V6, s.C.MAC)), datapath.DropNotLocal),
		drops("solicitation for its link-local from another host",
			s.From(s.Host2, Red, Solicitation(s.C.On6(), gw.OnLinkLocal().Addr, s.C.MAC)), datapath.DropNotLocal),
		drops("probe from another host", s.From(s.Host2, Red, Solicit(s.C.On6(), gw.On6(), gw.V6)), datapath.DropNotLocal),
		drops("duplicate-address detection from another host",
			s.From(s.Host2, Red, Solicit(nameless, SolicitedNode(gw.V6), gw.V6)), datapath.DropNotLocal),
		drops("with its addresses from another host",
			s.From(s.Host2, Red, UDP4(Party{s.C.MAC, gw.V4}, s.A.On4(), "x")), datapath.DropInnerSource))
}

// gatewayToOthers are frames that it sends to endpoints elsewhere.
func gatewayToOthers(s *Site) []Case {
	gw := s.gateway()
	var cases []Case
	for _, k := range unicastKinds() {
		for _, to := range []Endpoint{s.C, s.E} {
			cases = append(cases, drops(k.name+" to "+to.V4.String(), Frame{RedB, k.frame(gw, to)}, datapath.DropUnknownDestination))
		}
		cases = append(cases,
			drops(k.name+" to nobody", Frame{RedB, k.frame(gw, s.Nobody)}, datapath.DropUnknownDestination),
			drops(k.name+" to itself", Frame{RedB, k.frame(gw, gw)}, datapath.DropUnknownDestination))
	}
	stale := Endpoint{s.Nobody.MAC, s.C.V4, s.C.V6}
	return append(cases,
		drops("IPv4 to C at the MAC of nobody", Frame{RedB, UDP4(gw.On4(), stale.On4(), "x")}, datapath.DropUnknownDestination),
		drops("IPv6 to C at the MAC of nobody", Frame{RedB, UDP6(gw.On6(), stale.On6(), "x")}, datapath.DropUnknownDestination),
		drops("too long, to C", Frame{RedB, UDP4(gw.On4(), s.C.On4(), string(make([]byte, s.MTU)))}, datapath.DropUnknownDestination))
}

// gatewayGroups are frames to a group: it sends none, and gets none.
func gatewayGroups(s *Site) []Case {
	gw := s.gateway()
	var cases []Case
	for _, k := range groupFrames() {
		a, c := k.frame(s.A), k.frame(s.C)
		cases = append(cases,
			multicast(k.name, Frame{RedA, a}, append(at(a, RedTAP), toHosts(s, a)...)),
			multicast(k.name+" from another host", s.From(s.Host2, Red, c), at(c, RedA, RedTAP)),
			multicast(k.name+" from the gateway", Frame{RedB, k.frame(gw)}, nil, datapath.DropMulticast),
			drops(k.name+" from the gateway where it is not carried", Frame{BlueB, k.frame(gw)}, datapath.DropMulticast))
	}
	return cases
}

// gatewaySources: it is bound to its addresses as all are, and all are kept from
// them.
func gatewaySources(s *Site) []Case {
	gw := s.gateway()
	asGateway := Endpoint{s.A.MAC, gw.V4, gw.V6}
	asA := Endpoint{gw.MAC, s.A.V4, s.A.V6}
	return []Case{
		drops("another MAC than its own", Frame{RedB, UDP4(s.B.On4(), s.A.On4(), "x")}, datapath.DropSourceMAC),
		drops("A's IPv4 address", Frame{RedB, UDP4(asA.On4(), s.TAP.On4(), "x")}, datapath.DropSourceIP),
		drops("A's IPv6 address", Frame{RedB, UDP6(asA.On6(), s.TAP.On6(), "x")}, datapath.DropSourceIP),
		drops("ARP with A's address", Frame{RedB, ARPRequest(asA.On4(), s.TAP.V4)}, datapath.DropSourceARP),
		drops("router advertisement", Frame{RedB,
			Message6(gw.OnLinkLocal(), MulticastOf(netip.IPv6LinkLocalAllNodes()), typeRouterAdvertisement, make([]byte, 12))}, datapath.DropRogueRouter),
		drops("A with its MAC", Frame{RedA, UDP4(gw.On4(), s.TAP.On4(), "x")}, datapath.DropSourceMAC),
		drops("A with its IPv4 address", Frame{RedA, UDP4(asGateway.On4(), s.TAP.On4(), "x")}, datapath.DropSourceIP),
		drops("A with its IPv6 address", Frame{RedA, UDP6(asGateway.On6(), s.TAP.On6(), "x")}, datapath.DropSourceIP),
		drops("A announces its address", Frame{RedA, ARPRequest(asGateway.On4(), gw.V4)}, datapath.DropSourceARP),
	}
}

// gatewayServices are flows of the gateway to VIPs. It reaches backends of its
// host.
func gatewayServices(s *Site) []Case {
	gw := s.gateway()
	near, far := s.service(s.backend(s.A), s.backend(s.TAP)), s.service(s.backend(s.C))
	var cases []Case
	for _, k := range kinds() {
		for _, b := range []Endpoint{s.A, s.TAP} {
			f := near.flow(k.family, k.protocol, gw, b, vipPort)
			cases = append(cases, serviceCase(k.String()+" to the backend "+b.V4.String(), near, append(f.begins(), f.forth(f.more()))...))
		}
		f := far.flowFrom(k.family, k.protocol, gw, s.nextPort(), vipPort)
		lost := Step{In: []Frame{f.sends(f.first())}, Drops: []datapath.DropReason{datapath.DropUnknownDestination}}
		cases = append(cases, serviceCase(k.String()+" to a backend elsewhere", far, lost, lost))
	}
	v4 := near.on(IPv4)
	echo := passes("echo of a VIP", Frame{RedB, ICMP4Echo(gw.On4(), v4, false)}, Frame{RedB, ICMP4Echo(v4, gw.On4(), true)})
	echo.State = near.state
	return append(cases, echo)
}
