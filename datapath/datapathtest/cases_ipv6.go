package datapathtest

import (
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// ipv6Cases are IPv6 packets of every make: what stands between their header
// and what they carry is not the network's business.
func ipv6Cases(s *Site) []Case {
	const noNextHeader, esp, experiment = 59, 50, 253
	udp := func(from, to Party) []byte { return UDP6(from, to, "sixteen bytes, and a few more of them") }
	hop, dst := Padding(extHopByHop), Padding(extDestination)
	long := Extension{extDestination, append([]byte{1, 252}, make([]byte, 252)...)}
	route, auth := Extension{extRouting, make([]byte, 14)}, Extension{extAuth, make([]byte, 22)}
	nothing := func(proto byte) func(from, to Party) []byte {
		return func(from, to Party) []byte { return Patch(UDP6(from, to, ""), 14+6, proto) }
	}

	var cases []Case
	for _, k := range []struct {
		name  string
		frame func(from, to Party) []byte
	}{
		{"UDP", udp},
		{"ICMPv6", ICMP6},
		{"ESP", nothing(esp)},
		{"a protocol of an experiment", nothing(experiment)},
		{"no next header", nothing(noNextHeader)},
		{"nothing at all", func(from, to Party) []byte { return endAt(nothing(noNextHeader)(from, to), 0) }},
		{"nothing behind a header", func(from, to Party) []byte { return endAt(Extend(nothing(noNextHeader)(from, to), dst), 8) }},
		{"UDP behind a header", func(from, to Party) []byte { return Extend(udp(from, to), dst) }},
		{"UDP behind a long header", func(from, to Party) []byte { return Extend(udp(from, to), long) }},
		{"UDP behind every header", func(from, to Party) []byte { return Extend(udp(from, to), hop, dst, route, auth, dst) }},
		{"ICMPv6 behind every header", func(from, to Party) []byte { return Extend(ICMP6(from, to), hop, dst, route, auth, dst) }},
		{"UDP in an atomic fragment", func(from, to Party) []byte { return Extend(udp(from, to), FragmentHeader(0, false)) }},
		{"a first fragment", func(from, to Party) []byte { return endAt(Extend(udp(from, to), FragmentHeader(0, true)), 8+24) }},
		{"a first fragment of ICMPv6", func(from, to Party) []byte { return endAt(Extend(ICMP6(from, to), FragmentHeader(0, true)), 8+8) }},
		{"a middle fragment", func(from, to Party) []byte { return Extend(udp(from, to), FragmentHeader(3, true)) }},
		{"a last fragment behind a header", func(from, to Party) []byte { return Extend(udp(from, to), dst, FragmentHeader(3, false)) }},
		// Whatever it looks like: it is from the middle of a message.
		{"a later fragment like a router advertisement", func(from, to Party) []byte {
			return Extend(Message6(from, to, typeRouterAdvertisement, make([]byte, 12)), FragmentHeader(3, false))
		}},
		{"a frame that is padded", func(from, to Party) []byte { return append(udp(from, to), 0, 0, 0) }},
	} {
		out, in := k.frame(s.A.On6(), s.C.On6()), k.frame(s.C.On6(), s.A.On6())
		near, toTAP := k.frame(s.A.On6(), s.B.On6()), k.frame(s.C.On6(), s.TAP.On6())
		cases = append(cases,
			passes(k.name+" to another host", Frame{RedA, out}, s.To(s.Host2, Red, out)),
			passes(k.name+" from another host", s.From(s.Host2, Red, in), Frame{RedA, in}),
			passes(k.name+" to this host", Frame{RedA, near}, Frame{RedB, near}),
			passes(k.name+" from another host to a TAP", s.From(s.Host2, Red, toTAP), Frame{RedTAP, toTAP}),
			drops(k.name+" with another's address", Frame{RedA, k.frame(Party{s.A.MAC, s.B.V6}, s.C.On6())}, datapath.DropSourceIP),
			drops(k.name+" from another host with this host's address",
				s.From(s.Host2, Red, k.frame(Party{s.C.MAC, s.B.V6}, s.A.On6())), datapath.DropInnerSource))
	}
	return slices.Concat(cases, badIPv6Cases(s), strayCases(s))
}

// badIPv6Cases are headers that contradict their frame.
func badIPv6Cases(s *Site) []Case {
	out, in := UDP6(s.A.On6(), s.C.On6(), "hello"), UDP6(s.C.On6(), s.A.On6(), "hello")
	chain := slices.Repeat([]Extension{Padding(extDestination)}, 9)
	var cases []Case
	for _, k := range []struct {
		name   string
		change func(frame []byte) []byte
		reason datapath.DropReason
	}{
		{"version 4", func(f []byte) []byte { return Patch(f, 14, 0x40) }, datapath.DropInnerMalformed},
		{"version 7", func(f []byte) []byte { return Patch(f, 14, 0x70) }, datapath.DropInnerMalformed},
		{"a length one beyond the frame", func(f []byte) []byte { return Patch(f, ip6LengthAt, 0, 8+5+1) }, datapath.DropInnerMalformed},
		{"a length far beyond the frame", func(f []byte) []byte { return Patch(f, ip6LengthAt, 0xff, 0xff) }, datapath.DropInnerMalformed},
		{"nine headers", func(f []byte) []byte { return Extend(f, chain...) }, datapath.DropInnerMalformed},
		{"a header longer than the frame", func(f []byte) []byte { return Patch(Extend(f, Padding(extDestination)), 14+40+1, 3) }, datapath.DropTruncated},
		{"ICMPv6 without a type", func(f []byte) []byte { return endAt(Patch(f, 14+6, 58), 0) }, datapath.DropTruncated},
		{"a fragment header cut short", func(f []byte) []byte { return endAt(Patch(f, 14+6, extFragment), 3) }, datapath.DropTruncated},
	} {
		cases = append(cases,
			drops("IPv6 of "+k.name, Frame{RedA, k.change(out)}, k.reason),
			drops("IPv6 of "+k.name+" from another host", s.From(s.Host2, Red, k.change(in)), k.reason))
	}
	return cases
}

// strayCases are frames of a sender that has not heard where its peer is now.
func strayCases(s *Site) []Case {
	stale := Party{s.Nobody.MAC, s.C.V6}
	out := UDP6(s.A.On6(), stale, "hello")
	near := UDP6(s.A.On6(), Party{s.Nobody.MAC, s.B.V6}, "hello")
	nowhere := UDP6(s.A.On6(), Party{s.Nobody.MAC, netip.MustParseAddr("fd00::9999")}, "hello")
	return []Case{
		passes("IPv6 follows an address to another host", Frame{RedA, out}, s.To(s.Host2, Red, Patch(out, 0, s.C.MAC[:]...))),
		passes("IPv6 follows an address on this host", Frame{RedA, near}, Frame{RedB, Patch(near, 0, s.B.MAC[:]...)}),
		drops("IPv6 to an address and a MAC of nobody", Frame{RedA, nowhere}, datapath.DropUnknownDestination),
	}
}
