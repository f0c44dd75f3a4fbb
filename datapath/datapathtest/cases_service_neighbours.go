package datapathtest

import (
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
)

// vipNeighbourCases are ARP and neighbour discovery for VIPs, which are answered
// whatever backends there are.
func vipNeighbourCases(s *Site) []Case {
	const answer, untold = ndSolicited | ndOverride, ndOverride
	var cases []Case
	for _, k := range []struct {
		name string
		v    *vip
	}{
		{"with backends", s.service(s.backends()...)},
		{"without backends", s.service()},
		{"with a backend that is draining", s.service(draining(s.backend(s.C)))},
		{"with a backend that has nothing of the family", s.service(datapath.Backend{ID: "none", MAC: s.C.MAC, Weight: 1})},
	} {
		v4, v6 := k.v.on(IPv4), k.v.on(IPv6)
		a, a6 := s.A.On4(), s.A.On6()
		nameless := Party{a.MAC, netip.IPv6Unspecified()}
		ask := func(name string, in, out Frame) {
			c := passes(name+" of a VIP "+k.name, in, out)
			c.State = k.v.state
			cases = append(cases, c)
		}
		group := SolicitedNode(v6.Addr)
		ask("ARP", Frame{RedA, ARPRequest(a, v4.Addr)}, Frame{RedA, ARPReply(v4, a)})
		ask("ARP from a TAP", Frame{RedTAP, ARPRequest(s.TAP.On4(), v4.Addr)}, Frame{RedTAP, ARPReply(v4, s.TAP.On4())})
		ask("ARP by unicast", Frame{RedA, arpTo(a, v4)}, Frame{RedA, ARPReply(v4, a)})
		ask("solicitation", Frame{RedA, Solicit(a6, group, v6.Addr, LinkOption(1, a6.MAC))}, Frame{RedA, Advertise(v6, a6, answer)})
		ask("solicitation from link-local", Frame{RedA, Solicit(s.A.OnLinkLocal(), group, v6.Addr)}, Frame{RedA, Advertise(v6, s.A.OnLinkLocal(), answer)})
		ask("probe", Frame{RedA, Solicit(a6, v6, v6.Addr)}, Frame{RedA, Advertise(v6, a6, answer)})
		ask("duplicate-address detection", Frame{RedA, Solicit(nameless, group, v6.Addr)}, Frame{RedA, Advertise(v6, AllNodes(), untold)})
	}

	v := s.service(s.backends()...)
	v4, v6 := v.on(IPv4), v.on(IPv6)
	refuse := func(name string, in Frame, reason datapath.DropReason) {
		c := drops(name, in, reason)
		c.State = v.state
		cases = append(cases, c)
	}
	probe := ARPRequest(Party{s.A.MAC, netip.IPv4Unspecified()}, v4.Addr)
	detects := passes("duplicate-address detection of a VIP over IPv4", Frame{RedA, probe},
		Frame{RedA, ARPReply(v4, Party{s.A.MAC, netip.IPv4Unspecified()})})
	detects.State = v.state
	cases = append(cases, detects)
	refuse("ARP of a VIP of another network", Frame{BlueA, ARPRequest(s.A.On4(), v4.Addr)}, datapath.DropUnknownNeighbour)
	refuse("solicitation of a VIP of another network", Frame{BlueA, Solicitation(s.A.On6(), v6.Addr, s.A.MAC)}, datapath.DropUnknownNeighbour)
	refuse("solicitation of the link-local of a VIP's MAC", Frame{RedA,
		Solicitation(s.A.On6(), Endpoint{MAC: datapath.ServiceMAC}.OnLinkLocal().Addr, s.A.MAC)}, datapath.DropUnknownNeighbour)
	refuse("ARP that gives itself a VIP", Frame{RedA, ARPRequest(Party{s.A.MAC, v4.Addr}, s.C.V4)}, datapath.DropSourceARP)
	refuse("ARP that announces a VIP", Frame{RedA, ARPRequest(Party{s.A.MAC, v4.Addr}, v4.Addr)}, datapath.DropSourceARP)
	refuse("ARP reply that gives itself a VIP", Frame{RedA, ARPReply(Party{s.A.MAC, v4.Addr}, s.C.On4())}, datapath.DropSourceARP)
	refuse("ARP that gives itself the MAC of VIPs", Frame{RedA,
		Patch(ARPRequest(s.A.On4(), s.C.V4), 22, datapath.ServiceMAC[:]...)}, datapath.DropSourceARP)
	refuse("advertisement of a VIP", Frame{RedA,
		Discovery(s.A.On6(), s.C.On6(), 136, v6.Addr, ndSolicited, LinkOption(2, s.A.MAC))}, datapath.DropSourceARP)
	refuse("advertisement of the MAC of VIPs", Frame{RedA,
		Discovery(s.A.On6(), s.C.On6(), 136, s.A.V6, ndSolicited, LinkOption(2, datapath.ServiceMAC))}, datapath.DropSourceARP)
	refuse("solicitation from the tunnel that gives itself a VIP",
		s.From(s.Host2, Red, Solicit(Party{s.C.MAC, v6.Addr}, SolicitedNode(s.A.V6), s.A.V6, LinkOption(1, s.C.MAC))), datapath.DropInnerSource)
	refuse("ARP from the tunnel that gives itself a VIP",
		s.From(s.Host2, Red, ARPRequest(Party{s.C.MAC, v4.Addr}, s.A.V4)), datapath.DropInnerSource)
	return cases
}

// arpTo is a request by unicast, with which Linux looks whether a neighbour is
// still there.
func arpTo(from, to Party) []byte { return Patch(ARPRequest(from, to.Addr), 0, to.MAC[:]...) }
