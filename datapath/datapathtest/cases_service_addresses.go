package datapathtest

import (
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
)

// vipAddressCases are the addresses of services where they do not belong, and
// frames to the MAC of VIPs that are for none.
func vipAddressCases(s *Site) []Case {
	v := s.service(s.backends()...)
	var cases []Case
	refuse := func(name string, in Frame, reason datapath.DropReason) {
		c := drops(name, in, reason)
		c.State = v.state
		cases = append(cases, c)
	}
	for _, family := range []Family{IPv4, IPv6} {
		at := func(p Party, port uint16) End { return End{p, port} }
		a, b, c := s.A.on(family), s.B.on(family), s.C.on(family)
		vip, f := v.on(family), " over "+string(family)
		hello := datagram("hello")
		// Every way of a frame to its backend, with the sender wrong.
		for _, k := range []struct {
			name string
			to   Party
		}{{"an endpoint elsewhere", c}, {"an endpoint here", b}, {"a VIP", vip}} {
			refuse("a VIP's address as the source of a packet to "+k.name+f,
				Frame{RedA, hello(at(Party{a.MAC, vip.Addr}, 5), at(k.to, vipPort))}, datapath.DropSourceIP)
			refuse("the MAC of VIPs as the source of a packet to "+k.name+f,
				Frame{RedA, hello(at(Party{datapath.ServiceMAC, a.Addr}, 5), at(k.to, vipPort))}, datapath.DropSourceMAC)
			refuse("another's address as the source of a packet to "+k.name+f,
				Frame{RedA, hello(at(Party{a.MAC, b.Addr}, 5), at(k.to, vipPort))}, datapath.DropSourceIP)
		}
		refuse("a packet from the tunnel to a VIP"+f, s.From(s.Host2, Red, hello(at(c, 5), at(vip, vipPort))), datapath.DropNotLocal)
		refuse("a SYN from the tunnel to a VIP"+f, s.From(s.Host2, Red, syn(at(c, 5), at(vip, vipPort))), datapath.DropNotLocal)
		refuse("a packet from the tunnel with the MAC of VIPs"+f,
			s.From(s.Host2, Red, hello(at(Party{datapath.ServiceMAC, c.Addr}, 5), at(a, 5))), datapath.DropInnerSource)
		refuse("a packet from the tunnel with a VIP's address"+f,
			s.From(s.Host2, Red, hello(at(Party{c.MAC, vip.Addr}, 5), at(a, 5))), datapath.DropInnerSource)
		refuse("a packet from the tunnel with all of a VIP"+f,
			s.From(s.Host2, Red, hello(at(vip, vipPort), at(a, 5))), datapath.DropInnerSource)
		refuse("a packet from the tunnel, from a VIP to itself"+f,
			s.From(s.Host2, Red, hello(at(vip, 5), at(vip, vipPort))), datapath.DropInnerSource)

		other := Party{datapath.ServiceMAC, s.Nobody.on(family).Addr}
		refuse("nobody's address at the MAC of VIPs"+f, Frame{RedA, hello(at(a, 5), at(other, vipPort))}, datapath.DropUnknownDestination)
		refuse("a SYN to nobody's address at the MAC of VIPs"+f, Frame{RedA, syn(at(a, 5), at(other, vipPort))}, datapath.DropUnknownDestination)
		refuse("a ping of nobody's address at the MAC of VIPs"+f, Frame{RedA, Echo(a, other, false, "x")}, datapath.DropUnknownDestination)
		refuse("an endpoint's address at the MAC of VIPs"+f,
			Frame{RedA, hello(at(a, 5), at(Party{datapath.ServiceMAC, c.Addr}, vipPort))}, datapath.DropUnknownDestination)
		refuse("the gateway's address at the MAC of VIPs"+f,
			Frame{RedA, hello(at(a, 5), at(Party{datapath.ServiceMAC, s.Gateway.on(family).Addr}, vipPort))}, datapath.DropUnknownDestination)
		refuse("a VIP of another network"+f, Frame{BlueA, hello(at(a, 5), at(vip, vipPort))}, datapath.DropUnknownDestination)
		refuse("a ping of a VIP of another network"+f, Frame{BlueA, Echo(a, vip, false, "x")}, datapath.DropUnknownDestination)
		refuse("a VIP behind a tag"+f, Frame{RedA, withTag(hello(at(a, 5), at(vip, vipPort)))}, datapath.DropUnknownDestination)
		// A VIP's address with an endpoint's MAC is none of that endpoint's, and
		// is told apart by nobody but itself.
		untouched := passes("a VIP's address at an endpoint's MAC"+f,
			Frame{RedA, hello(at(a, 5), at(Party{c.MAC, vip.Addr}, vipPort))}, s.To(s.Host2, Red, hello(at(a, 5), at(Party{c.MAC, vip.Addr}, vipPort))))
		untouched.State = v.state
		cases = append(cases, untouched)
	}
	// The address was an endpoint's, and its MAC is what the sender has down.
	for _, k := range kinds() {
		for _, backend := range []Endpoint{s.C, s.B} {
			f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
			stale, closed := f, f
			stale.to.MAC = s.Nobody.MAC
			closed.to.Port = 81
			answer := closed.told(f.more(), 3, 4)
			if k.protocol == protoTCP {
				answer = requestSegment.Reset(closed.to, closed.from)
			}
			closed.to.MAC = s.Nobody.MAC
			cases = append(cases, serviceCase("a VIP at the MAC of nobody, "+k.String()+" to "+backend.V4.String(), v,
				stale.forth(f.first()), f.back(f.reply()), stale.forth(f.more()), closed.refused(f.more(), datapath.DropServicePort, answer)))
		}
	}
	refuse("not IP to the MAC of VIPs", Frame{RedA, Ethernet(s.A.On4(), v.on(IPv4), 0x88b5, longer)}, datapath.DropUnknownDestination)
	refuse("IEEE 802.3 to the MAC of VIPs", Frame{RedA, Ethernet(s.A.On4(), v.on(IPv4), 4, "\xaa\xaa\x03x")}, datapath.DropUnknownDestination)
	refuse("ARP reply to a VIP", Frame{RedA, ARPReply(s.A.On4(), v.on(IPv4))}, datapath.DropUnknownDestination)

	f := v.flow(IPv4, protoUDP, s.A, s.C, vipPort)
	priority := serviceCase("a VIP behind a priority tag", v, f.forth(f.first()))
	priority.Steps[0].In[0].Bytes = Tagged(priority.Steps[0].In[0].Bytes, layers.EthernetTypeDot1Q, 0x6000)
	return append(cases, priority, twoNetworks(s))
}

// twoNetworks have a VIP of one address each, and lead the same packet to
// different backends.
func twoNetworks(s *Site) Case {
	red := s.service(s.backend(s.C))
	f := red.flow(IPv4, protoUDP, s.A, s.C, vipPort)
	blue := f.at(s.backend(s.B), targetPort)
	question, answer := datagram("a request"), datagram("the answer")
	c := serviceCase("one address in two networks", red,
		f.forth(question),
		Step{In: []Frame{{BlueA, question(f.from, f.to)}}, Out: []Frame{{BlueB, question(f.from, blue.target)}}},
		f.back(answer),
		Step{In: []Frame{{BlueB, answer(blue.target, f.from)}}, Out: []Frame{{BlueA, answer(f.to, f.from)}}},
		// The answer of the one network's backend is none in the other.
		Step{In: []Frame{{RedB, answer(blue.target, f.from)}}, Out: []Frame{{RedA, answer(blue.target, f.from)}}},
		f.forth(question),
	)
	c.State = func(st *datapath.State) {
		red.state(st)
		n := Network(st, Blue)
		n.Services = append(n.Services, red.with(s.backend(s.B)).Service)
	}
	return c
}
