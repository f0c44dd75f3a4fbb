package datapathtest

import (
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
)

// sourceCases are endpoints that say who they are not, and frames for nobody.
func sourceCases(s *Site) []Case {
	a, b, c := s.A.On4(), s.B.On4(), s.C.On4()
	a6, b6, c6 := s.A.On6(), s.B.On6(), s.C.On6()
	as := func(p Party, addr netip.Addr) Party { return Party{p.MAC, addr} }
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()

	var cases []Case
	for _, k := range []struct {
		name   string
		frame  []byte
		reason datapath.DropReason
	}{
		{"nobody's MAC", UDP4(as(s.Nobody.On4(), s.A.V4), c, "x"), datapath.DropSourceMAC},
		{"B's MAC and IPv4", UDP4(b, c, "x"), datapath.DropSourceMAC},
		{"B's MAC and IPv6", ICMP6(b6, c6), datapath.DropSourceMAC},
		{"C's MAC, not IP", Ethernet(c, b, 0x88b5, "x"), datapath.DropSourceMAC},
		{"a group's MAC", UDP4(Party{broadcast, s.A.V4}, c, "x"), datapath.DropSourceMAC},
		{"nobody's IPv4", UDP4(as(a, s.Nobody.V4), c, "x"), datapath.DropSourceIP},
		{"B's IPv4", UDP4(as(a, s.B.V4), c, "x"), datapath.DropSourceIP},
		{"C's IPv4", UDP4(as(a, s.C.V4), b, "x"), datapath.DropSourceIP},
		{"the gateway's IPv4", UDP4(as(a, s.Gateway.V4), c, "x"), datapath.DropSourceIP},
		{"F's IPv4, of the other network", UDP4(as(a, s.F.V4), c, "x"), datapath.DropSourceIP},
		{"unspecified IPv4", UDP4(as(a, any4), c, "x"), datapath.DropSourceIP},
		{"broadcast IPv4", UDP4(as(a, netip.AddrFrom4([4]byte{255, 255, 255, 255})), c, "x"), datapath.DropSourceIP},
		{"nobody's IPv6", ICMP6(as(a, s.Nobody.V6), c6), datapath.DropSourceIP},
		{"B's IPv6", ICMP6(as(a, s.B.V6), c6), datapath.DropSourceIP},
		{"its own link-local IPv6 with more in the prefix", ICMP6(as(a, inPrefix(s.A.OnLinkLocal().Addr)), c6), datapath.DropSourceIP},
		{"B's link-local IPv6", ICMP6(as(a, s.B.OnLinkLocal().Addr), c6), datapath.DropSourceIP},
		{"the gateway's IPv6", ICMP6(as(a, s.Gateway.V6), c6), datapath.DropSourceIP},
		{"its own IPv4 in IPv6", ICMP6(as(a, netip.AddrFrom16(s.A.V4.As16())), c6), datapath.DropSourceIP},
		{"its own IPv4 in UDP over IPv6", UDP6(as(a, netip.AddrFrom16(s.A.V4.As16())), c6, "x"), datapath.DropSourceIP},
		{"a solicitation for an IPv4 address", Solicitation(a6, netip.AddrFrom16(s.C.V4.As16()), s.A.MAC), datapath.DropUnknownNeighbour},
		{"unspecified IPv6", ICMP6(as(a, any6), c6), datapath.DropSourceIP},

		{"ARP request with B's IPv4", ARPRequest(as(a, s.B.V4), s.C.V4), datapath.DropSourceARP},
		{"ARP reply with B's IPv4", ARPReply(as(a, s.B.V4), c), datapath.DropSourceARP},
		{"ARP reply with the gateway's IPv4", ARPReply(as(a, s.Gateway.V4), c), datapath.DropSourceARP},
		{"ARP reply without an address", ARPReply(as(a, any4), c), datapath.DropSourceARP},
		{"ARP that neither asks nor answers", Patch(ARPReply(a, c), 20, 0, 3), datapath.DropInnerMalformed},
		{"ARP with nobody's sender MAC", Patch(ARPRequest(a, s.C.V4), 22, s.Nobody.MAC[:]...), datapath.DropSourceARP},
		{"ARP of another hardware", Patch(ARPRequest(a, s.C.V4), 14, 0, 6), datapath.DropInnerMalformed},
		{"ARP of another protocol", Patch(ARPRequest(a, s.C.V4), 16, 0x86, 0xdd), datapath.DropInnerMalformed},
		{"ARP for nobody", ARPRequest(a, s.Nobody.V4), datapath.DropUnknownNeighbour},
		{"ARP for an endpoint of the other network", ARPRequest(a, s.F.V4), datapath.DropUnknownNeighbour},
		{"ARP announcement", ARPRequest(a, s.A.V4), datapath.DropMulticast},

		{"IPv4 to nobody", UDP4(a, s.Nobody.On4(), "x"), datapath.DropUnknownDestination},
		{"IPv6 to nobody", ICMP6(a6, s.Nobody.On6()), datapath.DropUnknownDestination},
		{"not IP to nobody", Ethernet(a, s.Nobody.On4(), 0x88b5, "x"), datapath.DropUnknownDestination},
		{"IPv4 to an endpoint of the other network", UDP4(a, s.F.On4(), "x"), datapath.DropUnknownDestination},
		{"IPv6 to an endpoint of the other network", ICMP6(a6, s.F.On6()), datapath.DropUnknownDestination},
		{"IPv4 to itself", UDP4(a, a, "x"), datapath.DropUnknownDestination},
		{"IPv6 to itself", ICMP6(a6, a6), datapath.DropUnknownDestination},
		{"not IP to itself", Ethernet(a, a, 0x88b5, "x"), datapath.DropUnknownDestination},
		{"IPv4 multicast", UDP4(a, MulticastOf(netip.AddrFrom4([4]byte{224, 0, 0, 251})), "x"), datapath.DropMulticast},
		{"IPv4 broadcast", UDP4(a, Party{broadcast, netip.AddrFrom4([4]byte{10, 0, 0, 255})}, "x"), datapath.DropMulticast},
		{"IPv6 multicast", ICMP6(a6, MulticastOf(netip.IPv6LinkLocalAllNodes())), datapath.DropMulticast},
		{"broadcast that is not IP", Ethernet(a, Party{MAC: broadcast}, 0x88b5, "x"), datapath.DropMulticast},
	} {
		cases = append(cases, drops(k.name, Frame{RedA, k.frame}, k.reason))
	}
	for _, k := range []struct {
		name string
		addr netip.Addr
		who  Endpoint
	}{
		{"another host's", s.C.V4, s.C},
		{"another host's second address", s.D2.V4, s.D2},
		{"this host's", s.B.V4, s.B},
		{"this host's TAP", s.TAP.V4, s.TAP},
	} {
		cases = append(cases,
			passes("ARP for "+k.name, Frame{RedA, ARPRequest(a, k.addr)}, Frame{RedA, ARPReply(k.who.On4(), a)}),
			passes("ARP from a unicast request for "+k.name,
				Frame{RedA, Patch(ARPRequest(a, k.addr), 0, k.who.MAC[:]...)}, Frame{RedA, ARPReply(k.who.On4(), a)}),
			passes("ARP probe for "+k.name, Frame{RedA, ARPRequest(as(a, any4), k.addr)},
				Frame{RedA, ARPReply(k.who.On4(), as(a, any4))}))
	}
	return append(cases,
		passes("ARP from a TAP", Frame{RedTAP, ARPRequest(s.TAP.On4(), s.C.V4)}, Frame{RedTAP, ARPReply(c, s.TAP.On4())}),
		passes("ARP reply to another host", Frame{RedA, ARPReply(a, c)}, s.To(s.Host2, Red, ARPReply(a, c))),
		passes("ARP reply to this host", Frame{RedA, ARPReply(a, b)}, Frame{RedB, ARPReply(a, b)}),
		passes("link-local IPv6 of its own", Frame{RedA, ICMP6(s.A.OnLinkLocal(), c6)}, s.To(s.Host2, Red, ICMP6(s.A.OnLinkLocal(), c6))),
	)
}

// inPrefix sets a bit of a link-local address that RFC 4291 section 2.5.6 has as
// zero.
func inPrefix(a netip.Addr) netip.Addr {
	b := a.As16()
	b[7] = 1
	return netip.AddrFrom16(b)
}
