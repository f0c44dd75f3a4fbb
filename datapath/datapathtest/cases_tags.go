package datapathtest

import (
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// tagCases are frames with 802.1Q tags, which are the endpoints' own; but for
// priority tags, of VLAN 0: a frame with one is to its receiver as one without.
func tagCases(s *Site) []Case {
	const q, ad, vlan, priority = 0x8100, 0x88a8, 5, 0xe000
	var cases []Case
	for _, p := range s.paths() {
		for _, k := range []named{
			{"IPv4", UDP4(p.from.On4(), p.to.On4(), longer)},
			{"IPv6", UDP6(p.from.On6(), p.to.On6(), longer)},
			{"ARP", ARPReply(p.from.On4(), p.to.On4())},
			{"not IP", Ethernet(p.from.On4(), p.to.On4(), 0x88b5, longer)},
			{"of addresses that are not the sender's", UDP4(s.Nobody.On4().with(p.from.MAC), p.to.On4(), longer)},
		} {
			add := func(tags string, frame []byte) {
				cases = append(cases, passes(k.name+" "+tags+" "+p.name, p.in(frame), p.out(frame)))
			}
			add("in VLAN 5", Tagged(k.frame, q, vlan))
			add("in VLAN 5 with a priority", Tagged(k.frame, q, vlan|priority))
			add("in VLAN 5 of a service VLAN", Tagged(Tagged(k.frame, q, vlan), ad, 7))
			add("in VLAN 5 of a VLAN", Tagged(Tagged(k.frame, q, vlan), q, 7))
		}
		frame := UDP4(p.from.On4(), p.to.On4(), longer)
		cases = append(cases,
			passes("IPv4 with a priority tag "+p.name, p.in(Tagged(frame, q, priority)), p.out(frame)),
			passes("IPv4 in VLAN 0 "+p.name, p.in(Tagged(frame, q, 0)), p.out(frame)))
	}
	// A mark on the outside means nothing to a frame that is not IP: it is not
	// looked into, least of all at the tag.
	inner := UDP4(s.C.On4(), s.A.On4(), longer)
	for vlan := range uint16(4) {
		for ecn := range byte(4) {
			frame := Tagged(inner, q, vlan+4)
			cases = append(cases, passes(fmt.Sprintf("VLAN %d with the outer mark %d", vlan+4, ecn),
				Frame{Underlay, WithTOS(s.From(s.Host2, Red, frame).Bytes, s.OuterIP, 0xb8|ecn)}, Frame{RedA, frame}))
		}
	}
	// Of what is behind a tag all of the IP header has to be there, wherever the
	// frame goes.
	for _, p := range s.paths() {
		for _, k := range []struct {
			name   string
			frame  []byte
			header int
		}{{"IPv4", UDP4(p.from.On4(), p.to.On4(), longer), 14 + 20}, {"IPv6", UDP6(p.from.On6(), p.to.On6(), longer), 14 + 40}} {
			once, twice := Tagged(k.frame, q, vlan), Tagged(Tagged(k.frame, q, vlan), ad, 7)
			cases = append(cases,
				drops(k.name+" header cut short behind a tag "+p.name, p.in(once[:k.header+4-1]), datapath.DropTruncated),
				drops(k.name+" header cut short behind two tags "+p.name, p.in(twice[:k.header+8-1]), datapath.DropTruncated),
				passes("nothing but an "+k.name+" header behind a tag "+p.name, p.in(once[:k.header+4]), p.out(once[:k.header+4])))
		}
	}
	// A flow behind a tag is one flow, however long its packets are.
	var flow Case
	for n := range 5 {
		frame := Tagged(UDP4(s.A.On4(), s.C.On4(), longer[n:]), q, vlan)
		flow.Steps = append(flow.Steps, Step{In: []Frame{{RedA, frame}}, Out: []Frame{s.To(s.Host2, Red, frame)}})
	}
	flow.Name = "a flow in VLAN 5"
	cases = append(cases, flow)
	as := func(from, of Endpoint) Party { return Party{from.MAC, of.V4} }
	here := func(frame []byte) Frame { return Frame{RedA, frame} }
	there := func(frame []byte) Frame { return s.From(s.Host2, Red, frame) }
	forged, forgedThere := UDP4(as(s.A, s.B), s.C.On4(), longer), UDP4(as(s.C, s.A), s.A.On4(), longer)
	arp, arpThere := ARPReply(as(s.A, s.B), s.C.On4()), ARPReply(as(s.C, s.A), s.A.On4())
	return append(cases,
		drops("nobody's MAC in VLAN 5", here(Tagged(UDP4(s.Nobody.On4(), s.C.On4(), "x"), q, vlan)), datapath.DropSourceMAC),
		drops("nobody in VLAN 5", here(Tagged(UDP4(s.A.On4(), s.Nobody.On4(), "x"), q, vlan)), datapath.DropUnknownDestination),
		drops("everybody in VLAN 5", here(Tagged(UDP4(s.A.On4(), Party{broadcast, s.C.V4}, "x"), q, vlan)), datapath.DropMulticast),
		drops("B's IPv4 with a priority tag", here(Tagged(forged, q, priority)), datapath.DropSourceIP),
		drops("B's IPv4 in VLAN 0", here(Tagged(forged, q, 0)), datapath.DropSourceIP),
		drops("B's IPv4 in VLAN 0 of a service VLAN", here(Tagged(forged, ad, 0)), datapath.DropSourceIP),
		drops("B's IPv4 in VLAN 0 twice", here(Tagged(Tagged(forged, q, 0), q, 0)), datapath.DropInnerMalformed),
		drops("ARP with B's IPv4 in VLAN 0", here(Tagged(arp, q, 0)), datapath.DropSourceARP),
		drops("A's IPv4 in VLAN 0 from another host", there(Tagged(forgedThere, q, 0)), datapath.DropInnerSource),
		drops("A's IPv4 in VLAN 0 twice from another host", there(Tagged(Tagged(forgedThere, q, 0), q, 0)), datapath.DropInnerMalformed),
		drops("ARP with A's IPv4 in VLAN 0 from another host", there(Tagged(arpThere, q, 0)), datapath.DropInnerSource),
	)
}

// with is the party with another MAC.
func (p Party) with(mac [6]byte) Party { return Party{mac, p.Addr} }
