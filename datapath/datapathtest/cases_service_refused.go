package datapathtest

import (
	"fmt"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
)

// refusalCases are packets to a VIP that nobody takes: clients are told at once.
func refusalCases(s *Site) []Case {
	far := s.service(s.backends()...)
	for i := range far.Backends {
		far.Backends[i].Addrs = nil
	}
	idle := s.service()
	anyPort := s.service()
	anyPort.Ports = nil
	full := s.service(s.backends()...)
	all := s.service(s.backends()...)
	all.Ports = nil
	onlyUDP, onlyTCP := s.service(s.backends()...), s.service(s.backends()...)
	onlyUDP.Ports, onlyTCP.Ports = onlyUDP.Ports[2:], onlyTCP.Ports[:2]

	var cases []Case
	for _, family := range []Family{IPv4, IPv6} {
		for _, client := range []Endpoint{s.A, s.TAP} {
			for _, k := range []struct {
				name   string
				v      *vip
				port   uint16
				reason datapath.DropReason
				tcp    bool
				udp    bool
			}{
				{"no backend", idle, vipPort, datapath.DropNoBackend, true, true},
				{"no backend for any port", anyPort, 7777, datapath.DropNoBackend, true, true},
				{"only draining backends", full.drained(s.B).drained(s.C).drained(s.TAP).drained(s.E), vipPort, datapath.DropNoBackend, true, true},
				{"no backend of the family", far, vipPort, datapath.DropNoBackend, true, true},
				{"a port that is not listed", full, 81, datapath.DropServicePort, true, true},
				{"the backend's port", full, targetPort, datapath.DropServicePort, true, true},
				{"a port that is listed for UDP", onlyUDP, vipPort, datapath.DropServicePort, true, false},
				{"a port that is listed for TCP", onlyTCP, vipPort, datapath.DropServicePort, false, true},
				{"a port that is not listed, and no backend", idle, 81, datapath.DropServicePort, true, true},
			} {
				name := fmt.Sprintf("%s over %s from %s: ", k.name, family, client.V4)
				if k.tcp {
					f := k.v.flowFrom(family, protoTCP, client, s.nextPort(), k.port)
					cases = append(cases, refusedTCP(name, k.v, f, k.reason)...)
				}
				if k.udp {
					f := k.v.flowFrom(family, protoUDP, client, s.nextPort(), k.port)
					cases = append(cases, refusedUDP(name, k.v, f, k.reason)...)
				}
			}
			for _, v := range []*vip{full, all, idle} {
				f := v.flowFrom(family, protoTCP, client, s.nextPort(), vipPort)
				name := fmt.Sprintf("%s over %s from %s to %s: ", "another protocol", family, client.V4, v.Name)
				unheard := func(from, to End) []byte {
					return overIP(from.Party, to.Party, layers.IPProtocol(253), gopacket.Payload(nil), longer)
				}
				cases = append(cases,
					serviceCase(name+"SCTP", v, f.unreachable(SCTP, datapath.DropServicePort, 2, 1)),
					serviceCase(name+"one that nobody knows", v, f.unreachable(unheard, datapath.DropServicePort, 2, 1)))
			}
		}
	}
	return cases
}

