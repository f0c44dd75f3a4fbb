package datapathtest

import (
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// isolationCases are packets from hosts, and of endpoints behind them, that have
// no business in a network.
func isolationCases(s *Site) []Case {
	type frames struct {
		name  string
		frame func(from, to Endpoint) []byte
	}
	kinds := []frames{
		{"IPv4", func(f, t Endpoint) []byte { return UDP4(f.On4(), t.On4(), "x") }},
		{"IPv6", func(f, t Endpoint) []byte { return UDP6(f.On6(), t.On6(), "x") }},
		{"ARP", func(f, t Endpoint) []byte { return ARPReply(f.On4(), t.On4()) }},
		{"not IP", func(f, t Endpoint) []byte { return Ethernet(f.On4(), t.On4(), 0x88b5, "not IP") }},
		{"tagged", func(f, t Endpoint) []byte { return Tagged(UDP4(f.On4(), t.On4(), "x"), 0x8100, 5) }},
	}
	var cases []Case
	for _, k := range kinds {
		in := func(name string, from Party, vni encap.VNI, src, dst Endpoint, reason datapath.DropReason) {
			c := drops(k.name+" "+name, s.From(from, vni, k.frame(src, dst)), reason)
			c.Steps[0].OrStack = from.Addr == s.Here.Addr // a source that is its own
			cases = append(cases, c)
		}
		in("from a stranger as C", s.Stranger, Red, s.C, s.A, datapath.DropUnknownVTEP)
		in("from a stranger as nobody", s.Stranger, Red, s.Nobody, s.A, datapath.DropUnknownVTEP)
		in("from a stranger as A", s.Stranger, Red, s.A, s.B, datapath.DropUnknownVTEP)
		in("from this host as C", s.Here, Red, s.C, s.A, datapath.DropUnknownVTEP)
		in("from a host of the other network as C", s.Host4, Red, s.C, s.A, datapath.DropUnknownVTEP)
		in("from a host of the other network as its own", s.Host4, Red, s.F, s.A, datapath.DropUnknownVTEP)
		in("into the other network as its own", s.Host3, Blue, s.E, s.A, datapath.DropUnknownVTEP)
		in("of a network that is not here", s.Host2, Green, s.C, s.A, datapath.DropUnknownVNI)
		in("of a network that is not here, from a stranger", s.Stranger, Green, s.C, s.A, datapath.DropUnknownVNI)
		in("as the endpoint of a third host", s.Host3, Red, s.C, s.A, datapath.DropInnerSource)
		in("as an endpoint of this host", s.Host2, Red, s.B, s.A, datapath.DropInnerSource)
		in("as the receiver", s.Host2, Red, s.A, s.A, datapath.DropInnerSource)
		in("as nobody", s.Host2, Red, s.Nobody, s.A, datapath.DropInnerSource)
		in("to an endpoint of a third host", s.Host2, Red, s.C, s.E, datapath.DropNotLocal)
		in("to an endpoint of the sender's host", s.Host2, Red, s.C, s.D, datapath.DropNotLocal)
		in("to the sender", s.Host2, Red, s.C, s.C, datapath.DropNotLocal)
		in("to nobody", s.Host2, Red, s.C, s.Nobody, datapath.DropNotLocal)
		in("to an endpoint that the other network has here", s.Host2, Blue, s.C, s.TAP, datapath.DropNotLocal)
		if k.name != "ARP" {
			in("to everybody", s.Host2, Red, s.C, Endpoint{broadcast, s.A.V4, s.A.V6}, datapath.DropMulticast)
		}
	}

	// The same frame in both networks, by turns.
	for _, k := range kinds {
		turns := Case{Name: k.name + " in both networks by turns"}
		for range 2 {
			for _, n := range []struct {
				vni  encap.VNI
				a, b Place
			}{{Red, RedA, RedB}, {Blue, BlueA, BlueB}} {
				in, near, out := k.frame(s.C, s.A), k.frame(s.A, s.B), k.frame(s.A, s.C)
				turns.Steps = append(turns.Steps,
					Step{In: []Frame{s.From(s.Host2, n.vni, in)}, Out: []Frame{{n.a, in}}},
					Step{In: []Frame{{n.a, near}}, Out: []Frame{{n.b, near}}},
					Step{In: []Frame{{n.a, out}}, Out: []Frame{s.To(s.Host2, n.vni, out)}})
			}
		}
		cases = append(cases, turns)
	}

	// The MAC is the sender's; the address in the packet is not.
	as := func(e Endpoint, of Endpoint) Endpoint { return Endpoint{e.MAC, of.V4, of.V6} }
	for _, k := range kinds[:3] {
		for _, to := range []Endpoint{s.A, s.TAP} {
			name := " to A"
			if to == s.TAP {
				name = " to a TAP"
			}
			for _, of := range []struct {
				name string
				who  Endpoint
			}{
				{"an endpoint here", s.B}, {"the sender's neighbour", s.D}, {"an endpoint of a third host", s.E},
				{"an endpoint of the other network", s.F}, {"nobody", s.Nobody}, {"the gateway", s.Gateway}, {"the receiver", to},
			} {
				cases = append(cases, drops(k.name+" with the address of "+of.name+name,
					s.From(s.Host2, Red, k.frame(as(s.C, of.who), to)), datapath.DropInnerSource))
			}
		}
	}
	return append(cases,
		drops("ARP with nobody's sender MAC", s.From(s.Host2, Red,
			Patch(ARPReply(s.C.On4(), s.A.On4()), 22, s.Nobody.MAC[:]...)), datapath.DropInnerSource),
		drops("ARP for nobody", s.From(s.Host2, Red, ARPRequest(s.C.On4(), s.Nobody.V4)), datapath.DropUnknownNeighbour),
		drops("ARP for an endpoint of the other network", s.From(s.Host2, Red, ARPRequest(s.C.On4(), s.F.V4)), datapath.DropUnknownNeighbour),
		drops("ARP for an endpoint of a third host", s.From(s.Host2, Red, ARPRequest(s.C.On4(), s.E.V4)), datapath.DropNotLocal),
		passes("ARP for an endpoint goes to it alone", s.From(s.Host2, Red, ARPRequest(s.C.On4(), s.A.V4)),
			Frame{RedA, ARPRequest(s.C.On4(), s.A.V4)}),
	)
}