// refusedTCP are resets, one for each segment that is none itself, and no memory
// of it.
func refusedTCP(name string, v *vip, f flow, reason datapath.DropReason) []Case {
	steps := func(s Segment) []Step { return []Step{f.cut(s, reason), f.cut(s, reason), v.lists()} }
	var cases []Case
	for _, k := range []struct {
		name string
		Segment
	}{
		{"a SYN", Segment{Flags: TCPSYN, Seq: 1000, Window: 64000, Options: synOptions}},
		{"a bare SYN", Segment{Flags: TCPSYN, Seq: 0xffffffff}},
		{"a SYN with data", Segment{Flags: TCPSYN, Seq: 1000, Payload: "GET"}},
		{"an ACK", Segment{Flags: TCPACK, Seq: 1000, Ack: 0xfedcba98}},
		{"data", Segment{Flags: TCPACK | TCPPSH, Seq: 1000, Ack: 2000, Payload: longer, Options: synOptions}},
		{"a FIN", Segment{Flags: TCPFIN | TCPACK, Seq: 1000, Ack: 2000}},
		{"a FIN without ACK", Segment{Flags: TCPFIN, Seq: 1000, Payload: "the end"}},
		{"no flags", Segment{Seq: 1000, Payload: "x"}},
		{"SYN and ACK", Segment{Flags: TCPSYN | TCPACK, Seq: 1000, Ack: 0}},
	} {
		cases = append(cases, serviceCase(name+k.name, v, steps(k.Segment)...))
	}
	again := Segment{Flags: TCPSYN, Seq: 77}
	behind := func(from, to End) []byte { return padded(again.Frame(from, to)) }
	if f.family == IPv6 {
		extended := func(from, to End) []byte { return Extend(again.Frame(from, to), Padding(extDestination)) }
		cases = append(cases, serviceCase(name+"a SYN behind an extension header", v, f.refused(extended, reason, again.Reset(f.to, f.from))))
	}
	return append(cases,
		serviceCase(name+"a SYN in a frame that is padded", v, f.refused(behind, reason, again.Reset(f.to, f.from))),
		serviceCase(name+"a reset", v,
			f.ignored(segment(Segment{Flags: TCPRST, Seq: 1000}), reason),
			f.ignored(segment(Segment{Flags: TCPRST | TCPACK, Seq: 1000, Ack: 1}), reason)))
}

// refusedUDP are ICMP errors that quote as much as they may.
func refusedUDP(name string, v *vip, f flow, reason datapath.DropReason) []Case {
	const port4, port6 = 3, 4
	told := func(p build) []Step { return []Step{f.unreachable(p, reason, port4, port6), v.lists()} }
	change := func(change func([]byte) []byte) build {
		return func(from, to End) []byte { return change(Datagram(from, to, longer)) }
	}
	cases := []Case{
		serviceCase(name+"a datagram", v, told(datagram(longer))...),
		serviceCase(name+"an empty datagram", v, told(datagram(""))...),
		serviceCase(name+"a datagram of a byte", v, told(datagram("x"))...),
		serviceCase(name+"a long datagram", v, told(datagram(strings.Repeat("long", 350)))...),
		serviceCase(name+"a datagram with a DSCP", v, told(change(func(b []byte) []byte { return WithTOS(b, OuterIPOffset, 46<<2) }))...),
		serviceCase(name+"a datagram in a frame that is padded", v, f.refused(
			func(from, to End) []byte { return append(Datagram(from, to, "x"), make([]byte, 20)...) }, reason, f.told(datagram("x"), port4, port6))),
		serviceCase(name+"a datagram with TTL 1", v, told(change(func(b []byte) []byte { return WithTTL(b, OuterIPOffset, 1) }))...),
	}
	room := answerLen4 - 28
	if f.family == IPv6 {
		room = answerLen6 - 48
	}
	head := len(Datagram(f.from, f.to, "")) - OuterIPOffset
	for _, n := range []int{room - head - 1, room - head, room - head + 1} {
		cases = append(cases, serviceCase(fmt.Sprintf("%sa datagram of %d bytes", name, n), v, told(datagram(strings.Repeat("x", n)))...))
	}
	if f.family == IPv6 {
		cases = append(cases, serviceCase(name+"a datagram behind extension headers", v,
			told(change(func(b []byte) []byte { return Extend(b, Padding(extHopByHop), Padding(extDestination)) }))...))
	} else {
		cases = append(cases,
			serviceCase(name+"a datagram without a checksum", v, told(change(func(b []byte) []byte { return Patch(b, OuterIPOffset+26, 0, 0) }))...),
			serviceCase(name+"a datagram with IP options", v, told(change(withOptions))...),
			serviceCase(name+"a datagram with DF and ID", v, told(change(func(b []byte) []byte {
				return mendIP(Patch(b, OuterIPOffset+4, 1, 2, 0x40, 0), OuterIPOffset)
			}))...))
	}
	return cases
}
